//! What clients register and what labels make of containers, on three hosts: nothing dangles and
//! nothing is missing, ever, whoever dies; and what clients registered survives everybody's death.

use crate::cluster::{Cluster, on_a_cluster};
use crate::machine::{wait_for, wait_until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use testbed::{Role, SERVER};

const IMAGE: &str = "storefront/httpbackend:v1.0.0";
/// What Docker says and what the catalog says may differ for so long: a shared machine is slow.
const DELAY: Duration = Duration::from_secs(1);
/// A host that is dead counts as lost after this, and its containers with it.
const LOSS: Duration = Duration::from_millis(model::limits::HOST_LOST_MS + 5_000);
const HOSTS: [&str; 3] = ["h1", "h2", "h3"];

/// An answer of the Consul API of a host's agent: status and body.
fn ask(cluster: &Cluster, host: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut curl = cluster.bed.on(host, "curl").unwrap();
    let url = format!("http://127.0.0.1:8500/v1/{path}");
    curl.args(["-sS", "--max-time", "10", "-X", method, "-w", "\n%{http_code}"]);
    if !body.is_empty() {
        curl.args(["-d", body]);
    }
    let output = curl.arg(url).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap_or(("", "0"));
    (status.parse().unwrap_or(0), body.to_owned())
}

fn get(cluster: &Cluster, path: &str) -> Option<Value> {
    let (status, body) = ask(cluster, "h1", "GET", path, "");
    (status == 200).then(|| serde_json::from_str(&body).unwrap())
}

#[track_caller]
fn put(cluster: &Cluster, host: &str, path: &str, body: &Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (status, text) = ask(cluster, host, "PUT", path, &body);
    assert_eq!(status, 200, "{path}: {text}");
}

type Ids = BTreeSet<String>;

/// Ids of a service, of those that pass or of all.
fn listed(cluster: &Cluster, service: &str, passing: bool) -> Option<Ids> {
    let passing = if passing { "?passing" } else { "" };
    let all = get(cluster, &format!("health/service/{service}{passing}"))?;
    let ids = all.as_array()?.iter().map(|one| one["Service"]["ID"].as_str().unwrap().to_owned());
    Some(ids.collect())
}

/// What Docker says of the hosts that have power, as ids of the catalog.
fn truth(cluster: &Cluster, alive: &[&str]) -> Ids {
    let of = |host: &&str| {
        let names = ["ps", "--filter", "label=SERVICE_NAME=web", "--format", "{{.Names}}"];
        let names = cluster.docker(host, &names);
        let ids = names.lines().map(|name| format!("{host}:{name}:8081"));
        ids.collect::<Vec<_>>()
    };
    alive.iter().flat_map(of).collect()
}

/// Waits until the catalog is as Docker says. On the way it may have only what was or is there, and
/// must have all that was and is.
#[track_caller]
fn settles(cluster: &Cluster, what: &str, before: &Ids, alive: &[&str], allowed: Duration) -> Ids {
    let began = Instant::now();
    let now = truth(cluster, alive);
    let (some, all): (Ids, Ids) =
        (before.union(&now).cloned().collect(), before.intersection(&now).cloned().collect());
    let took = wait_for(&format!("{what}: the catalog to be {now:?}"), || {
        let seen = listed(cluster, "web", false)?;
        assert!(seen.is_subset(&some), "{what}: {seen:?} has what there never was in {some:?}");
        assert!(seen.is_superset(&all), "{what}: {seen:?} lacks what is there of {all:?}");
        (seen == now).then(|| began.elapsed())
    });
    eprintln!("measured: {what}: settled after {took:?}");
    assert!(took <= allowed, "{what}: it took {took:?}, {allowed:?} are allowed");
    now
}

fn run(cluster: &Cluster, host: &str, name: &str, port: u16, more: &[&str]) {
    let port = format!("{port}:8081");
    let words = ["run", "-d", "--name", name, "-p", &port, "-l", "SERVICE_NAME=web"];
    cluster.docker(host, &[&words, more, &[IMAGE]].concat());
}

#[test]
#[ignore = "needs docker and root"]
fn no_service_dangles_and_none_is_missing_whoever_dies() {
    on_a_cluster(3, |cluster| {
        cluster.wait_all_seen(&["active", "active", "active"]);
        let mut is = Ids::new();
        for (n, host) in (1_u16..).zip(HOSTS) {
            run(cluster, host, "one", 18_000 + n, &["--restart=always"]);
            is = settles(cluster, "one is started", &is, &HOSTS, DELAY);
            run(cluster, host, "two", 18_100 + n, &[]);
            is = settles(cluster, "another is started", &is, &HOSTS, DELAY);
        }
        assert_eq!(is.len(), 6);
        cluster.docker("h2", &["kill", "two"]);
        is = settles(cluster, "one is killed", &is, &HOSTS, DELAY);
        cluster.docker("h2", &["start", "two"]);
        is = settles(cluster, "it is started again", &is, &HOSTS, DELAY);
        cluster.docker("h3", &["rm", "-f", "two"]);
        is = settles(cluster, "one is removed", &is, &HOSTS, DELAY);
        is = a_host_loses_its_power(cluster, &is);
        is = an_agent_is_deaf_meanwhile(cluster, &is);
        cluster.bed.kill(SERVER, Some(Role::Server)).unwrap();
        cluster.docker("h1", &["rm", "-f", "two"]);
        cluster.bed.boot(SERVER, Some(Role::Server)).unwrap();
        cluster.wait_all_seen(&["active", "active", "active"]);
        settles(cluster, "one is removed while there is no server", &is, &HOSTS, LOSS);
    });
}

fn a_host_loses_its_power(cluster: &mut Cluster, before: &Ids) -> Ids {
    cluster.bed.power_off("h2").unwrap();
    let alive = ["h1", "h3"];
    let is = settles(cluster, "a host has no power", before, &alive, LOSS);
    assert!(!is.is_empty() && is.iter().all(|id| !id.starts_with("h2:")), "{is:?}");
    cluster.bed.boot("h2", None).unwrap();
    wait_until("dockerd of h2 to have started what always runs", || {
        let mut docker = cluster.bed.on("h2", "docker").unwrap();
        let output = docker.args(["ps", "-q"]).output().unwrap();
        output.status.success() && !output.stdout.is_empty()
    });
    let is = settles(cluster, "the host is back", &is, &HOSTS, LOSS);
    assert!(is.contains("h2:one:8081") && !is.contains("h2:two:8081"), "{is:?}");
    is
}

fn an_agent_is_deaf_meanwhile(cluster: &mut Cluster, before: &Ids) -> Ids {
    cluster.bed.kill("h1", Some(Role::Agent)).unwrap();
    cluster.docker("h1", &["kill", "one"]);
    run(cluster, "h1", "late", 18_201, &[]);
    cluster.bed.boot("h1", Some(Role::Agent)).unwrap();
    // h1's own port is the one that is asked.
    wait_until("its agent to answer", || listed(cluster, "web", false).is_some());
    let is = settles(cluster, "its agent hears of all that it missed", before, &HOSTS, LOSS);
    assert!(is.contains("h1:late:8081"), "{is:?}");
    is
}

fn status(cluster: &Cluster, service: &str, check: &str) -> Option<String> {
    let all = get(cluster, &format!("health/checks/{service}"))?;
    let one = all.as_array()?.iter().find(|one| one["CheckID"] == check)?;
    Some(one["Status"].as_str()?.to_owned())
}

#[track_caller]
fn becomes(cluster: &Cluster, service: &str, check: &str, wanted: &str) {
    wait_until(&format!("{check} of {service} to be {wanted}"), || {
        status(cluster, service, check).as_deref() == Some(wanted)
    });
}

#[test]
#[ignore = "needs docker and root"]
fn checks_are_carried_out_and_what_clients_registered_survives_restarts() {
    on_a_cluster(2, |cluster| {
        cluster.wait_all_seen(&["active", "active"]);
        let pinged = ["-l", "SERVICE_CHECK_HTTP=/healthz", "-l", "SERVICE_CHECK_INTERVAL=1s"];
        run(cluster, "h2", "one", 18_001, &pinged);
        becomes(cluster, "web", "service:h2:one:8081", "passing");
        let check = json!({"HTTP": "http://127.0.0.1:18001/healthz", "Interval": "1s"});
        let db = json!({"ID": "db:1", "Name": "db", "Port": 18_001, "Check": check});
        put(cluster, "h2", "agent/service/register", &db);
        let told = json!({"Name": "job", "Check": {"TTL": "1h", "Status": "warning"}});
        put(cluster, "h1", "agent/service/register", &told);
        becomes(cluster, "db", "service:db:1", "passing");
        put(cluster, "h1", "agent/check/pass/service:job?note=done", &Value::Null);
        becomes(cluster, "job", "service:job", "passing");
        ours_is_not_the_clients(cluster);
        cluster.bed.kill("h2", None).unwrap();
        cluster.bed.kill(SERVER, Some(Role::Server)).unwrap();
        cluster.bed.boot(SERVER, Some(Role::Server)).unwrap();
        cluster.wait_seen("h2", "lost");
        let passing = listed(cluster, "db", true);
        assert_eq!(passing, Some(Ids::new()), "its node is critical");
        assert_eq!(listed(cluster, "db", false).unwrap().len(), 1, "it is not forgotten");
        assert_eq!(status(cluster, "job", "service:job").as_deref(), Some("passing"));
        cluster.bed.boot("h2", None).unwrap();
        cluster.wait_all_seen(&["active", "active"]);
        becomes(cluster, "db", "service:db:1", "critical");
        cluster.docker("h2", &["start", "one"]);
        becomes(cluster, "db", "service:db:1", "passing");
        wait_until("it to pass again", || {
            listed(cluster, "db", true).unwrap_or_default().len() == 1
        });
        becomes(cluster, "web", "service:h2:one:8081", "passing");
        cluster.docker("h2", &["kill", "one"]);
        becomes(cluster, "db", "service:db:1", "critical");
        put(cluster, "h2", "agent/service/deregister/db:1", &Value::Null);
        wait_until("it to be gone", || listed(cluster, "db", false) == Some(Ids::new()));
    });
}

fn ours_is_not_the_clients(cluster: &Cluster) {
    let (status, text) = ask(cluster, "h2", "PUT", "agent/service/deregister/h2:one:8081", "");
    assert!(status == 403 && text.contains("container"), "{status} {text}");
}
