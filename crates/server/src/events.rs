//! The last events, in memory, for `remuda events`: the change log told to people.

use model::event::Event;
use model::limits::EVENTS_MAX;
use model::time::Index;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// A bounded ring of events, oldest first.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    /// Held for copies only.
    ring: Arc<Mutex<Ring>>,
    newest: watch::Sender<Index>,
    replayed: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<Event>,
    /// Index of the last change told.
    newest: Index,
    /// Events up to this index are not known any more.
    forgotten: Index,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            ring: Arc::default(),
            newest: watch::Sender::new(Index(0)),
            replayed: watch::Sender::new(false),
        }
    }
}

impl Events {
    fn ring(&self) -> std::sync::MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What is before this index is not told: the store has forgotten it.
    pub(crate) fn begin(&self, index: Index) {
        let mut ring = self.ring();
        ring.forgotten = index;
        ring.newest = ring.newest.max(index);
    }

    /// Everything that was before the start has been told.
    pub(crate) fn replay_done(&self) {
        self.replayed.send_replace(true);
    }

    /// Waits for it: until then a reader would miss what is still to be told.
    pub(crate) async fn replayed(&self) {
        let mut replayed = self.replayed.subscribe();
        // The sender lives as long as `self`.
        if replayed.wait_for(|done| *done).await.is_err() {
            tracing::debug!("events are not told any more");
        }
    }

    /// Adds the events of one change.
    pub(crate) fn push(&self, index: Index, events: impl IntoIterator<Item = Event>) {
        let before;
        let after;
        {
            let mut ring = self.ring();
            before = ring.events.len();
            ring.events.extend(events);
            after = ring.events.len();
            ring.newest = ring.newest.max(index);
            while ring.events.len() > EVENTS_MAX {
                let Some(dropped) = ring.events.pop_front() else { break };
                ring.forgotten = ring.forgotten.max(dropped.index);
            }
        }
        if after > before {
            self.newest.send_replace(index);
        }
    }

    /// All events of changes after an index that are still known, and the index of the last
    /// change that was told: the place to go on from.
    #[must_use]
    pub(crate) fn after(&self, index: Index) -> (Vec<Event>, Index) {
        let ring = self.ring();
        let from = ring.events.partition_point(|event| event.index <= index);
        (ring.events.range(from..).cloned().collect(), ring.newest.max(index))
    }

    /// Events up to this index are not known any more.
    #[must_use]
    pub(crate) fn forgotten(&self) -> Index {
        self.ring().forgotten
    }

    /// Waits for events after an index; `None` when the server goes down.
    pub(crate) async fn wait_after(&self, index: Index) -> Option<(Vec<Event>, Index)> {
        let mut newest = self.newest.subscribe();
        loop {
            newest.borrow_and_update();
            let (events, told) = self.after(index);
            if !events.is_empty() {
                return Some((events, told));
            }
            newest.changed().await.ok()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::event::Severity;
    use model::time::Timestamp;

    fn event(index: u64) -> Event {
        Event {
            index: Index(index),
            at: Timestamp(0),
            severity: Severity::Info,
            action: "x".into(),
            stack: None,
            service: None,
            instance: None,
            host: None,
            message: String::new(),
        }
    }

    #[test]
    fn the_ring_keeps_the_newest_says_what_it_forgot_and_answers_after_an_index() {
        let events = Events::default();
        let max = EVENTS_MAX as u64;
        for index in 1..=(max + 5) {
            events.push(Index(index), [event(index)]);
        }
        let (all, newest) = events.after(Index(0));
        assert_eq!((all.len(), newest), (EVENTS_MAX, Index(max + 5)));
        assert_eq!(events.after(Index(max + 3)).0.len(), 2);
        assert_eq!(events.forgotten(), Index(5));
        events.push(Index(max + 9), []);
        assert_eq!(events.after(Index(max + 5)), (vec![], Index(max + 9)));
    }
}
