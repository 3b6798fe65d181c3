//! Three hosts and a server on machines of their own: they join, a service spreads over them, and
//! what is cut off, switched off or killed comes back.

use crate::cluster::{Cluster, on_a_cluster};
use crate::machine::{wait_for, wait_until};
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::{Duration, Instant};
use testbed::{Role, SERVER, SWITCH};

const STACK: &str = "
name: shop
services:
  web:
    image: storefront/httpbackend:v1.0.0
    scale: 3
    health_check: {port: 8081, interval: 500}
";

fn spread(hosts: &[(&str, usize)]) -> BTreeMap<String, usize> {
    hosts.iter().map(|(host, count)| ((*host).to_owned(), *count)).collect()
}

/// Instances of the service that run, whoever says so: containers by name, of all these hosts.
fn running(cluster: &Cluster, hosts: &[&str]) -> Vec<String> {
    hosts.iter().flat_map(|host| cluster.containers(host).into_keys()).collect()
}

/// Three are ready, and no host has a container that it should not have.
#[track_caller]
fn three_and_no_more(cluster: &Cluster) {
    wait_until("three ready instances and no more containers", || {
        let ready: usize = cluster.ready("web").values().sum();
        let names = running(cluster, &["h1", "h2", "h3"]);
        let different: BTreeSet<&String> = names.iter().collect();
        ready == 3 && names.len() == 3 && different.len() == 3
    });
}

#[test]
#[ignore = "needs docker and root"]
fn three_hosts_join_and_what_is_cut_off_or_dies_comes_back() {
    on_a_cluster(3, |cluster| {
        cluster.wait_all_seen(&["active", "active", "active"]);
        let file = cluster.write("shop.yaml", STACK);
        cluster.ok(&["up", "-f", &file]);
        assert_eq!(cluster.ready("web"), spread(&[("h1", 1), ("h2", 1), ("h3", 1)]));
        three_and_no_more(cluster);
        a_cable_is_pulled(cluster);
        only_the_server_is_out_of_reach(cluster);
        processes_are_killed(cluster);
        the_server_is_switched_off(cluster);
        a_host_is_switched_off(cluster);
    });
}

/// Disconnected, then lost; its instance is replaced, and when it is back nothing is there twice.
fn a_cable_is_pulled(cluster: &mut Cluster) {
    cluster.bed.cut("h2").unwrap();
    cluster.wait_seen("h2", "disconnected");
    assert_eq!(cluster.containers("h2").len(), 1, "a host that is cut off goes on");
    cluster.wait_all_seen(&["active", "lost", "active"]);
    wait_until("what was lost to run elsewhere", || running(cluster, &["h1", "h3"]).len() == 3);
    cluster.bed.heal("h2").unwrap();
    cluster.wait_all_seen(&["active", "active", "active"]);
    three_and_no_more(cluster);
}

/// Between a host and the server nothing passes, one way and then both; others notice nothing.
fn only_the_server_is_out_of_reach(cluster: &mut Cluster) {
    cluster.bed.one_way(SERVER, "h1").unwrap();
    cluster.wait_all_seen(&["disconnected", "active", "active"]);
    cluster.bed.heal_between("h1", SERVER).unwrap();
    cluster.wait_all_seen(&["active", "active", "active"]);
    cluster.bed.cut_between("h1", SERVER).unwrap();
    cluster.wait_all_seen(&["disconnected", "active", "active"]);
    assert!(cluster.bed.cut_between("h1", "h1").is_err());
    cluster.bed.heal("h1").unwrap();
    cluster.wait_all_seen(&["active", "active", "active"]);
    cluster.bed.drop_frames("h1", 50).unwrap();
    cluster.bed.delay("h1", testbed::Delay { ms: 30, jitter_ms: 10 }).unwrap();
    let late = round_trip("10.99.0.1");
    assert!(late >= Duration::from_millis(40), "20 to 40 ms each way and not {late:?} for both");
    three_and_no_more(cluster);
    cluster.bed.heal_all().unwrap();
    wait_until("frames to be in time", || round_trip("10.99.0.1") < Duration::from_millis(40));
    three_and_no_more(cluster);
}

/// From the switch to a host and back: nobody listens there, and it says so.
fn round_trip(host: &str) -> Duration {
    let begun = Instant::now();
    let refused = TcpStream::connect((host, 9)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{refused}");
    begun.elapsed()
}

/// Agent, dataplane: their containers go on as they are.
fn processes_are_killed(cluster: &mut Cluster) {
    let before = cluster.containers("h1");
    cluster.bed.kill("h1", Some(Role::Agent)).unwrap();
    cluster.wait_seen("h1", "disconnected");
    cluster.bed.boot("h1", Some(Role::Agent)).unwrap();
    cluster.wait_all_seen(&["active", "active", "active"]);
    let old = cluster.bed.find("h1", Role::Dataplane).unwrap();
    cluster.bed.kill("h1", Some(Role::Dataplane)).unwrap();
    let new = wait_for("a new dataplane", || cluster.bed.find("h1", Role::Dataplane));
    assert_ne!(old, new);
    cluster.bed.hang("h1", Role::Agent).unwrap();
    cluster.wait_seen("h1", "disconnected");
    cluster.bed.wake("h1", Role::Agent).unwrap();
    cluster.wait_all_seen(&["active", "active", "active"]);
    assert_eq!(cluster.containers("h1"), before);
}

/// Hosts go on without a server, and know the one that comes back.
fn the_server_is_switched_off(cluster: &mut Cluster) {
    let hosts = ["h1", "h2", "h3"];
    let before = hosts.map(|host| cluster.containers(host));
    cluster.bed.kill(SERVER, None).unwrap();
    assert!(cluster.seen().is_empty(), "nobody answers at {}", cluster.bed.url());
    assert!(cluster.bed.one_way(SWITCH, SERVER).is_ok(), "faults do not need power");
    cluster.bed.heal(SERVER).unwrap();
    cluster.bed.boot(SERVER, None).unwrap();
    cluster.wait_all_seen(&["active", "active", "active"]);
    assert_eq!(hosts.map(|host| cluster.containers(host)), before);
    three_and_no_more(cluster);
}

/// All of it ends at once; with power it joins again with what is on its disk.
fn a_host_is_switched_off(cluster: &mut Cluster) {
    cluster.bed.kill("h3", None).unwrap();
    cluster.wait_all_seen(&["active", "active", "lost"]);
    wait_until("what was lost to run elsewhere", || running(cluster, &["h1", "h2"]).len() == 3);
    cluster.bed.boot("h3", None).unwrap();
    cluster.wait_all_seen(&["active", "active", "active"]);
    three_and_no_more(cluster);
}
