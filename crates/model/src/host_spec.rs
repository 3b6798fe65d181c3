//! `HostSpec`: what one host should hold. It goes down to the agent, which chooses nothing.
//! Absence never removes: a removal is an entry with goal `Remove`.

use crate::container_spec::ContainerSpec;
use crate::host::Environment;
use crate::id::{HostId, InstanceId};
use crate::instance::{Goal, Target};
use crate::plain::ContainerId;
use crate::policy::HostPolicy;
use crate::service::RestartPolicy;
use crate::stack::VolumeSpec;
use crate::time::{Generation, Timestamp};
use crate::wireguard::PublicKey;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// What one host should hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSpec {
    /// Fence: an agent refuses an older one.
    pub generation: Generation,
    /// For which host.
    pub host: HostId,
    /// The environment with its network.
    pub environment: Environment,
    /// Containers by instance.
    pub instances: BTreeMap<InstanceId, InstanceSpec>,
    /// Balancers: placements without a container, served by the dataplane.
    pub balancers: BTreeMap<InstanceId, BalancerPlacement>,
    /// Named volumes that the instances use.
    pub volumes: BTreeMap<String, VolumeSpec>,
    /// Images that a rollback may need: a clean-up leaves them alone.
    #[serde(default)]
    pub images_kept: BTreeSet<String>,
    /// Plain containers that are to be in the managed network.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attachments: BTreeMap<ContainerId, HostAttachment>,
    /// Who may connect to what is here.
    #[serde(default, skip_serializing_if = "policy_is_off")]
    pub policy: Arc<HostPolicy>,
    /// Labels of the host, people's before its agent's.
    #[serde(default, skip_serializing_if = "has_none")]
    pub labels: Arc<BTreeMap<String, String>>,
    /// The hosts of the environment, this one too, with the addresses that are reached through them.
    #[serde(default)]
    pub peers: Arc<BTreeMap<HostId, Peer>>,
}

fn policy_is_off(policy: &Arc<HostPolicy>) -> bool {
    policy.is_off()
}

fn has_none(labels: &Arc<BTreeMap<String, String>>) -> bool {
    labels.is_empty()
}

/// How a plain container is in the managed network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostAttachment {
    /// Its address there.
    pub address: Ipv4Addr,
    /// It has another network too, which its answers to what is not in the managed network take.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub apart: bool,
}

/// A host, as the network of the others must know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its address outside the managed network.
    pub address: Ipv4Addr,
    /// Ranges of the managed network that are reached through it: its blocks of 64 addresses, and
    /// single addresses in blocks of others, which are stronger.
    pub routes: BTreeSet<Ipv4Net>,
    /// Its public keys, the newest first; none while it has told none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<PublicKey>,
}

/// One container as its host must hold it: the primary of an instance, or a sidekick.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceSpec {
    /// What is to become of it.
    pub goal: Goal,
    /// When it was ordered to stop or to go. Another time is another order: in between it was to run,
    /// which this host may not have heard and others have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordered_at: Option<Timestamp>,
    /// Which version, for the label.
    pub target: Target,
    /// Docker's name: its uniqueness is the local compare-and-swap.
    pub container_name: String,
    /// What the container is made from.
    pub container: Arc<ContainerSpec>,
    /// Address in the managed network.
    pub address: Option<Ipv4Addr>,
    /// resolv.conf search domains.
    pub search: Vec<String>,
    /// Labels of ours and of Rancher's, besides the user's.
    pub system_labels: BTreeMap<String, String>,
    /// When an exited container starts again.
    pub restart: RestartPolicy,
    /// SIGTERM to SIGKILL, milliseconds.
    pub stop_grace_ms: u64,
    /// Longest wait for requests in flight, milliseconds.
    pub drain_ms: u64,
    /// Is it checked by the dataplane (its health then comes from there)?
    pub probed: bool,
    /// The container whose network it shares: made and started after it, and again after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_of: Option<InstanceId>,
    /// Containers whose processes or shared memory it sees: made and started after them, and again
    /// after them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub namespaces_of: BTreeSet<InstanceId>,
    /// Containers whose mounts it has, each with `true` for not writable: made after them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes_from: Vec<(InstanceId, bool)>,
    /// The primary that it belongs to: it is stopped after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidekick_of: Option<InstanceId>,
    /// It is stopped when the server has not been heard for so long, in milliseconds: another one
    /// runs elsewhere then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_after_ms: Option<u64>,
    /// The image that was settled for all hosts, by id: no other one is run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// The same by `name@sha256:…` of a registry, which may mean another id on another platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<String>,
    /// The server settles its image for all hosts once this one says what the name means: it waits
    /// for that a moment.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub settles: bool,
    /// Is its use of cpu and memory to be reported?
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub measured: bool,
    /// It has run to its end: when its container is gone, as after `docker container prune`, no
    /// other one is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

/// How a container has run to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Exit code, when its container was there to tell it.
    pub exit_code: Option<i64>,
    /// What its status told with it.
    pub reason: String,
}

/// A balancer on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalancerPlacement {
    /// What is to become of it.
    pub goal: Goal,
    /// Its address on the host's bridge.
    pub address: Option<Ipv4Addr>,
    /// Listeners of the view that it owns.
    pub listeners: Vec<String>,
}
