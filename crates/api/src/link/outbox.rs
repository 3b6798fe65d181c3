//! What waits to go down to one agent: the newest word on everything, never a queue. A slow agent
//! gets one delta that says all of it, or the whole.

use super::{Publication, PublicationDelta};
use model::limits::LINK_OUTBOX_WEIGHT_MAX;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, watch};

/// The server's end. Dropped, it ends the session.
#[derive(Debug)]
pub struct Outbox {
    slot: Arc<Mutex<Slot>>,
    filled: watch::Sender<()>,
    /// The agent reads deltas.
    deltas: bool,
}

/// What waits.
#[derive(Debug)]
enum Slot {
    Nothing,
    Delta(Box<PublicationDelta>),
    Whole(Arc<Publication>, Option<OwnedSemaphorePermit>),
    /// The whole is to be put here.
    Wanting,
}

/// The carrier's end.
#[derive(Debug)]
pub(super) struct Waiting {
    slot: Arc<Mutex<Slot>>,
    filled: watch::Receiver<()>,
}

/// What is taken from it.
#[derive(Debug)]
pub(super) enum Taken {
    Delta(Arc<PublicationDelta>),
    /// With what is to be held until it is on its way.
    Whole(Arc<Publication>, Option<OwnedSemaphorePermit>),
}

fn lock(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Both ends, for an agent that reads deltas or not.
pub(super) fn outbox(deltas: bool) -> (Outbox, Waiting) {
    let slot = Arc::new(Mutex::new(Slot::Nothing));
    let (filled, waiting) = watch::channel(());
    (Outbox { slot: Arc::clone(&slot), filled, deltas }, Waiting { slot, filled: waiting })
}

impl Outbox {
    /// Adds what is news; false when only the whole can say it any more: `put` it.
    pub fn push(&self, news: PublicationDelta) -> bool {
        let mut slot = lock(&self.slot);
        let next = match std::mem::replace(&mut *slot, Slot::Wanting) {
            _ if !self.deltas => Slot::Wanting,
            Slot::Nothing => Slot::Delta(Box::new(news)),
            Slot::Delta(mut delta) => match delta.merge(&news) {
                Ok(()) if delta.delta.weight() <= LINK_OUTBOX_WEIGHT_MAX => Slot::Delta(delta),
                _ => Slot::Wanting,
            },
            Slot::Whole(mut whole, permit) => match news.apply(Arc::make_mut(&mut whole)) {
                Ok(()) => Slot::Whole(whole, permit),
                Err(_) => Slot::Wanting,
            },
            Slot::Wanting => Slot::Wanting,
        };
        let said = !matches!(next, Slot::Wanting);
        *slot = next;
        drop(slot);
        if said {
            self.filled.send_replace(());
        }
        said
    }

    /// Nothing but the whole will do: what waits is dropped.
    pub fn want_whole(&self) {
        *lock(&self.slot) = Slot::Wanting;
    }

    /// Puts the whole in place of what waits; the permit is given back when it is on its way.
    pub fn put(&self, whole: Arc<Publication>, permit: Option<OwnedSemaphorePermit>) {
        *lock(&self.slot) = Slot::Whole(whole, permit);
        self.filled.send_replace(());
    }

    /// Ends when the carrier's end is gone.
    pub async fn closed(&self) {
        self.filled.closed().await;
    }
}

impl Waiting {
    /// Waits for something to be there, and leaves it there; false when the session is over.
    pub(super) async fn ready(&mut self) -> bool {
        loop {
            if matches!(&*lock(&self.slot), Slot::Delta(_) | Slot::Whole(..)) {
                return true;
            }
            if self.filled.changed().await.is_err() {
                return false;
            }
        }
    }

    /// Takes what is there.
    pub(super) fn take(&self) -> Option<Taken> {
        let mut slot = lock(&self.slot);
        match std::mem::replace(&mut *slot, Slot::Nothing) {
            Slot::Delta(delta) => Some(Taken::Delta(Arc::new(*delta))),
            Slot::Whole(whole, permit) => Some(Taken::Whole(whole, permit)),
            Slot::Wanting => {
                *slot = Slot::Wanting;
                None
            }
            Slot::Nothing => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{delta, whole};
    use super::*;

    #[test]
    fn a_slow_agent_gets_the_newest_word_once() {
        let (outbox, waiting) = outbox(true);
        assert!(outbox.push(delta(1, 2)) && outbox.push(delta(2, 5)));
        let Some(Taken::Delta(taken)) = waiting.take() else { panic!("a delta") };
        assert_eq!((taken.from, taken.to), (1, 5));
        assert!(waiting.take().is_none());
        outbox.put(Arc::new(whole(5)), None);
        assert!(outbox.push(delta(5, 6)));
        let Some(Taken::Whole(taken, _)) = waiting.take() else { panic!("the whole") };
        assert_eq!(taken.mark.serial, 6, "with what came while it waited");
        assert!(outbox.push(delta(6, 7)));
        assert!(!outbox.push(delta(8, 9)), "one is missing between them");
        assert!(waiting.take().is_none() && !outbox.push(delta(9, 10)));
        outbox.put(Arc::new(whole(10)), None);
        assert!(matches!(waiting.take(), Some(Taken::Whole(..))));
    }

    #[test]
    fn an_agent_that_reads_no_deltas_gets_the_whole() {
        let (outbox, waiting) = outbox(false);
        assert!(!outbox.push(delta(1, 2)) && waiting.take().is_none());
        outbox.put(Arc::new(whole(2)), None);
        assert!(!outbox.push(delta(2, 3)), "the whole is to be made anew");
        assert!(waiting.take().is_none());
    }

    #[test]
    fn what_waits_is_bounded() {
        let (outbox, _waiting) = outbox(true);
        let mut said = 0_u64;
        while outbox.push(delta(said, said + 1)) {
            said += 1;
            assert!(said <= 2 * u64::try_from(LINK_OUTBOX_WEIGHT_MAX).unwrap());
        }
        assert!(said > 10);
    }
}
