//! Which former versions of keys are stored, without their values: those are read when somebody
//! asks. It moves only by what the store's watch delivers. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A former version that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Its number.
    pub(crate) version: u32,
    /// Bytes that it takes.
    pub(crate) bytes: usize,
    /// When it was stored.
    pub(crate) stored: u64,
    /// The index at which the key was put or deleted so.
    pub(crate) made: u64,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pasts {
    /// By key, the oldest first.
    of: BTreeMap<Arc<str>, Vec<Kept>>,
    /// By when they were stored.
    ages: BTreeSet<(u64, Arc<str>, u32)>,
    bytes: usize,
}

impl Pasts {
    /// Something of so many bytes, that the key became at the index beside them, is stored as this
    /// version since `index`; `None`: nothing any more.
    pub(crate) fn apply(
        &mut self,
        key: &str,
        version: u32,
        value: Option<(usize, u64)>,
        index: u64,
    ) {
        let known = self.of.get_key_value(key).map(|(key, _)| Arc::clone(key));
        let key = known.unwrap_or_else(|| key.into());
        let list = self.of.entry(Arc::clone(&key)).or_default();
        let at = list.partition_point(|kept| kept.version < version);
        if let Some(before) = list.get(at).copied().filter(|kept| kept.version == version) {
            list.remove(at);
            self.bytes -= before.bytes;
            self.ages.remove(&(before.stored, Arc::clone(&key), version));
        }
        if let Some((bytes, made)) = value {
            list.insert(at, Kept { version, bytes, stored: index, made });
            self.bytes += bytes;
            self.ages.insert((index, key, version));
        } else if list.is_empty() {
            self.of.remove(&key);
        }
    }

    /// Those of a key, the oldest first.
    pub(crate) fn of(&self, key: &str) -> &[Kept] {
        self.of.get(key).map_or(&[], Vec::as_slice)
    }

    /// Keys below a prefix that have some, with them.
    pub(crate) fn below(&self, prefix: &str) -> impl Iterator<Item = (&Arc<str>, &Vec<Kept>)> {
        super::map::under(&self.of, prefix)
    }

    /// The highest version of a key that is stored; 0 without any.
    pub(crate) fn last(&self, key: &str) -> u32 {
        self.of(key).last().map_or(0, |kept| kept.version)
    }

    /// Is the version stored?
    pub(crate) fn has(&self, key: &str, version: u32) -> bool {
        self.of(key).binary_search_by_key(&version, |kept| kept.version).is_ok()
    }

    /// How many there are, and their bytes.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.ages.len(), self.bytes)
    }

    /// The oldest ones, so many that what is left is within `max` versions and bytes, but not
    /// more than `at_once`.
    pub(crate) fn too_old(
        &self,
        (max, bytes_max): (usize, usize),
        at_once: usize,
    ) -> Vec<(Arc<str>, u32)> {
        let (mut count, mut bytes) = self.size();
        let mut old = vec![];
        for (_, key, version) in self.ages.iter().take(at_once) {
            if count <= max && bytes <= bytes_max {
                break;
            }
            let of = self.of(key).iter().find(|kept| kept.version == *version);
            count -= 1;
            bytes -= of.map_or(0, |kept| kept.bytes);
            old.push((Arc::clone(key), *version));
        }
        old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_what_is_stored_and_names_the_oldest() {
        let mut pasts = Pasts::default();
        pasts.apply("b", 2, Some((10, 1)), 5);
        pasts.apply("a", 1, Some((20, 1)), 6);
        pasts.apply("b", 1, Some((30, 1)), 7);
        pasts.apply("b", 2, Some((11, 1)), 8);
        assert_eq!(pasts.size(), (3, 61));
        assert_eq!(pasts.of("b").iter().map(|kept| kept.version).collect::<Vec<_>>(), [1, 2]);
        assert_eq!((pasts.last("b"), pasts.last("c")), (2, 0));
        assert!(pasts.has("b", 1) && !pasts.has("b", 3));
        let named = |max, at_once| {
            let old = pasts.too_old(max, at_once).into_iter();
            old.map(|(key, version)| format!("{key}{version}")).collect::<Vec<_>>()
        };
        assert!(named((3, 61), 9).is_empty());
        assert_eq!(named((2, 99), 9), ["a1"]);
        assert_eq!(named((3, 40), 9), ["a1", "b1"]);
        assert_eq!(named((0, 0), 2), ["a1", "b1"]);
        for (key, version) in [("a", 1), ("b", 1), ("b", 2), ("b", 2)] {
            pasts.apply(key, version, None, 9);
        }
        assert_eq!((pasts.size(), pasts.of.len()), ((0, 0), 0));
    }
}
