//! Tables: wishes and the entries that they come to; and any wish after any other one leaves what
//! the last one asked for and nothing else.

use super::*;
use crate::fabric::Fabric;
use crate::fake::Fake;
use proptest::prelude::*;

fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn net(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

fn wish(peers: &[(&str, &[&str])]) -> FabricWish {
    let mut wish = FabricWish::new("e1", "remuda0", net("10.42.0.0/16"));
    let mut overlay = Overlay::new("e1", "remudavx0", ip("192.0.2.1"));
    for (n, (underlay, routes)) in peers.iter().enumerate() {
        let routes = routes.iter().map(|to| net(to)).collect();
        overlay.peers.insert(n.to_string(), OverlayPeer { underlay: ip(underlay), routes });
    }
    wish.overlay = Some(overlay);
    wish
}

/// Ways in the main table: where to, and over which host or device.
fn ways(wish: &FabricWish, underlay: Option<&Underlay>) -> Vec<String> {
    let all = entries(wish, wish.overlay.as_ref().unwrap(), underlay);
    let ways = all.into_iter().filter_map(|entry| match entry {
        Entry::Route { table: MAIN, to, via, device, .. } => {
            let via = via.map(|via| format!(" via {via}")).unwrap_or_default();
            Some(format!("{to}{via} on {device}"))
        }
        _ => None,
    });
    ways.collect()
}

#[test]
fn each_peer_has_its_ways_and_no_peer_can_take_what_is_not_its_own() {
    type Spoil = fn(&mut Overlay);
    type Peers = &'static [(&'static str, &'static [&'static str])];
    let cases: Vec<(&str, Spoil, Peers, &[&str])> = vec![
        ("nobody", |_| {}, &[], &[]),
        (
            "two",
            |_| {},
            &[("192.0.2.2", &["10.42.1.0/26", "10.42.7.9/32"]), ("192.0.2.3", &["10.42.7.0/26"])],
            &[
                "10.42.1.0/26 via 192.0.2.2 on remudavx0",
                "10.42.7.0/26 via 192.0.2.3 on remudavx0",
                "10.42.7.9/32 via 192.0.2.2 on remudavx0",
            ],
        ),
        (
            "what is here",
            |o| _ = o.own.insert("10.42.1.5".parse().unwrap()),
            &[("192.0.2.2", &["10.42.1.0/26", "10.42.1.5/32"])],
            &["10.42.1.0/26 via 192.0.2.2 on remudavx0", "10.42.1.5/32 on remuda0"],
        ),
        (
            "all of the range, or none of it",
            |_| {},
            &[("192.0.2.2", &["10.42.0.0/16", "0.0.0.0/0", "10.43.1.0/26", "10.42.3.0/26"])],
            &["10.42.3.0/26 via 192.0.2.2 on remudavx0"],
        ),
        (
            "addresses that no host has",
            |_| {},
            &[
                ("0.0.0.0", &["10.42.1.0/26"]),
                ("127.0.0.1", &["10.42.2.0/26"]),
                ("224.0.0.1", &["10.42.3.0/26"]),
                ("192.0.2.1", &["10.42.4.0/26"]),
                ("192.0.2.2", &["10.42.5.0/26"]),
            ],
            &["10.42.5.0/26 via 192.0.2.2 on remudavx0"],
        ),
        (
            "two claim one range",
            |_| {},
            &[("192.0.2.2", &["10.42.1.0/26"]), ("192.0.2.3", &["10.42.1.0/26"])],
            &["10.42.1.0/26 via 192.0.2.2 on remudavx0"],
        ),
        (
            "plain routes",
            |o| o.mode = OverlayMode::Routes,
            &[("192.0.2.2", &["10.42.1.0/26"])],
            &["10.42.1.0/26 via 192.0.2.2 on eth0"],
        ),
        (
            "encrypted",
            |o| {
                o.mode = OverlayMode::Wireguard;
                o.own.insert("10.42.1.5".parse().unwrap());
            },
            &[("192.0.2.2", &["10.42.1.0/26"]), ("192.0.2.3", &[])],
            &["10.42.1.0/26 on remudawg0", "10.42.1.5/32 on remuda0"],
        ),
    ];
    let eth0 = Underlay { device: "eth0".into(), mtu: 1500, segment: Ipv4Net::default() };
    for (name, spoil, peers, expected) in cases {
        let mut wish = wish(peers);
        spoil(wish.overlay.as_mut().unwrap());
        wish.check().unwrap();
        assert_eq!(ways(&wish, Some(&eth0)), expected, "{name}");
    }
}

#[test]
fn plain_routes_lead_only_to_hosts_on_the_segment() {
    let mut all = wish(&[("192.0.2.2", &["10.42.1.0/26"]), ("198.51.100.3", &["10.42.2.0/26"])]);
    let segment = "192.0.2.0/24".parse().unwrap();
    let eth0 = Underlay { device: "eth0".into(), mtu: 1500, segment };
    let off = |wish: &FabricWish| wish.overlay.as_ref().unwrap().off_segment(Some(&eth0));
    assert!(off(&all).is_empty() && ways(&all, Some(&eth0)).len() == 2, "VXLAN leads everywhere");
    all.overlay.as_mut().unwrap().mode = OverlayMode::Routes;
    assert_eq!(off(&all), BTreeSet::from([ip("198.51.100.3")]));
    assert_eq!(ways(&all, Some(&eth0)), ["10.42.1.0/26 via 192.0.2.2 on eth0"]);
}

