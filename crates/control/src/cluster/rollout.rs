//! A running service: every slot gets one ready instance at the wanted target, a batch at a time,
//! and what serves is not taken away before something else does.

use super::depend;
use super::draft::Draft;
use crate::ledger::{self, Ledger};
use crate::readiness::{self, Start};
use model::health::{Health, HealthStrategy};
use model::instance::{Goal, Phase, Target};
use model::limits::{RESTART_BACKOFF_MS_MAX, RESTART_BACKOFF_MS_MIN, RESTART_BACKOFF_RESET_MS};
use model::reason::Reason;
use model::record::{Replacement, Rollout};
use model::service::{Kind, UpdateOrder};
use model::time::Timestamp;

/// Decides for a service that is to run.
pub(super) fn decide(draft: &mut Draft<'_>, ledger: &mut Ledger<'_>) {
    draft.status.blocked.clear();
    end_surplus(draft);
    let failed = settle_leftovers(draft);
    retarget_balancers(draft);
    note_start(draft, failed);
    replace_unhealthy(draft);
    let failed = failed || judge_starts(draft);
    hand_over(draft);
    if failed {
        fill_fallback(draft, ledger);
    } else {
        fill_slots(draft, ledger);
        advance(draft, ledger);
    }
    note_done(draft);
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

/// Stopped instances: those of a failed rollout stay while it is the last word; others run again
/// or go. Says whether the present target has failed.
fn settle_leftovers(draft: &mut Draft<'_>) -> bool {
    let wanted = target(draft);
    let failed = matches!(&draft.status.rollout,
        Rollout::Failed { target, attempt, .. }
            if *target == wanted && *attempt == draft.service.attempt);
    for index in 0..draft.members.len() {
        let instance = &draft.members[index].instance;
        if instance.goal != Goal::Stop || !draft.has_room() {
            continue;
        }
        let at_target = instance.target == wanted;
        match (failed, at_target) {
            (true, true) => {}
            (true, false) => draft.set_goal(index, Goal::Run, "service started again"),
            (false, true) if !was_failed(&draft.status.rollout, wanted) => {
                draft.set_goal(index, Goal::Run, "service started again");
            }
            (false, _) => draft.set_goal(index, Goal::Remove, "left from an earlier rollout"),
        }
    }
    failed
}

/// Had this target failed at an earlier try?
fn was_failed(rollout: &Rollout, wanted: Target) -> bool {
    matches!(rollout, Rollout::Failed { target, .. } if *target == wanted)
}

/// A balancer moves to its new version in place: nothing is started or stopped.
fn retarget_balancers(draft: &mut Draft<'_>) {
    let wanted = target(draft);
    let Some(template) = draft.template(wanted) else { return };
    if !matches!(template.kind, Kind::Balancer(_)) {
        return;
    }
    let ports = ledger::wanted_ports(template);
    for index in 0..draft.members.len() {
        let instance = &draft.members[index].instance;
        if instance.goal == Goal::Run && instance.target != wanted {
            draft.retarget(index, wanted, ports.clone());
        }
    }
}

/// A rollout begins when something runs at another target, or a failed one is tried anew.
fn note_start(draft: &mut Draft<'_>, failed: bool) {
    if failed {
        return;
    }
    let wanted = target(draft);
    let moving =
        draft.members.iter().any(|m| m.instance.goal == Goal::Run && m.instance.target != wanted);
    let running = match &draft.status.rollout {
        Rollout::Running { target, .. } => *target == wanted,
        Rollout::Failed { .. } => false,
        Rollout::Done => !moving,
    };
    if !running {
        draft.status.rollout = Rollout::Running { target: wanted, since: draft.now };
        draft.status.replacements.clear();
    }
}

/// New instances that failed end the rollout. Says whether it has failed now.
fn judge_starts(draft: &mut Draft<'_>) -> bool {
    let Rollout::Running { target: wanted, .. } = draft.status.rollout else { return false };
    let mut failures: Vec<(usize, String)> = vec![];
    for index in 0..draft.members.len() {
        let member = &draft.members[index];
        if member.instance.goal != Goal::Run || member.instance.target != wanted {
            continue;
        }
        let Some(template) = draft.template(wanted) else { continue };
        if draft.is_ready(index) {
            continue;
        }
        let member = &draft.members[index];
        match readiness::start(template, &member.instance, &member.seen, draft.now) {
            Start::Failed(why) => failures.push((index, why)),
            Start::Pending(Some(at)) => draft.wake(at),
            Start::Pending(None) => {}
        }
    }
    let Some((first, why)) = failures.first().cloned() else { return false };
    let n = draft.members[first].instance.id.n;
    draft.status.rollout = Rollout::Failed {
        target: wanted,
        attempt: draft.service.attempt,
        why: format!("instance #{n}: {why}"),
        at: draft.now,
    };
    // Where something older serves, the failed ones stop and are kept for their logs; without it
    // (a first deployment) they go on trying.
    let old_serve =
        draft.members.iter().any(|m| m.instance.goal == Goal::Run && m.instance.target != wanted);
    if old_serve {
        for (index, why) in failures {
            draft.set_goal(index, Goal::Stop, &format!("rollout stopped: {why}"));
        }
    }
    true
}

/// Slots whose new instance is ready let the old one go.
fn hand_over(draft: &mut Draft<'_>) {
    for n in 1..=draft.service.scale {
        let new = running(draft, n, true);
        let mut ready = false;
        for index in new {
            ready |= draft.is_ready(index);
        }
        if !ready {
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

/// Milliseconds that a slot waits after its `count`-th replacement.
fn backoff_ms(count: u32) -> u64 {
    let doubled = RESTART_BACKOFF_MS_MIN.checked_shl(count.saturating_sub(1)).unwrap_or(u64::MAX);
    doubled.min(RESTART_BACKOFF_MS_MAX)
}

/// Empty slots get an instance at the target.
fn fill_slots(draft: &mut Draft<'_>, ledger: &mut Ledger<'_>) {
    let empty: Vec<u32> = (1..=draft.service.scale)
        .filter(|n| running(draft, *n, true).is_empty() && running(draft, *n, false).is_empty())
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
    let wanted = target(draft);
    for n in empty {
        if !draft.has_room() {
            return;
        }
        let reason = match draft.status.replacements.get(&n).cloned() {
            Some(replacement) => {
                let due = replacement.at.plus_ms(backoff_ms(replacement.count));
                if draft.now < due {
                    draft.wake(due);
                    let Replacement { count, why, .. } = replacement;
                    draft.block(n, Reason::Backoff { count, why });
                    continue;
                }
                format!("replacement: {}", replacement.why)
            }
            None => {
                if matches!(draft.status.rollout, Rollout::Done) {
                    draft.status.rollout = Rollout::Running { target: wanted, since: draft.now };
                }
                format!("slot {n} of {}", draft.service.scale)
            }
        };
        draft.place(ledger, n, wanted, &reason);
    }
}

/// After a failure, slots that lost their instance get one of the version that still serves.
fn fill_fallback(draft: &mut Draft<'_>, ledger: &mut Ledger<'_>) {
    let wanted = target(draft);
    let serving = draft
        .members
        .iter()
        .filter(|m| m.instance.goal == Goal::Run && m.instance.target != wanted)
        .map(|m| m.instance.target)
        .max();
    for n in 1..=draft.service.scale {
        let lost = running(draft, n, true).is_empty() && running(draft, n, false).is_empty();
        if let Some(serving) = serving
            && lost
            && draft.has_room()
        {
            draft.place(ledger, n, serving, "the rollout failed: back to what serves");
        }
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
        let mut ready = false;
        for index in &new {
            ready |= draft.is_ready(*index);
        }
        match (old.is_empty(), new.is_empty()) {
            (false, true) => waiting.push((n, old)),
            (_, false) if !ready => in_motion += 1,
            _ => {}
        }
    }
    // With stop-first a slot that has nothing yet is in motion too.
    if policy.order == UpdateOrder::StopFirst {
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
        match policy.order {
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

/// Unhealthy instances are replaced, never many at once.
fn replace_unhealthy(draft: &mut Draft<'_>) {
    let limit = (draft.service.scale / 4).max(1) as usize;
    let in_repair = draft.status.replacements.keys().filter(|n| {
        let run: Vec<_> = draft
            .members
            .iter()
            .filter(|m| m.instance.id.n == **n && m.instance.goal == Goal::Run)
            .collect();
        run.iter().all(|m| m.seen.phase != Phase::Running || !m.seen.health.serves())
    });
    let mut in_repair = in_repair.count();
    forget_replacements(draft);
    for index in 0..draft.members.len() {
        let Some(why) = unwell(draft, index) else { continue };
        if in_repair >= limit || !draft.has_room() {
            return;
        }
        let n = draft.members[index].instance.id.n;
        let count = draft.status.replacements.get(&n).map_or(0, |r| r.count) + 1;
        draft.status.replacements.insert(n, Replacement { count, at: draft.now, why: why.clone() });
        draft.set_goal(index, Goal::Remove, &why);
        in_repair += 1;
    }
}

/// A slot that has been well for long starts with the first back-off again.
fn forget_replacements(draft: &mut Draft<'_>) {
    let slots: Vec<u32> = draft.status.replacements.keys().copied().collect();
    for n in slots {
        let well = draft.members.iter().find(|m| {
            m.instance.id.n == n
                && m.instance.goal == Goal::Run
                && m.seen.phase == Phase::Running
                && m.seen.health.serves()
        });
        let Some(since) = well.map(|m| m.seen.changed_at) else { continue };
        let due = since.plus_ms(RESTART_BACKOFF_RESET_MS);
        if draft.now >= due || n > draft.service.scale {
            draft.status.replacements.remove(&n);
        } else {
            draft.wake(due);
        }
    }
}

/// Why an instance must be replaced; `None` when it need not.
fn unwell(draft: &mut Draft<'_>, index: usize) -> Option<String> {
    let member = &draft.members[index];
    let instance = &member.instance;
    if instance.goal != Goal::Run || member.seen.phase != Phase::Running {
        return None;
    }
    // While it has never been ready, the rollout judges it.
    let rolling = matches!(&draft.status.rollout,
        Rollout::Running { target, .. } if *target == instance.target);
    let template = draft.template(instance.target)?;
    let check = template.health_check.as_ref();
    let strategy = check.map_or(HealthStrategy::Recreate, |c| c.strategy);
    let why = match member.seen.health {
        Health::Unhealthy if !rolling => format!("unhealthy: {}", member.seen.reason),
        Health::Initializing if !rolling => {
            let limit = check.and_then(|c| c.reinitializing_timeout_ms)?;
            let since = member.seen.started_at.unwrap_or(member.seen.changed_at);
            let due = since.plus_ms(limit);
            if draft.now < due {
                draft.wake(due);
                return None;
            }
            format!("not healthy {} s after its start: {}", limit / 1000, member.seen.reason)
        }
        Health::Unhealthy | Health::Initializing | Health::Unchecked | Health::Healthy => {
            return None;
        }
    };
    match strategy {
        HealthStrategy::None => None,
        HealthStrategy::Recreate => Some(why),
        HealthStrategy::RecreateOnQuorum { quorum } => {
            let healthy = draft
                .members
                .iter()
                .filter(|m| m.instance.goal == Goal::Run && m.seen.health == Health::Healthy)
                .count();
            (healthy >= quorum as usize).then_some(why)
        }
    }
}

/// Every slot ready at the target and nothing else to run: the rollout is done.
fn note_done(draft: &mut Draft<'_>) {
    for n in 1..=draft.service.scale {
        if !running(draft, n, false).is_empty() {
            return;
        }
        let mut ready = false;
        for index in running(draft, n, true) {
            ready |= draft.is_ready(index);
        }
        if !ready {
            return;
        }
    }
    draft.status.rollout = Rollout::Done;
}
