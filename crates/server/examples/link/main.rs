//! What the link carries: agents in processes of their own, by the real protocol and real TLS, on
//! one server over loopback. `link changes` measures how long a change of an endpoint takes from
//! the agent that sees it to every agent that has to do with it; `link joins` how long it takes
//! until many agents have joined from nothing, and how the API answers meanwhile. One line of JSON.
//! `cargo run --release -p server --example link -- changes --agents 50 --rate 50 --seconds 5`

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is what the program is for")]

mod agent;
mod crew;
mod measure;
mod serve;

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;

/// Any error ends the program with its words.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const USAGE: &str = "link changes|joins [--agents N] [--endpoints N] [--group N] [--rate N] \
                     [--seconds N] [--processes N]";

/// The words after the first, as numbers by name.
#[derive(Debug)]
pub(crate) struct Wishes(BTreeMap<String, usize>);

impl Wishes {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut wishes = BTreeMap::new();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").ok_or(USAGE)?;
            let value = words.next().ok_or(USAGE)?;
            wishes.insert(name.to_owned(), value.parse()?);
        }
        Ok(Self(wishes))
    }

    pub(crate) fn get(&self, name: &str, default: usize) -> usize {
        self.0.get(name).copied().unwrap_or(default)
    }
}

async fn run() -> Result<()> {
    let mut words = std::env::args().skip(1);
    match words.next().as_deref() {
        Some("serve") => serve::run().await,
        Some("crew") => crew::run(&words.collect::<Vec<_>>()).await,
        Some("changes") => measure::changes(&Wishes::parse(words)?).await,
        Some("joins") => measure::joins(&Wishes::parse(words)?).await,
        _ => Err(USAGE.into()),
    }
}

fn main() -> ExitCode {
    // The server works on two threads; a crew is one.
    let crew = std::env::args().nth(1).is_some_and(|word| word == "crew");
    let mut runtime = match crew {
        true => tokio::runtime::Builder::new_current_thread(),
        false => tokio::runtime::Builder::new_multi_thread(),
    };
    let done = runtime.enable_all().build().map_err(Into::into).and_then(|rt| rt.block_on(run()));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("link: {error}");
            ExitCode::FAILURE
        }
    }
}
