//! Addresses of the managed network: which are held, which are kept for a slot, and the next free
//! one. It rotates, so that an address comes back as late as possible.

use ipnet::Ipv4Net;
use model::host;
use model::mutation::{Mutation, is_in};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Each instance begins its search this far after the one before it: room for sidekicks with
/// addresses of their own.
const STRIDE: u64 = 8;

/// What is held.
#[derive(Clone, Debug, Default)]
pub(super) struct Addresses {
    /// 64 addresses a word, by their upper 26 bits.
    held: BTreeMap<u32, u64>,
    /// Further holders of an address that somebody holds already.
    again: BTreeMap<u32, u32>,
    /// Kept for slots of a service that has them no longer, by the service.
    kept: BTreeMap<u32, u32>,
}

/// The addresses that are the planner's to give; `None` when the range is too small for any.
fn ours(subnet: Ipv4Net) -> Option<(u32, u32)> {
    let first = u32::from(host::gateway(subnet)).checked_add(1)?;
    let last = u32::from(host::docker_range(subnet).network()).checked_sub(1)?;
    (first <= last).then_some((first, last))
}

impl Addresses {
    pub(super) fn hold(&mut self, address: Ipv4Addr) {
        if is_in(Mutation::AddressTwice) {
            return;
        }
        let number = u32::from(address);
        let word = self.held.entry(number >> 6).or_default();
        let bit = 1 << (number & 63);
        if *word & bit != 0 {
            *self.again.entry(number).or_default() += 1;
        }
        *word |= bit;
    }

    pub(super) fn release(&mut self, address: Ipv4Addr) {
        if is_in(Mutation::AddressTwice) {
            return;
        }
        let number = u32::from(address);
        if let Some(more) = self.again.get_mut(&number) {
            *more -= 1;
            if *more == 0 {
                self.again.remove(&number);
            }
            return;
        }
        if let Some(word) = self.held.get_mut(&(number >> 6)) {
            *word &= !(1 << (number & 63));
            if *word == 0 {
                self.held.remove(&(number >> 6));
            }
        }
    }

    pub(super) fn keep(&mut self, address: Ipv4Addr, service: u32) {
        self.kept.insert(u32::from(address), service);
    }

    pub(super) fn unkeep(&mut self, address: Ipv4Addr, service: u32) {
        if self.kept.get(&u32::from(address)) == Some(&service) {
            self.kept.remove(&u32::from(address));
        }
    }

    fn is_held(&self, number: u32) -> bool {
        self.held.get(&(number >> 6)).is_some_and(|word| word & (1 << (number & 63)) != 0)
    }

    /// The first of these that is ours to give, free and not kept for another service.
    pub(super) fn preferred(
        &self,
        subnet: Ipv4Net,
        wanted: &[Ipv4Addr],
        service: Option<u32>,
    ) -> Option<Ipv4Addr> {
        let (first, last) = ours(subnet)?;
        wanted.iter().copied().find(|address| {
            let number = u32::from(*address);
            let mine = self.kept.get(&number).is_none_or(|keeper| Some(*keeper) == service);
            (first..=last).contains(&number) && mine && !self.is_held(number)
        })
    }

    /// A free address that nobody keeps, the first from the turn on; none of `taken`.
    pub(super) fn free(&self, subnet: Ipv4Net, turn: u64, taken: &[Ipv4Addr]) -> Option<Ipv4Addr> {
        let turn = if is_in(Mutation::AddressTwice) { 0 } else { turn };
        let (first, last) = ours(subnet)?;
        let size = u64::from(last - first) + 1;
        let far = turn.wrapping_mul(STRIDE);
        // After each round the starts move on by one, so that all are used in turn.
        let round = (size / STRIDE * STRIDE).max(1);
        let start = (far % round + (far / round) % STRIDE) % size;
        let start = first.saturating_add(u32::try_from(start).unwrap_or(0));
        let usable = |number: &u32| {
            !self.kept.contains_key(number) && !taken.contains(&Ipv4Addr::from(*number))
        };
        self.open(start, last)
            .find(usable)
            .or_else(|| start.checked_sub(1).and_then(|end| self.open(first, end).find(usable)))
            .map(Ipv4Addr::from)
    }

    /// Addresses of the range that nobody holds.
    fn open(&self, first: u32, last: u32) -> impl Iterator<Item = u32> + '_ {
        let words = (first >> 6)..=(last >> 6);
        words.flat_map(move |word| {
            let free = !self.held.get(&word).copied().unwrap_or(0);
            let (from, to) = (first.max(word << 6), last.min((word << 6) | 63));
            let bits = if free == 0 || from > to { 0..0 } else { (from & 63)..(to & 63) + 1 };
            bits.filter(move |bit| free & (1 << bit) != 0).map(move |bit| (word << 6) | bit)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn every_address_of_a_range_is_given_once_and_then_none() {
        let subnet = net("10.9.8.0/24");
        let (mut pool, mut given) = (Addresses::default(), BTreeSet::new());
        for turn in 0..1_000 {
            let Some(address) = pool.free(subnet, turn, &[]) else { break };
            pool.hold(address);
            assert!(given.insert(address), "{address} twice");
        }
        assert_eq!(given.len(), 246, "all but network, gateway and Docker's eight");
        assert!(pool.free(subnet, 5, &[]).is_none());
        pool.release(Ipv4Addr::new(10, 9, 8, 77));
        assert_eq!(pool.free(subnet, 9, &[]), Some(Ipv4Addr::new(10, 9, 8, 77)));
        assert!(Addresses::default().free(net("10.9.8.0/29"), 0, &[]).is_none());
    }

    #[test]
    fn an_address_that_is_given_back_comes_again_only_after_all_others() {
        let subnet = net("10.9.0.0/20");
        let (mut pool, mut given) = (Addresses::default(), BTreeSet::new());
        for turn in 0..4_000 {
            let address = pool.free(subnet, turn, &[]).unwrap();
            assert!(given.insert(address), "{address} again at turn {turn}");
            pool.hold(address);
            pool.release(address);
        }
    }

    #[test]
    fn who_holds_an_address_beside_another_does_not_free_it() {
        let (mut pool, subnet) = (Addresses::default(), net("10.9.8.0/24"));
        let address = Ipv4Addr::new(10, 9, 8, 9);
        pool.hold(address);
        pool.hold(address);
        pool.release(address);
        assert!(pool.preferred(subnet, &[address], None).is_none());
        pool.release(address);
        assert_eq!(pool.preferred(subnet, &[address], None), Some(address));
    }

    #[test]
    fn a_kept_address_is_given_to_its_service_alone() {
        let (mut pool, subnet) = (Addresses::default(), net("10.9.8.0/24"));
        let kept = Ipv4Addr::new(10, 9, 8, 9);
        pool.keep(kept, 3);
        assert_eq!(pool.preferred(subnet, &[kept], Some(3)), Some(kept));
        assert_eq!(pool.preferred(subnet, &[kept], Some(4)), None);
        for turn in 0..300 {
            let Some(address) = pool.free(subnet, turn, &[]) else { break };
            assert_ne!(address, kept);
            pool.hold(address);
        }
        for not_ours in ["10.9.8.0", "10.9.8.1", "10.9.8.250", "10.9.8.255", "10.8.0.1"] {
            let address = not_ours.parse().unwrap();
            assert_eq!(Addresses::default().preferred(subnet, &[address], None), None);
        }
    }
}
