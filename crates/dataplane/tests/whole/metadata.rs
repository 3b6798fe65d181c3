//! Metadata as callers get it over HTTP: by their address, with what this host knows itself, with
//! long polls, and with whatever else somebody sends.

use crate::world::{DEADLINE, Place, World, id, running, until};
use dataplane::{Client, LocalInstance, MetadataOptions, Options};
use model::health::Health;
use model::metadata::{
    MetaContainer, MetaEnvironment, MetaHost, MetaNetwork, MetaPart, MetaService, MetaState,
    ServiceFacts,
};
use model::time::Index;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

/// The address that `shop/api#1` has, and asks from.
const API_1: Ipv4Addr = Ipv4Addr::new(127, 9, 9, 1);

fn container(n: u32) -> MetaContainer {
    MetaContainer {
        host: "here".parse().unwrap(),
        host_address: "192.0.2.1".into(),
        address: (n == 1).then_some(API_1),
        network: MetaNetwork::Managed,
        revision: 1,
        ports: vec![],
        state: MetaState::Running,
        health: Health::Unchecked,
        container_id: format!("c{n}"),
        started_at: None,
        starts: 1,
        probers: vec![],
    }
}

/// A view of so many containers of `shop/api`.
fn view(index: u64, count: u32) -> Arc<model::view::HostView> {
    let mut view = World::new(index).view;
    let environment = MetaEnvironment {
        id: "e".into(),
        name: "default".into(),
        prefix: 8,
        ..MetaEnvironment::default()
    };
    view.meta.environment = Arc::new(environment);
    view.meta.hosts.insert_mut("here".parse().unwrap(), Arc::new(MetaHost::default()));
    let facts = ServiceFacts { scale: count, revision: 1, ..ServiceFacts::default() };
    let revisions = Arc::new([(1, [(String::new(), MetaPart::default())].into())].into());
    let mut service = MetaService { facts: Arc::new(facts), revisions, ..MetaService::default() };
    for n in 1..=count {
        service.containers.insert_mut(id(n), Arc::new(container(n)));
    }
    view.meta.services.insert_mut(id(1).service, Arc::new(service));
    Arc::new(view)
}

struct Bed {
    place: Place,
    at: SocketAddr,
}

impl Bed {
    fn new() -> Self {
        let place = Place::new();
        let at = place.free_port();
        Self { place, at }
    }

    fn options(&self) -> Options {
        let metadata = MetadataOptions { listen: vec![self.at], threads: 2 };
        Options { metadata, ..self.place.options() }
    }

    async fn connect(&self, from: Ipv4Addr) -> TcpStream {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind((from, 0).into()).unwrap();
            match socket.connect(self.at).await {
                Ok(stream) => return stream,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            tokio::task::yield_now().await;
        }
    }

    /// Sends a request and reads the answer to its end: head and body.
    async fn send(&self, from: Ipv4Addr, request: &str) -> (String, String) {
        let mut stream = self.connect(from).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        read(&mut stream).await
    }

    async fn get(&self, from: Ipv4Addr, path: &str) -> (String, String) {
        self.send(from, &request("GET", path, "*/*")).await
    }

    /// The body at `path`, once it is this.
    async fn wait_for(&self, from: Ipv4Addr, path: &str, expect: &str) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let (_, body) = self.get(from, path).await;
            if body == expect {
                return;
            }
            assert!(Instant::now() < deadline, "{path} is {body:?}, not {expect:?}");
            tokio::task::yield_now().await;
        }
    }
}

fn request(method: &str, path: &str, accept: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n")
}

async fn read(stream: &mut TcpStream) -> (String, String) {
    let mut answer = vec![];
    let read = timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("an answer");
    // Who sends too much may find the connection reset behind the answer.
    assert!(read.is_ok() || !answer.is_empty(), "{read:?}");
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    (head.to_ascii_lowercase(), body.to_owned())
}

