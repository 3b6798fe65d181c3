//! Spreading again when a host has joined or came back: one instance of a service at a time moves
//! from the host with most of them to one with at least two less, if the environment says so.

use super::draft::Draft;
use super::leaving;
use crate::ledger::{Ask, Ledger};
use model::host::Rebalance;
use model::id::HostId;
use model::instance::{Goal, Phase};
use model::limits::{REBALANCE_PAUSE_MS, REBALANCE_STARTS_MAX, ROLLOUT_STUCK_MS_DEFAULT};
use model::placement::Strategy;
use model::record::{Moving, Rollout};
use model::scaling::Mode;
use model::service::LossPolicy;
use std::collections::BTreeMap;

/// A move that is over, or that nobody takes up, is forgotten.
pub(super) fn settle(draft: &mut Draft<'_>) {
    let Some(Moving { incarnation, since }) = draft.status.moving else { return };
    let going = draft
        .members
        .iter()
        .any(|m| m.instance.id.incarnation == incarnation && m.instance.goal == Goal::Run);
    let due = since.plus_ms(ROLLOUT_STUCK_MS_DEFAULT);
    if !going || draft.now >= due || draft.status.rollout != Rollout::Done {
        draft.status.moving = None;
    } else {
        draft.wake(due);
    }
}

/// Begins the next move, or says which one would help.
pub(super) fn consider(draft: &mut Draft<'_>, ledger: &mut Ledger<'_>) {
    draft.status.advice.clear();
    let policy = draft.cluster.environment().map(|e| e.rebalance).unwrap_or_default();
    if policy == Rebalance::Off || !is_settled(draft) {
        return;
    }
    let Some((from, index, most)) = fullest(draft) else { return };
    let Some(template) = draft.template(draft.service.target) else { return };
    // What has data on its host stays there, and so does what was put there by name.
    let stays = leaving::default_policy(Some(template)) == LossPolicy::Keep
        || template.placement.requested_host.is_some()
        || template.placement.strategy != Strategy::Spread;
    if stays {
        return;
    }
    let n = draft.members[index].instance.id.n;
    let ask = Ask {
        service: &draft.service.id,
        revision: draft.service.target.revision,
        template,
        n,
        before: None,
        pin: None,
        prefer: vec![],
        more: 1,
    };
    let Ok(place) = ledger.place(&ask) else { return };
    let there = on_hosts(draft).get(&place.host).map_or(0, Vec::len);
    if there + 2 > most {
        return;
    }
    if policy == Rebalance::Suggest {
        let to = &place.host;
        draft.status.advice = format!(
            "#{n} could move from host {from} ({most} of it) to {to} ({there}): `remuda host rebalance on`"
        );
        return;
    }
    let newest = draft.members.iter().map(|m| m.instance.placed_at).max().unwrap_or(draft.now);
    let due = newest.plus_ms(REBALANCE_PAUSE_MS);
    if draft.now < due {
        draft.wake(due);
        return;
    }
    if starting(draft, &place.host) >= REBALANCE_STARTS_MAX {
        draft.wake(draft.now.plus_ms(REBALANCE_PAUSE_MS));
        return;
    }
    let incarnation = draft.members[index].instance.id.incarnation;
    draft.status.moving = Some(Moving { incarnation, since: draft.now });
    draft.set_leaving(index, true);
}

/// Is everything well, so that a move takes nothing away?
fn is_settled(draft: &mut Draft<'_>) -> bool {
    let calm = draft.service.settings.mode == Mode::Replicated
        && draft.status.rollout == Rollout::Done
        && draft.status.blocked.is_empty()
        && draft.status.moving.is_none()
        && draft.members.iter().all(|m| m.instance.goal == Goal::Run && !m.instance.leaving);
    calm && (0..draft.members.len()).all(|index| draft.is_ready(index))
}

fn on_hosts(draft: &Draft<'_>) -> BTreeMap<HostId, Vec<usize>> {
    let mut out: BTreeMap<HostId, Vec<usize>> = BTreeMap::new();
    for (index, member) in draft.members.iter().enumerate() {
        if member.instance.goal == Goal::Run {
            out.entry(member.instance.host.clone()).or_default().push(index);
        }
    }
    out
}

/// The host with most instances, the newest of them, and how many they are; `None` when no host
/// has two.
fn fullest(draft: &Draft<'_>) -> Option<(HostId, usize, usize)> {
    let hosts = on_hosts(draft);
    let (host, members) = hosts.into_iter().max_by_key(|(_, members)| members.len())?;
    let newest =
        members.iter().copied().max_by_key(|i| draft.members[*i].instance.id.incarnation)?;
    (members.len() >= 2).then_some((host, newest, members.len()))
}

/// Does a host have two of them? Then a new host may take one.
pub(super) fn is_crowded(draft: &Draft<'_>) -> bool {
    fullest(draft).is_some()
}

/// Instances on a host that do not run yet: a host that has just joined is not buried.
fn starting(draft: &Draft<'_>, host: &HostId) -> usize {
    draft
        .cluster
        .instances_on(host)
        .filter(|i| i.goal == Goal::Run)
        .filter(|i| {
            let seen = draft.cluster.instance_status(&i.id).map(|s| s.phase).unwrap_or_default();
            matches!(seen, Phase::Pending | Phase::Pulling | Phase::Starting)
        })
        .count()
}
