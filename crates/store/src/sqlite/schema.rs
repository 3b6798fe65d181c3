//! The tables, their version, and the way from one version to the next. A database is opened
//! only after it was checked to be ours, whole, and not newer than this program.

use super::copy;
use super::failure::{of_file, of_read, of_write};
use crate::error::{Error, Result};
use crate::status::Epoch;
use model::time::Index;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Row, Transaction, TransactionBehavior, params};
use std::fs::{self, OpenOptions, Permissions};
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Version of the tables below.
pub(crate) const SCHEMA: u32 = 1;
/// "Rmda": tells our databases from others.
const APPLICATION_ID: i32 = 0x526d_6461;
/// How long a connection waits for another one of this process.
const BUSY: Duration = Duration::from_secs(10);

/// A step from one schema to the next.
pub(super) type Migration = fn(&Transaction<'_>) -> rusqlite::Result<()>;

/// Step `n` (from 0) leads from schema `n + 1` to `n + 2`.
pub(super) const MIGRATIONS: &[Migration] = &[];

/// `kv` is what is, `log` what was done, in the order of its rows. One row in `meta`.
const TABLES: &str = "
CREATE TABLE meta (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  epoch BLOB NOT NULL,
  rev INTEGER NOT NULL,
  compacted INTEGER NOT NULL,
  last_lease INTEGER NOT NULL
) STRICT;
CREATE TABLE kv (
  key TEXT PRIMARY KEY NOT NULL,
  value BLOB NOT NULL,
  created INTEGER NOT NULL,
  modified INTEGER NOT NULL,
  lease INTEGER
) STRICT;
CREATE INDEX kv_lease ON kv (lease) WHERE lease IS NOT NULL;
CREATE TABLE log (
  rev INTEGER NOT NULL,
  key TEXT NOT NULL,
  prev BLOB,
  prev_created INTEGER,
  prev_modified INTEGER,
  prev_lease INTEGER,
  value BLOB,
  created INTEGER,
  lease INTEGER
) STRICT;
CREATE INDEX log_rev ON log (rev);
CREATE TABLE lease (
  id INTEGER PRIMARY KEY,
  ttl_ms INTEGER NOT NULL
) STRICT;
";

/// The row of `meta`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) epoch: Epoch,
    pub(super) index: Index,
    pub(super) compacted: Index,
    pub(super) last_lease: u64,
}

/// As SQLite keeps it; an index above is asked for only by mistake and is then in the future.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number that is never negative, unless the database is damaged.
pub(super) fn uint(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number)
        .map_err(|_negative| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

/// Makes a database of mode 0600 with empty tables at `index`. A new epoch unless one is given.
pub(super) fn create(path: &Path, epoch: Option<Epoch>, index: Index) -> Result<Connection> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(path).map_err(|e| of_file("make", path, e))?;
    let conn = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let make = || -> rusqlite::Result<()> {
        conn.execute_batch("PRAGMA auto_vacuum = INCREMENTAL; PRAGMA synchronous = FULL;")?;
        conn.execute_batch("BEGIN IMMEDIATE")?;
        conn.execute_batch(TABLES)?;
        conn.pragma_update(None, "application_id", APPLICATION_ID)?;
        conn.pragma_update(None, "user_version", SCHEMA)?;
        conn.execute(
            "INSERT INTO meta VALUES (1, coalesce(?1, randomblob(16)), ?2, ?2, 0)",
            params![epoch.map(|epoch| epoch.0), int(index.0)],
        )?;
        conn.execute_batch("COMMIT")
    };
    make().map_err(|e| of_write(path, e))?;
    Ok(conn)
}

/// Opens a database to write to, brought to this program's schema. Until it was checked and
/// `accept` agrees to what it holds, nothing in it is changed.
pub(super) fn open(
    path: &Path,
    migrations: &[Migration],
    accept: impl FnOnce(&Meta) -> Result<()>,
) -> Result<(Connection, Meta)> {
    check_file(path)?;
    let mode = fs::metadata(path).map_err(|e| of_file("read", path, e))?.permissions().mode();
    if mode & 0o077 != 0 {
        let private = Permissions::from_mode(0o600);
        fs::set_permissions(path, private).map_err(|e| of_file("close to others", path, e))?;
    }
    let mut conn = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // A database that is refused keeps its log: closing it would move it.
    let keep_log = |conn: &Connection, keep| {
        let switch = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        conn.set_db_config(switch, keep).map(drop).map_err(|e| of_read(path, e))
    };
    keep_log(&conn, true)?;
    let known = u32::try_from(migrations.len() + 1).unwrap_or(u32::MAX);
    let found = check(&conn, path, known)?;
    accept(&meta(&conn).map_err(|e| of_read(path, e))?)?;
    keep_log(&conn, false)?;
    if found < known {
        migrate(&mut conn, path, found, known, migrations)?;
    }
    let setup = || -> rusqlite::Result<String> {
        let mode = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        conn.execute_batch(
            "PRAGMA synchronous = FULL; PRAGMA cache_size = -4096; PRAGMA temp_store = MEMORY;",
        )?;
        conn.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
        Ok(mode)
    };
    let mode = setup().map_err(|e| of_write(path, e))?;
    if mode != "wal" {
        let why = format!("its disk allows no write-ahead log, journal mode is {mode}");
        return Err(Error::Foreign { path: path.to_owned(), why });
    }
    let meta = meta(&conn).map_err(|e| of_read(path, e))?;
    Ok((conn, meta))
}

