//! Reads of the Consul API: the example `reads` of the crate `consul`, asked by `wrk` over loopback.

use super::report::Row;
use super::schedule::example;
use crate::place::Place;
use crate::say::Step;
use anyhow::Result;
use serde::Deserialize;

/// What a Consul 1.10 in dev mode answered on two cores like these, to the same load.
const CONSUL_PER_S: f64 = 19_400.0;

/// What `reads` says.
#[derive(Debug, Deserialize)]
struct Told {
    requests_per_s: f64,
    cpu_us: f64,
    p99: String,
    change_ms: f64,
    first_ms: f64,
}

/// `/v1/health/service/x?passing` of 10,000 containers, and what a change of one of them costs.
pub(super) fn run(place: &Place) -> Result<Vec<Row>> {
    let step = Step::loud("reads of 10,000 containers over the Consul API");
    let told: Told = example(place, "consul", "reads", &["10"])?;
    step.done("read");
    let Told { requests_per_s, cpu_us, p99, change_ms, first_ms } = told;
    let row =
        |what: &str, ours: String, beside: String, measured: f64, target: f64, unit: &str| Row {
            part: "consul".into(),
            what: what.into(),
            ours,
            beside,
            measured,
            target: Some(target),
            unit: unit.into(),
        };
    Ok(vec![
        row(
            "Consul API, time of a health read, c=32",
            format!("{requests_per_s:.0}/s, {cpu_us:.1} µs of CPU each, p99 {p99}"),
            format!("consul 1.10, measured once: {CONSUL_PER_S:.0}/s"),
            CONSUL_PER_S / requests_per_s,
            0.5,
            "x",
        ),
        row(
            "Consul API, one of 10,000 containers changes",
            format!("median of 200; all of them from nothing {first_ms:.0} ms"),
            "-".into(),
            change_ms,
            1.0,
            " ms",
        ),
    ])
}
