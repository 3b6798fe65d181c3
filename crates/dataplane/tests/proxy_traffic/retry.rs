//! What is tried again, what is not, who is chosen, and how long a request waits.

use super::backend::{Backend, Manner};
use super::client::Client;
use super::house::{House, WEB, nobody, up};
use dataplane::proxy::EndpointState;
use model::expose::Balance;
use model::service::Transport;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

async fn silent(name: &str, times: u64) -> Backend {
    let silent = Arc::new(AtomicU64::new(times));
    Backend::with(Manner { name: name.into(), silent, ..Manner::default() }, None).await
}

#[tokio::test]
async fn an_endpoint_that_refuses_costs_no_request_and_is_left_alone() {
    let mut house = House::http().await;
    let backend = Backend::start("a").await;
    let dead = nobody().await;
    house.serve(vec![up("dead", 1, dead), up("a", 1, backend.addr)]).await;
    for method in ["GET", "POST", "PATCH"] {
        for _ in 0..10 {
            let mut client = Client::connect(house.addr()).await;
            client
                .send(format!("{method} /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi"))
                .await;
            assert_eq!(client.reply(method).await.unwrap().text(), "hi");
        }
    }
    let counters = house.proxy.status().counters;
    assert!((1..5).contains(&counters.connect_failures), "{counters:?}");
    assert_eq!(counters.retries, counters.connect_failures);
}

