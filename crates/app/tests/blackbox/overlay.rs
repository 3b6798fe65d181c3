//! Containers of three hosts reach each other by address and by name, whatever happens to hosts,
//! cables and agents; who is gone is gone from the tables of the others.

use crate::cluster::{Cluster, on_a_cluster};
use crate::machine::{text, wait_for, wait_until};
use std::collections::BTreeMap;
use testbed::Role;

pub(crate) const STACK: &str = "
name: shop
services:
  web:
    image: storefront/httpbackend:v1.0.0
    scale: 3
    health_check: {port: 8081, interval: 500}
";
pub(crate) const HOSTS: [&str; 3] = ["h1", "h2", "h3"];

/// A container that runs.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) host: String,
    pub(crate) pid: String,
    pub(crate) address: String,
}

/// The containers of the service, as the server says, once so many are ready.
pub(crate) fn places(cluster: &Cluster, count: usize) -> Vec<Place> {
    wait_for(&format!("{count} ready instances with their containers"), || {
        let all = places_now(cluster);
        (all.len() == count).then_some(all)
    })
}

fn places_now(cluster: &Cluster) -> Vec<Place> {
    let rows = cluster.ps();
    rows.iter().filter(|row| row["ready"] == true).filter_map(|row| place(cluster, row)).collect()
}

/// Where the container of a row is.
pub(crate) fn place(cluster: &Cluster, row: &serde_json::Value) -> Option<Place> {
    let (host, id) = (row["host"].as_str()?, row["container_id"].as_str()?);
    let mut asks = cluster.bed.on(host, "docker").ok()?;
    let output = asks.args(["inspect", "-f", "{{.State.Pid}}", id]).output().ok()?;
    let pid = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    let address = row["address"].as_str()?.to_owned();
    (!pid.is_empty() && pid != "0").then(|| Place { host: host.to_owned(), pid, address })
}

