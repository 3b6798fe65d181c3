//! A process that cannot be mistaken: its number and its start. Numbers come again.

use crate::error::{Error, Result};
use crate::run::wait_for;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

/// Longest wait for a killed process to be gone: a host may have many.
const GONE: Duration = Duration::from_secs(20);

/// A process, as the `/proc` of its reader shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ident {
    /// Its number.
    pub pid: u32,
    /// When it was started, in ticks since the kernel's start.
    pub start: u64,
}

/// A line of `/proc/PID/stat`.
struct Stat {
    ident: Ident,
    state: String,
    parent: u32,
}

/// The name of a program may hold anything; numbers come after its last bracket.
fn parse(line: &str) -> Option<Stat> {
    let pid = line.split_whitespace().next()?.parse().ok()?;
    let rest: Vec<&str> = line[line.rfind(')')? + 1..].split_whitespace().collect();
    let start = rest.get(19)?.parse().ok()?;
    let state = (*rest.first()?).to_owned();
    Some(Stat { ident: Ident { pid, start }, state, parent: rest.get(1)?.parse().ok()? })
}

fn stat(pid: u32) -> Option<Stat> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

impl Ident {
    /// Of a process that lives.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        Some(stat(pid)?.ident)
    }

    /// From a file with a line of `/proc/PID/stat`; nothing when there is none.
    #[must_use]
    pub fn read(file: &Path) -> Option<Self> {
        Some(parse(&std::fs::read_to_string(file).ok()?)?.ident)
    }

    /// From the text that it is displayed as.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let (pid, start) = name.split_once('-')?;
        Some(Self { pid: pid.parse().ok()?, start: start.parse().ok()? })
    }

    /// Does it live? One that has ended and was not collected does not.
    #[must_use]
    pub fn lives(self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.ident == self && stat.state != "Z")
    }

    /// The process that started it.
    #[must_use]
    pub fn parent(self) -> Option<Self> {
        Self::of(stat(self.pid)?.parent)
    }

    /// Sends a signal if it lives.
    ///
    /// # Errors
    /// When that is not allowed.
    pub fn signal(self, signal: Signal) -> Result {
        if !self.lives() {
            return Ok(());
        }
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let Some(pid) = pid else { return Ok(()) };
        match kill_process(pid, signal) {
            // it ended meanwhile
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => {
                let command = format!("kill {} ({signal:?})", self.pid);
                Err(Error::Run { command, why: error.to_string() })
            }
        }
    }

    /// SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// When that is not allowed, or it does not go.
    pub fn kill(self) -> Result {
        self.signal(Signal::KILL)?;
        self.wait_gone()
    }

    /// Waits until it is gone.
    ///
    /// # Errors
    /// When it does not go.
    pub fn wait_gone(self) -> Result {
        let what = format!("process {} to be gone", self.pid);
        wait_for(&what, GONE, || Ok((!self.lives()).then_some(())))
    }
}

impl std::fmt::Display for Ident {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.pid, self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_lives_until_it_has_ended() {
        let mut child = Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let ident = Ident::of(child.id()).unwrap();
        assert!(ident.lives());
        assert_eq!(ident.parent().unwrap().pid, std::process::id());
        assert!(!Ident { start: ident.start + 1, ..ident }.lives(), "another of the same number");
        ident.kill().unwrap();
        assert!(!ident.lives(), "it is there and not collected");
        child.wait().unwrap();
        assert_eq!(Ident::from_name(&ident.to_string()), Some(ident));
    }

    #[test]
    fn a_name_with_brackets_is_no_trouble() {
        let line = "7 (a) b (c) S 3 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        let stat = parse(line).unwrap();
        assert_eq!((stat.ident, stat.parent), (Ident { pid: 7, start: 4711 }, 3));
        assert!(parse("").is_none() && parse("7 (a").is_none());
    }
}
