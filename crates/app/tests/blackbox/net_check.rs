//! `remuda net check` on three hosts: what is broken between them is named with its direction, what
//! rots on a host is repaired and told.

use crate::cluster::{Cluster, on_a_cluster};
use crate::machine::{Ran, text, wait_for, wait_until};
use serde_json::Value;
use std::time::{Duration, Instant};

const STACK: &str = "
name: shop
services:
  web:
    image: storefront/httpbackend:v1.0.0
    scale: 3
    health_check: {port: 8081, interval: 500}
";
/// A check may take no longer.
const LONGEST: Duration = Duration::from_secs(15);

fn check(cluster: &Cluster, words: &[&str]) -> Ran {
    let begun = Instant::now();
    let ran = cluster.remuda(&[&["net", "check"], words].concat());
    assert!(begun.elapsed() < LONGEST, "{:?}: {ran:?}", begun.elapsed());
    ran
}

fn report(cluster: &Cluster, words: &[&str], code: i32) -> Value {
    check(cluster, &[&["-o", "json"], words].concat()).with_code(code).json()
}

/// The directions that are not well: "h1 -> h2: lost".
fn told(report: &Value) -> Vec<String> {
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    let ways = report["ways"].as_array().unwrap().iter().filter(|way| way["verdict"] != "ok");
    ways.map(|way| {
        format!("{} -> {}: {}", word(&way["from"]), word(&way["to"]), word(&way["verdict"]))
    })
    .collect()
}

/// What was repaired on a host.
fn repaired(report: &Value, host: &str) -> String {
    let hosts = report["hosts"].as_array().unwrap();
    let row = hosts.iter().find(|row| row["host"] == host).unwrap();
    row["repaired"].to_string()
}

fn on(cluster: &Cluster, host: &str, command: &str) -> String {
    let mut words = command.split(' ');
    let program = words.next().unwrap();
    text(cluster.bed.on(host, program).unwrap().args(words))
}

/// Runs `nft` on a host, or on the switch.
fn nft(cluster: &Cluster, host: Option<&str>, rules: &str) {
    let file = cluster.write("rules.nft", rules);
    match host {
        Some(host) => text(cluster.bed.on(host, "nft").unwrap().args(["-f", &file])),
        None => text(cluster.bed.on_switch("nft").args(["-f", &file])),
    };
}

/// A firewall of somebody else on a host, until it is taken away.
fn firewall(cluster: &Cluster, host: &str, hook: &str, rule: &str, then: impl FnOnce()) {
    nft(
        cluster,
        Some(host),
        &format!(
            "table inet theirs {{\n  chain theirs {{\n    type filter hook {hook} priority 0;\n    \
             {rule} drop\n  }}\n}}\n"
        ),
    );
    then();
    on(cluster, host, "nft delete table inet theirs");
}

fn up(cluster: &Cluster) {
    cluster.wait_all_seen(&["active", "active", "active"]);
    let file = cluster.write("shop.yaml", STACK);
    cluster.ok(&["up", "-f", &file]);
    wait_until("all pairs to be well", || cluster.remuda(&["net", "check"]).code == 0);
}

#[test]
#[ignore = "needs docker and root"]
fn the_check_names_the_direction_that_is_broken_and_why() {
    on_a_cluster(3, |cluster| {
        up(cluster);
        all_is_well(cluster);
        one_direction(cluster);
        both_directions_and_some_frames(cluster);
        large_packets(cluster);
        firewalls(cluster);
        a_host_that_is_not_there(cluster);
    });
}

fn all_is_well(cluster: &Cluster) {
    let report = report(cluster, &[], 0);
    assert_eq!(told(&report), [""; 0]);
    let ways = report["ways"].as_array().unwrap();
    assert!(ways.len() == 6 && ways.iter().all(|way| way["rtt_us"].as_u64().unwrap() > 0));
    let ran = check(cluster, &[]).with_code(0);
    ran.says(&["FROM", "h1", "ms", "3 pairs checked both ways, no direction is broken"]);
    check(cluster, &["h2"]).with_code(0).says(&["2 pairs"]);
    check(cluster, &["h1", "h3"]).with_code(0).says(&["1 pair"]);
    check(cluster, &["h9"]).with_code(3).says(&["no host h9"]);
}

fn one_direction(cluster: &mut Cluster) {
    cluster.bed.one_way("h1", "h2").unwrap();
    let first = told(&report(cluster, &[], 1));
    assert_eq!(first[0], "h1 -> h2: lost", "{first:?}");
    // As after a minute: the second one has forgotten the first one's MAC address, asks for it, and
    // does not hear the answer. What it sends still arrives.
    on(cluster, "h2", "ip neighbour flush dev eth0 to 10.99.0.1");
    let ran = check(cluster, &[]).with_code(1);
    ran.says(&["h1 -> h2: lost", "no packet of h1 arrives at h2", "h2 -> h1: waits"]);
    ran.says(&["1 direction is broken"]);
    cluster.bed.heal("h1").unwrap();
    wait_until("a healed cable to carry", || cluster.remuda(&["net", "check"]).code == 0);
}

