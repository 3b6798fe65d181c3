//! Names of Consul with labelled containers on real hosts: asked with `dig`, with server and agents
//! dead, and followed when a container ends; and a machine that asks us for names itself.

use crate::cluster::{Cluster, on_a_cluster};
use crate::machine::{Machine, on_a_machine, text, wait_until};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use testbed::{Role, SERVER};

const IMAGE: &str = "storefront/httpbackend:v1.0.0";
const STACK: &str = "
name: shop
services:
  api:
    image: storefront/httpbackend:v1.0.0
    scale: 4
    expose: ['8081']
    health_check: {port: 8081, interval: 500, request_line: GET /healthz HTTP/1.0}
    labels: {SERVICE_NAME: front, SERVICE_TAGS: 'v1,http', SERVICE_WEIGHT: '5'}
";
/// Where a host answers: for containers and itself, and at Consul's port.
const SERVERS: [[&str; 3]; 2] = [["@169.254.169.250", "-p", "53"], ["@127.0.0.1", "-p", "8600"]];

fn dig(cluster: &Cluster, host: &str, server: [&str; 3], more: &[&str]) -> String {
    let mut dig = cluster.bed.on(host, "dig").unwrap();
    dig.args(server).args(["+time=2", "+tries=1"]).args(more);
    String::from_utf8_lossy(&dig.output().unwrap().stdout).into_owned()
}

/// The lines of a short answer, sorted.
fn short(cluster: &Cluster, host: &str, more: &[&str]) -> BTreeSet<String> {
    let said = dig(cluster, host, SERVERS[1], &[&["+short"], more].concat());
    said.lines().map(str::to_owned).collect()
}

/// Addresses of the instances of a service.
fn addresses(cluster: &Cluster, service: &str) -> BTreeSet<String> {
    let rows = cluster.ps().into_iter().filter(|row| row["service"] == service);
    rows.filter_map(|row| row["address"].as_str().map(str::to_owned)).collect()
}

#[test]
#[ignore = "needs docker and root"]
fn labelled_containers_are_names_of_consul_and_stay_so_without_server_and_agents() {
    on_a_cluster(2, |cluster| {
        cluster.wait_all_seen(&["active", "active"]);
        let file = cluster.write("shop.yaml", STACK);
        cluster.ok(&["up", "-f", &file]);
        let labels = ["-l", "SERVICE_NAME=web", "-l", "SERVICE_TAGS=tcp", "-p", "18081:8081"];
        for host in ["h1", "h2"] {
            let run = ["run", "-d", "--name", "web"];
            cluster.docker(host, &[&run[..], &labels, &[IMAGE]].concat());
        }
        let both: BTreeSet<String> = ["10.99.0.1".to_owned(), "10.99.0.2".to_owned()].into();
        for host in ["h1", "h2"] {
            wait_until("the plain containers", || {
                short(cluster, host, &["web.service.consul"]) == both
            });
            wait_until("the instances", || {
                short(cluster, host, &["+tcp", "front.service.consul"]) == addresses(cluster, "api")
            });
        }
        every_form(cluster);
        prepared_queries(cluster);
        one_that_ends_is_out_without_a_server(cluster);
        for host in ["h1", "h2"] {
            cluster.bed.kill(host, Some(Role::Agent)).unwrap();
        }
        let left = short(cluster, "h1", &["+tcp", "front.service.consul"]);
        assert!(left.len() >= 3, "{left:?}");
        assert_eq!(short(cluster, "h1", &["web.service.consul"]), both, "with both dead");
        for name in ["shop.query.consul", "geo-web.query.dc1.consul"] {
            assert_eq!(short(cluster, "h2", &[name]), both, "{name} with both dead");
        }
    });
}

fn every_form(cluster: &Cluster) {
    for server in SERVERS {
        for (words, wanted) in [
            (&["web.service.consul", "A"][..], "ANSWER: 2"),
            (&["WEB.service.DC1.consul", "A"], "ANSWER: 2"),
            (&["tcp.web.service.consul", "A"], "ANSWER: 2"),
            (&["no.web.service.consul", "A"], "status: NXDOMAIN"),
            (&["web.service.dc2.consul", "A"], "status: NXDOMAIN"),
            (&["web.service.consul", "AAAA"], "status: NOERROR"),
            (&["web.service.consul", "SRV"], "1 1 18081 0a630001.addr.dc1.consul."),
            (&["_web._tcp.service.consul", "SRV"], "1 1 18081 0a630002.addr.dc1.consul."),
            (&["_front._v1.service.consul", "SRV"], "1 5 8081 "),
            (&["front.service.consul", "A", "+noedns"], "ANSWER: 3"),
            (&["front.service.consul", "A", "+tcp"], "ANSWER: 4"),
            (&["h1.node.consul", "A"], "10.99.0.1"),
            (&["0a630001.addr.dc1.consul", "A"], "10.99.0.1"),
            (&["-x", "10.99.0.2"], "h2.node.dc1.consul."),
            (&["consul", "SOA"], "ns.consul. hostmaster.consul."),
            (&["consul", "NS"], "h1.node.dc1.consul."),
            (&["api.shop.rancher.internal", "A"], "ANSWER: 4"),
        ] {
            let said = dig(cluster, "h1", server, words);
            assert!(said.contains(wanted), "{server:?} {words:?} is not {wanted}:\n{said}");
            assert!(said.contains(" aa"), "{words:?} has authority:\n{said}");
        }
    }
}

