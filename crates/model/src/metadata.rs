//! What the metadata service of a host tells containers: entries for each service, container, host
//! and plain container of the environment. A change of one is a new entry and nothing else; all maps
//! are persistent, so that a copy costs nothing.

mod delta;
pub mod labels;

pub use delta::MetaDelta;

use crate::balancer::PortRule;
use crate::health::{Health, HealthCheck};
use crate::id::{HostId, InstanceId, ServiceId, ServiceName, StackName};
use crate::plain::PlainPort;
use crate::policy::NetworkPolicy;
use crate::service::PortMapping;
use crate::time::Timestamp;
use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// The address where containers find DNS and metadata.
pub const METADATA_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 250);

/// The name of that address. Where hosts are told only what they have to do with, a host that asks
/// for this name is told the metadata of the whole environment.
pub const METADATA_NAME: &str = "rancher-metadata";

/// A map whose copies share what they have in common.
pub type Shared<K, V> = RedBlackTreeMapSync<K, Arc<V>>;

/// Entries by their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MetaView {
    /// The environment.
    pub environment: Arc<MetaEnvironment>,
    /// Services with their containers.
    pub services: Shared<ServiceId, MetaService>,
    /// Hosts.
    pub hosts: Shared<HostId, MetaHost>,
    /// Plain containers, by `host/container`.
    pub plain: Shared<String, MetaPlain>,
    /// It has only what its host has to do with.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

impl MetaView {
    /// Says it nothing?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// A container of a service.
    #[must_use]
    pub fn container(&self, id: &InstanceId) -> Option<&Arc<MetaContainer>> {
        self.services.get(&id.service)?.containers.get(id)
    }

    /// The services of a stack.
    pub fn services_of<'a>(
        &'a self,
        stack: &'a StackName,
    ) -> impl Iterator<Item = (&'a ServiceId, &'a Arc<MetaService>)> {
        let first = ServiceId { stack: stack.clone(), service: ServiceName::lowest() };
        self.services.range(first..).take_while(move |(id, _)| id.stack == *stack)
    }
}

/// The environment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaEnvironment {
    /// Its id, of which all UUIDs are made.
    pub id: String,
    /// Shown to people.
    pub name: String,
    /// Length of the prefix of the managed network, in bits.
    pub prefix: u8,
    /// Who may connect to whom.
    #[serde(default, skip_serializing_if = "NetworkPolicy::is_open")]
    pub policy: NetworkPolicy,
}

/// A service and its containers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaService {
    /// What is said of it.
    pub facts: Arc<ServiceFacts>,
    /// What its containers have in common.
    #[serde(default)]
    pub revisions: Arc<Revisions>,
    /// Its containers; those of sidekicks too.
    #[serde(default)]
    pub containers: Shared<InstanceId, MetaContainer>,
}

/// What containers of a revision have in common, by revision and by sidekick; the primary's name is
/// empty. It is large, and changes when somebody deploys, not with what becomes of it.
pub type Revisions = BTreeMap<u32, BTreeMap<String, MetaPart>>;

/// What is said of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceFacts {
    /// What it is.
    pub kind: MetaKind,
    /// Rancher's word for how it stands.
    pub state: String,
    /// Instances wanted.
    pub scale: u32,
    /// Instances made so far.
    pub create_index: u64,
    /// The user's `metadata`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, serde_json::Value>,
    /// `stack/service` -> the name by which it is known here.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub links: BTreeMap<String, String>,
    /// The revision wanted.
    pub revision: u32,
    /// Rules of a balancer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<PortRule>,
    /// Addresses of a service outside.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub external_ips: Vec<IpAddr>,
    /// Host name of a service outside.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// Plain containers that count as its own, by their keys.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub selected: Vec<String>,
}

/// What a service is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetaKind {
    /// Containers.
    #[default]
    Service,
    /// A balancer.
    Balancer,
    /// Something outside.
    External,
    /// A name for other services.
    Alias,
}

/// What the containers of one name and revision have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MetaPart {
    /// Labels of the user.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Ports as they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortMapping>,
    /// Our own check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// Host name inside; empty is Docker's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// MAC address that was asked for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// Bytes held for placement.
    pub memory_reservation: i64,
    /// Thousandths of a core held for placement.
    pub milli_cpu_reservation: u64,
    /// DNS servers of the user.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<String>,
    /// Search domains, ours and the user's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_search: Vec<String>,
    /// Its containers are on hosts that were named.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
}

