//! `floating_ip`, as a key and as labels.

use super::web;
use model::floating::FloatingIp;

fn ip(labels: &[(&str, &str)]) -> Option<FloatingIp> {
    let hosts = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Some(FloatingIp { address: "192.0.2.50".parse().unwrap(), hosts: hosts.collect() })
}

#[test]
fn it_is_said_by_a_key_or_by_labels() {
    let edge = ip(&[("edge", "true")]);
    for (lines, expect) in [
        ("", None),
        ("floating_ip: 192.0.2.50", ip(&[])),
        ("floating_ip: {address: 192.0.2.50, hosts: 'edge=true'}", edge.clone()),
        ("floating_ip: {address: 192.0.2.50, hosts: {edge: 'true'}}", edge.clone()),
        ("x-remuda-floating_ip: {address: 192.0.2.50, hosts: 'edge=true'}", edge.clone()),
        ("labels: {io.remuda.floating_ip: 192.0.2.50}", ip(&[])),
        (
            "labels:\n  io.remuda.floating_ip: 192.0.2.50\n  io.remuda.floating_ip.hosts: edge=true",
            edge,
        ),
        (
            "floating_ip: {address: 192.0.2.50, hosts: 'edge, zone = a'}",
            ip(&[("edge", ""), ("zone", "a")]),
        ),
        // The key goes before the labels.
        ("floating_ip: 192.0.2.50\nlabels: {io.remuda.floating_ip: 192.0.2.60}", ip(&[])),
    ] {
        assert_eq!(web(lines).service().floating_ip, expect, "{lines}");
    }
}

#[test]
fn what_cannot_be_one_is_refused_and_says_what_can() {
    for (lines, what) in [
        ("floating_ip: nonsense", "\"nonsense\" is not an address"),
        ("floating_ip: 'fd00::1'", "is not an address"),
        ("floating_ip: 127.0.0.5", "127.0.0.5 cannot be one"),
        ("floating_ip: {hosts: 'edge=true'}", "floating_ip has no address"),
        ("floating_ip: {address: 192.0.2.50, hosts: '=x'}", "hosts has \"=x\""),
        ("labels: {io.remuda.floating_ip: 224.0.0.9}", "224.0.0.9 cannot be one"),
    ] {
        let errors = web(lines).refused().to_string();
        assert!(errors.contains(what), "{lines}: {errors}");
    }
    web("labels: {io.remuda.floating_ip.hosts: edge}").warned("has no effect without");
}
