//! The server's side: a request finds its endpoint, which answers from the state.

use crate::acl::authority::Authority;
use crate::acl::keep::Changes;
use crate::acl::{self, Acl, Acls, guard};
use crate::agent::{self, Agent};
use crate::answer::{Answer, pretty};
use crate::catalog::Catalog;
use crate::catalog::endpoints::{self, Read, Reads};
use crate::config::{self, Config};
use crate::connect::{self, Connect};
use crate::coordinate::{self, Coordinate};
use crate::event::{self, Events, Fired};
use crate::kv::{self, Kv};
use crate::listen::{Arrived, Body, Handler};
use crate::operator::{self, Operator};
use crate::prepared::{self, Prepared};
use crate::register::{self, Register, Registrar};
use crate::request::Request;
use crate::route::Tables;
use crate::session::{self, Keeper, Sessions};
use crate::shelf::Shelf;
use crate::snapshot::{self, Snapshot};
use crate::state::State;
use crate::status::{self, Status};
use crate::txn::{self, Txn};
use crate::waiters::{Topic, Waiters};
use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use model::consul_access::AclMode;
use model::limits::{CONSUL_SNAPSHOTS_AT_ONCE, CONSUL_WAIT_MS_MAX};
use model::time::Clock;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio::sync::{Mutex, Semaphore};

/// The only datacenter.
pub const DATACENTER: &str = "dc1";
/// Port that clients know as the servers' own.
const SERVER_PORT: u16 = 8300;
const DEFAULT_POLICY: HeaderName = HeaderName::from_static("x-consul-default-acl-policy");
const FILTERED: HeaderName = HeaderName::from_static("x-consul-results-filtered-by-acls");
/// Longer than any wait.
const FOR_EVER: Duration = Duration::from_secs(86_400);

/// What an endpoint is known by; each part of the dialect has its own enum and table of routes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Endpoint {
    Status(Status),
    Register(Register),
    Kv(Kv),
    Session(Sessions),
    Txn(Txn),
    Event(Events),
    Operator(Operator),
    Snapshot(Snapshot),
    Catalog(Read),
    Agent(Agent),
    Prepared(Prepared),
    Coordinate(Coordinate),
    Config(Config),
    Connect(Connect),
    Acl(Acl),
}

pub(crate) const TABLES: Tables<Endpoint> = Tables(&[
    status::ROUTES,
    register::ROUTES,
    kv::ROUTES,
    session::ROUTES,
    txn::ROUTES,
    event::ROUTES,
    operator::ROUTES,
    snapshot::ROUTES,
    endpoints::ROUTES,
    agent::ROUTES,
    prepared::ROUTES,
    coordinate::ROUTES,
    config::ROUTES,
    connect::ROUTES,
    acl::ROUTES,
]);

/// What is known of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It passes, or warns.
    Passing,
    /// It is critical.
    Critical,
    /// There is no such check, or no such node.
    Absent,
}

/// Says how a check of a node stands: `judge(node, check)`.
pub type Judge = Arc<dyn Fn(&str, &str) -> Standing + Send + Sync>;

/// What is known of the machine of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Name of its node: that of its host when it is one, else its host name.
    pub node: String,
    /// Address by which others know it.
    pub address: IpAddr,
}

impl Facts {
    /// `address:8300`, the way in which clients know the leader.
    #[must_use]
    pub fn leader(&self) -> String {
        std::net::SocketAddr::new(self.address, SERVER_PORT).to_string()
    }
}

/// Answers all endpoints. Clones are the same one.
#[derive(Clone)]
pub struct Consul<S> {
    facts: Arc<Facts>,
    store: S,
    waiters: Waiters,
    catalog: Catalog,
    registrar: Option<Registrar>,
    state: State<S>,
    acls: Acls<S>,
    config: Shelf<S>,
    keeper: Keeper,
    fired: Fired,
    snapshots: Arc<Mutex<()>>,
    room: Arc<Semaphore>,
    judge: Judge,
}

impl<S> std::fmt::Debug for Consul<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consul").field("facts", &self.facts).finish_non_exhaustive()
    }
}

