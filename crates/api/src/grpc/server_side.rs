//! The server's side of the gRPC link: one `LinkServer` per connection, bound to the host that
//! the connection's client certificate names.

use super::{
    ATTACH, ENROLL, EnrollRequest, EnrollResponse, Frame, SESSION, STREAM_HEADER, decode, encode,
};
use crate::link::{LinkError, Switchboard, Up};
use crate::stream::Chunk;
use model::id::HostId;
use model::limits::{ENROLL_BYTES_MAX, LINK_FRAME_BYTES_MAX};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::body::Body;
use tonic::server::{Grpc, StreamingService, UnaryService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type FrameStream = Pin<Box<dyn Stream<Item = Result<Frame, Status>> + Send>>;

/// Checks a join token and signs: the server's part of enrolment.
pub trait Enroller: Clone + Send + Sync + 'static {
    /// Enrols, or says why not.
    fn enroll(
        &self,
        request: EnrollRequest,
    ) -> impl Future<Output = Result<EnrollResponse, String>> + Send;
}

/// Serves the agent's calls of one connection.
#[derive(Clone, Debug)]
pub struct LinkServer<E> {
    switchboard: Switchboard,
    enroller: E,
    peer: Option<HostId>,
}

impl<E: Enroller> LinkServer<E> {
    /// For a connection whose client certificate names `peer`.
    pub fn new(switchboard: Switchboard, enroller: E, peer: Option<HostId>) -> Self {
        Self { switchboard, enroller, peer }
    }

    fn peer(&self) -> Result<HostId, Status> {
        self.peer.clone().ok_or_else(|| {
            Status::unauthenticated("this agent has no certificate: join with a token first")
        })
    }

    async fn session(self, mut frames: Streaming<Frame>) -> Result<FrameStream, Status> {
        let peer = self.peer()?;
        let first = frames
            .message()
            .await?
            .ok_or_else(|| Status::invalid_argument("the session ended before its first frame"))?;
        let Up::Hello(hello) = decode(&first)? else {
            return Err(Status::invalid_argument("the first frame must be Hello"));
        };
        if hello.host != peer {
            return Err(Status::permission_denied(format!(
                "the certificate is of host {peer}, not of {}",
                hello.host
            )));
        }
        let session = self.switchboard.begin(hello).await.map_err(|error| match error {
            LinkError::Refused { why, .. } => Status::already_exists(why),
            LinkError::Unreachable { why, .. } => Status::unavailable(why),
            LinkError::Foreign { .. } => Status::unavailable(error.to_string()),
        })?;
        let up = session.up;
        tokio::task::spawn(async move {
            // Ends with the connection, or when the server drops the session.
            while let Ok(Some(frame)) = frames.message().await {
                match decode::<Up>(&frame) {
                    Ok(message) => {
                        if up.send(message).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => tracing::warn!(%error, "frame of a newer agent skipped"),
                }
            }
        });
        Ok(Box::pin(ReceiverStream::new(session.down).map(|down| encode(&down))))
    }

    async fn attach(
        self,
        stream: Option<u64>,
        mut frames: Streaming<Frame>,
    ) -> Result<FrameStream, Status> {
        let peer = self.peer()?;
        let id = stream.ok_or_else(|| Status::invalid_argument("the stream id is missing"))?;
        let end = self
            .switchboard
            .take(id, &peer)
            .ok_or_else(|| Status::not_found(format!("stream {id} is gone")))?;
        let tx = end.tx;
        tokio::task::spawn(async move {
            while let Ok(Some(frame)) = frames.message().await {
                let Some(chunk) = Chunk::decode(&frame.body) else { return };
                if tx.send(chunk).await.is_err() {
                    return;
                }
            }
        });
        Ok(Box::pin(
            ReceiverStream::new(end.rx).map(|chunk| Ok(Frame { body: chunk.encode().into() })),
        ))
    }
}

struct EnrollMethod<E>(E);

impl<E: Enroller> UnaryService<Frame> for EnrollMethod<E> {
    type Response = Frame;
    type Future = BoxFuture<Result<Response<Frame>, Status>>;
    fn call(&mut self, request: Request<Frame>) -> Self::Future {
        let enroller = self.0.clone();
        Box::pin(async move {
            let request = decode(&request.into_inner())?;
            let answer = enroller.enroll(request).await.map_err(Status::permission_denied)?;
            Ok(Response::new(encode(&answer)?))
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
            let codec = ProstCodec::<Frame, Frame>::default();
            let mut grpc = Grpc::new(codec)
                .max_decoding_message_size(LINK_FRAME_BYTES_MAX)
                .max_encoding_message_size(LINK_FRAME_BYTES_MAX);
            Ok(match request.uri().path() {
                // Whoever reaches the port may say this much, and nothing else.
                ENROLL => {
                    let mut grpc = grpc.max_decoding_message_size(ENROLL_BYTES_MAX);
                    grpc.unary(EnrollMethod(server.enroller), request).await
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
