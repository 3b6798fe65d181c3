//! DNS messages as bytes: a query is read without allocation, records are walked, never copied
//! apart. Everything that is read may be hostile; nothing here panics.

#[cfg(test)]
mod tests;

use model::limits::DNS_NEGATIVE_TTL_S;

/// Length of a message's header.
pub(crate) const HEADER: usize = 12;
/// Longest name on the wire, its root label included.
const NAME_MAX: usize = 255;
const LABEL_MAX: usize = 63;
const CLASS_IN: u16 = 1;
const TYPE_OPT: u16 = 41;

pub(crate) const TYPE_A: u16 = 1;
pub(crate) const TYPE_NS: u16 = 2;
pub(crate) const TYPE_CNAME: u16 = 5;
pub(crate) const TYPE_SOA: u16 = 6;
pub(crate) const TYPE_PTR: u16 = 12;
pub(crate) const TYPE_TXT: u16 = 16;
pub(crate) const TYPE_AAAA: u16 = 28;
pub(crate) const TYPE_SRV: u16 = 33;
/// Every type; answered for names of Consul alone.
pub(crate) const TYPE_ANY: u16 = 255;

/// Response codes that we give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Rcode {
    NoError = 0,
    FormErr = 1,
    ServFail = 2,
    NxDomain = 3,
    NotImp = 4,
    Refused = 5,
}

impl Rcode {
    /// What an asker is told of a resolver's code.
    pub(crate) fn of(code: u8) -> Self {
        match code {
            0 => Self::NoError,
            3 => Self::NxDomain,
            _ => Self::ServFail,
        }
    }
}

/// A name on the wire in lower case, without its root label: the empty name is the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name(Box<[u8]>);

impl Name {
    /// From text without dots at the ends; `None` when a label or the whole is empty or too long.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut wire = Vec::with_capacity(text.len() + 1);
        for label in text.split('.') {
            let length = u8::try_from(label.len()).ok()?;
            if length == 0 || label.len() > LABEL_MAX {
                return None;
            }
            wire.push(length);
            wire.extend(label.bytes().map(|b| b.to_ascii_lowercase()));
        }
        (wire.len() < NAME_MAX).then(|| Self(wire.into()))
    }

    /// From labels that were read from a query.
    pub(crate) fn of_wire(wire: &[u8]) -> Self {
        Self(wire.into())
    }

    pub(crate) fn as_wire(&self) -> &[u8] {
        &self.0
    }
}

impl std::borrow::Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// What is left of `name` before `suffix`, when it ends with it at a label.
pub(crate) fn strip<'a>(name: &'a [u8], suffix: &[u8]) -> Option<&'a [u8]> {
    let start = name.len().checked_sub(suffix.len())?;
    if name.get(start..)? != suffix {
        return None;
    }
    let mut at = 0;
    while at < start {
        at += 1 + usize::from(*name.get(at)?);
    }
    (at == start).then(|| &name[..start])
}

/// EDNS of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edns {
    /// Largest datagram that the asker takes.
    pub(crate) size: u16,
    pub(crate) version: u8,
    /// Wants signatures.
    pub(crate) dnssec: bool,
}

/// A query that can be answered.
#[derive(Clone, Debug)]
pub(crate) struct Query<'a> {
    pub(crate) id: u16,
    pub(crate) recursion_desired: bool,
    pub(crate) checking_disabled: bool,
    /// The question as asked, with type and class.
    pub(crate) question: &'a [u8],
    name: [u8; NAME_MAX],
    name_length: usize,
    pub(crate) kind: u16,
    pub(crate) edns: Option<Edns>,
}

impl Query<'_> {
    /// The name asked for, in lower case, without its root label.
    pub(crate) fn name(&self) -> &[u8] {
        &self.name[..self.name_length]
    }
}

/// Why a message is not answered as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No query at all: an answer to it could go round for ever.
    Drop,
    /// Answered by this code alone.
    Code(Rcode),
}

fn u16_at(message: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?))
}

