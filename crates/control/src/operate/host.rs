//! What people say about a host: cordon, uncordon, drain, label, remove.

use super::Refused;
use model::change::{Change, Edit, Proposal};
use model::cluster::Cluster;
use model::host::{Host, HostLink, Scheduling};
use model::id::HostId;
use model::instance::Goal;
use model::limits::HOST_LABELS_MAX;
use model::record::{Record, RecordKey};
use model::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

fn change(cluster: &Cluster, id: &HostId, edit: impl FnOnce(&mut Host)) -> Proposal {
    let Some(known) = cluster.host(id) else { return Proposal::default() };
    let mut host = (**known).clone();
    edit(&mut host);
    if host == **known {
        return Proposal::default();
    }
    let key = RecordKey::Host(id.clone());
    Proposal {
        reads: vec![(key.clone(), cluster.modified(&key))],
        change: Change { edits: vec![Edit::Put(Record::Host(Arc::new(host)))] },
    }
}

/// It gets no new instances; what is there stays.
#[must_use]
pub fn cordon(cluster: &Cluster, id: &HostId) -> Proposal {
    change(cluster, id, |host| host.scheduling = Scheduling::Cordoned)
}

/// It gets instances again; a drain ends.
#[must_use]
pub fn uncordon(cluster: &Cluster, id: &HostId) -> Proposal {
    change(cluster, id, |host| host.scheduling = Scheduling::Active)
}

/// Its instances move to other hosts, none before another one has its place. What has not moved
/// after `deadline_ms` stays, or goes all the same with `force`.
#[must_use]
pub fn drain(
    cluster: &Cluster,
    id: &HostId,
    deadline_ms: Option<u64>,
    force: bool,
    now: Timestamp,
) -> Proposal {
    change(cluster, id, |host| {
        let deadline = deadline_ms.map(|ms| now.plus_ms(ms));
        host.scheduling = Scheduling::Draining { since: now, deadline, force };
    })
}

/// Are these keys and values that a host may have?
pub(super) fn check_labels<'a>(
    labels: impl Iterator<Item = (&'a String, Option<&'a String>)>,
) -> Result<(), Refused> {
    for (key, value) in labels {
        let long = key.len() > 256 || value.is_some_and(|value| value.len() > 1_024);
        let control = |text: &String| text.chars().any(char::is_control);
        if key.trim().is_empty() || long || control(key) || value.is_some_and(control) {
            let shown: String = key.chars().take(60).collect();
            return Err(Refused::new(
                format!("label {shown:?} cannot be used"),
                "a key has 1 to 256 bytes, a value at most 1024, neither control characters",
            ));
        }
    }
    Ok(())
}

/// Sets labels, and takes away those without a value.
///
/// # Errors
/// A label that breaks a rule, or too many.
pub fn label(
    cluster: &Cluster,
    id: &HostId,
    labels: &BTreeMap<String, Option<String>>,
) -> Result<Proposal, Refused> {
    check_labels(labels.iter().map(|(key, value)| (key, value.as_ref())))?;
    let proposal = change(cluster, id, |host| {
        for (key, value) in labels {
            match value {
                Some(value) => drop(host.labels.insert(key.clone(), value.clone())),
                None => drop(host.labels.remove(key)),
            }
        }
    });
    let put = proposal.change.edits.first();
    if let Some(Edit::Put(Record::Host(host))) = put
        && host.labels.len() > HOST_LABELS_MAX
    {
        return Err(Refused::new(
            format!("host {id} would have {} labels", host.labels.len()),
            &format!("at most {HOST_LABELS_MAX}"),
        ));
    }
    Ok(proposal)
}

/// The host leaves the cluster: its certificate is worth nothing any more, and its instances are
/// made anew elsewhere.
///
/// # Errors
/// When its agent is connected and needs no certificate, or when instances are there that nothing
/// has replaced and `force` is not said.
pub fn remove(cluster: &Cluster, id: &HostId, force: bool) -> Result<Proposal, Refused> {
    let Some(host) = cluster.host(id) else { return Ok(Proposal::default()) };
    if host.status == HostLink::Active && host.membership.enrolment.is_empty() {
        return Err(Refused::new(
            format!("the agent of host {id} is connected: it would join again at once"),
            "drain it, stop its agent, then remove it",
        ));
    }
    let left = cluster.instances().filter(|i| i.host == *id && i.goal == Goal::Run).count();
    if left > 0 && !force {
        return Err(Refused::new(
            format!("{left} instances are to run on host {id}"),
            "drain it first, or --force to make them anew elsewhere: what is there is given up",
        ));
    }
    let key = RecordKey::Host(id.clone());
    Ok(Proposal {
        reads: vec![(key.clone(), cluster.modified(&key))],
        change: Change { edits: vec![Edit::Delete(key)] },
    })
}
