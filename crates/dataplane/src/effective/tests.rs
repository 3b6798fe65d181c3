//! Tables and properties: what is known of instances, and what is served of them.

use super::*;
use crate::protocol::{LocalInstance, Run};
use model::health::HealthCheck;
use model::time::Index;
use model::view::{Endpoint, Upstream};
use proptest::prelude::*;
use std::sync::Arc;

fn id(n: u32) -> InstanceId {
    format!("shop/api#{n}@{n}").parse().unwrap()
}

fn address(n: u32) -> Ipv4Addr {
    Ipv4Addr::new(10, 42, 0, u8::try_from(n).unwrap())
}

/// One instance in words: `active|draining`, `up|down` and a health as the View says, `here|there`,
/// `check|ready`, and what is known locally: `run=N`, `stopped`, `docker=H`, `probe=H@N` (`H?` when
/// the last one failed).
fn world(lines: &[&str]) -> (HostView, Local, Probes) {
    let mut view = HostView::empty("default", &"here".parse().unwrap());
    view.index = Index(1);
    let (mut local, mut probes) = (Local::new(), Probes::new());
    let health = |text: &str| match text {
        "healthy" => Health::Healthy,
        "unhealthy" => Health::Unhealthy,
        "initializing" => Health::Initializing,
        _ => Health::Unchecked,
    };
    for (n, line) in (1..).zip(lines) {
        let mut instance = ViewInstance {
            address: address(n),
            host: "here".parse().unwrap(),
            admit: Admit::Active,
            check: None,
            probers: vec![],
            run: Timestamp::default(),
            ready_ports: vec![],
            running: true,
            health: Health::Unchecked,
            counted: false,
            nobody_healthy: None,
        };
        let mut told = None;
        for word in line.split_whitespace() {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            match key {
                "draining" => instance.admit = Admit::Draining,
                "down" => instance.running = false,
                "there" => instance.host = "there".parse().unwrap(),
                "prober" => {
                    instance.host = "there".parse().unwrap();
                    instance.check = Some(HealthCheck::tcp(80));
                    instance.probers = vec!["here".parse().unwrap()];
                    instance.run = Timestamp(value.parse().unwrap());
                }
                "check" => instance.check = Some(HealthCheck::tcp(80)),
                "ready" => instance.ready_ports = vec![80],
                "view" => instance.health = health(value),
                "stopped" => told = Some(LocalInstance::default()),
                "run" => {
                    let run = Run {
                        started_at: Timestamp(value.parse().unwrap()),
                        container_id: "c".into(),
                    };
                    told.get_or_insert_with(LocalInstance::default).run = Some(run);
                }
                "stopping" => {
                    told.get_or_insert_with(LocalInstance::default).stopping = true;
                }
                "docker" => {
                    told.get_or_insert_with(LocalInstance::default).docker_health = health(value);
                }
                "probe" => {
                    let (what, run) = value.split_once('@').unwrap();
                    let (what, failed) =
                        what.strip_suffix('?').map_or((what, false), |w| (w, true));
                    let verdict = ProbeVerdict {
                        health: health(what),
                        detail: if failed { "no answer".into() } else { String::new() },
                        run_started_at: Timestamp(run.parse().unwrap()),
                    };
                    probes.insert(id(n), verdict);
                }
                other => panic!("what is {other}?"),
            }
        }
        if let Some(told) = told {
            local.insert(id(n), told);
        }
        Arc::make_mut(&mut view.instances).insert(id(n), Arc::new(instance));
    }
    let all: Vec<InstanceId> = view.instances.keys().cloned().collect();
    let endpoints = all.iter().map(|i| Endpoint { instance: i.clone(), port: 80, weight: 1 });
    let upstream = Upstream { endpoints: endpoints.collect(), ..Upstream::empty(250, 1_000) };
    view.upstreams.insert("api".into(), upstream);
    Arc::make_mut(&mut view.dns).names.insert("api.shop".into(), NameTarget::Service(all));
    Arc::make_mut(&mut view.dns).names.insert("shop-api-1".into(), NameTarget::Instance(id(1)));
    let metadata = NameTarget::Address(Ipv4Addr::new(169, 254, 169, 250));
    Arc::make_mut(&mut view.dns).names.insert("rancher-metadata".into(), metadata);
    (view, local, probes)
}

/// `names` of the service by number, then a letter per endpoint: Up, doubtful (?), Draining,
/// down (-).
fn check(lines: &[&str], names: &[u32], turns: &str) {
    let (view, local, probes) = world(lines);
    let served = effective(&view, &local, &probes);
    let expect: Vec<Ipv4Addr> = names.iter().map(|n| address(*n)).collect();
    assert_eq!(served.names["api.shop"], expect, "names of {lines:?}");
    let letters = served.upstreams["api"].iter().map(|endpoint| match endpoint.turn {
        Turn::Up => 'U',
        Turn::Doubtful => '?',
        Turn::Draining => 'D',
        Turn::Down => '-',
    });
    assert_eq!(letters.collect::<String>(), turns, "endpoints of {lines:?}");
}

