//! The link between an agent and the server, as a network would have it: a stream that is late,
//! is cut one way or both, breaks, and may tell a status or a publication twice or a stale one
//! after a newer one. Who does not hear of the other end for long gives the session up, each end
//! by itself.

use crate::dice::Dice;
use api::link::{AgentLink, Down, Hello, LinkError, MemoryLink, Session, Switchboard, Up};
use api::stream::Duplex;
use model::id::HostId;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

/// An end that hears nothing for so long gives the session up.
const KEEPALIVE: Duration = Duration::from_secs(4);
/// A dial into nowhere takes so long.
const DIAL: Duration = Duration::from_secs(5);
/// Messages under way in one direction.
const QUEUE: usize = 64;

/// The wire of one host. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Wire(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    board: Option<Switchboard>,
    /// Since when nothing gets through, to the server and to the agent.
    cut: [Option<Instant>; 2],
    /// Most milliseconds that a message takes.
    delay_ms: u64,
    /// Messages to come that are told twice or followed by the one before.
    stutters: u32,
    /// What the server hears after the next status though the agent has not said it.
    injected: Option<Up>,
    dice: Dice,
}

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Up = 0,
    Down = 1,
}

/// What becomes of a message besides its delivery.
enum Stutter {
    No,
    Twice,
    StaleAfter,
}

impl Wire {
    pub(crate) fn new(dice: Dice) -> Self {
        let state = State {
            board: None,
            cut: [None, None],
            delay_ms: 2,
            stutters: 0,
            injected: None,
            dice,
        };
        Self(Arc::new(Inner { state: Mutex::new(state), changed: Notify::new() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, work: impl FnOnce(&mut State)) {
        work(&mut self.state());
        self.0.changed.notify_waiters();
    }

    /// Leads to another server, or to none.
    pub(crate) fn lead_to(&self, board: Option<Switchboard>) {
        self.change(|state| state.board = board);
    }

    /// Nothing gets through any more in these directions.
    pub(crate) fn cut(&self, ways: &[Way]) {
        self.change(|state| {
            for way in ways {
                state.cut[*way as usize].get_or_insert(Instant::now());
            }
        });
    }

    /// Messages take up to so long.
    pub(crate) fn delay(&self, ms: u64) {
        self.change(|state| state.delay_ms = ms);
    }

    /// The next messages are told twice, or followed by the one before.
    pub(crate) fn stutter(&self, messages: u32) {
        self.change(|state| state.stutters = messages);
    }

    /// The server hears this after the next status.
    pub(crate) fn inject(&self, message: Up) {
        self.change(|state| state.injected = Some(message));
    }

    /// All is well again.
    pub(crate) fn heal(&self) {
        self.change(|state| {
            state.cut = [None, None];
            state.delay_ms = 2;
            state.stutters = 0;
            state.injected = None;
        });
    }

    /// How long the next message takes.
    fn lag(&self) -> Duration {
        let mut state = self.state();
        let most = state.delay_ms;
        Duration::from_millis(state.dice.below(most + 1))
    }

    fn next_stutter(&self) -> Stutter {
        let mut state = self.state();
        if state.stutters == 0 {
            return Stutter::No;
        }
        state.stutters -= 1;
        if state.dice.once_in(2) { Stutter::Twice } else { Stutter::StaleAfter }
    }

    /// Ends when an end has heard nothing for too long.
    async fn broken(&self) {
        loop {
            let changed = self.0.changed.notified();
            let since = {
                let state = self.state();
                state.cut.iter().flatten().min().copied()
            };
            match since {
                None => changed.await,
                Some(since) => {
                    tokio::select! {
                        biased;
                        () = changed => {}
                        () = tokio::time::sleep_until(since + KEEPALIVE) => return,
                    }
                }
            }
        }
    }

    /// Waits until a direction is open; false when the session broke before.
    async fn passable(&self, way: Way) -> bool {
        loop {
            let changed = self.0.changed.notified();
            if self.state().cut[way as usize].is_none() {
                return true;
            }
            tokio::select! {
                biased;
                () = self.broken() => return false,
                () = changed => {}
            }
        }
    }
}

/// The agent's end.
#[derive(Clone, Debug)]
pub(crate) struct SimLink {
    pub(crate) wire: Wire,
    pub(crate) host: HostId,
}

fn unreachable(why: &str) -> LinkError {
    LinkError::Unreachable { address: "server".into(), why: why.into() }
}

impl AgentLink for SimLink {
    async fn connect(&self, hello: Hello) -> Result<Session, LinkError> {
        tokio::time::sleep(self.wire.lag()).await;
        if self.wire.state().cut.iter().any(Option::is_some) {
            tokio::time::sleep(DIAL).await;
            return Err(unreachable("no answer"));
        }
        let board = self.wire.state().board.clone();
        let board = board.ok_or_else(|| unreachable("connection refused"))?;
        let inner = MemoryLink::new(board, self.host.clone()).connect(hello).await?;
        let (up, from_agent) = mpsc::channel(QUEUE);
        let (to_agent, down) = mpsc::channel(QUEUE);
        tokio::task::spawn(carry_up(self.wire.clone(), from_agent, inner.up));
        tokio::task::spawn(carry_down(self.wire.clone(), inner.down, to_agent));
        Ok(Session { down, up })
    }

    async fn attach(&self, stream: u64, _bulk: bool) -> Result<Duplex, LinkError> {
        let board = self.wire.state().board.clone();
        board
            .and_then(|board| board.take(stream, &self.host))
            .ok_or_else(|| unreachable("the stream is gone"))
    }
}

async fn carry_up(wire: Wire, mut from: mpsc::Receiver<Up>, to: mpsc::Sender<Up>) {
    let mut last: Option<Up> = None;
    loop {
        let message = tokio::select! {
            biased;
            message = from.recv() => message,
            () = wire.broken() => return,
            () = to.closed() => return,
        };
        let Some(message) = message else {
            // The end of an agent is heard by the server as late as everything else.
            wire.passable(Way::Up).await;
            return;
        };
        tokio::time::sleep(wire.lag()).await;
        if !wire.passable(Way::Up).await || to.send(message.clone()).await.is_err() {
            return;
        }
        if !matches!(message, Up::Status(_)) {
            continue;
        }
        let injected = wire.state().injected.take();
        if let Some(injected) = injected
            && to.send(injected).await.is_err()
        {
            return;
        }
        let again = match wire.next_stutter() {
            Stutter::No => None,
            Stutter::Twice => Some(message.clone()),
            Stutter::StaleAfter => last.take(),
        };
        last = Some(message);
        if let Some(again) = again
            && to.send(again).await.is_err()
        {
            return;
        }
    }
}

async fn carry_down(wire: Wire, mut from: mpsc::Receiver<Down>, to: mpsc::Sender<Down>) {
    let mut last: Option<Down> = None;
    loop {
        let message = tokio::select! {
            biased;
            message = from.recv() => message,
            () = wire.broken() => return,
            () = to.closed() => return,
        };
        let Some(message) = message else {
            wire.passable(Way::Down).await;
            return;
        };
        tokio::time::sleep(wire.lag()).await;
        if !wire.passable(Way::Down).await || to.send(message.clone()).await.is_err() {
            return;
        }
        let again = match wire.next_stutter() {
            Stutter::No => None,
            Stutter::Twice => Some(message.clone()),
            Stutter::StaleAfter => last.take(),
        };
        last = Some(message);
        if let Some(again) = again
            && to.send(again).await.is_err()
        {
            return;
        }
    }
}
