//! Damaged, missing, foreign and swapped files: each ends in an error that names the file and the
//! way out, and never in an empty store.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use model::time::Index;
use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use store::{Error, Keys, Kind, RESTORE_INDEX_JUMP, Read, Sqlite, Store, Txn};
use tempfile::TempDir;

async fn put(store: &Sqlite, key: &str, value: &str) {
    store.txn(Txn::default().put(key, value.to_owned())).await.unwrap();
}

async fn keys(store: &Sqlite) -> Vec<String> {
    let page = store.range(Keys::all(), Read::Latest).await.unwrap();
    page.kvs.iter().map(|kv| kv.key.to_string()).collect()
}

/// A folder as a killed process leaves it, at index 300: a database, a log that is not yet moved
/// into it, and a marker. With a backup of index 100 beside.
async fn killed() -> (TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (alive, home) = (dir.path().join("alive"), dir.path().join("home"));
    let backup = dir.path().join("backup");
    let store = Sqlite::open(&alive).await.unwrap();
    for n in 0..300 {
        if n == 100 {
            store.backup(&backup).await.unwrap();
        }
        put(&store, &format!("k/{n}"), &"v".repeat(3_000)).await;
    }
    copy(&alive, &home);
    assert!(home.join("state.db-wal").metadata().unwrap().len() > 4_096);
    (dir, home, backup)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// It does not open, says so in these words, and goes on not opening; nothing was changed by the
/// tries. Then a restore of the backup helps, and keeps what was there.
async fn refused(home: &Path, backup: &Path, variant: &str, words: &[&str]) {
    // Compared, never printed: it is long.
    let database = fs::read(home.join("state.db")).ok();
    for _ in 0..2 {
        let error = Sqlite::open(home).await.map(|_| ()).unwrap_err();
        assert!(format!("{error:?}").starts_with(variant), "{error:?} is not {variant}");
        assert_eq!(error.kind(), Kind::Damaged);
        let text = error.to_string();
        for word in words.iter().chain(&["state.", "remuda backup restore"]) {
            assert!(text.contains(word), "{word:?} is missing: {text}");
        }
    }
    assert!(fs::read(home.join("state.db")).ok() == database, "a refusal changes nothing");
    let restored = store::restore(backup, home).unwrap();
    assert_eq!(restored.from, Index(100));
    assert!(restored.index >= Index(100 + RESTORE_INDEX_JUMP));
    let aside = restored.aside.map(|aside| fs::read(aside.join("state.db")).ok());
    assert!(aside.flatten() == database, "what was there is kept");
    let store = Sqlite::open(home).await.unwrap();
    assert_eq!(keys(&store).await.len(), 100);
    assert_eq!(store.status().await.index, restored.index);
}

#[tokio::test]
async fn a_killed_store_opens_whole() {
    let (_dir, home, _) = killed().await;
    let store = Sqlite::open(&home).await.unwrap();
    assert_eq!((keys(&store).await.len(), store.status().await.index), (300, Index(300)));
}

#[tokio::test]
async fn an_empty_database_file_is_refused() {
    let (_dir, home, backup) = killed().await;
    fs::write(home.join("state.db"), "").unwrap();
    refused(&home, &backup, "Corrupt", &["0 bytes"]).await;
}

#[tokio::test]
async fn what_is_not_a_database_is_refused() {
    let (_dir, home, backup) = killed().await;
    fs::write(home.join("state.db"), "name: shop\nservices: {}\n".repeat(400)).unwrap();
    refused(&home, &backup, "Corrupt", &["first bytes"]).await;
}

#[tokio::test]
async fn a_cut_database_is_refused() {
    for part in [1, 2, 3] {
        let (_dir, home, backup) = killed().await;
        // Without the log, which would heal it.
        drop(Sqlite::open(&home).await.unwrap());
        let file = OpenOptions::new().write(true).open(home.join("state.db")).unwrap();
        let whole = file.metadata().unwrap().len();
        file.set_len(whole * part / 4 / 4_096 * 4_096 + 100 * (part % 2)).unwrap();
        refused(&home, &backup, "Corrupt", &["damaged"]).await;
    }
}

#[tokio::test]
async fn a_scribbled_database_is_refused() {
    let (_dir, home, backup) = killed().await;
    drop(Sqlite::open(&home).await.unwrap());
    let file = OpenOptions::new().read(true).write(true).open(home.join("state.db")).unwrap();
    let pages = file.metadata().unwrap().len() / 4_096;
    for page in 2..pages {
        file.write_all_at(&[0xA5; 200], page * 4_096).unwrap();
    }
    refused(&home, &backup, "Corrupt", &["damaged"]).await;
}

#[tokio::test]
async fn a_deleted_log_is_noticed() {
    let (_dir, home, backup) = killed().await;
    fs::remove_file(home.join("state.db-wal")).unwrap();
    refused(&home, &backup, "Behind", &["index 300", "-wal"]).await;
}

#[tokio::test]
async fn a_cut_log_is_noticed() {
    for part in [0, 1, 2, 3] {
        let (_dir, home, backup) = killed().await;
        let log = OpenOptions::new().write(true).open(home.join("state.db-wal")).unwrap();
        // The shared index of a killed process is made anew from the log.
        fs::remove_file(home.join("state.db-shm")).unwrap();
        let written = log.metadata().unwrap().len();
        log.set_len(written * part / 4).unwrap();
        // The log may hold less than its file: then nothing is lost, and nothing is said.
        match Sqlite::open(&home).await {
            Ok(store) => assert_eq!((keys(&store).await.len(), part), (300, 3)),
            Err(_) => refused(&home, &backup, "Behind", &["index 300"]).await,
        }
    }
}

#[tokio::test]
async fn an_older_copy_is_noticed() {
    let (_dir, home, backup) = killed().await;
    fs::remove_file(home.join("state.db-wal")).unwrap();
    fs::copy(&backup, home.join("state.db")).unwrap();
    refused(&home, &backup, "Behind", &["index 100", "index 300", "older copy"]).await;
}

#[tokio::test]
async fn a_missing_database_is_never_replaced_by_an_empty_one() {
    for left in ["state.marker", "state.db-wal"] {
        let (_dir, home, backup) = killed().await;
        fs::remove_file(home.join("state.db")).unwrap();
        for entry in fs::read_dir(&home).unwrap() {
            let path = entry.unwrap().path();
            if !path.ends_with(left) {
                fs::remove_file(path).unwrap();
            }
        }
        refused(&home, &backup, "Missing", &[left, "missing", "an empty store is not made"]).await;
    }
}

#[tokio::test]
async fn another_stores_database_is_noticed() {
    let (dir, home, backup) = killed().await;
    let other = Sqlite::open(dir.path().join("other")).await.unwrap();
    for n in 0..400 {
        put(&other, &n.to_string(), "").await;
    }
    fs::remove_file(home.join("state.db-wal")).unwrap();
    fs::remove_file(home.join("state.db")).unwrap();
    other.backup(&home.join("state.db")).await.unwrap();
    refused(&home, &backup, "OtherEpoch", &["copied here by hand"]).await;
}

#[tokio::test]
async fn another_programs_database_is_refused() {
    let (_dir, home, backup) = killed().await;
    fs::remove_file(home.join("state.db-wal")).unwrap();
    fs::remove_file(home.join("state.db")).unwrap();
    let foreign = rusqlite::Connection::open(home.join("state.db")).unwrap();
    foreign.execute_batch("CREATE TABLE songs (name TEXT)").unwrap();
    drop(foreign);
    refused(&home, &backup, "Foreign", &["another program"]).await;
    let error = store::restore(&home.join("state.marker"), &home).unwrap_err();
    assert!(matches!(error, Error::Foreign { .. }), "{error:?}");
}

#[tokio::test]
async fn a_newer_schema_is_refused_with_the_way_back() {
    let (_dir, home, backup) = killed().await;
    let database = home.join("state.db");
    rusqlite::Connection::open(&database).unwrap().pragma_update(None, "user_version", 9).unwrap();
    let error = store::restore(&database, &home).unwrap_err();
    assert!(matches!(error, Error::NewerSchema { found: 9, known: 1, .. }), "{error:?}");
    refused(&home, &backup, "NewerSchema", &["schema 9", "newer version", "state.db.schema-1"])
        .await;
}

#[tokio::test]
async fn a_scribbled_marker_is_refused() {
    let (_dir, home, backup) = killed().await;
    fs::write(home.join("state.marker"), "remuda store\nepoch ?\n").unwrap();
    refused(&home, &backup, "Corrupt", &["state.marker"]).await;
}

#[tokio::test]
async fn a_lost_marker_alone_is_written_again() {
    let (_dir, home, _) = killed().await;
    fs::remove_file(home.join("state.marker")).unwrap();
    let store = Sqlite::open(&home).await.unwrap();
    assert_eq!(keys(&store).await.len(), 300);
    assert!(home.join("state.marker").exists());
}

#[tokio::test]
async fn the_loss_can_be_accepted_by_restoring_what_there_is() {
    let (_dir, home, backup) = killed().await;
    fs::remove_file(home.join("state.db-wal")).unwrap();
    fs::copy(&backup, home.join("state.db")).unwrap();
    assert!(matches!(Sqlite::open(&home).await, Err(Error::Behind { .. })));
    let restored = store::restore(&home.join("state.db"), &home).unwrap();
    // Beyond what was acknowledged, not only beyond what is left.
    assert_eq!((restored.from, restored.index), (Index(100), Index(300 + RESTORE_INDEX_JUMP)));
    let store = Sqlite::open(&home).await.unwrap();
    assert_eq!(keys(&store).await.len(), 100);
    put(&store, "new", "").await;
    drop(store);
    // The same backup once more still does not go back.
    let again = store::restore(&backup, &home).unwrap();
    assert_eq!(again.index, Index(301 + 2 * RESTORE_INDEX_JUMP));
    assert_ne!(again.epoch, restored.epoch);
}

#[tokio::test]
async fn a_restore_that_was_interrupted_is_not_taken_for_a_store() {
    let (_dir, home, backup) = killed().await;
    // As it is after the new marker was written and before the new database has its name.
    let marker = fs::read_to_string(home.join("state.marker")).unwrap();
    let (head, tail) = marker.split_at("remuda store\nepoch ".len());
    let other = if tail.starts_with('0') { "1" } else { "0" };
    fs::write(home.join("state.marker"), format!("{head}{other}{}", &tail[1..])).unwrap();
    fs::copy(&backup, home.join("state.db.restoring")).unwrap();
    refused(&home, &backup, "OtherEpoch", &["a restore was interrupted"]).await;
}

#[tokio::test]
async fn a_bad_backup_leaves_the_store_as_it_was() {
    let (dir, home, backup) = killed().await;
    let bad = dir.path().join("bad");
    let mut bytes = fs::read(&backup).unwrap();
    bytes.truncate(bytes.len() / 2);
    fs::write(&bad, bytes).unwrap();
    for wrong in [bad, dir.path().join("absent"), home.join("state.marker")] {
        let error = store::restore(&wrong, &home).unwrap_err();
        let name = wrong.file_name().unwrap().to_str().unwrap();
        assert!(error.to_string().contains(name), "{error}");
    }
    let store = Sqlite::open(&home).await.unwrap();
    assert_eq!(keys(&store).await.len(), 300);
    let busy = store::restore(&backup, &home).unwrap_err();
    assert!(matches!(busy, Error::Locked { .. }), "{busy:?}");
}

#[tokio::test]
async fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = Sqlite::open(dir.path()).await.unwrap();
    let error = Sqlite::open(dir.path()).await.unwrap_err();
    let pid = std::process::id();
    assert!(matches!(error, Error::Locked { pid: Some(found), .. } if found == pid), "{error:?}");
    assert!(error.to_string().contains(&format!("process {pid}")), "{error}");
    // Free again as soon as the last handle is gone, or the store was closed.
    let clone = store.clone();
    drop(store);
    assert!(matches!(Sqlite::open(dir.path()).await, Err(Error::Locked { .. })));
    drop(clone);
    let store = Sqlite::open(dir.path()).await.unwrap();
    let clone = store.clone();
    put(&store, "a", "").await;
    store.close().await;
    assert!(matches!(clone.txn(Txn::default().put("b", "")).await, Err(Error::Closed)));
    assert!(matches!(clone.range(Keys::all(), Read::Latest).await, Err(Error::Closed)));
    let store = Sqlite::open(dir.path()).await.unwrap();
    assert_eq!(keys(&store).await, ["a"]);
}

