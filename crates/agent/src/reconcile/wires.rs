//! What a publication asks of the host's network: Docker's bridge, what the fabric adds to it, the
//! ways to the other hosts, and what the dataplane encrypts for them. Pure.

use crate::{BRIDGE, FOLDER_LABEL, NETWORK};
use engine::Engine;
use engine::wish::NetworkWish;
use model::host::{Environment, OverlayMode};
use model::host_spec::{HostSpec, Peer};
use model::id::HostId;
use model::instance::Goal;
use model::policy::HostPolicy;
use model::wireguard::{WIREGUARD_BYTES, WIREGUARD_PORT, WirePeer, WireStatus, WireWish};
use network::cni::NetConf;
use network::{FabricWish, Overlay, OverlayPeer, VXLAN_BYTES};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

/// The VXLAN device between hosts.
const DEVICE: &str = "remudavx0";
/// How the kernel calls the host's ends of pairs.
const CNI_CALLERS: &str = "veth*";

/// What the way between hosts takes of each packet, in bytes.
pub(crate) fn overhead(mode: OverlayMode) -> u32 {
    match mode {
        OverlayMode::Vxlan => VXLAN_BYTES,
        OverlayMode::Routes => 0,
        OverlayMode::Wireguard => WIREGUARD_BYTES,
    }
}

/// The network that Docker is to have. Packets of its containers fit through VXLAN, or through what
/// encrypts them, over a device with this MTU, whether there are other hosts yet or not: it cannot
/// be changed later.
pub(super) fn docker(spec: &HostSpec, folder: &Path, underlay_mtu: Option<u32>) -> NetworkWish {
    let environment = &spec.environment;
    let labels = [
        (engine::label::ENVIRONMENT.to_owned(), environment.id.clone()),
        (FOLDER_LABEL.to_owned(), folder.display().to_string()),
    ];
    NetworkWish {
        name: NETWORK.into(),
        bridge_name: BRIDGE.into(),
        subnet: environment.subnet,
        gateway: model::host::gateway(environment.subnet),
        ip_range: model::host::docker_range(environment.subnet),
        labels: labels.into(),
        mtu: underlay_mtu
            .map(|mtu| mtu.saturating_sub(overhead(environment.overlay).max(VXLAN_BYTES))),
        options: BTreeMap::new(),
    }
}

/// Docker's network is gone before plugins use its range.
pub(super) async fn leave_docker<E: Engine>(engine: &E, environment: &str) -> Result<(), String> {
    engine.remove_network(NETWORK, environment).await.map_err(|e| {
        format!(
            "Docker's network {NETWORK} is in the way of CNI ({}): `remuda host drain` this host, \
             then `remuda host uncordon` it; `docker network disconnect {NETWORK} NAME` takes a \
             plain container out",
            api::error::chain(&e)
        )
    })
}

/// Where the addresses of the environment are on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Anchor {
    /// The bridge.
    pub(crate) bridge: String,
    /// It is made by us and not by Docker.
    is_ours: bool,
    /// Further interfaces that containers come by.
    callers: BTreeSet<String>,
}

impl Anchor {
    /// Docker makes the bridge.
    pub(crate) fn docker() -> Self {
        Self { bridge: BRIDGE.into(), is_ours: false, callers: BTreeSet::new() }
    }

    /// The bridge that the plugins use. Where they use none, one without ports has the addresses,
    /// and containers come by interfaces of their own.
    pub(crate) fn of_cni(conf: &NetConf) -> Self {
        let callers = conf.bridge().is_none().then(|| CNI_CALLERS.to_owned());
        let bridge = conf.host_bridge().to_owned();
        Self { bridge, is_ours: true, callers: callers.into_iter().collect() }
    }
}

/// What the fabric is to make, with what it follows from: most publications change nothing of it,
/// and among many hosts it is long.
pub(super) struct Wires {
    host: HostId,
    anchor: Anchor,
    environment: Environment,
    bridge_addresses: BTreeSet<Ipv4Addr>,
    apart: BTreeSet<Ipv4Addr>,
    peers: Arc<BTreeMap<HostId, Peer>>,
    policy: Arc<HostPolicy>,
    pub(super) wish: Arc<FabricWish>,
    /// What the dataplane encrypts.
    pub(super) wire: Arc<WireWish>,
}

