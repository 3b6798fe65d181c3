//! The change log told to people: what one edit of a record means, in a fixed word and a sentence.

mod expose;

pub use expose::of_exposure;

use model::event::{Event, Severity};
use model::floating::{Floating, FloatingHolder};
use model::health::Health;
use model::host::{Host, HostLink, Scheduling};
use model::id::{InstanceId, ServiceId};
use model::instance::{Goal, Instance, InstanceStatus, Phase};
use model::record::{Record, Rollout, Run, RunOutcome, Service, ServiceStatus, Stack};
use model::time::{Index, Timestamp};

/// Tells what the step from `prev` to `next` means; `None` when people need not hear of it.
#[must_use]
pub fn describe(
    prev: Option<&Record>,
    next: Option<&Record>,
    index: Index,
    at: Timestamp,
) -> Option<Event> {
    let told = match (prev, next) {
        (_, Some(Record::Stack(stack))) => {
            prev.is_none().then(|| of_stack(stack, "stack.created", "stack created"))
        }
        (Some(Record::Stack(stack)), None) => {
            Some(of_stack(stack, "stack.removed", "stack removed"))
        }
        (_, Some(Record::Service(service))) => of_service(as_service(prev), service),
        (Some(Record::Service(service)), None) => {
            Some(Told::info("service.removed", "service removed".into()).service(&service.id))
        }
        (_, Some(Record::ServiceStatus(status))) => of_status(as_status(prev), status),
        (_, Some(Record::Instance(instance))) => of_instance(as_instance(prev), instance),
        (Some(Record::Instance(instance)), None) => {
            Some(Told::info("instance.removed", instance.reason.clone()).instance(&instance.id))
        }
        (_, Some(Record::InstanceStatus(id, status))) => {
            of_instance_status(as_instance_status(prev), id, status)
        }
        (_, Some(Record::Host(host))) => of_host(as_host(prev), host),
        (Some(Record::Host(host)), None) => {
            let mut told = Told::info("host.removed", "it has left the cluster".into());
            told.host = Some(host.id.clone());
            Some(told)
        }
        (_, Some(Record::Floating(floating))) => of_floating(prev, floating),
        (Some(Record::Environment(prev)), Some(Record::Environment(next))) => {
            expose::of_settings(&prev.expose, &next.expose)
        }
        _ => None,
    };
    told.map(|told| told.event(index, at))
}

struct Told {
    severity: Severity,
    action: &'static str,
    message: String,
    stack: Option<model::id::StackName>,
    service: Option<ServiceId>,
    instance: Option<InstanceId>,
    host: Option<model::id::HostId>,
}

impl Told {
    fn new(severity: Severity, action: &'static str, message: String) -> Self {
        Self { severity, action, message, stack: None, service: None, instance: None, host: None }
    }

    fn info(action: &'static str, message: String) -> Self {
        Self::new(Severity::Info, action, message)
    }

    fn service(mut self, id: &ServiceId) -> Self {
        self.stack = Some(id.stack.clone());
        self.service = Some(id.clone());
        self
    }

    fn instance(self, id: &InstanceId) -> Self {
        let mut told = self.service(&id.service);
        told.instance = Some(id.clone());
        told
    }

    fn event(self, index: Index, at: Timestamp) -> Event {
        Event {
            index,
            at,
            severity: self.severity,
            action: self.action.to_owned(),
            stack: self.stack,
            service: self.service,
            instance: self.instance,
            host: self.host,
            message: self.message,
        }
    }
}

fn as_service(record: Option<&Record>) -> Option<&Service> {
    match record {
        Some(Record::Service(service)) => Some(service),
        _ => None,
    }
}

fn as_status(record: Option<&Record>) -> Option<&ServiceStatus> {
    match record {
        Some(Record::ServiceStatus(status)) => Some(status),
        _ => None,
    }
}

fn as_instance(record: Option<&Record>) -> Option<&Instance> {
    match record {
        Some(Record::Instance(instance)) => Some(instance),
        _ => None,
    }
}

fn as_instance_status(record: Option<&Record>) -> Option<&InstanceStatus> {
    match record {
        Some(Record::InstanceStatus(_, status)) => Some(status),
        _ => None,
    }
}

