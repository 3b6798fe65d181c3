//! The way from one schema to the next, with steps made up for the test.

use super::*;
use crate::{Keys, Read, Sqlite, Store, Txn};

const ADD: &[Migration] = &[|tx| tx.execute_batch("ALTER TABLE kv ADD COLUMN note TEXT")];
const FAIL: &[Migration] =
    &[|tx| tx.execute_batch("ALTER TABLE kv ADD COLUMN note TEXT; SELECT no_such_thing()")];

fn has_note(path: &Path) -> bool {
    let conn = Connection::open(path).unwrap();
    conn.prepare("SELECT note FROM kv").is_ok()
}

async fn filled(dir: &Path) -> PathBuf {
    let store = Sqlite::open(dir).await.unwrap();
    store.txn(Txn::default().put("a", "1")).await.unwrap();
    store.path().to_owned()
}

#[tokio::test]
async fn every_commit_is_flushed_to_a_log_and_free_pages_can_be_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = filled(dir.path()).await;
    let (conn, _) = open(&path, MIGRATIONS, |_| Ok(())).unwrap();
    let told = |name: &str| {
        conn.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, rusqlite::types::Value>(0))
    };
    assert_eq!(told("journal_mode").unwrap(), "wal".to_owned().into());
    assert_eq!(told("synchronous").unwrap(), 2.into(), "FULL");
    assert_eq!(told("auto_vacuum").unwrap(), 2.into(), "INCREMENTAL");
}

#[tokio::test]
async fn a_newer_program_upgrades_after_a_copy_and_the_older_one_finds_its_way_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = filled(dir.path()).await;
    let upgraded = Sqlite::open_with(dir.path().to_owned(), ADD).await.unwrap();
    let page = upgraded.range(Keys::all(), Read::Latest).await.unwrap();
    assert_eq!((page.kvs.len(), page.index), (1, Index(1)));
    drop(upgraded);
    assert!(has_note(&path));
    // Once is enough.
    drop(Sqlite::open_with(dir.path().to_owned(), ADD).await.unwrap());

    let error = Sqlite::open(dir.path()).await.unwrap_err();
    let Error::NewerSchema { found: 2, known: 1, copy, .. } = &error else { panic!("{error:?}") };
    assert!(error.to_string().contains(copy.to_str().unwrap()), "{error}");
    assert!(!has_note(copy), "the copy is from before");
    crate::restore(copy, dir.path()).unwrap();
    let older = Sqlite::open(dir.path()).await.unwrap();
    assert_eq!(older.range(Keys::all(), Read::Latest).await.unwrap().kvs, page.kvs);
}

#[tokio::test]
async fn an_upgrade_that_fails_changes_nothing_and_can_be_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = filled(dir.path()).await;
    for _ in 0..2 {
        let error = Sqlite::open_with(dir.path().to_owned(), FAIL).await.unwrap_err();
        assert!(matches!(error, Error::Write { .. }), "{error:?}");
        assert!(!has_note(&path));
    }
    drop(Sqlite::open(dir.path()).await.unwrap());
    drop(Sqlite::open_with(dir.path().to_owned(), ADD).await.unwrap());
    assert!(has_note(&path));
}
