//! One group commit: many transactions, each with its own compares and its own index, made
//! durable by one flush. All of it is committed, or none.

use super::failure::{of_commit, of_read, of_write};
use super::rows;
use super::schema::int;
use crate::error::{Error, Result};
use crate::lease::LeaseId;
use crate::page::Kv;
use crate::txn::{self, Op, Txn, TxnOutcome};
use crate::watch::{WatchEvent, WatchOp};
use model::time::Index;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use std::path::Path;

/// A group that is being put together.
pub(super) struct Group<'a> {
    tx: Transaction<'a>,
    path: &'a Path,
    index: Index,
    dirty: bool,
    events: Vec<WatchEvent>,
}

impl txn::State for Group<'_> {
    fn get(&self, key: &str) -> Result<Option<Kv>> {
        rows::get(&self.tx, key).map_err(|e| of_read(self.path, e))
    }

    fn lease_keys(&self, id: LeaseId) -> Result<Option<usize>> {
        rows::lease_keys(&self.tx, id).map_err(|e| of_read(self.path, e))
    }
}

impl<'a> Group<'a> {
    /// Begins a group behind `index`.
    pub(super) fn begin(conn: &'a mut Connection, path: &'a Path, index: Index) -> Result<Self> {
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate);
        let tx = tx.map_err(|e| of_write(path, e))?;
        Ok(Self { tx, path, index, dirty: false, events: Vec::new() })
    }

    /// Adds a transaction. An error that `refuses` leaves the group as it was; any other one is
    /// the end of it.
    pub(super) fn txn(&mut self, txn: &Txn) -> Result<TxnOutcome> {
        let ops = txn::decide(txn, Index(self.index.0 + 1), self)?;
        let changed = ops.len();
        self.write(ops)?;
        Ok(TxnOutcome { index: self.index, changed })
    }

    fn write(&mut self, ops: Vec<WatchOp>) -> Result<()> {
        if ops.is_empty() {
            return Ok(());
        }
        self.index = Index(self.index.0 + 1);
        for op in &ops {
            rows::write(&self.tx, self.index, op).map_err(|e| of_write(self.path, e))?;
        }
        self.events.push(WatchEvent { index: self.index, ops: ops.into() });
        Ok(())
    }

    /// Adds a lease.
    pub(super) fn grant(&mut self, id: LeaseId, ttl_ms: u64) -> Result<()> {
        let run = || -> rusqlite::Result<()> {
            let (id, ttl) = (int(id.0), int(ttl_ms));
            self.tx.execute("INSERT INTO lease (id, ttl_ms) VALUES (?1, ?2)", [id, ttl])?;
            self.tx.execute("UPDATE meta SET last_lease = ?1", [id]).map(drop)
        };
        run().map_err(|e| of_write(self.path, e))?;
        self.dirty = true;
        Ok(())
    }

    /// Takes a lease away with all its keys.
    pub(super) fn end_lease(&mut self, id: LeaseId) -> Result<()> {
        let gone = self.tx.execute("DELETE FROM lease WHERE id = ?1", [int(id.0)]);
        if gone.map_err(|e| of_write(self.path, e))? == 0 {
            return Err(Error::LeaseGone { id });
        }
        self.dirty = true;
        let keys = rows::held_by(&self.tx, id).map_err(|e| of_read(self.path, e))?;
        let ops = keys.into_iter().map(Op::Delete).collect();
        let ops = txn::decide(&Txn { compares: vec![], ops }, Index(self.index.0 + 1), self)?;
        self.write(ops)
    }

    /// Makes all of it durable; gives what it did, in order.
    pub(super) fn commit(self) -> Result<Vec<WatchEvent>> {
        if self.events.is_empty() && !self.dirty {
            // Nothing was written: dropping the transaction costs no flush.
            return Ok(vec![]);
        }
        if !self.events.is_empty() {
            let rev = params![int(self.index.0)];
            let update = self.tx.execute("UPDATE meta SET rev = ?1", rev);
            update.map_err(|e| of_write(self.path, e))?;
        }
        self.tx.commit().map_err(|e| of_commit(self.path, e))?;
        Ok(self.events)
    }
}

/// Does this error concern only the one who asked, with nothing written?
pub(super) fn refuses(error: &Error) -> bool {
    matches!(
        error,
        Error::Conflict { .. }
            | Error::LeaseGone { .. }
            | Error::LeaseFull { .. }
            | Error::LeaseTtl { .. }
            | Error::TooManyLeases { .. }
    )
}
