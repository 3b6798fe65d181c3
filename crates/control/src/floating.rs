//! Floating addresses: which hosts may have one, which hosts vote about it, and what follows from
//! what they say. Who has it is not decided here: the voters do that, also while the server is away.
//!
//! Voters change one at a time, and only when a majority of the last set says that it is settled
//! there: that, with what a voter promises, is what makes two holders impossible (docs/decisions/
//! 0019-floating-addresses.md). Pure.

#[cfg(test)]
mod tests;

use model::change::{Change, Edit, Proposal};
use model::cluster::Cluster;
use model::floating::{Floating, FloatingHolder, FloatingIp, FloatingSeat, FloatingSeen, SeatKey};
use model::health::Health;
use model::host::{Host, HostLink};
use model::id::{HostId, ServiceId, StackName};
use model::instance::{Goal, Phase};
use model::limits::{FLOATING_CANDIDATES_MAX, FLOATING_MAX, FLOATING_VOTERS_MAX};
use model::reason::{Blocked, Reason};
use model::record::{Record, RecordKey, Service};
use model::stack::StackSpec;
use model::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Who asks for floating addresses, followed change by change.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    asking: BTreeSet<ServiceId>,
    /// Something may have to be decided.
    dirty: bool,
}

impl Seats {
    /// Everything is looked at again.
    pub(crate) fn of(cluster: &Cluster) -> Self {
        let asking = cluster.services().filter(|service| asks(service).is_some());
        Self { asking: asking.map(|service| service.id.clone()).collect(), dirty: true }
    }

    /// A record was written.
    pub(crate) fn note(&mut self, cluster: &Cluster, key: &RecordKey) {
        match key {
            RecordKey::Service(id) => {
                let was = match cluster.service(id).and_then(|service| asks(service)) {
                    Some(_) => !self.asking.insert(id.clone()),
                    None => self.asking.remove(id),
                };
                self.dirty |= was || self.asking.contains(id);
            }
            RecordKey::Instance(id) | RecordKey::InstanceStatus(id) => {
                self.dirty |= self.asking.contains(&id.service);
            }
            RecordKey::Host(_) => {
                self.dirty |= !self.asking.is_empty() || cluster.floatings().next().is_some();
            }
            RecordKey::Floating(_) => self.dirty = true,
            _ => {}
        }
    }

    /// What is to be written.
    pub(crate) fn decide(&mut self, cluster: &Cluster) -> Vec<Proposal> {
        if !self.dirty {
            return vec![];
        }
        let mut asked: BTreeMap<Ipv4Addr, &Arc<Service>> = BTreeMap::new();
        for service in self.asking.iter().filter_map(|id| cluster.service(id)) {
            let Some(ip) = asks(service) else { continue };
            let owner = cluster.floating(ip.address).and_then(|known| known.service.as_ref());
            // Who has it keeps it; else the first by name.
            if owner == Some(&service.id) || !asked.contains_key(&ip.address) {
                asked.insert(ip.address, service);
            }
        }
        let known: BTreeSet<Ipv4Addr> = cluster.floatings().map(|known| known.address).collect();
        let new = asked.keys().copied().filter(|address| !known.contains(address));
        let room = FLOATING_MAX.saturating_sub(known.len());
        let all: BTreeSet<Ipv4Addr> = new.take(room).chain(known.iter().copied()).collect();
        let proposals: Vec<Proposal> = all
            .into_iter()
            .filter_map(|address| propose(cluster, address, asked.get(&address).map(|s| &***s)))
            .take(FLOATING_MAX)
            .collect();
        // What is proposed is looked at again until it is seen to be there.
        self.dirty = !proposals.is_empty();
        proposals
    }
}

fn asks(service: &Service) -> Option<&FloatingIp> {
    service.settings.floating_ip.as_ref().filter(|_| service.goal != Goal::Remove)
}

