//! What entries of the catalog offer to be exposed: one offer for each front that their tags ask for.
//! Those of containers are read here, those of clients in `registered`.

use super::{Front, FrontKind};
use crate::catalog::{Entry, named, of_plain as entries_of};
use crate::parts::parts;
use crate::publish::catalog::listing;
use model::cluster::Cluster;
use model::expose::{Balance, Expose, check_fail_timeout, check_max_fails, parse_time_ms};
use model::id::{InstanceId, ServiceId, ServiceName, StackName};
use model::instance::Instance;
use model::limits::{DRAIN_MS_DEFAULT, EXPOSE_HOSTNAMES_MAX};
use model::plain::{PlainContainer, PlainId};
use model::time::Timestamp;
use model::view::{Admit, Endpoint, ViewInstance};
use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

/// The sidekick of the ids that stand for plain containers.
const PLAIN: &str = "plain";
/// Letters of Docker's id that are told: as Docker shows it when it is asked for much, and short
/// enough for a name.
const ID_LETTERS: usize = 40;

/// How views list what is no instance.
pub(super) type Listed = BTreeMap<InstanceId, Arc<ViewInstance>>;

/// An endpoint under a front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) front: Front,
    /// None where nobody can be sent.
    pub(super) endpoint: Option<Endpoint>,
    pub(super) drain_ms: u64,
    pub(super) balance: Option<Balance>,
    pub(super) max_fails: Option<u32>,
    pub(super) fail_timeout_ms: Option<u64>,
    pub(super) hostnames: Vec<String>,
    /// Labels that cannot be read, and what else is in the way.
    pub(super) problems: Vec<String>,
}

/// The id under which views list a plain container that is exposed: no instance ever has it.
#[must_use]
pub fn id_of_plain(id: &PlainId) -> Option<InstanceId> {
    let short = id.container.as_str().get(..ID_LETTERS).unwrap_or(id.container.as_str());
    let stack = StackName::parse(id.host.as_str()).ok()?;
    let service = ServiceId { stack, service: ServiceName::parse(short).ok()? };
    let sidekick = ServiceName::parse(PLAIN).ok();
    Some(InstanceId { sidekick, ..InstanceId::new(service, 0, 0) })
}

/// Does it stand for a plain container?
#[must_use]
pub fn is_plain(id: &InstanceId) -> bool {
    id.n == 0 && id.incarnation == 0 && id.sidekick.as_ref().is_some_and(|s| s.as_str() == PLAIN)
}

/// What an entry of the catalog says that matters here.
pub(super) struct Told<'a> {
    pub(super) name: &'a str,
    pub(super) tags: &'a [String],
    pub(super) meta: &'a BTreeMap<String, String>,
    /// Where, or why nowhere.
    pub(super) endpoint: Result<Endpoint, String>,
    pub(super) drain_ms: u64,
}

/// What the instances of a service offer, those that have not begun yet too: their host knows first
/// when they run.
pub(super) fn of_service(cluster: &Cluster, settings: &Expose, id: &ServiceId) -> Vec<Offer> {
    let mut offers = vec![];
    for instance in cluster.instances_of(id) {
        of_instance(cluster, settings, instance, &mut offers);
    }
    offers
}

fn of_instance(cluster: &Cluster, settings: &Expose, instance: &Instance, offers: &mut Vec<Offer>) {
    let revision = cluster.revision(&instance.id.service, instance.target.revision);
    let Some(revision) = revision else { return };
    let listed = listing(cluster, instance);
    for part in parts(instance, &revision.template) {
        if !listed.iter().any(|(id, _)| *id == part.id) {
            continue;
        }
        for named in named(instance, &part).iter().filter(|named| named.offered.port != 0) {
            let weight = named.weight.map_or(1, u32::from);
            let endpoint = Endpoint { instance: part.id.clone(), port: named.offered.port, weight };
            let (name, tags, meta) = (&*named.name, &*named.tags, &named.meta);
            let (drain_ms, endpoint) = (revision.template.drain_ms, Ok(endpoint));
            add(settings, &Told { name, tags, meta, endpoint, drain_ms }, offers);
        }
    }
}

/// What a plain container offers, and how views list it.
pub(super) fn of_plain(cluster: &Cluster, settings: &Expose, id: &PlainId) -> (Vec<Offer>, Listed) {
    let (Some(plain), Some(own)) = (cluster.plain(id), id_of_plain(id)) else {
        return (vec![], Listed::new());
    };
    let (mut offers, mut listed) = (vec![], None);
    for entry in entries_of(cluster, id, plain) {
        let weight = u32::from(entry.weights.passing);
        let Some(address) = entry.address.parse().ok().filter(|_| entry.port != 0) else {
            continue;
        };
        let before = offers.len();
        let endpoint = Ok(Endpoint { instance: own.clone(), port: entry.port, weight });
        let Entry { service: name, tags, meta, .. } = &entry;
        let told = Told { name, tags, meta, endpoint, drain_ms: DRAIN_MS_DEFAULT };
        add(settings, &told, &mut offers);
        let is_first = listed.is_none() && offers.len() > before;
        listed = match is_first {
            true => Some(seen(id, plain, address)),
            false => listed,
        };
    }
    let ports = offers.iter().filter(|offer| offer.front.kind != FrontKind::Udp);
    let mut ports: Vec<u16> =
        ports.filter_map(|offer| Some(offer.endpoint.as_ref()?.port)).collect();
    ports.sort_unstable();
    ports.dedup();
    if let Some(listed) = &mut listed {
        listed.ready_ports = ports;
    }
    (offers, listed.map(|listed| (own, Arc::new(listed))).into_iter().collect())
}

