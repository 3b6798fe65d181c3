//! What answers add up to: thresholds as in Consul, and which news are told. Pure: time is an
//! argument.

use model::limits::CHECK_OUTPUT_MS;
use model::registration::{CheckSeen, CheckStatus, CheckWish};
use model::time::Timestamp;

/// The answers to one check.
#[derive(Debug)]
pub(super) struct Machine {
    run: Timestamp,
    success_before_passing: u16,
    failures_before_warning: u16,
    failures_before_critical: u16,
    successes: u16,
    failures: u16,
    told: Option<CheckSeen>,
    told_at_ms: u64,
}

impl Machine {
    /// A check; what was told of it before is where it goes on from.
    pub(super) fn new(wish: &CheckWish, known: Option<CheckSeen>) -> Self {
        let plan = &wish.plan;
        Self {
            run: wish.run,
            success_before_passing: plan.success_before_passing,
            failures_before_warning: plan.failures_before_warning,
            failures_before_critical: plan.failures_before_critical,
            successes: 0,
            failures: 0,
            told: known,
            told_at_ms: 0,
        }
    }

    /// Takes an answer that came at `now_ms`: what is news. Another output without another status is
    /// news once in `CHECK_OUTPUT_MS`.
    pub(super) fn observe(
        &mut self,
        status: CheckStatus,
        output: String,
        now_ms: u64,
    ) -> Option<CheckSeen> {
        let status = self.counted(status)?;
        let same = self.told.as_ref().is_some_and(|told| {
            let waits = now_ms.saturating_sub(self.told_at_ms) < CHECK_OUTPUT_MS;
            told.status == status && (waits || told.output == output)
        });
        if same {
            return None;
        }
        let seen = CheckSeen { status, output, run: self.run };
        self.told = Some(seen.clone());
        self.told_at_ms = now_ms;
        Some(seen)
    }

    /// What the answer makes of it; `None` while it is one of too few.
    fn counted(&mut self, status: CheckStatus) -> Option<CheckStatus> {
        if status == CheckStatus::Critical {
            self.failures = self.failures.saturating_add(1);
            self.successes = 0;
            if self.failures >= self.failures_before_critical.max(1) {
                return Some(status);
            }
            let warns = self.failures_before_warning;
            return (warns > 0 && self.failures >= warns).then_some(CheckStatus::Warning);
        }
        self.successes = self.successes.saturating_add(1);
        self.failures = 0;
        (self.successes >= self.success_before_passing).then_some(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use CheckStatus::{Critical, Passing, Warning};
    use model::registration::{CheckPlan, CheckProbe};

    fn machine(passing: u16, warning: u16, critical: u16) -> Machine {
        let plan = CheckPlan {
            success_before_passing: passing,
            failures_before_warning: warning,
            failures_before_critical: critical,
            ..CheckPlan::of(CheckProbe::Tcp { address: String::new() })
        };
        Machine::new(&CheckWish { plan, run: Timestamp(3), status: Critical }, None)
    }

    #[test]
    fn thresholds_count_answers_in_a_row() {
        let (p, w, c) = (Passing, Warning, Critical);
        for (thresholds, answers, expect) in [
            ((0, 0, 0), vec![p, c, p, w], vec![Some(p), Some(c), Some(p), Some(w)]),
            ((0, 0, 2), vec![p, c, p, c, c], vec![Some(p), None, None, None, Some(c)]),
            ((3, 0, 0), vec![p, p, p, c, p], vec![None, None, Some(p), Some(c), None]),
            ((0, 1, 3), vec![p, c, c, c], vec![Some(p), Some(w), None, Some(c)]),
        ] {
            let mut machine = machine(thresholds.0, thresholds.1, thresholds.2);
            let told = answers
                .iter()
                .map(|status| machine.observe(*status, String::new(), 0).map(|seen| seen.status));
            assert_eq!(told.collect::<Vec<_>>(), expect, "{thresholds:?} {answers:?}");
        }
    }

    #[test]
    fn another_output_alone_is_told_once_in_five_minutes() {
        let mut machine = machine(0, 0, 0);
        let mut told = |output: &str, at| machine.observe(Passing, output.into(), at).is_some();
        assert!(told("1", 0));
        assert!(!told("2", CHECK_OUTPUT_MS - 1));
        assert!(told("3", CHECK_OUTPUT_MS));
        assert!(!told("3", 3 * CHECK_OUTPUT_MS), "it is the same");
    }
}
