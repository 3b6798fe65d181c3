//! Bytes both ways between two TCP streams, through one buffer of the shard: a connection that
//! is quiet holds no memory.

use super::shard::Shard;
use super::socket::{exhausted, reset_on_close, shutdown_write};
use bytes::{Buf, Bytes};
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Rounds of one direction before other tasks get their turn.
const ROUNDS: usize = 16;

/// Copies until both sides have said their end. `from_client` and `from_endpoint` were read before.
/// A side that breaks resets the other one.
pub(super) async fn copy(
    shard: &Shard,
    client: &TcpStream,
    endpoint: &TcpStream,
    from_client: Bytes,
    from_endpoint: Bytes,
) -> io::Result<()> {
    let mut up = Direction { from: client, to: endpoint, pending: from_client, ended: false };
    let mut down = Direction { from: endpoint, to: client, pending: from_endpoint, ended: false };
    let (mut up_done, mut down_done) = (false, false);
    let result = poll_fn(|cx| {
        let scratch = &mut *shard.scratch.borrow_mut();
        for (direction, done) in [(&mut up, &mut up_done), (&mut down, &mut down_done)] {
            if !*done && direction.poll(cx, scratch)?.is_ready() {
                *done = true;
            }
        }
        if up_done && down_done { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await;
    if result.is_err() {
        reset_on_close(client);
        reset_on_close(endpoint);
    }
    result
}

struct Direction<'a> {
    from: &'a TcpStream,
    to: &'a TcpStream,
    pending: Bytes,
    ended: bool,
}

impl Direction<'_> {
    fn poll(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<io::Result<()>> {
        for _ in 0..ROUNDS {
            while self.pending.has_remaining() {
                ready!(self.to.poll_write_ready(cx))?;
                match self.to.try_write(&self.pending) {
                    Ok(written) => self.pending.advance(written),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            self.pending = Bytes::new();
            if self.ended {
                return Poll::Ready(match shutdown_write(self.to) {
                    Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(error),
                    _ => Ok(()),
                });
            }
            ready!(self.from.poll_read_ready(cx))?;
            match self.from.try_read(scratch) {
                Ok(0) => self.ended = true,
                Ok(read) => {
                    if read < scratch.len() {
                        exhausted(self.from, Interest::READABLE);
                    }
                    self.forward(&scratch[..read])?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what the other side takes now and keeps the rest.
    fn forward(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.to.try_write(bytes) {
            Ok(written) => {
                if written < bytes.len() {
                    exhausted(self.to, Interest::WRITABLE);
                    self.pending = Bytes::copy_from_slice(&bytes[written..]);
                }
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.pending = Bytes::copy_from_slice(bytes);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}
