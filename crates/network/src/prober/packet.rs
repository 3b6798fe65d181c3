//! The packets of a check, ICMP echoes with a note in them: written and read. Pure.

use std::net::Ipv4Addr;

/// IP header, ICMP header, note.
pub(super) const BYTES_MIN: u16 = 48;
const IP_BYTES: usize = 20;
const NOTE_BYTES: usize = 20;
/// Begins every note.
const MAGIC: [u8; 4] = *b"RMDc";
const REQUEST: u8 = 8;
const REPLY: u8 = 0;

/// What a packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Through the overlay: the agent there answers with `Answer`.
    Overlay,
    /// That answer. The kernel answers too, but outside of the overlay.
    Answer,
    /// Outside of the overlay, answered by the kernel.
    Outer,
    /// To a container, answered by its kernel.
    Container,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Overlay, Self::Answer, Self::Outer, Self::Container];

    fn number(self) -> u8 {
        match self {
            Self::Overlay => 1,
            Self::Answer => 2,
            Self::Outer => 3,
            Self::Container => 4,
        }
    }
}

/// What is noted in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Note {
    /// Number of the check, drawn for it.
    pub(super) check: u64,
    /// Number of the host that has asked.
    pub(super) from: u16,
    /// What for.
    pub(super) kind: Kind,
    /// Which of its packets to the same host.
    pub(super) turn: u16,
    /// Size of the question, in bytes.
    pub(super) size: u16,
}

/// A packet that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Come {
    pub(super) source: Ipv4Addr,
    /// Is it an answer of a kernel, or of ours?
    pub(super) is_reply: bool,
    /// Bytes with the IP header.
    pub(super) size: u16,
    pub(super) note: Note,
}

/// A packet of `size` bytes that must not be cut into pieces on the way. An unspecified source is
/// filled in by the kernel.
pub(super) fn write(note: Note, from: Ipv4Addr, to: Ipv4Addr, size: u16) -> Vec<u8> {
    const DONT_FRAGMENT: [u8; 2] = [0x40, 0];
    const TTL: u8 = 64;
    const ICMP: u8 = 1;
    let size = size.max(BYTES_MIN);
    let mut bytes = vec![0; usize::from(size)];
    let (ip, icmp) = bytes.split_at_mut(IP_BYTES);
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&size.to_be_bytes());
    ip[6..8].copy_from_slice(&DONT_FRAGMENT);
    ip[8] = TTL;
    ip[9] = ICMP;
    ip[12..16].copy_from_slice(&from.octets());
    ip[16..20].copy_from_slice(&to.octets());
    icmp[0] = if note.kind == Kind::Answer { REPLY } else { REQUEST };
    // Each kind is a flow of its own for connection tracking.
    let [.., low, high] = note.check.to_be_bytes();
    icmp[4] = low ^ note.kind.number();
    icmp[5] = high;
    icmp[6..8].copy_from_slice(&note.turn.to_be_bytes());
    let text = &mut icmp[8..8 + NOTE_BYTES];
    text[..4].copy_from_slice(&MAGIC);
    text[4..12].copy_from_slice(&note.check.to_be_bytes());
    text[12..14].copy_from_slice(&note.from.to_be_bytes());
    text[14] = note.kind.number();
    text[16..18].copy_from_slice(&note.turn.to_be_bytes());
    text[18..20].copy_from_slice(&note.size.to_be_bytes());
    let sum = checksum(icmp);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// Reads a packet as a raw socket gives it; `None` when it is none of this check.
pub(super) fn read(bytes: &[u8], check: u64) -> Option<Come> {
    let header = usize::from(bytes.first()? & 0x0f) * 4;
    let source = Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(12..16)?).ok()?);
    let is_reply = match *bytes.get(header)? {
        REPLY => true,
        REQUEST => false,
        _ => return None,
    };
    let text = bytes.get(header + 8..header + 8 + NOTE_BYTES)?;
    let two = |at: usize| Some(u16::from_be_bytes(text.get(at..at + 2)?.try_into().ok()?));
    let is_ours = text.starts_with(&MAGIC) && text.get(4..12)? == check.to_be_bytes();
    let kind = Kind::ALL.into_iter().find(|kind| kind.number() == text[14])?;
    let note = Note { check, from: two(12)?, kind, turn: two(16)?, size: two(18)? };
    let size = u16::try_from(bytes.len()).ok()?;
    is_ours.then_some(Come { source, is_reply, size, note })
}

fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|two| {
        let low = two.get(1).copied().unwrap_or(0);
        u32::from(u16::from_be_bytes([two[0], low]))
    });
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded).unwrap_or(u16::MAX)
}

/// Sizes to try, the largest first: what tunnels and providers usually take away, and the sizes
/// that everything carries.
pub(super) fn sizes(full: u16) -> Vec<u16> {
    let less = [4, 8, 20, 28, 50, 78, 100, 150, 250];
    let usual = [1230, 1000, 526];
    let all = less.into_iter().map(|less| full.saturating_sub(less)).chain(usual);
    let mut all: Vec<u16> = all.filter(|size| (526..full).contains(size)).collect();
    all.sort_unstable_by(|a, b| b.cmp(a));
    all.dedup();
    all
}

/// Who asks for the MAC address of `own`: reads an ARP packet without its Ethernet header.
pub(super) fn asks_for(bytes: &[u8], own: Ipv4Addr) -> Option<Ipv4Addr> {
    const QUESTION: [u8; 2] = [0, 1];
    let is_question = bytes.get(6..8)? == QUESTION && bytes.get(24..28)? == own.octets();
    let sender = <[u8; 4]>::try_from(bytes.get(14..18)?).ok()?;
    is_question.then(|| Ipv4Addr::from(sender))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
    const B: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);

    fn note(kind: Kind) -> Note {
        Note { check: 0x0102_0304_0506_0708, from: 7, kind, turn: 300, size: 1450 }
    }

    #[test]
    fn a_packet_is_read_as_it_was_written_and_not_in_pieces() {
        for kind in Kind::ALL {
            for size in [64, 65, 1450] {
                let bytes = write(note(kind), A, B, size);
                assert_eq!(bytes.len(), usize::from(size));
                assert_eq!(bytes[6] & 0x40, 0x40, "it must not be cut into pieces");
                assert_eq!(checksum(&bytes[20..]), 0, "the kernel drops others");
                let come = read(&bytes, note(kind).check).unwrap();
                let is_reply = kind == Kind::Answer;
                assert_eq!(come, Come { source: A, is_reply, size, note: note(kind) });
                assert_eq!(read(&bytes, 9), None, "of another check");
            }
        }
        assert_eq!(write(note(Kind::Outer), A, B, 1).len(), usize::from(BYTES_MIN));
    }

    #[test]
    fn packets_of_others_and_broken_ones_are_none() {
        let whole = write(note(Kind::Overlay), A, B, 64);
        for end in 0..usize::from(BYTES_MIN) {
            assert_eq!(read(&whole[..end], note(Kind::Overlay).check), None, "{end}");
        }
        for at in [20, 28, 42] {
            let mut bytes = whole.clone();
            bytes[at] = 99;
            assert_eq!(read(&bytes, note(Kind::Overlay).check), None, "{at}");
        }
        let mut long = whole;
        long[0] = 0x4f;
        assert_eq!(read(&long, note(Kind::Overlay).check), None, "a header beyond its end");
    }

    #[test]
    fn sizes_go_down_from_the_full_one() {
        assert_eq!(sizes(1450)[..3], [1446, 1442, 1430]);
        assert_eq!(sizes(1450).last(), Some(&526));
        assert!(sizes(8950).contains(&1230), "a jumbo frame on a usual network");
        assert!(sizes(1280).iter().all(|size| *size < 1280));
        assert!(sizes(526).is_empty());
    }

    #[test]
    fn a_question_for_an_address_is_told_from_an_answer() {
        let arp = |op: u8, of: Ipv4Addr, to: Ipv4Addr| {
            let head = [0, 1, 8, 0, 6, 4, 0, op, 2, 0, 0, 0, 0, 1];
            [&head[..], &of.octets(), &[0; 6], &to.octets()].concat()
        };
        assert_eq!(asks_for(&arp(1, B, A), A), Some(B));
        assert_eq!(asks_for(&arp(2, B, A), A), None, "an answer");
        assert_eq!(asks_for(&arp(1, B, B), A), None, "for somebody else");
        assert_eq!(asks_for(&arp(1, B, A)[..20], A), None);
    }
}
