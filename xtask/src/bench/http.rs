//! The HTTP proxy beside HAProxy and nginx: CPU per request over keep-alive connections, 1 KB
//! answers, a host route, least connections, X-Forwarded-For. Each has one thread on one
//! processor; load and backend share the other.

use super::ground::{Ground, Server};
use super::report::{Row, median, paired};
use super::{cpu, ours};
use crate::place::Place;
use crate::say::{self, Step};
use crate::{interrupt, shell};
use anyhow::{Context, Result, ensure};

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

/// What `wrk` says.
#[derive(Debug, PartialEq)]
struct Load {
    requests: f64,
    p99_ms: f64,
    failures: u64,
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
        let mut wrk = ground.beside("wrk");
        wrk.args(["-t1", "--latency", "--timeout", "5s", "-H", "Host: bench.example.test"]);
        wrk.args([format!("-c{connections}"), format!("-d{seconds}s"), url]);
        let said = shell::read(&mut wrk)?;
        let load = parse_wrk(&said)?;
        let (name, failures) = (self.name, load.failures);
        ensure!(failures == 0, "{failures} requests through {name} failed; wrk says:\n{said}");
        Ok(load)
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

fn parse_wrk(text: &str) -> Result<Load> {
    let line = |part: &str| text.lines().map(str::trim).find(|line| line.contains(part));
    let requests = line(" requests in ").and_then(|line| line.split(' ').next()?.parse().ok());
    let p99 = line("99%").and_then(|line| milliseconds(line.split_whitespace().nth(1)?));
    let numbers = |line: &str| -> u64 {
        let digits = line.split(|c: char| !c.is_ascii_digit());
        digits.filter_map(|word| word.parse::<u64>().ok()).sum()
    };
    let failures = ["Socket errors:", "Non-2xx or 3xx responses:"].map(|part| {
        let found = line(part).and_then(|line| line.split_once(": "));
        found.map_or(0, |(_, rest)| numbers(rest))
    });
    Ok(Load {
        requests: requests.with_context(|| format!("wrk says no count: {text}"))?,
        p99_ms: p99.with_context(|| format!("wrk says no latency: {text}"))?,
        failures: failures.iter().sum(),
    })
}

fn milliseconds(text: &str) -> Option<f64> {
    let at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(at);
    let factor = match unit {
        "us" => 0.001,
        "ms" => 1.0,
        "s" => 1000.0,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrk_is_understood() {
        let text = "  Latency Distribution\n     50%  310.00us\n     99%    1.25ms\n  131700 requests \
                    in 6.01s, 28.89MB read\nRequests/sec:  21920.05\n";
        let expect = Load { requests: 131_700.0, p99_ms: 1.25, failures: 0 };
        assert_eq!(parse_wrk(text).unwrap(), expect);
        let bad = format!(
            "{text}  Socket errors: connect 0, read 3, write 0, timeout 2\n  Non-2xx or 3xx \
             responses: 7\n"
        );
        assert_eq!(parse_wrk(&bad).unwrap().failures, 12);
        assert!(parse_wrk("unable to connect").is_err());
    }
}