fn propose(cluster: &Cluster, address: Ipv4Addr, service: Option<&Service>) -> Option<Proposal> {
    let known = cluster.floating(address).map(|known| &**known);
    let next = wanted(cluster, address, service, known);
    if next.as_ref() == known {
        return None;
    }
    let key = RecordKey::Floating(address);
    let services = service.map(|service| RecordKey::Service(service.id.clone()));
    let keys = [Some(key.clone()), services].into_iter().flatten();
    let reads = keys.map(|key| {
        let read = cluster.modified(&key);
        (key, read)
    });
    let edit = match next {
        Some(next) => Edit::Put(Record::Floating(Arc::new(next))),
        None => Edit::Delete(key),
    };
    Some(Proposal { reads: reads.collect(), change: Change { edits: vec![edit] } })
}

/// The record as it should be; `None` when there should be none.
fn wanted(
    cluster: &Cluster,
    address: Ipv4Addr,
    service: Option<&Service>,
    known: Option<&Floating>,
) -> Option<Floating> {
    let (candidates, mut why) = match service {
        Some(service) => candidates(cluster, address, service, known),
        None => (BTreeSet::new(), String::new()),
    };
    let Some(known) = known else {
        let voters = first_voters(cluster, &candidates);
        if voters.is_empty() {
            return None;
        }
        return Some(Floating {
            address,
            service: service.map(|service| service.id.clone()),
            number: cluster.index().0.max(1),
            addresses: addresses(cluster, None, &voters, &candidates),
            voters,
            candidates,
            settled: BTreeSet::new(),
            holder: None,
            why,
            problems: BTreeMap::new(),
        });
    };
    let owner = service.map(|service| service.id.clone());
    let left = known.service.is_some() && owner.is_none();
    if known.service.is_none() && owner.is_none() && known.is_settled() {
        return None;
    }
    // A host that people have removed is gone for good: nobody waits for its vote.
    let mut voters = known.voters.clone();
    voters.retain(|voter| cluster.host(voter).is_some());
    if voters.is_empty() {
        voters = first_voters(cluster, &candidates);
        if voters.is_empty() || owner.is_none() {
            return None;
        }
    } else if voters.len() == known.voters.len() && known.is_settled() && owner.is_some() {
        voters = next_voters(cluster, known, &candidates);
    }
    let changed = left || voters != known.voters;
    let settled = known.settled.intersection(&voters).filter(|_| !changed).cloned().collect();
    let holder = known.holder.clone().filter(|holder| cluster.host(&holder.host).is_some());
    if why.is_empty() && owner.is_some() {
        why = lost_majority(cluster, &voters, holder.as_ref());
    }
    let addresses = addresses(cluster, Some(known), &voters, &candidates);
    let mut problems = known.problems.clone();
    problems.retain(|host, _| candidates.contains(host));
    Some(Floating {
        address,
        service: owner,
        number: if changed { cluster.index().0.max(known.number + 1) } else { known.number },
        voters,
        candidates,
        addresses,
        settled,
        holder,
        why,
        problems,
    })
}

fn outer(host: &Host) -> Option<Ipv4Addr> {
    host.facts.address.parse().ok()
}

fn is_active(cluster: &Cluster, host: &HostId) -> bool {
    cluster.host(host).is_some_and(|host| host.status == HostLink::Active)
}

/// Where all of them are reached.
fn addresses(
    cluster: &Cluster,
    known: Option<&Floating>,
    voters: &BTreeSet<HostId>,
    candidates: &BTreeSet<HostId>,
) -> BTreeMap<HostId, Ipv4Addr> {
    let of = |id: &HostId| {
        let now = cluster.host(id).and_then(|host| outer(host));
        let before = known.and_then(|known| known.addresses.get(id).copied());
        Some((id.clone(), now.or(before)?))
    };
    voters.iter().chain(candidates).filter_map(of).collect()
}

/// The labels of hosts as people write them.
fn shown(labels: &BTreeMap<String, String>) -> String {
    let each = labels.iter().map(|(key, value)| match value.as_str() {
        "" => key.clone(),
        value => format!("{key}={value}"),
    });
    each.collect::<Vec<_>>().join(", ")
}

