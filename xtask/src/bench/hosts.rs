//! Three hosts: how late a container that starts on one is routed on another, what the network
//! between them carries, how soon a lost host's instances run elsewhere, and an agent at rest.

mod at_rest;
mod bed;
mod exposed;
mod lost;
mod throughput;

use super::report::{Row, percentile};
use super::start::{Starts, ask_for_addresses_often};
use crate::place::Place;
use crate::say::Step;
use anyhow::{Result, bail};
use bed::Bed;
use std::net::SocketAddr;

/// Starts that count.
const STARTS: usize = 200;
/// Most milliseconds: the middle one, and one in a hundred.
const TARGETS: [(&str, f64, f64); 2] = [("p50", 0.50, 10.0), ("p99", 0.99, 30.0)];
const STACK: &str = "bench-far";
/// The instance on one host, the balancer on another.
const COMPOSE: &str = "
services:
  web:
    image: storefront/httpbackend:v1.0.0
    scale: 1
    expose: ['8081']
    stop_grace_period: 0s
    labels: {io.rancher.service.requested.host.id: h2}
  lb:
    image: rancher/lb-service-haproxy:v0.9.14
    ports: ['8099:8099/tcp']
    labels: {io.rancher.service.requested.host.id: h1}
    lb_config:
      port_rules: [{source_port: 8099, protocol: http, service: web, target_port: 8081}]
";

/// Outside: a cluster, and this program on its switch.
pub(super) fn outside(place: &Place) -> Result<Vec<Row>> {
    Bed::of(place).with(place, "3", "hosts", || super::machine::handed_out(place))
}

/// On the switch.
pub(super) fn run(place: &Place) -> Result<Vec<Row>> {
    let bed = Bed::of(place);
    let mut rows = routed(&bed)?;
    rows.extend(exposed::run(&bed)?);
    let step = Step::loud("one TCP connection between two hosts, with the network and without");
    rows.extend(throughput::run(&bed)?);
    step.done("");
    let step = Step::loud("an agent with 20 containers at rest");
    rows.extend(at_rest::run(&bed)?);
    step.done("");
    let step = Step::loud("a host loses its power, three times");
    rows.extend(lost::run(&bed)?);
    step.done("");
    Ok(rows)
}

fn routed(bed: &Bed) -> Result<Vec<Row>> {
    let step = Step::loud(&format!("{STARTS} starts on h2, asked for through h1"));
    bed.up(STACK, COMPOSE)?;
    let beside = bed.network("h2")?;
    let there = beside.clone();
    let told = std::thread::spawn(move || there.enter().and_then(|()| ask_for_addresses_often()));
    let Ok(told) = told.join() else { bail!("setting up h2 panicked") };
    told?;
    let starts = Starts {
        remuda: &Bed::remuda,
        stack: STACK,
        balancer: SocketAddr::from(([10, 99, 0, 1], 8099)),
        beside: Some(&beside),
    };
    let late_ms = starts.all(STARTS)?;
    Bed::down(STACK)?;
    step.done("");
    let worst = percentile(&late_ms, 1.0);
    let row = |(name, share, target): (&str, f64, f64)| Row {
        part: "hosts".into(),
        what: format!("container start to routed on another host, {name} of {STARTS}"),
        ours: format!("worst {worst:.1} ms"),
        beside: "-".into(),
        measured: percentile(&late_ms, share),
        target: Some(target),
        unit: " ms".into(),
    };
    Ok(TARGETS.map(row).to_vec())
}
