//! A Remuda that runs for the parts which need one: `remuda dev`, or server and agent apart.

use crate::dockerd::{Dockerd, stop_child};
use crate::place::Place;
use crate::remuda::Remuda;
use crate::say::{self, Step};
use crate::{images, shell};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Longest wait for a role to end after SIGTERM.
const END_TIMEOUT: Duration = Duration::from_secs(15);
/// Where the server's API and the agents' link are.
const SERVER: &str = "127.0.0.1:7600";

/// A running Remuda, with a Docker below it.
pub(super) struct Running {
    remuda: Remuda,
    folder: PathBuf,
    data: PathBuf,
    /// Server and agent, when they run apart; ended in the opposite order.
    roles: Vec<Child>,
    dockerd: Dockerd,
}

impl Running {
    /// Docker, the example's images, `remuda dev`.
    pub(super) fn start(place: &Place) -> Result<Self> {
        let dockerd = Dockerd::ensure(place)?;
        images::make(place)?;
        let folder = place.target.join("bench");
        let mut remuda = Remuda::of(place, "bench")?;
        remuda.start()?;
        Ok(Self { remuda, data: folder.join("data"), folder, roles: vec![], dockerd })
    }

    /// Ends `remuda dev` and starts its roles each in a process of its own.
    pub(super) fn come_apart(&mut self) -> Result<()> {
        self.remuda.take_away(&[])?;
        let step = Step::silent("starting server and agent apart");
        self.role("server", &[])?;
        let ready = ["status", "--wait", "60s"];
        // it answers with the agent's role missing still: the token is what must be had
        let token = loop {
            let token = shell::read(self.command().args(["host", "token", "create"]));
            if let Ok(token) = token {
                break token;
            }
            crate::interrupt::check()?;
            if let Some(status) = self.roles.first_mut().and_then(|role| role.try_wait().ok()?) {
                let log = self.folder.join("server.log");
                anyhow::bail!("the server ended with {status}:\n{}", shell::tail(&log));
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        let token = token.lines().find(|line| line.starts_with("rmj_")).unwrap_or(&token);
        self.role("agent", &["--join", SERVER, "--token", token])?;
        shell::read(self.command().args(ready))
            .with_context(|| shell::tail(&self.folder.join("agent.log")))?;
        step.done("ready");
        Ok(())
    }

    fn role(&mut self, role: &str, arguments: &[&str]) -> Result<()> {
        let log = shell::create(&self.folder.join(format!("{role}.log")))?;
        let mut command = self.command();
        command.arg(role).arg("--data-dir").arg(&self.data).args(arguments);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("starting `remuda {role}`"))?;
        self.roles.push(child);
        Ok(())
    }

    /// The CLI.
    pub(super) fn command(&self) -> Command {
        self.remuda.command()
    }

    /// The binary, to find its processes.
    pub(super) fn binary(&self) -> &Path {
        self.remuda.binary()
    }

    /// Writes a compose file.
    pub(super) fn file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    /// Brings a stack up.
    pub(super) fn up(&self, file: &Path, stack: &str) -> Result<()> {
        let mut up = self.command();
        shell::read(up.arg("up").arg("-f").arg(file).args(["-p", stack]))?;
        Ok(())
    }

    /// Takes it away.
    pub(super) fn down(&self, stack: &str) -> Result<()> {
        shell::read(self.command().args(["down", "-p", stack]))?;
        Ok(())
    }

    /// Docker's name of the managed network.
    pub(super) fn network(&self) -> Result<String> {
        let label = "label=io.remuda.environment";
        let mut list = Command::new("docker");
        list.args(["network", "ls", "--filter", label, "--format", "{{.Name}}"]);
        let names = shell::read(&mut list)?;
        names.lines().next().map(str::to_owned).context("there is no network of Remuda")
    }

    /// Takes everything away.
    pub(super) fn end(mut self) -> Result<()> {
        let gone = self.remuda.take_away(&[]);
        self.end_roles();
        gone.and(self.dockerd.stop())
    }

    fn end_roles(&mut self) {
        while let Some(mut role) = self.roles.pop() {
            if let Err(error) = stop_child(&mut role, END_TIMEOUT) {
                say::error(&format!("ending a role: {error:#}"));
            }
        }
    }
}
