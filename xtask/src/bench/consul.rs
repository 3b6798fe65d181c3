//! The Consul API of a real `remuda server`: reads, durable writes, memory after them, and blocking
//! queries. Load comes from `wrk` and from the example `waits` of the crate `consul`; what a change
//! costs a catalog of 10,000 containers says the example `changes`.

use super::cpu;
use super::ground::{Ground, Server};
use super::report::{Row, median};
use super::schedule::{self, example};
use super::wrk::{self, Load};
use crate::place::Place;
use crate::remuda::Remuda;
use crate::say::{self, Step};
use crate::{interrupt, shell};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::Stdio;

/// Where the API is, inside.
const ADDRESS: &str = "127.0.0.1:8500";
/// Measurements of each kind of load.
const ROUNDS: usize = 3;
/// Seconds of one.
const SECONDS: u32 = 5;
/// What a Consul 1.10 in dev mode (in memory, one server) did with 32 connections of `wrk` beside it
/// on two cores of this kind: requests a second, and its memory in MB after all of that.
const CONSUL: (f64, f64, f64) = (19_400.0, 37_200.0, 15_100.0);
const CONSUL_MB: f64 = 254.0;
/// Blocking queries that a change answers, and those that wait for one that never comes.
const WAITING: u32 = 1_000;
const IDLE: u32 = 10_000;

/// What the example `changes` says.
#[derive(Debug, Deserialize)]
struct Changes {
    change_ms: f64,
    first_ms: f64,
}

/// What the example `waits` says of queries that were answered.
#[derive(Debug, Deserialize)]
struct Woken {
    p50_ms: f64,
    p99_ms: f64,
    by_something_else: u32,
}

/// A load, and what the server took for it.
struct Kind {
    what: &'static str,
    path: &'static str,
    connections: u32,
    puts: bool,
    /// What Consul did a second, and the target as a part of its time.
    peer: f64,
    target: f64,
}

const KINDS: [Kind; 3] = [
    Kind {
        what: "Consul API, health of a service, passing, c=32: its time",
        path: "/v1/health/service/bench?passing",
        connections: 32,
        puts: false,
        peer: CONSUL.0,
        target: 1.0 / 2.0,
    },
    Kind {
        what: "Consul API, a key, c=32: its time",
        path: "/v1/kv/bench/key",
        connections: 32,
        puts: false,
        peer: CONSUL.1,
        target: 1.0 / 1.5,
    },
    Kind {
        what: "Consul API, durable puts, c=64: time of one",
        path: "/",
        connections: 64,
        puts: true,
        peer: CONSUL.2,
        target: CONSUL.2 / 8_000.0,
    },
];

pub(super) fn run(place: &Place) -> Result<Vec<Row>> {
    let changes: Changes = example(place, "consul", "changes", &[])?;
    let waits = schedule::program(place, "consul", "waits")?;
    let ground = Ground::make(&place.target.join("bench"))?;
    let server = server(place, &ground)?;
    let pid = server.program()?;
    shell::read(ground.command(&waits.to_string_lossy()).args(["prepare", ADDRESS]))?;
    let mut rows = vec![];
    for kind in &KINDS {
        rows.push(load(&ground, pid, kind)?);
    }
    let after_mb = cpu::resident_mb(pid)?;
    rows.push(row(
        "Consul API, memory of the server after that",
        (after_mb / CONSUL_MB, 0.3, "x"),
        format!("{after_mb:.1} MB"),
        format!("consul 1.10, measured once: {CONSUL_MB} MB"),
    ));
    rows.extend(woken(&ground, &waits)?);
    rows.push(idle(&ground, &waits, pid)?);
    rows.push(row(
        "Consul API, one of 10,000 containers changes",
        (changes.change_ms, 1.0, " ms"),
        format!("median of 200; all of them from nothing {:.0} ms", changes.first_ms),
        "-".into(),
    ));
    Ok(rows)
}

/// A server on a fresh folder. It may use both processors, as the peer's did.
fn server(place: &Place, ground: &Ground) -> Result<Server> {
    let remuda = Remuda::of(place, "bench")?;
    let data = ground.folder.join("consul-data");
    if data.exists() {
        fs::remove_dir_all(&data).with_context(|| format!("removing {}", data.display()))?;
    }
    let mut command = ground.command(&remuda.binary().to_string_lossy());
    command.env("REMUDA_CONFIG", ground.folder.join("consul-config.yaml"));
    command.arg("server").arg("--data-dir").arg(&data).args(["--consul-listen", ADDRESS]);
    ground.serve("server", &mut command, || ground.listens(ADDRESS))
}

