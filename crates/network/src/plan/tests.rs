//! Tables: what is seen and wished, and which steps come of it.

use super::*;
use proptest::prelude::*;

fn wish(balancers: &[&str]) -> FabricWish {
    let mut wish = FabricWish::new("e1", "remuda0", "10.42.0.0/16".parse().unwrap());
    wish.bridge_addresses = balancers.iter().map(|ip| ip.parse().unwrap()).collect();
    wish
}

/// The environment had this bridge until now.
fn before(bridge: &str) -> Option<Before<'_>> {
    Some(Before { bridge, made_bridge: false, overlay: None, guarded: false })
}

fn address(device: &str, ip: &str, prefix: u8, ours: bool) -> Address {
    Address { device: device.into(), ip: ip.parse().unwrap(), prefix, ours }
}

fn add(device: &str, ip: &str, prefix: u8) -> Step {
    Step::Add { device: device.into(), ip: ip.parse().unwrap(), prefix }
}

fn take(device: &str, ip: &str, prefix: u8) -> Step {
    Step::Remove { device: device.into(), ip: ip.parse().unwrap(), prefix }
}

/// A host where all is as `wish(&["10.42.3.7"])` wants it.
fn settled() -> Seen {
    Seen {
        links: BTreeMap::from([("lo".into(), true), ("remuda0".into(), true)]),
        addresses: vec![
            address("lo", "127.0.0.1", 8, false),
            address("lo", "169.254.169.250", 32, true),
            address("remuda0", "10.42.0.1", 16, false),
            address("remuda0", "10.42.3.7", 32, true),
        ],
        rules: Rules::AsWished,
        forwarding: true,
        ..Seen::default()
    }
}

#[test]
fn each_thing_that_is_missing_or_too_much_gets_its_step() {
    type Spoil = fn(&mut Seen);
    let cases: Vec<(&str, Spoil, &[&str], Vec<Step>)> = vec![
        ("settled", |_| {}, &["10.42.3.7"], vec![]),
        ("no rules", |s| s.rules = Rules::Absent, &["10.42.3.7"], vec![Step::ReplaceRules]),
        ("changed", |s| s.rules = Rules::Different, &["10.42.3.7"], vec![Step::ReplaceRules]),
        ("no forwarding", |s| s.forwarding = false, &["10.42.3.7"], vec![Step::Forwarding(true)]),
        (
            "bridge down",
            |s| _ = s.links.insert("remuda0".into(), false),
            &["10.42.3.7"],
            vec![Step::Up { device: "remuda0".into() }],
        ),
        (
            "addresses flushed",
            |s| s.addresses.clear(),
            &["10.42.3.7"],
            vec![
                add("lo", "169.254.169.250", 32),
                add("remuda0", "10.42.0.1", 16),
                add("remuda0", "10.42.3.7", 32),
            ],
        ),
        (
            "another balancer",
            |_| {},
            &["10.42.3.8"],
            vec![add("remuda0", "10.42.3.8", 32), take("remuda0", "10.42.3.7", 32)],
        ),
        (
            "an address of somebody else stays",
            |s| s.addresses.push(address("remuda0", "10.42.9.9", 32, false)),
            &[],
            vec![take("remuda0", "10.42.3.7", 32)],
        ),
        (
            "our addresses elsewhere are another environment's",
            |s| s.addresses.push(address("remuda1", "10.43.3.7", 32, true)),
            &["10.42.3.7"],
            vec![],
        ),
    ];
    for (name, spoil, balancers, expected) in cases {
        let mut seen = settled();
        spoil(&mut seen);
        let plan = ensure(&seen, &wish(balancers), before("remuda0"));
        assert_eq!(plan.steps, expected, "{name}");
        assert!(!plan.bridge_missing && plan.foreign.is_empty(), "{name}");
    }
}

