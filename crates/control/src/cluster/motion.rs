//! Instances come and go: empty slots are filled, old instances get successors a batch at a time,
//! and what serves is not taken away before something else does.

use super::draft::Draft;
use super::{depend, leaving};
use crate::ledger::Ledger;
use crate::readiness;
use model::container_spec::NetworkMode;
use model::instance::{Goal, Phase, Target};
use model::mutation::{Mutation, is_in};
use model::reason::Reason;
use model::record::{Rollout, Verdict};
use model::rollout_policy::{FailureAction, Finish, UpdateOrder};
use model::service::LossPolicy;
use model::time::Timestamp;
use std::collections::BTreeMap;

/// Which version each slot should have now, and what holds the rest back.
pub(super) struct Course {
    /// By slot.
    versions: BTreeMap<u32, Target>,
    /// Nothing changes its version: paused by somebody or by a failure.
    frozen: bool,
    /// Canaries, while they wait for `promote`.
    canaries: Option<usize>,
    /// The rollout has failed.
    failed: bool,
}

impl Course {
    fn version(&self, draft: &Draft<'_>, n: u32) -> Target {
        self.versions.get(&n).copied().unwrap_or(draft.service.target)
    }
}

/// Which goes first. Two of a slot are never made where there is no room for two.
pub(super) fn order(draft: &Draft<'_>) -> UpdateOrder {
    let settings = &draft.service.settings;
    if matches!(settings.on_loss, Some(LossPolicy::StopAfter { .. })) {
        return UpdateOrder::StopFirst;
    }
    let template = draft.template(draft.service.target);
    let alone = settings.retain_ip
        || !settings.requested_ips.is_empty()
        || template.is_some_and(|t| t.containers().any(|(_, c)| c.network == NetworkMode::Host));
    let decided = if alone { UpdateOrder::StopFirst } else { UpdateOrder::StartFirst };
    settings.update.order.unwrap_or(decided)
}

/// The version that served before the rollout; `None` for a first deployment.
pub(super) fn before(draft: &Draft<'_>) -> Option<Target> {
    let before = draft.status.rollout.before();
    before.filter(|b| *b != draft.service.target && draft.template(*b).is_some())
}

/// Sets the course: how many slots may be at the wanted version.
pub(super) fn course(draft: &Draft<'_>, failed: bool) -> Course {
    let target = draft.service.target;
    let before = before(draft);
    let policy = &draft.service.settings.update;
    let orders = &draft.service.orders;
    let stopped = failed && policy.on_failure == FailureAction::Pause;
    let frozen = orders.paused || stopped;
    let back = before.filter(|_| failed && policy.on_failure == FailureAction::Rollback);
    let wanted = back.unwrap_or(target);
    let revises = before.is_some_and(|b| b.revision != target.revision);
    let canaries = policy
        .canary
        .map(|n| n as usize)
        .filter(|n| *n > 0 && revises && !failed && orders.promoted != Some(target));
    let limit = match (frozen, canaries) {
        (true, _) => Some(0),
        (false, canaries) => canaries,
    };
    let mut course = Course { versions: BTreeMap::new(), frozen, canaries, failed };
    let has = |n: u32, version: Target| {
        draft.running_in(n).any(|i| draft.members[i].instance.target == version)
    };
    let Some(limit) = limit else {
        course.versions = draft.slots.iter().map(|n| (*n, wanted)).collect();
        return course;
    };
    let moved = draft.slots.iter().filter(|n| has(**n, wanted)).count();
    let mut quota = limit.saturating_sub(moved);
    for n in &draft.slots {
        let old = draft.running_in(*n).map(|i| draft.members[i].instance.target).max();
        let version = if has(*n, wanted) {
            wanted
        } else if quota > 0 {
            quota -= 1;
            wanted
        } else {
            old.or(before).unwrap_or(wanted)
        };
        course.versions.insert(*n, version);
    }
    course
}

/// Members of a slot that are to run and are as they should be, and those that are not.
fn split(draft: &Draft<'_>, n: u32, version: Target) -> (Vec<usize>, Vec<usize>) {
    draft.running_in(n).partition(|i| {
        let instance = &draft.members[*i].instance;
        instance.target == version && !instance.leaving
    })
}

