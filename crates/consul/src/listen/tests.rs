//! The listener over real connections: limits, clients that hang up, and garbage.

use super::*;
use crate::testing::{open, send, told};
use crate::{Consul, Request};
use proptest::prelude::*;
use store::{Memory, Sqlite};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

async fn listening(consul: &Consul<Memory>) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(accept(socket, consul.clone()));
    address
}

/// Sends bytes, and reads until the other side closes.
async fn talk(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // It may close before all of it is read.
    stream.write_all(bytes).await.ok();
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await.ok();
    String::from_utf8_lossy(&text).into_owned()
}

fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

#[tokio::test]
async fn requests_are_answered_and_large_ones_refused_before_they_are_read() {
    let consul = open(Memory::default()).await;
    let to = listening(&consul).await;
    let answer = talk(to, &request("PUT", "/v1/kv/a", "hi")).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\ntrue"),
        "{answer}"
    );
    let answer = talk(to, &request("GET", "/v1/kv/a?raw", "")).await;
    assert!(answer.contains("x-consul-index: ") && answer.ends_with("hi"), "{answer}");
    let told = "PUT /v1/kv/a HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 999999999\r\n\r\n";
    let answer = talk(to, told.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let chunked = "PUT /v1/kv/c HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                   transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n1\r\nf\r\n0\r\n\r\n";
    talk(to, chunked.as_bytes()).await;
    assert_eq!(crate::testing::told(&consul, "GET", "kv/c?raw", "").await.1, "abcdef");
    for garbage in ["\r\n\r\n", "nonsense\r\n\r\n", "GET /v1/kv/\0 HTTP/1.1\r\n\r\n"] {
        let mut stream = TcpStream::connect(to).await.unwrap();
        stream.write_all(garbage.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_waits_no_more() {
    let consul = open(Memory::default()).await;
    told(&consul, "PUT", "kv/a", "1").await;
    let index = send(&consul, "GET", "kv/a", "").await.index().unwrap();
    let to = listening(&consul).await;
    let asks = request("GET", &format!("/v1/kv/a?wait=600s&index={index}"), "");
    let mut waiting = vec![];
    for _ in 0..100 {
        let mut stream = TcpStream::connect(to).await.unwrap();
        stream.write_all(&asks).await.unwrap();
        waiting.push(stream);
    }
    let reaches = async |count: usize| {
        while consul.waiters().len() != count {
            tokio::task::yield_now().await;
        }
    };
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, reaches(100)).await.expect("all wait");
    waiting.truncate(40);
    tokio::time::timeout(limit, reaches(40)).await.expect("who went away is forgotten");
    told(&consul, "PUT", "kv/a", "2").await;
    for stream in &mut waiting {
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert!(text.contains("\"Value\":\"Mg==\""), "{text}");
    }
    assert!(consul.waiters().is_empty());
}

#[tokio::test]
async fn keys_in_a_store_on_disk_outlive_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Sqlite::open(dir.path()).await.unwrap();
    let consul = open(store.clone()).await;
    let mut writers = JoinSet::new();
    for n in 0..64 {
        let consul = consul.clone();
        writers.spawn(async move { told(&consul, "PUT", &format!("kv/k/{n}"), "v").await });
    }
    for (status, text) in writers.join_all().await {
        assert_eq!((status, text.as_str()), (200, "true"));
    }
    told(&consul, "DELETE", "kv/k/0", "").await;
    let before = send(&consul, "GET", "kv/k/?recurse", "").await;
    store.close().await;
    assert_eq!(told(&consul, "PUT", "kv/late", "v").await.0, 500);
    let again = open(Sqlite::open(dir.path()).await.unwrap()).await;
    assert_eq!(send(&again, "GET", "kv/k/?recurse", "").await, before);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is asked, with whatever body: there is an answer, and keys are what they can be.
    #[test]
    fn no_request_is_too_strange(
        method in prop_oneof!["GET", "PUT", "DELETE", "OPTIONS", "POST"],
        path in prop_oneof![
            "/v1/(kv|txn|session|event|operator|snapshot|status)/[a-z%/:+]{0,12}(%[0-9A-F]{2}){0,2}",
            "/v1/(txn|session/create|snapshot|session/list|event/fire/x|event/list)",
            "/[ -~&&[^ ?#\"<>\\\\^`{|}]]{0,20}",
        ],
        query in "(recurse|keys|raw|cas|flags|acquire|release|index|wait|separator|stale|dc|pretty)?(=[0-9a-z%-]{0,6})?(&(recurse|cas|flags|index|pretty|keys)(=[0-9]{0,3})?){0,2}",
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..64),
            r#"\[?\{"(KV|Node|TTL|LockDelay|Checks)":(\{"Verb":"(set|get|lock|nope)","Key":"[a-z]{0,2}"(,"Value":"[A-Za-z=]{0,4}")?\}|"[0-9a-z]{0,4}"|[0-9-]{0,4}|\[\])\}\]?"#
                .prop_map(String::into_bytes),
        ],
    ) {
        // A wait of minutes is no answer: only what is there at once.
        prop_assume!(!query.contains("index"));
        let Ok(request) = http::Request::builder().method(method.as_str()).uri(format!("{path}?{query}")).body(()) else {
            return Ok(());
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let consul = open(Memory::default()).await;
            told(&consul, "PUT", "kv/a", "1").await;
            let answer = match Request::read(&request.into_parts().0, body.into(), "n1") {
                Ok(request) => consul.answer(&request).await,
                Err(answer) => answer,
            };
            assert!(answer.status.as_u16() >= 200);
            if answer.headers.get("content-type").is_some_and(|t| t == "application/json") {
                serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap();
            }
        });
    }
}

