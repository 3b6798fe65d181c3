//! What one environment wants of a host's network, and what was done about it.

use crate::Error;
use crate::overlay::Overlay;
use ipnet::Ipv4Net;
use model::limits::BRIDGE_ADDRESSES_MAX;
use model::policy::HostPolicy;
use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// Longest name of a device of ours: the kernel's 15 bytes less the mark on our addresses (`plan::MARK`).
const DEVICE_NAME_BYTES_MAX: usize = 11;

/// What one environment wants of a host's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FabricWish {
    /// Id of the environment.
    pub environment: String,
    /// Interface of its bridge, made by Docker; at most 11 bytes.
    pub bridge: String,
    /// Range of its network; the bridge has the first address.
    pub subnet: Ipv4Net,
    /// Address that containers find DNS and metadata at.
    pub link_local: Ipv4Addr,
    /// Where :53 (udp and tcp) of `link_local` is served: `link_local` with another port.
    pub dns: SocketAddr,
    /// Where :80 of `link_local` is served: `link_local` with another port.
    pub metadata: SocketAddr,
    /// Balancer addresses in `subnet`, /32 each on the bridge.
    pub bridge_addresses: BTreeSet<Ipv4Addr>,
    /// The ways to other hosts; none on a host that is alone.
    pub overlay: Option<Overlay>,
    /// Who may connect to what is here.
    pub policy: Arc<HostPolicy>,
    /// The bridge is made when it is missing, rather than by Docker, and taken away again.
    pub makes_bridge: bool,
    /// Further interfaces that containers come by, in the words of nftables: `veth*`.
    pub callers: BTreeSet<String>,
}

impl FabricWish {
    /// A wish with the usual addresses and ports and no balancer.
    #[must_use]
    pub fn new(environment: &str, bridge: &str, subnet: Ipv4Net) -> Self {
        let at = |port| SocketAddr::new(IpAddr::V4(crate::LINK_LOCAL), port);
        Self {
            environment: environment.to_owned(),
            bridge: bridge.to_owned(),
            subnet,
            link_local: crate::LINK_LOCAL,
            dns: at(crate::DNS_PORT),
            metadata: at(crate::METADATA_PORT),
            bridge_addresses: BTreeSet::new(),
            overlay: None,
            policy: Arc::default(),
            makes_bridge: false,
            callers: BTreeSet::new(),
        }
    }

    /// Checks what no host could carry out, before anything is touched.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.broken_rule()
            .map_or(Ok(()), |why| Err(Error::Wish { environment: self.environment.clone(), why }))
    }

    fn broken_rule(&self) -> Option<String> {
        if let Some(why) = device_name_problem(&self.bridge) {
            return Some(format!("bridge name {:?} {why}", self.bridge));
        }
        let plain = |name: &&String| device_name_problem(name.trim_end_matches('*')).is_some();
        if let Some(name) = self.callers.iter().find(plain) {
            return Some(format!("{name:?} is no name of interfaces"));
        }
        if let Some(overlay) = &self.overlay {
            if let Some(why) = device_name_problem(&overlay.device) {
                return Some(format!("overlay device {:?} {why}", overlay.device));
            }
            if let Some(why) = overlay.broken_rule(self.subnet) {
                return Some(why);
            }
        }
        if !self.link_local.is_link_local() {
            return Some(format!("{} is not in 169.254.0.0/16", self.link_local));
        }
        for (what, served) in [("dns", self.dns), ("metadata", self.metadata)] {
            if served.ip() != IpAddr::V4(self.link_local) {
                return Some(format!("{what} {served} is not on {}", self.link_local));
            }
            if [0, 53, 80].contains(&served.port()) {
                return Some(format!("{what} {served} needs a port besides 0, 53 and 80"));
            }
        }
        if self.bridge_addresses.len() > BRIDGE_ADDRESSES_MAX {
            let n = self.bridge_addresses.len();
            return Some(format!("{n} bridge addresses, at most {BRIDGE_ADDRESSES_MAX}"));
        }
        let reserved =
            [self.subnet.network(), self.subnet.broadcast(), model::host::gateway(self.subnet)];
        self.bridge_addresses
            .iter()
            .find(|ip| !self.subnet.contains(*ip) || reserved.contains(ip))
            .map(|ip| format!("bridge address {ip} cannot be used in {}", self.subnet))
    }
}

/// A name that is safe in rules and file names, and leaves room for the mark.
pub(crate) fn device_name_problem(name: &str) -> Option<&'static str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if name.is_empty() || name.len() > DEVICE_NAME_BYTES_MAX {
        Some("must have 1 to 11 bytes")
    } else if !name.bytes().all(plain) || name.starts_with('.') || name == "lo" {
        Some("must be letters, digits, '-', '_', '.', not start with '.' and not be lo")
    } else {
        None
    }
}

