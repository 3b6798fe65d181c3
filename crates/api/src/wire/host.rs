//! Hosts as the API shows them, and what is asked of one.

use super::InstanceRow;
use model::host::{HostFacts, Scheduling};
use model::id::HostId;
use model::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A host.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HostRow {
    /// Its id.
    pub id: String,
    /// `active`, `disconnected`, `lost`, or `joined` before its agent was ever connected.
    pub status: String,
    /// May it get new instances: active, cordoned or draining?
    #[serde(default)]
    pub scheduling: Scheduling,
    /// Why it is not active, or what of it does not work.
    pub reason: String,
    /// Instances placed on it.
    pub instances: usize,
    /// All its labels: people's before its agent's.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Cpu reserved on it, in thousandths of a core; it has `facts.cpus` of 1000.
    #[serde(default)]
    pub cpu_reserved_milli: u64,
    /// Memory reserved on it, in bytes; it has `facts.memory`.
    #[serde(default)]
    pub memory_reserved: u64,
    /// When its agent's certificate ends, which it renews before that.
    #[serde(default)]
    pub certificate_until: Option<Timestamp>,
    /// What its agent says.
    pub facts: HostFacts,
}

/// A host whole.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HostDetail {
    /// Its row.
    pub host: HostRow,
    /// What is placed on it.
    pub instances: Vec<InstanceRow>,
    /// Of a host that drains: what has not left it yet.
    pub left: Vec<LeftRow>,
}

/// An instance that has not left a draining host yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LeftRow {
    /// `stack/service#n`.
    pub instance: String,
    /// It cannot leave now, rather than being on its way.
    pub blocked: bool,
    /// How far it is, or why it cannot leave.
    pub why: String,
}

/// Body of `HOST_DRAIN`; an empty one is the same as none of its fields.
#[derive(Clone, Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DrainRequest {
    /// What has not left after this many milliseconds stays; without it 600,000, and 0 is no
    /// deadline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// After the deadline what has not left goes all the same.
    pub force: bool,
}

/// Query of `DELETE HOST`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(default)]
pub struct HostRemoveQuery {
    /// Also when instances are to run there: they are made anew elsewhere.
    pub force: bool,
}

/// What a join token is to be good for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct JoinTokenRequest {
    /// Milliseconds, from a minute to 30 days; without it an hour.
    pub ttl_ms: Option<u64>,
    /// How many hosts may join with it; without it any number.
    pub uses: Option<u32>,
    /// The one host that may join with it, also when it was here before and has lost what proves
    /// that.
    #[schema(value_type = Option<String>)]
    pub host: Option<HostId>,
    /// Labels that a host gets which joins with it.
    pub labels: BTreeMap<String, String>,
}

/// A join token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct JoinTokenRow {
    /// Public part.
    pub id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// Has it stopped working?
    pub expired: bool,
    /// How many hosts may join with it; `null` is any number.
    pub uses: Option<u32>,
    /// The one host that may join with it.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub host: Option<HostId>,
    /// Hosts that have joined with it, where they are counted.
    pub used_by: Vec<String>,
    /// Labels that a host gets which joins with it.
    pub labels: BTreeMap<String, String>,
}

/// Answer of `HOST_TOKENS`.
#[derive(Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct JoinToken {
    /// Public part, to revoke it by.
    #[serde(default)]
    pub id: String,
    /// Shown once; only a hash is kept.
    pub token: String,
    /// When it stops working.
    pub expires_at: Timestamp,
}

/// What is to be otherwise in the environment; what is left out stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct EnvironmentRequest {
    /// What is done when instances could be spread better, e.g. since a host has joined: off,
    /// suggest or on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rebalance: Option<model::host::Rebalance>,
    /// How packets get from host to host: vxlan, routes or wireguard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlay: Option<model::host::OverlayMode>,
    /// Who may connect to whom, whole.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "model::policy::strict_environment"
    )]
    pub policy: Option<model::policy::NetworkPolicy>,
    /// Which services of the catalog the hosts' balancers serve, whole; no domains is off.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "model::expose::strict")]
    pub expose: Option<model::expose::Expose>,
    /// Every host makes a new key for what it encrypts, now.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub rotate_keys: bool,
    /// Names in DNS, whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<model::dns::DnsSettings>,
    /// Does the Consul API ask for tokens: off, allow or deny?
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acl: Option<model::consul_access::AclMode>,
    /// What containers may over the Consul API: off, read or write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub containers: Option<model::consul_access::ContainerAccess>,
}

/// Query of `POLICY_VERDICT`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(default)]
pub struct PolicyQuery {
    /// Who opens the connection: `stack/service`, or the name of a plain container.
    pub from: String,
    /// To whom, in the same words.
    pub to: String,
    /// `5432`, `53/udp`; tcp when nothing is said, and empty for no port at all.
    pub port: String,
}
