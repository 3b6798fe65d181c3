//! `cargo xtask bench`: the numbers of the product, side by side with its peers in one run, on a
//! machine of namespaces of its own, with a verdict for every target.

mod report;
mod machine;
mod cpu;
mod ground;

mod ours;
mod wrk;
mod http;
mod dns;

mod network;
mod poll;

mod running;
mod engine_api;
mod deploy;
mod start;
mod idle;
mod build;
mod consul;
mod schedule;
mod link;
mod metadata;
mod hosts;

use crate::place::Place;
use crate::remuda::Remuda;
use crate::{images, needs, say, shell};
use anyhow::{Context, Result, bail};
use report::Row;
use running::Running;
use std::process::{Command, ExitCode};

/// How a part is measured.
enum Part {
    /// Outside, with nothing but the compiler and the file system.
    Outside(fn(&Place) -> Result<Vec<Row>>),
    /// On the switch of a cluster of its own: what is done outside, and what there.
    Cluster(fn(&Place) -> Result<Vec<Row>>, fn(&Place) -> Result<Vec<Row>>),
    /// On the bench's machine, on a ground of its own.
    Alone(fn(&Place) -> Result<Vec<Row>>),
    /// On the bench's machine, with Remuda running.
    Running(fn(&Place, &mut Running) -> Result<Vec<Row>>),
}

/// In the order in which they run; `idle` ends `remuda dev`, so nothing that needs it comes after.
const PARTS: &[(&str, Part)] = &[
    ("size", Part::Outside(build::size)),
    ("schedule", Part::Outside(schedule::run)),
    ("link", Part::Outside(link::run)),
    ("consul", Part::Alone(consul::run)),
    ("metadata", Part::Outside(metadata::run)),
    ("build", Part::Outside(build::cold)),
    ("http", Part::Alone(http::run)),
    ("dns", Part::Alone(dns::run)),
    ("deploy", Part::Running(deploy::run)),
    ("start", Part::Running(start::run)),
    ("idle", Part::Running(idle::run)),
    ("hosts", Part::Cluster(hosts::outside, hosts::run)),
];

/// Only by name or with `--all`: it takes minutes and measures the compiler's machine.
const COLD: &str = "build";
/// The same: it takes minutes and both cores.
const LINK: &str = "link";

/// What was asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    parts: Vec<&'static str>,
    json: bool,
    write: bool,
    inside: bool,
}

fn parse(words: &[&str]) -> Result<Asked> {
    let (mut asked, mut all) = (Asked::default(), false);
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        match word {
            "--all" => all = true,
            "--write" => asked.write = true,
            "--inside" => asked.inside = true,
            "-o" | "--output" => match words.next() {
                Some("json") => asked.json = true,
                Some("table") => asked.json = false,
                other => bail!("-o takes table or json, not {}", other.unwrap_or("nothing")),
            },
            "-ojson" | "--output=json" => asked.json = true,
            word => match PARTS.iter().find(|(name, _)| *name == word) {
                Some((name, _)) => asked.parts.push(name),
                None => {
                    let known: Vec<_> = PARTS.iter().map(|(name, _)| *name).collect();
                    bail!("the bench has no part {word}; it has {}", known.join(", "))
                }
            },
        }
    }
    if all || asked.parts.is_empty() {
        let names = PARTS.iter().map(|(name, _)| *name);
        asked.parts = names.filter(|name| all || ![COLD, LINK].contains(name)).collect();
    }
    Ok(asked)
}

