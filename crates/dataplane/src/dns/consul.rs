//! Names of Consul: the catalog of the View, ready to be asked. Built from the one before, so that a
//! service of which nothing changed is not looked at again; read by every thread, never changed.

pub(super) mod answer;
mod name;
mod places;
mod queries;

#[cfg(test)]
mod tests;

use super::mark::Mark;
use super::wire::Name;
use model::catalog_view::{ASKED_PREFIX, CatalogNode, CatalogView, Fitness};
use model::id::InstanceId;
use model::limits::CONSUL_NODE_WORDS_MAX;
use model::view::HostView;
use places::{Place, Spot, reverse_name, within};
use queries::Queries;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Longest string in a TXT record, in bytes.
const TXT_STRING_MAX: usize = 255;
/// Keys of a node that begin so are told by their value alone.
const VALUE_ONLY: &str = "rfc1035-";

/// The catalog of one view.
#[derive(Debug, Default)]
pub(crate) struct Consul {
    /// Where its names end; the first one is told where nobody asked for one.
    domains: Vec<Name>,
    datacenter: Name,
    /// By their name as labels.
    nodes: HashMap<Name, Arc<Node>>,
    /// By the text of their one label.
    services: HashMap<Box<[u8]>, Arc<Service>>,
    queries: Arc<Queries>,
    /// Services that the server is to be asked for, and how.
    elsewhere: HashMap<Box<[u8]>, Arc<str>>,
    /// Services that were asked for since they were looked at last; none where the view is whole.
    marks: HashMap<Box<[u8]>, Mark>,
    /// What addresses are names of, without the domain.
    reverse: HashMap<Name, Vec<Name>>,
    /// The node that this is.
    here: Option<Arc<Node>>,
    node_ttl: u32,
    udp_answers: usize,
    serial: u32,
    catalog: Arc<CatalogView>,
    unfit: BTreeSet<InstanceId>,
}

/// A node.
#[derive(Debug)]
struct Node {
    name: Name,
    /// As the view has it.
    told: Arc<CatalogNode>,
    place: Place,
    /// `<node>.node.<dc>`.
    target: Name,
    /// What a TXT record of it says, each with its length before it.
    words: Vec<Box<[u8]>>,
    fitness: Fitness,
}

/// What may be answered for a service.
#[derive(Debug)]
struct Service {
    ttl: u32,
    /// All addresses, when all of them are IPv4.
    plain: Option<Box<[Ipv4Addr]>>,
    spots: Vec<Spot>,
    /// Which of what is offered this host has taken out itself.
    out: Vec<bool>,
}

impl Consul {
    /// Of a view, of which these take nothing now. What is as it was in `before` is taken over.
    pub(crate) fn of(
        view: &HostView,
        unfit: &BTreeSet<InstanceId>,
        before: Option<&Arc<Self>>,
    ) -> Arc<Self> {
        let catalog = &view.catalog;
        if let Some(before) = before
            && Arc::ptr_eq(&before.catalog, catalog)
            && before.unfit == *unfit
        {
            return Arc::clone(before);
        }
        let settings = &catalog.settings;
        let domains = [&settings.domain, &settings.alt_domain];
        let domains: Vec<Name> = domains.into_iter().filter_map(|d| Name::parse(d)).collect();
        let datacenter = Name::parse(&settings.datacenter);
        let (Some(datacenter), false) = (datacenter, domains.is_empty()) else {
            let (catalog, unfit) = (Arc::clone(catalog), unfit.clone());
            return Arc::new(Self { catalog, unfit, ..Self::default() });
        };
        let alike = before.filter(|old| {
            (&old.catalog.settings, &old.catalog.nodes) == (settings, &catalog.nodes)
        });
        let nodes = match alike {
            Some(old) => old.nodes.clone(),
            None => nodes(catalog, &datacenter),
        };
        let mut services = HashMap::with_capacity(catalog.services.len());
        for (text, offers) in &catalog.services {
            let Some(label) = label(text) else { continue };
            let gone = |id: &InstanceId| unfit.contains(id);
            let out: Vec<bool> =
                offers.values().map(|offer| offer.instance.as_ref().is_some_and(gone)).collect();
            let same = alike.and_then(|old| {
                let known = old.services.get(&label)?;
                let from = old.catalog.services.get(text)?;
                (Arc::ptr_eq(from, offers) && known.out == out).then(|| Arc::clone(known))
            });
            let made = same.unwrap_or_else(|| {
                let ttl = settings.ttl_of(text);
                let offers = offers.values().zip(&out).filter(|(_, out)| !**out);
                let spots = offers
                    .filter_map(|(offer, _)| {
                        Spot::of(offer, &nodes, &datacenter, settings.only_passing)
                    })
                    .collect();
                Arc::new(Service::of(ttl, spots, out.clone()))
            });
            services.insert(label, made);
        }
        let elsewhere = catalog
            .elsewhere
            .iter()
            .filter_map(|text| Some((label(text)?, format!("{ASKED_PREFIX}{text}").into())));
        let marks = match view.partial {
            true => {
                services.keys().map(|label| (label.clone(), Mark::kept(before, label))).collect()
            }
            false => HashMap::new(),
        };
        let here = Name::parse(&view.host.as_str().to_ascii_lowercase());
        Arc::new(Self {
            reverse: reverse(&nodes, &services, &datacenter),
            here: here.and_then(|name| nodes.get(name.as_wire()).cloned()),
            elsewhere: elsewhere.collect(),
            marks,
            queries: Queries::of(&catalog.queries, before.map(|old| &old.queries)),
            node_ttl: settings.node_ttl_s,
            udp_answers: match settings.udp_answers {
                0 => usize::MAX,
                some => usize::from(some),
            },
            serial: u32::try_from(view.index.0 & u64::from(u32::MAX)).unwrap_or(0),
            catalog: Arc::clone(catalog),
            unfit: unfit.clone(),
            domains,
            datacenter,
            nodes,
            services,
        })
    }
}

