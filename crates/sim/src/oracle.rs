//! What must hold, whatever happened.

use engine::seen::SeenContainer;
use model::cluster::Cluster;
use model::instance::{Goal, Phase};
use model::record::Rollout;
use model::time::Timestamp;
use std::collections::BTreeMap;

/// Something that must never be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The independent audit found something.
    Audit(String),
    /// A container of ours that no instance stands for.
    Orphan(String),
    /// Two containers of one instance.
    Twice(String),
    /// An instance that should run has no running container.
    NotRunning(String),
    /// The planner still wants something.
    NotQuiet(String),
    /// A container went though nobody had decided so.
    GoneUnasked(String),
}

/// Holds at every moment.
pub(crate) fn always(cluster: &Cluster) -> Vec<Flaw> {
    control::audit::audit(cluster).iter().map(|v| Flaw::Audit(format!("{v:?}"))).collect()
}

/// Is this service meant to be steady: not failed, not stopped?
fn is_steady(cluster: &Cluster, service: &model::id::ServiceId) -> bool {
    let status = cluster.service_status(service);
    let done = status.is_some_and(|s| s.rollout == Rollout::Done && s.blocked.is_empty());
    done && cluster.service(service).is_some_and(|s| s.goal == Goal::Run)
}

/// Holds once everything had its time: converged, no orphan, no duplicate.
pub(crate) fn at_rest(
    cluster: &Cluster,
    containers: &[SeenContainer],
    now: Timestamp,
) -> Vec<Flaw> {
    let mut flaws = always(cluster);
    let mut by_instance: BTreeMap<String, usize> = BTreeMap::new();
    for container in containers {
        let Some(instance) = container.instance.clone() else { continue };
        let known = instance.parse().ok().and_then(|id| cluster.instance(&id));
        if known.is_none() {
            flaws.push(Flaw::Orphan(container.name.clone()));
        }
        *by_instance.entry(instance).or_default() += 1;
    }
    flaws
        .extend(by_instance.iter().filter(|(_, n)| **n > 1).map(|(id, _)| Flaw::Twice(id.clone())));
    for instance in cluster.instances() {
        let id = &instance.id;
        if instance.goal == Goal::Remove {
            let seen = cluster.instance_status(id).map(|s| format!("{s:?}")).unwrap_or_default();
            flaws.push(Flaw::NotQuiet(format!("{id} is still being removed: {seen}")));
        }
        if instance.goal != Goal::Run || !is_steady(cluster, &id.service) {
            continue;
        }
        let text = id.to_string();
        let runs =
            containers.iter().any(|c| c.instance.as_deref() == Some(text.as_str()) && c.running());
        // A crash loop or a job that is over is told with its reason: that is at rest.
        let seen = cluster.instance_status(id);
        let told = seen
            .is_some_and(|s| matches!(s.phase, Phase::Backoff | Phase::Failed | Phase::Completed));
        if !runs && !told {
            let seen = seen.map(|s| format!("{s:?}")).unwrap_or_default();
            flaws.push(Flaw::NotRunning(format!("{text} {seen}")));
        }
    }
    for proposal in control::cluster::plan(cluster, now).proposals {
        flaws.push(Flaw::NotQuiet(format!("{:?}", proposal.change.edits.first())));
    }
    flaws
}
