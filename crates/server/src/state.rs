//! `Shared`: what every part of the server works with. The store is behind it; the cluster in
//! memory moves only by what the store's watch delivers (`follow`).

use crate::authority::Authority;
use crate::events::Events;
use crate::hosts::Hosts;
use crate::latest::{Follower, Interest, Latest};
use crate::refusals::Refusals;
use crate::usage::Usages;
use crate::verdicts::Verdicts;
use ::consul::Consul;
use api::error::{ErrorInfo, Kind};
use api::wire::Accepted;
use model::change::Proposal;
use model::cluster::Cluster;
use model::time::{Clock, Index, Timestamp};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use store::{Epoch, Store, codec};

/// Beginning of the names of copies on their way to a client.
const BACKUP: &str = "backup-";
/// Tries of a proposal whose records keep changing before the caller hears of it.
const CONFLICTS_MAX: usize = 20;
/// Longest wait until an own change has come back through the watch.
const ECHO_TIMEOUT: Duration = Duration::from_secs(10);

/// Shared by all parts of the server.
#[derive(Debug)]
pub(crate) struct Shared<S> {
    /// The store.
    pub store: S,
    /// Certificates.
    pub authority: Arc<Authority>,
    /// Sessions of agents.
    pub hosts: Hosts,
    /// The last events.
    pub events: Events,
    /// What measured instances use.
    pub usages: Usages,
    /// What hosts say of the health of others' instances.
    pub verdicts: Verdicts,
    /// Agents that were refused lately.
    pub refusals: Refusals,
    /// Epoch of the store when the server started.
    pub epoch: Epoch,
    /// When this server was started: it tells its publications from those of others.
    pub started: Timestamp,
    /// Folder for short-lived files of the server.
    pub scratch: PathBuf,
    clock: Clock,
    latest: Latest,
    /// What clients of Consul ask, once it is open.
    consul: Arc<OnceLock<Consul<S>>>,
    /// Last trouble with the store, for `remuda status`; empty when it is well. Held for a copy only.
    problem: Arc<Mutex<String>>,
}

impl<S: Clone> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            authority: Arc::clone(&self.authority),
            hosts: self.hosts.clone(),
            events: self.events.clone(),
            usages: self.usages.clone(),
            verdicts: self.verdicts.clone(),
            refusals: self.refusals.clone(),
            epoch: self.epoch,
            started: self.started,
            scratch: self.scratch.clone(),
            clock: self.clock.clone(),
            latest: self.latest.clone(),
            consul: Arc::clone(&self.consul),
            problem: Arc::clone(&self.problem),
        }
    }
}

/// What `Shared` is made from.
#[derive(Debug)]
pub(crate) struct Parts<S> {
    /// The store.
    pub store: S,
    /// Certificates.
    pub authority: Authority,
    /// Sessions of agents.
    pub hosts: Hosts,
    /// Epoch of the store.
    pub epoch: Epoch,
    /// Folder for short-lived files.
    pub scratch: PathBuf,
    /// The time.
    pub clock: Clock,
    /// State at the start.
    pub cluster: Cluster,
}

impl<S: Store> Shared<S> {
    /// From its parts.
    #[must_use]
    pub(crate) fn new(parts: Parts<S>) -> Self {
        Self {
            store: parts.store,
            authority: Arc::new(parts.authority),
            hosts: parts.hosts,
            events: Events::default(),
            usages: Usages::default(),
            verdicts: Verdicts::default(),
            refusals: Refusals::default(),
            epoch: parts.epoch,
            started: parts.clock.now(),
            scratch: parts.scratch,
            clock: parts.clock,
            latest: Latest::new(parts.cluster),
            consul: Arc::default(),
            problem: Arc::default(),
        }
    }

    /// The time.
    #[must_use]
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The clock.
    #[must_use]
    pub(crate) fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// The newest state for who must not hold the store.
    #[must_use]
    pub(crate) fn clusters(&self) -> Latest {
        self.latest.clone()
    }

    /// What clients of Consul ask, once it is open.
    #[must_use]
    pub(crate) fn consul(&self) -> Option<&Consul<S>> {
        self.consul.get()
    }

    /// It is open. Said once.
    pub(crate) fn set_consul(&self, consul: Consul<S>) {
        if self.consul.set(consul).is_err() {
            tracing::error!("the consul api was opened twice");
        }
    }

