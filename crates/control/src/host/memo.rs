//! What an agent remembers of a container: how often it was started, how often it failed.

use super::plan::SeenContainer;
use model::id::InstanceId;
use model::limits::RESTART_BACKOFF_RESET_MS;
use model::time::Timestamp;
use std::collections::BTreeMap;

/// What happened to an instance before, as its agent remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memo {
    /// Its image was looked at or pulled, and is here.
    pub pulled: bool,
    /// The id of that image, or the one that was settled for all hosts and that it stands for;
    /// empty when that is not known.
    pub image: String,
    /// `name@sha256:…` of it; empty when no registry is known to have it.
    pub image_digest: String,
    /// When it was found.
    pub image_at: Option<Timestamp>,
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
    /// An action has failed and may have had its effect all the same: nobody has listed the
    /// containers since.
    pub unsure: bool,
    /// Its container as it ended last.
    pub exited: Option<SeenContainer>,
    /// Starts of the containers whose namespaces it shares, as they were when this one was started:
    /// after another start of one of them this one is in a namespace that nobody has any more.
    pub joined_runs: BTreeMap<InstanceId, Timestamp>,
}

impl Memo {
    /// Its image is here.
    pub fn note_image(&mut self, image: String, digest: String, now: Timestamp) {
        self.pulled = true;
        self.error.clear();
        self.image = image;
        self.image_digest = digest;
        self.image_at = Some(now);
    }

    /// A container was started.
    pub fn note_start(&mut self) {
        if std::mem::take(&mut self.stopped) {
            self.failures = 0;
            self.failed_at = None;
        }
        self.starts = self.starts.saturating_add(1);
        self.exited = None;
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
        self.exited = Some(container.clone());
    }

    /// The present time: where the clock was set back, what has failed in the future has failed now.
    pub fn note_clock(&mut self, now: Timestamp) {
        self.failed_at = self.failed_at.map(|at| at.min(now));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_never_in_the_future() {
        let mut memo = Memo::default();
        memo.note_failure("no such image".into(), false, Timestamp(9_000));
        memo.note_clock(Timestamp(9_400));
        assert_eq!(memo.failed_at, Some(Timestamp(9_000)));
        memo.note_clock(Timestamp(2_000));
        memo.note_clock(Timestamp(2_500));
        assert_eq!(memo.failed_at, Some(Timestamp(2_000)), "its back-off goes on from there");
    }
}
