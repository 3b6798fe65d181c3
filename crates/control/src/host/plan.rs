//! The next actions of one host: what is seen against what should be. Idempotent; at most one
//! action an instance at a time; nothing is removed that has no entry saying so.

use model::container_spec::PullPolicy;
use model::health::Health;
use model::host_spec::{HostSpec, InstanceSpec};
use model::id::InstanceId;
use model::instance::{Goal, InstanceStatus, Phase};
use model::limits::{
    CONTAINER_STARTS_PARALLEL_MAX, RESTART_BACKOFF_MS_MAX, RESTART_BACKOFF_MS_MIN,
    RESTART_BACKOFF_RESET_MS,
};
use model::reason::within_limit;
use model::service::RestartPolicy;
use model::time::Timestamp;
use std::collections::BTreeMap;

/// A permanent failure (an image that does not exist) is tried again after this, in milliseconds.
const PERMANENT_RETRY_MS: u64 = 30_000;

/// Everything that the agent knows when it plans.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// By instance of the spec; one that is missing has neither container nor history.
    pub instances: BTreeMap<InstanceId, SeenInstance>,
    /// Why nothing can be made now; empty when the engine and the network are well.
    pub problem: String,
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

/// What happened to an instance before, as its agent remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memo {
    /// Its image was looked at or pulled, and is here.
    pub pulled: bool,
    /// Starts that succeeded.
    pub starts: u32,
    /// Failed tries or early ends in a row.
    pub failures: u32,
    /// When the last try failed.
    pub failed_at: Option<Timestamp>,
    /// Why.
    pub error: String,
    /// A try again would fail the same way.
    pub permanent: bool,
    /// It does not run because it was told to stop: its next start waits for nothing.
    pub stopped: bool,
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
        let mut one = One { id, wanted, known, seen, now, wake_at: None };
        let (status, action) = one.decide();
        if let Some(at) = one.wake_at {
            plan.wake_at = Some(plan.wake_at.map_or(at, |known| known.min(at)));
        }
        plan.statuses.insert(id.clone(), status);
        let Some(action) = action.filter(|_| seen.problem.is_empty()) else { continue };
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

struct One<'a> {
    id: &'a InstanceId,
    wanted: &'a InstanceSpec,
    known: &'a SeenInstance,
    seen: &'a Seen,
    now: Timestamp,
    wake_at: Option<Timestamp>,
}

