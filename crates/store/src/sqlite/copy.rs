//! Whole copies of a database: written aside, checked, flushed, and only then given their name.

use super::failure::{of_file, of_write};
use super::folder::sync_dir;
use super::rows;
use super::schema::{self, SCHEMA, int};
use crate::error::{Error, Result};
use crate::lease::LeaseId;
use crate::page::Kv;
use crate::status::{BackupMeta, Epoch};
use crate::watch::WatchOp;
use model::time::Index;
use rusqlite::Connection;
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Copies what `conn` sees to a new file `to`, in one read transaction.
pub(super) fn vacuum_into(conn: &Connection, to: &Path) -> Result<BackupMeta> {
    finish_or_clear(to, |partial| {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        options.open(partial).map_err(|e| of_file("make", partial, e))?;
        let name = partial.to_str().ok_or_else(|| {
            let why = io::Error::new(io::ErrorKind::InvalidInput, "its name is not UTF-8");
            of_file("make", partial, why)
        })?;
        conn.execute("VACUUM INTO ?1", [name]).map(drop).map_err(|e| of_write(partial, e))
    })
}

/// Writes pairs and leases to a new file `to`, in the format of a backup.
pub(crate) fn dump(
    to: &Path,
    epoch: Epoch,
    index: Index,
    kvs: &[Kv],
    leases: &[(LeaseId, u64)],
) -> Result<BackupMeta> {
    finish_or_clear(to, |partial| {
        let conn = schema::create(partial, Some(epoch), index)?;
        let write = || -> rusqlite::Result<()> {
            conn.execute_batch("BEGIN IMMEDIATE")?;
            for kv in kvs {
                let op = WatchOp { key: kv.key.clone(), prev: None, next: Some(kv.clone()) };
                rows::write(&conn, kv.modified, &op)?;
            }
            for (id, ttl_ms) in leases {
                let row = [int(id.0), int(*ttl_ms)];
                conn.execute("INSERT INTO lease (id, ttl_ms) VALUES (?1, ?2)", row)?;
                conn.execute("UPDATE meta SET last_lease = max(last_lease, ?1)", [row[0]])?;
            }
            conn.execute_batch("DELETE FROM log; COMMIT")
        };
        write().map_err(|e| of_write(partial, e))
    })
}

/// Makes `to` by way of a partial file, which does not outlive a failure.
fn finish_or_clear(to: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<BackupMeta> {
    if to.symlink_metadata().is_ok() {
        return Err(Error::Exists { path: to.to_owned() });
    }
    let mut partial = to.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    clear(&partial)?;
    let made = make(&partial).and_then(|()| finish(&partial, to));
    made.or_else(|error| clear(&partial).and(Err(error)))
}

fn clear(partial: &Path) -> Result<()> {
    match fs::remove_file(partial) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(of_file("remove", partial, e)),
        _ => Ok(()),
    }
}

fn finish(partial: &Path, to: &Path) -> Result<BackupMeta> {
    let conn = schema::open_reader(partial)?;
    let schema = schema::check(&conn, partial, SCHEMA)?;
    let meta = schema::meta(&conn).map_err(|e| super::failure::of_read(partial, e))?;
    drop(conn);
    let mut file = File::open(partial).map_err(|e| of_file("open", partial, e))?;
    file.sync_all().map_err(|e| of_file("flush", partial, e))?;
    let (bytes, sha256) = digest(&mut file).map_err(|e| of_file("read", partial, e))?;
    fs::rename(partial, to).map_err(|e| of_file("make", to, e))?;
    let parent = to.parent().filter(|dir| !dir.as_os_str().is_empty());
    sync_dir(parent.unwrap_or(Path::new(".")))?;
    Ok(BackupMeta { epoch: meta.epoch, index: meta.index, schema, bytes, sha256 })
}

fn digest(file: &mut File) -> io::Result<(u64, String)> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            let hex = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            return Ok((bytes, hex));
        }
        bytes += read as u64;
        hash.update(&buffer[..read]);
    }
}
