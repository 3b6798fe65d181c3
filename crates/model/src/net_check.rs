//! A check of the network between hosts: what each host is asked to send, what it says of what
//! arrived, and what that comes to. Hosts have a number within one check.

use crate::id::HostId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Packets by their size in bytes, IP header included.
pub type Counts = BTreeMap<u16, u32>;

/// What a host says when it is ready to be checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetReady {
    /// Its address, as the others know it; `None` when it has no ways to others.
    pub address: Option<Ipv4Addr>,
    /// Largest packet that goes through its overlay, in bytes.
    pub mtu: u16,
    /// What the overlay takes of each packet, in bytes.
    pub overhead: u16,
    /// Where it takes connections through the overlay.
    pub tcp_port: u16,
    /// What was not as wished and has just been put right.
    pub repaired: Vec<String>,
    /// Why its network is not as wished; empty when it is.
    pub problem: String,
}

/// What a host is to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetTask {
    /// Its own number.
    pub number: u16,
    /// The hosts that it is to ask.
    pub targets: Vec<NetTarget>,
    /// Addresses of its own containers that others ask.
    pub own: Vec<Ipv4Addr>,
}

/// A host to ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetTarget {
    /// Its number.
    pub number: u16,
    /// Its address.
    pub address: Ipv4Addr,
    /// Where it takes connections through the overlay.
    pub tcp_port: u16,
    /// Addresses of containers that run there.
    pub containers: Vec<Ipv4Addr>,
}

/// What a host has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetSeen {
    /// By the number of the other host.
    pub peers: BTreeMap<u16, PeerSeen>,
    /// Which of its own containers have answered it.
    pub own: Vec<Ipv4Addr>,
}

/// What a host has seen of another one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PeerSeen {
    /// Packets sent to it through the overlay.
    pub sent: Counts,
    /// How many of them it has answered.
    pub answered: Counts,
    /// Packets of it that have arrived through the overlay.
    pub arrived: Counts,
    /// Packets sent to it outside of the overlay.
    pub outer_sent: u32,
    /// How many of them it has answered.
    pub outer_answered: u32,
    /// Packets of it that have arrived outside of the overlay.
    pub outer_arrived: u32,
    /// Questions of it for this host's MAC address that have arrived.
    pub arp_arrived: u32,
    /// The shortest way there and back through the overlay, in microseconds.
    pub rtt_us: Option<u64>,
    /// There was a connection to it through the overlay.
    pub connected: bool,
    /// Why there is no connection to it through the overlay; empty when there is, or when none was
    /// tried.
    pub tcp: String,
    /// Why nothing could be sent to it; empty when it could.
    pub error: String,
    /// Which of its containers have answered.
    pub containers: Vec<Ipv4Addr>,
    /// Device that packets to its containers leave by when it is not the one that they should.
    pub wrong_way: String,
}

/// What a check has found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NetReport {
    /// Is anything broken, or could a host not be checked?
    pub broken: bool,
    /// Pairs of hosts that were checked, each both ways.
    pub pairs: usize,
    /// Pairs that there are.
    pub pairs_all: usize,
    /// The hosts.
    pub hosts: Vec<NetHost>,
    /// Each checked direction.
    pub ways: Vec<NetWay>,
}

/// A host in a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NetHost {
    /// Which.
    #[schema(value_type = String)]
    pub host: HostId,
    /// Its address.
    pub address: String,
    /// Was it checked?
    pub checked: bool,
    /// Why not; empty when it was.
    pub reason: String,
    /// Why its network is not as wished; empty when it is.
    pub problem: String,
    /// What was not as wished and has been put right by this check.
    pub repaired: Vec<String>,
}

/// One direction between two hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NetWay {
    /// Who sends.
    #[schema(value_type = String)]
    pub from: HostId,
    /// To whom.
    #[schema(value_type = String)]
    pub to: HostId,
    /// How it is.
    pub verdict: NetVerdict,
    /// The shortest way there and back, in microseconds; `None` without an answer.
    pub rtt_us: Option<u64>,
    /// What was seen; empty when it is well.
    pub why: String,
    /// What helps; empty when it is well.
    pub todo: String,
}

/// How one direction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NetVerdict {
    /// Everything arrives.
    Ok,
    /// Nothing arrives, in the overlay or outside.
    Lost,
    /// Packets arrive outside of the overlay and not through it.
    Overlay,
    /// Small packets arrive, large ones do not.
    Mtu,
    /// Some packets are lost.
    Lossy,
    /// Packets arrive, and a TCP connection is not made.
    Tcp,
    /// The host is reached, its containers are not.
    Containers,
    /// Nothing is wrong with it but that the other direction is broken, which it needs.
    Waits,
}

impl NetVerdict {
    /// Is this direction broken by itself?
    #[must_use]
    pub fn is_broken(self) -> bool {
        !matches!(self, Self::Ok | Self::Waits)
    }

    /// In a word, for a table.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Lost => "lost",
            Self::Overlay => "no overlay",
            Self::Mtu => "mtu",
            Self::Lossy => "lossy",
            Self::Tcp => "no tcp",
            Self::Containers => "containers",
            Self::Waits => "waits",
        }
    }
}
