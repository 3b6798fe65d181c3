//! Who can be an end of a connection: services with their instances, and plain containers in the
//! managed network.

use super::{addresses, container_name};
use crate::{ledger, publish};
use model::cluster::Cluster;
use model::id::{ServiceId, StackName};
use model::plain::PlainId;
use model::policy::{PolicyRule, ServicePolicy, Within};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// One of them.
pub(super) struct Member<'a> {
    /// Name of its guard.
    pub(super) name: String,
    /// `None` for a plain container.
    pub(super) service: Option<&'a ServiceId>,
    pub(super) plain: Option<&'a PlainId>,
    pub(super) labels: Option<&'a BTreeMap<String, String>>,
    pub(super) policy: Option<&'a ServicePolicy>,
    pub(super) addresses: BTreeSet<Ipv4Addr>,
    /// The services that it has a link to; only when some rule asks for links.
    pub(super) linked: BTreeSet<ServiceId>,
    /// It has ports of hosts.
    pub(super) publishes: bool,
}

impl<'a> Member<'a> {
    pub(super) fn stack(&self) -> Option<&'a StackName> {
        self.service.map(|id| &id.stack)
    }

    /// Its own rules and those of its stack.
    pub(super) fn service_rules(&self) -> impl Iterator<Item = &'a PolicyRule> {
        self.policy.into_iter().flat_map(|policy| &policy.rules)
    }

    /// Is that what people call it?
    pub(super) fn is_called(&self, cluster: &Cluster, name: &str) -> bool {
        match self.plain {
            None => self.name == name,
            Some(id) => cluster.plain(id).is_some_and(|plain| plain.name == name),
        }
    }
}

/// All of a cluster.
pub(super) fn all(cluster: &Cluster) -> Vec<Member<'_>> {
    let mut by_service: BTreeMap<&ServiceId, BTreeSet<Ipv4Addr>> = BTreeMap::new();
    for service in cluster.services() {
        by_service.entry(&service.id).or_default();
    }
    // A service that is gone may have instances that are still to go.
    for instance in cluster.instances() {
        by_service.entry(&instance.id.service).or_default().extend(addresses(instance));
    }
    let linked = match asks_for_links(cluster) {
        true => publish::linked(cluster),
        false => BTreeMap::new(),
    };
    let services = by_service.into_iter().map(|(id, addresses)| {
        let service = cluster.service(id);
        let revision = service.and_then(|s| cluster.revision(id, s.target.revision));
        let container = revision.and_then(|revision| revision.template.container());
        Member {
            name: id.to_string(),
            service: Some(id),
            plain: None,
            labels: container.map(|container| &container.labels),
            policy: service.and_then(|service| service.settings.policy.as_ref()),
            addresses,
            linked: linked.get(id).cloned().unwrap_or_default(),
            publishes: revision.is_some_and(|r| !ledger::wanted_ports(&r.template).is_empty()),
        }
    });
    let plain = cluster.attachments().map(|attachment| Member {
        name: container_name(&attachment.id),
        service: None,
        plain: Some(&attachment.id),
        labels: cluster.plain(&attachment.id).map(|plain| &plain.labels),
        policy: None,
        addresses: [attachment.address].into(),
        linked: BTreeSet::new(),
        publishes: false,
    });
    services.chain(plain).collect()
}

fn asks_for_links(cluster: &Cluster) -> bool {
    let environment = cluster.environment().into_iter().flat_map(|one| &one.policy.rules);
    let services = cluster.services().filter_map(|service| service.settings.policy.as_ref());
    let mut all = environment.chain(services.flat_map(|policy| &policy.rules));
    all.any(|rule| rule.within == Some(Within::Linked))
}
