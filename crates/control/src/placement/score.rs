//! Which of two hosts is the better one.

use super::Fleet;
use super::order::Rest;
use super::request::Demand;
use super::spread::{LEVELS_MAX, Spread};

/// How good a host is, the smaller the better: how many are under its values of the labels that
/// were asked to spread over; how many of the service it has; how many its zone has; what is left
/// of what is reserved, memory first, as Rancher's scheduler compares; its instances; its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Score {
    pub(super) asked: [u32; LEVELS_MAX],
    pub(super) own: u32,
    pub(super) zone: u32,
    pub(super) rest: Rest,
}

impl Score {
    /// `under` is how many of the service are under each node above the host, the uppermost first;
    /// with how many of it the host itself has.
    pub(super) fn of(demand: &Demand, under: [u32; LEVELS_MAX], (own, rest): (u32, Rest)) -> Self {
        let by_zone = !demand.spread_asked && !demand.binpack;
        Self {
            asked: if demand.spread_asked { under } else { [0; LEVELS_MAX] },
            own: if demand.binpack { 0 } else { own },
            zone: if by_zone { under[0] } else { 0 },
            rest,
        }
    }
}

impl Fleet {
    /// `own` is how many of the service the host has that count, `counts` how many are under each
    /// node of the tree.
    pub(super) fn score(
        &self,
        demand: &Demand,
        spread: &Spread,
        counts: &[u32],
        host: u32,
        own: u32,
    ) -> Score {
        let leaf = spread.leaf_of.get(host as usize).copied().unwrap_or_default();
        let rest = Rest::of(demand.measure(), self.hosts.left(host));
        Score::of(demand, spread.counts(counts, leaf), (own, rest))
    }

    /// How many of the service are under each node of the tree, but for what is in slot `n`.
    pub(super) fn counts(&self, service: u32, spread: &Spread, n: u32) -> Vec<u32> {
        let mut counts = vec![0; spread.nodes()];
        for ((slot, _), held) in &self.services.get(service).members {
            if *slot != n && held.stays() {
                spread.count(&mut counts, held.host, true);
            }
        }
        counts
    }

    /// Hosts of what is in the slot and counts otherwise.
    pub(super) fn hosts_of_slot(&self, service: u32, n: u32) -> Vec<u32> {
        let in_slot = self.services.get(service).members.range((n, 0)..=(n, u64::MAX));
        in_slot.filter(|(_, held)| held.stays()).map(|(_, held)| held.host).collect()
    }

    /// How many of the service on the host count, but for those of one slot.
    pub(super) fn own(&self, service: u32, host: u32, slot: &[u32]) -> u32 {
        let own = self.hosts.get(host).own(service).stay;
        let of_slot = slot.iter().filter(|other| **other == host).count();
        own.saturating_sub(u32::try_from(of_slot).unwrap_or(u32::MAX))
    }
}