#[test]
fn a_wish_that_no_host_can_carry_out_is_refused() {
    type Spoil = fn(&mut Overlay);
    let cases: [(Spoil, &str); 6] = [
        (|o| o.device = "vx0".into(), "must begin with remudavx"),
        (|o| o.device = "remudavx-long".into(), "1 to 11 bytes"),
        (|o| o.vni = 1 << 24, "cannot be used"),
        (|o| o.port = 0, "cannot be used"),
        (|o| o.underlay = Ipv4Addr::LOCALHOST, "can reach this one at 127.0.0.1"),
        (|o| _ = o.own.insert(Ipv4Addr::new(10, 43, 0, 9)), "10.43.0.9 is not in"),
    ];
    for (spoil, expected) in cases {
        let mut wish = wish(&[]);
        spoil(wish.overlay.as_mut().unwrap());
        let error = wish.check().unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn the_device_follows_the_underlay_and_both_sides_know_its_mac() {
    let overlay = wish(&[]).overlay.unwrap();
    let made = |overlay: &Overlay, mtu| {
        let segment = Ipv4Net::default();
        overlay.made(Some(&Underlay { device: "eth0".into(), mtu, segment })).unwrap()
    };
    let on = |mtu| made(&overlay, mtu);
    assert_eq!((on(1500).mtu(), on(9000).mtu(), on(100).mtu()), (1450, 8950, 576));
    assert!(on(1500).is_alike(&on(9000)), "the MTU changes in place");
    let vxlan = |device: Device| match device {
        Device::Vxlan(vxlan) => vxlan,
        Device::Tun { .. } => panic!("no VXLAN"),
    };
    assert_eq!(vxlan(on(1500)).mac, mac_of(ip("192.0.2.1")));
    let local = vxlan(overlay.made(None).unwrap()).local;
    assert_eq!(local, None, "an address that no device has");
    let sealed = Overlay { mode: OverlayMode::Wireguard, ..overlay.clone() };
    assert_eq!((made(&sealed, 1500).mtu(), made(&sealed, 9000).mtu()), (1440, 8940));
    assert!(!made(&sealed, 1500).is_alike(&on(1500)), "another kind of device");
    assert_eq!(sealed.device_name().as_deref(), Some("remudawg0"));
    let vnis: BTreeSet<u32> = (0..1000).map(|n| vni_of(&format!("env{n}"))).collect();
    assert!(vnis.len() > 990 && vnis.iter().all(|vni| (1000..1 << 24).contains(vni)));
}

fn any_wish() -> impl Strategy<Value = FabricWish> {
    let range = prop::sample::select(vec!["10.42.1.0/26", "10.42.2.0/26", "10.42.1.5/32"]);
    let peers =
        prop::collection::btree_map(2..5_u8, prop::collection::btree_set(range, 0..3), 0..3);
    let own = prop::sample::subsequence(vec!["10.42.1.5", "10.42.2.6"], 0..=2);
    let modes = vec![OverlayMode::Vxlan, OverlayMode::Routes, OverlayMode::Wireguard];
    let mode = prop::sample::select(modes);
    (peers, own, mode, 0..4_u8).prop_map(|(peers, own, mode, kind)| {
        let mut all = wish(&[]);
        let overlay = all.overlay.as_mut().unwrap();
        overlay.own = own.into_iter().map(ip).collect();
        overlay.mode = mode;
        for (n, to) in peers {
            let routes = to.into_iter().map(net).collect();
            let underlay = Ipv4Addr::new(192, 0, 2, n);
            overlay.peers.insert(n.to_string(), OverlayPeer { underlay, routes });
        }
        match kind {
            0 => all.overlay = None,
            1 => all.bridge = "remuda1".into(),
            2 => overlay.device = "remudavx1".into(),
            _ => {}
        }
        all
    })
}

proptest! {
    #[test]
    fn after_any_wishes_all_is_as_the_last_one_wants(
        wishes in prop::collection::vec(any_wish(), 1..5),
        docker_user in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let fake = Fake::new();
        let gateway = ip("10.42.0.1");
        fake.with(|world| {
            world.docker_user = docker_user;
            world.make_bridge("remuda0", gateway, 16);
            world.make_bridge("remuda1", gateway, 16);
        });
        for wish in &wishes {
            runtime.block_on(fake.ensure(wish)).unwrap();
            let again = runtime.block_on(fake.ensure(wish)).unwrap();
            prop_assert_eq!(again, crate::FabricStatus::default());
            let alone = Fake::new();
            alone.with(|world| {
                world.docker_user = docker_user;
                world.make_bridge("remuda0", gateway, 16);
                world.make_bridge("remuda1", gateway, 16);
            });
            runtime.block_on(alone.ensure(wish)).unwrap();
            let (known, fresh) = (fake.with(|w| w.overlay_state()), alone.with(|w| w.overlay_state()));
            prop_assert_eq!(known, fresh);
        }
        runtime.block_on(fake.remove("e1")).unwrap();
        let left = fake.with(|w| w.overlay_state());
        prop_assert_eq!(left, (BTreeSet::new(), vec![], vec![]));
    }
}
