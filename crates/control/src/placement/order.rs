//! All hosts by how much is left on them, the best first: kept as instances come and go, so that a
//! service of many instances need not look at every host before its first one.

use super::bits::Bits;
use super::hosts::Left;
use std::collections::BTreeMap;

/// What a service compares hosts by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Measure {
    /// The fullest first.
    pub(super) binpack: bool,
    /// It reserves memory.
    pub(super) memory: bool,
    /// It reserves processor time.
    pub(super) cpu: bool,
}

/// The part of a score that follows from the host alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rest {
    memory: i64,
    cpu: i64,
    instances: i64,
    /// Place of the host among all by id.
    pub(super) rank: u32,
}

impl Rest {
    pub(super) fn of(measure: Measure, left: Left) -> Self {
        let sign = if measure.binpack { 1 } else { -1 };
        Self {
            memory: if measure.memory { sign * left.memory } else { 0 },
            cpu: if measure.cpu { sign * left.cpu } else { 0 },
            instances: -sign * i64::from(left.instances),
            rank: left.rank,
        }
    }
}

/// Of so many hosts one may have moved before the order is written anew.
const MOVED_SHARE: usize = 8;

/// One order, as it was and what has moved since.
#[derive(Clone, Debug, Default)]
struct Order {
    sorted: Vec<Rest>,
    /// In their order: hosts that are elsewhere now than in `sorted`.
    moved: Vec<Rest>,
    /// These hosts.
    elsewhere: Bits,
    /// Hosts that have changed since all this was made.
    stale: Bits,
}

/// How far one has gone through an order.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Position {
    sorted: usize,
    moved: usize,
}

impl Order {
    /// Puts the hosts that have changed where they belong now.
    fn renew(&mut self, measure: Measure, left: impl Fn(u32) -> Left) {
        if self.stale.is_empty() {
            return;
        }
        let Self { sorted, moved, elsewhere, stale } = self;
        moved.retain(|rest| !stale.has(rest.rank));
        moved.extend(stale.iter().map(|rank| Rest::of(measure, left(rank))));
        moved.sort_unstable();
        elsewhere.unite(stale);
        stale.clear();
        if moved.len() * MOVED_SHARE > sorted.len() {
            sorted.retain(|rest| !elsewhere.has(rest.rank));
            sorted.append(moved);
            // Two runs that are sorted each: a merge.
            sorted.sort();
            elsewhere.clear();
        }
    }

    /// The next host from a position on, which goes on behind it.
    #[inline]
    fn next(&self, position: &mut Position) -> Option<Rest> {
        while let Some(rest) = self.sorted.get(position.sorted)
            && self.elsewhere.has(rest.rank)
        {
            position.sorted += 1;
        }
        let (stayed, moved) = (self.sorted.get(position.sorted), self.moved.get(position.moved));
        if moved.is_some_and(|moved| stayed.is_none_or(|stayed| moved < stayed)) {
            position.moved += 1;
            return moved.copied();
        }
        position.sorted += 1;
        stayed.copied()
    }
}

/// The orders that were asked for since the hosts were others.
#[derive(Clone, Debug, Default)]
pub(super) struct Orders {
    by_measure: BTreeMap<Measure, Order>,
}

impl Orders {
    /// Makes the order as it is now, of so many hosts; `left` by their rank.
    pub(super) fn make(&mut self, measure: Measure, hosts: u32, left: impl Fn(u32) -> Left) {
        if let Some(order) = self.by_measure.get_mut(&measure) {
            order.renew(measure, left);
            return;
        }
        let mut sorted: Vec<Rest> = (0..hosts).map(|rank| Rest::of(measure, left(rank))).collect();
        sorted.sort_unstable();
        self.by_measure.insert(measure, Order { sorted, ..Order::default() });
    }

    /// What is left on the host of this rank changed.
    pub(super) fn moved(&mut self, rank: u32) {
        for order in self.by_measure.values_mut() {
            order.stale.set(rank, true);
        }
    }

    /// The hosts are others.
    pub(super) fn clear(&mut self) {
        self.by_measure.clear();
    }

    /// The hosts as they were when the order was made, from a position on.
    pub(super) fn walk(
        &self,
        measure: Measure,
        position: &mut Position,
    ) -> impl Iterator<Item = Rest> {
        let order = self.by_measure.get(&measure);
        std::iter::from_fn(move || order.and_then(|order| order.next(position)))
    }
}
