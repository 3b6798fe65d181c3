//! `Cluster`: everything the server knows, at one `Index`. Persistent maps: a clone is O(1).

use crate::change::{Change, Edit};
use crate::floating::Floating;
use crate::host::{Environment, Host};
use crate::id::{HostId, InstanceId, ServiceId, ServiceName, StackName};
use crate::instance::{Instance, InstanceStatus};
use crate::limits::RECENT_KEYS_MAX;
use crate::plain::{Attachment, PlainContainer, PlainId};
use crate::prepared::PreparedQuery;
use crate::record::{Record, RecordKey, Revision, Service, ServiceStatus, Stack, Token};
use crate::registration::{CheckState, ClientCheck, ClientKey, ClientNode, ClientService};
use crate::time::Index;
use rpds::RedBlackTreeMapSync as Map;
use std::net::Ipv4Addr;
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
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    index: Index,
    recent: Recent,
    environment: Option<Kept<Environment>>,
    stacks: Map<StackName, Kept<Stack>>,
    services: Map<ServiceId, Kept<Service>>,
    revisions: Map<(ServiceId, u32), Kept<Revision>>,
    service_statuses: Map<ServiceId, Kept<ServiceStatus>>,
    instances: Map<InstanceId, Kept<Instance>>,
    instance_statuses: Map<InstanceId, Kept<InstanceStatus>>,
    hosts: Map<HostId, Kept<Host>>,
    tokens: Map<String, Kept<Token>>,
    plain: Map<PlainId, Kept<PlainContainer>>,
    attachments: Map<PlainId, Kept<Attachment>>,
    floating: Map<Ipv4Addr, Kept<Floating>>,
    client_nodes: Map<String, Kept<ClientNode>>,
    client_services: Map<ClientKey, Kept<ClientService>>,
    client_checks: Map<ClientKey, Kept<ClientCheck>>,
    check_states: Map<ClientKey, Kept<CheckState>>,
    queries: Map<String, Kept<PreparedQuery>>,
    /// Instances by host: their records say the same.
    on_hosts: Map<(HostId, InstanceId), ()>,
}

/// Which records the last changes touched, newest `limits::RECENT_KEYS_MAX` of them.
#[derive(Clone, Debug, Default)]
struct Recent {
    by_index: Map<Index, Arc<[RecordKey]>>,
    keys: usize,
    /// What was touched up to here is not known any more.
    forgotten: Index,
}

impl Recent {
    fn note(&mut self, index: Index, change: &Change) {
        let known = self.by_index.get(&index).map_or(&[] as &[RecordKey], |keys| &**keys);
        let touched = change.edits.iter().map(Edit::key);
        let keys: Arc<[RecordKey]> = known.iter().cloned().chain(touched).collect();
        self.keys += change.edits.len();
        self.by_index.insert_mut(index, keys);
        while self.keys > RECENT_KEYS_MAX {
            let Some((oldest, keys)) = self.by_index.first() else { return };
            let (oldest, count) = (*oldest, keys.len());
            self.by_index.remove_mut(&oldest);
            self.keys = self.keys.saturating_sub(count);
            self.forgotten = oldest;
        }
    }
}

impl PartialEq for Cluster {
    /// The same records at the same index, whatever the way there.
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index
            && self.environment == other.environment
            && self.stacks == other.stacks
            && self.services == other.services
            && self.revisions == other.revisions
            && self.service_statuses == other.service_statuses
            && self.instances == other.instances
            && self.instance_statuses == other.instance_statuses
            && self.hosts == other.hosts
            && self.tokens == other.tokens
            && self.plain == other.plain
            && self.attachments == other.attachments
            && self.floating == other.floating
            && self.client_nodes == other.client_nodes
            && self.client_services == other.client_services
            && self.client_checks == other.client_checks
            && self.check_states == other.check_states
            && self.queries == other.queries
    }
}

