//! A running service: where its rollout is, what has failed, what served before.

use super::draft::Draft;
use super::motion::{self, before};
use super::{leaving, rebalance, repair, slots};
use crate::ledger::{self, Ledger};
use crate::readiness::{self, Start};
use model::instance::{Goal, Target};
use model::limits::ROLLOUT_FAILURES_MAX;
use model::mutation::{Mutation, is_in};
use model::reason::Reason;
use model::record::{Rollout, Verdict};
use model::rollout_policy::FailureAction;
use model::service::Kind;

/// Decides for a service that is to run.
pub(super) fn decide(draft: &mut Draft<'_>, ledger: &mut Ledger<'_>) {
    draft.status.blocked.clear();
    slots::settle(draft, ledger);
    end_surplus(draft);
    rebalance::settle(draft);
    leaving::mark(draft);
    motion::end_doubles(draft);
    let failed = has_failed(draft);
    let in_place = retarget_balancers(draft, ledger);
    if !failed {
        note_start(draft);
    }
    settle_stopped(draft, ledger, failed);
    repair::replace_unhealthy(draft);
    if failed {
        stop_failing(draft);
    }
    let failed = failed || judge_starts(draft);
    let course = motion::course(draft, failed);
    motion::hand_over(draft, &course);
    motion::fill_slots(draft, ledger, &course);
    if !in_place {
        motion::advance(draft, ledger, &course);
    }
    motion::tell_waits(draft, &course);
    settle_images(draft);
    note_done(draft);
}

/// Is the present try to reach the present target over, and failed?
fn has_failed(draft: &Draft<'_>) -> bool {
    matches!(&draft.status.rollout,
        Rollout::Failed { target, attempt, .. }
            if *target == draft.service.target && *attempt == draft.service.attempt)
}

fn target(draft: &Draft<'_>) -> Target {
    draft.service.target
}

/// Slots that are not wanted any more go, and so do instances whose host has left the cluster.
fn end_surplus(draft: &mut Draft<'_>) {
    for index in 0..draft.members.len() {
        let instance = &draft.members[index].instance;
        if instance.goal == Goal::Remove || !draft.has_room() {
            continue;
        }
        let surplus = draft.slots.binary_search(&instance.id.n).is_err();
        if surplus && !is_in(Mutation::KeepSurplus) {
            let why = match draft.service.settings.mode {
                model::scaling::Mode::Global => "its host takes none of this service any more",
                _ => "scaled down",
            };
            draft.set_goal(index, Goal::Remove, why);
        } else if draft.cluster.host(&instance.host).is_none() {
            draft.set_goal(index, Goal::Remove, "its host has left the cluster");
        }
    }
}

/// Stopped instances. Those of a failed rollout stay while it is the last word, for their logs;
/// those from before a rollout that waits for `finish` stay until then; in a slot where nothing
/// runs the best one runs again; the rest goes.
fn settle_stopped(draft: &mut Draft<'_>, ledger: &mut Ledger<'_>, failed: bool) {
    let slots: std::collections::BTreeSet<u32> = draft
        .members
        .iter()
        .filter(|m| m.instance.goal == Goal::Stop)
        .map(|m| m.instance.id.n)
        .collect();
    let kept = motion::kept(draft);
    for n in slots {
        let best = best_of_stopped(draft, n);
        for index in draft.in_slot(n).to_vec() {
            let instance = &draft.members[index].instance;
            if instance.goal != Goal::Stop || !draft.has_room() {
                continue;
            }
            let evidence = failed && instance.target == target(draft);
            let for_finish = Some(instance.target) == kept;
            let wanted_back = !failed && instance.target == target(draft);
            if Some(index) == best {
                if !motion::is_held(draft, n, best) {
                    draft.start_again(ledger, index, "service started again");
                }
            } else if !evidence && !for_finish && !wanted_back {
                draft.set_goal(index, Goal::Remove, "left from an earlier rollout");
            } else if wanted_back && has_current(draft, n) {
                draft.set_goal(index, Goal::Remove, "not needed any more");
            }
        }
    }
}

/// Does a slot have an instance at the wanted version already?
fn has_current(draft: &Draft<'_>, n: u32) -> bool {
    draft.running_in(n).any(|i| draft.members[i].instance.target == target(draft))
}

/// Which stopped instance of a slot is to run again; `None` when something runs there already or
/// all of them are of a version that had failed.
fn best_of_stopped(draft: &Draft<'_>, n: u32) -> Option<usize> {
    if draft.running_in(n).next().is_some() {
        return None;
    }
    let before = before(draft);
    // A version that failed runs again only where nothing has ever served: it goes on trying.
    let bad = match &draft.status.rollout {
        Rollout::Failed { target, before: Some(_), .. } => Some(*target),
        _ => None,
    };
    // What is kept until `finish` is only taken when it is wanted back.
    let kept = motion::kept(draft);
    draft
        .in_slot(n)
        .iter()
        .copied()
        .filter(|index| {
            let instance = &draft.members[*index].instance;
            let of = Some(instance.target);
            instance.goal == Goal::Stop && of != bad && of != kept
        })
        .max_by_key(|index| {
            let id = &draft.members[*index].instance.id;
            let of = draft.members[*index].instance.target;
            (of == target(draft), Some(of) == before, id.incarnation)
        })
}

