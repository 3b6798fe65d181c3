//! The folder of a store: who may look into it, who has it open, and whether there ever was a
//! store in it. Nothing in here ever deletes a database.

use super::failure::of_file;
use crate::error::{Error, Result};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Name of the database.
pub(super) const DATABASE: &str = "state.db";
/// Name of the marker: see `marker.rs`.
pub(super) const MARKER: &str = "state.marker";
const LOCK: &str = "state.lock";
/// A database being made; never had anything in it that was acknowledged.
pub(super) const NEW: &str = "state.db.new";
/// A database being restored.
pub(super) const RESTORING: &str = "state.db.restoring";
/// Folders of what a restore took the place of.
const REPLACED: &str = "replaced-";

/// A folder that this process alone has open.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) dir: PathBuf,
    /// Held for its lock, which ends with it.
    _lock: File,
}

/// What is in a folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Never a store.
    Nothing,
    /// A database.
    Database,
    /// No database, but this shows that there was one.
    Trace(String),
}

impl Folder {
    /// Makes the folder if need be, closes it to others, and takes it for this process.
    pub(super) fn take(dir: &Path) -> Result<Self> {
        // Only the folder itself is closed: others may have to pass through those above it.
        let made = match dir.parent() {
            Some(parent) => fs::create_dir_all(parent),
            None => Ok(()),
        };
        made.and_then(|()| DirBuilder::new().recursive(true).mode(0o700).create(dir))
            .map_err(|e| of_file("make the folder", dir, e))?;
        let mode = fs::metadata(dir).map_err(|e| of_file("read the folder", dir, e))?;
        if mode.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(dir, Permissions::from_mode(0o700))
                .map_err(|e| of_file("close to others the folder", dir, e))?;
        }
        let lock = lock(dir)?;
        Ok(Self { dir: dir.to_owned(), _lock: lock })
    }

    /// Path of a file in it.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// What is in it?
    pub(super) fn survey(&self) -> Result<Found> {
        let names = self.names()?;
        Ok(survey(names.iter().map(String::as_str)))
    }

    fn names(&self) -> Result<Vec<String>> {
        let failed = |e| of_file("read the folder", &self.dir, e);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    /// Clears away what an interrupted making of a new database left.
    pub(super) fn clear(&self, unfinished: &str) -> Result<()> {
        for name in self.names()?.iter().filter(|name| name.starts_with(unfinished)) {
            let path = self.file(name);
            fs::remove_file(&path).map_err(|e| of_file("remove", &path, e))?;
        }
        Ok(())
    }

    /// Moves the database's files to a folder of their own; gives it when there were any.
    pub(super) fn set_aside(&self) -> Result<Option<PathBuf>> {
        let files: Vec<_> = ["", "-wal", "-shm", "-journal"]
            .iter()
            .map(|end| format!("{DATABASE}{end}"))
            .filter(|name| self.file(name).exists())
            .collect();
        if files.is_empty() {
            return Ok(None);
        }
        let aside = (1u32..)
            .map(|n| self.file(&format!("{REPLACED}{n}")))
            .find(|path| !path.exists())
            .expect("a folder cannot hold four thousand million folders");
        DirBuilder::new()
            .mode(0o700)
            .create(&aside)
            .map_err(|e| of_file("make the folder", &aside, e))?;
        for name in files {
            let (from, to) = (self.file(&name), aside.join(&name));
            fs::rename(&from, &to).map_err(|e| of_file("move", &from, e))?;
        }
        sync_dir(&aside)?;
        self.sync()?;
        Ok(Some(aside))
    }

    /// Makes renames in it durable.
    pub(super) fn sync(&self) -> Result<()> {
        sync_dir(&self.dir)
    }
}

/// Makes renames in a folder durable.
pub(super) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| of_file("flush the folder", dir, e))
}

fn survey<'a>(names: impl Iterator<Item = &'a str>) -> Found {
    let mut trace = None;
    for name in names {
        if name == DATABASE {
            return Found::Database;
        }
        let ours = name.starts_with("state.") || name.starts_with(REPLACED);
        if ours && name != LOCK && !name.starts_with(NEW) {
            trace.get_or_insert_with(|| name.to_owned());
        }
    }
    trace.map_or(Found::Nothing, Found::Trace)
}

/// The lock ends with the process, however that ends; the number in it is for people.
fn lock(dir: &Path) -> Result<File> {
    let path = dir.join(LOCK);
    let failed = |e: io::Error| of_file("lock", &path, e);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            file.read_to_string(&mut text).map_err(failed)?;
            return Err(Error::Locked { path: dir.to_owned(), pid: text.trim().parse().ok() });
        }
        Err(TryLockError::Error(e)) => return Err(failed(e)),
    }
    // On a full disk the store still opens for reading: the number is not worth an error.
    let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    if let Err(error) = written {
        tracing::warn!(path = %path.display(), %error, "lock file does not name this process");
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_folder_without_any_trace_is_new() {
        let trace = |name: &str| Found::Trace(name.to_owned());
        for (names, found) in [
            (&[][..], Found::Nothing),
            (&["state.lock"], Found::Nothing),
            (&["state.lock", "state.db.new", "state.db.new-journal"], Found::Nothing),
            (&["somebody-elses.txt", "ca.pem"], Found::Nothing),
            (&["state.db"], Found::Database),
            (&["state.db", "state.db-wal", "state.marker"], Found::Database),
            (&["state.lock", "state.marker"], trace("state.marker")),
            (&["state.db-wal"], trace("state.db-wal")),
            (&["state.db.restoring"], trace("state.db.restoring")),
            (&["state.db.schema-1"], trace("state.db.schema-1")),
            (&["replaced-1"], trace("replaced-1")),
        ] {
            assert_eq!(survey(names.iter().copied()), found, "{names:?}");
        }
    }
}
