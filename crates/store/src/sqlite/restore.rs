//! Restore: a new database from a backup, with a new epoch and an index beyond any that was ever
//! seen here. What was in the folder before is kept aside.

use super::copy;
use super::failure::{of_file, of_read, of_write};
use super::folder::{DATABASE, Folder, RESTORING};
use super::marker::{Marker, Memo};
use super::schema::{self, SCHEMA, int};
use crate::RESTORE_INDEX_JUMP;
use crate::error::{Error, Result};
use crate::status::Epoch;
use model::time::Index;
use std::fs;
use std::path::{Path, PathBuf};

/// What a restore has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Index of the backup: nothing later is there any more.
    pub from: Index,
    /// Where the store goes on.
    pub index: Index,
    /// Its new history.
    pub epoch: Epoch,
    /// Where the files are that were there before.
    pub aside: Option<PathBuf>,
}

/// Makes the store in `dir` anew from `backup`, which may be a file of `Store::backup` or the
/// database of a store, also the one in `dir`. Blocks; no process may have `dir` open. When it is
/// interrupted, the store does not open until it is done again.
///
/// # Errors
/// `Locked` when the store is open, `Foreign`, `Corrupt` or `NewerSchema` of the backup, `NoSpace`
/// and `File` of the folder. Until all of the backup is there nothing in `dir` is touched.
pub fn restore(backup: &Path, dir: &Path) -> Result<Restored> {
    let folder = Folder::take(dir)?;
    let seen = last_index(&folder);
    folder.clear(RESTORING)?;
    let new = folder.file(RESTORING);
    let made = make(backup, &new, seen).or_else(|e| folder.clear(RESTORING).and(Err(e)))?;
    let (from, memo) = made;
    // From here on the folder's old database does not open, and neither does an empty one.
    Marker::write(&folder, memo)?;
    let aside = folder.set_aside()?;
    let path = folder.file(DATABASE);
    fs::rename(&new, &path).map_err(|e| of_file("make", &path, e))?;
    folder.sync()?;
    folder.clear(RESTORING)?;
    let restored = Restored { from, index: memo.index, epoch: memo.epoch, aside };
    tracing::info!(
        backup = %backup.display(), from = from.0, index = memo.index.0, epoch = %memo.epoch,
        "store restored"
    );
    Ok(restored)
}

fn make(backup: &Path, new: &Path, seen: Index) -> Result<(Index, Memo)> {
    schema::check_file(backup).map_err(|error| match error {
        Error::Corrupt { path, why } => Error::Foreign { path, why },
        other => other,
    })?;
    let source = schema::open_reader(backup)?;
    schema::check(&source, backup, SCHEMA)?;
    let from = copy::vacuum_into(&source, new)?.index;
    drop(source);
    // Opening it brings a backup of an older version to this one's schema.
    let (conn, _) = schema::open(new, schema::MIGRATIONS, |_| Ok(()))?;
    let index = Index(from.max(seen).0.saturating_add(RESTORE_INDEX_JUMP));
    let renew = || -> rusqlite::Result<()> {
        conn.execute_batch("BEGIN IMMEDIATE; DELETE FROM log")?;
        conn.execute(
            "UPDATE meta SET epoch = randomblob(16), rev = ?1, compacted = ?1",
            [int(index.0)],
        )?;
        // One file, that can be moved: no write-ahead log beside it.
        conn.execute_batch("COMMIT")?;
        conn.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))
    };
    renew().map_err(|e| of_write(new, e))?;
    let epoch = schema::meta(&conn).map_err(|e| of_read(new, e))?.epoch;
    Ok((from, Memo { epoch, index }))
}

/// The newest index that this folder is known to have had; what cannot be read says nothing.
fn last_index(folder: &Folder) -> Index {
    let marker = match Marker::read(folder) {
        Ok(memo) => memo.map_or(Index(0), |memo| memo.index),
        Err(error) => {
            tracing::warn!(%error, "marker says nothing of the last index");
            Index(0)
        }
    };
    let path = folder.file(DATABASE);
    if !path.exists() {
        return marker;
    }
    let read = schema::open_reader(&path)
        .and_then(|conn| schema::meta(&conn).map_err(|e| of_read(&path, e)));
    match read {
        Ok(meta) => marker.max(meta.index),
        Err(error) => {
            tracing::warn!(%error, "database says nothing of the last index");
            marker
        }
    }
}
