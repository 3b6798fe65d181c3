//! What must hold once everything had its time: converged, no orphan, no duplicate, and a reason
//! for everything that is not as wanted.

use super::engines::owners;
use super::placed::has_label;
use super::serving::{containers_of, template_of};
use super::{Flaw, Oracle};
use engine::seen::SeenContainer;
use model::change::{Edit, Proposal};
use model::cluster::Cluster;
use model::host::{Host, HostLink, Scheduling};
use model::id::InstanceId;
use model::instance::{Goal, Instance, InstanceStatus, Phase};
use model::placement::Subject;
use model::reason::{Blocked, Reason};
use model::record::{Record, Rollout, RunOutcome, Service, ServiceStatus};
use model::scaling::Mode;
use model::service::Template;
use model::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is found while everything is looked at.
struct Look<'a> {
    cluster: &'a Cluster,
    /// Containers that run.
    running: BTreeSet<InstanceId>,
    flaws: Vec<Flaw>,
}

impl Oracle {
    /// What is not at rest, given the containers of all hosts.
    pub(crate) fn at_rest(
        &self,
        containers: &[(usize, SeenContainer)],
        now: Timestamp,
    ) -> Vec<Flaw> {
        let cluster = &self.cluster;
        let running = containers.iter().filter(|(_, c)| c.running()).filter_map(|(_, c)| of(c));
        let mut look = Look { cluster, running: running.collect(), flaws: vec![] };
        for violation in control::audit::audit(cluster) {
            look.flaws.push(Flaw::Audit(format!("{violation:?}")));
        }
        self.check_containers(containers, &mut look.flaws);
        self.check_namespaces(containers, &mut look.flaws);
        for service in cluster.services() {
            look.service(service);
        }
        for instance in cluster.instances().filter(|i| i.goal != Goal::Run) {
            look.ending(instance);
        }
        let plan = control::cluster::plan(cluster, now);
        for proposal in plan.proposals.iter().filter(|one| !only_tells(cluster, one)) {
            let text = format!("planned: {:?}", proposal.change.edits.first());
            look.flaws.push(Flaw::NotQuiet(text));
        }
        look.flaws
    }

    fn check_containers(&self, containers: &[(usize, SeenContainer)], flaws: &mut Vec<Flaw>) {
        let told: BTreeSet<&String> =
            self.cluster.hosts().flat_map(|host| &host.facts.strays).collect();
        let mut by_instance: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, container) in containers {
            let Some(instance) = container.instance.as_deref() else { continue };
            let known = of(container).and_then(|id| self.cluster.instance(&id.instance()));
            if known.is_none() && !told.contains(&container.name) {
                flaws.push(Flaw::Orphan(container.name.clone()));
            }
            *by_instance.entry(instance).or_default() += 1;
        }
        let twice = by_instance.iter().filter(|(_, count)| **count > 1);
        flaws.extend(twice.map(|(id, _)| Flaw::Twice((*id).to_owned())));
    }

    /// Who shares a namespace is in the one that its owner is in now, unless the owner comes back
    /// and takes him along.
    fn check_namespaces(&self, containers: &[(usize, SeenContainer)], flaws: &mut Vec<Flaw>) {
        let known = |container: &SeenContainer| {
            of(container).is_some_and(|id| self.cluster.instance(&id.instance()).is_some())
        };
        for (host, container) in containers.iter().filter(|(_, c)| c.running() && known(c)) {
            let own = self.engines.start_of(&(*host, container.id.clone()));
            for owner in owners(container) {
                let start = self.engines.start_of(&(*host, owner.to_owned()));
                let gone = start.is_none() && !self.is_explained(container);
                if gone || start.is_some_and(|start| Some(start) > own) {
                    let text = format!("{} shares with {owner} on h{host}", container.name);
                    flaws.push(Flaw::Stranded(text));
                }
            }
        }
    }

    /// Does another container of the same instance wait for its next start, or has a sidekick done
    /// its one work? What it shared goes on without it.
    fn is_explained(&self, container: &SeenContainer) -> bool {
        let Some(id) = of(container) else { return false };
        let Some(instance) = self.cluster.instance(&id.instance()) else { return false };
        let others = containers_of(&self.cluster, instance).into_iter().filter(|one| *one != id);
        let seen = |one: InstanceId| {
            let seen = self.cluster.instance_status(&one)?;
            Some((one.sidekick.is_some(), Arc::clone(seen)))
        };
        others.filter_map(seen).any(|(sidekick, seen)| match seen.phase {
            Phase::Backoff | Phase::Starting | Phase::Pulling => true,
            Phase::Completed => sidekick,
            Phase::Failed => !seen.reason.ends_with("it is not started again"),
            _ => false,
        })
    }
}

