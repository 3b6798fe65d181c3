//! Two hosts by hand: what one sends the other one gets, whichever of their keys it names.

use super::super::keys::{Key, Keys, Step};
use super::super::table::Table;
use super::*;
use ipnet::Ipv4Net;
use model::wireguard::{WirePeer, WireWish};
use std::collections::{BTreeMap, BTreeSet};

const A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const B: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// A host with its keys; it knows one other.
struct Host {
    at: Ipv4Addr,
    other: Ipv4Addr,
    keys: Keys,
    _dir: tempfile::TempDir,
    table: Table,
    /// Datagrams for the other one.
    out: Vec<Vec<u8>>,
}

fn block(of: Ipv4Addr) -> Ipv4Net {
    format!("10.42.{}.0/26", of.octets()[3]).parse().unwrap()
}

/// An IPv4 packet of a container there to a container here.
fn packet(from: Ipv4Addr, to: Ipv4Addr, word: &str) -> Vec<u8> {
    let length = u8::try_from(20 + word.len()).unwrap();
    let mut packet = vec![0x45, 0, 0, length, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend([10, 42, from.octets()[3], 7, 10, 42, to.octets()[3], 7]);
    packet.extend(word.as_bytes());
    packet
}

impl Host {
    fn new(at: Ipv4Addr, other: Ipv4Addr) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut keys = Keys::open(dir.path()).unwrap();
        keys.follow(Step::Make, 0, 0).unwrap();
        Self { at, other, keys, _dir: dir, table: Table::empty(7), out: vec![] }
    }

    /// It hears which keys the other one has.
    fn learn(&mut self, theirs: &[PublicKey]) {
        let (keys, routes) = (theirs.to_vec(), BTreeSet::from([block(self.other)]));
        let peer = WirePeer { address: self.other, keys, routes };
        let wish = WireWish {
            active: true,
            device: String::new(),
            address: self.at,
            port: 51_820,
            subnet: "10.42.0.0/16".parse().unwrap(),
            order: 0,
            own: BTreeSet::from([block(self.at)]),
            peers: BTreeMap::from([("other".parse().unwrap(), peer)]),
        };
        self.table = Table::next(&self.table, &wish, self.keys.all());
    }

    fn new_key(&mut self, order: u64) {
        self.keys.follow(Step::Make, order, 0).unwrap();
    }

    fn begin(&mut self, lane: usize) {
        let lane = Arc::clone(&self.table.peers[0].lanes[lane]);
        lane.begin(0, &mut [0; ROOM_BYTES], |bytes| self.out.push(bytes.to_vec()));
    }

    fn send(&mut self, word: &str) {
        let lane = Arc::clone(self.table.peers[0].sending().expect("a session"));
        let packet = packet(self.at, self.other, word);
        let mut room = vec![0; packet.len() + ROOM_BYTES];
        let bytes = lane.sealer().seal(&packet, &mut room);
        self.out.push(room[..bytes].to_vec());
    }

    /// Takes one datagram; the packet in it, if there is one for containers.
    fn take(&mut self, datagram: &[u8], from: Ipv4Addr) -> Option<Vec<u8>> {
        let mut room = vec![0; 2_048];
        let mut out = vec![];
        let opened = self.table.open(datagram, (from, 1), &mut room, |b| out.push(b.to_vec()));
        let bytes = opened.map_or(0, |(bytes, _)| bytes);
        self.out.extend(out);
        (bytes > 0).then(|| room[..bytes].to_vec())
    }
}

/// Two hosts that know each other's keys.
fn pair() -> (Host, Host) {
    let (mut a, mut b) = (Host::new(A, B), Host::new(B, A));
    a.learn(&b.keys.public());
    b.learn(&a.keys.public());
    (a, b)
}

/// Carries datagrams until there are none: the packets that came out, on either side.
fn carry(a: &mut Host, b: &mut Host) -> Vec<Vec<u8>> {
    let mut packets = vec![];
    while !a.out.is_empty() || !b.out.is_empty() {
        for datagram in std::mem::take(&mut a.out) {
            packets.extend(b.take(&datagram, A));
        }
        for datagram in std::mem::take(&mut b.out) {
            packets.extend(a.take(&datagram, B));
        }
    }
    packets
}

fn up(host: &Host) -> Vec<bool> {
    host.table.peers[0].lanes.iter().map(|lane| lane.is_up()).collect()
}

#[test]
fn packets_go_both_ways_once_hands_were_shaken() {
    let (mut a, mut b) = pair();
    assert_eq!((up(&a), up(&b)), (vec![false], vec![false]));
    a.begin(0);
    carry(&mut a, &mut b);
    assert_eq!((up(&a), up(&b)), (vec![true], vec![true]), "the keepalive tells the other end");
    a.send("there");
    let sent = a.out[0].clone();
    assert!(!sent.windows(5).any(|part| part == b"there"), "in clear");
    b.send("back");
    assert_eq!(carry(&mut a, &mut b), [packet(A, B, "there"), packet(B, A, "back")]);
}

