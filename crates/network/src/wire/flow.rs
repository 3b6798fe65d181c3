//! The way of packets: one thread takes what containers send from the TUN device and sends it
//! encrypted, another one takes what peers send and gives it to the device. Each takes what waits
//! in a row before it looks for more.

use super::allowed::destination;
use super::lane::ROOM_BYTES;
use super::offload::{Joiner, Offload, PACKET_BYTES_MAX};
use super::sys;
use super::table::{Peer, Table};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Packets that are taken in a row before the table is looked at again.
const ROW: usize = 64;
/// Longest wait for a packet: after it a thread looks whether it is to end.
const WAIT: Duration = Duration::from_millis(250);
/// Bytes that the kernel cuts into datagrams at a time.
const BATCH_BYTES_MAX: usize = 65_000;
/// Datagrams that it cuts at a time.
const BATCH_MAX: usize = 64;
/// Room for what a peer sends: what the kernel joins.
const RECEIVE_BYTES: usize = 65_536;

/// What the threads and their keeper share.
#[derive(Debug)]
pub(super) struct Shared {
    table: RwLock<Arc<Table>>,
    began: Instant,
    stop: AtomicBool,
    /// Does the kernel cut datagrams for us?
    cuts: AtomicBool,
    failed: Mutex<Option<String>>,
}

impl Shared {
    /// Milliseconds are counted from `began`.
    pub(super) fn new(table: Table, began: Instant) -> Self {
        Self {
            table: RwLock::new(Arc::new(table)),
            began,
            stop: AtomicBool::new(false),
            cuts: AtomicBool::new(true),
            failed: Mutex::default(),
        }
    }

    /// Milliseconds since the beginning.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_table(&self, table: Table) {
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
    }

    fn fail(&self, why: String) {
        self.stop.store(true, Relaxed);
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get_or_insert(why);
    }

    fn take_failure(&self) -> Option<String> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Both threads, with the device and the socket.
#[derive(Debug)]
pub(super) struct Flow {
    shared: Arc<Shared>,
    pub(super) socket: Arc<UdpSocket>,
    threads: Vec<JoinHandle<()>>,
}

impl Flow {
    /// Begins. The device must be there.
    ///
    /// # Errors
    /// `None` while there is no device; else why not.
    pub(super) fn open(
        shared: &Arc<Shared>,
        device: &str,
        (own, port): (Ipv4Addr, u16),
    ) -> Result<Self, Option<String>> {
        let tun = match sys::attach(device) {
            Ok(tun) => Arc::new(tun),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(None),
            Err(error) => return Err(Some(format!("TUN device {device}: {error}"))),
        };
        let socket = bind(own, port).map_err(|error| {
            Some(format!("UDP port {port}, where encrypted packets come in: {error}"))
        })?;
        let socket = Arc::new(socket);
        shared.stop.store(false, Relaxed);
        drop(shared.take_failure());
        let mut flow = Self { shared: Arc::clone(shared), socket, threads: vec![] };
        let (out, into) = (Arc::clone(&tun), tun);
        flow.spawn("wire-out", move |shared, socket| outbound(shared, &out, socket))?;
        flow.spawn("wire-in", move |shared, socket| inbound(shared, &into, socket))?;
        Ok(flow)
    }

    fn spawn(
        &mut self,
        name: &str,
        work: impl FnOnce(&Shared, &UdpSocket) -> io::Result<()> + Send + 'static,
    ) -> Result<(), Option<String>> {
        let (shared, socket) = (Arc::clone(&self.shared), Arc::clone(&self.socket));
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            if let Err(error) = work(&shared, &socket) {
                shared.fail(format!("packets are not carried any more: {error}"));
            }
        });
        let thread = thread.map_err(|error| Some(format!("thread {name}: {error}")))?;
        self.threads.push(thread);
        Ok(())
    }

    /// Why it does not go on, when it does not.
    pub(super) fn failure(&self) -> Option<String> {
        self.shared.take_failure()
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the encryption panicked");
            }
        }
    }
}

/// At this host's address; at all of them when it is one that somebody translates to ours.
fn bind(own: Ipv4Addr, port: u16) -> io::Result<UdpSocket> {
    let socket = match UdpSocket::bind((own, port)) {
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?
        }
        done => done?,
    };
    socket.set_nonblocking(true)?;
    sys::prepare(&socket)?;
    Ok(socket)
}

/// Sends one message by itself. What is lost here is lost as on the way: it is tried again.
pub(super) fn send_one(socket: &UdpSocket, bytes: &[u8], to: SocketAddrV4) {
    if let Err(error) = sys::send(socket, bytes, to, None) {
        tracing::trace!(%error, %to, "not sent");
    }
}

fn outbound(shared: &Shared, tun: &File, socket: &UdpSocket) -> io::Result<()> {
    let mut read = vec![0; PACKET_BYTES_MAX];
    let mut batch = Batch::new();
    while !shared.stop.load(Relaxed) {
        let table = shared.table();
        let mut idle = false;
        for _ in 0..ROW {
            let bytes = match (&*tun).read(&mut read) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    idle = true;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let Some((offload, packet)) = Offload::read(&mut read[..bytes]) else { continue };
            let to = destination(packet).and_then(|to| table.to(to));
            // To nobody that is known nothing is sent, encrypted or not.
            let Some(peer) = to else { continue };
            seal(shared, socket, peer, (offload, packet), &mut batch);
        }
        batch.flush(shared, socket);
        if idle {
            sys::wait(tun.as_raw_fd(), WAIT)?;
        }
    }
    Ok(())
}