fn names<'a>(hosts: impl Iterator<Item = &'a HostId>) -> String {
    let all: Vec<&str> = hosts.map(HostId::as_str).collect();
    match all.as_slice() {
        [most @ .., last] if most.len() > 5 => format!("{} hosts up to {last}", all.len()),
        _ => all.join(", "),
    }
}

/// Hosts that may have it, and why there are none.
fn candidates(
    cluster: &Cluster,
    address: Ipv4Addr,
    service: &Service,
    known: Option<&Floating>,
) -> (BTreeSet<HostId>, String) {
    let none = |why: String| (BTreeSet::new(), why);
    let Some(ip) = asks(service) else { return none(String::new()) };
    if let Some(why) = taken_by_us(cluster, address) {
        return none(why);
    }
    let labelled: Vec<&Arc<Host>> = cluster.hosts().filter(|host| has_labels(host, ip)).collect();
    let which = match ip.hosts.is_empty() {
        true => String::new(),
        false => format!(" with {}", shown(&ip.hosts)),
    };
    if labelled.is_empty() {
        return none(format!("there is no host{which}"));
    }
    let count = labelled.len();
    let near: Vec<&Arc<Host>> =
        labelled.into_iter().filter(|host| is_on_segment(host, address)).collect();
    if near.is_empty() {
        return none(format!("it is on the segment of none of {count} hosts{which}"));
    }
    let was = |host: &HostId| known.is_some_and(|known| known.candidates.contains(host));
    let here = |host: &Host| match host.status {
        HostLink::Active => true,
        // Nothing moves because somebody could not be reached for a moment.
        HostLink::Disconnected => was(&host.id),
        HostLink::Lost | HostLink::Joined => false,
    };
    let there = near.iter().map(|host| &host.id);
    let all = names(there);
    let connected: Vec<&&Arc<Host>> = near.iter().filter(|host| here(host)).collect();
    if connected.is_empty() {
        return none(format!("none of the hosts that may have it is connected ({all})"));
    }
    let fit = connected.iter().filter(|host| takes_traffic(cluster, &service.id, &host.id));
    let mut fit: Vec<&HostId> = fit.map(|host| &host.id).collect();
    if fit.is_empty() {
        let id = &service.id;
        return none(format!(
            "no instance of {id} takes traffic on a host that may have it ({all})"
        ));
    }
    let holder = known.and_then(|known| known.holder.as_ref()).map(|holder| &holder.host);
    fit.sort_by_key(|host| (holder != Some(*host), !was(host), (*host).clone()));
    (fit.into_iter().take(FLOATING_CANDIDATES_MAX).cloned().collect(), String::new())
}

/// Is it an address that means something else already?
fn taken_by_us(cluster: &Cluster, address: Ipv4Addr) -> Option<String> {
    let subnet = cluster.environment().map(|environment| environment.subnet);
    if let Some(subnet) = subnet.filter(|subnet| subnet.contains(&address)) {
        return Some(format!("it is in the managed network {subnet}"));
    }
    let own = cluster.hosts().find(|host| outer(host) == Some(address));
    own.map(|host| format!("it is the own address of host {}", host.id))
}

fn has_labels(host: &Host, ip: &FloatingIp) -> bool {
    ip.hosts.iter().all(|(key, value)| {
        host.label(key).is_some_and(|label| value.is_empty() || label == value.as_str())
    })
}

fn is_on_segment(host: &Host, address: Ipv4Addr) -> bool {
    host.facts.segment.is_some_and(|segment| {
        segment.contains(&address) && address != segment.network() && address != segment.broadcast()
    })
}

/// May an instance of the service on this host take traffic?
fn takes_traffic(cluster: &Cluster, service: &ServiceId, host: &HostId) -> bool {
    let all = cluster.instances_of(service).filter(|one| one.host == *host);
    all.filter(|one| one.goal == Goal::Run).any(|one| {
        cluster.instance_status(&one.id).is_some_and(|seen| {
            seen.phase == Phase::Running
                && matches!(seen.health, Health::Healthy | Health::Unchecked)
        })
    })
}

