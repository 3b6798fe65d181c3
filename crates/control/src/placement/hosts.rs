//! The hosts of a fleet: what each has left, who is on it, and which hosts have a label.

use super::bits::Bits;
use super::order::{Measure, Orders};
use model::host::{Host, HostLink, Scheduling};
use model::id::HostId;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Addresses of the host that ports are published on: Rancher's label.
const IPS: &str = "io.rancher.scheduler.ips";
/// A host that takes only containers with one of these labels: Rancher's label.
const REQUIRE_ANY: &str = "io.rancher.scheduler.require_any";

/// Which hosts have a label.
#[derive(Clone, Debug, Default)]
pub(super) struct Labelled {
    pub(super) any: Bits,
    pub(super) by_value: BTreeMap<String, Bits>,
}

/// What is left on a host: looked at for every candidate, so it is kept small and together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Left {
    /// Thousandths of a core; below zero when the host has become smaller.
    pub(super) cpu: i64,
    /// Bytes.
    pub(super) memory: i64,
    /// Instances there.
    pub(super) instances: u32,
    /// Place among all hosts by id.
    pub(super) rank: u32,
}

/// Instances of one service on one host.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Own {
    pub(super) service: u32,
    /// That are to run.
    pub(super) run: u32,
    /// Of these, that are not to be replaced elsewhere.
    pub(super) stay: u32,
    /// Records.
    pub(super) all: u32,
}

/// Instances of one shape on one host.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Present {
    pub(super) shape: u32,
    /// That are to run.
    pub(super) run: u32,
    /// That are to run or are going.
    pub(super) here: u32,
    /// Records.
    pub(super) all: u32,
}

/// One host.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// `None`: it has left the cluster and instances are still noted on it.
    pub(super) record: Option<Arc<Host>>,
    /// In lower case.
    pub(super) labels: BTreeMap<String, String>,
    /// Plain containers with an address.
    pub(super) attached: u32,
    /// By service.
    pub(super) own: Vec<Own>,
    /// By shape.
    pub(super) present: Vec<Present>,
    pub(super) ips: Vec<IpAddr>,
    pub(super) require_any: Vec<(String, Option<String>)>,
    capacity: (i64, i64),
}

/// What a change of a host means for what could not be placed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct HostChange {
    /// Its labels or whether it takes instances changed, or it is new.
    pub(super) hosts: bool,
    /// It has become larger.
    pub(super) capacity: bool,
    /// Anything changed that placing looks at.
    pub(super) any: bool,
}

/// All hosts.
#[derive(Clone, Debug, Default)]
pub(super) struct Hosts {
    by_id: BTreeMap<HostId, u32>,
    pub(super) all: Vec<Entry>,
    /// Beside the entries: it is looked at for each instance, and they are large.
    ids: Vec<HostId>,
    left: Vec<Left>,
    pub(super) orders: Orders,
    vacant: Vec<u32>,
    /// Known hosts by id.
    pub(super) order: Vec<u32>,
    /// That take instances now.
    pub(super) takes: Bits,
    /// That are connected.
    pub(super) connected: u32,
    /// That ask for a label.
    pub(super) choosy: Bits,
    /// That publish on certain addresses.
    pub(super) with_ips: Bits,
    labels: BTreeMap<String, Labelled>,
}

fn labels_of(host: &Host) -> BTreeMap<String, String> {
    let lower = |(key, value): (String, String)| (key.to_lowercase(), value.to_lowercase());
    host.all_labels().into_iter().map(lower).collect()
}

fn words(text: Option<&String>) -> impl Iterator<Item = &str> {
    let text = text.map_or("", String::as_str);
    text.split(',').map(str::trim).filter(|word| !word.is_empty())
}

/// Where a key is in a list that is in their order, or belongs. What came last is asked for most,
/// and has the highest number: the others are not looked at then.
#[inline]
fn found<T>(all: &[T], key: u32, of: impl Fn(&T) -> u32) -> Result<usize, usize> {
    match all.last().map(&of) {
        None => Err(0),
        Some(last) if last == key => Ok(all.len() - 1),
        Some(last) if last < key => Err(all.len()),
        Some(_) => all.binary_search_by_key(&key, of),
    }
}

impl Entry {
    fn new() -> Self {
        Self {
            record: None,
            labels: BTreeMap::new(),
            attached: 0,
            own: vec![],
            present: vec![],
            ips: vec![],
            require_any: vec![],
            capacity: (0, 0),
        }
    }

