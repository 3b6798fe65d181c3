//! What one DNS message is answered: pure, on bytes. The thread that calls it sends.

#[cfg(test)]
mod tests;

use super::consul::answer::{Given, Meant};
use super::table::{Found, Table};
use super::wire::{
    self, Name, Query, Rcode, Refusal, Reply, TYPE_A, TYPE_AAAA, TYPE_ANY, TYPE_SOA,
};
use model::limits::{
    DNS_ANSWER_ADDRESSES_MAX, DNS_NEGATIVE_TTL_S, DNS_TCP_BYTES_MAX, DNS_UDP_BYTES_MAX,
};
use rand::Rng;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Smallest datagram that every asker takes, in bytes.
const UDP_PLAIN: usize = 512;

/// By what the asker came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// What is to be done with a message.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    /// Send what is in the buffer.
    Send,
    /// Nothing.
    Drop,
    /// The host's resolvers know.
    Forward(Query<'a>),
    /// The host's resolvers know what this name is, which ours stands for, for so many seconds.
    Chase(Query<'a>, Name, u32),
    /// The server knows, by this name: the same question is answered from a table to come.
    Later(Query<'a>, Arc<str>),
}

/// Names of ours that stand for others, one after the other, before it is given up.
const CHAIN_MAX: usize = 10;

/// Longest answer to a query, in bytes.
pub(crate) fn limit(query: &Query<'_>, transport: Transport) -> usize {
    match (transport, query.edns) {
        (Transport::Tcp, _) => DNS_TCP_BYTES_MAX,
        (Transport::Udp, None) => UDP_PLAIN,
        (Transport::Udp, Some(edns)) => usize::from(edns.size).clamp(UDP_PLAIN, DNS_UDP_BYTES_MAX),
    }
}

/// Answers `message` of `source` into `out`, or says who does.
pub(crate) fn answer<'a>(
    message: &'a [u8],
    source: IpAddr,
    transport: Transport,
    table: &Table,
    rng: &mut impl Rng,
    out: &mut Vec<u8>,
) -> Step<'a> {
    let query = match wire::query(message) {
        Ok(query) => query,
        Err(Refusal::Drop) => return Step::Drop,
        Err(Refusal::Code(code)) => {
            wire::refuse(message, code, out);
            return Step::Send;
        }
    };
    let limit = limit(&query, transport);
    if query.edns.is_some_and(|edns| edns.version != 0) {
        bad_version(&query, out, limit);
        return Step::Send;
    }
    let caller = match source.to_canonical() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    };
    let (found, zone) = table.find(query.name(), caller);
    if found == Found::Foreign {
        let room = (limit, transport);
        match table.consul.answer(&query, room, rng, out) {
            Some(Given::Sent) => return Step::Send,
            Some(Given::Later(name)) => return Step::Later(query, name),
            Some(Given::Chase(target, ttl)) => return Step::Chase(query, target, ttl),
            None => {}
        }
    }
    // A question for everything has no answer that would be right.
    if query.kind == TYPE_ANY {
        wire::refuse(message, Rcode::NotImp, out);
        return Step::Send;
    }
    match found {
        Found::Foreign => return Step::Forward(query),
        Found::Elsewhere(name) => return Step::Later(query, name.clone()),
        Found::Cname(target) => return chase(query, target, table, rng, out, limit),
        Found::Addresses(addresses) if query.kind == TYPE_A && !addresses.is_empty() => {
            let mut reply = Reply::to(&query, out, limit, Rcode::NoError);
            shuffled(addresses, rng, |address| reply.address(table.ttl, address));
            reply.finish();
        }
        Found::Addresses(_) | Found::Apex | Found::Missing => {
            let missing = found == Found::Missing;
            let rcode = if missing { Rcode::NxDomain } else { Rcode::NoError };
            let mut reply = Reply::to(&query, out, limit, rcode);
            let asked = found == Found::Apex && query.kind == TYPE_SOA;
            // A no holds for a moment: what comes is to be found.
            let ttl = if asked { table.ttl } else { table.ttl.min(DNS_NEGATIVE_TTL_S) };
            reply.soa(zone, ttl, table.serial, !asked);
            reply.finish();
        }
    }
    Step::Send
}

/// Answers a name that stands for another: for one of ours here, else by the host's resolvers.
fn chase<'a>(
    query: Query<'a>,
    target: &Name,
    table: &Table,
    rng: &mut impl Rng,
    out: &mut Vec<u8>,
    limit: usize,
) -> Step<'a> {
    let mut at = target;
    let of_consul;
    for _ in 0..CHAIN_MAX {
        let addresses: &[Ipv4Addr] = match table.find(at.as_wire(), None).0 {
            Found::Cname(next) => {
                at = next;
                continue;
            }
            Found::Foreign if matches!(query.kind, TYPE_A | TYPE_AAAA) => {
                match table.consul.meant(at.as_wire()) {
                    Some(Meant::Addresses(addresses)) if query.kind == TYPE_A => {
                        of_consul = addresses;
                        &of_consul
                    }
                    Some(Meant::Addresses(_)) => &[],
                    Some(Meant::Later(name)) => return Step::Later(query, name),
                    None => return Step::Chase(query, at.clone(), table.ttl),
                }
            }
            Found::Elsewhere(name) => return Step::Later(query, name.clone()),
            Found::Addresses(addresses) if query.kind == TYPE_A => addresses,
            Found::Foreign | Found::Addresses(_) | Found::Apex | Found::Missing => &[],
        };
        let mut reply = Reply::to(&query, out, limit, Rcode::NoError);
        if reply.cname(table.ttl, at.as_wire()) {
            shuffled(addresses, rng, |address| reply.target_address(table.ttl, &address.octets()));
        }
        reply.finish();
        return Step::Send;
    }
    Reply::to(&query, out, limit, Rcode::ServFail).finish();
    Step::Send
}

/// Gives the addresses in random order until one is refused.
pub(super) fn shuffled(
    addresses: &[Ipv4Addr],
    rng: &mut impl Rng,
    mut take: impl FnMut(Ipv4Addr) -> bool,
) {
    match addresses {
        [] => {}
        [one] => {
            take(*one);
        }
        many => {
            // Few are the rule: their order is made on the stack.
            let mut few = [Ipv4Addr::UNSPECIFIED; 32];
            let mut more;
            let order: &mut [Ipv4Addr] = if many.len() <= few.len() {
                &mut few[..many.len()]
            } else {
                more = vec![Ipv4Addr::UNSPECIFIED; many.len()];
                &mut more
            };
            order.copy_from_slice(many);
            for at in 0..order.len().min(DNS_ANSWER_ADDRESSES_MAX) {
                let other = rng.random_range(at..order.len());
                order.swap(at, other);
                if !take(order[at]) {
                    return;
                }
            }
        }
    }
}

/// BADVERS: its upper bits are in the OPT record.
fn bad_version(query: &Query<'_>, out: &mut Vec<u8>, limit: usize) {
    let mut plain = query.clone();
    plain.edns = None;
    Reply::to(&plain, out, limit, Rcode::NoError).finish();
    wire::opt(out, 1, false);
    out[11] = 1;
}
