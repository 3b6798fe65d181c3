//! Everything that a store can answer instead of doing what was asked: what, where, why, and
//! what to do about it.

use crate::keys::Key;
use crate::lease::LeaseId;
use crate::status::Epoch;
use model::time::Index;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something was not done. Cheap to clone: one flush to disk may fail for many callers.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A compare failed; nothing was changed.
    #[error("{key} has changed since it was read")]
    Conflict {
        /// The key compared.
        key: Key,
    },
    /// A key outside the limits.
    #[error("key {shown:?} of {bytes} bytes cannot be stored, a key has 1 to {max}")]
    InvalidKey {
        /// Its beginning.
        shown: String,
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// A value outside the limits.
    #[error("the value of {key} has {bytes} bytes, at most {max} can be stored")]
    ValueTooLarge {
        /// Its key.
        key: Key,
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// A transaction outside the limits.
    #[error("a transaction of {found} {unit} is more than {max}, it must be split")]
    TxnTooLarge {
        /// How much it has.
        found: usize,
        /// Of what.
        unit: &'static str,
        /// The limit.
        max: usize,
    },
    /// Two operations on one key.
    #[error("the transaction writes {key} twice")]
    DuplicateKey {
        /// The key.
        key: Key,
    },
    /// No such lease, or no longer.
    #[error("lease {id} has ended, a new one must be granted")]
    LeaseGone {
        /// The lease.
        id: LeaseId,
    },
    /// A lease outside the limits.
    #[error("a lease of {ms} ms cannot be granted, it lasts 1 to {max} ms")]
    LeaseTtl {
        /// What was asked.
        ms: u64,
        /// The limit.
        max: u64,
    },
    /// More keys on one lease than can go in one transaction.
    #[error("lease {id} already holds {max} keys, the most that it can")]
    LeaseFull {
        /// The lease.
        id: LeaseId,
        /// The limit.
        max: usize,
    },
    /// More leases than allowed.
    #[error("there are {max} leases already, the most that there can be")]
    TooManyLeases {
        /// The limit.
        max: usize,
    },
    /// More watches than allowed.
    #[error("there are {max} watches already, the most that there can be")]
    TooManyWatches {
        /// The limit.
        max: usize,
    },
    /// History that is gone.
    #[error("index {asked} is forgotten, the oldest still known is {compacted}: read the latest")]
    Compacted {
        /// What was asked.
        asked: Index,
        /// Oldest that can be read.
        compacted: Index,
    },
    /// An index that is not there yet.
    #[error("index {asked} is not there yet, the newest is {index}")]
    Future {
        /// What was asked.
        asked: Index,
        /// The newest.
        index: Index,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The disk is full; nothing was changed.
    #[error(
        "no space left for {}: reads go on, writes go on as soon as there is room; free some on \
         that disk",
        path.display()
    )]
    NoSpace {
        /// The file.
        path: PathBuf,
    },
    /// It may have happened.
    #[error(
        "it is not known whether the change reached {}: read again before repeating it, and look \
         at the disk",
        path.display()
    )]
    Ambiguous {
        /// The file.
        path: PathBuf,
        /// What the disk said.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// A write failed; nothing was changed.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// A read failed.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// A file or folder of the store cannot be used.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// A thread of the store cannot be started.
    #[error("cannot start the thread {name}")]
    Thread {
        /// Which.
        name: &'static str,
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// Another process has it open.
    #[error(
        "{} is in use by {}: only one process may have it open, stop the other one first",
        path.display(),
        holder(*pid)
    )]
    Locked {
        /// The folder.
        path: PathBuf,
        /// Who.
        pid: Option<u32>,
    },
    /// The database is damaged.
    #[error(
        "{} is damaged ({why}): restore a backup with `remuda backup restore FILE`, the damaged \
         files are kept aside",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// A file that is not a store's.
    #[error(
        "{} is not a store of Remuda ({why}): move it away if it is not needed, or restore a \
         backup with `remuda backup restore FILE`",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// There was a store here.
    #[error(
        "{} is missing, but {} shows that there was a store: put the file back or restore a \
         backup with `remuda backup restore FILE`; an empty store is not made in its place",
        path.display(),
        trace.display()
    )]
    Missing {
        /// The database.
        path: PathBuf,
        /// What shows it.
        trace: PathBuf,
    },
    /// Acknowledged changes are not in the file.
    #[error(
        "{} ends at index {found}, but index {acknowledged} was acknowledged: its -wal file was \
         deleted or cut, or an older copy was put in its place; put the right files back, restore \
         a backup with `remuda backup restore FILE`, or accept the loss by restoring {} itself",
        path.display(),
        path.display()
    )]
    Behind {
        /// The database.
        path: PathBuf,
        /// Where it ends.
        found: Index,
        /// What it once had.
        acknowledged: Index,
    },
    /// Another history than the folder's.
    #[error(
        "{} has the epoch {found}, but this folder belongs to {expected}: it was copied here by \
         hand, or a restore was interrupted; use `remuda backup restore FILE`",
        path.display()
    )]
    OtherEpoch {
        /// The database.
        path: PathBuf,
        /// Its epoch.
        found: Epoch,
        /// The folder's epoch.
        expected: Epoch,
    },
    /// Written by a newer version.
    #[error(
        "{} has schema {found}, this version knows up to {known}: run the newer version again, or \
         go back to the copy from before the upgrade with `remuda backup restore {}`",
        path.display(),
        copy.display()
    )]
    NewerSchema {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// Ours.
        known: u32,
        /// Where the copy from before the upgrade is.
        copy: PathBuf,
    },
    /// Files were taken away from under us.
    #[error(
        "{} was deleted or replaced while in use, so nothing more is written: {rescue}",
        path.display()
    )]
    Vanished {
        /// The file.
        path: PathBuf,
        /// What to do.
        rescue: &'static str,
    },
    /// A file is in the way.
    #[error("{} is there already: name another file, or remove it first", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A record cannot be written as JSON.
    #[error("record {key} cannot be encoded")]
    Encode {
        /// Its key.
        key: Key,
        /// Why.
        #[source]
        source: Arc<serde_json::Error>,
    },
    /// A record cannot be understood.
    #[error("record {key} is damaged: restore a backup with `remuda backup restore FILE`")]
    Record {
        /// Its key.
        key: Key,
        /// Why.
        #[source]
        source: Arc<serde_json::Error>,
    },
    /// A key that no record can have.
    #[error("key {key} is no record's: restore a backup with `remuda backup restore FILE`")]
    RecordKey {
        /// The key.
        key: Key,
        /// Why.
        #[source]
        source: model::id::InvalidName,
    },
    /// A record that does not belong at its key.
    #[error("at key {key} is the record of {found}: restore a backup with `remuda backup restore`")]
    MisplacedRecord {
        /// The key.
        key: Key,
        /// Whose record is there.
        found: Key,
    },
    /// A known record in a newer form.
    #[error("record {key} has version {found}, this program knows {known}: run the newer version")]
    NewerRecord {
        /// Its key.
        key: Key,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// What a caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ask for something else: a limit or a wrong index.
    Invalid,
    /// Read again, decide again.
    Conflict,
    /// History is gone: read everything again.
    Compacted,
    /// Nothing happened; the same may work later.
    Unavailable,
    /// It may have happened: read before repeating.
    Ambiguous,
    /// A person must act.
    Damaged,
}