    pub(super) fn own(&self, service: u32) -> Own {
        match found(&self.own, service, |own| own.service) {
            Ok(at) => self.own[at],
            Err(_) => Own { service, ..Own::default() },
        }
    }

    pub(super) fn own_mut(&mut self, service: u32) -> &mut Own {
        let at = match found(&self.own, service, |own| own.service) {
            Ok(at) => at,
            Err(at) => {
                self.own.insert(at, Own { service, ..Own::default() });
                at
            }
        };
        &mut self.own[at]
    }

    pub(super) fn present_mut(&mut self, shape: u32) -> &mut Present {
        let at = match found(&self.present, shape, |present| present.shape) {
            Ok(at) => at,
            Err(at) => {
                self.present.insert(at, Present { shape, ..Present::default() });
                at
            }
        };
        &mut self.present[at]
    }

    /// The text of its label, for people.
    pub(super) fn require_text(&self) -> String {
        self.labels.get(REQUIRE_ANY).cloned().unwrap_or_default()
    }
}

impl Hosts {
    pub(super) fn index(&self, id: &HostId) -> Option<u32> {
        self.by_id.get(id).copied()
    }

    pub(super) fn id(&self, index: u32) -> &HostId {
        &self.ids[index as usize]
    }

    pub(super) fn get(&self, index: u32) -> &Entry {
        &self.all[index as usize]
    }

    pub(super) fn get_mut(&mut self, index: u32) -> &mut Entry {
        &mut self.all[index as usize]
    }

    #[inline]
    pub(super) fn left(&self, index: u32) -> Left {
        self.left[index as usize]
    }

    /// Notes what is left on a host now.
    pub(super) fn set_left(&mut self, index: u32, left: Left) {
        self.left[index as usize] = left;
        // One that has left the cluster is in no order, and its rank is another's.
        if self.order.get(left.rank as usize) == Some(&index) {
            self.orders.moved(left.rank);
        }
    }

    /// Makes the order of all hosts if it is not there.
    pub(super) fn make_order(&mut self, measure: Measure) {
        let Self { orders, order, left, .. } = self;
        let count = u32::try_from(order.len()).unwrap_or(u32::MAX);
        orders.make(measure, count, |rank| left[order[rank as usize] as usize]);
    }

    /// Which hosts have the label.
    pub(super) fn labelled(&self, key: &str, value: Option<&str>) -> Option<&Bits> {
        let of = self.labels.get(key)?;
        match value {
            None => Some(&of.any),
            Some(value) => of.by_value.get(value),
        }
    }

