//! Instances that were well and are not any more: replaced one after the other, with a back-off.

use super::draft::Draft;
use model::health::{Health, HealthStrategy};
use model::instance::{Goal, Phase};
use model::limits::{
    REPAIR_TURN_MS, RESTART_BACKOFF_MS_MAX, RESTART_BACKOFF_MS_MIN, RESTART_BACKOFF_RESET_MS,
};
use model::reason::Reason;
use model::record::{Replacement, Rollout};
use model::rollout_policy::FailureAction;
use model::time::Timestamp;

/// Milliseconds that a slot waits after its `count`-th replacement.
fn backoff_ms(count: u32) -> u64 {
    let doubled = RESTART_BACKOFF_MS_MIN.checked_shl(count.saturating_sub(1)).unwrap_or(u64::MAX);
    doubled.min(RESTART_BACKOFF_MS_MAX)
}

/// Unhealthy instances are replaced, never many at once, and those first that were replaced least.
/// Who was replaced before stays until its back-off is over: an unhealthy one is better than none.
pub(super) fn replace_unhealthy(draft: &mut Draft<'_>) {
    forget_replacements(draft);
    let mut candidates: Vec<(u32, u32, usize, String)> = vec![];
    for index in 0..draft.members.len() {
        let Some(why) = unwell(draft, index) else { continue };
        let n = draft.members[index].instance.id.n;
        let known = draft.status.replacements.get(&n).map(|known| (known.count, known.at));
        let (count, at) = known.unwrap_or((0, draft.now));
        let due = if count == 0 { at } else { at.plus_ms(backoff_ms(count)) };
        if draft.now < due {
            draft.wake(due);
            draft.block(n, Reason::Backoff { count, why });
        } else {
            candidates.push((count, n, index, why));
        }
    }
    candidates.sort();
    let limit = (draft.slots.len() / 4).max(1);
    let room = limit.saturating_sub(in_repair(draft));
    for (count, n, index, why) in candidates.into_iter().take(room) {
        if !draft.has_room() {
            return;
        }
        let count = count.saturating_add(1);
        draft.status.replacements.insert(n, Replacement { count, at: draft.now, why: why.clone() });
        draft.set_goal(index, Goal::Remove, &why);
    }
}

/// Slots whose replacement has no verdict yet. One that never comes to a verdict has had its turn
/// after a while, or it would keep the others from theirs.
fn in_repair(draft: &mut Draft<'_>) -> usize {
    let judged = |n: u32| {
        draft.members.iter().any(|m| {
            m.instance.id.n == n
                && m.instance.goal == Goal::Run
                && m.seen.phase == Phase::Running
                && m.seen.health != Health::Initializing
        })
    };
    let open: Vec<Timestamp> = draft
        .status
        .replacements
        .iter()
        .filter(|(n, _)| !judged(**n))
        .map(|(_, replacement)| replacement.at.plus_ms(REPAIR_TURN_MS))
        .filter(|due| *due > draft.now)
        .collect();
    if let Some(first) = open.iter().min() {
        draft.wake(*first);
    }
    open.len()
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
        if draft.now >= due || draft.slots.binary_search(&n).is_err() {
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
    // While it has never been ready, the rollout judges it; and what failed stays to be looked at
    // when somebody is to decide.
    let pauses = draft.service.settings.update.on_failure == FailureAction::Pause;
    let rolling = match &draft.status.rollout {
        Rollout::Running { target, .. } => *target == instance.target,
        Rollout::Failed { target, before, .. } => {
            *target == instance.target && before.is_some() && pauses
        }
        Rollout::Finishing { .. } | Rollout::Done => false,
    };
    let template = draft.template(instance.target)?;
    let check = template.health_check.as_ref();
    let strategy = check.map_or(HealthStrategy::Recreate, |c| c.strategy);
    let why = match member.seen.health {
        // While its host is away its loss decides: what others find of it says only that.
        Health::Unhealthy if !rolling && draft.is_connected(&instance.host) => {
            format!("unhealthy: {}", member.seen.reason)
        }
        Health::Initializing if !rolling => {
            let again = member.seen.restarts > 0;
            let limit = match again {
                true => check.and_then(|c| c.reinitializing_timeout_ms)?,
                false => check.and_then(|c| c.initializing_timeout_ms)?,
            };
            let due = member.seen.changed_at.plus_ms(limit);
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
