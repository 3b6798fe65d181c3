//! `Bell`: a counter that tasks of one thread wait on. It stays rung, so that nobody can miss it.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Counts its rings and wakes who waits for the next one. For one thread only.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rings: Cell<u64>,
    waiters: RefCell<Waiters>,
}

#[derive(Debug, Default)]
struct Waiters {
    slots: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Bell {
    /// Rings since it was made.
    pub(super) fn rings(&self) -> u64 {
        self.rings.get()
    }

    /// Wakes everybody who waits.
    pub(super) fn ring(&self) {
        self.rings.set(self.rings.get() + 1);
        for slot in &mut self.waiters.borrow_mut().slots {
            if let Some(waker) = slot.take() {
                waker.wake();
            }
        }
    }

    /// Waits until it has rung more often than `seen`.
    pub(super) fn after(self: &Rc<Self>, seen: u64) -> Wait {
        Wait { bell: Rc::clone(self), seen, slot: None }
    }
}

/// See `Bell::after`.
#[derive(Debug)]
pub(super) struct Wait {
    bell: Rc<Bell>,
    seen: u64,
    slot: Option<usize>,
}

impl Future for Wait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if this.bell.rings.get() > this.seen {
            return Poll::Ready(());
        }
        let waiters = &mut *this.bell.waiters.borrow_mut();
        let slot = *this.slot.get_or_insert_with(|| {
            waiters.free.pop().unwrap_or_else(|| {
                waiters.slots.push(None);
                waiters.slots.len() - 1
            })
        });
        match &mut waiters.slots[slot] {
            Some(waker) => waker.clone_from(cx.waker()),
            empty => *empty = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            let waiters = &mut *self.bell.waiters.borrow_mut();
            waiters.slots[slot] = None;
            waiters.free.push(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn a_ring_before_the_wait_is_not_missed() {
        let bell = Rc::new(Bell::default());
        let seen = bell.rings();
        bell.ring();
        assert!(bell.after(seen).now_or_never().is_some());
        assert!(bell.after(bell.rings()).now_or_never().is_none());
    }

    #[test]
    fn waits_that_went_away_leave_their_place() {
        let bell = Rc::new(Bell::default());
        for _ in 0..100 {
            assert!(bell.after(0).now_or_never().is_none());
        }
        assert_eq!(bell.waiters.borrow().slots.len(), 1);
        let mut waiting = bell.after(0);
        assert!((&mut waiting).now_or_never().is_none());
        bell.ring();
        assert!((&mut waiting).now_or_never().is_some());
    }
}
