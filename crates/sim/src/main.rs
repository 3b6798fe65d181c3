//! `cargo xtask sim` runs this: many seeds over all cores, or one seed with its whole story.

mod mutations;
mod options;

use model::mutation::Mutation;
use options::Options;
use sim::{Flaw, Outcome, Scenario};
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A seed takes milliseconds, a large one seconds: after this long without any it hangs.
const PATIENCE: Duration = Duration::from_secs(120);
/// Failing seeds that are shrunk and told; more are only counted.
const TOLD_MAX: usize = 5;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            error(&why);
            return ExitCode::from(2);
        }
    };
    let clean = match options.seed {
        Some(seed) => one(seed, &options),
        None if options.mutations => mutations::check(&options),
        None => many(&options),
    };
    match clean {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            error(&format!("no folder for the runs: {why}"));
            ExitCode::FAILURE
        }
    }
}

/// A reader that went away is no reason to stop.
fn say(text: &str) {
    writeln!(std::io::stdout().lock(), "{text}").ok();
}

fn error(text: &str) {
    writeln!(std::io::stderr().lock(), "{text}").ok();
}

/// A folder for the small files of a run; in memory where there is one.
fn folder() -> std::io::Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("remuda-sim-").tempdir_in(parent)
}

/// Runs a scenario; a panic of the product is a flaw like any other.
fn run(scenario: &Scenario, base: &Path, keep: bool, mutation: Option<Mutation>) -> Outcome {
    mutations::put_in(mutation);
    let dir = base.join(format!("{}-{:?}", scenario.seed, std::thread::current().id()));
    let whole = std::panic::catch_unwind(|| {
        std::fs::create_dir_all(&dir).expect("the folder of the runs takes another one");
        sim::run(scenario, &dir, keep)
    });
    // What cannot be removed here goes with the folder of all runs.
    std::fs::remove_dir_all(&dir).ok();
    whole.unwrap_or_else(|_told_on_stderr| Outcome {
        flaws: vec![Flaw::Ended("the run panicked".into())],
        ..Outcome::default()
    })
}

fn scenario(seed: u64, options: &Options) -> Scenario {
    let mut scenario = Scenario::draw(seed);
    if let Some(steps) = &options.steps {
        scenario = scenario.only(steps);
    }
    scenario.hosts = options.hosts.unwrap_or(scenario.hosts);
    scenario
}

/// One seed and its whole story.
fn one(seed: u64, options: &Options) -> std::io::Result<bool> {
    let base = folder()?;
    let scenario = scenario(seed, options);
    let outcome = run(&scenario, base.path(), true, options.mutation);
    for line in &outcome.trace {
        say(line);
    }
    for flaw in &outcome.flaws {
        say(&format!("VIOLATION {flaw:?}"));
    }
    say(&format!(
        "seed {seed}: {} hosts, {} steps, {} lines, at rest after {} ms, digest {:016x}, {} \
         violations",
        scenario.hosts,
        scenario.steps.len(),
        outcome.lines,
        outcome.rest_ms,
        outcome.digest,
        outcome.flaws.len()
    ));
    Ok(outcome.flaws.is_empty())
}

/// Many seeds; says how far it is, and at the end what came of it.
fn many(options: &Options) -> std::io::Result<bool> {
    let base = folder()?;
    let begin = Instant::now();
    let next = AtomicU64::new(options.from);
    let end = options.from.saturating_add(options.seeds);
    let stop = AtomicBool::new(false);
    let (tell, told) = mpsc::channel();
    let mut failed: Vec<(Scenario, Flaw)> = vec![];
    let (mut done, mut lines) = (0_u64, 0_u64);
    std::thread::scope(|scope| {
        for _ in 0..options.jobs {
            let (tell, next, stop, base) = (tell.clone(), &next, &stop, base.path());
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let scenario = scenario(seed, options);
                    let outcome = run(&scenario, base, false, options.mutation);
                    // Nobody listens any more when the main thread has given up.
                    if tell.send((scenario, outcome)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(tell);
        let mut progress = Progress::new(options.seeds);
        loop {
            let (scenario, outcome) = match told.recv_timeout(PATIENCE) {
                Ok(one) => one,
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    // Time stands still in one of them: a loop that never waits.
                    progress.clear();
                    let near = next.load(Ordering::Relaxed).saturating_sub(1);
                    error(&format!("VIOLATION: a seed at or before {near} never ends"));
                    std::process::exit(1);
                }
            };
            done += 1;
            lines += outcome.lines;
            if let Some(flaw) = outcome.flaws.first() {
                progress.clear();
                say(&format!("seed {}: VIOLATION {flaw:?}", scenario.seed));
                failed.push((scenario, flaw.clone()));
            }
            progress.show(done, failed.len(), begin);
        }
        progress.clear();
    });
    failed.sort_by_key(|(scenario, _)| scenario.seed);
    for (scenario, flaw) in failed.iter().take(TOLD_MAX) {
        tell_shrunk(scenario, flaw, base.path(), options.mutation);
    }
    let secs = begin.elapsed().as_secs();
    say(&format!(
        "{done} seeds, {} violations, {}m{:02}s, {lines} events",
        failed.len(),
        secs / 60,
        secs % 60
    ));
    Ok(failed.is_empty())
}

fn tell_shrunk(scenario: &Scenario, flaw: &Flaw, base: &Path, mutation: Option<Mutation>) {
    say(&format!("\nseed {}: {flaw:?}", scenario.seed));
    say(&format!("  replay: {}", scenario.command()));
    let small =
        sim::shrink(scenario, flaw, |candidate| run(candidate, base, false, mutation).flaws);
    say(&format!("  shrunk: {}", small.command()));
    let outcome = run(&small, base, true, mutation);
    let story = outcome.trace.iter().filter(|line| line.get(7..10) == Some(" * "));
    for line in story {
        say(&format!("    {line}"));
    }
    for flaw in &outcome.flaws {
        say(&format!("    VIOLATION {flaw:?}"));
    }
}

/// How far it is: one line that is written over, on a terminal only.
struct Progress {
    terminal: bool,
    total: u64,
    shown: Option<Instant>,
}

impl Progress {
    fn new(total: u64) -> Self {
        Self { terminal: std::io::stderr().is_terminal(), total, shown: None }
    }

    fn show(&mut self, done: u64, failed: usize, begin: Instant) {
        let recently = self.shown.is_some_and(|at| at.elapsed().as_millis() < 200);
        if !self.terminal || recently {
            return;
        }
        self.shown = Some(Instant::now());
        let secs = begin.elapsed().as_secs_f64();
        let left = secs / done.max(1) as f64 * self.total.saturating_sub(done) as f64;
        let text = format!(
            "\r\x1b[K{done} of {} seeds, {failed} violations, {secs:.0} s, {left:.0} s to go",
            self.total
        );
        let mut out = std::io::stderr().lock();
        write!(out, "{text}").and_then(|()| out.flush()).ok();
    }

    fn clear(&mut self) {
        if self.terminal && self.shown.take().is_some() {
            write!(std::io::stderr().lock(), "\r\x1b[K").ok();
        }
    }
}