/// Hosts that can vote, those that may have the address first. One without a dataplane votes for
/// nobody: as a voter it would only raise the number of votes that a holder needs.
fn pool(cluster: &Cluster, candidates: &BTreeSet<HostId>) -> Vec<HostId> {
    let can = |host: &&Arc<Host>| {
        let well = host.facts.dataplane_problem.is_empty();
        host.status == HostLink::Active && outer(host).is_some() && well
    };
    let mut all: Vec<HostId> = cluster.hosts().filter(can).map(|host| host.id.clone()).collect();
    all.sort_by_key(|host| (!candidates.contains(host), host.clone()));
    all
}

/// How many of so many hosts vote: an odd number where there are three.
fn size(hosts: usize) -> usize {
    let most = hosts.min(FLOATING_VOTERS_MAX);
    if most > 2 && most.is_multiple_of(2) { most - 1 } else { most }
}

fn first_voters(cluster: &Cluster, candidates: &BTreeSet<HostId>) -> BTreeSet<HostId> {
    let all = pool(cluster, candidates);
    let size = size(all.len());
    all.into_iter().take(size).collect()
}

/// The voters with one more, one less, or as they are. A majority of the new set must be there, since
/// it has to say that it has heard of it.
fn next_voters(
    cluster: &Cluster,
    known: &Floating,
    candidates: &BTreeSet<HostId>,
) -> BTreeSet<HostId> {
    let voters = &known.voters;
    let can_settle = |set: &BTreeSet<HostId>| {
        let there = set.iter().filter(|host| is_active(cluster, host)).count();
        there > set.len() / 2
    };
    let without = |host: &HostId| {
        let mut fewer = voters.clone();
        fewer.remove(host);
        Some(fewer).filter(|fewer| !fewer.is_empty() && can_settle(fewer))
    };
    let is_lost = |host: &&HostId| {
        let host = cluster.host(host);
        host.is_none_or(|host| !matches!(host.status, HostLink::Active | HostLink::Disconnected))
    };
    if let Some(fewer) = voters.iter().filter(is_lost).find_map(without) {
        return fewer;
    }
    let pool = pool(cluster, candidates);
    let away = voters.iter().filter(|host| !is_active(cluster, host)).count();
    let size = size(pool.len() + away);
    if voters.len() < size {
        let mut more = voters.clone();
        more.extend(pool.into_iter().find(|host| !voters.contains(host)));
        return Some(more).filter(can_settle).unwrap_or_else(|| voters.clone());
    }
    if voters.len() > size {
        let holder = known.holder.as_ref().map(|holder| &holder.host);
        let mut order: Vec<&HostId> = voters.iter().filter(|host| Some(*host) != holder).collect();
        order.sort_by_key(|host| (candidates.contains(*host), std::cmp::Reverse(*host)));
        if let Some(fewer) = order.into_iter().find_map(without) {
            return fewer;
        }
    }
    voters.clone()
}

/// Says when too few voters are there for anybody to take the address, and nobody is known to have
/// it.
fn lost_majority(
    cluster: &Cluster,
    voters: &BTreeSet<HostId>,
    holder: Option<&FloatingHolder>,
) -> String {
    let away: Vec<&HostId> = voters.iter().filter(|host| !is_active(cluster, host)).collect();
    let held = holder.is_some_and(|holder| is_active(cluster, &holder.host));
    if held || voters.len() - away.len() > voters.len() / 2 {
        return String::new();
    }
    let (all, away) = (voters.len(), names(away.into_iter()));
    format!(
        "of its {all} voters {away} cannot be heard, and a majority must agree: bring one back, or \
         `remuda host rm` one that is switched off for good"
    )
}

/// What one host has to do with a floating address, without the key and the ports.
pub(crate) fn seat(floating: &Floating, host: &HostId) -> Option<FloatingSeat> {
    floating.addresses.contains_key(host).then(|| FloatingSeat {
        number: floating.number,
        key: SeatKey::default(),
        voters: floating.voters.clone(),
        addresses: floating.addresses.clone(),
        candidate: floating.candidates.contains(host),
        upstreams: vec![],
    })
}

