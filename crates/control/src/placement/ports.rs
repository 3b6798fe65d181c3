//! Host ports: who holds which, on which address of which host.

use super::bits::Bits;
use model::service::Transport;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Host ports that are chosen from when none is named.
pub(super) const CHOSEN: std::ops::RangeInclusive<u16> = 32_768..=60_999;

/// One holder of a port of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hold {
    /// Address of the host; `None` is all.
    pub(super) ip: Option<IpAddr>,
    pub(super) service: u32,
    /// The process of the container binds it, so that nobody shares it.
    pub(super) exclusive: bool,
    /// The instance is stopped and kept.
    pub(super) stopped: bool,
}

/// Somebody who wants a port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) transport: Transport,
    pub(super) port: u16,
    pub(super) ip: Option<IpAddr>,
    pub(super) service: u32,
    pub(super) exclusive: bool,
}

impl Hold {
    /// Can the two not be beside each other? Instances of one service share a port that the
    /// dataplane serves: it listens once and balances over them.
    fn clashes(&self, wish: &Wish) -> bool {
        let apart = self.ip.is_some() && wish.ip.is_some() && self.ip != wish.ip;
        let shared =
            self.service == wish.service && (self.stopped || !(self.exclusive || wish.exclusive));
        !apart && !shared
    }
}

/// A port of a host that somebody holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    transport: Transport,
    port: u16,
    hold: Hold,
}

impl Held {
    fn key(&self) -> (Transport, u16) {
        (self.transport, self.port)
    }
}

/// All host ports.
#[derive(Clone, Debug, Default)]
pub(super) struct Ports {
    /// By the host's place in its table; by transport and port there. A host has some tens.
    by_host: Vec<Vec<Held>>,
    /// Hosts where somebody holds a port that is none of the chosen ones, each with how many do.
    fixed: BTreeMap<(Transport, u16), BTreeMap<u32, u32>>,
}

impl Ports {
    fn on(&self, host: u32) -> &[Held] {
        self.by_host.get(host as usize).map_or(&[], Vec::as_slice)
    }

    /// For `Fleet::touch`.
    #[inline]
    pub(super) fn touch(&self, host: u32) -> u32 {
        let on = self.on(host);
        on.get(on.len() / 2).map_or(0, |held| u32::from(held.port))
    }

    /// Who holds a port of a host.
    fn holders(&self, host: u32, transport: Transport, port: u16) -> impl Iterator<Item = &Hold> {
        let (on, key) = (self.on(host), (transport, port));
        let from = on.partition_point(|held| held.key() < key);
        on[from..].iter().take_while(move |held| held.key() == key).map(|held| &held.hold)
    }

    pub(super) fn hold(&mut self, host: u32, transport: Transport, port: u16, hold: Hold) {
        if self.by_host.len() <= host as usize {
            self.by_host.resize_with(host as usize + 1, Vec::new);
        }
        let on = &mut self.by_host[host as usize];
        let held = Held { transport, port, hold };
        let at = on.partition_point(|other| other.key() <= held.key());
        on.insert(at, held);
        if !CHOSEN.contains(&port) {
            *self.fixed.entry((transport, port)).or_default().entry(host).or_default() += 1;
        }
    }

    pub(super) fn release(&mut self, host: u32, transport: Transport, port: u16, hold: Hold) {
        let Some(on) = self.by_host.get_mut(host as usize) else { return };
        let key = (transport, port);
        let is = |held: &Held| held.key() == key && held.hold == hold;
        let Some(at) = on.iter().position(is) else { return };
        on.remove(at);
        let Some(hosts) = self.fixed.get_mut(&key) else { return };
        if let Some(count) = hosts.get_mut(&host) {
            *count -= 1;
            if *count == 0 {
                hosts.remove(&host);
            }
        }
        if hosts.is_empty() {
            self.fixed.remove(&key);
        }
    }

    /// Hosts where somebody may be in the way of a wish.
    pub(super) fn suspects(&self, wish: &Wish) -> Bits {
        let anywhere = Wish { ip: None, ..*wish };
        let in_the_way = |host: &u32| self.in_the_way(*host, &anywhere).is_some();
        if CHOSEN.contains(&wish.port) {
            let all = u32::try_from(self.by_host.len()).unwrap_or(u32::MAX);
            return (0..all).filter(in_the_way).collect();
        }
        let held = self.fixed.get(&(wish.transport, wish.port));
        held.into_iter().flat_map(BTreeMap::keys).copied().filter(in_the_way).collect()
    }

    /// Who is in the way of a wish on a host.
    pub(super) fn in_the_way(&self, host: u32, wish: &Wish) -> Option<u32> {
        let mut holders = self.holders(host, wish.transport, wish.port);
        holders.find(|hold| hold.clashes(wish)).map(|hold| hold.service)
    }

    /// A port that nobody holds on the host on any address, searched from a start that follows from
    /// `seed`; none of `chosen`.
    pub(super) fn free(
        &self,
        host: u32,
        transport: Transport,
        seed: u64,
        chosen: &[(Transport, u16)],
    ) -> Option<u16> {
        let (first, last) = (*CHOSEN.start(), *CHOSEN.end());
        let size = u64::from(last - first) + 1;
        let start = first + u16::try_from(seed % size).unwrap_or(0);
        (start..=last).chain(first..start).find(|port| {
            !chosen.contains(&(transport, *port))
                && self.holders(host, transport, *port).next().is_none()
        })
    }
}
