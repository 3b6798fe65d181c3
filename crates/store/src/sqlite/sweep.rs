//! Takes forgotten history out of the file and gives the room back to the disk, a bounded piece
//! between two groups, so that no writer waits long.

use super::failure::of_write;
use super::schema::int;
use super::writer::Reply;
use crate::error::{Error, Result};
use model::time::Index;
use rusqlite::Connection;
use std::path::Path;

/// Rows of the log taken away in one step.
const STEP_ROWS: i64 = 2_000;
/// Pages given back in one step.
const STEP_PAGES: i64 = 1_000;

/// What is left to sweep, and who waits for it.
#[derive(Default)]
pub(super) struct Sweep {
    upto: Index,
    phase: Phase,
    waiting: Vec<Reply<()>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Idle,
    Rows,
    Pages,
}

impl Sweep {
    /// A sweep that may have been interrupted.
    pub(super) fn begun(upto: Index) -> Self {
        Self { upto, phase: Phase::Rows, waiting: Vec::new() }
    }

    /// Everything up to `upto` is to go; `reply` hears when it has.
    pub(super) fn add(&mut self, upto: Index, reply: Reply<()>) {
        self.upto = self.upto.max(upto);
        self.phase = Phase::Rows;
        self.waiting.push(reply);
    }

    pub(super) fn is_due(&self) -> bool {
        self.phase != Phase::Idle
    }

    /// One piece. After a failure it rests until the next compaction or start.
    pub(super) fn step(&mut self, conn: &mut Connection, path: &Path) {
        let done = match self.phase {
            Phase::Idle => return,
            Phase::Rows => rows(conn, self.upto),
            Phase::Pages => pages(conn),
        };
        self.phase = match (done, self.phase) {
            (Ok(false), phase) => phase,
            (Ok(true), Phase::Rows) => Phase::Pages,
            (Ok(true), _) => self.end(&Ok(())),
            (Err(error), _) => {
                let error = of_write(path, error);
                tracing::warn!(%error, "store history not swept, the next compaction does it");
                self.end(&Err(error))
            }
        };
    }

    fn end(&mut self, result: &Result<()>) -> Phase {
        for reply in self.waiting.drain(..) {
            drop(reply.send(result.clone()));
        }
        Phase::Idle
    }

    /// The store closes; the next start goes on.
    pub(super) fn abandon(&mut self) {
        self.phase = self.end(&Err(Error::Closed));
    }
}

/// True when there are none left.
fn rows(conn: &Connection, upto: Index) -> rusqlite::Result<bool> {
    let gone = conn
        .prepare_cached(
            "DELETE FROM log WHERE rowid IN
               (SELECT rowid FROM log WHERE rev <= ?1 ORDER BY rev LIMIT ?2)",
        )?
        .execute([int(upto.0), STEP_ROWS])?;
    Ok((gone as i64) < STEP_ROWS)
}

/// True when there are none left; the file itself shrinks when the log is moved into it.
fn pages(conn: &Connection) -> rusqlite::Result<bool> {
    let free = |conn: &Connection| -> rusqlite::Result<i64> {
        conn.query_row("PRAGMA freelist_count", [], |row| row.get(0))
    };
    let before = free(conn)?;
    // It gives back one page for each row that is asked of it.
    let mut vacuum = conn.prepare(&format!("PRAGMA incremental_vacuum({STEP_PAGES})"))?;
    let mut given = vacuum.query([])?;
    while given.next()?.is_some() {}
    let after = free(conn)?;
    // A file that cannot give back pages is left as it is.
    let done = after == 0 || after == before;
    if done {
        conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
    }
    Ok(done)
}
