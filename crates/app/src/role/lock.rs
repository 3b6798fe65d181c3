//! Who works with a data folder: one server and one agent at a time; `dev` is both. A lock ends
//! with its process, however that ends; its text says who holds it.

use crate::exit::{Failure, Outcome};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Name of the socket that holds the machine; abstract: each network namespace has its own.
const MACHINE: &str = "remuda-agent";
/// Time for a process to end once it was asked to; then it is killed.
const END_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks whether it has ended.
const LOOK: Duration = Duration::from_millis(20);
/// Tries to take a lock: who only looks holds it for a moment too.
const TRIES: u32 = 5;

/// What a process does with a data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The state and the API.
    Server,
    /// Docker and the network of this host.
    Agent,
}

impl Part {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Server, Self::Agent];

    fn file(self, data_dir: &Path) -> PathBuf {
        data_dir.join(match self {
            Self::Server => "server.lock",
            Self::Agent => "agent.lock",
        })
    }
}

/// The holder of a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    /// Its process id; 0 when it did not write one yet.
    pub(crate) pid: i32,
    /// `dev`, `server` or `agent`.
    pub(crate) role: String,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "remuda {} (pid {})", self.role, self.pid)
    }
}

/// Takes a part of the data folder for `role`, until the file is closed.
///
/// # Errors
/// When another process holds it, or it cannot be written.
pub(crate) async fn take(data_dir: &Path, part: Part, role: &str) -> Outcome<File> {
    let path = part.file(data_dir);
    let failed = |e: std::io::Error| Failure::error(format!("lock {}: {e}", path.display()));
    let mut options = File::options();
    let mut file =
        options.read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    let mut tries = 0;
    while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        tries += 1;
        if tries >= TRIES {
            return Err(taken(data_dir, part, role));
        }
        tokio::time::sleep(LOOK).await;
    }
    // On a full disk the lock holds all the same: the text is for people.
    let text = format!("{}\n{role}\n", std::process::id());
    let written =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(text.as_bytes()));
    if let Err(error) = written {
        tracing::warn!(path = %path.display(), %error, "lock file does not name this process");
    }
    Ok(file)
}

fn taken(data_dir: &Path, part: Part, role: &str) -> Failure {
    let who = holder(data_dir, part).map_or_else(|| "another remuda".into(), |h| h.to_string());
    let hint = match role {
        "dev" => {
            "`remuda dev` is server and agent in one: stop that one first, or name another \
                  folder with --data-dir"
        }
        _ => "stop that one first, or name another folder with --data-dir",
    };
    Failure::error(format!("{who} works with {} already", data_dir.display())).hint(hint)
}

/// Who holds a part of the folder; `None` when nobody does.
#[must_use]
pub(crate) fn holder(data_dir: &Path, part: Part) -> Option<Holder> {
    let mut file = File::open(part.file(data_dir)).ok()?;
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return None;
    }
    let mut text = String::new();
    // What cannot be read says nothing; that it is held is known.
    if file.read_to_string(&mut text).is_err() {
        text.clear();
    }
    let mut words = text.split_whitespace();
    let pid = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
    Some(Holder { pid, role: words.next().unwrap_or("process").to_owned() })
}

/// The machine's network for one agent: two, with folders of their own, would undo each other's
/// rules and containers. Free when the process ends.
#[derive(Debug)]
pub(crate) struct MachineLock {
    _name: UnixListener,
}

/// Takes this machine (its network namespace) for the agent of this process.
///
/// # Errors
/// When another agent has it.
pub(crate) fn take_machine(data_dir: &Path) -> Outcome<MachineLock> {
    let failed = |e: std::io::Error| Failure::error(format!("agent of this machine: {e}"));
    let address = SocketAddr::from_abstract_name(MACHINE).map_err(failed)?;
    match UnixListener::bind_addr(&address) {
        Ok(name) => Ok(MachineLock { _name: name }),
        Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => {
            let pid = UnixStream::connect_addr(&address)
                .ok()
                .and_then(|other| rustix::net::sockopt::socket_peercred(&other).ok())
                .map_or_else(String::new, |who| format!(" (pid {})", who.pid.as_raw_nonzero()));
            Err(Failure::error(format!(
                "another remuda agent works on this machine already{pid}, with another data \
                 folder than {}",
                data_dir.display()
            ))
            .hint("stop that one first; a machine has one agent"))
        }
        Err(e) => Err(failed(e)),
    }
}

/// Who works with the folder, if anybody does.
#[must_use]
pub(crate) fn any_holder(data_dir: &Path) -> Option<Holder> {
    Part::ALL.into_iter().find_map(|part| holder(data_dir, part))
}

/// Ends whoever holds a part of the folder: asked first, killed when it does not listen.
///
/// # Errors
/// When it does not end.
pub(crate) async fn end(data_dir: &Path, part: Part) -> Outcome {
    let mut signals = [Signal::TERM, Signal::KILL].into_iter();
    let mut deadline = Instant::now();
    loop {
        let Some(holder) = holder(data_dir, part) else { return Ok(()) };
        if Instant::now() >= deadline
            && let Some(pid) = Pid::from_raw(holder.pid)
        {
            let signal =
                signals.next().ok_or_else(|| Failure::error(format!("{holder} does not end")))?;
            match kill_process(pid, signal) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(e) => return Err(Failure::error(format!("{holder} cannot be ended: {e}"))),
            }
            deadline = Instant::now() + END_TIMEOUT;
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_is_held_by_one_and_its_holder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(any_holder(dir.path()), None);
        let held = take(dir.path(), Part::Server, "dev").await.unwrap();
        let holder = holder(dir.path(), Part::Server).unwrap();
        let ours = i32::try_from(std::process::id()).unwrap();
        assert_eq!(holder, Holder { pid: ours, role: "dev".into() });
        let Failure::Message { message, .. } =
            take(dir.path(), Part::Server, "server").await.unwrap_err()
        else {
            panic!("it says why");
        };
        assert!(message.contains("remuda dev (pid"), "{message}");
        let _agent = take(dir.path(), Part::Agent, "agent").await.unwrap();
        drop(held);
        assert!(take(dir.path(), Part::Server, "server").await.is_ok());
    }
}
