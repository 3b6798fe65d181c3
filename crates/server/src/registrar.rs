//! Carries out what clients of the catalog order, and keeps time for their checks: who does not
//! speak in time is critical, and a service that is critical for too long goes. Only transitions
//! reach the store.

mod ttl;

#[cfg(test)]
mod tests;

use crate::latest::Interest;
use crate::state::Shared;
use ::consul::{Ask, Asked, Failure, Standing};
use control::catalog::{CheckStatus, checks, stands};
use control::register::{self, Order, Refused, Telling};
use model::change::{Change, Edit, Proposal};
use model::cluster::Cluster;
use model::host::HostLink;
use model::id::HostId;
use model::limits::{
    CHECK_OUTPUT_MS, DEREGISTER_LOOK_MS, REGISTRAR_PARALLEL_MAX, REGISTRAR_QUEUE_MAX, TXN_OPS_MAX,
};
use model::record::RecordKey;
use model::registration::{CheckSeen, ClientKey};
use model::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use store::Store;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use ttl::Ttls;

/// Tries of a proposal whose records keep changing before the client hears of it.
const TRIES_MAX: usize = 20;
/// A node with much on it goes in so many parts at most.
const PARTS_MAX: usize = 1_000;

/// What a client said of a check, and its time to live in milliseconds.
struct Said {
    telling: Telling,
    ttl_ms: u64,
    written: bool,
}

/// Orders that were taken from the queue and wait for room.
#[derive(Default)]
struct Waiting(VecDeque<Asked>);

impl Waiting {
    fn has_room(&self) -> bool {
        self.0.len() < REGISTRAR_QUEUE_MAX
    }

    /// A word counts from when it came, however long it then waits for the store.
    fn push(&mut self, asked: Asked, ttls: &mut Ttls) {
        if let Ask::Tell(telling) = &asked.ask {
            ttls.arrived(&telling.key, asked.at);
        }
        self.0.push_back(asked);
    }

    /// Takes what has come, so that nobody is late whose word is here.
    fn fill(&mut self, asks: &mut mpsc::Receiver<Asked>, ttls: &mut Ttls) {
        while self.has_room() {
            let Ok(asked) = asks.try_recv() else { return };
            self.push(asked, ttls);
        }
    }
}

/// Works for ever.
pub(crate) async fn run<S: Store>(shared: Shared<S>, mut asks: mpsc::Receiver<Asked>) {
    let mut clusters = shared.follow(Interest::Every);
    let mut tasks: JoinSet<Option<(Said, Instant)>> = JoinSet::new();
    let mut ttls = Ttls::default();
    let mut waiting = Waiting::default();
    let mut open = true;
    let mut look_at = Instant::now() + Duration::from_millis(DEREGISTER_LOOK_MS);
    loop {
        while tasks.len() < REGISTRAR_PARALLEL_MAX
            && let Some(asked) = waiting.0.pop_front()
        {
            let may_write = match &asked.ask {
                Ask::Tell(telling) => ttls.may_write(&telling.key, Instant::now()),
                Ask::Order(_) => true,
            };
            tasks.spawn(serve(shared.clone(), asked, may_write));
        }
        tokio::select! {
            biased;
            Some(ended) = tasks.join_next() => match ended {
                Ok(Some((said, at))) => ttls.heard(said, at, Instant::now()),
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "order of a client ended badly"),
            },
            () = clusters.changed() => ttls.follow(&clusters.take(), Instant::now()),
            () = ttls.due() => {
                waiting.fill(&mut asks, &mut ttls);
                let late = ttls.late(&shared.cluster(), Instant::now());
                silence(&shared, late).await;
            }
            () = tokio::time::sleep_until(look_at) => {
                look_at = Instant::now() + Duration::from_millis(DEREGISTER_LOOK_MS);
                reap(&shared).await;
            }
            asked = asks.recv(), if open && waiting.has_room() => match asked {
                Some(asked) => waiting.push(asked, &mut ttls),
                // Nobody can ask any more; time goes on.
                None => open = false,
            },
        }
    }
}

