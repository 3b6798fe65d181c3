//! Reads without a server: what an agent knows of the catalog is shown by it, said to be of no leader.

use super::Catalog;
use super::endpoints::{self, Reads};
use crate::agent;
use crate::answer::Answer;
use crate::request::{Consistency, Request};
use crate::route::Tables;
use crate::serve::{DATACENTER, Endpoint, Facts};
use crate::waiters::Waiters;
use http::header::{HeaderName, HeaderValue};
use std::time::Duration;

const KNOWN_LEADER: HeaderName = HeaderName::from_static("x-consul-knownleader");
const EFFECTIVE: HeaderName = HeaderName::from_static("x-consul-effective-consistency");

/// Longest wait of a blocking query: nothing changes here, and a server may be there again.
const WAIT_MAX: Duration = Duration::from_secs(10);

const TABLES: Tables<Endpoint> = Tables(&[endpoints::ROUTES, agent::ROUTES]);

impl Catalog {
    /// Answers a read of the catalog from what is shown, `facts` being the agent's own; `None` when
    /// it is none, or when it has to be consistent.
    pub async fn alone(&self, request: &Request, facts: &Facts) -> Option<Answer> {
        let endpoint = TABLES.find(request).ok()?;
        if request.datacenter().is_some_and(|dc| dc != DATACENTER)
            || request.method != http::Method::GET
            || request.read_options().ok()?.consistency == Consistency::Consistent
        {
            return None;
        }
        let waiters = Waiters::default();
        let reads =
            Reads { catalog: self, waiters: &waiters, wait_max: WAIT_MAX, asks_tokens: false };
        let answer = match endpoint {
            Endpoint::Catalog(endpoint) => endpoints::answer(reads, endpoint, request).await,
            Endpoint::Agent(endpoint) => agent::answer(reads, facts, endpoint, request).await,
            _ => return None,
        };
        let answer = if request.is_pretty() { crate::answer::pretty(answer) } else { answer };
        Some(match answer.index() {
            Some(_) => answer
                .with(KNOWN_LEADER, HeaderValue::from_static("false"))
                .with(EFFECTIVE, HeaderValue::from_static("stale")),
            None => answer,
        })
    }
}
