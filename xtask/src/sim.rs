//! `cargo xtask sim`: builds the simulation optimised and hands it its words. No other build has
//! the feature `mutations`.

use crate::place::Place;
use crate::say::Step;
use crate::shell;
use anyhow::{Result, bail};
use std::process::ExitCode;

/// Seeds of a test run.
const TEST_SEEDS: &str = "500";

/// Builds it; gives the command that runs it.
fn build(place: &Place) -> Result<std::process::Command> {
    let mut cargo = place.cargo();
    cargo.args(["build", "--quiet", "--profile", "sim", "--package", "sim"]);
    shell::run(cargo.args(["--features", "mutations"]))?;
    let mut command = std::process::Command::new(place.target.join("sim/sim"));
    command.current_dir(&place.root);
    Ok(command)
}

/// Runs what was asked for; its exit code is ours.
pub(crate) fn run(place: &Place, words: &[&str]) -> Result<ExitCode> {
    let status = build(place)?.args(words).status()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The part of `cargo xtask test`.
pub(crate) fn test(place: &Place) -> Result<()> {
    let step = Step::loud("whole clusters in virtual time");
    let mut whole = build(place)?;
    if !whole.args(["--seeds", TEST_SEEDS]).status()?.success() {
        bail!("the simulation found a violation: `cargo xtask sim --seed N` tells its story");
    }
    let mut defects = build(place)?;
    if !defects.args(["--mutations", "--known", "--seeds", TEST_SEEDS]).status()?.success() {
        bail!("the simulation does not find a defect that was put in: see docs/testing.md");
    }
    step.done("");
    Ok(())
}
