//! A key as it is stored: a line of JSON that may grow, then the value as it is. A key that was
//! deleted stays for a while as one that is gone, so that indexes of prefixes do not go back.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use store::Key;

/// Version of the stored form.
const VERSION: u32 = 1;
/// Stands for the index that the running transaction will get.
pub(crate) const PENDING: u64 = u64::MAX;

/// Which version of a key's value this is, and where it came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Versions count from 1; 0 of one that was stored before versions were counted.
    pub version: u32,
    /// When it was put or deleted: the index, 0 when it is not known.
    pub index: u64,
    /// The same in milliseconds since 1970.
    pub at: i64,
    /// Who did it; none when it is not known.
    pub by: Option<Arc<str>>,
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Arc<str>,
    /// Its value.
    pub value: Bytes,
    /// A number that clients give a meaning.
    pub flags: u64,
    /// How often it was locked.
    pub lock_index: u64,
    /// The session that holds it.
    pub session: Option<Arc<str>>,
    /// When it came to be.
    pub create_index: u64,
    /// When it was changed last.
    pub modify_index: u64,
    /// Where value and flags came from: a lock changes nothing of it.
    pub origin: Origin,
}

impl Entry {
    /// Bytes that count for the quota.
    pub(crate) fn weight(&self) -> usize {
        self.key.len() + self.value.len()
    }
}

/// What is stored at a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    There(Entry),
    /// It was deleted.
    Gone(Origin),
}

/// A former version of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Past {
    pub(crate) origin: Origin,
    pub(crate) flags: u64,
    /// None of a deletion.
    pub(crate) value: Option<Bytes>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    v: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    flags: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    lock: u64,
    /// 0: the transaction that wrote this.
    #[serde(default, skip_serializing_if = "is_zero")]
    created: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    gone: bool,
    /// When the value was put or deleted: milliseconds since 1970.
    #[serde(default)]
    at: i64,
    /// Version of the value.
    #[serde(default, skip_serializing_if = "is_none")]
    n: u32,
    /// Index at which the value was put; 0: the transaction that wrote this.
    #[serde(default, skip_serializing_if = "is_zero")]
    since: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<Arc<str>>,
}

