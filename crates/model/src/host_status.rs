//! `HostStatus`: what an agent sees. It goes up to the server, whole and idempotent.

use crate::health::Health;
use crate::host::HostFacts;
use crate::id::{HostId, InstanceId};
use crate::instance::InstanceStatus;
use crate::time::{Generation, Index, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What one host is seen to hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStatus {
    /// Of which host.
    pub host: HostId,
    /// Counts the statuses of a session: one that comes after a newer one is of the past. 0 comes
    /// from an agent that does not count.
    #[serde(default)]
    pub number: u64,
    /// Spec that the agent works on.
    pub generation: Generation,
    /// View that its dataplane serves.
    pub view: Index,
    /// Facts of the host.
    pub facts: HostFacts,
    /// By instance; an instance of the spec that is not here has not been looked at yet.
    pub instances: BTreeMap<InstanceId, InstanceStatus>,
    /// What its dataplane found of instances on other hosts that it is to probe; kept in memory only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub probes: BTreeMap<InstanceId, ProbeReport>,
    /// What measured containers use; kept in memory only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub usage: BTreeMap<InstanceId, Usage>,
    /// Requests that its dataplane sent to instances, wherever they are; kept in memory only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Requests>,
}

/// What one dataplane found of an instance on another host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// Its verdict.
    pub health: Health,
    /// The last result for people, when it was bad.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Of which start, as the view said.
    pub run: Timestamp,
}

/// What a container uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Thousandths of a core, over the last sample.
    pub cpu_milli: u64,
    /// Bytes, without what the kernel can drop.
    pub memory: u64,
    /// When it was measured, by the host's clock.
    pub at: Timestamp,
}

/// What one dataplane counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// When it looked, in milliseconds since it began: a clock that never jumps.
    pub at_ms: u64,
    /// HTTP requests, TCP connections and UDP sessions so far, by instance. A number that went
    /// down began anew.
    pub of: BTreeMap<InstanceId, u64>,
}
