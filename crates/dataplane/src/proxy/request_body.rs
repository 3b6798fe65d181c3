//! The body of a request on its way to an endpoint: streamed, and kept up to a limit when the
//! request may have to be sent again.

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use model::limits::PROXY_REPLAY_BYTES_MAX;
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// Where the body of one request comes from, through all its tries.
#[derive(Clone, Debug)]
pub(super) struct BodySource(Option<Rc<RefCell<Source>>>);

#[derive(Debug)]
struct Source {
    incoming: Incoming,
    size: SizeHint,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    trailers: Option<HeaderMap>,
    ended: bool,
    whole: bool,
    keep: bool,
    /// Number of tries so far: only the body of the last one reads.
    tries: u32,
}

impl BodySource {
    /// Streams `incoming`; `keep`: the request may be sent twice.
    pub(super) fn new(incoming: Incoming, keep: bool) -> Self {
        if incoming.is_end_stream() {
            return Self(None);
        }
        let size = incoming.size_hint();
        Self(Some(Rc::new(RefCell::new(Source {
            incoming,
            size,
            kept: Vec::new(),
            kept_bytes: 0,
            trailers: None,
            ended: false,
            whole: true,
            keep,
            tries: 0,
        }))))
    }

    /// Is there a body whose length is not known?
    pub(super) fn is_chunked(&self) -> bool {
        self.0.as_ref().is_some_and(|source| source.borrow().size.exact().is_none())
    }

    /// Has all of it been sent?
    pub(super) fn is_ended(&self) -> bool {
        self.0.as_ref().is_none_or(|source| source.borrow().ended)
    }

    /// Can it be sent from its beginning?
    pub(super) fn is_whole(&self) -> bool {
        self.0.as_ref().is_none_or(|source| source.borrow().whole)
    }

    /// The body of the next try; that of the one before gives nothing any more.
    pub(super) fn body(&self) -> RequestBody {
        RequestBody(self.0.as_ref().map(|source| {
            let tries = &mut source.borrow_mut().tries;
            *tries += 1;
            Try { number: *tries, source: Rc::clone(source), next: 0, trailers: false }
        }))
    }
}

/// The body of one try of a request.
#[derive(Debug)]
pub(super) struct RequestBody(Option<Try>);

#[derive(Debug)]
struct Try {
    source: Rc<RefCell<Source>>,
    number: u32,
    next: usize,
    /// It has given its trailers.
    trailers: bool,
}

/// Why the body of a request broke off.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// The client's side failed.
    #[error("the request's body broke off")]
    Client(#[source] hyper::Error),
    /// The request was sent again elsewhere.
    #[error("the request was given up on this connection")]
    Superseded,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(attempt) = &mut self.get_mut().0 else { return Poll::Ready(None) };
        let source = &mut *attempt.source.borrow_mut();
        if source.tries != attempt.number {
            return Poll::Ready(Some(Err(BodyError::Superseded)));
        }
        if let Some(kept) = source.kept.get(attempt.next) {
            attempt.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(kept.clone()))));
        }
        if source.ended {
            let trailers = source.trailers.clone().filter(|_| !attempt.trailers);
            attempt.trailers = true;
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let frame = ready!(Pin::new(&mut source.incoming).poll_frame(cx));
        let frame = match frame {
            None => {
                source.ended = true;
                return Poll::Ready(None);
            }
            Some(Err(error)) => {
                source.whole = false;
                return Poll::Ready(Some(Err(BodyError::Client(error))));
            }
            Some(Ok(frame)) => frame,
        };
        match frame.into_data() {
            Ok(data) => {
                source.keep(&data);
                attempt.next = source.kept.len();
                if source.incoming.is_end_stream() {
                    source.ended = true;
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Err(frame) => {
                source.ended = true;
                source.trailers = frame.trailers_ref().cloned();
                attempt.trailers = true;
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|attempt| {
            let source = attempt.source.borrow();
            let given = attempt.trailers || source.trailers.is_none();
            source.ended && given && attempt.next >= source.kept.len()
        })
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            None => SizeHint::with_exact(0),
            Some(attempt) => {
                let source = attempt.source.borrow();
                match source.size.exact() {
                    // Only asked before the first frame, which is what hyper frames the body by.
                    Some(size) if attempt.next == 0 => SizeHint::with_exact(size),
                    _ => SizeHint::default(),
                }
            }
        }
    }
}

impl Source {
    fn keep(&mut self, data: &Bytes) {
        if !self.whole {
            return;
        }
        self.kept_bytes += data.len();
        if self.keep && self.kept_bytes <= PROXY_REPLAY_BYTES_MAX {
            self.kept.push(data.clone());
        } else {
            self.whole = false;
            self.kept = Vec::new();
        }
    }
}