#[test]
fn without_the_bridge_all_else_is_done_and_the_rules_come_before_the_address() {
    let plan = ensure(&Seen::default(), &wish(&["10.42.3.7"]), None);
    assert!(plan.bridge_missing);
    assert_eq!(
        plan.steps,
        [Step::ReplaceRules, Step::Forwarding(true), add("lo", "169.254.169.250", 32)]
    );
}

#[test]
fn what_somebody_else_has_set_is_used_and_reported() {
    let mut seen = settled();
    seen.addresses = vec![
        address("eth0", "169.254.169.250", 32, false),
        address("remuda0", "10.42.0.1", 16, false),
        address("remuda0", "10.42.3.7", 32, false),
    ];
    let plan = ensure(&seen, &wish(&["10.42.3.7"]), None);
    assert_eq!(plan.steps, []);
    assert_eq!(plan.foreign, [crate::LINK_LOCAL, Ipv4Addr::new(10, 42, 3, 7)]);
    let gone = remove(&seen, Leaving::Last { before: None, switched_on: None });
    assert_eq!(gone, [Step::DropRules], "an address that was there before us must stay");
}

#[test]
fn a_renamed_bridge_leaves_nothing_of_ours_on_the_old_one() {
    let mut seen = settled();
    seen.links.insert("remuda9".into(), true);
    let mut wish = wish(&[]);
    wish.bridge = "remuda9".into();
    let plan = ensure(&seen, &wish, before("remuda0"));
    assert_eq!(plan.steps, [take("remuda0", "10.42.3.7", 32), add("remuda9", "10.42.0.1", 16)]);
}

#[test]
fn what_is_removed_is_ours_and_all_of_it() {
    let mut seen = settled();
    seen.addresses.push(address("remuda1", "10.43.3.7", 32, true));
    assert_eq!(
        remove(
            &seen,
            Leaving::Last {
                before: None,
                switched_on: Some(SwitchedOn { docker_was_there: false })
            }
        ),
        [
            take("lo", "169.254.169.250", 32),
            take("remuda0", "10.42.3.7", 32),
            take("remuda1", "10.43.3.7", 32),
            Step::DropRules,
            Step::Forwarding(false),
        ]
    );
    seen.rules = Rules::Different;
    assert_eq!(
        remove(&seen, Leaving::One(before("remuda0").unwrap())),
        [take("remuda0", "10.42.3.7", 32), Step::ReplaceRules]
    );
    seen.forwarding = false;
    let last = remove(
        &seen,
        Leaving::Last { before: None, switched_on: Some(SwitchedOn { docker_was_there: false }) },
    );
    assert!(!last.contains(&Step::Forwarding(false)), "it is off already");
    assert_eq!(remove(&Seen::default(), Leaving::Last { before: None, switched_on: None }), []);
}

/// The steps as a host would take them.
fn apply(seen: &mut Seen, steps: &[Step]) {
    for step in steps {
        match step {
            Step::ReplaceRules => seen.rules = Rules::AsWished,
            Step::DropRules => seen.rules = Rules::Absent,
            Step::Forwarding(on) => seen.forwarding = *on,
            Step::Up { device } => _ = seen.links.insert(device.clone(), true),
            Step::Add { device, ip, prefix } => {
                let new = Address { device: device.clone(), ip: *ip, prefix: *prefix, ours: true };
                assert!(!seen.addresses.iter().any(|a| a.device == *device && a.ip == *ip));
                seen.addresses.push(new);
            }
            Step::Remove { device, ip, .. } => {
                let at = seen.addresses.iter().position(|a| a.device == *device && a.ip == *ip);
                let gone = seen.addresses.remove(at.expect("only what was seen is removed"));
                assert!(gone.ours, "an address of somebody else was removed: {gone:?}");
            }
            other => panic!("no overlay was wished: {other:?}"),
        }
    }
}

fn others(seen: &Seen) -> Vec<Address> {
    seen.addresses.iter().filter(|a| !a.ours).cloned().collect()
}

