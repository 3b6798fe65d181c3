//! What a publication asks of the host's network: Docker's bridge, what the fabric adds to it, and
//! the ways to the other hosts. Pure.

use crate::{BRIDGE, FOLDER_LABEL, NETWORK};
use engine::Engine;
use engine::wish::NetworkWish;
use model::host::Environment;
use model::host_spec::{HostSpec, Peer};
use model::id::HostId;
use model::instance::Goal;
use model::policy::HostPolicy;
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

/// The network that Docker is to have. Packets of its containers fit through VXLAN over a device
/// with this MTU, whether there are other hosts yet or not: it cannot be changed later.
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
        mtu: underlay_mtu.map(|mtu| mtu.saturating_sub(VXLAN_BYTES)),
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
        let wish = same.map_or_else(|| Arc::new(fabric(spec, &anchor)), |known| known.wish);
        let (host, environment) = (spec.host.clone(), spec.environment.clone());
        // The peers of this publication: those of the next are most often the same ones.
        let (peers, policy) = (Arc::clone(&spec.peers), Arc::clone(&spec.policy));
        Self { host, anchor, environment, bridge_addresses, apart, peers, policy, wish }
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
    overlay.peers = others
        .map(|(host, peer)| {
            let routes = peer.routes.clone();
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
        Peer { address: address.parse().unwrap(), routes }
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
    fn packets_of_containers_fit_into_vxlan() {
        let spec = spec(&[]);
        let mtu = |underlay| docker(&spec, Path::new("/var/lib/remuda"), underlay).mtu;
        assert_eq!(mtu(Some(1500)), Some(1450));
        assert_eq!(mtu(Some(9000)), Some(8950));
        assert_eq!(mtu(None), None);
    }
}
