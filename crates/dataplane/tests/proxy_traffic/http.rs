//! HTTP as clients and backends see it: heads, framing, versions, upgrades, routes.

use super::backend::Backend;
use super::client::Client;
use super::house::{House, route, up, upstream};
use model::view::{HostMatch, ListenerMode};

async fn one() -> (House, Backend) {
    let mut house = House::http().await;
    let backend = Backend::start("a").await;
    house.serve(vec![up("a", 1, backend.addr)]).await;
    (house, backend)
}

#[tokio::test]
async fn the_head_is_passed_on_with_what_is_known_of_the_client() {
    let (house, _backend) = one().await;
    let mut client = Client::connect(house.addr()).await;
    client
        .send(
            "GET /head HTTP/1.1\r\nHost: Shop.test:81\r\nConnection: x-hop\r\nX-Hop: 1\r\n\
             X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\nCookie: a=b\r\n\r\n",
        )
        .await;
    let head = client.reply("GET").await.unwrap().text();
    let port = house.addr().port();
    for line in [
        "GET /head HTTP/1.1\r\n",
        "host: Shop.test:81\r\n",
        "x-forwarded-for: 9.9.9.9, 127.0.0.1\r\n",
        "x-forwarded-proto: https\r\n",
        &format!("x-forwarded-port: {port}\r\n"),
        "cookie: a=b\r\n",
    ] {
        assert!(head.contains(line), "{line:?} in {head}");
    }
    for name in ["connection", "x-hop", "transfer-encoding"] {
        assert!(!head.contains(name), "{name} in {head}");
    }
    let reply = client.get("/hop").await.unwrap();
    assert_eq!((reply.header("x-hop"), reply.header("keep-alive")), (None, None));
    assert_eq!(reply.header("x-kept"), Some("1"));
}

