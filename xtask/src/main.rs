//! `cargo xtask`: the only automation of this repository. Each task is a module; here is only
//! which word means which.

mod say;
mod shell;
mod place;
mod interrupt;
mod needs;
mod dockerd;
mod images;
mod remuda;
mod leftovers;
mod tidy;
mod suite;
mod gate;
mod sim;
mod chaos;
mod clients;
mod cluster;
mod demo;
mod bench;
mod dist;

use anyhow::Result;
use place::Place;
use std::process::ExitCode;

const HELP: &str = "\
The tasks of this repository.

Usage: cargo xtask <task>

Tasks:
  demo [--check]  build everything, bring the example up, call it, show what was seen; stays up
                  until Ctrl-C and leaves nothing behind. --check ends by itself: exit code 0
                  when everything that the demo promises was seen
  test            every test, real Docker included; the last line has the counts
  ci              what a change must pass: format, clippy, documentation, licences, tidy, test
  fix             format, and mend what clippy can mend
  tidy            the rules of the house that no compiler checks
  images          the images of examples/storefront
  sim [option]…   whole clusters in virtual time, each drawn from a seed: --seeds N (1000),
                  --from S, --jobs J; --seed S tells the story of one, with --hosts N and
                  --steps a,b,c of a part of it. Exit code 1 on a violation, with the command that
                  replays it and its smallest form found. See docs/testing.md
  cluster <verb>  hosts on this machine with a server and agents, to try things with and to break:
                  up N, status, exec, cut, heal, drop, oneway, delay, kill, boot, hang, wake, down;
                  `cluster --help` has examples. See docs/testing.md
  chaos           scripts of faults, each drawn from a seed, on a cluster of three hosts under load:
                  --seeds N (100), --from S. See docs/testing.md
  bench [part]…   the product's numbers beside its peers', on a machine of namespaces of its own:
                  size, schedule, metadata, http, dns, deploy, start, idle; with --all also build, a cold
                  release build. -o json for programs, --write puts the table into docs/benchmarks.md.
                  Exit code 1 when a target is missed
  dist [option]…  a tarball, a package of Debian and their checksums, in target/dist: of the static
                  release binary, or of --binary PATH; --out FOLDER puts them elsewhere
  help            this text

demo, test, chaos, cluster, bench and dist install what is missing (Debian, as root) and start a dockerd when none answers;
they stop only what they started. DOCKER_HOST, CI (no colours) and NO_COLOR are honoured.

Examples:
  cargo xtask demo
  cargo xtask demo --check
  cargo xtask test
  cargo xtask sim --seeds 10000
  cargo xtask cluster up 3
  cargo xtask chaos --seeds 10
  cargo xtask bench http dns
  cargo xtask dist
  cargo xtask fix && cargo xtask ci
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = |outcome: Result<()>| outcome.map(|()| ExitCode::SUCCESS);
    let outcome = match words[..] {
        // its own words have their own help
        ["cluster", ref words @ ..] => with_place(|place| cluster::run(place, words)),
        [] | ["help" | "--help" | "-h"] | [_, "--help" | "-h"] => {
            say::line(HELP);
            return ExitCode::SUCCESS;
        }
        ["demo"] => done(with_place(|place| demo::run(place, demo::Mode::UntilCtrlC))),
        ["demo", "--check"] => done(with_place(|place| demo::run(place, demo::Mode::Check))),
        ["test"] => done(with_place(suite::test)),
        ["ci"] => done(with_place(gate::ci)),
        ["fix"] => done(with_place(gate::fix)),
        ["tidy"] => done(with_place(tidy::check)),
        ["sim", ref words @ ..] => with_place(|place| sim::run(place, words)),
        ["chaos", ref words @ ..] => done(with_place(|place| chaos::run(place, words))),
        ["dist", ref words @ ..] => done(with_place(|place| dist::run(place, words))),
        ["images"] => done(with_place(make_images)),
        ["bench", ref cases @ ..] => with_place(|place| bench::run(place, cases)),
        _ => {
            say::error(&format!("no such task: {}\n\n{HELP}", words.join(" ")));
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            say::error(&format!("error: {error:#}"));
            if interrupt::came() { ExitCode::from(130) } else { ExitCode::FAILURE }
        }
    }
}

fn with_place<T>(task: impl FnOnce(&Place) -> Result<T>) -> Result<T> {
    interrupt::listen()?;
    task(&Place::find()?)
}

fn make_images(place: &Place) -> Result<()> {
    needs::ensure(place, &[needs::RUN])?;
    let dockerd = dockerd::Dockerd::ensure(place)?;
    images::make(place)?;
    dockerd.stop()
}
