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

/// All host ports.
#[derive(Clone, Debug, Default)]
pub(super) struct Ports {
    held: BTreeMap<(Transport, u16, u32), Vec<Hold>>,
}

impl Ports {
    pub(super) fn hold(&mut self, host: u32, transport: Transport, port: u16, hold: Hold) {
        self.held
            .entry((transport, port, host))
            .or_insert_with(|| Vec::with_capacity(1))
            .push(hold);
    }

    pub(super) fn release(&mut self, host: u32, transport: Transport, port: u16, hold: Hold) {
        let key = (transport, port, host);
        let Some(holds) = self.held.get_mut(&key) else { return };
        if let Some(at) = holds.iter().position(|one| *one == hold) {
            holds.remove(at);
        }
        if holds.is_empty() {
            self.held.remove(&key);
        }
    }

    /// Hosts where somebody may be in the way of a wish.
    pub(super) fn suspects(&self, wish: &Wish) -> Bits {
        let (from, to) = ((wish.transport, wish.port, 0), (wish.transport, wish.port, u32::MAX));
        let in_the_way = |holds: &Vec<Hold>| {
            let anywhere = Wish { ip: None, ..*wish };
            holds.iter().any(|hold| hold.clashes(&anywhere))
        };
        let held = self.held.range(from..=to).filter(|(_, holds)| in_the_way(holds));
        held.map(|((_, _, host), _)| *host).collect()
    }

    /// Who is in the way of a wish on a host.
    pub(super) fn in_the_way(&self, host: u32, wish: &Wish) -> Option<u32> {
        let holds = self.held.get(&(wish.transport, wish.port, host))?;
        holds.iter().find(|hold| hold.clashes(wish)).map(|hold| hold.service)
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
                && !self.held.contains_key(&(transport, *port, host))
        })
    }
}
