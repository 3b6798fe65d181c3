//! The dead-man lease: a container of which at most one may run in the cluster is dead by the time
//! at which the server may have made another one elsewhere.

use super::decide::{Next, One};
use super::plan::Action;
use model::instance::Phase;
use model::mutation::{Mutation, is_in};

/// What stopping may take beyond the grace period, in milliseconds.
const MARGIN_MS: u64 = 2_000;

/// When a container must begin to end, and how long it has then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Deadline {
    begin_ms: u64,
    grace_ms: u64,
}

/// It must be dead when the server has not heard of us for `stop_after_ms`.
fn deadline(stop_after_ms: u64, stop_grace_ms: u64) -> Deadline {
    let grace_ms = whole_seconds(stop_grace_ms.min(stop_after_ms / 2));
    let margin = MARGIN_MS.min(stop_after_ms / 4);
    Deadline { begin_ms: stop_after_ms.saturating_sub(grace_ms).saturating_sub(margin), grace_ms }
}

/// Docker rounds up to seconds, and here it must not be late.
fn whole_seconds(ms: u64) -> u64 {
    ms / 1_000 * 1_000
}

impl One<'_> {
    /// What the silence of the server asks of a container that runs; `None` when it may go on.
    pub(super) fn silence(&mut self) -> Option<Next> {
        let stop_after_ms = self.wanted.stop_after_ms.filter(|_| !is_in(Mutation::OutliveLease))?;
        let container = self.container().filter(|c| c.running)?.id.clone();
        let deadline = deadline(stop_after_ms, self.wanted.stop_grace_ms);
        let unheard_ms = self.seen.lease.unheard_ms.unwrap_or(u64::MAX);
        if unheard_ms < deadline.begin_ms {
            self.wake(self.now.plus_ms(deadline.begin_ms - unheard_ms));
            return None;
        }
        let left = whole_seconds(stop_after_ms.saturating_sub(unheard_ms));
        let stop = Action::Stop {
            instance: self.id.clone(),
            container,
            grace_ms: deadline.grace_ms.min(left),
        };
        let s = stop_after_ms / 1_000;
        let reason = format!(
            "it is being stopped: the server is not heard, and may run it elsewhere after {s} s"
        );
        Some((Phase::Draining, reason, Some(stop)))
    }

    /// Why it cannot be started now, although it should run.
    pub(super) fn is_silent(&self) -> Option<String> {
        let stop_after_ms = self.wanted.stop_after_ms?;
        let deadline = deadline(stop_after_ms, self.wanted.stop_grace_ms);
        let lease = self.seen.lease;
        let heard = lease.unheard_ms.is_some_and(|ms| ms < deadline.begin_ms);
        (!heard || !lease.renewed).then(|| "waits for the server: it may run elsewhere".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grace_and_margin_fit_before_the_deadline() {
        for (after, grace, begin, grace_left) in [
            (30_000, 10_000, 18_000, 10_000),
            (30_000, 1_500, 27_000, 1_000),
            (10_000, 10_000, 3_000, 5_000),
            (60_000, 300_000, 28_000, 30_000),
            (0, 10_000, 0, 0),
        ] {
            let expect = Deadline { begin_ms: begin, grace_ms: grace_left };
            assert_eq!(deadline(after, grace), expect, "{after} {grace}");
        }
    }
}
