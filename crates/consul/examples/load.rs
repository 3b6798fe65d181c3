//! How many durable puts a second, and what idle blocking queries cost:
//! `cargo run --profile sim -p consul --example load [CLIENTS] [PUTS] [WAITERS]`. The store is on disk;
//! puts go without HTTP, waiting clients hold real connections to this process.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for the terminal")]

use bytes::Bytes;
use consul::{Consul, Facts, Judge, Request, Standing};
use model::time::{Clock, Timestamp};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use store::{Sqlite, Store};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

fn argument(at: usize, default: usize) -> usize {
    std::env::args().nth(at).map_or(default, |text| text.parse().unwrap())
}

async fn put<S: Store>(consul: &Consul<S>, key: &str) {
    let head = http::Request::builder().method("PUT").uri(format!("/v1/kv/{key}")).body(());
    let value = Bytes::from(format!("{key} {:?}", Instant::now()));
    let request = Request::read(&head.unwrap().into_parts().0, value, "n").unwrap();
    assert!(consul.answer(&request).await.is_ok());
}

/// Resident memory of this process, in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn wait_on(address: SocketAddr, index: u64) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let ask = format!("GET /v1/kv/idle?wait=600s&index={index} HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.unwrap();
    stream
}

#[tokio::main]
async fn main() {
    let (clients, puts, waiters) = (argument(1, 64), argument(2, 20_000), argument(3, 5_000));
    let dir = std::env::temp_dir().join(format!("remuda-load-{}", std::process::id()));
    let store = Sqlite::open(&dir).await.unwrap();
    let facts = Facts { node: "n".into(), address: [127, 0, 0, 1].into() };
    let judge: Judge = Arc::new(|_, _| Standing::Passing);
    let clock = Clock::new(|| Timestamp(1));
    let consul = Consul::open(store.clone(), clock, facts, judge).await.unwrap();
    let running = consul.clone();
    let running = tokio::spawn(async move { running.run().await });
    let (begun, mut tasks) = (Instant::now(), JoinSet::new());
    for client in 0..clients {
        let consul = consul.clone();
        tasks.spawn(async move {
            for n in 0..puts / clients {
                put(&consul, &format!("load/{client}/{}", n % 100)).await;
            }
        });
    }
    tasks.join_all().await;
    let took = begun.elapsed().as_secs_f64();
    println!("{clients} clients: {:.0} durable puts/s", puts as f64 / took);
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let listening = tokio::spawn(consul::accept(socket, consul.clone()));
    let before = resident();
    let mut streams = Vec::with_capacity(waiters);
    for _ in 0..waiters {
        streams.push(wait_on(address, u64::MAX).await);
    }
    while consul.waiters().len() < waiters {
        tokio::task::yield_now().await;
    }
    let each = (resident() - before) as f64 / waiters.max(1) as f64;
    println!("{waiters} idle blocking queries: {each:.1} KiB each, with the client's side");
    drop(streams);
    running.abort();
    listening.abort();
    store.close().await;
    std::fs::remove_dir_all(&dir).unwrap();
}
