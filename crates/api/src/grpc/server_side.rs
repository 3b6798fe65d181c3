//! The server's side of the gRPC link: one `LinkServer` per connection, bound to the host that
//! the connection's client certificate names.

use super::{
    ATTACH, ENROLL, EnrollRequest, EnrollResponse, FORWARDED, Frame, RENEW, RenewRequest,
    RenewResponse, SESSION, STREAM_HEADER, decode, encode,
};
use crate::certificate::Certificate;
use crate::link::{Down, Hello, LinkError, Switchboard, Up};
use crate::peer::{Peer, Refusal};
use crate::stream::Chunk;
use bytes::Bytes;
use model::limits::{ENROLL_BYTES_MAX, LINK_FRAME_BYTES_MAX, LINK_FRAMES_SKIPPED_MAX};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::body::Body;
use tonic::server::{Grpc, StreamingService, UnaryService};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

/// An agent that opens a session and says nothing is given up.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the last word to an agent may take.
const LAST_WORD_TIMEOUT: Duration = Duration::from_millis(500);

/// Body of an answer to plain HTTP.
pub type Forwarded =
    http_body_util::combinators::UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type FrameStream = Pin<Box<dyn Stream<Item = Result<Frame, Status>> + Send>>;

/// The server's part of membership: who is let in, and what is signed.
pub trait Enroller: Clone + Send + Sync + 'static {
    /// Enrols, or says why not.
    fn enroll(
        &self,
        peer: &Peer,
        request: EnrollRequest,
    ) -> impl Future<Output = Result<EnrollResponse, Refusal>> + Send;

    /// May this agent have a session?
    ///
    /// # Errors
    /// Why not.
    fn admit(&self, peer: &Peer, hello: &Hello) -> Result<(), Refusal>;

    /// Signs a new certificate for a member.
    fn renew(
        &self,
        peer: &Peer,
        request: RenewRequest,
    ) -> impl Future<Output = Result<RenewResponse, Refusal>> + Send;

    /// Answers plain HTTP that a client asked the agent; who is no member is refused here.
    fn forwarded(
        &self,
        peer: &Peer,
        request: http::Request<hyper::body::Incoming>,
    ) -> impl Future<Output = http::Response<Forwarded>> + Send;

    /// An agent was refused, or its session was ended, for something that it said or is.
    fn refused(&self, peer: &Peer, why: &str);
}

fn status(refusal: &Refusal) -> Status {
    match refusal.void {
        true => Status::unauthenticated(&refusal.why),
        false => Status::permission_denied(&refusal.why),
    }
}

/// Serves the agent's calls of one connection.
#[derive(Clone, Debug)]
pub struct LinkServer<E> {
    switchboard: Switchboard,
    enroller: E,
    peer: Peer,
}

impl<E: Enroller> LinkServer<E> {
    /// For a connection.
    pub fn new(switchboard: Switchboard, enroller: E, peer: Peer) -> Self {
        Self { switchboard, enroller, peer }
    }

    fn certificate(&self) -> Result<&Certificate, Status> {
        self.peer.certificate.as_ref().ok_or_else(|| {
            Status::unauthenticated("this agent has no certificate: join with a token first")
        })
    }

    /// The same on both sides: the server tells it as well.
    fn refuse(&self, status: Status) -> Status {
        self.enroller.refused(&self.peer, status.message());
        status
    }

    async fn session(self, mut frames: Streaming<Frame>) -> Result<FrameStream, Status> {
        let hello = self.greeted(&mut frames).await.map_err(|status| self.refuse(status))?;
        let begun = self.switchboard.begin(hello, Some(self.peer.clone())).await;
        let session = begun.map_err(|error| match error {
            LinkError::Refused { why, .. } => self.refuse(Status::already_exists(why)),
            error => Status::unavailable(error.to_string()),
        })?;
        let (frames_down, stream) = mpsc::channel(1);
        let (up, down) = (session.up, session.down);
        tokio::task::spawn(self.carry(frames, up, down, frames_down));
        Ok(Box::pin(ReceiverStream::new(stream)))
    }

