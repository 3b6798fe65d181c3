//! What a host does that holds a floating address: it has the address, answers ARP for it and has told
//! everybody. Before each word it looks at the clock: a process that was stopped says nothing more when
//! it goes on.

use super::clock;
use super::lease::Micros;
use network::{FloatingAddress, Segment};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep_until};

/// When everybody is told after the address was taken, in milliseconds: words get lost.
const TOLD_AT_MS: [u64; 4] = [0, 30, 150, 1_000];
/// Pause after the segment could not be listened to.
const PAUSE: Duration = Duration::from_millis(100);

/// An address that is held, until `stop`.
#[derive(Debug)]
pub(crate) struct Hold {
    until: Arc<AtomicU64>,
    stop: oneshot::Sender<()>,
    task: JoinSet<()>,
}

impl Hold {
    /// Takes the address, which may be answered for until then.
    pub(crate) async fn take(
        address: Ipv4Addr,
        own: Ipv4Addr,
        until: Micros,
    ) -> Result<Self, network::Error> {
        let segment = Segment::open(own).await?;
        let held = FloatingAddress::take(address).await?;
        let until = Arc::new(AtomicU64::new(until));
        let (stop, stopped) = oneshot::channel();
        let mut task = JoinSet::new();
        task.spawn(work(address, segment, held, Arc::clone(&until), stopped));
        Ok(Self { until, stop, task })
    }

    /// The lease lasts until then.
    pub(crate) fn renew(&self, until: Micros) {
        self.until.store(until, Ordering::Relaxed);
    }

    /// Nothing is said from now on; ends when the address is away.
    pub(crate) async fn stop(mut self) {
        self.until.store(0, Ordering::Relaxed);
        if self.stop.send(()).is_err() {
            tracing::debug!("the holder of a floating address has ended by itself");
        }
        while let Some(ended) = self.task.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "giving up a floating address failed");
            }
        }
    }
}

async fn work(
    address: Ipv4Addr,
    segment: Segment,
    held: FloatingAddress,
    until: Arc<AtomicU64>,
    mut stopped: oneshot::Receiver<()>,
) {
    let may_speak = || clock::now() < until.load(Ordering::Relaxed);
    let began = Instant::now();
    let mut told = TOLD_AT_MS.iter();
    let mut next = told.next();
    loop {
        let announce_at = next.map(|ms| began + Duration::from_millis(*ms));
        tokio::select! {
            biased;
            _ = &mut stopped => break,
            () = sleep_until(announce_at.unwrap_or(began)), if announce_at.is_some() => {
                next = told.next();
                if may_speak() && let Err(error) = segment.announce(address) {
                    tracing::warn!(%address, %error, "floating address not announced");
                }
            }
            question = segment.question() => match question {
                Ok(question) if question.about == address && may_speak() => {
                    if let Err(error) = segment.answer(&question) {
                        tracing::warn!(%address, %error, "question for a floating address not answered");
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%address, %error, "segment cannot be heard");
                    tokio::time::sleep(PAUSE).await;
                }
            },
        }
    }
    // The kernel takes the device away while this waits, and may take its time.
    if let Err(error) = spawn_blocking(move || drop(held)).await {
        tracing::error!(%address, %error, "floating address not taken away");
    }
}
