//! Clocks that are wrong: each begins somewhere, goes too fast or too slow, and may jump.

use crate::dice::Dice;
use model::time::{Clock, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::time::Instant;

/// The minute in which virtual time begins, in milliseconds.
const START_MS: i64 = 1_800_000_000_000;

/// A clock of the simulation. Clones are the same clock.
#[derive(Clone, Debug)]
pub(crate) struct SimClock {
    begin: Instant,
    /// The time of its beginning, in milliseconds.
    start_ms: i64,
    /// Milliseconds ahead of true time.
    ahead: Arc<AtomicI64>,
    /// Millionths that it goes too fast.
    drift_ppm: i64,
}

impl SimClock {
    /// A clock of the seed's world that begins now, is so many milliseconds ahead and gains so many
    /// millionths.
    pub(crate) fn new(seed: u64, ahead_ms: i64, drift_ppm: i64) -> Self {
        // Somewhere in a minute: schedules have minutes.
        let into = i64::try_from(Dice::of(seed, 3).below(60_000)).unwrap_or(0);
        let begin = Instant::now();
        Self {
            begin,
            start_ms: START_MS + into,
            ahead: Arc::new(AtomicI64::new(ahead_ms)),
            drift_ppm,
        }
    }

    /// It is set to be so many milliseconds ahead; gives by how many that is further than before.
    pub(crate) fn set_ahead(&self, ms: i64) -> i64 {
        ms - self.ahead.swap(ms, Ordering::Relaxed)
    }

    fn now(&self) -> Timestamp {
        let true_ms = i64::try_from(self.begin.elapsed().as_millis()).unwrap_or(i64::MAX);
        let gained = true_ms.saturating_mul(self.drift_ppm) / 1_000_000;
        let ahead = self.ahead.load(Ordering::Relaxed);
        Timestamp(
            self.start_ms.saturating_add(true_ms).saturating_add(gained).saturating_add(ahead),
        )
    }

    /// As the loops read it.
    pub(crate) fn clock(&self) -> Clock {
        let clock = self.clone();
        Clock::new(move || clock.now())
    }
}
