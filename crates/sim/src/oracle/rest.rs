//! What must hold once everything had its time: converged, no orphan, no duplicate, and a reason
//! for everything that is not as wanted.

use super::{Flaw, Oracle};
use engine::seen::SeenContainer;
use model::cluster::Cluster;
use model::id::InstanceId;
use model::instance::{Goal, Instance, Phase};
use model::record::{Rollout, Service};
use model::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

impl Oracle {
    /// What is not at rest, given the containers of all hosts.
    pub(crate) fn at_rest(&self, containers: &[SeenContainer], now: Timestamp) -> Vec<Flaw> {
        let cluster = &self.cluster;
        let mut flaws: Vec<Flaw> = vec![];
        for violation in control::audit::audit(cluster) {
            flaws.push(Flaw::Audit(format!("{violation:?}")));
        }
        self.check_containers(containers, &mut flaws);
        let running: BTreeSet<&str> = containers
            .iter()
            .filter(|c| c.running())
            .filter_map(|c| c.instance.as_deref())
            .collect();
        for service in cluster.services() {
            check_service(cluster, service, &running, &mut flaws);
        }
        for instance in cluster.instances().filter(|i| i.goal == Goal::Remove) {
            let id = &instance.id;
            let seen = cluster.instance_status(id).map(|s| format!("{s:?}")).unwrap_or_default();
            flaws.push(Flaw::NotQuiet(format!("{id} is still being removed: {seen}")));
        }
        for proposal in control::cluster::plan(cluster, now).proposals {
            flaws.push(Flaw::NotQuiet(format!("planned: {:?}", proposal.change.edits.first())));
        }
        flaws
    }

    fn check_containers(&self, containers: &[SeenContainer], flaws: &mut Vec<Flaw>) {
        let told: BTreeSet<&String> =
            self.cluster.hosts().flat_map(|host| &host.facts.strays).collect();
        let mut by_instance: BTreeMap<&str, usize> = BTreeMap::new();
        for container in containers {
            let Some(instance) = container.instance.as_deref() else { continue };
            let known = instance.parse().ok().and_then(|id: InstanceId| self.cluster.instance(&id));
            if known.is_none() && !told.contains(&container.name) {
                flaws.push(Flaw::Orphan(container.name.clone()));
            }
            *by_instance.entry(instance).or_default() += 1;
        }
        let twice = by_instance.iter().filter(|(_, count)| **count > 1);
        flaws.extend(twice.map(|(id, _)| Flaw::Twice((*id).to_owned())));
    }
}

/// One service: every slot runs once at the wanted version, or something says why not.
fn check_service(
    cluster: &Cluster,
    service: &Service,
    running: &BTreeSet<&str>,
    flaws: &mut Vec<Flaw>,
) {
    let id = &service.id;
    let Some(status) = cluster.service_status(id) else {
        return flaws.push(Flaw::NotQuiet(format!("{id} has no status")));
    };
    if service.goal == Goal::Remove {
        return flaws.push(Flaw::NotQuiet(format!("{id} is still being removed")));
    }
    let to_run: Vec<&Instance> =
        cluster.instances_of(id).map(|i| &**i).filter(|i| i.goal == Goal::Run).collect();
    if service.goal == Goal::Stop {
        for instance in &to_run {
            flaws.push(Flaw::NotQuiet(format!("{} runs, its service is stopped", instance.id)));
        }
        return;
    }
    let told = !status.blocked.is_empty() || matches!(status.rollout, Rollout::Failed { .. });
    for instance in &to_run {
        if instance.id.n > service.scale {
            flaws
                .push(Flaw::NotQuiet(format!("{} is beyond scale {}", instance.id, service.scale)));
        }
        let seen = cluster.instance_status(&instance.id);
        let text = instance.id.to_string();
        // A crash loop, or a job that is over, is at rest when it is told with its reason.
        let excused = seen.is_some_and(|seen| match seen.phase {
            Phase::Backoff | Phase::Failed => !seen.reason.is_empty(),
            Phase::Completed => true,
            _ => false,
        });
        if !running.contains(text.as_str()) && !excused {
            let seen = seen.map(|s| format!("{s:?}")).unwrap_or_default();
            flaws.push(Flaw::NotRunning(format!("{text} {seen}")));
        }
    }
    if told {
        return;
    }
    if let Rollout::Running { .. } = status.rollout {
        let waits = to_run.iter().any(|instance| {
            cluster.instance_status(&instance.id).is_some_and(|seen| !seen.reason.is_empty())
        });
        if !waits {
            flaws.push(Flaw::NoReason(format!("{id}: {:?}", status.rollout)));
        }
        return;
    }
    for n in 1..=service.scale {
        let count = to_run.iter().filter(|i| i.id.n == n).count();
        if count != 1 {
            flaws.push(Flaw::NotQuiet(format!("{id} has {count} instances in slot {n}")));
        }
    }
}
