//! The command line of the simulation.

use model::mutation::Mutation;
use std::collections::BTreeSet;

/// What is to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// How many seeds.
    pub(crate) seeds: u64,
    /// The first of them.
    pub(crate) from: u64,
    /// This one alone, with its story.
    pub(crate) seed: Option<u64>,
    /// At the same time.
    pub(crate) jobs: usize,
    /// Another number of hosts than the seed draws.
    pub(crate) hosts: Option<usize>,
    /// These steps alone.
    pub(crate) steps: Option<BTreeSet<usize>>,
    /// Known defects are put in, one after the other, until each is found.
    pub(crate) mutations: bool,
    /// Only that the known seeds still find them.
    pub(crate) known: bool,
    /// This one is in.
    pub(crate) mutation: Option<Mutation>,
}

impl Options {
    /// Reads the arguments.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mut options = Self {
            seeds: 1_000,
            from: 0,
            seed: None,
            jobs,
            hosts: None,
            steps: None,
            mutations: false,
            known: false,
            mutation: None,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--seeds" => options.seeds = number(&word, &value()?)?,
                "--from" => options.from = number(&word, &value()?)?,
                "--seed" => options.seed = Some(number(&word, &value()?)?),
                "--jobs" => options.jobs = number::<usize>(&word, &value()?)?.clamp(1, 1_024),
                "--hosts" => options.hosts = Some(number::<usize>(&word, &value()?)?.max(1)),
                "--mutations" => options.mutations = true,
                "--known" => options.known = true,
                "--mutation" => {
                    let text = value()?;
                    let named = |known: &&Mutation| format!("{known:?}") == text;
                    let found = Mutation::ALL.iter().find(named).copied();
                    options.mutation = Some(found.ok_or(format!("no such mutation: {text}"))?);
                }
                "--steps" => {
                    let text = value()?;
                    let steps = text.split(',').filter(|part| !part.is_empty());
                    let steps = steps.map(|part| number(&word, part));
                    options.steps = Some(steps.collect::<Result<_, _>>()?);
                }
                _ => return Err(format!("no such option: {word}")),
            }
        }
        Ok(options)
    }
}

fn number<T: std::str::FromStr>(word: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_not_a_number| format!("{word} needs a number, not {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Options, String> {
        Options::parse(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn words_are_read_and_what_is_wrong_is_named() {
        let options = parse("--seeds 7 --from 3 --jobs 2 --hosts 4 --steps 1,9").unwrap();
        assert_eq!((options.seeds, options.from, options.jobs), (7, 3, 2));
        assert_eq!((options.hosts, options.steps), (Some(4), Some([1, 9].into())));
        assert_eq!(parse("--seed 12").unwrap().seed, Some(12));
        assert!(parse("--seeds").unwrap_err().contains("needs a value"));
        assert!(parse("--seeds x").unwrap_err().contains("\"x\""));
        assert!(parse("--sede 1").unwrap_err().contains("--sede"));
    }
}
