//! An answer of a resolver of the host, kept so that it can be given to any asker: with its
//! records as they came, and the places of their TTLs.

#[cfg(test)]
mod tests;

use crate::dns::wire::{self, HEADER, Head, Query, Rcode, Reply, TYPE_A, TYPE_AAAA, TYPE_SOA};
use model::limits::DNS_CACHE_TTL_S_MAX;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is asked of the resolvers: askers of the same share one answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// In lower case, without the root label.
    pub(crate) name: Box<[u8]>,
    pub(crate) kind: u16,
    /// Wants signatures, wants them unchecked.
    pub(crate) dnssec: bool,
    pub(crate) checking_disabled: bool,
    /// Resolvers of the asker's own, asked before the host's: what they say is for their askers.
    pub(crate) servers: Option<Arc<[SocketAddr]>>,
}

impl Key {
    pub(crate) fn of(query: &Query<'_>, servers: Option<Arc<[SocketAddr]>>) -> Self {
        Self {
            servers,
            name: query.name().into(),
            kind: query.kind,
            dnssec: query.edns.is_some_and(|edns| edns.dnssec),
            checking_disabled: query.checking_disabled,
        }
    }

    /// The question as it is sent, with type and class.
    pub(crate) fn question(&self) -> Vec<u8> {
        let mut bytes = self.name.to_vec();
        bytes.push(0);
        bytes.extend_from_slice(&self.kind.to_be_bytes());
        bytes.extend_from_slice(&[0, 1]);
        bytes
    }
}

/// What an asker needs for its own copy.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    pub(crate) id: u16,
    pub(crate) recursion_desired: bool,
    pub(crate) edns: bool,
    /// As asked, its case kept.
    pub(crate) question: Box<[u8]>,
    /// Longest answer, in bytes.
    pub(crate) limit: usize,
    /// The name that was asked for instead, for which that of the question stands, and for how
    /// many seconds it does.
    pub(crate) stands_for: Option<(Box<[u8]>, u32)>,
}

impl Asker {
    pub(crate) fn of(query: &Query<'_>, limit: usize) -> Self {
        Self {
            id: query.id,
            recursion_desired: query.recursion_desired,
            edns: query.edns.is_some(),
            question: query.question.into(),
            limit,
            stands_for: None,
        }
    }
}

/// An answer without its OPT record.
#[derive(Debug)]
pub(crate) struct Kept {
    /// With header and question.
    message: Box<[u8]>,
    /// Where TTLs are.
    ttls: Box<[usize]>,
    /// Upper bits of the code, from its OPT record.
    extended_rcode: u8,
    dnssec: bool,
    at: Instant,
    until: Instant,
}

impl Kept {
    /// Takes an answer to `key` that came at `now`; `None` when it is malformed or answers
    /// something else. A cut answer is not taken: it is asked for again by TCP first.
    pub(crate) fn take(key: &Key, id: u16, message: &[u8], now: Instant) -> Option<Self> {
        let question = key.question();
        let body = HEADER + question.len();
        let header: &[u8; HEADER] = message.get(..HEADER)?.try_into().ok()?;
        let ours = header[..2] == id.to_be_bytes()
            && header[2] & 0xf8 == 0x80
            && header[4..6] == [0, 1]
            && message.get(HEADER..body)?.eq_ignore_ascii_case(&question);
        if !ours {
            return None;
        }
        let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let (answers, authorities, more) = (count(6), count(8), count(10));
        let mut ttls = vec![];
        let mut least = None;
        let mut negative = None;
        let mut at = body;
        for index in 0..u32::from(answers) + u32::from(authorities) {
            let record = wire::record(message, at)?;
            least = Some(least.map_or(record.ttl, |least: u32| least.min(record.ttl)));
            if record.kind == TYPE_SOA && index >= u32::from(answers) {
                // The last number of the data is how long a no may be kept.
                let minimum = message.get(record.end.checked_sub(4)?..record.end)?;
                let minimum = u32::from_be_bytes(minimum.try_into().ok()?);
                negative = Some(record.ttl.min(minimum));
            }
            ttls.push(record.ttl_at);
            at = record.end;
        }
        // The additional section ends for us where EDNS begins: what resolvers put after it
        // (signatures of the exchange) is between them and us.
        let (mut kept_more, mut extended_rcode, mut end) = (0u16, 0, at);
        for _ in 0..more {
            let record = wire::record(message, end)?;
            if record.is_opt() {
                extended_rcode = record.ttl.to_be_bytes()[0];
                break;
            }
            ttls.push(record.ttl_at);
            kept_more += 1;
            end = record.end;
        }
        let mut message: Box<[u8]> = message[..end].into();
        message[10..12].copy_from_slice(&kept_more.to_be_bytes());
        // Not ours to have authority over.
        message[2] &= !0x06;
        message[3] |= 0x80;
        let rcode = message[3] & 0x0f;
        let seconds = match (rcode, answers) {
            (0, 1..) => least,
            (0 | 3, _) => negative,
            _ => None,
        };
        // Some resolvers know no AAAA and say that the whole name does not exist; musl believes it
        // and drops the A that it has. Who checks signatures gets it as it came.
        if rcode == Rcode::NxDomain as u8 && key.kind == TYPE_AAAA && !key.dnssec {
            message[3] &= 0xf0;
        }
        // A failure, and a no that does not say how long it holds, are asked for anew each time.
        let keep = seconds.unwrap_or(0).min(DNS_CACHE_TTL_S_MAX);
        let keep = Duration::from_secs(u64::from(keep));
        let (ttls, dnssec) = (ttls.into(), key.dnssec);
        Some(Self { message, ttls, extended_rcode, dnssec, at: now, until: now + keep })
    }

