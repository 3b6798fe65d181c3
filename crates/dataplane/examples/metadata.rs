//! What metadata costs a host of an environment of 10,000 containers: answers by one core, and one
//! changed container, from the view that the agent has to the caller that waits for it. Prints one
//! line of JSON. `cargo xtask bench` runs it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a measurement says where it failed"
)]

use dataplane::{Client, Event, MetadataOptions, Options};
use model::health::Health;
use model::id::{InstanceId, ServiceId};
use model::metadata::{
    MetaContainer, MetaEnvironment, MetaHost, MetaNetwork, MetaPart, MetaService, MetaState,
    ServiceFacts,
};
use model::time::{Index, Timestamp};
use model::view::HostView;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SERVICES: u32 = 200;
const EACH: u32 = 50;
/// The address of the first container, which asks.
const CALLER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const CHANGES: u64 = 200;
const CLIENTS: usize = 32;
/// Both ends of each are files of this process.
const POLLS: usize = 5_000;
const ASKING: Duration = Duration::from_secs(5);
const PATHS: [&str; 4] = [
    "/latest/self/container/primary_ip",
    "/2015-12-19/self/service/scale",
    "/latest/version",
    "/latest/containers/s-a7-3/labels/io.rancher.stack.name",
];

fn container(nth: u32) -> MetaContainer {
    MetaContainer {
        host: if nth == 0 { "here" } else { "there" }.parse().unwrap(),
        host_address: "192.0.2.1".into(),
        address: Some(if nth == 0 { CALLER } else { Ipv4Addr::from(0x0a2a_0000 + nth) }),
        network: MetaNetwork::Managed,
        revision: 1,
        ports: vec![],
        state: MetaState::Running,
        health: Health::Healthy,
        container_id: format!("{nth:064x}"),
        started_at: Some(Timestamp(1)),
        starts: 1,
        probers: vec!["here".parse().unwrap(), "there".parse().unwrap()],
    }
}

fn service(nth: u32) -> ServiceId {
    format!("s/a{nth}").parse().unwrap()
}

fn view() -> HostView {
    let mut view = HostView::empty("e", &"here".parse().unwrap());
    let environment = MetaEnvironment {
        id: "e".into(),
        name: "e".into(),
        prefix: 16,
        ..MetaEnvironment::default()
    };
    view.meta.environment = Arc::new(environment);
    view.meta.hosts.insert_mut("here".parse().unwrap(), Arc::new(MetaHost::default()));
    let labels = (0..10).map(|n| (format!("com.example.label.{n}"), "a value".to_owned()));
    let part = MetaPart { labels: labels.collect(), ..MetaPart::default() };
    for nth in 0..SERVICES {
        let id = service(nth);
        let facts = ServiceFacts { scale: EACH, revision: 1, ..ServiceFacts::default() };
        let revisions = Arc::new([(1, [(String::new(), part.clone())].into())].into());
        let mut one = MetaService { facts: Arc::new(facts), revisions, ..MetaService::default() };
        for n in 0..EACH {
            let id = InstanceId::new(id.clone(), n + 1, u64::from(n) + 1);
            one.containers.insert_mut(id, Arc::new(container(nth * EACH + n)));
        }
        view.meta.services.insert_mut(id, Arc::new(one));
    }
    view.index = Index(1);
    view
}