/// Does a proposal only name other lacks of the same hosts? A host that lacks several things is
/// counted under one of them, and what waits is looked at again only when that one may have gone.
fn only_tells(cluster: &Cluster, proposal: &Proposal) -> bool {
    let same = |stored: &Blocked, new: &Blocked| match (&stored.reason, &new.reason) {
        (Reason::NoFit { hosts: before, .. }, Reason::NoFit { hosts, .. }) => {
            stored.n == new.n && before == hosts
        }
        _ => stored == new,
    };
    proposal.change.edits.iter().all(|edit| {
        let Edit::Put(Record::ServiceStatus(new)) = edit else { return false };
        let Some(stored) = cluster.service_status(&new.service) else { return false };
        let alike = stored.blocked.len() == new.blocked.len()
            && stored.blocked.iter().zip(&new.blocked).all(|(stored, new)| same(stored, new));
        let told = ServiceStatus { blocked: stored.blocked.clone(), ..(**new).clone() };
        alike && told == **stored
    })
}

/// Whose container it is.
fn of(container: &SeenContainer) -> Option<InstanceId> {
    container.instance.as_deref()?.parse().ok()
}

/// Does a host take an instance of a global service, whatever there is room for?
fn takes(host: &Host, template: &Template) -> bool {
    let hard = template.placement.constraints.iter().filter(|one| !one.soft);
    let mut of_hosts = hard.filter_map(|one| match &one.on {
        Subject::HostLabel { key, value } => {
            Some(has_label(host, key, value.as_deref()) != one.negated)
        }
        _ => None,
    });
    of_hosts.all(|met| met)
}

