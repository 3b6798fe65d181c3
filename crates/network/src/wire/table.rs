//! Who the peers are, by every name that a packet may have for them. It is made anew from the wish
//! and the keys; lanes that are in both stay with their sessions, all others end with it.

use super::allowed::Allowed;
use super::keys::Key;
use super::lane::{Lane, Opened};
use boringtun::noise::handshake::parse_handshake_anon;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Packet, Tunn, TunnResult};
use boringtun::x25519::PublicKey as Point;
use ipnet::Ipv4Net;
use model::id::HostId;
use model::limits::{WIREGUARD_HANDSHAKES_PER_S_MAX, WIREGUARD_WAITING_MAX};
use model::wireguard::{PublicKey, WireWish, counted};
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};

/// Packets that wait for a session are of no use any more after this time, in milliseconds.
const WAITING_MS_MAX: u64 = 5_000;

/// Another host.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) host: HostId,
    pub(super) address: SocketAddrV4,
    /// The one that is wanted most comes first.
    pub(super) lanes: Vec<Arc<Lane>>,
    waiting: Arc<Mutex<Waiting>>,
}

/// Packets that wait for a session.
#[derive(Debug, Default)]
struct Waiting {
    packets: VecDeque<Vec<u8>>,
    /// When the first of them came.
    since: u64,
}

impl Peer {
    /// The lane that is sent by; none while there is no session.
    pub(super) fn sending(&self) -> Option<&Arc<Lane>> {
        self.lanes.iter().find(|lane| lane.is_up())
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds a packet until there is a session; one too many is dropped, as on any full link.
    pub(super) fn hold(&self, packet: &[u8], now: u64) {
        let mut waiting = self.waiting();
        if waiting.packets.is_empty() {
            waiting.since = now;
        }
        if waiting.packets.len() < WIREGUARD_WAITING_MAX {
            waiting.packets.push_back(packet.to_vec());
        }
    }

    /// Does anything wait? What has waited for too long does not any more.
    pub(super) fn is_asked(&self, now: u64) -> bool {
        let mut waiting = self.waiting();
        if now.saturating_sub(waiting.since) > WAITING_MS_MAX {
            waiting.packets.clear();
        }
        !waiting.packets.is_empty()
    }

    /// What waited, to be sent.
    pub(super) fn take_waiting(&self) -> VecDeque<Vec<u8>> {
        std::mem::take(&mut self.waiting().packets)
    }

    /// Lanes whose handshake is to be begun now: the one that is wanted most, and when nothing can
    /// be sent at all, the others too, for the peer may not know of the newest key yet.
    pub(super) fn due(&self, now: u64) -> Vec<Arc<Lane>> {
        let asked = self.is_asked(now);
        let mute = self.sending().is_none();
        let wanted = self.lanes.iter().take(if mute { self.lanes.len() } else { 1 });
        wanted.filter(|lane| lane.is_due(asked, now)).cloned().collect()
    }
}

/// A key of this host, and what guards it from being asked too often.
struct Own {
    key: Key,
    point: Point,
    gate: Arc<RateLimiter>,
}

/// All peers.
pub(super) struct Table {
    allowed: Allowed,
    pub(super) peers: Vec<Arc<Peer>>,
    own: Vec<Own>,
    lanes: HashMap<u32, (usize, Arc<Lane>)>,
    pairs: HashMap<(PublicKey, PublicKey), u32>,
    addresses: HashMap<Ipv4Addr, usize>,
    next_index: u32,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Table({:?})", self.peers)
    }
}

impl Table {
    /// Nobody; lanes are numbered from here.
    pub(super) fn empty(first_index: u32) -> Self {
        Self {
            allowed: Allowed::default(),
            peers: vec![],
            own: vec![],
            lanes: HashMap::new(),
            pairs: HashMap::new(),
            addresses: HashMap::new(),
            next_index: Lane::next_index(first_index),
        }
    }

    /// Those of a wish. A key that two hosts have is the first one's.
    pub(super) fn next(before: &Self, wish: &WireWish, keys: &[Key]) -> Self {
        let mut table = Self::empty(before.next_index);
        table.own = keys.iter().map(|key| before.own(key)).collect();
        let mut ranges: Vec<(Ipv4Net, Option<usize>)> =
            wish.own.iter().map(|range| (*range, None)).collect();
        let sane =
            |to: &&Ipv4Net| wish.subnet.contains(*to) && to.prefix_len() > wish.subnet.prefix_len();
        let known: HashMap<&HostId, &Arc<Peer>> =
            before.peers.iter().map(|peer| (&peer.host, peer)).collect();
        for (host, of) in wish.peers.iter().filter(|(_, of)| of.address != wish.address) {
            let number = table.peers.len();
            if table.addresses.contains_key(&of.address) {
                continue;
            }
            table.addresses.insert(of.address, number);
            ranges.extend(of.routes.iter().filter(sane).map(|to| (to.trunc(), Some(number))));
            if !wish.subnet.contains(&of.address) {
                ranges.push((Ipv4Net::from(of.address), Some(number)));
            }
            let lanes = table.lanes_of(before, (number, of.address), keys, &counted(&of.keys));
            let peer = Peer {
                host: host.clone(),
                address: SocketAddrV4::new(of.address, wish.port),
                lanes,
                waiting: known.get(host).map(|peer| Arc::clone(&peer.waiting)).unwrap_or_default(),
            };
            table.peers.push(Arc::new(peer));
        }
        table.allowed = Allowed::new(ranges.into_iter());
        table
    }

