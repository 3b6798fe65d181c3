//! Many instances of one service: a heap of hosts for each group that is spread over. It gives the
//! host that a full scan would, for the price of the few entries that a placement changes.

use super::choose::Survey;
use super::request::Demand;
use super::score::{Rest, Score};
use super::spread::Spread;
use super::{Ask, Fleet};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// How many of the service a host has, and the rest of its score: the order within a leaf.
type Key = (u32, Rest);

/// The heaps of one service, valid as long as nothing changes but by what comes out of it.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) demand: Demand,
    pub(super) dropped: u128,
    revision: u32,
    version: u64,
    spread: Arc<Spread>,
    heaps: Vec<BinaryHeap<Reverse<(Key, u32)>>>,
    /// The best host of each heap, with its key; the outer `None` is not known.
    tops: Vec<Option<Option<(Key, u32)>>>,
    /// How many of the service are under each node of the tree.
    counts: Vec<u32>,
    /// The host that came out last, and whether the instance was noted on it.
    last: Option<(u32, bool)>,
    /// For so many more the heaps are deep enough.
    good_for: u32,
}

impl Group {
    pub(super) fn of(
        fleet: &Fleet,
        ask: &Ask<'_>,
        demand: Demand,
        spread: Arc<Spread>,
        survey: &Survey,
    ) -> Self {
        let mut own = vec![0_u32; fleet.hosts.all.len()];
        let mut counts = vec![0; spread.nodes()];
        for held in fleet.services.get(demand.service).members.values() {
            if held.stays() {
                own[held.host as usize] += 1;
                spread.count(&mut counts, held.host, true);
            }
        }
        // Only so many of a leaf can come out of it: those that are best now.
        let deep = ask.more as usize + 1;
        let mut leaves: Vec<BinaryHeap<(Key, u32)>> = vec![BinaryHeap::new(); spread.leaves.len()];
        for host in &survey.hosts {
            let own = if demand.binpack { 0 } else { own[*host as usize] };
            let entry = ((own, Rest::of(&demand, fleet.hosts.left(*host))), *host);
            let leaf = &mut leaves[spread.leaf_of[*host as usize] as usize];
            if leaf.len() < deep {
                leaf.push(entry);
            } else if let Some(mut worst) = leaf.peek_mut()
                && entry < *worst
            {
                *worst = entry;
            }
        }
        let tops = vec![None; leaves.len()];
        let heaps = leaves.into_iter().map(|leaf| leaf.into_iter().map(Reverse).collect());
        Self {
            dropped: survey.dropped,
            revision: ask.revision,
            version: fleet.version,
            heaps: heaps.collect(),
            tops,
            counts,
            last: None,
            good_for: ask.more,
            spread,
            demand,
        }
    }

    pub(super) fn is_for(&self, service: u32, revision: u32, version: u64) -> bool {
        (self.demand.service, self.revision, self.version) == (service, revision, version)
            && self.good_for > 0
    }

    /// Is this the instance that came out last?
    pub(super) fn is_expected(&self, service: u32, host: u32, version: u64) -> bool {
        self.demand.service == service
            && self.version + 1 == version
            && self.last == Some((host, false))
    }

    /// The instance that came out last was noted.
    pub(super) fn took(&mut self, version: u64) {
        self.version = version;
        if let Some((host, noted)) = &mut self.last {
            *noted = true;
            self.spread.count(&mut self.counts, *host, true);
            // It holds its ports now: whether one more fits beside them is to be looked at.
            self.demand.suspects.set(*host, true);
        }
    }

    fn key(&self, fleet: &Fleet, host: u32) -> Key {
        let own = match self.demand.binpack {
            true => 0,
            false => fleet.own(self.demand.service, host, &[]),
        };
        (own, Rest::of(&self.demand, fleet.hosts.left(host)))
    }

    fn fits(&self, fleet: &Fleet, host: u32) -> bool {
        fleet.check(&self.demand, host).is_ok()
            && fleet.unmet(&self.demand, host) & !self.dropped == 0
    }

    /// The best entry of a leaf; entries that are no longer true go.
    fn top(&mut self, fleet: &Fleet, leaf: usize) -> Option<(Key, u32)> {
        if let Some(known) = self.tops[leaf] {
            return known;
        }
        let mut found = None;
        while let Some(Reverse((key, host))) = self.heaps[leaf].peek().copied() {
            if key == self.key(fleet, host) && self.fits(fleet, host) {
                found = Some((key, host));
                break;
            }
            self.heaps[leaf].pop();
        }
        self.tops[leaf] = Some(found);
        found
    }

    /// The service and the host of the instance that came out last, where they are noted.
    pub(super) fn last(&self) -> Option<(u32, u32)> {
        self.last.map(|(host, _)| (self.demand.service, host))
    }

    pub(super) fn service(&self) -> u32 {
        self.demand.service
    }

    /// The best host for slot `n`; `None` when no host of the heaps can take one more.
    pub(super) fn next(&mut self, fleet: &Fleet, n: u32) -> Option<u32> {
        if let Some((host, true)) = self.last.take() {
            let leaf = self.spread.leaf_of[host as usize] as usize;
            self.tops[leaf] = None;
            if self.fits(fleet, host) {
                let entry = Reverse((self.key(fleet, host), host));
                self.heaps[leaf].push(entry);
            }
        }
        self.good_for = self.good_for.saturating_sub(1);
        let service = self.demand.service;
        let slot = fleet.hosts_of_slot(service, n);
        let spread = Arc::clone(&self.spread);
        for host in &slot {
            spread.count(&mut self.counts, *host, false);
        }
        let mut best: Option<(Score, u32)> = None;
        let mut offer = |group: &Self, host: u32, leaf: u32, key: Key| {
            let under = spread.counts(&group.counts, leaf);
            if group.demand.spread_asked
                && best.as_ref().is_some_and(|(known, _)| under > known.asked)
            {
                return;
            }
            let score = Score::of(&group.demand, under, key);
            if best.as_ref().is_none_or(|(known, _)| score < *known) {
                best = Some((score, host));
            }
        };
        for leaf in 0..self.heaps.len() {
            if let Some((key, host)) = self.top(fleet, leaf)
                && !slot.contains(&host)
            {
                offer(self, host, u32::try_from(leaf).unwrap_or(u32::MAX), key);
            }
        }
        // What is in the slot does not count for it, so its host may be better than its entry says.
        for host in slot.iter().filter(|host| self.demand.hosts.has(**host)) {
            if self.fits(fleet, *host) {
                let own = fleet.own(service, *host, &slot);
                let key = (own, Rest::of(&self.demand, fleet.hosts.left(*host)));
                offer(self, *host, spread.leaf_of[*host as usize], key);
            }
        }
        for host in &slot {
            spread.count(&mut self.counts, *host, true);
        }
        let host = best.map(|(_, host)| host)?;
        self.last = Some((host, false));
        Some(host)
    }
}