impl<S: Store> Consul<S> {
    /// Reads the keys and sessions of a store; `judge` says how checks stand that sessions name.
    ///
    /// # Errors
    /// What the store says.
    pub async fn open(
        store: S,
        clock: Clock,
        facts: Facts,
        judge: Judge,
    ) -> Result<Self, store::Error> {
        let waiters = Waiters::default();
        let state = State::open(store.clone(), clock.clone(), waiters.clone()).await?;
        let acls = Acls::open(store.clone(), clock).await?;
        let config = Shelf::open(store.clone(), config::PREFIX, Topic::Config, waiters.clone());
        let config = config.await?;
        let keeper = Keeper::default();
        keeper.adopt(&state);
        Ok(Self {
            facts: Arc::new(facts),
            store,
            waiters,
            catalog: Catalog::default(),
            registrar: None,
            state,
            acls,
            config,
            keeper,
            fired: Fired::default(),
            snapshots: Arc::default(),
            room: Arc::new(Semaphore::new(CONSUL_SNAPSHOTS_AT_ONCE)),
            judge,
        })
    }

    /// Follows the store and ends sessions, for ever. Without it no write is answered.
    pub async fn run(&self) {
        tokio::join!(
            self.state.follow(),
            self.keeper.run(&self.state, &self.judge),
            self.keeper.forget(&self.state),
            self.acls.run(),
            self.config.follow(),
        );
    }

    /// A check may stand otherwise than before: sessions that name it are looked at.
    pub fn checks_changed(&self) {
        self.keeper.wake();
    }

    /// With one who carries out the orders of clients that register.
    #[must_use]
    pub fn with_registrar(self, registrar: Registrar) -> Self {
        Self { registrar: Some(registrar), ..self }
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.store
    }

