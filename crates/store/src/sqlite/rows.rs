//! Rows to pairs and events and back: every statement on `kv`, `log` and `lease`.

use super::schema::{int, uint};
use crate::error::{Error, Result};
use crate::keys::{Key, Keys};
use crate::lease::LeaseId;
use crate::page::{Kv, Page, Read};
use crate::sqlite::failure::of_read;
use crate::sqlite::schema::meta;
use crate::watch::{Chunk, WatchEvent, WatchOp};
use bytes::Bytes;
use model::time::Index;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};
use std::path::Path;

type Sql<T> = rusqlite::Result<T>;

/// About how much of the log one step of catching up gives, in bytes.
const CHUNK_BYTES: usize = 1024 * 1024;
/// Rows of the log that one step of catching up gives, whole transactions beyond it.
const CHUNK_ROWS: usize = 4_096;
/// The columns of a pair.
const KV: &str = "key, value, created, modified, lease";

fn kv(row: &Row<'_>) -> Sql<Kv> {
    Ok(Kv {
        key: row.get(0)?,
        value: Bytes::from(row.get::<_, Vec<u8>>(1)?),
        created: Index(uint(row, 2)?),
        modified: Index(uint(row, 3)?),
        lease: lease(row, 4)?,
    })
}

fn lease(row: &Row<'_>, column: usize) -> Sql<Option<LeaseId>> {
    match row.get::<_, Option<i64>>(column)? {
        None => Ok(None),
        Some(_) => Ok(Some(LeaseId(uint(row, column)?))),
    }
}

/// The pair at a key.
pub(super) fn get(conn: &Connection, key: &str) -> Sql<Option<Kv>> {
    let mut select =
        conn.prepare_cached("SELECT key, value, created, modified, lease FROM kv WHERE key = ?1")?;
    select.query_row([key], kv).optional()
}

/// Puts or takes away what an operation says, and logs it.
pub(super) fn write(conn: &Connection, index: Index, op: &WatchOp) -> Sql<()> {
    let rev = int(index.0);
    match &op.next {
        Some(kv) => conn
            .prepare_cached(
                "INSERT INTO kv (key, value, created, modified, lease) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value,
                   created = excluded.created, modified = excluded.modified, lease = excluded.lease",
            )?
            .execute(params![
                &*kv.key,
                &kv.value[..],
                int(kv.created.0),
                rev,
                kv.lease.map(|id| int(id.0))
            ])?,
        None => conn.prepare_cached("DELETE FROM kv WHERE key = ?1")?.execute([&*op.key])?,
    };
    conn.prepare_cached(
        "INSERT INTO log (rev, key, prev, prev_created, prev_modified, prev_lease, value, created,
           lease) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        rev,
        &*op.key,
        op.prev.as_ref().map(|kv| &kv.value[..]),
        op.prev.as_ref().map(|kv| int(kv.created.0)),
        op.prev.as_ref().map(|kv| int(kv.modified.0)),
        op.prev.as_ref().and_then(|kv| kv.lease).map(|id| int(id.0)),
        op.next.as_ref().map(|kv| &kv.value[..]),
        op.next.as_ref().map(|kv| int(kv.created.0)),
        op.next.as_ref().and_then(|kv| kv.lease).map(|id| int(id.0)),
    ])?;
    Ok(())
}

/// A statement's clause for the keys of a range, and its parameters.
fn within(keys: &Keys) -> (&'static str, Vec<Value>) {
    let start = keys.start().to_owned().into();
    match keys.end() {
        Some(end) => ("key >= ? AND key < ?", vec![start, end.to_owned().into()]),
        None => ("key >= ?", vec![start]),
    }
}

/// A page of a range, in one read transaction.
pub(super) fn range(conn: &mut Connection, path: &Path, keys: &Keys, read: Read) -> Result<Page> {
    let failed = |e| of_read(path, e);
    let tx = conn.transaction().map_err(failed)?;
    let now = meta(&tx).map_err(failed)?;
    let at = match read {
        Read::Latest => now.index,
        Read::At(asked) if asked > now.index => {
            return Err(Error::Future { asked, index: now.index });
        }
        Read::At(asked) if asked < now.compacted => {
            return Err(Error::Compacted { asked, compacted: now.compacted });
        }
        Read::At(asked) => asked,
    };
    if keys.is_empty() {
        return Ok(Page { index: at, ..Page::default() });
    }
    let (clause, mut values) = within(keys);
    let sql = if at == now.index {
        format!("SELECT {KV} FROM kv WHERE {clause} ORDER BY key")
    } else {
        // What has not changed since, and what was there before the first change since.
        values.push(Value::from(int(at.0)));
        values.extend(values.clone());
        format!(
            "SELECT {KV} FROM kv WHERE {clause} AND modified <= ?
             UNION ALL
             SELECT key, prev, prev_created, prev_modified, prev_lease FROM log WHERE rowid IN
               (SELECT min(rowid) FROM log WHERE {clause} AND rev > ? GROUP BY key)
               AND prev_modified IS NOT NULL
             ORDER BY key"
        )
    };
    let mut select = tx.prepare_cached(&sql).map_err(failed)?;
    let rows = select.query_map(params_from_iter(values), kv).map_err(failed)?;
    Page::fill(at, rows).map_err(failed)
}

