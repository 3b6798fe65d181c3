//! Through which host each part of the managed network is reached: a block of 64 addresses is the
//! block of the host that has its lowest address; what another host has of it is a route of its
//! own, which is stronger. It follows from where the instances
//! and attached plain containers are.

use ipnet::Ipv4Net;
use model::cluster::Cluster;
use model::delta::{Changes, changes};
use model::host_spec::Peer;
use model::id::{HostId, InstanceId};
use model::instance::Instance;
use model::plain::PlainId;
use model::wireguard::counted;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Bound;
use std::sync::Arc;

/// Bits of an address that name its block.
const BLOCK_PREFIX: u8 = 26;

/// Who has an address; a plain container goes before an instance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Holder {
    Instance(InstanceId),
    Plain(PlainId),
}

impl Holder {
    /// Where it is, and its addresses.
    fn place(&self, cluster: &Cluster) -> Option<(HostId, Vec<Ipv4Addr>)> {
        match self {
            Self::Instance(id) => {
                let instance = cluster.instance(id)?;
                Some((instance.host.clone(), addresses(instance).collect()))
            }
            Self::Plain(id) => {
                let attachment = cluster.attachment(id)?;
                Some((id.host.clone(), vec![attachment.address]))
            }
        }
    }
}

/// Through which host what is reached, followed change by change.
#[derive(Debug, Default)]
pub(super) struct Peers {
    /// Who has an address; of two instances the later one counts.
    held: BTreeMap<Ipv4Addr, BTreeMap<Holder, HostId>>,
    peers: Arc<BTreeMap<HostId, Peer>>,
}

fn addresses(instance: &Instance) -> impl Iterator<Item = Ipv4Addr> + '_ {
    instance.address.iter().chain(instance.sidekick_addresses.values()).copied()
}

/// The block of an address.
fn block(address: Ipv4Addr) -> Option<Ipv4Net> {
    Ipv4Net::new(address, BLOCK_PREFIX).ok().map(|range| range.trunc())
}

impl Peers {
    pub(super) fn of(cluster: &Cluster) -> Self {
        let mut made = Self::default();
        let instances = cluster.instances().map(|one| Holder::Instance(one.id.clone()));
        let plain = cluster.attachments().map(|one| Holder::Plain(one.id.clone()));
        instances.chain(plain).for_each(|holder| made.hold(cluster, &holder));
        made.peers = Arc::new(made.derived(cluster));
        made
    }

    /// Every host of which another address is known, with what is reached through it.
    pub(super) fn all(&self) -> Arc<BTreeMap<HostId, Peer>> {
        Arc::clone(&self.peers)
    }

    fn hold(&mut self, cluster: &Cluster, holder: &Holder) {
        let Some((host, addresses)) = holder.place(cluster) else { return };
        for address in addresses {
            self.held.entry(address).or_default().insert(holder.clone(), host.clone());
        }
    }

    fn derived(&self, cluster: &Cluster) -> BTreeMap<HostId, Peer> {
        let mut peers: BTreeMap<HostId, Peer> = BTreeMap::new();
        for host in cluster.hosts() {
            if let Ok(IpAddr::V4(address)) = host.facts.address.parse() {
                let keys = counted(&host.facts.wireguard);
                peers.insert(host.id.clone(), Peer { address, routes: BTreeSet::new(), keys });
            }
        }
        let mut next = self.held.keys().next().copied();
        while let Some(range) = next.and_then(block) {
            for (host, routes) in self.routes(range) {
                if let Some(peer) = peers.get_mut(host) {
                    peer.routes.extend(routes);
                }
            }
            let after = (Bound::Excluded(range.broadcast()), Bound::Unbounded);
            next = self.held.range(after).next().map(|(address, _)| *address);
        }
        peers
    }

    /// What of a block is reached through which host.
    fn routes(&self, range: Ipv4Net) -> BTreeMap<&HostId, BTreeSet<Ipv4Net>> {
        let mut routes: BTreeMap<&HostId, BTreeSet<Ipv4Net>> = BTreeMap::new();
        let mut owner = None;
        for (address, of) in self.held.range(range.network()..=range.broadcast()) {
            let Some(host) = of.values().next_back() else { continue };
            let way = match owner {
                None => range,
                Some(owner) if owner == host => continue,
                Some(_) => Ipv4Net::from(*address),
            };
            owner = owner.or(Some(host));
            routes.entry(host).or_default().insert(way);
        }
        routes
    }

