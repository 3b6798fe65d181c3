//! Blocking queries: read, and when nothing is newer than the index that the client has, wait for
//! a topic and read again, until the wait is over.

use crate::request::ReadOptions;
use crate::waiters::{Topic, Waiters};
use rand::Rng as _;
use std::time::Duration;
use tokio::time::Instant;

/// A wait has up to this part of itself on top, so that clients do not come back all at once.
const JITTER_PART: u32 = 16;

/// What a read found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<T> {
    /// When what was asked for itself changed last.
    pub changed: u64,
    /// What `X-Consul-Index` says; may be higher than `changed`.
    pub index: u64,
    /// The result.
    pub value: T,
}

impl<T> Found<T> {
    /// A result whose index is that of its last change.
    pub fn at(index: u64, value: T) -> Self {
        Self { changed: index, index, value }
    }
}

/// Reads as the options say. A wake-up without a change waits on. At the end of the wait it is as
/// it is: a far-future index gets the true, lower one.
///
/// # Errors
/// What `read` says.
pub async fn query<T, E>(
    waiters: &Waiters,
    options: ReadOptions,
    topics: Vec<Topic>,
    mut read: impl FnMut() -> Result<Found<T>, E>,
) -> Result<Found<T>, E> {
    if options.index == 0 {
        return read();
    }
    // Registered before it reads: a change in between is not missed.
    let waiter = waiters.on(topics);
    let first = read()?;
    if first.changed > options.index {
        return Ok(first);
    }
    drop(first);
    let until = Instant::now() + with_jitter(options.wait);
    loop {
        let woken = tokio::time::timeout_at(until, waiter.changed()).await.is_ok();
        let found = read()?;
        if !woken || found.changed > options.index {
            return Ok(found);
        }
    }
}

fn with_jitter(wait: Duration) -> Duration {
    let most = u64::try_from((wait / JITTER_PART).as_millis()).unwrap_or(u64::MAX);
    wait + Duration::from_millis(rand::rng().random_range(0..=most))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    fn options(index: u64, secs: u64) -> ReadOptions {
        ReadOptions { index, wait: Duration::from_secs(secs), ..ReadOptions::default() }
    }

    async fn ask(waiters: &Waiters, state: &AtomicU64, options: ReadOptions) -> (u64, Duration) {
        let begun = Instant::now();
        let read = || Ok::<_, Infallible>(Found::at(state.load(SeqCst), ()));
        let topics = vec![Topic::Sessions];
        let Ok(found) = query(waiters, options, topics, read).await;
        (found.index, begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn it_answers_at_once_when_there_is_news_and_else_at_the_end_of_the_wait() {
        let (waiters, state) = (Waiters::default(), AtomicU64::new(5));
        for (index, waits) in [(0, false), (4, false), (5, true), (9_999, true)] {
            let (found, took) = ask(&waiters, &state, options(index, 16)).await;
            assert_eq!(found, 5);
            if waits {
                assert!((16..=17).contains(&took.as_secs()), "{index}: {took:?}");
            } else {
                assert_eq!(took, Duration::ZERO, "{index}");
            }
        }
        assert!(waiters.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_wake_up_without_change_waits_on() {
        let (waiters, state) = (Waiters::default(), Arc::new(AtomicU64::new(5)));
        let asking = {
            let (waiters, state) = (waiters.clone(), Arc::clone(&state));
            tokio::spawn(async move { ask(&waiters, &state, options(5, 100)).await })
        };
        while waiters.is_empty() {
            tokio::task::yield_now().await;
        }
        waiters.wake([&Topic::Sessions]);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert!(!asking.is_finished());
        state.store(6, SeqCst);
        waiters.wake([&Topic::Sessions]);
        let (index, took) = asking.await.unwrap();
        assert_eq!((index, took.as_secs()), (6, 3));
    }
}