/// Is an instance ready, and has it been so for long enough to take over? What is known to be good
/// or takes over from nobody needs no proof, unless it has ended since it was made.
pub(super) fn is_proven(draft: &mut Draft<'_>, index: usize) -> bool {
    if !draft.is_ready(index) {
        return false;
    }
    let version = draft.members[index].instance.target;
    let served = draft.status.rollout.before();
    let was_good = draft
        .status
        .revisions
        .get(&version.revision)
        .is_some_and(|known| known.verdict == Verdict::Good);
    let known_good = version != draft.service.target
        || served.is_none_or(|b| b.revision == version.revision)
        || was_good;
    let seen = &draft.members[index].seen;
    if seen.phase == Phase::Completed || (known_good && seen.restarts == 0) {
        return true;
    }
    let due = readiness::proven_at(seen, draft.service.settings.update.monitor_ms);
    if draft.now < due {
        draft.wake(due);
    }
    draft.now >= due
}

/// Is one of these proven?
pub(super) fn any_proven(draft: &mut Draft<'_>, indexes: &[usize]) -> bool {
    indexes.iter().any(|index| is_proven(draft, *index))
}

/// Is what is known of an instance of the present? What was said last of a host that is away, or
/// whose engine does not answer, counts for nothing when another instance is to be let go.
fn is_heard(draft: &Draft<'_>, index: usize) -> bool {
    let host = draft.cluster.host(&draft.members[index].instance.host);
    host.is_some_and(|host| host.is_observed())
}

/// One of a slot and a version is enough: a host that came back keeps what it had.
pub(super) fn end_doubles(draft: &mut Draft<'_>) {
    for n in draft.slots.clone() {
        let mut by_version: BTreeMap<Target, Vec<usize>> = BTreeMap::new();
        for index in draft.running_in(n) {
            let instance = &draft.members[index].instance;
            if !instance.leaving {
                by_version.entry(instance.target).or_default().push(index);
            }
        }
        for indexes in by_version.into_values().filter(|indexes| indexes.len() > 1) {
            let rank = |draft: &mut Draft<'_>, index: usize| {
                let heard = is_heard(draft, index);
                let runs = draft.members[index].seen.phase == Phase::Running;
                let older = std::cmp::Reverse(draft.members[index].instance.id.incarnation);
                (heard && draft.is_ready(index), heard, runs, older)
            };
            let keep = indexes.iter().copied().max_by_key(|index| rank(draft, *index));
            let Some(keep) = keep else { continue };
            // One that is not heard may serve: it goes only when another one is known to.
            let sure = rank(draft, keep).0 || indexes.iter().all(|index| is_heard(draft, *index));
            for index in indexes.into_iter().filter(|index| sure && *index != keep) {
                if draft.has_room() {
                    let back = keep < index;
                    let why = if back { "the one before it is back" } else { "another one serves" };
                    draft.set_goal(index, Goal::Remove, why);
                }
            }
        }
    }
}

/// Slots whose new instance is ready and proven let the old one go.
pub(super) fn hand_over(draft: &mut Draft<'_>, course: &Course) {
    let kept = kept(draft);
    for n in draft.slots.clone() {
        let version = course.version(draft, n);
        let (mut new, old) = split(draft, n, version);
        new.retain(|index| is_heard(draft, *index));
        let early = is_in(Mutation::HandOverEarly) && !new.is_empty();
        if old.is_empty() || !(early || any_proven(draft, &new)) {
            continue;
        }
        for index in old {
            let instance = &draft.members[index].instance;
            if !draft.has_room() || (course.frozen && !instance.leaving) {
                continue;
            }
            let (goal, why) = if instance.target == version {
                (Goal::Remove, format!("another one runs for it: {}", instance.host))
            } else if Some(instance.target) == kept {
                (
                    Goal::Stop,
                    format!("replaced by revision {}, kept until finish", version.revision),
                )
            } else {
                (Goal::Remove, format!("replaced by revision {}", version.revision))
            };
            draft.set_goal(index, goal, &why);
        }
    }
}

/// The version whose instances are stopped and kept until `finish`; `None` when none are.
pub(super) fn kept(draft: &Draft<'_>) -> Option<Target> {
    let rolls = matches!(draft.status.rollout, Rollout::Running { .. } | Rollout::Finishing { .. });
    let target = draft.service.target;
    let keeps = rolls
        && draft.service.settings.update.finish == Finish::Manual
        && draft.service.orders.finished != Some(target);
    before(draft).filter(|before| keeps && before.revision != target.revision)
}

