//! What is not ours is asked of the host's resolvers: one question at a time for all who ask the
//! same, within limits, its answer kept for as long as it says.

pub(crate) mod cache;
mod exchange;
pub(crate) mod kept;
pub(crate) mod resolvers;

use cache::Cache;
use kept::{Asker, Kept, Key};
use model::limits::{DNS_FORWARD_WAITERS_MAX, DNS_FORWARDS_MAX};
use resolvers::{Current, Resolvers};
use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// The cache, which every DNS thread reads and the forwarder fills. The lock guards nothing but
/// its maps and is held for one look or one change.
#[derive(Debug, Default)]
pub(crate) struct SharedCache(Mutex<Cache>);

impl SharedCache {
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut Cache) -> R) -> R {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A question that is not ours.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) key: Key,
    pub(crate) asker: Asker,
    pub(crate) to: ReplyTo,
}

/// Where its answer goes.
#[derive(Debug)]
pub(crate) enum ReplyTo {
    Udp { socket: Arc<UdpSocket>, to: SocketAddr },
    Tcp(oneshot::Sender<Vec<u8>>),
}

impl ReplyTo {
    /// Sends an answer; who is not there any more does not need it.
    pub(super) fn send(self, out: Vec<u8>) {
        match self {
            Self::Udp { socket, to } => {
                if let Err(error) = socket.send_to(&out, to) {
                    tracing::debug!(%to, %error, "dns answer not sent");
                }
            }
            Self::Tcp(sender) => {
                if sender.send(out).is_err() {
                    tracing::trace!("dns asker hung up");
                }
            }
        }
    }
}

impl Ask {
    fn answer(self, kept: &Kept, now: Instant) {
        let mut out = vec![];
        kept.write(&self.asker, now, &mut out);
        self.to.send(out);
    }
}

/// Asks until the last sender of `asks` is gone.
pub(crate) async fn run(
    mut asks: mpsc::Receiver<Ask>,
    resolvers: Resolvers,
    cache: Arc<SharedCache>,
) {
    let mut current = Current::new(resolvers);
    // Who answered last is asked first, so that a dead resolver costs one wait and not all.
    let mut preferred: Option<SocketAddr> = None;
    let mut waiting: HashMap<Key, Vec<Ask>> = HashMap::new();
    let mut under_way = JoinSet::new();
    loop {
        tokio::select! {
            ask = asks.recv() => {
                let Some(ask) = ask else { return };
                let now = Instant::now();
                let (list, changed) = current.list(now);
                if changed {
                    preferred = None;
                    cache.with(Cache::clear);
                }
                if let Some(waiters) = waiting.get_mut(&ask.key) {
                    if waiters.len() < DNS_FORWARD_WAITERS_MAX {
                        waiters.push(ask);
                    } else {
                        let failure = Kept::failure(&ask.key, now);
                        ask.answer(&failure, now);
                    }
                } else if let Some(kept) = cache.with(|cache| cache.get(&ask.key, now)) {
                    ask.answer(&kept, now);
                } else if under_way.len() >= DNS_FORWARDS_MAX {
                    let failure = Kept::failure(&ask.key, now);
                    ask.answer(&failure, now);
                } else {
                    let key = ask.key.clone();
                    let mut list = list.to_vec();
                    list.sort_by_key(|resolver| Some(*resolver) != preferred);
                    // The asker's own go first, as its user has it.
                    let own = key.servers.iter().flat_map(|servers| servers.iter().copied());
                    let list: Vec<SocketAddr> = own.chain(list).collect();
                    waiting.insert(key.clone(), vec![ask]);
                    under_way.spawn(async move {
                        let (kept, by) = exchange::ask(&key, &list).await;
                        (key, kept, by)
                    });
                }
            }
            Some(done) = under_way.join_next() => {
                let (key, kept, by) = match done {
                    Ok(done) => done,
                    Err(error) => {
                        tracing::error!(%error, "dns exchange failed");
                        continue;
                    }
                };
                if key.servers.is_none() {
                    preferred = by.or(preferred);
                }
                let (kept, now) = (Arc::new(kept), Instant::now());
                let waiters = waiting.remove(&key).unwrap_or_default();
                cache.with(|cache| cache.put(key, kept.clone(), now));
                for ask in waiters {
                    ask.answer(&kept, now);
                }
            }
        }
    }
}