fn any_seen() -> impl Strategy<Value = Seen> {
    let device = prop::sample::select(vec!["lo", "remuda0", "remuda1", "eth0"]);
    let ip = prop::sample::select(vec!["169.254.169.250", "10.42.0.1", "10.42.3.7", "10.42.3.8"]);
    let addresses = prop::collection::btree_map((device, ip), any::<bool>(), 0..10);
    let rules = prop::sample::select(vec![Rules::Absent, Rules::Different, Rules::AsWished]);
    (addresses, rules, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(addresses, rules, forwarding, bridge, up)| {
            let mut links = BTreeMap::from([("lo".to_owned(), true), ("eth0".to_owned(), true)]);
            if bridge {
                links.extend([("remuda0".to_owned(), up), ("remuda1".to_owned(), true)]);
            }
            let addresses = addresses
                .into_iter()
                .filter(|((device, _), _)| links.contains_key(*device))
                .map(|((device, ip), ours)| address(device, ip, 32, ours))
                .collect();
            Seen { links, addresses, rules, forwarding, ..Seen::default() }
        },
    )
}

proptest! {
    #[test]
    fn a_plan_carried_out_leaves_nothing_to_plan(
        mut seen in any_seen(),
        balancers in prop::sample::subsequence(vec!["10.42.3.7", "10.42.3.8"], 0..=2),
        old in prop::option::of(prop::sample::select(vec!["remuda0", "remuda1"])),
    ) {
        let wish = wish(&balancers);
        let theirs = others(&seen);
        let was_off = !seen.forwarding;
        let first = ensure(&seen, &wish, old.and_then(before));
        let switched_on = SwitchedOn::by(&first, &seen);
        apply(&mut seen, &first.steps);
        let second = ensure(&seen, &wish, before("remuda0"));
        prop_assert_eq!(&second.steps, &vec![]);
        prop_assert_eq!(&second.foreign, &first.foreign);
        let gone = remove(&seen, Leaving::Last { before: None, switched_on });
        apply(&mut seen, &gone);
        prop_assert_eq!(others(&seen), theirs);
        prop_assert!(seen.addresses.iter().all(|a| !a.ours));
        prop_assert_eq!(seen.rules, Rules::Absent);
        prop_assert_eq!(seen.forwarding, !was_off);
    }
}

#[test]
fn a_bridge_of_ours_is_made_with_its_addresses_and_taken_away_when_another_one_is_wished() {
    let mut wish = wish(&["10.42.3.7"]);
    wish.makes_bridge = true;
    let mut seen = settled();
    assert_eq!(ensure(&seen, &wish, None), Plan::default(), "one that is there is as good");
    seen.links.remove("remuda0");
    seen.addresses.retain(|address| address.device != "remuda0");
    let plan = ensure(&seen, &wish, None);
    assert!(!plan.bridge_missing);
    let made = Step::MakeBridge { device: "remuda0".into() };
    let steps = [made, add("remuda0", "10.42.0.1", 16), add("remuda0", "10.42.3.7", 32)];
    assert_eq!(plan.steps, steps);
    wish.bridge = "other0".into();
    let ours = |made_bridge| {
        Some(Before { bridge: "remuda0", made_bridge, overlay: None, guarded: false })
    };
    let drop = Step::DropBridge { device: "remuda0".into() };
    assert!(ensure(&settled(), &wish, ours(true)).steps.contains(&drop));
    assert!(!ensure(&settled(), &wish, ours(false)).steps.contains(&drop), "it is somebody else's");
    assert!(!ensure(&seen, &wish, ours(true)).steps.contains(&drop), "it is gone");
    for (made_bridge, dropped) in [(true, true), (false, false)] {
        let before = ours(made_bridge);
        let steps = remove(&settled(), Leaving::Last { before, switched_on: None });
        assert_eq!(steps.contains(&drop), dropped, "{steps:?}");
    }
}