impl Error {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Conflict { .. } | Self::LeaseGone { .. } => Kind::Conflict,
            Self::InvalidKey { .. }
            | Self::ValueTooLarge { .. }
            | Self::TxnTooLarge { .. }
            | Self::DuplicateKey { .. }
            | Self::LeaseTtl { .. }
            | Self::LeaseFull { .. }
            | Self::Future { .. }
            | Self::Exists { .. }
            | Self::Encode { .. } => Kind::Invalid,
            Self::Compacted { .. } => Kind::Compacted,
            Self::TooManyLeases { .. }
            | Self::TooManyWatches { .. }
            | Self::Closed
            | Self::NoSpace { .. }
            | Self::Write { .. }
            | Self::Read { .. }
            | Self::File { .. }
            | Self::Thread { .. }
            | Self::Locked { .. } => Kind::Unavailable,
            Self::Ambiguous { .. } => Kind::Ambiguous,
            Self::Corrupt { .. }
            | Self::Foreign { .. }
            | Self::Missing { .. }
            | Self::Behind { .. }
            | Self::OtherEpoch { .. }
            | Self::NewerSchema { .. }
            | Self::Vanished { .. }
            | Self::Record { .. }
            | Self::RecordKey { .. }
            | Self::MisplacedRecord { .. }
            | Self::NewerRecord { .. } => Kind::Damaged,
        }
    }
}
