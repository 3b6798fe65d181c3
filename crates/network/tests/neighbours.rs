//! We live beside others: an nginx on 0.0.0.0:80, a dnsmasq on 0.0.0.0:53, firewalls and NAT rules
//! of somebody else. Nothing of theirs changes, and 169.254.169.250 works all the same. Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test program: what fails here fails the test"
)]

#[path = "bed/netns.rs"]
mod netns;
#[path = "bed/services.rs"]
mod services;

use netns::{Container, Process, as_root_in_own_netns, attempt, run, wait_until, whole_state};
use network::{Fabric, FabricWish, LINK_LOCAL, Linux};
use services::{WHO, Zone, serve_dns, serve_http};
use std::net::SocketAddr;
use std::path::Path;

const LOCAL: &str = "169.254.169.250";
/// The host's bridge, its address, and the two containers of most tests.
const BRIDGE: &str = "remuda0";
const HOST: &str = "10.42.0.1";

fn wish() -> FabricWish {
    FabricWish::new("e1", BRIDGE, "10.42.0.0/16".parse().unwrap())
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn ensure(fabric: &Linux) {
    wait(fabric.ensure(&wish())).unwrap();
}

fn container(n: u8) -> Container {
    Container::on_bridge(n, BRIDGE, &format!("10.42.3.{n}/16"), HOST)
}

/// The dataplane's stand-in.
fn serve() {
    let at = |port| SocketAddr::from((LINK_LOCAL, port));
    serve_dns(at(network::DNS_PORT), Zone::new());
    serve_http(at(network::METADATA_PORT), "ours");
}

const CURL: [&str; 4] = ["-sS", "--max-time", "5", "--noproxy"];

fn curl(container: Option<&Container>, url: &str) -> (bool, String, String) {
    let arguments = [&CURL[..], &["*", url]].concat();
    match container {
        Some(container) => container.attempt("curl", &arguments),
        None => attempt("curl", &arguments),
    }
}

fn dig(container: Option<&Container>, server: &str, name: &str, tcp: bool) -> String {
    let at = format!("@{server}");
    let transport = if tcp { "+tcp" } else { "+notcp" };
    let arguments = [at.as_str(), name, "+short", "+time=2", "+tries=1", transport];
    let (_, out, _) = match container {
        Some(container) => container.attempt("dig", &arguments),
        None => attempt("dig", &arguments),
    };
    out.trim().to_owned()
}

/// DNS by both transports and metadata answer, and see `expected` as the caller.
fn reaches_us(container: Option<&Container>, expected: &str) {
    assert_eq!(dig(container, LOCAL, WHO, false), expected, "dns over udp");
    assert_eq!(dig(container, LOCAL, WHO, true), expected, "dns over tcp");
    let url = format!("http://{LOCAL}/");
    assert_eq!(curl(container, &url).1, format!("ours {expected}"), "metadata");
}

#[test]
#[ignore = "needs root"]
fn as_root_containers_and_the_host_reach_dns_and_metadata_with_their_own_address() {
    as_root_in_own_netns(
        "as_root_containers_and_the_host_reach_dns_and_metadata_with_their_own_address",
        || {
            let data = tempfile::tempdir().unwrap();
            netns::make_bridge(BRIDGE, "10.42.0.1/16");
            netns::make_bridge("docker0", "172.17.0.1/16");
            let (one, two) = (container(1), container(2));
            let plain = Container::on_bridge(3, "docker0", "172.17.0.2/16", "172.17.0.1");
            ensure(&Linux::new(data.path()));
            serve();
            reaches_us(Some(&one), "10.42.3.1");
            reaches_us(Some(&two), "10.42.3.2");
            reaches_us(Some(&plain), "172.17.0.2");
            reaches_us(None, LOCAL);
        },
    );
}

#[test]
#[ignore = "needs root"]
fn as_root_a_machine_on_the_wire_never_reaches_the_link_local_address() {
    as_root_in_own_netns(
        "as_root_a_machine_on_the_wire_never_reaches_the_link_local_address",
        || {
            let data = tempfile::tempdir().unwrap();
            netns::make_bridge(BRIDGE, "10.42.0.1/16");
            let outside = Container::on_cable(1, "eth0", "192.0.2.1/24", "192.0.2.9/24");
            outside.exec("ip", &["route", "add", "169.254.169.250/32", "via", "192.0.2.1"]);
            let host = SocketAddr::from(([192, 0, 2, 1], 8080));
            serve_http(host, "plain");
            // Somebody else has the address, without our shield: anybody on the wire reaches it.
            run("ip", &["address", "add", "169.254.169.250/32", "dev", "lo"]);
            serve();
            let ask = |port: u16| {
                let url = format!("http://{LOCAL}:{port}/");
                outside.attempt("curl", &["-sS", "--max-time", "1", &url])
            };
            assert_eq!(ask(7680).1, "ours 192.0.2.9");
            ensure(&Linux::new(data.path()));
            assert_eq!(curl(Some(&outside), "http://192.0.2.1:8080/").1, "plain 192.0.2.9");
            for port in [80, 7680] {
                let (reached, _, error) = ask(port);
                assert!(!reached && error.contains("timed out"), "port {port}: {error}");
            }
            let answer = dig(Some(&outside), LOCAL, WHO, false);
            assert!(answer.parse::<std::net::Ipv4Addr>().is_err(), "dns answered {answer}");
            reaches_us(None, LOCAL);
        },
    );
}

/// Somebody else's nginx on 0.0.0.0:80.
fn their_nginx(dir: &Path) -> Process {
    let folder = dir.display();
    let text = format!(
        "daemon off; master_process off; user root; pid {folder}/nginx.pid; error_log {folder}/error.log;\n\
         events {{}}\n\
         http {{ access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;\n\
         fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n\
         server {{ listen 0.0.0.0:80; location / {{ return 200 \"theirs $remote_addr\"; }} }} }}\n"
    );
    let file = dir.join("nginx.conf");
    std::fs::write(&file, text).unwrap();
    let log = format!("{folder}/error.log");
    Process::start("nginx", &["-e", &log, "-c", file.to_str().unwrap()])
}

/// Somebody else's dnsmasq on 0.0.0.0:53.
fn their_dnsmasq() -> Process {
    let arguments = [
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--no-poll",
        "--pid-file=",
        "--user=root",
        "--address=/theirs.test/203.0.113.53",
    ];
    Process::start("dnsmasq", &arguments)
}

/// Both answer the host and a container on every address of the host but ours.
fn theirs_are_reachable(container: &Container) {
    for address in ["127.0.0.1", HOST] {
        wait_until("their dnsmasq answers", || {
            dig(None, address, "theirs.test", false) == "203.0.113.53"
        });
        assert_eq!(dig(None, address, "theirs.test", true), "203.0.113.53");
        wait_until("their nginx answers", || {
            curl(None, &format!("http://{address}/")).1 == format!("theirs {address}")
        });
    }
    assert_eq!(dig(Some(container), HOST, "theirs.test", false), "203.0.113.53");
    assert_eq!(dig(Some(container), HOST, "theirs.test", true), "203.0.113.53");
    assert_eq!(curl(Some(container), &format!("http://{HOST}/")).1, "theirs 10.42.3.1");
}

#[test]
#[ignore = "needs root"]
fn as_root_wildcard_listeners_of_others_are_untouched_when_they_were_there_first() {
    as_root_in_own_netns(
        "as_root_wildcard_listeners_of_others_are_untouched_when_they_were_there_first",
        || {
            let data = tempfile::tempdir().unwrap();
            netns::make_bridge(BRIDGE, "10.42.0.1/16");
            let one = container(1);
            let _theirs = (their_nginx(data.path()), their_dnsmasq());
            theirs_are_reachable(&one);
            let fabric = Linux::new(data.path().join("ours"));
            ensure(&fabric);
            serve();
            reaches_us(Some(&one), "10.42.3.1");
            reaches_us(None, LOCAL);
            theirs_are_reachable(&one);
            wait(fabric.remove("e1")).unwrap();
            theirs_are_reachable(&one);
        },
    );
}

#[test]
#[ignore = "needs root"]
fn as_root_wildcard_listeners_of_others_can_start_after_us() {
    as_root_in_own_netns("as_root_wildcard_listeners_of_others_can_start_after_us", || {
        let data = tempfile::tempdir().unwrap();
        netns::make_bridge(BRIDGE, "10.42.0.1/16");
        let one = container(1);
        ensure(&Linux::new(data.path().join("ours")));
        serve();
        reaches_us(Some(&one), "10.42.3.1");
        let _theirs = (their_nginx(data.path()), their_dnsmasq());
        theirs_are_reachable(&one);
        reaches_us(Some(&one), "10.42.3.1");
        reaches_us(None, LOCAL);
    });
}

/// What Docker and others have: NAT of :80 and :53 on all addresses of the host, a closed forward
/// chain with accepts for the bridge, and an nftables table of their own.
fn their_rules() {
    for rule in [
        "-t nat -N DOCKER",
        "-t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
        "-t nat -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER",
        "-t nat -A DOCKER -p tcp --dport 80 -j DNAT --to-destination 10.42.3.2:8080",
        "-t nat -A DOCKER -p udp --dport 53 -j DNAT --to-destination 10.42.3.2:5353",
        "-t nat -A POSTROUTING -s 10.42.0.0/16 ! -o remuda0 -j MASQUERADE",
        "-P FORWARD DROP",
        "-A FORWARD -o remuda0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-A FORWARD -i remuda0 ! -o remuda0 -j ACCEPT",
        "-A FORWARD -i remuda0 -o remuda0 -j ACCEPT",
    ] {
        let words: Vec<&str> = rule.split(' ').collect();
        run("iptables-nft", &words);
    }
    run("nft", &["add", "table", "inet", "other"]);
    run(
        "nft",
        &[
            "add",
            "chain",
            "inet",
            "other",
            "guard",
            "{ type filter hook input priority 0; policy accept; }",
        ],
    );
    run("nft", &["add", "rule", "inet", "other", "guard", "tcp", "dport", "9", "drop"]);
    run("nft", &["add", "set", "inet", "other", "known", "{ type ipv4_addr; }"]);
    run("nft", &["add", "element", "inet", "other", "known", "{ 192.0.2.77 }"]);
}

#[test]
#[ignore = "needs root"]
fn as_root_rules_of_others_are_neither_changed_nor_in_our_way() {
    as_root_in_own_netns("as_root_rules_of_others_are_neither_changed_nor_in_our_way", || {
        let data = tempfile::tempdir().unwrap();
        netns::make_bridge(BRIDGE, "10.42.0.1/16");
        let one = container(1);
        let outside = Container::on_cable(9, "eth0", "192.0.2.1/24", "192.0.2.9/24");
        their_rules();
        let theirs = run("nft", &["-s", "list", "ruleset"]);
        let fabric = Linux::new(data.path());
        ensure(&fabric);
        serve();
        // Their NAT takes :80 and :53 of all local addresses, ours comes first.
        reaches_us(Some(&one), "10.42.3.1");
        reaches_us(None, LOCAL);
        // A closed FORWARD chain with Docker's accepts lets containers out.
        std::fs::write(data.path().join("page"), "out").unwrap();
        let folder = data.path().to_str().unwrap();
        let _web = outside.start("busybox", &["httpd", "-f", "-p", "8080", "-h", folder]);
        wait_until("a container gets out", || {
            curl(Some(&one), "http://192.0.2.9:8080/page").1 == "out"
        });
        let with_ours = run("nft", &["-s", "list", "ruleset"]);
        let ours = run("nft", &["-s", "list", "table", "inet", "remuda"]);
        assert_eq!(with_ours.replace(&ours, ""), theirs, "their rules changed");
        wait(fabric.remove("e1")).unwrap();
        assert_eq!(run("nft", &["-s", "list", "ruleset"]), theirs);
    });
}

#[test]
#[ignore = "needs root"]
fn as_root_after_remove_the_host_is_what_it_was() {
    as_root_in_own_netns("as_root_after_remove_the_host_is_what_it_was", || {
        let data = tempfile::tempdir().unwrap();
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        netns::make_bridge(BRIDGE, "10.42.0.1/16");
        their_rules();
        let before = whole_state();
        let mut wish = wish();
        wish.bridge_addresses = ["10.42.3.7", "10.42.3.8"].map(|ip| ip.parse().unwrap()).into();
        let fabric = Linux::new(data.path());
        for _ in 0..3 {
            wait(fabric.ensure(&wish)).unwrap();
            assert_ne!(whole_state(), before);
            wait(fabric.remove("e1")).unwrap();
            assert_eq!(whole_state(), before);
        }
        assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 0, "the journal stayed");
    });
}

