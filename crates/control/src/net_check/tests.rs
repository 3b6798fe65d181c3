//! Faults as the two ends of a pair see them, and what is said of each direction.

use super::*;
use model::limits::{NET_CHECK_SMALL_BYTES as SMALL, NET_CHECK_SMALL_PACKETS};
use model::net_check::{NetVerdict, PeerSeen};

const FULL: u16 = 1450;
const MIDDLE: u16 = 1372;

/// Hosts h1, h2 … between which all is well.
fn well(count: u16) -> Vec<Checked> {
    let sent = || [(SMALL, NET_CHECK_SMALL_PACKETS), (MIDDLE, 3), (FULL, 10)].into();
    let peer = |to: u16| PeerSeen {
        sent: sent(),
        answered: sent(),
        arrived: sent(),
        outer_sent: 4,
        outer_answered: 4,
        outer_arrived: 4,
        rtt_us: Some(300),
        connected: true,
        containers: vec![container(to)],
        ..PeerSeen::default()
    };
    (0..count)
        .map(|number| {
            let others = (0..count).filter(|other| *other != number);
            let seen = NetSeen {
                peers: others.map(|other| (other, peer(other))).collect(),
                own: vec![container(number)],
            };
            let ready = NetReady {
                address: format!("10.99.0.{}", number + 1).parse().ok(),
                mtu: FULL,
                overhead: 50,
                tcp_port: 4000,
                ..NetReady::default()
            };
            let host = format!("h{}", number + 1).parse().unwrap();
            Checked { host, ready, seen: Ok(seen) }
        })
        .collect()
}

fn container(number: u16) -> std::net::Ipv4Addr {
    format!("10.42.{number}.10").parse().unwrap()
}

type Hosts = Vec<Checked>;

fn seen(hosts: &mut Hosts, of: u16, on: u16) -> &mut PeerSeen {
    let seen = hosts[usize::from(on)].seen.as_mut().unwrap();
    seen.peers.get_mut(&of).unwrap()
}

/// Nothing of the one comes to the other.
fn cut(hosts: &mut Hosts, from: u16, to: u16) {
    let there = seen(hosts, from, to);
    there.arrived.clear();
    there.outer_arrived = 0;
    broken_answers(hosts, from, to);
}

/// Without one direction nobody hears answers.
fn broken_answers(hosts: &mut Hosts, one: u16, other: u16) {
    for (of, on) in [(one, other), (other, one)] {
        let end = seen(hosts, of, on);
        end.answered.clear();
        end.outer_answered = 0;
        end.connected = false;
        end.tcp = "no connection within 1.5s".into();
        end.containers.clear();
    }
}

fn report(hosts: &Hosts) -> NetReport {
    let all = pairs(hosts.len(), &[], false, 0);
    judge(hosts, vec![], &all, all.len())
}

/// The directions that are not well: "h1 -> h2: mtu".
fn told(report: &NetReport) -> Vec<String> {
    let bad = report.ways.iter().filter(|way| way.verdict != NetVerdict::Ok);
    bad.map(|way| format!("{} -> {}: {}", way.from, way.to, way.verdict.word())).collect()
}

#[test]
fn where_all_is_well_nothing_is_said() {
    let report = report(&well(3));
    assert!(!report.broken);
    assert_eq!((report.pairs, report.pairs_all, report.ways.len()), (3, 3, 6));
    assert_eq!(told(&report), [""; 0]);
    assert!(report.ways.iter().all(|way| way.why.is_empty() && way.rtt_us == Some(300)));
}

