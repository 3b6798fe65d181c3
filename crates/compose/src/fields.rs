//! Typed access to a map that was checked against the table of keys: a value of the wrong form has
//! been reported by then and is absent here.

use crate::scalar;
use crate::source::Place;
use crate::yaml::{Key, Map, Node};
use std::collections::BTreeMap;

/// The fields of one map.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'m> {
    map: &'m Map,
}

impl<'m> Fields<'m> {
    pub(crate) fn of(map: &'m Map) -> Self {
        Self { map }
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = (&'m Key, &'m Node)> {
        self.map.iter()
    }

    /// A value that is not null.
    pub(crate) fn node(self, key: &str) -> Option<&'m Node> {
        self.map.get(key).filter(|n| !n.is_null())
    }

    pub(crate) fn place(self, key: &str) -> Option<Place> {
        self.node(key).map(|n| n.place)
    }

    pub(crate) fn text(self, key: &str) -> Option<&'m str> {
        self.node(key)?.as_text()
    }

    pub(crate) fn owned(self, key: &str) -> Option<String> {
        self.text(key).map(str::to_owned)
    }

    pub(crate) fn boolean(self, key: &str) -> Option<bool> {
        scalar::boolean(self.text(key)?).ok()
    }

    pub(crate) fn integer(self, key: &str) -> Option<i64> {
        scalar::integer(self.text(key)?).ok()
    }

    pub(crate) fn number<T: TryFrom<i64>>(self, key: &str) -> Option<T> {
        T::try_from(self.integer(key)?).ok()
    }

    pub(crate) fn size(self, key: &str) -> Option<i64> {
        match self.text(key)? {
            "-1" => Some(-1),
            text => scalar::size(text).ok(),
        }
    }

    pub(crate) fn milli(self, key: &str) -> Option<u64> {
        scalar::milli(self.text(key)?).ok()
    }

    pub(crate) fn duration_ms(self, key: &str) -> Option<u64> {
        scalar::duration_ms(self.text(key)?).ok()
    }

    pub(crate) fn items(self, key: &str) -> &'m [Node] {
        self.node(key).and_then(Node::as_list).unwrap_or_default()
    }

    /// The texts of a list.
    pub(crate) fn texts(self, key: &str) -> Vec<String> {
        self.items(key).iter().filter_map(Node::as_text).map(str::to_owned).collect()
    }

    /// The scalars of a map; null is an empty text.
    pub(crate) fn pairs(self, key: &str) -> BTreeMap<String, String> {
        let Some(map) = self.node(key).and_then(Node::as_map) else { return BTreeMap::new() };
        map.iter()
            .map(|(k, n)| (k.text.to_string(), n.as_text().unwrap_or("").to_owned()))
            .collect()
    }

    pub(crate) fn map(self, key: &str) -> Option<&'m Map> {
        self.node(key)?.as_map()
    }

    pub(crate) fn object(self, key: &str) -> Option<Fields<'m>> {
        self.map(key).map(Fields::of)
    }
}
