//! No request is dropped while endpoints change under 64 busy connections.

use super::backend::{Backend, Manner};
use super::client::Crowd;
use super::house::{House, up};
use dataplane::proxy::EndpointState;
use std::sync::Arc;
use std::time::Duration;

/// One backend with its name and start.
struct Member {
    key: String,
    run: u64,
    backend: Backend,
}

impl Member {
    async fn new(number: u64) -> Self {
        let key = format!("b{number}");
        let backend = Backend::start(&key).await;
        Self { key, run: 1, backend }
    }
}

struct Churn {
    house: House,
    members: Vec<Member>,
    made: u64,
    random: u64,
}

impl Churn {
    async fn start() -> Self {
        let mut churn = Self { house: House::http().await, members: vec![], made: 0, random: 7 };
        for _ in 0..3 {
            churn.add().await;
        }
        churn
    }

    fn next(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random >> 1).unwrap() % below
    }

    async fn tell(&mut self) {
        let endpoints = self.members.iter().map(|m| up(&m.key, m.run, m.backend.addr)).collect();
        self.house.serve(endpoints).await;
    }

    async fn add(&mut self) {
        self.made += 1;
        self.members.push(Member::new(self.made).await);
        self.tell().await;
    }

    /// As an agent stops a container: drain, wait until nothing is in flight, kill, take out.
    async fn drain(&mut self, index: usize) {
        self.house.endpoints()[index].state = EndpointState::Draining;
        self.house.apply().await;
        let key = self.members[index].key.clone();
        self.house.until("drained", |status| !status.in_flight.contains_key(&key)).await;
        let gone = self.members.remove(index);
        gone.backend.kill().await;
        self.tell().await;
    }

    /// As a process that dies: the proxy hears of it afterwards.
    async fn kill(&mut self, index: usize) {
        let gone = self.members.remove(index);
        gone.backend.kill().await;
        self.house.endpoints()[index].state = EndpointState::Down;
        self.house.apply().await;
        self.tell().await;
    }

    /// It dies and is back at the same address before anybody has heard of it.
    async fn restart(&mut self, index: usize) {
        let member = self.members.remove(index);
        let addr = member.backend.kill().await;
        let manner = Manner { name: member.key.clone(), ..Manner::default() };
        let backend = Backend::with(manner, Some(addr)).await;
        self.members.insert(index, Member { backend, run: member.run + 1, ..member });
        self.tell().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_dropped_while_endpoints_come_go_and_die() {
    let mut churn = Churn::start().await;
    let mut crowd = Crowd::start(churn.house.addr(), 64);
    crowd.answered(500).await;
    for _ in 0..300 {
        let index = churn.next(churn.members.len());
        match churn.next(4) {
            0 if churn.members.len() < 8 => churn.add().await,
            1 if churn.members.len() > 2 => churn.drain(index).await,
            2 if churn.members.len() > 2 => churn.kill(index).await,
            _ => churn.restart(index).await,
        }
        crowd.answered(64).await;
    }
    let (answered, failures) = crowd.stop().await;
    assert!(answered > 19_000, "{answered}");
    assert!(failures.is_empty(), "{} of {answered}: {:?}", failures.len(), &failures[..1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_changes_a_second_drop_nothing() {
    let mut churn = Churn::start().await;
    let mut crowd = Crowd::start(churn.house.addr(), 16);
    crowd.answered(100).await;
    let all: Vec<_> = churn.house.endpoints().clone();
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    let mut last = None;
    for number in 0..2_000_usize {
        ticks.tick().await;
        let mut endpoints = all.clone();
        endpoints[number % 3].state = EndpointState::Draining;
        endpoints.rotate_left(number % 2);
        *churn.house.endpoints() = endpoints;
        last = Some(churn.house.proxy.apply(Arc::new(churn.house.config.clone())));
    }
    last.unwrap().await.unwrap();
    crowd.answered(100).await;
    let (answered, failures) = crowd.stop().await;
    assert!(failures.is_empty(), "{} of {answered}: {:?}", failures.len(), &failures[..1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backends_that_close_idle_connections_early_drop_nothing() {
    let mut house = House::http().await;
    let mut backends = Vec::new();
    let mut endpoints = Vec::new();
    for name in ["a", "b"] {
        let idle = Some(Duration::from_millis(2));
        let manner = Manner { name: name.into(), idle, ..Manner::default() };
        let backend = Backend::with(manner, None).await;
        endpoints.push(up(name, 1, backend.addr));
        backends.push(backend);
    }
    house.serve(endpoints).await;
    // Few clients leave more connections in the pool than they need, long enough to be closed.
    let mut crowd = Crowd::start(house.addr(), 48);
    crowd.answered(1_000).await;
    let (_, failures) = crowd.stop().await;
    assert!(failures.is_empty(), "{:?}", &failures[..1]);
    for round in 0..40 {
        let mut crowd = Crowd::start(house.addr(), 1 + round % 8);
        crowd.answered(100).await;
        let (answered, failures) = crowd.stop().await;
        assert!(failures.is_empty(), "{} of {answered}: {:?}", failures.len(), &failures[..1]);
    }
}
