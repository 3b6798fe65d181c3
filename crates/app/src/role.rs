//! The roles that this binary plays: each opens what it needs and runs until it is told to stop.

pub(crate) mod agent;
pub(crate) mod consul;
pub(crate) mod dataplane;
pub(crate) mod dev;
mod down;
pub(crate) mod driver;
pub(crate) mod lock;
pub(crate) mod restore;
pub(crate) mod server;

use crate::cli::Cli;
use crate::exit::{Failure, Outcome};
use model::time::{Clock, Timestamp};
use std::path::Path;
use std::time::SystemTime;
use tokio::signal::unix::{SignalKind, signal};

/// Context of the CLI that a server on this machine writes.
pub(crate) const CONTEXT: &str = "local";

/// Roles that change the host need root.
///
/// # Errors
/// When this process is not root.
pub(crate) fn need_root() -> Outcome {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::error("this needs root: it sets up addresses, rules and containers")
        .hint("sudo remuda …; `remuda doctor` shows what else is missing"))
}

/// Threads of the runtime: a command needs one, a role two.
#[must_use]
pub(crate) fn worker_threads(cli: &Cli) -> usize {
    if cli.is_role() { 2 } else { 1 }
}

/// Files that a role may have open: as many as this machine allows, since each client of the Consul
/// API is one.
pub(crate) fn raise_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "limit of open files stays as it is");
    }
}

/// The real clock.
#[must_use]
pub(crate) fn clock() -> Clock {
    Clock::new(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
    })
}

/// Ends with SIGTERM or Ctrl-C.
///
/// # Errors
/// When signals cannot be taken.
pub(crate) async fn told_to_stop() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// An error of a library with its sources, for people.
pub(crate) fn failed(what: &str, error: &dyn std::error::Error) -> Failure {
    Failure::error(format!("{what}: {}", api::error::chain(error)))
}

/// Makes a folder that only its owner may enter.
///
/// # Errors
/// Which folder, and why.
pub(crate) fn make_private_dir(dir: &Path) -> Outcome {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| Failure::error(format!("folder {} cannot be made: {e}", dir.display())))
}

/// This machine's name as a host id.
#[must_use]
pub(crate) fn host_id(name: &str) -> model::id::HostId {
    let clean: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' })
        .take(model::limits::NAME_BYTES_MAX)
        .collect();
    let clean = clean.trim_start_matches('-');
    model::id::HostId::parse(clean)
        .unwrap_or_else(|_| model::id::HostId::parse("host").expect("a fixed valid name"))
}

/// This machine's host name.
#[must_use]
pub(crate) fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
