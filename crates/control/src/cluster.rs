//! What should exist and where. `plan` compares what is wanted with what is decided and seen, and
//! proposes the next decisions; it cannot fail: what cannot be done is written down as blocked.

mod depend;
mod diff;
mod draft;
mod job;
mod leaving;
mod motion;
mod repair;
mod rollout;
mod scale;
mod simulate;
mod slots;

pub use diff::{ServiceChange, ServiceDiff, StackDiff, diff};
pub use simulate::{Outcome, Sign, Step, simulate};
pub use slots::scale_of;

use crate::ledger::Ledger;
use draft::Draft;
use model::change::{Change, Edit, Proposal};
use model::cluster::Cluster;
use model::instance::{Goal, Phase};
use model::limits::REVISIONS_KEPT_MAX;
use model::record::{RecordKey, Rollout};
use model::scaling::Mode;
use model::time::Timestamp;

/// What to commit next, and when to plan again though nothing has changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterPlan {
    /// At most one a service; each names the records that it rests on.
    pub proposals: Vec<Proposal>,
    /// Next time at which something is due.
    pub wake_at: Option<Timestamp>,
}

/// Plans for every service.
#[must_use]
pub fn plan(cluster: &Cluster, now: Timestamp) -> ClusterPlan {
    let mut ledger = Ledger::of(cluster);
    let mut plan = ClusterPlan::default();
    for service in cluster.services() {
        let mut draft = Draft::new(cluster, service, now);
        decide(&mut draft, &mut ledger);
        let (proposal, wake_at) = draft.finish();
        if !proposal.is_empty() {
            plan.proposals.push(proposal);
        }
        plan.wake_at = earliest(plan.wake_at, wake_at);
    }
    plan.proposals.extend(orphans(cluster));
    plan
}

fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
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
            }
        },
    }
    draft.forget_revisions(REVISIONS_KEPT_MAX);
    draft.note_status();
}

/// Records that nothing stands behind any more: stacks without services, statuses without
/// instances, instances without a service.
fn orphans(cluster: &Cluster) -> Option<Proposal> {
    let mut keys: Vec<RecordKey> = vec![];
    for stack in cluster.stacks() {
        if cluster.services_of(&stack.name).next().is_none() {
            keys.push(RecordKey::Stack(stack.name.clone()));
        }
    }
    for (id, _) in cluster.instance_statuses() {
        if cluster.instance(id).is_none() {
            keys.push(RecordKey::InstanceStatus(id.clone()));
        }
    }
    for instance in cluster.instances() {
        let gone =
            cluster.instance_status(&instance.id).is_some_and(|seen| seen.phase == Phase::Absent);
        if cluster.service(&instance.id.service).is_none() && gone {
            keys.push(RecordKey::Instance(instance.id.clone()));
        }
    }
    keys.truncate(model::limits::DECISIONS_PER_PLAN_MAX);
    if keys.is_empty() {
        return None;
    }
    Some(Proposal {
        reads: keys.iter().map(|key| (key.clone(), cluster.modified(key))).collect(),
        change: Change { edits: keys.into_iter().map(Edit::Delete).collect() },
    })
}
