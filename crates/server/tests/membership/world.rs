//! A server on loopback, and what an agent does to it.

use api::client::Client;
use api::grpc::{Caller, Enrolled, GrpcLink, Joining, enroll};
use api::link::{AgentLink as _, AgentRun, Down, Hello, LinkError, Session, Up};
use api::routes;
use api::tls::Identity;
use api::wire::{HostRow, JoinToken, JoinTokenRequest};
use http::Method;
use model::host::HostFacts;
use model::host_status::HostStatus;
use model::id::HostId;
use model::time::{Clock, Generation, Index, Timestamp};
use server::{Options, Server};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};
use store::Memory;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub(crate) const MINUTE: i64 = 60_000;
pub(crate) const DAY: i64 = 24 * 60 * MINUTE;
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// The real time and what is added to it.
#[derive(Clone, Default)]
pub(crate) struct Time(Arc<AtomicI64>);

impl Time {
    pub(crate) fn set_ahead(&self, ms: i64) {
        self.0.store(ms, Relaxed);
    }

    pub(crate) fn clock(&self) -> Clock {
        let ahead = Arc::clone(&self.0);
        Clock::new(move || {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            Timestamp(i64::try_from(now.as_millis()).unwrap() + ahead.load(Relaxed))
        })
    }
}

pub(crate) struct World {
    /// The server's.
    pub(crate) time: Time,
    /// The hosts'.
    pub(crate) there: Time,
    pub(crate) address: String,
    pub(crate) pin: String,
    pub(crate) client: Client,
    server: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// One host: what it has kept, and how it says who it is.
pub(crate) struct Agent {
    pub(crate) host: HostId,
    pub(crate) identity: Identity,
    pub(crate) link: GrpcLink,
}

pub(crate) fn host(id: &str) -> HostId {
    HostId::parse(id).unwrap()
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::ahead(0).await
    }

    /// With a server that began when its clock was so far ahead.
    pub(crate) async fn ahead(ms: i64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (time, there) = (Time::default(), Time::default());
        time.set_ahead(ms);
        let options = Options {
            dir: dir.path().to_owned(),
            subnet: "10.42.0.0/16".parse().unwrap(),
            names: vec![],
            environment: None,
            clock: time.clock(),
        };
        let server = Server::open(Memory::default(), options).await.unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let token = std::fs::read_to_string(&server.token_file).unwrap();
        let client = Client::new(&format!("http://{address}"), token.trim(), "");
        let pin = server.pin();
        let server = tokio::task::spawn(async move { server.run(Some(socket)).await.unwrap() });
        Self { time, there, address, pin, client, server, _dir: dir }
    }

    pub(crate) async fn token(&self, request: JoinTokenRequest) -> String {
        let made = self.client.write(Method::POST, routes::HOST_TOKENS, &request).await;
        let made: JoinToken = made.unwrap();
        made.token
    }

    pub(crate) async fn any_token(&self) -> String {
        self.token(JoinTokenRequest::default()).await
    }

    pub(crate) async fn enroll(
        &self,
        token: &str,
        id: &HostId,
        before: Option<&Identity>,
    ) -> Result<Enrolled, LinkError> {
        let clock = self.there.clock().now();
        let (address, pin) = (self.address.as_str(), self.pin.as_str());
        enroll(&Joining { address, token, pin, host: id, before, clock }).await
    }

    /// A host that has joined.
    pub(crate) async fn joined(&self, id: &str) -> Agent {
        let token = self.any_token().await;
        let enrolled = self.enroll(&token, &host(id), None).await.unwrap();
        self.agent(id, &enrolled.identity, "process")
    }

    /// An agent with this identity.
    pub(crate) fn agent(&self, id: &str, identity: &Identity, process: &str) -> Agent {
        let run = AgentRun {
            process: format!("{process}-{id}"),
            boot: "boot".into(),
            hostname: id.into(),
        };
        let caller = Caller { run, clock: self.there.clock() };
        let link = GrpcLink::new(&self.address, &self.pin, identity, caller).unwrap();
        Agent { host: host(id), identity: identity.clone(), link }
    }

    pub(crate) async fn rows(&self) -> Vec<HostRow> {
        self.client.get(routes::HOSTS).await.unwrap()
    }

    pub(crate) async fn row(&self, id: &str) -> HostRow {
        self.rows().await.into_iter().find(|row| row.id == id).unwrap()
    }

    /// Waits until the server says so of a host.
    pub(crate) async fn wait_row(&self, id: &str, wanted: impl Fn(&HostRow) -> bool) -> HostRow {
        let mut last = None;
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                let row = self.row(id).await;
                if wanted(&row) {
                    return row;
                }
                last = Some(row);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        match waited.await {
            Ok(row) => row,
            Err(_elapsed) => panic!("host {id} is {last:?}"),
        }
    }

    pub(crate) async fn remove(&self, id: &str, force: bool) {
        let path = format!("{}?force={force}", routes::fill(routes::HOST, &[id]));
        let _done: api::wire::Accepted = self.client.delete(&path).await.unwrap();
    }
}

impl Agent {
    pub(crate) async fn connect(&self) -> Result<Session, LinkError> {
        let hello = Hello::new(self.host.clone(), "1");
        tokio::time::timeout(PATIENCE, self.link.connect(hello)).await.unwrap()
    }

    /// A session that has said what the host is.
    pub(crate) async fn there(&self) -> Session {
        let session = self.connect().await.unwrap();
        session.up.send(self.status(&self.host, "ours")).await.unwrap();
        session
    }

    pub(crate) fn status(&self, of: &HostId, hostname: &str) -> Up {
        let facts = HostFacts { hostname: hostname.into(), ..HostFacts::default() };
        Up::Status(Box::new(HostStatus {
            host: of.clone(),
            number: 0,
            generation: Generation(0),
            view: Index(0),
            facts,
            instances: BTreeMap::new(),
            plain: None,
            probes: BTreeMap::new(),
            usage: BTreeMap::new(),
            requests: None,
            floating: BTreeMap::new(),
            checks: BTreeMap::new(),
        }))
    }
}

/// Takes what comes down until the session is over.
pub(crate) async fn until_over(session: &mut Session) {
    let ended =
        tokio::time::timeout(PATIENCE, async { while session.down.recv().await.is_some() {} });
    ended.await.unwrap();
}

/// A heartbeat is answered: the session lives.
pub(crate) async fn assert_lives(session: &mut Session, number: u64) {
    session.up.send(Up::Beat { number }).await.unwrap();
    let answered = tokio::time::timeout(PATIENCE, async {
        while let Some(down) = session.down.recv().await {
            if matches!(down, Down::Heard { number: heard, .. } if heard == number) {
                return true;
            }
        }
        false
    });
    assert!(answered.await.unwrap(), "the session is over");
}

/// Why an agent is refused, and whether only a token helps.
#[track_caller]
pub(crate) fn refused<T>(result: Result<T, LinkError>) -> (String, bool) {
    match result {
        Err(LinkError::Refused { why, .. }) => (why, false),
        Err(LinkError::Void { why, .. }) => (why, true),
        Err(error) => panic!("not refused, but: {error}"),
        Ok(_) => panic!("it was let in"),
    }
}

#[track_caller]
pub(crate) fn assert_says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}
