//! Hosts: a machine with an agent.

use crate::id::HostId;
use crate::time::Timestamp;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// The environment: the unit of isolation. One in this release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Environment {
    /// Random, made once with the store; part of every Docker name and label.
    pub id: String,
    /// Shown to people.
    pub name: String,
    /// Range of the managed network.
    #[schema(value_type = String)]
    pub subnet: Ipv4Net,
}

/// A host as the server knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Host {
    /// Its id.
    #[schema(value_type = String)]
    pub id: HostId,
    /// What its agent says of it.
    pub facts: HostFacts,
    /// Is its agent connected?
    pub status: HostLink,
    /// When `status` changed.
    pub changed_at: Timestamp,
    /// Why it is not connected; empty when it is.
    #[serde(default)]
    pub reason: String,
}

/// Slow-moving facts of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct HostFacts {
    /// Host name.
    pub hostname: String,
    /// Address that other hosts and people use.
    pub address: String,
    /// Version of the agent.
    pub agent_version: String,
    /// Docker's version; empty while Docker does not answer.
    pub docker_version: String,
    /// Kernel release.
    pub kernel: String,
    /// Cores.
    pub cpus: u32,
    /// Bytes of memory.
    pub memory: u64,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Containers of this environment that no stack knows, made after a copy of the state that was
    /// put back: they are left alone.
    pub strays: Vec<String>,
    /// Why the engine cannot be used now; empty when it can.
    pub engine_problem: String,
    /// Why the network cannot be used now; empty when it can.
    pub network_problem: String,
    /// Why the dataplane cannot be used now; empty when it can.
    pub dataplane_problem: String,
}

/// Is the agent connected?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HostLink {
    /// It is.
    Active,
    /// It was; nothing is moved or removed for that alone.
    Disconnected,
}

/// Rules of address use in the managed network.
#[must_use]
pub fn gateway(subnet: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(subnet.network()).saturating_add(1))
}

/// The part of the subnet that Docker may hand out by itself; the planner never uses it:
/// the last 1/256 (at least 8 addresses).
#[must_use]
pub fn docker_range(subnet: Ipv4Net) -> Ipv4Net {
    let prefix = (subnet.prefix_len() + 8).min(29);
    let size = 1u32 << (32 - u32::from(prefix));
    let base = u32::from(subnet.broadcast()).saturating_sub(size - 1);
    Ipv4Net::new(Ipv4Addr::from(base), prefix).unwrap_or(subnet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_gets_the_end_of_the_range() {
        let net: Ipv4Net = "10.42.0.0/16".parse().unwrap();
        assert_eq!(docker_range(net), "10.42.255.0/24".parse().unwrap());
        assert_eq!(gateway(net), Ipv4Addr::new(10, 42, 0, 1));
        let small: Ipv4Net = "10.9.8.0/24".parse().unwrap();
        assert_eq!(docker_range(small), "10.9.8.248/29".parse().unwrap());
    }
}
