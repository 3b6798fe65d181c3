//! A host loses its power: how soon what it had runs elsewhere.

use super::bed::Bed;
use crate::bench::report::{Row, percentile};
use crate::say;
use anyhow::Result;
use std::time::{Duration, Instant};

/// Times that a host is lost.
const ROUNDS: usize = 3;
/// Most seconds, those for Docker's starts among them.
const TARGET: f64 = 15.0;
/// Longest wait for a host to be back.
const PATIENCE: Duration = Duration::from_secs(120);
const SCALE: usize = 9;
const STACK: &str = "bench-lost";
const COMPOSE: &str = "
services:
  web:
    image: storefront/httpbackend:v1.0.0
    scale: 9
    health_check: {port: 8081, interval: 500, request_line: GET /healthz HTTP/1.0}
";

pub(super) fn run(bed: &Bed) -> Result<Vec<Row>> {
    let mut took = vec![];
    for _ in 0..ROUNDS {
        bed.up(STACK, COMPOSE)?;
        Bed::wait("nine ready instances on three hosts", PATIENCE, || {
            let ready = Bed::ready(STACK);
            ready.len() == SCALE && ready.iter().any(|(host, _)| host == "h3")
        })?;
        let since = Instant::now();
        bed.does(&["kill", "h3"])?;
        Bed::wait("them on two hosts", PATIENCE, || {
            Bed::ready(STACK).iter().filter(|(host, _)| host != "h3").count() == SCALE
        })?;
        took.push(since.elapsed().as_secs_f64());
        say::line(&format!("    replaced after {:.1} s", since.elapsed().as_secs_f64()));
        bed.does(&["boot", "h3"])?;
        Bed::down(STACK)?;
        Bed::wait("the host to be back", PATIENCE, || {
            Bed::status("h3").as_deref() == Some("active")
        })?;
    }
    Ok(vec![Row {
        part: "hosts".into(),
        what: format!("a host without power: its instances ready elsewhere, worst of {ROUNDS}"),
        ours: format!("fastest {:.1} s", percentile(&took, 0.0)),
        beside: "-".into(),
        measured: percentile(&took, 1.0),
        target: Some(TARGET),
        unit: " s".into(),
    }])
}