/// Does an ending instance, other than this one, still hold the place of its slot? Only with
/// stop-first.
pub(super) fn is_held(draft: &mut Draft<'_>, n: u32, but: Option<usize>) -> bool {
    if order(draft) != UpdateOrder::StopFirst {
        return false;
    }
    let alone =
        draft.service.settings.retain_ip || !draft.service.settings.requested_ips.is_empty();
    if alone && draft.emptied.contains(&n) {
        return true;
    }
    let holds = |index: &usize| {
        let member = &draft.members[*index];
        let over = matches!(member.seen.phase, Phase::Absent | Phase::Stopped | Phase::Completed);
        // An address is free when the container that had it is gone.
        let over = if alone { member.instance.goal == Goal::Stop && over } else { over };
        member.instance.goal != Goal::Run && !over && !leaving::is_given_up(draft, *index)
    };
    let others = draft.in_slot(n).iter().copied().filter(|index| Some(*index) != but);
    let Some(holder) = others.into_iter().find(holds) else { return false };
    if let Some(at) = leaving::given_up_at(draft, holder) {
        draft.wake(at);
    }
    true
}

/// A stopped container of that version in the slot, on a host that can start it: it is taken
/// before a new one is made.
fn resume(draft: &mut Draft<'_>, ledger: &mut Ledger<'_>, n: u32, version: Target) -> bool {
    let kept = draft.in_slot(n).iter().copied().rev().find(|index| {
        let instance = &draft.members[*index].instance;
        let host = draft.cluster.host(&instance.host);
        instance.goal == Goal::Stop
            && instance.target == version
            && host.is_some_and(|host| host.takes_instances())
    });
    match kept {
        Some(index) => {
            draft.start_again(ledger, index, "started again: its revision is wanted back")
        }
        None => false,
    }
}

/// Empty slots get an instance.
pub(super) fn fill_slots(draft: &mut Draft<'_>, ledger: &mut Ledger<'_>, course: &Course) {
    let slots = draft.slots.iter().copied();
    let mut empty: Vec<u32> = slots.filter(|n| draft.running_in(*n).next().is_none()).collect();
    empty.retain(|n| !is_held(draft, *n, None));
    if empty.is_empty() {
        return;
    }
    if draft.status.incarnations == 0
        && let Some(reason) = depend::waits(draft)
    {
        draft.block(0, reason);
        return;
    }
    for n in empty {
        if !draft.has_room() {
            return;
        }
        let version = course.version(draft, n);
        if course.failed && version != draft.service.target && resume(draft, ledger, n, version) {
            continue;
        }
        let reason = match draft.status.replacements.get(&n) {
            Some(replacement) => format!("replacement: {}", replacement.why),
            None if course.failed && version != draft.service.target => {
                "the rollout failed: back to what served".into()
            }
            None => {
                if matches!(draft.status.rollout, Rollout::Done) {
                    draft.status.rollout =
                        Rollout::Running { target: version, before: None, since: draft.now };
                }
                format!("slot {n} of {}", draft.slots.len())
            }
        };
        let placed = draft.place(ledger, n, version, &reason);
        if !placed && draft.pins.is_empty() {
            // What has no room for one has none for the next.
            return;
        }
    }
}