/// What `ensure` found and did. Default: all was as wished.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FabricStatus {
    /// What was not as wished and now is; empty when nothing was to do.
    pub repaired: Vec<Repair>,
    /// Wished addresses that somebody else had set: they serve as well and are never taken away.
    pub foreign: Vec<Ipv4Addr>,
    /// Other hosts that plain routes do not lead to: they are not on this host's segment.
    pub off_segment: BTreeSet<Ipv4Addr>,
}

/// One thing that was not as wished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Repair {
    /// The nftables table was put in place, whole.
    Rules,
    /// IPv4 forwarding was switched on.
    Forwarding,
    /// The bridge was made.
    BridgeMade,
    /// A bridge of ours was taken away.
    BridgeRemoved,
    /// The bridge was set up.
    BridgeUp,
    /// An address was added.
    AddressAdded(Ipv4Addr),
    /// An address of ours that nobody wishes any more was taken away.
    AddressRemoved(Ipv4Addr),
    /// A kernel setting of the bridge or of the overlay's device was set.
    Setting,
    /// The routing rule for answers to other hosts was set or taken away.
    Rule,
    /// The overlay's device was made.
    OverlayMade,
    /// The overlay's device was taken away.
    OverlayRemoved,
    /// The overlay's device was set up, or its MTU follows the underlay's.
    OverlayTuned,
    /// Where a host is was told to the overlay's device.
    PeerAdded(Ipv4Addr),
    /// Where a host is was taken from the overlay's device.
    PeerRemoved(Ipv4Addr),
    /// A route to addresses on another host was set.
    RouteAdded(Ipv4Net),
    /// A route that nobody wishes was taken away.
    RouteRemoved(Ipv4Net),
    /// Docker's rules let the traffic of containers between hosts pass.
    Accepted,
    /// A rule of ours in Docker's chain was taken away.
    AcceptRemoved,
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rules => f.write_str("nftables table inet remuda put in place"),
            Self::Forwarding => f.write_str("ipv4 forwarding switched on"),
            Self::BridgeMade => f.write_str("bridge made"),
            Self::BridgeRemoved => f.write_str("bridge removed"),
            Self::BridgeUp => f.write_str("bridge set up"),
            Self::AddressAdded(ip) => write!(f, "address {ip} added"),
            Self::AddressRemoved(ip) => write!(f, "address {ip} removed"),
            Self::Setting => f.write_str("kernel setting for the overlay set"),
            Self::Rule => f.write_str("routing rule for answers to other hosts set"),
            Self::OverlayMade => f.write_str("overlay device made"),
            Self::OverlayRemoved => f.write_str("overlay device removed"),
            Self::OverlayTuned => f.write_str("overlay device set up"),
            Self::PeerAdded(ip) => write!(f, "overlay entry of host {ip} set"),
            Self::PeerRemoved(ip) => write!(f, "overlay entry of {ip} removed"),
            Self::RouteAdded(to) => write!(f, "route to {to} set"),
            Self::RouteRemoved(to) => write!(f, "route to {to} removed"),
            Self::Accepted => f.write_str("traffic between hosts accepted in chain DOCKER-USER"),
            Self::AcceptRemoved => f.write_str("rule removed from chain DOCKER-USER"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish() -> FabricWish {
        FabricWish::new("e1", "remuda0", "10.42.0.0/16".parse().unwrap())
    }

    #[test]
    fn a_wish_that_no_host_can_carry_out_is_refused_with_the_rule_it_breaks() {
        wish().check().unwrap();
        type Spoil = fn(&mut FabricWish);
        let cases: [(Spoil, &str); 11] = [
            (|w| w.bridge = String::new(), "1 to 11 bytes"),
            (|w| w.bridge = "remuda-bridge".into(), "1 to 11 bytes"),
            (|w| w.bridge = "a\" drop".into(), "must be letters"),
            (|w| w.bridge = "lo".into(), "not be lo"),
            (|w| _ = w.callers.insert("*".into()), "no name of interfaces"),
            (|w| w.link_local = Ipv4Addr::new(10, 0, 0, 1), "not in 169.254"),
            (|w| w.dns = "127.0.0.1:7653".parse().unwrap(), "not on 169.254.169.250"),
            (|w| w.metadata = "169.254.169.250:80".parse().unwrap(), "needs a port"),
            (|w| _ = w.bridge_addresses.insert(Ipv4Addr::new(10, 43, 0, 9)), "10.43.0.9"),
            (|w| _ = w.bridge_addresses.insert(Ipv4Addr::new(10, 42, 0, 1)), "10.42.0.1 cannot"),
            (|w| _ = w.bridge_addresses.insert(Ipv4Addr::new(10, 42, 255, 255)), "cannot be used"),
        ];
        for (spoil, expected) in cases {
            let mut wish = wish();
            spoil(&mut wish);
            let error = wish.check().unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("e1"), "{expected}: {error}");
        }
    }
}