#[test]
fn without_local_knowledge_the_view_counts() {
    check(&["", "down", "draining", "view=unhealthy", "there view=healthy"], &[1, 5], "U-D-U");
    check(&["there check view=initializing", "there ready view=healthy"], &[2], "-U");
    check(&["check view=healthy", "check view=unhealthy"], &[1], "U-");
}

#[test]
fn of_another_host_s_instance_the_own_probe_counts_more_than_the_view() {
    check(&["prober=7 view=healthy", "prober=7 view=unhealthy"], &[1], "U-");
    check(&["prober=7 view=healthy probe=unhealthy@7", "there view=healthy"], &[2], "-U");
    check(&["prober=7 view=unhealthy probe=healthy@7"], &[1], "U");
    check(&["prober=7 view=healthy probe=healthy?@7", "there view=healthy"], &[2], "?U");
    // Of another start, or none yet.
    check(&["prober=7 view=healthy probe=unhealthy@6"], &[1], "U");
    check(&["prober=7 view=healthy probe=initializing@7"], &[1], "U");
    check(&["prober=7 down view=healthy probe=healthy@7", "there"], &[2], "-U");
}

#[test]
fn local_knowledge_takes_out_brings_back_and_gives_the_next_start() {
    check(&["stopped", ""], &[2], "-U");
    check(&["down run=7", "stopped"], &[1], "U-");
    check(&["run=7 docker=unhealthy", "run=7 docker=healthy"], &[2], "-U");
    check(&["run=7 docker=initializing", "run=7"], &[2], "-U");
    let (view, local, probes) = world(&["run=7", ""]);
    let runs: Vec<i64> =
        effective(&view, &local, &probes).upstreams["api"].iter().map(|e| e.run.0).collect();
    assert_eq!(runs, [7, 0]);
}

#[test]
fn one_that_has_got_its_stop_signal_takes_nothing_new_and_ends_what_it_has() {
    check(&["run=7 stopping", "run=7"], &[2], "DU");
    check(&["run=7 stopping"], &[1], "D");
    check(&["stopping", "run=7"], &[2], "-U");
}

#[test]
fn an_instance_that_the_view_does_not_list_is_not_served() {
    let (mut view, local, probes) = world(&["run=7", "run=7"]);
    Arc::make_mut(&mut view.instances).remove(&id(2));
    let served = effective(&view, &local, &probes);
    assert_eq!(served.names["api.shop"], [address(1)]);
    assert_eq!(served.upstreams["api"].len(), 1);
}

#[test]
fn a_verdict_counts_for_its_own_start_only() {
    check(&["check run=7 probe=healthy@7", "check run=8 probe=healthy@7"], &[1], "U-");
    check(&["ready run=7 probe=healthy@7", "ready run=8 probe=healthy@7"], &[1], "U-");
    check(&["check run=8 view=healthy probe=healthy@7", "run=1"], &[2], "-U");
    check(&["check run=7 probe=unhealthy@7", "check run=7 probe=healthy@7"], &[2], "-U");
}

#[test]
fn one_whose_last_probe_failed_waits_behind_the_others() {
    let doubtful = "check run=7 probe=healthy?@7";
    check(&[doubtful, "check run=7 probe=healthy@7"], &[2], "?U");
    check(&[doubtful, doubtful], &[1, 2], "??");
    check(&[doubtful, "check run=7 probe=unhealthy@7"], &[1], "?-");
    check(&["check run=8 probe=healthy?@7", "run=1"], &[2], "-U");
}

#[test]
fn a_port_that_listens_is_not_enough_for_a_container_with_a_healthcheck() {
    check(&["ready run=7 probe=healthy@7 docker=initializing", "run=7"], &[2], "-U");
    check(&["ready run=7 probe=healthy@7 docker=healthy", "stopped"], &[1], "U-");
    // A check of ours decides alone.
    check(&["check run=7 probe=healthy@7 docker=unhealthy", "stopped"], &[1], "U-");
}

#[test]
fn a_name_fails_open_and_names_what_drains_only_when_there_is_nothing_else() {
    check(&["check run=7 probe=unhealthy@7", "stopped"], &[1], "U-");
    check(&["stopped", "down", "draining"], &[1, 2], "--D");
    check(&["draining", "stopped"], &[2], "D-");
    check(&["draining", "draining"], &[1, 2], "DD");
    check(&["draining run=7", "draining stopped"], &[1, 2], "D-");
}

#[test]
fn endpoints_fail_open_to_those_that_once_were_fit_only() {
    let unfit = ["check run=7 probe=unhealthy@7", "run=7 docker=unhealthy"];
    check(&unfit, &[1, 2], "UU");
    // It does not listen yet: to wait is better than to ask.
    check(&["ready run=7 probe=initializing@7", "ready run=7"], &[1, 2], "--");
    check(&["check run=7 probe=unhealthy@7", "ready run=7"], &[1, 2], "U-");
    check(&["check run=7 probe=unhealthy@7", "draining"], &[1], "UD");
}

