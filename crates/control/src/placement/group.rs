//! Many instances of one service: the hosts in their order for each group that is spread over. It
//! gives the host that a full scan would, for the price of the few hosts that a placement changes.

use super::bits::Bits;
use super::order::{Position, Rest};
use super::request::Demand;
use super::score::Score;
use super::spread::Spread;
use super::{Ask, Fleet};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

/// How many of the service a host has, and the rest of its score: the order within a leaf.
type Key = (u32, Rest);

/// Hosts of the order that are looked at together.
const AHEAD: usize = 8;

/// The hosts of one leaf.
#[derive(Clone, Debug, Default)]
struct Line {
    /// That fit and have nothing of the service yet, the best first.
    fresh: VecDeque<(Rest, u32)>,
    /// The others; an entry is true as long as its key is the host's and one more fits there.
    touched: BinaryHeap<Reverse<(Key, u32)>>,
    /// The best of both; the outer `None` is not known.
    top: Option<Option<(Key, u32)>>,
}

/// The hosts of one service, valid as long as nothing changes but by what comes out of it.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) demand: Demand,
    pub(super) dropped: u128,
    revision: u32,
    version: u64,
    spread: Arc<Spread>,
    /// By leaf.
    lines: Vec<Line>,
    /// Hosts that have something of the service.
    touched: Bits,
    /// How far the hosts of the order were looked at.
    seen: Position,
    /// The leaf with the best host under each node of the tree; the outer `None` is not known.
    firsts: Vec<Option<Option<u32>>>,
    /// How many of the service are under each node of the tree.
    counts: Vec<u32>,
    /// The host that came out last, and whether the instance was noted on it.
    last: Option<(u32, bool)>,
    /// For so many more it was asked: what comes then is found as one who plans from nothing would.
    good_for: u32,
}

impl Group {
    pub(super) fn of(
        fleet: &mut Fleet,
        ask: &Ask<'_>,
        demand: Demand,
        spread: Arc<Spread>,
        dropped: u128,
    ) -> Self {
        fleet.hosts.make_order(demand.measure());
        let mut counts = vec![0; spread.nodes()];
        let mut touched = Bits::default();
        for held in fleet.services.get(demand.service).members.values() {
            if held.stays() {
                spread.count(&mut counts, held.host, true);
                touched.set(held.host, true);
            }
        }
        let mut group = Self {
            dropped,
            revision: ask.revision,
            version: fleet.version,
            lines: vec![Line::default(); spread.leaves.len()],
            touched: Bits::default(),
            seen: Position::default(),
            firsts: vec![None; counts.len()],
            counts,
            last: None,
            good_for: ask.more,
            spread,
            demand,
        };
        for host in touched.iter() {
            if group.demand.hosts.has(host) {
                group.touch(fleet, host);
            }
        }
        group.touched = touched;
        group
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
        (own, Rest::of(self.demand.measure(), fleet.hosts.left(host)))
    }

    fn fits(&self, fleet: &Fleet, host: u32) -> bool {
        fleet.check(&self.demand, host).is_ok()
            && (self.demand.soft.is_empty()
                || fleet.unmet(&self.demand.soft, host) & !self.dropped == 0)
    }

    /// Notes a host that has something of the service.
    fn touch(&mut self, fleet: &Fleet, host: u32) {
        self.touched.set(host, true);
        let leaf = self.spread.leaf_of[host as usize] as usize;
        self.lines[leaf].top = None;
        for node in &self.spread.leaves[leaf].path {
            self.firsts[*node as usize] = None;
        }
        // Whether one more fits there is looked at when its turn comes.
        let entry = Reverse((self.key(fleet, host), host));
        self.lines[leaf].touched.push(entry);
    }

    /// Goes on in the order of the hosts until there is one of this leaf.
    fn look(&mut self, fleet: &Fleet, leaf: usize) {
        let mut ahead = self.seen;
        let next = fleet.hosts.orders.walk(self.demand.measure(), &mut ahead).take(AHEAD);
        let next = next.map(|rest| fleet.hosts.order[rest.rank as usize]);
        let open = next.filter(|host| self.demand.hosts.has(*host));
        std::hint::black_box(open.map(|host| fleet.touch(host)).fold(0, u32::wrapping_add));
        let mut seen = self.seen;
        for (nth, rest) in fleet.hosts.orders.walk(self.demand.measure(), &mut seen).enumerate() {
            let host = fleet.hosts.order[rest.rank as usize];
            let open = self.demand.hosts.has(host) && !self.touched.has(host);
            if open && self.fits(fleet, host) {
                let of = self.spread.leaf_of[host as usize] as usize;
                self.lines[of].fresh.push_back((rest, host));
            }
            if nth + 1 >= AHEAD && !self.lines[leaf].fresh.is_empty() {
                break;
            }
        }
        self.seen = seen;
    }

