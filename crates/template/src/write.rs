//! Files are replaced whole: written beside their place, made durable, then renamed over it. Who
//! reads sees the old file or the new one, also when this process is killed on the way.

use crate::error::Error;
use rustix::fs::{Gid, Mode, Uid};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Age from which what a killed process left behind is taken away.
const LEFTOVER: Duration = Duration::from_secs(60);
/// In the name of what is not yet a file.
const MARK: &str = ".remuda-";

/// How a file is to be.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Folders above it are made.
    pub folders: bool,
    /// Its mode; `None` keeps that of the file that is there, 0644 for a new one.
    pub mode: Option<u32>,
    /// Its owner, a number or a name; `None` keeps it.
    pub user: Option<String>,
    /// Its group, likewise.
    pub group: Option<String>,
    /// The file that is there is kept beside it, as `.bak`.
    pub backup: bool,
}

/// A file that is written and not yet in its place. It goes away unless it is put there.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    destination: PathBuf,
    backup: bool,
    placed: bool,
}

/// What stands in a file; `None` when there is none.
///
/// # Errors
/// `Error::Read`.
pub fn current(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Read { path: path.to_owned(), source }),
    }
}

/// Writes text beside its place.
///
/// # Errors
/// `Error::Write` with the step; nothing is left then.
pub fn stage(destination: &Path, bytes: &[u8], wish: &Wish) -> Result<Staged, Error> {
    let failed = |doing: &'static str| {
        let path = destination.to_owned();
        move |source: std::io::Error| Error::Write { path, doing, source }
    };
    // A link stays a link: what it names is replaced.
    let real = std::fs::canonicalize(destination).unwrap_or_else(|_none| destination.to_owned());
    let folder = real.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if wish.folders {
        std::fs::create_dir_all(folder).map_err(failed("make its folder"))?;
    }
    let name = real.file_name().ok_or_else(|| {
        failed("find its name")(std::io::Error::other("the path ends in no name"))
    })?;
    let name = name.to_string_lossy();
    clear_leftovers(folder, &name);
    let path = folder.join(format!(".{name}{MARK}{}", std::process::id()));
    let staged = Staged { path, destination: real, backup: wish.backup, placed: false };
    if let Err(e) = std::fs::remove_file(&staged.path)
        && e.kind() != std::io::ErrorKind::NotFound
    {
        return Err(failed("clear what was left")(e));
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&staged.path)
        .map_err(failed("make it beside its place"))?;
    file.write_all(bytes).map_err(failed("write"))?;
    own(&file, &staged.destination, wish).map_err(failed("set owner and mode"))?;
    file.sync_all().map_err(failed("make it durable"))?;
    Ok(staged)
}

/// Owner first: a change of owner may take bits of the mode away.
fn own(file: &File, old: &Path, wish: &Wish) -> std::io::Result<()> {
    let old = std::fs::metadata(old).ok();
    let now = file.metadata()?;
    let user = match &wish.user {
        Some(user) => Some(number_of(user, "/etc/passwd")?),
        None => old.as_ref().map(std::os::unix::fs::MetadataExt::uid),
    };
    let group = match &wish.group {
        Some(group) => Some(number_of(group, "/etc/group")?),
        None => old.as_ref().map(std::os::unix::fs::MetadataExt::gid),
    };
    let user = user.filter(|user| *user != now.uid());
    let group = group.filter(|group| *group != now.gid());
    if user.is_some() || group.is_some() {
        rustix::fs::fchown(file, user.map(Uid::from_raw), group.map(Gid::from_raw))?;
    }
    let mode = wish.mode.or(old.map(|old| old.mode() & 0o7777)).unwrap_or(0o644);
    rustix::fs::fchmod(file, Mode::from_raw_mode(mode))?;
    Ok(())
}

/// A number, or the one that a name has in passwd or group.
fn number_of(name: &str, file: &str) -> std::io::Result<u32> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let text = std::fs::read_to_string(file)?;
    let found = text.lines().find_map(|line| {
        let mut parts = line.split(':');
        (parts.next() == Some(name)).then(|| parts.nth(1)?.parse().ok()).flatten()
    });
    found.ok_or_else(|| std::io::Error::other(format!("{file} knows no {name}")))
}

