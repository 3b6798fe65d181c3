//! The next actions of one host: what is seen against what should be. Idempotent; at most one
//! action an instance at a time; nothing is removed that has no entry saying so.

use super::decide::One;
use super::memo::Memo;
use model::container_spec::PullPolicy;
use model::health::Health;
use model::host_spec::HostSpec;
use model::id::InstanceId;
use model::instance::InstanceStatus;
use model::limits::CONTAINER_STARTS_PARALLEL_MAX;
use model::time::Timestamp;
use std::collections::BTreeMap;

/// Everything that the agent knows when it plans.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// By instance of the spec; one that is missing has neither container nor history.
    pub instances: BTreeMap<InstanceId, SeenInstance>,
    /// Why nothing can be done now; empty when the engine is well.
    pub problem: String,
    /// Why nothing can be made now; empty when the network is well. What is to end still ends.
    pub network_problem: String,
    /// How long ago the newest message was sent that the server is known to have heard.
    pub lease: Lease,
}

impl Seen {
    /// Why this action cannot be begun now; empty when it can.
    pub(super) fn trouble(&self, action: &Action) -> &str {
        let ends = matches!(action, Action::Stop { .. } | Action::Remove { .. });
        if ends || !self.problem.is_empty() { &self.problem } else { &self.network_problem }
    }
}

/// How long the server may not have heard this host: what it may run elsewhere by now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// Milliseconds since the newest message was sent that the server has answered, by a clock
    /// that never jumps; `None` when there is none as far as is known.
    pub unheard_ms: Option<u64>,
    /// Was that since this agent began? One that has just booted starts nothing of its own accord
    /// that may run elsewhere.
    pub renewed: bool,
}

/// What is known of one instance.
#[derive(Clone, Debug, Default)]
pub struct SeenInstance {
    /// Its containers: one, or more after a lost reply.
    pub containers: Vec<SeenContainer>,
    /// The action under way.
    pub busy: Option<Busy>,
    /// What happened before.
    pub memo: Memo,
    /// Verdict of the dataplane.
    pub probe: Option<Probe>,
    /// Out of traffic, and its requests have ended or their time is over.
    pub drained: bool,
    /// Trouble that does not come from its container, e.g. a host port that cannot be bound.
    pub trouble: String,
    /// Why its container, which runs, has no network yet; `None` when it has.
    pub unplugged: Option<String>,
    /// Why its files are not all there, so that it may not start yet; `None` when they are.
    pub unrendered: Option<String>,
    /// What is wrong with it that keeps it from nothing, e.g. a file that stays as it was.
    pub remark: String,
    /// Its container was made for another network driver: it is made anew and not started again.
    pub misfit: bool,
}

impl SeenInstance {
    /// The container that counts: the one that runs, else the oldest by start.
    pub(super) fn container(&self) -> Option<&SeenContainer> {
        self.containers.iter().find(|c| c.running).or_else(|| self.containers.first())
    }
}

/// A container as Docker shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenContainer {
    /// Docker's id.
    pub id: String,
    /// Its process exists.
    pub running: bool,
    /// Was it ever started?
    pub started_at: Option<Timestamp>,
    /// Its last end.
    pub finished_at: Option<Timestamp>,
    /// Exit code of its last end.
    pub exit_code: Option<i64>,
    /// Killed for want of memory.
    pub oom_killed: bool,
    /// Docker's own check.
    pub docker_health: Health,
    /// What that check wrote last.
    pub health_output: String,
    /// Image id.
    pub image_id: String,
    /// Containers whose namespaces it was made to share, by id or name.
    pub joined: Joined,
}

/// Containers whose namespaces a container was made to share, by id or name; empty for none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Joined {
    /// Whose network.
    pub network: String,
    /// Whose processes.
    pub pid: String,
    /// Whose shared memory.
    pub ipc: String,
}

/// An action under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Busy {
    /// Which.
    pub kind: BusyKind,
    /// How far, for people: "layer 3 of 5".
    pub progress: String,
}

/// Kinds of actions under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusyKind {
    /// Pull.
    Pulling,
    /// Create or start.
    Starting,
    /// Stop or remove.
    Stopping,
}

/// Verdict of the dataplane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Health.
    pub health: Health,
    /// Last result, for people.
    pub detail: String,
}

/// Something to do on the host. Each is idempotent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Have the image here.
    Pull {
        /// For which instance.
        instance: InstanceId,
        /// Which.
        image: String,
        /// The very image that was settled for all hosts, by id.
        image_id: Option<String>,
        /// The same by `name@sha256:…` of a registry.
        image_digest: Option<String>,
        /// When.
        policy: PullPolicy,
    },
    /// Make the container and start it.
    Create {
        /// Which.
        instance: InstanceId,
    },
    /// Start the container again.
    Start {
        /// Which.
        instance: InstanceId,
        /// Docker's id.
        container: String,
    },
    /// Stop the container.
    Stop {
        /// Which.
        instance: InstanceId,
        /// Docker's id.
        container: String,
        /// SIGTERM to SIGKILL, milliseconds.
        grace_ms: u64,
    },
    /// Take the container away.
    Remove {
        /// Which.
        instance: InstanceId,
        /// Docker's id.
        container: String,
    },
}

/// What to do next, what to report, and when to look again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostPlan {
    /// At most one an instance.
    pub actions: Vec<Action>,
    /// By instance; `changed_at` is left to the agent, which knows the status before.
    pub statuses: BTreeMap<InstanceId, InstanceStatus>,
    /// Next time at which something is due.
    pub wake_at: Option<Timestamp>,
}

/// Plans the next actions of a host.
#[must_use]
pub fn plan(spec: &HostSpec, seen: &Seen, now: Timestamp) -> HostPlan {
    let mut plan = HostPlan::default();
    let busy = |kind| {
        seen.instances.values().filter(|i| i.busy.as_ref().is_some_and(|b| b.kind == kind)).count()
    };
    let mut starts_left = CONTAINER_STARTS_PARALLEL_MAX.saturating_sub(busy(BusyKind::Starting));
    let nothing = SeenInstance::default();
    for (id, wanted) in &spec.instances {
        let known = seen.instances.get(id).unwrap_or(&nothing);
        let mut one = One { id, wanted, known, spec, seen, now, wake_at: None };
        let (status, action) = one.decide();
        if let Some(at) = one.wake_at {
            plan.wake_at = Some(plan.wake_at.map_or(at, |known| known.min(at)));
        }
        plan.statuses.insert(id.clone(), status);
        let Some(action) = action.filter(|action| seen.trouble(action).is_empty()) else {
            continue;
        };
        if matches!(action, Action::Create { .. } | Action::Start { .. }) {
            if starts_left == 0 {
                continue;
            }
            starts_left -= 1;
        }
        plan.actions.push(action);
    }
    plan
}
