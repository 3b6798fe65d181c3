//! Tables: what is known of a container, and what is to be done with it.

use super::*;
use network::cni::NetConf;
use serde_json::json;

const NOW: Timestamp = Timestamp(1_000_000);
const RUN: Timestamp = Timestamp(500);

fn seen(state: RunState) -> SeenContainer {
    let up = matches!(state, RunState::Running | RunState::Paused);
    SeenContainer {
        id: "c1".into(),
        state,
        pid: up.then_some(7),
        started_at: Some(RUN),
        network_mode: NONE.into(),
        ..SeenContainer::default()
    }
}

fn plug(last: u8) -> Plug {
    let address = Ipv4Addr::new(10, 42, 1, last);
    Plug { container: "c1".into(), address, prefix: 16, mac: mac_of(address) }
}

fn kept(version: &str) -> Kept {
    let conf = json!({"cniVersion": version, "name": "n", "plugins": [{"type": "x"}]});
    let conf = NetConf::parse(conf.to_string().as_bytes()).unwrap();
    Kept { plug: plug(5), run: RUN, conf, bin_dirs: vec![], result: Some(json!({})) }
}

/// A memo of one that was just plugged in.
fn fresh() -> Memo {
    let mut memo = Memo::default();
    memo.note(&Step::In(plug(5)), Ok(()), NOW);
    memo
}

fn next(
    seen: Option<&SeenContainer>,
    wanted: Option<Plug>,
    kept: Option<&Kept>,
    memo: &Memo,
) -> &'static str {
    let step = Known { seen, wanted, kept, memo }.next(NOW);
    match step {
        None => "-",
        Some(Step::In(_)) => "in",
        Some(Step::Out { gone: false }) => "out",
        Some(Step::Out { gone: true }) => "out, gone",
        Some(Step::Check) => "check",
    }
}

#[test]
fn what_runs_is_plugged_in_and_what_has_ended_is_taken_out() {
    let (running, paused) = (seen(RunState::Running), seen(RunState::Paused));
    let (exited, made) =
        (seen(RunState::Exited), SeenContainer { started_at: None, ..seen(RunState::Created) });
    let again = SeenContainer { started_at: Some(Timestamp(900)), ..running.clone() };
    let whole = kept("1.0.0");
    let half = Kept { result: None, ..whole.clone() };
    let wanted = Some(plug(5));
    for (what, seen, wanted, kept, action) in [
        ("made", Some(&made), &wanted, None, "-"),
        ("runs", Some(&running), &wanted, None, "in"),
        ("frozen", Some(&paused), &wanted, None, "-"),
        ("ended", Some(&exited), &wanted, None, "-"),
        ("not for us", Some(&running), &None, None, "-"),
        ("plugged in", Some(&running), &wanted, Some(&whole), "-"),
        ("plugged in and frozen", Some(&paused), &wanted, Some(&whole), "-"),
        ("no stack knows it", Some(&running), &None, Some(&whole), "-"),
        ("begun", Some(&running), &wanted, Some(&half), "out"),
        ("started again", Some(&again), &wanted, Some(&whole), "out"),
        ("another address", Some(&running), &Some(plug(6)), Some(&whole), "out"),
        ("ended after it", Some(&exited), &wanted, Some(&whole), "out"),
        ("gone", None, &None, Some(&whole), "out, gone"),
    ] {
        assert_eq!(next(seen, wanted.clone(), kept, &fresh()), action, "{what}");
        let busy = Memo { busy: true, ..fresh() };
        assert_eq!(next(seen, wanted.clone(), kept, &busy), "-", "{what}");
    }
}

