//! What placing costs: the example `schedule` of the crate `control`, which needs nothing but a
//! processor, and the example `placements` of the crate `server`, which needs a disk as well.

use super::report::Row;
use crate::place::Place;
use crate::say::Step;
use crate::shell;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::path::PathBuf;

/// What the example says.
#[derive(Debug, Deserialize)]
struct Told {
    placements_per_s: f64,
    choose_ms: f64,
    plan_ms: f64,
    snapshot_ms: f64,
    bytes_per_instance: f64,
    first_plan_ms: f64,
}

/// What the example of the server says.
#[derive(Debug, Deserialize)]
struct Durable {
    placements: u32,
    seconds: f64,
    per_second: f64,
}

/// Builds an example, and says where it is.
pub(super) fn program(place: &Place, package: &str, name: &str) -> Result<PathBuf> {
    let (mut build, folder) = place.static_build(&place.target)?;
    shell::run(build.args(["--package", package, "--example", name]))?;
    Ok(folder.join("examples").join(name))
}

/// Builds and runs an example with these words, and reads its one line of JSON.
pub(super) fn example<T: serde::de::DeserializeOwned>(
    place: &Place,
    package: &str,
    name: &str,
    words: &[&str],
) -> Result<T> {
    let program = program(place, package, name)?;
    let text = shell::read(std::process::Command::new(&program).args(words))?;
    serde_json::from_str(text.trim())
        .with_context(|| format!("reading what {} said", program.display()))
}

/// 100,000 instances on 5,000 hosts.
pub(super) fn run(place: &Place) -> Result<Vec<Row>> {
    let step = Step::loud("placing 100,000 instances on 5,000 hosts");
    let told: Told = example(place, "control", "schedule", &[])?;
    let durable: Durable = example(place, "server", "placements", &[])?;
    step.done("placed");
    let per_s = format!("{:.0} placements a second of one core", told.placements_per_s);
    let first = format!("the first plan of everything {:.0} ms", told.first_plan_ms);
    Ok(vec![
        row("placing one of 100,000, from nothing", 1e6 / told.placements_per_s, 2.0, " µs", per_s),
        row("a host for one more", told.choose_ms, 1.0, " ms", "median of 50".into()),
        row("the plan of a service of 10 scaled by 1", told.plan_ms, 5.0, " ms", first),
        row(
            "a placement that is durable in SQLite",
            1e6 / durable.per_second,
            100.0,
            " µs",
            format!(
                "{:.0} a second: {} in {:.1} s",
                durable.per_second, durable.placements, durable.seconds
            ),
        ),
        row("a snapshot of that cluster", told.snapshot_ms, 1.0, " ms", "median of 100".into()),
        row(
            "memory of cluster, fleet and planner",
            told.bytes_per_instance / 1024.0,
            4.0,
            " KB an instance",
            format!("{:.0} bytes", told.bytes_per_instance),
        ),
    ])
}

fn row(what: &str, measured: f64, target: f64, unit: &str, ours: String) -> Row {
    Row {
        part: "schedule".into(),
        what: what.into(),
        ours,
        beside: "-".into(),
        measured,
        target: Some(target),
        unit: unit.into(),
    }
}