#[test]
fn what_was_heard_before_is_not_taken_again() {
    let (mut a, mut b) = pair();
    a.begin(0);
    let begun = a.out[0].clone();
    carry(&mut a, &mut b);
    a.send("once");
    let sent = a.out.remove(0);
    assert!(b.take(&sent, A).is_some());
    assert_eq!(b.take(&sent, A), None, "a packet");
    b.out.clear();
    assert_eq!(b.take(&begun, A), None);
    assert!(b.out.is_empty(), "a handshake is not answered twice");
}

#[test]
fn a_stranger_and_a_peer_that_says_what_is_not_its_own_are_not_heard() {
    let (mut a, mut b) = pair();
    let mut stranger = Host::new(A, B);
    stranger.learn(&b.keys.public());
    stranger.begin(0);
    let begun = stranger.out.remove(0);
    assert_eq!(b.take(&begun, A), None, "another key at a known address");
    a.begin(0);
    let begun = a.out[0].clone();
    assert_eq!(b.take(&begun, Ipv4Addr::new(192, 0, 2, 9)), None, "from another address");
    assert!(b.out.is_empty(), "nobody is answered");
    carry(&mut a, &mut b);
    // A container of b's own, said to be on a.
    let lane = Arc::clone(a.table.peers[0].sending().unwrap());
    let forged = packet(B, B, "forged");
    let mut room = vec![0; forged.len() + ROOM_BYTES];
    let bytes = lane.sealer().seal(&forged, &mut room);
    assert_eq!(b.take(&room[..bytes], A), None);
    let mut spoilt = {
        a.send("spoilt");
        a.out.remove(0)
    };
    *spoilt.last_mut().unwrap() ^= 1;
    assert_eq!(b.take(&spoilt, A), None);
    for length in 0..spoilt.len() {
        assert_eq!(b.take(&spoilt[..length], A), None);
    }
}

#[test]
fn keys_change_while_packets_go() {
    let (mut a, mut b) = pair();
    a.begin(0);
    carry(&mut a, &mut b);
    // a has a new key; b has not heard of it.
    a.new_key(1);
    let theirs = b.keys.public();
    a.learn(&theirs);
    assert_eq!(up(&a), [false, true], "the session of the earlier key is still there");
    a.begin(0);
    carry(&mut a, &mut b);
    assert_eq!(up(&a), [false, true], "b does not know it");
    a.send("by the earlier key");
    assert_eq!(carry(&mut a, &mut b), [packet(A, B, "by the earlier key")]);
    // b hears of it.
    let mine = a.keys.public();
    b.learn(&mine);
    a.begin(0);
    carry(&mut a, &mut b);
    assert_eq!((up(&a), up(&b)), (vec![true, true], vec![true, true]));
    let newest = a.keys.public()[0];
    assert_eq!(b.table.peers[0].sending().unwrap().key, newest);
    b.send("to the newer key");
    // On its way while a gives the earlier key up, and b hears of that.
    let early = b.out.remove(0);
    a.keys.follow(Step::GiveUp, 1, 0).unwrap();
    a.learn(&theirs);
    assert_eq!(a.take(&early, B), Some(packet(B, A, "to the newer key")));
    b.learn(&a.keys.public());
    assert_eq!((up(&a), up(&b)), (vec![true], vec![true]));
    b.send("still");
    assert_eq!(carry(&mut a, &mut b), [packet(B, A, "still")]);
}

#[test]
fn a_key_that_is_no_longer_told_of_opens_nothing() {
    let (mut a, mut b) = pair();
    a.begin(0);
    carry(&mut a, &mut b);
    a.send("late");
    let late = a.out.remove(0);
    b.learn(&[]);
    assert_eq!(b.take(&late, A), None, "its session has ended");
    a.begin(0);
    let begun = a.out.remove(0);
    assert_eq!(b.take(&begun, A), None);
    assert!(b.out.is_empty());
}

#[test]
fn a_handshake_is_tried_again_and_again_with_longer_pauses() {
    let (mut a, _) = pair();
    let lane = Arc::clone(&a.table.peers[0].lanes[0]);
    let mut at = vec![];
    for now in (0..600_000).step_by(50) {
        if lane.is_due(false, now) {
            at.push(now);
            lane.begin(now, &mut [0; ROOM_BYTES], |bytes| a.out.push(bytes.to_vec()));
        }
    }
    assert_eq!(at[..6], [0, 250, 750, 1_750, 3_750, 8_750]);
    assert_eq!((at.len(), a.out.len()), (UNASKED_MAX, UNASKED_MAX), "nothing is to be sent");
    assert!(lane.is_due(true, 700_000), "now there is");
}

#[test]
fn lanes_have_numbers_that_packets_find_them_by() {
    assert_eq!(Lane::index_of(0x0012_3407), 0x1234);
    assert_eq!(Lane::next_index(0x00ff_ffff), 0);
    let (a, b) = pair();
    let numbers = [&a, &b].map(|host| host.table.peers[0].lanes[0].index);
    assert_eq!(numbers, [10, 10], "each host counts for itself");
    let key: &Key = &a.keys.all()[0];
    assert_eq!(Lane::new(key, b.keys.public()[0], 5).own, key.public);
}
