//! The services of a fleet with their instances, and shapes: what all instances of one revision
//! have alike. Which shapes have a label is indexed, so that a constraint on containers costs what
//! the shapes cost and not what the instances do.

use super::bits::Bits;
use model::id::ServiceId;
use model::instance::{Goal, Instance};
use model::service::Transport;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// An instance that is noted.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) instance: Arc<Instance>,
    pub(super) host: u32,
    pub(super) shape: u32,
}

impl Held {
    /// Does it count where instances are spread? It is to run, and not to be replaced elsewhere.
    pub(super) fn stays(&self) -> bool {
        self.instance.goal == Goal::Run && !self.instance.leaving
    }
}

/// One service.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) id: ServiceId,
    /// By slot and incarnation.
    pub(super) members: BTreeMap<(u32, u64), Held>,
    /// Instances made so far, as its status says.
    incarnations: u64,
    /// Highest incarnation noted since then.
    made: u64,
    /// Shapes by revision.
    shapes: Vec<(u32, u32)>,
    /// Addresses that its slots keep.
    pub(super) kept: Vec<Ipv4Addr>,
    /// Its record or its status is there.
    known: bool,
}

/// All services.
#[derive(Clone, Debug, Default)]
pub(super) struct Services {
    by_id: BTreeMap<ServiceId, u32>,
    /// By `stack-service` in lower case, as containers are named.
    by_name: BTreeMap<String, Vec<u32>>,
    pub(super) all: Vec<Entry>,
    vacant: Vec<u32>,
    /// Sum of all incarnations: whose turn it is in the range of addresses.
    pub(super) turn: u64,
}

/// What all instances of one revision have alike.
#[derive(Clone, Debug, Default)]
pub(super) struct Shape {
    pub(super) service: u32,
    pub(super) cpu: i64,
    pub(super) memory: i64,
    /// Ports of the host's own network, as in `needs::exclusive_ports`.
    pub(super) exclusive: Vec<(u16, Transport)>,
    /// Each is on a host that it asked for.
    pub(super) pinned: bool,
    /// Names of the sidekicks.
    pub(super) sidekicks: Vec<model::id::ServiceName>,
    labels: BTreeSet<(String, String)>,
    /// Its instances.
    pub(super) members: u32,
}

/// All shapes.
#[derive(Clone, Debug, Default)]
pub(super) struct Shapes {
    pub(super) all: Vec<Shape>,
    vacant: Vec<u32>,
    by_label: BTreeMap<String, BTreeMap<String, BTreeSet<u32>>>,
}

fn name_of(id: &ServiceId) -> String {
    format!("{}-{}", id.stack, id.service).to_lowercase()
}

impl Entry {
    fn turn(&self) -> u64 {
        self.incarnations.max(self.made)
    }

    pub(super) fn shape(&self, revision: u32) -> Option<u32> {
        self.shapes.iter().find(|(number, _)| *number == revision).map(|(_, shape)| *shape)
    }
}

impl Services {
    pub(super) fn index(&self, id: &ServiceId) -> Option<u32> {
        self.by_id.get(id).copied()
    }

    pub(super) fn get(&self, index: u32) -> &Entry {
        &self.all[index as usize]
    }

    pub(super) fn get_mut(&mut self, index: u32) -> &mut Entry {
        &mut self.all[index as usize]
    }

    /// Services whose containers' names begin so.
    pub(super) fn named(&self, prefix: &str) -> &[u32] {
        self.by_name.get(prefix).map_or(&[], Vec::as_slice)
    }

