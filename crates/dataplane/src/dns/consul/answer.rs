//! What a name of Consul is answered: pure, on bytes.

use super::super::answer::{Transport, shuffled};
use super::super::wire::{
    Name, Owner, Query, Rcode, Reply, Section, TYPE_A, TYPE_AAAA, TYPE_ANY, TYPE_CNAME, TYPE_NS,
    TYPE_PTR, TYPE_SOA, TYPE_SRV, TYPE_TXT, strip,
};
use super::name::{Asked, read};
use super::places::{Place, Spot, Tag, Target};
use super::queries::{is_near, service_of, takes};
use super::{Consul, Node, Service};
use model::prepared::QueryNames;
use rand::Rng;
use rand::seq::SliceRandom as _;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// What became of a question.
#[derive(Debug)]
pub(crate) enum Given {
    /// The answer is in the buffer.
    Sent,
    /// The server knows, by this name.
    Later(Arc<str>),
    /// The host's resolvers know what this name is, which ours stands for, for so many seconds.
    Chase(Name, u32),
}

/// What a name means to another one that stands for it.
#[derive(Debug)]
pub(crate) enum Meant {
    /// These IPv4 addresses.
    Addresses(Vec<Ipv4Addr>),
    /// The server knows, by this name.
    Later(Arc<str>),
}

/// Name servers and mail of a zone, and its times in seconds: refresh, retry, expire, and how long
/// a no holds.
const SOA_NAMES: [&[u8]; 2] = [b"\x02ns", b"\x0ahostmaster"];
const SOA_TIMES: [u32; 4] = [3_600, 600, 86_400, 0];

/// A question within a domain of ours.
struct Question<'a, 'b> {
    consul: &'a Consul,
    query: &'a Query<'b>,
    /// The domain in which it is asked, and answered.
    domain: &'a [u8],
    limit: usize,
    /// Most answers.
    most: usize,
}

impl Consul {
    /// Answers into `out`; `None` when the name is none of these.
    pub(crate) fn answer(
        &self,
        query: &Query<'_>,
        (limit, transport): (usize, Transport),
        rng: &mut impl Rng,
        out: &mut Vec<u8>,
    ) -> Option<Given> {
        if query.kind == TYPE_PTR
            && let Some(targets) = self.reverse.get(query.name())
        {
            let domain = self.domains.first()?.as_wire();
            let mut reply = Reply::to(query, out, limit, Rcode::NoError);
            for target in targets {
                let data = [target.as_wire(), domain, &[0]];
                reply.put(Section::Answer, Owner::Question, (TYPE_PTR, self.node_ttl), &data);
            }
            reply.finish();
            return Some(Given::Sent);
        }
        let (relative, domain) = self.relative(query.name())?;
        let few = transport == Transport::Udp && query.edns.is_none();
        let most = if few { self.udp_answers } else { usize::MAX };
        let question = Question { consul: self, query, domain, limit, most };
        Some(match read(relative, query.kind, self.datacenter.as_wire()) {
            Asked::Apex => question.apex(out),
            Asked::Nothing => question.without(Rcode::NxDomain, out),
            Asked::Address(address) => question.address(address, out),
            Asked::Node(name) => match self.nodes.get(name) {
                Some(node) => question.node(node, out),
                None => question.without(Rcode::NxDomain, out),
            },
            Asked::Query(name) => match self.queries.find(name) {
                Some(found) => question.prepared(&found, rng, out),
                None => question.without(Rcode::NxDomain, out),
            },
            Asked::Service { label, tag } => match self.services.get(label) {
                Some(service) => {
                    self.mark(label);
                    question.service(service, tag, rng, out)
                }
                None => match self.elsewhere.get(label) {
                    Some(name) => Given::Later(Arc::clone(name)),
                    None => question.without(Rcode::NxDomain, out),
                },
            },
        })
    }

