//! The link between server and agent. The agent dials; it gets publications and stream requests
//! and sends what it sees. `MemoryLink` joins the two in one process, `grpc` across processes.

mod outbox;
mod publication;
#[cfg(test)]
mod tests;
mod twin;

pub use outbox::Outbox;
pub use publication::{Known, Mark, Misfit, Publication, PublicationDelta};

use crate::image::ImageWant;
use crate::peer::{Peer, Refusal};
use crate::stream::{Duplex, StreamRequest, duplex};
use model::host_status::HostStatus;
use model::id::HostId;
use model::limits::{HOST_DISCONNECTED_MS, LINK_FRAMES_PER_S_MAX, LINK_PACE_MS_MAX};
use model::time::{Generation, Timestamp};
use outbox::Taken;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// The first thing an agent says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Who it is; over gRPC its certificate must say the same.
    pub host: HostId,
    /// Version of the agent.
    pub version: String,
    /// `LINK_PROTOCOL` of the agent.
    #[serde(default = "first_protocol")]
    pub protocol: u32,
    /// The publication that it has: it wants to hear what it lacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<Known>,
    /// What the clock of the host says; the carrier fills it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<Timestamp>,
    /// Which run of which agent it is; the carrier fills it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<AgentRun>,
}

impl Hello {
    /// As an agent begins.
    #[must_use]
    pub fn new(host: HostId, version: impl Into<String>) -> Self {
        let (version, protocol) = (version.into(), LINK_PROTOCOL);
        Self { host, version, protocol, known: None, clock: None, run: None }
    }
}

/// Version of what is said over the link: 2 brought deltas.
pub const LINK_PROTOCOL: u32 = 2;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Of agents that do not say it.
fn first_protocol() -> u32 {
    1
}

/// One run of an agent: what tells two agents apart that say that they are the same host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentRun {
    /// Drawn when the process began.
    pub process: String,
    /// The kernel's id of the boot.
    pub boot: String,
    /// Name of the machine.
    pub hostname: String,
}

/// What goes down, besides publications.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Down {
    /// The newest publication; older ones are skipped.
    Publish(Arc<Publication>),
    /// What changed since the publication that the agent has; older agents never get one.
    Delta(Arc<PublicationDelta>),
    /// Open a stream: call `attach` with its id.
    Open {
        /// Id within the session.
        stream: u64,
        /// What for.
        request: StreamRequest,
    },
    /// The server has heard the heartbeat of this number, and all before it.
    Heard {
        /// Number within the session.
        number: u64,
        /// What may run at most once in the cluster may go on where the publication of this
        /// generation has come. `None`: it is not written down yet that the host is here, and
        /// somebody may decide that it is away.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lease: Option<Generation>,
        /// Time from one heartbeat to the next that the server wishes, in milliseconds; 0 when it
        /// does not say.
        #[serde(default, skip_serializing_if = "is_zero")]
        every_ms: u64,
    },
}

/// What goes up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Up {
    /// The first frame.
    Hello(Hello),
    /// What the host is seen to hold.
    Status(Box<HostStatus>),
    /// The agent is alive; an older agent's, which wants no answer.
    Heartbeat,
    /// The agent is alive, and wants to know that it was heard: `Down::Heard` has the number.
    Beat {
        /// Number within the session, from 1.
        number: u64,
    },
    /// What it was told does not fit on what it has: it needs the whole publication.
    Whole,
    /// Names of services that are asked for on its host and that its view has no addresses of: all
    /// of them, each time.
    Asked {
        /// In lower case, relative to our zones.
        names: Vec<String>,
    },
    /// It needs an image: `Down::Open` with `StreamRequest::Wanted` answers.
    Want {
        /// Number within the session, from 1.
        number: u64,
        /// What.
        want: ImageWant,
    },
}

/// Messages queued in one direction of a session before the sender waits.
pub const SESSION_QUEUE_MAX: usize = 64;

/// The agent's end of a session.
#[derive(Debug)]
pub struct Session {
    /// From the server; `None` when the session is over.
    pub down: mpsc::Receiver<Down>,
    /// To the server.
    pub up: mpsc::Sender<Up>,
}