/// Reads a query: one question of class IN, standard opcode.
pub(crate) fn query(message: &[u8]) -> Result<Query<'_>, Refusal> {
    let header: &[u8; HEADER] =
        message.get(..HEADER).and_then(|h| h.try_into().ok()).ok_or(Refusal::Drop)?;
    if header[2] & 0x80 != 0 {
        return Err(Refusal::Drop);
    }
    if header[2] & 0x78 != 0 {
        return Err(Refusal::Code(Rcode::NotImp));
    }
    let malformed = Refusal::Code(Rcode::FormErr);
    let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    if count(4) != 1 {
        return Err(malformed);
    }
    let mut name = [0u8; NAME_MAX];
    let mut name_length = 0;
    let mut at = HEADER;
    loop {
        let length = usize::from(*message.get(at).ok_or(malformed)?);
        if length == 0 {
            at += 1;
            break;
        }
        let end = at + 1 + length;
        // Room for the root label has to remain. A pointer is longer than a label may be.
        if length > LABEL_MAX || name_length + 1 + length >= NAME_MAX {
            return Err(malformed);
        }
        let label = message.get(at..end).ok_or(malformed)?;
        let to = &mut name[name_length..name_length + 1 + length];
        to.copy_from_slice(label);
        to[1..].make_ascii_lowercase();
        name_length += 1 + length;
        at = end;
    }
    let kind = u16_at(message, at).ok_or(malformed)?;
    let class = u16_at(message, at + 2).ok_or(malformed)?;
    let question = &message[HEADER..at + 4];
    let records = usize::from(count(6)) + usize::from(count(8)) + usize::from(count(10));
    let edns = if records == 0 { None } else { edns(message, at + 4, records).ok_or(malformed)? };
    // Meta types are questions about questions.
    if class != CLASS_IN || (249..TYPE_ANY).contains(&kind) {
        return Err(Refusal::Code(Rcode::NotImp));
    }
    Ok(Query {
        id: u16::from_be_bytes([header[0], header[1]]),
        recursion_desired: header[2] & 0x01 != 0,
        checking_disabled: header[3] & 0x10 != 0,
        question,
        name,
        name_length,
        kind,
        edns,
    })
}

/// `None` when a record is malformed.
fn edns(message: &[u8], mut at: usize, records: usize) -> Option<Option<Edns>> {
    let mut found = None;
    for _ in 0..records {
        let record = record(message, at)?;
        if record.kind == TYPE_OPT {
            let [_, version, flags, _] = record.ttl.to_be_bytes();
            found = Some(Edns { size: record.class, version, dnssec: flags & 0x80 != 0 });
        }
        at = record.end;
    }
    Some(found)
}

/// A record of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Where it begins.
    pub(crate) start: usize,
    pub(crate) kind: u16,
    pub(crate) class: u16,
    /// Where its TTL is.
    pub(crate) ttl_at: usize,
    pub(crate) ttl: u32,
    /// Where its data begins.
    pub(crate) data: usize,
    /// Where the next one begins.
    pub(crate) end: usize,
}

impl Record {
    pub(crate) fn is_opt(&self) -> bool {
        self.kind == TYPE_OPT
    }
}

/// The record at `start`; `None` when the message ends before it does.
pub(crate) fn record(message: &[u8], start: usize) -> Option<Record> {
    let at = skip_name(message, start)?;
    let fixed: [u8; 10] = message.get(at..at + 10)?.try_into().ok()?;
    let data = at + 10;
    let end = data + usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
    message.get(..end)?;
    Some(Record {
        start,
        kind: u16::from_be_bytes([fixed[0], fixed[1]]),
        class: u16::from_be_bytes([fixed[2], fixed[3]]),
        ttl_at: at + 4,
        ttl: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
        data,
        end,
    })
}

/// Where a name ends that begins at `at`. Pointers are not followed: nobody needs where they lead.
pub(crate) fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    let start = at;
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            0xc0..=0xff => return message.get(at + 1).map(|_| at + 2),
            64..=0xbf => return None,
        }
        if at - start > NAME_MAX {
            return None;
        }
    }
}

/// Which part of an answer: where the number of its records is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Answer = 6,
    Authority = 8,
    More = 10,
}

/// Whose record it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Owner<'a> {
    /// The name of the question.
    Question,
    /// A name that begins there in the answer, if a pointer can say so; else it is written out.
    At(usize, &'a [&'a [u8]]),
    /// These labels, one part after the other.
    Name(&'a [&'a [u8]]),
}

