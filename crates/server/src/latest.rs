//! The newest state in memory, and everybody who waits for a newer one. Who waits is woken in the
//! order in which the waits began, and a wait for an index is woken once, when it is there: a
//! thousand commits under way do not wake each other.

use model::cluster::Cluster;
use model::time::Index;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, oneshot};

/// The newest state. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Latest(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Guards the state and who waits; held for map operations only.
    state: Mutex<State>,
    moved: Notify,
    relevant: Notify,
}

#[derive(Debug)]
struct State {
    cluster: Arc<Cluster>,
    /// Counts the states.
    version: u64,
    /// Counts those that may change what hosts hold or publish.
    relevant: u64,
    waits: BTreeMap<(Index, u64), oneshot::Sender<()>>,
    next_wait: u64,
}

/// Which states a follower wants to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// All.
    Every,
    /// Those that may change what hosts hold or publish.
    Published,
}

/// Hears of newer states; states in between may be skipped.
#[derive(Debug)]
pub(crate) struct Follower {
    latest: Latest,
    interest: Interest,
    /// Version that was seen last; `None` before the first look.
    seen: Option<u64>,
}

impl Latest {
    /// From a first state.
    #[must_use]
    pub(crate) fn new(cluster: Cluster) -> Self {
        let state = State {
            cluster: Arc::new(cluster),
            version: 0,
            relevant: 0,
            waits: BTreeMap::new(),
            next_wait: 0,
        };
        let (moved, relevant) = (Notify::new(), Notify::new());
        Self(Arc::new(Inner { state: Mutex::new(state), moved, relevant }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest state.
    #[must_use]
    pub(crate) fn get(&self) -> Arc<Cluster> {
        Arc::clone(&self.state().cluster)
    }

    /// Sets the newest state; may it change what hosts hold or publish?
    pub(crate) fn set(&self, cluster: Cluster, relevant: bool) {
        let over = {
            let mut state = self.state();
            let index = cluster.index();
            state.cluster = Arc::new(cluster);
            state.version += 1;
            state.relevant += u64::from(relevant);
            let later = state.waits.split_off(&(Index(index.0.saturating_add(1)), 0));
            std::mem::replace(&mut state.waits, later)
        };
        for (_, wait) in over {
            // Who gave up waiting does not need to know.
            wait.send(()).ok();
        }
        self.0.moved.notify_waiters();
        if relevant {
            self.0.relevant.notify_waiters();
        }
    }

    /// Waits until the state is at `index` or newer.
    pub(crate) async fn until(&self, index: Index) {
        let reached = {
            let mut state = self.state();
            if state.cluster.index() >= index {
                return;
            }
            // Those whose callers gave up go when there are many.
            if state.waits.len() > 1_024 {
                state.waits.retain(|_, wait| !wait.is_closed());
            }
            let (tx, rx) = oneshot::channel();
            state.next_wait += 1;
            let number = state.next_wait;
            state.waits.insert((index, number), tx);
            rx
        };
        // The sender is dropped only with the state itself.
        reached.await.ok();
    }

    /// Hears of newer states from now on; the first look gives the present one.
    #[must_use]
    pub(crate) fn follow(&self, interest: Interest) -> Follower {
        Follower { latest: self.clone(), interest, seen: None }
    }
}

impl Follower {
    fn version(&self, state: &State) -> u64 {
        match self.interest {
            Interest::Every => state.version,
            Interest::Published => state.relevant,
        }
    }

    /// The newest state, which counts as seen.
    #[must_use]
    pub(crate) fn take(&mut self) -> Arc<Cluster> {
        let (version, cluster) = {
            let state = self.latest.state();
            (self.version(&state), Arc::clone(&state.cluster))
        };
        self.seen = Some(version);
        cluster
    }

    /// Waits until there is a state that was not seen.
    pub(crate) async fn changed(&self) {
        let notify = match self.interest {
            Interest::Every => &self.latest.0.moved,
            Interest::Published => &self.latest.0.relevant,
        };
        loop {
            let mut moved = std::pin::pin!(notify.notified());
            moved.as_mut().enable();
            if self.seen != Some(self.version(&self.latest.state())) {
                return;
            }
            moved.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::change::Change;

    fn at(index: u64) -> Cluster {
        let mut cluster = Cluster::default();
        cluster.apply(Index(index), &Change::default());
        cluster
    }

    #[tokio::test]
    async fn a_wait_ends_at_its_index_and_a_follower_hears_of_what_it_cares_for() {
        let latest = Latest::new(at(1));
        latest.until(Index(1)).await;
        let mut every = latest.follow(Interest::Every);
        let mut published = latest.follow(Interest::Published);
        every.changed().await;
        assert_eq!((every.take().index(), published.take().index()), (Index(1), Index(1)));
        let waiting = {
            let latest = latest.clone();
            tokio::spawn(async move { latest.until(Index(3)).await })
        };
        tokio::task::yield_now().await;
        latest.set(at(2), false);
        every.changed().await;
        assert_eq!(every.take().index(), Index(2));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        {
            let unheard = std::pin::pin!(published.changed());
            assert!(futures_util::FutureExt::now_or_never(unheard).is_none());
        }
        latest.set(at(3), true);
        published.changed().await;
        assert_eq!(published.take().index(), Index(3));
        waiting.await.unwrap();
    }
}
