//! What should exist and where. `plan` compares what is wanted with what is decided and seen, and
//! proposes the next decisions; it cannot fail: what cannot be done is written down as blocked.

mod attach;
mod depend;
mod diff;
mod draft;
mod job;
mod leaving;
mod leftovers;
mod motion;
mod planner;
mod rebalance;
mod repair;
mod rollout;
mod scale;
mod simulate;
mod slots;

pub use diff::{ServiceChange, ServiceDiff, StackDiff, diff, template_diff};
pub use planner::Planner;
pub use simulate::{Outcome, Sign, Step, simulate};
pub use slots::scale_of;

use crate::ledger::Ledger;
use draft::Draft;
use model::change::Proposal;
use model::cluster::Cluster;
use model::instance::Goal;
use model::limits::REVISIONS_KEPT_MAX;
use model::record::Rollout;
use model::scaling::Mode;
use model::time::Timestamp;

/// What to commit next, and when to plan again though nothing has changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterPlan {
    /// At most one a service or plain container; each names the records that it rests on.
    pub proposals: Vec<Proposal>,
    /// Next time at which something is due.
    pub wake_at: Option<Timestamp>,
    /// What an external scheduler is to be asked; the answers go to `Planner::answer`.
    pub asks: Vec<crate::placement::external::Request>,
    /// What an external scheduler is to be told that is free again: payloads of
    /// `scheduler.release`.
    pub releases: Vec<serde_json::Value>,
}

/// Plans for every service, from nothing.
#[must_use]
pub fn plan(cluster: &Cluster, now: Timestamp) -> ClusterPlan {
    Planner::default().plan(cluster, now)
}

fn decide(draft: &mut Draft<'_>, ledger: &mut Ledger<'_>) {
    draft.forget_gone();
    match draft.service.goal {
        Goal::Remove => {
            draft.end_all(Goal::Remove, "service removed");
            job::end_runs(draft, "the job is removed");
            draft.status.blocked.clear();
            draft.status.rollout = Rollout::Done;
            if draft.members.is_empty() {
                draft.delete_service();
                return;
            }
        }
        Goal::Stop => {
            // Where the rollout is stays known: a start goes on from there.
            draft.end_all(Goal::Stop, "service stopped");
            job::end_runs(draft, "the job is stopped");
            // Nobody is to be asked for what came due meanwhile.
            draft.status.scheduled_to = Timestamp::default();
            draft.status.blocked.clear();
        }
        Goal::Run => match &draft.service.settings.mode {
            Mode::Job(spec) => job::decide(draft, ledger, spec),
            Mode::Replicated | Mode::Global => {
                rollout::decide(draft, ledger);
                scale::fit(draft, ledger);
                rebalance::consider(draft, ledger);
            }
        },
    }
    draft.forget_revisions(REVISIONS_KEPT_MAX);
    draft.note_status();
}