/// A name, what is done to three hosts that are well, the directions that are not well then, and
/// parts of what is said.
type Case = (&'static str, fn(&mut Hosts), &'static [&'static str], &'static [&'static str]);

fn check(cases: &[Case]) {
    for (name, harm, expected, says) in cases {
        let mut hosts = well(3);
        harm(&mut hosts);
        let report = report(&hosts);
        assert_eq!(told(&report), *expected, "{name}");
        assert_eq!(report.broken, !expected.is_empty(), "{name}");
        let ways = report.ways.iter().map(|way| format!("{} {}\n", way.why, way.todo));
        let text: String = ways.collect();
        for part in *says {
            assert!(text.contains(part), "{name}: {part:?} is not in {text}");
        }
        let bad = report.ways.iter().filter(|way| way.verdict != NetVerdict::Ok);
        for way in bad {
            assert!(!way.why.is_empty() && !way.todo.is_empty(), "{name}: {way:?}");
        }
    }
}

/// The same hosts, between which everything is encrypted.
fn encrypted(hosts: &mut Hosts) {
    hosts.iter_mut().for_each(|host| host.ready.overhead = 60);
}

#[test]
fn where_everything_is_encrypted_the_check_speaks_of_wireguard() {
    check(&[
        ("all is well", encrypted, &[], &[]),
        (
            "a firewall",
            |h| {
                encrypted(h);
                seen(h, 0, 1).arrived.clear();
                broken_answers(h, 0, 1);
                seen(h, 0, 1).outer_answered = 4;
            },
            &["h1 -> h2: no overlay"],
            &["WireGuard, UDP port 51820", "accept UDP port 51820 from 10.99.0.1 on h2"],
        ),
        (
            "one way for so long that keys are too old",
            |h| {
                encrypted(h);
                cut(h, 0, 1);
                seen(h, 1, 0).arrived.clear();
            },
            &["h1 -> h2: lost", "h2 -> h1: waits"],
            &["no packet of h1", "cannot agree on keys", "mend h1 -> h2"],
        ),
        (
            "no TCP",
            |h| {
                encrypted(h);
                let sender = seen(h, 1, 0);
                sender.connected = false;
                sender.tcp = "Connection refused".into();
            },
            &["h1 -> h2: no tcp"],
            &["remudawg0 on h2"],
        ),
    ]);
}

#[test]
fn the_direction_in_which_nothing_arrives_is_named_and_only_it() {
    check(&[
        (
            "one way",
            |h| cut(h, 0, 1),
            &["h1 -> h2: lost"],
            &["no packet of h1 arrives at h2", "10.99.0.1 and 10.99.0.2"],
        ),
        (
            "both ways",
            |h| {
                cut(h, 0, 1);
                cut(h, 1, 0);
            },
            &["h1 -> h2: lost", "h2 -> h1: lost"],
            &["no packet"],
        ),
        (
            "one way for so long that the MAC address is forgotten",
            |h| {
                cut(h, 0, 1);
                cut(h, 1, 0);
                seen(h, 1, 0).arp_arrived = 3;
            },
            &["h1 -> h2: lost", "h2 -> h1: waits"],
            &["no packet of h1", "h2 asks for the MAC address of h1"],
        ),
        (
            "a firewall for IP both ways, where MAC addresses are told",
            |h| {
                cut(h, 0, 1);
                cut(h, 1, 0);
                seen(h, 1, 0).arp_arrived = 3;
                seen(h, 0, 1).arp_arrived = 3;
            },
            &["h1 -> h2: lost", "h2 -> h1: lost"],
            &["no packet"],
        ),
        (
            "a firewall for VXLAN",
            |h| {
                seen(h, 2, 0).arrived.clear();
                broken_answers(h, 0, 2);
            },
            &["h3 -> h1: no overlay"],
            &["UDP port 4789", "on h1", "ip saddr 10.99.0.3 accept"],
        ),
        (
            "no permission to send",
            |h| {
                cut(h, 0, 1);
                let sender = seen(h, 1, 0);
                sender.sent.clear();
                sender.error = "Operation not permitted".into();
            },
            &["h1 -> h2: lost"],
            &["h1 cannot send to h2: Operation not permitted"],
        ),
    ]);
}

#[test]
fn what_arrives_only_in_part_is_named_with_the_reason() {
    check(&[
        (
            "large packets one way",
            |h| _ = seen(h, 0, 1).arrived.remove(&FULL),
            &["h1 -> h2: mtu"],
            &["packets of 1450 bytes are lost, those of 1372 pass", "devices to 1422"],
        ),
        (
            "hosts with different MTUs",
            |h| {
                h[0].ready.mtu = 8950;
                let sender = seen(h, 1, 0);
                sender.sent.insert(8950, 10);
            },
            &["h1 -> h2: mtu"],
            &["h1 has an MTU of 9000 and h2 one of 1500", "on h1 at most 1500"],
        ),
        (
            "some are lost",
            |h| _ = seen(h, 0, 1).arrived.insert(SMALL, 14),
            &["h1 -> h2: lossy"],
            &["6 of 30 packets of h1 do not arrive"],
        ),
        ("one is lost", |h| _ = seen(h, 0, 1).arrived.insert(SMALL, 19), &[], &[]),
        (
            "no TCP",
            |h| {
                let sender = seen(h, 1, 0);
                sender.connected = false;
                sender.tcp = "Connection refused".into();
            },
            &["h1 -> h2: no tcp"],
            &["cannot connect to h2 through the overlay: Connection refused", "remudavx0 on h2"],
        ),
        (
            "nothing is forwarded",
            |h| seen(h, 1, 0).containers.clear(),
            &["h1 -> h2: containers"],
            &["not its containers (10.42.1.10)", "between remudavx0 and remuda0"],
        ),
        (
            "somebody else's route",
            |h| {
                let sender = seen(h, 1, 0);
                sender.containers.clear();
                sender.wrong_way = "tun0".into();
            },
            &["h1 -> h2: containers"],
            &["out by tun0", "ip route get 10.42.1.10"],
        ),
    ]);
}

#[test]
fn a_container_that_is_silent_at_home_too_says_nothing_of_the_way() {
    let mut hosts = well(2);
    seen(&mut hosts, 1, 0).containers.clear();
    hosts[1].seen.as_mut().unwrap().own.clear();
    assert_eq!(told(&report(&hosts)), [""; 0]);
}

#[test]
fn a_connection_tells_that_only_icmp_is_dropped() {
    let mut hosts = well(2);
    for (of, on) in [(0, 1), (1, 0)] {
        let end = seen(&mut hosts, of, on);
        end.arrived.clear();
        end.answered.clear();
    }
    assert_eq!(told(&report(&hosts)), [""; 0]);
    seen(&mut hosts, 1, 0).connected = false;
    assert_eq!(told(&report(&hosts)), [""; 0], "the other one's tells it as well");
}

#[test]
fn who_was_not_checked_is_named_and_that_is_not_well() {
    let mut hosts = well(3);
    hosts[2].seen = Err("it went away during the check".into());
    let away = NetHost {
        host: "h0".parse().unwrap(),
        address: "10.99.0.9".into(),
        checked: false,
        reason: "it is lost".into(),
        problem: String::new(),
        repaired: vec![],
    };
    let all = pairs(3, &[], false, 0);
    let report = judge(&hosts, vec![away], &all, 6);
    assert!(report.broken);
    assert_eq!((report.pairs, report.ways.len()), (1, 2), "only what both ends have told of");
    let reasons: Vec<&str> = report.hosts.iter().map(|host| host.reason.as_str()).collect();
    assert_eq!(reasons, ["it is lost", "", "", "it went away during the check"]);
}

#[test]
fn what_was_repaired_is_told_and_no_fault_and_what_could_not_be_is_one() {
    let mut hosts = well(2);
    hosts[1].ready.repaired.push("route to 10.42.0.0/26 set".into());
    let found = report(&hosts);
    assert!(!found.broken);
    assert_eq!(found.hosts[1].repaired, ["route to 10.42.0.0/26 set"]);
    hosts[0].ready.problem = "nft refused the rules".into();
    assert!(report(&hosts).broken);
}

#[test]
fn all_pairs_of_few_hosts_and_a_sample_of_many() {
    assert_eq!(pairs(0, &[], true, 1), [].into());
    assert_eq!(pairs(1, &[], true, 1), [].into());
    assert_eq!(pairs(3, &[], false, 1), [(0, 1), (0, 2), (1, 2)].into());
    assert_eq!(pairs(32, &[], false, 1).len(), 32 * 31 / 2);
    assert_eq!(pairs(33, &[], true, 1).len(), 33 * 32 / 2);
    assert_eq!(pairs(4, &[2], false, 1), [(0, 2), (1, 2), (2, 3)].into(), "one with all others");
    assert_eq!(pairs(9, &[1, 4, 7], false, 1), [(1, 4), (1, 7), (4, 7)].into());
    for count in [33, 64, 1_000] {
        let some = pairs(count, &[], false, 7);
        assert!(some.iter().all(|(a, b)| a < b && *b < count));
        let of = |host| some.iter().filter(|(a, b)| *a == host || *b == host).count();
        let counts: Vec<usize> = (0..count).map(of).collect();
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(*least >= 10 && *most <= 20, "{least} to {most} of {count}");
        assert_ne!(some, pairs(count, &[], false, 8), "another turn, other pairs");
    }
}
