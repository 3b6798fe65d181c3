//! What results add up to: one success makes an instance healthy after its start, from then on the
//! thresholds count; and when the next try is. Pure: time and chance are arguments.

use super::target::{Target, What};
use crate::protocol::ProbeVerdict;
use model::health::Health;
use model::limits::{PROBE_INTERVAL_MS_MIN, PROBE_READY_INTERVAL_MS};
use model::time::Timestamp;
use std::time::Duration;

/// Shortest wait between two tries after a start.
const TRY_MIN: Duration = Duration::from_millis(1);
/// A try after a start waits this part of the time since the start: it is found within a sixteenth
/// of the time that it took, at the cost of few tries for one that takes long.
const TRY_PART: u32 = 16;

/// One target's results since its start.
#[derive(Debug)]
pub(super) struct Machine {
    run: Timestamp,
    health: Health,
    detail: String,
    /// Results in a row that speak against `health`.
    against: u32,
    interval: Duration,
    /// Results against it that change it: to healthy, to unhealthy.
    thresholds: (u32, u32),
    once: bool,
    told: bool,
}

impl Machine {
    /// A target; a verdict of the same start is where it goes on from.
    pub(super) fn new(target: &Target, known: Option<&ProbeVerdict>) -> Self {
        let (interval_ms, thresholds, once) = match &target.what {
            What::Check(check) => (
                check.interval_ms.max(PROBE_INTERVAL_MS_MIN),
                (check.healthy_threshold.max(1), check.unhealthy_threshold.max(1)),
                false,
            ),
            What::Ready(_) => (PROBE_READY_INTERVAL_MS, (1, 1), true),
        };
        let known = known.filter(|verdict| verdict.run_started_at == target.run);
        Self {
            run: target.run,
            health: known.map_or(Health::Initializing, |verdict| verdict.health),
            detail: known.map(|verdict| verdict.detail.clone()).unwrap_or_default(),
            against: 0,
            interval: Duration::from_millis(interval_ms),
            thresholds,
            once,
            told: known.is_some(),
        }
    }

    /// Not yet healthy since its start?
    pub(super) fn is_starting(&self) -> bool {
        self.health == Health::Initializing
    }

    /// When it is tried first: at once, or somewhere in the interval, so that not all come at the
    /// same time after our own start. `chance` is any number.
    pub(super) fn first_delay(&self, chance: u32) -> Duration {
        if self.is_starting() { Duration::ZERO } else { part(self.interval, chance) }
    }

    /// Takes a result that came `elapsed` after the first try was due: the verdict, when it is
    /// another one, and the wait until the next try; `None` when there is none.
    pub(super) fn observe(
        &mut self,
        result: Result<(), String>,
        elapsed: Duration,
        chance: u32,
    ) -> (Option<ProbeVerdict>, Option<Duration>) {
        let before = self.health;
        let good = result.is_ok();
        let detail = result.err().unwrap_or_default();
        let (to_healthy, to_unhealthy) = self.thresholds;
        let (against, threshold, next) = match (self.health, good) {
            (Health::Initializing, true) => (true, 1, Health::Healthy),
            (Health::Healthy, false) => (true, to_unhealthy, Health::Unhealthy),
            (Health::Unhealthy, true) => (true, to_healthy, Health::Healthy),
            (health, _) => (false, 1, health),
        };
        self.against = if against { self.against.saturating_add(1) } else { 0 };
        if self.against >= threshold {
            self.health = next;
            self.against = 0;
        }
        // A success on the way to healthy keeps the reason that it is not.
        let detail =
            if good && self.health == Health::Unhealthy { self.detail.clone() } else { detail };
        let changed = self.health != before || detail != self.detail || !self.told;
        self.detail = detail;
        self.told = true;
        let verdict = changed.then(|| ProbeVerdict {
            health: self.health,
            detail: self.detail.clone(),
            run_started_at: self.run,
        });
        (verdict, self.next(elapsed, chance))
    }

    fn next(&self, elapsed: Duration, chance: u32) -> Option<Duration> {
        if self.is_starting() {
            return Some((elapsed / TRY_PART).clamp(TRY_MIN, self.interval.max(TRY_MIN)));
        }
        if self.once && self.health == Health::Healthy {
            return None;
        }
        // A tenth to and fro, so that targets that came together drift apart.
        Some(self.interval * 9 / 10 + part(self.interval / 5, chance))
    }
}

