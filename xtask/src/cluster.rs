//! `cargo xtask cluster`: builds the test bed's program and hands it its words; for `up` also the
//! product and the example's images, where the words do not name others.

use crate::dockerd::Dockerd;
use crate::place::Place;
use crate::remuda::Remuda;
use crate::shell;
use crate::{images, needs};
use anyhow::Result;
use std::process::{Command, ExitCode};

/// Folder of the cluster where nobody names another.
const FOLDER: &str = "REMUDA_CLUSTER";

/// Runs what was asked for; its exit code is ours.
pub(crate) fn run(place: &Place, words: &[&str]) -> Result<ExitCode> {
    let status = prepared(place, words)?.status()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The test bed's program with these words, and all that it needs made.
pub(crate) fn prepared(place: &Place, words: &[&str]) -> Result<Command> {
    let mut cargo = place.cargo();
    shell::run(cargo.args(["build", "--quiet", "--package", "testbed", "--bin", "testbed"]))?;
    let program = place.target.join("debug/testbed");
    let mut command = Command::new(&program);
    command.args(words);
    if std::env::var_os(FOLDER).is_none() {
        command.env(FOLDER, place.target.join("cluster"));
    }
    if asks_for_up(words) {
        needs::ensure(place, &[needs::RUN, needs::CLUSTER])?;
        if !has(words, "--bare") {
            fill_in(place, &program, words, &mut command)?;
        }
    }
    Ok(command)
}

/// A question for help is none.
fn asks_for_up(words: &[&str]) -> bool {
    let verb = |words: &[&str]| {
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--folder" => drop(words.next()),
                word if word.starts_with("--folder=") => {}
                word => return Some(word.to_owned()),
            }
        }
        None
    };
    verb(words).as_deref() == Some("up") && !has(words, "--help") && !has(words, "-h")
}

fn has(words: &[&str], option: &str) -> bool {
    let long = format!("{option}=");
    words.iter().any(|word| *word == option || word.starts_with(&long))
}

/// Builds what the words do not name.
fn fill_in(
    place: &Place,
    program: &std::path::Path,
    words: &[&str],
    command: &mut Command,
) -> Result<()> {
    let (binary, archive) = ("REMUDA_CLUSTER_BINARY", "REMUDA_CLUSTER_IMAGES");
    if !has(words, "--binary") && std::env::var_os(binary).is_none() {
        let remuda = Remuda::of(place, "cluster")?;
        remuda.build(place)?;
        command.env(binary, remuda.binary());
    }
    if !has(words, "--images") && std::env::var_os(archive).is_none() {
        let dockerd = Dockerd::ensure(place)?;
        images::make(place)?;
        let folder = place.target.join("tmp");
        let file = shell::read(Command::new(program).arg("images").arg(folder))?;
        dockerd.stop()?;
        command.env(archive, file);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_up_needs_a_build() {
        for words in [&["up", "3"][..], &["--folder", "down", "up", "1"], &["--folder=x", "up"]] {
            assert!(asks_for_up(words), "{words:?}");
        }
        for words in [&["down"][..], &["up", "--help"], &["exec", "h1", "up"], &["--folder", "up"]]
        {
            assert!(!asks_for_up(words), "{words:?}");
        }
        assert!(has(&["up", "--binary=x"], "--binary") && !has(&["up", "--binaryx"], "--binary"));
    }
}