impl One<'_> {
    /// The container that counts: the one that runs, else the oldest by start.
    fn container(&self) -> Option<&SeenContainer> {
        let containers = &self.known.containers;
        containers.iter().find(|c| c.running).or_else(|| containers.first())
    }

    fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |known| known.min(at)));
    }

    fn decide(&mut self) -> (InstanceStatus, Option<Action>) {
        let (phase, reason, action) = self.next();
        let container = self.container();
        let mut status = InstanceStatus {
            phase,
            health: self.health(phase),
            container_id: container.map(|c| c.id.clone()).unwrap_or_default(),
            image_id: container.map(|c| c.image_id.clone()).unwrap_or_default(),
            started_at: container.and_then(|c| c.started_at),
            restarts: self.known.memo.starts.saturating_sub(1),
            exit_code: container.filter(|c| !c.running).and_then(|c| c.exit_code),
            reason,
            changed_at: self.now,
        };
        if status.reason.is_empty() {
            status.reason = self.health_reason(&status);
        }
        status.reason = within_limit(status.reason);
        let action = if self.known.busy.is_some() { None } else { action };
        (status, action)
    }

    fn health(&self, phase: Phase) -> Health {
        if phase != Phase::Running {
            return Health::Unchecked;
        }
        if !self.known.trouble.is_empty() {
            return Health::Initializing;
        }
        if self.wanted.probed {
            return self.known.probe.as_ref().map_or(Health::Initializing, |p| p.health);
        }
        self.container().map_or(Health::Unchecked, |c| c.docker_health)
    }

    fn health_reason(&self, status: &InstanceStatus) -> String {
        if status.phase != Phase::Running || status.health.serves() {
            return String::new();
        }
        if !self.known.trouble.is_empty() {
            return self.known.trouble.clone();
        }
        if self.wanted.probed {
            return self.known.probe.as_ref().map_or_else(
                || "its health check has not begun".into(),
                |probe| probe.detail.clone(),
            );
        }
        let output = self.container().map(|c| c.health_output.trim().to_owned());
        format!("docker health check: {}", output.unwrap_or_default())
    }

    /// Phase, reason and action; a problem of the engine shows with what it keeps from happening.
    fn next(&mut self) -> (Phase, String, Option<Action>) {
        if let Some(extra) = self.surplus() {
            let instance = self.id.clone();
            let action = Action::Remove { instance, container: extra };
            let phase = if self.running() { Phase::Running } else { Phase::Starting };
            return (phase, String::new(), Some(action));
        }
        let (phase, reason, action) = match self.wanted.goal {
            Goal::Run => self.next_running(),
            Goal::Stop => self.next_ending(false),
            Goal::Remove => self.next_ending(true),
        };
        if action.is_some() && !self.seen.problem.is_empty() {
            return (phase, self.seen.problem.clone(), action);
        }
        (phase, reason, action)
    }

    fn running(&self) -> bool {
        self.container().is_some_and(|c| c.running)
    }

    /// A second container of the same instance, made when a reply was lost.
    fn surplus(&self) -> Option<String> {
        let keep = self.container()?.id.clone();
        self.known.containers.iter().find(|c| c.id != keep).map(|c| c.id.clone())
    }

    fn next_ending(&self, remove: bool) -> (Phase, String, Option<Action>) {
        let instance = self.id.clone();
        let Some(container) = self.container() else {
            // Something under way may still make one.
            let phase = match (&self.known.busy, remove) {
                (Some(_), _) => Phase::Starting,
                (None, true) => Phase::Absent,
                (None, false) => Phase::Stopped,
            };
            return (phase, String::new(), None);
        };
        let id = container.id.clone();
        if container.running {
            if !self.known.drained {
                return (Phase::Draining, "requests in flight end".into(), None);
            }
            let grace_ms = self.wanted.stop_grace_ms;
            let action = Action::Stop { instance, container: id, grace_ms };
            return (Phase::Draining, "it is being stopped".into(), Some(action));
        }
        if remove {
            let action = Action::Remove { instance, container: id };
            return (Phase::Stopped, String::new(), Some(action));
        }
        (Phase::Stopped, self.exit_text(container), None)
    }

    fn next_running(&mut self) -> (Phase, String, Option<Action>) {
        if let Some(busy) = &self.known.busy {
            let phase = match busy.kind {
                BusyKind::Pulling => Phase::Pulling,
                BusyKind::Starting => Phase::Starting,
                BusyKind::Stopping => Phase::Draining,
            };
            if !self.running() || busy.kind == BusyKind::Stopping {
                let reason = match (busy.kind, busy.progress.is_empty()) {
                    (_, false) => busy.progress.clone(),
                    (BusyKind::Stopping, true) => "it is being stopped".into(),
                    (BusyKind::Pulling | BusyKind::Starting, true) => self.again(),
                };
                return (phase, reason, None);
            }
        }
        match self.container().cloned() {
            Some(container) if container.running => (Phase::Running, String::new(), None),
            Some(container) if container.started_at.is_none() => {
                self.try_again(|id| Action::Start { instance: id, container: container.id.clone() })
            }
            Some(container) => self.after_exit(&container),
            None => self.make(),
        }
    }

    fn make(&mut self) -> (Phase, String, Option<Action>) {
        let image = self.wanted.container.image.clone();
        let policy = self.wanted.container.pull;
        let here = self.known.memo.pulled;
        let (phase, why, action) = self.try_again(|id| {
            if here {
                Action::Create { instance: id }
            } else {
                Action::Pull { instance: id, image: image.clone(), policy }
            }
        });
        if !why.is_empty() {
            return (phase, why, action);
        }
        let phase = if here { Phase::Starting } else { Phase::Pulling };
        (phase, String::new(), action)
    }

    /// The action now, or a back-off after a failed try.
    fn try_again(
        &mut self,
        action: impl FnOnce(InstanceId) -> Action,
    ) -> (Phase, String, Option<Action>) {
        let memo = &self.known.memo;
        let Some(failed_at) = memo.failed_at.filter(|_| !memo.error.is_empty()) else {
            return (Phase::Starting, String::new(), Some(action(self.id.clone())));
        };
        let wait = if memo.permanent { PERMANENT_RETRY_MS } else { backoff_ms(memo.failures) };
        let due = failed_at.plus_ms(wait);
        let phase = if memo.permanent { Phase::Failed } else { Phase::Backoff };
        let text = memo.error.clone();
        if self.now < due {
            self.wake(due);
            return (phase, text, None);
        }
        (phase, text, Some(action(self.id.clone())))
    }

    /// Why it is made or started once more; empty for the first time.
    fn again(&self) -> String {
        let memo = &self.known.memo;
        let why = match self.container() {
            _ if !memo.error.is_empty() => memo.error.clone(),
            _ if memo.stopped => return String::new(),
            Some(container) if container.exit_code.is_some() => self.exit_text(container),
            _ => return String::new(),
        };
        match memo.failures {
            0 | 1 => format!("{why}; it is tried again"),
            n => format!("{why} ({n} times); it is tried again"),
        }
    }

    fn exit_text(&self, container: &SeenContainer) -> String {
        let code = container.exit_code.unwrap_or(0);
        let oom = if container.oom_killed { ", out of memory" } else { "" };
        format!("exited with code {code}{oom}")
    }

    fn after_exit(&mut self, container: &SeenContainer) -> (Phase, String, Option<Action>) {
        let code = container.exit_code.unwrap_or(0);
        if self.known.memo.stopped {
            let action =
                Action::Start { instance: self.id.clone(), container: container.id.clone() };
            return (Phase::Starting, String::new(), Some(action));
        }
        let text = self.exit_text(container);
        let starts = self.known.memo.starts.max(1);
        let again = match self.wanted.restart {
            RestartPolicy::Always => true,
            RestartPolicy::No => false,
            RestartPolicy::Once => {
                let reason = if code == 0 { String::new() } else { text };
                return (Phase::Completed, reason, None);
            }
            RestartPolicy::OnFailure { max_attempts } => {
                if code == 0 {
                    return (Phase::Completed, String::new(), None);
                }
                max_attempts.is_none_or(|max| starts.saturating_sub(1) < max)
            }
        };
        if !again {
            if code == 0 && !container.oom_killed {
                return (Phase::Completed, String::new(), None);
            }
            let times = if starts > 1 { format!(", {starts} times") } else { String::new() };
            return (Phase::Failed, format!("{text}{times}; it is not started again"), None);
        }
        let failures = self.known.memo.failures.max(1);
        let ended = self.known.memo.failed_at.or(container.finished_at).unwrap_or(self.now);
        let due = ended.plus_ms(backoff_ms(failures));
        let start = Action::Start { instance: self.id.clone(), container: container.id.clone() };
        let times = if failures > 1 { format!(" ({failures} times)") } else { String::new() };
        // The text does not count down: a status that changes each second would be stored each second.
        let after = due.since_ms(ended);
        let memo = &self.known.memo;
        let reason = if memo.error.is_empty() {
            format!("{text}{times}, starts again after {after} ms")
        } else {
            // The last start did not come about: that is newer than the end before it.
            format!("{} (it had {text}), tried again after {after} ms", memo.error)
        };
        if self.now < due {
            self.wake(due);
            return (Phase::Backoff, reason, None);
        }
        (Phase::Backoff, reason, Some(start))
    }
}

