//! The network between hosts: what one environment wants of it, and which entries in the kernel
//! that comes to. Pure. A routed overlay: each peer has routes to its addresses, and with VXLAN
//! one neighbour and one forwarding entry; nothing is flooded and nothing is learned. What is to be
//! encrypted goes to a TUN device, which the dataplane reads.

use crate::wish::FabricWish;
use ipnet::Ipv4Net;
pub use model::host::OverlayMode;
use model::limits::{OVERLAY_PEERS_MAX, OVERLAY_ROUTES_MAX};
use model::wireguard::WIREGUARD_BYTES;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// Where VXLAN is sent to and heard.
pub const VXLAN_PORT: u16 = 4789;
/// What VXLAN over IPv4 takes of each packet: two Ethernet, IPv4, UDP and VXLAN headers.
pub const VXLAN_BYTES: u32 = 50;
/// Names of our VXLAN devices begin so; nobody else's does.
pub const VXLAN_DEVICE: &str = "remudavx";
/// Names of the devices that the dataplane encrypts for begin so; nobody else's does.
pub const WIREGUARD_DEVICE: &str = "remudawg";
/// MTU of an underlay that is not known.
pub(crate) const MTU: u32 = 1500;
/// The routing table that all packets are looked up in.
pub(crate) const MAIN: u32 = 254;
const VNI_MAX: u32 = (1 << 24) - 1;

/// What an environment wants of the network between hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// How packets get to another host.
    pub mode: OverlayMode,
    /// Name of its VXLAN device: begins with `VXLAN_DEVICE`, at most 11 bytes. That of its TUN device
    /// has `WIREGUARD_DEVICE` in the place of it.
    pub device: String,
    /// Its VXLAN network identifier.
    pub vni: u32,
    /// UDP port of VXLAN.
    pub port: u16,
    /// This host's address, as its peers know it.
    pub underlay: Ipv4Addr,
    /// Addresses that are here although a peer has a route around them.
    pub own: BTreeSet<Ipv4Addr>,
    /// Containers here whose answers to what is outside of the range take another way: such callers
    /// are seen by them as the bridge.
    pub apart: BTreeSet<Ipv4Addr>,
    /// The other hosts, by any name.
    pub peers: BTreeMap<String, OverlayPeer>,
}

/// Another host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverlayPeer {
    /// Its address.
    pub underlay: Ipv4Addr,
    /// What is there of the environment's range.
    pub routes: BTreeSet<Ipv4Net>,
}

impl Overlay {
    /// One over VXLAN without peers.
    #[must_use]
    pub fn new(environment: &str, device: &str, underlay: Ipv4Addr) -> Self {
        Self {
            mode: OverlayMode::Vxlan,
            device: device.to_owned(),
            vni: vni_of(environment),
            port: VXLAN_PORT,
            underlay,
            own: BTreeSet::new(),
            apart: BTreeSet::new(),
            peers: BTreeMap::new(),
        }
    }

    /// Which rule it breaks.
    pub(crate) fn broken_rule(&self, subnet: Ipv4Net) -> Option<String> {
        let Self { device, vni, port, underlay, .. } = self;
        if !device.starts_with(VXLAN_DEVICE) {
            return Some(format!("overlay device {device:?} must begin with {VXLAN_DEVICE}"));
        }
        if *vni == 0 || *vni > VNI_MAX || *port == 0 {
            return Some(format!("VNI {vni} with UDP port {port} cannot be used"));
        }
        if !is_usable(*underlay) {
            return Some(format!("no other host can reach this one at {underlay}"));
        }
        if self.peers.len() > OVERLAY_PEERS_MAX {
            return Some(format!("{} peers, at most {OVERLAY_PEERS_MAX}", self.peers.len()));
        }
        let routes: usize = self.peers.values().map(|peer| peer.routes.len()).sum();
        if routes + self.own.len() > OVERLAY_ROUTES_MAX {
            return Some(format!("{routes} routes to peers, at most {OVERLAY_ROUTES_MAX}"));
        }
        let outside = self.own.iter().chain(&self.apart).find(|ip| !subnet.contains(*ip));
        outside.map(|ip| format!("overlay address {ip} is not in {subnet}"))
    }