#[tokio::test]
async fn every_framing_of_an_answer_arrives_on_one_connection() {
    let (house, _backend) = one().await;
    let mut client = Client::connect(house.addr()).await;
    for _ in 0..2 {
        for (method, path, status, body) in [
            ("GET", "/x", 200, "/x from a"),
            ("HEAD", "/x", 200, ""),
            ("GET", "/chunked", 200, "hello world"),
            ("HEAD", "/chunked-too", 200, ""),
            ("GET", "/204", 204, ""),
            ("GET", "/304", 304, ""),
            ("GET", "/to-the-end", 200, "until the end"),
            ("OPTIONS", "/x", 200, "/x from a"),
            ("DELETE", "/x", 200, "/x from a"),
        ] {
            client.send(format!("{method} {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
            let reply = client.reply(method).await.unwrap();
            assert_eq!((reply.status, &*reply.text()), (status, body), "{method} {path}");
            if method == "HEAD" {
                let length = format!("{path} from a").len().to_string();
                assert_eq!(reply.header("content-length"), Some(&*length), "{path}");
            }
        }
    }
    assert_eq!(client.get("/big").await.unwrap().body.len(), 3_000_000);
    assert_eq!(house.proxy.status().counters.failed, 0);
}

#[tokio::test]
async fn every_framing_of_a_request_arrives() {
    let (house, _backend) = one().await;
    let mut client = Client::connect(house.addr()).await;
    let big = "y".repeat(300_000);
    for method in ["POST", "PUT", "PATCH"] {
        client
            .send(format!("{method} /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"))
            .await;
        assert_eq!(client.reply(method).await.unwrap().text(), "abc");
        client
            .send(format!(
                "{method} /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
                 3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nx-trailer: 1\r\n\r\n"
            ))
            .await;
        assert_eq!(client.reply(method).await.unwrap().text(), "abcde");
        let length = big.len();
        client
            .send(format!(
                "{method} /echo HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{big}"
            ))
            .await;
        assert_eq!(client.reply(method).await.unwrap().text(), big);
    }
    // A GET with a body of unknown length keeps it.
    client
        .send("GET /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nz\r\n0\r\n\r\n")
        .await;
    assert_eq!(client.reply("GET").await.unwrap().text(), "z");
}

#[tokio::test]
async fn a_client_that_expects_100_continue_gets_it_before_it_sends() {
    let (house, _backend) = one().await;
    let mut client = Client::connect(house.addr()).await;
    client
        .send("POST /echo HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
        .await;
    let go_on = client.reply("POST").await.unwrap();
    assert_eq!(go_on.status, 100);
    client.send("hello").await;
    assert_eq!(client.reply("POST").await.unwrap().text(), "hello");
}

#[tokio::test]
async fn old_and_closing_clients_get_their_end() {
    let (house, _backend) = one().await;
    let ends = [
        "GET /x HTTP/1.0\r\n\r\n",
        "GET /x HTTP/1.0\r\nhost: a\r\n\r\n",
        "GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        "GET /x HTTP/1.1\r\nhost: a\r\nconnection: foo, Close\r\n\r\n",
    ];
    for text in ends {
        let mut client = Client::connect(house.addr()).await;
        client.send(text).await;
        let reply = client.reply("GET").await.unwrap();
        assert_eq!((reply.status, &*reply.text()), (200, "/x from a"), "{text}");
        assert!(client.rest().await.is_empty(), "{text}");
    }
    // What has no length ends with the connection for a client that knows no chunks.
    let mut client = Client::connect(house.addr()).await;
    client.send("GET /chunked HTTP/1.0\r\n\r\n").await;
    let all = String::from_utf8(client.rest().await).unwrap();
    assert!(all.ends_with("\r\n\r\nhello world") && !all.contains("chunked"), "{all}");
    // Keep-alive that was asked for is kept.
    let mut client = Client::connect(house.addr()).await;
    for _ in 0..3 {
        client.send("GET /x HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").await;
        let reply = client.reply("GET").await.unwrap();
        assert_eq!(reply.header("connection"), Some("keep-alive"), "{}", reply.head);
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (house, _backend) = one().await;
    let mut client = Client::connect(house.addr()).await;
    let text: String = (0..20).map(|n| format!("GET /{n} HTTP/1.1\r\nhost: a\r\n\r\n")).collect();
    client.send(text).await;
    for n in 0..20 {
        assert_eq!(client.reply("GET").await.unwrap().text(), format!("/{n} from a"));
    }
}

#[tokio::test]
async fn trailers_reach_a_client_that_asked_for_them() {
    let (house, _backend) = one().await;
    let mut client = Client::connect(house.addr()).await;
    client
        .send("GET /trailers HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te\r\n\r\n")
        .await;
    let reply = client.reply("GET").await.unwrap();
    assert_eq!((&*reply.text(), reply.header("x-sum")), ("ok", Some("7")), "{}", reply.head);
    let reply = client.get("/trailers").await.unwrap();
    assert_eq!((&*reply.text(), reply.header("x-sum")), ("ok", None), "{}", reply.head);
}

#[tokio::test]
async fn a_websocket_passes_bytes_both_ways_and_counts_until_it_ends() {
    let (house, _backend) = one().await;
    let mut client = Client::connect(house.addr()).await;
    client
        .send("GET /ws HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\r\n")
        .await;
    let reply = client.reply("GET").await.unwrap();
    assert_eq!((reply.status, reply.header("upgrade")), (101, Some("websocket")));
    assert_eq!(client.bytes(8).await, b"welcome ");
    for size in [1, 70_000, 5, 1_000_000] {
        let bytes: Vec<u8> = (0..size).map(|n: u32| n.to_le_bytes()[0]).collect();
        let (mut reader, mut writer) = client.stream.split();
        let mut back = vec![0; bytes.len()];
        let (sent, got) = tokio::join!(
            tokio::io::AsyncWriteExt::write_all(&mut writer, &bytes),
            tokio::io::AsyncReadExt::read_exact(&mut reader, &mut back)
        );
        sent.unwrap();
        got.unwrap();
        assert!(back == bytes, "{size}");
    }
    assert_eq!(house.proxy.status().in_flight["a"], 1);
    drop(client);
    house.soon("ended", |status| status.in_flight.is_empty()).await;
}

#[tokio::test]
async fn a_101_that_nobody_asked_for_is_an_error() {
    let (house, _backend) = one().await;
    let mut client = Client::connect(house.addr()).await;
    assert_eq!(client.get("/ws").await.unwrap().status, 502);
    assert_eq!(client.get("/x").await.unwrap().status, 200);
}

#[tokio::test]
async fn routes_choose_by_host_and_path_and_say_when_there_is_none() {
    let mut house = House::http().await;
    let mut backends = Vec::new();
    for name in ["api", "shop"] {
        let backend = Backend::start(name).await;
        let set = upstream(vec![up(name, 1, backend.addr)]);
        house.config.upstreams.insert(name.into(), set);
        backends.push(backend);
    }
    house.config.listeners.get_mut("in").unwrap().mode = ListenerMode::Http {
        routes: vec![
            route(HostMatch::Exact("shop.test".into()), "/api", "api"),
            route(HostMatch::Suffix(".test".into()), "", "shop"),
            route(HostMatch::Any, "/lost", "nowhere"),
        ],
    };
    house.apply().await;
    let mut client = Client::connect(house.addr()).await;
    for (host, path, status, text) in [
        ("shop.test", "/api/x", 200, "/api/x from api"),
        ("SHOP.test:8080", "/api", 200, "/api from api"),
        ("shop.test", "/", 200, "/ from shop"),
        ("other.test", "/api", 200, "/api from shop"),
        ("x", "/y", 404, "no route for host \"x\" and path \"/y\""),
        ("x", "/lost", 503, "\"nowhere\", which does not exist"),
    ] {
        client.send(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
        let reply = client.reply("GET").await.unwrap();
        assert_eq!(reply.status, status, "{host} {path}");
        assert!(reply.text().contains(text), "{}", reply.text());
    }
    client.send("GET http://shop.test/api?q=1 HTTP/1.1\r\nhost: evil\r\n\r\n").await;
    assert_eq!(client.reply("GET").await.unwrap().text(), "/api?q=1 from api");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_completed() {
    let (house, _backend) = one().await;
    let mut client = Client::connect(house.addr()).await;
    assert_eq!(client.get("/broken").await.unwrap_err(), "short body");
    let mut client = Client::connect(house.addr()).await;
    for path in ["/not-http", "/two-lengths"] {
        let reply = client.get(path).await.unwrap();
        assert_eq!(reply.status, 502, "{path}: {}", reply.text());
    }
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_is_passed_on() {
    let (house, _backend) = one().await;
    let mut client = Client::connect(house.addr()).await;
    client.send("POST /early HTTP/1.1\r\nhost: a\r\ncontent-length: 9999999\r\n\r\nsome").await;
    let reply = client.reply("POST").await.unwrap();
    assert_eq!((reply.status, &*reply.text()), (413, "big"));
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_request_at_the_backend() {
    let (house, _backend) = one().await;
    let mut client = Client::connect(house.addr()).await;
    client.send("GET /hang HTTP/1.1\r\nhost: a\r\n\r\n").await;
    house.soon("in flight", |status| status.in_flight.get("a") == Some(&1)).await;
    drop(client);
    house.soon("ended", |status| status.in_flight.is_empty()).await;
}