impl Mark {
    fn kept(before: Option<&Arc<Consul>>, label: &[u8]) -> Self {
        before.and_then(|before| before.marks.get(label)).cloned().unwrap_or_default()
    }
}

impl Consul {
    /// Was this service asked for since the last such question?
    pub(super) fn take_mark(&self, service: &str) -> bool {
        label(service).is_some_and(|label| self.marks.get(&label).is_some_and(Mark::take))
    }
}

impl Service {
    fn of(ttl: u32, spots: Vec<Spot>, out: Vec<bool>) -> Self {
        let mut plain: Option<Vec<Ipv4Addr>> = Some(vec![]);
        for spot in &spots {
            match (&spot.place, &mut plain) {
                (Place::V4(address), Some(known)) => known.push(*address),
                _ => plain = None,
            }
        }
        let plain = plain.map(|mut all| {
            let mut seen = BTreeSet::new();
            all.retain(|address| seen.insert(*address));
            all.into()
        });
        Self { ttl, plain, spots, out }
    }
}

/// The name of a service as the text of a label; `None` when nobody can ask for it.
fn label(text: &str) -> Option<Box<[u8]>> {
    let name = Name::parse(text)?;
    let (length, label) = name.as_wire().split_first()?;
    (usize::from(*length) == label.len()).then(|| label.into())
}

fn nodes(catalog: &CatalogView, datacenter: &Name) -> HashMap<Name, Arc<Node>> {
    let all = catalog.nodes.iter().filter_map(|(text, node)| {
        let name = Name::parse(text)?;
        let target = within(&[name.as_wire(), b"\x04node", datacenter.as_wire()])?;
        let place = Place::parse(&node.address)?;
        let words = node.meta.iter().take(CONSUL_NODE_WORDS_MAX);
        let words = words.map(|(key, value)| txt(key, value)).collect();
        let (told, fitness) = (Arc::clone(node), node.fitness);
        Some((name.clone(), Arc::new(Node { name, told, place, target, words, fitness })))
    });
    all.collect()
}

/// `key=value` as strings of a TXT record.
fn txt(key: &str, value: &str) -> Box<[u8]> {
    let text = match key.starts_with(VALUE_ONLY) {
        true => value.to_owned(),
        false => format!("{key}={value}"),
    };
    let mut data = vec![];
    for part in text.as_bytes().chunks(TXT_STRING_MAX) {
        data.push(u8::try_from(part.len()).unwrap_or(0));
        data.extend_from_slice(part);
    }
    if data.is_empty() {
        data.push(0);
    }
    data.into()
}

/// Names by address: those of nodes, and where there is none those of services.
fn reverse(
    nodes: &HashMap<Name, Arc<Node>>,
    services: &HashMap<Box<[u8]>, Arc<Service>>,
    datacenter: &Name,
) -> HashMap<Name, Vec<Name>> {
    let mut of_nodes: BTreeMap<Name, BTreeSet<Name>> = BTreeMap::new();
    for node in nodes.values() {
        if let Some(name) = node.place.ip().and_then(reverse_name) {
            of_nodes.entry(name).or_default().insert(node.target.clone());
        }
    }
    let mut of_services: BTreeMap<Name, BTreeSet<Name>> = BTreeMap::new();
    for (label, service) in services {
        for spot in service.spots.iter().filter(|spot| spot.own) {
            let name = spot.place.ip().and_then(reverse_name);
            let length = [u8::try_from(label.len()).unwrap_or(0)];
            let target = within(&[&length, label, b"\x07service", datacenter.as_wire()]);
            if let (Some(name), Some(target)) = (name, target)
                && !of_nodes.contains_key(&name)
            {
                of_services.entry(name).or_default().insert(target);
            }
        }
    }
    let all = of_nodes.into_iter().chain(of_services);
    all.map(|(name, targets)| (name, targets.into_iter().collect())).collect()
}