/// Why a link cannot be used now.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The server does not answer.
    #[error("server {address} does not answer: {why}")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        why: String,
    },
    /// What answers has not the certificate of the server that this host knows.
    #[error(
        "what answers at {address} is not the server that this host is to trust: its certificate \
         is of another CA"
    )]
    Foreign {
        /// Where.
        address: String,
    },
    /// The server refuses this agent.
    #[error("server {address} refuses this agent: {why}")]
    Refused {
        /// Where.
        address: String,
        /// Why.
        why: String,
    },
    /// The server refuses this agent until it joins again.
    #[error("server {address} refuses this agent: {why}")]
    Void {
        /// Where.
        address: String,
        /// Why.
        why: String,
    },
    /// The clock of this host and the life of the server's certificate have nothing in common.
    #[error("the certificate of server {address} cannot be trusted now: {why}")]
    Clock {
        /// Where.
        address: String,
        /// Both times.
        why: String,
    },
}

/// The agent's way to the server: dial a session, attach to a stream.
pub trait AgentLink: Clone + Send + Sync + 'static {
    /// Opens a session.
    ///
    /// # Errors
    /// `LinkError` when the server is not reached or refuses; the caller dials again with back-off.
    fn connect(&self, hello: Hello) -> impl Future<Output = Result<Session, LinkError>> + Send;

    /// Takes up a stream that the server has opened; a bulky one on a connection of its own.
    ///
    /// # Errors
    /// `LinkError` when the stream is gone.
    fn attach(
        &self,
        stream: u64,
        bulk: bool,
    ) -> impl Future<Output = Result<Duplex, LinkError>> + Send;
}

/// The server's end of all sessions: where links meet the server, whatever carries them.
#[derive(Clone, Debug)]
pub struct Switchboard {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Guards the maps; held for map operations only.
    state: Mutex<State>,
    arrivals: mpsc::Sender<Arrival>,
}

#[derive(Debug, Default)]
struct State {
    next_stream: u64,
    /// With the host that may take it up.
    waiting: BTreeMap<u64, (HostId, Duplex)>,
    /// Hosts with a session.
    present: BTreeMap<HostId, Present>,
    next_session: u64,
}

/// The agent that has the session of a host.
#[derive(Clone, Debug)]
struct Present {
    number: u64,
    known: twin::Known,
    peer: Option<Peer>,
    /// Changes when it is heard, and is closed when its session is over.
    heard: watch::Receiver<u64>,
}

/// A session that has just begun, handed to the server.
#[derive(Debug)]
pub struct Arrival {
    /// Which host.
    pub hello: Hello,
    /// From the agent.
    pub up: mpsc::Receiver<Up>,
    /// What waits to go down to it, besides streams.
    pub outbox: Outbox,
    /// Stream requests to it.
    pub open: mpsc::Sender<Down>,
    /// Kept as long as the session lasts.
    pub presence: Presence,
    /// The connection that carries it; `None` when the agent is in the same process.
    pub peer: Option<Peer>,
}

/// The one session of a host: until it is dropped no other one begins.
#[derive(Debug)]
pub struct Presence {
    inner: Arc<Inner>,
    host: HostId,
    number: u64,
    heard: watch::Sender<u64>,
}

impl Presence {
    /// The agent has been heard: it is alive.
    pub fn heard(&self) {
        self.heard.send_modify(|count| *count = count.wrapping_add(1));
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        if state.present.get(&self.host).is_some_and(|present| present.number == self.number) {
            state.present.remove(&self.host);
        }
    }
}

impl Inner {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn known(hello: &Hello, peer: Option<&Peer>) -> twin::Known {
    twin::Known { address: peer.map(|peer| peer.address.ip()), run: hello.run.clone() }
}

/// Why an agent and this server would not understand each other: they may be one version of the
/// link apart, and no more.
fn misunderstood(hello: &Hello) -> Option<String> {
    let (theirs, ours) = (hello.protocol, LINK_PROTOCOL);
    let older = match theirs {
        _ if theirs.abs_diff(ours) <= 1 => return None,
        _ if theirs < ours => "upgrade this agent",
        _ => "upgrade the server first, then its agents",
    };
    let version = &hello.version;
    Some(format!(
        "agent {version} speaks version {theirs} of the link and this server version {ours}, and they \
         may be one apart: {older}"
    ))
}

/// Longest wait of an agent for a session that another one has: who is silent for
/// `HOST_DISCONNECTED_MS` has none.
const TURN_TIMEOUT: Duration = Duration::from_millis(HOST_DISCONNECTED_MS + 2_000);
/// Streams opened and not taken up; more are refused.
const STREAMS_WAITING_MAX: usize = 256;

impl Switchboard {
    /// A switchboard and the queue of its arrivals.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Arrival>) {
        let (arrivals, queue) = mpsc::channel(SESSION_QUEUE_MAX);
        (Self { inner: Arc::new(Inner { state: Mutex::default(), arrivals }) }, queue)
    }