/// Queries that a client prepared are names on every host.
fn prepared_queries(cluster: &Cluster) {
    for query in [
        r#"{"Name": "shop", "Service": {"Service": "web"}, "DNS": {"TTL": "7s"}}"#,
        r#"{"Name": "geo-", "Service": {"Service": "${name.suffix}"},
            "Template": {"Type": "name_prefix_match"}}"#,
    ] {
        let mut curl = cluster.bed.on("h1", "curl").unwrap();
        let at = "http://127.0.0.1:8500/v1/query";
        text(curl.args(["-sS", "-f", "-X", "POST", "-d", query, at]));
    }
    for host in ["h1", "h2"] {
        wait_until("the queries to be known", || {
            !short(cluster, host, &["shop.query.consul"]).is_empty()
                && !short(cluster, host, &["geo-web.query.consul"]).is_empty()
        });
    }
    for server in SERVERS {
        for (words, wanted) in [
            (&["shop.query.consul", "A"][..], "shop.query.consul. 7 IN A 10.99.0.1"),
            (&["shop.query.dc1.consul", "SRV"], "1 1 18081 0a630002.addr.dc1.consul."),
            (&["shop.query.dc2.consul", "A"], "status: NXDOMAIN"),
            (&["geo-web.query.consul", "A"], "geo-web.query.consul. 0 IN A 10.99.0.2"),
            (&["geo-nobody.query.consul", "A"], "status: NXDOMAIN"),
        ] {
            let said = dig(cluster, "h1", server, words);
            let said = said.split('\t').filter(|part| !part.is_empty()).collect::<Vec<_>>();
            let said = said.join(" ");
            assert!(said.contains(wanted), "{server:?} {words:?} is not {wanted}:\n{said}");
        }
    }
}

/// The server is away: the host itself takes its container out of the answers.
fn one_that_ends_is_out_without_a_server(cluster: &mut Cluster) {
    cluster.bed.cut(SERVER).unwrap();
    let here = cluster.containers("h1");
    let mut names = here.keys().map(|name| name.trim_start_matches('/'));
    let name = names.find(|name| name.starts_with("shop-api-")).unwrap().to_owned();
    let before = short(cluster, "h1", &["+tcp", "front.service.consul"]);
    assert_eq!(before.len(), 4);
    // Frozen, not killed: its agent does not start it again.
    cluster.docker("h1", &["pause", &name]);
    wait_until("its probes to fail", || {
        short(cluster, "h1", &["+tcp", "front.service.consul"]).len() == 3
    });
    cluster.docker("h1", &["unpause", &name]);
    wait_until("it to be back", || {
        short(cluster, "h1", &["+tcp", "front.service.consul"]).len() == 4
    });
}

/// What a program of the machine is told by its C library.
fn getent(machine: &Machine, name: &str) -> String {
    let said = machine.run("getent", &["ahostsv4", name]).out;
    said.split_whitespace().next().unwrap_or_default().to_owned()
}

#[test]
#[ignore = "needs docker and root"]
fn a_machine_and_dockers_default_bridge_ask_us_and_get_back_what_they_had() {
    on_a_machine(|machine| {
        let resolv = "/etc/resolv.conf";
        let theirs = "search lan.test\nnameserver 192.0.2.53\n";
        std::fs::write(resolv, theirs).unwrap();
        let none = machine.remuda(&["dns", "install"]).with_code(1);
        none.says(&["nothing answers at 169.254.169.250"]);
        assert_eq!(std::fs::read_to_string(resolv).unwrap(), theirs, "nothing was changed");
        let _dev = machine.dev();
        let file = machine.write("shop.yaml", STACK);
        machine.ok(&["up", "-f", file.to_str().unwrap()]);
        let dockerd = machine.dockerd().id();
        machine.ok(&["dns", "install"]).says(&["changed /etc/resolv.conf"]);
        machine.ok(&["dns", "install"]).says(&["it is so already"]);
        machine.ok(&["dns", "status"]).says(&["/etc/resolv.conf"]);
        let began = Instant::now();
        assert!(getent(machine, "api.shop.rancher.internal").starts_with("10.42."));
        assert!(getent(machine, "front.service.consul").starts_with("10.42."));
        assert!(began.elapsed() < Duration::from_secs(2), "nobody else is waited for");
        machine.docker(&["run", "-d", "--name", "bridged", IMAGE]);
        let inspect = ["inspect", "-f", "{{.State.Pid}}", "bridged"];
        let pid = machine.docker(&inspect).trim().to_owned();
        let inside = std::fs::read_to_string(format!("/proc/{pid}/root{resolv}")).unwrap();
        assert!(inside.contains("nameserver 169.254.169.250"), "{inside}");
        let into =
            ["-t", &pid, "-n", "dig", "+short", "@169.254.169.250", "api.shop.rancher.internal"];
        let found = machine.run("nsenter", &into).out;
        assert_eq!(found.lines().count(), 4, "it reaches us: {found}");
        assert_eq!(machine.dockerd().id(), dockerd, "dockerd was not started again");
        machine.ok(&["dns", "undo"]).says(&["changed /etc/resolv.conf"]);
        machine.ok(&["dns", "undo"]);
        assert_eq!(std::fs::read_to_string(resolv).unwrap(), theirs);
    });
}