    pub(super) fn intern(&mut self, id: &ServiceId) -> u32 {
        if let Some(index) = self.by_id.get(id) {
            return *index;
        }
        let entry = Entry {
            id: id.clone(),
            members: BTreeMap::new(),
            incarnations: 0,
            made: 0,
            shapes: vec![],
            kept: vec![],
            known: false,
        };
        let index = match self.vacant.pop() {
            Some(index) => {
                self.all[index as usize] = entry;
                index
            }
            None => {
                self.all.push(entry);
                u32::try_from(self.all.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.by_id.insert(id.clone(), index);
        self.by_name.entry(name_of(id)).or_default().push(index);
        index
    }

    /// Notes how many instances a service has made, as its status says.
    pub(super) fn count(&mut self, index: u32, incarnations: Option<u64>) {
        let entry = &mut self.all[index as usize];
        let before = entry.turn();
        entry.known = incarnations.is_some();
        (entry.incarnations, entry.made) = (incarnations.unwrap_or(0), 0);
        self.turn = self.turn.wrapping_sub(before).wrapping_add(entry.turn());
    }

    /// Notes an incarnation that was given.
    pub(super) fn made(&mut self, index: u32, incarnation: u64) {
        let entry = &mut self.all[index as usize];
        let before = entry.turn();
        entry.made = entry.made.max(incarnation);
        self.turn = self.turn.wrapping_sub(before).wrapping_add(entry.turn());
    }

    /// Forgets a service of which nothing is left. Says whether it did.
    pub(super) fn vacate(&mut self, index: u32) -> bool {
        let entry = &self.all[index as usize];
        if entry.known || !entry.members.is_empty() || !entry.kept.is_empty() {
            return false;
        }
        let id = entry.id.clone();
        if self.by_id.remove(&id).is_none() {
            return false;
        }
        self.turn = self.turn.wrapping_sub(self.all[index as usize].turn());
        let name = name_of(&id);
        if let Some(named) = self.by_name.get_mut(&name) {
            named.retain(|other| *other != index);
            if named.is_empty() {
                self.by_name.remove(&name);
            }
        }
        let entry = &mut self.all[index as usize];
        (entry.incarnations, entry.made) = (0, 0);
        self.vacant.push(index);
        true
    }
}

/// What a new shape is made from.
pub(super) struct Cast {
    pub(super) service: u32,
    pub(super) cpu: i64,
    pub(super) memory: i64,
    pub(super) exclusive: Vec<(u16, Transport)>,
    pub(super) pinned: bool,
    pub(super) sidekicks: Vec<model::id::ServiceName>,
    pub(super) labels: BTreeSet<(String, String)>,
}

impl Shapes {
    pub(super) fn get(&self, index: u32) -> &Shape {
        &self.all[index as usize]
    }

    pub(super) fn make(&mut self, of: &mut Entry, revision: u32, cast: Cast) -> u32 {
        let shape = Shape {
            service: cast.service,
            cpu: cast.cpu,
            memory: cast.memory,
            exclusive: cast.exclusive,
            pinned: cast.pinned,
            sidekicks: cast.sidekicks,
            labels: cast.labels,
            members: 0,
        };
        let index = match self.vacant.pop() {
            Some(index) => index,
            None => {
                self.all.push(Shape::default());
                u32::try_from(self.all.len() - 1).unwrap_or(u32::MAX)
            }
        };
        for (key, value) in &shape.labels {
            let values = self.by_label.entry(key.clone()).or_default();
            values.entry(value.clone()).or_default().insert(index);
        }
        self.all[index as usize] = shape;
        of.shapes.push((revision, index));
        index
    }

    pub(super) fn count(&mut self, index: u32, add: bool) {
        let members = &mut self.all[index as usize].members;
        *members = if add { *members + 1 } else { members.saturating_sub(1) };
    }

    /// Forgets a shape without members.
    pub(super) fn vacate(&mut self, of: &mut Entry, index: u32) {
        if self.all[index as usize].members > 0 {
            return;
        }
        let before = of.shapes.len();
        of.shapes.retain(|(_, shape)| *shape != index);
        if of.shapes.len() == before {
            return;
        }
        let shape = std::mem::take(&mut self.all[index as usize]);
        for (key, value) in &shape.labels {
            let Some(values) = self.by_label.get_mut(key) else { continue };
            if let Some(shapes) = values.get_mut(value) {
                shapes.remove(&index);
                if shapes.is_empty() {
                    values.remove(value);
                }
            }
            if values.is_empty() {
                self.by_label.remove(key);
            }
        }
        self.vacant.push(index);
    }

    /// Shapes that have the label.
    pub(super) fn labelled(&self, key: &str, value: Option<&str>) -> Bits {
        let Some(values) = self.by_label.get(key) else { return Bits::default() };
        match value {
            None => values.values().flatten().copied().collect(),
            Some(value) => values.get(value).into_iter().flatten().copied().collect(),
        }
    }
}