fn seen(id: &PlainId, plain: &PlainContainer, address: std::net::Ipv4Addr) -> ViewInstance {
    ViewInstance {
        address,
        host: id.host.clone(),
        admit: if plain.stopping { Admit::Draining } else { Admit::Active },
        check: None,
        probers: vec![],
        run: Timestamp::default(),
        ready_ports: vec![],
        running: true,
        health: plain.health,
        counted: false,
        nobody_healthy: None,
    }
}

/// What these tags ask for.
pub(super) fn kinds(settings: &Expose, tags: &[String]) -> impl Iterator<Item = FrontKind> {
    let has = |tag: &str| !tag.is_empty() && tags.iter().any(|own| own == tag);
    // Registrator's own word for a port of datagrams.
    let is_udp = tags.iter().any(|tag| tag == "udp");
    let kinds = [
        (FrontKind::Http, !is_udp && has(&settings.http_tag)),
        (FrontKind::Tcp, !is_udp && has(&settings.tcp_tag)),
        (FrontKind::Udp, is_udp && has(&settings.udp_tag)),
    ];
    kinds.into_iter().filter(|(_, wanted)| *wanted).map(|(kind, _)| kind)
}

/// Adds an offer for each tag that asks for one.
pub(super) fn add(settings: &Expose, told: &Told<'_>, offers: &mut Vec<Offer>) {
    for kind in kinds(settings, told.tags) {
        let front = Front { kind, name: told.name.to_owned() };
        offers.push(offer(front, told));
    }
}

fn offer(front: Front, told: &Told<'_>) -> Offer {
    let mut problems: Vec<String> = told.endpoint.as_ref().err().cloned().into_iter().collect();
    let mut made = Offer {
        front,
        endpoint: told.endpoint.as_ref().ok().cloned(),
        drain_ms: told.drain_ms,
        balance: None,
        max_fails: None,
        fail_timeout_ms: None,
        hostnames: vec![],
        problems: vec![],
    };
    let mut read = Reader { meta: told.meta, problems: &mut problems };
    made.balance = read.word("balance", Balance::from_str);
    if let Some(least) = read.word("least_conn", yes_or_no) {
        let other = if least { Balance::LeastConn } else { Balance::RoundRobin };
        made.balance = made.balance.or(Some(other));
    }
    made.max_fails = read.word("max_fails", |text| {
        let count =
            text.trim().parse().map_err(|_not_a_number| format!("{text:?} is no number"))?;
        check_max_fails(count).map(|()| count)
    });
    made.fail_timeout_ms = read.word("fail_timeout", |text| {
        let ms = parse_time_ms(text)?;
        check_fail_timeout(ms).map(|()| ms)
    });
    if made.front.kind == FrontKind::Http {
        made.hostnames = read.word("hostname", hostnames).unwrap_or_default();
    }
    read.word("weight", |text| {
        text.trim()
            .parse::<u16>()
            .map_err(|_not_a_number| format!("{text:?} is no number from 0 to 65535"))
    });
    made.problems = problems;
    made
}

/// Reads labels, and notes those that it cannot read.
struct Reader<'a> {
    meta: &'a BTreeMap<String, String>,
    problems: &'a mut Vec<String>,
}

impl Reader<'_> {
    fn word<T>(&mut self, key: &str, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        match read(self.meta.get(key)?) {
            Ok(value) => Some(value),
            Err(why) => {
                let label = key.to_ascii_uppercase();
                self.problems.push(format!("label SERVICE_{label} does not count: {why}"));
                None
            }
        }
    }
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "" | "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

/// Host names between commas, in lower case; `*` may stand at one end of each.
fn hostnames(text: &str) -> Result<Vec<String>, String> {
    let names: Vec<String> = text
        .split([',', ' '])
        .map(|name| name.trim().trim_end_matches('.').to_ascii_lowercase())
        .filter(|name| !name.is_empty())
        .collect();
    if names.len() > EXPOSE_HOSTNAMES_MAX {
        return Err(format!("{} host names are more than {EXPOSE_HOSTNAMES_MAX}", names.len()));
    }
    for name in &names {
        let plain = name.strip_prefix('*').or_else(|| name.strip_suffix('*')).unwrap_or(name);
        model::expose::check_host_name(plain.trim_matches('.'))?;
    }
    Ok(names)
}