    /// The best host of a leaf; entries that are no longer true go.
    fn top(&mut self, fleet: &Fleet, leaf: usize) -> Option<(Key, u32)> {
        if let Some(known) = self.lines[leaf].top {
            return known;
        }
        while let Some((_, host)) = self.lines[leaf].fresh.front()
            && self.touched.has(*host)
        {
            self.lines[leaf].fresh.pop_front();
        }
        if self.lines[leaf].fresh.is_empty() {
            self.look(fleet, leaf);
        }
        let fresh = self.lines[leaf].fresh.front().map(|(rest, host)| ((0, *rest), *host));
        let mut found = fresh;
        while let Some(Reverse(entry)) = self.lines[leaf].touched.peek().copied() {
            let (key, host) = entry;
            if fresh.is_some_and(|fresh| fresh < entry) {
                break;
            }
            if key == self.key(fleet, host) && self.fits(fleet, host) {
                found = Some(entry);
                break;
            }
            self.lines[leaf].touched.pop();
        }
        self.lines[leaf].top = Some(found);
        found
    }

    /// The service and the host of the instance that came out last, where they are noted.
    pub(super) fn last(&self) -> Option<(u32, u32)> {
        self.last.map(|(host, _)| (self.demand.service, host))
    }

    pub(super) fn service(&self) -> u32 {
        self.demand.service
    }

    /// The best host for slot `n`; `None` when no host can take one more.
    pub(super) fn next(&mut self, fleet: &Fleet, n: u32) -> Option<u32> {
        if let Some((host, true)) = self.last.take() {
            self.touch(fleet, host);
        }
        self.good_for = self.good_for.saturating_sub(1);
        let slot = fleet.hosts_of_slot(self.demand.service, n);
        let host = match slot.is_empty() {
            true => self.first(fleet),
            false => self.first_but_for(fleet, &slot),
        };
        self.last = host.map(|host| (host, false));
        host
    }

    /// The best host of all.
    fn first(&mut self, fleet: &Fleet) -> Option<u32> {
        let spread = Arc::clone(&self.spread);
        let (_, leaf) = self.first_among(fleet, &spread, &spread.roots)?;
        self.top(fleet, leaf as usize).map(|(_, host)| host)
    }

    /// The leaf with the best host under some nodes that have the same one above them: what was
    /// found under a node is kept until something under it changes.
    fn first_among(
        &mut self,
        fleet: &Fleet,
        spread: &Spread,
        nodes: &[u32],
    ) -> Option<(Score, u32)> {
        let mut best: Option<(Score, u32)> = None;
        let mut fewest = u32::MAX;
        for node in nodes {
            let under = self.counts[*node as usize];
            // They differ in this before anything else.
            if self.demand.spread_asked && under > fewest {
                continue;
            }
            let known = self.firsts[*node as usize];
            let leaf = known.unwrap_or_else(|| {
                let found = match spread.leaf_at(*node) {
                    Some(leaf) => self.top(fleet, leaf as usize).map(|_| leaf),
                    None => self
                        .first_among(fleet, spread, &spread.children[*node as usize])
                        .map(|(_, leaf)| leaf),
                };
                self.firsts[*node as usize] = Some(found);
                found
            });
            let Some(leaf) = leaf else { continue };
            let Some((key, _)) = self.top(fleet, leaf as usize) else { continue };
            // Leaves beside each other differ in nothing but this then.
            if self.demand.spread_asked
                && under == fewest
                && spread.leaf_at(*node).is_some()
                && best.is_some_and(|(known, _)| key > (known.own, known.rest))
            {
                continue;
            }
            let score = Score::of(&self.demand, spread.counts(&self.counts, leaf), key);
            if best.is_none_or(|(known, _)| score < known) {
                best = Some((score, leaf));
                fewest = under;
            }
        }
        best
    }

    /// The best host when what is on these hosts, a time each, does not count.
    fn first_but_for(&mut self, fleet: &Fleet, slot: &[u32]) -> Option<u32> {
        let service = self.demand.service;
        let spread = Arc::clone(&self.spread);
        for host in slot {
            spread.count(&mut self.counts, *host, false);
        }
        let mut best: Option<(Score, u32)> = None;
        let mut offer = |group: &Self, host: u32, leaf: u32, key: Key| {
            let score = Score::of(&group.demand, spread.counts(&group.counts, leaf), key);
            if best.as_ref().is_none_or(|(known, _)| score < *known) {
                best = Some((score, host));
            }
        };
        for (leaf, at) in (0_u32..).zip(0..self.lines.len()) {
            if let Some((key, host)) = self.top(fleet, at)
                && !slot.contains(&host)
            {
                offer(self, host, leaf, key);
            }
        }
        // What is in the slot does not count for it, so its host may be better than its entry says.
        for host in slot.iter().filter(|host| self.demand.hosts.has(**host)) {
            if self.fits(fleet, *host) {
                let own = fleet.own(service, *host, slot);
                let key = (own, Rest::of(self.demand.measure(), fleet.hosts.left(*host)));
                offer(self, *host, spread.leaf_of[*host as usize], key);
            }
        }
        for host in slot {
            spread.count(&mut self.counts, *host, true);
        }
        best.map(|(_, host)| host)
    }
}