    /// Takes the session of a host, or says who has it.
    fn enter(&self, hello: &Hello, peer: Option<&Peer>) -> Result<Presence, Box<Present>> {
        let mut state = self.inner.state();
        if let Some(present) = state.present.get(&hello.host) {
            return Err(Box::new(present.clone()));
        }
        state.next_session += 1;
        let number = state.next_session;
        let (heard, receiver) = watch::channel(0);
        let known = known(hello, peer);
        let present = Present { number, known, peer: peer.cloned(), heard: receiver };
        state.present.insert(hello.host.clone(), present);
        Ok(Presence { inner: Arc::clone(&self.inner), host: hello.host.clone(), number, heard })
    }

    /// Waits for the session of a host as long as it is not known who of two is the host.
    async fn enter_in_turn(
        &self,
        hello: &Hello,
        peer: Option<&Peer>,
    ) -> Result<Presence, LinkError> {
        let refused = |why| LinkError::Refused { address: "here".into(), why };
        let deadline = tokio::time::Instant::now() + TURN_TIMEOUT;
        loop {
            let mut first = match self.enter(hello, peer) {
                Ok(presence) => return Ok(presence),
                Err(first) => first,
            };
            let verdict = twin::judge(&first.known, &known(hello, peer));
            match (verdict, &first.peer) {
                (twin::Verdict::Refuse, _) | (twin::Verdict::TakeOver, None) => {
                    return Err(refused(twin::told(&hello.host, &first.known)));
                }
                (twin::Verdict::TakeOver, Some(old)) => {
                    old.cut(Refusal::now("this agent has connected anew"));
                }
                (twin::Verdict::Listen, _) => {}
            }
            first.heard.mark_unchanged();
            loop {
                match tokio::time::timeout_at(deadline, first.heard.changed()).await {
                    // Heard after the other one has come.
                    Ok(Ok(())) if verdict == twin::Verdict::Listen => {
                        return Err(refused(twin::told(&hello.host, &first.known)));
                    }
                    Ok(Ok(())) => {}
                    Ok(Err(_over)) => break,
                    Err(_elapsed) => {
                        return Err(refused("its old session is still ending; try again".into()));
                    }
                }
            }
        }
    }

    /// Has this host a session?
    #[must_use]
    pub fn is_present(&self, host: &HostId) -> bool {
        self.inner.state().present.contains_key(host)
    }

    /// Waits until the session is over that this host has now: its streams end with it, whichever
    /// connection they are on.
    pub fn over(&self, host: &HostId) -> impl Future<Output = ()> + Send + use<> {
        let session = self.inner.state().present.get(host).map(|present| present.heard.clone());
        async move {
            if let Some(mut session) = session {
                while session.changed().await.is_ok() {}
            }
        }
    }

    /// Begins a session for an agent that a carrier has authenticated. The carrier forwards
    /// `Session::down` to the agent and what the agent says to `Session::up`.
    ///
    /// # Errors
    /// `LinkError::Unreachable` when the server is going down, `LinkError::Refused` when another
    /// agent of the same host has a session and is alive: two would undo each other's work.
    pub async fn begin(&self, hello: Hello, peer: Option<Peer>) -> Result<Session, LinkError> {
        if let Some(why) = misunderstood(&hello) {
            return Err(LinkError::Refused { address: "here".into(), why });
        }
        let presence = self.enter_in_turn(&hello, peer.as_ref()).await?;
        let (up_tx, up) = mpsc::channel(SESSION_QUEUE_MAX);
        let (open, opens) = mpsc::channel::<Down>(SESSION_QUEUE_MAX);
        let (outbox, waiting) = outbox::outbox(hello.protocol >= 2);
        let (down_tx, down) = mpsc::channel(1);
        let arrival = Arrival { hello, up, outbox, open, presence, peer };
        self.inner.arrivals.send(arrival).await.map_err(|_closed| LinkError::Unreachable {
            address: "here".into(),
            why: "it is going down".into(),
        })?;
        tokio::task::spawn(self.clone().pump(waiting, opens, down_tx));
        Ok(Session { down, up: up_tx })
    }

