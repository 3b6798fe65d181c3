//! The decisions as tables: a machine that is well, and one thing that differs.

use super::*;
use model::host::{HostFacts, Rebalance, Scheduling};

const NOW: i64 = 1_800_000_000;

fn machine() -> Facts {
    Facts {
        now_s: NOW,
        os: "Linux".into(),
        arch: "x86_64".into(),
        hostname: "node-1.example.test".into(),
        systemd: true,
        enabled: false,
        apt: true,
        docker: Docker::Answers("20.10.24".into()),
        lacks: vec![],
        room_program: Some(10 << 30),
        room_data: Some(10 << 30),
        sha: None,
        environment: None,
        host: None,
        is_member: false,
        role: None,
    }
}

/// One that joined as n1.
fn member() -> Facts {
    Facts {
        enabled: true,
        sha: Some("new".into()),
        environment: Some("env".into()),
        host: Some("n1".into()),
        is_member: true,
        role: Some("agent".into()),
        ..machine()
    }
}

fn row(id: &str, status: &str) -> HostRow {
    HostRow {
        id: id.into(),
        status: status.into(),
        scheduling: Scheduling::Active,
        reason: String::new(),
        instances: 0,
        labels: [].into(),
        cpu_reserved_milli: 0,
        memory_reserved: 0,
        certificate_until: None,
        facts: HostFacts { address: "10.0.0.7".into(), ..HostFacts::default() },
    }
}

fn environment() -> Environment {
    Environment {
        id: "env".into(),
        name: "default".into(),
        subnet: "10.42.0.0/16".parse().unwrap(),
        rebalance: Rebalance::Off,
        overlay: model::host::OverlayMode::default(),
        policy: model::policy::NetworkPolicy::default(),
        keys: Default::default(),
        dns: Default::default(),
        expose: Default::default(),
        consul: Default::default(),
    }
}

