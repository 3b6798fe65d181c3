//! Who a request's token is: rights are worked out once for each token, and again when a policy, a
//! role, a token or the mode has changed.

use super::authority::Authority;
use super::records::{self, ANONYMOUS_SECRET};
use crate::answer::Answer;
use crate::request::Request;
use crate::shelf::{Shelf, Write};
use crate::waiters::{Topic, Waiters};
use http::StatusCode;
use model::consul_access::AclMode;
use model::limits::{ACL_ENDED_AT_ONCE, ACL_LOOK_MS, ACL_READY_MAX, ACL_SECRET_BYTES_MAX};
use model::time::Clock;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use store::Store;
use tokio::sync::watch;

/// Where tokens, policies and roles are in the store.
const PREFIX: &str = "consul-acl/";

/// Tokens, policies and roles. Clones are the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Acls<S> {
    shelf: Shelf<S>,
    mode: watch::Sender<AclMode>,
    clock: Clock,
    everything: Arc<Authority>,
    /// Held for a look only, never across an await.
    ready: Arc<Mutex<Ready>>,
}

/// What was worked out already.
#[derive(Debug, Default)]
struct Ready {
    /// Of the rows of this index, in this mode.
    of: (u64, AclMode),
    /// By hash of the secret.
    known: HashMap<String, Arc<Authority>>,
}

/// Tells that rights may have changed.
#[derive(Debug)]
pub(crate) struct Changes {
    mode: watch::Receiver<AclMode>,
    rows: watch::Receiver<u64>,
}

impl Changes {
    /// Ends when a right may be another one.
    pub(crate) async fn changed(&mut self) {
        let Self { mode, rows } = self;
        tokio::select! {
            Ok(()) = mode.changed() => {}
            Ok(()) = rows.changed() => {}
            else => std::future::pending().await,
        }
    }
}

impl<S: Store> Acls<S> {
    /// Reads them; nothing is asked for until a mode is set.
    pub(crate) async fn open(store: S, clock: Clock) -> Result<Self, store::Error> {
        // Whoever waits for rights waits for `Changes`.
        let shelf = Shelf::open(store, PREFIX, Topic::Config, Waiters::default()).await?;
        let mode = watch::Sender::new(AclMode::Off);
        let everything = Arc::new(Authority::everything());
        Ok(Self { shelf, mode, clock, everything, ready: Arc::default() })
    }

    pub(super) fn shelf(&self) -> &Shelf<S> {
        &self.shelf
    }

    /// Milliseconds since 1970.
    pub(super) fn now(&self) -> i64 {
        self.clock.now().0
    }

    /// Sets what is asked for.
    pub(crate) fn set_mode(&self, mode: AclMode) {
        self.mode.send_if_modified(|known| std::mem::replace(known, mode) != mode);
    }

    /// What is asked for.
    pub(crate) fn mode(&self) -> AclMode {
        *self.mode.borrow()
    }

    /// Tells from now on that rights may have changed.
    pub(crate) fn changes(&self) -> Changes {
        Changes { mode: self.mode.subscribe(), rows: self.shelf.moves() }
    }

    /// What the token of a request may do.
    ///
    /// # Errors
    /// 403 when there is no such token, or it has ended.
    pub(crate) fn authority(&self, request: &Request) -> Result<Arc<Authority>, Answer> {
        let mode = self.mode();
        if mode == AclMode::Off || request.trusted {
            return Ok(Arc::clone(&self.everything));
        }
        let unknown = || Answer::error(StatusCode::FORBIDDEN, "ACL not found");
        let (rows, secret) = (self.shelf.rows(), request.token.as_str());
        if secret.len() > ACL_SECRET_BYTES_MAX {
            return Err(unknown());
        }
        let hash = match secret {
            "" | ANONYMOUS_SECRET => ANONYMOUS_SECRET.to_owned(),
            secret => records::hash(&rows, secret).ok_or_else(unknown)?,
        };
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if ready.of != (rows.changed, mode) || ready.known.len() >= ACL_READY_MAX {
            *ready = Ready { of: (rows.changed, mode), known: HashMap::new() };
        }
        let found = match ready.known.get(&hash) {
            Some(found) => Arc::clone(found),
            None => {
                let token = match hash.as_str() {
                    ANONYMOUS_SECRET => records::anonymous(&rows),
                    hash => records::token_of(&rows, hash).ok_or_else(unknown)?,
                };
                let made = Arc::new(records::authority(&rows, &token.value, mode));
                ready.known.insert(hash, Arc::clone(&made));
                made
            }
        };
        match found.ends.is_some_and(|ends| ends <= self.now()) {
            true => Err(unknown()),
            false => Ok(found),
        }
    }

    /// How long an authority still holds.
    pub(crate) fn lasts(&self, authority: &Authority) -> Option<Duration> {
        let left = authority.ends?.saturating_sub(self.now());
        Some(Duration::from_millis(u64::try_from(left).unwrap_or(0)))
    }

    /// Follows the store and takes away tokens that have ended, for ever.
    pub(crate) async fn run(&self) {
        let look = async {
            loop {
                tokio::time::sleep(Duration::from_millis(ACL_LOOK_MS)).await;
                self.reap().await;
            }
        };
        tokio::join!(self.shelf.follow(), look);
    }

    async fn reap(&self) {
        let now = self.now();
        let ended = self.shelf.commit(|rows| {
            let ended = records::tokens(rows).into_iter();
            let ended = ended.filter(|kept| kept.value.ends.is_some_and(|ends| ends <= now));
            // The rest goes with the next look.
            let writes: Vec<Write> =
                ended.take(ACL_ENDED_AT_ONCE).map(|kept| (kept.row, None)).collect();
            Ok((writes.len(), writes))
        });
        match ended.await {
            Ok((0, _)) => {}
            Ok((tokens, _)) => tracing::info!(tokens, "tokens have ended"),
            Err(_told) => tracing::warn!("tokens that have ended are still kept"),
        }
    }
}