fn as_host(record: Option<&Record>) -> Option<&Host> {
    match record {
        Some(Record::Host(host)) => Some(host),
        _ => None,
    }
}

/// Who has a floating address is another one.
fn of_floating(prev: Option<&Record>, next: &Floating) -> Option<Told> {
    let prev = match prev {
        Some(Record::Floating(prev)) => Some(prev),
        _ => None,
    };
    let (address, before) = (next.address, prev.and_then(|prev| prev.holder.as_ref()));
    let host = |holder: Option<&FloatingHolder>| holder.map(|holder| holder.host.clone());
    let mut told = match (host(before), host(next.holder.as_ref())) {
        (Some(from), Some(to)) if from != to => {
            let text = format!("{address} is on host {to}, it was on {from}");
            Told::new(Severity::Warn, "floating_ip.moved", text)
        }
        (None, Some(to)) => Told::info("floating_ip.taken", format!("{address} is on host {to}")),
        (Some(from), None) => {
            let text = format!("{address} is not on host {from} any more");
            Told::new(Severity::Warn, "floating_ip.left", text)
        }
        _ if !next.why.is_empty() && prev.is_none_or(|prev| prev.why != next.why) => {
            let text = format!("no host has {address}: {}", next.why);
            Told::new(Severity::Warn, "floating_ip.blocked", text)
        }
        _ => return None,
    };
    let service = next.service.as_ref().or_else(|| prev.and_then(|prev| prev.service.as_ref()));
    told.host = host(next.holder.as_ref());
    Some(match service {
        Some(service) => told.service(service),
        None => told,
    })
}

fn of_stack(stack: &Stack, action: &'static str, message: &str) -> Told {
    let mut told = Told::info(action, message.to_owned());
    told.stack = Some(stack.name.clone());
    told
}

fn of_service(prev: Option<&Service>, next: &Service) -> Option<Told> {
    let (action, message) = match prev {
        None => ("service.created", format!("service created, scale {}", next.scale)),
        Some(prev) if prev.goal != next.goal => match next.goal {
            Goal::Run => ("service.started", "service started".into()),
            Goal::Stop => ("service.stopped", "service stopped".into()),
            Goal::Remove => ("service.removing", "service is being removed".into()),
        },
        Some(prev) if prev.target.revision != next.target.revision => (
            "service.updated",
            format!("revision {} -> {}", prev.target.revision, next.target.revision),
        ),
        Some(prev) if prev.target.restart != next.target.restart => {
            ("service.restarting", "every instance is made anew".into())
        }
        Some(prev) if prev.orders.paused != next.orders.paused => match next.orders.paused {
            true => ("rollout.paused", "nothing changes its version until it is resumed".into()),
            false if next.orders.promoted != prev.orders.promoted => promoted(next),
            false => ("rollout.resumed", "the rollout goes on".into()),
        },
        Some(prev) if prev.orders.promoted != next.orders.promoted => promoted(next),
        Some(prev) if prev.orders.finished != next.orders.finished => {
            ("rollout.finished", "what was kept of before may go".into())
        }
        Some(prev) if prev.orders.runs != next.orders.runs => {
            ("run.asked", "somebody asked for a run".into())
        }
        Some(prev) if prev.scale != next.scale => {
            ("service.scaled", format!("scale {} -> {}", prev.scale, next.scale))
        }
        Some(prev) if prev.attempt != next.attempt => {
            ("service.retried", "the failed rollout is tried again".into())
        }
        Some(_) => return None,
    };
    Some(Told::info(action, message).service(&next.id))
}

fn promoted(next: &Service) -> (&'static str, String) {
    let revision = next.target.revision;
    ("rollout.promoted", format!("the canaries of revision {revision} are good: the rest follows"))
}

