//! Addresses of the managed network: which are held, which are kept for a slot, and the next free
//! one. A host has its addresses in blocks of 64, so that the other hosts need one route for each
//! and not one for each instance; an address comes back as late as possible.

use ipnet::Ipv4Net;
use model::host;
use model::mutation::{Mutation, is_in};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;

/// Free addresses that a host should find in its blocks: with fewer it gets another block.
const SPARE: usize = 8;
/// So many of a host's addresses that were given back last are not given again: who still has an
/// old answer must not reach somebody else there.
const RESTING: usize = 256;
/// Blocks are begun this far from each other, in blocks: it has no factor in common with a range.
const STRIDE: u64 = 7_919;

/// 64 addresses.
#[derive(Clone, Debug, Default)]
struct Block {
    /// A bit each.
    held: u64,
    /// The host of all of them that are not in `others`.
    host: u32,
    /// Which bit is on which other host.
    others: Vec<(u8, u32)>,
}

impl Block {
    fn host_of(&self, bit: u8) -> u32 {
        let other = self.others.iter().find(|(other, _)| *other == bit);
        other.map_or(self.host, |(_, host)| *host)
    }

    /// Whose block it is: the lowest address decides, as for `publish::routes`.
    fn owner(&self) -> Option<u32> {
        (self.held != 0).then(|| self.host_of(bit_of(self.held.trailing_zeros())))
    }

    fn hold(&mut self, bit: u8, host: u32) {
        if self.held == 0 {
            self.host = host;
        }
        self.held |= 1 << bit;
        if host != self.host {
            self.others.push((bit, host));
        }
    }

    fn release(&mut self, bit: u8) -> Option<u32> {
        if self.held & (1 << bit) == 0 {
            return None;
        }
        let host = self.host_of(bit);
        self.held &= !(1 << bit);
        self.others.retain(|(other, _)| *other != bit);
        Some(host)
    }
}

/// What a host has.
#[derive(Clone, Debug, Default)]
struct Share {
    /// Its blocks in their order, each with its place.
    blocks: Vec<(u32, u32)>,
    /// The address that it got last; 0 for none.
    last: u32,
}

impl Share {
    /// Place of one of its blocks.
    fn place(&self, block: u32) -> Option<u32> {
        self.blocks.iter().rev().find(|(own, _)| *own == block).map(|(_, place)| *place)
    }
}

/// Place of an address in its block.
fn bit_of(number: u32) -> u8 {
    (number & 63) as u8
}

/// The addresses of a block that may be given, a bit each.
#[derive(Clone, Copy, Debug)]
struct Open {
    block: u32,
    usable: u64,
    /// Those of them that nobody had a moment ago.
    rested: u64,
}

/// The first address of a block among some of its bits.
fn first_of(block: u32, bits: u64) -> Option<u32> {
    (bits != 0).then(|| (block << 6) | bits.trailing_zeros())
}

/// What is held.
#[derive(Clone, Debug, Default)]
pub(super) struct Addresses {
    /// Places of the blocks by their upper 26 bits; none is empty.
    places: BTreeMap<u32, u32>,
    /// Blocks by their place.
    blocks: Vec<Block>,
    /// Places of no block.
    vacant: Vec<u32>,
    /// By the host's place in its table.
    shares: Vec<Share>,
    /// The addresses that a host gave back last.
    resting: BTreeMap<u32, VecDeque<u32>>,
    /// All of them.
    at_rest: BTreeSet<u32>,
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
    pub(super) fn hold(&mut self, address: Ipv4Addr, host: u32) {
        if is_in(Mutation::AddressTwice) {
            return;
        }
        let number = u32::from(address);
        if self.shares.len() <= host as usize {
            self.shares.resize_with(host as usize + 1, Share::default);
        }
        // Most are in a block that the host has already.
        let known = self.shares[host as usize].place(number >> 6);
        let place = known.unwrap_or_else(|| self.place(number >> 6));
        let block = &mut self.blocks[place as usize];
        if block.held & (1 << (number & 63)) != 0 {
            *self.again.entry(number).or_default() += 1;
            return;
        }
        let before = block.owner();
        block.hold(bit_of(number), host);
        let now = block.owner();
        self.shares[host as usize].last = number;
        self.note_owner((number >> 6, place), before, now);
    }

