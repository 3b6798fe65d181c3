//! What a key was: its former versions, who made them and when. Values are read from the store when
//! somebody asks; the map knows only which there are.

use super::entry::{Origin, decode_past, past_key};
use super::map::Map;
use super::past::Kept;
use crate::serve::Consul;
use bytes::Bytes;
use std::sync::Arc;
use store::{Keys, Read, Store};

/// A version of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The key.
    pub key: Arc<str>,
    /// Its number, when and by whom it was made.
    pub origin: Origin,
    /// The key is so now.
    pub is_current: bool,
    /// Flags of the key.
    pub flags: u64,
    /// The value; none of a deletion.
    pub value: Option<Bytes>,
}

/// A version that may be among the newest: when the key became so, and its number.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    index: u64,
    version: u32,
    key: Arc<str>,
    is_current: bool,
}

/// The newest rows of many, of which not many more are held than are wanted.
#[derive(Debug)]
struct Newest {
    rows: Vec<Row>,
    max: usize,
    /// Rows of a lower index are not among them.
    least: u64,
}

impl Newest {
    /// Of up to `max` rows.
    fn new(max: usize) -> Self {
        Self { rows: vec![], max, least: 0 }
    }

    fn push(&mut self, key: &Arc<str>, index: u64, version: u32, is_current: bool) {
        if index < self.least {
            return;
        }
        self.rows.push(Row { index, version, key: Arc::clone(key), is_current });
        if self.rows.len() > self.max.saturating_mul(4) {
            self.cut();
            self.least = self.rows.last().map_or(0, |row| row.index);
        }
    }

    /// Sorts them and leaves those that are wanted.
    fn cut(&mut self) {
        self.rows.sort_by(|a, b| {
            (b.index, b.version).cmp(&(a.index, a.version)).then_with(|| a.key.cmp(&b.key))
        });
        self.rows.truncate(self.max);
    }

    /// What a key is now.
    fn here(&mut self, map: &Map, key: &Arc<str>, origin: &Origin) {
        let version = if origin.version == 0 { map.version(key) } else { origin.version };
        self.push(key, origin.index, version, true);
    }

    /// What a key was. One that is current already may be stored as well.
    fn past(&mut self, map: &Map, key: &Arc<str>, pasts: &[Kept]) {
        let current = map.stored_at(key).map(|_| map.version(key));
        for kept in pasts.iter().filter(|kept| Some(kept.version) != current) {
            self.push(key, kept.made, kept.version, false);
        }
    }
}

/// The newest `max` versions of a key, or with `below` of all keys that begin so.
fn newest(map: &Map, key: &str, below: bool, max: usize) -> Vec<Row> {
    let mut newest = Newest::new(max);
    if below {
        for entry in map.below(key) {
            newest.here(map, &entry.key, &entry.origin);
        }
        for (key, gone) in map.gone_below(key) {
            newest.here(map, key, &gone.origin);
        }
        for (key, pasts) in map.pasts().below(key) {
            newest.past(map, key, pasts);
        }
    } else {
        let key: Arc<str> = key.into();
        match (map.get(&key).value, map.gone(&key)) {
            (Some(entry), _) => newest.here(map, &key, &entry.origin),
            (None, Some(gone)) => newest.here(map, &key, &gone.origin),
            (None, None) => {}
        }
        newest.past(map, &key, map.pasts().of(&key));
    }
    newest.cut();
    newest.rows
}

/// A row that is current, from the map; none of the others, which are in the store only.
fn current(map: &Map, row: &Row) -> Option<Version> {
    if !row.is_current {
        return None;
    }
    let (origin, flags, value) = match map.get(&row.key).value {
        Some(entry) => (entry.origin.clone(), entry.flags, Some(entry.value.clone())),
        None => (map.gone(&row.key)?.origin.clone(), 0, None),
    };
    let origin = Origin { version: row.version, ..origin };
    Some(Version { key: Arc::clone(&row.key), origin, is_current: true, flags, value })
}

impl<S: Store> Consul<S> {
    /// The newest `max` versions of a key, or with `below` of all keys that begin so; the newest
    /// first. With `below` it looks at every key there, on a thread of its own.
    ///
    /// # Errors
    /// What the store says.
    pub async fn history(
        &self,
        key: &str,
        below: bool,
        max: usize,
    ) -> Result<Vec<Version>, store::Error> {
        let (state, name): (_, Arc<str>) = (self.state().clone(), key.into());
        let look = move || {
            let map = state.map();
            let rows = newest(&map, &name, below, max).into_iter();
            rows.map(|row| (current(&map, &row), row)).collect::<Vec<_>>()
        };
        let rows = match below {
            true => match tokio::task::spawn_blocking(look).await {
                Ok(rows) => rows,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // The runtime ends, and nobody waits any more.
                    Err(_cancelled) => vec![],
                },
            },
            false => look(),
        };
        let mut versions = Vec::with_capacity(rows.len());
        for (here, row) in rows {
            match here {
                Some(version) => versions.push(version),
                None => versions.extend(self.former(row.key, row.version).await?),
            }
        }
        Ok(versions)
    }

    /// A former version; none when it has been forgotten meanwhile.
    async fn former(&self, key: Arc<str>, number: u32) -> Result<Option<Version>, store::Error> {
        let name = past_key(&key, number);
        let page = self.store().range(Keys::one(&name), Read::Latest).await?;
        let Some(kv) = page.kvs.first() else { return Ok(None) };
        match decode_past(&kv.value, kv.modified.0) {
            Ok(past) => {
                let (origin, flags, value) = (past.origin, past.flags, past.value);
                Ok(Some(Version { key, origin, is_current: false, flags, value }))
            }
            Err(error) => {
                tracing::error!(%key, number, error, "stored version of a key cannot be read");
                Ok(None)
            }
        }
    }

    /// At which index a key was changed last, a lock counted; 0 when it is not there.
    #[must_use]
    pub fn modified(&self, key: &str) -> u64 {
        self.state().map().get(key).value.map_or(0, |entry| entry.modify_index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_rows_the_newest_stay_and_few_are_held() {
        let mut newest = Newest::new(3);
        for n in 0..1_000_u64 {
            // Neither up nor down.
            let index = n * 7 % 1_000;
            newest.push(&format!("k{index}").into(), index, 1, true);
            assert!(newest.rows.len() <= 12, "{}", newest.rows.len());
        }
        for (key, version) in [("a", 1), ("b", 2), ("b", 1)] {
            newest.push(&key.into(), 998, version, false);
        }
        newest.cut();
        let rows = newest.rows.iter().map(|row| (row.index, &*row.key, row.version));
        assert_eq!(rows.collect::<Vec<_>>(), [(999, "k999", 1), (998, "b", 2), (998, "a", 1)]);
    }
}