#[test]
fn only_containers_of_the_managed_network_are_for_cni() {
    let spec = |network: NetworkMode, of: Option<&str>, address: Option<u8>| {
        let container = json!({"image": "web:1", "network": network});
        let spec = json!({
            "goal": "run", "target": {"revision": 1, "restart": 0}, "container_name": "web",
            "container": container, "address": address.map(|n| format!("10.42.1.{n}")),
            "search": [], "system_labels": {}, "restart": {"policy": "always"}, "stop_grace_ms": 0,
            "drain_ms": 0, "probed": false, "network_of": of,
        });
        serde_json::from_value::<InstanceSpec>(spec).unwrap()
    };
    let subnet: Ipv4Net = "10.42.0.0/16".parse().unwrap();
    let none = seen(RunState::Running);
    let docker = SeenContainer { network_mode: "remuda".into(), ..none.clone() };
    let managed = spec(NetworkMode::Managed, None, Some(5));
    assert_eq!(plug_of(&none, &managed, subnet), Some(plug(5)));
    assert_eq!(plug(5).mac, "02:42:0a:2a:01:05");
    assert_eq!(plug_of(&docker, &managed, subnet), None, "Docker has given it one");
    let mut own = managed.clone();
    Arc::make_mut(&mut own.container).mac_address = Some("02:00:00:00:00:01".into());
    assert_eq!(plug_of(&none, &own, subnet).unwrap().mac, "02:00:00:00:00:01");
    for other in [
        spec(NetworkMode::None, None, None),
        spec(NetworkMode::Host, None, None),
        spec(NetworkMode::Managed, Some("shop/web#1@1"), Some(5)),
        spec(NetworkMode::Managed, None, None),
    ] {
        assert_eq!(plug_of(&none, &other, subnet), None, "{other:?}");
    }
    for (seen, spec, by_cni, misfit) in [
        (&none, &managed, true, false),
        (&none, &managed, false, true),
        (&docker, &managed, true, true),
        (&docker, &managed, false, false),
        (&none, &spec(NetworkMode::None, None, None), false, false),
        (&docker, &spec(NetworkMode::Sibling(None), None, None), true, false),
    ] {
        assert_eq!(is_misfit(seen, spec, by_cni), misfit, "{} by cni: {by_cni}", seen.network_mode);
    }
    let attachment = HostAttachment { address: Ipv4Addr::new(10, 42, 1, 5), apart: false };
    assert_eq!(plug_of_plain(&none, Some(&attachment), subnet), Some(plug(5)));
    assert_eq!(plug_of_plain(&docker, Some(&attachment), subnet), None);
    assert_eq!(plug_of_plain(&none, None, subnet), None);
}

#[test]
fn a_failure_is_told_and_tried_again_later_and_later() {
    let running = seen(RunState::Running);
    let mut memo = Memo::default();
    let mut waits = vec![];
    for _ in 0..9 {
        memo.note(&Step::In(plug(5)), Err("no more addresses".into()), NOW);
        waits.push(memo.wake_at(NOW).unwrap().since_ms(NOW));
    }
    assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
    assert_eq!(next(Some(&running), Some(plug(5)), None, &memo), "-");
    assert_eq!(memo.problem, "no more addresses");
    let later = |ms| {
        Known { seen: Some(&running), wanted: Some(plug(5)), kept: None, memo: &memo }
            .next(NOW.plus_ms(ms))
    };
    assert_eq!((later(29_999), later(30_000)), (None, Some(Step::In(plug(5)))));
    let back = Known { seen: Some(&running), wanted: Some(plug(5)), kept: None, memo: &memo };
    assert!(back.next(Timestamp(5)).is_some(), "the clock went back: it does not wait for ever");
    memo.note(&Step::In(plug(5)), Ok(()), NOW);
    assert_eq!((memo.problem.as_str(), memo.failures), ("", 0));
}

#[test]
fn plugs_are_checked_and_one_that_is_broken_is_made_anew_once() {
    let running = seen(RunState::Running);
    let whole = kept("1.0.0");
    let now = |memo: &Memo, at: Timestamp| {
        let (seen, wanted) = (Some(&running), Some(plug(5)));
        let known = Known { seen, wanted, kept: Some(&whole), memo };
        (known.next(at), known.is_plugged())
    };
    let mut memo = Memo::default();
    assert_eq!(now(&memo, NOW), (Some(Step::Check), true), "an agent that begins asks at once");
    assert_eq!(
        next(Some(&running), Some(plug(5)), Some(&kept("0.3.1")), &memo),
        "-",
        "it has none"
    );
    memo.note(&Step::Check, Ok(()), NOW);
    assert_eq!(now(&memo, NOW.plus_ms(CNI_CHECK_MS - 1)), (None, true));
    let second = NOW.plus_ms(CNI_CHECK_MS);
    assert_eq!(now(&memo, second).0, Some(Step::Check));
    memo.note(&Step::Check, Err("no eth0".into()), second);
    assert_eq!(now(&memo, second), (Some(Step::Out { gone: false }), false));
    assert!(memo.problem.contains("no eth0; it is plugged in anew"), "{}", memo.problem);
    memo.note(&Step::Out { gone: false }, Ok(()), second);
    memo.note(&Step::In(plug(5)), Ok(()), second);
    assert_eq!(now(&memo, second), (None, true));
    let third = second.plus_ms(CNI_CHECK_MS);
    memo.note(&Step::Check, Err("no eth0".into()), third);
    assert_eq!(now(&memo, third), (None, true), "a check that is never content is not believed");
    memo.note(&Step::Check, Ok(()), third);
    memo.note(&Step::Check, Err("no eth0".into()), third);
    assert!(!now(&memo, third).1, "but one that was content since is");
}
