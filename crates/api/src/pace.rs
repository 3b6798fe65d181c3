//! A pace: so many at once, and after that one each while. What changes once is passed on at once,
//! with the few changes that follow from it; what changes all the time is passed on together.

use std::time::Duration;
use tokio::time::Instant;

/// Who may go on when. It only counts: the caller waits.
#[derive(Clone, Debug)]
pub struct Pace {
    window: Duration,
    at_once: u32,
    /// When the last one that went would have been due, had all come one each window.
    due: Option<Instant>,
}

impl Pace {
    /// One each `window`, and up to `at_once` without waiting after a rest.
    #[must_use]
    pub fn new(window: Duration, at_once: u32) -> Self {
        Self { window, at_once, due: None }
    }

    /// One goes now. How long the next one has to wait.
    #[must_use]
    pub fn went(&mut self, now: Instant) -> Duration {
        let due = self.due.filter(|due| *due > now).unwrap_or(now) + self.window;
        self.due = Some(due);
        let ahead = self.window.saturating_mul(self.at_once.saturating_sub(1));
        due.saturating_duration_since(now).saturating_sub(ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_millis(20);

    /// Waits after each of some that go `apart` from each other, in milliseconds.
    fn waits(at_once: u32, apart: u64, count: usize) -> Vec<u128> {
        let mut pace = Pace::new(WINDOW, at_once);
        let mut now = Instant::now();
        let mut out = vec![];
        for _ in 0..count {
            let wait = pace.went(now);
            out.push(wait.as_millis());
            now += wait.max(Duration::from_millis(apart));
        }
        out
    }

    #[test]
    fn a_few_go_at_once_and_then_one_each_window() {
        assert_eq!(waits(1, 0, 4), [20, 20, 20, 20]);
        assert_eq!(waits(3, 0, 6), [0, 0, 20, 20, 20, 20]);
        assert_eq!(waits(3, 20, 5), [0; 5], "never more than one each window");
        assert_eq!(waits(3, 10, 7), [0, 0, 0, 10, 20, 20, 20]);
    }

    #[test]
    fn a_rest_gives_all_of_it_back() {
        let mut pace = Pace::new(WINDOW, 3);
        let begin = Instant::now();
        let waited: Duration = (0..3).map(|_| pace.went(begin)).sum();
        assert_eq!(waited, WINDOW, "only the last one");
        let later = begin + 4 * WINDOW;
        assert_eq!([pace.went(later), pace.went(later)], [Duration::ZERO; 2]);
        assert_eq!(pace.went(later), WINDOW);
    }
}