    /// Carries down what there is, until either side of the session ends. What changes while the
    /// carrier is busy, or so soon after the last word that it can wait, goes with the next.
    async fn pump(
        self,
        mut waiting: outbox::Waiting,
        mut opens: mpsc::Receiver<Down>,
        down: mpsc::Sender<Down>,
    ) {
        let mut next = tokio::time::Instant::now();
        let mut held = None;
        loop {
            // Room first: what is taken is the newest word then.
            let Ok(room) = down.reserve().await else { return };
            // The carrier has taken the last message.
            drop(held.take());
            let message = tokio::select! {
                biased;
                request = opens.recv() => match request {
                    Some(request) => request,
                    None => return,
                },
                there = async {
                    let there = waiting.ready().await;
                    if next > tokio::time::Instant::now() {
                        tokio::time::sleep_until(next).await;
                    }
                    there
                } => match (there, waiting.take()) {
                    (false, _) => return,
                    (true, None) => continue,
                    (true, Some(taken)) => {
                        next = tokio::time::Instant::now() + self.pace();
                        match taken {
                            Taken::Delta(delta) => Down::Delta(delta),
                            Taken::Whole(whole, permit) => {
                                held = permit;
                                Down::Publish(whole)
                            }
                        }
                    }
                },
                () = down.closed() => return,
            };
            room.send(message);
        }
    }

    /// Shortest time between two publications to one agent: the more agents there are, the more is
    /// said at a time.
    fn pace(&self) -> Duration {
        let sessions = u64::try_from(self.inner.state().present.len()).unwrap_or(u64::MAX);
        // Whole milliseconds: timers count in them.
        let ms = sessions.saturating_mul(1_000) / LINK_FRAMES_PER_S_MAX;
        Duration::from_millis(ms.min(LINK_PACE_MS_MAX))
    }

    /// Makes a stream to a host: its id for `Down::Open`, and the server's end.
    #[must_use]
    pub fn stream(&self, host: &HostId) -> Option<(u64, Duplex)> {
        let (ours, theirs) = duplex();
        let mut state = self.inner.state();
        // Ends whose opener went away are swept here.
        state.waiting.retain(|_, (_, waiting)| !waiting.tx.is_closed());
        if state.waiting.len() >= STREAMS_WAITING_MAX {
            return None;
        }
        state.next_stream += 1;
        let id = state.next_stream;
        state.waiting.insert(id, (host.clone(), theirs));
        Some((id, ours))
    }

    /// Hands the far end of a stream to the agent that attaches to it, once; only the host that
    /// it was made for gets it.
    #[must_use]
    pub fn take(&self, stream: u64, host: &HostId) -> Option<Duplex> {
        let mut state = self.inner.state();
        if state.waiting.get(&stream).is_none_or(|(of, _)| of != host) {
            return None;
        }
        state.waiting.remove(&stream).map(|(_, end)| end)
    }
}

/// Server and agent in one process.
#[derive(Clone, Debug)]
pub struct MemoryLink {
    switchboard: Switchboard,
    host: HostId,
}

impl MemoryLink {
    /// The link of the agent of `host`.
    #[must_use]
    pub fn new(switchboard: Switchboard, host: HostId) -> Self {
        Self { switchboard, host }
    }
}

impl AgentLink for MemoryLink {
    async fn connect(&self, hello: Hello) -> Result<Session, LinkError> {
        self.switchboard.begin(hello, None).await
    }

    async fn attach(&self, stream: u64, _bulk: bool) -> Result<Duplex, LinkError> {
        self.switchboard.take(stream, &self.host).ok_or_else(|| LinkError::Refused {
            address: "here".into(),
            why: format!("stream {stream} is gone"),
        })
    }
}