/// Encrypts a packet for a peer, or holds it until that can be done.
fn seal(
    shared: &Shared,
    socket: &UdpSocket,
    peer: &Peer,
    (offload, packet): (Offload, &mut [u8]),
    batch: &mut Batch,
) {
    let Some(lane) = peer.sending() else {
        let now = shared.now();
        offload.cut(packet, |one| peer.hold(one, now));
        for lane in peer.due(now) {
            lane.begin(now, &mut [0; ROOM_BYTES], |bytes| send_one(socket, bytes, peer.address));
        }
        return;
    };
    let mut sealer = lane.sealer();
    offload.cut(packet, |one| {
        batch.push(shared, socket, peer.address, one.len() + ROOM_BYTES, |room| {
            sealer.seal(one, room)
        });
    });
}

/// Datagrams of one size to one peer, which the kernel gets at once.
struct Batch {
    bytes: Vec<u8>,
    filled: usize,
    /// Of each datagram but the last.
    size: usize,
    count: usize,
    /// The last one is shorter: nothing can follow.
    closed: bool,
    to: SocketAddrV4,
}

impl Batch {
    fn new() -> Self {
        Self {
            bytes: vec![0; BATCH_BYTES_MAX + PACKET_BYTES_MAX + ROOM_BYTES],
            filled: 0,
            size: 0,
            count: 0,
            closed: false,
            to: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0),
        }
    }

    /// Adds what `fill` writes into a room of so many bytes; it says how many it wrote.
    fn push(
        &mut self,
        shared: &Shared,
        socket: &UdpSocket,
        to: SocketAddrV4,
        most: usize,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) {
        if to != self.to || self.filled + most > BATCH_BYTES_MAX || self.count == BATCH_MAX {
            self.flush(shared, socket);
        }
        self.to = to;
        let begin = self.filled;
        let Some(room) = self.bytes.get_mut(begin..begin + most) else { return };
        let bytes = fill(room);
        if bytes == 0 {
            return;
        }
        if self.count > 0 && (self.closed || bytes > self.size) {
            // It begins a new one.
            self.flush(shared, socket);
            self.bytes.copy_within(begin..begin + bytes, 0);
            self.to = to;
        }
        if self.count == 0 {
            self.size = bytes;
        }
        self.closed = bytes < self.size;
        self.count += 1;
        self.filled += bytes;
    }

    fn flush(&mut self, shared: &Shared, socket: &UdpSocket) {
        let bytes = &self.bytes[..self.filled];
        let segment = u16::try_from(self.size).ok().filter(|_| self.count > 1);
        let whole = self.count == 1 || (shared.cuts.load(Relaxed) && segment.is_some());
        let done = if whole { sys::send(socket, bytes, self.to, segment) } else { Ok(()) };
        if let Err(error) = &done {
            tracing::trace!(%error, to = %self.to, "not sent at once");
            // A device that cannot sum up what it cuts.
            if error.raw_os_error() == Some(libc::EIO) {
                shared.cuts.store(false, Relaxed);
            }
        }
        let full = matches!(&done, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        if self.count > 1 && (!whole || done.is_err()) && !full {
            bytes.chunks(self.size.max(1)).for_each(|one| send_one(socket, one, self.to));
        }
        (self.filled, self.size, self.count, self.closed) = (0, 0, 0, false);
    }
}

fn inbound(shared: &Shared, tun: &File, socket: &UdpSocket) -> io::Result<()> {
    let mut received = vec![0; RECEIVE_BYTES];
    let mut room = vec![0; RECEIVE_BYTES + ROOM_BYTES];
    let mut joiner = Joiner::new();
    while !shared.stop.load(Relaxed) {
        let table = shared.table();
        let mut idle = false;
        for _ in 0..ROW {
            let (bytes, from, size) = match sys::receive(socket, &mut received) {
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    idle = true;
                    break;
                }
                // What ICMP says of datagrams sent earlier.
                Err(error) => {
                    tracing::trace!(%error, "not received");
                    continue;
                }
            };
            let at = (*from.ip(), shared.now());
            for datagram in received[..bytes].chunks(size) {
                let send = |bytes: &[u8]| send_one(socket, bytes, from);
                let Some((bytes, peer)) = table.open(datagram, at, &mut room, send) else {
                    continue;
                };
                if bytes > 0 {
                    joiner.push(&room[..bytes], |packet| give(tun, packet));
                } else {
                    release(shared, socket, peer, at.1);
                }
            }
            joiner.flush(|packet| give(tun, packet));
        }
        if idle {
            sys::wait(socket.as_raw_fd(), WAIT)?;
        }
    }
    Ok(())
}

/// Sends what waited for a session.
pub(super) fn release(shared: &Shared, socket: &UdpSocket, peer: &Peer, now: u64) {
    if !peer.is_asked(now) {
        return;
    }
    let Some(lane) = peer.sending() else { return };
    let packets = peer.take_waiting();
    let mut batch = Batch::new();
    let mut sealer = lane.sealer();
    for packet in packets {
        batch.push(shared, socket, peer.address, packet.len() + ROOM_BYTES, |room| {
            sealer.seal(&packet, room)
        });
    }
    batch.flush(shared, socket);
}

/// Gives a packet to the kernel; one that it does not take is lost.
fn give(tun: &File, packet: &[u8]) {
    let mut tun = tun;
    if let Err(error) = tun.write(packet) {
        tracing::trace!(%error, "packet not taken");
    }
}
