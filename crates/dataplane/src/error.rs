//! What can go wrong with a dataplane as a whole. What goes wrong with one listener, name or
//! probe is in its report instead.

use std::io;
use std::path::PathBuf;

/// Why a dataplane does not start, answer or end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens on the socket, or it may not be used.
    #[error("cannot reach the dataplane at {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It answered something that is no greeting, or nothing.
    #[error("the dataplane at {} does not greet", path.display())]
    Greeting {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Both sides know no common version.
    #[error(
        "the dataplane (pid {pid}) speaks protocol {theirs_min} to {theirs}, this program {ours}: \
         stop it and let this version start its own"
    )]
    Version {
        /// Its process.
        pid: u32,
        /// Its oldest.
        theirs_min: u32,
        /// Its newest.
        theirs: u32,
        /// Our newest.
        ours: u32,
    },
    /// Another dataplane works on the folder.
    #[error("another dataplane{holder} serves {} already: stop it first, or name another folder", dir.display())]
    Running {
        /// The folder.
        dir: PathBuf,
        /// " (pid 17)", or nothing when unknown.
        holder: String,
    },
    /// The folder cannot be used.
    #[error("cannot use {}", path.display())]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The view file cannot be read.
    #[error("cannot read the view {}", path.display())]
    ViewFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The view file has a format that this program does not read.
    #[error("the view {} has format {format}, this program reads {newest}", path.display())]
    ViewFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
        /// Our newest.
        newest: u32,
    },
    /// A thread cannot be started.
    #[error("cannot start the thread {name}")]
    Thread {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It was told to end and did not.
    #[error("the dataplane{holder} of {} does not end within {seconds} s", dir.display())]
    StillRunning {
        /// The folder.
        dir: PathBuf,
        /// " (pid 17)", or nothing when unknown.
        holder: String,
        /// The wait.
        seconds: u64,
    },
}
