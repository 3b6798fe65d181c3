//! Asks an address, from this network or another machine's, again and again until it answers 200, and says when that was.

use super::network::Network;
use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two questions.
const PAUSE: Duration = Duration::from_micros(300);
/// Longest wait for a connection to an address that may not be there yet.
const CONNECT: Duration = Duration::from_millis(4);
/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(20);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: bench.example.test\r\n\r\n";

/// A thread that asks.
#[derive(Debug)]
pub(super) struct FirstAnswer {
    address: SocketAddr,
    came: Receiver<Instant>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FirstAnswer {
    /// From a server that may not be there yet: a connection for each question.
    pub(super) fn from(address: SocketAddr, network: Option<&Network>) -> Self {
        Self::start(address, false, network)
    }

    /// Through a proxy that is there: one connection as long as it lasts.
    pub(super) fn through(address: SocketAddr, network: Option<&Network>) -> Self {
        Self::start(address, true, network)
    }

    fn start(address: SocketAddr, keep: bool, network: Option<&Network>) -> Self {
        let network = network.cloned();
        let (tell, came) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let ask = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            if let Some(Err(error)) = network.map(|network| network.enter()) {
                crate::say::error(&format!("asking {address}: {error:#}"));
                return;
            }
            let mut connection = None;
            while !ask.load(Ordering::Relaxed) {
                // no answer is what is waited out
                if question(address, &mut connection).is_ok_and(|status| status == 200) {
                    tell.send(Instant::now()).ok();
                    return;
                }
                if !keep {
                    connection = None;
                }
                std::thread::sleep(PAUSE);
            }
        });
        Self { address, came, stop, thread: Some(thread) }
    }

    /// When the first 200 was there.
    pub(super) fn wait(self, patience: Duration) -> Result<Instant> {
        let came = self.came.recv_timeout(patience);
        came.with_context(|| format!("{} did not answer 200 in {patience:?}", self.address))
    }
}

impl Drop for FirstAnswer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // it asks and nothing else: there is no failure to hear of
            thread.join().ok();
        }
    }
}

/// One question; the connection is put away when it can take another.
fn question(address: SocketAddr, connection: &mut Option<TcpStream>) -> std::io::Result<u16> {
    let mut stream = match connection.take() {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect_timeout(&address, CONNECT)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(ANSWER))?;
            stream
        }
    };
    stream.write_all(REQUEST)?;
    let (mut bytes, mut chunk) = (vec![], [0; 4096]);
    loop {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&chunk[..count]);
        if let Some((status, keep)) = whole(&bytes) {
            if keep {
                *connection = Some(stream);
            }
            return Ok(status);
        }
    }
}

/// Status of an answer that is there whole, and whether its connection can be used again.
fn whole(bytes: &[u8]) -> Option<(u16, bool)> {
    let text = std::str::from_utf8(bytes).ok()?.to_ascii_lowercase();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.unwrap_or("0").trim().parse().ok()?;
    (body.len() >= length).then(|| (status, !head.contains("connection: close")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn an_answer_is_whole_with_its_body() {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
        assert_eq!(whole(format!("{head}ab").as_bytes()), None);
        assert_eq!(whole(format!("{head}abc").as_bytes()), Some((200, true)));
        let last = b"HTTP/1.1 503 No\r\nConnection: close\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(whole(last), Some((503, false)));
    }

    #[test]
    fn the_first_200_is_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let asking = FirstAnswer::through(listener.local_addr().unwrap(), None);
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; REQUEST.len()];
        stream.read_exact(&mut request).unwrap();
        stream.write_all(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n").unwrap();
        stream.read_exact(&mut request).unwrap();
        let before = Instant::now();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        assert!(asking.wait(Duration::from_secs(10)).unwrap() >= before);
    }
}