/// `chance` of `whole`: 0 is none, the largest number is all.
fn part(whole: Duration, chance: u32) -> Duration {
    whole.mul_f64(f64::from(chance) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::health::HealthCheck;
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    fn target(what: What) -> Arc<Target> {
        Arc::new(Target { address: Ipv4Addr::LOCALHOST, what, run: Timestamp(7) })
    }

    fn checked() -> Arc<Target> {
        target(What::Check(HealthCheck::tcp(80)))
    }

    /// Results as letters (`+` good, `-` bad), and the health after each: Init, Healthy, Unhealthy.
    fn check(machine: &mut Machine, results: &str, expect: &str) {
        let mut seen = String::new();
        for letter in results.chars() {
            let result = if letter == '+' { Ok(()) } else { Err("refused".to_owned()) };
            machine.observe(result, Duration::ZERO, 0);
            seen.push(match machine.health {
                Health::Healthy => 'H',
                Health::Unhealthy => 'U',
                _ => 'I',
            });
        }
        assert_eq!(seen, expect, "after {results}");
    }

    #[test]
    fn one_success_counts_after_a_start_and_thresholds_from_then_on() {
        // Defaults: 2 to become healthy, 3 to become unhealthy.
        check(&mut Machine::new(&checked(), None), "---+--+---++", "IIIHHHHHHUUH");
        check(&mut Machine::new(&checked(), None), "+---+-++", "HHHUUUUH");
    }

    #[test]
    fn a_verdict_of_the_same_start_goes_on_and_of_another_is_forgotten() {
        let mut verdict = ProbeVerdict {
            health: Health::Healthy,
            detail: String::new(),
            run_started_at: Timestamp(7),
        };
        let machine = Machine::new(&checked(), Some(&verdict));
        assert_eq!((machine.health, machine.is_starting()), (Health::Healthy, false));
        assert_eq!(machine.first_delay(u32::MAX / 2).as_millis(), 1_000);
        verdict.run_started_at = Timestamp(6);
        let machine = Machine::new(&checked(), Some(&verdict));
        assert_eq!(
            (machine.health, machine.first_delay(9)),
            (Health::Initializing, Duration::ZERO)
        );
    }

    #[test]
    fn only_what_changed_is_told() {
        let mut machine = Machine::new(&checked(), None);
        let mut told = |result: Result<(), &str>| {
            let result = result.map_err(str::to_owned);
            machine.observe(result, Duration::ZERO, 0).0.map(|v| (v.health, v.detail))
        };
        assert_eq!(told(Err("refused")), Some((Health::Initializing, "refused".into())));
        assert_eq!(told(Err("refused")), None);
        assert_eq!(told(Err("no answer")), Some((Health::Initializing, "no answer".into())));
        assert_eq!(told(Ok(())), Some((Health::Healthy, String::new())));
        assert_eq!(told(Ok(())), None);
        assert_eq!(told(Err("500")), Some((Health::Healthy, "500".into())));
        assert_eq!(told(Err("500")), None);
        assert_eq!(told(Err("500")), Some((Health::Unhealthy, "500".into())));
        assert_eq!(told(Ok(())), None, "the reason stays while it is unhealthy");
        assert_eq!(told(Ok(())), Some((Health::Healthy, String::new())));
    }

    #[test]
    fn tries_are_dense_after_a_start_and_sparse_later() {
        let mut machine = Machine::new(&checked(), None);
        let mut wait = |ms: u64| {
            let elapsed = Duration::from_millis(ms);
            machine.observe(Err(String::new()), elapsed, 0).1.unwrap().as_millis()
        };
        assert_eq!([wait(0), wait(10), wait(160), wait(1_600)], [1, 1, 10, 100]);
        assert_eq!(wait(1_000_000), 2_000, "never above the interval");
        let delays = [0, u32::MAX]
            .map(|chance| machine.observe(Ok(()), Duration::ZERO, chance).1.unwrap().as_millis());
        assert_eq!(delays, [1_800, 2_200]);
    }

    #[test]
    fn a_port_that_listens_is_not_asked_again() {
        let mut machine = Machine::new(&target(What::Ready(vec![80])), None);
        let (verdict, next) = machine.observe(Err("refused".into()), Duration::ZERO, 0);
        assert_eq!((verdict.unwrap().health, next), (Health::Initializing, Some(TRY_MIN)));
        let (verdict, next) = machine.observe(Ok(()), Duration::ZERO, 0);
        assert_eq!((verdict.unwrap().health, next), (Health::Healthy, None));
    }
}