/// Writes an answer record by record, never longer than its limit.
#[derive(Debug)]
pub(crate) struct Reply<'a> {
    bytes: &'a mut Vec<u8>,
    limit: usize,
    edns: bool,
    /// Where the name begins that the one of the question stands for.
    target: u16,
}

/// What of a query its answer repeats.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    pub(crate) id: u16,
    pub(crate) recursion_desired: bool,
    pub(crate) checking_disabled: bool,
    /// As asked, with type and class.
    pub(crate) question: &'a [u8],
    pub(crate) edns: bool,
}

/// Length of the OPT record that we send.
const OPT_LENGTH: usize = 11;

impl<'a> Reply<'a> {
    /// Begins the answer to `query` in `bytes`, which it clears. `limit` is in bytes.
    pub(crate) fn to(
        query: &Query<'_>,
        bytes: &'a mut Vec<u8>,
        limit: usize,
        rcode: Rcode,
    ) -> Self {
        let head = Head {
            id: query.id,
            recursion_desired: query.recursion_desired,
            checking_disabled: query.checking_disabled,
            question: query.question,
            edns: query.edns.is_some(),
        };
        Self::of(&head, bytes, limit, rcode)
    }

    /// The same for who asked with this head.
    pub(crate) fn of(head: &Head<'_>, bytes: &'a mut Vec<u8>, limit: usize, rcode: Rcode) -> Self {
        bytes.clear();
        bytes.extend_from_slice(&head.id.to_be_bytes());
        // An answer, with authority; recursion is offered.
        let flags = 0x84 | u8::from(head.recursion_desired);
        let more = 0x80 | (u8::from(head.checking_disabled) << 4) | rcode as u8;
        bytes.extend_from_slice(&[flags, more, 0, 1, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(head.question);
        Self { bytes, limit, edns: head.edns, target: 0 }
    }

    /// An address for the name of the question; false when there is no room, and then the answer
    /// says that it is cut.
    pub(crate) fn address(&mut self, ttl: u32, address: std::net::Ipv4Addr) -> bool {
        let reserve = if self.edns { OPT_LENGTH } else { 0 };
        if self.bytes.len() + 16 + reserve > self.limit {
            self.bytes[2] |= 0x02;
            return false;
        }
        let [t0, t1, t2, t3] = ttl.to_be_bytes();
        let [a, b, c, d] = address.octets();
        self.bytes.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, t0, t1, t2, t3, 0, 4, a, b, c, d]);
        self.count(6);
        true
    }

    /// The name that the one of the question stands for, without its root label; false when there is
    /// no room, and then the answer says that it is cut and nothing may follow.
    pub(crate) fn cname(&mut self, ttl: u32, target: &[u8]) -> bool {
        let reserve = if self.edns { OPT_LENGTH } else { 0 };
        if self.bytes.len() + 13 + target.len() + reserve > self.limit {
            self.bytes[2] |= 0x02;
            return false;
        }
        let length = u16::try_from(target.len() + 1).unwrap_or(0);
        self.bytes.extend_from_slice(&[0xc0, 12, 0, 5, 0, 1]);
        self.bytes.extend_from_slice(&ttl.to_be_bytes());
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.target = u16::try_from(self.bytes.len()).unwrap_or(0) | 0xc000;
        self.bytes.extend_from_slice(target);
        self.bytes.push(0);
        self.count(6);
        true
    }

    /// An address, of 4 or 16 bytes, of the name that was given as `cname`; false when there is no
    /// room.
    pub(crate) fn target_address(&mut self, ttl: u32, address: &[u8]) -> bool {
        let reserve = if self.edns { OPT_LENGTH } else { 0 };
        if self.bytes.len() + 12 + address.len() + reserve > self.limit {
            self.bytes[2] |= 0x02;
            return false;
        }
        let kind = if address.len() == 4 { TYPE_A } else { TYPE_AAAA };
        self.bytes.extend_from_slice(&self.target.to_be_bytes());
        self.bytes.extend_from_slice(&kind.to_be_bytes());
        self.bytes.extend_from_slice(&[0, 1]);
        self.bytes.extend_from_slice(&ttl.to_be_bytes());
        self.bytes.extend_from_slice(&u16::try_from(address.len()).unwrap_or(0).to_be_bytes());
        self.bytes.extend_from_slice(address);
        self.count(6);
        true
    }

