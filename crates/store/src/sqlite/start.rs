//! From a folder to an open database. Every doubt whether it is the one that was here before, and
//! all of it, ends in an error; a new one is made only where there never was one.

use super::failure::{of_file, of_read, of_write};
use super::folder::{DATABASE, Folder, Found, NEW};
use super::marker::{Marker, Memo};
use super::rows;
use super::schema::{self, Meta, Migration};
use crate::error::{Error, Result};
use crate::lease::LeaseId;
use model::time::Index;
use rusqlite::Connection;
use std::fs;
use std::path::{Path, PathBuf};

/// An open database, with the folder it lives in.
pub(super) struct Started {
    pub(super) folder: Folder,
    pub(super) path: PathBuf,
    pub(super) conn: Connection,
    pub(super) meta: Meta,
    pub(super) marker: Marker,
    pub(super) leases: Vec<(LeaseId, u64)>,
}

/// Opens the store in `dir`.
pub(super) fn start(dir: &Path, migrations: &[Migration]) -> Result<Started> {
    let folder = Folder::take(dir)?;
    let path = folder.file(DATABASE);
    match folder.survey()? {
        Found::Database => {}
        Found::Trace(name) => return Err(Error::Missing { path, trace: folder.file(&name) }),
        Found::Nothing => {
            // A failure half way leaves no trace that the next start could take for a loss.
            make(&folder, &path).or_else(|error| folder.clear(NEW).and(Err(error)))?;
            tracing::info!(path = %path.display(), "new store made");
        }
    }
    let memo = Marker::read(&folder)?;
    let accept = |meta: &Meta| memo.map_or(Ok(()), |memo| compare(&path, memo, meta));
    let (conn, meta) = schema::open(&path, migrations, accept)?;
    if memo.is_none() {
        Marker::write(&folder, Memo { epoch: meta.epoch, index: meta.index })?;
    }
    let mut marker = Marker::open(&folder)?;
    marker.advance(meta.index);
    let leases = rows::leases(&conn).map_err(|e| of_read(&path, e))?;
    probe(&conn, &path)?;
    Ok(Started { folder, path, conn, meta, marker, leases })
}

/// Made whole under another name first: no start ever sees half of one.
fn make(folder: &Folder, path: &Path) -> Result<()> {
    folder.clear(NEW)?;
    let new = folder.file(NEW);
    drop(schema::create(&new, None, Index(0))?);
    fs::rename(&new, path).map_err(|e| of_file("make", path, e))?;
    folder.sync()
}

fn compare(path: &Path, memo: Memo, found: &Meta) -> Result<()> {
    let path = path.to_owned();
    if memo.epoch != found.epoch {
        return Err(Error::OtherEpoch { path, found: found.epoch, expected: memo.epoch });
    }
    if memo.index > found.index {
        let (found, acknowledged) = (found.index, memo.index);
        return Err(Error::Behind { path, found, acknowledged });
    }
    Ok(())
}

/// A first write, so that what cannot be written is known at the start. A full disk is no reason
/// not to start: reads are possible.
fn probe(conn: &Connection, path: &Path) -> Result<()> {
    match conn.execute("UPDATE meta SET one = 1", []).map_err(|e| of_write(path, e)) {
        Err(error @ Error::NoSpace { .. }) => {
            tracing::error!(%error, "store opened, but nothing can be written");
            Ok(())
        }
        other => other.map(drop),
    }
}
