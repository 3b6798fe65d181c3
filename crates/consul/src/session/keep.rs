//! Ends sessions: whose time is over, whose check is critical, whose end was asked for. Their keys
//! are freed or deleted, and cannot be locked for a while.

use super::{Behavior, Session};
use crate::answer::Answer;
use crate::serve::{Judge, Standing};
use crate::state::State;
use model::limits::{CONSUL_FREED_AT_ONCE, CONSUL_FREED_BYTES_AT_ONCE, CONSUL_TOMBSTONE_MS};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use store::{Op, Store};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// Longest time between two looks, and the time after which a failed one is tried again.
const LOOK: Duration = Duration::from_secs(5);
/// Shortest time between two looks.
const PACE: Duration = Duration::from_millis(50);
/// Deleted keys that are forgotten in one transaction.
const FORGOTTEN_AT_ONCE: usize = 400;

/// What is known of the sessions only here. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keeper {
    /// Held for look-ups, never across an await.
    shared: Arc<Mutex<Known>>,
    woken: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Known {
    /// When sessions end. At a start of the server each has its whole time again.
    ends: BTreeMap<Arc<str>, Instant>,
    /// Sessions that are being ended: they lock nothing any more.
    ending: BTreeSet<Arc<str>>,
    /// Keys that cannot be locked yet.
    delays: BTreeMap<Arc<str>, Instant>,
}

impl Keeper {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time of a session begins again; false when it is ending.
    pub(crate) fn renew(&self, session: &Session) -> bool {
        let mut known = self.known();
        if known.ending.contains(&session.id) {
            return false;
        }
        if let Some(life) = session.life() {
            known.ends.insert(Arc::clone(&session.id), Instant::now() + life);
        }
        true
    }

    /// Is the session being ended?
    pub(crate) fn is_ending(&self, session: &str) -> bool {
        self.known().ending.contains(session)
    }

    /// May the key be locked?
    pub(crate) fn may_lock(&self, key: &str) -> bool {
        self.known().delays.get(key).is_none_or(|until| *until <= Instant::now())
    }

    /// Something may have to be ended: look now.
    pub(crate) fn wake(&self) {
        self.woken.notify_one();
    }