/// Takes away what processes left that were killed on the way: the number in the name is of none.
fn clear_leftovers(folder: &Path, name: &str) {
    let prefix = format!(".{name}{MARK}");
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let file = entry.file_name();
        let Some(number) = file.to_str().and_then(|f| f.strip_prefix(&prefix)) else { continue };
        let old = entry.metadata().and_then(|m| m.modified()).ok();
        let old = old.and_then(|at| at.elapsed().ok()).is_some_and(|age| age > LEFTOVER);
        let dead = !number.is_empty() && !Path::new("/proc").join(number).exists();
        if old
            && dead
            && let Err(error) = std::fs::remove_file(entry.path())
        {
            tracing::debug!(%error, path = %entry.path().display(), "leftover stays");
        }
    }
}

impl Staged {
    /// Where it is now.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts it in its place.
    ///
    /// # Errors
    /// `Error::Write`; the old file is then still there.
    pub fn place(mut self) -> Result<(), Error> {
        let failed = |doing: &'static str| {
            let path = self.destination.clone();
            move |source: std::io::Error| Error::Write { path, doing, source }
        };
        if self.backup {
            let mut backup = self.destination.clone().into_os_string();
            backup.push(".bak");
            match std::fs::copy(&self.destination, backup) {
                Ok(_) => {}
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(failed("keep the old one as .bak")(e)),
            }
        }
        std::fs::rename(&self.path, &self.destination).map_err(|e| {
            let busy = e.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error());
            let doing = if busy {
                "rename: it is mounted as a single file, mount its folder instead"
            } else {
                "rename"
            };
            failed(doing)(e)
        })?;
        self.placed = true;
        let folder = self.destination.parent().unwrap_or(Path::new("."));
        File::open(folder).and_then(|f| f.sync_all()).map_err(failed("make its folder durable"))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.placed
            && let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %self.path.display(), "file beside its place stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn names(folder: &Path) -> Vec<String> {
        let all = std::fs::read_dir(folder).unwrap();
        let mut all: Vec<_> =
            all.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        all.sort();
        all
    }

    #[test]
    fn a_file_is_replaced_whole_and_keeps_mode_and_link() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        stage(&path, b"one", &Wish::default()).unwrap().place().unwrap();
        assert_eq!((mode(&path), names(folder.path())), (0o644, vec!["a".to_owned()]));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o604)).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let wish = Wish { backup: true, ..Wish::default() };
        stage(&link, b"two", &wish).unwrap().place().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(mode(&path), 0o604);
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(names(folder.path()), ["a", "a.bak", "link"]);
        assert_eq!(std::fs::read(folder.path().join("a.bak")).unwrap(), b"one");
        let wish = Wish { mode: Some(0o600), ..Wish::default() };
        stage(&path, b"three", &wish).unwrap().place().unwrap();
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn what_is_not_placed_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "old").unwrap();
        let staged = stage(&path, b"new", &Wish::default()).unwrap();
        assert_eq!(std::fs::read(staged.path()).unwrap(), b"new");
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        drop(staged);
        assert_eq!(names(folder.path()), ["a"]);
        let deep = folder.path().join("x/y/z");
        stage(&deep, b"", &Wish::default()).unwrap_err();
        let wish = Wish { folders: true, ..Wish::default() };
        stage(&deep, b"", &wish).unwrap().place().unwrap();
        assert!(deep.exists());
        let wish = Wish { user: Some("nobody-there".into()), ..Wish::default() };
        stage(&path, b"", &wish).unwrap_err();
        assert_eq!(names(folder.path()), ["a", "x"]);
    }

    #[test]
    fn only_old_leftovers_of_the_dead_are_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(3_600);
        for (number, old) in [("999999999", true), ("999999998", false), ("1", true)] {
            let left = folder.path().join(format!(".a{MARK}{number}"));
            let file = File::create(left).unwrap();
            if old {
                file.set_modified(long_ago).unwrap();
            }
        }
        stage(&path, b"x", &Wish::default()).unwrap().place().unwrap();
        assert_eq!(names(folder.path()), [".a.remuda-1", ".a.remuda-999999998", "a"]);
    }
}
