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
    /// It was deleted, at this time in milliseconds since 1970.
    Gone {
        at: i64,
    },
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
    /// Milliseconds since 1970.
    #[serde(default)]
    at: i64,
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

/// What is stored for an entry.
pub(crate) fn encode(entry: &Entry, at: i64) -> Bytes {
    let head = Head {
        v: VERSION,
        flags: entry.flags,
        lock: entry.lock_index,
        created: if entry.create_index == PENDING { 0 } else { entry.create_index },
        session: entry.session.clone(),
        gone: false,
        at,
    };
    write(&head, &entry.value)
}

/// What is stored for a key that was deleted.
pub(crate) fn encode_gone(at: i64) -> Bytes {
    let head = Head { v: VERSION, flags: 0, lock: 0, created: 0, session: None, gone: true, at };
    write(&head, b"")
}

fn write(head: &Head, value: &[u8]) -> Bytes {
    // A head of numbers and texts always has a JSON.
    let mut out = serde_json::to_vec(head).unwrap_or_default();
    out.reserve(value.len() + 1);
    out.push(b'\n');
    out.extend_from_slice(value);
    out.into()
}

/// Reads what is stored at `key` and was put at `modified`.
///
/// # Errors
/// Why it cannot be understood.
pub(crate) fn decode(key: &str, value: &Bytes, modified: u64) -> Result<Stored, String> {
    let end = value.iter().position(|b| *b == b'\n').ok_or("it has no head")?;
    let head: Head = serde_json::from_slice(&value[..end]).map_err(|e| e.to_string())?;
    if head.v != VERSION {
        return Err(format!("it has version {}, and this one knows {VERSION}", head.v));
    }
    if head.gone {
        return Ok(Stored::Gone { at: head.at });
    }
    Ok(Stored::There(Entry {
        key: key.into(),
        value: value.slice(end + 1..),
        flags: head.flags,
        lock_index: head.lock,
        session: head.session,
        create_index: if head.created == 0 { modified } else { head.created },
        modify_index: modified,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_survives_being_stored() {
        let entry = Entry {
            key: "a/b".into(),
            value: Bytes::from_static(b"x\n\0\xff"),
            flags: u64::MAX,
            lock_index: 3,
            session: Some("s".into()),
            create_index: 7,
            modify_index: 9,
        };
        assert_eq!(decode("a/b", &encode(&entry, 1), 9), Ok(Stored::There(entry.clone())));
        let new = Entry { create_index: PENDING, session: None, ..entry };
        let Ok(Stored::There(read)) = decode("a/b", &encode(&new, 1), 9) else { panic!() };
        assert_eq!((read.create_index, read.session), (9, None));
        assert_eq!(decode("a", &encode_gone(5), 9), Ok(Stored::Gone { at: 5 }));
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
