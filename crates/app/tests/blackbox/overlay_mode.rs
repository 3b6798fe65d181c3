//! VXLAN or plain routes between hosts, changed while everything runs; refused where hosts do not
//! share a segment.

use crate::cluster::{Cluster, on_a_cluster};
use crate::machine::{text, wait_for, wait_until};
use crate::overlay::{HOSTS, Place, STACK, all_reach_all, inside, places, reaches};
use std::time::{Duration, Instant};
use testbed::Role;

/// Longest time without an answer while the hosts change.
const MOMENT: Duration = Duration::from_secs(3);

fn has_device(cluster: &Cluster, host: &str) -> bool {
    let mut asks = cluster.bed.on(host, "ip").unwrap();
    asks.args(["link", "show", "remudavx0"]).output().unwrap().status.success()
}

fn on(cluster: &Cluster, host: &str, command: &str) -> String {
    let mut words = command.split(' ');
    let program = words.next().unwrap();
    text(cluster.bed.on(host, program).unwrap().args(words))
}

#[test]
#[ignore = "needs docker and root"]
fn hosts_on_one_segment_change_to_plain_routes_and_back_while_they_run() {
    on_a_cluster(3, |cluster| {
        cluster.wait_all_seen(&["active", "active", "active"]);
        let file = cluster.write("shop.yaml", STACK);
        cluster.ok(&["up", "-f", &file]);
        let places = places(cluster, 3);
        all_reach_all(cluster, &places);
        cluster.ok(&["net", "overlay"]).says(&["vxlan"]);
        for (mode, device) in [("routes", false), ("vxlan", true), ("routes", false)] {
            changes(cluster, &places, mode, device);
        }
        // Plain packets: no VXLAN, whole ones, and from the container itself.
        let route = on(cluster, "h1", "ip route show proto 82");
        assert!(route.contains("dev eth0") && !route.contains("remudavx0"), "{route}");
        cluster.ok(&["net", "overlay", "vxlan"]);
        wait_until("VXLAN on all hosts", || HOSTS.iter().all(|host| has_device(cluster, host)));
        a_host_on_another_segment(cluster);
    });
}

/// Everybody changes, and nobody is out of reach for longer than a moment.
fn changes(cluster: &Cluster, places: &[Place], mode: &str, device: bool) {
    let (from, to) = (&places[0], &places[1]);
    cluster.ok(&["net", "overlay", mode]).says(&["between hosts", mode]);
    let begun = Instant::now();
    let mut last = begun;
    let mut longest = Duration::ZERO;
    wait_until(&format!("all hosts to be at {mode}"), || {
        if reaches(cluster, from, &to.address) {
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        let all = HOSTS.iter().all(|host| has_device(cluster, host) == device);
        all && reaches(cluster, from, &to.address)
    });
    assert!(longest.max(last.elapsed()) < MOMENT, "{longest:?} without an answer");
    all_reach_all(cluster, places);
    wait_for(&format!("a check of the ways by {mode}"), || {
        let ran = cluster.remuda(&["net", "check"]);
        (ran.code == 0).then_some(())
    });
    let device = inside(cluster, from, &["ip", "link", "show", "eth0"]).unwrap();
    assert!(device.contains("mtu 1450"), "{device}");
    cluster.ok(&["net", "overlay", mode]).says(&["as before"]);
}

fn a_host_on_another_segment(cluster: &mut Cluster) {
    on(cluster, "h3", "ip address add 10.99.0.3/16 dev eth0");
    on(cluster, "h3", "ip address del 10.99.0.3/24 dev eth0");
    cluster.bed.kill("h3", Some(Role::Agent)).unwrap();
    cluster.bed.boot("h3", Some(Role::Agent)).unwrap();
    wait_until("the host to say on which segment it is", || {
        let ran = cluster.remuda(&["host", "show", "h3", "-o", "json"]);
        ran.code == 0 && ran.out.contains("10.99.0.0/16")
    });
    let refused = cluster.remuda(&["net", "overlay", "routes"]).with_code(5);
    refused.says(&[
        "need all hosts on one segment",
        "h3 on 10.99.0.0/16",
        "h1, h2 on 10.99.0.0/24",
    ]);
    cluster.ok(&["net", "overlay"]).says(&["vxlan"]);
}
