//! Answers of the host's resolvers until their TTL ends, within a number and a weight; what ends
//! first goes first when there is no room.

use super::kept::{Kept, Key};
use model::limits::{DNS_CACHE_BYTES_MAX, DNS_CACHE_ENTRIES_MAX};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

/// The cache. It holds no lock and reads no clock.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    answers: HashMap<Arc<Key>, Held>,
    /// By their end; the number tells two of the same end apart.
    ends: BTreeMap<(Instant, u64), Arc<Key>>,
    bytes: usize,
    next: u64,
}

#[derive(Debug)]
struct Held {
    kept: Arc<Kept>,
    number: u64,
}

impl Cache {
    /// The answer to `key`, when it may still be given.
    pub(crate) fn get(&self, key: &Key, now: Instant) -> Option<Arc<Kept>> {
        self.answers.get(key).filter(|held| held.kept.until() > now).map(|held| held.kept.clone())
    }

    /// Keeps an answer that may be given for a while.
    pub(crate) fn put(&mut self, key: Key, kept: Arc<Kept>, now: Instant) {
        if kept.until() <= now {
            return;
        }
        self.remove(&key);
        let key = Arc::new(key);
        self.next += 1;
        self.bytes += weight(&key, &kept);
        self.ends.insert((kept.until(), self.next), key.clone());
        self.answers.insert(key, Held { kept, number: self.next });
        while self.answers.len() > DNS_CACHE_ENTRIES_MAX || self.bytes > DNS_CACHE_BYTES_MAX {
            let Some((_, first)) = self.ends.first_key_value() else { return };
            let first = first.clone();
            self.remove(&first);
        }
        // What has ended goes as time goes by, two for each that comes.
        for _ in 0..2 {
            let Some(((until, _), first)) = self.ends.first_key_value() else { return };
            if *until > now {
                return;
            }
            let first = first.clone();
            self.remove(&first);
        }
    }

    /// Forgets all: the resolvers changed.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// How many are held.
    pub(crate) fn len(&self) -> usize {
        self.answers.len()
    }

    fn remove(&mut self, key: &Key) {
        let Some(held) = self.answers.remove(key) else { return };
        if let Some(key) = self.ends.remove(&(held.kept.until(), held.number)) {
            self.bytes = self.bytes.saturating_sub(weight(&key, &held.kept));
        }
    }
}

fn weight(key: &Key, kept: &Kept) -> usize {
    kept.weight() + 2 * key.name.len() + 256
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn key(n: usize) -> Key {
        let name = format!("{n:08}");
        let name = [&[8], name.as_bytes()].concat().into();
        Key { name, kind: 1, dnssec: false, checking_disabled: false, servers: None }
    }

    #[test]
    fn an_answer_is_given_until_its_end_and_the_first_to_end_goes_first() {
        let start = Instant::now();
        let mut cache = Cache::default();
        for n in 0..=DNS_CACHE_ENTRIES_MAX {
            let at = start + Duration::from_micros(n as u64);
            cache.put(key(n), Arc::new(Kept::of_a_second(&key(n), at)), start);
        }
        assert_eq!(cache.len(), DNS_CACHE_ENTRIES_MAX);
        assert!(cache.get(&key(0), start).is_none(), "the first to end made room");
        assert!(cache.get(&key(1), start).is_some());
        assert!(cache.get(&key(1), start + Duration::from_secs(2)).is_none(), "it ended");
        // The same key again takes no second place.
        cache.put(key(1), Arc::new(Kept::of_a_second(&key(1), start)), start);
        assert_eq!((cache.len(), cache.ends.len()), (DNS_CACHE_ENTRIES_MAX, DNS_CACHE_ENTRIES_MAX));
        let later = start + Duration::from_secs(5);
        cache.put(key(1), Arc::new(Kept::of_a_second(&key(1), later)), later);
        assert_eq!(cache.len(), DNS_CACHE_ENTRIES_MAX - 2, "what ended goes");
        cache.clear();
        assert_eq!((cache.len(), cache.bytes), (0, 0));
    }

    #[test]
    fn weight_is_bounded_too() {
        let now = Instant::now();
        let mut cache = Cache::default();
        let mut message = vec![0, 0, 0x80, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
        message.extend_from_slice(&key(0).question());
        // One TXT-like record of 60,000 bytes.
        message.extend_from_slice(&[0, 0, 16, 0, 1, 0, 0, 0, 60, 0xea, 0x60]);
        message.resize(message.len() + 60_000, b'x');
        for n in 0..200 {
            let mut own = message.clone();
            own[12..12 + key(n).question().len()].copy_from_slice(&key(n).question());
            let kept = Kept::take(&key(n), 0, &own, now).expect("a good answer");
            cache.put(key(n), Arc::new(kept), now);
        }
        assert!(cache.bytes <= DNS_CACHE_BYTES_MAX && cache.len() > 100, "{}", cache.bytes);
    }
}
