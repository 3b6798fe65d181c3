//! What the kernel holds of `table inet remuda`, read through nfnetlink without a fork: enough to
//! know that nobody changed it since we loaded it. Reads only.

use crate::rules::TABLE;
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use std::hash::{DefaultHasher, Hasher};
use std::io;

const HEADER: usize = 16;
const NFGEN: usize = 4;
const NFPROTO_INET: u8 = 1;
const SUBSYSTEM_NFTABLES: u16 = 10;
const GET_TABLE: u16 = 1;
const GET_CHAIN: u16 = 4;
const GET_RULE: u16 = 7;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;
/// Set by the kernel when the rules changed in the middle of a dump.
const DUMP_INTERRUPTED: u16 = 0x10;
const TYPE_ERROR: u16 = 2;
const TYPE_DONE: u16 = 3;
/// Attribute with the table's name, in tables, chains and rules alike.
const ATTRIBUTE_TABLE: u16 = 1;
const RECEIVE_BYTES: usize = 128 * 1024;
const TRIES: usize = 8;

/// A fingerprint of table, chains and rules with their handles: any change gives another one.
/// `None` when there is no table. Never waits: the kernel answers a dump at once.
pub(crate) fn fingerprint() -> io::Result<Option<u64>> {
    for _ in 0..TRIES {
        match fingerprint_once() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
    Err(io::Error::new(io::ErrorKind::Interrupted, "the rules change faster than they are read"))
}

fn fingerprint_once() -> io::Result<Option<u64>> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.set_non_blocking(true)?;
    let mut hasher = DefaultHasher::new();
    let mut tables = 0;
    for (sequence, what) in (1u32..).zip([GET_TABLE, GET_CHAIN, GET_RULE]) {
        socket.send_to(&request(what, sequence), &SocketAddr::new(0, 0), 0)?;
        let found = dump(&socket, |attributes| hasher.write(attributes))?;
        if what == GET_TABLE {
            tables = found;
        }
    }
    Ok((tables > 0).then(|| hasher.finish()))
}

fn request(what: u16, sequence: u32) -> Vec<u8> {
    // Only rules are filtered by the kernel; the attribute is ignored for the others.
    let name = format!("{TABLE}\0");
    let attribute_len = 4 + name.len();
    let mut bytes = Vec::with_capacity(64);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&((SUBSYSTEM_NFTABLES << 8) | what).to_ne_bytes());
    bytes.extend_from_slice(&DUMP.to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&[NFPROTO_INET, 0, 0, 0]);
    if what == GET_RULE {
        let len = u16::try_from(attribute_len).expect("the table's name is short");
        bytes.extend_from_slice(&len.to_ne_bytes());
        bytes.extend_from_slice(&ATTRIBUTE_TABLE.to_ne_bytes());
        bytes.extend_from_slice(name.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    let total = u32::try_from(bytes.len()).expect("a request is short");
    bytes[..4].copy_from_slice(&total.to_ne_bytes());
    bytes
}

/// Feeds the attributes of each answer that is about our table; how many there were.
fn dump(socket: &Socket, mut take: impl FnMut(&[u8])) -> io::Result<usize> {
    let mut found = 0;
    let mut datagram: Vec<u8> = Vec::with_capacity(RECEIVE_BYTES);
    loop {
        datagram.clear();
        // `recv_from` hands back the whole length even when the buffer was too small.
        let (len, _from) = socket.recv_from(&mut datagram, 0)?;
        if len > datagram.len() {
            return Err(malformed());
        }
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let (message, after) = split_message(rest)?;
            rest = after;
            match message {
                Message::Done => return Ok(found),
                Message::Error(e) => return Err(e),
                Message::Entry(attributes) if is_ours(attributes) => {
                    found += 1;
                    take(attributes);
                }
                Message::Entry(_) => {}
            }
        }
    }
}

enum Message<'a> {
    Done,
    Error(io::Error),
    /// Its attributes.
    Entry(&'a [u8]),
}

fn split_message(bytes: &[u8]) -> io::Result<(Message<'_>, &[u8])> {
    let len = usize::try_from(u32_at(bytes, 0)?).map_err(|_too_large| malformed())?;
    let (kind, flags) = (u16_at(bytes, 4)?, u16_at(bytes, 6)?);
    let body = bytes.get(HEADER..len).ok_or_else(malformed)?;
    let after = bytes.get(len.next_multiple_of(4)..).unwrap_or(&[]);
    if flags & DUMP_INTERRUPTED != 0 {
        return Err(io::ErrorKind::Interrupted.into());
    }
    let message = match kind {
        TYPE_DONE => Message::Done,
        TYPE_ERROR => {
            let code = i32::from_ne_bytes(u32_at(body, 0)?.to_ne_bytes());
            Message::Error(io::Error::from_raw_os_error(-code))
        }
        _ => Message::Entry(body.get(NFGEN..).ok_or_else(malformed)?),
    };
    Ok((message, after))
}

/// Is the entry about our table?
fn is_ours(attributes: &[u8]) -> bool {
    let mut rest = attributes;
    while let (Ok(len), Ok(kind)) = (u16_at(rest, 0), u16_at(rest, 2)) {
        let len = usize::from(len);
        let Some(value) = rest.get(4..len) else { return false };
        if kind == ATTRIBUTE_TABLE {
            return value.strip_suffix(b"\0") == Some(TABLE.as_bytes());
        }
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or(&[]);
    }
    false
}

fn u16_at(bytes: &[u8], at: usize) -> io::Result<u16> {
    let two = bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).ok_or_else(malformed)?;
    Ok(u16::from_ne_bytes(two))
}

fn u32_at(bytes: &[u8], at: usize) -> io::Result<u32> {
    let four = bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).ok_or_else(malformed)?;
    Ok(u32::from_ne_bytes(four))
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "malformed netlink answer")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_answer_makes_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            is_ours(&bytes);
            let mut rest = bytes.as_slice();
            while let Ok((_, after)) = split_message(rest) {
                prop_assert!(after.len() < rest.len(), "no progress");
                rest = after;
            }
        }
    }

    #[test]
    fn an_answer_that_ends_too_early_is_an_error_and_not_a_panic() {
        let whole = request(GET_RULE, 1);
        assert!(matches!(split_message(&whole), Ok((Message::Entry(a), [])) if is_ours(a)));
        for cut in 0..whole.len() - 4 {
            assert!(split_message(&whole[..cut]).is_err(), "{cut} bytes were taken as whole");
        }
        let mut refused = whole;
        refused[4..6].copy_from_slice(&TYPE_ERROR.to_ne_bytes());
        refused[HEADER..HEADER + 4].copy_from_slice(&(-1i32).to_ne_bytes());
        let Ok((Message::Error(e), _)) = split_message(&refused) else { panic!("no error") };
        assert_eq!(e.kind(), io::ErrorKind::PermissionDenied);
        assert!(!is_ours(b"\x0b\x00\x01\x00remote\0\0"), "somebody else's table");
        assert!(!is_ours(b"\x00\x00\x01\x00remuda\0\0"), "an attribute without a length");
    }
}
