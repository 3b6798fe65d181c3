//! Who waits for what: a blocking query registers the topics that it read, and a change wakes
//! those of its topics only. A waiter that is dropped is forgotten.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What can change.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// One key.
    Key(Arc<str>),
    /// Every key that begins so.
    Prefix(Arc<str>),
    /// Sessions, all of them.
    Sessions,
    /// Events that were fired.
    Events,
    /// Instances of a service, and their checks.
    Service(Arc<str>),
    /// The names of services and their tags.
    Services,
    /// One node, with its services and checks.
    Node(Arc<str>),
    /// The list of nodes.
    Nodes,
    /// Checks of a service.
    Checks(Arc<str>),
    /// Checks of all nodes and services.
    AllChecks,
    /// Config entries.
    Config,
}

/// The registry. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Waiters {
    /// Held for look-ups only, never across an await.
    shared: Arc<Mutex<Registry>>,
}

#[derive(Debug, Default)]
struct Registry {
    topics: HashMap<Topic, Vec<(u64, Arc<Notify>)>>,
    /// How many prefixes of each length, in bytes, are waited for: a changed key looks only there.
    lengths: BTreeMap<usize, usize>,
    last: u64,
    waiting: usize,
}

/// A place in the registry. Made before the state is read, it misses no change after that.
#[derive(Debug)]
pub struct Waiter {
    shared: Arc<Mutex<Registry>>,
    id: u64,
    topics: Vec<Topic>,
    woken: Arc<Notify>,
}

fn lock(shared: &Mutex<Registry>) -> MutexGuard<'_, Registry> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Waiters {
    /// Registers for topics.
    #[must_use]
    pub fn on(&self, topics: Vec<Topic>) -> Waiter {
        let woken = Arc::new(Notify::new());
        let mut registry = lock(&self.shared);
        registry.last += 1;
        registry.waiting += 1;
        let id = registry.last;
        for topic in &topics {
            if let Topic::Prefix(prefix) = topic {
                *registry.lengths.entry(prefix.len()).or_default() += 1;
            }
            registry.topics.entry(topic.clone()).or_default().push((id, Arc::clone(&woken)));
        }
        drop(registry);
        Waiter { shared: Arc::clone(&self.shared), id, topics, woken }
    }

    /// Wakes who waits for one of the topics. A key wakes its prefixes as well: say `Key` alone.
    pub fn wake<'t>(&self, topics: impl IntoIterator<Item = &'t Topic>) {
        let registry = lock(&self.shared);
        for topic in topics {
            registry.wake(topic);
            let Topic::Key(key) = topic else { continue };
            for length in registry.lengths.range(..=key.len()).map(|(length, _)| *length) {
                if let Some(prefix) = key.get(..length) {
                    registry.wake(&Topic::Prefix(prefix.into()));
                }
            }
        }
    }

    /// Wakes everybody: the state was loaded anew.
    pub fn wake_all(&self) {
        let registry = lock(&self.shared);
        registry.topics.keys().for_each(|topic| registry.wake(topic));
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.shared).waiting
    }

    /// Nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Registry {
    fn wake(&self, topic: &Topic) {
        for (_, woken) in self.topics.get(topic).into_iter().flatten() {
            woken.notify_one();
        }
    }
}

impl Waiter {
    /// Ends once one of its topics has changed since it was made, or since it last ended.
    pub async fn changed(&self) {
        self.woken.notified().await;
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut registry = lock(&self.shared);
        registry.waiting -= 1;
        for topic in &self.topics {
            if let Some(waiting) = registry.topics.get_mut(topic) {
                waiting.retain(|(id, _)| *id != self.id);
                if waiting.is_empty() {
                    registry.topics.remove(topic);
                }
            }
            if let Topic::Prefix(prefix) = topic
                && let Some(count) = registry.lengths.get_mut(&prefix.len())
            {
                *count -= 1;
                if *count == 0 {
                    registry.lengths.remove(&prefix.len());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Waker};

    fn is_woken(waiter: &Waiter) -> bool {
        let mut changed = pin!(waiter.changed());
        changed.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    fn key(text: &str) -> Topic {
        Topic::Key(text.into())
    }

    fn prefix(text: &str) -> Topic {
        Topic::Prefix(text.into())
    }

    #[test]
    fn a_change_wakes_its_topics_and_nothing_else() {
        let all = [
            key("a/b"),
            key("a/bc"),
            prefix("a/"),
            prefix("a/b"),
            prefix(""),
            prefix("b"),
            prefix("a/b/c"),
            Topic::Service("web".into()),
            Topic::Services,
        ];
        for (change, woken) in [
            (key("a/b"), vec![0, 2, 3, 4]),
            (key("a/bc"), vec![1, 2, 3, 4]),
            (key("c"), vec![4]),
            (key("ä"), vec![4]),
            (Topic::Service("web".into()), vec![7]),
            (Topic::Service("db".into()), vec![]),
            (Topic::Services, vec![8]),
        ] {
            let waiters = Waiters::default();
            let waiting: Vec<Waiter> = all.iter().map(|t| waiters.on(vec![t.clone()])).collect();
            waiters.wake([&change]);
            let found: Vec<usize> = (0..all.len()).filter(|at| is_woken(&waiting[*at])).collect();
            assert_eq!(found, woken, "{change:?}");
        }
    }

    #[test]
    fn a_change_before_the_wait_is_not_missed_and_wakes_once() {
        let waiters = Waiters::default();
        let waiter = waiters.on(vec![key("a"), Topic::Sessions]);
        waiters.wake([&Topic::Sessions]);
        waiters.wake([&key("a")]);
        assert!(is_woken(&waiter));
        assert!(!is_woken(&waiter));
    }

    #[test]
    fn who_goes_away_is_forgotten() {
        let waiters = Waiters::default();
        let one = waiters.on(vec![key("a"), prefix("a")]);
        let two = waiters.on(vec![prefix("b")]);
        assert_eq!(waiters.len(), 2);
        drop(one);
        assert_eq!(waiters.len(), 1);
        waiters.wake([&key("b1")]);
        assert!(is_woken(&two));
        drop(two);
        let registry = lock(&waiters.shared);
        assert!(registry.topics.is_empty() && registry.lengths.is_empty());
    }
}