/// What became of runs of a job: the worst of what is new.
fn of_runs(prev: Option<&ServiceStatus>, next: &ServiceStatus) -> Option<Told> {
    let before = |run: &Run| {
        let known = prev.and_then(|prev| prev.runs.iter().find(|old| old.number == run.number));
        known.map(|old| &old.outcome)
    };
    let is_new = |run: &&Run| run.outcome.is_over() && before(run) != Some(&run.outcome);
    let told = next.runs.iter().filter(is_new).map(|run| {
        let number = run.number;
        match &run.outcome {
            RunOutcome::Failed { why } => {
                let text = format!("run {number} failed: {why}");
                Told::new(Severity::Error, "run.failed", text)
            }
            RunOutcome::Skipped { why } => {
                let text = format!("run {number} was left out: {why}");
                Told::new(Severity::Warn, "run.skipped", text)
            }
            RunOutcome::Waiting | RunOutcome::Running | RunOutcome::Succeeded => {
                Told::info("run.succeeded", format!("run {number} succeeded"))
            }
        }
    });
    told.max_by_key(|told| told.severity)
}

fn of_status(prev: Option<&ServiceStatus>, next: &ServiceStatus) -> Option<Told> {
    let before = prev.map(|p| p.rollout.clone()).unwrap_or_default();
    if before != next.rollout {
        let told = match &next.rollout {
            Rollout::Running { target, .. } => Told::info(
                "rollout.started",
                format!("rollout to revision {} started", target.revision),
            ),
            Rollout::Finishing { target, .. } => Told::info(
                "rollout.upgraded",
                format!("every instance is at revision {}; `finish` ends it", target.revision),
            ),
            Rollout::Done => Told::info("rollout.done", "every instance is ready".into()),
            Rollout::Failed { target, why, .. } => Told::new(
                Severity::Error,
                "rollout.failed",
                format!("rollout to revision {} stopped: {why}", target.revision),
            ),
        };
        return Some(told.service(&next.service));
    }
    if let Some(told) = of_runs(prev, next) {
        return Some(told.service(&next.service));
    }
    let scaled_before = prev.and_then(|p| p.scaled.as_ref()).map(|scaled| scaled.to);
    if let Some(scaled) = next.scaled.as_ref().filter(|scaled| Some(scaled.to) != scaled_before) {
        let text = format!("scale {}, by its policy: {}", scaled.to, scaled.why);
        return Some(Told::info("service.scaled", text).service(&next.service));
    }
    let blocked_before = prev.map(|p| p.blocked.clone()).unwrap_or_default();
    if blocked_before == next.blocked {
        return None;
    }
    let told = match next.blocked.first() {
        Some(first) => Told::new(Severity::Warn, "service.blocked", first.reason.to_string()),
        None => Told::info("service.unblocked", "nothing blocks it any more".into()),
    };
    Some(told.service(&next.service))
}

fn of_instance(prev: Option<&Instance>, next: &Instance) -> Option<Told> {
    let (action, message) = match prev {
        None => ("instance.placed", format!("placed on {}: {}", next.host, next.reason)),
        Some(prev) if prev.goal != next.goal => match next.goal {
            Goal::Run => ("instance.resumed", next.reason.clone()),
            Goal::Stop => ("instance.stopping", next.reason.clone()),
            Goal::Remove => ("instance.draining", next.reason.clone()),
        },
        Some(prev) if prev.target != next.target => {
            ("instance.updated", format!("now at revision {}", next.target.revision))
        }
        Some(prev) if !prev.leaving && next.leaving => (
            "instance.leaving",
            format!("it leaves host {} once another one has its place", next.host),
        ),
        Some(_) => return None,
    };
    Some(Told::info(action, message).instance(&next.id))
}

