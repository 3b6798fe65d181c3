//! What comes next for one container of a host, and what is to be said of it.

use super::plan::{Action, BusyKind, Seen, SeenContainer, SeenInstance};
use model::health::Health;
use model::host_spec::{Ended, HostSpec, InstanceSpec};
use model::id::InstanceId;
use model::instance::{Goal, InstanceStatus, Phase};
use model::limits::{IMAGE_SETTLE_MS_MAX, RESTART_BACKOFF_MS_MAX, RESTART_BACKOFF_MS_MIN};
use model::reason::within_limit;
use model::service::RestartPolicy;
use model::time::Timestamp;

/// A permanent failure (an image that does not exist) is tried again after this, in milliseconds.
const PERMANENT_RETRY_MS: u64 = 30_000;

/// One container while its next action is looked for.
pub(super) struct One<'a> {
    pub(super) id: &'a InstanceId,
    pub(super) wanted: &'a InstanceSpec,
    pub(super) known: &'a SeenInstance,
    pub(super) spec: &'a HostSpec,
    pub(super) seen: &'a Seen,
    pub(super) now: Timestamp,
    pub(super) wake_at: Option<Timestamp>,
}

/// Phase, reason and action.
pub(super) type Next = (Phase, String, Option<Action>);

impl One<'_> {
    /// The container that counts: the one that runs, else the oldest by start.
    pub(super) fn container(&self) -> Option<&SeenContainer> {
        self.known.container()
    }

    pub(super) fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |known| known.min(at)));
    }

    pub(super) fn decide(&mut self) -> (InstanceStatus, Option<Action>) {
        let (phase, reason, action) = self.next();
        let container = self.container();
        let mut status = InstanceStatus {
            phase,
            health: self.health(phase),
            container_id: container.map(|c| c.id.clone()).unwrap_or_default(),
            image_id: container.map_or(&self.known.memo.image, |c| &c.image_id).clone(),
            image_digest: self.known.memo.image_digest.clone(),
            started_at: container.and_then(|c| c.started_at),
            restarts: self.known.memo.starts.saturating_sub(1),
            exit_code: match container {
                Some(container) if container.running => None,
                Some(container) => container.exit_code,
                None if matches!(phase, Phase::Completed | Phase::Failed) => {
                    let told = self.has_ended().and_then(|ended| ended.exit_code);
                    told.or(self.known.memo.exited.as_ref().and_then(|last| last.exit_code))
                }
                None => None,
            },
            reason,
            changed_at: self.now,
        };
        if status.reason.is_empty() {
            status.reason = self.health_reason(&status);
        }
        if status.reason.is_empty() && phase == Phase::Running {
            status.reason.clone_from(&self.known.remark);
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
    fn next(&mut self) -> Next {
        if let Some(extra) = self.surplus() {
            let instance = self.id.clone();
            let action = Action::Remove { instance, container: extra };
            let phase = if self.running() { Phase::Running } else { Phase::Starting };
            return (phase, String::new(), Some(action));
        }
        let (phase, reason, action) = match self.wanted.goal {
            Goal::Run => match self.silence() {
                Some(next) => next,
                None => {
                    let next = self.next_running();
                    let next = self.in_company(next);
                    self.when_rendered(next)
                }
            },
            Goal::Stop => self.next_ending(false),
            Goal::Remove => self.next_ending(true),
        };
        let trouble = action.as_ref().map_or("", |action| self.seen.trouble(action));
        if !trouble.is_empty() {
            return (phase, trouble.to_owned(), action);
        }
        (phase, reason, action)
    }

    /// It does not start without the files that are rendered for it.
    fn when_rendered(&self, (phase, reason, action): Next) -> Next {
        let starts = matches!(action, Some(Action::Create { .. } | Action::Start { .. }));
        match self.known.unrendered.as_ref().filter(|_| starts) {
            Some(why) => (phase, why.clone(), None),
            None => (phase, reason, action),
        }
    }

    fn running(&self) -> bool {
        self.container().is_some_and(|c| c.running)
    }

    /// A second container of the same instance, made when a reply was lost.
    fn surplus(&self) -> Option<String> {
        let keep = self.container()?.id.clone();
        self.known.containers.iter().find(|c| c.id != keep).map(|c| c.id.clone())
    }

    fn next_ending(&self, remove: bool) -> Next {
        let instance = self.id.clone();
        let Some(container) = self.container() else {
            // Something under way may still make one.
            let unsure = self.known.busy.is_some() || self.known.memo.unsure;
            let phase = match (unsure, remove) {
                (true, _) => Phase::Starting,
                (false, true) => Phase::Absent,
                (false, false) => Phase::Stopped,
            };
            return (phase, String::new(), None);
        };
        let id = container.id.clone();
        if container.running {
            if let Some(reason) = self.outlives() {
                return (Phase::Draining, reason, None);
            }
            if !self.known.drained {
                return (Phase::Draining, "requests in flight end".into(), None);
            }
            let grace_ms = self.wanted.stop_grace_ms;
            let action = Action::Stop { instance, container: id, grace_ms };
            return (Phase::Draining, "it is being stopped".into(), Some(action));
        }
        let starts = self.known.busy.as_ref().is_some_and(|busy| busy.kind == BusyKind::Starting);
        if self.known.memo.unsure || starts {
            // A start that is under way, or was given up, may still come about.
            return (Phase::Starting, "it is looked for once more".into(), None);
        }
        if remove {
            let action = Action::Remove { instance, container: id };
            return (Phase::Stopped, String::new(), Some(action));
        }
        (Phase::Stopped, self.exit_text(container), None)
    }

    fn next_running(&mut self) -> Next {
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
            Some(container) if container.running => match &self.known.unplugged {
                None => (Phase::Running, String::new(), None),
                Some(why) => (Phase::Starting, why.clone(), None),
            },
            Some(container) if container.started_at.is_none() => {
                self.try_again(|id| Action::Start { instance: id, container: container.id.clone() })
            }
            Some(container) => self.after_exit(&container),
            None => match self.has_ended() {
                Some(ended) => (Phase::Completed, ended.reason.clone(), None),
                None => self.over_and_gone().unwrap_or_else(|| self.make()),
            },
        }
    }

    /// It has ended for good, and its container was removed since: as `has_ended`, before the server
    /// knows.
    fn over_and_gone(&mut self) -> Option<Next> {
        let mut others = self.spec.instances.values();
        if others.any(|other| other.volumes_from.iter().any(|(from, _)| from == self.id)) {
            return None;
        }
        let last = self.known.memo.exited.clone().filter(|_| !self.known.memo.unsure)?;
        let next = self.after_exit(&last);
        let over = matches!(next.0, Phase::Completed | Phase::Failed) && next.2.is_none();
        over.then_some(next)
    }

    /// It has run to its end and its container is gone: whoever removed that wants no second run.
    fn has_ended(&self) -> Option<&Ended> {
        let known = self.known;
        let gone = known.container().is_none() && known.busy.is_none() && !known.memo.unsure;
        self.wanted.ended.as_ref().filter(|_| gone && self.wanted.goal == Goal::Run)
    }

    fn make(&mut self) -> Next {
        let image = self.wanted.container.image.clone();
        let image_id = self.wanted.image_id.clone();
        let image_digest = self.wanted.image_digest.clone();
        let policy = self.wanted.container.pull;
        let memo = &self.known.memo;
        let here = memo.pulled && image_id.as_ref().is_none_or(|id| *id == memo.image);
        if let Some(until) = self.settled_at().filter(|until| here && self.now < *until) {
            self.wake(until);
            return (Phase::Pulling, "its image is settled for all hosts".into(), None);
        }
        let (phase, why, action) = self.try_again(|id| {
            if here {
                Action::Create { instance: id }
            } else {
                Action::Pull { instance: id, image, image_id, image_digest, policy }
            }
        });
        if !why.is_empty() {
            return (phase, why, action);
        }
        let phase = if here { Phase::Starting } else { Phase::Pulling };
        (phase, String::new(), action)
    }

    /// Until when the word is waited for which image all hosts run.
    fn settled_at(&self) -> Option<Timestamp> {
        let found = self.known.memo.image_at.filter(|at| *at <= self.now)?;
        self.wanted.settles.then(|| found.plus_ms(IMAGE_SETTLE_MS_MAX))
    }

    /// The action now, or a back-off after a failed try.
    fn try_again(&mut self, action: impl FnOnce(InstanceId) -> Action) -> Next {
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

    /// Has it ended, and is it never started again?
    pub(super) fn is_over(&mut self) -> bool {
        if self.has_ended().is_some() {
            return true;
        }
        let ended = self.container().filter(|c| !c.running && c.started_at.is_some()).cloned();
        let Some(container) = ended else { return false };
        if self.wanted.goal != Goal::Run || self.known.busy.is_some() || self.known.memo.stopped {
            return false;
        }
        let (phase, _, action) = self.after_exit(&container);
        matches!(phase, Phase::Completed | Phase::Failed) && action.is_none()
    }

    fn after_exit(&mut self, container: &SeenContainer) -> Next {
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
        // An end in the future is by a clock that was set back since: it waits no longer for that.
        let finished = container.finished_at.filter(|at| *at <= self.now);
        let ended = self.known.memo.failed_at.or(finished);
        let wait = backoff_ms(failures);
        let due = ended.map_or(self.now, |ended| ended.plus_ms(wait));
        let start = Action::Start { instance: self.id.clone(), container: container.id.clone() };
        let times = if failures > 1 { format!(" ({failures} times)") } else { String::new() };
        // The text does not count down: a status that changes each second would be stored each second.
        let after = wait;
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
