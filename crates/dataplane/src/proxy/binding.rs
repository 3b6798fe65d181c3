//! Sockets of listeners: bound for every shard at once, never shared with somebody else.

use super::connect::detect_vanished;
use super::shard::Sockets;
use model::limits::PROXY_BACKLOG;
use model::service::Transport;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A listener's sockets.
#[derive(Debug)]
pub(super) struct Bound {
    /// Addresses with their real ports.
    pub(super) addresses: Vec<SocketAddr>,
    /// One for each shard.
    pub(super) shards: Vec<Sockets>,
}

/// Which address could not be bound, and why.
#[derive(Debug, thiserror::Error)]
#[error("{address}/{transport} cannot be bound")]
pub(super) struct BindError {
    pub(super) address: SocketAddr,
    pub(super) transport: Transport,
    #[source]
    pub(super) source: io::Error,
}

/// Binds `ip` (`None` is all of IPv4, and of IPv6 where there is any) and `port` once for each of
/// `shards`.
pub(super) fn bind(
    ip: Option<IpAddr>,
    port: u16,
    transport: Transport,
    shards: usize,
) -> Result<Bound, BindError> {
    let mut bound = Vec::new();
    let mut addresses = Vec::new();
    let ips = match ip {
        Some(ip) => vec![ip],
        None => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
    };
    let mut port = port;
    for each in ips {
        match bind_one(SocketAddr::new(each, port), transport, shards) {
            Ok((address, sockets)) => {
                port = address.port();
                addresses.push(address);
                bound.push(sockets);
            }
            Err(error) if ip.is_none() && each.is_ipv6() && no_ipv6(&error.source) => {
                tracing::debug!(address = %error.address, "no ipv6 here");
            }
            Err(error) => return Err(error),
        }
    }
    let mut each: Vec<_> = bound.into_iter().map(Vec::into_iter).collect();
    let shards = (0..shards)
        .map(|_| {
            let sockets = each.iter_mut().filter_map(Iterator::next);
            match transport {
                Transport::Tcp => Sockets::Tcp(sockets.map(Into::into).collect()),
                Transport::Udp => Sockets::Udp(sockets.map(Into::into).collect()),
            }
        })
        .collect();
    Ok(Bound { addresses, shards })
}

fn no_ipv6(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

fn bind_one(
    address: SocketAddr,
    transport: Transport,
    shards: usize,
) -> Result<(SocketAddr, Vec<Socket>), BindError> {
    let run = || {
        if address.port() != 0 {
            // Sockets that share a port could share it with another process as well: one that
            // does not share says whether somebody is there.
            open(address, transport, false)?;
        }
        let first = open(address, transport, true)?;
        let address = first.local_addr()?.as_socket().unwrap_or(address);
        let mut sockets = vec![first];
        for _ in 1..shards {
            sockets.push(open(address, transport, true)?);
        }
        if transport == Transport::Tcp {
            for socket in &sockets {
                socket.listen(PROXY_BACKLOG)?;
            }
        }
        Ok((address, sockets))
    };
    run().map_err(|source| BindError { address, transport, source })
}

fn open(address: SocketAddr, transport: Transport, shared: bool) -> io::Result<Socket> {
    let (kind, protocol) = match transport {
        Transport::Tcp => (Type::STREAM, Protocol::TCP),
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
    };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if transport == Transport::Tcp {
        // Connections of a process before us that still linger do not matter. Never for UDP, where
        // it would share the port.
        socket.set_reuse_address(true)?;
        // Accepted connections have these from the listening socket.
        socket.set_tcp_nodelay(true)?;
        detect_vanished(&socket)?;
    }
    socket.set_reuse_port(shared)?;
    socket.bind(&address.into())?;
    Ok(socket)
}