    /// What a name means to another one that stands for it; `None` when it is not ours.
    pub(crate) fn meant(&self, name: &[u8]) -> Option<Meant> {
        let (relative, _) = self.relative(name)?;
        let v4 = |place: &Place| match place {
            Place::V4(address) => Some(*address),
            Place::V6(_) | Place::Host(_) => None,
        };
        Some(Meant::Addresses(match read(relative, TYPE_A, self.datacenter.as_wire()) {
            Asked::Apex | Asked::Nothing | Asked::Address(IpAddr::V6(_)) => vec![],
            Asked::Address(IpAddr::V4(address)) => vec![address],
            Asked::Node(name) => {
                self.nodes.get(name).and_then(|node| v4(&node.place)).into_iter().collect()
            }
            Asked::Query(name) => {
                let found = self.queries.find(name);
                let spots = found.iter().flat_map(|query| self.spots_of(query));
                spots.filter_map(|spot| v4(&spot.place)).collect()
            }
            Asked::Service { label, tag } => {
                if let (None, Some(name)) = (self.services.get(label), self.elsewhere.get(label)) {
                    return Some(Meant::Later(Arc::clone(name)));
                }
                self.mark(label);
                let spots = self.services.get(label).into_iter().flat_map(|of| &of.spots);
                spots.filter(|spot| spot.has(tag)).filter_map(|spot| v4(&spot.place)).collect()
            }
        }))
    }

    /// A service is in use: who asked for it once is told of it on.
    fn mark(&self, label: &[u8]) {
        if let Some(mark) = self.marks.get(label) {
            mark.set();
        }
    }

    /// What a query takes of its service.
    fn spots_of<'a>(&'a self, query: &'a QueryNames) -> impl Iterator<Item = &'a Spot> {
        let service = service_of(query).and_then(|label| self.services.get(&label));
        let spots = service.into_iter().flat_map(|service| &service.spots);
        spots.filter(move |spot| takes(query, spot))
    }

    /// What is before the domain, and the domain.
    fn relative<'a>(&self, name: &'a [u8]) -> Option<(&'a [u8], &[u8])> {
        let mut domains = self.domains.iter().map(Name::as_wire);
        domains.find_map(|domain| Some((strip(name, domain)?, domain)))
    }
}