fn is_none(number: &u32) -> bool {
    *number == 0
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The key in the store.
pub(crate) fn kv_key(key: &str) -> Key {
    format!("{}kv/{key}", super::PREFIX).into()
}

/// The key of a session in the store.
pub(crate) fn session_key(id: &str) -> Key {
    format!("{}session/{id}", super::PREFIX).into()
}

/// The key of a former version in the store. What is behind the last `/` has one length, so that
/// it is clear where the key ends.
pub(crate) fn past_key(key: &str, version: u32) -> Key {
    format!("{}past/{key}/{version:08x}", super::PREFIX).into()
}

/// Key and version of the name of a former version behind its folder.
pub(crate) fn parse_past(name: &str) -> Option<(&str, u32)> {
    let at = name.len().checked_sub(9)?;
    let key = name.get(..at)?;
    let version = name.get(at..)?.strip_prefix('/')?;
    Some((key, u32::from_str_radix(version, 16).ok()?))
}

/// The key of a lock-delay in the store.
pub(crate) fn delay_key(id: &str) -> Key {
    format!("{}delay/{id}", super::PREFIX).into()
}

fn settled(index: u64) -> u64 {
    if index == PENDING { 0 } else { index }
}

fn head(origin: &Origin) -> Head {
    Head {
        v: VERSION,
        flags: 0,
        lock: 0,
        created: 0,
        session: None,
        gone: false,
        at: origin.at,
        n: origin.version,
        since: settled(origin.index),
        by: origin.by.clone(),
    }
}

/// What is stored for an entry.
pub(crate) fn encode(entry: &Entry) -> Bytes {
    let head = Head {
        flags: entry.flags,
        lock: entry.lock_index,
        created: settled(entry.create_index),
        session: entry.session.clone(),
        ..head(&entry.origin)
    };
    write(&head, &entry.value)
}

/// What is stored for a key that was deleted.
pub(crate) fn encode_gone(origin: &Origin) -> Bytes {
    write(&Head { gone: true, ..head(origin) }, b"")
}

/// What is stored for a former version.
pub(crate) fn encode_past(past: &Past) -> Bytes {
    let head = Head { flags: past.flags, gone: past.value.is_none(), ..head(&past.origin) };
    write(&head, past.value.as_deref().unwrap_or_default())
}

fn write(head: &Head, value: &[u8]) -> Bytes {
    // A head of numbers and texts always has a JSON.
    let mut out = serde_json::to_vec(head).unwrap_or_default();
    out.reserve(value.len() + 1);
    out.push(b'\n');
    out.extend_from_slice(value);
    out.into()
}

fn read(value: &Bytes) -> Result<(Head, Bytes), String> {
    let end = value.iter().position(|b| *b == b'\n').ok_or("it has no head")?;
    let head: Head = serde_json::from_slice(&value[..end]).map_err(|e| e.to_string())?;
    if head.v != VERSION {
        return Err(format!("it has version {}, and this one knows {VERSION}", head.v));
    }
    Ok((head, value.slice(end + 1..)))
}

fn origin(head: &Head, modified: u64) -> Origin {
    let index = if head.since == 0 { modified } else { head.since };
    Origin { version: head.n, index, at: head.at, by: head.by.clone() }
}

/// Reads what is stored at `key` and was put at `modified`.
///
/// # Errors
/// Why it cannot be understood.
pub(crate) fn decode(key: &str, value: &Bytes, modified: u64) -> Result<Stored, String> {
    let (head, value) = read(value)?;
    let origin = origin(&head, modified);
    if head.gone {
        return Ok(Stored::Gone(origin));
    }
    Ok(Stored::There(Entry {
        key: key.into(),
        value,
        flags: head.flags,
        lock_index: head.lock,
        session: head.session,
        create_index: if head.created == 0 { modified } else { head.created },
        modify_index: modified,
        origin,
    }))
}

/// Reads a former version.
///
/// # Errors
/// Why it cannot be understood.
pub(crate) fn decode_past(value: &Bytes, modified: u64) -> Result<Past, String> {
    let (head, value) = read(value)?;
    let origin = origin(&head, modified);
    Ok(Past { origin, flags: head.flags, value: (!head.gone).then_some(value) })
}

/// At which index a key became what is stored as a former version of it since `modified`.
pub(crate) fn past_made(value: &Bytes, modified: u64) -> u64 {
    decode_past(value, modified).map_or(modified, |past| past.origin.index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_survives_being_stored() {
        let origin = Origin { version: 4, index: 8, at: 1, by: Some("host h1".into()) };
        let entry = Entry {
            key: "a/b".into(),
            value: Bytes::from_static(b"x\n\0\xff"),
            flags: u64::MAX,
            lock_index: 3,
            session: Some("s".into()),
            create_index: 7,
            modify_index: 9,
            origin: origin.clone(),
        };
        assert_eq!(decode("a/b", &encode(&entry), 9), Ok(Stored::There(entry.clone())));
        let pending = Origin { index: PENDING, ..origin.clone() };
        let new = Entry { create_index: PENDING, session: None, origin: pending.clone(), ..entry };
        let Ok(Stored::There(read)) = decode("a/b", &encode(&new), 9) else { panic!() };
        assert_eq!((read.create_index, read.session, read.origin.index), (9, None, 9));
        let gone = Origin { index: 9, ..origin.clone() };
        assert_eq!(decode("a", &encode_gone(&pending), 9), Ok(Stored::Gone(gone)));
        for value in [Some(Bytes::from_static(b"\n")), None] {
            let past = Past { origin: origin.clone(), flags: 7, value };
            assert_eq!(decode_past(&encode_past(&past), 99), Ok(past));
        }
    }

    #[test]
    fn the_name_of_a_former_version_says_its_key() {
        for key in ["a", "a/b/", "a/00000001", "", "\u{e4}/\u{20ac}"] {
            let name = past_key(key, 0x1f);
            assert_eq!(parse_past(name.strip_prefix("consul/past/").unwrap()), Some((key, 0x1f)));
        }
        for name in ["", "00000001", "a00000001", "a/0000000x", "\u{20ac}0000000"] {
            assert_eq!(parse_past(name), None, "{name}");
        }
    }

    #[test]
    fn what_is_not_ours_is_an_error_and_what_is_newer_says_so() {
        for (text, why) in [
            ("", "no head"),
            ("no line", "no head"),
            ("{}\n", "missing field"),
            ("{\"v\":2}\n", "version 2"),
        ] {
            let error = decode("a", &Bytes::from_static(text.as_bytes()), 1).unwrap_err();
            assert!(error.contains(why), "{text:?}: {error}");
        }
        let grown = Bytes::from_static(b"{\"v\":1,\"new\":[1]}\nx");
        assert!(decode("a", &grown, 1).is_ok());
    }
}