/// Runs a program in a container's network; what it printed, if it ended well.
pub(crate) fn inside(cluster: &Cluster, at: &Place, words: &[&str]) -> Option<String> {
    let mut command = cluster.bed.on(&at.host, "nsenter").unwrap();
    command.args(["-t", &at.pid, "-n"]).args(words);
    let output = command.output().unwrap();
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

pub(crate) fn reaches(cluster: &Cluster, from: &Place, to: &str) -> bool {
    let url = format!("http://{to}:8081/");
    inside(cluster, from, &["curl", "-sS", "--max-time", "2", "-o", "/dev/null", &url]).is_some()
}

/// The addresses behind a name, as a container learns them.
pub(crate) fn resolve(cluster: &Cluster, from: &Place, name: &str) -> Vec<String> {
    let dig = ["dig", "@169.254.169.250", "+short", "+time=2", "+tries=1", name];
    let mut found: Vec<String> =
        inside(cluster, from, &dig).unwrap_or_default().lines().map(str::to_owned).collect();
    found.sort();
    found
}

/// Every container reaches every other one, and the name gives all of them.
#[track_caller]
pub(crate) fn all_reach_all(cluster: &Cluster, places: &[Place]) {
    let mut all: Vec<String> = places.iter().map(|place| place.address.clone()).collect();
    all.sort();
    for from in places {
        for to in places {
            wait_until(&format!("{} to reach {} on {}", from.host, to.address, to.host), || {
                reaches(cluster, from, &to.address)
            });
        }
        wait_until(&format!("{} to find all by name", from.host), || {
            resolve(cluster, from, "web.shop.rancher.internal") == all
        });
    }
}

/// The same of whatever containers there are by then.
#[track_caller]
fn all_reach_all_again(cluster: &Cluster) {
    wait_until("three containers that reach each other", || {
        let all = places_now(cluster);
        all.len() == 3
            && all.iter().all(|from| all.iter().all(|to| reaches(cluster, from, &to.address)))
    });
}

/// What a host has of others.
fn tables(cluster: &Cluster, host: &str) -> String {
    let run =
        |program: &str, words: &[&str]| text(cluster.bed.on(host, program).unwrap().args(words));
    [
        run("ip", &["route", "show", "table", "all", "proto", "82"]),
        run("ip", &["neighbour", "show", "nud", "permanent"]),
        run("bridge", &["fdb", "show", "dev", "remudavx0"]),
        run("nft", &["list", "chain", "inet", "remuda", "remudavx0_senders"]),
    ]
    .concat()
}

#[test]
#[ignore = "needs docker and root"]
fn containers_of_three_hosts_reach_each_other_whatever_happens() {
    on_a_cluster(3, |cluster| {
        cluster.wait_all_seen(&["active", "active", "active"]);
        let file = cluster.write("shop.yaml", STACK);
        cluster.ok(&["up", "-f", &file]);
        let places = places(cluster, 3);
        let by_host: BTreeMap<&str, &Place> =
            places.iter().map(|place| (place.host.as_str(), place)).collect();
        assert_eq!(by_host.len(), 3, "one on each: {places:?}");
        all_reach_all(cluster, &places);
        sources_and_sizes(cluster, &places);
        an_agent_is_dead(cluster, &places);
        a_cable_between_two_is_cut(cluster, &by_host);
        docker_starts_again(cluster, &places);
        a_host_is_gone(cluster);
    });
}

/// MTU and rules are as documented; hosts reach containers of others too.
fn sources_and_sizes(cluster: &Cluster, places: &[Place]) {
    for place in places {
        let device = inside(cluster, place, &["ip", "link", "show", "eth0"]).unwrap();
        assert!(device.contains("mtu 1450"), "{device}");
    }
    for host in HOSTS {
        let far = places.iter().find(|place| place.host != host).unwrap();
        let url = format!("http://{}:8081/", far.address);
        let mut curl = cluster.bed.on(host, "curl").unwrap();
        let ended =
            curl.args(["-sS", "--max-time", "5", "-o", "/dev/null", &url]).output().unwrap();
        assert!(ended.status.success(), "{host} does not reach {far:?}");
    }
}

/// What was made stays, and what others harm is put right once there is an agent again.
fn an_agent_is_dead(cluster: &mut Cluster, places: &[Place]) {
    cluster.bed.kill("h1", Some(Role::Agent)).unwrap();
    cluster.wait_seen("h1", "disconnected");
    all_reach_all(cluster, places);
    text(cluster.bed.on("h1", "ip").unwrap().args(["link", "del", "remudavx0"]));
    let from = places.iter().find(|place| place.host == "h1").unwrap();
    let to = places.iter().find(|place| place.host != "h1").unwrap();
    assert!(!reaches(cluster, from, &to.address), "without the device there is no way");
    cluster.bed.boot("h1", Some(Role::Agent)).unwrap();
    cluster.wait_all_seen(&["active", "active", "active"]);
    all_reach_all(cluster, places);
}

fn a_cable_between_two_is_cut(cluster: &mut Cluster, places: &BTreeMap<&str, &Place>) {
    let (one, two, three) = (places["h1"], places["h2"], places["h3"]);
    cluster.bed.cut_between("h1", "h2").unwrap();
    assert!(!reaches(cluster, one, &two.address) && !reaches(cluster, two, &one.address));
    assert!(reaches(cluster, one, &three.address) && reaches(cluster, three, &two.address));
    cluster.bed.heal("h1").unwrap();
    for (from, to) in [(one, two), (two, one)] {
        wait_until("a healed cable to carry", || reaches(cluster, from, &to.address));
    }
}

/// Docker's rules are made anew, with a closed chain for what it does not know.
fn docker_starts_again(cluster: &mut Cluster, places: &[Place]) {
    text(cluster.bed.on("h2", "iptables").unwrap().args(["-P", "FORWARD", "DROP"]));
    cluster.bed.kill("h2", Some(Role::Dockerd)).unwrap();
    all_reach_all(cluster, places);
    text(cluster.bed.on("h2", "iptables").unwrap().args(["-F", "DOCKER-USER"]));
    cluster.bed.boot("h2", Some(Role::Dockerd)).unwrap();
    // It has ended its containers at its start.
    all_reach_all_again(cluster);
    let kept = text(cluster.bed.on("h2", "iptables").unwrap().args(["-S", "DOCKER-USER"]));
    assert!(kept.contains("-i remudavx0 -o remuda0") && kept.contains("remuda-remuda0"), "{kept}");
}

/// Switched off and removed: nobody has anything of it. What comes in its place is reached.
fn a_host_is_gone(cluster: &mut Cluster) {
    assert!(tables(cluster, "h1").contains("10.99.0.3"));
    cluster.bed.kill("h3", None).unwrap();
    cluster.wait_all_seen(&["active", "active", "lost"]);
    cluster.ok(&["host", "rm", "h3", "--force"]);
    wait_until("the tables of h1 and h2 to be without h3", || {
        ["h1", "h2"].iter().all(|host| !tables(cluster, host).contains("10.99.0.3"))
    });
    all_reach_all_again(cluster);
}
