//! The client of the HTTP API, for the CLI: one short connection per call.

use crate::error::{ErrorBody, ErrorInfo, Kind};
use crate::stream::Chunk;
use crate::tls;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{SinkExt, Stream, StreamExt};
use http::{Method, Request, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, BodyStream, Full, StreamBody};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

/// How the server is reached.
#[derive(Clone, Debug)]
pub struct Client {
    /// `http://127.0.0.1:7600` or `https://host:7600`.
    address: String,
    token: String,
    /// SHA-256 of the CA certificate, for https.
    pin: String,
}

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// TCP and TLS: the kernel of a server that hangs still accepts connections.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// From a request to the whole answer, where that is one document.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

type RequestBody = UnsyncBoxBody<Bytes, std::io::Error>;
/// A body that is sent as it comes; an error breaks the request off.
pub type Upload = BoxStream<'static, std::io::Result<Bytes>>;

impl Client {
    /// A client for `address`.
    #[must_use]
    pub fn new(address: &str, token: &str, pin: &str) -> Self {
        Self {
            address: address.trim_end_matches('/').to_owned(),
            token: token.to_owned(),
            pin: pin.to_owned(),
        }
    }

    /// The address, for messages.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    fn authority(&self) -> Result<(&str, bool), ErrorInfo> {
        if let Some(rest) = self.address.strip_prefix("http://") {
            Ok((rest, false))
        } else if let Some(rest) = self.address.strip_prefix("https://") {
            Ok((rest, true))
        } else {
            Err(ErrorInfo::invalid(format!("server address {:?} is not a URL", self.address))
                .hint("write it as http://127.0.0.1:7600 or https://host:7600"))
        }
    }

    fn down(&self, why: impl std::fmt::Display) -> ErrorInfo {
        ErrorInfo::unavailable(format!("server {} does not answer: {why}", self.address))
            .hint("is `remuda dev` or `remuda server` running on that machine?")
    }

    async fn dial(&self) -> Result<Box<dyn Io>, ErrorInfo> {
        let in_time = tokio::time::timeout(CONNECT_TIMEOUT, self.connect()).await;
        in_time.map_err(|_elapsed| self.down(format!("no answer in {CONNECT_TIMEOUT:?}")))?
    }

    async fn connect(&self) -> Result<Box<dyn Io>, ErrorInfo> {
        let (authority, secure) = self.authority()?;
        let tcp = TcpStream::connect(authority).await.map_err(|e| self.down(e))?;
        if !secure {
            return Ok(Box::new(tcp));
        }
        let config = tls::pinned_client_config(&self.pin, None, b"http/1.1")
            .map_err(|e| ErrorInfo::invalid(e.to_string()))?;
        let name = rustls::pki_types::ServerName::try_from(tls::SERVER_NAME)
            .map_err(|e| ErrorInfo::invalid(e.to_string()))?;
        let stream = tokio_rustls::TlsConnector::from(config)
            .connect(name, tcp)
            .await
            .map_err(|e| self.down(format!("tls: {e}")))?;
        Ok(Box::new(stream))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: RequestBody,
    ) -> Result<http::Response<hyper::body::Incoming>, ErrorInfo> {
        let (authority, _) = self.authority()?;
        let broken =
            |e: hyper::Error| ErrorInfo::unavailable(format!("server {}: {e}", self.address));
        let stream = self.dial().await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::task::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "connection to the api ended");
            }
        });
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, authority)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, content_type)
            .body(body)
            .map_err(|e| ErrorInfo::invalid(format!("request {path} cannot be made: {e}")))?;
        let answer = sender.send_request(request).await.map_err(broken)?;
        if answer.status().is_success() || answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(answer);
        }
        let status = answer.status();
        let bytes = answer.into_body().collect().await.map_err(broken)?.to_bytes();
        Err(match serde_json::from_slice::<ErrorBody>(&bytes) {
            Ok(body) => body.error,
            Err(_not_ours) => ErrorInfo::new(
                if status == StatusCode::UNAUTHORIZED { Kind::Unauthorized } else { Kind::Bug },
                format!("server {} answered {status} to {path}", self.address),
            ),
        })
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, ErrorInfo> {
        let reads = method == Method::GET;
        let asked = tokio::time::timeout(ANSWER_TIMEOUT, self.document(method, path, body));
        asked.await.map_err(|_elapsed| {
            let what = format!("took the request and gives no answer in {ANSWER_TIMEOUT:?}");
            let error = ErrorInfo::unavailable(format!("server {} {what}", self.address));
            if reads {
                return error.hint("see its log and `remuda doctor` on its machine");
            }
            error.hint("it may have carried it out all the same: look before you repeat it")
        })?
    }

    async fn document<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, ErrorInfo> {
        let body = Full::new(body).map_err(|never| match never {}).boxed_unsync();
        let answer = self.send(method, path, "application/json", body).await?;
        let bytes = answer
            .into_body()
            .collect()
            .await
            .map_err(|e| ErrorInfo::unavailable(format!("server {}: {e}", self.address)))?
            .to_bytes();
        serde_json::from_slice(&bytes).map_err(|e| {
            ErrorInfo::new(Kind::Bug, format!("answer to {path} cannot be read: {e}"))
                .hint("are client and server of the same version? see `remuda version`")
        })
    }

    /// GET.
    ///
    /// # Errors
    /// What the server answered, or why it was not reached.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ErrorInfo> {
        self.json(Method::GET, path, Bytes::new()).await
    }

    /// DELETE.
    ///
    /// # Errors
    /// As `get`.
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ErrorInfo> {
        self.json(Method::DELETE, path, Bytes::new()).await
    }

    /// PUT or POST of a JSON document.
    ///
    /// # Errors
    /// As `get`.
    pub async fn write<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &B,
    ) -> Result<T, ErrorInfo> {
        let body = serde_json::to_vec(body)
            .map_err(|e| ErrorInfo::invalid(format!("request {path} cannot be written: {e}")))?;
        self.json(method, path, body.into()).await
    }

    /// The answer's body as it comes.
    ///
    /// # Errors
    /// As `get`; the stream ends with an error when the connection breaks.
    pub async fn bytes(
        &self,
        method: Method,
        path: &str,
        body: Option<Upload>,
    ) -> Result<BoxStream<'static, Result<Bytes, ErrorInfo>>, ErrorInfo> {
        let body: RequestBody = match body {
            Some(stream) => {
                StreamBody::new(stream.map(|b| b.map(hyper::body::Frame::data))).boxed_unsync()
            }
            None => Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync(),
        };
        let answer = self.send(method, path, "application/x-tar", body).await?;
        let address = self.address.clone();
        Ok(Box::pin(BodyStream::new(answer.into_body()).filter_map(move |frame| {
            let item = match frame {
                Ok(frame) => frame.into_data().ok().map(Ok),
                Err(e) => Some(Err(ErrorInfo::unavailable(format!(
                    "the stream from server {address} broke: {e}"
                )))),
            };
            std::future::ready(item)
        })))
    }

    /// The answer's body, a JSON document a line.
    ///
    /// # Errors
    /// As `bytes`.
    pub async fn lines<T: DeserializeOwned + Send + 'static>(
        &self,
        method: Method,
        path: &str,
        body: Option<Upload>,
    ) -> Result<BoxStream<'static, Result<T, ErrorInfo>>, ErrorInfo> {
        let bytes = self.bytes(method, path, body).await?;
        Ok(Box::pin(futures_util::stream::unfold(
            (bytes, Vec::<u8>::new(), false),
            |(mut bytes, mut buffer, mut ended)| async move {
                loop {
                    if let Some(end) = buffer.iter().position(|b| *b == b'\n') {
                        let line: Vec<u8> = buffer.drain(..=end).collect();
                        let line = line.strip_prefix(b"data:").unwrap_or(&line);
                        // Server-sent events have blank lines, comments and other fields.
                        let Ok(item) = serde_json::from_slice::<T>(line) else { continue };
                        return Some((Ok(item), (bytes, buffer, ended)));
                    }
                    if ended {
                        return None;
                    }
                    match bytes.next().await {
                        Some(Ok(more)) => buffer.extend_from_slice(&more),
                        Some(Err(error)) => return Some((Err(error), (bytes, Vec::new(), true))),
                        None => ended = true,
                    }
                }
            },
        )))
    }

    /// A WebSocket of chunks.
    ///
    /// # Errors
    /// As `get`.
    pub async fn chunks(&self, path: &str) -> Result<ChunkSocket, ErrorInfo> {
        let (authority, _) = self.authority()?;
        let stream = self.dial().await?;
        let request = Request::builder()
            .uri(format!("ws://{authority}{path}"))
            .header(header::HOST, authority)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header(
                "Sec-WebSocket-Key",
                tokio_tungstenite::tungstenite::handshake::client::generate_key(),
            )
            .body(())
            .map_err(|e| ErrorInfo::invalid(format!("request {path} cannot be made: {e}")))?;
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((socket, _)) => Ok(ChunkSocket { socket }),
            Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => {
                let body = answer.body().as_deref().unwrap_or_default();
                Err(serde_json::from_slice::<ErrorBody>(body).map_or_else(
                    |_not_ours| {
                        ErrorInfo::new(Kind::Bug, format!("server answered {}", answer.status()))
                    },
                    |body| body.error,
                ))
            }
            Err(e) => Err(ErrorInfo::unavailable(format!("server {}: {e}", self.address))),
        }
    }
}