/// Carries out one order and answers it; gives what was said of a check, and when.
async fn serve<S: Store>(
    shared: Shared<S>,
    asked: Asked,
    may_write: bool,
) -> Option<(Said, Instant)> {
    let Asked { ask, at, answer } = asked;
    let (result, said) = match ask {
        Ask::Order(order) => (carry_out(&shared, &order).await, None),
        Ask::Tell(telling) => match take_word(&shared, telling, may_write).await {
            Ok(said) => (Ok(()), Some((said, at))),
            Err(failure) => (Err(failure), None),
        },
    };
    // Who reads what it wrote finds it.
    if let Some(consul) = shared.consul() {
        consul.catalog().follow(&shared.cluster(), consul.waiters());
    }
    // A client that hung up does not need to know.
    answer.send(result).ok();
    said
}

/// Decides, commits, and decides again when records changed meanwhile.
async fn commit<S: Store>(
    shared: &Shared<S>,
    decide: impl Fn(&Cluster) -> Result<Proposal, Refused>,
) -> Result<bool, Failure> {
    for _ in 0..TRIES_MAX {
        let cluster = shared.cluster();
        let proposal = decide(&cluster).map_err(Failure::Refused)?;
        if proposal.is_empty() {
            return Ok(false);
        }
        match shared.commit(proposal).await {
            Ok(_) => return Ok(true),
            Err(store::Error::Conflict { .. }) => {
                shared.newer_than(cluster.index(), Duration::from_secs(1)).await;
            }
            Err(error) => return Err(Failure::Failed(api::error::chain(&error))),
        }
    }
    Err(Failure::Failed("it keeps changing while this change is tried; try again".into()))
}

async fn carry_out<S: Store>(shared: &Shared<S>, order: &Order) -> Result<(), Failure> {
    for _ in 0..PARTS_MAX {
        let changed = commit(shared, |cluster| register::decide(cluster, order, shared.now()));
        let more = changed.await? && matches!(order, Order::NoNode(_));
        if !more {
            break;
        }
    }
    Ok(())
}

/// Another status is written; another output alone only when it `may_write`.
async fn take_word<S: Store>(
    shared: &Shared<S>,
    telling: Telling,
    may_write: bool,
) -> Result<Said, Failure> {
    let cell = std::sync::Mutex::new(0);
    let written = commit(shared, |cluster| {
        let (state, ttl_ms) = register::told(cluster, &telling, shared.now())?;
        *cell.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = ttl_ms;
        let known = cluster.check_state(&state.key);
        let same = known.is_some_and(|known| {
            let told = known.output == state.output || !may_write;
            (known.run, known.status) == (state.run, state.status) && told
        });
        Ok(if same { Proposal::default() } else { Order::stand(cluster, state) })
    });
    let written = written.await?;
    let ttl_ms = cell.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(Said { telling, ttl_ms, written })
}

/// Nobody has said anything of these for too long.
async fn silence<S: Store>(shared: &Shared<S>, late: Vec<(ClientKey, Option<String>)>) {
    for (key, last) in late {
        let result = commit(shared, |cluster| {
            let state = register::expired(cluster, &key, last.as_deref(), shared.now());
            Ok(state.map_or_else(Proposal::default, |state| Order::stand(cluster, state)))
        });
        match result.await {
            Ok(true) => tracing::warn!(check = %key, "nothing was said of a check in its time"),
            Ok(false) => {}
            Err(failure) => tracing::warn!(check = %key, ?failure, "silence of a check not stored"),
        }
    }
}

/// Writes what a host's dataplane found that is news.
pub(crate) async fn ingest<S: Store>(
    shared: &Shared<S>,
    host: &HostId,
    seen: &BTreeMap<String, CheckSeen>,
) {
    let edits = register::heard(&shared.cluster(), host, seen, shared.now());
    for part in edits.chunks(TXN_OPS_MAX / 2) {
        let change = Change { edits: part.to_vec() };
        if let Err(error) = shared.commit(Proposal { reads: vec![], change }).await {
            // It is told again with the next status.
            tracing::warn!(%host, error = api::error::chain(&error), "checks not stored");
            return;
        }
    }
}