    /// Peers that can be reached at all: one with a senseless address takes nothing from others.
    pub(crate) fn usable_peers(&self) -> impl Iterator<Item = &OverlayPeer> {
        let usable = |peer: &&OverlayPeer| is_usable(peer.underlay);
        self.peers.values().filter(usable).filter(|peer| peer.underlay != self.underlay)
    }

    /// The device of its own that packets leave by; none with plain routes.
    #[must_use]
    pub fn device_name(&self) -> Option<String> {
        match self.mode {
            OverlayMode::Vxlan => Some(self.device.clone()),
            OverlayMode::Wireguard => Some(self.device.replacen(VXLAN_DEVICE, WIREGUARD_DEVICE, 1)),
            OverlayMode::Routes => None,
        }
    }

    /// Peers that plain routes do not lead to: they are on no segment of this host's address.
    pub(crate) fn off_segment(&self, underlay: Option<&Underlay>) -> BTreeSet<Ipv4Addr> {
        if self.mode != OverlayMode::Routes {
            return BTreeSet::new();
        }
        let is_off = |ip: &Ipv4Addr| underlay.is_none_or(|on| !on.segment.contains(ip));
        self.usable_peers().map(|peer| peer.underlay).filter(is_off).collect()
    }

    /// The device as it should be; none for plain routes.
    pub(crate) fn made(&self, underlay: Option<&Underlay>) -> Option<Device> {
        let mtu = underlay.map_or(MTU, |underlay| underlay.mtu);
        let less = |bytes| mtu.saturating_sub(bytes).max(MTU_MIN);
        match self.mode {
            OverlayMode::Vxlan => Some(Device::Vxlan(Vxlan {
                vni: self.vni,
                port: self.port,
                // An address that no device has is one that somebody translates to ours.
                local: underlay.map(|_| self.underlay),
                learning: false,
                mac: mac_of(self.underlay),
                mtu: less(VXLAN_BYTES),
            })),
            OverlayMode::Wireguard => Some(Device::Tun { mtu: less(WIREGUARD_BYTES) }),
            OverlayMode::Routes => None,
        }
    }

    /// What is kept of it in the journal.
    pub(crate) fn trace(&self, subnet: Ipv4Net) -> OverlayTrace {
        let sealed = self.mode == OverlayMode::Wireguard;
        let peers: BTreeSet<Ipv4Addr> = self.usable_peers().map(|peer| peer.underlay).collect();
        OverlayTrace {
            device: self.device_name(),
            subnet,
            vni: self.vni,
            port: self.port,
            sealed: if sealed { peers.clone() } else { BTreeSet::new() },
            peers: if sealed { BTreeSet::new() } else { peers },
            apart: self.apart.clone(),
        }
    }
}

/// Smallest MTU that IPv4 knows of for any host.
const MTU_MIN: u32 = 576;

/// Can another host have this address?
fn is_usable(ip: Ipv4Addr) -> bool {
    !ip.is_loopback() && !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast()
}

/// The VNI of an environment, and the number of its routing table: above the numbers that people
/// and the kernel choose.
fn vni_of(environment: &str) -> u32 {
    let fnv = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let hash = environment.bytes().fold(0x811c_9dc5, fnv);
    1000 + (hash ^ (hash >> 24)) % (VNI_MAX - 1000)
}

/// MAC of a host's VXLAN device: both sides make it from its address.
fn mac_of(underlay: Ipv4Addr) -> Mac {
    let [a, b, c, d] = underlay.octets();
    [0x02, 0x52, a, b, c, d]
}

/// A MAC address.
pub(crate) type Mac = [u8; 6];

/// The device that a host's address is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Underlay {
    pub(crate) device: String,
    pub(crate) mtu: u32,
    /// Who is reached there without a gateway.
    pub(crate) segment: Ipv4Net,
}

/// A VXLAN device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Vxlan {
    pub(crate) vni: u32,
    pub(crate) port: u16,
    pub(crate) local: Option<Ipv4Addr>,
    pub(crate) learning: bool,
    pub(crate) mac: Mac,
    pub(crate) mtu: u32,
}

/// A device of an overlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    Vxlan(Vxlan),
    /// The dataplane reads and writes it. It outlives the dataplane, and drops what comes meanwhile.
    Tun {
        mtu: u32,
    },
}

impl Device {
    pub(crate) fn mtu(&self) -> u32 {
        match self {
            Self::Vxlan(vxlan) => vxlan.mtu,
            Self::Tun { mtu } => *mtu,
        }
    }