/// The task, from its words on the command line. The exit code says whether every target was met.
pub(crate) fn run(place: &Place, words: &[&str]) -> Result<ExitCode> {
    let asked = parse(words)?;
    if asked.inside {
        on_the_machine(place, &asked.parts)?;
        return Ok(ExitCode::SUCCESS);
    }
    if asked.json {
        say::on_stderr();
    }
    if !rustix::process::geteuid().is_root() {
        bail!("the bench makes namespaces and networks of its own, so it must run as root");
    }
    needs::ensure(place, &[needs::RUN, needs::BENCH])?;
    let rows = outside(place, &asked)?;
    let missed = rows.iter().filter(|row| row.met() == Some(false)).count();
    let table = report::table(&rows);
    if asked.json {
        say::result(&report::json(&rows)?);
    } else {
        say::line("");
        for row in &rows {
            say::line(&row.line());
        }
    }
    if asked.write {
        write(place, words, &table)?;
    }
    let targets = rows.iter().filter(|row| row.met().is_some()).count();
    say::line(&format!("\n{} of {targets} targets passed, {missed} missed", targets - missed));
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn outside(place: &Place, asked: &Asked) -> Result<Vec<Row>> {
    let remuda = Remuda::of(place, "bench")?;
    let mut inside = vec![];
    let mut rows = vec![];
    // built first, so that nothing is compiled beside a measurement
    if asked.parts.iter().any(|name| *name != COLD) {
        remuda.build(place)?;
    }
    let asked_for = || PARTS.iter().filter(|(name, _)| asked.parts.contains(name));
    if asked_for().any(|(_, part)| matches!(part, Part::Running(_))) {
        images::build(place)?;
    }
    for (name, part) in asked_for() {
        match part {
            Part::Outside(run) | Part::Cluster(run, _) => {
                rows.extend(run(place).with_context(|| format!("bench {name}"))?);
            }
            Part::Alone(_) | Part::Running(_) => inside.push(*name),
        }
    }
    if !inside.is_empty() {
        rows.extend(machine::run(place, &inside, asked.json)?);
    }
    Ok(rows)
}

/// Inside: measures and hands the rows out.
fn on_the_machine(place: &Place, names: &[&str]) -> Result<()> {
    let mut running = None;
    let mut rows = vec![];
    for (name, part) in PARTS.iter().filter(|(name, _)| names.contains(name)) {
        let found = match (part, &mut running) {
            (Part::Outside(run) | Part::Alone(run) | Part::Cluster(_, run), _) => run(place),
            (Part::Running(run), Some(remuda)) => run(place, remuda),
            (Part::Running(run), none) => run(place, none.insert(Running::start(place)?)),
        };
        rows.extend(found.with_context(|| format!("bench {name}"))?);
    }
    machine::hand_out(place, &rows)?;
    if let Some(Err(error)) = running.map(Running::end) {
        // it ends with the machine; what was measured stays true
        say::error(&format!("taking Remuda away: {error:#}"));
    }
    Ok(())
}

fn write(place: &Place, words: &[&str], table: &str) -> Result<()> {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let read = |program: &str, argument: &str| {
        shell::read(Command::new(program).arg(argument)).unwrap_or_else(|_| "unknown".into())
    };
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches([' ', '\t', ':']);
    let revision = Command::new("git")
        .args(["rev-parse", "--short", "HEAD"])
        .current_dir(&place.root)
        .output()
        .map_or_else(|_| String::new(), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    let path = place.root.join("docs/benchmarks.md");
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    let text = report::document(
        &old,
        &format!(
            "Command: `cargo xtask bench {}`. Date: {}. Source: {revision}.\nMachine: {cpus} x \
             {model}, Linux {}.\n\n{table}",
            words.join(" "),
            read("date", "+%F"),
            read("uname", "-r"),
        ),
    );
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    say::line(&format!("written to {}", path.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cold_build_runs_only_when_asked_for() {
        assert!(!parse(&[]).unwrap().parts.contains(&COLD));
        assert!(parse(&["--all"]).unwrap().parts.contains(&COLD));
        assert_eq!(parse(&[COLD]).unwrap().parts, [COLD]);
        assert_eq!(parse(&["dns", "-o", "json"]).unwrap().parts, ["dns"]);
        assert!(parse(&["dns", "-o", "json"]).unwrap().json);
        assert!(parse(&["-o", "yaml"]).is_err());
        assert!(parse(&["nonsense"]).is_err());
    }
}
