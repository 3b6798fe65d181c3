//! What Remuda does to a host's network besides Docker's own bridge: the link-local address with
//! its nftables rules, balancer addresses on the bridge, forwarding, the ways to other hosts; who holds a port; what a
//! container's resolv.conf says; what `remuda doctor` has to know; one end of a check of the ways
//! between hosts; the encryption between them; the plugins of CNI, when containers get their network
//! from those; a floating address while this process holds it.
//!
//! It never touches an address, rule, sysctl or file that it did not make, and never listens but for
//! the seconds of such a check.

mod error;
mod wish;
mod overlay;
mod plan;
mod rules;
mod policy;

mod fabric;
mod linux;
mod fake;

mod prober;
mod wire;

mod floating;

mod sockets;
mod resolv;
mod hosts_file;
mod lend;
mod preflight;

pub mod cni;

pub use error::Error;
pub use fabric::{Fabric, Facts, LocalAddress};
pub use fake::{Fake, FakeAddress, FakeWorld};
pub use floating::{FloatingAddress, Question, Segment, silence, speak_again};
pub use hosts_file::names_in_hosts;
pub use lend::{lend_dns, name_in_hosts, return_dns};
pub use linux::Linux;
pub use overlay::{
    Overlay, OverlayMode, OverlayPeer, VXLAN_BYTES, VXLAN_DEVICE, VXLAN_PORT, WIREGUARD_DEVICE,
};
pub use preflight::{Finding, PreflightOptions, preflight};
pub use prober::{ProbeWish, Prober};
pub use resolv::{remove_resolv, resolv_conf, write_resolv};
pub use sockets::{Holder, HostPort, Program};
pub use wire::start_wires;
pub use wish::{FabricStatus, FabricWish, Repair};

use std::net::Ipv4Addr;

/// Where containers find DNS (:53), metadata (:80) and the Consul API (:8500), on every host.
pub const LINK_LOCAL: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 250);
/// Port of `LINK_LOCAL` that the dataplane serves DNS on; :53 is sent here.
pub const DNS_PORT: u16 = 7653;
/// Port of `LINK_LOCAL` that the agent answers the Consul API on; :8500 is sent here.
pub const CONSUL_PORT: u16 = 7685;
/// Port of `LINK_LOCAL` that the dataplane serves metadata on; :80 is sent here.
pub const METADATA_PORT: u16 = 7680;
