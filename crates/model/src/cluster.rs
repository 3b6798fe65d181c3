//! `Cluster`: everything the server knows, at one `Index`. Persistent maps: a clone is O(1).

use crate::change::{Change, Edit};
use crate::host::{Environment, Host};
use crate::id::{HostId, InstanceId, ServiceId, StackName};
use crate::instance::{Instance, InstanceStatus};
use crate::record::{Record, RecordKey, Revision, Service, ServiceStatus, Stack, Token};
use crate::time::Index;
use rpds::RedBlackTreeMapSync as Map;
use std::sync::Arc;

/// A record and the index of its last edit.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept<T> {
    /// The record.
    pub value: Arc<T>,
    /// When it was last put.
    pub modified: Index,
}

/// All state at one index.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cluster {
    index: Index,
    environment: Option<Kept<Environment>>,
    stacks: Map<StackName, Kept<Stack>>,
    services: Map<ServiceId, Kept<Service>>,
    revisions: Map<(ServiceId, u32), Kept<Revision>>,
    service_statuses: Map<ServiceId, Kept<ServiceStatus>>,
    instances: Map<InstanceId, Kept<Instance>>,
    instance_statuses: Map<InstanceId, Kept<InstanceStatus>>,
    hosts: Map<HostId, Kept<Host>>,
    tokens: Map<String, Kept<Token>>,
}

impl Cluster {
    /// Applies what the store delivered. Indexes never go back; an older one is ignored.
    pub fn apply(&mut self, index: Index, change: &Change) {
        if index < self.index {
            return;
        }
        self.index = index;
        for edit in &change.edits {
            match edit {
                Edit::Put(record) => self.put(index, record),
                Edit::Delete(key) => self.delete(key),
            }
        }
    }

    fn put(&mut self, modified: Index, record: &Record) {
        fn kept<T>(value: &Arc<T>, modified: Index) -> Kept<T> {
            Kept { value: Arc::clone(value), modified }
        }
        match record {
            Record::Environment(e) => self.environment = Some(kept(e, modified)),
            Record::Stack(s) => self.stacks.insert_mut(s.name.clone(), kept(s, modified)),
            Record::Service(s) => self.services.insert_mut(s.id.clone(), kept(s, modified)),
            Record::Revision(r) => {
                self.revisions.insert_mut((r.service.clone(), r.number), kept(r, modified));
            }
            Record::ServiceStatus(s) => {
                self.service_statuses.insert_mut(s.service.clone(), kept(s, modified));
            }
            Record::Instance(i) => self.instances.insert_mut(i.id.clone(), kept(i, modified)),
            Record::InstanceStatus(id, s) => {
                self.instance_statuses.insert_mut(id.clone(), kept(s, modified));
            }
            Record::Host(h) => self.hosts.insert_mut(h.id.clone(), kept(h, modified)),
            Record::Token(t) => self.tokens.insert_mut(t.id.clone(), kept(t, modified)),
        }
    }

    fn delete(&mut self, key: &RecordKey) {
        match key {
            RecordKey::Environment => self.environment = None,
            RecordKey::Stack(name) => drop(self.stacks.remove_mut(name)),
            RecordKey::Service(id) => drop(self.services.remove_mut(id)),
            RecordKey::Revision(id, n) => drop(self.revisions.remove_mut(&(id.clone(), *n))),
            RecordKey::ServiceStatus(id) => drop(self.service_statuses.remove_mut(id)),
            RecordKey::Instance(id) => drop(self.instances.remove_mut(id)),
            RecordKey::InstanceStatus(id) => drop(self.instance_statuses.remove_mut(id)),
            RecordKey::Host(id) => drop(self.hosts.remove_mut(id)),
            RecordKey::Token(id) => drop(self.tokens.remove_mut(id)),
        }
    }

    /// Index of the newest change applied.
    #[must_use]
    pub fn index(&self) -> Index {
        self.index
    }

