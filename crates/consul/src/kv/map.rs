//! Keys and sessions in memory, in the order of their bytes. It moves only by what the store's
//! watch delivers. Pure.

use super::entry::{Entry, Origin, Stored, decode, parse_past, past_made};
use super::past::Pasts;
use crate::blocking::Found;
use crate::session::{Delay, Session};
use crate::waiters::Topic;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// Where all of this is in the store.
pub(crate) const PREFIX: &str = "consul/";
const KV: &str = "kv/";
const SESSION: &str = "session/";
const PAST: &str = "past/";
const DELAY: &str = "delay/";

/// A key that was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gone {
    pub(crate) index: u64,
    pub(crate) origin: Origin,
}

/// Keys and sessions.
#[derive(Clone, Debug, Default)]
pub struct Map {
    entries: BTreeMap<Arc<str>, Arc<Entry>>,
    gone: BTreeMap<Arc<str>, Gone>,
    /// Deleted keys by when that was.
    buried: BTreeSet<(u64, Arc<str>)>,
    /// Former versions.
    pasts: Pasts,
    /// Keys that were taken from sessions, by the name of their record.
    delays: BTreeMap<Arc<str>, Arc<Delay>>,
    /// Who wrote last: most others were written by the same.
    writer: Option<Arc<str>>,
    sessions: BTreeMap<Arc<str>, Arc<Session>>,
    /// Keys by the session that holds them.
    held: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// Index of the last change of any key.
    table: u64,
    /// Index of the last change of any session.
    sessions_index: u64,
    bytes: usize,
}

impl Map {
    /// Takes what is stored at `key` (`None`: nothing any more) since `index`. Gives the topic
    /// that has changed.
    pub(crate) fn apply(&mut self, key: &str, value: Option<&Bytes>, index: u64) -> Option<Topic> {
        let name = key.strip_prefix(PREFIX)?;
        if let Some(id) = name.strip_prefix(SESSION) {
            return self.apply_session(id, value, index);
        }
        if let Some(id) = name.strip_prefix(DELAY) {
            self.apply_delay(id, value);
            return None;
        }
        if let Some(name) = name.strip_prefix(PAST) {
            if let Some((key, version)) = parse_past(name) {
                let kept = value.map(|value| (key.len() + value.len(), past_made(value, index)));
                self.pasts.apply(key, version, kept, index);
            }
            return None;
        }
        let key = name.strip_prefix(KV)?;
        let stored = match value.map(|value| decode(key, value, index)) {
            None => None,
            Some(Ok(stored)) => Some(stored),
            Some(Err(error)) => {
                tracing::error!(key, error, "stored key cannot be read");
                return None;
            }
        };
        let key: Arc<str> = key.into();
        let before = self.entries.remove(&key);
        if let Some(before) = &before {
            self.bytes -= before.weight();
            self.let_go(before);
        }
        let was_gone = self.gone.remove(&key);
        if let Some(gone) = &was_gone {
            self.buried.remove(&(gone.index, Arc::clone(&key)));
        }
        match stored {
            // What was gone is forgotten: nothing has changed.
            None if before.is_none() => return None,
            None => {}
            Some(Stored::Gone(mut origin)) => {
                self.share_writer(&mut origin);
                self.gone.insert(Arc::clone(&key), Gone { index, origin });
                self.buried.insert((index, Arc::clone(&key)));
                if before.is_none() && was_gone.is_some() {
                    return None;
                }
            }
            Some(Stored::There(mut entry)) => {
                self.share_writer(&mut entry.origin);
                self.bytes += entry.weight();
                if let Some(session) = &entry.session {
                    self.held.entry(Arc::clone(session)).or_default().insert(Arc::clone(&key));
                }
                self.entries.insert(Arc::clone(&key), Arc::new(entry));
            }
        }
        self.table = self.table.max(index);
        Some(Topic::Key(key))
    }

