//! A TCP stream that hyper owns and the proxy can still look at: shared without a lock, because
//! every operation goes through `&TcpStream`.

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// Writes up to this many bytes are gathered, in bytes.
const SMALL: usize = 1_536;

/// A stream and how much has come in on it.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    received: AtomicU64,
}

impl Socket {
    /// Takes over `stream`.
    pub(super) fn new(stream: TcpStream) -> Arc<Self> {
        Arc::new(Self { stream, received: AtomicU64::new(0) })
    }

    /// The stream itself.
    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Bytes read so far.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Is the connection open with nothing to read? Asks the kernel: readiness that the runtime
    /// has cached may be older than a close by the peer.
    pub(super) fn is_quiet(&self) -> bool {
        use rustix::net::RecvFlags;
        let mut byte = [0_u8; 1];
        let peek = rustix::net::recv(
            self.stream.as_fd(),
            &mut byte,
            RecvFlags::PEEK | RecvFlags::DONTWAIT,
        );
        matches!(peek, Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR))
    }
}

/// The side of a `Socket` that reads and writes.
#[derive(Debug)]
pub(super) struct Io(pub(super) Arc<Socket>);

/// Tells the runtime that a short read or write emptied or filled the kernel's buffer, which saves
/// the call that would find out: the next edge from the kernel sets the readiness again.
pub(super) fn exhausted(stream: &TcpStream, interest: Interest) {
    let blocked: io::Result<()> = stream.try_io(interest, || Err(io::ErrorKind::WouldBlock.into()));
    debug_assert!(blocked.is_err());
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let socket = &*self.0;
        loop {
            ready!(socket.stream.poll_read_ready(cx))?;
            let room = buf.remaining();
            match socket.stream.try_read_buf(buf) {
                Ok(read) => {
                    if 0 < read && read < room {
                        exhausted(&socket.stream, Interest::READABLE);
                    }
                    let received = socket.received.load(Relaxed);
                    socket.received.store(received.wrapping_add(read as u64), Relaxed);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Io {
    fn write(
        &self,
        cx: &mut Context<'_>,
        wanted: usize,
        mut write: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let stream = &self.0.stream;
        loop {
            ready!(stream.poll_write_ready(cx))?;
            match write(stream) {
                Ok(written) => {
                    if written < wanted {
                        exhausted(stream, Interest::WRITABLE);
                    }
                    return Poll::Ready(Ok(written));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, bytes.len(), |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wanted: usize = parts.iter().map(|part| part.len()).sum();
        if wanted <= SMALL {
            // One plain write of a copy costs less than a vectored one.
            let mut copy = [0; SMALL];
            let mut end = 0;
            for part in parts {
                copy[end..end + part.len()].copy_from_slice(part);
                end += part.len();
            }
            return self.write(cx, wanted, |stream| stream.try_write(&copy[..wanted]));
        }
        self.write(cx, wanted, |stream| stream.try_write_vectored(parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(shutdown_write(&self.0.stream))
    }
}

/// Says to the peer that nothing more comes.
pub(super) fn shutdown_write(stream: &TcpStream) -> io::Result<()> {
    rustix::net::shutdown(stream.as_fd(), rustix::net::Shutdown::Write)?;
    Ok(())
}

/// Makes the coming close of `stream` a reset, so that the peer learns of a broken other side.
pub(super) fn reset_on_close(stream: &TcpStream) {
    let linger = socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
    if let Err(error) = linger {
        tracing::debug!(%error, "a connection could not be set to reset");
    }
}