impl Look<'_> {
    fn not_quiet(&mut self, text: String) {
        self.flaws.push(Flaw::NotQuiet(text));
    }

    fn seen(&self, id: &InstanceId) -> Option<&InstanceStatus> {
        self.cluster.instance_status(id).map(|seen| &**seen)
    }

    /// What is to go has gone, and what is stopped does not run: all of the unit.
    fn ending(&mut self, instance: &Instance) {
        if instance.goal == Goal::Remove {
            let seen = self.seen(&instance.id).map(|s| format!("{s:?}")).unwrap_or_default();
            self.not_quiet(format!("{} is still being removed: {seen}", instance.id));
            return;
        }
        for id in containers_of(self.cluster, instance) {
            if self.running.contains(&id) {
                self.not_quiet(format!("{id} runs and is to be stopped"));
            }
        }
    }

    /// Every slot runs once at the wanted version, or something says why not.
    fn service(&mut self, service: &Service) {
        let id = &service.id;
        let cluster = self.cluster;
        let Some(status) = cluster.service_status(id) else {
            return self.not_quiet(format!("{id} has no status"));
        };
        if service.goal == Goal::Remove {
            return self.not_quiet(format!("{id} is still being removed"));
        }
        let to_run: Vec<&Instance> =
            cluster.instances_of(id).map(|i| &**i).filter(|i| i.goal == Goal::Run).collect();
        if service.goal == Goal::Stop {
            for instance in to_run {
                self.not_quiet(format!("{} runs, its service is stopped", instance.id));
            }
            return;
        }
        for instance in &to_run {
            self.instance(instance);
        }
        if matches!(service.settings.mode, Mode::Job(_)) {
            return self.job(service, status);
        }
        let told = !status.blocked.is_empty() || matches!(status.rollout, Rollout::Failed { .. });
        let scale = control::cluster::scale_of(cluster, service);
        if service.settings.mode == Mode::Global {
            self.global(service, &to_run, told);
        } else {
            for instance in to_run.iter().filter(|one| one.id.n > scale) {
                self.not_quiet(format!("{} is beyond scale {scale}", instance.id));
            }
        }
        if told {
            return;
        }
        if let Rollout::Running { .. } = status.rollout {
            let parts = to_run.iter().flat_map(|one| containers_of(cluster, one));
            let waits = parts
                .into_iter()
                .any(|id| cluster.instance_status(&id).is_some_and(|seen| !seen.reason.is_empty()));
            if !waits {
                self.flaws.push(Flaw::NoReason(format!("{id}: {:?}", status.rollout)));
            }
            return;
        }
        if service.settings.mode == Mode::Global {
            return;
        }
        for n in 1..=scale {
            let count = to_run.iter().filter(|i| i.id.n == n).count();
            if count != 1 {
                self.not_quiet(format!("{id} has {count} instances in slot {n}"));
            }
        }
    }

    /// One instance on each host that takes it, none elsewhere.
    fn global(&mut self, service: &Service, to_run: &[&Instance], told: bool) {
        let revision = self.cluster.revision(&service.id, service.target.revision);
        let Some(revision) = revision else { return };
        for host in self.cluster.hosts() {
            let here = to_run.iter().filter(|one| one.host == host.id).count();
            let fits = takes(host, &revision.template);
            let open = host.status == HostLink::Active && host.scheduling == Scheduling::Active;
            let (least, most) = match (fits, host.scheduling) {
                (true, Scheduling::Draining { .. }) => (0, 0),
                (true, _) => (usize::from(open), 1),
                (false, _) => (0, 0),
            };
            if (here < least || here > most) && !told {
                let text = format!("{}: {here} on {}, it fits: {fits}", service.id, host.id);
                self.flaws.push(Flaw::PerHost(text));
            }
        }
    }

    /// Each container of an instance runs, or it is known why not.
    fn instance(&mut self, instance: &Instance) {
        let primary = self.seen(&instance.id).map(|seen| seen.phase).unwrap_or_default();
        if template_of(self.cluster, instance).is_some_and(|t| t.container().is_none()) {
            return;
        }
        let parts = containers_of(self.cluster, instance);
        let several = parts.len() > 1;
        for id in parts {
            let seen = self.seen(&id);
            // A crash loop, or a job that is over, is at rest when it is told with its reason.
            let excused = seen.is_some_and(|seen| match seen.phase {
                Phase::Backoff | Phase::Failed => !seen.reason.is_empty(),
                Phase::Completed => true,
                // It waits for another container of its unit.
                Phase::Starting => several && !seen.reason.is_empty(),
                _ => id.sidekick.is_some() && primary == Phase::Completed,
            });
            if !self.running.contains(&id) && !excused {
                let seen = seen.map(|s| format!("{s:?}")).unwrap_or_default();
                self.flaws.push(Flaw::NotRunning(format!("{id} {seen}")));
            }
        }
    }

    /// Of a job nothing runs but the runs that are under way, and what waits says why.
    fn job(&mut self, service: &Service, status: &ServiceStatus) {
        let under_way: BTreeSet<u64> = status
            .runs
            .iter()
            .filter(|run| run.outcome == RunOutcome::Running)
            .filter_map(|run| run.incarnation)
            .collect();
        let waits = status.runs.iter().any(|run| run.outcome == RunOutcome::Waiting);
        if waits && under_way.is_empty() && status.blocked.is_empty() {
            self.flaws.push(Flaw::NoReason(format!("{}: a run waits", service.id)));
        }
        let over: Vec<InstanceId> = self
            .running
            .iter()
            .filter(|id| id.service == service.id && !under_way.contains(&id.incarnation))
            // A host that was removed has told of its strays.
            .filter(|id| self.cluster.instance(&id.instance()).is_some())
            .cloned()
            .collect();
        for id in over {
            self.not_quiet(format!("{id} runs and its run is over"));
        }
    }
}
