//! `dig` against the names of Consul where answers are many and large: what fits, what is cut, what TCP
//! brings, and every kind of record.

use crate::machine::{Machine, on_a_machine, wait_until};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Places of the large service.
const MANY: usize = 60;
/// Where a host answers.
const SERVERS: [[&str; 3]; 2] = [["@127.0.0.1", "-p", "8600"], ["@169.254.169.250", "-p", "53"]];

fn put(machine: &Machine, path: &str, body: &Value) {
    let url = format!("http://127.0.0.1:8500/v1/{path}");
    let body = body.to_string();
    machine.run("curl", &["-sS", "-f", "-X", "PUT", "-d", &body, &url]).with_code(0);
}

/// What one question is answered; a lost answer is no answer.
fn dig(machine: &Machine, server: [&str; 3], words: &[&str]) -> String {
    let all = [&server[..], &["+time=3", "+tries=1"], words].concat();
    machine.run("dig", &all).with_code(0).out
}

fn answers(said: &str) -> usize {
    let (_, rest) = said.split_once("ANSWER: ").unwrap_or_else(|| panic!("no answer:\n{said}"));
    rest.split(',').next().unwrap().parse().unwrap()
}

fn is_cut(said: &str) -> bool {
    let flags = said.lines().find(|line| line.starts_with(";; flags:")).unwrap();
    flags.split(';').nth(2).unwrap().split_whitespace().any(|flag| flag == "tc")
}

/// A node outside with a service on it.
fn outside(node: &str, address: &str, service: &Value) -> Value {
    json!({"Node": node, "Address": address, "NodeMeta": {"rack": "7"}, "Service": service})
}

#[test]
#[ignore = "needs docker and root"]
fn dig_gets_what_fits_and_the_rest_by_tcp() {
    on_a_machine(|machine| {
        let _dev = machine.dev();
        for n in 0..MANY {
            let (node, address) = (format!("out{n}"), format!("10.9.1.{n}"));
            let service = json!({"Service": "many", "ID": format!("many{n}"), "Port": 8000 + n,
                "Address": address, "Tags": [if n % 2 == 0 { "even" } else { "odd" }]});
            put(machine, "catalog/register", &outside(&node, &address, &service));
        }
        let six = json!({"Service": "six", "Port": 80});
        put(machine, "catalog/register", &outside("six1", "2001:db8::6", &six));
        let named = json!({"Service": "elsewhere", "Port": 443, "Address": "www.example.test"});
        put(machine, "catalog/register", &outside("named1", "10.9.2.1", &named));
        for server in SERVERS {
            wait_until("all of them to be answered", || {
                answers(&dig(machine, server, &["+tcp", "many.service.consul"])) == MANY
            });
            what_fits(machine, server);
            every_kind(machine, server);
        }
    });
}

fn what_fits(machine: &Machine, server: [&str; 3]) {
    let name = "many.service.consul";
    // Without EDNS three are given, and nothing is said to be cut.
    let said = dig(machine, server, &["+noedns", "+ignore", name]);
    assert_eq!((answers(&said), is_cut(&said)), (3, false), "{said}");
    // 16 bytes each: all of them are some 1,000.
    let said = dig(machine, server, &["+bufsize=1232", "+ignore", name]);
    assert_eq!((answers(&said), is_cut(&said)), (MANY, false), "{said}");
    assert!(said.contains("EDNS: version: 0"), "{said}");
    let said = dig(machine, server, &["+bufsize=512", "+ignore", name]);
    assert!(is_cut(&said) && (1..MANY).contains(&answers(&said)), "{said}");
    assert!(said.contains("MSG SIZE  rcvd: ") && size(&said) <= 512, "{said}");
    // Left to itself `dig` asks again by TCP.
    let said = dig(machine, server, &["+bufsize=512", name]);
    assert_eq!((answers(&said), is_cut(&said)), (MANY, false), "{said}");
    assert!(said.contains("(TCP)"), "{said}");
    // SRV records are larger.
    let said = dig(machine, server, &["+bufsize=1232", "+ignore", name, "SRV"]);
    assert!(is_cut(&said) && size(&said) <= 1232, "{said}");
    let said = dig(machine, server, &["+tcp", name, "SRV"]);
    assert_eq!(answers(&said), MANY, "{said}");
    for n in 0..MANY {
        let record = format!("SRV\t1 1 {} 0a0901{n:02x}.addr.dc1.consul.", 8000 + n);
        assert!(said.contains(&record), "{record}: {said}");
    }
    // Answers come in changing order.
    let first = || {
        let said = dig(machine, server, &["+short", "+tcp", name]);
        said.lines().next().unwrap().to_owned()
    };
    let firsts: BTreeSet<String> = (0..12).map(|_| first()).collect();
    assert!(firsts.len() > 1, "{firsts:?}");
}

fn size(said: &str) -> usize {
    said.rsplit("rcvd: ").next().unwrap().trim().parse().unwrap()
}

fn every_kind(machine: &Machine, server: [&str; 3]) {
    for (words, wanted) in [
        (&["even.many.service.consul", "+tcp"][..], "ANSWER: 30,"),
        (&["_many._odd.service.consul", "SRV", "+tcp"], "ANSWER: 30,"),
        (&["_many._tcp.service.dc1.consul", "SRV", "+tcp"], "ANSWER: 60,"),
        (&["six.service.consul", "AAAA"], "2001:db8::6"),
        (&["six.service.consul", "A"], "ANSWER: 0,"),
        (&["six1.node.consul", "AAAA"], "2001:db8::6"),
        (&["six1.node.consul", "TXT"], "\"rack=7\""),
        (&["six1.node.consul", "ANY"], "ANSWER: 2,"),
        (&["elsewhere.service.consul", "CNAME"], "www.example.test."),
        (&["elsewhere.service.consul", "SRV"], "1 1 443 www.example.test."),
        (&["-x", "10.9.1.7"], "out7.node.dc1.consul."),
        (&["-x", "2001:db8::6"], "six1.node.dc1.consul."),
        (&["0a090107.addr.consul"], "10.9.1.7"),
        (&["consul", "SOA"], "hostmaster.consul."),
        (&["consul", "NS"], ".node.dc1.consul."),
        (&["many.service.dc7.consul"], "status: NXDOMAIN"),
        (&["many.service.consul", "MX"], "status: NOERROR"),
        (&["nobody.service.consul"], "ns.consul. hostmaster.consul."),
    ] {
        let said = dig(machine, server, words);
        assert!(said.contains(wanted), "{server:?} {words:?} is not {wanted}:\n{said}");
    }
}