/// A balancer moves to its new version in place: nothing is started or stopped, only ports that
/// others hold keep it back. Says whether this service is one.
fn retarget_balancers(draft: &mut Draft<'_>, ledger: &mut Ledger<'_>) -> bool {
    let wanted = target(draft);
    let Some(template) = draft.template(wanted) else { return false };
    if !matches!(template.kind, Kind::Balancer(_)) {
        return false;
    }
    let ports = ledger::wanted_ports(template);
    let mut leaves = false;
    for index in 0..draft.members.len() {
        let instance = &draft.members[index].instance;
        leaves |= instance.goal == Goal::Run && instance.leaving;
        if instance.goal != Goal::Run || instance.target == wanted || !draft.has_room() {
            continue;
        }
        let n = instance.id.n;
        match ledger.port_holder(&instance.host, &draft.service.id, &ports) {
            Some(reason) => draft.block(n, reason),
            None => {
                draft.retarget(index, wanted, ports.clone());
                ledger.take(&draft.members[index].instance);
            }
        }
    }
    !leaves
}

/// The newest other version that runs, or that is ready.
fn serving(draft: &mut Draft<'_>, ready: bool) -> Option<Target> {
    let wanted = target(draft);
    let mut found = None;
    for index in 0..draft.members.len() {
        let instance = &draft.members[index].instance;
        let (goal, of) = (instance.goal, instance.target);
        if goal == Goal::Run && of != wanted && (!ready || draft.is_ready(index)) {
            found = found.max(Some(of));
        }
    }
    found
}

/// Writes down how the rollout of a revision ended.
fn note_verdict(draft: &mut Draft<'_>, revision: u32, verdict: Verdict) {
    let at = draft.now;
    let known = draft.status.revisions.entry(revision).or_default();
    // What was good once is not made worse by a rollout that was cut short.
    if known.verdict != verdict
        && !(verdict == Verdict::Superseded && known.verdict == Verdict::Good)
    {
        known.verdict = verdict;
        known.at = at;
    }
}

/// A rollout begins when something runs at another target, or a failed one is tried anew.
fn note_start(draft: &mut Draft<'_>) {
    let wanted = target(draft);
    let known = draft.status.rollout.clone();
    // What served before the first of several changes is what is known to be good.
    let before = match &known {
        Rollout::Running { target, .. } | Rollout::Finishing { target, .. }
            if *target == wanted =>
        {
            return;
        }
        Rollout::Done => match serving(draft, false) {
            None => return,
            found => found,
        },
        Rollout::Finishing { target, .. } => Some(*target),
        Rollout::Running { .. } | Rollout::Failed { .. } => {
            before(draft).or_else(|| serving(draft, true))
        }
    };
    if let Rollout::Running { target: old, .. } = &known
        && old.revision != wanted.revision
    {
        note_verdict(draft, old.revision, Verdict::Superseded);
    }
    draft.status.rollout = Rollout::Running { target: wanted, before, since: draft.now };
    draft.status.replacements.clear();
    let Rollout::Failed { target: failed, .. } = known else { return };
    // A new try is made with new containers, whatever kept the old ones from working.
    for index in 0..draft.members.len() {
        let instance = &draft.members[index].instance;
        let stale = instance.goal == Goal::Run && instance.target == failed;
        if stale && draft.has_room() && !draft.is_ready(index) {
            draft.set_goal(index, Goal::Remove, "its rollout had failed");
        }
    }
}

/// New instances that failed end the rollout. Says whether it has failed now.
fn judge_starts(draft: &mut Draft<'_>) -> bool {
    let Rollout::Running { target: wanted, before, .. } = draft.status.rollout else {
        return false;
    };
    let action = draft.service.settings.update.on_failure;
    if action == FailureAction::Continue && before.is_some() {
        return false;
    }
    let mut failures: Vec<(usize, String)> = vec![];
    for index in 0..draft.members.len() {
        let member = &draft.members[index];
        if member.instance.goal != Goal::Run || member.instance.target != wanted {
            continue;
        }
        if let Some(why) = failing(draft, index) {
            failures.push((index, why));
        }
    }
    let Some((first, why)) = failures.first().cloned() else { return false };
    let n = draft.members[first].instance.id.n;
    let why = format!("instance #{n}: {why}");
    let at = draft.now;
    let attempt = draft.service.attempt;
    draft.status.rollout =
        Rollout::Failed { target: wanted, before, n, attempt, why: why.clone(), at };
    note_verdict(draft, wanted.revision, Verdict::Failed { why: why.clone() });
    // Where there is an older version, the failed ones stop and are kept for their logs; without
    // it (a first deployment) they go on trying, and so they do when somebody is to decide.
    if before.is_some() && action == FailureAction::Rollback {
        for (index, why) in failures {
            if draft.has_room() {
                draft.set_goal(index, Goal::Stop, &format!("rollout stopped: {why}"));
            }
        }
        stop_beside_old(draft, wanted, &why);
    }
    true
}

