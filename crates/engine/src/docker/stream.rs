//! Requests whose answer is a stream of bytes, on a connection of their own. bollard tells of such
//! a request only with its first item: too late for events (what happens before `list` must not be
//! lost), and its decoder holds a terminal's output back until a newline, without a bound.

use super::connection::Docker;
use crate::error::{Error, Result, shown};
use bytes::Bytes;
use futures_util::Stream;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

/// Longest text of a refusal that is read, in bytes.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// A request for a stream.
pub(super) struct Ask {
    /// For messages.
    pub(super) operation: String,
    pub(super) method: &'static str,
    /// Path and query, without the version.
    pub(super) path: String,
    /// JSON sent along.
    pub(super) body: Option<String>,
    /// Is the connection to become a plain one, both ways?
    pub(super) upgrade: bool,
}

/// An answer that has begun.
pub(super) struct Begun {
    pub(super) response: Response<Incoming>,
    connection: JoinSet<()>,
}

impl Docker {
    /// Sends the request and waits until the answer begins.
    pub(super) async fn begin(&self, ask: Ask) -> Result<Begun> {
        self.begin_within(ask, self.deadlines().call_ms).await
    }

    /// The same for an answer that takes its time to begin.
    pub(super) async fn begin_within(&self, ask: Ask, ms: u64) -> Result<Begun> {
        let operation = ask.operation.clone();
        self.within(&operation, ms, self.begin_at_leisure(ask)).await
    }

    async fn begin_at_leisure(&self, ask: Ask) -> Result<Begun> {
        let api = self.client().await?.api;
        let socket = UnixStream::connect(&self.shared.options.socket)
            .await
            .map_err(|error| self.unreachable(error))?;
        let lost = |error: hyper::Error| {
            self.forget_client();
            let operation = ask.operation.clone();
            if error.is_parse() {
                Error::Answer { operation, source: error.into() }
            } else {
                Error::Lost { operation, source: error.into() }
            }
        };
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(socket)).await.map_err(lost)?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                // The reader of the body gets the same error.
                tracing::trace!(%error, "docker stream ended");
            }
        });
        let mut request = Request::builder()
            .method(ask.method)
            .uri(format!("/v{api}{}", ask.path))
            .header("Host", "docker");
        if ask.body.is_some() {
            request = request.header("Content-Type", "application/json");
        }
        if ask.upgrade {
            request = request.header("Connection", "Upgrade").header("Upgrade", "tcp");
        }
        let body = Full::new(Bytes::from(ask.body.clone().unwrap_or_default()));
        let request = request.body(body).map_err(|error| Error::Answer {
            operation: ask.operation.clone(),
            source: error.into(),
        })?;
        let response = sender.send_request(request).await.map_err(lost)?;
        let status = response.status().as_u16();
        if status < 300 {
            return Ok(Begun { response, connection: driver });
        }
        Err(self.refusal(&ask.operation, status, &refusal_text(response).await))
    }
}

async fn refusal_text(response: Response<Incoming>) -> String {
    let body = Limited::new(response.into_body(), REFUSAL_BYTES_MAX).collect().await;
    let Ok(body) = body else { return "it did not say why".to_owned() };
    let bytes = body.to_bytes();
    let said = serde_json::from_slice::<serde_json::Value>(&bytes).ok();
    match said.as_ref().and_then(|said| said.get("message")?.as_str()) {
        Some(message) => message.to_owned(),
        None => shown(&String::from_utf8_lossy(&bytes)),
    }
}

/// The bytes of an answer; owns its connection.
pub(super) struct Chunks {
    operation: String,
    body: Incoming,
    connection: JoinSet<()>,
}

impl Begun {
    pub(super) fn chunks(self, operation: String) -> Chunks {
        Chunks { operation, body: self.response.into_body(), connection: self.connection }
    }

    /// Both directions, after an upgrade.
    pub(super) async fn upgraded(
        self,
        operation: &str,
    ) -> Result<TokioIo<hyper::upgrade::Upgraded>> {
        let plain = hyper::upgrade::on(self.response).await.map_err(|error| Error::Lost {
            operation: operation.to_owned(),
            source: error.into(),
        })?;
        Ok(TokioIo::new(plain))
    }
}

impl Stream for Chunks {
    type Item = Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
            return Poll::Ready(match frame {
                None => {
                    this.connection.abort_all();
                    None
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => Some(Ok(data)),
                    Err(_trailers) => continue,
                },
                Some(Err(error)) => Some(Err(Error::Lost {
                    operation: this.operation.clone(),
                    source: error.into(),
                })),
            });
        }
    }
}
