//! Three hosts under load: what ends without a word takes with it what it had in hand, and nothing
//! else.

use crate::cluster::{Cluster, on_a_cluster};
use crate::load::{Ask, Connections, Load, Outcome};
use crate::machine::{wait_for, wait_until};
use std::time::{Duration, Instant};
use testbed::{Role, SERVER};

const STACK: &str = "
name: shop
services:
  web:
    image: storefront/httpbackend:v1.0.0
    scale: 6
    expose: ['8081']
    health_check: {port: 8081, interval: 500, request_line: GET /healthz HTTP/1.0}
  lb:
    image: rancher/lb-service-haproxy:v0.9.14
    ports: ['8080:8080/tcp']
    labels: {io.rancher.scheduler.global: 'true'}
    lb_config:
      port_rules: [{source_port: 8080, protocol: http, service: web, target_port: 8081}]
";
/// Connections to each of the two balancers.
const BUSY: u64 = 32;
/// A dataplane that was killed serves again after this.
const SOON: Duration = Duration::from_secs(1);

fn up(cluster: &Cluster) {
    cluster.wait_all_seen(&["active", "active", "active"]);
    let file = cluster.write("shop.yaml", STACK);
    cluster.ok(&["up", "-f", &file]);
    wait_until("two instances on each host", || {
        cluster.ready("web").values().copied().collect::<Vec<_>>() == [2, 2, 2]
    });
}

/// Busy connections through the balancer of a host.
fn through(host: &str) -> Load {
    let to = format!("{host}:8080").parse().unwrap();
    let ask = Ask { to, path: "/".into(), connections: Connections::Kept, host: "shop".into() };
    Load::start(BUSY, &ask)
}

fn told(what: &str, outcome: &Outcome) {
    let Outcome { answered, failed, failing_for, failures } = outcome;
    eprintln!("measured: {what}: {failed} of {answered} failed, for {failing_for:?}");
    failures.iter().for_each(|failure| eprintln!("  {failure}"));
}

#[test]
#[ignore = "needs docker and root"]
fn who_dies_fails_only_what_it_had_in_hand() {
    on_a_cluster(3, |cluster| {
        up(cluster);
        let (one, two) = (through("10.99.0.1"), through("10.99.0.2"));
        cluster.bed.kill(SERVER, Some(Role::Server)).unwrap();
        one.more(2_000);
        cluster.bed.boot(SERVER, Some(Role::Server)).unwrap();
        cluster.wait_all_seen(&["active", "active", "active"]);
        cluster.bed.kill("h1", Some(Role::Agent)).unwrap();
        one.more(2_000);
        cluster.bed.boot("h1", Some(Role::Agent)).unwrap();
        cluster.wait_all_seen(&["active", "active", "active"]);
        one.nothing_failed();
        a_dataplane_is_killed(cluster);
        two.nothing_failed();
        a_host_loses_its_power(cluster);
    });
}

/// The connections of its host break, and it serves again within a second.
fn a_dataplane_is_killed(cluster: &mut Cluster) {
    let one = through("10.99.0.1");
    let old = cluster.bed.find("h1", Role::Dataplane).unwrap();
    cluster.bed.kill("h1", Some(Role::Dataplane)).unwrap();
    wait_until("its connections to break", || one.failed() > 0);
    one.more(1_000);
    let outcome = one.stop();
    told("dataplane killed", &outcome);
    assert!(outcome.failing_for < SOON, "{outcome:?}");
    let new = wait_for("a new dataplane", || cluster.bed.find("h1", Role::Dataplane));
    assert_ne!(old, new);
}

/// What it answered at that moment is lost; nothing that is asked later is.
fn a_host_loses_its_power(cluster: &mut Cluster) {
    let loads = [through("10.99.0.1"), through("10.99.0.2")];
    let lost = Instant::now();
    cluster.bed.kill("h3", None).unwrap();
    cluster.wait_all_seen(&["active", "active", "lost"]);
    let known = lost.elapsed();
    wait_until("six ready instances elsewhere", || {
        cluster.ready("web").iter().filter(|(host, _)| *host != "h3").map(|(_, n)| n).sum::<usize>()
            == 6
    });
    eprintln!("measured: host without power: lost after {known:?}, replaced {:?}", lost.elapsed());
    for load in loads {
        load.more(1_000);
        let outcome = load.stop();
        told("host without power", &outcome);
        // Two of six instances were there: a third of what was under way, and each but once.
        assert!(outcome.failed <= BUSY / 2, "{outcome:?}");
        assert!(outcome.failing_for < Duration::from_secs(3), "{outcome:?}");
    }
    cluster.bed.boot("h3", None).unwrap();
    cluster.wait_all_seen(&["active", "active", "active"]);
    wait_until("no more than six containers", || {
        let all = ["h1", "h2", "h3"].iter().map(|host| cluster.containers(host).len());
        all.sum::<usize>() == 6
    });
}
