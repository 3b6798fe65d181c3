//! Remuda as a user runs it: where its binary is built, how it is called, its `dev` process.
//! Everything it keeps is in a folder of the target folder.

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

/// The binary, and a `dev` with its own data, contexts and log.
#[derive(Debug)]
pub(crate) struct Remuda {
    binary: PathBuf,
    data: PathBuf,
    config: PathBuf,
    log: PathBuf,
    dev: Option<Child>,
}

impl Remuda {
    /// `purpose` names its folder.
    pub(crate) fn of(place: &Place, purpose: &str) -> Result<Self> {
        let (_, folder) = place.static_build(&place.target)?;
        let demo = place.target.join(purpose);
        Ok(Self {
            binary: folder.join("remuda"),
            data: demo.join("data"),
            config: demo.join("config.yaml"),
            log: demo.join("dev.log"),
            dev: None,
        })
    }

    /// The static release binary.
    pub(crate) fn binary(&self) -> &Path {
        &self.binary
    }

    /// Builds it.
    pub(crate) fn build(&self, place: &Place) -> Result<()> {
        let step = Step::loud("building remuda (release, static; some minutes the first time)");
        let (mut command, _) = place.static_build(&place.target)?;
        shell::run(command.args(["--package", "app", "--bin", "remuda"]))?;
        step.done("built");
        Ok(())
    }

    /// The CLI, with a context file of its own.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.env("REMUDA_CONFIG", &self.config);
        command
    }

    /// For people who want to look around.
    pub(crate) fn how_to_call(&self) -> String {
        format!("REMUDA_CONFIG={} {} ps", self.config.display(), self.binary.display())
    }

    /// Starts `remuda dev` and waits until every role answers.
    pub(crate) fn start(&mut self) -> Result<()> {
        let step = Step::silent("starting `remuda dev`");
        let log = shell::create(&self.log)?;
        let mut dev = self.command();
        dev.arg("dev").arg("--data-dir").arg(&self.data);
        dev.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // Ctrl-C is for the task, which takes the stacks away before it ends this one
        dev.process_group(0);
        self.dev = Some(dev.spawn().context("starting `remuda dev`")?);
        let answers = shell::read(self.command().args(["status", "--wait", "60s"]));
        if let Err(error) = answers {
            bail!("{error:#}; the end of {}:\n{}", self.log.display(), shell::tail(&self.log));
        }
        step.done(&format!("ready, its log is {}", self.log.display()));
        Ok(())
    }

    /// A task that was killed could not clean up; its `dev` may even run still.
    pub(crate) fn take_away_what_a_killed_task_left(&self) -> Result<()> {
        if self.data.exists() && self.binary.exists() {
            let step = Step::silent("taking away what an earlier run left");
            shell::read(&mut self.dev_down())?;
            self.forget()?;
            step.done("gone");
        }
        Ok(())
    }

    /// Takes away these stacks, then network, processes and files.
    pub(crate) fn take_away(&mut self, stacks: &[&str]) -> Result<()> {
        let mut failures = vec![];
        if self.dev.as_mut().is_some_and(|dev| matches!(dev.try_wait(), Ok(None))) {
            for stack in stacks {
                let down = shell::read(self.command().args(["down", "-p", stack]));
                failures.extend(down.err());
            }
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
