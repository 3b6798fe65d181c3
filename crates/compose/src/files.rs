//! Where texts come from: the disk, or a map in memory. Every read is bounded. Nothing here knows
//! what a compose file is.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// Reads files for the loader.
#[derive(Clone, Debug)]
pub struct Files {
    folder: PathBuf,
    origin: Origin,
}

#[derive(Clone, Debug)]
enum Origin {
    Disk,
    Memory(BTreeMap<PathBuf, Vec<u8>>),
}

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is none.
    #[error("there is no such file")]
    Missing,
    /// It is a folder.
    #[error("it is a folder")]
    Folder,
    /// It has more than this many bytes.
    #[error("it is larger than {0} bytes")]
    TooLarge(usize),
    /// The system said no.
    #[error("it cannot be read")]
    Io(#[source] std::io::Error),
}

impl Files {
    /// The real file system; relative paths resolve in `folder`, `-` is the standard input.
    #[must_use]
    pub fn disk(folder: PathBuf) -> Self {
        Self { folder, origin: Origin::Disk }
    }

    /// Files by absolute path, for tests; `-` stands for the standard input. The current folder is
    /// the root. A folder exists when a file is in it.
    #[must_use]
    pub fn memory(files: BTreeMap<PathBuf, Vec<u8>>) -> Self {
        Self { folder: PathBuf::from("/"), origin: Origin::Memory(files) }
    }

    /// The absolute form of a path, `.` and `..` taken out by their text.
    #[must_use]
    pub fn absolute(&self, path: &Path) -> PathBuf {
        normal(&self.folder.join(path))
    }

    /// Reads a file of at most `max` bytes.
    ///
    /// # Errors
    /// `ReadError`: missing, a folder, too large, or what the system says.
    pub fn read(&self, path: &Path, max: usize) -> Result<Vec<u8>, ReadError> {
        match &self.origin {
            Origin::Memory(files) => match files.get(path) {
                Some(bytes) if bytes.len() > max => Err(ReadError::TooLarge(max)),
                Some(bytes) => Ok(bytes.clone()),
                None if self.is_folder(path) => Err(ReadError::Folder),
                None => Err(ReadError::Missing),
            },
            Origin::Disk if path == Path::new("-") => bounded(std::io::stdin().lock(), max),
            Origin::Disk => {
                let file = std::fs::File::open(path).map_err(said)?;
                if file.metadata().map_err(said)?.is_dir() {
                    return Err(ReadError::Folder);
                }
                bounded(file, max)
            }
        }
    }

    /// Is there a file, of whatever size?
    #[must_use]
    pub fn is_file(&self, path: &Path) -> bool {
        match &self.origin {
            Origin::Memory(files) => files.contains_key(path),
            Origin::Disk => path.metadata().is_ok_and(|m| !m.is_dir()),
        }
    }

    /// Is there a folder?
    #[must_use]
    pub fn is_folder(&self, path: &Path) -> bool {
        match &self.origin {
            Origin::Memory(files) => files.keys().any(|f| f != path && f.starts_with(path)),
            Origin::Disk => path.is_dir(),
        }
    }
}

fn said(error: std::io::Error) -> ReadError {
    match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => ReadError::Missing,
        std::io::ErrorKind::IsADirectory => ReadError::Folder,
        _ => ReadError::Io(error),
    }
}

fn bounded(from: impl Read, max: usize) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    from.take(limit).read_to_end(&mut bytes).map_err(said)?;
    if bytes.len() > max { Err(ReadError::TooLarge(max)) } else { Ok(bytes) }
}

/// Takes `.` and `..` out of an absolute path by its text, as Docker does with binds.
pub(crate) fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}
