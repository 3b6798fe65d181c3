//! Ends sessions: whose time is over, whose check is critical, whose end was asked for. Their keys
//! are freed or deleted, and cannot be locked for a while.

use super::{Behavior, Delay, Session};
use crate::answer::Answer;
use crate::serve::{Judge, Standing};
use crate::state::State;
use crate::uuid;
use model::limits::{
    CONSUL_DELAYS_MAX, CONSUL_FREED_AT_ONCE, CONSUL_FREED_BYTES_AT_ONCE,
    CONSUL_LOCK_DELAY_MS_DEFAULT, CONSUL_LOCK_DELAY_MS_MAX, CONSUL_TOMBSTONE_MS,
};
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

    /// The time of a session begins again; none when it is ending or is gone.
    pub(crate) fn renew<S: Store>(&self, state: &State<S>, id: &str) -> Option<Arc<Session>> {
        // One that ends is in `ending` until it is gone from the map.
        let map = state.map();
        let mut known = self.known();
        let session = Arc::clone(map.session(id).filter(|_| !known.ending.contains(id))?);
        if let Some(life) = session.life() {
            known.ends.insert(Arc::clone(&session.id), Instant::now() + life);
        }
        Some(session)
    }

    /// Takes over what is stored of lock-delays: a server that starts knows no others.
    pub(crate) fn adopt<S: Store>(&self, state: &State<S>) {
        let (map, now) = (state.map(), state.now());
        let mut known = self.known();
        for (_, delay) in map.delays() {
            let left = u64::try_from(delay.until.saturating_sub(now)).unwrap_or(0);
            let until = Instant::now() + Duration::from_millis(left.min(CONSUL_LOCK_DELAY_MS_MAX));
            known.delays.extend(delay.keys.iter().map(|key| (Arc::clone(key), until)));
        }
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

    /// Forgets for ever what is too old or too much.
    pub(crate) async fn forget<S: Store>(&self, state: &State<S>) {
        let age = i64::try_from(CONSUL_TOMBSTONE_MS).unwrap_or(i64::MAX);
        loop {
            match state.forget(state.now().saturating_sub(age)).await {
                Ok(true) => tokio::time::sleep(PACE).await,
                Ok(false) => tokio::time::sleep(LOOK).await,
                Err(error) => {
                    tracing::warn!(%error, "deleted keys and old versions not forgotten");
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
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
            if let Err(refused) = self.end_when(state, &id, why).await {
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
        let known = self.known();
        known.ends.values().min().copied()
    }

    /// Sessions whose end has come, and why. What is known of others is brought up to date.
    fn over<S: Store>(&self, state: &State<S>, judge: &Judge) -> Vec<(Arc<str>, Why)> {
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
                    over.push((Arc::clone(&session.id), Why::Time));
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
                over.push((Arc::clone(&session.id), Why::Check));
            }
        }
        over
    }

    /// Ends a session that a client wants to end; one that is gone is fine.
    ///
    /// # Errors
    /// When the store does not take it.
    pub(crate) async fn end<S: Store>(&self, state: &State<S>, id: &str) -> Result<(), Answer> {
        self.end_when(state, id, Why::Asked).await
    }

    /// Ends a session unless it was renewed since it was found to be over.
    async fn end_when<S: Store>(&self, state: &State<S>, id: &str, why: Why) -> Result<(), Answer> {
        let Some(session) = state.map().session(id).cloned() else { return Ok(()) };
        {
            let mut known = self.known();
            let renewed = known.ends.get(id).is_some_and(|end| *end > Instant::now());
            // Or somebody ends it already.
            if (why == Why::Time && renewed) || !known.ending.insert(Arc::clone(&session.id)) {
                return Ok(());
            }
        }
        let ending = Ending { keeper: self, id };
        self.free(state, id, session.behavior, Some(&session)).await?;
        self.known().ends.remove(id);
        drop(ending);
        tracing::info!(session = id, node = session.node, why = why.text(), "session ended");
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
        // Of a session that is gone nobody knows the delay; its holder may still be at work.
        let delay = session.map_or(CONSUL_LOCK_DELAY_MS_DEFAULT, |session| session.lock_delay_ms);
        let by: Arc<str> = format!("end of session {id}").into();
        loop {
            let (keys, is_last) = some_held(state, id);
            if delay > 0 {
                let until = Instant::now() + Duration::from_millis(delay);
                let mut known = self.known();
                known.delays.extend(keys.iter().map(|key| (Arc::clone(key), until)));
            }
            let stored =
                (delay > 0 && !keys.is_empty() && state.map().delays_len() < CONSUL_DELAYS_MAX)
                    .then(|| {
                        let until =
                            state.now().saturating_add(i64::try_from(delay).unwrap_or(i64::MAX));
                        let key = crate::kv::delay_key(&uuid::random());
                        let value = Delay::new(until, keys.clone()).encode();
                        Op::Put { key, value, lease: None }
                    });
            if keys.is_empty() && session.is_none() {
                return Ok(());
            }
            let write = state.commit(&by, |draft| {
                if let Some(stored) = &stored {
                    draft.also(stored.clone(), None);
                }
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

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// A client wants it.
    Asked,
    /// Its time is over.
    Time,
    /// A check of it is critical or gone.
    Check,
}

impl Why {
    fn text(self) -> &'static str {
        match self {
            Self::Asked => "destroyed",
            Self::Time => "its time is over",
            Self::Check => "a check of it is critical or gone",
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
