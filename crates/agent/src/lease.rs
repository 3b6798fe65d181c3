//! The lease of this host: since when the server may not have heard it. A container of which at
//! most one may run in the cluster lives no longer than that allows. Time is counted by a clock
//! that never jumps; a file carries it over a restart of the agent.

use crate::journal::Journal;
use control::host::Lease;
use model::limits::HEARTBEATS_OPEN_MAX;
use model::time::Clock;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;
use tokio::time::Instant;

/// A lease that was renewed within this time is no news when it is renewed again, in milliseconds.
const FRESH_MS: u64 = 3_000;

/// Renewed by the session, read by the reconciler.
#[derive(Clone, Debug)]
pub(crate) struct LeaseClock {
    /// Held for a copy only.
    state: Arc<Mutex<State>>,
    /// Changes when the server is heard after a silence.
    news: watch::Sender<u64>,
    journal: Journal,
    clock: Clock,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// When the newest message was sent that the server has answered.
    heard: Option<Instant>,
    /// What an earlier run of the agent has left: when it was read, and how old it was then.
    before: Option<(Instant, u64)>,
}

impl LeaseClock {
    /// With what an earlier run left in the journal.
    pub(crate) async fn open(journal: Journal, clock: Clock) -> Self {
        let heard = journal.read_lease().await;
        // A time that is yet to come says nothing: the clock was set back.
        let age = heard.and_then(|at| u64::try_from(clock.now().0.saturating_sub(at)).ok());
        let before = age.map(|age| (Instant::now(), age));
        let state = Arc::new(Mutex::new(State { heard: None, before }));
        Self { state, news: watch::Sender::new(0), journal, clock }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The lease now.
    pub(crate) fn now(&self) -> Lease {
        let state = *self.state();
        let since = |at: Instant| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
        let before = state.before.map(|(at, age)| since(at).saturating_add(age));
        Lease { unheard_ms: state.heard.map(since).or(before), renewed: state.heard.is_some() }
    }

    /// Changes when the server is heard after a silence.
    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// The server has answered a message that was sent then; `kept` writes it down for a later run.
    pub(crate) async fn renew(&self, sent: Instant, kept: bool) {
        let before = self.now();
        {
            let mut state = self.state();
            state.heard = Some(state.heard.map_or(sent, |heard| heard.max(sent)));
        }
        let stale = before.unheard_ms.is_none_or(|ms| ms > FRESH_MS) || !before.renewed;
        self.news.send_if_modified(|count| {
            *count = count.wrapping_add(1);
            stale
        });
        if kept && let Err(error) = self.write(sent).await {
            // The lease seems older than it is after a restart: that is the safe side.
            tracing::debug!(%error, "lease cannot be written");
        }
    }

    /// Writes down the lease as it is: the first container that lives by it has come.
    pub(crate) async fn keep(&self) {
        let heard = self.state().heard;
        if let Some(sent) = heard
            && let Err(error) = self.write(sent).await
        {
            tracing::debug!(%error, "lease cannot be written");
        }
    }

    async fn write(&self, sent: Instant) -> std::io::Result<()> {
        let ago = i64::try_from(sent.elapsed().as_millis()).unwrap_or(i64::MAX);
        let at = self.clock.now().0.saturating_sub(ago);
        self.journal.write_lease(at).await
    }
}

/// Heartbeats of one session that the server has not answered yet.
#[derive(Debug, Default)]
pub(crate) struct Beats {
    last: u64,
    open: std::collections::VecDeque<(u64, Instant)>,
    /// When the newest answer came.
    answered: Option<Instant>,
}

impl Beats {
    /// Number of the next heartbeat, which is sent now.
    pub(crate) fn next(&mut self) -> u64 {
        self.last += 1;
        if self.open.len() >= HEARTBEATS_OPEN_MAX {
            self.open.pop_front();
        }
        self.open.push_back((self.last, Instant::now()));
        self.last
    }

    /// When the heartbeat was sent that the server has answered; `None` for one that is not known.
    pub(crate) fn answered(&mut self, number: u64) -> Option<Instant> {
        let at = self.open.iter().position(|(open, _)| *open == number)?;
        self.answered = Some(Instant::now());
        self.open.drain(..=at).next_back().map(|(_, sent)| sent)
    }

    /// For how long a server that does answer heartbeats has answered none, in milliseconds.
    pub(crate) fn silent_ms(&self) -> u64 {
        let since = self.answered.map(|at| at.elapsed().as_millis());
        since.map_or(0, |ms| u64::try_from(ms).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::time::Timestamp;
    use std::time::Duration;

    fn clock(begin: Instant) -> Clock {
        Clock::new(move || {
            Timestamp(1_000_000 + i64::try_from(begin.elapsed().as_millis()).unwrap())
        })
    }

    #[tokio::test(start_paused = true)]
    async fn the_lease_counts_from_the_send_time_and_outlives_the_agent() {
        let dir = tempfile::tempdir().unwrap();
        let time = clock(Instant::now());
        let first = LeaseClock::open(Journal::folder(dir.path()), time.clone()).await;
        assert_eq!(first.now(), Lease::default());
        let news = first.news();
        let mut beats = Beats::default();
        let (one, two) = (beats.next(), beats.next());
        tokio::time::advance(Duration::from_millis(400)).await;
        let sent = beats.answered(two).unwrap();
        assert_eq!(beats.answered(one), None, "an older one is answered with it");
        first.renew(sent, true).await;
        assert_eq!(first.now(), Lease { unheard_ms: Some(400), renewed: true });
        assert!(news.has_changed().unwrap(), "the server is heard after a silence");
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(beats.silent_ms() >= 5_000);
        let second = LeaseClock::open(Journal::folder(dir.path()), time).await;
        tokio::time::advance(Duration::from_secs(1)).await;
        let lease = second.now();
        assert!(!lease.renewed);
        assert_eq!(lease.unheard_ms, Some(6_400));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_was_not_kept_is_kept_when_it_is_needed() {
        let dir = tempfile::tempdir().unwrap();
        let time = clock(Instant::now());
        let first = LeaseClock::open(Journal::folder(dir.path()), time.clone()).await;
        first.keep().await;
        first.renew(Instant::now(), false).await;
        let again = || async { LeaseClock::open(Journal::folder(dir.path()), time.clone()).await };
        assert_eq!(again().await.now().unheard_ms, None);
        tokio::time::advance(Duration::from_millis(300)).await;
        first.keep().await;
        assert_eq!(again().await.now().unheard_ms, Some(300));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_from_the_future_is_none() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("lease"), "99999999999").unwrap();
        let lease = LeaseClock::open(Journal::folder(dir.path()), clock(Instant::now())).await;
        assert_eq!(lease.now(), Lease::default());
    }
}
