//! What a balancer service is asked to do: Rancher's `lb_config`, parsed.

use crate::id::ServiceId;
use serde::{Deserialize, Serialize};

/// A balancer: rules over its source ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BalancerSpec {
    /// In the order of the file; the route order is Rancher's (see `control::publish`).
    pub rules: Vec<PortRule>,
}

/// One `port_rules` entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PortRule {
    /// Port of the host that the balancer listens on.
    pub source_port: u16,
    /// How the port is spoken.
    pub protocol: BalancerProtocol,
    /// `foo.com`, `*.foo.com`, `foo.*`; empty is every host.
    #[serde(default)]
    pub hostname: String,
    /// Path prefix; empty is every path.
    #[serde(default)]
    pub path: String,
    /// Explicit order, ascending; 0 is unset.
    #[serde(default)]
    pub priority: u32,
    /// The target; its stack is resolved.
    #[schema(value_type = String)]
    pub service: ServiceId,
    /// Port inside the target's containers.
    pub target_port: u16,
    /// Share of this rule's endpoints, 1 when not said; 0 takes no new requests.
    #[serde(default = "one")]
    pub weight: u32,
    /// Rancher's `backend_name`, for custom configuration and statistics.
    #[serde(default)]
    pub backend_name: String,
}

fn one() -> u32 {
    1
}

/// Protocol of a source port. TLS and SNI are parsed and refused with a message until the gateway.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum BalancerProtocol {
    /// HTTP/1.
    Http,
    /// Bytes.
    Tcp,
}