/// Nanoseconds of all threads of this process, or of those whose names begin so.
fn cpu_ns(name: &str) -> u64 {
    let mut sum = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        if read("comm").starts_with(name) {
            let spent = read("schedstat");
            sum += spent.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    sum
}

/// Asks over one connection until the time is over; how often.
fn ask(at: SocketAddr, until: Instant) -> u64 {
    let mut stream = TcpStream::connect(at).unwrap();
    let (mut count, mut answer) = (0, [0; 4_096]);
    while Instant::now() < until {
        for path in PATHS {
            write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let length = stream.read(&mut answer).unwrap();
            assert!(answer[..length].starts_with(b"HTTP/1.1 200"), "{path}");
            count += 1;
        }
    }
    count
}

async fn in_force(client: &mut Client, index: Index) {
    loop {
        match client.next().await {
            Some(Event::Report(report)) if report.view == index => return,
            Some(_) => {}
            None => panic!("the dataplane is gone"),
        }
    }
}

/// Bytes of memory of this process.
fn rss() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// How many requests wait, as the dataplane tells operators.
fn waiting(admin: SocketAddr) -> usize {
    let mut stream = TcpStream::connect(admin).unwrap();
    write!(stream, "GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let line = text.lines().find(|line| line.starts_with("remuda_dataplane_metadata_waiting "));
    line.unwrap().split(' ').nth(1).unwrap().parse().unwrap()
}

/// That many requests that wait for a change.
fn poll(at: SocketAddr, admin: SocketAddr) -> Vec<TcpStream> {
    let mut stream = TcpStream::connect(at).unwrap();
    write!(stream, "GET /latest/version HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let version = answer.split_once("\r\n\r\n").unwrap().1;
    let one = |_| {
        let mut stream = TcpStream::connect(at).unwrap();
        let path = format!("/latest/version?wait=true&value={version}&maxWait=120");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        stream
    };
    let all = (0..POLLS).map(one).collect();
    while waiting(admin) < POLLS {
        std::thread::yield_now();
    }
    all
}

fn ms(ns: u64) -> f64 {
    Duration::from_nanos(ns).as_secs_f64() * 1_000.0
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let folder = std::env::temp_dir().join(format!("remuda-metadata-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let at = TcpListener::bind((CALLER, 0)).unwrap().local_addr().unwrap();
    let mut options = Options::new(folder.clone());
    options.dns.listen = vec![];
    let admin = TcpListener::bind((CALLER, 0)).unwrap().local_addr().unwrap();
    options.admin = Some(admin);
    options.proxy_threads = Some(1);
    options.metadata = MetadataOptions { listen: vec![at], threads: 1 };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let plane = tokio::spawn(dataplane::run(options, async {
        stopped.await.unwrap_or_default();
    }));
    let mut client = loop {
        match Client::connect(&folder).await {
            Ok(client) => break client,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let mut view = view();
    let before = cpu_ns("");
    client.publish(Arc::new(view.clone()));
    in_force(&mut client, view.index).await;
    let whole_ms = ms(cpu_ns("") - before);

    let id = InstanceId::new(service(9), 3, 3);
    let before = cpu_ns("");
    for nth in 0..CHANGES {
        let mut one = MetaContainer::clone(view.meta.container(&id).unwrap());
        one.starts += 1;
        let mut delta = model::metadata::MetaDelta::default();
        delta.containers.insert(id.clone(), Some(Arc::new(one)));
        delta.apply(&mut view.meta);
        view.index = Index(2 + nth);
        client.publish(Arc::new(view.clone()));
        in_force(&mut client, view.index).await;
    }
    let change_ms = ms((cpu_ns("") - before) / CHANGES);

    let before = cpu_ns("metadata");
    let until = Instant::now() + ASKING;
    let clients: Vec<_> =
        (0..CLIENTS).map(|_| std::thread::spawn(move || ask(at, until))).collect();
    let answers: u64 = clients.into_iter().map(|client| client.join().unwrap()).sum();
    let busy = Duration::from_nanos(cpu_ns("metadata") - before).as_secs_f64();
    let per_core = f64::from(u32::try_from(answers).unwrap()) / busy;

    let before = rss();
    let polls = tokio::task::spawn_blocking(move || poll(at, admin)).await.unwrap();
    let poll_kb = (rss() - before) as f64 / 1024.0 / POLLS as f64;
    view.index = Index(view.index.0 + 1);
    view.meta.hosts.insert_mut("other".parse().unwrap(), Arc::new(MetaHost::default()));
    let began = Instant::now();
    client.publish(Arc::new(view));
    let answered = tokio::task::spawn_blocking(move || {
        let mut answer = [0; 4_096];
        polls.into_iter().map(|mut one| one.read(&mut answer).unwrap()).filter(|n| *n > 0).count()
    });
    assert_eq!(answered.await.unwrap(), POLLS);
    let wake_ms = began.elapsed().as_secs_f64() * 1_000.0;
    println!(
        "{{\"polls\":{POLLS},\"poll_kb\":{poll_kb:.1},\"wake_ms\":{wake_ms:.0},\"containers\":{},\"whole_ms\":{whole_ms:.1},\"change_ms\":{change_ms:.3},\
         \"answers_per_core_s\":{per_core:.0}}}",
        SERVICES * EACH
    );
    stop.send(()).unwrap_or_default();
    plane.await.unwrap().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
}
