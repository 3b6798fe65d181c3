//! A cold release build, and the size of the binary.

use super::report::Row;
use crate::place::Place;
use crate::remuda::Remuda;
use crate::say::Step;
use crate::shell;
use anyhow::{Context, Result};
use std::path::Path;
use std::time::Instant;

/// Most minutes, on two cores.
const MINUTES: f64 = 12.0;
/// Most megabytes of a million bytes.
const MEGABYTES: f64 = 40.0;

/// From an empty target folder.
pub(super) fn cold(place: &Place) -> Result<Vec<Row>> {
    let target = place.target.join("bench-cold");
    remove(&target)?;
    let step = Step::loud("a cold release build");
    let (mut build, _) = place.static_build(&target)?;
    // as on two cores, however many there are
    build.args(["--package", "app", "--bin", "remuda", "--jobs", "2"]);
    let since = Instant::now();
    let built = shell::run(&mut build);
    let minutes = since.elapsed().as_secs_f64() / 60.0;
    remove(&target)?;
    built?;
    step.done("built");
    Ok(vec![row(
        "build",
        "cold `cargo build --release`, static, two jobs",
        minutes,
        MINUTES,
        " min",
    )])
}

/// Of the binary that the other parts measure.
pub(super) fn size(place: &Place) -> Result<Vec<Row>> {
    let remuda = Remuda::of(place, "bench")?;
    let path = remuda.binary();
    let file = path.metadata().with_context(|| format!("looking at {}", path.display()))?;
    Ok(vec![row("size", "the stripped static binary", file.len() as f64 / 1e6, MEGABYTES, " MB")])
}

fn row(part: &str, what: &str, measured: f64, target: f64, unit: &str) -> Row {
    Row {
        part: part.into(),
        what: what.into(),
        ours: format!("{measured:.1}{unit}"),
        beside: "-".into(),
        measured,
        target: Some(target),
        unit: unit.into(),
    }
}

fn remove(target: &Path) -> Result<()> {
    if target.exists() {
        std::fs::remove_dir_all(target)
            .with_context(|| format!("removing {}", target.display()))?;
    }
    Ok(())
}
