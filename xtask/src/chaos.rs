//! `cargo xtask chaos`: scripts of faults on a cluster of three hosts, one after the other. The test
//! run has the first two.

use crate::dockerd::Dockerd;
use crate::place::Place;
use crate::{images, needs, shell};
use anyhow::{Context, Result, bail};

/// The test that runs them.
const TEST: &str = "chaos::after_random_faults_everything_is_as_wanted_and_no_request_was_lost";

/// Scripts by seed.
#[derive(Debug, PartialEq, Eq)]
struct Words {
    seeds: u64,
    from: u64,
}

/// Runs `--seeds N` scripts `--from S`.
pub(crate) fn run(place: &Place, words: &[&str]) -> Result<()> {
    let Words { seeds, from } = read(words)?;
    needs::ensure(place, &[needs::RUN, needs::TEST, needs::CLUSTER])?;
    let dockerd = Dockerd::ensure(place)?;
    images::make(place)?;
    let mut cargo = place.cargo();
    cargo.args(["test", "--package", "app", "--test", "blackbox", TEST]);
    cargo.args(["--", "--exact", "--include-ignored", "--nocapture"]);
    cargo.env("REMUDA_CHAOS_SEEDS", seeds.to_string());
    let outcome = shell::run(cargo.env("REMUDA_CHAOS_FROM", from.to_string()));
    dockerd.stop()?;
    outcome
}

fn read(words: &[&str]) -> Result<Words> {
    let mut read = Words { seeds: 100, from: 0 };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || {
            let text = words.next().with_context(|| format!("{word} needs a number"))?;
            text.parse().with_context(|| format!("{word} {text}: not a number"))
        };
        match *word {
            "--seeds" => read.seeds = value()?,
            "--from" => read.from = value()?,
            other => bail!("{other} is none of its words: cargo xtask chaos --seeds 100 --from 0"),
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_scripts_unless_others_are_asked_for() {
        for (words, wanted) in [
            (&[][..], Some((100, 0))),
            (&["--seeds", "3"], Some((3, 0))),
            (&["--from", "7", "--seeds", "1"], Some((1, 7))),
            (&["--seeds"], None),
            (&["--seeds", "many"], None),
            (&["3"], None),
        ] {
            let found = read(words).ok().map(|Words { seeds, from }| (seeds, from));
            assert_eq!(found, wanted, "{words:?}");
        }
    }
}
