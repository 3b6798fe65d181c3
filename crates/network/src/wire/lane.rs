//! A lane: WireGuard between one key of this host and one key of a peer. A peer has several only
//! while keys change; what is sent takes the newest that is up, what comes is taken from any.

use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519::PublicKey as Point;
use model::wireguard::PublicKey;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Room that WireGuard wants besides a packet, in bytes: its header and tag, or a whole handshake.
pub(super) const ROOM_BYTES: usize = 256;
/// Bits of an index that are ours; the others count the sessions of a lane.
const INDEX_BITS: u32 = 24;
/// Pauses between the first tries of a handshake, in milliseconds; later ones have the last of them.
const PAUSES_MS: [u64; 5] = [250, 500, 1_000, 2_000, 5_000];
/// Tries to reach a peer before there is anything to send to it.
const UNASKED_MAX: usize = 20;

/// One key here, one there.
pub(super) struct Lane {
    /// The number by which packets of the peer name it.
    pub(super) index: u32,
    /// Of this host.
    pub(super) own: PublicKey,
    /// Of the peer.
    pub(super) key: PublicKey,
    tunn: Mutex<Tunn>,
    /// Is there a session?
    up: AtomicBool,
    /// Was there ever one?
    was_up: AtomicBool,
    /// When data came last, in milliseconds of the process.
    heard_at: AtomicU64,
    tries: Mutex<Tries>,
}

/// Handshakes that were begun without an end.
#[derive(Clone, Copy, Debug, Default)]
struct Tries {
    count: usize,
    next_at: u64,
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lane({} from {} to {})", self.index, self.own, self.key)
    }
}

/// What came out of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// A packet of so many bytes, at the start of the room, from this source.
    Packet(usize, Ipv4Addr),
    /// Nothing for containers.
    Nothing,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lane {
    /// Without a session; `index` is its own among those of this host.
    pub(super) fn new(own: &super::keys::Key, key: PublicKey, index: u32) -> Self {
        // Who may begin a handshake at all was asked before it comes here.
        let gate = Arc::new(RateLimiter::new(&Point::from(&own.secret), u64::MAX));
        let peer = Point::from(*key.bytes());
        let tunn = Tunn::new(own.secret.clone(), peer, None, None, index, Some(gate));
        Self {
            index,
            own: own.public,
            key,
            tunn: Mutex::new(tunn),
            up: AtomicBool::new(false),
            was_up: AtomicBool::new(false),
            heard_at: AtomicU64::new(0),
            tries: Mutex::default(),
        }
    }

    /// Which lane a packet of a peer names.
    pub(super) fn index_of(receiver: u32) -> u32 {
        receiver >> (u32::BITS - INDEX_BITS)
    }

    /// The next index after this one.
    pub(super) fn next_index(index: u32) -> u32 {
        (index + 1) & ((1 << INDEX_BITS) - 1)
    }

    pub(super) fn is_up(&self) -> bool {
        self.up.load(Relaxed)
    }

    pub(super) fn was_up(&self) -> bool {
        self.was_up.load(Relaxed)
    }

    pub(super) fn heard_at(&self) -> u64 {
        self.heard_at.load(Relaxed)
    }

    fn look(&self, tunn: &Tunn) {
        let up = tunn.time_since_last_handshake().is_some();
        self.up.store(up, Relaxed);
        if up {
            self.was_up.store(true, Relaxed);
            *locked(&self.tries) = Tries::default();
        }
    }

    /// To encrypt several packets in a row.
    pub(super) fn sealer(&self) -> Sealer<'_> {
        Sealer { tunn: locked(&self.tunn) }
    }

    /// Takes a datagram of the peer. What is to go back at once is given to `send`.
    pub(super) fn open(
        &self,
        datagram: &[u8],
        (from, now): (Ipv4Addr, u64),
        room: &mut [u8],
        mut send: impl FnMut(&[u8]),
    ) -> Opened {
        let mut tunn = locked(&self.tunn);
        let mut opened = Opened::Nothing;
        match tunn.decapsulate(Some(IpAddr::V4(from)), datagram, room) {
            TunnResult::WriteToTunnelV4(packet, source) => {
                self.heard_at.store(now, Relaxed);
                opened = Opened::Packet(packet.len(), source);
            }
            TunnResult::WriteToNetwork(bytes) => {
                send(bytes);
                drain(&mut tunn, room, send);
            }
            TunnResult::WriteToTunnelV6(..) | TunnResult::Done => {}
            TunnResult::Err(error) => tracing::trace!(?error, lane = ?self, "datagram refused"),
        }
        if !self.is_up() {
            self.look(&tunn);
        }
        opened
    }

    /// Lets time pass: sessions are renewed before they end, and end.
    pub(super) fn tick(&self, room: &mut [u8], mut send: impl FnMut(&[u8])) {
        let mut tunn = locked(&self.tunn);
        match tunn.update_timers(room) {
            TunnResult::WriteToNetwork(bytes) => send(bytes),
            TunnResult::Err(error) => tracing::trace!(?error, lane = ?self, "lane rests"),
            _ => {}
        }
        self.look(&tunn);
    }

    /// Is it time to try a handshake? `asked` when something waits to be sent.
    pub(super) fn is_due(&self, asked: bool, now: u64) -> bool {
        let tries = *locked(&self.tries);
        let unasked = !self.was_up() && tries.count < UNASKED_MAX;
        !self.is_up() && (asked || unasked) && now >= tries.next_at
    }

    /// Begins a handshake.
    pub(super) fn begin(&self, now: u64, room: &mut [u8], mut send: impl FnMut(&[u8])) {
        {
            let mut tries = locked(&self.tries);
            let pause = PAUSES_MS[tries.count.min(PAUSES_MS.len() - 1)];
            tries.count += 1;
            tries.next_at = now + pause;
        }
        if let TunnResult::WriteToNetwork(bytes) =
            locked(&self.tunn).format_handshake_initiation(room, true)
        {
            send(bytes);
        }
    }
}

/// Sends what waited in it for a session.
fn drain(tunn: &mut Tunn, room: &mut [u8], mut send: impl FnMut(&[u8])) {
    while let TunnResult::WriteToNetwork(bytes) = tunn.decapsulate(None, &[], room) {
        send(bytes);
    }
}

/// Encrypts for one lane.
pub(super) struct Sealer<'a> {
    tunn: MutexGuard<'a, Tunn>,
}

impl Sealer<'_> {
    /// Encrypts a packet into `room`, which has `ROOM_BYTES` more than it; how many bytes it is.
    pub(super) fn seal(&mut self, packet: &[u8], room: &mut [u8]) -> usize {
        match self.tunn.encapsulate(packet, room) {
            TunnResult::WriteToNetwork(bytes) => bytes.len(),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests;
