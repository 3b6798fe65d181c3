//! The ground of a cluster, seen from outside of it: namespaces whose network is the switch and in
//! which all the hosts' are nested. When its first process ends, everything on it has ended.

use crate::boot::{Boot, without_others};
use crate::cgroup;
use crate::error::{Error, Result};
use crate::ident::Ident;
use crate::run::wait_for;
use crate::state::State;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Longest wait for the kernel to let go of a folder whose mounts have just ended.
const LET_GO: Duration = Duration::from_secs(10);
/// What folders of test machines begin with.
pub const TEMPORARY: &str = "remuda-machine-";

/// Starts a ground for a cluster in this folder. The folder must be new, empty or not there.
///
/// # Errors
/// When something is there, or the ground does not boot.
pub fn start(folder: &Path) -> Result<Ident> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::Refused("a cluster is made of namespaces: be root".into()));
    }
    if State::is_in(folder) {
        let how = if running(folder).is_ok() { "runs" } else { "was left behind" };
        return Err(Error::Refused(format!(
            "a cluster {how} in {}: take it away first with `down`, or name another --folder",
            folder.display()
        )));
    }
    if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Error::Refused(format!(
            "folder {} holds something that is no cluster: name another --folder",
            folder.display()
        )));
    }
    let boot = Boot::new(folder, "switch")?;
    // from here on `down` knows the folder as ours
    State::new(0).write(folder)?;
    let (init, _child) = boot.start()?;
    Ok(init)
}

/// The ground's first process.
///
/// # Errors
/// When there is no cluster, or it has died.
pub fn running(folder: &Path) -> Result<Ident> {
    let at = folder.display();
    if !State::is_in(folder) {
        let why = format!("no cluster is in {at}: make one with `up 3`");
        return Err(Error::Refused(why));
    }
    match Boot::init_of(folder) {
        Some(init) if init.lives() => Ok(init),
        _ => Err(Error::Refused(format!(
            "the cluster in {at} was killed: `down` takes away what is left of it"
        ))),
    }
}

/// A command on the ground, in the folder that is the current one here.
#[must_use]
pub fn enter(init: Ident, program: &Path) -> Command {
    let here = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let mut command = Command::new("nsenter");
    command.arg("--target").arg(init.pid.to_string());
    command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--", "env", "-C"]);
    command.arg(here).arg(program);
    without_others(&mut command);
    command
}

/// Takes a cluster away, whatever its state: processes, mounts, networks, cgroups, files. Says
/// whether there was one.
///
/// # Errors
/// What stays, and why.
pub fn end(folder: &Path) -> Result<bool> {
    if !State::is_in(folder) {
        return Ok(false);
    }
    if let Some(init) = Boot::init_of(folder) {
        // the one that waits for it ends after it
        let waits = init.lives().then(|| init.parent()).flatten();
        init.kill()?;
        if let Some(waits) = waits.filter(|waits| is_unshare(*waits)) {
            waits.wait_gone()?;
        }
        cgroup::remove(init)?;
    }
    remove(folder)?;
    Ok(true)
}

fn is_unshare(process: Ident) -> bool {
    fs::read_to_string(format!("/proc/{}/comm", process.pid)).is_ok_and(|name| name == "unshare\n")
}

/// Removes a folder that the kernel may hold for a moment longer.
///
/// # Errors
/// When it stays.
pub fn remove(folder: &Path) -> Result {
    let mut last = None;
    let what = format!("the folder {} to go", folder.display());
    wait_for(&what, LET_GO, || match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            last = Some(error);
            Ok(None)
        }
        _ => Ok(Some(())),
    })
    .map_err(|error| last.take().map_or(error, Error::file("removed", folder)))
}

/// Takes away what test machines left that were killed: groups, and folders in the temporary one.
///
/// # Errors
/// What stays.
pub fn sweep() -> Result {
    for folder in temporary_folders() {
        // a machine that is about to boot has not said who it is
        let Some(init) = Boot::init_of(&folder) else { continue };
        if !init.lives() {
            remove(&folder)?;
        }
    }
    cgroup::sweep()
}

fn temporary_folders() -> Vec<PathBuf> {
    let entries = fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    let ours = |entry: &fs::DirEntry| {
        entry.file_name().to_str().is_some_and(|name| name.starts_with(TEMPORARY))
    };
    entries.filter(ours).map(|entry| entry.path()).collect()
}
