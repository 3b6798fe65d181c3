//! Are the files that are being written still the ones in the folder? What is written to a file
//! that somebody deleted is lost with the process, so it must not be acknowledged.

use crate::error::{Error, Result};
use rusqlite::Connection;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Device and number of a file.
type Identity = (u64, u64);

/// The database and its write-ahead log, as they were first seen.
#[derive(Debug)]
pub(super) struct Files {
    database: PathBuf,
    log: PathBuf,
    seen: Option<(Identity, Identity)>,
    /// What was found missing; there is no way back but a new start.
    lost: Option<Error>,
}

impl Files {
    pub(super) fn new(database: &Path) -> Self {
        let mut log = database.as_os_str().to_owned();
        log.push("-wal");
        Self { database: database.to_owned(), log: log.into(), seen: None, lost: None }
    }

    /// To be asked before each commit.
    pub(super) fn check(&mut self, conn: &Connection) -> Result<()> {
        if let Some(lost) = &self.lost {
            return Err(lost.clone());
        }
        let now = (identity(&self.database), identity(&self.log));
        let (Some((database, log)), (found, found_log)) = (self.seen, now) else {
            // The log is made by the first write.
            self.seen = now.0.zip(now.1);
            return Ok(());
        };
        if found == Some(database) && found_log == Some(log) {
            return Ok(());
        }
        let lost = if found == Some(database) {
            self.rescue(conn)
        } else {
            Error::Vanished {
                path: self.database.clone(),
                rescue: "reads go on: save what there is with `remuda backup create FILE` before \
                         anything is stopped, then restore it",
            }
        };
        self.lost = Some(lost.clone());
        Err(lost)
    }

    /// The open log still has everything: moved into the database, nothing is lost.
    fn rescue(&self, conn: &Connection) -> Error {
        let moved =
            conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        let rescue = match moved {
            Ok(0) => {
                "everything acknowledged is safe in the database: stop this process and start it \
                 again"
            }
            _ => {
                "save what there is with `remuda backup create FILE` before anything is stopped, \
                 then restore it"
            }
        };
        Error::Vanished { path: self.log.clone(), rescue }
    }
}

fn identity(path: &Path) -> Option<Identity> {
    fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}