    fn share_writer(&mut self, origin: &mut Origin) {
        if origin.by.is_some() && origin.by == self.writer {
            origin.by.clone_from(&self.writer);
        } else {
            self.writer.clone_from(&origin.by);
        }
    }

    fn apply_delay(&mut self, id: &str, value: Option<&Bytes>) {
        match value.map(Delay::decode) {
            None => _ = self.delays.remove(id),
            Some(Ok(delay)) => _ = self.delays.insert(id.into(), Arc::new(delay)),
            Some(Err(error)) => tracing::error!(id, error, "stored lock-delay cannot be read"),
        }
    }

    fn let_go(&mut self, entry: &Entry) {
        let Some(session) = &entry.session else { return };
        if let Some(keys) = self.held.get_mut(session) {
            keys.remove(&entry.key);
            if keys.is_empty() {
                self.held.remove(session);
            }
        }
    }

    fn apply_session(&mut self, id: &str, value: Option<&Bytes>, index: u64) -> Option<Topic> {
        match value {
            None => {
                self.sessions.remove(id)?;
            }
            Some(value) => match Session::decode(value, index) {
                Ok(session) => {
                    self.sessions.insert(id.into(), Arc::new(session));
                }
                Err(error) => {
                    tracing::error!(id, error, "stored session cannot be read");
                    return None;
                }
            },
        }
        self.sessions_index = self.sessions_index.max(index);
        Some(Topic::Sessions)
    }

    /// All of it was loaded at `index`: sessions that are gone by now have changed before.
    pub(crate) fn loaded(&mut self, index: u64) {
        self.sessions_index = self.sessions_index.max(index);
    }

    /// A key. One that is missing has the index of the table, and changed when it was deleted.
    #[must_use]
    pub fn get(&self, key: &str) -> Found<Option<Arc<Entry>>> {
        match self.entries.get(key) {
            Some(entry) => Found::at(entry.modify_index, Some(Arc::clone(entry))),
            None => {
                let changed = self.gone.get(key).map_or(0, |gone| gone.index);
                Found { changed, index: self.table, value: None }
            }
        }
    }

    /// Every key that begins with `prefix`, in the order of bytes. The index is the highest below
    /// the prefix, of keys that were deleted too; without any, the table's.
    #[must_use]
    pub fn list(&self, prefix: &str) -> Found<Vec<Arc<Entry>>> {
        let entries: Vec<Arc<Entry>> = self.below(prefix).cloned().collect();
        if prefix.is_empty() {
            return Found::at(self.table, entries);
        }
        let newest = entries.iter().map(|entry| entry.modify_index).max().unwrap_or(0);
        let gone = under(&self.gone, prefix).map(|(_, gone)| gone.index).max().unwrap_or(0);
        match newest.max(gone) {
            0 => Found { changed: 0, index: self.table, value: entries },
            index => Found::at(index, entries),
        }
    }

    /// The same without a list.
    pub fn below(&self, prefix: &str) -> impl Iterator<Item = &Arc<Entry>> {
        under(&self.entries, prefix).map(|(_, entry)| entry)
    }

    /// Those of them that are not before the key `from`.
    pub(crate) fn below_from(&self, prefix: &str, from: &str) -> impl Iterator<Item = &Arc<Entry>> {
        let entries = begun(&self.entries, from.max(prefix), prefix);
        entries.map(|(_, entry)| entry)
    }

    /// At which index what the store has at a key was put; none when it has nothing.
    pub(crate) fn stored_at(&self, key: &str) -> Option<u64> {
        let entry = self.entries.get(key).map(|entry| entry.modify_index);
        entry.or_else(|| self.gone.get(key).map(|gone| gone.index))
    }

    /// A session.
    #[must_use]
    pub fn session(&self, id: &str) -> Option<&Arc<Session>> {
        self.sessions.get(id)
    }