    /// What is known of the server's machine.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    pub(crate) fn state(&self) -> &State<S> {
        &self.state
    }

    pub(crate) fn acls(&self) -> &Acls<S> {
        &self.acls
    }

    pub(crate) fn config(&self) -> &Shelf<S> {
        &self.config
    }

    /// Does it ask for tokens? It does not until this says so.
    pub fn set_acl(&self, mode: AclMode) {
        self.acls.set_mode(mode);
    }

    pub(crate) fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    pub(crate) fn fired(&self) -> &Fired {
        &self.fired
    }

    pub(crate) fn snapshots(&self) -> &Mutex<()> {
        &self.snapshots
    }

    pub(crate) fn standing(&self, node: &str, check: &str) -> Standing {
        (self.judge)(node, check)
    }

    /// Who waits: whoever changes what endpoints read wakes its topics here.
    #[must_use]
    pub fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    /// The catalog: whoever follows the cluster brings it there.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Answers a request.
    pub async fn answer(&self, request: &Request) -> Answer {
        let endpoint = match TABLES.find(request) {
            Ok(endpoint) => endpoint,
            Err(answer) => return answer,
        };
        if request.datacenter().is_some_and(|dc| dc != DATACENTER) {
            return Answer::failed("No path to datacenter");
        }
        let answer = self.guarded(endpoint, request).await;
        if request.is_pretty() { pretty(answer) } else { answer }
    }

    /// Answers as far as the token of the request allows. One that waits is looked at again when
    /// rights change, and answered at once when they are others than they were.
    async fn guarded(&self, endpoint: Endpoint, request: &Request) -> Answer {
        let mut request = std::borrow::Cow::Borrowed(request);
        loop {
            let waits = ["index", "hash"].iter().any(|key| request.query.has(key));
            let waits = waits && request.method == http::Method::GET;
            // Taken before the rights are looked at: a change in between is not missed.
            let changes = waits.then(|| self.acls.changes());
            let authority = match self.acls.authority(&request) {
                Ok(authority) => authority,
                Err(refused) => return self.told(refused, &request),
            };
            let access = acl::Access::of(Arc::clone(&authority));
            if !access.is_all() {
                request.to_mut().access = access;
            }
            if let Err(refused) = self.may(endpoint, &request) {
                return self.told(refused, &request);
            }
            let Some(mut changes) = changes else {
                return self.told(self.reply(endpoint, &request).await, &request);
            };
            if let Some(answer) = self.wait(endpoint, &request, &authority, &mut changes).await {
                return self.told(answer, &request);
            }
            let mut again = request.into_owned();
            again.query.remove("index");
            again.query.remove("hash");
            again.access = acl::Access::default();
            request = std::borrow::Cow::Owned(again);
        }
    }

    /// The answer; `None` when the request has other rights before there is one.
    async fn wait(
        &self,
        endpoint: Endpoint,
        request: &Request,
        authority: &Authority,
        changes: &mut Changes,
    ) -> Option<Answer> {
        let answering = self.reply(endpoint, request);
        tokio::pin!(answering);
        loop {
            let lasts = self.acls.lasts(authority).unwrap_or(FOR_EVER);
            tokio::select! {
                // What changed together with the rights is not told by the old ones.
                biased;
                () = changes.changed() => {}
                () = tokio::time::sleep(lasts) => {}
                answer = &mut answering => return Some(answer),
            }
            if !self.acls.authority(request).is_ok_and(|now| *now == *authority) {
                return None;
            }
        }
    }

    fn may(&self, endpoint: Endpoint, request: &Request) -> Result<(), Answer> {
        if request.access.is_all() {
            return Ok(());
        }
        let node = |id: &str| self.state.map().session(id).map(|session| session.node.clone());
        guard::check(endpoint, request, &self.catalog.shown(), node)
    }

    /// The answer with what is said of rights.
    fn told(&self, answer: Answer, request: &Request) -> Answer {
        let policy = match self.acls.mode() {
            AclMode::Off => return answer,
            mode => HeaderValue::from_static(mode.as_str()),
        };
        let hidden = request.access.has_hidden() && answer.index().is_some();
        let answer = answer.with(DEFAULT_POLICY, policy);
        match hidden {
            true => answer.with(FILTERED, HeaderValue::from_static("true")),
            false => answer,
        }
    }

    async fn reply(&self, endpoint: Endpoint, request: &Request) -> Answer {
        let wait_max = Duration::from_millis(CONSUL_WAIT_MS_MAX);
        let asks_tokens = self.acls.mode() != AclMode::Off;
        let (catalog, waiters) = (&self.catalog, &self.waiters);
        let reads = Reads { catalog, waiters, wait_max, asks_tokens };
        match endpoint {
            Endpoint::Status(endpoint) => status::answer(&self.facts, endpoint),
            Endpoint::Register(endpoint) => match &self.registrar {
                Some(registrar) => {
                    register::answer(registrar, &self.catalog, endpoint, request).await
                }
                None => Answer::no_leader(),
            },
            Endpoint::Kv(Kv) => kv::answer(self, request).await,
            Endpoint::Session(endpoint) => session::answer(self, request, endpoint).await,
            Endpoint::Txn(Txn) => txn::answer(self, request).await,
            Endpoint::Event(endpoint) => event::answer(self, request, endpoint).await,
            Endpoint::Operator(endpoint) => operator::answer(self, endpoint).await,
            Endpoint::Snapshot(Snapshot) => snapshot::answer(self, request).await,
            Endpoint::Catalog(endpoint) => endpoints::answer(reads, endpoint, request).await,
            Endpoint::Agent(endpoint) => agent::answer(reads, &self.facts, endpoint, request).await,
            Endpoint::Coordinate(endpoint) => {
                coordinate::answer(reads, &self.facts, endpoint, request)
            }
            Endpoint::Config(endpoint) => config::answer(self, endpoint, request).await,
            Endpoint::Connect(endpoint) => connect::answer(endpoint, request),
            Endpoint::Acl(endpoint) => acl::answer(self, endpoint, request).await,
            Endpoint::Prepared(Prepared) => prepared::answer(&self.store, reads, request).await,
        }
    }
}

impl<S: Store> Handler for Consul<S> {
    /// Bodies of snapshots are large and few are read at a time: who may not put one back is told
    /// so before.
    fn refuses(&self, parts: &Parts) -> Option<Answer> {
        if parts.uri.path() != "/v1/snapshot" {
            return None;
        }
        let mut request = Request::read(parts, Bytes::new(), &self.facts.node).ok()?;
        let endpoint = TABLES.find(&request).ok()?;
        match self.acls.authority(&request) {
            Ok(authority) => request.access = acl::Access::of(authority),
            Err(refused) => return Some(refused),
        }
        self.may(endpoint, &request).err()
    }

    fn snapshot_room(&self) -> &Semaphore {
        &self.room
    }

    async fn handle(&self, arrived: Arrived) -> http::Response<Body> {
        let request = {
            let Arrived { parts, body, node } = arrived;
            // The head is let go before it waits: it is a view into the 8 KiB that were read with it.
            Request::read(&parts, body, node.as_deref().unwrap_or(&self.facts.node))
        };
        let answer = match request {
            Ok(request) => self.answer(&request).await,
            Err(answer) => answer,
        };
        crate::listen::respond(answer)
    }
}

#[cfg(test)]
mod tests;
