//! From a container's start to its first answer through the proxy: one start at a time, the first
//! 200 through the balancer minus the first 200 from the container's own address.

mod events;

use super::network::Network;
use super::poll::FirstAnswer;
use super::report::{Row, percentile};
use super::running::Running;
use crate::place::Place;
use crate::say::{self, Step};
use crate::{interrupt, shell};
use anyhow::{Context, Result, bail};
use events::Events;
use serde_json::Value;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

/// Starts that count.
const STARTS: usize = 200;
/// Starts before them, to warm up.
const WARM_UP: usize = 5;
/// Most milliseconds: the middle one, and one in a hundred.
const TARGETS: [(&str, f64, f64); 2] = [("p50", 0.50, 5.0), ("p99", 0.99, 15.0)];
/// The stack, whose service `web` starts again and again.
const STACK: &str = "bench-start";
/// Port of the balancer and of the container.
const BALANCER: u16 = 8099;
const INSIDE: u16 = 8081;
/// Longest wait for an instance to come or go.
const PATIENCE: Duration = Duration::from_secs(30);

const COMPOSE: &str = "\
services:
  web:
    image: storefront/httpbackend:v1.0.0
    scale: 1
    expose: ['8081']
    stop_grace_period: 0s
  lb:
    image: rancher/lb-service-haproxy:v0.9.14
    ports: ['127.0.0.1:8099:8099/tcp']
    lb_config:
      port_rules:
        - source_port: 8099
          protocol: http
          service: web
          target_port: 8081
";

pub(super) fn run(_place: &Place, running: &mut Running) -> Result<Vec<Row>> {
    let step = Step::loud(&format!("{STARTS} starts, one at a time"));
    let file = running.file("start.yaml", COMPOSE)?;
    running.up(&file, STACK)?;
    ask_for_addresses_often()?;
    let events = Events::watch()?;
    let starts = Starts {
        remuda: &|| running.command(),
        stack: STACK,
        balancer: SocketAddr::from(([127, 0, 0, 1], BALANCER)),
        beside: None,
    };
    let late_ms = starts.all(STARTS)?;
    running.down(STACK)?;
    step.done("");
    let delivery = events.end()?;
    let worst = percentile(&late_ms, 1.0);
    let row = |(name, share, target): (&str, f64, f64)| Row {
        part: "start".into(),
        what: format!("container start to routed, same host, {name} of {STARTS}"),
        ours: format!("worst {worst:.1} ms"),
        beside: format!("Docker's event alone: {:.1} ms", percentile(&delivery, share)),
        measured: percentile(&late_ms, share),
        target: Some(target),
        unit: " ms".into(),
    };
    Ok(TARGETS.map(row).to_vec())
}

/// Starts of the one instance of the service `web` of a stack.
pub(super) struct Starts<'a> {
    /// The CLI.
    pub(super) remuda: &'a dyn Fn() -> Command,
    pub(super) stack: &'a str,
    /// Where the balancer answers, as seen from here.
    pub(super) balancer: SocketAddr,
    /// Network of the machine where the instance runs; `None` is this one.
    pub(super) beside: Option<&'a Network>,
}

impl Starts<'_> {
    /// So many, one after the other, and some before them: milliseconds from the container's own
    /// first 200 to the first through the balancer.
    pub(super) fn all(&self, count: usize) -> Result<Vec<f64>> {
        let mut late_ms = vec![];
        for n in 0..WARM_UP + count {
            interrupt::check()?;
            self.gone()?;
            let late = self.one().with_context(|| format!("start {n}"))?;
            if n >= WARM_UP {
                late_ms.push(late);
            }
            if late_ms.len() % 50 == 0 && !late_ms.is_empty() {
                let (p50, p99) = (percentile(&late_ms, 0.5), percentile(&late_ms, 0.99));
                let count = late_ms.len();
                say::line(&format!("    {count} starts: p50 {p50:.2} ms, p99 {p99:.2} ms"));
            }
        }
        Ok(late_ms)
    }

    fn scale(&self, to: &str) -> Result<()> {
        let service = format!("{}/web", self.stack);
        shell::read((self.remuda)().args(["svc", "scale", &service, to, "--no-wait"]))?;
        Ok(())
    }

    /// Takes the instance away and waits until it is gone.
    fn gone(&self) -> Result<()> {
        self.scale("0")?;
        let until = Instant::now() + PATIENCE;
        while !self.rows()?.is_empty() {
            wait(until, "the instance to go")?;
        }
        Ok(())
    }

    fn one(&self) -> Result<f64> {
        let through = FirstAnswer::through(self.balancer, None);
        self.scale("1")?;
        // placed, and so known, long before Docker has made it
        let until = Instant::now() + PATIENCE;
        let address: Ipv4Addr = loop {
            let rows = self.rows()?;
            if let Some(found) = rows.iter().find_map(|row| row["address"].as_str()?.parse().ok()) {
                break found;
            }
            wait(until, "the instance's address")?;
        };
        let direct = FirstAnswer::from(SocketAddr::from((address, INSIDE)), self.beside);
        let (direct, through) = (direct.wait(PATIENCE)?, through.wait(PATIENCE)?);
        let late = through.saturating_duration_since(direct).as_secs_f64();
        let early = direct.saturating_duration_since(through).as_secs_f64();
        Ok((late - early) * 1e3)
    }

    /// Rows of `remuda ps` of the service.
    fn rows(&self) -> Result<Vec<Value>> {
        let text = shell::read((self.remuda)().args(["ps", "-o", "json"]))?;
        let rows: Vec<Value> =
            serde_json::from_str(&text).context("reading `remuda ps -o json`")?;
        let ours = |row: &Value| row["stack"] == self.stack && row["service"] == "web";
        Ok(rows.into_iter().filter(ours).collect())
    }
}

fn wait(until: Instant, what: &str) -> Result<()> {
    interrupt::check()?;
    if Instant::now() > until {
        bail!("waited in vain for {what}");
    }
    std::thread::sleep(Duration::from_millis(5));
    Ok(())
}

/// The container is asked before it is there. The kernel would repeat the question for its link
/// address only after a second, which would be measured: it is told to repeat it at once.
pub(super) fn ask_for_addresses_often() -> Result<()> {
    let folder = "/proc/sys/net/ipv4/neigh";
    for device in fs::read_dir(folder).with_context(|| format!("reading {folder}"))?.flatten() {
        let path = device.path().join("retrans_time_ms");
        fs::write(&path, "1").with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}
