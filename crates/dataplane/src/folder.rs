//! The folder of a dataplane: its lock, which says who serves it, and its socket. And the way to
//! end the one that serves it.

use crate::client;
use crate::error::Error;
use crate::protocol::{FromAgent, frame, socket_path};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{File, Permissions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::time::{Instant, sleep, timeout_at};

/// Between two looks whether the other one has ended.
const LOOK: Duration = Duration::from_millis(10);
/// Tries to take the lock.
const LOCK_TRIES: u32 = 5;

fn lock_path(dir: &Path) -> PathBuf {
    dir.join("dataplane.lock")
}

/// Takes the lock; it is free again when the file is closed, however the process ends.
pub(crate) async fn lock(dir: &Path) -> Result<File, Error> {
    let path = lock_path(dir);
    let failed = |source| Error::Folder { path: path.clone(), source };
    let mut options = File::options();
    let mut file =
        options.read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    // Who only looks holds it for a moment too.
    let mut looks = 0;
    while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        looks += 1;
        if looks < LOCK_TRIES {
            sleep(LOOK).await;
            continue;
        }
        return Err(Error::Running { dir: dir.to_owned(), holder: shown(holder(dir)) });
    }
    file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
    write!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(file)
}

/// Who holds the lock: `None` when nobody does, and no pid when it did not write one yet.
fn holder(dir: &Path) -> Option<Option<Pid>> {
    let mut file = File::open(lock_path(dir)).ok()?;
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return None;
    }
    let mut text = String::new();
    let read = file.read_to_string(&mut text);
    Some(read.ok().and_then(|_| Pid::from_raw(text.trim().parse().ok()?)))
}

fn shown(holder: Option<Option<Pid>>) -> String {
    holder.flatten().map_or_else(String::new, |pid| format!(" (pid {})", pid.as_raw_nonzero()))
}

/// Listens on the socket, which only its owner may use. The lock is held: what lies there is old.
pub(crate) fn listen(dir: &Path) -> Result<UnixListener, Error> {
    let (path, new) = (socket_path(dir), dir.join("dataplane.sock.new"));
    let failed = |source| Error::Folder { path: path.clone(), source };
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&new).map_err(failed)?;
    // It gets its name when nobody else may connect any more.
    std::fs::set_permissions(&new, Permissions::from_mode(0o600)).map_err(failed)?;
    std::fs::rename(&new, &path).map_err(failed)?;
    Ok(listener)
}

/// Ends the dataplane that serves `dir` and waits until it is gone; fine when none does.
///
/// # Errors
/// When it does not end within `timeout`.
pub async fn stop(dir: &Path, timeout: Duration) -> Result<(), Error> {
    let deadline = Instant::now() + timeout;
    let mut told = false;
    loop {
        let Some(pid) = holder(dir) else { return Ok(()) };
        if Instant::now() >= deadline {
            let (dir, holder) = (dir.to_owned(), shown(Some(pid)));
            return Err(Error::StillRunning { dir, holder, seconds: timeout.as_secs() });
        }
        if !told {
            told = tell(dir, pid, deadline).await;
        }
        sleep(LOOK).await;
    }
}

/// Asks it to end by its socket; one that does not speak our protocol by SIGTERM.
async fn tell(dir: &Path, pid: Option<Pid>, deadline: Instant) -> bool {
    let by_socket = async {
        let (mut stream, ..) = client::greet(dir).await?;
        frame::write(&mut stream, &FromAgent::Shutdown)
            .await
            .map_err(|source| Error::Greeting { path: socket_path(dir), source })
    };
    match timeout_at(deadline, by_socket).await {
        Ok(Ok(())) => true,
        // It may be about to listen.
        Ok(Err(Error::Connect { .. })) | Err(_) => false,
        Ok(Err(error)) => {
            tracing::warn!(%error, "dataplane does not listen to us, sending it SIGTERM");
            pid.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok())
        }
    }
}

/// Takes the socket away; the lock goes with the process.
pub(crate) fn leave(dir: &Path) {
    if let Err(error) = std::fs::remove_file(socket_path(dir)) {
        tracing::warn!(%error, "socket not removed");
    }
}