async fn publish(client: &mut Client, view: &Arc<model::view::HostView>) {
    client.publish(Arc::clone(view));
    let index = view.index;
    until(client, |report| report.view == index).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_follows_the_view_and_this_host_and_outlives_agent_and_process() {
    let bed = Bed::new();
    let task = bed.place.start_with(bed.options());
    let mut client = bed.place.client().await;
    publish(&mut client, &view(1, 2)).await;
    bed.wait_for(API_1, "/latest/self/container/name", "shop-api-1").await;
    bed.wait_for(API_1, "/latest/self/service/containers", "0=shop-api-1\n1=shop-api-2\n").await;
    bed.wait_for(Ipv4Addr::LOCALHOST, "/latest/self", "host/\n").await;

    // A change of nothing but metadata is in force as well, and only it goes down.
    publish(&mut client, &view(2, 3)).await;
    bed.wait_for(API_1, "/latest/self/service/scale", "3").await;
    // What this host sees goes before what it was told.
    let state = "/latest/containers/shop-api-2/state";
    bed.wait_for(API_1, state, "running").await;
    client.local(Arc::new([(id(2), LocalInstance::default())].into()));
    bed.wait_for(API_1, state, "stopped").await;
    client.local(Arc::new([(id(2), running(7))].into()));
    bed.wait_for(API_1, "/latest/containers/shop-api-2/external_id", "c7").await;

    drop(client);
    bed.wait_for(API_1, "/latest/self/service/scale", "3").await;
    bed.place.end(task).await;
    let task = bed.place.start_with(bed.options());
    bed.wait_for(API_1, "/latest/self/service/scale", "3").await;
    bed.wait_for(API_1, "/latest/self/container/name", "shop-api-1").await;
    bed.place.end(task).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_poll_ends_with_the_change_and_not_before() {
    let bed = Bed::new();
    let task = bed.place.start_with(bed.options());
    let mut client = bed.place.client().await;
    publish(&mut client, &view(1, 1)).await;
    bed.wait_for(API_1, "/latest/self/service/scale", "1").await;
    let (_, version) = bed.get(API_1, "/latest/version").await;
    assert_eq!(bed.get(API_1, "/latest/version").await.1, version, "nothing has changed");

    let waiting = |path: &str| request("GET", path, "application/json");
    let mut polls = vec![];
    for _ in 0..500 {
        let mut stream = bed.connect(API_1).await;
        let path = format!("/latest/version?wait=true&value={version}&maxWait=60");
        stream.write_all(waiting(&path).as_bytes()).await.unwrap();
        polls.push(stream);
    }
    // Of these the values are others, or will be; the last one's is not there and never will be.
    let (_, scale) = bed.get(API_1, "/latest/self/service/scale?wait=true&value=7").await;
    assert_eq!(scale, "1");
    let path = "/latest/containers/shop-api-2/name?wait=true&value=&maxWait=60";
    let mut appears = bed.connect(API_1).await;
    appears.write_all(waiting(path).as_bytes()).await.unwrap();
    let (head, _) = bed.get(API_1, "/latest/self/nothing?wait=true&value=&maxWait=1").await;
    assert!(head.starts_with("http/1.1 404"), "{head}");
    let (_, same) = bed.get(API_1, "/latest/self/service/scale?wait=true&value=1&maxWait=1").await;
    assert_eq!(same, "1", "its time is over");
    for stream in &polls {
        let mut none = [0];
        assert_eq!(stream.try_read(&mut none).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }

    publish(&mut client, &view(2, 2)).await;
    for mut stream in polls {
        let (_, next) = read(&mut stream).await;
        assert_ne!(next, format!("\"{version}\""));
    }
    assert_eq!(read(&mut appears).await.1, "\"shop-api-2\"");
    bed.place.end(task).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_requests_are_answered() {
    let bed = Bed::new();
    let task = bed.place.start_with(bed.options());
    let mut client = bed.place.client().await;
    publish(&mut client, &view(1, 1)).await;
    bed.wait_for(API_1, "/latest/self/service/scale", "1").await;
    let slow = bed.connect(API_1).await;

    let listed = "2015-07-25\n2015-12-19\n2016-07-29\nlatest\n";
    let long = format!("/latest{}", "/a".repeat(1_000));
    let query = format!("/latest/version?{}", "x".repeat(10_000));
    let not_found = "{\"code\":404,\"message\":\"Not found\",\"type\":\"error\"}\n";
    for (method, path, accept, status, kind, body) in [
        ("GET", "/", "", "200", "text/plain; charset=utf-8", listed),
        ("GET", "/latest/self/service/scale", "application/json", "200", "application/json", "1"),
        ("GET", "/latest/self/service/scale", "text/x-yaml", "200", "application/yaml", "1\n"),
        ("GET", "/latest/nothing", "application/json", "404", "application/json", not_found),
        ("GET", "/2014-01-01", "", "404", "text/plain; charset=utf-8", "Invalid version\n"),
        ("GET", "/favicon.ico", "", "404", "text/plain; charset=utf-8", "Invalid version\n"),
        (
            "GET",
            "/latest/..%2f..%2fetc/passwd",
            "",
            "404",
            "text/plain; charset=utf-8",
            "Not found\n",
        ),
        ("GET", &long, "", "404", "text/plain; charset=utf-8", "Not found\n"),
        ("HEAD", "/latest/self/service/scale", "", "200", "text/plain; charset=utf-8", ""),
        ("POST", "/latest/version", "", "405", "text/plain; charset=utf-8", "Method not allowed\n"),
    ] {
        let (head, said) = bed.send(API_1, &request(method, path, accept)).await;
        let shown = &path[..path.len().min(40)];
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{method} {shown}: {head}");
        assert!(head.contains(&format!("content-type: {kind}")), "{method} {shown}: {head}");
        assert!(head.contains("access-control-allow-origin: *"), "{head}");
        assert_eq!(said, body, "{method} {shown}");
    }
    let (head, _) = bed.send(API_1, &request("HEAD", "/latest/self/service/scale", "")).await;
    assert!(head.contains("content-length: 1"), "{head}");
    let (head, body) = bed.get(API_1, &query).await;
    assert!(head.starts_with("http/1.1 200") && !body.is_empty(), "{head}");
    for too_much in
        [format!("/latest/{}", "a/".repeat(10_000)), format!("/?{}", "x".repeat(60_000))]
    {
        let (head, _) = bed.get(API_1, &too_much).await;
        assert!(head.starts_with("http/1.1 414") || head.starts_with("http/1.1 431"), "{head}");
    }
    let (head, _) = bed.send(API_1, "NONSENSE\r\n\r\n").await;
    assert!(head.starts_with("http/1.1 400"), "{head}");
    // One that says nothing keeps nobody.
    drop(slow);
    bed.place.end(task).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_knows_a_part_asks_for_the_rest_when_it_is_asked() {
    let bed = Bed::new();
    let task = bed.place.start_with(bed.options());
    let mut client = bed.place.client().await;
    let mut part = view(1, 1);
    Arc::make_mut(&mut part).meta.partial = true;
    publish(&mut client, &part).await;
    // What the caller has to do with is known.
    bed.wait_for(API_1, "/latest/self/container/name", "shop-api-1").await;
    bed.wait_for(API_1, "/latest/self/service/containers", "0=shop-api-1\n").await;
    let mut all = bed.connect(API_1).await;
    all.write_all(request("GET", "/latest/containers", "*/*").as_bytes()).await.unwrap();
    let asked = until(&mut client, |report| !report.asked.is_empty()).await.asked;
    assert_eq!(asked, ["rancher-metadata".to_owned()].into());
    client.publish(view(2, 3));
    assert_eq!(read(&mut all).await.1, "0=shop-api-1\n1=shop-api-2\n2=shop-api-3\n");
    until(&mut client, |report| report.view == Index(2)).await;
    assert!(IpAddr::V4(API_1).is_loopback());
    bed.place.end(task).await;
}