/// Opens a database to read from beside its writer, or a backup.
pub(super) fn open_reader(path: &Path) -> Result<Connection> {
    let conn = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    conn.execute_batch("PRAGMA cache_size = -1024; PRAGMA temp_store = MEMORY;")
        .map_err(|e| of_read(path, e))?;
    Ok(conn)
}

fn connect(path: &Path, how: OpenFlags) -> Result<Connection> {
    let conn = Connection::open_with_flags(path, how | OpenFlags::SQLITE_OPEN_NO_MUTEX);
    let conn = conn.map_err(|e| of_write(path, e))?;
    conn.busy_timeout(BUSY).map_err(|e| of_read(path, e))?;
    conn.set_prepared_statement_cache_capacity(32);
    Ok(conn)
}

/// SQLite takes an empty file for an empty database; we do not.
pub(super) fn check_file(path: &Path) -> Result<()> {
    const MAGIC: &[u8] = b"SQLite format 3\0";
    let mut head = Vec::with_capacity(MAGIC.len());
    let file = fs::File::open(path).map_err(|e| of_file("open", path, e))?;
    let read = file.take(MAGIC.len() as u64).read_to_end(&mut head);
    read.map_err(|e| of_file("read", path, e))?;
    let why = match &head[..] {
        MAGIC => return Ok(()),
        [] => "it is empty, 0 bytes",
        _ => "its first bytes are not those of a database",
    };
    Err(Error::Corrupt { path: path.to_owned(), why: why.to_owned() })
}

/// Is it ours, whole, and of a schema up to `known`? Gives its schema.
pub(super) fn check(conn: &Connection, path: &Path, known: u32) -> Result<u32> {
    let number = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0));
    let id = number("PRAGMA application_id").map_err(|e| of_read(path, e))?;
    if id != i64::from(APPLICATION_ID) {
        let why = format!("it is a database of another program, id {id}");
        return Err(Error::Foreign { path: path.to_owned(), why });
    }
    let schema = number("PRAGMA user_version").map_err(|e| of_read(path, e))?;
    let found = u32::try_from(schema).ok().filter(|schema| *schema > 0).ok_or_else(|| {
        Error::Corrupt { path: path.to_owned(), why: format!("its schema is {schema}") }
    })?;
    if found > known {
        let copy = copy_name(path, known);
        return Err(Error::NewerSchema { path: path.to_owned(), found, known, copy });
    }
    let verdict = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    let why = verdict.map_err(|e| of_read(path, e))?;
    if why != "ok" {
        return Err(Error::Corrupt { path: path.to_owned(), why });
    }
    Ok(found)
}

/// Where the copy from before an upgrade of schema `from` is kept.
fn copy_name(path: &Path, from: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".schema-{from}"));
    name.into()
}

/// All steps in one transaction, after a copy.
fn migrate(
    conn: &mut Connection,
    path: &Path,
    found: u32,
    known: u32,
    migrations: &[Migration],
) -> Result<()> {
    let kept = copy_name(path, found);
    if kept.exists() {
        // Left by an upgrade that did not get to its end: the database is still the same.
        fs::remove_file(&kept).map_err(|e| of_file("remove", &kept, e))?;
    }
    copy::vacuum_into(conn, &kept)?;
    let steps = migrations.iter().skip(found as usize - 1);
    let run = |conn: &mut Connection| -> rusqlite::Result<()> {
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for step in steps {
            step(&tx)?;
        }
        tx.pragma_update(None, "user_version", known)?;
        tx.commit()
    };
    run(conn).map_err(|e| of_write(path, e))?;
    let copy = kept.display();
    tracing::info!(path = %path.display(), from = found, to = known, %copy, "store upgraded");
    Ok(())
}

/// Reads the row of `meta`.
pub(super) fn meta(conn: &Connection) -> rusqlite::Result<Meta> {
    let mut row = conn.prepare_cached("SELECT epoch, rev, compacted, last_lease FROM meta")?;
    row.query_row([], |row| {
        Ok(Meta {
            epoch: Epoch(row.get(0)?),
            index: Index(uint(row, 1)?),
            compacted: Index(uint(row, 2)?),
            last_lease: uint(row, 3)?,
        })
    })
}

#[cfg(test)]
mod tests;
