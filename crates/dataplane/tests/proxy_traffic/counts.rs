//! What each endpoint got: requests, connections and sessions are counted where they went.

use super::backend::{Backend, Manner};
use super::client::Client;
use super::house::{House, nobody, up};
use super::streams::tcp_echo;
use model::service::Transport;
use model::view::ListenerMode;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

fn counts(house: &House) -> BTreeMap<String, u64> {
    house.proxy.requests(|_| true)
}

fn of(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
    pairs.iter().map(|(key, count)| ((*key).to_owned(), *count)).collect()
}

#[tokio::test]
async fn each_request_counts_once_at_the_endpoint_that_got_it() {
    let mut house = House::http().await;
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let dead = nobody().await;
    house.serve(vec![up("a", 1, a.addr), up("b", 1, b.addr), up("dead", 1, dead)]).await;
    assert_eq!(counts(&house), of(&[("a", 0), ("b", 0), ("dead", 0)]));
    let mut kept = Client::connect(house.addr()).await;
    for _ in 0..20 {
        kept.get("/x").await.unwrap();
        Client::connect(house.addr()).await.get("/x").await.unwrap();
    }
    let found = counts(&house);
    assert_eq!(found["a"] + found["b"], 40, "{found:?}");
    assert_eq!((found["a"], found["b"]), (a.seen(), b.seen()), "what each of them saw");
    assert_eq!(found["dead"], 0, "it never got one");
    assert_eq!(house.proxy.requests(|key| key == "b"), of(&[("b", found["b"])]));
    // The same start in another configuration goes on; another start begins anew.
    house.serve(vec![up("a", 1, a.addr), up("b", 2, b.addr)]).await;
    assert_eq!(counts(&house), of(&[("a", found["a"]), ("b", 0)]));
}

#[tokio::test]
async fn a_request_that_was_sent_on_counts_where_it_was_sent() {
    let mut house = House::http().await;
    let silent = Arc::new(AtomicU64::new(1));
    let deaf = Manner { name: "deaf".into(), silent, ..Manner::default() };
    let deaf = Backend::with(deaf, None).await;
    house.serve(vec![up("deaf", 1, deaf.addr)]).await;
    let reply = Client::connect(house.addr()).await.get("/x").await.unwrap();
    assert!(reply.head.contains("502"), "{}", reply.head);
    assert_eq!(counts(&house), of(&[("deaf", 1)]), "it was work for it all the same");
}

#[tokio::test]
async fn a_connection_counts_once_whatever_goes_through_it() {
    for mode in [
        ListenerMode::Forward { upstream: "web".into() },
        ListenerMode::Port { upstream: "web".into() },
    ] {
        let mut house = House::with(Transport::Tcp, mode).await;
        let (echo, _tasks) = tcp_echo("echo:").await;
        house.serve(vec![up("e", 1, echo)]).await;
        for n in 1..=3 {
            let mut client = Client::connect(house.addr()).await;
            assert_eq!(client.bytes(5).await, b"echo:");
            client.send("ab").await;
            client.send("cd").await;
            assert_eq!(client.bytes(4).await, b"abcd");
            assert_eq!(counts(&house), of(&[("e", n)]));
        }
    }
    // On a published port a client that speaks HTTP counts by its requests.
    let mut house =
        House::with(Transport::Tcp, ListenerMode::Port { upstream: "web".into() }).await;
    let web = Backend::start("w").await;
    house.serve(vec![up("w", 1, web.addr)]).await;
    let mut kept = Client::connect(house.addr()).await;
    for _ in 0..5 {
        kept.get("/x").await.unwrap();
    }
    assert_eq!(counts(&house), of(&[("w", 5)]));
}
