//! The agent's side of the gRPC link: dials out, one TLS connection per session.

use super::connection::{Connection, Load, call, dial};
use super::membership;
use super::server_side::frames_of;
use super::{ATTACH, SESSION, STREAM_HEADER, decode, encode};
use crate::link::{AgentLink, AgentRun, Down, Hello, LinkError, SESSION_QUEUE_MAX, Session, Up};
use crate::stream::{Chunk, Duplex, STREAM_QUEUE_MAX};
use crate::tls::{self, Identity};
use bytes::Bytes;
use model::time::Clock;
use std::sync::{Arc, Mutex};
use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tower::Service as _;

/// Who dials: what the agent says of itself with each session.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Which run of the agent it is.
    pub run: AgentRun,
    /// The clock of the host.
    pub clock: Clock,
}

/// What the server last said of this agent's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing yet.
    Unknown,
    /// It counts.
    Good,
    /// It is worth nothing any more; why.
    Void(String),
}

/// The link of an enrolled agent. Clones are the same one.
#[derive(Clone, Debug)]
pub struct GrpcLink {
    address: String,
    pin: String,
    caller: Caller,
    /// What the next connection is made with; held for a copy only.
    tls: Arc<Mutex<Arc<rustls::ClientConfig>>>,
    /// Connection of the running session, for `attach`; held for a clone only.
    connection: Arc<Mutex<Option<Connection>>>,
    /// Connection of what clients ask, apart from the session's: many wait there for long. Held
    /// while it is dialled, so that it is dialled once.
    forwards: Arc<tokio::sync::Mutex<Option<Connection>>>,
    standing: watch::Sender<Standing>,
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl GrpcLink {
    /// A link to `host:port` for an agent with a certificate.
    ///
    /// # Errors
    /// `TlsError` when the identity cannot be read.
    pub fn new(
        address: &str,
        pin: &str,
        identity: &Identity,
        caller: Caller,
    ) -> Result<Self, tls::TlsError> {
        let tls = tls::pinned_client_config(pin, Some(identity), tls::ALPN_AGENT)?;
        Ok(Self {
            address: address.to_owned(),
            pin: pin.to_owned(),
            caller,
            tls: Arc::new(Mutex::new(tls)),
            connection: Arc::default(),
            forwards: Arc::default(),
            standing: watch::Sender::new(Standing::Unknown),
        })
    }

    /// The next connection is made with this identity; the one that lives goes on.
    ///
    /// # Errors
    /// `TlsError` when the identity cannot be read.
    pub fn replace(&self, identity: &Identity) -> Result<(), tls::TlsError> {
        let tls = tls::pinned_client_config(&self.pin, Some(identity), tls::ALPN_AGENT)?;
        *lock(&self.tls) = tls;
        Ok(())
    }

    /// What the server says of the certificate.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// The same server, by a connection of its own for what is forwarded: those who ask over this
    /// one take nothing of what there is for the others.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self { forwards: Arc::default(), ..self.clone() }
    }

    /// A new certificate for a new key, asked for over the connection that lives. It is not used
    /// before `replace`.
    ///
    /// # Errors
    /// `LinkError::Unreachable` when there is no connection, or why the server refuses.
    pub async fn renew(&self) -> Result<Identity, LinkError> {
        membership::renew(&self.address, self.live()?).await
    }

