//! An endpoint that cannot be reached is out for a while, doubling; then one connection at a time
//! may try it. Shared by all shards. Time is an argument, in milliseconds since the proxy started.

use model::limits::{PROXY_EJECT_MS_MAX, PROXY_EJECT_MS_MIN};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Reachability of one endpoint. The default is reachable.
#[derive(Debug, Default)]
pub(super) struct Ejection {
    /// Failures in a row; 0 is reachable.
    failures: AtomicU32,
    /// Not tried before this time while `failures` is not 0.
    until_ms: AtomicU64,
    /// When it failed last.
    failed_ms: AtomicU64,
}

impl Ejection {
    /// May it take a request now? `now` is only asked when it matters.
    pub(super) fn admits(&self, now: impl FnOnce() -> u64) -> bool {
        self.failures.load(Relaxed) == 0 || now() >= self.until_ms.load(Relaxed)
    }

    /// It was chosen. After a failure the others stay away until this try has had `try_ms`.
    pub(super) fn chosen(&self, now: impl FnOnce() -> u64, try_ms: u64) {
        if self.failures.load(Relaxed) > 0 {
            self.until_ms.fetch_max(now().saturating_add(try_ms), Relaxed);
        }
    }

    /// A connection could not be made. Those that fail at the same time count once.
    pub(super) fn failed(&self, now_ms: u64, began_ms: u64) {
        let failures = self.failures.load(Relaxed);
        if failures > 0 && began_ms < self.failed_ms.load(Relaxed) {
            return;
        }
        self.failed_ms.store(now_ms, Relaxed);
        let failures = failures.saturating_add(1);
        self.until_ms.store(now_ms.saturating_add(out_ms(failures)), Relaxed);
        self.failures.store(failures, Relaxed);
    }

    /// A connection was made.
    pub(super) fn connected(&self) {
        if self.failures.load(Relaxed) > 0 {
            self.failures.store(0, Relaxed);
        }
    }
}

fn out_ms(failures: u32) -> u64 {
    let doubled = PROXY_EJECT_MS_MIN.saturating_mul(1 << failures.saturating_sub(1).min(20));
    doubled.min(PROXY_EJECT_MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_out_at_the_first_failure_and_longer_each_time() {
        let ejection = Ejection::default();
        assert!(ejection.admits(|| 0));
        let mut now = 0;
        for out in [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000] {
            ejection.failed(now, now);
            assert!(!ejection.admits(|| now + out - 1), "{out}");
            assert!(ejection.admits(|| now + out), "{out}");
            now += out;
        }
        ejection.connected();
        assert!(ejection.admits(|| 0));
    }

    #[test]
    fn one_at_a_time_may_try_it_again() {
        let ejection = Ejection::default();
        ejection.failed(0, 0);
        assert!(ejection.admits(|| 100));
        ejection.chosen(|| 100, 250);
        assert!(!ejection.admits(|| 101));
        ejection.failed(350, 100);
        assert!(!ejection.admits(|| 549), "the second failure counts");
        assert!(ejection.admits(|| 550));
    }

    #[test]
    fn failures_of_the_same_moment_count_once() {
        let ejection = Ejection::default();
        for _ in 0..50 {
            ejection.failed(10, 5);
        }
        assert!(ejection.admits(|| 110));
    }
}
