//! Published ports: HTTP/1 goes request by request, whatever else is spoken passes as bytes.

use super::backend::Backend;
use super::client::Client;
use super::house::{House, up};
use super::streams::tcp_echo;
use dataplane::proxy::EndpointState;
use model::service::Transport;
use model::view::ListenerMode;

async fn port() -> House {
    House::with(Transport::Tcp, ListenerMode::Port { upstream: "web".into() }).await
}

#[tokio::test]
async fn a_kept_connection_outlives_its_endpoint() {
    let mut house = port().await;
    let (old, new) = (Backend::start("old").await, Backend::start("new").await);
    house.serve(vec![up("old", 1, old.addr)]).await;
    let mut client = Client::connect(house.addr()).await;
    assert_eq!(client.get("/x").await.unwrap().header("x-backend"), Some("old"));
    let mut endpoints = vec![up("old", 1, old.addr), up("new", 1, new.addr)];
    endpoints[0].state = EndpointState::Draining;
    house.serve(endpoints).await;
    assert_eq!(client.get("/x").await.unwrap().header("x-backend"), Some("new"));
    house.until("idle", |status| !status.in_flight.contains_key("old")).await;
}

#[tokio::test]
async fn what_is_not_http_passes_as_bytes_whoever_begins() {
    let mut house = port().await;
    let (echo, _tasks) = tcp_echo("echo").await;
    house.serve(vec![up("echo", 1, echo)]).await;
    for _ in 0..3 {
        let mut waits = Client::connect(house.addr()).await;
        assert_eq!(waits.bytes(4).await, b"echo");
        waits.send("GET / HTTP/1.1\r\n\r\n").await;
        assert_eq!(waits.bytes(18).await, b"GET / HTTP/1.1\r\n\r\n");
        let mut begins = Client::connect(house.addr()).await;
        begins.send("PING\r\n").await;
        assert_eq!(begins.bytes(10).await, b"echoPING\r\n");
    }
}

#[tokio::test]
async fn a_port_that_served_bytes_serves_http_next() {
    let mut house = port().await;
    let (echo, _tasks) = tcp_echo("echo").await;
    let backend = Backend::start("http").await;
    for _ in 0..2 {
        house.serve(vec![up("echo", 1, echo)]).await;
        assert_eq!(Client::connect(house.addr()).await.bytes(4).await, b"echo");
        house.serve(vec![up("http", 1, backend.addr)]).await;
        let mut client = Client::connect(house.addr()).await;
        for _ in 0..3 {
            assert_eq!(client.get("/x").await.unwrap().header("x-backend"), Some("http"));
        }
    }
}
