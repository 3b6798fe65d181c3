//! Requests that two servers could read differently: refused, or passed on in one reading only.

use super::backend::Backend;
use super::client::Client;
use super::house::{House, up};

async fn one() -> (House, Backend) {
    let mut house = House::http().await;
    let backend = Backend::start("a").await;
    house.serve(vec![up("a", 1, backend.addr)]).await;
    (house, backend)
}

/// Whole requests, each followed by what would be a second request in the other reading.
const SECOND: &str = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

#[tokio::test]
async fn requests_of_two_readings_are_refused_and_what_follows_is_not_read() {
    let (house, backend) = one().await;
    let long = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "p".repeat(100_000));
    let many: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
    for (text, status) in [
        (
            "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabc",
            400,
        ),
        ("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 3, 4\r\n\r\nabc", 400),
        ("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: +3\r\n\r\nabc", 400),
        ("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n", 400),
        ("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 0x3\r\n\r\nabc", 400),
        ("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\nabc", 400),
        ("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length : 3\r\n\r\nabc", 400),
        ("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n folded\r\n\r\nabc", 400),
        (
            "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
            400,
        ),
        ("POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
        ("POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n0\r\n\r\n", 400),
        ("POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        ("POST /echo HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("GET /x HTTP/1.1\r\n\r\n", 400),
        ("GET /x HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        ("GET /x HTTP/1.1\r\nhost: a\r\nx\0y: 1\r\n\r\n", 400),
        ("GET /x HTTP/1.1\r\nhost: a\r\nx: 1\r2\r\n\r\n", 400),
        ("GET  /x HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        ("GET /x HTTP/9.9\r\nhost: a\r\n\r\n", 400),
        ("GET x HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        ("CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n", 405),
        (&long, 431),
        (&format!("GET /x HTTP/1.1\r\nhost: a\r\n{many}\r\n"), 431),
        (&format!("GET /x HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "v".repeat(80_000)), 431),
    ] {
        let mut client = Client::connect(house.addr()).await;
        let shown: String = text.chars().take(120).collect();
        // The proxy may close before it has read all.
        let both = format!("{text}{SECOND}");
        tokio::io::AsyncWriteExt::write_all(&mut client.stream, both.as_bytes()).await.ok();
        match client.reply("POST").await {
            Ok(reply) => assert_eq!(reply.status, status, "{shown:?}"),
            Err(error) => assert!(text.len() > 65_536, "{shown:?}: {error}"),
        }
        let rest = String::from_utf8_lossy(&client.rest().await).into_owned();
        assert!(!rest.contains("200 OK"), "{shown:?}: {rest}");
    }
    let mut client = Client::connect(house.addr()).await;
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(client.rest().await.is_empty(), "no HTTP/2 here yet");
    assert_eq!(backend.seen(), 0);
}

#[tokio::test]
async fn a_bad_chunk_ends_the_request_and_the_connection() {
    let (house, backend) = one().await;
    for chunks in [
        "xyz\r\nabc\r\n",
        "3\r\nabcd\r\n",
        "-1\r\n",
        "fffffffffffffffff\r\n",
        "3 3\r\nabc\r\n",
        "3\nabc\r\n0\r\n\r\n",
    ] {
        let mut client = Client::connect(house.addr()).await;
        client
            .send(format!("POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{chunks}{SECOND}"))
            .await;
        let all = String::from_utf8_lossy(&client.rest().await).into_owned();
        assert!(!all.contains("200 OK"), "{chunks:?}: {all}");
    }
    // Some of their heads may have gone out before the bad chunk came; nothing else may have.
    let mut client = Client::connect(house.addr()).await;
    let before = backend.seen();
    assert_eq!(client.get("/x").await.unwrap().text(), "/x from a");
    assert_eq!(backend.seen(), before + 1);
}

#[tokio::test]
async fn both_framings_are_read_as_chunks_passed_on_as_chunks_and_end_the_connection() {
    let (house, _backend) = one().await;
    for framing in [
        "content-length: 4\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 4",
        "content-length: 4\r\ntransfer-encoding: chunked\r\ncontent-length: 5",
    ] {
        let mut client = Client::connect(house.addr()).await;
        client
            .send(format!(
                "POST /head HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n3\r\nabc\r\n0\r\n\r\n{SECOND}"
            ))
            .await;
        let reply = client.reply("POST").await.unwrap();
        let head = reply.text();
        if reply.status == 200 {
            assert!(head.contains("transfer-encoding: chunked\r\n"), "{framing}: {head}");
            assert!(!head.contains("content-length"), "{framing}: {head}");
        } else {
            assert_eq!(reply.status, 400, "{framing}: {head}");
        }
        assert!(client.rest().await.is_empty(), "{framing}");
    }
}

#[tokio::test]
async fn lengths_that_agree_become_one() {
    let (house, _backend) = one().await;
    let mut client = Client::connect(house.addr()).await;
    client
        .send("POST /head HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc")
        .await;
    let head = client.reply("POST").await.unwrap().text();
    assert_eq!(head.matches("content-length").count(), 1, "{head}");
}
