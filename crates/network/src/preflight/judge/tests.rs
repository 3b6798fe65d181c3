//! A table: one thing wrong with the host at a time, and which check says so with which words.

use super::*;
use crate::plan::Address;
use crate::preflight::Network;
use crate::preflight::firewall::Strict;
use crate::sockets::{Holder, Program};
use model::service::Transport;

fn options() -> PreflightOptions {
    PreflightOptions::new("10.42.0.0/16".parse().unwrap())
}

fn address(device: &str, ip: &str, prefix: u8, ours: bool) -> Address {
    Address { device: device.into(), ip: ip.parse().unwrap(), prefix, ours }
}

fn healthy() -> Evidence {
    Evidence {
        capabilities: Some(NET_ADMIN),
        nft: Ok(()),
        forwarding: Ok(true),
        network: Ok(Network {
            addresses: vec![
                address("eth0", "192.0.2.7", 24, false),
                address("lo", "169.254.169.250", 32, true),
                address("remuda0", "10.42.0.1", 16, false),
            ],
            routes: vec![
                ("0.0.0.0/0".parse().unwrap(), "eth0".into()),
                ("169.254.169.254/32".parse().unwrap(), "eth0".into()),
            ],
            bridge_exists: true,
        }),
        holders: Ok(vec![]),
        strict: vec![],
        tun: Ok(()),
    }
}

fn network(evidence: &mut Evidence) -> &mut Network {
    evidence.network.as_mut().unwrap()
}

fn holder(port: u16, name: &str) -> Holder {
    let ip = "127.0.0.1".parse().unwrap();
    Holder {
        wanted: (Transport::Tcp, port, Some(ip)),
        ip,
        program: Some(Program { pid: 812, name: name.into() }),
    }
}

fn strict(hook: &str) -> Strict {
    Strict { table: "ip filter".into(), chain: hook.to_uppercase(), hook: hook.into() }
}

#[test]
fn a_healthy_host_has_every_check_and_no_problem() {
    let findings = judge(&options(), &healthy());
    let checks: Vec<_> = findings.iter().map(|f| f.check).collect();
    assert_eq!(
        checks,
        ["privileges", "nft", "ip_forward", "link_local", "subnet", "ports", "firewall", "tun"]
    );
    for f in findings {
        assert!(f.ok && f.problem.is_empty() && f.fix.is_empty(), "{f:?}");
    }
}

#[test]
fn a_host_that_cannot_encrypt_is_told_so_and_is_well_all_the_same() {
    let tun = Err(std::io::ErrorKind::NotFound.into());
    let findings = judge(&options(), &Evidence { tun, ..healthy() });
    let found = findings.iter().find(|f| f.check == "tun").unwrap();
    assert!(found.ok && found.problem.contains("/dev/net/tun cannot be used"), "{found:?}");
    assert!(findings.iter().all(|f| f.ok));
}

#[test]
fn each_fault_is_found_alone_and_says_what_to_do() {
    type Spoil = fn(&mut Evidence);
    let cases: Vec<(&str, Spoil, &str, &str)> = vec![
        ("privileges", |e| e.capabilities = Some(0), "no CAP_NET_ADMIN", "as root"),
        ("privileges", |e| e.capabilities = None, "no CAP_NET_ADMIN", "as root"),
        ("nft", |e| e.nft = Err(Error::NftMissing), "not installed", "apt install nftables"),
        (
            "nft",
            |e| e.nft = Err(Error::NftRefused { stderr: "Could not process rule".into() }),
            "Could not process rule",
            "kernel from 5.2",
        ),
        (
            "nft",
            |e| e.nft = Err(Error::NftRefused { stderr: "Operation not permitted".into() }),
            "does not let",
            "as root",
        ),
        ("ip_forward", |e| e.forwarding = Ok(false), "forwarding is off", "sysctl -w"),
        (
            "link_local",
            |e| network(e).addresses = vec![address("eth0", "169.254.169.250", 32, false)],
            "set on eth0",
            "ip address del 169.254.169.250/32 dev eth0",
        ),
        (
            "subnet",
            |e| network(e).addresses = vec![address("eth1", "10.42.7.9", 24, false)],
            "interface eth1 has 10.42.7.9/24",
            "--subnet",
        ),
        (
            "subnet",
            |e| network(e).routes = vec![("10.0.0.0/8".parse().unwrap(), "tun0".into())],
            "route to 10.0.0.0/8 goes through tun0",
            "--subnet",
        ),
        (
            "ports",
            |e| e.holders = Ok(vec![holder(8600, "consul"), holder(7600, "remuda")]),
            "port 8600/tcp (DNS for the host) is taken by consul (pid 812)",
            "stop the program",
        ),
        ("firewall", |e| e.strict = vec![strict("input")], "chain INPUT", "ufw allow in"),
        (
            "firewall",
            |e| e.strict = vec![strict("forward")],
            "chain FORWARD",
            "iptables -I FORWARD",
        ),
        (
            "ip_forward",
            |e| {
                let source = std::io::ErrorKind::NotFound.into();
                e.forwarding = Err(Error::Setting { path: "/proc/x".into(), source });
            },
            "/proc/x",
            "as root",
        ),
    ];
    for (check, spoil, problem, fix) in cases {
        let mut evidence = healthy();
        spoil(&mut evidence);
        let found: Vec<_> = judge(&options(), &evidence).into_iter().filter(|f| !f.ok).collect();
        assert_eq!(found.len(), 1, "{check}: {found:?}");
        let f = &found[0];
        assert_eq!(f.check, check);
        assert!(f.problem.contains(problem), "{check}: {}", f.problem);
        assert!(f.fix.contains(fix), "{check}: {}", f.fix);
    }
}

#[test]
fn before_docker_has_made_the_bridge_a_dropping_forward_chain_is_no_problem() {
    let mut evidence = healthy();
    evidence.strict = vec![strict("forward")];
    network(&mut evidence).bridge_exists = false;
    assert!(judge(&options(), &evidence).iter().all(|f| f.ok));
}

#[test]
fn the_capability_mask_is_read_from_the_status_file() {
    let status = "Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t0000000000001000\n";
    assert_eq!(effective_capabilities(status), Some(NET_ADMIN));
    assert_eq!(effective_capabilities("CapEff:\tzz\n"), None);
    assert_eq!(effective_capabilities(""), None);
}