/// What is to go: services that are critical for too long, what is on nodes that are none any more,
/// and what is known of checks that are none any more.
async fn reap<S: Store>(shared: &Shared<S>) {
    let cluster = shared.cluster();
    for order in overdue(&cluster, shared.now()).into_iter().chain(homeless(&cluster)) {
        match carry_out(shared, &order).await {
            Ok(()) => tracing::info!(?order, "registration is gone by itself"),
            Err(failure) => tracing::warn!(?order, ?failure, "registration not taken away"),
        }
    }
    let gone = forgotten(&cluster);
    for part in gone.chunks(TXN_OPS_MAX / 2) {
        let edits = part.iter().map(|key| Edit::Delete(key.clone())).collect();
        let reads = part.iter().map(|key| (key.clone(), cluster.modified(key))).collect();
        match shared.commit(Proposal { reads, change: Change { edits } }).await {
            // What changed meanwhile is looked at the next time.
            Ok(_) | Err(store::Error::Conflict { .. }) => {}
            Err(error) => {
                let error = api::error::chain(&error);
                tracing::warn!(error, "what is known of checks that are gone stays");
            }
        }
    }
}

/// How a check of a host stands that a client registered or a label asks for.
pub(crate) fn standing(cluster: &Cluster, node: &str, check: &str) -> Standing {
    let key = ClientKey::new(node, check);
    let status = cluster.client_check(&key).map(|check| stands(cluster, check).0).or_else(|| {
        let wish = checks::known(cluster, &node.parse().ok()?).remove(check)?;
        let state = cluster.check_state(&key).filter(|state| state.run == wish.run);
        Some(state.map_or(wish.status, |state| state.status))
    });
    match status {
        None => Standing::Absent,
        Some(CheckStatus::Critical) => Standing::Critical,
        Some(CheckStatus::Passing | CheckStatus::Warning) => Standing::Passing,
    }
}

fn is_here(cluster: &Cluster, node: &str) -> bool {
    let host = node.parse::<HostId>().ok().and_then(|id| cluster.host(&id));
    host.is_some_and(|host| host.status == HostLink::Active)
}

/// Services that have been critical for longer than they may be. Nobody knows it of a host that is
/// not connected.
fn overdue(cluster: &Cluster, now: Timestamp) -> Vec<Order> {
    let mut services = BTreeSet::new();
    for check in cluster.client_checks() {
        let Some(after) = check.deregister_after_ms.filter(|_| !check.service.is_empty()) else {
            continue;
        };
        let state = cluster.check_state(&check.key).filter(|state| state.run == check.since);
        let since = state.map_or(check.since, |state| state.changed_at);
        let critical = stands(cluster, check).0 == CheckStatus::Critical;
        if critical && now.since_ms(since) > after && is_here(cluster, &check.key.node) {
            services.insert(ClientKey::new(&check.key.node, &check.service));
        }
    }
    services.into_iter().map(Order::NoService).collect()
}

/// Nodes that are no hosts any more and that no client registered.
fn homeless(cluster: &Cluster) -> Vec<Order> {
    let services = cluster.client_services().map(|service| service.key.node.as_str());
    let checks = cluster.client_checks().map(|check| check.key.node.as_str());
    let nodes: BTreeSet<&str> = services.chain(checks).collect();
    let is_node = |node: &str| {
        let host = node.parse::<HostId>().ok();
        host.is_some_and(|host| cluster.host(&host).is_some())
            || cluster.client_node(node).is_some()
    };
    let gone = nodes.into_iter().filter(|node| !is_node(node));
    gone.map(|node| Order::NoNode(node.to_owned())).collect()
}

/// States of checks that there are not. Of a host that is not connected nothing is forgotten.
fn forgotten(cluster: &Cluster) -> Vec<RecordKey> {
    let mut asked: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut gone = vec![];
    for state in cluster.check_states() {
        let key: &ClientKey = &state.key;
        if cluster.client_check(key).is_some() {
            continue;
        }
        let host = key.node.parse::<HostId>().ok().filter(|host| cluster.host(host).is_some());
        let known = match host {
            None => false,
            Some(_) if !is_here(cluster, &key.node) => true,
            Some(host) => {
                let ids = || checks::known(cluster, &host).into_keys().collect();
                asked.entry(key.node.as_str()).or_insert_with(ids).contains(&key.id)
            }
        };
        if !known {
            gone.push(RecordKey::CheckState(key.clone()));
        }
    }
    gone
}

/// May another output of a check be written, that was written at `last`?
fn is_old(last: Option<Instant>, now: Instant) -> bool {
    last.is_none_or(|last| now.duration_since(last) >= Duration::from_millis(CHECK_OUTPUT_MS))
}