/// Wait after so many failures in a row, in milliseconds.
fn backoff_ms(failures: u32) -> u64 {
    let doubled =
        RESTART_BACKOFF_MS_MIN.checked_shl(failures.saturating_sub(1).min(20)).unwrap_or(u64::MAX);
    doubled.min(RESTART_BACKOFF_MS_MAX)
}

impl Memo {
    /// A container was started.
    pub fn note_start(&mut self) {
        if std::mem::take(&mut self.stopped) {
            self.failures = 0;
            self.failed_at = None;
        }
        self.starts = self.starts.saturating_add(1);
        self.error.clear();
        self.permanent = false;
    }

    /// A running container has ended; one that ran for long begins with the first back-off again.
    pub fn note_exit(&mut self, container: &SeenContainer, now: Timestamp) {
        let end = container.finished_at.unwrap_or(now);
        let ran = container.started_at.map_or(0, |start| end.since_ms(start));
        if ran >= RESTART_BACKOFF_RESET_MS {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        self.failed_at = Some(end.max(now));
        self.error.clear();
    }

    /// A try to make or start the container has failed.
    pub fn note_failure(&mut self, error: String, permanent: bool, now: Timestamp) {
        self.failures = self.failures.saturating_add(1);
        self.failed_at = Some(now);
        self.error = error;
        self.permanent = permanent;
        // What was here may be gone: look again.
        self.pulled = false;
    }
}
