//! What the agent of a host with twenty containers takes when nothing happens.

use super::bed::Bed;
use crate::bench::cpu;
use crate::bench::report::Row;
use crate::{interrupt, shell};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long nothing happens.
const REST: Duration = Duration::from_secs(60);
/// Before that: what the start left to do is done.
const SETTLE: Duration = Duration::from_secs(10);
/// Most megabytes, and percent of one core.
const TARGETS: (f64, f64) = (25.0, 0.5);
const STACK: &str = "bench-rest";
const COMPOSE: &str = "
services:
  web:
    image: storefront/httpbackend:v1.0.0
    scale: 20
    labels: {io.rancher.service.requested.host.id: h1}
";

pub(super) fn run(bed: &Bed) -> Result<Vec<Row>> {
    bed.up(STACK, COMPOSE)?;
    let agent = agent_of(bed, "h1")?;
    pause(SETTLE)?;
    let before = cpu::seconds(&[agent])?;
    let since = Instant::now();
    pause(REST)?;
    let share = (cpu::seconds(&[agent])? - before) / since.elapsed().as_secs_f64() * 100.0;
    let memory = cpu::resident_mb(agent)?;
    Bed::down(STACK)?;
    let row = |what: &str, measured: f64, target: f64, unit: &str| Row {
        part: "hosts".into(),
        what: format!("agent at rest, 20 containers: {what}"),
        ours: format!("over {} s", REST.as_secs()),
        beside: "-".into(),
        measured,
        target: Some(target),
        unit: unit.into(),
    };
    Ok(vec![
        row("resident memory", memory, TARGETS.0, " MB"),
        row("share of one core", share, TARGETS.1, " %"),
    ])
}

/// The agent's process: it is in the host's network.
fn agent_of(bed: &Bed, host: &str) -> Result<u32> {
    let link = shell::read(&mut bed.on(host, &["readlink", "/proc/self/ns/net"]))?;
    let is = |folder: &Path| {
        let words = fs::read_to_string(folder.join("cmdline")).unwrap_or_default();
        let network = fs::read_link(folder.join("ns/net")).unwrap_or_default();
        let mut words = words.split('\0');
        network.as_os_str() == link.trim()
            && words.next().is_some_and(|program| program.ends_with("remuda"))
            && words.next() == Some("agent")
    };
    let processes = fs::read_dir("/proc").context("reading /proc")?.flatten();
    let found = processes.map(|entry| entry.path()).find(|path| is(path));
    let pid =
        found.as_deref().and_then(Path::file_name).and_then(|name| name.to_str()?.parse().ok());
    pid.with_context(|| format!("{host} has no process `remuda agent`"))
}

fn pause(time: Duration) -> Result<()> {
    let until = Instant::now() + time;
    while Instant::now() < until {
        interrupt::check()?;
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}
