//! From the start of a container that somebody runs by hand to its first answer through the
//! balancers that expose it: those of its own host and of another one.

use super::bed::Bed;
use crate::bench::poll::FirstAnswer;
use crate::bench::report::{Row, percentile};
use crate::say::Step;
use crate::{interrupt, shell};
use anyhow::{Context, Result, bail};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Starts that count, and starts before them.
const STARTS: usize = 100;
const WARM_UP: usize = 3;
/// The name of the service with the domain is the host that is asked for: `bench.example.test`.
const LABELS: [&str; 4] = ["-l", "SERVICE_NAME=bench", "-l", "SERVICE_TAGS=http"];
const DOMAIN: &str = "example.test";
const NAME: &str = "bench-exposed";
/// Port of its host at which the container is published.
const PUBLISHED: u16 = 8098;
const PATIENCE: Duration = Duration::from_secs(30);
/// What it is called, its part of all, and the most milliseconds.
type Target = (&'static str, f64, f64);
/// Most milliseconds, the middle one and one in a hundred: on its host, and on another one.
const TARGETS: [(&str, [Target; 2]); 2] = [
    ("same host", [("p50", 0.50, 5.0), ("p99", 0.99, 15.0)]),
    ("another host", [("p50", 0.50, 10.0), ("p99", 0.99, 30.0)]),
];

pub(super) fn run(bed: &Bed) -> Result<Vec<Row>> {
    let step = Step::loud(&format!("{STARTS} starts by `docker run` on h2, exposed by h2 and h1"));
    shell::read(Bed::remuda().args(["net", "expose", "set", "--domain", DOMAIN]))?;
    let (mut same, mut other) = (vec![], vec![]);
    for n in 0..WARM_UP + STARTS {
        interrupt::check()?;
        let late = one(bed).with_context(|| format!("start {n}"))?;
        if n >= WARM_UP {
            same.push(late[0]);
            other.push(late[1]);
        }
    }
    shell::read(Bed::remuda().args(["net", "expose", "off"]))?;
    step.done("");
    let mut rows = vec![];
    for ((place, targets), late_ms) in TARGETS.into_iter().zip([same, other]) {
        let worst = percentile(&late_ms, 1.0);
        rows.extend(targets.map(|(name, share, target)| Row {
            part: "hosts".into(),
            what: format!("docker run to exposed, {place}, {name} of {STARTS}"),
            ours: format!("worst {worst:.1} ms"),
            beside: "-".into(),
            measured: percentile(&late_ms, share),
            target: Some(target),
            unit: " ms".into(),
        }));
    }
    Ok(rows)
}

/// Milliseconds from the first 200 at the published port to the first through h2 and through h1.
fn one(bed: &Bed) -> Result<[f64; 2]> {
    let at = |host: u8, port: u16| SocketAddr::from(([10, 99, 0, host], port));
    let through = [2, 1].map(|host| FirstAnswer::through(at(host, 80), None));
    let direct = FirstAnswer::from(at(2, PUBLISHED), None);
    let published = format!("{PUBLISHED}:8081");
    let mut words = vec!["docker", "run", "-d", "--name", NAME, "-p", &published];
    words.extend(LABELS);
    words.push("storefront/httpbackend:v1.0.0");
    shell::read(&mut bed.on("h2", &words))?;
    let direct = direct.wait(PATIENCE)?;
    let [same, other] = through.map(|through| through.wait(PATIENCE));
    shell::read(&mut bed.on("h2", &["docker", "rm", "-f", NAME]))?;
    let until = Instant::now() + PATIENCE;
    while shell::read(Bed::remuda().args(["net", "expose", "-o", "name"]))?.contains("bench") {
        interrupt::check()?;
        if Instant::now() > until {
            bail!("waited in vain for the container to be exposed no longer");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let late = |through: Instant| {
        let late = through.saturating_duration_since(direct).as_secs_f64();
        let early = direct.saturating_duration_since(through).as_secs_f64();
        (late - early) * 1e3
    };
    Ok([late(same?), late(other?)])
}