#[tokio::test]
async fn nobody_else_can_look_into_it() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("deep/home");
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let store = Sqlite::open(&home).await.unwrap();
    put(&store, "a", "").await;
    assert_eq!(mode(&home), 0o700);
    fs::create_dir(dir.path().join("plain")).unwrap();
    let (above, plain) = (mode(&dir.path().join("deep")), mode(&dir.path().join("plain")));
    assert_eq!(above, plain, "only the folder itself is closed");
    for entry in fs::read_dir(&home).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    drop(store);
    // What somebody opened up is closed again.
    fs::set_permissions(&home, Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(home.join("state.db"), Permissions::from_mode(0o644)).unwrap();
    let store = Sqlite::open(&home).await.unwrap();
    put(&store, "b", "").await;
    assert_eq!((mode(&home), mode(&home.join("state.db"))), (0o700, 0o600));
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a-file");
    fs::write(&file, "").unwrap();
    for home in [file.clone(), file.join("below")] {
        let error = Sqlite::open(&home).await.unwrap_err();
        assert!(matches!(error, Error::File { .. }), "{error:?}");
        assert!(error.to_string().contains("a-file"), "{error}");
    }
}

/// Root may read everything, so the test starts itself as somebody who may not.
#[test]
fn a_folder_that_may_not_be_read_is_named() {
    const CHILD: &str = "REMUDA_TEST_STORE_UNREADABLE";
    let open = |home: &Path| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(Sqlite::open(home)).unwrap_err()
    };
    if let Ok(home) = std::env::var(CHILD) {
        let error = open(Path::new(&home));
        assert!(matches!(error, Error::File { .. }), "{error:?}");
        assert!(error.to_string().contains(&home), "{error}");
        println!("\nrefused");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let (home, program) = (dir.path().join("home"), dir.path().join("program"));
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, Permissions::from_mode(0o000)).unwrap();
    // Somebody else may not reach the folder that this program was built in.
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut child = Command::new(&program);
    if rustix::process::geteuid().is_root() {
        use std::os::unix::process::CommandExt;
        child.uid(65_534).gid(65_534);
    }
    child.args(["--exact", "a_folder_that_may_not_be_read_is_named", "--nocapture"]);
    let output = child.env(CHILD, &home).current_dir("/").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("refused"), "{text}");
}

