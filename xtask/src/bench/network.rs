//! Networks of other machines and containers on this kernel: a thread can go there and ask or answer
//! as if it ran on them, on one clock with all others.

use crate::shell;
use anyhow::{Context, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::Arc;

/// A network namespace, held open.
#[derive(Clone, Debug)]
pub(super) struct Network(Arc<File>);

impl Network {
    /// Of whom `command` asks; it prints the link, as `readlink /proc/self/ns/net` does.
    pub(super) fn told_by(command: &mut Command) -> Result<Self> {
        let link = shell::read(command)?;
        let link = link.trim();
        let processes = fs::read_dir("/proc").context("reading /proc")?.flatten();
        let paths = processes.map(|entry| entry.path().join("ns/net"));
        let mut same =
            paths.filter(|path| fs::read_link(path).is_ok_and(|found| found.as_os_str() == link));
        let path = same.next().with_context(|| format!("no process has the network {link}"))?;
        let file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
        Ok(Self(Arc::new(file)))
    }

    /// Takes the calling thread there, for good.
    pub(super) fn enter(&self) -> Result<()> {
        move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
            .context("entering a network namespace")
    }
}
