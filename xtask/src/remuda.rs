//! The binary under demonstration: where it is built, how it is called, its `dev` process.

use crate::dockerd::stop_child;
use crate::place::Place;
use crate::say::{self, Step};
use crate::shell;
use anyhow::{Context, Result, bail};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Longest wait for `remuda dev` to end after SIGTERM.
const END_TIMEOUT: Duration = Duration::from_secs(15);

/// The binary and what it runs with: nothing of it lies outside the target folder.
#[derive(Debug)]
pub(super) struct Remuda {
    binary: PathBuf,
    data: PathBuf,
    config: PathBuf,
    log: PathBuf,
    dev: Option<Child>,
}

impl Remuda {
    pub(super) fn of(place: &Place) -> Result<Self> {
        let (_, folder) = place.static_build(&place.target)?;
        let demo = place.target.join("demo");
        Ok(Self {
            binary: folder.join("remuda"),
            data: demo.join("data"),
            config: demo.join("config.yaml"),
            log: demo.join("dev.log"),
            dev: None,
        })
    }

    pub(super) fn binary(&self) -> &Path {
        &self.binary
    }

    pub(super) fn build(&self, place: &Place) -> Result<Command> {
        let (mut command, _) = place.static_build(&place.target)?;
        command.args(["--package", "app", "--bin", "remuda"]);
        Ok(command)
    }

    /// The CLI, with the demo's own context file.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.env("REMUDA_CONFIG", &self.config);
        command
    }

    /// For people who want to look around.
    pub(super) fn how_to_call(&self) -> String {
        format!("REMUDA_CONFIG={} {} ps", self.config.display(), self.binary.display())
    }

    /// Starts `remuda dev` and waits until every role answers.
    pub(super) fn start(&mut self) -> Result<()> {
        let step = Step::silent("starting `remuda dev`");
        let log = shell::create(&self.log)?;
        let mut dev = self.command();
        dev.arg("dev").arg("--data-dir").arg(&self.data);
        dev.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // Ctrl-C is for the demo, which takes the example away before it ends this one
        dev.process_group(0);
        self.dev = Some(dev.spawn().context("starting `remuda dev`")?);
        let answers = shell::read(self.command().args(["status", "--wait", "60s"]));
        if let Err(error) = answers {
            bail!("{error:#}; the end of {}:\n{}", self.log.display(), shell::tail(&self.log));
        }
        step.done(&format!("ready, its log is {}", self.log.display()));
        Ok(())
    }

    /// A demo that was killed could not clean up; its `dev` may even run still.
    pub(super) fn take_away_what_a_killed_demo_left(&self) -> Result<()> {
        if self.data.exists() && self.binary.exists() {
            let step = Step::silent("taking away what an earlier demo left");
            shell::read(&mut self.dev_down())?;
            self.forget()?;
            step.done("gone");
        }
        Ok(())
    }

    /// Stack, containers, network, processes, files.
    pub(super) fn take_away(&mut self, stack: &str) -> Result<()> {
        let mut failures = vec![];
        if self.dev.as_mut().is_some_and(|dev| matches!(dev.try_wait(), Ok(None))) {
            let down = shell::read(self.command().args(["down", "-p", stack]));
            failures.extend(down.err());
        }
        failures.extend(shell::read(&mut self.dev_down()).err());
        if let Some(mut dev) = self.dev.take()
            && !stop_child(&mut dev, END_TIMEOUT)?
        {
            failures.push(anyhow::anyhow!("`remuda dev` did not end in 15 s and was killed"));
        }
        if !failures.is_empty() {
            let why: Vec<_> = failures.iter().map(|error| format!("{error:#}")).collect();
            let log = self.log.display();
            bail!("{}; the end of {log}:\n{}", why.join("; "), shell::tail(&self.log));
        }
        self.forget()
    }

    fn dev_down(&self) -> Command {
        let mut command = self.command();
        command.args(["dev", "down", "--data-dir"]).arg(&self.data);
        command
    }

    fn forget(&self) -> Result<()> {
        if self.data.exists() {
            std::fs::remove_dir_all(&self.data)
                .with_context(|| format!("removing {}", self.data.display()))?;
        }
        Ok(())
    }
}

impl Drop for Remuda {
    fn drop(&mut self) {
        if let Some(mut dev) = self.dev.take()
            && let Err(error) = stop_child(&mut dev, END_TIMEOUT)
        {
            say::error(&format!("ending `remuda dev`: {error:#}"));
        }
    }
}