#[tokio::test]
async fn without_room_a_client_is_told_at_once_and_taken_again_when_there_is() {
    let consul = open(Memory::default()).await;
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = socket.local_addr().unwrap();
    tokio::spawn(accept_at_most(2, socket, consul.clone()));
    let wait = b"GET /v1/kv/idle?wait=600s&index=99999999 HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut waiting = vec![];
    for _ in 0..2 {
        let mut stream = TcpStream::connect(to).await.unwrap();
        stream.write_all(wait).await.unwrap();
        waiting.push(stream);
    }
    while consul.waiters().len() < 2 {
        tokio::task::yield_now().await;
    }
    let answer = talk(to, &request("GET", "/v1/status/leader", "")).await;
    assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("2 connections"), "{answer}");
    drop(waiting);
    while !consul.waiters().is_empty() {
        tokio::task::yield_now().await;
    }
    loop {
        let answer = talk(to, &request("GET", "/v1/status/leader", "")).await;
        if answer.starts_with("HTTP/1.1 200 ") {
            break;
        }
        assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    }
}

/// Each may have 256 MiB: only so many are read at a time.
#[tokio::test]
async fn a_snapshot_is_not_read_while_another_one_comes() {
    let consul = open(Memory::default()).await;
    told(&consul, "PUT", "kv/a", "1").await;
    let to = listening(&consul).await;
    let mut first = TcpStream::connect(to).await.unwrap();
    let head =
        "PUT /v1/snapshot HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 4\r\n\r\n";
    first.write_all(head.as_bytes()).await.unwrap();
    while consul.snapshot_room().available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    let second = talk(to, &request("PUT", "/v1/snapshot", "x")).await;
    assert!(second.starts_with("HTTP/1.1 429 ") && second.contains("retry-after: 5"), "{second}");
    assert!(talk(to, &request("GET", "/v1/kv/a?raw", "")).await.ends_with("\r\n\r\n1"));
    first.write_all(b"four").await.unwrap();
    let mut answer = String::new();
    first.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains("nothing was changed"));
    let third = talk(to, &request("PUT", "/v1/snapshot", "x")).await;
    assert!(third.starts_with("HTTP/1.1 500 "), "there is room again: {third}");
}