    /// The first frame, of an agent that may have a session.
    async fn greeted(&self, frames: &mut Streaming<Frame>) -> Result<Hello, Status> {
        let host = &self.certificate()?.host;
        let first = tokio::time::timeout(HELLO_TIMEOUT, frames.message())
            .await
            .map_err(|_elapsed| Status::deadline_exceeded("the session has no first frame"))??
            .ok_or_else(|| Status::invalid_argument("the session ended before its first frame"))?;
        let Up::Hello(hello) = decode(&first)? else {
            return Err(Status::invalid_argument("the first frame must be Hello"));
        };
        if hello.host != *host {
            let other = &hello.host;
            let why =
                format!("the certificate is of host {host}, and the agent says it is {other}");
            return Err(Status::permission_denied(why));
        }
        self.enroller.admit(&self.peer, &hello).map_err(|refusal| status(&refusal))?;
        Ok(hello)
    }

    /// Carries both ways until the connection breaks or the server drops the session. What ends it
    /// by the agent's fault is said to the agent.
    async fn carry(
        self,
        frames: Streaming<Frame>,
        up: mpsc::Sender<Up>,
        mut down: mpsc::Receiver<Down>,
        out: mpsc::Sender<Result<Frame, Status>>,
    ) {
        let downwards = async {
            while let Some(message) = down.recv().await {
                if out.send(encode(&message)).await.is_err() {
                    return;
                }
            }
        };
        let last = tokio::select! {
            biased;
            refusal = self.peer.is_cut() => Some(self.refuse(status(&refusal))),
            fault = hear(frames, up) => fault.map(|fault| self.refuse(fault)),
            () = downwards => None,
        };
        if let Some(last) = last {
            // Who does not take it in time does not hear it.
            tokio::time::timeout(LAST_WORD_TIMEOUT, out.send(Err(last))).await.ok();
        }
    }

    async fn attach(
        self,
        stream: Option<u64>,
        mut frames: Streaming<Frame>,
    ) -> Result<FrameStream, Status> {
        let peer = &self.certificate()?.host;
        let id = stream.ok_or_else(|| Status::invalid_argument("the stream id is missing"))?;
        let end = self
            .switchboard
            .take(id, peer)
            .ok_or_else(|| Status::not_found(format!("stream {id} is gone")))?;
        let tx = end.tx;
        let over = self.switchboard.over(peer);
        tokio::task::spawn(async move {
            let carry = async {
                while let Ok(Some(frame)) = frames.message().await {
                    let Some(chunk) = Chunk::decode(&frame.body) else { return };
                    if tx.send(chunk).await.is_err() {
                        return;
                    }
                }
            };
            tokio::select! {
                () = carry => {}
                () = over => {}
            }
        });
        // A stream may be on a connection of its own: it ends with the session all the same.
        let over = Box::pin(self.switchboard.over(peer));
        let chunks = futures_util::StreamExt::take_until(ReceiverStream::new(end.rx), over);
        Ok(Box::pin(chunks.map(|chunk| Ok(Frame { body: chunk.encode().into() }))))
    }
}

/// Gives on what the agent says. Ends with the connection, with the session, or with something
/// that no agent says: that comes back.
async fn hear(mut frames: Streaming<Frame>, up: mpsc::Sender<Up>) -> Option<Status> {
    let mut skipped = 0_usize;
    loop {
        let frame = match frames.message().await {
            Ok(Some(frame)) => frame,
            Ok(None) => return None,
            Err(status) => return is_fault(&status).then_some(status),
        };
        match serde_json::from_slice::<Up>(&frame.body) {
            Ok(message) => {
                if up.send(message).await.is_err() {
                    return None;
                }
            }
            // A newer agent may say more than we know; garbage is something else.
            Err(error) if error.is_data() && skipped < LINK_FRAMES_SKIPPED_MAX => {
                skipped += 1;
                tracing::debug!(%error, "frame of a newer agent skipped");
            }
            Err(error) => {
                return Some(Status::invalid_argument(format!("frame cannot be read: {error}")));
            }
        }
    }
}

/// Is it something that was sent, rather than the way that it came?
fn is_fault(status: &Status) -> bool {
    match status.code() {
        Code::OutOfRange | Code::ResourceExhausted | Code::InvalidArgument => true,
        // A message that cannot be decoded, but not a connection that broke.
        Code::Internal => !status.message().starts_with("h2 protocol error"),
        _ => false,
    }
}

struct EnrollMethod<E>(LinkServer<E>);