#[tokio::test]
async fn a_log_deleted_in_use_stops_writes_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Sqlite::open(dir.path()).await.unwrap();
    for key in ["a", "b"] {
        put(&store, key, "1").await;
    }
    fs::remove_file(dir.path().join("state.db-wal")).unwrap();
    for _ in 0..2 {
        let error = store.txn(Txn::default().put("c", "1")).await.unwrap_err();
        assert!(matches!(error, Error::Vanished { .. }), "{error:?}");
        assert!(error.to_string().contains("is safe in the database"), "{error}");
    }
    assert_eq!(keys(&store).await, ["a", "b"]);
    drop(store);
    let store = Sqlite::open(dir.path()).await.unwrap();
    assert_eq!(keys(&store).await, ["a", "b"]);
    put(&store, "c", "1").await;
}

#[tokio::test]
async fn a_database_deleted_in_use_stops_writes_and_can_still_be_saved() {
    let dir = tempfile::tempdir().unwrap();
    let (home, backup) = (dir.path().join("home"), dir.path().join("backup"));
    let store = Sqlite::open(&home).await.unwrap();
    for key in ["a", "b"] {
        put(&store, key, "1").await;
    }
    fs::remove_file(home.join("state.db")).unwrap();
    let error = store.txn(Txn::default().put("c", "1")).await.unwrap_err();
    assert!(matches!(error, Error::Vanished { .. }), "{error:?}");
    assert!(error.to_string().contains("remuda backup create"), "{error}");
    assert_eq!(store.backup(&backup).await.unwrap().index, Index(2));
    drop(store);
    assert!(matches!(Sqlite::open(&home).await, Err(Error::Missing { .. })));
    store::restore(&backup, &home).unwrap();
    assert_eq!(keys(&Sqlite::open(&home).await.unwrap()).await, ["a", "b"]);
}

