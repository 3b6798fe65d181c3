//! When an instance that leaves may be stopped: out of traffic everywhere, nobody holds its DNS
//! answer any more, and its requests have ended or their time is over. Pure.

use model::instance::Goal;
use model::limits::DNS_LAME_DUCK_MS;
use model::time::{Index, Timestamp};

/// The leaving of one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Drain {
    /// Which order to leave it is.
    pub(crate) ordered_at: Option<Timestamp>,
    /// Since when it is to leave.
    pub(crate) since: Timestamp,
    /// First view that says so.
    pub(crate) view: Index,
    /// When the dataplane had that view in force.
    pub(crate) acknowledged: Option<Timestamp>,
}

/// May it be stopped?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drained {
    /// It may.
    Yes,
    /// Look again then.
    At(Timestamp),
}

impl Drain {
    /// It is told now to leave, by a view that says so.
    pub(crate) fn begin(ordered_at: Option<Timestamp>, view: Index, now: Timestamp) -> Self {
        Self { ordered_at, since: now, view, acknowledged: None }
    }

    /// Is it by this order? By another one it begins anew: in between the instance was to run, and
    /// others may have heard that and send to it though this host has not.
    pub(crate) fn is_by(&self, goal: Goal, ordered_at: Option<Timestamp>) -> bool {
        goal != Goal::Run && self.ordered_at == ordered_at
    }

    /// Notes which view is in force. Where the clock was set back, the time begins anew: what began
    /// in the future would be waited for until then.
    pub(crate) fn note(&mut self, in_force: Index, now: Timestamp) {
        self.since = self.since.min(now);
        self.acknowledged = self.acknowledged.map(|at| at.min(now));
        if self.acknowledged.is_none() && in_force >= self.view {
            self.acknowledged = Some(now);
        }
    }

    /// May it be stopped, with `active` requests open to it?
    pub(crate) fn judge(&self, active: u64, drain_ms: u64, now: Timestamp) -> Drained {
        let over = self.since.plus_ms(drain_ms.max(DNS_LAME_DUCK_MS));
        if now >= over {
            return Drained::Yes;
        }
        match self.acknowledged {
            Some(at) => {
                let quiet = at.plus_ms(DNS_LAME_DUCK_MS);
                if now < quiet {
                    Drained::At(quiet.min(over))
                } else if active == 0 {
                    Drained::Yes
                } else {
                    Drained::At(over)
                }
            }
            None => Drained::At(over),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_that_was_taken_back_and_given_again_is_another_one() {
        let (first, second) = (Some(Timestamp(5)), Some(Timestamp(9)));
        let drain = Drain::begin(first, Index(7), Timestamp(6));
        assert!(drain.is_by(Goal::Stop, first) && drain.is_by(Goal::Remove, first));
        assert!(!drain.is_by(Goal::Stop, second) && !drain.is_by(Goal::Run, None));
        let of_older_servers = Drain::begin(None, Index(7), Timestamp(6));
        assert!(of_older_servers.is_by(Goal::Stop, None));
    }

    #[test]
    fn it_waits_for_the_view_then_for_dns_then_for_requests_and_not_for_ever() {
        let mut drain = Drain::begin(None, Index(7), Timestamp(0));
        let judge = |d: &Drain, active, now| d.judge(active, 10_000, Timestamp(now));
        drain.note(Index(6), Timestamp(50));
        assert_eq!(judge(&drain, 0, 5_000), Drained::At(Timestamp(10_000)), "no such view yet");
        drain.note(Index(7), Timestamp(100));
        drain.note(Index(8), Timestamp(900));
        assert_eq!(judge(&drain, 0, 1_599), Drained::At(Timestamp(1_600)), "dns answers live on");
        assert_eq!(judge(&drain, 0, 1_600), Drained::Yes);
        assert_eq!(judge(&drain, 2, 1_600), Drained::At(Timestamp(10_000)), "requests in flight");
        assert_eq!(judge(&drain, 2, 10_000), Drained::Yes, "their time is over");
        let mut back = drain;
        back.since = Timestamp(3_600_000);
        back.acknowledged = Some(Timestamp(3_600_100));
        back.note(Index(9), Timestamp(1_000));
        assert_eq!(judge(&back, 2, 1_000), Drained::At(Timestamp(2_500)), "the clock went back");
        assert_eq!(judge(&back, 2, 11_000), Drained::Yes, "and its time is over in the end");
        let short = drain.judge(0, 0, Timestamp(1_500));
        assert_eq!(short, Drained::Yes, "no drain still waits for dns");
    }
}