/// A WebSocket whose messages are chunks.
pub struct ChunkSocket {
    socket: tokio_tungstenite::WebSocketStream<Box<dyn Io>>,
}

impl std::fmt::Debug for ChunkSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChunkSocket").finish_non_exhaustive()
    }
}

impl ChunkSocket {
    /// Splits it into what goes in and what comes out.
    pub fn split(
        self,
    ) -> (
        impl futures_util::Sink<Chunk, Error = ErrorInfo> + Send + Unpin,
        impl Stream<Item = Chunk> + Send + Unpin,
    ) {
        let (sink, stream) = self.socket.split();
        let sink = sink
            .with(|chunk: Chunk| {
                std::future::ready(Ok::<_, tokio_tungstenite::tungstenite::Error>(Message::Binary(
                    chunk.encode().into(),
                )))
            })
            .sink_map_err(|e| ErrorInfo::unavailable(format!("the stream broke: {e}")));
        let stream = Box::pin(stream.filter_map(|message| {
            std::future::ready(match message {
                Ok(Message::Binary(bytes)) => Chunk::decode(&bytes),
                _ => None,
            })
        }));
        (sink, stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_hangs_is_told_after_a_while() {
        // Its kernel accepts, and nobody ever reads.
        let hangs = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("https://{}", hangs.local_addr().unwrap());
        let client = Client::new(&address, "token", &"0".repeat(64));
        let error = client.get::<serde_json::Value>("/api/v1/hosts").await.unwrap_err();
        assert_eq!(error.kind, Kind::Unavailable);
        let told = format!("server {address} does not answer: no answer in 5s");
        assert_eq!(error.message, told);
    }
}
