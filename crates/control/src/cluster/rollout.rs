//! A running service: every slot gets one ready instance at the wanted target, a batch at a time,
//! and what serves is not taken away before something else does.

use super::draft::Draft;
use super::{depend, repair};
use crate::ledger::{self, Ledger};
use crate::readiness::{self, Start};
use model::instance::{Goal, Phase, Target};
use model::limits::ROLLOUT_FAILURES_MAX;
use model::record::Rollout;
use model::rollout_policy::UpdateOrder;
use model::service::Kind;
use model::time::Timestamp;

/// Decides for a service that is to run.
pub(super) fn decide(draft: &mut Draft<'_>, ledger: &mut Ledger<'_>) {
    draft.status.blocked.clear();
    end_surplus(draft);
    let failed = has_failed(draft);
    settle_stopped(draft, failed);
    let in_place = retarget_balancers(draft, ledger);
    if !failed {
        note_start(draft);
    }
    repair::replace_unhealthy(draft);
    if failed {
        stop_failing(draft);
    }
    let failed = failed || judge_starts(draft);
    if !failed {
        hand_over(draft);
    }
    fill_slots(draft, ledger, failed);
    if !failed && !in_place {
        advance(draft, ledger);
    }
    note_done(draft);
}

/// Is the present try to reach the present target over, and failed?
fn has_failed(draft: &Draft<'_>) -> bool {
    matches!(&draft.status.rollout,
        Rollout::Failed { target, attempt, .. }
            if *target == draft.service.target && *attempt == draft.service.attempt)
}

/// The version that served before the rollout; `None` for a first deployment.
fn before(draft: &Draft<'_>) -> Option<Target> {
    let before = draft.status.rollout.before();
    before.filter(|before| *before != target(draft) && draft.template(*before).is_some())
}

fn target(draft: &Draft<'_>) -> Target {
    draft.service.target
}

/// Indexes of instances that are to run, at the target or not.
fn running(draft: &Draft<'_>, n: u32, at_target: bool) -> Vec<usize> {
    let target = target(draft);
    (0..draft.members.len())
        .filter(|i| {
            let instance = &draft.members[*i].instance;
            instance.id.n == n
                && instance.goal == Goal::Run
                && (instance.target == target) == at_target
        })
        .collect()
}

/// Slots beyond the scale go, and so do instances whose host has left the cluster.
fn end_surplus(draft: &mut Draft<'_>) {
    for index in 0..draft.members.len() {
        let instance = &draft.members[index].instance;
        if instance.goal == Goal::Remove || !draft.has_room() {
            continue;
        }
        if instance.id.n > draft.service.scale {
            draft.set_goal(index, Goal::Remove, "scaled down");
        } else if draft.cluster.host(&instance.host).is_none() {
            draft.set_goal(index, Goal::Remove, "its host has left the cluster");
        }
    }
}

/// Stopped instances. Those of a failed rollout stay while it is the last word, for their logs;
/// in a slot where nothing runs the best one runs again; the rest goes.
fn settle_stopped(draft: &mut Draft<'_>, failed: bool) {
    let slots: std::collections::BTreeSet<u32> = draft
        .members
        .iter()
        .filter(|m| m.instance.goal == Goal::Stop)
        .map(|m| m.instance.id.n)
        .collect();
    for n in slots {
        let best = best_of_stopped(draft, n);
        for index in 0..draft.members.len() {
            let instance = &draft.members[index].instance;
            if instance.id.n != n || instance.goal != Goal::Stop || !draft.has_room() {
                continue;
            }
            let evidence = failed && instance.target == target(draft);
            if Some(index) == best {
                draft.set_goal(index, Goal::Run, "service started again");
            } else if !evidence {
                draft.set_goal(index, Goal::Remove, "left from an earlier rollout");
            }
        }
    }
}

