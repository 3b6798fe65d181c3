//! Listeners: clashes and their end, changes, and the end of one.

use super::backend::Backend;
use super::client::{Client, Crowd};
use super::house::{House, WEB, route, up, upstream};
use dataplane::proxy::{ListenerConfig, Proxy, ProxyConfig, ProxyOptions};
use model::service::Transport;
use model::view::{HostMatch, ListenerMode};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

fn all_to_web() -> ListenerMode {
    ListenerMode::Http { routes: vec![route(HostMatch::Any, "", WEB)] }
}

fn listener(ip: Option<Ipv4Addr>, port: u16) -> ListenerConfig {
    ListenerConfig { ip: ip.map(Into::into), port, transport: Transport::Tcp, mode: all_to_web() }
}

#[tokio::test]
async fn a_taken_port_is_an_error_until_it_is_free() {
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut house = House::http().await;
    let backend = Backend::start("a").await;
    house.config.listeners.insert("clash".into(), listener(Some(Ipv4Addr::LOCALHOST), port));
    house.serve(vec![up("a", 1, backend.addr)]).await;
    let status = house.proxy.status();
    let error = status.listeners["clash"].error.as_deref().unwrap();
    assert!(error.contains("address already in use (by "), "{error}");
    assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
    assert_eq!(status.listeners["in"].error, None);
    assert_eq!(Client::connect(house.addr()).await.get("/x").await.unwrap().status, 200);
    drop(taken);
    house.until("open", |status| status.listeners["clash"].error.is_none()).await;
    let addr: SocketAddr = (Ipv4Addr::LOCALHOST, port).into();
    assert_eq!(Client::connect(addr).await.get("/x").await.unwrap().status, 200);
}

#[tokio::test]
async fn two_proxies_do_not_share_a_port_in_silence() {
    for transport in [Transport::Tcp, Transport::Udp] {
        let first = House::forward(transport).await;
        let second = Proxy::start(&ProxyOptions { shards: 2 }).unwrap();
        let mut config = ProxyConfig::default();
        let same =
            ListenerConfig { port: first.addr().port(), ..first.config.listeners["in"].clone() };
        config.listeners.insert("in".into(), same);
        second.apply(Arc::new(config)).await.unwrap();
        let status = second.status();
        let error = status.listeners["in"].error.as_deref().unwrap_or_default();
        assert!(error.contains("already in use"), "{transport}: {error:?}");
    }
}

#[tokio::test]
async fn no_address_means_all_of_both_families() {
    let mut house = House::http().await;
    let backend = Backend::start("a").await;
    house.config.listeners.insert("all".into(), listener(None, 0));
    house.serve(vec![up("a", 1, backend.addr)]).await;
    let bound = house.proxy.status().listeners["all"].bound.clone();
    let port = bound[0].port();
    assert!(bound.iter().all(|address| address.port() == port && address.ip().is_unspecified()));
    let mut hosts = vec!["127.0.0.1", "127.0.0.2"];
    if bound.len() == 2 {
        hosts.push("::1");
    }
    for host in hosts {
        let addr = SocketAddr::new(host.parse().unwrap(), port);
        let reply = Client::connect(addr).await.get("/head").await.unwrap();
        assert!(
            reply.text().contains(&format!("x-forwarded-port: {port}\r\n")),
            "{}",
            reply.text()
        );
    }
}

#[tokio::test]
async fn what_cannot_be_bound_says_why() {
    let mut house = House::http().await;
    house.config.listeners.insert("far".into(), listener(Some(Ipv4Addr::new(192, 0, 2, 1)), 8080));
    house.apply().await;
    let error = house.proxy.status().listeners["far"].error.clone().unwrap();
    assert_eq!(error, "192.0.2.1:8080/tcp cannot be bound: no such address on this host");
    house.config.listeners.remove("far");
    house.apply().await;
    assert!(!house.proxy.status().listeners.contains_key("far"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_beside_a_listener_do_not_touch_it() {
    let mut house = House::http().await;
    let backend = Backend::start("a").await;
    house.serve(vec![up("a", 1, backend.addr)]).await;
    let mut crowd = Crowd::start(house.addr(), 16);
    let addr = house.addr();
    for round in 0..50_u16 {
        house.config.listeners.insert("other".into(), listener(Some(Ipv4Addr::LOCALHOST), 0));
        house.config.upstreams.insert(format!("u{round}"), upstream(vec![]));
        // The same socket under another name, with another route.
        let mut own = house.config.listeners.remove("in").unwrap();
        own.mode = ListenerMode::Http {
            routes: vec![route(HostMatch::Any, if round % 2 == 0 { "/" } else { "" }, WEB)],
        };
        house.config.listeners.insert("in".into(), own);
        house.apply().await;
        // Connections of a new client go on being taken meanwhile.
        assert_eq!(Client::connect(addr).await.get("/n").await.unwrap().status, 200);
        house.config.listeners.remove("other");
        house.config.upstreams.remove(&format!("u{round}"));
        house.apply().await;
        crowd.answered(32).await;
    }
    assert_eq!(house.addr(), addr);
    let (_, failures) = crowd.stop().await;
    assert!(failures.is_empty(), "{:?}", &failures[..1]);
}

#[tokio::test]
async fn a_listener_that_goes_serves_what_it_has_and_frees_its_port() {
    let mut house = House::http().await;
    let backend = Backend::start("a").await;
    house.serve(vec![up("a", 1, backend.addr)]).await;
    let addr = house.addr();
    // In the accept queue or taken: both get their answer.
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut client = Client::connect(addr).await;
        client.send("GET /last HTTP/1.1\r\nhost: a\r\n\r\n").await;
        clients.push(client);
    }
    house.config.listeners.clear();
    house.apply().await;
    for mut client in clients {
        assert_eq!(client.reply("GET").await.unwrap().status, 200);
        assert!(client.rest().await.is_empty(), "its connection ends");
    }
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
    drop(std::net::TcpListener::bind(addr).unwrap());
}

#[tokio::test]
async fn a_shutdown_lets_requests_end_and_a_new_proxy_has_the_port_at_once() {
    let mut house = House::http().await;
    let backend = Backend::start("a").await;
    house.serve(vec![up("a", 1, backend.addr)]).await;
    let addr = house.addr();
    let mut idle = Client::connect(addr).await;
    assert_eq!(idle.get("/x").await.unwrap().status, 200);
    let mut busy = Client::connect(addr).await;
    busy.send("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nab").await;
    house.soon("in flight", |status| status.in_flight.contains_key("a")).await;
    let House { proxy, mut config } = house;
    let shutdown = tokio::spawn(proxy.shutdown(Duration::from_secs(10)));
    assert!(idle.rest().await.is_empty());
    busy.send("cd").await;
    assert_eq!(busy.reply("POST").await.unwrap().text(), "abcd");
    shutdown.await.unwrap();
    let next = Proxy::start(&ProxyOptions { shards: 2 }).unwrap();
    config.listeners.get_mut("in").unwrap().port = addr.port();
    next.apply(Arc::new(config)).await.unwrap();
    assert_eq!(next.status().listeners["in"].error, None);
    assert_eq!(Client::connect(addr).await.get("/x").await.unwrap().status, 200);
}
