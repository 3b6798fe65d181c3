//! Writes that are being put together: each sees those before it, all of them become one
//! transaction, which holds only while nothing that it rests on has changed. Pure.

use super::entry::{
    Entry, Origin, PENDING, Past, encode, encode_gone, encode_past, kv_key, past_key, session_key,
};
use super::map::Map;
use bytes::Bytes;
use model::limits::{
    CONSUL_DELETED_AT_ONCE, CONSUL_KEYS_MAX, CONSUL_KV_BYTES_MAX, CONSUL_PAST_BYTES_MAX,
    CONSUL_PAST_MAX, CONSUL_PAST_OF_KEY_BYTES_MAX, CONSUL_PAST_OF_KEY_MAX, STORE_TXN_BYTES_MAX,
};
use model::time::Index;
use std::collections::BTreeMap;
use std::sync::Arc;
use store::{Compare, Key, Op, Txn};

/// What a deleted key takes in the store beside its name, at most, in bytes.
const GONE_BYTES: usize = 256;

/// Why a write cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The session that should lock does not exist.
    NoSession(String),
    /// There is no room.
    Full(String),
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoSession(id) => write!(f, "invalid session \"{id}\""),
            Self::Full(why) => f.write_str(why),
        }
    }
}

/// Writes over a map.
#[derive(Debug)]
pub(crate) struct Draft<'m> {
    map: &'m Map,
    /// What the keys that were touched become.
    changed: BTreeMap<Arc<str>, Option<Entry>>,
    /// What was stored at the keys that were looked at.
    reads: BTreeMap<Arc<str>, Option<u64>>,
    /// Sessions that must still be there, by when they were put.
    sessions: BTreeMap<Arc<str>, u64>,
    more: Vec<Op>,
}

impl<'m> Draft<'m> {
    pub(crate) fn new(map: &'m Map) -> Self {
        Self {
            map,
            changed: BTreeMap::new(),
            reads: BTreeMap::new(),
            sessions: BTreeMap::new(),
            more: vec![],
        }
    }

    /// A key as the writes so far leave it. The transaction holds only while it is so.
    pub(crate) fn get(&mut self, key: &str) -> Option<Entry> {
        if let Some(changed) = self.changed.get(key) {
            return changed.clone();
        }
        self.reads.entry(key.into()).or_insert_with(|| self.map.stored_at(key));
        self.map.get(key).value.map(|entry| (*entry).clone())
    }

    /// Every key below a prefix as the writes so far leave it.
    pub(crate) fn list(&mut self, prefix: &str) -> Vec<Entry> {
        let mut keys: Vec<Arc<str>> =
            self.map.below(prefix).map(|entry| Arc::clone(&entry.key)).collect();
        keys.extend(self.changed.keys().filter(|key| key.starts_with(prefix)).cloned());
        keys.sort();
        keys.dedup();
        keys.iter().filter_map(|key| self.get(key)).collect()
    }

    fn put(&mut self, entry: Entry) -> Result<(), Refused> {
        let before = self.map.get(&entry.key).value.map_or(0, |before| before.weight());
        let bytes = self.map.bytes().saturating_sub(before) + entry.weight();
        if bytes > CONSUL_KV_BYTES_MAX {
            let max = CONSUL_KV_BYTES_MAX / (1024 * 1024);
            return Err(Refused::Full(format!(
                "the keys and values have {max} MiB already, the most that there can be: delete some"
            )));
        }
        if before == 0 && self.map.keys_len() >= CONSUL_KEYS_MAX {
            return Err(Refused::Full(format!(
                "there are {CONSUL_KEYS_MAX} keys already, the most that there can be: delete some"
            )));
        }
        self.changed.insert(Arc::clone(&entry.key), Some(entry));
        Ok(())
    }

    /// Puts a value; the same value and flags again change nothing. A lock stays.
    pub(crate) fn set(&mut self, key: &str, value: Bytes, flags: u64) -> Result<(), Refused> {
        match self.get(key) {
            Some(old) if old.value == value && old.flags == flags => Ok(()),
            Some(old) => self.put(Entry { value, flags, modify_index: PENDING, ..old }),
            None => self.put(new(key, value, flags)),
        }
    }

    /// Is the key as a client knows it? 0 means that it is not there.
    fn is_at(&mut self, key: &str, index: u64) -> bool {
        match (self.get(key), index) {
            (None, 0) => true,
            (None, _) | (Some(_), 0) => false,
            (Some(entry), index) => entry.modify_index == index && index != PENDING,
        }
    }

    /// Puts a value when the key is as the client knows it.
    pub(crate) fn cas(
        &mut self,
        key: &str,
        value: Bytes,
        flags: u64,
        index: u64,
    ) -> Result<bool, Refused> {
        if !self.is_at(key, index) {
            return Ok(false);
        }
        self.set(key, value, flags).map(|()| true)
    }

