//! Instances: what was decided of each, and, apart from it, what was seen.

use crate::health::Health;
use crate::id::{HostId, InstanceId, ServiceName};
use crate::service::PortMapping;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Which version of its service an instance is made from.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
pub struct Target {
    /// Number of the revision.
    pub revision: u32,
    /// Counts `svc restart`: the same revision, made anew.
    pub restart: u32,
}

/// One scaled copy of a service, as decided: host, address and ports are fixed here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Instance {
    /// Its id.
    #[schema(value_type = String)]
    pub id: InstanceId,
    /// Where.
    #[schema(value_type = String)]
    pub host: HostId,
    /// Its address in the managed network; `None` for host or no network.
    #[schema(value_type = Option<String>)]
    pub address: Option<Ipv4Addr>,
    /// Addresses of the sidekicks that have one of their own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Object)]
    pub sidekick_addresses: BTreeMap<ServiceName, Ipv4Addr>,
    /// Docker's name of its container; empty for a balancer.
    pub container_name: String,
    /// Which version.
    pub target: Target,
    /// Host ports held, each with its number.
    pub ports: Vec<PortMapping>,
    /// What is to become of it.
    pub goal: Goal,
    /// Another instance of the same version is to take its slot, elsewhere: its host drains, is
    /// lost, or has too many. It serves until then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
    /// Soft constraints that could not be met.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<String>,
    /// Why, for people: "scale", "rollout to revision 3", "unhealthy: …".
    pub reason: String,
    /// When it was placed.
    pub placed_at: Timestamp,
    /// When `goal` was set.
    pub goal_at: Timestamp,
}

/// What is to become of an instance. Leaving `Run` drains first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// Run.
    Run,
    /// Keep the container, stopped.
    Stop,
    /// Take the container away; the record goes when the agent has seen it gone.
    Remove,
}

/// What was seen of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct InstanceStatus {
    /// How far it is.
    pub phase: Phase,
    /// Its health.
    pub health: Health,
    /// Docker's id; empty while there is no container.
    pub container_id: String,
    /// Id of the image it runs, or is about to run.
    pub image_id: String,
    /// `name@sha256:…` under which a registry has that image; empty when none is known to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image_digest: String,
    /// When the container started.
    pub started_at: Option<Timestamp>,
    /// Starts after the first one.
    pub restarts: u32,
    /// Exit code of its last end.
    pub exit_code: Option<i64>,
    /// Why it is not ready, for people; empty when it is.
    pub reason: String,
    /// When phase or health changed.
    pub changed_at: Timestamp,
}

/// How far an instance is, as its agent sees it.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The agent has not said anything of it.
    #[default]
    Pending,
    /// Its image is fetched.
    Pulling,
    /// Container is made and started.
    Starting,
    /// The process runs.
    Running,
    /// It ended and waits for its next start.
    Backoff,
    /// Out of traffic, requests in flight end.
    Draining,
    /// Its container is stopped and kept.
    Stopped,
    /// It ran to its end with exit code 0 and does not start again.
    Completed,
    /// It cannot be made or started, or has used up its restarts; `reason` says why.
    Failed,
    /// There is no container.
    Absent,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Pending => "pending",
            Self::Pulling => "pulling",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Backoff => "backoff",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Absent => "absent",
        })
    }
}
