//! What the link between server and agents carries: the example `link` of the crate `server`, agents
//! in processes of their own by the real protocol and real TLS, on one server over loopback.

use super::report::Row;
use super::schedule::example;
use crate::place::Place;
use crate::say::Step;
use anyhow::Result;
use serde::Deserialize;

/// Milliseconds at the median, at 99 of 100, and at most.
#[derive(Debug, Deserialize)]
struct Spread {
    p50: f64,
    p99: f64,
    max: f64,
}

/// What `link changes` says.
#[derive(Debug, Deserialize)]
struct Changes {
    changes: f64,
    arrivals: f64,
    arrival_ms: Spread,
    api_ms: Spread,
    wall_s: f64,
    server_rss_before_mb: f64,
    server_rss_mb: f64,
    server_peak_mb: f64,
    server_cpu_ms: f64,
    agents_cpu_ms: f64,
}

/// What `link joins` says.
#[derive(Debug, Deserialize)]
struct Joins {
    agents: u32,
    seconds: f64,
    api_ms: Spread,
    server_peak_mb: f64,
}

/// 1,000 agents with 100 endpoints each and 1,000 changes a second; 10,000 agents that join.
pub(super) fn run(place: &Place) -> Result<Vec<Row>> {
    let step = Step::loud("1,000 agents, 100,000 endpoints, 1,000 changes a second");
    let words = ["changes", "--agents", "1000", "--endpoints", "100", "--rate", "1000"];
    let told: Changes = example(place, "server", "link", &words)?;
    step.done("measured");
    let step = Step::loud("10,000 agents join");
    let joins: Joins = example(place, "server", "link", &["joins", "--agents", "10000"])?;
    step.done("joined");
    let Spread { p50, p99, max } = told.arrival_ms;
    let of_core = |ms: f64| ms / 10.0 / told.wall_s;
    let cpu = format!(
        "server {:.0} % of a core, agents {:.0} %",
        of_core(told.server_cpu_ms),
        of_core(told.agents_cpu_ms)
    );
    let heard = format!(
        "median {p50:.0}, at most {max:.0}; {:.0} changes, {:.1} agents each; {cpu}",
        told.changes,
        told.arrivals / told.changes
    );
    let memory =
        format!("{:.0} before, {:.0} at most", told.server_rss_before_mb, told.server_peak_mb);
    let api = |spread: &Spread| format!("median {:.0}, at most {:.0}", spread.p50, spread.max);
    let peak = format!("{} agents; server at most {:.0} MB", joins.agents, joins.server_peak_mb);
    Ok(vec![
        row("a change of an endpoint to every agent that needs it, p99", p99, 250.0, " ms", heard),
        row("memory of the server meanwhile", told.server_rss_mb, 600.0, " MB", memory),
        row("the API meanwhile, p99", told.api_ms.p99, 200.0, " ms", api(&told.api_ms)),
        row("10,000 agents join from nothing", joins.seconds, 180.0, " s", peak),
        row("the API meanwhile, p99", joins.api_ms.p99, 200.0, " ms", api(&joins.api_ms)),
    ])
}

fn row(what: &str, measured: f64, target: f64, unit: &str, ours: String) -> Row {
    Row {
        part: "link".into(),
        what: what.into(),
        ours,
        beside: "-".into(),
        measured,
        target: Some(target),
        unit: unit.into(),
    }
}