    /// Locks a key for a session that exists. The holder may do it again.
    pub(crate) fn lock(
        &mut self,
        key: &str,
        value: Bytes,
        flags: u64,
        session: &str,
    ) -> Result<bool, Refused> {
        let known = self.map.session(session);
        let known = known.ok_or_else(|| Refused::NoSession(session.to_owned()))?;
        let id: Arc<str> = session.into();
        self.sessions.insert(Arc::clone(&id), known.index);
        let old = self.get(key);
        match old {
            Some(old) if old.session.as_deref() == Some(session) => {
                if old.value != value || old.flags != flags {
                    self.put(Entry { value, flags, modify_index: PENDING, ..old })?;
                }
                Ok(true)
            }
            Some(Entry { session: Some(_), .. }) => Ok(false),
            old => {
                let old = old.unwrap_or_else(|| new(key, Bytes::new(), 0));
                let lock_index = old.lock_index + 1;
                let session = Some(id);
                self.put(Entry {
                    value,
                    flags,
                    lock_index,
                    session,
                    modify_index: PENDING,
                    ..old
                })?;
                Ok(true)
            }
        }
    }

    /// Lets go of a key that the session holds, and puts a value.
    pub(crate) fn unlock(
        &mut self,
        key: &str,
        value: Bytes,
        flags: u64,
        session: &str,
    ) -> Result<bool, Refused> {
        match self.get(key) {
            Some(old) if old.session.as_deref() == Some(session) => {
                let modify_index = PENDING;
                self.put(Entry { value, flags, session: None, modify_index, ..old })?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Frees a key of a session that has ended: the value stays.
    pub(crate) fn release(&mut self, key: &str, session: &str) {
        if let Some(old) = self.get(key)
            && old.session.as_deref() == Some(session)
        {
            let entry = Entry { session: None, modify_index: PENDING, ..old };
            self.changed.insert(Arc::clone(&entry.key), Some(entry));
        }
    }

    /// Takes a key away; one that is missing is fine.
    pub(crate) fn delete(&mut self, key: &str) {
        if self.get(key).is_some() {
            self.changed.insert(key.into(), None);
        }
    }

    /// Takes away what is below a prefix and not before the key `from`, up to `most` keys and as
    /// much as one transaction holds; gives the key to go on with, none when that was all.
    pub(crate) fn delete_some(
        &mut self,
        prefix: &str,
        from: &str,
        most: usize,
    ) -> Option<Arc<str>> {
        let map = self.map;
        let mut bytes = 0;
        for (n, entry) in map.below_from(prefix, from).enumerate() {
            bytes += delete_bytes(&entry.key);
            if n >= most || bytes > STORE_TXN_BYTES_MAX / 2 {
                return Some(Arc::clone(&entry.key));
            }
            self.delete(&entry.key);
        }
        None
    }

    /// Takes away everything below a prefix as the writes so far leave it; false, and nothing of
    /// it, when that is more than one transaction holds.
    pub(crate) fn delete_all(&mut self, prefix: &str) -> bool {
        let map = self.map;
        let (mut count, mut bytes) =
            (self.reads.len(), self.reads.keys().map(|key| delete_bytes(key)).sum::<usize>());
        for entry in map.below(prefix).filter(|entry| !self.reads.contains_key(&entry.key)) {
            count += 1;
            bytes += delete_bytes(&entry.key);
            if count > CONSUL_DELETED_AT_ONCE || bytes > STORE_TXN_BYTES_MAX / 2 {
                return false;
            }
        }
        self.list(prefix).iter().for_each(|entry| self.delete(&entry.key));
        true
    }

    /// Takes a key away when it is as the client knows it. 0 never deletes one that is there.
    pub(crate) fn delete_cas(&mut self, key: &str, index: u64) -> bool {
        match self.get(key) {
            None => true,
            Some(entry) if entry.modify_index == index && index != PENDING => {
                self.delete(key);
                true
            }
            Some(_) => false,
        }
    }

    /// A further operation of the transaction: on a session, or one that was forgotten.
    pub(crate) fn also(&mut self, op: Op, rests_on: Option<(&str, u64)>) {
        if let Some((id, index)) = rests_on {
            self.sessions.insert(id.into(), index);
        }
        self.more.push(op);
    }

    /// What is to be written, by whom, at `now` in milliseconds since 1970. Without operations
    /// there is nothing to do.
    pub(crate) fn write(self, now: i64, by: &Arc<str>) -> Write {
        let compare = |(key, at): (&Arc<str>, &Option<u64>)| match at {
            None => Compare::Absent(kv_key(key)),
            Some(index) => Compare::Modified(kv_key(key), Index(*index)),
        };
        let mut compares: Vec<Compare> = self.reads.iter().map(compare).collect();
        let there = |(id, at): (&Arc<str>, &u64)| Compare::Modified(session_key(id), Index(*at));
        compares.extend(self.sessions.iter().map(there));
        let mut write =
            Write { txn: Txn { compares, ops: self.more }, pasts: vec![], past_bytes: 0 };
        for (key, entry) in self.changed {
            let before = self.map.get(&key).value;
            let version = self.map.version(&key);
            let next = Origin {
                version: version.saturating_add(1),
                index: PENDING,
                at: now,
                by: Some(Arc::clone(by)),
            };
            let value = match (&before, entry) {
                // Made and taken away again in one transaction.
                (None, None) => continue,
                (Some(before), Some(entry)) if is_same(before, &entry) => {
                    encode(&Entry { origin: before.origin.clone(), ..entry })
                }
                (before, entry) => {
                    write.leave(self.map, &key, before.as_deref());
                    match entry {
                        Some(entry) => encode(&Entry { origin: next, ..entry }),
                        None => encode_gone(&next),
                    }
                }
            };
            write.txn.ops.push(Op::Put { key: kv_key(&key), value, lease: None });
        }
        write
    }
}

/// What the delete of a key takes in a transaction: a compare and a put, each with its key.
fn delete_bytes(key: &str) -> usize {
    2 * key.len() + GONE_BYTES
}

fn is_same(one: &Entry, other: &Entry) -> bool {
    one.value == other.value && one.flags == other.flags
}

/// A write that has been put together.
#[derive(Debug)]
pub(crate) struct Write {
    /// The transaction.
    pub(crate) txn: Txn,
    /// Former versions that go with it. What one of them holds never changes, so that it can be
    /// written before as well.
    pub(crate) pasts: Vec<(Key, Bytes)>,
    /// Bytes of the former versions.
    past_bytes: usize,
}

impl Write {
    /// What a key is before this write stays as a former version, and the oldest ones of the key
    /// go where there are too many.
    fn leave(&mut self, map: &Map, key: &str, before: Option<&Entry>) {
        let (pasts, version) = (map.pasts(), map.version(key));
        let past = match (before, map.gone(key)) {
            (Some(entry), _) => Past {
                origin: Origin { version, ..entry.origin.clone() },
                flags: entry.flags,
                value: Some(entry.value.clone()),
            },
            // That a key was deleted says nothing once all before is forgotten.
            (None, Some(gone)) if !pasts.of(key).is_empty() => {
                Past { origin: Origin { version, ..gone.origin.clone() }, flags: 0, value: None }
            }
            (None, _) => return,
        };
        let mut kept = pasts.of(key).iter().map(|kept| (kept.version, kept.bytes));
        let (mut count, mut bytes) = kept.clone().fold((0, 0), |(n, sum), of| (n + 1, sum + of.1));
        let (all, all_bytes) = pasts.size();
        let has_room = has_room(all, self.pasts.len(), CONSUL_PAST_MAX)
            && has_room(all_bytes, self.past_bytes, CONSUL_PAST_BYTES_MAX);
        if !pasts.has(key, version) && has_room {
            let value = encode_past(&past);
            count += 1;
            bytes += key.len() + value.len();
            let name = past_key(key, version);
            self.past_bytes += name.len() + value.len();
            self.pasts.push((name, value));
        }
        while count > CONSUL_PAST_OF_KEY_MAX || bytes > CONSUL_PAST_OF_KEY_BYTES_MAX {
            let Some((old, size)) = kept.next() else { break };
            count -= 1;
            bytes -= size;
            self.txn.ops.push(Op::Delete(past_key(key, old)));
        }
    }

    /// Bytes of the former versions.
    pub(crate) fn past_bytes(&self) -> usize {
        self.past_bytes
    }

    /// The transaction with the former versions.
    pub(crate) fn whole(mut self) -> Txn {
        self.txn.ops.extend(self.pasts.into_iter().map(put_past));
        self.txn
    }
}

/// A former version as an operation.
pub(crate) fn put_past((key, value): (Key, Bytes)) -> Op {
    Op::Put { key, value, lease: None }
}

/// May a write that leaves `own` already leave more beside `all` that is there? Up to a quarter of
/// the most takes the place of the oldest; beyond that it loses a part of its own history and not
/// that of other keys.
fn has_room(all: usize, own: usize, most: usize) -> bool {
    all + own <= most || (own <= most / 4 && all + own <= most / 4 * 5)
}

fn new(key: &str, value: Bytes, flags: u64) -> Entry {
    Entry {
        key: key.into(),
        value,
        flags,
        lock_index: 0,
        session: None,
        create_index: PENDING,
        modify_index: PENDING,
        origin: Origin::default(),
    }
}
