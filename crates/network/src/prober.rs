//! One end of a check of the network: sends packets to other hosts through the overlay and outside
//! of it, answers theirs, and writes down what comes. What the two ends of a pair have written
//! down tells which direction is broken.
//!
//! Hosts have no address of the environment's range that is their own. Through the overlay they are
//! asked at their outer address by sockets that are bound to its device, which is how the kernel
//! itself sends what a host has for containers elsewhere. Nothing on the host is changed for it.

mod book;
mod packet;
mod tcp;

use crate::Error;
use crate::linux::route::Session;
use book::{Book, Way};
use model::limits::{
    NET_CHECK_LATE_MS_MAX, NET_CHECK_PACKET_MS, NET_CHECK_PEERS_PARALLEL_MAX,
    NET_CHECK_SMALL_BYTES, NET_CHECK_SMALL_PACKETS,
};
use model::net_check::{NetSeen, NetTarget, NetTask};
use packet::{Kind, Note};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

/// What an end of a check is opened with.
#[derive(Clone, Debug)]
pub struct ProbeWish {
    /// Number of the check: packets of others are not looked at.
    pub check: u64,
    /// This host's address, as its peers know it.
    pub address: Ipv4Addr,
    /// The overlay's device; none with plain routes.
    pub device: Option<String>,
}

/// One end of a check, from `open` until it is dropped.
#[derive(Debug)]
pub struct Prober {
    wires: Arc<Wires>,
    mtu: u16,
    port: u16,
    sizes: Vec<u16>,
    /// They end with it.
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Wires {
    wish: ProbeWish,
    /// Through the overlay.
    inner: UdpSocket,
    /// Wherever the routes lead.
    outer: UdpSocket,
    /// Held for one entry.
    book: Mutex<Book>,
}

impl Wires {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Prober {
    /// Opens the sockets and listens. Takes root.
    ///
    /// # Errors
    /// When there is no such device, or the kernel gives no such sockets.
    pub async fn open(wish: ProbeWish) -> Result<Self, Error> {
        let session = Session::open()?;
        let links = session.links().await?;
        let device = match &wish.device {
            Some(device) => links.get(device).filter(|link| link.up),
            None => {
                let raw = session.addresses().await?;
                let at = raw.iter().find(|(_, ip, _, _)| *ip == wish.address);
                at.and_then(|(index, ..)| links.values().find(|link| link.index == *index))
            }
        };
        let name = wish.device.as_deref().unwrap_or("of the host's address");
        let device = device.ok_or_else(|| {
            let source = io::Error::new(io::ErrorKind::NotFound, "it is missing or down");
            Error::Probe { doing: format!("use device {name}"), source }
        })?;
        let mtu = u16::try_from(device.mtu).unwrap_or(u16::MAX);
        let failed = |doing: &str| {
            let doing = doing.to_owned();
            move |source| Error::Probe { doing, source }
        };
        let inner = raw(wish.device.as_deref()).map_err(failed("open a raw socket"))?;
        let outer = raw(None).map_err(failed("open a raw socket"))?;
        let listener = tcp::listen(&wish).map_err(failed("listen through the overlay"))?;
        let port = listener.local_addr().map_err(failed("listen through the overlay"))?.port();
        let wires = Arc::new(Wires { wish, inner, outer, book: Mutex::default() });
        let tasks = serve(&wires, listener);
        Ok(Self { wires, mtu, port, sizes: packet::sizes(mtu), _tasks: tasks })
    }

    /// Largest packet that the overlay takes, in bytes.
    #[must_use]
    pub fn mtu(&self) -> u16 {
        self.mtu
    }

    /// Where it takes connections through the overlay.
    #[must_use]
    pub fn tcp_port(&self) -> u16 {
        self.port
    }

    /// Asks all targets, some at a time, and waits for what may still come.
    pub async fn ask(&self, task: &NetTask) {
        self.wires.book().begin(task);
        self.note_ways(task).await;
        let mut own = task.own.as_slice();
        for some in task.targets.chunks(NET_CHECK_PEERS_PARALLEL_MAX) {
            let sending = self.send_all(task.number, some, own);
            tokio::join!(sending, tcp::connect_all(&self.wires, some));
            own = &[];
        }
        tokio::time::sleep(Duration::from_millis(NET_CHECK_LATE_MS_MAX)).await;
    }

    /// What was seen until now.
    #[must_use]
    pub fn seen(&self) -> NetSeen {
        self.wires.book().seen()
    }

    async fn send_all(&self, from: u16, targets: &[NetTarget], own: &[Ipv4Addr]) {
        let mut clock = tokio::time::interval(Duration::from_millis(NET_CHECK_PACKET_MS));
        let sizes = &self.sizes;
        for slot in 0..NET_CHECK_SMALL_PACKETS {
            clock.tick().await;
            let rare = slot % 5 == 0;
            for target in targets {
                let mut turn = u16::try_from(slot).unwrap_or(0).saturating_mul(8);
                let mut next = |kind, to, size| {
                    turn += 1;
                    Way { number: Some(target.number), to, kind, turn, size }
                };
                let mut ways = vec![next(Kind::Overlay, target.address, NET_CHECK_SMALL_BYTES)];
                if slot % 2 == 0 {
                    ways.push(next(Kind::Overlay, target.address, self.mtu));
                }
                // Each of them three times or more.
                for part in [2 * slot, 2 * slot + 1] {
                    if let Some(size) = cycled(sizes, part) {
                        ways.push(next(Kind::Overlay, target.address, size));
                    }
                }
                if rare {
                    ways.push(next(Kind::Outer, target.address, NET_CHECK_SMALL_BYTES));
                    for ip in &target.containers {
                        ways.push(next(Kind::Container, *ip, NET_CHECK_SMALL_BYTES));
                    }
                }
                for way in ways {
                    self.wires.send(from, way).await;
                }
            }
            for ip in own.iter().filter(|_| rare) {
                let (kind, size) = (Kind::Container, NET_CHECK_SMALL_BYTES);
                self.wires.send(from, Way { number: None, to: *ip, kind, turn: 0, size }).await;
            }
        }
    }