    /// The newest state.
    #[must_use]
    pub(crate) fn cluster(&self) -> Arc<Cluster> {
        self.latest.get()
    }

    /// Newer states; states in between may be skipped.
    #[must_use]
    pub(crate) fn follow(&self, interest: Interest) -> Follower {
        self.latest.follow(interest)
    }

    /// Sets the newest state; may it change what hosts hold or publish? Only `follow` calls it.
    pub(crate) fn advance(&self, cluster: Cluster, relevant: bool) {
        self.latest.set(cluster, relevant);
    }

    /// Last trouble with the store; empty when it is well.
    #[must_use]
    pub(crate) fn store_problem(&self) -> String {
        self.problem.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn set_problem(&self, text: String) {
        *self.problem.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = text;
    }

    /// The state once it is newer than `index`, or as it is when `wait` is over.
    pub(crate) async fn newer_than(&self, index: Index, wait: Duration) -> Arc<Cluster> {
        let newer = self.latest.until(Index(index.0.saturating_add(1)));
        // At the end of the wait it is as it is.
        tokio::time::timeout(wait, newer).await.ok();
        self.cluster()
    }

    /// Commits a proposal and waits until it has come back through the watch.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) async fn commit(&self, proposal: Proposal) -> Result<Index, store::Error> {
        let txn = codec::encode(&proposal)?;
        let result = self.store.txn(txn).await;
        match &result {
            Ok(_) | Err(store::Error::Conflict { .. }) => self.set_problem(String::new()),
            Err(error) => self.set_problem(api::error::chain(error)),
        }
        let index = result?.index;
        if tokio::time::timeout(ECHO_TIMEOUT, self.latest.until(index)).await.is_err() {
            tracing::warn!(%index, "own change has not come back from the store yet");
        }
        Ok(index)
    }

    /// Decides on the newest state, commits, and decides again when records changed meanwhile.
    ///
    /// # Errors
    /// What `decide` says, or why the store cannot take it.
    pub(crate) async fn propose(
        &self,
        decide: impl Fn(&Cluster, Timestamp) -> Result<Proposal, ErrorInfo>,
    ) -> Result<Accepted, ErrorInfo> {
        for _ in 0..CONFLICTS_MAX {
            let cluster = self.cluster();
            let proposal = decide(&cluster, self.now())?;
            if proposal.is_empty() {
                return Ok(Accepted { index: cluster.index(), changed: false });
            }
            if proposal.ops() > model::limits::TXN_OPS_MAX {
                return Err(ErrorInfo::new(
                    Kind::TooLarge,
                    format!("the change needs {} edits at once", proposal.ops()),
                )
                .hint("split the stack"));
            }
            match self.commit(proposal).await {
                Ok(index) => return Ok(Accepted { index, changed: true }),
                Err(store::Error::Conflict { .. }) => {
                    // The record that conflicts is newer than this state: wait for it.
                    self.newer_than(cluster.index(), Duration::from_secs(1)).await;
                }
                Err(error) => return Err(store_error(&error)),
            }
        }
        Err(ErrorInfo::new(Kind::Conflict, "it keeps changing while this change is tried")
            .hint("try again"))
    }

    /// A consistent copy of the store, as an open file that has no name any more.
    ///
    /// # Errors
    /// Why the copy cannot be made.
    pub(crate) async fn backup(&self) -> Result<tokio::fs::File, ErrorInfo> {
        let name = api::token::hex(&rand::random::<[u8; 8]>());
        let path = self.scratch.join(format!("{BACKUP}{name}.db"));
        self.store.backup(&path).await.map_err(|e| store_error(&e))?;
        let opened = tokio::fs::File::open(&path).await;
        let removed = tokio::fs::remove_file(&path).await;
        let failed = |e: std::io::Error| {
            ErrorInfo::unavailable(format!("backup {} cannot be read: {e}", path.display()))
        };
        removed.map_err(failed)?;
        opened.map_err(failed)
    }
}

/// Removes copies that a killed server was still sending.
pub(crate) fn clear_backups(dir: &Path) {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(BACKUP)) {
        if let Err(error) = std::fs::remove_file(entry.path()) {
            tracing::warn!(path = %entry.path().display(), %error, "old copy not removed");
        }
    }
}

pub(crate) fn store_error(error: &store::Error) -> ErrorInfo {
    ErrorInfo::unavailable(format!("the store cannot take it: {}", api::error::chain(error)))
        .hint("see `remuda status` and `remuda doctor`")
}
