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

/// One order, with the hosts that have changed since it was made.
#[derive(Clone, Debug, Default)]
struct Order {
    sorted: Vec<Rest>,
    stale: Bits,
}

impl Order {
    /// Puts the hosts that have changed where they belong now.
    fn renew(&mut self, measure: Measure, left: impl Fn(u32) -> Left) {
        if self.stale.is_empty() {
            return;
        }
        let mut moved: Vec<Rest> =
            self.stale.iter().map(|rank| Rest::of(measure, left(rank))).collect();
        moved.sort_unstable();
        let mut moved = moved.into_iter().peekable();
        let mut sorted = Vec::with_capacity(self.sorted.len());
        for rest in &self.sorted {
            if self.stale.has(rest.rank) {
                continue;
            }
            while let Some(before) = moved.next_if(|other| other < rest) {
                sorted.push(before);
            }
            sorted.push(*rest);
        }
        sorted.extend(moved);
        self.sorted = sorted;
        self.stale.clear();
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
        self.by_measure.insert(measure, Order { sorted, stale: Bits::default() });
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

    /// The hosts as they were when the order was made.
    pub(super) fn sorted(&self, measure: Measure) -> &[Rest] {
        self.by_measure.get(&measure).map_or(&[], |order| &order.sorted)
    }
}