fn load(ground: &Ground, pid: u32, kind: &Kind) -> Result<Row> {
    let step = Step::loud(kind.what);
    let (mut per_second, mut each_us, mut p99_ms) = (vec![], vec![], vec![]);
    // the first only warms up
    for round in 0..=ROUNDS {
        interrupt::check()?;
        let before = cpu::seconds(&[pid])?;
        let load = ask(ground, kind)?;
        let us = (cpu::seconds(&[pid])? - before) * 1e6 / load.requests;
        say::line(&format!("    {:9.0}/s, {us:6.1} us of CPU each", load.per_second));
        if round > 0 {
            per_second.push(load.per_second);
            each_us.push(us);
            p99_ms.push(load.p99_ms);
        }
    }
    step.done("");
    let (per_second, each_us) = (median(&per_second), median(&each_us));
    let p99_ms = median(&p99_ms);
    Ok(row(
        kind.what,
        (kind.peer / per_second, kind.target, "x"),
        format!("{per_second:.0}/s, {each_us:.1} us of CPU each, p99 {p99_ms:.1} ms"),
        format!("consul 1.10, measured once: {:.0}/s", kind.peer),
    ))
}

fn ask(ground: &Ground, kind: &Kind) -> Result<Load> {
    let mut command = ground.command("wrk");
    command.args(["-t2".to_owned(), format!("-c{}", kind.connections), format!("-d{SECONDS}s")]);
    if kind.puts {
        let script = ground.write("put.lua", include_str!("peers/put.lua"))?;
        command.arg("-s").arg(script);
    }
    wrk::run(command, &format!("http://{ADDRESS}{}", kind.path))
}

/// Queries on one service, and one change of it, after one of another.
fn woken(ground: &Ground, waits: &Path) -> Result<[Row; 2]> {
    let step = Step::loud("blocking queries on one service");
    let mut command = ground.command(&waits.to_string_lossy());
    let said = shell::read(command.args(["woken", ADDRESS, &WAITING.to_string()]))?;
    let told: Woken = serde_json::from_str(said.trim()).with_context(|| said.clone())?;
    step.done("answered");
    let none = "-".to_owned();
    Ok([
        row(
            "Consul API, 1,000 blocking queries, a change until all are answered, p99",
            (told.p99_ms, 50.0, " ms"),
            format!("p50 {:.1} ms", told.p50_ms),
            none.clone(),
        ),
        row(
            "Consul API, those of them that another service's change woke",
            (f64::from(told.by_something_else), 0.0, ""),
            none.clone(),
            none,
        ),
    ])
}

/// What queries that wait cost the server.
fn idle(ground: &Ground, waits: &Path, pid: u32) -> Result<Row> {
    let step = Step::loud("idle blocking queries");
    let before_mb = cpu::resident_mb(pid)?;
    let mut command = ground.command(&waits.to_string_lossy());
    command.args(["idle", ADDRESS, &IDLE.to_string()]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut said = String::new();
    let mut stdout = BufReader::new(child.stdout.take().context("its output")?);
    stdout.read_line(&mut said)?;
    if said.trim() != "waiting" {
        stdout.read_to_string(&mut said)?;
        bail!("the queries do not wait: {said}");
    }
    let each_kb = (cpu::resident_mb(pid)? - before_mb) * 1e3 / f64::from(IDLE);
    let beside = ask(ground, &KINDS[0])?;
    drop(child.stdin.take());
    let ended = child.wait()?;
    anyhow::ensure!(ended.success(), "the example `waits` ended with {ended}");
    step.done("");
    Ok(row(
        "Consul API, memory of one of 10,000 idle blocking queries",
        (each_kb, 10.0, " KB"),
        format!("health reads beside them {:.0}/s", beside.per_second),
        "-".into(),
    ))
}

fn row(
    what: &str,
    (measured, target, unit): (f64, f64, &str),
    ours: String,
    beside: String,
) -> Row {
    Row {
        part: "consul".into(),
        what: what.into(),
        ours,
        beside,
        measured,
        target: Some(target),
        unit: unit.into(),
    }
}
