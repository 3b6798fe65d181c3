//! kill -9 at any moment: what was acknowledged is there afterwards, in order, in a whole file.
//! The test starts itself as the child that is killed.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

use model::time::Index;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read as _, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use store::{Keys, Read, Sqlite, Store, Txn};

const CYCLES: u64 = 110;
const CLIENTS: u64 = 8;
/// Acknowledgements after which a child is killed, at most.
const ACKS: u64 = 160;
/// Tells the child its folder and its cycle.
const CHILD: &str = "REMUDA_TEST_STORE_KILL";

#[test]
fn kill_9_loses_no_acknowledged_commit() {
    if let Ok(job) = std::env::var(CHILD) {
        let (cycle, dir) = job.split_once(' ').unwrap();
        return commit_until_killed(Path::new(dir), cycle);
    }
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeMap::new();
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let (mut cut_short, mut newest) = (0, Index(0));
    for cycle in 0..CYCLES {
        // Every eighth is killed while it opens or after a first few.
        let acks = if cycle % 8 == 7 { random.below(3) } else { random.below(ACKS) };
        let acks = kill_after(dir.path(), cycle, acks);
        cut_short += u64::from(acks.is_empty());
        acknowledged.extend(acks.iter().cloned());
        newest = check(dir.path(), cycle, &acks, newest);
    }
    assert!(acknowledged.len() as u64 > CYCLES * 20, "{} acknowledged", acknowledged.len());
    assert!(cut_short < CYCLES / 4, "{cut_short} cycles without an acknowledgement");
    check(dir.path(), CYCLES, &acknowledged.into_iter().collect::<Vec<_>>(), newest);
}

/// A small generator (xorshift): the same kills in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Starts a child, kills it after so many acknowledgements, gives all that it had printed.
fn kill_after(dir: &Path, cycle: u64, acks: u64) -> Vec<(String, Index)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill_9_loses_no_acknowledged_commit", "--nocapture"])
        .env(CHILD, format!("{cycle} {}", dir.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let (mut told, mut seen) = (String::new(), 0);
    while seen < acks {
        let at = told.len();
        let read = output.read_line(&mut told).unwrap();
        assert_ne!(read, 0, "the child ended by itself: {told}");
        seen += u64::from(told[at..].starts_with("ack "));
    }
    child.kill().unwrap();
    output.read_to_string(&mut told).unwrap();
    child.wait().unwrap();
    assert!(!told.contains("failed"), "{told}");
    // The last line may be cut.
    let whole = told.rfind('\n').map_or("", |end| &told[..end]);
    let acks = whole.lines().filter_map(|line| line.strip_prefix("ack "));
    acks.map(|ack| {
        let (index, key) = ack.split_once(' ').unwrap();
        (key.to_owned(), Index(index.parse().unwrap()))
    })
    .collect()
}

/// Reopens as a start would, and looks for everything; gives the newest index.
#[tokio::main(flavor = "current_thread")]
async fn check(dir: &Path, cycle: u64, acks: &[(String, Index)], newest: Index) -> Index {
    let store = Sqlite::open(dir).await.unwrap_or_else(|e| panic!("cycle {cycle}: {e} {e:?}"));
    let status = store.status().await;
    assert!(status.index >= newest, "cycle {cycle}: time went back to {}", status.index);
    let prefix = if cycle == CYCLES { "k/".to_owned() } else { format!("k/{cycle}/") };
    let mut found = BTreeMap::new();
    let mut keys = Keys::prefix(&prefix);
    loop {
        let page = store.range(keys.clone(), Read::At(status.index)).await.unwrap();
        found.extend(page.kvs.iter().map(|kv| (kv.key.to_string(), kv.modified)));
        let Some(next) = page.next else { break };
        keys = keys.starting_at(&next);
    }
    for (key, index) in acks {
        assert_eq!(found.get(key), Some(index), "cycle {cycle}: {key} was acknowledged");
    }
    // The log is whole: every index since the last compaction, each once, in order.
    let conn = rusqlite::Connection::open(dir.join("state.db")).unwrap();
    let mut select =
        conn.prepare("SELECT DISTINCT rev FROM log WHERE rev > ?1 ORDER BY rowid").unwrap();
    let revs = select.query_map([status.compacted.0.cast_signed()], |row| row.get::<_, i64>(0));
    let revs: Vec<_> = revs.unwrap().map(|rev| rev.unwrap().cast_unsigned()).collect();
    assert_eq!(revs, (status.compacted.0 + 1..=status.index.0).collect::<Vec<_>>());
    let verdict = conn.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
    assert_eq!(verdict.unwrap(), "ok", "cycle {cycle}");
    status.index
}

/// The child: several clients commit as fast as they can and print what was acknowledged.
#[tokio::main(worker_threads = 2)]
async fn commit_until_killed(dir: &Path, cycle: &str) {
    let store = Sqlite::open(dir).await.unwrap();
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        let (store, cycle) = (store.clone(), cycle.to_owned());
        clients.spawn(async move {
            for n in 0.. {
                let key = format!("k/{cycle}/{client}/{n}");
                let size = usize::try_from((n * 797 + client * 131) % 3_000).unwrap();
                let txn = Txn::default().put(&key, vec![b'v'; size]).put("last", key.clone());
                match store.txn(txn).await {
                    Ok(outcome) => say(&format!("ack {} {key}\n", outcome.index)),
                    Err(error) => return say(&format!("failed {error}\n")),
                }
                if client == 0 && n % 16 == 15 {
                    let keep = Index(store.status().await.index.0.saturating_sub(60));
                    store.compact(keep).await.unwrap();
                }
            }
        });
    }
    clients.join_all().await;
}

/// One write for each line, so that lines are cut only by the kill.
fn say(line: &str) {
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
}
