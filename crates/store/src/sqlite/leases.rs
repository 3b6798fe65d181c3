//! When the leases end. Their clock stops with the process: after a start each one has its whole
//! time again, since nobody could keep it alive meanwhile.

use crate::error::{Error, Result};
use crate::lease::LeaseId;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The leases of an open store.
#[derive(Debug, Default)]
pub(super) struct Leases {
    by_id: BTreeMap<LeaseId, Lease>,
}

#[derive(Debug)]
struct Lease {
    ttl: Duration,
    ends: Instant,
}

impl Leases {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn start(&mut self, id: LeaseId, ttl_ms: u64, now: Instant) {
        let ttl = Duration::from_millis(ttl_ms);
        self.by_id.insert(id, Lease { ttl, ends: now + ttl });
    }

    pub(super) fn keepalive(&mut self, id: LeaseId, now: Instant) -> Result<Duration> {
        let lease = self.by_id.get_mut(&id).ok_or(Error::LeaseGone { id })?;
        lease.ends = now + lease.ttl;
        Ok(lease.ttl)
    }

    pub(super) fn end(&mut self, id: LeaseId) {
        self.by_id.remove(&id);
    }

    /// When the next one ends. There are few, and this is asked once per group.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.by_id.values().map(|lease| lease.ends).min()
    }

    /// Those whose time is over, the earliest first.
    pub(super) fn over(&self, now: Instant) -> Vec<LeaseId> {
        let mut over: Vec<_> = self.by_id.iter().map(|(id, lease)| (lease.ends, *id)).collect();
        over.retain(|(ends, _)| *ends <= now);
        over.sort_unstable();
        over.into_iter().map(|(_, id)| id).collect()
    }

    /// Tries those again later that could not be ended now.
    pub(super) fn postpone(&mut self, ids: &[LeaseId], until: Instant) {
        for id in ids {
            if let Some(lease) = self.by_id.get_mut(id) {
                lease.ends = lease.ends.max(until);
            }
        }
    }
}