impl<E: Enroller> UnaryService<Frame> for EnrollMethod<E> {
    type Response = Frame;
    type Future = BoxFuture<Result<Response<Frame>, Status>>;
    fn call(&mut self, request: Request<Frame>) -> Self::Future {
        let server = self.0.clone();
        Box::pin(async move {
            let answer = async {
                let request = decode(&request.into_inner())?;
                let answer = server.enroller.enroll(&server.peer, request).await;
                encode(&answer.map_err(|refusal| status(&refusal))?)
            };
            answer.await.map(Response::new).map_err(|status| server.refuse(status))
        })
    }
}

struct RenewMethod<E>(LinkServer<E>);

impl<E: Enroller> UnaryService<Frame> for RenewMethod<E> {
    type Response = Frame;
    type Future = BoxFuture<Result<Response<Frame>, Status>>;
    fn call(&mut self, request: Request<Frame>) -> Self::Future {
        let server = self.0.clone();
        Box::pin(async move {
            let answer = async {
                server.certificate()?;
                let request = decode(&request.into_inner())?;
                let answer = server.enroller.renew(&server.peer, request).await;
                encode(&answer.map_err(|refusal| status(&refusal))?)
            };
            answer.await.map(Response::new).map_err(|status| server.refuse(status))
        })
    }
}

struct SessionMethod<E>(LinkServer<E>);

impl<E: Enroller> StreamingService<Frame> for SessionMethod<E> {
    type Response = Frame;
    type ResponseStream = FrameStream;
    type Future = BoxFuture<Result<Response<FrameStream>, Status>>;
    fn call(&mut self, request: Request<Streaming<Frame>>) -> Self::Future {
        let server = self.0.clone();
        Box::pin(async move { Ok(Response::new(server.session(request.into_inner()).await?)) })
    }
}

struct AttachMethod<E>(LinkServer<E>);

impl<E: Enroller> StreamingService<Frame> for AttachMethod<E> {
    type Response = Frame;
    type ResponseStream = FrameStream;
    type Future = BoxFuture<Result<Response<FrameStream>, Status>>;
    fn call(&mut self, request: Request<Streaming<Frame>>) -> Self::Future {
        let server = self.0.clone();
        Box::pin(async move {
            let id = request
                .metadata()
                .get(STREAM_HEADER)
                .and_then(|v| v.to_str().ok())
                .and_then(|v| v.parse().ok());
            Ok(Response::new(server.attach(id, request.into_inner()).await?))
        })
    }
}

impl<E: Enroller> tower::Service<http::Request<hyper::body::Incoming>> for LinkServer<E> {
    type Response = http::Response<Body>;
    type Error = std::convert::Infallible;
    type Future = BoxFuture<Result<http::Response<Body>, Self::Error>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<hyper::body::Incoming>) -> Self::Future {
        let server = self.clone();
        Box::pin(async move {
            if request.uri().path().starts_with(FORWARDED) {
                let answer = server.enroller.forwarded(&server.peer, request).await;
                return Ok(answer.map(Body::new));
            }
            let codec = ProstCodec::<Frame, Frame>::default();
            let mut grpc = Grpc::new(codec)
                .max_decoding_message_size(LINK_FRAME_BYTES_MAX)
                .max_encoding_message_size(LINK_FRAME_BYTES_MAX);
            Ok(match request.uri().path() {
                // Whoever reaches the port may say this much, and nothing else.
                ENROLL => {
                    let mut grpc = grpc.max_decoding_message_size(ENROLL_BYTES_MAX);
                    grpc.unary(EnrollMethod(server), request).await
                }
                RENEW => {
                    let mut grpc = grpc.max_decoding_message_size(ENROLL_BYTES_MAX);
                    grpc.unary(RenewMethod(server), request).await
                }
                SESSION => grpc.streaming(SessionMethod(server), request).await,
                ATTACH => grpc.streaming(AttachMethod(server), request).await,
                other => Status::unimplemented(format!("no method {other}")).into_http(),
            })
        })
    }
}

/// Forwards chunks of a stream into gRPC frames; shared by both sides of `Attach`.
pub(super) fn frames_of(chunks: mpsc::Receiver<Chunk>) -> impl Stream<Item = Frame> + Send {
    ReceiverStream::new(chunks).map(|chunk| Frame { body: chunk.encode().into() })
}