impl Question<'_, '_> {
    fn reply<'o>(&self, rcode: Rcode, out: &'o mut Vec<u8>) -> Reply<'o> {
        Reply::to(self.query, out, self.limit, rcode)
    }

    fn soa(&self, reply: &mut Reply<'_>, section: Section) {
        let numbers: Vec<u8> = std::iter::once(self.consul.serial)
            .chain(SOA_TIMES)
            .flat_map(u32::to_be_bytes)
            .collect();
        let [server, mail] = SOA_NAMES;
        let end = &[0][..];
        let data = [server, self.domain, end, mail, self.domain, end, numbers.as_slice()];
        reply.put(section, Owner::Name(&[self.domain]), (TYPE_SOA, 0), &data);
    }

    /// No record: there is no such name, or nothing of this type.
    fn without(&self, rcode: Rcode, out: &mut Vec<u8>) -> Given {
        let mut reply = self.reply(rcode, out);
        self.soa(&mut reply, Section::Authority);
        reply.finish();
        Given::Sent
    }

    /// The domain itself.
    fn apex(&self, out: &mut Vec<u8>) -> Given {
        let kind = self.query.kind;
        if !matches!(kind, TYPE_SOA | TYPE_NS | TYPE_ANY) {
            return self.without(Rcode::NoError, out);
        }
        let mut reply = self.reply(Rcode::NoError, out);
        if kind != TYPE_NS {
            self.soa(&mut reply, Section::Answer);
        }
        if let Some(node) = self.consul.here.as_ref().filter(|_| kind != TYPE_SOA) {
            let name = [node.target.as_wire(), self.domain];
            let (data, ttl) = ([name[0], name[1], &[0]], self.consul.node_ttl);
            let at = reply.put(Section::Answer, Owner::Question, (TYPE_NS, ttl), &data);
            if let Some(at) = at {
                glue(&mut reply, (at, &name), &node.place, ttl);
            }
        }
        reply.finish();
        Given::Sent
    }

    fn address(&self, address: IpAddr, out: &mut Vec<u8>) -> Given {
        let place = match address {
            IpAddr::V4(address) => Place::V4(address),
            IpAddr::V6(address) => Place::V6(address),
        };
        let mut reply = self.reply(Rcode::NoError, out);
        if self.place(&mut reply, &place, self.consul.node_ttl).is_some() {
            reply.finish();
            return Given::Sent;
        }
        self.without(Rcode::NoError, out)
    }

    /// An address of the name of the question: is there room for it? `None` when it is not of the
    /// type that is asked for.
    fn place(&self, reply: &mut Reply<'_>, place: &Place, ttl: u32) -> Option<bool> {
        let any = self.query.kind == TYPE_ANY;
        match place {
            Place::V4(address) if any || self.query.kind == TYPE_A => {
                let data = address.octets();
                let at = reply.put(Section::Answer, Owner::Question, (TYPE_A, ttl), &[&data]);
                Some(at.is_some())
            }
            Place::V6(address) if any || self.query.kind == TYPE_AAAA => {
                let data = address.octets();
                let at = reply.put(Section::Answer, Owner::Question, (TYPE_AAAA, ttl), &[&data]);
                Some(at.is_some())
            }
            Place::V4(_) | Place::V6(_) | Place::Host(_) => None,
        }
    }

    /// A host name that the name of the question stands for.
    fn cname(&self, target: &Name, ttl: u32, out: &mut Vec<u8>) -> Given {
        if matches!(self.query.kind, TYPE_A | TYPE_AAAA) {
            let addresses = match self.consul.meant(target.as_wire()) {
                Some(Meant::Addresses(addresses)) => addresses,
                Some(Meant::Later(name)) => return Given::Later(name),
                None => return Given::Chase(target.clone(), ttl),
            };
            let mut reply = self.reply(Rcode::NoError, out);
            let fits = reply.cname(ttl, target.as_wire());
            for address in addresses.iter().filter(|_| fits && self.query.kind == TYPE_A) {
                reply.target_address(ttl, &address.octets());
            }
            reply.finish();
            return Given::Sent;
        }
        let mut reply = self.reply(Rcode::NoError, out);
        reply.put(Section::Answer, Owner::Question, (TYPE_CNAME, ttl), &[target.as_wire(), &[0]]);
        reply.finish();
        Given::Sent
    }

    fn node(&self, node: &Node, out: &mut Vec<u8>) -> Given {
        let (kind, ttl) = (self.query.kind, self.consul.node_ttl);
        if let Place::Host(target) = &node.place
            && matches!(kind, TYPE_A | TYPE_AAAA | TYPE_CNAME)
        {
            return self.cname(target, ttl, out);
        }
        let mut reply = self.reply(Rcode::NoError, out);
        let mut found = self.place(&mut reply, &node.place, ttl).is_some();
        let section = match kind {
            TYPE_TXT | TYPE_ANY => Section::Answer,
            _ if !found => return self.without(Rcode::NoError, out),
            _ => Section::More,
        };
        for words in &node.words {
            found = true;
            reply.put(section, Owner::Question, (TYPE_TXT, ttl), &[words]);
        }
        if !found {
            return self.without(Rcode::NoError, out);
        }
        reply.finish();
        Given::Sent
    }

    fn service(
        &self,
        service: &Service,
        tag: Tag<'_>,
        rng: &mut impl Rng,
        out: &mut Vec<u8>,
    ) -> Given {
        // Most questions: every address of the service.
        if let (TYPE_A, Tag::Any, Some(all)) = (self.query.kind, tag, &service.plain)
            && !all.is_empty()
        {
            let mut reply = self.reply(Rcode::NoError, out);
            let mut left = self.most;
            shuffled(all, rng, |address| {
                left = left.saturating_sub(1);
                reply.address(service.ttl, address) && left > 0
            });
            reply.finish();
            return Given::Sent;
        }
        let mut spots: Vec<&Spot> = service.spots.iter().filter(|spot| spot.has(tag)).collect();
        spots.shuffle(rng);
        self.spots(&spots, service.ttl, out)
    }

    /// A prepared query: what is near comes first.
    fn prepared(&self, query: &QueryNames, rng: &mut impl Rng, out: &mut Vec<u8>) -> Given {
        let label = service_of(query);
        let Some(service) = label.as_ref().and_then(|label| self.consul.services.get(label)) else {
            let asked = label.and_then(|label| self.consul.elsewhere.get(&label));
            return match asked {
                Some(name) => Given::Later(Arc::clone(name)),
                None => self.without(Rcode::NxDomain, out),
            };
        };
        let mut spots: Vec<&Spot> = self.consul.spots_of(query).collect();
        spots.shuffle(rng);
        spots.sort_by_key(|spot| !is_near(query, spot, self.consul.here.as_ref()));
        self.spots(&spots, query.ttl_s.unwrap_or(service.ttl), out)
    }

    /// These places, in this order.
    fn spots(&self, spots: &[&Spot], ttl: u32, out: &mut Vec<u8>) -> Given {
        if spots.is_empty() {
            return self.without(Rcode::NxDomain, out);
        }
        if self.query.kind == TYPE_SRV {
            return self.srv(spots, ttl, out);
        }
        let mut reply = self.reply(Rcode::NoError, out);
        // No more is looked at than has room: doubles are looked for in that.
        let (mut told, mut full): (Vec<&Place>, bool) = (vec![], false);
        for spot in spots {
            if full || told.len() >= self.most {
                break;
            }
            if told.contains(&&spot.place) {
                continue;
            }
            match self.place(&mut reply, &spot.place, ttl) {
                Some(true) => told.push(&spot.place),
                Some(false) => full = true,
                None => {}
            }
        }
        if full || !told.is_empty() {
            reply.finish();
            return Given::Sent;
        }
        // Beside a host name nothing else may stand: there is one of them, and only where no address is.
        let host = spots.iter().find_map(|spot| match &spot.place {
            Place::Host(name) => Some(name),
            Place::V4(_) | Place::V6(_) => None,
        });
        let named = matches!(self.query.kind, TYPE_A | TYPE_AAAA | TYPE_CNAME | TYPE_ANY);
        match host.filter(|_| named) {
            Some(target) => self.cname(target, ttl, out),
            None => self.without(Rcode::NoError, out),
        }
    }

    fn srv(&self, spots: &[&Spot], ttl: u32, out: &mut Vec<u8>) -> Given {
        let mut reply = self.reply(Rcode::NoError, out);
        let mut told: Vec<(&Spot, usize)> = vec![];
        for spot in spots {
            let same = |one: &Spot| one.port == spot.port && one.target == spot.target;
            if told.iter().any(|(one, _)| same(one)) {
                continue;
            }
            if told.len() >= self.most {
                break;
            }
            let head = [0, 1]
                .into_iter()
                .chain(spot.weight.to_be_bytes())
                .chain(spot.port.to_be_bytes())
                .collect::<Vec<u8>>();
            let [name, end] = self.target(&spot.target);
            let data: [&[u8]; 4] = [&head, name, end, &[0]];
            let Some(at) = reply.put(Section::Answer, Owner::Question, (TYPE_SRV, ttl), &data)
            else {
                break;
            };
            told.push((*spot, at + head.len()));
        }
        let mut glued: Vec<&Target> = vec![];
        for (spot, at) in told {
            if glued.contains(&&spot.target) {
                continue;
            }
            glued.push(&spot.target);
            let name = self.target(&spot.target);
            glue(&mut reply, (at, &name), &spot.place, ttl);
            let words = spot.node.as_ref().filter(|_| !spot.own);
            for words in words.iter().flat_map(|node| &node.words) {
                reply.put(Section::More, Owner::At(at, &name), (TYPE_TXT, ttl), &[words]);
            }
        }
        reply.finish();
        Given::Sent
    }

    /// The labels of a target, in two parts.
    fn target<'t>(&'t self, target: &'t Target) -> [&'t [u8]; 2] {
        match target {
            Target::Within(name) => [name.as_wire(), self.domain],
            Target::Outside(name) => [name.as_wire(), &[]],
        }
    }
}

/// The address of a name that an answer has at a place.
fn glue(reply: &mut Reply<'_>, (at, name): (usize, &[&[u8]]), place: &Place, ttl: u32) {
    match place {
        Place::V4(address) => {
            let data = address.octets();
            reply.put(Section::More, Owner::At(at, name), (TYPE_A, ttl), &[&data]);
        }
        Place::V6(address) => {
            let data = address.octets();
            reply.put(Section::More, Owner::At(at, name), (TYPE_AAAA, ttl), &[&data]);
        }
        Place::Host(_) => {}
    }
}