    /// Brings it to a newer cluster, in which these were written; `moved` when hosts have other
    /// addresses or keys. Says what changed.
    pub(super) fn follow(
        &mut self,
        before: &Cluster,
        now: &Cluster,
        written: impl Iterator<Item = Holder>,
        moved: bool,
    ) -> Changes<HostId, Peer> {
        let other: Vec<Holder> =
            written.filter(|one| one.place(before) != one.place(now)).collect();
        let places = other.iter().flat_map(|one| [one.place(before), one.place(now)]);
        let blocks: BTreeSet<Ipv4Net> =
            places.flatten().flat_map(|(_, addresses)| addresses).filter_map(block).collect();
        let had = self.ways(&blocks);
        for one in &other {
            for address in one.place(before).into_iter().flat_map(|(_, addresses)| addresses) {
                if let Some(of) = self.held.get_mut(&address) {
                    of.remove(one);
                    if of.is_empty() {
                        self.held.remove(&address);
                    }
                }
            }
            self.hold(now, one);
        }
        if moved {
            let new = self.derived(now);
            let changed = changes(&self.peers, &new);
            if !changed.is_empty() {
                self.peers = Arc::new(new);
            }
            return changed;
        }
        let has = self.ways(&blocks);
        let mut changed: Changes<HostId, Peer> = BTreeMap::new();
        let hosts = had.keys().chain(has.keys());
        for host in hosts.filter(|host| had.get(*host) != has.get(*host)) {
            let Some(mut peer) = self.peers.get(host).cloned() else { continue };
            for way in had.get(host).into_iter().flatten() {
                peer.routes.remove(way);
            }
            peer.routes.extend(has.get(host).into_iter().flatten().copied());
            changed.insert(host.clone(), Some(peer));
        }
        if !changed.is_empty() {
            let peers = Arc::make_mut(&mut self.peers);
            let new = changed.iter().filter_map(|(id, peer)| Some((id.clone(), peer.clone()?)));
            peers.extend(new);
        }
        changed
    }

    fn ways(&self, blocks: &BTreeSet<Ipv4Net>) -> BTreeMap<HostId, BTreeSet<Ipv4Net>> {
        let mut all: BTreeMap<HostId, BTreeSet<Ipv4Net>> = BTreeMap::new();
        for (host, ways) in blocks.iter().flat_map(|range| self.routes(*range)) {
            all.entry(host.clone()).or_default().extend(ways);
        }
        all
    }
}

/// The same of one cluster, from nothing.
pub(crate) fn peers(cluster: &Cluster) -> Arc<BTreeMap<HostId, Peer>> {
    Peers::of(cluster).all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::change::{Change, Edit};
    use model::host::{Host, HostFacts, HostLink, Scheduling};
    use model::instance::{Goal, Instance, Target};
    use model::record::Record;
    use model::time::{Index, Timestamp};
    use std::sync::Arc;

    fn host(id: &str, address: &str) -> Record {
        let facts = HostFacts { address: address.into(), ..HostFacts::default() };
        Record::Host(Arc::new(Host {
            id: id.parse().unwrap(),
            facts,
            status: HostLink::Lost,
            changed_at: Timestamp(0),
            unheard_since: Timestamp(0),
            scheduling: Scheduling::Active,
            labels: BTreeMap::new(),
            reason: String::new(),
            membership: model::host::Membership::default(),
        }))
    }

    fn instance(n: u64, host: &str, address: &str) -> Record {
        Record::Instance(Arc::new(Instance {
            id: format!("shop/web#{n}@{n}").parse().unwrap(),
            host: host.parse().unwrap(),
            address: address.parse().ok(),
            sidekick_addresses: BTreeMap::new(),
            container_name: String::new(),
            target: Target { revision: 1, restart: 0 },
            ports: vec![],
            goal: Goal::Remove,
            leaving: false,
            dropped: vec![],
            reason: String::new(),
            placed_at: Timestamp(0),
            goal_at: Timestamp(0),
        }))
    }

    #[test]
    fn a_host_is_told_of_with_the_newest_of_its_keys() {
        let key = |n: u8| model::wireguard::PublicKey::new([n; 32]).unwrap();
        let told = |keys: Vec<model::wireguard::PublicKey>| {
            let Record::Host(mut one) = host("a", "192.168.0.1") else { panic!("no host") };
            Arc::make_mut(&mut one).facts.wireguard = keys;
            let mut cluster = Cluster::default();
            let edits = vec![Edit::Put(Record::Host(one))];
            cluster.apply(Index(1), &Change { edits });
            peers(&cluster)[&"a".parse::<HostId>().unwrap()].keys.clone()
        };
        assert_eq!(told(vec![]), []);
        assert_eq!(told(vec![key(2), key(1)]), [key(2), key(1)]);
        let many: Vec<_> = (1..9).map(key).collect();
        assert_eq!(told(many.clone()), many[..model::limits::WIREGUARD_KEYS_MAX]);
    }

    #[test]
    fn a_block_is_reached_through_the_host_of_its_lowest_address_and_others_have_their_own_routes()
    {
        let mut cluster = Cluster::default();
        let records = [
            host("a", "192.168.0.1"),
            host("b", "192.168.0.2"),
            host("c", "fd00::3"),
            instance(1, "a", "10.42.0.9"),
            instance(2, "a", "10.42.0.63"),
            instance(3, "b", "10.42.0.10"),
            instance(4, "b", "10.42.0.64"),
            instance(5, "a", "10.42.7.200"),
            instance(6, "c", "10.42.9.1"),
            instance(7, "b", "10.42.9.2"),
            instance(8, "a", "none"),
        ];
        let edits = records.into_iter().map(Edit::Put).collect();
        cluster.apply(Index(1), &Change { edits });
        let told: Vec<String> = peers(&cluster)
            .iter()
            .map(|(id, peer)| {
                let routes: Vec<String> = peer.routes.iter().map(ToString::to_string).collect();
                format!("{id} {} {}", peer.address, routes.join(" "))
            })
            .collect();
        assert_eq!(
            told,
            [
                "a 192.168.0.1 10.42.0.0/26 10.42.7.192/26",
                "b 192.168.0.2 10.42.0.10/32 10.42.0.64/26 10.42.9.2/32",
            ],
            "c has no address that a route can lead to"
        );
    }
}
