//! The cluster that is measured: made outside, used from its switch, where this program runs again.

use crate::bench::network::Network;
use crate::place::Place;
use crate::{cluster, interrupt, say, shell};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(10);

/// A cluster of `cargo xtask cluster` in a folder of the bench's own.
#[derive(Debug)]
pub(super) struct Bed {
    program: PathBuf,
    folder: PathBuf,
}

impl Bed {
    pub(super) fn of(place: &Place) -> Self {
        let folder = place.target.join("bench-cluster");
        Self { program: place.target.join("debug/testbed"), folder }
    }

    fn folder_word(&self) -> String {
        format!("--folder={}", self.folder.display())
    }

    /// Outside: makes it, runs the parts on its switch, and takes it away.
    pub(super) fn with<T>(
        &self,
        place: &Place,
        hosts: &str,
        part: &str,
        then: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let folder = self.folder_word();
        shell::run(&mut cluster::prepared(place, &[&folder, "down"])?)?;
        shell::run(&mut cluster::prepared(place, &[&folder, "up", hosts])?)?;
        let own = std::env::current_exe().context("finding this program")?;
        let home = std::env::var("HOME").unwrap_or_default();
        let mut measure = Command::new(&self.program);
        measure.args([&folder, "exec", "switch", "--", "env", &format!("HOME={home}")]);
        let measured = shell::run(measure.arg(own).args(["bench", "--inside", part]));
        let found = measured.and_then(|()| then());
        if let Err(error) = shell::run(&mut cluster::prepared(place, &[&folder, "down"])?) {
            say::error(&format!("taking the cluster away: {error:#}"));
        }
        found
    }

    /// On the switch: words of `cargo xtask cluster`.
    pub(super) fn does(&self, words: &[&str]) -> Result<()> {
        let mut command = Command::new(&self.program);
        shell::read(command.args(["--inside", &self.folder_word()]).args(words))?;
        Ok(())
    }

    /// On the switch: a command on a host.
    pub(super) fn on(&self, host: &str, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["--inside", &self.folder_word(), "exec", host, "--"]).args(words);
        command
    }

    /// The network of a host.
    pub(super) fn network(&self, host: &str) -> Result<Network> {
        Network::told_by(&mut self.on(host, &["readlink", "/proc/self/ns/net"]))
    }

    /// The network of the one container of a service on a host.
    pub(super) fn network_of(&self, host: &str, service: &str) -> Result<Network> {
        let label = format!("label=io.rancher.stack_service.name={service}");
        let ids = shell::read(&mut self.on(host, &["docker", "ps", "-q", "--filter", &label]))?;
        let id = ids.trim();
        let mut pid = self.on(host, &["docker", "inspect", "-f", "{{.State.Pid}}", id]);
        let pid = shell::read(&mut pid)?;
        let link = format!("/proc/{}/ns/net", pid.trim());
        Network::told_by(&mut self.on(host, &["readlink", &link]))
    }

    /// The CLI, on the switch.
    pub(super) fn remuda() -> Command {
        Command::new("remuda")
    }

    /// Writes a compose file and brings it up.
    pub(super) fn up(&self, stack: &str, compose: &str) -> Result<()> {
        let path = self.folder.join(format!("{stack}.yaml"));
        std::fs::write(&path, compose).with_context(|| format!("writing {}", path.display()))?;
        shell::read(Self::remuda().arg("up").arg("-f").arg(&path).args(["-p", stack]))?;
        Ok(())
    }

    pub(super) fn down(stack: &str) -> Result<()> {
        shell::read(Self::remuda().args(["down", "-p", stack]))?;
        Ok(())
    }

    /// Hosts and addresses of the instances of a stack that are ready; nothing while the server
    /// does not answer.
    pub(super) fn ready(stack: &str) -> Vec<(String, String)> {
        let text = shell::read(Self::remuda().args(["ps", "-o", "json"])).unwrap_or_default();
        let rows: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
        let ready = rows.iter().filter(|row| row["stack"] == stack && row["ready"] == true);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        ready.map(|row| (text(&row["host"]), text(&row["address"]))).collect()
    }

    /// What the server says of a host.
    pub(super) fn status(host: &str) -> Option<String> {
        let text = shell::read(Self::remuda().args(["host", "ls", "-o", "json"])).ok()?;
        let rows: Vec<Value> = serde_json::from_str(&text).ok()?;
        let row = rows.iter().find(|row| row["id"] == host)?;
        row["status"].as_str().map(str::to_owned)
    }

    /// Waits for it.
    pub(super) fn wait(
        what: &str,
        patience: Duration,
        mut holds: impl FnMut() -> bool,
    ) -> Result<()> {
        let until = Instant::now() + patience;
        while !holds() {
            interrupt::check()?;
            if Instant::now() > until {
                bail!("waited {} s in vain for {what}", patience.as_secs());
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}