    /// For `Fleet::touch`.
    #[inline]
    pub(super) fn touch(&self, host: u32) -> u32 {
        let block = self.shares.get(host as usize).and_then(|share| share.blocks.last());
        block.and_then(|(_, place)| self.blocks.get(*place as usize)).map_or(0, |block| block.host)
    }

    /// Place of a block; one is made for a block that is not known.
    fn place(&mut self, block: u32) -> u32 {
        let Self { places, blocks, vacant, .. } = self;
        *places.entry(block).or_insert_with(|| {
            vacant.pop().unwrap_or_else(|| {
                blocks.push(Block::default());
                u32::try_from(blocks.len() - 1).unwrap_or(u32::MAX)
            })
        })
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
        let Some(place) = self.places.get(&(number >> 6)).copied() else { return };
        let block = &mut self.blocks[place as usize];
        let before = block.owner();
        if let Some(host) = block.release(bit_of(number)) {
            let resting = self.resting.entry(host).or_default();
            resting.push_back(number);
            self.at_rest.insert(number);
            if resting.len() > RESTING
                && let Some(over) = resting.pop_front()
                && !resting.contains(&over)
            {
                self.at_rest.remove(&over);
            }
        }
        let now = block.owner();
        if now.is_none() {
            self.places.remove(&(number >> 6));
            self.vacant.push(place);
        }
        self.note_owner((number >> 6, place), before, now);
    }