/// The next batch of old instances gets its successors.
pub(super) fn advance(draft: &mut Draft<'_>, ledger: &mut Ledger<'_>, course: &Course) {
    let slots = draft.slots.clone();
    let policy = draft.service.settings.update;
    let order = order(draft);
    let quarter = u32::try_from(slots.len() / 4).unwrap_or(u32::MAX);
    let batch = policy.batch_size.unwrap_or(quarter).max(1) as usize;
    let (mut in_motion, mut ready, mut waiting) = (0, 0, vec![]);
    for n in &slots {
        let version = course.version(draft, *n);
        let (new, old) = split(draft, *n, version);
        let proven = any_proven(draft, &new);
        let serves = new.iter().chain(&old).any(|index| draft.is_ready(*index));
        let heard =
            new.iter().chain(&old).any(|index| is_heard(draft, *index) && draft.is_ready(*index));
        ready += usize::from(heard);
        match (old.is_empty(), new.is_empty()) {
            (false, true) => waiting.push((*n, version, old, serves)),
            (_, false) if !proven => in_motion += 1,
            // With stop-first a slot that has nothing yet is in motion too.
            (true, true) if order == UpdateOrder::StopFirst => in_motion += 1,
            _ => {}
        }
    }
    if waiting.is_empty() {
        return;
    }
    if let Some(due) = pause_until(draft, policy.interval_ms)
        && draft.now < due
    {
        draft.wake(due);
        return;
    }
    let least = slots.len().saturating_sub(policy.max_unavailable.map_or(batch, |n| n as usize));
    // Those that serve nothing lose nothing: they go first.
    if order == UpdateOrder::StopFirst {
        waiting.sort_by_key(|(n, _, _, serves)| (*serves, *n));
    }
    let kept = kept(draft);
    for (n, version, old, serves) in waiting {
        if in_motion >= batch || !draft.has_room() {
            return;
        }
        match order {
            UpdateOrder::StartFirst => {
                let moves = old.iter().all(|i| draft.members[*i].instance.target == version);
                let reason = if moves {
                    format!("takes over from host {}", draft.members[old[0]].instance.host)
                } else {
                    format!("rollout to revision {}", version.revision)
                };
                if !(resume(draft, ledger, n, version)
                    || begin(draft, ledger, n, version, &old, &reason))
                {
                    if draft.pins.is_empty() {
                        return;
                    }
                    continue;
                }
            }
            UpdateOrder::StopFirst => {
                if serves && ready <= least {
                    // `max_unavailable: 0` and no room beside it: somebody has to decide.
                    let why = format!("only {ready} of {} are ready", slots.len());
                    draft.block(n, Reason::ScaleHeld { why });
                    return;
                }
                ready = ready.saturating_sub(usize::from(serves));
                for index in old {
                    let of = draft.members[index].instance.target;
                    let goal = match Some(of) == kept && of != version {
                        true => Goal::Stop,
                        false => Goal::Remove,
                    };
                    let reason = format!("makes room for revision {}", version.revision);
                    draft.set_goal(index, goal, &reason);
                }
            }
        }
        in_motion += 1;
    }
}

/// Places a successor; what keeps a drain from going on is told as such.
fn begin(
    draft: &mut Draft<'_>,
    ledger: &mut Ledger<'_>,
    n: u32,
    version: Target,
    old: &[usize],
    reason: &str,
) -> bool {
    let Err(why) = draft.try_place(ledger, n, version, reason) else { return true };
    let host = old
        .iter()
        .map(|i| &draft.members[*i].instance.host)
        .find(|id| draft.cluster.host(id).is_some_and(|host| host.scheduling.is_draining()));
    match host.cloned() {
        Some(host) => draft.block(n, Reason::DrainWaits { host, why: why.to_string() }),
        None => draft.block(n, why),
    }
    false
}

/// End of the pause after the last batch; `None` without one.
fn pause_until(draft: &Draft<'_>, interval_ms: u64) -> Option<Timestamp> {
    if interval_ms == 0 {
        return None;
    }
    let Rollout::Running { since, target, .. } = draft.status.rollout else { return None };
    let placed = draft
        .members
        .iter()
        .filter(|m| m.instance.target == target && m.instance.placed_at >= since)
        .map(|m| m.instance.placed_at)
        .max()?;
    (placed < draft.now).then(|| placed.plus_ms(interval_ms))
}

/// Says what a rollout waits for that only people can give.
pub(super) fn tell_waits(draft: &mut Draft<'_>, course: &Course) {
    let target = draft.service.target;
    let rolling = matches!(draft.status.rollout, Rollout::Running { before: Some(_), .. });
    let left = draft
        .slots
        .iter()
        .any(|n| draft.running_in(*n).any(|i| draft.members[i].instance.target != target));
    if course.frozen && !course.failed && rolling && left {
        draft.block(0, Reason::Paused);
        return;
    }
    let Some(canaries) = course.canaries.filter(|_| rolling && left) else { return };
    let mut good = 0;
    for n in draft.slots.clone() {
        let (new, old) = split(draft, n, target);
        good += usize::from(old.is_empty() && any_proven(draft, &new));
    }
    if good >= canaries.min(draft.slots.len()) {
        let canaries = u32::try_from(good).unwrap_or(u32::MAX);
        draft.block(0, Reason::CanaryWaits { canaries, revision: target.revision });
    }
}
