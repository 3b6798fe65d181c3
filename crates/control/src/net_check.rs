//! A check of the network between hosts: which pairs are looked at, and what the reports of both
//! ends come to. What one host sent and the other one got tells the two directions apart. Pure.

mod verdict;

use model::id::HostId;
use model::limits::NET_CHECK_ALL_HOSTS_MAX;
use model::net_check::{NetHost, NetReady, NetReport, NetSeen, NetWay};
use std::collections::{BTreeMap, BTreeSet};
use verdict::End;

/// Which pairs of `count` hosts are looked at, by their numbers; the lower one first.
///
/// - One in `focus`: its pairs with all others; more: the pairs between them.
/// - Few hosts, or `all`: every pair.
/// - Else each host with some twenty others: those whose numbers are 1, 2, 4 … away. `turn` mixes
///   the numbers, so that another check looks at other pairs.
#[must_use]
pub fn pairs(count: usize, focus: &[usize], all: bool, turn: u64) -> BTreeSet<(usize, usize)> {
    let between = |of: &[usize]| -> BTreeSet<(usize, usize)> {
        let others = |i: usize| of.iter().filter(move |j| **j > i).map(move |j| (i, *j));
        of.iter().flat_map(|i| others(*i)).collect()
    };
    match focus {
        [one] => (0..count).filter(|i| i != one).map(|i| (i.min(*one), i.max(*one))).collect(),
        [] if all || count <= NET_CHECK_ALL_HOSTS_MAX => between(&(0..count).collect::<Vec<_>>()),
        [] => sample(count, turn),
        some => between(some),
    }
}

fn sample(count: usize, turn: u64) -> BTreeSet<(usize, usize)> {
    // A round in which each host has its place: the hash of its number.
    let mixed = |i: &usize| {
        let seed = turn ^ (*i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (seed ^ (seed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    };
    let mut round: Vec<usize> = (0..count).collect();
    round.sort_by_key(|i| (mixed(i), *i));
    let steps = (0..usize::BITS).map(|bit| 1usize << bit).take_while(|step| *step < count);
    let mut pairs = BTreeSet::new();
    for step in steps {
        for (at, host) in round.iter().enumerate() {
            let other = round[(at + step) % count];
            pairs.insert((*host.min(&other), *host.max(&other)));
        }
    }
    pairs
}

/// A host that took part.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Which.
    pub host: HostId,
    /// What it said at the start.
    pub ready: NetReady,
    /// What it has seen; why there is nothing of it.
    pub seen: Result<NetSeen, String>,
}

/// What was seen, judged. `hosts` are in the order of their numbers; `absent` could not take part,
/// with the reason and their addresses.
#[must_use]
pub fn judge(
    hosts: &[Checked],
    absent: Vec<NetHost>,
    pairs: &BTreeSet<(usize, usize)>,
    pairs_all: usize,
) -> NetReport {
    let mut ways: Vec<NetWay> = vec![];
    let mut checked = 0;
    for (one, other) in pairs {
        let (Some(a), Some(b)) = (hosts.get(*one), hosts.get(*other)) else { continue };
        let (Some(a), Some(b)) = (End::of(a, *other), End::of(b, *one)) else { continue };
        checked += 1;
        ways.extend(verdict::both(&a, &b));
    }
    ways.sort_by(|x, y| (&x.from, &x.to).cmp(&(&y.from, &y.to)));
    let row = |host: &Checked| NetHost {
        host: host.host.clone(),
        address: host.ready.address.map(|ip| ip.to_string()).unwrap_or_default(),
        checked: host.seen.is_ok(),
        reason: host.seen.as_ref().err().cloned().unwrap_or_default(),
        problem: host.ready.problem.clone(),
        repaired: host.ready.repaired.clone(),
    };
    let rows = hosts.iter().map(row).chain(absent);
    let rows: BTreeMap<HostId, NetHost> = rows.map(|row| (row.host.clone(), row)).collect();
    let hosts: Vec<NetHost> = rows.into_values().collect();
    let broken = ways.iter().any(|way| way.verdict.is_broken())
        || hosts.iter().any(|host| !host.checked || !host.problem.is_empty());
    NetReport { broken, pairs: checked, pairs_all, hosts, ways }
}

#[cfg(test)]
mod tests;
