//! What is sent and what comes, written down while a check goes on.

use super::packet::{Come, Kind};
use model::limits::NET_CHECK_HOSTS_MAX;
use model::net_check::{NetSeen, NetTarget, NetTask, PeerSeen};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Instant;

/// Where a packet goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    /// Of the host that is asked; `None` for a container of this one.
    pub(super) number: Option<u16>,
    pub(super) to: Ipv4Addr,
    pub(super) kind: Kind,
    pub(super) turn: u16,
    pub(super) size: u16,
}

/// All that is known of one check.
#[derive(Debug, Default)]
pub(super) struct Book {
    peers: BTreeMap<u16, PeerSeen>,
    /// When a question through the overlay was sent.
    sent_at: BTreeMap<(u16, u16), Instant>,
    /// The host of a container, `None` for this one.
    containers: BTreeMap<Ipv4Addr, Option<u16>>,
    hosts: BTreeMap<Ipv4Addr, u16>,
    own: BTreeSet<Ipv4Addr>,
    /// Questions for a MAC address, by who asks.
    arp: BTreeMap<Ipv4Addr, u32>,
}

/// Most senders of ARP questions that are remembered.
const ARP_SENDERS_MAX: usize = 65_536;

impl Book {
    /// Notes who is to be asked.
    pub(super) fn begin(&mut self, task: &NetTask) {
        self.containers.extend(task.own.iter().map(|ip| (*ip, None)));
        for NetTarget { number, address, containers, .. } in &task.targets {
            self.hosts.insert(*address, *number);
            self.containers.extend(containers.iter().map(|ip| (*ip, Some(*number))));
        }
    }

    /// One was sent, or why not.
    pub(super) fn sent(&mut self, way: Way, at: Instant, result: std::io::Result<usize>) {
        let Some(number) = way.number else { return };
        let peer = self.peers.entry(number).or_default();
        match (result, way.kind) {
            (Ok(_), Kind::Overlay) => {
                *peer.sent.entry(way.size).or_default() += 1;
                self.sent_at.insert((number, way.turn), at);
            }
            (Ok(_), Kind::Outer) => peer.outer_sent += 1,
            (Ok(_), Kind::Container | Kind::Answer) => {}
            (Err(error), _) if peer.error.is_empty() => peer.error = error.to_string(),
            (Err(_), _) => {}
        }
    }

    /// One has come. Is it a question that wants our answer?
    pub(super) fn come(&mut self, come: &Come, at: Instant) -> bool {
        let (note, from) = (come.note, come.note.from);
        if usize::from(from) >= NET_CHECK_HOSTS_MAX {
            return false;
        }
        match (note.kind, come.is_reply) {
            (Kind::Overlay, false) => {
                let peer = self.peers.entry(from).or_default();
                *peer.arrived.entry(come.size).or_default() += 1;
                return true;
            }
            (Kind::Outer, false) => self.peers.entry(from).or_default().outer_arrived += 1,
            (Kind::Answer, true) => {
                if let Some(number) = self.hosts.get(&come.source) {
                    let peer = self.peers.entry(*number).or_default();
                    *peer.answered.entry(note.size).or_default() += 1;
                    if let Some(sent) = self.sent_at.get(&(*number, note.turn)) {
                        let took = at.saturating_duration_since(*sent).as_micros();
                        let took = u64::try_from(took).unwrap_or(u64::MAX);
                        peer.rtt_us = Some(peer.rtt_us.map_or(took, |known| known.min(took)));
                    }
                }
            }
            (Kind::Outer, true) => {
                if let Some(number) = self.hosts.get(&come.source) {
                    self.peers.entry(*number).or_default().outer_answered += 1;
                }
            }
            (Kind::Container, true) => self.container_answers(come.source),
            (Kind::Overlay, true) | (Kind::Answer | Kind::Container, false) => {}
        }
        false
    }

    fn container_answers(&mut self, ip: Ipv4Addr) {
        match self.containers.get(&ip) {
            Some(None) => _ = self.own.insert(ip),
            Some(Some(number)) => {
                let peer = self.peers.entry(*number).or_default();
                if !peer.containers.contains(&ip) {
                    peer.containers.push(ip);
                }
            }
            None => {}
        }
    }

    /// Somebody asks for this host's MAC address.
    pub(super) fn asked(&mut self, by: Ipv4Addr) {
        if self.arp.len() < ARP_SENDERS_MAX || self.arp.contains_key(&by) {
            *self.arp.entry(by).or_default() += 1;
        }
    }

    /// Of another host.
    pub(super) fn peer(&mut self, number: u16) -> &mut PeerSeen {
        self.peers.entry(number).or_default()
    }

    /// All of it.
    pub(super) fn seen(&self) -> NetSeen {
        let mut peers = self.peers.clone();
        for (address, number) in &self.hosts {
            let asked = self.arp.get(address).copied().unwrap_or(0);
            peers.entry(*number).or_default().arp_arrived = asked;
        }
        NetSeen { peers, own: self.own.iter().copied().collect() }
    }
}