/// What the log cannot give.
pub(super) enum LogGap {
    /// The history up to here is gone.
    Compacted(Index),
    /// The log cannot be read.
    Failed(Error),
}

/// A bounded piece of the log behind `after`, up to `until`, in one read transaction.
pub(super) fn log_after(
    conn: &mut Connection,
    path: &Path,
    keys: &Keys,
    after: Index,
    until: Index,
) -> Result<Chunk, LogGap> {
    let failed = |e| LogGap::Failed(of_read(path, e));
    let tx = conn.transaction().map_err(failed)?;
    let compacted = meta(&tx).map_err(failed)?.compacted;
    if after < compacted {
        return Err(LogGap::Compacted(compacted));
    }
    read_log(&tx, keys, after, until).map_err(failed)
}

fn read_log(conn: &Connection, keys: &Keys, after: Index, until: Index) -> Sql<Chunk> {
    let (clause, mut values) = within(keys);
    let sql = format!(
        "SELECT key, value, created, rev, lease, prev, prev_created, prev_modified, prev_lease
         FROM log WHERE {clause} AND rev > ? AND rev <= ? ORDER BY rev, rowid"
    );
    values.extend([int(after.0).into(), int(until.0).into()]);
    let mut select = conn.prepare_cached(&sql)?;
    let mut rows = select.query(params_from_iter(values))?;
    let mut events: Vec<WatchEvent> = Vec::new();
    let mut ops: Vec<WatchOp> = Vec::new();
    let (mut index, mut count, mut bytes) = (after, 0, 0);
    while let Some(row) = rows.next()? {
        let rev = Index(uint(row, 3)?);
        if rev != index {
            if !ops.is_empty() {
                events.push(WatchEvent { index, ops: std::mem::take(&mut ops).into() });
            }
            if count >= CHUNK_ROWS || bytes >= CHUNK_BYTES {
                return Ok(Chunk { events, upto: index });
            }
            index = rev;
        }
        let op = logged(row)?;
        count += 1;
        bytes += op.next.as_ref().map_or(0, Kv::weight) + op.prev.as_ref().map_or(0, Kv::weight);
        ops.push(op);
    }
    if !ops.is_empty() {
        events.push(WatchEvent { index, ops: ops.into() });
    }
    Ok(Chunk { events, upto: until })
}

fn logged(row: &Row<'_>) -> Sql<WatchOp> {
    let there = |column: usize| Ok::<_, rusqlite::Error>(row.get_ref(column)? != ValueRef::Null);
    let next = if there(1)? { Some(kv(row)?) } else { None };
    let key: Key = row.get(0)?;
    let prev = if there(5)? {
        Some(Kv {
            key: key.clone(),
            value: Bytes::from(row.get::<_, Vec<u8>>(5)?),
            created: Index(uint(row, 6)?),
            modified: Index(uint(row, 7)?),
            lease: lease(row, 8)?,
        })
    } else {
        None
    };
    Ok(WatchOp { key, prev, next })
}

/// All leases with their time to live in milliseconds.
pub(super) fn leases(conn: &Connection) -> Sql<Vec<(LeaseId, u64)>> {
    let mut select = conn.prepare("SELECT id, ttl_ms FROM lease ORDER BY id")?;
    let rows = select.query_map([], |row| Ok((LeaseId(uint(row, 0)?), uint(row, 1)?)))?;
    rows.collect()
}

/// Keys that a lease holds, `None` when there is no such lease.
pub(super) fn lease_keys(conn: &Connection, id: LeaseId) -> Sql<Option<usize>> {
    let mut select = conn.prepare_cached(
        "SELECT (SELECT count(*) FROM kv WHERE kv.lease = lease.id) FROM lease WHERE id = ?1",
    )?;
    let count = select.query_row([int(id.0)], |row| row.get::<_, i64>(0)).optional()?;
    Ok(count.map(|count| usize::try_from(count).unwrap_or(usize::MAX)))
}

/// The names of the keys that a lease holds.
pub(super) fn held_by(conn: &Connection, id: LeaseId) -> Sql<Vec<Key>> {
    let mut select = conn.prepare_cached("SELECT key FROM kv WHERE lease = ?1 ORDER BY key")?;
    select.query_map([int(id.0)], |row| row.get(0))?.collect()
}
