//! What no agent of ours sends: bytes as they are, over the TLS and HTTP/2 of an agent.

use crate::world::World;
use api::tls::{self, Identity};
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::sync::Arc;
use tokio::net::TcpStream;

/// Status and message of an answer.
pub(crate) type Said = (u32, String);

/// A gRPC frame of this length that carries these bytes.
pub(crate) fn frame(length: u32, bytes: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(0);
    out.put_u32(length);
    out.put_slice(bytes);
    out.freeze()
}

/// A whole frame with a body, as the link has it: one field of bytes.
pub(crate) fn message(body: &[u8]) -> Bytes {
    let mut inner = vec![0x0a];
    let mut length = body.len();
    while length >= 0x80 {
        inner.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    inner.push(u8::try_from(length).unwrap());
    inner.extend_from_slice(body);
    frame(u32::try_from(inner.len()).unwrap(), &inner)
}

/// Calls a method with these bytes; how the server ends it.
pub(crate) async fn call(
    world: &World,
    identity: Option<&Identity>,
    method: &str,
    bytes: Bytes,
) -> Said {
    let config = tls::pinned_client_config(&world.pin, identity, tls::ALPN_AGENT).unwrap();
    let tcp = TcpStream::connect(&world.address).await.unwrap();
    let name = tls::SERVER_NAME.try_into().unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(&config));
    let stream = connector.connect(name, tcp).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::task::spawn(connection);
    let request = Request::post(format!("https://{}/remuda.Agent/{method}", tls::SERVER_NAME))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(bytes))
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    said(answer).await
}

async fn said(answer: Response<Incoming>) -> Said {
    let of = |map: &http::HeaderMap| {
        let text = |name: &str| map.get(name).and_then(|v| v.to_str().ok().map(str::to_owned));
        let status = text("grpc-status")?.parse().ok()?;
        Some((status, text("grpc-message").unwrap_or_default().replace("%20", " ")))
    };
    let at_once = of(answer.headers());
    let body = answer.into_body().collect().await.unwrap();
    at_once.or_else(|| of(body.trailers()?)).unwrap()
}
