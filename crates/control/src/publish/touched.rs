//! What the changes from one cluster to the next can have touched.

use super::follow::World;
use super::relations::may_alter;
use crate::catalog::is_there;
use crate::probing::Ring;
use model::cluster::Cluster;
use model::id::{HostId, InstanceId, ServiceId};
use model::plain::PlainId;
use model::record::RecordKey;
use model::service::Template;
use std::collections::{BTreeMap, BTreeSet};

fn is_probed(template: &Template) -> bool {
    let mut sidekicks = template.sidekicks.values();
    template.health_check.is_some() || sidekicks.any(|one| one.health_check.is_some())
}

/// What changes can have touched.
#[derive(Default)]
pub(super) struct Touched {
    /// Instances by their id; true when the record itself was written, which is an order.
    pub(super) units: BTreeMap<InstanceId, bool>,
    /// Services whose records are others, or that are told otherwise.
    pub(super) services: BTreeSet<ServiceId>,
    /// Stacks or images of services: what hosts hold for them.
    pub(super) holdings: BTreeSet<ServiceId>,
    /// Plain containers.
    pub(super) plain: BTreeSet<PlainId>,
    /// Hosts that have, or had, to do with a floating address or a check that is otherwise now.
    pub(super) seated: BTreeSet<HostId>,
    /// Hosts whose address outside is another one, or their keys are.
    pub(super) moved: BTreeSet<HostId>,
    /// Hosts whose labels or addresses are others, or that are lost or there again: what is asked
    /// of their plain containers follows from it.
    pub(super) labelled: BTreeSet<HostId>,
    /// Hosts of which something else is written.
    pub(super) hosts: bool,
    /// What services have to do with each other may be otherwise.
    pub(super) related: bool,
    pub(super) ring: bool,
}

impl Touched {
    /// `None` when everything is to be derived again.
    pub(super) fn between(before: &Cluster, now: &Cluster) -> Option<Self> {
        let many = |cluster: &Cluster| cluster.hosts().nth(1).is_some();
        if before.environment() != now.environment() || many(before) != many(now) {
            return None;
        }
        let (mut touched, both) = (Self::default(), [before, now]);
        for key in now.changed_since(before.index())? {
            match key {
                RecordKey::Environment
                | RecordKey::Token(_)
                | RecordKey::ClientNode(_)
                | RecordKey::ClientService(_)
                | RecordKey::CheckState(_)
                | RecordKey::Query(_) => {}
                RecordKey::Host(id) => {
                    touched.hosts = true;
                    let reached = both.map(|c| {
                        let facts = &c.host(id)?.facts;
                        Some((&facts.address, &facts.wireguard))
                    });
                    if reached[0] != reached[1] {
                        touched.moved.insert(id.clone());
                    }
                    let labels = both.map(|c| c.host(id).map(|host| host.all_labels()));
                    let there = both.map(|c| is_there(c, id));
                    let other = labels[0] != labels[1] || there[0] != there[1];
                    if other || touched.moved.contains(id) {
                        touched.labelled.insert(id.clone());
                    }
                    let [old, new] = both.map(|c| c.host(id).is_some_and(|h| Ring::holds(h)));
                    touched.ring |= old != new;
                }
                RecordKey::Stack(name) => {
                    let services = both.iter().flat_map(|c| c.services_of(name));
                    touched.holdings.extend(services.map(|service| service.id.clone()));
                }
                RecordKey::Service(id) | RecordKey::Revision(id, _) => {
                    let seen = !touched.services.insert(id.clone());
                    touched.related |= !seen && may_alter(before, now, id);
                }
                RecordKey::ServiceStatus(id) => {
                    let images = both.map(|c| c.service_status(id).map(|s| &s.revisions));
                    if images[0] != images[1] {
                        touched.holdings.insert(id.clone());
                    }
                }
                RecordKey::Plain(id) | RecordKey::Attachment(id) => {
                    touched.plain.insert(id.clone());
                }
                RecordKey::Floating(address) => {
                    let records = both.iter().filter_map(|c| c.floating(*address));
                    touched.seated.extend(records.flat_map(|one| one.addresses.keys().cloned()));
                }
                RecordKey::ClientCheck(key) => touched.seated.extend(key.node.parse::<HostId>()),
                RecordKey::Instance(id) => _ = touched.units.insert(id.instance(), true),
                RecordKey::InstanceStatus(id) => {
                    touched.units.entry(id.instance()).or_default();
                }
            }
        }
        Some(touched)
    }

    /// Adds the instances that are touched by what else is.
    pub(super) fn spread(&mut self, before: &World<'_>, now: &World<'_>) {
        self.services.extend(now.relations.other_than(before.relations));
        for service in self.services.iter().chain(&self.holdings) {
            for world in [before, now] {
                for instance in world.cluster.instances_of(service) {
                    self.units.entry(instance.id.clone()).or_default();
                }
            }
        }
        for host in &self.moved {
            for instance in now.cluster.instances_on(host) {
                self.units.entry(instance.id.clone()).or_default();
            }
        }
        if self.ring {
            // Few of those that are probed have other probers, and which is not known.
            for instance in now.cluster.instances() {
                let id = &instance.id.service;
                let revision = now.cluster.revision(id, instance.target.revision);
                let probed = revision.is_some_and(|revision| is_probed(&revision.template));
                if probed && !self.units.contains_key(&instance.id) {
                    self.units.insert(instance.id.clone(), false);
                }
            }
        }
    }
}
