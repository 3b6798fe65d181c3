//! What metadata costs a host: the example `metadata` of the crate `dataplane`, a real dataplane with
//! its agent's end of the socket, and callers over loopback.

use super::report::Row;
use super::schedule::example;
use crate::place::Place;
use crate::say::Step;
use anyhow::Result;
use serde::Deserialize;

/// What the example says.
#[derive(Debug, Deserialize)]
struct Told {
    containers: u32,
    whole_ms: f64,
    change_ms: f64,
    answers_per_core_s: f64,
    polls: u32,
    poll_kb: f64,
    wake_ms: f64,
}

/// 10,000 containers, of which one changes; 32 that ask, and 5,000 that wait.
pub(super) fn run(place: &Place) -> Result<Vec<Row>> {
    let step = Step::loud("metadata of 10,000 containers");
    let told: Told = example(place, "dataplane", "metadata", &[])?;
    step.done("measured");
    let change = format!(
        "agent's end and dataplane together; all {} at first {:.0} ms",
        told.containers, told.whole_ms
    );
    let answers = format!("{:.0} answers a second of one core", told.answers_per_core_s);
    Ok(vec![
        row("one of 10,000 containers changes, CPU of a host", told.change_ms, 1.0, " ms", change),
        row(
            "a request that waits for a change, memory",
            told.poll_kb,
            20.0,
            " KB",
            format!("{} of them; all answered {:.0} ms after one", told.polls, told.wake_ms),
        ),
        row("an answer, CPU", 1e6 / told.answers_per_core_s, 50.0, " µs", answers),
    ])
}

fn row(what: &str, measured: f64, target: f64, unit: &str, ours: String) -> Row {
    Row {
        part: "metadata".into(),
        what: what.into(),
        ours,
        beside: "-".into(),
        measured,
        target: Some(target),
        unit: unit.into(),
    }
}
