//! A clock that never jumps and goes on while the machine sleeps: a lease must not outlive that.

use super::lease::Micros;
use rustix::time::{ClockId, clock_gettime};

/// Microseconds since the machine was started.
pub(crate) fn now() -> Micros {
    let time = clock_gettime(ClockId::Boottime);
    let micros = i128::from(time.tv_sec) * 1_000_000 + i128::from(time.tv_nsec) / 1_000;
    Micros::try_from(micros).unwrap_or(0)
}