impl Wires {
    /// For a spec; `known` when nothing that it follows from has changed.
    pub(super) fn of(spec: &HostSpec, anchor: Anchor, known: Option<Self>) -> Self {
        let (bridge_addresses, apart) = (bridge_addresses(spec), apart(spec));
        let same = known.filter(|known| {
            known.host == spec.host
                && known.anchor == anchor
                && known.environment == spec.environment
                && known.bridge_addresses == bridge_addresses
                && known.apart == apart
                && known.peers == spec.peers
                && known.policy == spec.policy
        });
        let (wish, wire) = same.map_or_else(
            || (Arc::new(fabric(spec, &anchor)), Arc::new(wire(spec))),
            |known| (known.wish, known.wire),
        );
        let (host, environment) = (spec.host.clone(), spec.environment.clone());
        // The peers of this publication: those of the next are most often the same ones.
        let (peers, policy) = (Arc::clone(&spec.peers), Arc::clone(&spec.policy));
        Self { host, anchor, environment, bridge_addresses, apart, peers, policy, wish, wire }
    }
}

fn bridge_addresses(spec: &HostSpec) -> BTreeSet<Ipv4Addr> {
    let balancers = spec.balancers.values().filter(|placement| placement.goal == Goal::Run);
    balancers.filter_map(|placement| placement.address).collect()
}

/// Plain containers whose answers to other hosts would take another way.
fn apart(spec: &HostSpec) -> BTreeSet<Ipv4Addr> {
    spec.attachments.values().filter(|one| one.apart).map(|one| one.address).collect()
}

/// What the fabric is to make.
pub(crate) fn fabric(spec: &HostSpec, anchor: &Anchor) -> FabricWish {
    let environment = &spec.environment;
    let mut wish = FabricWish::new(&environment.id, &anchor.bridge, environment.subnet);
    wish.makes_bridge = anchor.is_ours;
    wish.callers.clone_from(&anchor.callers);
    wish.bridge_addresses = bridge_addresses(spec);
    wish.overlay = overlay(spec);
    wish.policy = Arc::clone(&spec.policy);
    wish
}

/// The ways to the other hosts; none while there is no other, or while nobody knows where this one
/// can be reached.
fn overlay(spec: &HostSpec) -> Option<Overlay> {
    let own = spec.peers.get(&spec.host)?;
    let mut overlay = Overlay::new(&spec.environment.id, DEVICE, own.address);
    overlay.mode = spec.environment.overlay;
    let single = own.routes.iter().filter(|to| to.prefix_len() == 32);
    overlay.apart = apart(spec);
    overlay.own = single.map(ipnet::Ipv4Net::addr).collect();
    let others = spec.peers.iter().filter(|(host, _)| **host != spec.host);
    let sealed = overlay.mode == OverlayMode::Wireguard;
    overlay.peers = others
        .map(|(host, peer)| {
            // Nothing is sent in clear: to whom nothing can be encrypted there is no way.
            let mute = sealed && peer.keys.is_empty();
            let routes = if mute { BTreeSet::new() } else { peer.routes.clone() };
            (host.to_string(), OverlayPeer { underlay: peer.address, routes })
        })
        .collect();
    (!overlay.peers.is_empty()).then_some(overlay)
}

/// Does the host hold a guard for all that the spec has one for? What comes up before its guard
/// would be open to all for a moment.
pub(crate) fn is_guarded(spec: &HostSpec, held: &HostPolicy) -> bool {
    let wanted = &spec.policy;
    wanted.is_off() || (wanted.unlisted, &wanted.guarded) == (held.unlisted, &held.guarded)
}

/// What the dataplane is to encrypt, and with whom.
fn wire(spec: &HostSpec) -> WireWish {
    let environment = &spec.environment;
    let own = spec.peers.get(&spec.host);
    let peers = spec.peers.iter().filter(|(host, _)| **host != spec.host);
    let peers = peers.map(|(host, peer)| {
        let Peer { address, routes, keys } = peer.clone();
        (host.clone(), WirePeer { address, keys, routes })
    });
    WireWish {
        active: environment.overlay == OverlayMode::Wireguard && own.is_some(),
        device: DEVICE.replace(network::VXLAN_DEVICE, network::WIREGUARD_DEVICE),
        address: own.map_or(Ipv4Addr::UNSPECIFIED, |own| own.address),
        port: WIREGUARD_PORT,
        subnet: environment.subnet,
        order: environment.keys.number,
        own: own.map(|own| own.routes.clone()).unwrap_or_default(),
        peers: peers.collect(),
    }
}

/// Why nothing can be encrypted here though all that goes to other hosts is to be; `said` is the
/// dataplane's word.
pub(crate) fn wire_problem(spec: &HostSpec, said: Option<&WireStatus>) -> Option<String> {
    let sealed = spec.environment.overlay == OverlayMode::Wireguard;
    if !sealed || spec.peers.keys().all(|host| *host == spec.host) {
        return None;
    }
    let Some(said) = said else {
        return Some(
            "the dataplane has not said whether it can encrypt, so nothing goes to other hosts: if \
             this stays, it is of an older version; end its process, and the agent starts the new one"
                .to_owned(),
        );
    };
    if !said.problem.is_empty() {
        return Some(format!("nothing goes to other hosts: {}", said.problem));
    }
    let known = spec.peers.get(&spec.host).is_some_and(|own| !own.keys.is_empty());
    (!known).then(|| {
        "the other hosts have no key of this one yet, so nothing goes to them: if this stays, another \
         host told the same key before, as a copy of a machine does; see `remuda agent reset`"
            .to_owned()
    })
}

