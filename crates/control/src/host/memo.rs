//! What an agent remembers of an instance between two looks: how often it started and failed.
//! It is kept beside the last spec, so that a back-off survives the agent.

use super::{Action, ActionKind, SeenContainer};
use model::limits::RESTART_BACKOFF_RESET_MS;
use model::limits::{REASON_BYTES_MAX, RESTART_BACKOFF_MS_MAX, RESTART_BACKOFF_MS_MIN};
use model::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What is remembered of an instance (or of a volume).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memo {
    /// When its image was there; `None` until a pull has ended well.
    pub pulled_at: Option<Timestamp>,
    /// Starts seen.
    pub starts: u32,
    /// When the last start was.
    pub started_at: Option<Timestamp>,
    /// Failures in a row: ends that were not asked for, and actions that failed.
    pub failures: u32,
    /// When the last failure was.
    pub failed_at: Option<Timestamp>,
    /// Error of the last action, `None` once one went well.
    pub failure: Option<Failure>,
    /// Start of the run whose end has been counted.
    pub counted: Option<Timestamp>,
    /// Since when it is being stopped by us; its end is then no failure.
    pub stopping_since: Option<Timestamp>,
}

/// An action that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Which.
    pub kind: ActionKind,
    /// Why, with its causes.
    pub text: String,
    /// Trying again soon is of no use.
    pub permanent: bool,
}

impl Memo {
    /// To be called when an action begins.
    pub fn began(&mut self, action: &Action, at: Timestamp) {
        if matches!(action.kind(), ActionKind::Stop | ActionKind::Remove) {
            self.stopping_since.get_or_insert(at);
        }
    }

    /// To be called when an action ended well.
    pub fn done(&mut self, kind: ActionKind, at: Timestamp) {
        if self.failure.as_ref().is_some_and(|failure| failure.kind == kind) {
            self.failures = 0;
            self.failed_at = None;
        }
        self.failure = None;
        match kind {
            ActionKind::Pull => self.pulled_at = Some(at),
            ActionKind::Remove => self.pulled_at = None,
            ActionKind::EnsureVolume
            | ActionKind::Create
            | ActionKind::Start
            | ActionKind::Stop => {}
        }
    }

    /// To be called when an action failed. `text` holds the whole chain of causes.
    pub fn failed(&mut self, kind: ActionKind, text: &str, permanent: bool, at: Timestamp) {
        self.failures = self.failures.saturating_add(1);
        self.failed_at = Some(at);
        self.failure = Some(Failure { kind, text: cut(text), permanent });
        if kind == ActionKind::Create {
            // The image may have gone meanwhile: look again before the next try.
            self.pulled_at = None;
        }
    }

    /// To be called with each look at its containers: counts starts and ends, each once.
    pub fn observe(&mut self, containers: &[SeenContainer]) {
        let Some(container) = containers.iter().max_by_key(|c| (c.started_at, &c.id)) else {
            return;
        };
        let Some(started) = container.started_at else { return };
        if self.started_at.is_none_or(|known| known < started) {
            self.starts = self.starts.saturating_add(1);
            self.started_at = Some(started);
            self.stopping_since = None;
        }
        let Some(finished) = container.finished_at else { return };
        if container.running || finished < started || self.counted == Some(started) {
            return;
        }
        self.counted = Some(started);
        if self.stopping_since.is_some() {
            self.failures = 0;
            self.failed_at = None;
            return;
        }
        let lasted = finished.since_ms(started) >= RESTART_BACKOFF_RESET_MS;
        self.failures = if lasted { 1 } else { self.failures.saturating_add(1) };
        self.failed_at = Some(finished);
    }
}

/// Milliseconds to wait after this many failures in a row.
#[must_use]
pub fn backoff_ms(failures: u32) -> u64 {
    let doublings = failures.saturating_sub(1).min(16);
    (RESTART_BACKOFF_MS_MIN << doublings).min(RESTART_BACKOFF_MS_MAX)
}

/// A reason of a bounded length.
pub(crate) fn cut(text: &str) -> String {
    if text.len() <= REASON_BYTES_MAX {
        return text.to_owned();
    }
    let mut end = REASON_BYTES_MAX - '…'.len_utf8();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}
