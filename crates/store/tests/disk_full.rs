//! A full disk: reads go on, nothing acknowledged is lost, writes go on when there is room again.
//! The test starts itself in a mount namespace of its own with a small disk.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test ends at the first surprise"
)]

use model::time::Index;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use store::{Error, Keys, Kind, Read, Sqlite, Store, Txn};

/// Tells the child where its disk is.
const CHILD: &str = "REMUDA_TEST_STORE_DISK";
const MOUNT: &str = "mount -t tmpfs -o size=4m,mode=0700 tmpfs \"$0\"";

#[test]
#[ignore = "needs root"]
fn a_full_disk_stops_writes_only_and_only_while_it_is_full() {
    if let Ok(disk) = std::env::var(CHILD) {
        return on_a_small_disk(Path::new(&disk));
    }
    let disk = tempfile::tempdir().unwrap();
    let alone = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", script]);
        command.arg(disk.path());
        command
    };
    let probe = alone(MOUNT).output();
    if !probe.as_ref().is_ok_and(|probe| probe.status.success()) {
        eprintln!("skipped: a small disk cannot be mounted here: {probe:?}");
        return;
    }
    let output = alone(&format!("{MOUNT} && exec \"$@\""))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "a_full_disk_stops_writes_only_and_only_while_it_is_full"])
        .args(["--ignored", "--nocapture"])
        .env(CHILD, disk.path())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("saw it all"), "{text}");
}

/// What was acknowledged, and what may be there or not.
#[derive(Default)]
struct Told {
    acknowledged: BTreeMap<String, Index>,
    unknown: Vec<String>,
}

impl Told {
    /// Puts values of `size` bytes until one is refused.
    async fn fill(&mut self, store: &Sqlite, name: &str, size: usize) {
        for n in 0..100_000 {
            let key = format!("{name}/{n:06}");
            match store.txn(Txn::default().put(&key, vec![b'v'; size])).await {
                Ok(outcome) => drop(self.acknowledged.insert(key, outcome.index)),
                Err(Error::NoSpace { path }) => {
                    assert!(path.ends_with("state.db"), "{}", path.display());
                    return;
                }
                Err(error) if error.kind() == Kind::Ambiguous => self.unknown.push(key),
                Err(error) => panic!("{error} {error:?}"),
            }
        }
        panic!("the disk never filled up");
    }

    async fn check(&self, store: &Sqlite) {
        let page = store.range(Keys::all(), Read::Latest).await.unwrap();
        assert_eq!(page.next, None);
        let mut found: BTreeMap<_, _> =
            page.kvs.iter().map(|kv| (kv.key.to_string(), kv.modified)).collect();
        found.retain(|key, _| !self.unknown.contains(key));
        assert_eq!(found, self.acknowledged);
    }
}

#[tokio::main(flavor = "current_thread")]
async fn on_a_small_disk(disk: &Path) {
    let home = disk.join("store");
    let (filler, reserve) = (disk.join("filler"), disk.join("reserve"));
    std::fs::write(&reserve, vec![0; 512 * 1024]).unwrap();
    std::fs::write(&filler, vec![0; 1024 * 1024]).unwrap();
    let mut told = Told::default();
    let store = Sqlite::open(&home).await.unwrap();
    let epoch = store.status().await.epoch;
    let mut events = store.watch(Keys::all(), Index(0), epoch).await.unwrap();

    // Large values first, then small ones, until nothing at all fits.
    for (name, size) in [("large", 50_000), ("small", 500), ("tiny", 1)] {
        told.fill(&store, name, size).await;
        told.check(&store).await;
    }
    assert!(told.acknowledged.len() > 20);
    // It stays so, for leases and backups too, and the past is there to be read.
    told.fill(&store, "again", 1).await;
    let error = loop {
        if let Err(error) = store.lease_grant(std::time::Duration::from_secs(9_000)).await {
            break error;
        }
    };
    assert!(matches!(error, Error::NoSpace { .. } | Error::Ambiguous { .. }), "{error:?}");
    let backup = disk.join("backup");
    let error = store.backup(&backup).await.unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error} {error:?}");
    let names: Vec<_> =
        std::fs::read_dir(disk).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "a failed backup leaves nothing: {names:?}");
    let past = store.range(Keys::all(), Read::At(Index(3))).await.unwrap();
    assert_eq!(past.kvs.len(), 3);

    // Room again: the same handle goes on, and the watch saw exactly what was acknowledged.
    std::fs::remove_file(&filler).unwrap();
    let outcome = store.txn(Txn::default().put("room", "again")).await.unwrap();
    told.acknowledged.insert("room".into(), outcome.index);
    told.check(&store).await;
    let mut seen = BTreeMap::new();
    while events.after() < outcome.index {
        let event = events.next().await.unwrap();
        seen.extend(event.ops.iter().map(|op| (op.key.to_string(), event.index)));
    }
    assert_eq!(seen, told.acknowledged);

    // Full again, and a new start: it opens and reads, or says why not, and nothing is lost.
    told.fill(&store, "full", 20_000).await;
    told.fill(&store, "brim", 1).await;
    drop((store, events));
    std::fs::write(&filler, vec![0; 4 * 1024 * 1024]).unwrap_err();
    match Sqlite::open(&home).await {
        Ok(store) => told.check(&store).await,
        Err(error) => assert!(matches!(error, Error::NoSpace { .. }), "{error} {error:?}"),
    }
    // A first start on a full disk leaves nothing that looks like a loss.
    let fresh = disk.join("fresh");
    match Sqlite::open(&fresh).await {
        Ok(store) => assert_eq!(store.status().await.index, Index(0)),
        Err(error) => assert!(matches!(error, Error::NoSpace { .. }), "{error} {error:?}"),
    }
    std::fs::remove_file(&reserve).unwrap();
    let fresh = Sqlite::open(&fresh).await.unwrap();
    assert_eq!(fresh.status().await.index, Index(0));
    let store = Sqlite::open(&home).await.unwrap();
    told.check(&store).await;
    drop((store, fresh));

    // A disk that takes no writes at all is named.
    let frozen = Command::new("mount").args(["-o", "remount,ro"]).arg(disk).status().unwrap();
    assert!(frozen.success());
    let error = Sqlite::open(&home).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::File { .. }) && text.contains("store"), "{text} {error:?}");
    println!("\nsaw it all, {} of it ambiguous", told.unknown.len());
}
