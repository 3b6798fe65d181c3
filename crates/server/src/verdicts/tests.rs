//! One instance on one host, and what it and two others say of it.

use super::*;
use model::host::{Host, HostFacts, Scheduling};
use model::instance::{Goal, Instance, Target};
use model::time::Generation;

const ID: &str = "shop/web#1@1";

fn id() -> InstanceId {
    ID.parse().unwrap()
}

fn host(name: &str, status: HostLink) -> Edit {
    Edit::Put(Record::Host(Arc::new(Host {
        id: name.parse().unwrap(),
        facts: HostFacts::default(),
        status,
        changed_at: Timestamp(0),
        unheard_since: Timestamp(0),
        scheduling: Scheduling::Active,
        labels: BTreeMap::new(),
        reason: String::new(),
        membership: model::host::Membership::default(),
    })))
}

fn seen(health: Health, reason: &str, started: i64) -> InstanceStatus {
    InstanceStatus {
        phase: Phase::Running,
        health,
        reason: reason.into(),
        started_at: Some(Timestamp(started)),
        ..InstanceStatus::default()
    }
}

/// One instance on `a`, which started at 5 and is healthy; `b` and `c` are there too.
fn cluster() -> Cluster {
    let instance = Instance {
        id: id(),
        host: "a".parse().unwrap(),
        address: None,
        sidekick_addresses: BTreeMap::new(),
        container_name: String::new(),
        target: Target { revision: 1, restart: 0 },
        ports: vec![],
        goal: Goal::Run,
        leaving: false,
        dropped: vec![],
        reason: String::new(),
        placed_at: Timestamp(0),
        goal_at: Timestamp(0),
    };
    let mut cluster = Cluster::default();
    let mut edits: Vec<Edit> =
        ["a", "b", "c"].iter().map(|name| host(name, HostLink::Active)).collect();
    edits.push(Edit::Put(Record::Instance(Arc::new(instance))));
    edits.push(Edit::Put(Record::InstanceStatus(id(), Arc::new(seen(Health::Healthy, "", 5)))));
    cluster.apply(Index(1), &Change { edits });
    cluster
}

/// What a host says: of its own instance, and of that of `a` at a start.
fn says(host: &str, own: Option<InstanceStatus>, probe: Option<(Health, i64)>) -> HostStatus {
    let probe = probe.map(|(health, run)| {
        let detail = if health == Health::Unhealthy { "no answer".into() } else { String::new() };
        (id(), ProbeReport { health, detail, run: Timestamp(run) })
    });
    HostStatus {
        host: host.parse().unwrap(),
        number: 0,
        generation: Generation(0),
        view: Index(0),
        facts: HostFacts::default(),
        instances: own.into_iter().map(|seen| (id(), seen)).collect(),
        plain: None,
        probes: probe.into_iter().collect(),
        usage: BTreeMap::new(),
        requests: None,
        floating: BTreeMap::new(),
        checks: BTreeMap::new(),
    }
}

fn note(verdicts: &Verdicts, status: &HostStatus) -> usize {
    verdicts.note(status, |_| status.host.as_str() == "a").len()
}

#[test]
fn its_own_host_is_not_believed_alone_while_another_one_finds_it_healthy() {
    let (cluster, verdicts) = (cluster(), Verdicts::default());
    let sick = seen(Health::Unhealthy, "tcp: refused", 5);
    assert_eq!(note(&verdicts, &says("a", Some(sick.clone()), None)), 0);
    let judged = || verdicts.judged(&cluster, &id(), sick.clone());
    assert_eq!(judged().health, Health::Healthy, "b and c have not been heard since the start");
    assert_eq!(note(&verdicts, &says("b", None, Some((Health::Unhealthy, 5)))), 1);
    assert_eq!(judged().health, Health::Healthy, "c has not been heard");
    assert_eq!(note(&verdicts, &says("c", None, Some((Health::Healthy, 5)))), 1);
    assert_eq!(judged().health, Health::Healthy);
    assert_eq!(note(&verdicts, &says("c", None, Some((Health::Healthy, 5)))), 0, "the same again");
    assert_eq!(note(&verdicts, &says("c", None, Some((Health::Healthy, 4)))), 1);
    let judged = judged();
    assert_eq!(judged.health, Health::Unhealthy, "that was another start of it");
    assert_eq!(judged.reason, "tcp: refused");
}

#[test]
fn while_its_own_host_is_away_all_others_decide_and_who_goes_changes_nothing() {
    let (mut cluster, verdicts) = (cluster(), Verdicts::default());
    note(&verdicts, &says("a", Some(seen(Health::Healthy, "", 5)), None));
    note(&verdicts, &says("b", None, Some((Health::Unhealthy, 5))));
    note(&verdicts, &says("c", None, Some((Health::Unhealthy, 5))));
    assert!(verdicts.revised(&cluster, &id()).is_none(), "a itself finds it healthy");
    let edits = vec![host("a", HostLink::Disconnected)];
    cluster.apply(Index(2), &Change { edits });
    let next = verdicts.revised(&cluster, &id()).unwrap();
    assert_eq!(next.health, Health::Unhealthy);
    assert!(next.reason.starts_with("health check from "), "{}", next.reason);
    assert!(next.reason.contains("no answer"), "{}", next.reason);
    note(&verdicts, &says("c", None, Some((Health::Healthy, 5))));
    assert!(verdicts.revised(&cluster, &id()).is_none(), "c finds it healthy");
    let edits = vec![host("b", HostLink::Lost), host("c", HostLink::Lost)];
    cluster.apply(Index(3), &Change { edits });
    assert!(verdicts.revised(&cluster, &id()).is_none(), "nobody is left to say anything");
    let edits = vec![Edit::Delete(RecordKey::Host("c".parse().unwrap()))];
    cluster.apply(Index(4), &Change { edits });
    verdicts.forget(&cluster);
    assert!(verdicts.concerned(&"c".parse().unwrap()).is_empty());
}

#[test]
fn the_word_of_a_host_that_is_to_probe_nothing_of_it_counts_for_nothing() {
    let (mut cluster, verdicts) = (cluster(), Verdicts::default());
    let edits = vec![host("d", HostLink::Active), host("e", HostLink::Active)];
    cluster.apply(Index(2), &Change { edits });
    let probers = Ring::of(&cluster).probers(&id(), &"a".parse().unwrap());
    let sick = seen(Health::Unhealthy, "tcp: refused", 5);
    for name in ["b", "c", "d", "e"] {
        let is_prober = probers.iter().any(|host| host.as_str() == name);
        let word = if is_prober { Health::Unhealthy } else { Health::Healthy };
        note(&verdicts, &says(name, None, Some((word, 5))));
    }
    assert_eq!(verdicts.judged(&cluster, &id(), sick).health, Health::Unhealthy);
}
