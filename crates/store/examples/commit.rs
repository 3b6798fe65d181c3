//! Durable commits per second of the SQLite driver at 1, 16 and 256 clients, one key of 32 bytes
//! and a value of 512 each: `cargo run --release -p store --example commit [FOLDER]`.

#![expect(clippy::print_stdout, reason = "it is what the program is for")]

use std::time::{Duration, Instant};
use store::{Error, Sqlite, Store, Txn};

/// How long each measurement takes.
const TIME: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> Result<(), Error> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "remuda-commit-bench".to_owned());
    let store = Sqlite::open(&folder).await?;
    println!("in {folder}, which is left for you to remove");
    for clients in [1, 16, 256] {
        let start = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for client in 0..clients {
            tasks.spawn(commit(store.clone(), client, start + TIME));
        }
        let mut waits = Vec::new();
        for result in tasks.join_all().await {
            waits.extend(result?);
        }
        waits.sort_unstable();
        let rate = waits.len() as f64 / start.elapsed().as_secs_f64();
        let at = |part: usize| waits.get(waits.len() * part / 100).copied().unwrap_or_default();
        let (p50, p99) = (at(50), at(99));
        println!("{clients:>4} clients {rate:>8.0} commits/s  p50 {p50:>9.2?}  p99 {p99:>9.2?}");
    }
    store.close().await;
    Ok(())
}

async fn commit(store: Sqlite, client: u32, until: Instant) -> Result<Vec<Duration>, Error> {
    let mut waits = Vec::new();
    while Instant::now() < until {
        let key = format!("bench/{client:08}/{:017}", waits.len() % 1_000);
        let start = Instant::now();
        store.txn(Txn::default().put(&key, vec![b'v'; 512])).await?;
        waits.push(start.elapsed());
    }
    Ok(waits)
}