    /// Asks the server plain HTTP, as a client asked this agent: path and query as they are. The
    /// body of the answer comes as the server sends it.
    ///
    /// # Errors
    /// `LinkError::Unreachable` when there is no session, or it ends before the answer.
    pub async fn forward(
        &self,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<hyper::body::Incoming>, LinkError> {
        let why = |why: String| LinkError::Unreachable { address: self.address.clone(), why };
        self.live()?;
        let mut connection = {
            let mut forwards = self.forwards.lock().await;
            match &*forwards {
                Some(connection) if !connection.is_closed() => connection.clone(),
                _ => {
                    let tls = Arc::clone(&lock(&self.tls));
                    let connection = dial(&self.address, tls, Load::Forwards).await?;
                    *forwards = Some(connection.clone());
                    connection
                }
            }
        };
        let request = request.map(|body| tonic::body::Body::new(http_body_util::Full::new(body)));
        std::future::poll_fn(|cx| connection.poll_ready(cx))
            .await
            .map_err(|e| why(e.to_string()))?;
        connection.call(request).await.map_err(|e| why(e.to_string()))
    }

    fn live(&self) -> Result<Connection, LinkError> {
        let live = lock(&self.connection).clone();
        live.ok_or_else(|| LinkError::Unreachable {
            address: self.address.clone(),
            why: "there is no session".into(),
        })
    }

    /// The server, or the way to it, has ended the session.
    fn ended(&self, status: &tonic::Status) {
        let why = status.message();
        match status.code() {
            tonic::Code::Unauthenticated => {
                tracing::error!(why, "the server has ended the session for good");
                self.note(Standing::Void(why.to_owned()));
            }
            tonic::Code::PermissionDenied
            | tonic::Code::AlreadyExists
            | tonic::Code::InvalidArgument
            | tonic::Code::OutOfRange
            | tonic::Code::ResourceExhausted => {
                tracing::warn!(why, "the server has ended the session");
            }
            _ => tracing::debug!(why, "session broken"),
        }
    }

    fn note(&self, standing: Standing) {
        self.standing.send_if_modified(|known| {
            let news = *known != standing;
            *known = standing;
            news
        });
    }
}

impl AgentLink for GrpcLink {
    async fn connect(&self, mut hello: Hello) -> Result<Session, LinkError> {
        let tls = Arc::clone(&lock(&self.tls));
        let connection = dial(&self.address, tls, Load::Session).await?;
        hello.clock = Some(self.caller.clock.now());
        hello.run = Some(self.caller.run.clone());
        let (up, up_rx) = mpsc::channel::<Up>(SESSION_QUEUE_MAX);
        let (down_tx, down) = mpsc::channel(SESSION_QUEUE_MAX);
        let first = tokio_stream::once(Up::Hello(hello));
        let frames =
            first.chain(ReceiverStream::new(up_rx)).filter_map(|message| encode(&message).ok());
        let request = tonic::Request::new(frames);
        let begun = call(&self.address, connection.clone(), SESSION, request).await;
        if let Err(LinkError::Void { why, .. }) = &begun {
            self.note(Standing::Void(why.clone()));
        }
        let mut frames = begun?;
        *lock(&self.connection) = Some(connection);
        self.note(Standing::Good);
        let link = self.clone();
        tokio::task::spawn(async move {
            loop {
                let frame = match frames.message().await {
                    Ok(Some(frame)) => frame,
                    Ok(None) => return,
                    Err(status) => return link.ended(&status),
                };
                match decode::<Down>(&frame) {
                    Ok(message) => {
                        if down_tx.send(message).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => tracing::warn!(%error, "frame of a newer server skipped"),
                }
            }
        });
        Ok(Session { down, up })
    }

    async fn attach(&self, stream: u64, bulk: bool) -> Result<Duplex, LinkError> {
        let session = self.live()?;
        let tls = Arc::clone(&lock(&self.tls));
        // What fills a connection, or its window, must not keep heartbeats waiting.
        let connection = match bulk {
            true => dial(&self.address, tls, Load::Bulk).await?,
            false => session,
        };
        let (tx, out) = mpsc::channel::<Chunk>(STREAM_QUEUE_MAX);
        let (into, rx) = mpsc::channel::<Chunk>(STREAM_QUEUE_MAX);
        let mut request = tonic::Request::new(frames_of(out));
        request.metadata_mut().insert(STREAM_HEADER, stream.into());
        let mut frames = call(&self.address, connection, ATTACH, request).await?;
        tokio::task::spawn(async move {
            while let Ok(Some(frame)) = frames.message().await {
                let Some(chunk) = Chunk::decode(&frame.body) else { return };
                if into.send(chunk).await.is_err() {
                    return;
                }
            }
        });
        Ok(Duplex { tx, rx })
    }
}
