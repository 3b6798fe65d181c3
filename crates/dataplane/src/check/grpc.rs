//! The health protocol of gRPC: one call, its two messages of one field each by hand.

use super::ask::{Stream, connect};
use super::tls;
use crate::dns::Listening;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, TE};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use model::registration::CheckTls;
use tokio::sync::watch;

/// The call.
const PATH: &str = "/grpc.health.v1.Health/Check";
/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 1_024;
/// `SERVING` of the protocol.
const SERVING: u8 = 1;

/// Asks `host:port`, or `host:port/service`.
pub(super) async fn ask(
    address: &str,
    how: Option<&CheckTls>,
    names: &watch::Receiver<Listening>,
) -> Result<(), String> {
    let (authority, service) = address.split_once('/').unwrap_or((address, ""));
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let stream = connect(authority, None, names).await?;
    let stream: Box<dyn Stream> = match how {
        Some(how) => Box::new(tls::wrap(stream, host, how, b"h2").await?),
        None => Box::new(stream),
    };
    let words = |error: hyper::Error| error.to_string();
    let io = TokioIo::new(stream);
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
    let (mut sender, connection) = handshake.await.map_err(words)?;
    let scheme = if how.is_some() { "https" } else { "http" };
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("{scheme}://{authority}{PATH}"))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .body(Full::new(question(service)))
        .map_err(|error| format!("the request is broken: {error}"))?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(words)?;
        if !response.status().is_success() {
            return Err(format!("HTTP status {}", response.status()));
        }
        let (head, body) = response.into_parts();
        let (bytes, trailers) = read(body).await?;
        let trailers = trailers.unwrap_or_default();
        let code = head.headers.get("grpc-status").or_else(|| trailers.get("grpc-status"));
        match code.and_then(|code| code.to_str().ok()).unwrap_or("0") {
            "0" => judged(&bytes),
            "5" => Err(format!("service \"{service}\" is unknown to it")),
            code => Err(format!("gRPC status {code}")),
        }
    };
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        _ended = &mut connection => exchange.await,
    }
}

async fn read(mut body: Incoming) -> Result<(Vec<u8>, Option<http::HeaderMap>), String> {
    let (mut bytes, mut trailers) = (vec![], None);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        match frame.into_data() {
            Ok(data) if bytes.len() + data.len() > ANSWER_BYTES_MAX => {
                return Err(format!("the answer has more than {ANSWER_BYTES_MAX} bytes"));
            }
            Ok(data) => bytes.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok().or(trailers),
        }
    }
    Ok((bytes, trailers))
}

/// A message: not compressed, its length, field 1 with the name of the service.
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.extend_from_slice(&[0x0a]);
        let mut length = service.len();
        while length >= 0x80 {
            message.extend_from_slice(&[u8::try_from(length & 0x7f).unwrap_or(0) | 0x80]);
            length >>= 7;
        }
        message.extend_from_slice(&[u8::try_from(length).unwrap_or(0)]);
        message.extend_from_slice(service.as_bytes());
    }
    let mut frame = BytesMut::new();
    frame.extend_from_slice(&[0]);
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend_from_slice(&message);
    frame.freeze()
}

/// A message of one field, the status.
fn judged(frame: &[u8]) -> Result<(), String> {
    match frame {
        [0, 0, 0, 0, 2, 0x08, SERVING] => Ok(()),
        [0, 0, 0, 0, 2, 0x08, status] => Err(format!("it is not serving: status {status}")),
        // A field with its default is left out.
        [0, 0, 0, 0, 0] => Err("it is not serving: status 0".into()),
        _ => Err("the answer is not of the health protocol".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_as_in_the_protocol() {
        assert_eq!(question("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(question("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(question(&"x".repeat(200))[5..8], [0x0a, 0xc8, 0x01]);
        assert!(judged(&[0, 0, 0, 0, 2, 8, 1]).is_ok());
        for bad in [&[0, 0, 0, 0, 2, 8, 2][..], &[0, 0, 0, 0, 0], &[], &[1, 0, 0, 0, 2, 8, 1]] {
            assert!(judged(bad).is_err(), "{bad:?}");
        }
    }
}
