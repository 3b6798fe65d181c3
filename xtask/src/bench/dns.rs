//! DNS beside dnsmasq: CPU per query of names with three addresses each, ours and Consul's.

use super::ground::{Ground, Server};
use super::report::{Row, median, paired};
use super::{cpu, ours};
use crate::place::Place;
use crate::say::{self, Step};
use crate::{interrupt, shell};
use anyhow::{Context, Result, ensure};
use std::fmt::Write;

/// Rounds; each server is measured once in each.
const ROUNDS: usize = 7;
/// Seconds of one measurement.
const SECONDS: u32 = 3;
/// Services, each with three addresses.
pub(super) const NAMES: u32 = 200;
/// Most that we may take of dnsmasq's CPU for a query.
const TARGET: f64 = 0.85;

/// Where dnsmasq answers, as its configuration says.
const DNSMASQ: (&str, &str) = ("127.0.0.1", "5301");

/// The name of a service, as both servers know it.
pub(super) fn name(n: u32) -> String {
    format!("service-{n}.bench.rancher.internal")
}

/// The same service by its name of Consul.
fn consul_name(n: u32) -> String {
    format!("{}.service.consul", service(n))
}

/// The service in the catalog.
pub(super) fn service(n: u32) -> String {
    format!("service-{n}")
}

/// Its addresses.
pub(super) fn addresses(n: u32) -> [std::net::Ipv4Addr; 3] {
    [1, 2, 3].map(|host| std::net::Ipv4Addr::new(10, 42, u8::try_from(n).unwrap_or(255), host))
}

/// File of queries, what the row is called, and the name of a service by its number.
type Kind = (&'static str, &'static str, fn(u32) -> String);

pub(super) fn run(place: &Place) -> Result<Vec<Row>> {
    let ground = Ground::make(&place.target.join("bench"))?;
    let mut hosts = String::new();
    let kinds: [Kind; 2] = [
        ("queries", "DNS, CPU per query", name),
        ("queries-consul", "DNS, CPU per query, x.service.consul", consul_name),
    ];
    for (file, _, name) in kinds {
        let mut queries = String::new();
        for n in 0..NAMES {
            for address in addresses(n) {
                writeln!(hosts, "{address} {}", name(n))?;
            }
            writeln!(queries, "{} A", name(n))?;
        }
        ground.write(file, &queries)?;
    }
    ground.write("hosts", &hosts)?;
    let ours = ours::dataplane(place, &ground)?;
    let peer = dnsmasq(&ground)?;
    let rows = kinds.map(|(file, what, _)| row(&ground, [&ours, &peer], file, what));
    rows.into_iter().collect()
}

/// Both servers asked for the names of a file.
fn row(ground: &Ground, [ours, peer]: [&Server; 2], file: &str, what: &str) -> Result<Row> {
    let step = Step::loud(what);
    let mut cpu_us = [vec![], vec![]];
    for round in 0..=ROUNDS {
        let both = [("remuda", ours, ours::DNS), ("dnsmasq", peer, DNSMASQ)];
        // nobody is always the first
        for at in [round % 2, (round + 1) % 2] {
            interrupt::check()?;
            let (name, server, address) = both[at];
            let value = measure(ground, name, server, (address, file))?;
            // the first round only warms up
            if round > 0 {
                cpu_us[at].push(value);
            }
        }
    }
    step.done("");
    let [ours, theirs] = cpu_us;
    Ok(Row {
        part: "dns".into(),
        what: what.into(),
        ours: format!("{:.2} us", median(&ours)),
        beside: format!("dnsmasq: {:.2} us", median(&theirs)),
        measured: paired(&ours, &theirs),
        target: Some(TARGET),
        unit: "x".into(),
    })
}

fn dnsmasq(ground: &Ground) -> Result<Server> {
    let conf = ground.write("dnsmasq.conf", include_str!("peers/dnsmasq.conf"))?;
    let mut command = ground.server("dnsmasq");
    command.arg(format!("--conf-file={}", conf.display()));
    let address = format!("{}:{}", DNSMASQ.0, DNSMASQ.1);
    ground.serve("dnsmasq", &mut command, || ground.listens_udp(&address))
}

fn measure(
    ground: &Ground,
    name: &str,
    server: &Server,
    ((ip, port), file): ((&str, &str), &str),
) -> Result<f64> {
    let pids = server.family();
    let before = cpu::seconds(&pids)?;
    let mut dnsperf = ground.beside("dnsperf");
    dnsperf.args(["-s", ip, "-p", port, "-d", file, "-c", "8", "-q", "64", "-l"]);
    let (completed, lost) = parse_dnsperf(&shell::read(dnsperf.arg(SECONDS.to_string()))?)?;
    let used = cpu::seconds(&pids)? - before;
    ensure!(lost * 1000.0 <= completed, "{lost} of {completed} queries to {name} were lost");
    let each_us = used * 1e6 / completed;
    say::line(&format!("    {name:8} {completed:9.0} queries, {each_us:6.2} us of CPU each"));
    Ok(each_us)
}

/// Queries completed and lost; an answer other than NOERROR makes the run worthless.
fn parse_dnsperf(text: &str) -> Result<(f64, f64)> {
    let value = |label: &str| {
        let line = text.lines().map(str::trim).find_map(|line| line.strip_prefix(label));
        let word = line.and_then(|rest| rest.split_whitespace().next());
        word.and_then(|word| word.parse::<f64>().ok())
            .with_context(|| format!("dnsperf does not say {label:?}: {text}"))
    };
    let codes = text.lines().find(|line| line.trim().starts_with("Response codes:"));
    let only_good = codes.is_some_and(|line| line.contains("NOERROR") && !line.contains(','));
    ensure!(only_good, "not every answer was NOERROR: {}", codes.unwrap_or("none came"));
    Ok((value("Queries completed:")?, value("Queries lost:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dnsperf_is_understood() {
        let text = "Statistics:\n\n  Queries sent:         1000\n  Queries completed:    998 \
                    (99.80%)\n  Queries lost:         2 (0.20%)\n\n  Response codes:       NOERROR \
                    998 (100.00%)\n";
        assert_eq!(parse_dnsperf(text).unwrap(), (998.0, 2.0));
        let refused = text.replace("NOERROR 998", "NOERROR 1, REFUSED 997");
        assert!(parse_dnsperf(&refused).is_err());
        assert!(parse_dnsperf("").is_err());
    }
}