    /// Notes whose a block is after a change.
    fn note_owner(&mut self, block: (u32, u32), before: Option<u32>, now: Option<u32>) {
        if now == before {
            return;
        }
        if let Some(share) = before.and_then(|host| self.shares.get_mut(host as usize)) {
            share.blocks.retain(|other| *other != block);
        }
        if let Some(share) = now.and_then(|host| self.shares.get_mut(host as usize))
            && let Err(at) = share.blocks.binary_search(&block)
        {
            share.blocks.insert(at, block);
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

    /// The addresses that are held of the block at a place.
    fn held(&self, place: Option<u32>) -> u64 {
        place.and_then(|place| self.blocks.get(place as usize)).map_or(0, |block| block.held)
    }

    fn is_held(&self, number: u32) -> bool {
        self.held(self.places.get(&(number >> 6)).copied()) & (1 << (number & 63)) != 0
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

    /// A free address for a host that nobody keeps, none of `taken`: of its own blocks the next one
    /// after that which it got last, else of a new block, else any.
    pub(super) fn free(
        &self,
        subnet: Ipv4Net,
        host: u32,
        turn: u64,
        taken: &[Ipv4Addr],
    ) -> Option<Ipv4Addr> {
        let range = ours(subnet)?;
        let share = self.shares.get(host as usize);
        let own = share.map_or(&[][..], |share| &share.blocks);
        let mine = || {
            own.iter()
                .map(|(block, place)| self.open(*block, self.held(Some(*place)), range, taken))
        };
        let after = share.map_or(0, |share| share.last);
        let next = || {
            let later = |open: Open| {
                let from = after.saturating_add(1).max(open.block << 6);
                let above = if from >> 6 == open.block { u64::MAX << (from & 63) } else { 0 };
                first_of(open.block, open.rested & above)
            };
            let later = mine().find_map(later);
            later
                .or_else(|| mine().find_map(|open| first_of(open.block, open.rested)))
                .or_else(|| mine().find_map(|open| first_of(open.block, open.usable)))
        };
        let spare: u32 = mine().map(|open| open.rested.count_ones()).sum();
        let found = if spare as usize > SPARE {
            next()
        } else {
            let turn = if is_in(Mutation::AddressTwice) { 0 } else { turn };
            let new = self.new_block(range, turn).map(|block| self.open(block, 0, range, taken));
            new.and_then(|open| first_of(open.block, open.rested)).or_else(next)
        };
        let any = || {
            let blocks = (range.0 >> 6)..=(range.1 >> 6);
            let held = |block| self.held(self.places.get(&block).copied());
            let mut open = blocks.map(|block| self.open(block, held(block), range, taken));
            open.find_map(|open| first_of(open.block, open.usable))
        };
        found.or_else(any).map(Ipv4Addr::from)
    }

    /// A block of which nobody has an address, the first from the turn on.
    fn new_block(&self, range: (u32, u32), turn: u64) -> Option<u32> {
        let (first, last) = (range.0 >> 6, range.1 >> 6);
        let size = u64::from(last - first) + 1;
        let start = turn.wrapping_mul(STRIDE) % size;
        let start = first.saturating_add(u32::try_from(start).unwrap_or(0));
        (start..=last).chain(first..start).find(|block| !self.places.contains_key(block))
    }

    /// Addresses of a block that are not held and that nobody keeps, none of `taken`.
    fn open(&self, block: u32, held: u64, (first, last): (u32, u32), taken: &[Ipv4Addr]) -> Open {
        let all @ (low, high) = (block << 6, (block << 6) | 63);
        let mut usable = !held;
        if low < first {
            usable &= u64::MAX.checked_shl(first - low).unwrap_or(0);
        }
        if high > last {
            usable &= u64::MAX.checked_shr(high - last).unwrap_or(0);
        }
        for (number, _) in self.kept.range(all.0..=all.1) {
            usable &= !(1 << bit_of(*number));
        }
        for number in taken.iter().map(|address| u32::from(*address)) {
            if number >> 6 == block {
                usable &= !(1 << bit_of(number));
            }
        }
        let resting = self.at_rest.range(all.0..=all.1);
        let rested = resting.fold(usable, |bits, number| bits & !(1 << bit_of(*number)));
        Open { block, usable, rested }
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
            // Three hosts in a range of four blocks.
            let host = u32::try_from(turn % 3).unwrap();
            let Some(address) = pool.free(subnet, host, turn, &[]) else { break };
            pool.hold(address, host);
            assert!(given.insert(address), "{address} twice");
        }
        assert_eq!(given.len(), 246, "all but network, gateway and Docker's eight");
        assert!(pool.free(subnet, 0, 5, &[]).is_none());
        pool.release(Ipv4Addr::new(10, 9, 8, 77));
        assert_eq!(pool.free(subnet, 1, 9, &[]), Some(Ipv4Addr::new(10, 9, 8, 77)));
        assert!(Addresses::default().free(net("10.9.8.0/29"), 0, 0, &[]).is_none());
    }

    #[test]
    fn a_host_has_its_addresses_in_few_blocks_and_no_other_host_has_any_there() {
        let subnet = net("10.42.0.0/16");
        let mut pool = Addresses::default();
        let mut blocks: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        for turn in 0..4_000_u32 {
            let host = turn % 100;
            let address = pool.free(subnet, host, u64::from(turn), &[]).unwrap();
            pool.hold(address, host);
            blocks.entry(u32::from(address) >> 6).or_default().insert(host);
        }
        assert!(blocks.values().all(|hosts| hosts.len() == 1), "{blocks:?}");
        assert!(blocks.len() <= 200, "{} blocks for 100 hosts of 40 instances", blocks.len());
    }

    #[test]
    fn an_address_that_is_given_back_comes_again_only_after_many_others() {
        let subnet = net("10.9.0.0/20");
        let mut pool = Addresses::default();
        let mut held: Vec<Ipv4Addr> = vec![];
        let mut recent: Vec<Ipv4Addr> = vec![];
        for turn in 0..4_000 {
            let address = pool.free(subnet, 7, turn, &[]).unwrap();
            let since = recent.iter().rev().position(|other| *other == address);
            assert!(since.is_none_or(|n| n >= RESTING), "{address} after {since:?}");
            pool.hold(address, 7);
            held.push(address);
            if held.len() > 30 {
                let gone = held.remove(usize::try_from(turn).unwrap() % 20);
                pool.release(gone);
                recent.push(gone);
            }
        }
    }

    #[test]
    fn who_holds_an_address_beside_another_does_not_free_it() {
        let (mut pool, subnet) = (Addresses::default(), net("10.9.8.0/24"));
        let address = Ipv4Addr::new(10, 9, 8, 9);
        pool.hold(address, 1);
        pool.hold(address, 1);
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
            let Some(address) = pool.free(subnet, 2, turn, &[]) else { break };
            assert_ne!(address, kept);
            pool.hold(address, 2);
        }
        for not_ours in ["10.9.8.0", "10.9.8.1", "10.9.8.250", "10.9.8.255", "10.8.0.1"] {
            let address = not_ours.parse().unwrap();
            assert_eq!(Addresses::default().preferred(subnet, &[address], None), None);
        }
    }
}
