//! Health by several hosts: what the instance's own host cannot reach and others can is healthy, the
//! loss of a prober changes nothing, and while the own host is away the others tell.

use crate::cluster::{Cluster, on_a_cluster};
use crate::machine::{text, wait_until};
use serde_json::Value;
use testbed::Role;

const STACK: &str = "
name: shop
services:
  web:
    image: storefront/httpbackend:v1.0.0
    expose: ['8081']
    labels: {io.rancher.scheduler.affinity:host_label: place=here}
    health_check: {port: 8081, interval: 500, response_timeout: 500, request_line: GET /healthz HTTP/1.0}
";

/// The one instance as `ps` tells it.
fn web(cluster: &Cluster) -> Value {
    cluster.ps().into_iter().find(|row| row["service"] == "web").unwrap_or_default()
}

fn health(cluster: &Cluster) -> String {
    web(cluster)["health"].as_str().unwrap_or_default().to_owned()
}

/// What the dataplane of a host itself found.
fn found_by(cluster: &Cluster, host: &str) -> Option<Value> {
    let state =
        text(cluster.bed.on(host, "curl").unwrap().args(["-s", "http://127.0.0.1:7602/dump"]));
    let state: Value = serde_json::from_str(&state).unwrap_or_default();
    state["probes"].as_object()?.values().next().cloned()
}

fn finds(cluster: &Cluster, host: &str, health: &str) -> bool {
    found_by(cluster, host).is_some_and(|found| found["health"] == health)
}

fn iptables(cluster: &Cluster, word: &str, rule: &[&str]) {
    text(cluster.bed.on("h3", "iptables").unwrap().arg(word).args(rule));
}

#[test]
#[ignore = "needs docker and root"]
fn three_hosts_probe_and_one_that_finds_it_healthy_is_enough() {
    on_a_cluster(3, |cluster| {
        cluster.wait_all_seen(&["active", "active", "active"]);
        cluster.ok(&["host", "label", "h3", "place=here"]);
        let file = cluster.write("shop.yaml", STACK);
        cluster.ok(&["up", "-f", &file]);
        let containers = cluster.containers("h3");
        for host in ["h1", "h2", "h3"] {
            wait_until("every host to find it healthy", || finds(cluster, host, "healthy"));
        }
        let address = web(cluster)["address"].as_str().unwrap().to_owned();
        // Its own host cannot reach it any more; the others do.
        let rule = ["OUTPUT", "-d", &address, "-p", "tcp", "--dport", "8081", "-j", "DROP"];
        iptables(cluster, "-I", &rule);
        wait_until("its own host to find it unhealthy", || finds(cluster, "h3", "unhealthy"));
        assert_eq!(health(cluster), "healthy", "{}", web(cluster));
        // A prober that goes changes nothing: one is left that finds it healthy.
        cluster.bed.kill("h1", None).unwrap();
        cluster.wait_seen("h1", "lost");
        assert_eq!(health(cluster), "healthy", "{}", web(cluster));
        iptables(cluster, "-D", &rule);
        wait_until("its own host to find it healthy", || finds(cluster, "h3", "healthy"));
        assert_eq!(cluster.containers("h3"), containers, "nothing has started again");
    });
}

#[test]
#[ignore = "needs docker and root"]
fn while_its_own_host_is_away_others_tell_that_it_is_unhealthy_and_it_is_not_replaced_for_that() {
    on_a_cluster(3, |cluster| {
        cluster.wait_all_seen(&["active", "active", "active"]);
        cluster.ok(&["host", "label", "h3", "place=here"]);
        // It stays where it is whatever becomes of its host.
        let file = cluster.write("shop.yaml", &format!("{STACK}    on_loss: keep\n"));
        cluster.ok(&["up", "-f", &file]);
        for host in ["h1", "h2"] {
            wait_until("the others to find it healthy", || finds(cluster, host, "healthy"));
        }
        let (name, id) = cluster.containers("h3").into_iter().next().unwrap();
        cluster.bed.kill("h3", Some(Role::Agent)).unwrap();
        cluster.wait_seen("h3", "disconnected");
        assert_eq!(health(cluster), "healthy", "{}", web(cluster));
        let name = name.trim_start_matches('/');
        cluster.docker("h3", &["pause", name]);
        wait_until("the others to tell that it is unhealthy", || health(cluster) == "unhealthy");
        let reason = web(cluster)["reason"].as_str().unwrap().to_owned();
        assert!(reason.contains("health check from h"), "{reason}");
        cluster.wait_seen("h3", "lost");
        cluster.docker("h3", &["unpause", name]);
        wait_until("the others to tell that it is well", || health(cluster) == "healthy");
        cluster.bed.boot("h3", Some(Role::Agent)).unwrap();
        cluster.wait_seen("h3", "active");
        wait_until("its own host to find it healthy", || finds(cluster, "h3", "healthy"));
        let after = cluster.containers("h3");
        assert_eq!(after.values().collect::<Vec<_>>(), [&id], "it was not replaced");
    });
}