    /// Works for ever.
    pub(crate) async fn run<S: Store>(&self, state: &State<S>, judge: &Judge) {
        let mut moves = state.moves();
        loop {
            // Before the look: a session that comes meanwhile is not missed.
            let seen = state.map().sessions().0;
            let next = self.look(state, judge).await;
            tokio::time::sleep(PACE).await;
            let until = next.unwrap_or_else(|| Instant::now() + LOOK).min(Instant::now() + LOOK);
            tokio::select! {
                biased;
                () = self.woken.notified() => {}
                moved = sessions_moved(&mut moves, state, seen) => if moved.is_err() { return },
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    /// One look at everything; gives when the next session ends.
    async fn look<S: Store>(&self, state: &State<S>, judge: &Judge) -> Option<Instant> {
        for (id, why) in self.over(state, judge) {
            if let Err(refused) = self.end(state, &id, why).await {
                let error = String::from_utf8_lossy(&refused.body).into_owned();
                tracing::warn!(%id, error, "session not ended, tried again");
            }
        }
        let orphans = state.map().orphans();
        for id in orphans {
            if let Err(refused) = self.free(state, &id, Behavior::Release, None).await {
                let error = String::from_utf8_lossy(&refused.body).into_owned();
                tracing::warn!(%id, error, "keys of a session that is gone not freed");
            }
        }
        let age = i64::try_from(CONSUL_TOMBSTONE_MS).unwrap_or(i64::MAX);
        let old = state.now().saturating_sub(age);
        if let Err(error) = state.forget(old, FORGOTTEN_AT_ONCE).await {
            tracing::warn!(%error, "deleted keys not forgotten");
        }
        let known = self.known();
        known.ends.values().min().copied()
    }

    /// Sessions whose end has come, and why. What is known of others is brought up to date.
    fn over<S: Store>(&self, state: &State<S>, judge: &Judge) -> Vec<(Arc<str>, &'static str)> {
        let now = Instant::now();
        let map = state.map();
        let mut known = self.known();
        known.delays.retain(|_, until| *until > now);
        known.ends.retain(|id, _| map.session(id).is_some());
        let mut over = vec![];
        let mut standings: BTreeMap<(&str, &str), Standing> = BTreeMap::new();
        for session in map.sessions().1 {
            if let Some(life) = session.life() {
                let end = known.ends.entry(Arc::clone(&session.id)).or_insert(now + life);
                if *end <= now {
                    over.push((Arc::clone(&session.id), "its time is over"));
                    continue;
                }
            }
            let ill = session.checks().any(|check| {
                let standing = standings
                    .entry((session.node.as_str(), check))
                    .or_insert_with(|| judge(&session.node, check));
                *standing != Standing::Passing
            });
            if ill {
                over.push((Arc::clone(&session.id), "a check of it is critical or gone"));
            }
        }
        over
    }

    /// Ends a session; one that is gone is fine.
    ///
    /// # Errors
    /// When the store does not take it.
    pub(crate) async fn end<S: Store>(
        &self,
        state: &State<S>,
        id: &str,
        why: &str,
    ) -> Result<(), Answer> {
        let Some(session) = state.map().session(id).cloned() else { return Ok(()) };
        if !self.known().ending.insert(Arc::clone(&session.id)) {
            // Somebody ends it already.
            return Ok(());
        }
        let ending = Ending { keeper: self, id };
        self.free(state, id, session.behavior, Some(&session)).await?;
        self.known().ends.remove(id);
        drop(ending);
        tracing::info!(session = id, node = session.node, why, "session ended");
        Ok(())
    }

    /// Frees or deletes what a session holds, some keys at a time, with the last ones the session
    /// itself when it is still there.
    async fn free<S: Store>(
        &self,
        state: &State<S>,
        id: &str,
        behavior: Behavior,
        session: Option<&Session>,
    ) -> Result<(), Answer> {
        let delay = Duration::from_millis(session.map_or(0, |session| session.lock_delay_ms));
        loop {
            let (keys, is_last) = some_held(state, id);
            if !delay.is_zero() {
                let until = Instant::now() + delay;
                let mut known = self.known();
                known.delays.extend(keys.iter().map(|key| (Arc::clone(key), until)));
            }
            if keys.is_empty() && session.is_none() {
                return Ok(());
            }
            let write = state.commit(|draft| {
                for key in &keys {
                    let holds = draft.get(key).is_some_and(|e| e.session.as_deref() == Some(id));
                    match behavior {
                        Behavior::Delete if holds => draft.delete(key),
                        _ => draft.release(key, id),
                    }
                }
                if is_last && let Some(session) = session {
                    let rests_on = Some((id, session.index));
                    draft.also(Op::Delete(crate::kv::session_key(id)), rests_on);
                }
                Ok(())
            });
            write.await?;
            if is_last {
                return Ok(());
            }
        }
    }
}

/// Until a session has come or gone since the index `seen`.
async fn sessions_moved<S: Store>(
    moves: &mut watch::Receiver<u64>,
    state: &State<S>,
    seen: u64,
) -> Result<(), watch::error::RecvError> {
    while state.map().sessions().0 == seen {
        moves.changed().await?;
    }
    Ok(())
}

/// A session that is being ended, for as long as somebody is at it: who asked may go away.
struct Ending<'a> {
    keeper: &'a Keeper,
    id: &'a str,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.keeper.known().ending.remove(self.id);
    }
}

/// Some of the keys that a session holds, and whether these are all.
fn some_held<S: Store>(state: &State<S>, id: &str) -> (Vec<Arc<str>>, bool) {
    let (mut keys, mut bytes) = (vec![], 0);
    for entry in state.map().held_by(id) {
        bytes += entry.weight();
        let full = keys.len() >= CONSUL_FREED_AT_ONCE || bytes > CONSUL_FREED_BYTES_AT_ONCE;
        if full && !keys.is_empty() {
            return (keys, false);
        }
        keys.push(Arc::clone(&entry.key));
    }
    (keys, true)
}
