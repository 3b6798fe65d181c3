//! What a failure of SQLite means for the caller: which file, and whether anything has happened.

use crate::error::Error;
use rusqlite::{Error as Sql, ErrorCode, ffi};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Room below which a failed write is taken for a full disk, in bytes.
const FULL_BELOW_BYTES: u64 = 64 * 1024;

/// A read failed.
pub(super) fn of_read(path: &Path, error: Sql) -> Error {
    damage(path, &error)
        .unwrap_or_else(|| Error::Read { path: path.to_owned(), source: Arc::new(error) })
}

/// A write failed before its commit: nothing has happened.
pub(super) fn of_write(path: &Path, error: Sql) -> Error {
    if is_full(path, &error) {
        return Error::NoSpace { path: path.to_owned() };
    }
    damage(path, &error)
        .unwrap_or_else(|| Error::Write { path: path.to_owned(), source: Arc::new(error) })
}

/// A commit failed. A full disk is found before the frame that would make the commit valid is
/// whole; after any other trouble of the disk that frame may be there.
pub(super) fn of_commit(path: &Path, error: Sql) -> Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::SystemIoFailure) => {
            Error::Ambiguous { path: path.to_owned(), source: Arc::new(error) }
        }
        _ => of_write(path, error),
    }
}

/// A file operation failed.
pub(super) fn of_file(action: &'static str, path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::NoSpace { path: path.to_owned() }
        }
        _ => Error::File { action, path: path.to_owned(), source: Arc::new(error) },
    }
}

fn damage(path: &Path, error: &Sql) -> Option<Error> {
    let why = match error {
        Sql::SqliteFailure(code, said) => match code.code {
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
                said.clone().unwrap_or_else(|| code.to_string())
            }
            _ => return None,
        },
        // A column of another type than we wrote.
        Sql::FromSqlConversionFailure(..)
        | Sql::InvalidColumnType(..)
        | Sql::IntegralValueOutOfRange(..)
        | Sql::Utf8Error(..)
        | Sql::QueryReturnedNoRows => error.to_string(),
        _ => return None,
    };
    Some(Error::Corrupt { path: path.to_owned(), why })
}

fn is_full(path: &Path, error: &Sql) -> bool {
    let Some(code) = error.sqlite_error() else { return false };
    match code.code {
        ErrorCode::DiskFull => true,
        // SQLite reports a full disk in this form when it grows the shared index of the log, and
        // a quota as any other failure to write.
        ErrorCode::SystemIoFailure => {
            code.extended_code == ffi::SQLITE_IOERR_SHMSIZE || free_bytes(path) < FULL_BELOW_BYTES
        }
        ErrorCode::CannotOpen => free_bytes(path) < FULL_BELOW_BYTES,
        _ => false,
    }
}

/// Room on the disk of `path`; unknown counts as plenty.
fn free_bytes(path: &Path) -> u64 {
    rustix::fs::statvfs(path).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: i32) -> Sql {
        Sql::SqliteFailure(ffi::Error::new(code), None)
    }

    #[test]
    fn a_failure_says_whether_anything_can_have_happened() {
        let path = std::env::temp_dir();
        let shown = |error: Error| {
            let debug = format!("{error:?}");
            debug.split([' ', '{']).next().unwrap().to_owned()
        };
        for (code, read, write, commit) in [
            (ffi::SQLITE_FULL, "Read", "NoSpace", "NoSpace"),
            (ffi::SQLITE_IOERR_SHMSIZE, "Read", "NoSpace", "Ambiguous"),
            (ffi::SQLITE_IOERR_WRITE, "Read", "Write", "Ambiguous"),
            (ffi::SQLITE_IOERR_FSYNC, "Read", "Write", "Ambiguous"),
            (ffi::SQLITE_CORRUPT, "Corrupt", "Corrupt", "Corrupt"),
            (ffi::SQLITE_NOTADB, "Corrupt", "Corrupt", "Corrupt"),
            (ffi::SQLITE_BUSY, "Read", "Write", "Write"),
        ] {
            assert_eq!(shown(of_read(&path, failure(code))), read, "read {code}");
            assert_eq!(shown(of_write(&path, failure(code))), write, "write {code}");
            assert_eq!(shown(of_commit(&path, failure(code))), commit, "commit {code}");
        }
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(shown(of_file("write", &path, full)), "NoSpace");
    }
}
