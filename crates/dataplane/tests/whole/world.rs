//! A folder, addresses that no other test uses, backends, a view, and clients of all of it.

use dataplane::{
    Client, DnsOptions, Error, Event, LocalInstance, MetadataOptions, Options, Report, Resolvers,
    Run,
};
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use model::health::{Health, HealthCheck};
use model::id::InstanceId;
use model::service::Transport;
use model::time::{Index, Timestamp};
use model::view::{
    Admit, DnsView, Endpoint, HostView, Listener, ListenerMode, NameTarget, Upstream, VIEW_FORMAT,
    ViewInstance,
};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

/// Longest wait of a test for anything.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// An address of 127/8 that no other test process has, and no earlier call gave.
fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 + NEXT.fetch_add(1, Ordering::Relaxed), high, low)
}

/// A port that the kernel says is free, on an address that nobody else uses.
fn own_port() -> SocketAddr {
    std::net::TcpListener::bind((own_address(), 0)).unwrap().local_addr().unwrap()
}

/// Where a dataplane of a test lives.
pub(crate) struct Place {
    dir: tempfile::TempDir,
    dns: SocketAddr,
}

/// A dataplane in this process.
pub(crate) struct Task {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), Error>>,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), dns: own_port() }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn dns(&self) -> SocketAddr {
        self.dns
    }

    pub(crate) fn free_port(&self) -> SocketAddr {
        own_port()
    }

    pub(crate) fn options(&self) -> Options {
        options(self.dir(), self.dns)
    }

    pub(crate) fn start(&self) -> Task {
        self.start_with(self.options())
    }

    pub(crate) fn start_with(&self, options: Options) -> Task {
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(dataplane::run(options, async {
            stopped.await.ok();
        }));
        Task { stop, task }
    }

    pub(crate) async fn end(&self, task: Task) {
        task.stop.send(()).unwrap();
        timeout(DEADLINE, task.task).await.expect("it ends").unwrap().unwrap();
        assert!(!self.dir().join("dataplane.sock").exists());
    }

    /// A dataplane in a process of its own.
    pub(crate) fn spawn(&self) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_process_of_its_own_serves_until_it_is_told"])
            .env("DATAPLANE_TEST_DIR", self.dir())
            .env("DATAPLANE_TEST_DNS", self.dns.to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// The first connection that is answered.
    pub(crate) async fn client(&self) -> Client {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match Client::connect(self.dir()).await {
                Ok(client) => return client,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            tokio::task::yield_now().await;
        }
    }

    /// Until what it knows of this host is on disk with this word in it.
    pub(crate) async fn remembers(&self, word: &str) {
        let path = self.dir().join("live.json");
        self.until(|| std::fs::read_to_string(&path).is_ok_and(|text| text.contains(word))).await;
    }

    /// Until the lock is held.
    pub(crate) async fn locked(&self) {
        let path = self.dir().join("dataplane.lock");
        self.until(|| std::fs::read_to_string(&path).is_ok_and(|text| !text.is_empty())).await;
    }

    async fn until(&self, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !condition() {
            assert!(Instant::now() < deadline, "not within the deadline");
            tokio::task::yield_now().await;
        }
    }
}

fn options(dir: &Path, dns: SocketAddr) -> Options {
    let dns = DnsOptions { listen: vec![dns], threads: 2, resolvers: Resolvers::Fixed(vec![]) };
    // The tests that ask for metadata say where.
    let metadata = MetadataOptions { listen: vec![], threads: 1 };
    Options { dns, metadata, admin: None, proxy_threads: Some(2), ..Options::new(dir.to_owned()) }
}

/// What `Place::spawn` told this process; `None` in any other.
pub(crate) fn child_options() -> Option<Options> {
    let dir = std::env::var_os("DATAPLANE_TEST_DIR")?;
    let dns = std::env::var("DATAPLANE_TEST_DNS").ok()?.parse().unwrap();
    Some(options(Path::new(&dir), dns))
}

pub(crate) fn id(n: u32) -> InstanceId {
    format!("shop/api#{n}@{n}").parse().unwrap()
}

pub(crate) fn running(started_at: i64) -> LocalInstance {
    let run = Run { started_at: Timestamp(started_at), container_id: format!("c{started_at}") };
    LocalInstance { run: Some(run), ..LocalInstance::default() }
}

/// Waits for a report.
pub(crate) async fn until(client: &mut Client, what: impl Fn(&Report) -> bool) -> Report {
    let deadline = Instant::now() + DEADLINE;
    let mut last = None;
    loop {
        let event = timeout_at(deadline, client.next()).await;
        match event.unwrap_or_else(|_| panic!("no such report; the last was {last:#?}")) {
            Some(Event::Report(report)) if what(&report) => return *report,
            Some(Event::Report(report)) => last = Some(report),
            Some(Event::Hello { version, .. }) => assert_eq!(version, dataplane::PROTOCOL_VERSION),
            None => panic!("it hung up; the last report was {last:#?}"),
        }
    }
}

/// A view of one service `shop/api`.
pub(crate) struct World {
    pub(crate) view: HostView,
}

impl World {
    pub(crate) fn new(index: u64) -> Self {
        let names = [("api.shop".to_owned(), NameTarget::Service(vec![]))].into();
        let zones = vec!["rancher.internal".into()];
        Self {
            view: HostView {
                format: VIEW_FORMAT,
                environment: "default".into(),
                host: "here".parse().unwrap(),
                index: Index(index),
                dns: Arc::new(DnsView {
                    zones,
                    ttl_s: 1,
                    names,
                    cnames: [].into(),
                    elsewhere: [].into(),
                    nobody_healthy: model::dns::NobodyHealthy::All,
                }),
                callers: Arc::default(),
                instances: Arc::default(),
                upstreams: [].into(),
                listeners: [].into(),
                floating: [].into(),
                checks: [].into(),
                partial: false,
                catalog: Arc::default(),
                meta: Default::default(),
            },
        }
    }

