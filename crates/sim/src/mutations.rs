//! The mutation check: a defect is put in, and seeds are run until one finds it.

use crate::options::Options;
use crate::{error, folder, run, say, scenario};
use model::mutation::Mutation;
use sim::Flaw;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// A seed that finds each defect, so that a test run need not look for one. Where the code has
/// changed it may not any more: then the next ones are tried, and the run says which seed to write
/// down here.
const KNOWN: [(Mutation, u64); Mutation::ALL.len()] = [
    (Mutation::DropFence, 283),
    (Mutation::ReuseIncarnation, 8),
    (Mutation::ForgetDrain, 0),
    (Mutation::LoseReservation, 136),
    (Mutation::PortTwice, 199),
    (Mutation::AddressTwice, 0),
    (Mutation::StatusOfOthers, 342),
    (Mutation::HandOverEarly, 0),
    (Mutation::ForgetGone, 0),
    (Mutation::CreateAgain, 0),
    (Mutation::KeepSurplus, 5),
    (Mutation::LoseReason, 3),
    (Mutation::OutliveLease, 75),
    (Mutation::RunBeside, 336),
    (Mutation::StayBehind, 212),
    (Mutation::IgnoreConstraint, 3),
    (Mutation::SkipHost, 8),
];

/// Where the search for a defect begins.
fn begin_of(mutation: Mutation, options: &Options) -> u64 {
    let known = KNOWN.iter().find(|(one, _)| *one == mutation).filter(|_| options.known);
    known.map_or(options.from, |(_, seed)| *seed)
}

/// Puts a defect into what this thread runs.
#[cfg(feature = "mutations")]
pub(crate) fn put_in(mutation: Option<Mutation>) {
    model::mutation::put_in(mutation);
}

/// Without the feature there is nothing to put in.
#[cfg(not(feature = "mutations"))]
pub(crate) fn put_in(_mutation: Option<Mutation>) {}

/// Finds every defect within the seeds asked for; says how.
pub(crate) fn check(options: &Options) -> std::io::Result<bool> {
    if !cfg!(feature = "mutations") {
        error("this build has no mutations: build it with --features mutations");
        return Ok(false);
    }
    let base = folder()?;
    let mut missed = vec![];
    let begin_all = Instant::now();
    for mutation in Mutation::ALL {
        let begin = Instant::now();
        let name = format!("{mutation:?}");
        let from = begin_of(mutation, options);
        match first(options, from, mutation, base.path()) {
            Some((seed, _)) if options.known && seed == from => {}
            Some((seed, flaw)) => {
                let tried = seed - from + 1;
                let secs = begin.elapsed().as_secs_f64();
                say(&format!(
                    "{name:<18} found by seed {seed} ({tried} tried, {secs:.1} s): {flaw:?}"
                ));
                say(&format!("{:18} cargo xtask sim --mutation {name} --seed {seed}", ""));
                if options.known {
                    say(&format!("{:18} its seed in sim/src/mutations.rs was {from}", ""));
                }
            }
            None => {
                say(&format!("{name:<18} NOT FOUND in {} seeds", options.seeds));
                missed.push(name);
            }
        }
    }
    let all = Mutation::ALL.len();
    let secs = begin_all.elapsed().as_secs();
    say(&format!("{} of {all} mutations found in {secs} s", all - missed.len()));
    Ok(missed.is_empty())
}

/// The first seed that finds it.
fn first(options: &Options, from: u64, mutation: Mutation, base: &Path) -> Option<(u64, Flaw)> {
    let end = from.saturating_add(options.seeds);
    let next = AtomicU64::new(from);
    let found: Mutex<Option<(u64, Flaw)>> = Mutex::new(None);
    let known = || found.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    // Seeds before the one that found it are run to their end: the first counts.
                    let over = known().as_ref().is_some_and(|(first, _)| *first < seed);
                    if seed >= end || over {
                        return;
                    }
                    let outcome = run(&scenario(seed, options), base, false, Some(mutation));
                    let Some(flaw) = outcome.flaws.into_iter().next() else { continue };
                    // A seed that fails without the defect says nothing of it.
                    let without = run(&scenario(seed, options), base, false, None);
                    if !without.flaws.is_empty() {
                        continue;
                    }
                    let mut best = known();
                    if best.as_ref().is_none_or(|(first, _)| seed < *first) {
                        *best = Some((seed, flaw));
                    }
                }
            });
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}