impl Cluster {
    /// Applies what the store delivered. Indexes never go back; an older one is ignored.
    pub fn apply(&mut self, index: Index, change: &Change) {
        if index < self.index {
            return;
        }
        self.index = index;
        self.recent.note(index, change);
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
            Record::Instance(i) => {
                self.leave_host(&i.id);
                self.on_hosts.insert_mut((i.host.clone(), i.id.clone()), ());
                self.instances.insert_mut(i.id.clone(), kept(i, modified));
            }
            Record::InstanceStatus(id, s) => {
                self.instance_statuses.insert_mut(id.clone(), kept(s, modified));
            }
            Record::Host(h) => self.hosts.insert_mut(h.id.clone(), kept(h, modified)),
            Record::Token(t) => self.tokens.insert_mut(t.id.clone(), kept(t, modified)),
            Record::Plain(id, p) => self.plain.insert_mut(id.clone(), kept(p, modified)),
            Record::Attachment(a) => self.attachments.insert_mut(a.id.clone(), kept(a, modified)),
            Record::Floating(f) => self.floating.insert_mut(f.address, kept(f, modified)),
            Record::ClientNode(n) => {
                self.client_nodes.insert_mut(n.name.clone(), kept(n, modified));
            }
            Record::ClientService(s) => {
                self.client_services.insert_mut(s.key.clone(), kept(s, modified));
            }
            Record::ClientCheck(c) => {
                self.client_checks.insert_mut(c.key.clone(), kept(c, modified));
            }
            Record::CheckState(s) => self.check_states.insert_mut(s.key.clone(), kept(s, modified)),
            Record::Query(q) => self.queries.insert_mut(q.id.clone(), kept(q, modified)),
        }
    }

    fn delete(&mut self, key: &RecordKey) {
        match key {
            RecordKey::Environment => self.environment = None,
            RecordKey::Stack(name) => drop(self.stacks.remove_mut(name)),
            RecordKey::Service(id) => drop(self.services.remove_mut(id)),
            RecordKey::Revision(id, n) => drop(self.revisions.remove_mut(&(id.clone(), *n))),
            RecordKey::ServiceStatus(id) => drop(self.service_statuses.remove_mut(id)),
            RecordKey::Instance(id) => {
                self.leave_host(id);
                self.instances.remove_mut(id);
            }
            RecordKey::InstanceStatus(id) => drop(self.instance_statuses.remove_mut(id)),
            RecordKey::Host(id) => drop(self.hosts.remove_mut(id)),
            RecordKey::Token(id) => drop(self.tokens.remove_mut(id)),
            RecordKey::Plain(id) => drop(self.plain.remove_mut(id)),
            RecordKey::Attachment(id) => drop(self.attachments.remove_mut(id)),
            RecordKey::Floating(address) => drop(self.floating.remove_mut(address)),
            RecordKey::ClientNode(name) => drop(self.client_nodes.remove_mut(name)),
            RecordKey::ClientService(key) => drop(self.client_services.remove_mut(key)),
            RecordKey::ClientCheck(key) => drop(self.client_checks.remove_mut(key)),
            RecordKey::CheckState(key) => drop(self.check_states.remove_mut(key)),
            RecordKey::Query(id) => drop(self.queries.remove_mut(id)),
        }
    }

    fn leave_host(&mut self, id: &InstanceId) {
        if let Some(old) = self.instances.get(id).map(|kept| kept.value.host.clone()) {
            self.on_hosts.remove_mut(&(old, id.clone()));
        }
    }

    /// Keys of the records that changes after `index` touched, oldest first, some more than once;
    /// `None` when that is too long ago to be known.
    #[must_use]
    pub fn changed_since(&self, index: Index) -> Option<impl Iterator<Item = &RecordKey>> {
        let from = std::ops::Bound::Excluded(index);
        let known = index >= self.recent.forgotten;
        known.then(|| {
            let range = self.recent.by_index.range((from, std::ops::Bound::Unbounded));
            range.flat_map(|(_, keys)| keys.iter())
        })
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
            RecordKey::Plain(id) => self.plain.get(id).map(|k| k.modified),
            RecordKey::Attachment(id) => self.attachments.get(id).map(|k| k.modified),
            RecordKey::Floating(address) => self.floating.get(address).map(|k| k.modified),
            RecordKey::ClientNode(name) => self.client_nodes.get(name).map(|k| k.modified),
            RecordKey::ClientService(key) => self.client_services.get(key).map(|k| k.modified),
            RecordKey::ClientCheck(key) => self.client_checks.get(key).map(|k| k.modified),
            RecordKey::CheckState(key) => self.check_states.get(key).map(|k| k.modified),
            RecordKey::Query(id) => self.queries.get(id).map(|k| k.modified),
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
        let from = ServiceId { stack: stack.clone(), service: ServiceName::lowest() };
        self.services
            .range(from..)
            .take_while(move |(id, _)| id.stack == *stack)
            .map(|(_, kept)| &kept.value)
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

    /// A floating address.
    #[must_use]
    pub fn floating(&self, address: Ipv4Addr) -> Option<&Arc<Floating>> {
        self.floating.get(&address).map(|kept| &kept.value)
    }

    /// All floating addresses.
    pub fn floatings(&self) -> impl Iterator<Item = &Arc<Floating>> {
        self.floating.values().map(|kept| &kept.value)
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

    /// How many instances there are.
    #[must_use]
    pub fn instance_count(&self) -> usize {
        self.instances.size()
    }

    /// The instances of one service by slot and incarnation; cost follows the service.
    pub fn instances_of(&self, service: &ServiceId) -> impl Iterator<Item = &Arc<Instance>> {
        let from = InstanceId::new(service.clone(), 0, 0);
        let to = InstanceId::new(service.clone(), u32::MAX, u64::MAX);
        self.instances.range(from..=to).map(|(_, kept)| &kept.value)
    }

    /// The instances on one host by service, slot and incarnation; cost follows the host.
    pub fn instances_on<'a>(&'a self, host: &'a HostId) -> impl Iterator<Item = &'a Arc<Instance>> {
        let service = ServiceId { stack: StackName::lowest(), service: ServiceName::lowest() };
        let from = (host.clone(), InstanceId::new(service, 0, 0));
        self.on_hosts
            .range(from..)
            .take_while(move |((on, _), ())| on == host)
            .filter_map(|((_, id), ())| self.instance(id))
    }

    /// What was seen of an instance.
    #[must_use]
    pub fn instance_status(&self, id: &InstanceId) -> Option<&Arc<InstanceStatus>> {
        self.instance_statuses.get(id).map(|kept| &kept.value)
    }

    /// What was seen of the containers of one instance; cost follows the instance.
    pub fn statuses_of<'a>(
        &'a self,
        id: &'a InstanceId,
    ) -> impl Iterator<Item = &'a Arc<InstanceStatus>> {
        self.instance_statuses
            .range(id.instance()..)
            .take_while(|(of, _)| {
                of.service == id.service && of.n == id.n && of.incarnation == id.incarnation
            })
            .map(|(_, kept)| &kept.value)
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

    /// A plain container.
    #[must_use]
    pub fn plain(&self, id: &PlainId) -> Option<&Arc<PlainContainer>> {
        self.plain.get(id).map(|kept| &kept.value)
    }

    /// All plain containers by host and id.
    pub fn plains(&self) -> impl Iterator<Item = (&PlainId, &Arc<PlainContainer>)> {
        self.plain.iter().map(|(id, kept)| (id, &kept.value))
    }

    /// The plain containers of one host by id; cost follows the host.
    pub fn plains_on<'a>(
        &'a self,
        host: &'a HostId,
    ) -> impl Iterator<Item = (&'a PlainId, &'a Arc<PlainContainer>)> {
        self.plain
            .range(PlainId::first_on(host)..)
            .take_while(move |(id, _)| id.host == *host)
            .map(|(id, kept)| (id, &kept.value))
    }

    /// The address of a plain container in the managed network.
    #[must_use]
    pub fn attachment(&self, id: &PlainId) -> Option<&Arc<Attachment>> {
        self.attachments.get(id).map(|kept| &kept.value)
    }

    /// The addresses of all plain containers by host and id.
    pub fn attachments(&self) -> impl Iterator<Item = &Arc<Attachment>> {
        self.attachments.values().map(|kept| &kept.value)
    }

    /// The addresses of the plain containers of one host by id; cost follows the host.
    pub fn attachments_on<'a>(
        &'a self,
        host: &'a HostId,
    ) -> impl Iterator<Item = &'a Arc<Attachment>> {
        self.attachments
            .range(PlainId::first_on(host)..)
            .take_while(move |(id, _)| id.host == *host)
            .map(|(_, kept)| &kept.value)
    }

    /// A node that a client registered.
    #[must_use]
    pub fn client_node(&self, name: &str) -> Option<&Arc<ClientNode>> {
        self.client_nodes.get(name).map(|kept| &kept.value)
    }

    /// All nodes that clients registered, by name.
    pub fn client_nodes(&self) -> impl Iterator<Item = &Arc<ClientNode>> {
        self.client_nodes.values().map(|kept| &kept.value)
    }

    /// How many they are.
    #[must_use]
    pub fn client_node_count(&self) -> usize {
        self.client_nodes.size()
    }

    /// A service that a client registered.
    #[must_use]
    pub fn client_service(&self, key: &ClientKey) -> Option<&Arc<ClientService>> {
        self.client_services.get(key).map(|kept| &kept.value)
    }

    /// All services that clients registered, by node and id.
    pub fn client_services(&self) -> impl Iterator<Item = &Arc<ClientService>> {
        self.client_services.values().map(|kept| &kept.value)
    }

    /// How many they are.
    #[must_use]
    pub fn client_service_count(&self) -> usize {
        self.client_services.size()
    }

    /// Those of one node by id; cost follows the node.
    pub fn client_services_of<'a>(
        &'a self,
        node: &'a str,
    ) -> impl Iterator<Item = &'a Arc<ClientService>> {
        let all = self.client_services.range(ClientKey::first_of(node)..);
        all.take_while(move |(key, _)| key.node == node).map(|(_, kept)| &kept.value)
    }

    /// A check that a client registered.
    #[must_use]
    pub fn client_check(&self, key: &ClientKey) -> Option<&Arc<ClientCheck>> {
        self.client_checks.get(key).map(|kept| &kept.value)
    }

    /// All checks that clients registered, by node and id.
    pub fn client_checks(&self) -> impl Iterator<Item = &Arc<ClientCheck>> {
        self.client_checks.values().map(|kept| &kept.value)
    }

    /// Those of one node by id; cost follows the node.
    pub fn client_checks_of<'a>(
        &'a self,
        node: &'a str,
    ) -> impl Iterator<Item = &'a Arc<ClientCheck>> {
        let all = self.client_checks.range(ClientKey::first_of(node)..);
        all.take_while(move |(key, _)| key.node == node).map(|(_, kept)| &kept.value)
    }

    /// A prepared query.
    #[must_use]
    pub fn query(&self, id: &str) -> Option<&Arc<PreparedQuery>> {
        self.queries.get(id).map(|kept| &kept.value)
    }

    /// All prepared queries by id.
    pub fn queries(&self) -> impl Iterator<Item = &Arc<PreparedQuery>> {
        self.queries.values().map(|kept| &kept.value)
    }

    /// How a check stands, once somebody has found out.
    #[must_use]
    pub fn check_state(&self, key: &ClientKey) -> Option<&Arc<CheckState>> {
        self.check_states.get(key).map(|kept| &kept.value)
    }

    /// How all checks stand, by node and id.
    pub fn check_states(&self) -> impl Iterator<Item = &Arc<CheckState>> {
        self.check_states.values().map(|kept| &kept.value)
    }

    /// Those of one node by id; cost follows the node.
    pub fn check_states_of<'a>(
        &'a self,
        node: &'a str,
    ) -> impl Iterator<Item = &'a Arc<CheckState>> {
        let all = self.check_states.range(ClientKey::first_of(node)..);
        all.take_while(move |(key, _)| key.node == node).map(|(_, kept)| &kept.value)
    }

    /// All tokens.
    pub fn tokens(&self) -> impl Iterator<Item = &Arc<Token>> {
        self.tokens.values().map(|kept| &kept.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Stack;
    use crate::time::Timestamp;
    use std::collections::BTreeMap;

    fn stack(name: &str) -> Change {
        let name = StackName::parse(name).unwrap();
        let stack = Stack { name, volumes: BTreeMap::new(), created_at: Timestamp(0) };
        Change { edits: vec![Edit::Put(Record::Stack(Arc::new(stack)))] }
    }

    fn since(cluster: &Cluster, index: u64) -> Option<Vec<String>> {
        cluster.changed_since(Index(index)).map(|keys| keys.map(ToString::to_string).collect())
    }

    #[test]
    fn what_changed_since_an_index_is_known_for_a_while() {
        let mut cluster = Cluster::default();
        cluster.apply(Index(3), &stack("a"));
        cluster.apply(Index(3), &stack("b"));
        cluster.apply(Index(7), &stack("a"));
        assert_eq!(since(&cluster, 0).unwrap(), ["stack/a", "stack/b", "stack/a"]);
        assert_eq!(since(&cluster, 3).unwrap(), ["stack/a"]);
        assert!(since(&cluster, 7).unwrap().is_empty());
        for index in 8..8 + u64::try_from(RECENT_KEYS_MAX).unwrap() {
            cluster.apply(Index(index), &stack("c"));
        }
        assert!(since(&cluster, 6).is_none(), "too long ago");
        assert_eq!(since(&cluster, 7).unwrap().len(), RECENT_KEYS_MAX);
    }
}
