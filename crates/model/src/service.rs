//! Services as they are wanted: what `compose` makes and the API takes.

use crate::balancer::BalancerSpec;
use crate::container_spec::ContainerSpec;
use crate::health::HealthCheck;
use crate::id::ServiceName;
use crate::limits;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One service of a stack, resolved and self-contained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ServiceSpec {
    /// Instances wanted; `None` keeps what the service has (1 for a new one).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<u32>,
    /// The versioned part: a change of it makes a new revision.
    pub template: Template,
    /// Services that must reach a condition before the first instance starts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Object)]
    pub depends_on: BTreeMap<ServiceName, Condition>,
    /// How a rollout goes.
    #[serde(default)]
    pub update: UpdatePolicy,
    /// Rancher's `metadata` map, for the metadata service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Object)]
    pub metadata: BTreeMap<String, serde_json::Value>,
}

/// The versioned part of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Template {
    /// Containers or a balancer.
    pub kind: Kind,
    /// Host ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortMapping>,
    /// Remuda's own check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// When an exited container starts again.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// SIGTERM to SIGKILL.
    #[serde(default = "stop_grace_default")]
    pub stop_grace_ms: u64,
    /// Longest wait for requests in flight before an instance is stopped.
    #[serde(default = "drain_default")]
    pub drain_ms: u64,
}

fn stop_grace_default() -> u64 {
    limits::STOP_GRACE_MS_DEFAULT
}

fn drain_default() -> u64 {
    limits::DRAIN_MS_DEFAULT
}

impl Template {
    /// A template of containers with every default.
    #[must_use]
    pub fn of_container(spec: ContainerSpec) -> Self {
        Self {
            kind: Kind::Container(Box::new(spec)),
            ports: vec![],
            health_check: None,
            restart: RestartPolicy::default(),
            stop_grace_ms: limits::STOP_GRACE_MS_DEFAULT,
            drain_ms: limits::DRAIN_MS_DEFAULT,
        }
    }

    /// The container template; `None` for a balancer.
    #[must_use]
    pub fn container(&self) -> Option<&ContainerSpec> {
        match &self.kind {
            Kind::Container(spec) => Some(spec),
            Kind::Balancer(_) => None,
        }
    }
}

/// What a service is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Docker containers.
    Container(Box<ContainerSpec>),
    /// A balancer in the dataplane: a placement without a container.
    Balancer(BalancerSpec),
}

/// A host port.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
pub struct PortMapping {
    /// Address of the host; `None` is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub host_ip: Option<std::net::IpAddr>,
    /// Port of the host; `None` lets the planner choose from 32768..=60999.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_port: Option<u16>,
    /// Port inside.
    pub container_port: u16,
    /// tcp or udp.
    pub protocol: Transport,
}

/// Transport protocol of a port.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl std::fmt::Display for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// compose's `restart` / `deploy.restart_policy`. Remuda keeps services running, so the default is
/// `Always`, as Rancher's was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "policy")]
pub enum RestartPolicy {
    /// Whatever the exit code (`unless-stopped` is the same here: a stopped service stays stopped).
    #[default]
    Always,
    /// When it exited with a code other than 0.
    OnFailure {
        /// Tries until it is given up; `None` is for ever.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_attempts: Option<u32>,
    },
    /// Never: a container that exits with 0 has completed.
    No,
}

/// compose's `depends_on` conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// It was started.
    Started,
    /// All its instances are ready.
    Healthy,
    /// It ran to its end with exit code 0.
    Completed,
}

/// How a rollout goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UpdatePolicy {
    /// Instances changed at the same time; `None` is a quarter of the scale, at least 1.
    #[serde(default)]
    pub batch_size: Option<u32>,
    /// Pause between two batches.
    #[serde(default)]
    pub interval_ms: u64,
    /// Which goes first.
    #[serde(default)]
    pub order: UpdateOrder,
}

/// Which goes first in a rollout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpdateOrder {
    /// The new instance starts and takes traffic, then the old one drains and stops.
    #[default]
    StartFirst,
    /// The old one drains and stops, then the new one starts.
    StopFirst,
}