fn of_instance_status(
    prev: Option<&InstanceStatus>,
    id: &InstanceId,
    next: &InstanceStatus,
) -> Option<Told> {
    let before = prev.cloned().unwrap_or_default();
    if before.phase != next.phase {
        let told = match next.phase {
            Phase::Running => Told::info("instance.running", "its process runs".into()),
            Phase::Pulling => Told::info("instance.pulling", "its image is fetched".into()),
            Phase::Completed => Told::info("instance.completed", "ended with exit code 0".into()),
            Phase::Backoff => Told::new(Severity::Warn, "instance.exited", next.reason.clone()),
            Phase::Failed => Told::new(Severity::Error, "instance.failed", next.reason.clone()),
            Phase::Stopped => Told::info("instance.stopped", next.reason.clone()),
            Phase::Pending | Phase::Starting | Phase::Draining | Phase::Absent => return None,
        };
        return Some(told.instance(id));
    }
    if before.health != next.health {
        let told = match next.health {
            Health::Healthy => Told::info("instance.healthy", "its health check passes".into()),
            Health::Unhealthy => {
                Told::new(Severity::Warn, "instance.unhealthy", next.reason.clone())
            }
            Health::Initializing | Health::Unchecked => return None,
        };
        return Some(told.instance(id));
    }
    // What serves has a reason only for what keeps it from nothing, as a file that cannot be rendered.
    let serves = next.phase == Phase::Running && next.health.serves();
    let warns = serves && before.reason != next.reason && !next.reason.is_empty();
    let warned = Told::new(Severity::Warn, "instance.warned", next.reason.clone());
    warns.then(|| warned.instance(id))
}

/// The labels that people changed; `None` when they changed none.
fn labels(prev: &Host, next: &Host) -> Option<String> {
    let (old, new) = (&prev.labels, &next.labels);
    let gone = old.keys().filter(|key| !new.contains_key(*key)).map(|key| format!("-{key}"));
    let come = new.iter().filter(|(key, value)| old.get(*key) != Some(*value));
    let all: Vec<String> = gone.chain(come.map(|(k, v)| format!("{k}={v}"))).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

fn of_host(prev: Option<&Host>, next: &Host) -> Option<Told> {
    let problems = |host: &Host| {
        let facts = &host.facts;
        let refused = facts.expose_refused.iter().map(|(port, why)| format!("port {port}: {why}"));
        [&facts.engine_problem, &facts.network_problem, &facts.dataplane_problem]
            .into_iter()
            .filter(|text| !text.is_empty())
            .cloned()
            .chain(refused)
            .collect::<Vec<_>>()
            .join("; ")
    };
    let mut told = if prev.is_none_or(|prev| prev.status != next.status) {
        match next.status {
            HostLink::Active => Told::info("host.active", "its agent is connected".into()),
            HostLink::Disconnected => {
                Told::new(Severity::Warn, "host.disconnected", next.reason.clone())
            }
            HostLink::Lost => Told::new(Severity::Error, "host.lost", next.reason.clone()),
            HostLink::Joined => Told::info("host.joined", next.reason.clone()),
        }
    } else if prev.is_some_and(|prev| prev.scheduling != next.scheduling) {
        match next.scheduling {
            Scheduling::Active => Told::info("host.uncordoned", "it takes instances".into()),
            Scheduling::Cordoned => Told::info("host.cordoned", "it takes no new instances".into()),
            Scheduling::Draining { .. } => {
                Told::info("host.draining", "its instances move to other hosts".into())
            }
        }
    } else if let Some(changed) = prev.and_then(|prev| labels(prev, next)) {
        Told::info("host.labels", changed)
    } else {
        let (before, after) = (prev.map(problems).unwrap_or_default(), problems(next));
        if before == after {
            return None;
        }
        if after.is_empty() {
            Told::info("host.well", "engine, network and dataplane are well".into())
        } else {
            Told::new(Severity::Error, "host.problem", after)
        }
    };
    told.host = Some(next.id.clone());
    Some(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_one_that_serves_is_told_when_it_is_another_thing() {
        let id: InstanceId = "shop/web#1@4".parse().unwrap();
        let status = |health, reason: &str| InstanceStatus {
            phase: Phase::Running,
            health,
            reason: reason.into(),
            ..InstanceStatus::default()
        };
        let (well, sick) = (Health::Healthy, Health::Initializing);
        for (before, next, told) in [
            ((well, ""), (well, "line 3"), Some("line 3")),
            ((well, "line 3"), (well, "line 3"), None),
            ((well, "line 3"), (well, "line 4"), Some("line 4")),
            ((well, "line 4"), (well, ""), None),
            ((sick, ""), (sick, "its check has not begun"), None),
        ] {
            let [before, next] = [before, next].map(|(health, reason)| status(health, reason));
            let said = of_instance_status(Some(&before), &id, &next).map(|told| told.message);
            assert_eq!(said.as_deref(), told, "{before:?} {next:?}");
        }
    }
}
