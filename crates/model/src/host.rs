//! Hosts: a machine with an agent.

use crate::consul_access::ConsulAccess;
use crate::dns::DnsSettings;
use crate::expose::Expose;
use crate::id::HostId;
use crate::policy::NetworkPolicy;
use crate::time::Timestamp;
use crate::wireguard::{KeyOrder, PublicKey};
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
    /// What is done when a host has joined.
    #[serde(default)]
    pub rebalance: Rebalance,
    /// How packets get from host to host.
    #[serde(default)]
    pub overlay: OverlayMode,
    /// Who may connect to whom.
    #[serde(default, skip_serializing_if = "NetworkPolicy::is_open")]
    pub policy: NetworkPolicy,
    /// Since when hosts are to have new keys.
    #[serde(default, skip_serializing_if = "KeyOrder::is_none")]
    pub keys: KeyOrder,
    /// Names.
    #[serde(default, skip_serializing_if = "DnsSettings::is_default")]
    pub dns: DnsSettings,
    /// Which services of the catalog are served by the hosts' balancers.
    #[serde(default, skip_serializing_if = "Expose::is_off")]
    pub expose: Expose,
    /// Who may do what over the Consul API.
    #[serde(default, skip_serializing_if = "ConsulAccess::is_default")]
    pub consul: ConsulAccess,
}

/// How packets of containers get to another host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OverlayMode {
    /// In VXLAN, over any IPv4 network.
    #[default]
    Vxlan,
    /// As they are, by routes: all hosts are on one segment.
    Routes,
    /// Encrypted, in WireGuard, over any IPv4 network.
    Wireguard,
}

/// What is done when instances could be spread better, e.g. since a host has joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rebalance {
    /// Nothing.
    Off,
    /// Each service says which move would help.
    #[default]
    Suggest,
    /// Instances move, one of a service at a time.
    On,
}

impl Environment {
    /// One with every default.
    #[must_use]
    pub fn new(id: String, name: &str, subnet: Ipv4Net) -> Self {
        Self {
            id,
            name: name.to_owned(),
            subnet,
            rebalance: Rebalance::default(),
            overlay: OverlayMode::default(),
            policy: NetworkPolicy::default(),
            keys: KeyOrder::default(),
            dns: DnsSettings::default(),
            expose: Expose::default(),
            consul: ConsulAccess::default(),
        }
    }
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
    /// Since when nothing was heard of it, as far as this server can know: claims on a host that
    /// is not connected count from here. It moves to the present when a server starts.
    #[serde(default)]
    pub unheard_since: Timestamp,
    /// May it get new instances?
    #[serde(default)]
    pub scheduling: Scheduling,
    /// Labels that people gave it; they are stronger than those of its agent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Why it is not connected; empty when it is.
    #[serde(default)]
    pub reason: String,
    /// What it proves itself with.
    #[serde(default)]
    pub membership: Membership,
}

/// What a host proves itself with. One whose agent is in the server's own process has none of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Membership {
    /// Which joining of it counts: a certificate of an earlier one is refused. Empty when it has
    /// got none that names its joining.
    pub enrolment: String,
    /// When its newest certificate ends.
    pub certificate_until: Option<Timestamp>,
}

/// Slow-moving facts of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct HostFacts {
    /// Host name.
    pub hostname: String,
    /// Address that other hosts and people use.
    pub address: String,
    /// The segment that this address is on; `None` when it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub segment: Option<Ipv4Net>,
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
    /// What its containers get their network from: `cni …`, or nothing for Docker.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub network_driver: String,
    /// Why the engine cannot be used now; empty when it can.
    pub engine_problem: String,
    /// Why the network cannot be used now; empty when it can.
    pub network_problem: String,
    /// Why the dataplane cannot be used now; empty when it can.
    pub dataplane_problem: String,
    /// Plain containers beyond those that are listed.
    #[serde(skip_serializing_if = "is_zero")]
    pub plain_left_out: u32,
    /// The disk of Docker's images; `None` while it has not been looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskFacts>,
    /// Ports of exposed services on which its dataplane cannot listen, with the reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub expose_refused: BTreeMap<String, String>,
    /// Public keys with which its dataplane proves itself to others, the newest first; none while
    /// it has not told any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub wireguard: Vec<PublicKey>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The disk on which a host keeps its images, to about one per cent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DiskFacts {
    /// Bytes.
    pub total: u64,
    /// Bytes that are free.
    pub free: u64,
    /// Bytes of images that Remuda brought and nothing needs: at most so much can be had back.
    pub reclaimable: u64,
    /// It is short of room: such images go at once.
    pub short: bool,
}

impl HostFacts {
    /// When the engine has not answered, what it said before holds: a host that cannot be asked is
    /// as large as it was.
    pub fn keep_what_the_engine_said(&mut self, before: &Self) {
        if self.docker_version.is_empty() {
            self.docker_version.clone_from(&before.docker_version);
            self.cpus = before.cpus;
            self.memory = before.memory;
        }
        if self.disk.is_none() {
            self.disk.clone_from(&before.disk);
        }
        // An agent that has just started has not asked its dataplane yet.
        if self.wireguard.is_empty() {
            self.wireguard.clone_from(&before.wireguard);
        }
    }
}

/// Is the agent connected?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HostLink {
    /// It is.
    Active,
    /// It was; nothing is moved or removed for that alone.
    Disconnected,
    /// It has been away for long: each service does what it says for that.
    Lost,
    /// It has joined, and its agent has never connected: it is not away, for it was never there.
    Joined,
}

/// May a host get new instances?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum Scheduling {
    /// Yes.
    #[default]
    Active,
    /// No; what is there stays.
    Cordoned,
    /// No, and what is there moves elsewhere.
    Draining {
        /// Since when.
        since: Timestamp,
        /// What has not moved by then stays, and says why; `None` waits for ever.
        deadline: Option<Timestamp>,
        /// After the deadline what has not moved goes all the same.
        force: bool,
    },
}

impl Scheduling {
    /// Do instances move away?
    #[must_use]
    pub fn is_draining(self) -> bool {
        matches!(self, Self::Draining { .. })
    }
}

impl Host {
    /// The value of a label: people's before the agent's.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).or_else(|| self.facts.labels.get(key)).map(String::as_str)
    }

    /// All labels.
    #[must_use]
    pub fn all_labels(&self) -> BTreeMap<String, String> {
        let mut all = self.facts.labels.clone();
        all.extend(self.labels.clone());
        all
    }

    /// May new instances be placed here now?
    #[must_use]
    pub fn takes_instances(&self) -> bool {
        self.status == HostLink::Active && self.scheduling == Scheduling::Active
    }

    /// Was its agent here, and is it not now?
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(self.status, HostLink::Disconnected | HostLink::Lost)
    }

    /// Is what its agent says of its instances what they are now? Not while it is away, and not
    /// while its engine does not answer.
    #[must_use]
    pub fn is_observed(&self) -> bool {
        self.status == HostLink::Active && self.facts.engine_problem.is_empty()
    }
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