/// One container of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaContainer {
    /// Where.
    pub host: HostId,
    /// Address of that host.
    pub host_address: Arc<str>,
    /// Its own address, or that of its host when it is in the host's network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// Which network it is in.
    pub network: MetaNetwork,
    /// Version of its service.
    pub revision: u32,
    /// Ports that it has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortMapping>,
    /// How it stands, as its host has told.
    pub state: MetaState,
    /// The same for its health.
    pub health: Health,
    /// Docker's id; empty while there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub container_id: String,
    /// Its last start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// How often it started.
    #[serde(default)]
    pub starts: u32,
    /// Hosts that probe it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probers: Vec<HostId>,
}

/// Which network a container is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetaNetwork {
    /// The managed one.
    Managed,
    /// Its host's.
    Host,
    /// None.
    None,
    /// That of another container of its instance; `None` is the primary.
    Of(Option<ServiceName>),
}

/// How a container stands, in Rancher's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetaState {
    /// Its host has said nothing of it.
    Requested,
    /// Its image is fetched.
    Creating,
    /// It is made and started.
    Starting,
    /// It runs.
    Running,
    /// It is to end.
    Stopping,
    /// It has ended.
    Stopped,
    /// It cannot be made or started.
    Error,
}

impl MetaState {
    /// The word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Creating => "creating",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Error => "error",
        }
    }
}

/// A host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MetaHost {
    /// Its own name.
    pub hostname: String,
    /// Address that others use.
    pub address: String,
    /// May it get new instances?
    pub active: bool,
    /// Is its agent connected?
    pub connected: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Bytes of memory.
    pub memory: u64,
    /// Cores.
    pub cpus: u32,
    /// Bytes of Docker's disk.
    pub disk: u64,
}

/// A container that no stack made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaPlain {
    /// Where.
    pub host: HostId,
    /// Address of that host.
    pub host_address: Arc<str>,
    /// Docker's name.
    pub name: String,
    /// Docker's id.
    pub container_id: String,
    /// Host name inside.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// Its addresses; the first is the one that others use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Ipv4Addr>,
    /// It is in the managed network.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub managed: bool,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Ports that it publishes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PlainPort>,
    /// Docker's word for how it stands, where Rancher has none; else Rancher's.
    pub state: String,
    /// Docker's HEALTHCHECK.
    pub health: Health,
    /// It has started at least once.
    #[serde(default)]
    pub started: bool,
}

/// The UUID of a thing of an environment; `what` keeps things of one id apart. It follows from
/// these alone, so that whoever asks again gets the same.
#[must_use]
pub fn uuid(environment: &str, what: &str, id: &str) -> String {
    let hash = Sha256::new()
        .chain_update(environment)
        .chain_update(what)
        .chain_update(" ")
        .chain_update(id)
        .finalize();
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&hash[..16]);
    // Version 8: made in a way of our own.
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for half in [byte >> 4, byte & 0x0f] {
            text.push(char::from_digit(u32::from(half), 16).unwrap_or('0'));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_has_its_form_and_follows_from_what_it_names() {
        let one = uuid("e1", "container", "shop/web#1@1");
        assert_eq!(one, uuid("e1", "container", "shop/web#1@1"));
        assert_ne!(one, uuid("e1", "unit", "shop/web#1@1"));
        assert_ne!(one, uuid("e2", "container", "shop/web#1@1"));
        let lengths: Vec<usize> = one.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(one.as_bytes()[14], b'8', "its version");
    }

    #[test]
    fn a_view_survives_json() {
        let id: InstanceId = "shop/web#1@7+log".parse().unwrap();
        let container = MetaContainer {
            host: "a".parse().unwrap(),
            host_address: "10.0.0.1".into(),
            address: None,
            network: MetaNetwork::Of(None),
            revision: 1,
            ports: vec![],
            state: MetaState::Running,
            health: Health::Healthy,
            container_id: "ab".into(),
            started_at: Some(Timestamp(5)),
            starts: 1,
            probers: vec![],
        };
        let mut service = MetaService::default();
        service.containers.insert_mut(id.clone(), Arc::new(container));
        let mut view = MetaView::default();
        assert!(view.is_empty());
        view.services.insert_mut(id.service.clone(), Arc::new(service));
        let json = serde_json::to_string(&view).unwrap();
        let read: MetaView = serde_json::from_str(&json).unwrap();
        assert_eq!(read, view);
        assert!(read.container(&id).is_some());
    }
}