    /// When the record at `key` was last put, `None` when there is none.
    #[must_use]
    pub fn modified(&self, key: &RecordKey) -> Option<Index> {
        match key {
            RecordKey::Environment => self.environment.as_ref().map(|k| k.modified),
            RecordKey::Stack(name) => self.stacks.get(name).map(|k| k.modified),
            RecordKey::Service(id) => self.services.get(id).map(|k| k.modified),
            RecordKey::Revision(id, n) => self.revisions.get(&(id.clone(), *n)).map(|k| k.modified),
            RecordKey::ServiceStatus(id) => self.service_statuses.get(id).map(|k| k.modified),
            RecordKey::Instance(id) => self.instances.get(id).map(|k| k.modified),
            RecordKey::InstanceStatus(id) => self.instance_statuses.get(id).map(|k| k.modified),
            RecordKey::Host(id) => self.hosts.get(id).map(|k| k.modified),
            RecordKey::Token(id) => self.tokens.get(id).map(|k| k.modified),
        }
    }

    /// The environment; there is none only before the first start has written it.
    #[must_use]
    pub fn environment(&self) -> Option<&Arc<Environment>> {
        self.environment.as_ref().map(|kept| &kept.value)
    }

    /// A stack.
    #[must_use]
    pub fn stack(&self, name: &StackName) -> Option<&Arc<Stack>> {
        self.stacks.get(name).map(|kept| &kept.value)
    }

    /// All stacks by name.
    pub fn stacks(&self) -> impl Iterator<Item = &Arc<Stack>> {
        self.stacks.values().map(|kept| &kept.value)
    }

    /// A service.
    #[must_use]
    pub fn service(&self, id: &ServiceId) -> Option<&Arc<Service>> {
        self.services.get(id).map(|kept| &kept.value)
    }

    /// All services by stack and name.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values().map(|kept| &kept.value)
    }

    /// The services of one stack by name.
    pub fn services_of<'a>(
        &'a self,
        stack: &'a StackName,
    ) -> impl Iterator<Item = &'a Arc<Service>> {
        self.services().filter(move |service| service.id.stack == *stack)
    }

    /// A revision.
    #[must_use]
    pub fn revision(&self, service: &ServiceId, number: u32) -> Option<&Arc<Revision>> {
        self.revisions.get(&(service.clone(), number)).map(|kept| &kept.value)
    }

    /// The revisions of a service, oldest first.
    pub fn revisions_of(&self, service: &ServiceId) -> impl Iterator<Item = &Arc<Revision>> {
        self.revisions
            .range((service.clone(), 0)..=(service.clone(), u32::MAX))
            .map(|(_, kept)| &kept.value)
    }

    /// What the planner knows of a service.
    #[must_use]
    pub fn service_status(&self, id: &ServiceId) -> Option<&Arc<ServiceStatus>> {
        self.service_statuses.get(id).map(|kept| &kept.value)
    }

    /// An instance.
    #[must_use]
    pub fn instance(&self, id: &InstanceId) -> Option<&Arc<Instance>> {
        self.instances.get(id).map(|kept| &kept.value)
    }

    /// All instances by service, slot and incarnation.
    pub fn instances(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.instances.values().map(|kept| &kept.value)
    }

    /// The instances of one service by slot and incarnation; cost follows the service.
    pub fn instances_of(&self, service: &ServiceId) -> impl Iterator<Item = &Arc<Instance>> {
        let from = InstanceId::new(service.clone(), 0, 0);
        let to = InstanceId::new(service.clone(), u32::MAX, u64::MAX);
        self.instances.range(from..=to).map(|(_, kept)| &kept.value)
    }

    /// What was seen of an instance.
    #[must_use]
    pub fn instance_status(&self, id: &InstanceId) -> Option<&Arc<InstanceStatus>> {
        self.instance_statuses.get(id).map(|kept| &kept.value)
    }

    /// All statuses of instances.
    pub fn instance_statuses(&self) -> impl Iterator<Item = (&InstanceId, &Arc<InstanceStatus>)> {
        self.instance_statuses.iter().map(|(id, kept)| (id, &kept.value))
    }

    /// A host.
    #[must_use]
    pub fn host(&self, id: &HostId) -> Option<&Arc<Host>> {
        self.hosts.get(id).map(|kept| &kept.value)
    }

    /// All hosts by id.
    pub fn hosts(&self) -> impl Iterator<Item = &Arc<Host>> {
        self.hosts.values().map(|kept| &kept.value)
    }

    /// A token by its public part.
    #[must_use]
    pub fn token(&self, id: &str) -> Option<&Arc<Token>> {
        self.tokens.get(id).map(|kept| &kept.value)
    }

    /// All tokens.
    pub fn tokens(&self) -> impl Iterator<Item = &Arc<Token>> {
        self.tokens.values().map(|kept| &kept.value)
    }
}