fn both_directions_and_some_frames(cluster: &mut Cluster) {
    cluster.bed.cut_between("h1", "h3").unwrap();
    let both = ["h1 -> h3: lost", "h3 -> h1: lost"];
    assert_eq!(told(&report(cluster, &[], 1)), both);
    cluster.bed.heal("h1").unwrap();
    // Not so many that the server loses sight of it.
    cluster.bed.drop_frames("h2", 100).unwrap();
    let some = wait_for("a check that hears all hosts", || {
        let found = check(cluster, &["-o", "json"]).json();
        (found["ways"].as_array().unwrap().len() == 6).then(|| told(&found))
    });
    assert!(!some.is_empty() && some.iter().all(|way| way.contains("h2")), "{some:?}");
    assert!(some.iter().any(|way| way.ends_with("lossy")), "{some:?}");
    cluster.bed.heal_all().unwrap();
    wait_until("healed cables to carry", || cluster.remuda(&["net", "check"]).code == 0);
}

fn large_packets(cluster: &Cluster) {
    let switch = |rule: &str| {
        nft(
            cluster,
            None,
            &format!(
                "table bridge large {{\n  chain theirs {{\n    type filter hook forward priority 5;\n    \
                 {rule}\n  }}\n}}\n"
            ),
        );
    };
    switch("iifname \"h3\" oifname \"h1\" meta length > 1440 drop");
    let ran = check(cluster, &[]).with_code(1);
    ran.says(&["h3 -> h1: mtu: packets of 1450 bytes are lost", "less than 1500 bytes"]);
    ran.says(&["1 direction is broken"]);
    text(cluster.bed.on_switch("nft").args(["delete", "table", "bridge", "large"]));
}

fn firewalls(cluster: &Cluster) {
    firewall(cluster, "h2", "input", "ip saddr 10.99.0.1 udp dport 4789", || {
        let found = report(cluster, &[], 1);
        assert_eq!(told(&found), ["h1 -> h2: overlay"]);
        assert!(found.to_string().contains("accept UDP port 4789 from 10.99.0.1 on h2"));
    });
    firewall(cluster, "h2", "input", "iifname \"remudavx0\" meta l4proto tcp", || {
        assert_eq!(told(&report(cluster, &["h1", "h2"], 1)), ["h1 -> h2: tcp", "h2 -> h1: tcp"]);
    });
    firewall(cluster, "h2", "forward", "iifname \"remudavx0\"", || {
        let all = told(&report(cluster, &[], 1));
        assert_eq!(all, ["h1 -> h2: containers", "h3 -> h2: containers"]);
    });
    wait_until("all to be well", || cluster.remuda(&["net", "check"]).code == 0);
    on(cluster, "h1", "ip rule add pref 100 to 10.42.0.0/16 lookup 77");
    on(cluster, "h1", "ip route add default dev eth0 table 77");
    let ran = check(cluster, &["h1", "h2"]).with_code(1);
    ran.says(&["h1 -> h2: containers", "out by eth0", "ip rule"]);
    on(cluster, "h1", "ip rule del pref 100");
    on(cluster, "h1", "ip route del default dev eth0 table 77");
}

/// Before anybody has noticed, and after: the others are checked all the same.
fn a_host_that_is_not_there(cluster: &mut Cluster) {
    cluster.bed.cut("h3").unwrap();
    let found = report(cluster, &[], 1);
    let hosts = found["hosts"].as_array().unwrap();
    assert_eq!(hosts.iter().filter(|row| row["checked"] == true).count(), 2, "{hosts:?}");
    assert_eq!(found["pairs"], 1);
    cluster.wait_all_seen(&["active", "active", "lost"]);
    let ran = check(cluster, &[]).with_code(1);
    ran.says(&["h3: not checked: it is lost", "1 of 3 pairs", "1 host not checked"]);
    check(cluster, &["h3"]).with_code(1).says(&["h3: not checked"]);
    check(cluster, &["h1", "h2"]).with_code(0);
    cluster.bed.heal("h3").unwrap();
    cluster.wait_all_seen(&["active", "active", "active"]);
}

#[test]
#[ignore = "needs docker and root"]
fn what_rots_on_a_host_is_repaired_by_the_check_and_told() {
    on_a_cluster(3, |cluster| {
        up(cluster);
        for (harm, repair) in [
            ("bridge fdb del 02:52:0a:63:00:02 dst 10.99.0.2 dev remudavx0", "host 10.99.0.2 set"),
            ("ip neighbour del 10.99.0.3 dev remudavx0", "host 10.99.0.3 set"),
            ("ip route flush proto 82", "route to 10.42."),
            ("ip rule del pref 5270", "routing rule"),
            ("sysctl -qw net.ipv4.conf.remuda0.proxy_arp=0", "kernel setting"),
            ("nft delete table inet remuda", "inet remuda put in place"),
            ("iptables -F DOCKER-USER", "DOCKER-USER"),
            ("sysctl -qw net.ipv4.ip_forward=0", "forwarding switched on"),
            ("ip link set remudavx0 down", "overlay device"),
            ("ip link del remudavx0", "overlay device made"),
        ] {
            // Once in ten seconds the agent is faster than we are.
            wait_for(&format!("a check to repair {harm}"), || {
                on(cluster, "h1", harm);
                let found = report(cluster, &[], 0);
                assert_eq!(told(&found), [""; 0], "{harm}");
                repaired(&found, "h1").contains(repair).then_some(())
            });
        }
        on(cluster, "h2", "ip link del remudavx0");
        let ran = check(cluster, &["h1", "h2"]).with_code(0);
        ran.says(&["1 pair checked both ways, no direction is broken"]);
        // What nobody can put right is told.
        wait_for("a name that somebody else has taken", || {
            on(cluster, "h2", "ip link del remudavx0");
            on(cluster, "h2", "ip link add remudavx0 type bridge");
            let ran = check(cluster, &[]).with_code(1);
            on(cluster, "h2", "ip link del remudavx0");
            ran.says(&["h2: not checked"]);
            Some(())
        });
    });
}
