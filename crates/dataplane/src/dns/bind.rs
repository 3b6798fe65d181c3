//! The sockets of one DNS address: a TCP listener, and a UDP socket for each thread. The address
//! need not exist yet. Never shares a port with another process.

use rustix::net::{Shutdown, shutdown};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

/// Receive buffer of a UDP socket, in bytes: a burst that comes while the thread is not scheduled.
const RECEIVE_BYTES: usize = 1024 * 1024;
/// Tries to find a port that is free for both transports, when the kernel chooses.
const PORT_TRIES: u32 = 16;

/// Sockets of one address.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) addr: SocketAddr,
    pub(super) tcp: TcpListener,
    pub(super) udp: Vec<Arc<UdpSocket>>,
}

/// Binds `addr`, with a UDP socket for each of `threads`.
pub(super) fn bind(addr: SocketAddr, threads: usize) -> io::Result<Bound> {
    let tries = if addr.port() == 0 { PORT_TRIES } else { 1 };
    let mut last = io::ErrorKind::AddrInUse.into();
    for _ in 0..tries {
        match once(addr, threads) {
            Ok(bound) => return Ok(bound),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn once(addr: SocketAddr, threads: usize) -> io::Result<Bound> {
    let tcp = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    tcp.set_reuse_address(true)?;
    free(&tcp, addr)?;
    // No SO_REUSEPORT here: this bind fails when another dataplane has the port.
    tcp.bind(&addr.into())?;
    tcp.listen(256)?;
    tcp.set_nonblocking(true)?;
    let tcp = TcpListener::from(tcp);
    let addr = tcp.local_addr()?;
    let mut udp = vec![];
    for _ in 0..threads.max(1) {
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_port(threads > 1)?;
        free(&socket, addr)?;
        socket.bind(&addr.into())?;
        socket.set_recv_buffer_size(RECEIVE_BYTES)?;
        udp.push(Arc::new(UdpSocket::from(socket)));
    }
    Ok(Bound { addr, tcp, udp })
}

/// The address may come later, and go and come back: a bridge is made, removed, made again.
fn free(socket: &Socket, addr: SocketAddr) -> io::Result<()> {
    if addr.is_ipv4() { socket.set_freebind_v4(true) } else { socket.set_freebind_v6(true) }
}

/// Wakes the thread that waits for a datagram, for good.
pub(super) fn end(socket: &UdpSocket) {
    // Linux says ENOTCONN, and wakes it all the same.
    if let Err(error) = shutdown(socket, Shutdown::Both)
        && error != rustix::io::Errno::NOTCONN
    {
        tracing::warn!(%error, "dns socket not ended");
    }
}