/// Which stopped instance of a slot is to run again; `None` when something runs there already or
/// all of them are of a version that had failed.
fn best_of_stopped(draft: &Draft<'_>, n: u32) -> Option<usize> {
    let in_slot = || draft.members.iter().enumerate().filter(move |(_, m)| m.instance.id.n == n);
    if in_slot().any(|(_, m)| m.instance.goal == Goal::Run) {
        return None;
    }
    let before = before(draft);
    // A version that failed runs again only where nothing has ever served: it goes on trying.
    let bad = match &draft.status.rollout {
        Rollout::Failed { target, before: Some(_), .. } => Some(*target),
        _ => None,
    };
    in_slot()
        .filter(|(_, m)| m.instance.goal == Goal::Stop && Some(m.instance.target) != bad)
        .max_by_key(|(_, m)| {
            let target_of = m.instance.target;
            (target_of == target(draft), Some(target_of) == before, m.instance.id.incarnation)
        })
        .map(|(index, _)| index)
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
    for index in 0..draft.members.len() {
        let instance = &draft.members[index].instance;
        if instance.goal != Goal::Run || instance.target == wanted || !draft.has_room() {
            continue;
        }
        let n = instance.id.n;
        match ledger.port_holder(&instance.host, &draft.service.id, &ports) {
            Some(reason) => draft.block(n, reason),
            None => {
                draft.retarget(index, wanted, ports.clone());
                ledger.take_ports(&draft.members[index].instance);
            }
        }
    }
    true
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

/// A rollout begins when something runs at another target, or a failed one is tried anew.
fn note_start(draft: &mut Draft<'_>) {
    let wanted = target(draft);
    let known = draft.status.rollout.clone();
    // What served before the first of several changes is what is known to be good.
    let before = match &known {
        Rollout::Running { target, .. } if *target == wanted => return,
        Rollout::Done => match serving(draft, false) {
            None => return,
            found => found,
        },
        Rollout::Running { .. } | Rollout::Finishing { .. } | Rollout::Failed { .. } => {
            before(draft).or_else(|| serving(draft, true))
        }
    };
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
    draft.status.rollout = Rollout::Failed {
        target: wanted,
        before,
        n,
        attempt: draft.service.attempt,
        why: why.clone(),
        at: draft.now,
    };
    // Where there is an older version, the failed ones stop and are kept for their logs; without
    // it (a first deployment) they go on trying.
    if before.is_some() {
        for (index, why) in failures {
            if draft.has_room() {
                draft.set_goal(index, Goal::Stop, &format!("rollout stopped: {why}"));
            }
        }
        // A new one beside an old one that still serves is not needed any more.
        for slot in 1..=draft.service.scale {
            if running(draft, slot, false).is_empty() {
                continue;
            }
            for index in running(draft, slot, true) {
                if draft.has_room() {
                    draft.set_goal(index, Goal::Stop, &format!("rollout stopped: {why}"));
                }
            }
        }
    }
    true
}

/// Why an instance of the new version counts as failed; `None` while it does not. Notes when to
/// look again.
fn failing(draft: &mut Draft<'_>, index: usize) -> Option<String> {
    let ready = draft.is_ready(index);
    if is_proven(draft, index) {
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
    if before(draft).is_none() {
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

/// Is an instance ready, and has it been so for long enough to take over? What is known to run (a
/// restart of the same revision) or takes over from nobody needs no proof, unless it has ended
/// since it was made.
fn is_proven(draft: &mut Draft<'_>, index: usize) -> bool {
    if !draft.is_ready(index) {
        return false;
    }
    let known_good = before(draft).is_none_or(|b| b.revision == target(draft).revision);
    let seen = &draft.members[index].seen;
    if seen.phase == Phase::Completed || (known_good && seen.restarts == 0) {
        return true;
    }
    let due = readiness::proven_at(seen);
    if draft.now < due {
        draft.wake(due);
    }
    draft.now >= due
}

/// Is one of these proven?
fn any_proven(draft: &mut Draft<'_>, indexes: &[usize]) -> bool {
    indexes.iter().any(|index| is_proven(draft, *index))
}

/// Slots whose new instance is ready and proven let the old one go.
fn hand_over(draft: &mut Draft<'_>) {
    for n in 1..=draft.service.scale {
        let new = running(draft, n, true);
        if !any_proven(draft, &new) {
            continue;
        }
        let revision = target(draft).revision;
        for index in running(draft, n, false) {
            if draft.has_room() {
                draft.set_goal(index, Goal::Remove, &format!("replaced by revision {revision}"));
            }
        }
    }
}

/// Does an ending instance still hold the place of its slot? Only with stop-first.
fn is_held(draft: &Draft<'_>, n: u32) -> bool {
    draft.service.settings.update.order == Some(UpdateOrder::StopFirst)
        && draft.members.iter().any(|m| {
            m.instance.id.n == n
                && m.instance.goal != Goal::Run
                && !matches!(m.seen.phase, Phase::Absent | Phase::Stopped | Phase::Completed)
        })
}

/// Empty slots get an instance: at the target, or after a failure at the version before it.
fn fill_slots(draft: &mut Draft<'_>, ledger: &mut Ledger<'_>, failed: bool) {
    let empty: Vec<u32> = (1..=draft.service.scale)
        .filter(|n| running(draft, *n, true).is_empty() && running(draft, *n, false).is_empty())
        .filter(|n| !is_held(draft, *n))
        .collect();
    if empty.is_empty() {
        return;
    }
    if draft.status.incarnations == 0
        && let Some(reason) = depend::waits(draft)
    {
        draft.block(0, reason);
        return;
    }
    let fallback = if failed { before(draft) } else { None };
    let version = fallback.unwrap_or(target(draft));
    for n in empty {
        if !draft.has_room() {
            return;
        }
        let reason = match draft.status.replacements.get(&n) {
            Some(replacement) => format!("replacement: {}", replacement.why),
            None if fallback.is_some() => "the rollout failed: back to what served".into(),
            None => {
                if matches!(draft.status.rollout, Rollout::Done) {
                    draft.status.rollout =
                        Rollout::Running { target: version, before: None, since: draft.now };
                }
                format!("slot {n} of {}", draft.service.scale)
            }
        };
        draft.place(ledger, n, version, &reason);
    }
}

/// The next batch of old instances gets its successors.
fn advance(draft: &mut Draft<'_>, ledger: &mut Ledger<'_>) {
    let scale = draft.service.scale;
    let policy = draft.service.settings.update;
    let batch = policy.batch_size.unwrap_or(scale / 4).max(1);
    let wanted = target(draft);
    let mut in_motion = 0;
    let mut waiting = vec![];
    for n in 1..=scale {
        let new = running(draft, n, true);
        let old = running(draft, n, false);
        let ready = any_proven(draft, &new);
        match (old.is_empty(), new.is_empty()) {
            (false, true) => waiting.push((n, old)),
            (_, false) if !ready => in_motion += 1,
            _ => {}
        }
    }
    // With stop-first a slot that has nothing yet is in motion too.
    if policy.order == Some(UpdateOrder::StopFirst) {
        in_motion += (1..=scale)
            .filter(|n| running(draft, *n, true).is_empty() && running(draft, *n, false).is_empty())
            .count();
    }
    if waiting.is_empty() {
        return;
    }
    if let Some(due) = pause_until(draft, wanted, policy.interval_ms)
        && draft.now < due
    {
        draft.wake(due);
        return;
    }
    for (n, old) in waiting {
        if in_motion >= batch as usize || !draft.has_room() {
            return;
        }
        match policy.order.unwrap_or_default() {
            UpdateOrder::StartFirst => {
                let reason = format!("rollout to revision {}", wanted.revision);
                if !draft.place(ledger, n, wanted, &reason) {
                    return;
                }
            }
            UpdateOrder::StopFirst => {
                for index in old {
                    let reason = format!("makes room for revision {}", wanted.revision);
                    draft.set_goal(index, Goal::Remove, &reason);
                }
            }
        }
        in_motion += 1;
    }
}

/// End of the pause after the last batch; `None` without one.
fn pause_until(draft: &Draft<'_>, wanted: Target, interval_ms: u64) -> Option<Timestamp> {
    if interval_ms == 0 {
        return None;
    }
    let Rollout::Running { since, .. } = draft.status.rollout else { return None };
    let placed = draft
        .members
        .iter()
        .filter(|m| m.instance.target == wanted && m.instance.placed_at >= since)
        .map(|m| m.instance.placed_at)
        .max()?;
    (placed < draft.now).then(|| placed.plus_ms(interval_ms))
}

/// Every slot ready at the target and nothing else to run: the rollout is done.
fn note_done(draft: &mut Draft<'_>) {
    if draft.service.scale == 0 && matches!(draft.status.rollout, Rollout::Failed { .. }) {
        // Nothing was proven: what is scaled up again must know what is good.
        return;
    }
    for n in 1..=draft.service.scale {
        if !running(draft, n, false).is_empty() {
            return;
        }
        let new = running(draft, n, true);
        if !any_proven(draft, &new) {
            return;
        }
    }
    draft.status.rollout = Rollout::Done;
}
