//! The revisions of a service for people: how each did, what it changed, how two differ. Pure.

use crate::rows;
use api::error::ErrorInfo;
use api::wire::{DiffQuery, History, RevisionDiff, RevisionRow};
use control::cluster::template_diff;
use model::cluster::Cluster;
use model::id::ServiceId;
use model::instance::Goal;
use model::record::{Revision, RevisionStatus, Verdict};

/// Its revisions, oldest first; `None` when there is no such service.
#[must_use]
pub(crate) fn of(cluster: &Cluster, id: &ServiceId) -> Option<History> {
    let service = cluster.service(id)?;
    let status = cluster.service_status(id);
    Some(History {
        service: id.to_string(),
        rollout: rows::rollout_of(service, status.map(|s| &**s)),
        revisions: rows(cluster, id),
    })
}

/// The rows of its revisions, oldest first.
#[must_use]
pub(crate) fn rows(cluster: &Cluster, id: &ServiceId) -> Vec<RevisionRow> {
    let Some(service) = cluster.service(id) else { return vec![] };
    let status = cluster.service_status(id);
    let before = status.and_then(|s| s.rollout.before()).map(|target| target.revision);
    let mut previous: Option<&Revision> = None;
    let mut all = vec![];
    for revision in cluster.revisions_of(id) {
        let number = revision.number;
        let none = RevisionStatus::default();
        let known = status.and_then(|s| s.revisions.get(&number)).unwrap_or(&none);
        let (verdict, why) = match &known.verdict {
            Verdict::Open => ("open", String::new()),
            Verdict::Good => ("good", String::new()),
            Verdict::Failed { why } => ("failed", why.clone()),
            Verdict::Superseded => ("superseded", String::new()),
        };
        all.push(RevisionRow {
            number,
            image: rows::image_of(&revision.template),
            created_at: revision.created_at,
            verdict: verdict.into(),
            why,
            at: (known.verdict != Verdict::Open).then_some(known.at),
            wanted: service.target.revision == number,
            before: before == Some(number) && service.target.revision != number,
            instances: cluster
                .instances_of(id)
                .filter(|i| i.goal == Goal::Run && i.target.revision == number)
                .count(),
            images: known.images.clone(),
            changes: previous.map_or_else(Vec::new, |previous| {
                template_diff(Some(&previous.template), &revision.template)
            }),
        });
        previous = Some(revision);
    }
    all
}

/// How two revisions differ.
///
/// # Errors
/// `Kind::NotFound` when one of them is not kept, with those that are.
pub(crate) fn diff(
    cluster: &Cluster,
    id: &ServiceId,
    query: &DiffQuery,
) -> Result<RevisionDiff, ErrorInfo> {
    let wanted = cluster.service(id).map_or(0, |service| service.target.revision);
    let to = query.to.unwrap_or(wanted);
    let before = cluster.service_status(id).and_then(|s| s.rollout.before()).map(|t| t.revision);
    let below = || cluster.revisions_of(id).map(|r| r.number).filter(|number| *number < to).max();
    let from = query
        .from
        .or_else(|| before.filter(|before| query.to.is_none() && *before != to))
        .or_else(below)
        .unwrap_or(to);
    let kept = |number: u32| {
        cluster.revision(id, number).ok_or_else(|| {
            let all: Vec<String> = cluster.revisions_of(id).map(|r| r.number.to_string()).collect();
            ErrorInfo::not_found(format!("revision {number} of {id} is not kept"))
                .hint(format!("kept: {}; see `remuda svc history {id}`", all.join(", ")))
        })
    };
    let (old, new) = (kept(from)?, kept(to)?);
    let changes = template_diff(Some(&old.template), &new.template);
    Ok(RevisionDiff { service: id.to_string(), from, to, changes })
}
