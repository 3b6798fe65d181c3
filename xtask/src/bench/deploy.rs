//! Deploying one service of fifty containers, beside a bare driver of the Engine API on the same
//! network with the same image: the wall time of `remuda up`, which ends when all of them are healthy,
//! and that of the driver, which ends when Docker has answered its last start.

use super::engine_api;
use super::report::{Row, median, paired};
use super::running::Running;
use crate::interrupt;
use crate::place::Place;
use crate::say::{self, Step};
use crate::shell;
use anyhow::{Context, Result};
use serde_json::json;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

/// Containers.
const COUNT: usize = 50;
/// Rounds; each of the two deploys once in each.
const ROUNDS: usize = 4;
/// Most that we may take of the driver's time.
const TARGET: f64 = 1.10;
/// Starts with nothing to wait for.
const IMAGE: &str = "storefront/tcpfront:v1.0.0";
/// Of the driver's containers.
const PREFIX: &str = "remuda-bench-bare";
/// Of ours.
const STACK: &str = "bench-deploy";

/// Seconds that a deployment took.
struct Took {
    /// Until the command, or the driver, was done.
    returned: f64,
    /// Until Docker had started the last container.
    started: f64,
}

pub(super) fn run(_place: &Place, running: &mut Running) -> Result<Vec<Row>> {
    let step = Step::loud(&format!("deploying {COUNT} containers"));
    let file = running.file("deploy.yaml", &compose())?;
    let network = running.network()?;
    let (mut ours, mut bare) = (vec![], vec![]);
    // the first round warms Docker up and does not count
    for round in 0..=ROUNDS {
        for turn in 0..2 {
            interrupt::check()?;
            // nobody is always the first
            let took = if (round + turn) % 2 == 0 {
                let label = json!({ "label": [format!("io.rancher.stack.name={STACK}")] });
                let took = timed(&label, || running.up(&file, STACK))?;
                running.down(STACK)?;
                ours.push(took);
                ("remuda", ours.last())
            } else {
                let name = json!({ "name": [format!("{PREFIX}-")] });
                let took = timed(&name, || engine_api::deploy(PREFIX, COUNT, IMAGE, &network));
                engine_api::remove(PREFIX, COUNT)?;
                bare.push(took?);
                ("bare driver", bare.last())
            };
            if let (who, Some(Took { returned, started })) = took {
                say::line(&format!("    {who:11} {returned:.2} s, last start {started:.2} s"));
            }
        }
    }
    step.done("");
    let returned = |all: &[Took]| all.iter().skip(1).map(|t| t.returned).collect::<Vec<_>>();
    let started = |all: &[Took]| all.iter().skip(1).map(|t| t.started).collect::<Vec<_>>();
    let row = |what: &str, ours: &[f64], bare: &[f64], target| Row {
        part: "deploy".into(),
        what: format!("deploying {COUNT} containers, {what}"),
        ours: format!("{:.2} s", median(ours)),
        beside: format!("bare driver, 16 at a time: {:.2} s", median(bare)),
        measured: paired(ours, bare),
        target,
        unit: "x".into(),
    };
    Ok(vec![
        row("wall time of `up`", &returned(&ours), &returned(&bare), Some(TARGET)),
        row("to Docker's last start", &started(&ours), &started(&bare), None),
    ])
}

/// With a check, so that `up` ends when all are healthy: one without is held for well only after
/// a second in which it did not exit.
fn compose() -> String {
    format!(
        "services:\n  echo:\n    image: {IMAGE}\n    scale: {COUNT}\n    health_check:\n      \
         port: 9999\n      interval: 2000\n      response_timeout: 2000\n"
    )
}

/// Deploys, and looks when Docker had started the last of the containers.
fn timed(filter: &serde_json::Value, deploy: impl FnOnce() -> Result<()>) -> Result<Took> {
    let (clock, since) = (Instant::now(), SystemTime::now());
    deploy()?;
    let returned = clock.elapsed().as_secs_f64();
    let last = last_start(&engine_api::running(filter, COUNT)?)?;
    let started = last.duration_since(since).unwrap_or_default().as_secs_f64();
    Ok(Took { returned, started })
}

/// When Docker had started the last of them.
fn last_start(ids: &[String]) -> Result<SystemTime> {
    let mut inspect = Command::new("docker");
    inspect.args(["inspect", "--format", "{{.State.StartedAt}}"]).args(ids);
    let text = shell::read(&mut inspect)?;
    // all in UTC and in one form: the greatest text is the latest
    let latest = text.lines().max().context("no container was started")?;
    let epoch = shell::read(Command::new("date").args(["+%s.%N", "--date", latest]))?;
    let seconds: f64 = epoch.parse().with_context(|| format!("reading the time {epoch:?}"))?;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds))
}
