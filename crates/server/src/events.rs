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
    /// Guards the ring; held for copies only.
    ring: Arc<Mutex<VecDeque<Event>>>,
    newest: watch::Sender<Index>,
}

impl Default for Events {
    fn default() -> Self {
        Self { ring: Arc::default(), newest: watch::Sender::new(Index(0)) }
    }
}

impl Events {
    fn ring(&self) -> std::sync::MutexGuard<'_, VecDeque<Event>> {
        self.ring.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Adds the events of one change.
    pub(crate) fn push(&self, index: Index, events: impl IntoIterator<Item = Event>) {
        let mut added = false;
        {
            let mut ring = self.ring();
            for event in events {
                ring.push_back(event);
                added = true;
            }
            let excess = ring.len().saturating_sub(EVENTS_MAX);
            ring.drain(..excess);
        }
        if added {
            self.newest.send_replace(index);
        }
    }

    /// All events of changes after an index that are still known.
    #[must_use]
    pub(crate) fn after(&self, index: Index) -> Vec<Event> {
        let ring = self.ring();
        let from = ring.partition_point(|event| event.index <= index);
        ring.range(from..).cloned().collect()
    }

    /// Waits for events after an index; `None` when the server goes down.
    pub(crate) async fn wait_after(&self, index: Index) -> Option<Vec<Event>> {
        let mut newest = self.newest.subscribe();
        loop {
            let events = self.after(index);
            if !events.is_empty() {
                return Some(events);
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
    fn the_ring_keeps_the_newest_and_answers_after_an_index() {
        let events = Events::default();
        for index in 1..=(EVENTS_MAX as u64 + 5) {
            events.push(Index(index), [event(index)]);
        }
        assert_eq!(events.after(Index(0)).len(), EVENTS_MAX);
        assert_eq!(events.after(Index(EVENTS_MAX as u64 + 3)).len(), 2);
    }
}