    /// What the view says of an instance.
    pub(crate) fn instance(&mut self, n: u32) -> &mut ViewInstance {
        let instances = Arc::make_mut(&mut self.view.instances);
        Arc::make_mut(instances.get_mut(&id(n)).unwrap())
    }

    pub(crate) fn add(&mut self, n: u32, backend: &Backend, check: Option<HealthCheck>) {
        let instance = ViewInstance {
            address: backend.ip(),
            host: "here".parse().unwrap(),
            admit: Admit::Active,
            check,
            probers: vec![],
            run: Timestamp::default(),
            ready_ports: vec![],
            running: true,
            health: Health::Unchecked,
            counted: false,
            nobody_healthy: None,
        };
        Arc::make_mut(&mut self.view.instances).insert(id(n), Arc::new(instance));
        if let Some(NameTarget::Service(all)) =
            Arc::make_mut(&mut self.view.dns).names.get_mut("api.shop")
        {
            all.push(id(n));
        }
        let upstream = self.view.upstreams.entry("api".into());
        let upstream = upstream.or_insert_with(|| Upstream::empty(250, 10_000));
        upstream.endpoints.push(Endpoint { instance: id(n), port: backend.port(), weight: 1 });
    }

    /// A TCP port that leads to the upstream.
    pub(crate) fn listen(&mut self) -> SocketAddr {
        let addr = own_port();
        let listener = Listener {
            ip: Some(addr.ip()),
            port: addr.port(),
            transport: Transport::Tcp,
            mode: ListenerMode::Forward { upstream: "api".into() },
        };
        self.view.listeners.insert(format!("{addr}/tcp"), listener);
        addr
    }
}

/// Says its name to whoever connects, by HTTP.
pub(crate) struct Backend {
    addr: SocketAddr,
    hold: watch::Sender<bool>,
    taken: watch::Receiver<u32>,
    task: JoinHandle<()>,
}

/// Answers are held back until it is released.
pub(crate) struct Held {
    hold: watch::Sender<bool>,
    taken: watch::Receiver<u32>,
}

impl Held {
    /// Until somebody waits for an answer.
    pub(crate) async fn taken(&self) {
        let mut taken = self.taken.clone();
        timeout(DEADLINE, taken.wait_for(|count| *count > 0)).await.unwrap().unwrap();
    }

    pub(crate) fn release(self) {
        self.hold.send_replace(false);
    }
}

impl Backend {
    pub(crate) async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind((own_address(), 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (hold, held) = watch::channel(false);
        let (count, taken) = watch::channel(0);
        let count = Arc::new(count);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (mut held, count) = (held.clone(), count.clone());
                connections.spawn(async move {
                    let mut request = [0u8; 1_024];
                    // A probe hangs up without a word.
                    if stream.read(&mut request).await.unwrap_or(0) == 0 {
                        return;
                    }
                    count.send_modify(|count| *count += 1);
                    if held.wait_for(|held| !held).await.is_err() {
                        return;
                    }
                    let text = format!("HTTP/1.0 200 OK\r\n\r\n{name}");
                    stream.write_all(text.as_bytes()).await.ok();
                });
            }
        });
        Self { addr, hold, taken, task }
    }

    pub(crate) fn ip(&self) -> Ipv4Addr {
        match self.addr {
            SocketAddr::V4(addr) => *addr.ip(),
            SocketAddr::V6(_) => unreachable!("bound to IPv4"),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.addr.port()
    }

    pub(crate) fn hold(&self) -> Held {
        self.hold.send_replace(true);
        Held { hold: self.hold.clone(), taken: self.taken.clone() }
    }

    /// Nothing listens there any more.
    pub(crate) async fn stop(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

/// The body of `GET /`; waits for the port to listen.
pub(crate) async fn get(addr: SocketAddr) -> String {
    fetch(addr, "/").await.1
}

/// Status and body; waits for the port to listen.
pub(crate) async fn fetch(addr: SocketAddr, path: &str) -> (u16, String) {
    let deadline = Instant::now() + DEADLINE;
    let mut stream = loop {
        match TcpStream::connect(addr).await {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < deadline, "{addr}: {error}"),
        }
        tokio::task::yield_now().await;
    };
    let request = format!("GET {path} HTTP/1.0\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout_at(deadline, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Addresses of a name, in order; asks again until something answers.
pub(crate) async fn ask(dns: SocketAddr, name: &str) -> Vec<Ipv4Addr> {
    let mut message = Message::new(9, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    let question = message.to_vec().unwrap();
    let deadline = Instant::now() + DEADLINE;
    loop {
        let socket = UdpSocket::bind(("0.0.0.0", 0)).await.unwrap();
        socket.connect(dns).await.unwrap();
        let mut answer = [0u8; 2_048];
        let exchange = async {
            socket.send(&question).await?;
            socket.recv(&mut answer).await
        };
        match timeout(Duration::from_millis(500), exchange).await {
            Ok(Ok(length)) => {
                let message = Message::from_vec(&answer[..length]).unwrap();
                let mut addresses: Vec<Ipv4Addr> = message
                    .answers
                    .iter()
                    .map(|record| match &record.data {
                        RData::A(address) => address.0,
                        other => panic!("what is {other}?"),
                    })
                    .collect();
                addresses.sort();
                return addresses;
            }
            Ok(Err(_)) | Err(_) => assert!(Instant::now() < deadline, "no answer from {dns}"),
        }
    }
}