#[test]
fn names_of_containers_and_addresses_are_never_filtered() {
    let (view, local, probes) = world(&["draining stopped"]);
    let served = effective(&view, &local, &probes);
    assert_eq!(served.names["shop-api-1"], [address(1)]);
    assert_eq!(served.names["rancher-metadata"], [Ipv4Addr::new(169, 254, 169, 250)]);
}

#[test]
fn an_address_shared_by_two_instances_is_named_once() {
    let (mut view, local, probes) = world(&["", ""]);
    let second = Arc::make_mut(&mut view.instances).get_mut(&id(2)).unwrap();
    Arc::make_mut(second).address = address(1);
    assert_eq!(effective(&view, &local, &probes).names["api.shop"], [address(1)]);
}

/// Any instance in the words of `world`.
fn any_line() -> impl Strategy<Value = String> {
    let word = |words: &'static [&'static str]| proptest::sample::select(words);
    let admit = word(&["", "draining"]);
    let by_view = word(&["", "down", "view=healthy", "view=unhealthy", "view=initializing"]);
    let probed = word(&["", "check", "ready", "there", "there check"]);
    let docker = ["", "stopped", "run=7", "run=8 docker=healthy", "run=7 docker=unhealthy"];
    let docker = proptest::sample::select(docker.to_vec());
    let probe =
        word(&["", "probe=healthy@7", "probe=unhealthy@7", "probe=healthy@8", "probe=healthy@0"]);
    (admit, by_view, probed, docker, probe).prop_map(|(a, b, c, d, e)| [a, b, c, d, e].join(" "))
}

proptest! {
    #[test]
    fn whatever_is_known_only_what_the_view_lists_is_served_and_no_name_is_lost(
        lines in proptest::collection::vec(any_line(), 1..6),
        of_others in any::<bool>(),
    ) {
        let words: Vec<&str> = lines.iter().map(String::as_str).collect();
        let (view, mut local, mut probes) = world(&words);
        let before = effective(&view, &local, &probes);
        if of_others {
            let (_, more, verdicts) = world(&["run=7 probe=healthy@7"; 9]);
            for (id, told) in more.into_iter().skip(lines.len()) {
                local.insert(id, told);
            }
            for (id, verdict) in verdicts.into_iter().skip(lines.len()) {
                probes.insert(id, verdict);
            }
        }
        let served = effective(&view, &local, &probes);
        prop_assert_eq!(&served, &before, "what the view does not list changes nothing");
        let endpoints = &served.upstreams["api"];
        prop_assert_eq!(endpoints.len(), lines.len(), "listed ones stay, to keep their pools");
        let named = &served.names["api.shop"];
        prop_assert!(!named.is_empty());
        for endpoint in endpoints {
            let told = local.get(&endpoint.instance);
            let instance = &view.instances[&endpoint.instance];
            let runs = told.map_or(instance.running, |told| told.run.is_some());
            let draining = instance.admit == Admit::Draining;
            let expect_up = runs && !draining;
            prop_assert!(endpoint.turn != Turn::Up || expect_up, "{:?} is up", endpoint);
            prop_assert_eq!(endpoint.turn == Turn::Draining, runs && draining);
            if let Some(run) = told.and_then(|told| told.run.as_ref()) {
                prop_assert_eq!(endpoint.run, run.started_at, "it is of its newest start");
            }
        }
        // A name leads where traffic goes, as soon as there is anywhere.
        let up: Vec<Ipv4Addr> =
            endpoints.iter().filter(|e| e.turn == Turn::Up).map(|e| *e.addr.ip()).collect();
        prop_assert!(up.iter().all(|address| named.contains(address)), "{:?} of {:?}", up, named);
    }
}

#[test]
fn who_would_rather_have_none_has_none_when_nobody_is_healthy() {
    use NobodyHealthy::{All, None as Nobody};
    let sick = ["stopped", "view=unhealthy", "draining"];
    let well = ["stopped", ""];
    for (lines, environment, service, expect) in [
        (&sick[..], All, None, vec![2]),
        (&sick, Nobody, None, vec![]),
        (&sick, All, Some(Nobody), vec![]),
        (&sick, Nobody, Some(All), vec![2]),
        (&well, Nobody, Some(Nobody), vec![2]),
    ] {
        let (mut view, local, probes) = world(lines);
        Arc::make_mut(&mut view.dns).nobody_healthy = environment;
        for one in Arc::make_mut(&mut view.instances).values_mut() {
            Arc::make_mut(one).nobody_healthy = service;
        }
        let served = effective(&view, &local, &probes);
        let expect: Vec<Ipv4Addr> = expect.into_iter().map(address).collect();
        assert_eq!(served.names["api.shop"], expect, "{lines:?} {environment:?} {service:?}");
        assert_eq!(served.names["shop-api-1"], [address(1)], "a container's name always answers");
    }
    let (view, local, probes) = world(&sick);
    let unfit = effective(&view, &local, &probes).unfit;
    assert_eq!(unfit.into_iter().collect::<Vec<_>>(), [id(1), id(2), id(3)]);
}