    fn own(&self, key: &Key) -> Own {
        let known = self.own.iter().find(|own| own.key.public == key.public);
        let point = Point::from(*key.public.bytes());
        let gate = known
            .map(|own| Arc::clone(&own.gate))
            .unwrap_or_else(|| Arc::new(RateLimiter::new(&point, WIREGUARD_HANDSHAKES_PER_S_MAX)));
        Own { key: key.clone(), point, gate }
    }

    /// One for each pair of keys, the newest ones first.
    fn lanes_of(
        &mut self,
        before: &Self,
        (number, address): (usize, Ipv4Addr),
        own: &[Key],
        theirs: &[PublicKey],
    ) -> Vec<Arc<Lane>> {
        let each = |n: usize| (0..own.len()).map(move |m| (m + n, m, n));
        let mut pairs: Vec<(usize, usize, usize)> = (0..theirs.len()).flat_map(each).collect();
        pairs.sort_unstable();
        let mut lanes = vec![];
        for (_, mine, their) in pairs {
            let (mine, their) = (&own[mine], theirs[their]);
            let pair = (mine.public, their);
            if self.pairs.contains_key(&pair) {
                continue;
            }
            let known = before.pairs.get(&pair).and_then(|index| before.lanes.get(index));
            // A lane stays with the host that had it: its sessions are that one's.
            let same = |(of, _): &&(usize, Arc<Lane>)| {
                before.peers.get(*of).is_some_and(|peer| *peer.address.ip() == address)
            };
            let lane = match known.filter(same) {
                Some((_, lane)) => Arc::clone(lane),
                None => {
                    self.next_index = self.free_index(before);
                    Arc::new(Lane::new(mine, their, self.next_index))
                }
            };
            self.pairs.insert(pair, lane.index);
            self.lanes.insert(lane.index, (number, Arc::clone(&lane)));
            lanes.push(lane);
        }
        lanes
    }

    fn free_index(&self, before: &Self) -> u32 {
        let mut index = Lane::next_index(self.next_index);
        while self.lanes.contains_key(&index) || before.lanes.contains_key(&index) {
            index = Lane::next_index(index);
        }
        index
    }

    /// Whom a packet to this address is for.
    pub(super) fn to(&self, address: Ipv4Addr) -> Option<&Arc<Peer>> {
        self.peers.get(self.allowed.owner(address)?)
    }

    /// Every lane.
    pub(super) fn lanes(&self) -> impl Iterator<Item = &Arc<Lane>> {
        self.lanes.values().map(|(_, lane)| lane)
    }

    /// A second has passed: peers may begin handshakes again.
    pub(super) fn forget_counts(&self) {
        self.own.iter().for_each(|own| own.gate.reset_count());
    }

    /// Takes a datagram from this address. What is to go back is given to `send`; the packet in it
    /// is at the start of `room`, when it is of somebody who may send it.
    pub(super) fn open(
        &self,
        datagram: &[u8],
        (from, now): (Ipv4Addr, u64),
        room: &mut [u8],
        send: impl FnMut(&[u8]),
    ) -> Option<(usize, &Arc<Peer>)> {
        // A stranger is not even listened to.
        let number = *self.addresses.get(&from)?;
        let receiver = match Tunn::parse_incoming_packet(datagram).ok()? {
            Packet::HandshakeInit(_) => return self.begun(datagram, (from, now), room, send),
            Packet::HandshakeResponse(response) => response.receiver_idx,
            Packet::PacketCookieReply(reply) => reply.receiver_idx,
            Packet::PacketData(data) => data.receiver_idx,
        };
        let (of, lane) = self.lanes.get(&Lane::index_of(receiver))?;
        let peer = self.peers.get(*of).filter(|_| *of == number)?;
        match lane.open(datagram, (from, now), room, send) {
            Opened::Packet(bytes, source) if self.allowed.owner(source) == Some(number) => {
                Some((bytes, peer))
            }
            Opened::Packet(..) => {
                tracing::trace!(host = %peer.host, "a packet from an address of somebody else");
                None
            }
            Opened::Nothing => Some((0, peer)),
        }
    }

    /// A peer begins a handshake: which of our keys it means says the packet, and who it is.
    fn begun(
        &self,
        datagram: &[u8],
        (from, now): (Ipv4Addr, u64),
        room: &mut [u8],
        mut send: impl FnMut(&[u8]),
    ) -> Option<(usize, &Arc<Peer>)> {
        let number = *self.addresses.get(&from)?;
        for own in &self.own {
            let begun = match own.gate.verify_packet(Some(IpAddr::V4(from)), datagram, room) {
                Ok(Packet::HandshakeInit(begun)) => begun,
                Err(TunnResult::WriteToNetwork(cookie)) => {
                    send(cookie);
                    return None;
                }
                // Meant for another key of ours, or for nobody.
                _ => continue,
            };
            let said = parse_handshake_anon(&own.key.secret, &own.point, &begun).ok()?;
            let their = PublicKey::new(said.peer_static_public)?;
            let index = self.pairs.get(&(own.key.public, their))?;
            let (of, lane) = self.lanes.get(index)?;
            let peer = self.peers.get(*of).filter(|_| *of == number)?;
            lane.open(datagram, (from, now), room, send);
            return Some((0, peer));
        }
        None
    }
}