    /// Its place in the table; one is made for a host that is not known.
    pub(super) fn intern(&mut self, id: &HostId) -> u32 {
        if let Some(index) = self.by_id.get(id) {
            return *index;
        }
        let entry = Entry::new();
        let index = match self.vacant.pop() {
            Some(index) => {
                self.all[index as usize] = entry;
                self.ids[index as usize] = id.clone();
                self.left[index as usize] = Left::default();
                index
            }
            None => {
                self.all.push(entry);
                self.ids.push(id.clone());
                self.left.push(Left::default());
                u32::try_from(self.all.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.by_id.insert(id.clone(), index);
        index
    }

    /// Forgets a place that stands for nothing any more. Says whether it did.
    pub(super) fn vacate(&mut self, index: u32) -> bool {
        let entry = &self.all[index as usize];
        let empty = entry.record.is_none() && entry.own.is_empty() && entry.attached == 0;
        if empty {
            self.by_id.remove(&self.ids[index as usize]);
            self.vacant.push(index);
        }
        empty
    }

    fn index_labels(&mut self, index: u32, on: bool) {
        for (key, value) in &self.all[index as usize].labels {
            let of = match self.labels.get_mut(key) {
                Some(of) => of,
                None => self.labels.entry(key.clone()).or_default(),
            };
            of.any.set(index, on);
            match of.by_value.get_mut(value) {
                Some(bits) => {
                    bits.set(index, on);
                    if !on && bits.is_empty() {
                        of.by_value.remove(value);
                    }
                }
                None if on => of.by_value.entry(value.clone()).or_default().set(index, true),
                None => {}
            }
            if of.by_value.is_empty() {
                self.labels.remove(key);
            }
        }
    }

    fn order_from(&mut self, at: usize) {
        self.orders.clear();
        for (rank, index) in (0_u32..).zip(&self.order).skip(at) {
            self.left[*index as usize].rank = rank;
        }
    }

    /// Notes a host as it is now.
    pub(super) fn put(&mut self, host: &Arc<Host>) -> (u32, HostChange) {
        let index = self.intern(&host.id);
        let place = index as usize;
        let mut change = HostChange::default();
        let known = self.all[place].record.replace(Arc::clone(host));
        if known.is_none() {
            let by_id = |other: &u32| self.ids[*other as usize].cmp(&host.id);
            let at = self.order.binary_search_by(by_id).unwrap_or_else(|at| at);
            self.order.insert(at, index);
            self.order_from(at);
            change = HostChange { hosts: true, capacity: true, any: true };
        }
        let was_connected = known.as_ref().is_some_and(|h| h.status == HostLink::Active);
        let is_connected = host.status == HostLink::Active;
        self.connected = self.connected + u32::from(is_connected) - u32::from(was_connected);
        if self.takes.has(index) != host.takes_instances()
            || known.as_ref().is_none_or(|k| {
                k.status != host.status
                    || k.scheduling.is_draining() != host.scheduling.is_draining()
            })
        {
            change.any = true;
            change.hosts |= host.takes_instances();
            self.takes.set(index, host.takes_instances());
        }
        let labels = labels_of(host);
        let renamed = known.as_ref().is_some_and(|k| k.facts.hostname != host.facts.hostname);
        if labels != self.all[place].labels || renamed {
            self.index_labels(index, false);
            self.all[place].labels = labels;
            self.index_labels(index, true);
            (change.any, change.hosts) = (true, true);
        }
        self.read_labels(index);
        let cpu = i64::from(host.facts.cpus).saturating_mul(1_000);
        let memory = i64::try_from(host.facts.memory).unwrap_or(i64::MAX);
        let (cpu_before, memory_before) = self.all[place].capacity;
        if (cpu, memory) != (cpu_before, memory_before) {
            let mut left = self.left[place];
            left.cpu += cpu - cpu_before;
            left.memory += memory - memory_before;
            self.set_left(index, left);
            self.all[place].capacity = (cpu, memory);
            change.any = true;
            change.capacity |= cpu > cpu_before || memory > memory_before;
        }
        (index, change)
    }

    fn read_labels(&mut self, index: u32) {
        let entry = &mut self.all[index as usize];
        entry.ips = words(entry.labels.get(IPS)).filter_map(|word| word.parse().ok()).collect();
        entry.require_any = words(entry.labels.get(REQUIRE_ANY))
            .map(|word| match word.split_once('=') {
                Some((key, value)) => (key.trim().to_owned(), Some(value.trim().to_owned())),
                None => (word.to_owned(), None),
            })
            .collect();
        let (choosy, with_ips) = (!entry.require_any.is_empty(), !entry.ips.is_empty());
        self.choosy.set(index, choosy);
        self.with_ips.set(index, with_ips);
    }

    /// Notes that a host has left the cluster. What is on it stays noted.
    pub(super) fn remove(&mut self, id: &HostId) -> Option<u32> {
        let index = self.index(id)?;
        let record = self.all[index as usize].record.take()?;
        self.connected -= u32::from(record.status == HostLink::Active);
        self.index_labels(index, false);
        self.takes.set(index, false);
        let entry = &mut self.all[index as usize];
        let (cpu, memory) = std::mem::take(&mut entry.capacity);
        entry.labels.clear();
        self.left[index as usize].cpu -= cpu;
        self.left[index as usize].memory -= memory;
        self.read_labels(index);
        if let Some(at) = self.order.iter().position(|other| *other == index) {
            self.order.remove(at);
            self.order_from(at);
        }
        self.vacate(index);
        Some(index)
    }

    /// Why a host takes nothing now, when it does not.
    pub(super) fn closed(&self, index: u32) -> Option<model::reason::Lack> {
        use model::reason::Lack;
        let host = self.get(index).record.as_ref()?;
        match (host.status, host.scheduling) {
            (HostLink::Disconnected | HostLink::Lost | HostLink::Joined, _) => {
                Some(Lack::Connection)
            }
            (HostLink::Active, Scheduling::Cordoned) => Some(Lack::Cordoned),
            (HostLink::Active, Scheduling::Draining { .. }) => Some(Lack::Draining),
            (HostLink::Active, Scheduling::Active) => None,
        }
    }
}
