//! Memory at rest with the example running: of `remuda dev` with its dataplane, and of the three
//! roles each in a process of its own.

use super::cpu;
use super::report::Row;
use super::running::Running;
use crate::place::Place;
use crate::say::Step;
use crate::{interrupt, leftovers};
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};

/// Most megabytes of `remuda dev` and its dataplane together.
const TOGETHER: f64 = 80.0;
/// Most megabytes of each role alone.
const APART: [(&str, f64); 3] = [("server", 40.0), ("agent", 25.0), ("dataplane", 20.0)];
/// At rest means that nothing was asked for this long.
const REST: Duration = Duration::from_secs(15);
/// The example.
const STACK: &str = "storefront";

/// `remuda dev` first, then the roles apart.
pub(super) fn run(place: &Place, running: &mut Running) -> Result<Vec<Row>> {
    let mut rows = together(place, running)?;
    rows.extend(apart(place, running)?);
    Ok(rows)
}

/// `remuda dev`.
fn together(place: &Place, running: &Running) -> Result<Vec<Row>> {
    let roles = at_rest(place, running, "`remuda dev`")?;
    let total: f64 = roles.iter().map(|(_, mb)| mb).sum();
    let shown: Vec<_> = roles.iter().map(|(role, mb)| format!("{role} {mb:.1}")).collect();
    Ok(vec![row("`remuda dev`", shown.join(" + "), total, TOGETHER)])
}

/// The three roles.
fn apart(place: &Place, running: &mut Running) -> Result<Vec<Row>> {
    running.come_apart()?;
    let roles = at_rest(place, running, "the roles apart")?;
    let mut rows = vec![];
    for (role, target) in APART {
        let mut found = roles.iter().filter(|(name, _)| name == role);
        let (Some((_, mb)), None) = (found.next(), found.next()) else {
            anyhow::bail!("there is not one process of the {role}: {roles:?}");
        };
        rows.push(row(&format!("the {role} apart"), format!("{mb:.1} MB"), *mb, target));
    }
    Ok(rows)
}

/// Each process with its role, after a while in which nothing was asked.
fn at_rest(place: &Place, running: &Running, what: &str) -> Result<Vec<(String, f64)>> {
    let step = Step::silent(&format!("memory at rest of {what}"));
    running.up(&place.root.join("examples/storefront/single-file/compose.yaml"), STACK)?;
    let until = Instant::now() + REST;
    while Instant::now() < until {
        interrupt::check()?;
        std::thread::sleep(Duration::from_millis(200));
    }
    let mut roles = vec![];
    for pid in leftovers::processes(running.binary()) {
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let role = command.split('\0').nth(1).unwrap_or("?").to_owned();
        roles.push((role, cpu::resident_mb(pid)?));
    }
    running.down(STACK)?;
    let shown: Vec<_> = roles.iter().map(|(role, mb)| format!("{role} {mb:.1} MB")).collect();
    step.done(&shown.join(", "));
    ensure!(!roles.is_empty(), "no process of {} runs", running.binary().display());
    Ok(roles)
}

fn row(what: &str, ours: String, measured: f64, target: f64) -> Row {
    Row {
        part: "idle".into(),
        what: format!("memory at rest, the example running: {what}"),
        ours,
        beside: "-".into(),
        measured,
        target: Some(target),
        unit: " MB".into(),
    }
}
