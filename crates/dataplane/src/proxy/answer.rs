//! Answers to clients: what an endpoint said, streamed, or a short text of the proxy's own.

use super::client::Busy;
use super::connection::Connection;
use super::endpoint::Lease;
use super::shard::Shard;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// The body of an answer. Its end says that the client's connection is idle.
#[derive(Debug)]
pub(super) struct Answer {
    content: Content,
    _busy: Busy,
}

#[derive(Debug)]
enum Content {
    Text(Option<Bytes>),
    Endpoint { body: Incoming, held: Option<Held>, broken: Option<hyper::Error> },
}

/// What an answer in progress holds: its endpoint and the connection that it comes on.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) shard: Rc<Shard>,
    pub(super) lease: Lease,
    pub(super) connection: Connection,
}

impl Held {
    /// The answer is complete: the connection is free for the next request.
    fn release(self) {
        let Self { shard, lease, connection } = self;
        if !connection.is_driven() {
            return;
        }
        if connection.sender.is_ready() {
            lease.0.checkin(connection, shard.coarse_ms());
        } else if !connection.sender.is_closed() {
            let endpoint = Rc::clone(&lease.0);
            tokio::task::spawn_local(async move {
                if let Some(connection) = connection.into_idle().await {
                    endpoint.checkin(connection, shard.coarse_ms());
                }
            });
        }
    }
}

impl Answer {
    /// An endpoint's answer.
    pub(super) fn of_endpoint(busy: Busy, body: Incoming, held: Held) -> Self {
        let held = if body.is_end_stream() {
            held.release();
            None
        } else {
            Some(held)
        };
        Self { content: Content::Endpoint { body, held, broken: None }, _busy: busy }
    }

    /// No body: the connection changes protocol.
    pub(super) fn empty(busy: Busy) -> Self {
        Self { content: Content::Text(None), _busy: busy }
    }

    /// The proxy's own answer. `reason` is one word for machines, in a header; `text` is for people.
    pub(super) fn own(
        busy: Busy,
        status: StatusCode,
        reason: &'static str,
        text: &str,
    ) -> Response<Self> {
        let body = Bytes::from(format!("{status}: {text}\n"));
        let mut response = Response::new(Self { content: Content::Text(Some(body)), _busy: busy });
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert("x-remuda-reason", HeaderValue::from_static(reason));
        response
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.get_mut().content {
            Content::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Content::Endpoint { body, held, broken } => {
                if let Some(error) = broken.take() {
                    return Poll::Ready(Some(Err(error)));
                }
                let mut frame = Pin::new(&mut *body).poll_frame(cx);
                if frame.is_pending()
                    && let Some(held) = held
                {
                    held.connection.drive(cx);
                    frame = Pin::new(&mut *body).poll_frame(cx);
                }
                let frame = ready!(frame);
                match frame {
                    Some(Err(error)) => {
                        // What came before goes out first: the client sees an answer broken off,
                        // not none at all.
                        *held = None;
                        *broken = Some(error);
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Some(Ok(_)) if !body.is_end_stream() => {}
                    _ => {
                        if let Some(held) = held.take() {
                            held.release();
                        }
                    }
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Text(text) => text.is_none(),
            Content::Endpoint { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Text(text) => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
            Content::Endpoint { body, .. } => body.size_hint(),
        }
    }
}
