//! Questions for names of the environment that the view says nothing of but that they exist: the
//! server is asked what they are, by way of the agent, and the question is answered from the table
//! that brings it. Who gets no answer in time is told to try again, never that there is no such name.

use super::Shared;
use super::answer::{Step, Transport, answer};
use super::forward::{Ask, ReplyTo};
use super::serve::{Asking, forward};
use super::wire::{self, Rcode};
use model::limits::{ASKED_NAMES_MAX, DNS_ASKED_KEPT_MS, DNS_FORWARDS_MAX, DNS_LATER_MS_MAX};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// A question that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) message: Box<[u8]>,
    /// What is asked of the server.
    pub(super) name: Arc<str>,
    pub(super) source: IpAddr,
    pub(super) transport: Transport,
    pub(super) to: ReplyTo,
}

/// The names that were asked for, each with when that was last. Held for map operations.
#[derive(Debug, Default)]
pub(super) struct Asked(Mutex<BTreeMap<Arc<str>, Instant>>);

impl Asked {
    /// Is it news?
    fn note(&self, name: &Arc<str>, now: Instant) -> bool {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() + 1 >= ASKED_NAMES_MAX && !names.contains_key(name) {
            let oldest = names.iter().min_by_key(|(_, at)| **at).map(|(name, _)| name.clone());
            oldest.map(|oldest| names.remove(&oldest));
        }
        names.insert(name.clone(), now).is_none()
    }

    /// The names that count now.
    pub(super) fn names(&self, now: Instant) -> BTreeSet<String> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = Duration::from_millis(DNS_ASKED_KEPT_MS);
        names.retain(|_, at| now.saturating_duration_since(*at) < kept);
        names.keys().map(ToString::to_string).collect()
    }
}

/// Answers until the last sender is gone.
pub(super) async fn run(
    mut waiting: mpsc::Receiver<Waiting>,
    shared: Arc<Shared>,
    asks: mpsc::Sender<Ask>,
    tables: watch::Receiver<()>,
    news: Arc<watch::Sender<()>>,
) {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            one = waiting.recv(), if tasks.len() < DNS_FORWARDS_MAX => {
                let Some(one) = one else { return };
                if shared.asked.note(&one.name, Instant::now()) {
                    news.send_replace(());
                }
                tasks.spawn(wait(one, shared.clone(), asks.clone(), tables.clone()));
            }
            Some(ended) = tasks.join_next() => if let Err(error) = ended {
                tracing::error!(%error, "dns task failed");
            }
        }
    }
}

async fn wait(
    one: Waiting,
    shared: Arc<Shared>,
    asks: mpsc::Sender<Ask>,
    mut tables: watch::Receiver<()>,
) {
    let deadline = tokio::time::Instant::now() + Duration::from_millis(DNS_LATER_MS_MAX);
    let mut rng = SmallRng::from_os_rng();
    let mut out = vec![];
    loop {
        tables.mark_unchanged();
        let table = shared.table.load_full();
        let step = answer(&one.message, one.source, one.transport, &table, &mut rng, &mut out);
        let (query, target) = match step {
            Step::Send => break,
            Step::Drop => return,
            Step::Forward(query) => (query, None),
            Step::Chase(query, target, ttl) => (query, Some((target, ttl))),
            Step::Later(..) => {
                let changed = tokio::time::timeout_at(deadline, tables.changed()).await;
                if matches!(changed, Ok(Ok(()))) {
                    continue;
                }
                tracing::debug!(name = %one.name, "the server has not said what it is");
                wire::refuse(&one.message, Rcode::ServFail, &mut out);
                break;
            }
        };
        let asking = Asking { query: &query, target, transport: one.transport };
        let mut to = Some(one.to);
        let sent = forward(asking, one.source, &shared, &asks, || to.take(), &mut out);
        if let Some(to) = to.filter(|_| sent) {
            to.send(out);
        }
        return;
    }
    one.to.send(out);
}