/// A new one beside an old one that still serves is not needed any more.
fn stop_beside_old(draft: &mut Draft<'_>, wanted: Target, why: &str) {
    for n in draft.slots.clone() {
        let (new, old): (Vec<usize>, Vec<usize>) =
            draft.running_in(n).partition(|index| draft.members[*index].instance.target == wanted);
        for index in new.into_iter().filter(|_| !old.is_empty()) {
            if draft.has_room() {
                draft.set_goal(index, Goal::Stop, &format!("rollout stopped: {why}"));
            }
        }
    }
}

/// Why an instance of the new version counts as failed; `None` while it does not. Notes when to
/// look again.
fn failing(draft: &mut Draft<'_>, index: usize) -> Option<String> {
    let ready = draft.is_ready(index);
    if motion::is_proven(draft, index) {
        return None;
    }
    let member = &draft.members[index];
    // Ready for the moment is not enough for one that ends again and again.
    if ready && member.seen.restarts < ROLLOUT_FAILURES_MAX {
        return None;
    }
    let template = draft.template(member.instance.target)?;
    match readiness::start(template, &member.instance, &member.seen, draft.now) {
        Start::Failed(why) => return Some(why),
        Start::Pending(Some(at)) => draft.wake(at),
        Start::Pending(None) => {}
    }
    None
}

/// After a failure, instances of the failed version that had taken over and fail now make room for
/// the version before.
fn stop_failing(draft: &mut Draft<'_>) {
    let back = draft.service.settings.update.on_failure == FailureAction::Rollback;
    if before(draft).is_none() || !back {
        return;
    }
    for index in 0..draft.members.len() {
        let instance = &draft.members[index].instance;
        if instance.goal != Goal::Run || instance.target != target(draft) || !draft.has_room() {
            continue;
        }
        if let Some(why) = failing(draft, index) {
            draft.set_goal(index, Goal::Stop, &format!("rollout stopped: {why}"));
        }
    }
}

/// Every slot ready at the target and nothing else to run: the rollout is done, but for what is
/// kept until `finish`.
fn note_done(draft: &mut Draft<'_>) {
    if draft.slots.is_empty() && matches!(draft.status.rollout, Rollout::Failed { .. }) {
        // Nothing was proven: what is scaled up again must know what is good.
        return;
    }
    let wanted = target(draft);
    for n in draft.slots.clone() {
        let (new, old): (Vec<usize>, Vec<usize>) = draft.running_in(n).partition(|index| {
            let instance = &draft.members[*index].instance;
            instance.target == wanted && !instance.leaving
        });
        if !old.is_empty() || !motion::any_proven(draft, &new) {
            return;
        }
    }
    if !draft.slots.is_empty() {
        note_verdict(draft, wanted.revision, Verdict::Good);
    }
    let kept = motion::kept(draft).filter(|before| {
        draft.members.iter().any(|m| m.instance.goal == Goal::Stop && m.instance.target == *before)
    });
    match (kept, &draft.status.rollout) {
        (Some(_), Rollout::Finishing { .. }) => {}
        (Some(before), _) => {
            draft.status.rollout =
                Rollout::Finishing { target: wanted, before: Some(before), since: draft.now };
        }
        (None, _) => draft.status.rollout = Rollout::Done,
    }
    if kept.is_some() {
        draft.block(0, Reason::FinishWaits { revision: wanted.revision });
    }
}

/// Settles which images the revision runs, on all hosts and in a rollback: those that its first
/// instances say that they have. A restart of the newest revision looks up anew what a name means.
fn settle_images(draft: &mut Draft<'_>) {
    let wanted = target(draft);
    let revisions = draft.cluster.revisions_of(&draft.service.id);
    let is_newest = revisions.map(|revision| revision.number).max() == Some(wanted.revision);
    let members = draft.members.iter();
    for member in members.filter(|m| m.instance.goal == Goal::Run && m.instance.target == wanted) {
        let sidekicks = member.sidekicks.iter().map(|(name, seen)| (name.to_string(), seen));
        for (name, seen) in std::iter::once((String::new(), &member.seen)).chain(sidekicks) {
            if seen.image_id.is_empty() {
                continue;
            }
            let known = draft.status.revisions.entry(wanted.revision).or_default();
            if is_newest && known.images_of != wanted.restart {
                known.images.clear();
                known.image_digests.clear();
                known.images_of = wanted.restart;
            }
            // Where a name means different images on two hosts, the first one counts.
            if known.images.contains_key(&name) {
                continue;
            }
            known.images.insert(name.clone(), seen.image_id.clone());
            if !seen.image_digest.is_empty() {
                known.image_digests.insert(name, seen.image_digest.clone());
            }
        }
    }
}
