//! Which nodes and sources of entries the changes from one cluster to the next can have touched.

use super::super::is_there;
use super::Source;
use model::cluster::Cluster;
use model::id::HostId;
use model::record::RecordKey;
use std::collections::BTreeSet;

/// What is to be looked at again.
pub(super) struct Touched {
    /// What offers entries.
    pub(super) sources: BTreeSet<Source>,
    /// Names of nodes.
    pub(super) nodes: BTreeSet<String>,
    /// Hosts whose containers may be reached otherwise through each other.
    pub(super) neighbours: BTreeSet<HostId>,
}

impl Touched {
    /// `None` when everything is to be looked at.
    pub(super) fn between(before: &Cluster, now: &Cluster) -> Option<Self> {
        let id = |cluster: &Cluster| cluster.environment().map(|one| one.id.clone());
        if id(before) != id(now) {
            return None;
        }
        let mut touched =
            Self { sources: BTreeSet::new(), nodes: BTreeSet::new(), neighbours: BTreeSet::new() };
        let both = [before, now];
        for key in now.changed_since(before.index())? {
            match key {
                RecordKey::Host(id) => {
                    touched.nodes.insert(id.to_string());
                    // A check may be as well as the node is.
                    touched.sources.insert(Source::Client(id.to_string()));
                    let reached = both.map(|cluster| {
                        let host = cluster.host(id)?;
                        Some((is_there(cluster, id), &host.facts.address))
                    });
                    if reached[0] != reached[1] {
                        touched.on_host(both, id);
                    }
                }
                RecordKey::Revision(id, _) => {
                    let instances = both.iter().flat_map(|cluster| cluster.instances_of(id));
                    let sources = instances.map(|one| Source::Instance(one.id.clone()));
                    touched.sources.extend(sources);
                }
                RecordKey::Instance(id) | RecordKey::InstanceStatus(id) => {
                    let id = id.instance();
                    let hosts = both.iter().filter_map(|cluster| cluster.instance(&id));
                    touched.neighbours.extend(hosts.map(|one| one.host.clone()));
                    touched.sources.insert(Source::Instance(id));
                }
                RecordKey::Plain(id) | RecordKey::Attachment(id) => {
                    touched.neighbours.insert(id.host.clone());
                    touched.sources.insert(Source::Plain(id.clone()));
                }
                RecordKey::ClientNode(name) => touched.client(name),
                RecordKey::ClientService(key) | RecordKey::ClientCheck(key) => {
                    touched.client(&key.node);
                }
                RecordKey::CheckState(key) => {
                    touched.client(&key.node);
                    let of_client = both.iter().any(|cluster| cluster.client_check(key).is_some());
                    if let Some(host) = key.node.parse().ok().filter(|_: &HostId| !of_client) {
                        let plain = both.iter().flat_map(|cluster| cluster.plains_on(&host));
                        touched.sources.extend(plain.map(|(id, _)| Source::Plain(id.clone())));
                    }
                }
                RecordKey::Environment
                | RecordKey::Stack(_)
                | RecordKey::Service(_)
                | RecordKey::ServiceStatus(_)
                | RecordKey::Token(_)
                | RecordKey::Query(_)
                | RecordKey::Floating(_) => {}
            }
        }
        Some(touched)
    }

    fn client(&mut self, node: &str) {
        self.nodes.insert(node.to_owned());
        self.sources.insert(Source::Client(node.to_owned()));
    }

    fn on_host(&mut self, both: [&Cluster; 2], id: &HostId) {
        for cluster in both {
            let ours = cluster.instances_on(id).map(|one| Source::Instance(one.id.clone()));
            let plain = cluster.plains_on(id).map(|(id, _)| Source::Plain(id.clone()));
            self.sources.extend(ours.chain(plain));
        }
    }
}
