//! Where texts come from: the disk, or a map in memory. Every read is bounded. Nothing here knows
//! what a compose file is.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

/// How much of a file that is too large is shown, in bytes.
const START_BYTES: usize = 200;
/// Longest wait for somebody to write to a named pipe, in seconds.
const WRITER_S_MAX: i64 = 1;
/// Longest silence of a pipe that somebody has open for writing, in seconds: `-f <(program)`.
const PIPE_SILENCE_S_MAX: i64 = 60;

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
    #[error("it is larger than {max} bytes")]
    TooLarge {
        /// The most that is read, in bytes.
        max: usize,
        /// How it begins.
        start: Vec<u8>,
    },
    /// It is a pipe or a device from which nothing comes.
    #[error("nothing comes out of it: it is not a plain file, and nobody writes to it")]
    Silent,
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
                Some(bytes) if bytes.len() > max => Err(too_large(max, bytes)),
                Some(bytes) => Ok(bytes.clone()),
                None if self.is_folder(path) => Err(ReadError::Folder),
                None => Err(ReadError::Missing),
            },
            Origin::Disk if path == Path::new("-") => bounded(std::io::stdin().lock(), max),
            Origin::Disk => {
                // A pipe that nobody writes to must not hold us in `open`.
                let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
                let file = File::options().read(true).custom_flags(flags).open(path);
                let file = file.map_err(said)?;
                let kind = file.metadata().map_err(said)?.file_type();
                if kind.is_dir() {
                    return Err(ReadError::Folder);
                }
                if kind.is_file() {
                    return bounded(file, max);
                }
                bounded(Patient { file, is_pipe: kind.is_fifo(), begun: false }, max)
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
        ErrorKind::NotFound | ErrorKind::NotADirectory => ReadError::Missing,
        ErrorKind::IsADirectory => ReadError::Folder,
        ErrorKind::TimedOut => ReadError::Silent,
        _ => ReadError::Io(error),
    }
}

/// Reads what is not a plain file, and waits for it only so long.
struct Patient {
    file: File,
    is_pipe: bool,
    /// Something was read, or a writer was seen.
    begun: bool,
}

impl Patient {
    /// Waits until there is something to read, or the end.
    fn wait(&self, seconds: i64) -> std::io::Result<()> {
        let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
        let mut wanted = [PollFd::new(&self.file, PollFlags::IN)];
        match poll(&mut wanted, Some(&time)) {
            Ok(0) => Err(ErrorKind::TimedOut.into()),
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            match (&self.file).read(buffer) {
                // Before the first writer a pipe looks like one at its end.
                Ok(0) if self.is_pipe && !self.begun => self.wait(WRITER_S_MAX)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wait(PIPE_SILENCE_S_MAX)?;
                }
                other => {
                    self.begun = true;
                    return other;
                }
            }
            self.begun = true;
        }
    }
}

fn bounded(from: impl Read, max: usize) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    from.take(limit).read_to_end(&mut bytes).map_err(said)?;
    if bytes.len() > max { Err(too_large(max, &bytes)) } else { Ok(bytes) }
}

fn too_large(max: usize, bytes: &[u8]) -> ReadError {
    ReadError::TooLarge { max, start: bytes.iter().copied().take(START_BYTES).collect() }
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
