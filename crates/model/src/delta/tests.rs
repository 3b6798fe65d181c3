//! Deltas come to the same as what they were made from, one by one and merged.

use super::*;
use crate::catalog_view::{CatalogNode, Offer};
use crate::policy::PolicyAction;
use crate::view::{Admit, VIEW_FORMAT};
use proptest::prelude::*;

fn instance(address: u8) -> ViewInstance {
    ViewInstance {
        address: Ipv4Addr::new(10, 42, 0, address),
        host: "a".parse().unwrap(),
        admit: Admit::Active,
        check: None,
        probers: vec![],
        run: crate::time::Timestamp(0),
        ready_ports: vec![],
        running: address.is_multiple_of(2),
        health: crate::health::Health::Unchecked,
        counted: false,
        nobody_healthy: None,
    }
}

fn upstream(port: u8) -> Upstream {
    Upstream::empty(u64::from(port), 0)
}

type Words = BTreeMap<u8, u8>;

fn view(index: u64, words: &[Words; 4]) -> HostView {
    let [names, instances, upstreams, cnames] = words;
    let id = |n: &u8| InstanceId::new("s/a".parse().unwrap(), u32::from(*n), 1);
    let mut view = HostView::empty("e", &"a".parse().unwrap());
    view.index = Index(index);
    let dns = Arc::make_mut(&mut view.dns);
    dns.names = names
        .iter()
        .map(|(k, v)| (format!("n{k}"), NameTarget::Address(Ipv4Addr::new(1, 1, 1, *v))))
        .collect();
    dns.cnames = cnames.iter().map(|(k, v)| (format!("c{k}"), format!("c{v}"))).collect();
    dns.elsewhere = cnames.values().map(|v| format!("e{v}")).collect();
    view.instances =
        Arc::new(instances.iter().map(|(k, v)| (id(k), Arc::new(instance(*v)))).collect());
    view.upstreams = upstreams.iter().map(|(k, v)| (format!("u{k}"), upstream(*v))).collect();
    let catalog = Arc::make_mut(&mut view.catalog);
    for (k, v) in upstreams {
        let offer = Offer { port: u16::from(*v), ..Offer::default() };
        let offers = catalog.services.entry(format!("s{v}")).or_default();
        Arc::make_mut(offers).insert(k.to_string(), Arc::new(offer));
        let node = CatalogNode { address: v.to_string(), ..CatalogNode::default() };
        catalog.nodes.insert(k.to_string(), Arc::new(node));
    }
    let query = |v: &u8| {
        Arc::new(crate::prepared::QueryNames {
            service: format!("s{v}"),
            ..crate::prepared::QueryNames::default()
        })
    };
    catalog.queries = names.iter().map(|(k, v)| (k.to_string(), query(v))).collect();
    catalog.elsewhere = names.values().map(|v| format!("e{v}")).collect();
    view
}

fn spec(generation: u64, words: &[Words; 4]) -> HostSpec {
    let [peers, volumes, images, balancers] = words;
    let environment = crate::host::Environment::new("e".into(), "e", Default::default());
    let peer =
        |n: u8| Peer { address: Ipv4Addr::new(1, 1, 1, n), routes: BTreeSet::new(), keys: vec![] };
    let placement = |n: u8| BalancerPlacement {
        goal: crate::instance::Goal::Run,
        address: Some(Ipv4Addr::new(10, 42, 1, n)),
        listeners: vec![],
    };
    let id = |n: &u8| InstanceId::new("s/lb".parse().unwrap(), u32::from(*n), 1);
    let volume = |n: u8| VolumeSpec { driver: n.to_string(), ..VolumeSpec::default() };
    HostSpec {
        generation: Generation(generation),
        host: "a".parse().unwrap(),
        environment,
        instances: BTreeMap::new(),
        balancers: balancers.iter().map(|(k, v)| (id(k), placement(*v))).collect(),
        volumes: volumes.iter().map(|(k, v)| (k.to_string(), volume(*v))).collect(),
        images_kept: images.values().map(ToString::to_string).collect(),
        attachments: BTreeMap::new(),
        policy: Arc::new(policy(peers, volumes)),
        labels: Arc::new(volumes.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()),
        peers: Arc::new(
            peers.iter().map(|(k, v)| (format!("h{k}").parse().unwrap(), peer(*v))).collect(),
        ),
    }
}

fn policy(sources: &Words, guards: &Words) -> HostPolicy {
    let address = |n: u8| Ipv4Addr::new(10, 42, 2, n);
    let unlisted = [Unlisted::Off, Unlisted::Allow, Unlisted::Deny];
    let mut all = BTreeMap::<String, BTreeSet<Ipv4Addr>>::new();
    for (k, v) in sources {
        all.entry(format!("s{v}")).or_default().insert(address(*k));
    }
    let guard = |n: u8| Guard {
        rules: vec![],
        default: if n.is_multiple_of(2) { PolicyAction::Allow } else { PolicyAction::Deny },
    };
    HostPolicy {
        unlisted: unlisted[guards.len() % 3],
        guarded: guards.iter().map(|(k, v)| (address(*k), format!("g{v}"))).collect(),
        guards: guards.iter().map(|(k, v)| (format!("g{k}"), guard(*v))).collect(),
        sources: all,
    }
}

fn words() -> impl Strategy<Value = [Words; 4]> {
    let one = || proptest::collection::btree_map(0_u8..6, 0_u8..4, 0..6);
    [one(), one(), one(), one()]
}

fn between(old: (&HostSpec, &HostView), new: (&HostSpec, &HostView)) -> Delta {
    let spec = SpecDelta::between(old.0, new.0);
    Delta { spec, view: ViewDelta::between(old.1, new.1) }
}

proptest! {
    #[test]
    fn a_delta_makes_the_new_one_of_the_old_one_and_two_are_one(
        a in words(), b in words(), c in words(),
    ) {
        let specs = [spec(1, &a), spec(4, &b), spec(5, &c)];
        let views = [view(1, &a), view(4, &b), view(7, &c)];
        let first = between((&specs[0], &views[0]), (&specs[1], &views[1]));
        let second = between((&specs[1], &views[1]), (&specs[2], &views[2]));
        let start = || (Arc::new(specs[0].clone()), Arc::new(views[0].clone()));
        let (mut spec, mut view) = start();
        first.apply(&mut spec, &mut view).unwrap();
        prop_assert_eq!((&*spec, &*view), (&specs[1], &views[1]));
        prop_assert!(first.apply(&mut spec, &mut view).is_err(), "it fits on one base");
        prop_assert_eq!((&*spec, &*view), (&specs[1], &views[1]), "and changes no other one");
        second.apply(&mut spec, &mut view).unwrap();
        prop_assert_eq!((&*spec, &*view), (&specs[2], &views[2]));
        let (mut spec, mut view) = start();
        let text = serde_json::to_string(&first).unwrap();
        let mut merged: Delta = serde_json::from_str(&text).unwrap();
        prop_assert!(merged.clone().merge(&first).is_err(), "it does not follow on itself");
        merged.merge(&second).unwrap();
        merged.apply(&mut spec, &mut view).unwrap();
        prop_assert_eq!((&*spec, &*view), (&specs[2], &views[2]));
    }
}

#[test]
fn what_no_delta_can_say_has_none() {
    let one = view(1, &Default::default());
    let other = HostView { environment: "f".into(), ..one.clone() };
    assert_eq!(ViewDelta::between(&one, &other), None);
    assert_eq!(one.format, VIEW_FORMAT);
}
