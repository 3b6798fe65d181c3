//! What people ask of hosts.

use super::{Ask, said};
use control::operate::host;
use model::change::{Change, Edit, Proposal};
use model::host::{Environment, HostLink, Rebalance, Scheduling};
use model::id::HostId;
use model::record::{Record, RecordKey};
use std::sync::Arc;

pub(super) fn cordon(ask: &mut Ask<'_>) -> Option<(String, Proposal)> {
    let id = ask.host()?;
    Some((format!("cordon {id}"), host::cordon(ask.cluster, &id)))
}

pub(super) fn uncordon(ask: &mut Ask<'_>) -> Option<(String, Proposal)> {
    let held = ask.cluster.hosts().filter(|host| host.scheduling != Scheduling::Active);
    let held: Vec<HostId> = held.map(|host| host.id.clone()).collect();
    let id = ask.dice.pick(&held).cloned()?;
    Some((format!("uncordon {id}"), host::uncordon(ask.cluster, &id)))
}

pub(super) fn drain(ask: &mut Ask<'_>) -> Option<(String, Proposal)> {
    let id = ask.host()?;
    let deadline = if ask.dice.once_in(2) { Some(1_000 + ask.dice.below(20_000)) } else { None };
    let force = ask.dice.once_in(3);
    let what = format!("drain {id} {deadline:?} force {force}");
    Some((what, host::drain(ask.cluster, &id, deadline, force, ask.now)))
}

/// One host gets a label or loses it, or every second one.
pub(super) fn label(ask: &mut Ask<'_>) -> Option<(String, Proposal)> {
    let first = ask.host()?;
    let many = ask.dice.once_in(2);
    let value = ask.dice.pick(&[None, Some("a"), Some("b")]).copied()?;
    let labels = [("zone".to_owned(), value.map(str::to_owned))].into();
    let others = ask.cluster.hosts().map(|host| host.id.clone()).filter(|id| *id != first);
    let ids: Vec<HostId> = others.step_by(2).take(if many { usize::MAX } else { 0 }).collect();
    let mut all = Proposal::default();
    for id in std::iter::once(&first).chain(&ids) {
        let Ok(one) = host::label(ask.cluster, id, &labels) else { continue };
        all.reads.extend(one.reads);
        all.change.edits.extend(one.change.edits);
    }
    Some((format!("label {first} and {} more: zone {value:?}", ids.len()), all))
}

/// The environment moves instances to emptier hosts, says so, or leaves them alone.
pub(super) fn rebalance(ask: &mut Ask<'_>) -> Option<(String, Proposal)> {
    let known = ask.cluster.environment()?;
    let rebalance = *ask.dice.pick(&[Rebalance::Off, Rebalance::Suggest, Rebalance::On])?;
    let environment = Arc::new(Environment { rebalance, ..(**known).clone() });
    let reads = vec![(RecordKey::Environment, ask.cluster.modified(&RecordKey::Environment))];
    let change = Change { edits: vec![Edit::Put(Record::Environment(environment))] };
    Some((format!("rebalance {rebalance:?}"), Proposal { reads, change }))
}

pub(super) fn remove_host(ask: &mut Ask<'_>) -> Option<(String, Proposal)> {
    let away = ask.cluster.hosts().filter(|host| host.status != HostLink::Active);
    let away: Vec<HostId> = away.map(|host| host.id.clone()).collect();
    let id = ask.dice.pick(&away).cloned()?;
    let force = ask.dice.once_in(2);
    said(format!("remove host {id} force {force}"), host::remove(ask.cluster, &id, force))
}
