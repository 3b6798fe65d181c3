//! Who may begin to speak TLS when: after a restart of the server, or a broken switch, all agents
//! come at once, and handshakes that all begin together all end too late.

use api::pace::Pace;
use model::limits::{HANDSHAKE_WAIT_MS_MAX, HANDSHAKES_AT_ONCE, HANDSHAKES_PER_S_MAX};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Turns of those who have come, in the order in which they came.
#[derive(Debug)]
pub(crate) struct Admission {
    /// Held for one sum.
    turns: Mutex<Turns>,
}

#[derive(Debug)]
struct Turns {
    pace: Pace,
    /// The next one's, unless it is over.
    next: Instant,
}

impl Admission {
    pub(crate) fn new() -> Self {
        let window = Duration::from_secs(1) / HANDSHAKES_PER_S_MAX;
        let turns = Turns { pace: Pace::new(window, HANDSHAKES_AT_ONCE), next: Instant::now() };
        Self { turns: Mutex::new(turns) }
    }

    /// How long one that comes now waits; `None`: so many wait that it had better come again.
    pub(crate) fn turn(&self, now: Instant) -> Option<Duration> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = turns.next.max(now);
        let wait = turn - now;
        if wait > Duration::from_millis(HANDSHAKE_WAIT_MS_MAX) {
            return None;
        }
        turns.next = turn + turns.pace.went(turn);
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_crowd_comes_in_one_after_the_other_and_who_would_wait_long_comes_again() {
        let admission = Admission::new();
        let now = Instant::now();
        let waits: Vec<Option<Duration>> = (0..10_000).map(|_| admission.turn(now)).collect();
        let at_once = waits.iter().filter(|wait| **wait == Some(Duration::ZERO)).count();
        assert_eq!(at_once, HANDSHAKES_AT_ONCE as usize);
        let window = Duration::from_secs(1) / HANDSHAKES_PER_S_MAX;
        let taken: Vec<Duration> = waits.iter().flatten().copied().collect();
        assert!(taken[at_once..].is_sorted_by(|a, b| *b == *a + window), "one each window");
        let longest = Duration::from_millis(HANDSHAKE_WAIT_MS_MAX);
        assert_eq!(taken.last(), Some(&longest));
        assert!(waits[taken.len()..].iter().all(Option::is_none), "the others come again");
        // Those who came again have no worse a turn for it.
        assert_eq!(admission.turn(now + longest), Some(window));
        assert_eq!(admission.turn(now + longest * 2), Some(Duration::ZERO));
    }
}