/// With the rows that the server has and what differs in what is wanted.
fn decided(
    facts: &Facts,
    rows: &[HostRow],
    change: impl FnOnce(&mut Wanted<'_>),
) -> Result<Plan, Problem> {
    asked_for(facts, rows, None, change)
}

/// The same with an id that was asked for.
fn asked_for(
    facts: &Facts,
    rows: &[HostRow],
    host: Option<&HostId>,
    change: impl FnOnce(&mut Wanted<'_>),
) -> Result<Plan, Problem> {
    let environment = environment();
    let mut wanted = Wanted {
        arch: "x86_64",
        size: 30 << 20,
        sha: "new",
        looked_s: (NOW - 1, NOW),
        environment: &environment,
        rows,
        host,
        install: false,
        detached: false,
    };
    change(&mut wanted);
    decide(facts, &wanted)
}

fn plan(facts: &Facts, rows: &[HostRow]) -> Plan {
    decided(facts, rows, |_| {}).unwrap()
}

fn refused(facts: &Facts, rows: &[HostRow]) -> String {
    let Problem { reason, next } = decided(facts, rows, |_| {}).unwrap_err();
    assert!(!next.is_empty(), "{reason}");
    format!("{reason}; {next}")
}

#[test]
fn a_clean_machine_gets_all_of_it() {
    let plan = plan(&machine(), &[row("other", "active")]);
    assert_eq!(plan.host.as_str(), "node-1-example-test");
    assert_eq!((plan.copy, plan.joining, plan.start), (true, Joining::New, Start::Unit));
    assert!(plan.packages.is_empty() && plan.warnings.is_empty(), "{plan:?}");
}

#[test]
fn a_host_that_is_in_is_left_as_it_is_but_for_an_older_binary() {
    let rows = [row("n1", "active")];
    let same = plan(&member(), &rows);
    assert_eq!((same.joining, same.copy, same.restart), (Joining::Is, false, false));
    let older = Facts { sha: Some("old".into()), ..member() };
    let older = plan(&older, &rows);
    assert_eq!((older.joining, older.copy, older.restart), (Joining::Is, true, true));
    let by_hand = plan(&Facts { enabled: false, ..member() }, &rows);
    assert_eq!((by_hand.copy, by_hand.restart), (false, true), "it gets the unit");
    let no_systemd = plan(&Facts { enabled: false, systemd: false, ..member() }, &rows);
    assert!(!no_systemd.restart);
    // What it needs to come in does not matter for one that is in.
    let poor = Facts { room_data: Some(0), docker: Docker::Silent, ..member() };
    let poor = plan(&poor, &rows);
    assert_eq!(poor.joining, Joining::Is);
    assert_eq!(poor.warnings, ["Docker gives no answer there"]);
}

#[test]
fn a_host_that_was_in_joins_again() {
    for rows in [vec![], vec![row("n1", "lost")], vec![row("n1", "disconnected")]] {
        assert_eq!(plan(&member(), &rows).joining, Joining::Again, "{rows:?}");
    }
    let lost_its_certificate = Facts { is_member: false, ..member() };
    assert_eq!(plan(&lost_its_certificate, &[row("n1", "lost")]).joining, Joining::New);
}

#[test]
fn what_speaks_against_a_machine_is_told_with_what_to_do() {
    let table: Vec<(Facts, &str)> = vec![
        (Facts { os: "FreeBSD".into(), ..machine() }, "it runs FreeBSD"),
        (Facts { arch: "aarch64".into(), ..machine() }, "it is aarch64, and this binary is for x"),
        (Facts { now_s: NOW + 1_801, ..machine() }, "its clock is 1801 s ahead"),
        (Facts { now_s: NOW - 7_200, ..machine() }, "its clock is 7199 s behind"),
        (Facts { docker: Docker::Missing, ..machine() }, "it has no Docker; add --install-docker"),
        (Facts { docker: Docker::Silent, ..machine() }, "gives no answer"),
        (Facts { lacks: vec!["nft".into()], ..machine() }, "install --no-install-recommends nftab"),
        (
            Facts { docker: Docker::Missing, apt: false, ..machine() },
            "no Docker, and no apt-get; install Docker with the packages",
        ),
        (Facts { room_program: Some(1 << 20), ..machine() }, "1.0 MiB are free on the disk of /us"),
        (Facts { room_data: Some(1 << 20), ..machine() }, "on the disk of /var/lib"),
        (Facts { environment: Some("foe".into()), ..machine() }, "another environment (foe)"),
        (Facts { role: Some("dev".into()), ..member() }, "`remuda dev` runs there"),
    ];
    for (facts, expect) in table {
        let told = refused(&facts, &[]);
        assert!(told.contains(expect), "{told} should say {expect}");
    }
}

#[test]
fn an_id_is_one_machines() {
    let told = refused(&machine(), &[row("node-1-example-test", "active")]);
    assert!(told.contains("another host at 10.0.0.7, which is active"), "{told}");
    let n2 = HostId::parse("n2").unwrap();
    let given = asked_for(&machine(), &[], Some(&n2), |_| {}).unwrap();
    assert_eq!(given.host, n2);
    let is_n1 = asked_for(&member(), &[], Some(&n2), |_| {}).unwrap_err();
    assert!(is_n1.reason.contains("it is host n1 already, not n2"), "{is_n1:?}");
    let unnamed = Facts { hostname: "--".into(), ..machine() };
    assert_eq!(plan(&unnamed, &[]).host.as_str(), "host");
}

#[test]
fn packages_are_installed_when_that_was_asked_for() {
    let bare = Facts {
        docker: Docker::Missing,
        lacks: vec!["nft".into(), "iptables".into()],
        ..machine()
    };
    let plan = decided(&bare, &[], |wanted| wanted.install = true).unwrap();
    assert_eq!(plan.packages, ["docker.io", "nftables", "iptables"]);
    let no_apt = Facts { apt: false, ..bare };
    assert!(decided(&no_apt, &[], |wanted| wanted.install = true).is_err());
}

#[test]
fn without_systemd_a_person_says_how_it_is_started() {
    let facts = Facts { systemd: false, ..machine() };
    assert_eq!(plan(&facts, &[]).start, Start::Told);
    let detached = decided(&facts, &[], |wanted| wanted.detached = true).unwrap();
    assert_eq!(detached.start, Start::Detached);
    let unit = decided(&machine(), &[], |wanted| wanted.detached = true).unwrap();
    assert_eq!(unit.start, Start::Unit, "where there is systemd it looks after the agent");
}

#[test]
fn a_clock_that_is_a_little_off_is_told() {
    let facts = |off| Facts { now_s: NOW + off, ..machine() };
    assert!(plan(&facts(5), &[]).warnings.is_empty());
    assert_eq!(plan(&facts(-60), &[]).warnings, ["its clock is 59 s behind"]);
    let slow = decided(&facts(-30), &[], |wanted| wanted.looked_s = (NOW - 31, NOW)).unwrap();
    assert!(slow.warnings.is_empty(), "a look that takes long is no error of the clock");
    let extreme = Facts { now_s: i64::MIN, ..machine() };
    assert!(refused(&extreme, &[]).contains("clock"));
}

#[test]
fn architectures_have_more_than_one_name() {
    for (kernel, rust) in [("x86_64", "x86_64"), ("arm64", "aarch64"), ("armv7l", "arm")] {
        assert_eq!(architecture(kernel), architecture(rust));
    }
    assert_ne!(architecture("i686"), architecture("x86_64"));
}
