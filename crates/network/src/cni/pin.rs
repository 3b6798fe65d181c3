//! A container's network name space, held by a mount: plugins are asked to take a plug back when the
//! process that the name space belonged to is gone, and without it some leave rules behind. It
//! outlives the agent, and the container; it is gone after a reboot, with the name space.

use crate::Error;
use rustix::fs::statfs;
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What `statfs` says of a name space.
const NSFS: u64 = 0x6e73_6673;

/// Where name spaces are held.
#[derive(Clone, Debug)]
pub struct Pins {
    dir: PathBuf,
}

impl Pins {
    /// In this folder, which a reboot empties.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Where the name space of a container is held.
    #[must_use]
    pub fn path(&self, container: &str) -> PathBuf {
        self.dir.join(container)
    }

    /// Where it is held, if it is.
    #[must_use]
    pub fn held(&self, container: &str) -> Option<PathBuf> {
        let path = self.path(container);
        is_held(&path).then_some(path)
    }

    /// Holds the network name space of a process for a container, and gives its path. One that is
    /// held already and is another one is an error: what is plugged into that is to be taken back
    /// first.
    ///
    /// # Errors
    /// `Error::Netns`; also when the process is in the host's own name space.
    pub fn hold(&self, container: &str, pid: u32) -> Result<PathBuf, Error> {
        let failed = |source| Error::Netns { doing: format!("hold that of process {pid}"), source };
        let refused = |why: &str| failed(io::Error::other(why.to_owned()));
        let path = self.path(container);
        let of_process = PathBuf::from(format!("/proc/{pid}/ns/net"));
        if !is_held(&path) {
            fs::create_dir_all(&self.dir).and_then(|()| File::create(&path)).map_err(failed)?;
            mount_bind(&of_process, &path).map_err(|e| failed(e.into()))?;
        }
        let held = identity(&path).map_err(failed)?;
        // The process may have ended since, and its number be another one's.
        if held == identity(Path::new("/proc/self/ns/net")).map_err(failed)? {
            self.release(container)?;
            return Err(refused("it is the host's own, so the process is not the container's"));
        }
        if held != identity(&of_process).map_err(failed)? {
            return Err(refused("another one is held for the same container"));
        }
        Ok(path)
    }

    /// Lets a name space go.
    ///
    /// # Errors
    /// `Error::Netns`; nothing to let go is none.
    pub fn release(&self, container: &str) -> Result<(), Error> {
        let path = self.path(container);
        let failed =
            |source| Error::Netns { doing: format!("let go of {}", path.display()), source };
        if is_held(&path) {
            unmount(&path, UnmountFlags::DETACH).map_err(|e| failed(e.into()))?;
        }
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed(e)),
            _ => Ok(()),
        }
    }

    /// The containers whose name spaces are held.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }
}

fn is_held(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| u64::try_from(found.f_type) == Ok(NSFS))
}

/// Two paths are the same name space when this is the same.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|found| (found.dev(), found.ino()))
}