    /// No resolver answered. It is given to those who wait, and to nobody later.
    pub(crate) fn failure(key: &Key, now: Instant) -> Self {
        Self::code(key, Rcode::ServFail, now)
    }

    /// A code alone.
    pub(crate) fn code(key: &Key, rcode: Rcode, now: Instant) -> Self {
        let mut message = vec![0, 0, 0x80, 0x80 | rcode as u8, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(&key.question());
        Self {
            message: message.into(),
            ttls: [].into(),
            extended_rcode: 0,
            dnssec: key.dnssec,
            at: now,
            until: now,
        }
    }

    /// The same, to be given for a second.
    #[cfg(test)]
    pub(crate) fn of_a_second(key: &Key, now: Instant) -> Self {
        Self { until: now + Duration::from_secs(1), ..Self::failure(key, now) }
    }

    /// Until when it may be given.
    pub(crate) fn until(&self) -> Instant {
        self.until
    }

    /// What it takes in memory, in bytes.
    pub(crate) fn weight(&self) -> usize {
        self.message.len() + self.ttls.len() * size_of::<usize>() + size_of::<Self>()
    }

    /// Did the resolver fail, so that another may be asked?
    pub(crate) fn is_failure(&self) -> bool {
        !matches!(self.message.get(3).map(|flags| flags & 0x0f), Some(0 | 3))
    }

    /// Writes its addresses for a name that stands for the one that was asked.
    fn write_for(&self, target: &[u8], ttl: u32, asker: &Asker, now: Instant, out: &mut Vec<u8>) {
        let flags = |at: usize| self.message.get(at).copied().unwrap_or_default();
        let code = Rcode::of(flags(3) & 0x0f);
        let head = Head {
            id: asker.id,
            recursion_desired: asker.recursion_desired,
            checking_disabled: false,
            question: &asker.question,
            edns: asker.edns,
        };
        let mut reply = Reply::of(&head, out, asker.limit, code);
        let fits = reply.cname(ttl, target);
        let age = now.saturating_duration_since(self.at).as_secs();
        let age = u32::try_from(age).unwrap_or(u32::MAX);
        let answers = u16::from_be_bytes([flags(6), flags(7)]);
        let mut at = wire::skip_name(&self.message, HEADER).map_or(HEADER, |end| end + 4);
        for _ in 0..if fits { answers } else { 0 } {
            let Some(record) = wire::record(&self.message, at) else { break };
            at = record.end;
            let data = self.message.get(record.data..record.end).unwrap_or_default();
            let is_address = matches!((record.kind, data.len()), (TYPE_A, 4) | (TYPE_AAAA, 16));
            if is_address && !reply.target_address(record.ttl.saturating_sub(age), data) {
                break;
            }
        }
        reply.finish();
    }

    /// Writes it for an asker, its TTLs less by its age; cut when it is too long.
    pub(crate) fn write(&self, asker: &Asker, now: Instant, out: &mut Vec<u8>) {
        if let Some((target, ttl)) = &asker.stands_for {
            return self.write_for(target, *ttl, asker, now, out);
        }
        out.clear();
        let body = HEADER + asker.question.len();
        let whole = self.message.len() + if asker.edns { 11 } else { 0 } <= asker.limit;
        out.extend_from_slice(if whole { &self.message } else { &self.message[..body] });
        out[..2].copy_from_slice(&asker.id.to_be_bytes());
        out[2] = (out[2] & 0xfe) | u8::from(asker.recursion_desired);
        out[HEADER..body].copy_from_slice(&asker.question);
        if whole {
            let age = now.saturating_duration_since(self.at).as_secs();
            let age = u32::try_from(age).unwrap_or(u32::MAX);
            for at in &self.ttls {
                if let Some(ttl) = out.get_mut(*at..*at + 4) {
                    let old = u32::from_be_bytes([ttl[0], ttl[1], ttl[2], ttl[3]]);
                    ttl.copy_from_slice(&old.saturating_sub(age).to_be_bytes());
                }
            }
        } else {
            out[2] |= 0x02;
            out[6..12].fill(0);
        }
        if asker.edns {
            wire::opt(out, self.extended_rcode, self.dnssec);
            let more = u16::from_be_bytes([out[10], out[11]]).saturating_add(1);
            out[10..12].copy_from_slice(&more.to_be_bytes());
        }
    }
}
