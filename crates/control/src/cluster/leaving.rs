//! Hosts that drain, are away or came back: which instances are to leave them, and what keeps
//! those that stay.

use super::draft::Draft;
use super::motion;
use model::container_spec::Mount;
use model::host::{Host, HostLink, Scheduling};
use model::instance::{Goal, Phase};
use model::limits::{HOST_LOST_MS, LEASE_MARGIN_MS};
use model::reason::Reason;
use model::rollout_policy::UpdateOrder;
use model::service::{LossPolicy, Template};
use model::time::Timestamp;

/// What becomes of an instance because of its host.
enum Fate {
    Stay,
    /// It goes once another one has its slot.
    Leave,
    /// It goes at once: it cannot serve any more.
    Gone(String),
    /// It stays for now, and why.
    Wait(Reason),
}

/// Marks the instances that are to leave their hosts, and unmarks those that may stay.
pub(super) fn mark(draft: &mut Draft<'_>) {
    for index in 0..draft.members.len() {
        let instance = &draft.members[index].instance;
        if instance.goal != Goal::Run || !draft.has_room() {
            continue;
        }
        let Some(host) = draft.cluster.host(&instance.host).cloned() else { continue };
        let n = instance.id.n;
        match fate(draft, index, &host) {
            Fate::Stay => unmark(draft, index, &host),
            Fate::Leave => draft.set_leaving(index, true),
            Fate::Gone(why) => draft.set_goal(index, Goal::Remove, &why),
            Fate::Wait(reason) => {
                unmark(draft, index, &host);
                draft.block(n, reason);
            }
        }
    }
}

/// It may stay. Where another one runs for it already, which of the two stays is decided when its
/// host is heard.
fn unmark(draft: &mut Draft<'_>, index: usize, host: &Host) {
    let instance = &draft.members[index].instance;
    let (n, target) = (instance.id.n, instance.target);
    let replaced = draft.running_in(n).any(|other| {
        let other_one = &draft.members[other].instance;
        other != index && other_one.target == target && !other_one.leaving
    });
    if host.is_observed() || !replaced {
        draft.set_leaving(index, false);
    }
}

fn fate(draft: &mut Draft<'_>, index: usize, host: &Host) -> Fate {
    let member = &draft.members[index];
    // What has done its one job has nothing to lose.
    if member.seen.phase == Phase::Completed {
        return Fate::Stay;
    }
    let pinned = draft.pins.contains_key(&member.instance.id.n);
    match host.status {
        HostLink::Active => match host.scheduling {
            Scheduling::Draining { deadline, force, .. } if !pinned => {
                let Some(deadline) = deadline else { return Fate::Leave };
                if draft.now < deadline {
                    draft.wake(deadline);
                    return Fate::Leave;
                }
                if force {
                    return Fate::Gone(format!("host {} drained, its time was over", host.id));
                }
                let why = "the time of the drain is over; drain again, or with --force".into();
                Fate::Wait(Reason::DrainWaits { host: host.id.clone(), why })
            }
            _ if is_moving(draft, index) => Fate::Leave,
            Scheduling::Active | Scheduling::Cordoned | Scheduling::Draining { .. } => Fate::Stay,
        },
        HostLink::Disconnected | HostLink::Lost | HostLink::Joined if pinned => {
            away(host, "its instance here is waited for".into())
        }
        HostLink::Disconnected | HostLink::Lost | HostLink::Joined => lost(draft, index, host),
    }
}

fn is_moving(draft: &Draft<'_>, index: usize) -> bool {
    let id = &draft.members[index].instance.id;
    draft.status.moving.is_some_and(|moving| moving.incarnation == id.incarnation)
}

fn away(host: &Host, why: String) -> Fate {
    Fate::Wait(Reason::HostAway { host: host.id.clone(), why })
}

fn lost(draft: &mut Draft<'_>, index: usize, host: &Host) -> Fate {
    let target = draft.members[index].instance.target;
    let template = draft.template(target);
    let policy = draft.service.settings.on_loss.unwrap_or_else(|| default_policy(template));
    let (after, margin) = match policy {
        LossPolicy::Keep => {
            return away(host, "it is waited for, since its data is there".into());
        }
        LossPolicy::Replace { after_ms } => (after_ms, 0),
        LossPolicy::StopAfter { after_ms } => (after_ms, LEASE_MARGIN_MS),
    };
    let due = host.unheard_since.plus_ms(after.saturating_add(margin));
    if draft.now < due {
        draft.wake(due);
        let s = after.saturating_add(margin).div_ceil(1_000);
        return away(host, format!("replaced elsewhere when it is not heard for {s} s"));
    }
    if let Some((away_now, all)) = majority_away(draft) {
        let why =
            format!("{away_now} of {all} hosts are away: nobody is replaced until they are back");
        return away(host, why);
    }
    if !draft.cluster.hosts().any(|host| host.takes_instances()) {
        return away(host, "no other host can take its instances".into());
    }
    match policy {
        LossPolicy::StopAfter { .. } => {
            Fate::Gone(format!("host {} is lost, it has stopped itself there", host.id))
        }
        _ if motion::order(draft) == UpdateOrder::StopFirst => {
            Fate::Gone(format!("host {} is lost", host.id))
        }
        _ => Fate::Leave,
    }
}

/// What is done when a service says nothing: what has data on its host is waited for.
pub(super) fn default_policy(template: Option<&Template>) -> LossPolicy {
    let has_data = template.is_some_and(|template| {
        template.containers().any(|(_, container)| {
            container
                .mounts
                .iter()
                .any(|mount| matches!(mount, Mount::Volume { .. } | Mount::Bind { .. }))
        })
    });
    if has_data { LossPolicy::Keep } else { LossPolicy::Replace { after_ms: HOST_LOST_MS } }
}

/// Are more than half of three or more hosts away? Then it is rather us who are cut off.
fn majority_away(draft: &Draft<'_>) -> Option<(usize, usize)> {
    // Who has never been here is not away.
    let known = || draft.cluster.hosts().filter(|host| host.status != HostLink::Joined);
    let (all, away) = (known().count(), known().filter(|host| host.is_away()).count());
    (all >= 3 && away * 2 > all).then_some((away, all))
}

/// Is an instance known to be over though nobody can see it: it has stopped itself, or its service
/// does not mind a second one?
pub(super) fn is_given_up(draft: &Draft<'_>, index: usize) -> bool {
    given_up_at(draft, index).is_some_and(|at| draft.now >= at)
}

/// When that will be known; `None` while it can be seen, or when it is waited for without end.
pub(super) fn given_up_at(draft: &Draft<'_>, index: usize) -> Option<Timestamp> {
    let instance = &draft.members[index].instance;
    let Some(host) = draft.cluster.host(&instance.host) else { return Some(draft.now) };
    if host.status == HostLink::Active {
        return None;
    }
    let template = draft.template(instance.target);
    let after_ms = match draft.service.settings.on_loss.unwrap_or_else(|| default_policy(template))
    {
        LossPolicy::Keep => return None,
        LossPolicy::Replace { after_ms } => after_ms,
        LossPolicy::StopAfter { after_ms } => after_ms.saturating_add(LEASE_MARGIN_MS),
    };
    Some(host.unheard_since.plus_ms(after_ms))
}
