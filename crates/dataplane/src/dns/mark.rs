//! A note that a name is in use, made by every thread that answers it. It is read and taken off now
//! and then, and handed on from table to table.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The note.
#[derive(Clone, Debug, Default)]
pub(super) struct Mark(Arc<AtomicBool>);

impl Mark {
    /// It is in use. Written once only: threads that answer one name share its memory.
    pub(super) fn set(&self) {
        if !self.0.load(Ordering::Relaxed) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Was it, since the last time that this was asked?
    pub(super) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}