    /// The same with another MTU: what can be changed in place.
    pub(crate) fn with_mtu(&self, mtu: u32) -> Self {
        match self {
            Self::Vxlan(vxlan) => Self::Vxlan(Vxlan { mtu, ..vxlan.clone() }),
            Self::Tun { .. } => Self::Tun { mtu },
        }
    }

    /// Is it the same but for what can be changed in place?
    pub(crate) fn is_alike(&self, other: &Self) -> bool {
        self.with_mtu(0) == other.with_mtu(0)
    }
}

/// Is this the name of a device of ours?
pub(crate) fn is_device_name(name: &str) -> bool {
    name.starts_with(VXLAN_DEVICE) || name.starts_with(WIREGUARD_DEVICE)
}

/// What an environment's overlay leaves in a host, for the journal and the rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OverlayTrace {
    /// Its device; none with plain routes.
    pub(crate) device: Option<String>,
    pub(crate) subnet: Ipv4Net,
    pub(crate) vni: u32,
    pub(crate) port: u16,
    /// Who may send VXLAN to us.
    pub(crate) peers: BTreeSet<Ipv4Addr>,
    /// Hosts to which nothing of the range may go but through the device, since it is encrypted there.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) sealed: BTreeSet<Ipv4Addr>,
    /// Containers that see callers outside of the range as the bridge.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) apart: BTreeSet<Ipv4Addr>,
}

/// An entry in the kernel, in the order in which they are made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Entry {
    /// The MAC of a next hop.
    Neighbour { device: String, ip: Ipv4Addr, mac: Mac },
    /// The host where a MAC is.
    Forward { device: String, mac: Mac, host: Ipv4Addr },
    /// A way to addresses.
    Route {
        /// `MAIN`, or the one that answers of containers are looked up in.
        table: u32,
        to: Ipv4Net,
        via: Option<Ipv4Addr>,
        device: String,
        source: Option<Ipv4Addr>,
        metric: u32,
        /// Has it our mark?
        ours: bool,
    },
    /// What comes from a range is looked up in this table first.
    Rule { from: Ipv4Net, table: u32 },
    /// A rule in Docker's chain for others that lets containers' traffic pass: `iptables` words.
    Accept { bridge: String, words: String },
}

impl Entry {
    /// Can `other` not be there together with it, so that it takes its place when it is made?
    pub(crate) fn replaces(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Neighbour { device, ip, .. },
                Self::Neighbour { device: theirs, ip: other, .. },
            ) => device == theirs && ip == other,
            (
                Self::Forward { device, mac, .. },
                Self::Forward { device: theirs, mac: other, .. },
            ) => device == theirs && mac == other,
            (
                Self::Route { table, to, metric, .. },
                Self::Route { table: of, to: other, metric: theirs, .. },
            ) => table == of && to == other && metric == theirs,
            _ => false,
        }
    }

    /// Is it on this device?
    pub(crate) fn is_on(&self, name: &str) -> bool {
        match self {
            Self::Neighbour { device, .. }
            | Self::Forward { device, .. }
            | Self::Route { device, .. } => device == name,
            Self::Rule { .. } | Self::Accept { .. } => false,
        }
    }

    /// Does it belong to an environment's overlay?
    pub(crate) fn is_of(&self, bridge: &str, trace: &OverlayTrace) -> bool {
        let on_device = || trace.device.as_ref().is_some_and(|device| self.is_on(device));
        match self {
            Self::Route { to, ours: true, .. } => trace.subnet.contains(to) || on_device(),
            Self::Rule { from, .. } => *from == trace.subnet,
            Self::Accept { bridge: theirs, .. } => theirs == bridge,
            _ => on_device(),
        }
    }
}

/// A number that the kernel keeps for a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Setting {
    /// Answers who asks for an address that is elsewhere: containers look for the whole range on
    /// their own link.
    ProxyArp,
    /// How long such an answer waits, in hundredths of a second.
    ProxyDelay,
    /// How strictly the way back is checked.
    ReversePath,
    /// Packets between containers of one bridge pass the rules for IPv4.
    CallsIptables,
    /// The same for IPv6.
    CallsIp6tables,
}

