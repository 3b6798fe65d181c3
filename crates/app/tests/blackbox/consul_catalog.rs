//! The catalog over the Consul API, asked on the hosts: containers with labels and those of a stack,
//! and who waits for one service is woken by that one only.

use crate::cluster::{Cluster, on_a_cluster};
use crate::machine::{Process, wait_for, wait_until};
use serde_json::Value;

const IMAGE: &str = "storefront/httpbackend:v1.0.0";
const SHOP: &str = "
name: shop
services:
  api:
    image: storefront/httpbackend:v1.0.0
    scale: 2
    ports: ['8081']
    labels: {SERVICE_TAGS: 'http,v1'}
";

fn url(path: &str) -> String {
    format!("http://127.0.0.1:8500/v1/{path}")
}

/// A GET at the agent of a host: headers in lower case, and the body.
fn get(cluster: &Cluster, host: &str, path: &str) -> Option<(String, Value)> {
    let mut curl = cluster.bed.on(host, "curl").unwrap();
    let output = curl.args(["-sS", "-i", "--max-time", "10", &url(path)]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let head = head.to_lowercase();
    head.starts_with("http/1.1 200").then(|| (head, serde_json::from_str(body).unwrap()))
}

fn index(head: &str) -> u64 {
    let line = head.lines().find_map(|line| line.strip_prefix("x-consul-index: "));
    line.unwrap().trim().parse().unwrap()
}

/// A field of each object of a list.
fn each(cluster: &Cluster, host: &str, path: &str, pointer: &str) -> Vec<String> {
    let Some((_, list)) = get(cluster, host, path) else { return vec![] };
    let field = |one: &Value| one.pointer(pointer).unwrap().as_str().unwrap().to_owned();
    list.as_array().unwrap().iter().map(field).collect()
}

fn run(cluster: &Cluster, host: &str, name: &str, port: &str, labels: &[&str]) {
    let mut words = vec!["run", "-d", "--name", name, "-p", port];
    labels.iter().for_each(|label| words.extend(["-l", label]));
    words.push(IMAGE);
    cluster.docker(host, &words);
}

/// Waits at a host for something newer than the index, in the background.
fn wait_at(cluster: &Cluster, host: &str, path: &str, index: u64) -> Process {
    let mut curl = cluster.bed.on(host, "curl").unwrap();
    let asked = url(&format!("{path}?index={index}&wait=5m"));
    curl.args(["-sS", "-i", "--max-time", "290", &asked]);
    Process::start(&mut curl, cluster.path(&format!("wait-{host}-{index}.log")))
}

#[test]
#[ignore = "needs docker and root"]
fn clients_of_consul_see_containers_and_wait_for_one_service_only() {
    on_a_cluster(2, |cluster| {
        cluster.wait_all_seen(&["active", "active"]);
        run(cluster, "h1", "front", "18081:8081", &["SERVICE_NAME=front", "SERVICE_TAGS=tcp,eu"]);
        run(cluster, "h2", "front", "18081:8081", &["SERVICE_NAME=front", "SERVICE_TAGS=tcp,us"]);
        run(cluster, "h2", "other", "18082:8081", &["SERVICE_8081_NAME=other"]);
        run(cluster, "h2", "hidden", "18083:8081", &["SERVICE_IGNORE=yes"]);
        let file = cluster.write("shop.yaml", SHOP);
        cluster.ok(&["up", "-f", &file]);
        what_is_listed(cluster);
        who_waits(cluster);
        a_host_dies(cluster);
    });
}

fn what_is_listed(cluster: &Cluster) {
    for host in ["h1", "h2"] {
        let listed = wait_for("all of them to be listed", || {
            let (_, services) = get(cluster, host, "catalog/services")?;
            let all = ["front", "other", "shop-api"];
            all.iter().all(|name| services.get(name).is_some()).then_some(services)
        });
        assert_eq!(listed["front"], serde_json::json!(["eu", "tcp", "us"]), "{listed}");
        assert_eq!(listed["shop-api"], serde_json::json!(["http", "v1"]), "{listed}");
        assert!(!listed.to_string().contains("hidden"), "{listed}");
        let (_, me) = get(cluster, host, "agent/self").unwrap();
        assert_eq!(
            (me["Config"]["NodeName"].as_str(), me["Config"]["Datacenter"].as_str()),
            (Some(host), Some("dc1"))
        );
        let (_, own) = get(cluster, host, "agent/services").unwrap();
        assert!(own.get(format!("{host}:front:8081")).is_some(), "{own}");
    }
    let ids = each(cluster, "h1", "health/service/front?passing", "/Service/ID");
    assert_eq!(ids, ["h1:front:8081", "h2:front:8081"]);
    let near = each(cluster, "h2", "health/service/front?near=_agent", "/Service/ID");
    assert_eq!(near, ["h2:front:8081", "h1:front:8081"]);
    assert_eq!(
        each(cluster, "h1", "health/service/front?tag=US", "/Service/ID"),
        ["h2:front:8081"]
    );
    let addresses = each(cluster, "h1", "catalog/service/front", "/ServiceAddress");
    assert_eq!(addresses, ["10.99.0.1", "10.99.0.2"]);
    wait_until("both instances of the stack to pass", || {
        each(cluster, "h1", "health/service/shop-api?passing", "/Service/Address").len() == 2
    });
    let api = each(cluster, "h1", "health/service/shop-api?passing", "/Service/Address");
    assert!(api.iter().all(|address| address.starts_with("10.42.")), "{api:?}");
    let nodes = each(cluster, "h1", "catalog/nodes", "/Node");
    assert_eq!(nodes, ["h1", "h2"]);
}

fn who_waits(cluster: &Cluster) {
    let (head, _) = get(cluster, "h1", "health/service/front").unwrap();
    let known = index(&head);
    let mut waiting = wait_at(cluster, "h1", "health/service/front", known);
    cluster.docker("h2", &["rm", "-f", "other"]);
    wait_until("the other one to be gone", || {
        get(cluster, "h1", "catalog/services").is_some_and(|(_, all)| all.get("other").is_none())
    });
    let (head, _) = get(cluster, "h1", "health/service/front").unwrap();
    assert_eq!(index(&head), known, "another service has changed");
    assert!(!waiting.has_ended(), "and wakes nobody: {}", waiting.said());
    cluster.docker("h2", &["kill", "front"]);
    wait_until("the answer to who waits", || waiting.has_ended());
    let said = waiting.said();
    // It has got its signal, or has ended already.
    let goes = !said.contains("h2:front:8081") || said.contains("it is being stopped");
    assert!(said.contains("h1:front:8081") && goes, "{said}");
    assert!(index(&said.to_lowercase()) > known, "{said}");
    wait_until("what was killed to be gone", || {
        each(cluster, "h1", "health/service/front", "/Service/ID") == ["h1:front:8081"]
    });
}

fn a_host_dies(cluster: &mut Cluster) {
    cluster.bed.power_off("h2").unwrap();
    wait_until("its node to be critical", || {
        each(cluster, "h1", "health/state/critical", "/Node").iter().any(|node| node == "h2")
    });
    wait_until("what it offered to be gone or elsewhere", || {
        let nodes = each(cluster, "h1", "health/service/shop-api?passing", "/Node/Node");
        !nodes.is_empty() && nodes.iter().all(|node| node == "h1")
    });
}
