//! A published port: a client that speaks HTTP/1 is served request by request, so that it notices
//! neither a drain nor a death; anything else is passed on as bytes. Who speaks first decides, and
//! nothing is taken from a connection to find out.

use super::listening::{Listening, Target};
use super::shard::{Open, Shard};
use super::socket::reset_on_close;
use super::upgrade::until_cut;
use super::{http, tcp};
use futures_util::future::{Either, select};
use model::limits::PROXY_FIRST_WORD_MS_MAX;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpStream;

/// Longest method, in bytes.
const METHOD_MAX: usize = 32;

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speech {
    Http,
    Bytes,
}

/// Serves one client's connection to its end.
pub(super) async fn serve(
    shard: Rc<Shard>,
    listening: Rc<Listening>,
    target: Rc<Target>,
    client: TcpStream,
    peer: SocketAddr,
    open: Open,
) {
    let mut speech = None;
    // Where clients wait for the server's word, it is asked at once.
    if !target.speaks_bytes.get() {
        let patience = Duration::from_millis(PROXY_FIRST_WORD_MS_MAX);
        let word = tokio::time::timeout(patience, first_word(&shard, &client)).await;
        speech = word.unwrap_or(Ok(None)).unwrap_or(Some(Speech::Bytes));
    }
    if speech != Some(Speech::Http) {
        let Some((endpoint, lease)) = tcp::reach(&shard, &target).await else {
            shard.counters.tcp_failed.count();
            reset_on_close(&client);
            return;
        };
        if speech.is_none() {
            let wait = until_cut(&shard, &lease, who_begins(&shard, &client, &endpoint)).await;
            speech = Some(wait.unwrap_or(Speech::Bytes));
        }
        if speech == Some(Speech::Bytes) {
            target.speaks_bytes.set(true);
            tcp::pass(&shard, client, endpoint, lease).await;
            return;
        }
    }
    target.speaks_bytes.set(false);
    http::serve(shard, listening, client, peer, open).await;
}

/// Waits for the first word of either side.
async fn who_begins(shard: &Shard, client: &TcpStream, endpoint: &TcpStream) -> Speech {
    let word = pin!(first_word(shard, client));
    match select(word, pin!(endpoint.readable())).await {
        Either::Left((Ok(Some(speech)), _)) => speech,
        Either::Left(_) | Either::Right(_) => Speech::Bytes,
    }
}

/// What the client says first, which stays to be read; `None`: nothing, and it is not going to.
async fn first_word(shard: &Shard, client: &TcpStream) -> io::Result<Option<Speech>> {
    loop {
        client.readable().await?;
        let scratch = &mut shard.scratch.borrow_mut()[..];
        let peeked = client.try_io(tokio::io::Interest::READABLE, || {
            use std::os::fd::AsFd as _;
            let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
            Ok(rustix::net::recv(client.as_fd(), &mut *scratch, flags)?)
        });
        match peeked {
            Ok((_, 0)) => return Ok(None),
            Ok((_, length)) => return Ok(Some(speech(&scratch[..length.min(scratch.len())]))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Is it the whole first line of a request in HTTP/1, for a server?
fn speech(bytes: &[u8]) -> Speech {
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    let is_whole = line.len() < bytes.len();
    let mut words = line.strip_suffix(b"\r").unwrap_or(line).split(|b| *b == b' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let fits = is_whole
        && words.next().is_none()
        && method.is_some_and(|word| {
            (1..=METHOD_MAX).contains(&word.len())
                && word.iter().all(|b| b.is_ascii_uppercase() || *b == b'-')
                && word != b"CONNECT"
        })
        && target.is_some_and(|word| {
            word.starts_with(b"/") || word == b"*" || word.starts_with(b"http://")
        })
        && matches!(version, Some(b"HTTP/1.1" | b"HTTP/1.0"));
    if fits { Speech::Http } else { Speech::Bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_first_line_of_a_request_is_http() {
        for line in [
            "GET / HTTP/1.1\r\n",
            "POST /a?b=c HTTP/1.0\r\nHost: a",
            "M-SEARCH * HTTP/1.1\r\n",
            "GET http://a/ HTTP/1.1\n",
        ] {
            assert_eq!(speech(line.as_bytes()), Speech::Http, "{line:?}");
        }
        for line in [
            "",
            "\n",
            "GET / HTTP/1.1",
            "GET / HTTP/1.1 \r\n",
            "GET  / HTTP/1.1\r\n",
            "GET / HTTP/2.0\r\n",
            "PRI * HTTP/2.0\r\n",
            "CONNECT a:443 HTTP/1.1\r\n",
            "get / HTTP/1.1\r\n",
            "OPTIONS rtsp://a/b RTSP/1.0\r\n",
            "GET /index.html\r\n",
            "hello 1\n",
            "\u{16}\u{3}\u{1}\n",
        ] {
            assert_eq!(speech(line.as_bytes()), Speech::Bytes, "{line:?}");
        }
    }
}
