//! The server's side: a request finds its endpoint, which answers from the state.

use crate::agent::{self, Agent};
use crate::answer::{Answer, pretty};
use crate::catalog::Catalog;
use crate::catalog::endpoints::{self, Read, Reads};
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
use crate::snapshot::{self, Snapshot};
use crate::state::State;
use crate::status::{self, Status};
use crate::txn::{self, Txn};
use crate::waiters::Waiters;
use model::limits::CONSUL_WAIT_MS_MAX;
use model::time::Clock;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio::sync::Mutex;

/// The only datacenter.
pub const DATACENTER: &str = "dc1";
/// Port that clients know as the servers' own.
const SERVER_PORT: u16 = 8300;

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
}

const TABLES: Tables<Endpoint> = Tables(&[
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
    keeper: Keeper,
    fired: Fired,
    snapshots: Arc<Mutex<()>>,
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
        let state = State::open(store.clone(), clock, waiters.clone()).await?;
        Ok(Self {
            facts: Arc::new(facts),
            store,
            waiters,
            catalog: Catalog::default(),
            registrar: None,
            state,
            keeper: Keeper::default(),
            fired: Fired::default(),
            snapshots: Arc::default(),
            judge,
        })
    }

    /// Follows the store and ends sessions, for ever. Without it no write is answered.
    pub async fn run(&self) {
        tokio::join!(self.state.follow(), self.keeper.run(&self.state, &self.judge));
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
        let wait_max = Duration::from_millis(CONSUL_WAIT_MS_MAX);
        let reads = Reads { catalog: &self.catalog, waiters: &self.waiters, wait_max };
        let answer = match endpoint {
            Endpoint::Status(endpoint) => status::answer(&self.facts, endpoint),
            Endpoint::Register(endpoint) => match &self.registrar {
                Some(registrar) => register::answer(registrar, endpoint, request).await,
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
            Endpoint::Prepared(Prepared) => prepared::answer(&self.store, reads, request).await,
        };
        if request.is_pretty() { pretty(answer) } else { answer }
    }
}

impl<S: Store> Handler for Consul<S> {
    async fn handle(&self, arrived: Arrived) -> http::Response<Body> {
        let node = arrived.node.as_deref().unwrap_or(&self.facts.node);
        let answer = match Request::read(&arrived.parts, arrived.body, node) {
            Ok(request) => self.answer(&request).await,
            Err(answer) => answer,
        };
        crate::listen::respond(answer)
    }
}

#[cfg(test)]
mod tests;
