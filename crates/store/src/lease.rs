//! Leases: claims that end by time.

use crate::error::{Error, Result};
use model::limits::{LEASE_TTL_MS_MAX, LEASES_MAX};
use std::fmt;
use std::time::Duration;

/// Name of a lease, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whole milliseconds of a time to live within its limits, when one more lease is allowed.
pub(crate) fn admit(ttl: Duration, leases: usize) -> Result<u64> {
    let ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 || ms > LEASE_TTL_MS_MAX {
        return Err(Error::LeaseTtl { ms, max: LEASE_TTL_MS_MAX });
    }
    if leases >= LEASES_MAX {
        return Err(Error::TooManyLeases { max: LEASES_MAX });
    }
    Ok(ms)
}