#[tokio::test]
async fn compaction_gives_room_back_to_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = Sqlite::open(dir.path()).await.unwrap();
    for n in 0..400 {
        put(&store, "a", &"v".repeat(20_000 + n)).await;
    }
    store.compact(Index(400)).await.unwrap();
    let path = store.path().to_owned();
    drop(store);
    let size = path.metadata().unwrap().len();
    assert!(size < 200_000, "{size} bytes for one value of 20 KB");
}

#[tokio::test]
async fn leases_live_on_through_a_new_start() {
    let dir = tempfile::tempdir().unwrap();
    let store = Sqlite::open(dir.path()).await.unwrap();
    let ttl = std::time::Duration::from_millis(150);
    let (short, long) =
        (store.lease_grant(ttl).await.unwrap(), store.lease_grant(ttl * 9_000).await.unwrap());
    store.txn(Txn::default().put_leased("s", "", short).put_leased("l", "", long)).await.unwrap();
    drop(store);
    let store = Sqlite::open(dir.path()).await.unwrap();
    let status = store.status().await;
    let mut events = store.watch(Keys::all(), Index(1), status.epoch).await.unwrap();
    let gone = tokio::time::timeout(std::time::Duration::from_secs(20), events.next()).await;
    assert_eq!(&*gone.unwrap().unwrap().ops[0].key, "s");
    assert_eq!(keys(&store).await, ["l"]);
    assert_eq!(store.lease_keepalive(long).await.unwrap(), ttl * 9_000);
    assert!(store.lease_grant(ttl).await.unwrap() > long, "an id is never used again");
}