    /// Notes where packets to containers leave by another device than they should.
    async fn note_ways(&self, task: &NetTask) {
        let Some(wished) = &self.wires.wish.device else { return };
        let Ok(session) = Session::open() else { return };
        let Ok(links) = session.links().await else { return };
        for target in &task.targets {
            let Some(ip) = target.containers.first() else { continue };
            let Ok(Some(index)) = session.leaves_by(*ip).await else { continue };
            let name = links.iter().find(|(_, link)| link.index == index).map(|(name, _)| name);
            if let Some(name) = name.filter(|name| *name != wished) {
                self.wires.book().peer(target.number).wrong_way.clone_from(name);
            }
        }
    }
}

fn cycled(sizes: &[u16], at: u32) -> Option<u16> {
    let at = usize::try_from(at).ok()?.checked_rem(sizes.len())?;
    sizes.get(at).copied()
}

impl Wires {
    async fn send(&self, from: u16, way: Way) {
        let (check, source) = match way.kind {
            Kind::Overlay => (self.wish.check, self.wish.address),
            _ => (self.wish.check, Ipv4Addr::UNSPECIFIED),
        };
        let note = Note { check, from, kind: way.kind, turn: way.turn, size: way.size };
        let bytes = packet::write(note, source, way.to, way.size);
        let socket = if way.kind == Kind::Overlay { &self.inner } else { &self.outer };
        let at = Instant::now();
        let sent = put(socket, &bytes, way.to).await;
        self.book().sent(way, at, sent);
    }

    async fn answer(&self, come: &packet::Come) {
        let note = Note { kind: Kind::Answer, ..come.note };
        let own = self.wish.address;
        let bytes = packet::write(note, own, come.source, NET_CHECK_SMALL_BYTES);
        if let Err(error) = put(&self.inner, &bytes, come.source).await {
            tracing::debug!(%error, to = %come.source, "question of a check not answered");
        }
    }
}

async fn put(socket: &UdpSocket, bytes: &[u8], to: Ipv4Addr) -> io::Result<usize> {
    socket.send_to(bytes, SocketAddr::new(to.into(), 0)).await
}

/// A socket for ICMP with the IP header, which is ours to write.
fn raw(device: Option<&str>) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
    socket.set_header_included_v4(true)?;
    if let Some(device) = device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    driven(socket)
}

/// A socket that hears who asks for MAC addresses, on all devices.
fn arp() -> io::Result<UdpSocket> {
    const ETH_P_ARP: u16 = 0x0806;
    let protocol = Protocol::from(i32::from(ETH_P_ARP.to_be()));
    driven(Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol))?)
}

/// To the runtime a socket that gives a packet at a time is one like any other.
fn driven(socket: Socket) -> io::Result<UdpSocket> {
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(std::net::UdpSocket::from(OwnedFd::from(socket)))
}

/// Begins to hear and to answer.
fn serve(wires: &Arc<Wires>, listener: TcpListener) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(hear_inner(Arc::clone(wires)));
    tasks.spawn(hear_outer(Arc::clone(wires)));
    match arp() {
        Ok(socket) => _ = tasks.spawn(hear_questions(Arc::clone(wires), socket)),
        // Without it a one-way fault on a segment looks like one of both ways, no more.
        Err(error) => tracing::debug!(%error, "questions for MAC addresses are not heard"),
    }
    tasks.spawn(tcp::serve(listener, wires.wish.check));
    tasks
}

async fn hear_inner(wires: Arc<Wires>) {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let bytes = take(&wires.inner, &mut buffer).await;
        let Some(come) = packet::read(bytes, wires.wish.check) else { continue };
        let is_ours = matches!(come.note.kind, Kind::Overlay | Kind::Answer);
        if is_ours && wires.book().come(&come, Instant::now()) {
            wires.answer(&come).await;
        }
    }
}

async fn hear_outer(wires: Arc<Wires>) {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let bytes = take(&wires.outer, &mut buffer).await;
        let Some(come) = packet::read(bytes, wires.wish.check) else { continue };
        if matches!(come.note.kind, Kind::Outer | Kind::Container) {
            wires.book().come(&come, Instant::now());
        }
    }
}

async fn hear_questions(wires: Arc<Wires>, socket: UdpSocket) {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let bytes = take(&socket, &mut buffer).await;
        if let Some(by) = packet::asks_for(bytes, wires.wish.address) {
            wires.book().asked(by);
        }
    }
}

/// The next packet.
async fn take<'b>(socket: &UdpSocket, buffer: &'b mut [u8]) -> &'b [u8] {
    loop {
        let read = socket.recv(buffer).await;
        match read {
            Ok(count) => return buffer.get(..count).unwrap_or_default(),
            Err(error) => {
                // An interface that goes down says so once.
                tracing::debug!(%error, "a socket of a check broke");
                tokio::time::sleep(Duration::from_millis(NET_CHECK_PACKET_MS)).await;
            }
        }
    }
}
