//! What can go wrong with a machine of namespaces.

use std::path::{Path, PathBuf};

/// Lines of a log that a message shows.
const TAIL_LINES: usize = 20;

/// Why something of the test bed does not work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program of others did not start or did not succeed.
    #[error("`{command}` failed: {why}")]
    Run {
        /// As one would type it.
        command: String,
        /// Its exit and its last words.
        why: String,
    },
    /// A file or folder.
    #[error("{} cannot be {what}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// read, written, made, removed, locked.
        what: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Something did not come about in time.
    #[error("waited {secs} s in vain for {what}{tail}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long, in seconds.
        secs: u64,
        /// The end of a log, or nothing.
        tail: String,
    },
    /// A process ended that should have stayed.
    #[error("{what} ended ({status}){tail}")]
    Ended {
        /// Which.
        what: String,
        /// How.
        status: String,
        /// The end of its log.
        tail: String,
    },
    /// What was asked for makes no sense here; says what would.
    #[error("{0}")]
    Refused(String),
}

/// What most functions here give.
pub type Result<T = ()> = std::result::Result<T, Error>;

impl Error {
    /// For `map_err` of an operation on a file.
    pub fn file(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, what, source }
    }

    /// With all that caused it, in one line.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        text
    }
}

/// The end of a log for a message; empty when there is none.
#[must_use]
pub fn tail(log: &Path) -> String {
    let Ok(bytes) = std::fs::read(log) else { return String::new() };
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    let shown: String = lines[from..].iter().map(|line| format!("\n    {line}")).collect();
    format!("; the end of {}:{shown}", log.display())
}
