//! One question to the host's resolvers: UDP, then TCP when the answer is cut; one resolver after
//! the other until one knows. Each try has a new port and a new id, and answers are matched by
//! resolver, id and question.

use super::kept::{Kept, Key};
use crate::dns::wire::{self, Rcode};
use model::limits::{DNS_FORWARD_MS_MAX, DNS_TCP_BYTES_MAX};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

/// Asks; the answer and who gave it. A failure when nobody did, a refusal when there is nobody.
pub(super) async fn ask(key: &Key, resolvers: &[SocketAddr]) -> (Kept, Option<SocketAddr>) {
    if resolvers.is_empty() {
        return (Kept::code(key, Rcode::Refused, Instant::now()), None);
    }
    let mut failed = None;
    for resolver in resolvers {
        let wait = Duration::from_millis(DNS_FORWARD_MS_MAX);
        match tokio::time::timeout(wait, one(key, *resolver)).await {
            Ok(Ok(kept)) if !kept.is_failure() => return (kept, Some(*resolver)),
            Ok(Ok(kept)) => failed = Some(kept),
            Ok(Err(error)) => tracing::debug!(%resolver, %error, "resolver failed"),
            Err(_elapsed) => tracing::debug!(%resolver, "resolver does not answer"),
        }
    }
    (failed.unwrap_or_else(|| Kept::failure(key, Instant::now())), None)
}

async fn one(key: &Key, resolver: SocketAddr) -> io::Result<Kept> {
    let id: u16 = rand::random();
    let question = message(key, id);
    let any: IpAddr = match resolver {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Connected, so that the kernel drops what others send and tells of a closed port.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(resolver).await?;
    socket.send(&question).await?;
    let mut buffer = vec![0; 4_096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let Some(kept) = Kept::take(key, id, &buffer[..length], Instant::now()) else {
            continue;
        };
        if buffer[2] & 0x02 == 0 {
            return Ok(kept);
        }
        return by_tcp(key, resolver).await;
    }
}

async fn by_tcp(key: &Key, resolver: SocketAddr) -> io::Result<Kept> {
    let id: u16 = rand::random();
    let question = message(key, id);
    let mut framed = u16::try_from(question.len()).unwrap_or(0).to_be_bytes().to_vec();
    framed.extend_from_slice(&question);
    let mut stream = TcpStream::connect(resolver).await?;
    stream.write_all(&framed).await?;
    let length = usize::from(stream.read_u16().await?).min(DNS_TCP_BYTES_MAX);
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    Kept::take(key, id, &answer, Instant::now())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it answers something else"))
}

fn message(key: &Key, id: u16) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    let more = u8::from(key.checking_disabled) << 4;
    bytes.extend_from_slice(&[0x01, more, 0, 1, 0, 0, 0, 0, 0, 1]);
    bytes.extend_from_slice(&key.question());
    wire::opt(&mut bytes, 0, key.dnssec);
    bytes
}