impl Setting {
    /// Its file.
    pub(crate) fn path(self, device: &str) -> String {
        let of_ip = |name| format!("/proc/sys/net/ipv4/{name}");
        match self {
            Self::ProxyArp => of_ip(format!("conf/{device}/proxy_arp")),
            Self::ProxyDelay => of_ip(format!("neigh/{device}/proxy_delay")),
            Self::ReversePath => of_ip(format!("conf/{device}/rp_filter")),
            Self::CallsIptables => format!("/sys/class/net/{device}/bridge/nf_call_iptables"),
            Self::CallsIp6tables => format!("/sys/class/net/{device}/bridge/nf_call_ip6tables"),
        }
    }

    /// What a new bridge has.
    pub(crate) fn plain(self) -> i32 {
        match self {
            Self::ProxyArp | Self::ReversePath => 0,
            Self::CallsIptables | Self::CallsIp6tables => 0,
            Self::ProxyDelay => 80,
        }
    }
}

/// Settings of a bridge that has an overlay.
pub(crate) const BRIDGE_SETTINGS: [(Setting, i32); 2] =
    [(Setting::ProxyArp, 1), (Setting::ProxyDelay, 0)];
/// Settings of a bridge that has a network policy.
pub(crate) const POLICY_SETTINGS: [(Setting, i32); 2] =
    [(Setting::CallsIptables, 1), (Setting::CallsIp6tables, 1)];
/// Settings of an overlay's device: an address may be on its way to another host.
pub(crate) const DEVICE_SETTINGS: [(Setting, i32); 1] = [(Setting::ReversePath, 2)];

/// The entries that a wish comes to.
///
/// What a host itself sends to a container of another host has the sender's own address as its
/// source, like any packet of the host. The answer must take the same way back, not the underlay,
/// which does not know the container's address: what has an address of the range as its source
/// finds the peers' own addresses in a table of their own.
pub(crate) fn entries(
    wish: &FabricWish,
    overlay: &Overlay,
    underlay: Option<&Underlay>,
) -> BTreeSet<Entry> {
    let mut all = BTreeSet::new();
    let vxlan = overlay.mode == OverlayMode::Vxlan;
    let own = overlay.device_name();
    let device = own.as_ref().or(underlay.map(|underlay| &underlay.device));
    let mut ways: BTreeMap<(u32, Ipv4Net), (Option<Ipv4Addr>, &String)> = BTreeMap::new();
    // What is here is here, whoever else says that he has it.
    for ip in &overlay.own {
        ways.insert((MAIN, Ipv4Net::from(*ip)), (None, &wish.bridge));
    }
    let off = overlay.off_segment(underlay);
    for peer in overlay.usable_peers().filter(|peer| !off.contains(&peer.underlay)) {
        let Some(device) = device else { break };
        let ip = peer.underlay;
        if vxlan {
            let mac = mac_of(ip);
            all.insert(Entry::Neighbour { device: device.clone(), ip, mac });
            all.insert(Entry::Forward { device: device.clone(), mac, host: ip });
        }
        // A TUN device has no neighbours: who reads it knows where what goes.
        let via = (overlay.mode != OverlayMode::Wireguard).then_some(ip);
        if own.is_some() {
            ways.insert((overlay.vni, Ipv4Net::from(ip)), (via, device));
        }
        let sane =
            |to: &&Ipv4Net| wish.subnet.contains(*to) && to.prefix_len() > wish.subnet.prefix_len();
        for to in peer.routes.iter().filter(sane) {
            ways.entry((MAIN, to.trunc())).or_insert((via, device));
        }
    }
    all.extend(ways.into_iter().map(|((table, to), (via, device))| Entry::Route {
        table,
        to,
        via,
        device: device.clone(),
        source: (own.as_ref() == Some(device) && table == MAIN).then_some(overlay.underlay),
        metric: 0,
        ours: true,
    }));
    let (bridge, range) = (&wish.bridge, wish.subnet);
    if let Some(own) = &own {
        all.insert(Entry::Rule { from: range, table: overlay.vni });
        all.insert(accept(bridge, format!("-i {own} -o {bridge}")));
    } else {
        all.insert(accept(bridge, format!("-s {range} -d {range} -o {bridge}")));
        all.extend(
            overlay.usable_peers().map(|peer| {
                accept(bridge, format!("-s {}/32 -d {range} -o {bridge}", peer.underlay))
            }),
        );
    }
    all
}

fn accept(bridge: &str, words: String) -> Entry {
    Entry::Accept { bridge: bridge.to_owned(), words }
}

#[cfg(test)]
mod tests;