    /// A record; where its data begins, or `None` when there is no room, and an answer that lacks one
    /// in its first section says that it is cut.
    pub(crate) fn put(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        (kind, ttl): (u16, u32),
        data: &[&[u8]],
    ) -> Option<usize> {
        let pointer;
        let (owner, ends): (&[&[u8]], &[u8]) = match owner {
            Owner::Question => (&[&[0xc0, 12]], &[]),
            Owner::At(at, _) if at < 0x4000 => {
                pointer = [0xc0 | u8::try_from(at >> 8).ok()?, u8::try_from(at & 0xff).ok()?];
                (&[], &pointer)
            }
            Owner::At(_, name) | Owner::Name(name) => (name, &[0]),
        };
        let length: usize = data.iter().map(|part| part.len()).sum();
        let named: usize = owner.iter().map(|part| part.len()).sum::<usize>() + ends.len();
        let reserve = if self.edns { OPT_LENGTH } else { 0 };
        if self.bytes.len() + named + 10 + length + reserve > self.limit {
            if section == Section::Answer {
                self.bytes[2] |= 0x02;
            }
            return None;
        }
        owner.iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.bytes.extend_from_slice(ends);
        self.bytes.extend_from_slice(&kind.to_be_bytes());
        self.bytes.extend_from_slice(&CLASS_IN.to_be_bytes());
        self.bytes.extend_from_slice(&ttl.to_be_bytes());
        self.bytes.extend_from_slice(&u16::try_from(length).ok()?.to_be_bytes());
        let at = self.bytes.len();
        data.iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.count(section as usize);
        Some(at)
    }

    /// The SOA record of a zone, in the answer or, for what does not exist, as authority.
    pub(crate) fn soa(&mut self, zone: &[u8], ttl: u32, serial: u32, authority: bool) {
        let bytes = &mut *self.bytes;
        // The root label ends each of the three names; the second and third point to the first.
        let owner = u16::try_from(bytes.len()).unwrap_or(0) | 0xc000;
        bytes.extend_from_slice(zone);
        bytes.push(0);
        bytes.extend_from_slice(&[0, 6, 0, 1]);
        bytes.extend_from_slice(&ttl.to_be_bytes());
        bytes.extend_from_slice(&[0, 24]);
        bytes.extend_from_slice(&owner.to_be_bytes());
        bytes.extend_from_slice(&owner.to_be_bytes());
        for number in [serial, 60, 10, 86_400, ttl.min(DNS_NEGATIVE_TTL_S)] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        self.count(if authority { 8 } else { 6 });
    }

    /// Ends the answer; an asker with EDNS gets ours.
    pub(crate) fn finish(self) {
        if self.edns {
            opt(self.bytes, 0, false);
            let mut reply = self;
            reply.count(10);
        }
    }

    fn count(&mut self, at: usize) {
        let now = u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]]).saturating_add(1);
        self.bytes[at..at + 2].copy_from_slice(&now.to_be_bytes());
    }
}

/// Appends an OPT record: our datagram size, the upper bits of the code, the wish for signatures.
pub(crate) fn opt(bytes: &mut Vec<u8>, extended_rcode: u8, dnssec: bool) {
    let size = u16::try_from(model::limits::DNS_UDP_BYTES_MAX).unwrap_or(512);
    let [high, low] = size.to_be_bytes();
    let flags = if dnssec { 0x80 } else { 0 };
    bytes.extend_from_slice(&[0, 0, 41, high, low, extended_rcode, 0, flags, 0, 0, 0]);
}

/// An answer of a code alone, to a message that may be no query; empty when it has no header.
pub(crate) fn refuse(message: &[u8], rcode: Rcode, bytes: &mut Vec<u8>) {
    bytes.clear();
    let Some(header) = message.get(..HEADER) else { return };
    let flags = 0x80 | (header[2] & 0x79);
    bytes.extend_from_slice(&[header[0], header[1], flags, 0x80 | rcode as u8]);
    bytes.extend_from_slice(&[0; 8]);
}
