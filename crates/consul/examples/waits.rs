//! Clients that wait, for `cargo xtask bench consul`: `waits prepare ADDRESS` registers what is asked for,
//! `waits woken ADDRESS N` has N blocking queries wait on one service, changes another service and then
//! this one, and prints how long the answers took; `waits idle ADDRESS N` has N wait for a key that never
//! changes, says `waiting`, and ends with its standard input.

#![expect(clippy::print_stdout, reason = "its answer")]

use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Time that queries have to arrive at the server: nobody tells when they wait there.
const ARRIVAL: Duration = Duration::from_secs(2);
/// Longest time of one connection's answer.
const PATIENCE: Duration = Duration::from_secs(60);

async fn send(address: &str, method: &str, path: &str, body: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(head.as_bytes()).await?;
    Ok(stream)
}

/// Reads an answer up to the end of its head, and gives its index.
async fn index_of(mut stream: TcpStream) -> Result<u64> {
    let (mut text, mut part) = (Vec::new(), [0; 4096]);
    let head = loop {
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut part)).await??;
        text.extend_from_slice(part.get(..read).unwrap_or_default());
        let said = String::from_utf8_lossy(&text);
        if let Some((head, _)) = said.split_once("\r\n\r\n") {
            break head.to_ascii_lowercase();
        }
        if read == 0 {
            return Err(format!("the connection ended: {said}").into());
        }
    };
    if !head.starts_with("http/1.1 200") {
        return Err(format!("not answered with 200: {head}").into());
    }
    let line = head.lines().find_map(|line| line.strip_prefix("x-consul-index: "));
    // writes have none
    Ok(line.map_or(Ok(0), |line| line.trim().parse())?)
}

async fn register(address: &str, service: &str, n: u16, port: u16) -> Result<()> {
    let body = serde_json::json!({
        "Node": format!("bench-{n}"), "Address": format!("10.0.0.{n}"),
        "Service": { "Service": service, "Tags": ["http", "v1"], "Port": port },
        "Check": { "Name": "web", "Status": "passing", "ServiceID": service },
    });
    index_of(send(address, "PUT", "/v1/catalog/register", &body.to_string()).await?).await?;
    Ok(())
}

async fn prepare(address: &str) -> Result<()> {
    for n in 1..=3 {
        register(address, "bench", n, 80).await?;
        register(address, "other", n, 80).await?;
    }
    index_of(send(address, "PUT", "/v1/kv/bench/key", &"v".repeat(100)).await?).await?;
    Ok(())
}

async fn woken(address: &str, waiters: usize) -> Result<()> {
    let path = "/v1/health/service/bench?passing";
    let index = index_of(send(address, "GET", path, "").await?).await?;
    let mut waiting = Vec::new();
    for _ in 0..waiters {
        let path = format!("{path}&wait=60s&index={index}");
        waiting.push(send(address, "GET", &path, "").await?);
    }
    tokio::time::sleep(ARRIVAL).await;
    let mut tasks = JoinSet::new();
    for stream in waiting {
        tasks.spawn(async move { (index_of(stream).await, Instant::now()) });
    }
    register(address, "other", 1, 81).await?;
    tokio::time::sleep(ARRIVAL).await;
    let early = Instant::now();
    let begun = Instant::now();
    register(address, "bench", 1, 81).await?;
    let (mut took, mut by_something_else) = (vec![], 0_u32);
    for (answer, at) in tasks.join_all().await {
        let seen = answer?;
        by_something_else += u32::from(at < early || seen <= index);
        took.push(at.saturating_duration_since(begun).as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    let at = |part: usize| took.get(took.len() * part / 100).copied().unwrap_or(f64::NAN);
    let told = serde_json::json!({
        "p50_ms": at(50), "p99_ms": at(99), "by_something_else": by_something_else,
    });
    println!("{told}");
    Ok(())
}

async fn idle(address: &str, waiters: usize) -> Result<()> {
    let mut waiting = Vec::new();
    for _ in 0..waiters {
        let path = format!("/v1/kv/bench/never?wait=600s&index={}", u64::MAX);
        waiting.push(send(address, "GET", &path, "").await?);
    }
    tokio::time::sleep(ARRIVAL).await;
    println!("waiting");
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    drop(waiting);
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let count = || words.get(2).map_or(Ok(1_000), |word| word.parse());
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["prepare", address] => prepare(address).await,
        ["woken", address, ..] => woken(address, count()?).await,
        ["idle", address, ..] => idle(address, count()?).await,
        _ => Err("waits prepare|woken|idle ADDRESS [N]".into()),
    }
}