/// Why this host has no place in a cluster of plain routes: it does not share its segment with most
/// of the others. One that shares it leaves single others out and goes on.
pub(crate) fn segment_problem(wish: &FabricWish, off: &BTreeSet<Ipv4Addr>) -> Option<String> {
    let overlay = wish.overlay.as_ref()?;
    let peers = overlay.peers.len();
    if let Some(other) = off.first().filter(|_| off.len() * 2 <= peers) {
        tracing::warn!(%other, "a host is not on this host's segment: no plain route leads there");
    }
    let some: Vec<String> = off.iter().take(3).map(ToString::to_string).collect();
    (off.len() * 2 > peers).then(|| {
        format!(
            "this host ({}) is on another segment than {} of {peers} others ({}), where plain routes \
             do not lead: put it on theirs, or `remuda net overlay vxlan`",
            overlay.underlay,
            off.len(),
            some.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::host_spec::HostAttachment;
    use model::policy::Unlisted;
    use model::time::Generation;

    fn peer(address: &str, routes: &[&str]) -> Peer {
        let routes = routes.iter().map(|to| to.parse().unwrap()).collect();
        Peer { address: address.parse().unwrap(), routes, keys: vec![] }
    }

    fn fabric(spec: &HostSpec) -> FabricWish {
        super::fabric(spec, &Anchor::docker())
    }

    fn spec(peers: &[(&str, Peer)]) -> HostSpec {
        let subnet = "10.42.0.0/16".parse().unwrap();
        let peers = peers.iter().map(|(host, peer)| (host.parse().unwrap(), peer.clone()));
        HostSpec {
            generation: Generation::default(),
            host: "h1".parse().unwrap(),
            environment: Environment::new("e1".into(), "default", subnet),
            instances: BTreeMap::new(),
            balancers: BTreeMap::new(),
            volumes: BTreeMap::new(),
            images_kept: Default::default(),
            attachments: BTreeMap::new(),
            policy: Arc::default(),
            labels: Arc::default(),
            peers: Arc::new(peers.collect()),
        }
    }

    #[test]
    fn a_host_has_an_overlay_when_there_are_others_and_it_is_known_itself() {
        let one = || ("h1", peer("192.0.2.1", &["10.42.1.0/26", "10.42.2.9/32"]));
        let two = || ("h2", peer("192.0.2.2", &["10.42.2.0/26"]));
        assert_eq!(fabric(&spec(&[])).overlay, None);
        assert_eq!(fabric(&spec(&[one()])).overlay, None, "alone");
        assert_eq!(fabric(&spec(&[two()])).overlay, None, "its own address is not known");
        let overlay = fabric(&spec(&[one(), two()])).overlay.unwrap();
        assert_eq!(overlay.underlay.to_string(), "192.0.2.1");
        assert_eq!(overlay.own, ["10.42.2.9".parse().unwrap()].into(), "in a block of the other");
        assert_eq!(overlay.peers.keys().collect::<Vec<_>>(), ["h2"]);
    }

    #[test]
    fn the_wish_is_made_anew_when_what_it_follows_from_changes() {
        let peers = [("h1", peer("192.0.2.1", &[])), ("h2", peer("192.0.2.2", &["10.42.2.0/26"]))];
        let first = Wires::of(&spec(&peers), Anchor::docker(), None);
        let wish = Arc::clone(&first.wish);
        let second = Wires::of(&spec(&peers), Anchor::docker(), Some(first));
        assert!(Arc::ptr_eq(&second.wish, &wish), "equal peers of another publication");
        let moved = [peers[0].clone(), ("h2", peer("192.0.2.3", &["10.42.2.0/26"]))];
        let third = Wires::of(&spec(&moved), Anchor::docker(), Some(second));
        assert_eq!(*third.wish, fabric(&spec(&moved)));
        assert_ne!(third.wish, wish);
        type Change = fn(&mut HostSpec);
        let changes: [Change; 4] = [
            |spec| Arc::make_mut(&mut spec.policy).unlisted = Unlisted::Deny,
            |spec| spec.environment.id = "e2".into(),
            |spec| spec.host = "h2".parse().unwrap(),
            |spec| {
                let address = "10.42.1.9".parse().unwrap();
                let one = HostAttachment { address, apart: true };
                spec.attachments.insert("ab".parse().unwrap(), one);
            },
        ];
        for change in changes {
            let mut changed = spec(&moved);
            change(&mut changed);
            let before = Wires::of(&spec(&moved), Anchor::docker(), None);
            assert_eq!(*Wires::of(&changed, Anchor::docker(), Some(before)).wish, fabric(&changed));
        }
    }

    #[test]
    fn nothing_is_sent_to_a_host_that_it_cannot_be_encrypted_for() {
        let key = model::wireguard::PublicKey::new([7; 32]).unwrap();
        let with_key = |mut peer: Peer| {
            peer.keys = vec![key];
            peer
        };
        let mut all = spec(&[
            ("h1", with_key(peer("192.0.2.1", &[]))),
            ("h2", with_key(peer("192.0.2.2", &["10.42.2.0/26"]))),
            ("h3", peer("192.0.2.3", &["10.42.3.0/26"])),
        ]);
        let plain = Wires::of(&all, Anchor::docker(), None);
        assert!(!plain.wire.active && plain.wire.peers.len() == 2, "keys are there before");
        let routes = |wires: &Wires, host: &str| {
            wires.wish.overlay.as_ref().unwrap().peers[host].routes.len()
        };
        assert_eq!((routes(&plain, "h2"), routes(&plain, "h3")), (1, 1));
        all.environment.overlay = OverlayMode::Wireguard;
        all.environment.keys.number = 4;
        let sealed = Wires::of(&all, Anchor::docker(), Some(plain));
        assert_eq!((routes(&sealed, "h2"), routes(&sealed, "h3")), (1, 0));
        let wire = &*sealed.wire;
        assert!(wire.active && wire.device == "remudawg0" && wire.order == 4);
        assert_eq!(wire.peers[&"h2".parse::<HostId>().unwrap()].keys, [key]);
    }

    #[test]
    fn who_cannot_encrypt_says_why() {
        let key = model::wireguard::PublicKey::new([7; 32]).unwrap();
        let mut all = spec(&[("h1", peer("192.0.2.1", &[])), ("h2", peer("192.0.2.2", &[]))]);
        let said = |problem: &str| WireStatus { keys: vec![key], problem: problem.into() };
        assert_eq!(wire_problem(&all, None), None, "nothing is encrypted");
        all.environment.overlay = OverlayMode::Wireguard;
        let told = |all: &HostSpec, said: Option<&WireStatus>| wire_problem(all, said).unwrap();
        assert!(told(&all, None).contains("older version"));
        assert!(told(&all, Some(&said("no TUN"))).contains("other hosts: no TUN"));
        assert!(told(&all, Some(&said(""))).contains("remuda agent reset"));
        let own: HostId = "h1".parse().unwrap();
        Arc::make_mut(&mut all.peers).get_mut(&own).unwrap().keys = vec![key];
        assert_eq!(wire_problem(&all, Some(&said(""))), None);
        assert!(told(&all, Some(&said("no TUN"))).contains("no TUN"));
    }

    #[test]
    fn who_is_alone_on_its_segment_has_the_problem_and_not_the_others() {
        let all = [
            ("h1", peer("192.0.2.1", &[])),
            ("h2", peer("192.0.2.2", &[])),
            ("h3", peer("192.0.2.3", &[])),
            ("h4", peer("198.51.100.4", &[])),
        ];
        let wish = fabric(&spec(&all));
        let off = |ips: &[&str]| ips.iter().map(|ip| ip.parse().unwrap()).collect();
        assert_eq!(segment_problem(&wish, &off(&[])), None);
        assert_eq!(segment_problem(&wish, &off(&["198.51.100.4"])), None, "the other one's");
        let why = segment_problem(&wish, &off(&["192.0.2.2", "192.0.2.3", "198.51.100.4"]));
        let why = why.unwrap();
        assert!(why.contains("this host (192.0.2.1)") && why.contains("3 of 3 others"), "{why}");
        assert!(why.contains("remuda net overlay vxlan"), "{why}");
    }

    #[test]
    fn packets_of_containers_fit_through_the_way_between_hosts() {
        let mut spec = spec(&[]);
        for (mode, expected) in [
            (OverlayMode::Vxlan, [Some(1450), Some(8950), None]),
            (OverlayMode::Routes, [Some(1450), Some(8950), None]),
            (OverlayMode::Wireguard, [Some(1440), Some(8940), None]),
        ] {
            spec.environment.overlay = mode;
            let mtu = |underlay| docker(&spec, Path::new("/var/lib/remuda"), underlay).mtu;
            assert_eq!([mtu(Some(1500)), mtu(Some(9000)), mtu(None)], expected, "{mode:?}");
        }
    }
}