/// The record after a host has said how it is there; `None` when that changes nothing.
#[must_use]
pub fn heard(
    known: &Floating,
    host: &HostId,
    seen: &FloatingSeen,
    now: Timestamp,
) -> Option<Floating> {
    let mut next = known.clone();
    if known.voters.contains(host) && seen.settled > known.number {
        // A copy of the state was put back: by a number that is older than what a host has heard it
        // votes no more.
        next.number = seen.settled + 1;
        next.settled.clear();
    }
    if known.voters.contains(host) && seen.settled == known.number {
        next.settled.insert(host.clone());
    }
    let holder = known.holder.as_ref();
    let own = holder.filter(|holder| holder.host == *host);
    match seen.term {
        Some(term) if known.addresses.contains_key(host) => {
            // What a host that is stopped said last is older than what another one says.
            let newer = holder.is_none_or(|holder| holder.term < term).then(|| {
                let since = own.map_or(now, |own| own.since);
                FloatingHolder { host: host.clone(), term, since }
            });
            next.holder = newer.or(next.holder);
        }
        _ if own.is_some() => next.holder = None,
        _ => {}
    }
    if seen.problem.is_empty() {
        next.problems.remove(host);
    } else if known.candidates.contains(host) {
        next.problems.insert(host.clone(), seen.problem.clone());
    }
    (next != *known).then_some(next)
}

/// May the services of a stack have the floating addresses that they ask for?
///
/// # Errors
/// Which address is taken, by what.
pub fn may_have(cluster: &Cluster, stack: &StackName, spec: &StackSpec) -> Result<(), String> {
    for (name, service) in &spec.services {
        let Some(ip) = &service.floating_ip else { continue };
        let address = ip.address;
        if let Some(why) = taken_by_us(cluster, address) {
            return Err(format!(
                "service {name} cannot have the floating address {address}: {why}"
            ));
        }
        let mut others = cluster.services().filter(|other| {
            let own = other.id.stack == *stack && spec.services.contains_key(&other.id.service);
            !own && asks(other).is_some_and(|ip| ip.address == address)
        });
        if let Some(other) = others.next() {
            let other = &other.id;
            return Err(format!(
                "service {name} cannot have the floating address {address}: {other} asks for it too"
            ));
        }
    }
    Ok(())
}

/// Why there is no record of an address that is asked for; empty when there will be one in a moment.
fn not_known(cluster: &Cluster) -> String {
    if cluster.hosts().next().is_none() {
        return "no host has joined yet".to_owned();
    }
    if cluster.floatings().count() >= FLOATING_MAX {
        return format!("there are {FLOATING_MAX} floating addresses, and no more can be had");
    }
    if pool(cluster, &BTreeSet::new()).is_empty() {
        return "no host has a dataplane that could vote about it".to_owned();
    }
    String::new()
}

/// Why nobody can have the floating address of a service; `None` when all is well or it asks for
/// none.
#[must_use]
pub fn blocked(cluster: &Cluster, service: &Service) -> Option<Blocked> {
    let address = asks(service).filter(|_| service.goal == Goal::Run)?.address;
    let why = match cluster.floating(address) {
        None => not_known(cluster),
        Some(known) => match &known.service {
            Some(other) if *other != service.id => format!("it is that of service {other}"),
            _ if !known.why.is_empty() => known.why.clone(),
            _ if known.holder.is_some() => String::new(),
            _ => {
                let each = known.problems.iter().map(|(host, why)| format!("{host}: {why}"));
                each.collect::<Vec<_>>().join("; ")
            }
        },
    };
    let reason = Reason::FloatingIp { address, why };
    Some(Blocked { n: 0, reason })
        .filter(|one| !matches!(&one.reason, Reason::FloatingIp { why, .. } if why.is_empty()))
}
