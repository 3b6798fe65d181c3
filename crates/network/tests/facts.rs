//! Facts of a host with and without a default route. Needs root for its namespaces.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test program: what fails here fails the test"
)]

#[path = "bed/netns.rs"]
mod netns;

use netns::{Container, as_root_in_own_netns, run};
use network::{Fabric, Linux};

fn address() -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let facts = runtime.block_on(Linux::new("/nonexistent").facts()).unwrap();
    facts.address.map(|ip| ip.to_string())
}

#[test]
#[ignore = "needs root"]
fn as_root_the_hosts_address_is_the_one_that_others_see() {
    as_root_in_own_netns("as_root_the_hosts_address_is_the_one_that_others_see", || {
        assert_eq!(address(), None, "a host with loopback alone");
        netns::make_bridge("docker0", "172.17.0.1/16");
        netns::make_bridge("remuda0", "10.42.0.1/16");
        run("ip", &["address", "add", "169.254.169.250/32", "dev", "lo"]);
        assert_eq!(address(), None, "bridges are the host's own");
        let _lan = Container::on_cable(1, "eth0", "192.0.2.1/24", "192.0.2.9/24");
        let _wan = Container::on_cable(2, "eth1", "203.0.113.1/24", "203.0.113.9/24");
        assert_eq!(address().as_deref(), Some("192.0.2.1"), "without a default route the first");
        run("ip", &["route", "add", "default", "via", "203.0.113.9"]);
        assert_eq!(address().as_deref(), Some("203.0.113.1"));
    });
}
