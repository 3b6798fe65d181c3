//! Chooses a host for one instance, and then its ports and addresses there.

use super::bits::Bits;
use super::group::Group;
use super::request::{Demand, Test};
use super::spread::Spread;
use super::{Ask, Fleet, Place, Unplaced, Wake, needs};
use model::reason::{Lack, Reason};
use model::service::{PortMapping, Transport};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Hosts that fit which are compared when few instances are placed in a large cluster; a cluster
/// of no more hosts is always looked through as a whole.
pub(super) const SAMPLE: usize = 100;
/// From so many instances of one service on they come from a heap.
const GROUP_MIN: u32 = 8;
/// Labels that are spread over, with what was worked out for them, that are kept.
const SPREADS_MAX: usize = 64;

/// Hosts that can take an instance once some soft constraints are dropped.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) hosts: Vec<u32>,
    /// Dropped soft constraints, a bit each.
    pub(super) dropped: u128,
}

/// FNV-1a: where a search begins follows from what is searched for.
pub(crate) fn seed(parts: &[&[u8]]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.iter());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl Fleet {
    /// Chooses a host with its ports and addresses. It takes nothing: what was chosen is noted with
    /// `take` before the next one is chosen.
    ///
    /// # Errors
    /// Why no host can take it, and what may change that.
    pub fn choose(&mut self, ask: &Ask<'_>) -> Result<Place, Unplaced> {
        let known = self.group.as_ref().map(|group| group.service());
        let known = known.filter(|index| self.services.get(*index).id == *ask.service);
        let service = known.unwrap_or_else(|| self.services.intern(ask.service));
        let version = self.version;
        if let Some((of, revision, at, unplaced)) = &self.refused
            && (*of, *revision, *at) == (service, ask.revision, version)
            && ask.pin.is_none()
        {
            return Err(unplaced.clone());
        }
        if ask.pin.is_none()
            && let Some(mut group) = self.group.take()
            && group.is_for(service, ask.revision, version)
            && let Some(host) = group.next(self, ask.n)
        {
            return self.settle_from(group, ask, host);
        }
        let demand = self.demand(ask, service);
        let spread = self.spread(&ask.template.placement.spread_by);
        let large = self.hosts.order.len() > SAMPLE && demand.requested.is_none();
        if large
            && ask.more < GROUP_MIN
            && let Some(host) = self.sample(&demand, &spread, ask)
        {
            return self.settle(&demand, ask, host, 0);
        }
        let many = large && ask.more >= GROUP_MIN && !demand.by_name;
        let mut demand = demand;
        if many && self.meets_all(&demand) {
            let mut group = Box::new(Group::of(self, ask, demand, Arc::clone(&spread), 0));
            if let Some(host) = group.next(self, ask.n) {
                return self.settle_from(group, ask, host);
            }
            demand = group.demand;
        }
        let survey = self.survey(&demand);
        let Some(first) = survey.hosts.first() else {
            let unplaced = self.explain(&demand, ask);
            if ask.pin.is_none() {
                self.refused = Some((service, ask.revision, version, unplaced.clone()));
            }
            return Err(unplaced);
        };
        let dropped = survey.dropped;
        if many && !demand.dropped_moves(dropped) {
            let mut group = Box::new(Group::of(self, ask, demand, spread, dropped));
            let host = group.next(self, ask.n).unwrap_or(*first);
            return self.settle_from(group, ask, host);
        }
        let best = self.best(&demand, &spread, ask.n, &survey.hosts);
        self.settle(&demand, ask, best.unwrap_or(*first), dropped)
    }

    /// Fixes the rest on a host that came from a group, and keeps the group for the next one.
    fn settle_from(
        &mut self,
        group: Box<Group>,
        ask: &Ask<'_>,
        host: u32,
    ) -> Result<Place, Unplaced> {
        let place = self.settle(&group.demand, ask, host, group.dropped);
        self.group = Some(group);
        place
    }

    /// Is there a host that meets every soft constraint and fits?
    fn meets_all(&self, demand: &Demand) -> bool {
        let mut near = demand.hosts.clone();
        for test in &demand.soft {
            test.narrow(self, &mut near);
        }
        demand.soft.is_empty() || near.iter().any(|host| self.check(demand, host).is_ok())
    }

    /// All hosts that fit, the best first.
    pub(super) fn candidates(&mut self, ask: &Ask<'_>) -> Vec<model::id::HostId> {
        let service = self.services.intern(ask.service);
        let demand = self.demand(ask, service);
        let spread = self.spread(&ask.template.placement.spread_by);
        let counts = self.counts(service, &spread, ask.n);
        let slot = self.hosts_of_slot(service, ask.n);
        let mut hosts = self.survey(&demand).hosts;
        hosts.sort_by_key(|host| {
            self.score(&demand, &spread, &counts, *host, self.own(service, *host, &slot))
        });
        hosts.into_iter().map(|host| self.hosts.id(host).clone()).collect()
    }

    /// The tree of these labels.
    pub(super) fn spread(&mut self, labels: &[String]) -> Arc<Spread> {
        if let Some(spread) = self.spreads.get(labels) {
            return Arc::clone(spread);
        }
        if self.spreads.len() >= SPREADS_MAX {
            self.spreads.clear();
        }
        let spread = Arc::new(Spread::of(&self.hosts, labels));
        self.spreads.insert(labels.to_vec(), Arc::clone(&spread));
        spread
    }

    /// The best of some hosts that fit.
    pub(super) fn best(
        &self,
        demand: &Demand,
        spread: &Spread,
        n: u32,
        hosts: &[u32],
    ) -> Option<u32> {
        let counts = self.counts(demand.service, spread, n);
        let slot = self.hosts_of_slot(demand.service, n);
        hosts.iter().copied().min_by_key(|host| {
            let own = self.own(demand.service, *host, &slot);
            self.score(demand, spread, &counts, *host, own)
        })
    }

    /// Every host that fits. When none meets all soft constraints they are dropped one by one:
    /// each time the first one that fails on the host which fails the fewest.
    pub(super) fn survey(&self, demand: &Demand) -> Survey {
        let mut near = demand.hosts.clone();
        for test in &demand.tests {
            test.narrow(self, &mut near);
        }
        // Nothing but what is left and ports: most requests, so they are quick.
        let plain = demand.max_per_host.is_none() && self.hosts.choosy.is_empty();
        let fits = |host: &u32| match plain {
            true => self.has_room(demand, *host),
            false => self.check_near(demand, *host).is_ok(),
        };
        if demand.soft.is_empty() {
            let mut hosts = Vec::with_capacity(self.hosts.order.len());
            hosts.extend(near.iter().filter(fits));
            return Survey { hosts, dropped: 0 };
        }
        let soft: Vec<Test> = demand.soft.iter().map(|test| test.now(self)).collect();
        let mut by_mask: BTreeMap<u128, Vec<u32>> = BTreeMap::new();
        for host in near.iter().filter(fits) {
            by_mask.entry(self.unmet(&soft, host)).or_default().push(host);
        }
        let mut dropped = 0;
        loop {
            let left = by_mask.keys().map(|mask| mask & !dropped);
            let nearest = left.min_by_key(|mask| (mask.count_ones(), mask.trailing_zeros(), *mask));
            match nearest {
                None => return Survey { hosts: vec![], dropped },
                Some(0) => break,
                Some(mask) => dropped |= 1 << mask.trailing_zeros(),
            }
        }
        let meets = by_mask.into_iter().filter(|(mask, _)| mask & !dropped == 0);
        Survey { hosts: meets.flat_map(|(_, hosts)| hosts).collect(), dropped }
    }

    /// The best of some hosts that fit and meet every soft constraint, taken from all groups of
    /// hosts, beginning with the one that has the fewest of the service. `None`: there is no host
    /// at all that meets everything.
    fn sample(&self, demand: &Demand, spread: &Spread, ask: &Ask<'_>) -> Option<u32> {
        let counts = self.counts(demand.service, spread, ask.n);
        let mut leaves: Vec<u32> = (0_u32..).zip(&spread.leaves).map(|(leaf, _)| leaf).collect();
        leaves.sort_by_key(|leaf| spread.counts(&counts, *leaf));
        let share = (SAMPLE / leaves.len().max(1)).max(8);
        let quota = if demand.spread_asked { SAMPLE } else { share };
        let turn = self.services.turn.to_be_bytes();
        let (stack, name) = (ask.service.stack.as_str(), ask.service.service.as_str());
        let start = seed(&[stack.as_bytes(), b"/", name.as_bytes(), &turn]);
        let mut found: Vec<u32> = Vec::with_capacity(SAMPLE);
        for leaf in leaves {
            let hosts = &spread.leaves[leaf as usize].hosts;
            let size = u64::try_from(hosts.len()).unwrap_or(1).max(1);
            let from = usize::try_from(start % size).unwrap_or(0);
            let fits = hosts[from..].iter().chain(&hosts[..from]).copied().filter(|host| {
                demand.hosts.has(*host)
                    && self.check(demand, *host).is_ok()
                    && self.unmet(&demand.soft, *host) == 0
            });
            found.extend(fits.take(quota));
            if found.len() >= SAMPLE || (demand.spread_asked && !found.is_empty()) {
                break;
            }
        }
        self.best(demand, spread, ask.n, &found)
    }

    /// Fixes ports and addresses on the host.
    fn settle(
        &self,
        demand: &Demand,
        ask: &Ask<'_>,
        host: u32,
        dropped: u128,
    ) -> Result<Place, Unplaced> {
        let nothing_free = |port: &PortMapping| Unplaced {
            reason: Reason::NoFit {
                hosts: 1,
                lacks: vec![(Lack::PortAddress { port: port.container_port }, 1)],
            },
            wake: Wake { ports: true, hosts: true, ..Wake::default() },
        };
        let ports = self.choose_ports(demand, ask, host).map_err(nothing_free)?;
        let (address, sidekick_addresses) = self.choose_addresses(demand, ask, host)?;
        let constraints = &ask.template.placement.constraints;
        let texts = demand.soft.iter().zip(0_u32..).filter(|(_, nth)| dropped & (1 << nth) != 0);
        Ok(Place {
            host: self.hosts.id(host).clone(),
            address,
            sidekick_addresses,
            ports,
            dropped: texts
                .filter_map(|(test, _)| constraints.get(usize::from(test.nth)))
                .map(ToString::to_string)
                .collect(),
        })
    }

    fn choose_ports<'d>(
        &self,
        demand: &'d Demand,
        ask: &Ask<'_>,
        host: u32,
    ) -> Result<Vec<PortMapping>, &'d PortMapping> {
        let ip = match self.hosts.with_ips.has(host) {
            true => self.fixed_ports(demand, host).ok().flatten(),
            false => None,
        };
        let before = ask.before.filter(|before| before.host == *self.hosts.id(host));
        let mut chosen: Vec<(Transport, u16)> = vec![];
        let mut out = Vec::with_capacity(demand.ports.len());
        for (wanted, exclusive) in &demand.ports {
            let mut port = wanted.clone();
            port.host_ip = port.host_ip.or(ip);
            if port.host_port.is_none() {
                let kept = before.filter(|_| !exclusive).and_then(|before| {
                    let same = |p: &&PortMapping| {
                        (p.container_port, p.protocol) == (port.container_port, port.protocol)
                            && p.host_port.is_some_and(|n| !chosen.contains(&(p.protocol, n)))
                    };
                    before.ports.iter().find(same).and_then(|p| p.host_port)
                });
                let from = || {
                    let (stack, name) = (&ask.service.stack, &ask.service.service);
                    let slot = ask.n.to_be_bytes();
                    let inner = port.container_port.to_be_bytes();
                    seed(&[
                        stack.as_str().as_bytes(),
                        b"/",
                        name.as_str().as_bytes(),
                        &slot,
                        &inner,
                    ])
                };
                port.host_port =
                    kept.or_else(|| self.ports.free(host, port.protocol, from(), &chosen));
                if port.host_port.is_none() {
                    return Err(wanted);
                }
            }
            chosen.extend(port.host_port.map(|number| (port.protocol, number)));
            out.push(port);
        }
        Ok(out)
    }

    fn choose_addresses(
        &self,
        demand: &Demand,
        ask: &Ask<'_>,
        host: u32,
    ) -> Result<(Option<Ipv4Addr>, BTreeMap<model::id::ServiceName, Ipv4Addr>), Unplaced> {
        let subnet = self.environment.as_ref().map(|environment| environment.subnet);
        let unplaced = || Unplaced {
            reason: Reason::NoAddress { subnet: subnet.map(|s| s.to_string()).unwrap_or_default() },
            wake: Wake { capacity: true, ..Wake::default() },
        };
        let mut taken: Vec<Ipv4Addr> = vec![];
        let mut next = |wanted: &[Ipv4Addr]| {
            let subnet = subnet.ok_or_else(unplaced)?;
            let address = self
                .addresses
                .preferred(subnet, wanted, Some(demand.service))
                .or_else(|| self.addresses.free(subnet, host, self.services.turn, &taken))
                .ok_or_else(unplaced)?;
            if !ask.template.sidekicks.is_empty() {
                taken.push(address);
            }
            Ok::<_, Unplaced>(address)
        };
        let address = match needs::has_address(ask.template) {
            true => Some(next(&ask.prefer)?),
            false => None,
        };
        let mut sidekicks = BTreeMap::new();
        for name in needs::addressed_sidekicks(ask.template) {
            sidekicks.insert(name.clone(), next(&[])?);
        }
        Ok((address, sidekicks))
    }

    /// Hosts that a global service is to be on: those that meet its hard constraints on hosts, each
    /// with whether it takes a new instance now. One that does not keeps what it has.
    #[must_use]
    pub fn eligible(&self, ask: &Ask<'_>) -> Vec<(model::id::HostId, bool)> {
        let known: Bits = self.hosts.order.iter().copied().collect();
        let hosts = self.meeting_host_constraints(ask, known);
        let all = self.hosts.order.iter().filter(|host| hosts.has(**host));
        all.map(|host| (self.hosts.id(*host).clone(), self.hosts.takes.has(*host))).collect()
    }
}