    /// All sessions, in the order of their ids, and when any of them changed.
    pub fn sessions(&self) -> (u64, impl Iterator<Item = &Arc<Session>>) {
        (self.sessions_index, self.sessions.values())
    }

    /// How many sessions there are.
    #[must_use]
    pub fn sessions_len(&self) -> usize {
        self.sessions.len()
    }

    /// Keys that a session holds.
    pub(crate) fn held_by(&self, session: &str) -> impl Iterator<Item = &Arc<Entry>> {
        let keys = self.held.get(session).into_iter().flatten();
        keys.filter_map(|key| self.entries.get(key))
    }

    /// Sessions that hold keys and are gone.
    pub(crate) fn orphans(&self) -> Vec<Arc<str>> {
        self.held.keys().filter(|id| !self.sessions.contains_key(*id)).cloned().collect()
    }

    /// Keys that were deleted before `at`, and of the others the oldest where there are more than
    /// `keep`; up to `max` of them. The one that has the table's index is kept, so that it does not
    /// go back at a restart.
    pub(crate) fn gone_before(&self, at: i64, keep: usize, max: usize) -> Vec<(&Arc<str>, &Gone)> {
        let too_many = self.buried.len().saturating_sub(keep);
        let oldest = self.buried.iter().take(max).enumerate();
        let gone = oldest.filter_map(|(n, (_, key))| Some((n, self.gone.get_key_value(key)?)));
        let old = gone.filter(|(n, (_, gone))| *n < too_many || gone.origin.at < at);
        old.map(|(_, of)| of).filter(|(_, gone)| gone.index < self.table).collect()
    }

    /// A key that was deleted lately.
    pub(crate) fn gone(&self, key: &str) -> Option<&Gone> {
        self.gone.get(key)
    }

    /// Keys below a prefix that were deleted lately.
    pub(crate) fn gone_below(&self, prefix: &str) -> impl Iterator<Item = (&Arc<str>, &Gone)> {
        under(&self.gone, prefix)
    }

    /// Former versions.
    pub(crate) fn pasts(&self) -> &Pasts {
        &self.pasts
    }

    /// Number of the newest version of a key, a deletion counted; 0 when nothing is known of it.
    pub(crate) fn version(&self, key: &str) -> u32 {
        let origin = match self.entries.get(key) {
            Some(entry) => Some(&entry.origin),
            None => self.gone.get(key).map(|gone| &gone.origin),
        };
        match origin {
            None => self.pasts.last(key),
            // It was put by one that counts no versions.
            Some(Origin { version: 0, .. }) => self.pasts.last(key).saturating_add(1),
            Some(origin) => origin.version,
        }
    }

    /// Keys that were taken from sessions, by the name of their record.
    pub(crate) fn delays(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Delay>)> {
        self.delays.iter()
    }

    /// How many records of lock-delays there are.
    pub(crate) fn delays_len(&self) -> usize {
        self.delays.len()
    }

    /// Keys that are there.
    #[must_use]
    pub fn keys_len(&self) -> usize {
        self.entries.len()
    }

    /// Keys, with those that were deleted lately.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len() + self.gone.len()
    }

    /// There is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Index of the last change of any key.
    #[must_use]
    pub fn table(&self) -> u64 {
        self.table
    }
}

pub(super) fn under<'m, V>(
    map: &'m BTreeMap<Arc<str>, V>,
    prefix: &str,
) -> impl Iterator<Item = (&'m Arc<str>, &'m V)> {
    begun(map, prefix, prefix)
}

fn begun<'m, V>(
    map: &'m BTreeMap<Arc<str>, V>,
    from: &str,
    prefix: &str,
) -> impl Iterator<Item = (&'m Arc<str>, &'m V)> + use<'m, V> {
    let start: (Bound<&str>, Bound<&str>) = (Bound::Included(from), Bound::Unbounded);
    let prefix = prefix.to_owned();
    map.range::<str, _>(start).take_while(move |(key, _)| key.starts_with(&*prefix))
}
