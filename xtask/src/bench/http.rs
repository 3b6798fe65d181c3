//! The HTTP proxy beside HAProxy and nginx: CPU per request over keep-alive connections, 1 KB
//! answers, a host route, least connections, X-Forwarded-For. Each has one thread on one
//! processor; load and backend share the other.

use super::ground::{Ground, Server};
use super::report::{Row, median, paired};
use super::wrk::{self, Load};
use super::{cpu, ours};
use crate::interrupt;
use crate::place::Place;
use crate::say::{self, Step};
use anyhow::{Context, Result};

/// Rounds; each proxy is measured once in each, one after the other.
const ROUNDS: usize = 7;
/// Seconds of one measurement.
const SECONDS: u32 = 3;
/// Connections kept busy.
const LOADS: [u32; 2] = [64, 512];
/// Most that we may take of HAProxy's CPU for a request.
const TARGET: f64 = 1.10;

/// One of those that are compared.
struct Contender {
    name: &'static str,
    port: u16,
    server: Server,
    /// Of the load at hand.
    per_request_us: Vec<f64>,
    p99_ms: Vec<f64>,
}

pub(super) fn run(place: &Place) -> Result<Vec<Row>> {
    let ground = Ground::make(&place.target.join("bench"))?;
    let backend = backend(&ground)?;
    let mut contenders = vec![
        Contender::of("remuda", ours::PROXY.1, ours::dataplane(place, &ground)?),
        Contender::of("haproxy", 8101, haproxy(&ground)?),
        Contender::of("nginx", 8102, nginx(&ground)?),
    ];
    let mut rows = vec![];
    for connections in LOADS {
        let step = Step::loud(&format!("HTTP proxy, {connections} connections"));
        for contender in &mut contenders {
            // pools fill and code gets warm, unmeasured
            contender.load(&ground, connections, 1)?;
            contender.per_request_us.clear();
            contender.p99_ms.clear();
        }
        for round in 0..ROUNDS {
            // nobody is always the first
            for turn in 0..contenders.len() {
                interrupt::check()?;
                let at = (round + turn) % contenders.len();
                contenders[at].measure(&ground, connections)?;
            }
        }
        step.done("");
        rows.extend(compare(connections, &contenders));
    }
    drop(backend);
    Ok(rows)
}

fn backend(ground: &Ground) -> Result<Server> {
    let conf = include_str!("peers/nginx-backend.conf").replace("BODY", &"x".repeat(1024));
    let conf = ground.write("nginx-backend.conf", &conf)?;
    let mut command = ground.beside("nginx");
    command.args(["-e", "stderr", "-c"]).arg(conf);
    ground.serve("nginx-backend", &mut command, || ground.listens("127.0.0.2:9000"))
}

fn haproxy(ground: &Ground) -> Result<Server> {
    let conf = ground.write("haproxy.cfg", include_str!("peers/haproxy.cfg"))?;
    let mut command = ground.server("haproxy");
    command.arg("-db").arg("-f").arg(conf);
    ground.serve("haproxy", &mut command, || ground.listens("127.0.0.1:8101"))
}

fn nginx(ground: &Ground) -> Result<Server> {
    let conf = ground.write("nginx-proxy.conf", include_str!("peers/nginx-proxy.conf"))?;
    let mut command = ground.server("nginx");
    command.args(["-e", "stderr", "-c"]).arg(conf);
    ground.serve("nginx-proxy", &mut command, || ground.listens("127.0.0.1:8102"))
}

impl Contender {
    fn of(name: &'static str, port: u16, server: Server) -> Self {
        Self { name, port, server, per_request_us: vec![], p99_ms: vec![] }
    }

    fn load(&self, ground: &Ground, connections: u32, seconds: u32) -> Result<Load> {
        let url = format!("http://127.0.0.1:{}/", self.port);
        let mut command = ground.beside("wrk");
        command.args(["-t1", "-H", "Host: bench.example.test"]);
        command.args([format!("-c{connections}"), format!("-d{seconds}s")]);
        wrk::run(command, &url).with_context(|| format!("through {}", self.name))
    }

    fn measure(&mut self, ground: &Ground, connections: u32) -> Result<()> {
        let pids = self.server.family();
        let before = cpu::seconds(&pids)?;
        let load = self.load(ground, connections, SECONDS)?;
        let used = cpu::seconds(&pids)? - before;
        let per_request_us = used * 1e6 / load.requests;
        say::line(&format!(
            "    {:8} {:9.0} requests, {per_request_us:6.2} us of CPU each, p99 {:.2} ms",
            self.name, load.requests, load.p99_ms
        ));
        self.per_request_us.push(per_request_us);
        self.p99_ms.push(load.p99_ms);
        Ok(())
    }
}

/// The first is ours.
fn compare(connections: u32, contenders: &[Contender]) -> Vec<Row> {
    let [ours, peers @ ..] = contenders else { return vec![] };
    let shown = |c: &Contender| {
        let (cpu, p99) = (median(&c.per_request_us), median(&c.p99_ms));
        format!("{cpu:.1} us, p99 {p99:.1} ms")
    };
    let row = |peer: &Contender| Row {
        part: "http".into(),
        what: format!("HTTP proxy, CPU per request, c={connections}"),
        ours: shown(ours),
        beside: format!("{}: {}", peer.name, shown(peer)),
        measured: paired(&ours.per_request_us, &peer.per_request_us),
        target: (peer.name == "haproxy").then_some(TARGET),
        unit: "x".into(),
    };
    peers.iter().map(row).collect()
}
