//! The catalog: nodes, services and checks as the clients of Consul know them. What Remuda runs and
//! what somebody started by hand are in one list; `registrator` says what labels make of a container.

pub mod checks;
mod client;
pub mod registrator;
mod follow;
mod ours;
mod standalone;
mod viewed;

use model::cluster::Cluster;
use model::host::{Host, HostLink};
use model::id::{HostId, InstanceId, ServiceId};
use model::metadata::uuid;
use model::plain::PlainId;
use std::collections::BTreeMap;
use std::sync::Arc;

pub use client::{is_our_check, is_ours, node_checks, of_client_node, of_node, ours_on, stands};
pub use follow::{EntryKey, News, Row, ServiceRows, Tables, Times};
pub use model::registration::CheckStatus;
pub(crate) use ours::named;
pub use ours::{of_instance, of_service};
pub use standalone::of_plain;
pub use viewed::of_view;

/// Name of the check of each node that says whether its agent is heard; clients look for it.
pub const NODE_CHECK: &str = "serfHealth";

/// A machine, or something that a client has registered as one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name, unique in the catalog.
    pub name: String,
    /// A UUID; empty when a client gave none.
    pub id: String,
    /// Where it is: an address, or a host name that a client gave.
    pub address: String,
    /// Further addresses by kind: `lan`, `wan`.
    pub tagged_addresses: BTreeMap<String, String>,
    /// Free words.
    pub meta: BTreeMap<String, String>,
    /// The host that it is; `None` for one that a client registered.
    pub host: Option<HostId>,
    /// Checks of the node itself.
    pub checks: Vec<Check>,
}

/// Whose word an entry is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A container that Remuda runs.
    Instance(InstanceId),
    /// A container that somebody started.
    Plain(PlainId),
    /// A client registered it.
    Client,
}

/// One place where a service is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name of its node.
    pub node: String,
    /// Unique on its node.
    pub id: String,
    /// Name of the service.
    pub service: String,
    /// In the order in which they were given.
    pub tags: Vec<String>,
    /// Where it is offered; empty means its node's address.
    pub address: String,
    /// 0 when it has no port.
    pub port: u16,
    /// Free words.
    pub meta: BTreeMap<String, String>,
    /// Shares of traffic.
    pub weights: Weights,
    /// Further addresses and ports by kind, as a client said them.
    pub tagged: BTreeMap<String, (String, u16)>,
    /// What a client said of who may change its tags: nobody here does.
    pub tag_override: bool,
    /// Whose word it is.
    pub origin: Origin,
    /// Its own checks; those of its node are at the node.
    pub checks: Vec<Check>,
}

/// Shares of traffic, as SRV records tell them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    /// While it passes.
    pub passing: u16,
    /// While it warns.
    pub warning: u16,
}

impl Default for Weights {
    fn default() -> Self {
        Self { passing: 1, warning: 1 }
    }
}

/// What is known of the health of a node or an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Check {
    /// Unique on its node.
    pub id: String,
    /// For people.
    pub name: String,
    /// How well.
    pub status: CheckStatus,
    /// What it is for.
    pub notes: String,
    /// What was found last.
    pub output: String,
    /// `http`, `tcp`, `ttl` …; empty when nothing asks.
    pub kind: String,
}

/// All of it, at one index of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Nodes by name.
    pub nodes: BTreeMap<String, Arc<Node>>,
    /// Entries by service, then by node and id.
    pub services: BTreeMap<String, BTreeMap<(String, String), Arc<Entry>>>,
}

impl Catalog {
    /// Everything that the cluster knows, from nothing.
    #[must_use]
    pub fn of(cluster: &Cluster) -> Self {
        let mut all = Self::default();
        for host in cluster.hosts() {
            let node = node(cluster, host);
            all.nodes.insert(node.name.clone(), Arc::new(node));
        }
        for outside in cluster.client_nodes() {
            if !all.nodes.contains_key(&outside.name) {
                let node = of_client_node(cluster, outside);
                all.nodes.insert(node.name.clone(), Arc::new(node));
            }
        }
        let clients = all.nodes.keys().flat_map(|node| of_node(cluster, node));
        let clients: Vec<Entry> = clients.collect();
        let ours = cluster.instances().flat_map(|instance| of_instance(cluster, instance));
        let plain = cluster.plains().flat_map(|(id, plain)| of_plain(cluster, id, plain));
        // What runs here is known better than anybody can tell.
        for entry in clients.into_iter().chain(ours).chain(plain) {
            let key = (entry.node.clone(), entry.id.clone());
            all.services.entry(entry.service.clone()).or_default().insert(key, Arc::new(entry));
        }
        all
    }
}

/// The node of a name: a host, or one that a client registered.
#[must_use]
pub fn node_named(cluster: &Cluster, name: &str) -> Option<Node> {
    let host = name.parse().ok().and_then(|id| cluster.host(&id));
    match host {
        Some(host) => Some(node(cluster, host)),
        None => cluster.client_node(name).map(|outside| of_client_node(cluster, outside)),
    }
}

/// A host as a node.
#[must_use]
pub fn node(cluster: &Cluster, host: &Host) -> Node {
    let environment = cluster.environment().map(|e| e.id.as_str()).unwrap_or_default();
    let address = host.facts.address.clone();
    let kinds = ["lan", "lan_ipv4", "wan", "wan_ipv4"];
    Node {
        name: host.id.to_string(),
        id: uuid(environment, "node", host.id.as_str()),
        tagged_addresses: kinds.map(|kind| (kind.to_owned(), address.clone())).into(),
        address,
        meta: host.all_labels(),
        host: Some(host.id.clone()),
        checks: [vec![node_check(host)], node_checks(cluster, host.id.as_str())].concat(),
    }
}

/// What is said of a host as a whole. One that is not connected may be well: what runs there counts
/// as lost only when the host does.
fn node_check(host: &Host) -> Check {
    let (status, output) = match host.status {
        HostLink::Active => (CheckStatus::Passing, "Agent alive and reachable".to_owned()),
        HostLink::Disconnected => {
            (CheckStatus::Passing, format!("its agent is not connected: {}", host.reason))
        }
        HostLink::Lost => (CheckStatus::Critical, format!("the host is lost: {}", host.reason)),
        HostLink::Joined => (CheckStatus::Critical, "its agent has never connected".to_owned()),
    };
    Check {
        id: NODE_CHECK.into(),
        name: "Serf Health Status".into(),
        status,
        output,
        ..Check::default()
    }
}

/// Is what runs there believed to run?
pub(crate) fn is_there(cluster: &Cluster, host: &HostId) -> bool {
    let status = cluster.host(host).map(|host| host.status);
    matches!(status, Some(HostLink::Active | HostLink::Disconnected))
}

/// The name of a service of a stack, where no label gives another.
#[must_use]
pub fn service_name(id: &ServiceId) -> String {
    format!("{}-{}", id.stack, id.service).to_ascii_lowercase()
}

#[cfg(test)]
mod tests;
