//! A server that is cut off for long: hosts go on alone, whatever is done on them meanwhile, and
//! when it is back nothing starts again and nothing that was asked for is lost.

use crate::cluster::{Cluster, on_a_cluster};
use crate::load::{Ask, Connections, Load};
use crate::machine::{text, wait_until};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use testbed::{Role, SERVER};

const HOSTS: [&str; 3] = ["h1", "h2", "h3"];

fn stack(scale: u32) -> String {
    format!(
        "
name: shop
services:
  web:
    image: storefront/httpbackend:v1.0.0
    scale: {scale}
    expose: ['8081']
    health_check: {{port: 8081, interval: 500, request_line: GET /healthz HTTP/1.0}}
  lb:
    image: rancher/lb-service-haproxy:v0.9.14
    ports: ['8080:8080/tcp']
    labels: {{io.rancher.scheduler.global: 'true'}}
    lb_config:
      port_rules: [{{source_port: 8080, protocol: http, service: web, target_port: 8081}}]
"
    )
}

fn through(host: &str) -> Ask {
    let to = format!("{host}:8080").parse().unwrap();
    Ask { to, path: "/".into(), connections: Connections::Kept, host: "shop".into() }
}

/// A service's addresses, as a host's own DNS tells them.
fn names(cluster: &Cluster, host: &str) -> Vec<String> {
    let mut dig = cluster.bed.on(host, "dig").unwrap();
    dig.args(["@169.254.169.250", "+short", "+time=2", "+tries=1", "web.shop.rancher.internal"]);
    let output = dig.output().unwrap();
    let mut found: Vec<String> =
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    found.sort();
    found
}

fn all(cluster: &Cluster) -> BTreeMap<String, String> {
    HOSTS.iter().flat_map(|host| cluster.containers(host)).collect()
}

#[test]
#[ignore = "needs docker and root"]
fn hosts_go_on_without_a_server_and_nothing_starts_again_when_it_is_back() {
    on_a_cluster(3, |cluster| {
        cluster.wait_all_seen(&["active", "active", "active"]);
        let file = cluster.write("shop.yaml", &stack(6));
        cluster.ok(&["up", "-f", &file]);
        wait_until("six names on every host", || {
            HOSTS.iter().all(|host| names(cluster, host).len() == 6)
        });
        let known = names(cluster, "h1");
        let load = Load::start(32, &through("10.99.0.1"));
        cluster.bed.cut(SERVER).unwrap();
        one_container_dies(cluster);
        load.more(1_000);
        nobody_is_missed(cluster, &known);
        load.nothing_failed();
        everything_of_a_host_starts_again(cluster, &known);
        let before = all(cluster);
        let load = Load::start(32, &through("10.99.0.1"));
        someone_asks_meanwhile(cluster);
        cluster.bed.heal(SERVER).unwrap();
        cluster.wait_all_seen(&["active", "active", "active"]);
        wait_until("what was asked for meanwhile", || {
            cluster.ready("web").values().sum::<usize>() == 7
        });
        load.nothing_failed();
        let after = all(cluster);
        let started: Vec<_> =
            before.iter().filter(|(name, id)| after.get(*name) != Some(id)).collect();
        assert!(started.is_empty(), "started again: {started:?}");
        assert_eq!(after.len(), before.len() + 1);
    });
}

/// Its agent starts it again without anybody, and its checks decide when it gets requests.
fn one_container_dies(cluster: &Cluster) {
    let one = cluster.containers("h2").into_iter().next().unwrap();
    let name = one.0.trim_start_matches('/');
    text(cluster.bed.on("h2", "docker").unwrap().args(["kill", name]));
    wait_until("what was killed to run again", || {
        cluster.containers("h2").get(&one.0).is_some_and(|again| *again != one.1)
    });
}

/// For as long as was asked for: names are what they were all the time.
fn nobody_is_missed(cluster: &Cluster, known: &[String]) {
    let seconds = std::env::var("REMUDA_ALONE_SECONDS").unwrap_or_default();
    wait_until("all names on every host", || {
        HOSTS.iter().all(|host| names(cluster, host) == known)
    });
    let until = Instant::now() + Duration::from_secs(seconds.parse().unwrap_or(0));
    while Instant::now() < until {
        for host in HOSTS {
            assert_eq!(names(cluster, host), known, "names on {host}");
        }
        std::thread::park_timeout(Duration::from_secs(1));
    }
}

/// Docker with all containers, then the agent and its dataplane: all by hand.
fn everything_of_a_host_starts_again(cluster: &mut Cluster, known: &[String]) {
    let before = cluster.containers("h1");
    cluster.bed.kill("h1", None).unwrap();
    cluster.bed.boot("h1", None).unwrap();
    wait_until("its containers to run again", || cluster.containers("h1").len() == before.len());
    wait_until("its names to be what they were", || names(cluster, "h1") == known);
    cluster.bed.kill("h1", Some(Role::Agent)).unwrap();
    cluster.bed.kill("h1", Some(Role::Dataplane)).unwrap_or_default();
    cluster.bed.boot("h1", Some(Role::Agent)).unwrap();
    wait_until("its names to be back", || names(cluster, "h1") == known);
    let load = Load::start(8, &through("10.99.0.1"));
    load.nothing_failed();
}

/// Who is with the server can ask it for things; hosts hear of that later.
fn someone_asks_meanwhile(cluster: &Cluster) {
    let mut command = cluster.bed.on(SERVER, "remuda").unwrap();
    let output = command.args(["svc", "scale", "shop/web", "7"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("shop/web#7 is parked: none of 3 hosts is connected"), "{said}");
    let hosts = text(cluster.bed.on(SERVER, "remuda").unwrap().args(["host", "ls", "-o", "json"]));
    let hosts: Value = serde_json::from_str(&hosts).unwrap();
    assert!(hosts.as_array().unwrap().iter().all(|host| host["status"] != "active"), "{hosts}");
}
