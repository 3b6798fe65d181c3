//! `cargo xtask test`: every test there is, real Docker included, and its counts in one last line.

mod counts;
mod skips;

use crate::dockerd::Dockerd;
use crate::place::Place;
use crate::say::{self, Step};
use crate::shell;
use crate::{clients, images, needs, sim, tidy};
use anyhow::{Context, Result, bail};
use counts::{Counts, Runner};
use skips::{Have, Skip};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// The example's own workspace.
const EXAMPLE: &str = "examples/storefront/Cargo.toml";

/// Everything, in the order of cost.
pub(crate) fn test(place: &Place) -> Result<()> {
    needs::ensure(place, &[needs::RUN, needs::TEST])?;
    format_check(place)?;
    tidy::check(place)?;
    let dockerd = Dockerd::ensure(place)?;
    images::make(place)?;
    clients::ensure(place)?;
    let outcome = run_all(place);
    let stopped = dockerd.stop();
    let (counts, skips) = outcome?;
    stopped?;
    for Skip { test, reason, .. } in &skips {
        say::line(&format!("skipped {test}: {reason}"));
    }
    say::line(&counts.to_string());
    if counts.failed > 0 {
        bail!("{} tests failed", counts.failed);
    }
    Ok(())
}

/// `rustfmt --check` of both workspaces, and of the package of clients.
pub(crate) fn format_check(place: &Place) -> Result<()> {
    let step = Step::loud("looking at the format");
    shell::run(place.cargo().args(["fmt", "--all", "--check"]))?;
    for other in [EXAMPLE, clients::RUST] {
        shell::run(place.cargo().args(["fmt", "--all", "--check", "--manifest-path", other]))?;
    }
    step.done("as rustfmt has it");
    Ok(())
}

fn run_all(place: &Place) -> Result<(Counts, Vec<Skip>)> {
    let have = Have { docker: true, root: rustix::process::geteuid().is_root() };
    let skips = skips::left_out(&place.root, have)?;
    let step = Step::loud("the workspace's tests");
    let mut counts = if shell::succeeds(place.cargo().args(["nextest", "--version"])) {
        nextest(place, &skips)?
    } else {
        say::line("    (cargo-nextest is not installed: one test program after the other)");
        libtest(place, &skips)?
    };
    step.done(&counts.to_string());
    sim::test(place)?;
    let step = Step::loud("the documentation's examples");
    counts += counted(
        Runner::Libtest,
        place.cargo().args(["test", "--workspace", "--doc", "--no-fail-fast"]),
    )?;
    step.done("");
    let step = Step::loud("the example's own tests");
    let mut example = place.cargo();
    example.args(["test", "--no-fail-fast", "--manifest-path", EXAMPLE, "--target-dir"]);
    counts += counted(Runner::Libtest, example.arg(place.target.join("storefront")))?;
    step.done("");
    counts.skipped = skips.len() as u64;
    Ok((counts, skips))
}

fn nextest(place: &Place, skips: &[Skip]) -> Result<Counts> {
    let mut command = place.cargo();
    command.args(["nextest", "run", "--workspace", "--no-fail-fast", "--run-ignored", "all"]);
    command.args(["--color", if say::colours() { "always" } else { "never" }]);
    if !skips.is_empty() {
        let names = skips.iter().map(|skip| format!("test(/(^|::){}$/)", skip.test));
        let names = names.collect::<Vec<_>>().join(" | ");
        command.args(["-E", &format!("not ({names})")]);
    }
    counted(Runner::Nextest, &mut command)
}

fn libtest(place: &Place, skips: &[Skip]) -> Result<Counts> {
    let mut command = place.cargo();
    command.args(["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast", "--"]);
    // the groups of .config/nextest.toml are nextest's: here nothing runs beside anything
    command.args(["--include-ignored", "--test-threads", "1"]);
    for skip in skips {
        command.args(["--skip", &skip.test]);
    }
    counted(Runner::Libtest, &mut command)
}

/// Runs it, shows what it says and adds up its summaries. No summary means that it did not build.
fn counted(runner: Runner, command: &mut Command) -> Result<Counts> {
    let shown = shell::shown(command);
    // both streams into one pipe keeps their order
    let (reader, writer) = std::io::pipe().context("making a pipe")?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn().with_context(|| format!("starting `{shown}`"))?;
    // our copies of the writing end must go, or the reader never sees the end
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut counts = Counts::default();
    let mut summaries = 0;
    for line in BufReader::new(reader).split(b'\n') {
        let line = line.with_context(|| format!("reading from `{shown}`"))?;
        let line = String::from_utf8_lossy(&line);
        say::line(&line);
        if let Some(found) = counts::summary(runner, &line) {
            counts += found;
            summaries += 1;
        }
    }
    let status = child.wait()?;
    if !status.success() && (summaries == 0 || counts.failed == 0) {
        bail!("`{shown}` failed: {status}");
    }
    Ok(counts)
}

/// Reads a source file for the list of what is left out.
fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}