#[test]
#[ignore = "needs root"]
fn as_root_a_balancer_address_is_reached_from_containers() {
    as_root_in_own_netns("as_root_a_balancer_address_is_reached_from_containers", || {
        let data = tempfile::tempdir().unwrap();
        netns::make_bridge(BRIDGE, "10.42.0.1/16");
        let one = container(1);
        let mut wish = wish();
        wish.bridge_addresses = ["10.42.7.7".parse().unwrap()].into();
        wait(Linux::new(data.path()).ensure(&wish)).unwrap();
        serve_http("10.42.7.7:8080".parse().unwrap(), "balancer");
        assert_eq!(curl(Some(&one), "http://10.42.7.7:8080/").1, "balancer 10.42.3.1");
    });
}

#[test]
#[ignore = "needs root"]
fn as_root_rules_are_swapped_without_a_gap_while_containers_ask() {
    as_root_in_own_netns("as_root_rules_are_swapped_without_a_gap_while_containers_ask", || {
        let data = tempfile::tempdir().unwrap();
        netns::make_bridge(BRIDGE, "10.42.0.1/16");
        let one = container(1);
        let fabric = Linux::new(data.path());
        ensure(&fabric);
        serve();
        // A wildcard listener of somebody else would answer in a gap.
        serve_http("0.0.0.0:80".parse().unwrap(), "theirs");
        let mut asking = 0;
        std::thread::scope(|scope| {
            let swaps = scope.spawn(|| {
                for n in 2..22 {
                    // Another environment comes and goes: the table is loaded anew each time.
                    let name = format!("e{n}");
                    let mut other =
                        FabricWish::new(&name, "remuda9", "10.43.0.0/16".parse().unwrap());
                    other.environment.clone_from(&name);
                    wait(fabric.ensure(&other)).unwrap_err();
                    wait(fabric.remove(&name)).unwrap();
                }
            });
            while !swaps.is_finished() || asking == 0 {
                assert_eq!(curl(Some(&one), &format!("http://{LOCAL}/")).1, "ours 10.42.3.1");
                asking += 1;
            }
            swaps.join().unwrap();
        });
        assert!(asking > 0);
    });
}
