//! What people ask for besides a spec: scale, restart, stop, start, run, remove (here), verbs of a
//! rollout, verbs of hosts, who is a member, how packets get from host to host.

pub mod host;
pub mod member;
pub mod network;
pub mod rollout;
pub mod token;

use model::change::{Change, Edit, Proposal};
use model::cluster::Cluster;
use model::id::{ServiceId, StackName};
use model::instance::Goal;
use model::record::{Record, RecordKey, Service};
use model::scaling::Mode;
use std::sync::Arc;

/// Why something that was asked for means nothing now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Refused {
    /// Why.
    pub why: String,
    /// What to do instead; empty when there is nothing.
    pub hint: String,
}

impl Refused {
    fn new(why: String, hint: &str) -> Self {
        Self { why, hint: hint.to_owned() }
    }
}

fn change(cluster: &Cluster, id: &ServiceId, edit: impl FnOnce(&mut Service)) -> Proposal {
    let Some(known) = cluster.service(id) else { return Proposal::default() };
    let mut service = (**known).clone();
    edit(&mut service);
    if service == **known {
        return Proposal::default();
    }
    let key = RecordKey::Service(id.clone());
    Proposal {
        reads: vec![(key.clone(), cluster.modified(&key))],
        change: Change { edits: vec![Edit::Put(Record::Service(Arc::new(service)))] },
    }
}

/// Sets the scale.
///
/// # Errors
/// When something else decides on it.
pub fn scale(cluster: &Cluster, id: &ServiceId, scale: u32) -> Result<Proposal, Refused> {
    if let Some(service) = cluster.service(id) {
        let why = match (&service.settings.mode, service.settings.scaling) {
            (Mode::Global, _) => "it is global: it has one instance on each host that takes it",
            (Mode::Job(_), _) => "it is a job: `svc run` starts one more run",
            (Mode::Replicated, Some(_)) => "its scale is decided by a policy of its file",
            (Mode::Replicated, None) => "",
        };
        if !why.is_empty() {
            return Err(Refused::new(format!("service {id} cannot be scaled: {why}"), ""));
        }
        let template = cluster.revision(id, service.target.revision).map(|r| &r.template);
        if template.is_some_and(|t| !t.has_instances()) {
            let why = format!("service {id} is a name for something else: it has no instances");
            return Err(Refused::new(why, ""));
        }
    }
    Ok(change(cluster, id, |service| service.scale = scale))
}

/// Starts one more run of a job.
///
/// # Errors
/// When it is no job, or stopped.
pub fn run(cluster: &Cluster, id: &ServiceId) -> Result<Proposal, Refused> {
    if let Some(service) = cluster.service(id) {
        if !matches!(service.settings.mode, Mode::Job(_)) {
            let why = format!("service {id} is no job");
            return Err(Refused::new(why, "give it a `schedule:`, or use `remuda run`"));
        }
        if service.goal != Goal::Run {
            return Err(Refused::new(format!("job {id} is stopped"), "`svc start` it first"));
        }
    }
    Ok(change(cluster, id, |service| service.orders.runs += 1))
}

/// Makes every instance anew; a service that is stopped starts.
#[must_use]
pub fn restart(cluster: &Cluster, id: &ServiceId) -> Proposal {
    change(cluster, id, |service| {
        service.target.restart += 1;
        if service.goal == Goal::Stop {
            service.goal = Goal::Run;
        }
    })
}

/// Stops it, its containers are kept.
#[must_use]
pub fn stop(cluster: &Cluster, id: &ServiceId) -> Proposal {
    change(cluster, id, |service| {
        if service.goal == Goal::Run {
            service.goal = Goal::Stop;
        }
    })
}

/// Starts it again.
#[must_use]
pub fn start(cluster: &Cluster, id: &ServiceId) -> Proposal {
    change(cluster, id, |service| {
        if service.goal == Goal::Stop {
            service.goal = Goal::Run;
        }
    })
}

/// Removes it with its instances. Named volumes stay.
#[must_use]
pub fn remove_service(cluster: &Cluster, id: &ServiceId) -> Proposal {
    change(cluster, id, |service| service.goal = Goal::Remove)
}

/// Removes all services of a stack; its record goes with the last of them.
#[must_use]
pub fn remove_stack(cluster: &Cluster, stack: &StackName) -> Proposal {
    let mut all = Proposal::default();
    for service in cluster.services_of(stack) {
        let one = remove_service(cluster, &service.id);
        all.reads.extend(one.reads);
        all.change.edits.extend(one.change.edits);
    }
    all
}
