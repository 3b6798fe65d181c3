//! The files of a machine, as they are and as they are to be. Each is swapped whole; when one cannot
//! be written, those before it are put back.

use super::plan::{DAEMON, DROP_IN, Edit, HEAD, Kept, RESOLV, Seen};
use crate::exit::{Failure, Outcome};
use crate::paths;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A machine's files.
#[derive(Debug)]
pub(super) struct Machine {
    root: PathBuf,
    kept: PathBuf,
}

fn failed(path: &Path, what: &str, error: &std::io::Error) -> Failure {
    Failure::error(format!("{} cannot be {what}: {error}", path.display()))
}

impl Machine {
    pub(super) fn new(root: &Path, data_dir: &Path) -> Self {
        Self { root: root.to_owned(), kept: data_dir.join("dns-install.json") }
    }

    fn place(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// What a file says; `None` when it is not there.
    pub(super) fn read(&self, path: &str) -> Outcome<Option<String>> {
        read(&self.place(path))
    }

    /// How it is.
    pub(super) fn look(&self) -> Outcome<Seen> {
        let resolv = self.place(RESOLV);
        // What is no link cannot be read as one.
        let link = std::fs::read_link(&resolv).ok().map(|to| to.display().to_string());
        Ok(Seen {
            link,
            resolv: self.read(RESOLV)?,
            head: self.read(HEAD)?,
            drop_in: self.read(DROP_IN)?,
            daemon: self.read(DAEMON)?,
        })
    }

    /// What was changed here; `None` when nothing was.
    pub(super) fn kept(&self) -> Outcome<Option<Kept>> {
        let Some(text) = read(&self.kept)? else { return Ok(None) };
        serde_json::from_str(&text).map(Some).map_err(|error| {
            Failure::error(format!("{} is damaged: {error}", self.kept.display()))
                .hint("put the files back by hand, then remove it")
        })
    }

    /// Writes down what is changed, before it is.
    pub(super) fn keep(&self, kept: &Kept) -> Outcome {
        if let Some(folder) = self.kept.parent() {
            std::fs::create_dir_all(folder).map_err(|e| failed(folder, "made", &e))?;
        }
        let text = serde_json::to_string_pretty(kept);
        let text = text.map_err(|error| Failure::error(error.to_string()))?;
        paths::write_private(&self.kept, &text)
    }

    /// Nothing is changed any more.
    pub(super) fn forget(&self) -> Outcome {
        std::fs::remove_file(&self.kept).map_err(|e| failed(&self.kept, "removed", &e))
    }

    /// Makes the files as they are to be, all of them or none.
    pub(super) fn write(&self, edits: &[Edit]) -> Outcome {
        for (done, edit) in edits.iter().enumerate() {
            let path = self.place(&edit.path);
            let Err(error) = put(&path, edit.after.as_deref()) else { continue };
            let mut failure = failed(&path, "written", &error);
            for earlier in edits.iter().take(done) {
                let path = self.place(&earlier.path);
                if let Err(error) = put(&path, earlier.before.as_deref()) {
                    failure = failure
                        .hint(format!("{} could not be put back either: {error}", path.display()));
                }
            }
            return Err(failure);
        }
        Ok(())
    }
}

fn read(path: &Path) -> Outcome<Option<String>> {
    let size = match std::fs::metadata(path) {
        Ok(file) => file.len(),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(failed(path, "read", &error)),
    };
    if size > FILE_BYTES_MAX {
        let why = format!("{} has {size} bytes, which no such file has", path.display());
        return Err(Failure::error(why));
    }
    std::fs::read_to_string(path).map(Some).map_err(|error| failed(path, "read", &error))
}

/// Swaps a file, with the permissions that it had; one that is mounted by itself is written over.
fn put(path: &Path, text: Option<&str>) -> std::io::Result<()> {
    let Some(text) = text else { return std::fs::remove_file(path) };
    // What a link leads to is the file.
    let path = &std::fs::canonicalize(path).unwrap_or_else(|_new| path.to_owned());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mode = std::fs::metadata(path).map_or(0o644, |file| file.permissions().mode() & 0o7777);
    let new = path.with_extension("remuda-new");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(mode).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    match std::fs::rename(&new, path) {
        Err(error) if error.kind() == ErrorKind::ResourceBusy => {
            std::fs::remove_file(&new)?;
            std::fs::write(path, text)
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan;
    use super::*;

    fn edit(path: &str, before: Option<&str>, after: Option<&str>) -> Edit {
        let text = |text: Option<&str>| text.map(str::to_owned);
        Edit { path: path.to_owned(), before: text(before), after: text(after) }
    }

    #[test]
    fn files_are_changed_whole_or_not_at_all_and_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::new(dir.path(), &dir.path().join("data"));
        let resolv = dir.path().join("etc/resolv.conf");
        std::fs::create_dir_all(resolv.parent().unwrap()).unwrap();
        std::fs::write(&resolv, "nameserver 10.0.0.2\n").unwrap();
        std::fs::set_permissions(&resolv, std::fs::Permissions::from_mode(0o640)).unwrap();
        let seen = machine.look().unwrap();
        let made = plan::install(&seen, &["consul".to_owned()]).unwrap();
        let kept = Kept { manager: Some(made.manager), edits: made.edits.clone() };
        machine.keep(&kept).unwrap();
        machine.write(&made.edits).unwrap();
        assert!(machine.read(RESOLV).unwrap().unwrap().contains("169.254.169.250"));
        assert_eq!(std::fs::metadata(&resolv).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(machine.kept().unwrap(), Some(kept.clone()));
        let back = plan::undo(&kept, |path| machine.read(path)).unwrap();
        machine.write(&back.edits).unwrap();
        machine.forget().unwrap();
        assert_eq!(machine.read(RESOLV).unwrap().as_deref(), Some("nameserver 10.0.0.2\n"));
        assert_eq!(machine.kept().unwrap(), None);
        // The second one cannot be written, for a file stands where its folder would be.
        std::fs::write(dir.path().join("etc/docker"), "").unwrap();
        let both = [
            edit(RESOLV, Some("nameserver 10.0.0.2\n"), Some("other")),
            edit(DAEMON, None, Some("{}")),
        ];
        assert!(machine.write(&both).is_err());
        assert_eq!(machine.read(RESOLV).unwrap().as_deref(), Some("nameserver 10.0.0.2\n"));
    }
}
