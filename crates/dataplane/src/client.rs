//! The agent's end of the socket. Latest wins: what the dataplane has not taken yet is replaced,
//! never queued. Nothing here waits for the dataplane but `connect` and `next`.

use crate::error::Error;
use crate::protocol::{
    FromAgent, FromDataplane, Local, METADATA_VERSION, PROTOCOL_VERSION, Report, WIRE_VERSION,
    common_version, frame, socket_path, split::Split,
};
use model::limits::{DATAPLANE_EVENTS_MAX, DATAPLANE_GREETING_MS_MAX};
use model::view::HostView;
use model::wireguard::WireWish;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// What the dataplane says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is there; always the first one.
    Hello {
        /// Version of the protocol that both speak.
        version: u32,
        /// Its process id.
        pid: u32,
    },
    /// Something changed.
    Report(Box<Report>),
}

/// A connection to the dataplane of this host. It ends when this is dropped, with what was not sent
/// yet; the dataplane goes on.
#[derive(Debug)]
pub struct Client {
    view: watch::Sender<Option<Arc<HostView>>>,
    local: watch::Sender<Option<Arc<Local>>>,
    wire: watch::Sender<Option<Arc<WireWish>>>,
    /// Does it know of encryption?
    takes_wire: bool,
    events: mpsc::Receiver<Event>,
    // Reader and writer, which end with the client.
    _tasks: JoinSet<()>,
}

impl Client {
    /// Connects to the dataplane that serves `dir` and waits for its greeting.
    ///
    /// # Errors
    /// When none runs there, it does not greet in time, or it speaks no common version.
    pub async fn connect(dir: &Path) -> Result<Self, Error> {
        let (stream, version, pid) = greet(dir).await?;
        let (from, to) = stream.into_split();
        let (view, views) = watch::channel(None);
        let (local, locals) = watch::channel(None);
        let (wire, wires) = watch::channel(None);
        let (sender, events) = mpsc::channel(DATAPLANE_EVENTS_MAX);
        let mut tasks = JoinSet::new();
        tasks.spawn(read(from, sender, Event::Hello { version, pid }));
        let takes_metadata = version >= METADATA_VERSION;
        tasks.spawn(write(to, takes_metadata, views, locals, wires));
        let takes_wire = version >= WIRE_VERSION;
        Ok(Self { view, local, wire, takes_wire, events, _tasks: tasks })
    }

    /// Publishes a view, in the place of one that was not sent yet.
    pub fn publish(&self, view: Arc<HostView>) {
        self.view.send_replace(Some(view));
    }

    /// Tells of the containers, in the place of what was not sent yet.
    pub fn local(&self, local: Arc<Local>) {
        self.local.send_replace(Some(local));
    }

    /// Tells what to encrypt, in the place of what was not sent yet. One of a version that knows
    /// nothing of it is not told: its report has no word of it either.
    pub fn wire(&self, wire: Arc<WireWish>) {
        if self.takes_wire {
            self.wire.send_replace(Some(wire));
        }
    }

    /// The next thing it says; `None` once the connection has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

/// Connects and agrees on a version: the stream, the version, its process id.
pub(crate) async fn greet(dir: &Path) -> Result<(UnixStream, u32, u32), Error> {
    let path = socket_path(dir);
    let mut stream = UnixStream::connect(&path)
        .await
        .map_err(|source| Error::Connect { path: path.clone(), source })?;
    let wait = Duration::from_millis(DATAPLANE_GREETING_MS_MAX);
    let first = tokio::time::timeout(wait, frame::read::<FromDataplane>(&mut stream)).await;
    let no_greeting = |source: io::Error| Error::Greeting { path: path.clone(), source };
    let first = first.map_err(|_elapsed| no_greeting(io::ErrorKind::TimedOut.into()))?;
    let first = first.map_err(no_greeting)?;
    let Some(FromDataplane::Hello { version: theirs, version_min, pid }) = first else {
        return Err(no_greeting(io::ErrorKind::InvalidData.into()));
    };
    let Some(version) = common_version(theirs, version_min) else {
        return Err(Error::Version {
            pid,
            theirs_min: version_min,
            theirs,
            ours: PROTOCOL_VERSION,
        });
    };
    frame::write(&mut stream, &FromAgent::Hello { version }).await.map_err(no_greeting)?;
    Ok((stream, version, pid))
}

async fn read(mut from: OwnedReadHalf, events: mpsc::Sender<Event>, hello: Event) {
    if events.send(hello).await.is_err() {
        return;
    }
    loop {
        let event = match frame::read::<FromDataplane>(&mut from).await {
            Ok(Some(FromDataplane::Report(report))) => Event::Report(report),
            Ok(Some(FromDataplane::Hello { .. })) => continue,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "connection to the dataplane ended");
                return;
            }
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
}

async fn write(
    mut to: OwnedWriteHalf,
    takes_metadata: bool,
    mut views: watch::Receiver<Option<Arc<HostView>>>,
    mut locals: watch::Receiver<Option<Arc<Local>>>,
    mut wires: watch::Receiver<Option<Arc<WireWish>>>,
) {
    let mut split = Split::default();
    loop {
        let messages: Vec<FromAgent> = tokio::select! {
            // Containers first: a view without them would be served as the server last knew them.
            biased;
            changed = locals.changed() => match changed {
                Ok(()) => one(locals.borrow_and_update().clone().map(FromAgent::Local)),
                Err(_client_dropped) => return,
            },
            changed = wires.changed() => match changed {
                Ok(()) => one(wires.borrow_and_update().clone().map(FromAgent::Wire)),
                Err(_client_dropped) => return,
            },
            changed = views.changed() => match changed {
                Ok(()) => match views.borrow_and_update().clone() {
                    Some(view) => split.messages(&view, takes_metadata),
                    None => vec![],
                },
                Err(_client_dropped) => return,
            },
        };
        for message in messages {
            if let Err(error) = frame::write(&mut to, &message).await {
                // The reader sees the end too and says it by `next`.
                tracing::warn!(%error, "the dataplane takes nothing more");
                return;
            }
        }
    }
}

fn one(message: Option<FromAgent>) -> Vec<FromAgent> {
    message.into_iter().collect()
}
