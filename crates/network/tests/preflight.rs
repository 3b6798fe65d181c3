//! `remuda doctor`'s network checks on a real kernel: each fault made for real is found, and
//! looking leaves no trace. Needs root for its namespaces.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test program: what fails here fails the test"
)]

#[path = "bed/netns.rs"]
mod netns;

use netns::{Container, as_root_in_own_netns, run, whole_state};
use network::{Fabric, FabricWish, Finding, Linux, PreflightOptions, preflight};
use std::process::Command;

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn options() -> PreflightOptions {
    PreflightOptions::new("10.42.0.0/16".parse().unwrap())
}

/// What is wrong, by check.
fn problems() -> Vec<Finding> {
    wait(preflight(&options())).into_iter().filter(|f| !f.ok).collect()
}

fn only(check: &str, part: &str) {
    let found = problems();
    assert_eq!(found.len(), 1, "{check}: {found:?}");
    assert_eq!(found[0].check, check);
    assert!(found[0].problem.contains(part), "{}", found[0].problem);
    assert!(!found[0].fix.is_empty());
}

#[test]
#[ignore = "needs root"]
fn as_root_each_fault_of_a_host_is_found_and_looking_leaves_no_trace() {
    as_root_in_own_netns(
        "as_root_each_fault_of_a_host_is_found_and_looking_leaves_no_trace",
        || {
            let forwarding = "/proc/sys/net/ipv4/ip_forward";
            std::fs::write(forwarding, "1").unwrap();
            let before = whole_state();
            assert_eq!(problems(), []);
            assert_eq!(whole_state(), before, "the checks changed something");

            std::fs::write(forwarding, "0").unwrap();
            only("ip_forward", "forwarding is off");
            std::fs::write(forwarding, "1").unwrap();

            run("ip", &["address", "add", "169.254.169.250/32", "dev", "lo"]);
            only("link_local", "set on lo");
            run("ip", &["address", "del", "169.254.169.250/32", "dev", "lo"]);

            let other = Container::on_cable(1, "eth0", "10.42.200.1/24", "10.42.200.2/24");
            only("subnet", "eth0 has 10.42.200.1/24");
            run("ip", &["address", "del", "10.42.200.1/24", "dev", "eth0"]);
            run("ip", &["route", "add", "10.0.0.0/8", "dev", "eth0"]);
            only("subnet", "10.0.0.0/8 goes through eth0");
            run("ip", &["route", "del", "10.0.0.0/8", "dev", "eth0"]);
            drop(other);

            let taken = std::net::TcpListener::bind("0.0.0.0:8600").unwrap();
            only("ports", "8600/tcp (DNS for the host) is taken by preflight");
            drop(taken);

            run("iptables-nft", &["-P", "INPUT", "DROP"]);
            only("firewall", "chain INPUT of table ip filter");
            run("iptables-nft", &["-A", "INPUT", "-i", "remuda0", "-j", "ACCEPT"]);
            assert_eq!(problems(), []);
        },
    );
}

#[test]
#[ignore = "needs root"]
fn as_root_what_is_ours_already_is_no_problem() {
    as_root_in_own_netns("as_root_what_is_ours_already_is_no_problem", || {
        let data = tempfile::tempdir().unwrap();
        netns::make_bridge("remuda0", "10.42.0.1/16");
        let mut wish = FabricWish::new("e1", "remuda0", options().subnet);
        wish.bridge_addresses = ["10.42.3.7".parse().unwrap()].into();
        wait(Linux::new(data.path()).ensure(&wish)).unwrap();
        assert_eq!(problems(), []);
    });
}

#[test]
#[ignore = "needs root"]
fn as_root_without_the_capability_doctor_says_so_and_does_not_fail() {
    const TEST: &str = "as_root_without_the_capability_doctor_says_so_and_does_not_fail";
    const DROPPED: &str = "REMUDA_TEST_DROPPED_NET_ADMIN";
    if std::env::var_os(DROPPED).is_some() {
        let found = problems();
        let checks: Vec<_> = found.iter().map(|f| f.check).collect();
        assert!(checks.starts_with(&["privileges", "nft"]), "{found:?}");
        assert!(
            found.iter().all(|f| f.fix.contains("root") || f.check == "ip_forward"),
            "{found:?}"
        );
        return;
    }
    as_root_in_own_netns(TEST, || {
        let output = Command::new("setpriv")
            .args(["--bounding-set", "-net_admin"])
            .arg(std::env::current_exe().unwrap())
            .args([TEST, "--exact", "--nocapture", "--include-ignored"])
            .env(DROPPED, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stdout));
    });
}
