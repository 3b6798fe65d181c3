//! An endpoint that cannot be reached is out for a while, doubling; then one connection at a time
//! may try it. Shared by all shards. Time is an argument, in milliseconds since the proxy started.

use model::expose::Outlier;
use model::limits::{PROXY_EJECT_MS_MAX, PROXY_EJECT_MS_MIN};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// What holds where nobody says otherwise: out at the first failure, and soon back.
const AT_ONCE: Outlier = Outlier { max_fails: 1, fail_timeout_ms: PROXY_EJECT_MS_MAX };

/// Reachability of one endpoint. The default is reachable.
#[derive(Debug)]
pub(super) struct Ejection {
    /// Failures in a row; 0 is reachable.
    failures: AtomicU32,
    /// Not tried before this time while it is out.
    until_ms: AtomicU64,
    /// When it failed last.
    failed_ms: AtomicU64,
    /// `Outlier::max_fails`.
    max_fails: AtomicU32,
    /// `Outlier::fail_timeout_ms`.
    fail_timeout_ms: AtomicU64,
}

impl Default for Ejection {
    fn default() -> Self {
        Self {
            failures: AtomicU32::default(),
            until_ms: AtomicU64::default(),
            failed_ms: AtomicU64::default(),
            max_fails: AtomicU32::new(AT_ONCE.max_fails),
            fail_timeout_ms: AtomicU64::new(AT_ONCE.fail_timeout_ms),
        }
    }
}

impl Ejection {
    /// From now on it is out by these rules.
    pub(super) fn follow(&self, outlier: Option<Outlier>) {
        let outlier = outlier.unwrap_or(AT_ONCE);
        self.max_fails.store(outlier.max_fails, Relaxed);
        self.fail_timeout_ms.store(outlier.fail_timeout_ms, Relaxed);
    }

    fn is_out(&self, failures: u32) -> bool {
        let most = self.max_fails.load(Relaxed);
        most > 0 && failures >= most
    }

    /// May it take a request now? `now` is only asked when it matters.
    pub(super) fn admits(&self, now: impl FnOnce() -> u64) -> bool {
        match self.failures.load(Relaxed) {
            0 => true,
            failures => !self.is_out(failures) || now() >= self.until_ms.load(Relaxed),
        }
    }

    /// It was chosen. While it is out the others stay away until this try has had `try_ms`.
    pub(super) fn chosen(&self, now: impl FnOnce() -> u64, try_ms: u64) {
        let failures = self.failures.load(Relaxed);
        if failures > 0 && self.is_out(failures) {
            self.until_ms.fetch_max(now().saturating_add(try_ms), Relaxed);
        }
    }

    /// A connection could not be made. Those that fail at the same time count once.
    pub(super) fn failed(&self, now_ms: u64, began_ms: u64) {
        let failures = self.failures.load(Relaxed);
        if failures > 0 && began_ms < self.failed_ms.load(Relaxed) {
            return;
        }
        let longest = self.fail_timeout_ms.load(Relaxed);
        let before = self.failed_ms.swap(now_ms, Relaxed);
        // Not yet out, and the last failure is long ago: that one does not count any more.
        let counted = match self.is_out(failures) || now_ms.saturating_sub(before) <= longest {
            true => failures,
            false => 0,
        };
        let failures = counted.saturating_add(1);
        let beyond = failures.saturating_sub(self.max_fails.load(Relaxed)).saturating_add(1);
        self.until_ms.store(now_ms.saturating_add(out_ms(beyond, longest)), Relaxed);
        self.failures.store(failures, Relaxed);
    }

    /// A connection was made.
    pub(super) fn connected(&self) {
        if self.failures.load(Relaxed) > 0 {
            self.failures.store(0, Relaxed);
        }
    }
}

fn out_ms(failures: u32, longest: u64) -> u64 {
    let doubled = PROXY_EJECT_MS_MIN.saturating_mul(1 << failures.saturating_sub(1).min(20));
    doubled.min(longest)
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
    fn it_is_out_after_as_many_failures_as_are_asked_for_and_at_most_so_long() {
        let ejection = Ejection::default();
        ejection.follow(Some(Outlier { max_fails: 3, fail_timeout_ms: 300 }));
        let fail = |now| ejection.failed(now, now);
        fail(10);
        fail(20);
        assert!(ejection.admits(|| 20), "two of three");
        ejection.chosen(|| 20, 1_000);
        assert!(ejection.admits(|| 21), "it is not out: nobody stays away");
        fail(30);
        assert!(!ejection.admits(|| 129));
        assert!(ejection.admits(|| 130));
        for (now, out) in [(130, 200), (330, 300), (630, 300)] {
            fail(now);
            assert!(!ejection.admits(|| now + out - 1), "{now}");
            assert!(ejection.admits(|| now + out), "{now}");
        }
        ejection.connected();
        fail(2_000);
        fail(2_100);
        fail(2_500);
        assert!(ejection.admits(|| 2_500), "those that are far apart do not count together");
        ejection.follow(Some(Outlier { max_fails: 0, fail_timeout_ms: 300 }));
        (0..50).for_each(|n| fail(2_500 + n));
        assert!(ejection.admits(|| 2_550), "0 is never");
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