#[tokio::test]
async fn an_endpoint_that_swallows_packets_costs_its_connect_timeout_once() {
    let mut house = House::http().await;
    let backend = Backend::start("a").await;
    // A full accept queue drops what comes.
    let hole = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    hole.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    hole.listen(0).unwrap();
    let addr = hole.local_addr().unwrap().as_socket().unwrap();
    let _full = (Client::connect(addr).await, tokio::spawn(Client::connect(addr)));
    house.serve(vec![up("hole", 1, addr), up("a", 1, backend.addr)]).await;
    let started = Instant::now();
    for _ in 0..20 {
        let reply = Client::connect(house.addr()).await.get("/x").await.unwrap();
        assert_eq!(reply.header("x-backend"), Some("a"));
    }
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[tokio::test]
async fn only_what_may_be_sent_twice_is_sent_twice() {
    for (method, body, status) in [
        ("GET", 0, 200),
        ("HEAD", 0, 200),
        ("DELETE", 0, 200),
        ("OPTIONS", 0, 200),
        ("PUT", 5, 200),
        ("PUT", 60_000, 200),
        ("PUT", 200_000, 502),
        ("POST", 5, 502),
        ("POST", 0, 502),
        ("PATCH", 5, 502),
    ] {
        let mut house = House::http().await;
        let (first, second) = (silent("first", u64::MAX).await, Backend::start("second").await);
        house.serve(vec![up("first", 1, first.addr), up("second", 1, second.addr)]).await;
        // Both take turns: one of two requests meets the first.
        let mut seen = Vec::new();
        for _ in 0..2 {
            let mut client = Client::connect(house.addr()).await;
            let content = "b".repeat(body);
            client
                .send(format!(
                    "{method} /x HTTP/1.1\r\nhost: a\r\ncontent-length: {body}\r\n\r\n{content}"
                ))
                .await;
            seen.push(client.reply(method).await.unwrap().status);
        }
        let case = format!("{method} with {body}: {seen:?}");
        assert!(seen.iter().all(|got| *got == 200 || *got == status), "{case}");
        assert!(first.seen() >= 1, "{case}");
        assert_eq!(seen.contains(&502), status == 502, "{case}");
    }
}

#[tokio::test]
async fn a_request_that_is_sent_again_is_the_same_request() {
    let mut house = House::http().await;
    let (first, second) = (silent("first", u64::MAX).await, Backend::start("second").await);
    house.serve(vec![up("first", 1, first.addr), up("second", 1, second.addr)]).await;
    let ask = "GET /head HTTP/1.1\r\nhost: a\r\nx: 1\r\nx: 2\r\ncookie: c\r\nx: 3\r\n\r\n";
    let mut heads = Vec::new();
    while house.proxy.status().counters.retries == 0 || heads.len() < 2 {
        let mut client = Client::connect(house.addr()).await;
        client.send(ask).await;
        heads.push(client.reply("GET").await.unwrap().text());
    }
    for head in &heads {
        let lines: Vec<_> = head.lines().filter(|line| line.starts_with("x: ")).collect();
        assert_eq!(lines, ["x: 1", "x: 2", "x: 3"], "{head}");
        assert_eq!(head, &heads[0]);
    }
}

#[tokio::test]
async fn a_request_that_kills_reaches_five_at_most() {
    let mut house = House::http().await;
    let mut backends = Vec::new();
    for number in 0..8 {
        backends.push(silent(&format!("b{number}"), u64::MAX).await);
    }
    let endpoints = backends.iter().enumerate().map(|(n, b)| up(&format!("b{n}"), 1, b.addr));
    house.serve(endpoints.collect()).await;
    let reply = Client::connect(house.addr()).await.get("/x").await.unwrap();
    assert_eq!(reply.status, 502);
    assert!(reply.text().contains("it was tried 5 times"), "{}", reply.text());
    assert_eq!(backends.iter().map(Backend::seen).sum::<u64>(), 5);
}

#[tokio::test]
async fn a_sent_post_reaches_one_backend_only() {
    let mut house = House::http().await;
    let (first, second) = (silent("first", 100).await, silent("second", 100).await);
    house.serve(vec![up("first", 1, first.addr), up("second", 1, second.addr)]).await;
    for sent in 1..=20 {
        let mut client = Client::connect(house.addr()).await;
        client.send("POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx").await;
        let reply = client.reply("POST").await.unwrap();
        assert_eq!(reply.status, 502);
        assert!(reply.text().contains("without an answer"), "{}", reply.text());
        assert_eq!(first.seen() + second.seen(), sent);
    }
}

#[tokio::test]
async fn a_post_is_not_sent_on_a_connection_that_was_closed() {
    let mut house = House::http().await;
    let mut backend = Backend::start("a").await;
    house.serve(vec![up("a", 1, backend.addr)]).await;
    let mut client = Client::connect(house.addr()).await;
    for _ in 0..50 {
        client.send("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi").await;
        assert_eq!(client.reply("POST").await.unwrap().status, 200);
        // Its pooled connection is dead now, and the same address is served again.
        let addr = backend.kill().await;
        backend = Backend::with(Manner { name: "a".into(), ..Manner::default() }, Some(addr)).await;
    }
}

#[tokio::test]
async fn the_least_loaded_takes_the_next_and_weight_0_nothing() {
    let mut house = House::http().await;
    let backends =
        [Backend::start("a").await, Backend::start("b").await, Backend::start("c").await];
    let mut endpoints: Vec<_> =
        ["a", "b", "c"].iter().zip(&backends).map(|(n, b)| up(n, 1, b.addr)).collect();
    endpoints[1].weight = 2;
    endpoints[2].weight = 0;
    house.serve(endpoints).await;
    let mut hanging = Vec::new();
    for count in 1..=9_u64 {
        let mut client = Client::connect(house.addr()).await;
        client.send("GET /hang HTTP/1.1\r\nhost: a\r\n\r\n").await;
        hanging.push(client);
        house.soon("one more", |status| status.in_flight.values().sum::<u64>() == count).await;
    }
    let in_flight = house.proxy.status().in_flight;
    assert_eq!(
        (in_flight.get("a"), in_flight.get("b"), in_flight.get("c")),
        (Some(&3), Some(&6), None)
    );
}

#[tokio::test]
async fn in_turn_means_in_turn_however_busy_one_is() {
    for (balance, of_a) in [(Balance::RoundRobin, 3), (Balance::LeastConn, 0)] {
        let mut house = House::http().await;
        house.config.upstreams.get_mut(WEB).unwrap().balance = balance;
        let backends = [Backend::start("a").await, Backend::start("b").await];
        house.serve(vec![up("a", 1, backends[0].addr)]).await;
        let mut hanging = Vec::new();
        for count in 1..=9_u64 {
            let mut client = Client::connect(house.addr()).await;
            client.send("GET /hang HTTP/1.1\r\nhost: a\r\n\r\n").await;
            hanging.push(client);
            house.soon("one more", |status| status.in_flight.get("a") == Some(&count)).await;
        }
        let both = ["a", "b"].iter().zip(&backends).map(|(n, b)| up(n, 1, b.addr));
        house.serve(both.collect()).await;
        let mut client = Client::connect(house.addr()).await;
        let mut taken = 0;
        for _ in 0..6 {
            taken += u32::from(client.get("/x").await.unwrap().text() == "/x from a");
        }
        assert_eq!(taken, of_a, "{balance}");
    }
}

#[tokio::test]
async fn a_request_waits_for_an_endpoint_that_comes_up() {
    let mut house = House::http().await;
    let backend = Backend::start("a").await;
    let mut endpoint = up("a", 1, backend.addr);
    endpoint.state = EndpointState::Down;
    house.serve(vec![endpoint]).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = Client::connect(house.addr()).await;
        client.send("GET /x HTTP/1.1\r\nhost: a\r\n\r\n").await;
        clients.push(client);
    }
    house.soon("asked", |status| status.counters.requests == 20).await;
    assert_eq!(backend.seen(), 0);
    house.endpoints()[0].state = EndpointState::Up;
    house.apply().await;
    for mut client in clients {
        assert_eq!(client.reply("GET").await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_request_waits_while_its_only_endpoint_starts_anew() {
    let mut house = House::http().await;
    let backend = Backend::start("a").await;
    house.serve(vec![up("a", 1, backend.addr)]).await;
    let addr = backend.kill().await;
    let mut client = Client::connect(house.addr()).await;
    client.send("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi").await;
    house.soon("refused", |status| status.counters.connect_failures == 1).await;
    let _backend =
        Backend::with(Manner { name: "a".into(), ..Manner::default() }, Some(addr)).await;
    house.serve(vec![up("a", 2, addr)]).await;
    assert_eq!(client.reply("POST").await.unwrap().text(), "hi");
}

#[tokio::test]
async fn nobody_to_ask_is_a_503_or_502_with_its_reason_in_bounded_time() {
    let mut house = House::http().await;
    let started = Instant::now();
    let mut client = Client::connect(house.addr()).await;
    let reply = client.get("/x").await.unwrap();
    assert_eq!((reply.status, reply.header("x-remuda-reason")), (503, Some("no-endpoint")));
    assert!(reply.text().contains("no endpoint of \"web\""), "{}", reply.text());
    let dead = nobody().await;
    house.serve(vec![up("dead", 1, dead)]).await;
    let reply = client.get("/x").await.unwrap();
    assert_eq!((reply.status, reply.header("x-remuda-reason")), (502, Some("endpoint-failed")));
    assert!(
        reply.text().contains(&format!("dead at {dead} cannot be reached")),
        "{}",
        reply.text()
    );
    assert!(started.elapsed() < Duration::from_secs(6));
}

#[tokio::test]
async fn what_waits_on_an_endpoint_that_went_down_is_answered_by_another() {
    let mut house = House::http().await;
    let (stuck, well) = (Backend::start("stuck").await, Backend::start("well").await);
    house.serve(vec![up("stuck", 1, stuck.addr)]).await;
    let mut client = Client::connect(house.addr()).await;
    client.send("GET /hang HTTP/1.1\r\nhost: a\r\n\r\n").await;
    house.soon("in flight", |status| status.in_flight.contains_key("stuck")).await;
    let mut endpoints = vec![up("stuck", 1, stuck.addr), up("well", 1, well.addr)];
    endpoints[0].state = EndpointState::Down;
    house.serve(endpoints).await;
    // The other one hangs as well, which shows that it has the request.
    house
        .soon("moved", |status| {
            status.in_flight.get("well") == Some(&1) && !status.in_flight.contains_key("stuck")
        })
        .await;
    house.soon("arrived", |_| (stuck.seen(), well.seen()) == (1, 1)).await;
}

#[tokio::test]
async fn the_only_endpoint_is_asked_anew_while_there_is_time() {
    for (mut house, http) in
        [(House::http().await, true), (House::forward(Transport::Tcp).await, false)]
    {
        let addr = nobody().await;
        house.serve(vec![up("a", 1, addr)]).await;
        let mut client = Client::connect(house.addr()).await;
        client.send("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi").await;
        house.soon("refused", |status| status.counters.connect_failures > 0).await;
        let manner = Manner { name: "a".into(), ..Manner::default() };
        let _backend = Backend::with(manner, Some(addr)).await;
        assert_eq!(client.reply("POST").await.unwrap().text(), "hi", "http: {http}");
    }
}

#[tokio::test]
async fn an_endpoint_in_doubt_is_asked_only_when_there_is_nobody_else() {
    let mut house = House::http().await;
    let (doubtful, well) = (Backend::start("doubtful").await, Backend::start("well").await);
    let mut endpoints = vec![up("doubtful", 1, doubtful.addr), up("well", 1, well.addr)];
    endpoints[0].state = EndpointState::Doubtful;
    house.serve(endpoints.clone()).await;
    for _ in 0..20 {
        let reply = Client::connect(house.addr()).await.get("/x").await.unwrap();
        assert_eq!(reply.header("x-backend"), Some("well"));
    }
    endpoints[1].state = EndpointState::Down;
    house.serve(endpoints).await;
    let reply = Client::connect(house.addr()).await.get("/x").await.unwrap();
    assert_eq!(reply.header("x-backend"), Some("doubtful"));
}

#[tokio::test]
async fn an_endpoint_that_drains_ends_what_it_has_and_gets_nothing_new() {
    let mut house = House::http().await;
    let (old, new) = (Backend::start("old").await, Backend::start("new").await);
    house.serve(vec![up("old", 1, old.addr)]).await;
    let mut slow = Client::connect(house.addr()).await;
    slow.send("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nab").await;
    house.soon("in flight", |status| status.in_flight.contains_key("old")).await;
    let mut endpoints = vec![up("old", 1, old.addr), up("new", 1, new.addr)];
    endpoints[0].state = EndpointState::Draining;
    house.serve(endpoints).await;
    for _ in 0..20 {
        let reply = Client::connect(house.addr()).await.get("/x").await.unwrap();
        assert_eq!(reply.header("x-backend"), Some("new"));
    }
    assert_eq!(house.proxy.status().in_flight.get("old"), Some(&1));
    // Taken out of the configuration, it still ends what it has.
    house.endpoints().remove(0);
    house.apply().await;
    assert_eq!(house.proxy.status().in_flight.get("old"), Some(&1));
    slow.send("cd").await;
    assert_eq!(slow.reply("POST").await.unwrap().text(), "abcd");
    house.until("idle", |status| !status.in_flight.contains_key("old")).await;
    assert_eq!(old.seen(), 1);
}
