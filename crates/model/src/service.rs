//! Services as they are wanted: what `compose` makes and the API takes.

use crate::balancer::BalancerSpec;
use crate::container_spec::ContainerSpec;
use crate::floating::FloatingIp;
use crate::health::HealthCheck;
use crate::id::{ServiceId, ServiceName};
use crate::limits;
use crate::placement::Placement;
use crate::policy::ServicePolicy;
use crate::rollout_policy::UpdatePolicy;
use crate::scaling::{Mode, Scaling};
use crate::selector::Selector;
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
    /// How its instances come to be: copies, one a host, or runs of a job.
    #[serde(default, skip_serializing_if = "Mode::is_replicated")]
    pub mode: Mode,
    /// Who decides on the scale; `None` is people alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,
    /// Further names of other services, as this service's containers see them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
    /// Services whose labels match are linked by their own names: Rancher's
    /// `io.rancher.service.selector.link`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector_link: Option<Selector>,
    /// Plain containers whose labels match count as instances: Rancher's
    /// `io.rancher.service.selector.container`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector_container: Option<Selector>,
    /// What happens when the host of an instance is lost; `None`: `Replace`, or `Keep` for what
    /// has named volumes or host paths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_loss: Option<LossPolicy>,
    /// An instance keeps the address of its slot across replacements.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retain_ip: bool,
    /// Addresses to take first, before any other one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub requested_ips: Vec<std::net::Ipv4Addr>,
    /// Who may connect to it.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::policy::strict_service"
    )]
    pub policy: Option<ServicePolicy>,
    /// An address that one host with an instance of it has at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floating_ip: Option<FloatingIp>,
    /// Made, but not started: the first start is asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub create_stopped: bool,
    /// Rancher's `metadata` map, for the metadata service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Object)]
    pub metadata: BTreeMap<String, serde_json::Value>,
}

impl ServiceSpec {
    /// A service of this template with every default.
    #[must_use]
    pub fn of(template: Template) -> Self {
        Self {
            scale: None,
            template,
            depends_on: BTreeMap::new(),
            update: UpdatePolicy::default(),
            mode: Mode::default(),
            scaling: None,
            links: vec![],
            selector_link: None,
            selector_container: None,
            on_loss: None,
            retain_ip: false,
            requested_ips: vec![],
            policy: None,
            floating_ip: None,
            create_stopped: false,
            metadata: BTreeMap::new(),
        }
    }
}

/// A further name of another service: compose's `links` and `external_links`.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
pub struct Link {
    /// The target; its stack is resolved.
    #[schema(value_type = String)]
    pub service: ServiceId,
    /// The name; the target's own when none was given.
    pub alias: String,
}

/// What happens to instances whose host is lost. Times count from when its agent was last heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "policy")]
pub enum LossPolicy {
    /// They are waited for.
    Keep,
    /// Others are made elsewhere after this time; for a while both may run.
    Replace {
        /// Milliseconds.
        after_ms: u64,
    },
    /// At most one runs: their host stops them when it has heard nothing of the server for this
    /// long, and others are made once that must have happened.
    StopAfter {
        /// Milliseconds.
        after_ms: u64,
    },
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
    /// Containers that share the host and the fate of each instance, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Object)]
    pub sidekicks: BTreeMap<ServiceName, Sidekick>,
    /// Where instances may and should go.
    #[serde(default)]
    pub placement: Placement,
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
            sidekicks: BTreeMap::new(),
            placement: Placement::default(),
            drain_ms: limits::DRAIN_MS_DEFAULT,
        }
    }

    /// The container template; `None` for a balancer and for what has no instances.
    #[must_use]
    pub fn container(&self) -> Option<&ContainerSpec> {
        match &self.kind {
            Kind::Container(spec) => Some(spec),
            Kind::Balancer(_) | Kind::External(_) | Kind::Alias(_) => None,
        }
    }

    /// The containers of one instance: its primary (`None`), then its sidekicks by name.
    pub fn containers(&self) -> impl Iterator<Item = (Option<&ServiceName>, &ContainerSpec)> {
        let primary = self.container().map(|spec| (None, spec));
        let sidekicks = self.sidekicks.iter().map(|(name, one)| (Some(name), &one.container));
        primary.into_iter().chain(sidekicks)
    }

    /// The same, to be changed.
    pub fn containers_mut(&mut self) -> impl Iterator<Item = &mut ContainerSpec> {
        let primary = match &mut self.kind {
            Kind::Container(spec) => Some(&mut **spec),
            Kind::Balancer(_) | Kind::External(_) | Kind::Alias(_) => None,
        };
        primary.into_iter().chain(self.sidekicks.values_mut().map(|one| &mut one.container))
    }

    /// Has the service instances at all? A name for other services or for addresses has none.
    #[must_use]
    pub fn has_instances(&self) -> bool {
        matches!(self.kind, Kind::Container(_) | Kind::Balancer(_))
    }
}

/// A container that shares the host and the fate of the primary: scaled, placed, replaced and
/// upgraded with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Sidekick {
    /// What it is made from.
    pub container: ContainerSpec,
    /// Host ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortMapping>,
    /// Remuda's own check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// When it starts again after it exited.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// SIGTERM to SIGKILL.
    #[serde(default = "stop_grace_default")]
    pub stop_grace_ms: u64,
}

/// What a service is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Docker containers.
    Container(Box<ContainerSpec>),
    /// A balancer in the dataplane: a placement without a container.
    Balancer(BalancerSpec),
    /// Something outside that gets a name: addresses or a host name. It has no instances.
    External(ExternalSpec),
    /// A name for other services: all of their endpoints. It has no instances.
    Alias(AliasSpec),
}

/// Something outside that gets a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ExternalSpec {
    /// Its addresses.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<std::net::IpAddr>,
    /// Its host name (a CNAME); empty when there are addresses.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hostname: String,
}

/// A name for other services.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AliasSpec {
    /// The services whose endpoints it has; aliases among them are followed.
    #[schema(value_type = Vec<String>)]
    pub targets: Vec<ServiceId>,
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
    /// Rancher's `start_once`: whatever its exit code, it has completed and never runs again.
    Once,
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
