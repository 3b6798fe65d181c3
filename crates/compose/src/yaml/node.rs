//! The tree. Lists and maps are shared: an alias costs a pointer, and a copy is made on writing.

use crate::source::Place;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A value with its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) mark: Mark,
    pub(crate) value: Value,
}

/// Compose's merge tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// No tag.
    None,
    /// `!reset`: the key goes away.
    Reset,
    /// `!override`: the value replaces what was there.
    Override,
    /// A value that `render` must not show.
    Hidden,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// Text as written; `plain` when it had no quotes.
    Scalar {
        text: Arc<str>,
        plain: bool,
    },
    List(Arc<Vec<Node>>),
    Map(Arc<Map>),
}

/// A key with its place.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) place: Place,
    pub(crate) text: Arc<str>,
}

/// A map in the order of the file. Keys are unique.
#[derive(Clone, Debug, Default)]
pub(crate) struct Map {
    entries: Vec<(Key, Node)>,
    index: BTreeMap<Arc<str>, usize>,
}

impl Map {
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.index.get(key).map(|&i| &self.entries[i].1)
    }

    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.index.get(key).map(|&i| &mut self.entries[i].1)
    }

    /// The key as written, for its place.
    pub(crate) fn key(&self, key: &str) -> Option<&Key> {
        self.index.get(key).map(|&i| &self.entries[i].0)
    }

    pub(crate) fn contains(&self, key: &str) -> bool {
        self.index.contains_key(key)
    }

    /// Sets a value; a key that is there keeps its position and takes the new place.
    pub(crate) fn set(&mut self, key: Key, node: Node) {
        if let Some(&i) = self.index.get(&key.text) {
            self.entries[i] = (key, node);
            return;
        }
        self.index.insert(key.text.clone(), self.entries.len());
        self.entries.push((key, node));
    }

    pub(crate) fn remove(&mut self, key: &str) -> Option<(Key, Node)> {
        let at = self.index.remove(key)?;
        let out = self.entries.remove(at);
        for position in self.index.values_mut().filter(|p| **p > at) {
            *position -= 1;
        }
        Some(out)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Key, &Node)> {
        self.entries.iter().map(|(k, n)| (k, n))
    }
}

impl IntoIterator for Map {
    type Item = (Key, Node);
    type IntoIter = std::vec::IntoIter<(Key, Node)>;
    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl FromIterator<(Key, Node)> for Map {
    fn from_iter<T: IntoIterator<Item = (Key, Node)>>(entries: T) -> Self {
        let mut map = Self::default();
        for (key, node) in entries {
            map.set(key, node);
        }
        map
    }
}

impl Key {
    pub(crate) fn new(place: Place, text: &str) -> Self {
        Self { place, text: text.into() }
    }
}

impl Node {
    fn of(place: Place, value: Value) -> Self {
        Self { place, mark: Mark::None, value }
    }

    /// A quoted text.
    pub(crate) fn text(place: Place, text: impl Into<Arc<str>>) -> Self {
        Self::of(place, Value::Scalar { text: text.into(), plain: false })
    }

    /// A number, a boolean: text that needs no quotes.
    pub(crate) fn plain(place: Place, text: impl Into<Arc<str>>) -> Self {
        Self::of(place, Value::Scalar { text: text.into(), plain: true })
    }

    pub(crate) fn null(place: Place) -> Self {
        Self::plain(place, "")
    }

    pub(crate) fn list(place: Place, items: Vec<Self>) -> Self {
        Self::of(place, Value::List(Arc::new(items)))
    }

    pub(crate) fn map(place: Place, map: Map) -> Self {
        Self::of(place, Value::Map(Arc::new(map)))
    }

    /// The text of a scalar that is not null.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } if !self.is_null() => Some(text),
            _ => None,
        }
    }

    pub(crate) fn as_list(&self) -> Option<&[Self]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    pub(crate) fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    pub(crate) fn as_map_mut(&mut self) -> Option<&mut Map> {
        match &mut self.value {
            Value::Map(map) => Some(Arc::make_mut(map)),
            _ => None,
        }
    }

    /// Nothing, `~` or `null`, unquoted.
    pub(crate) fn is_null(&self) -> bool {
        match &self.value {
            Value::Scalar { text, plain: true } => {
                matches!(&**text, "" | "~" | "null" | "Null" | "NULL")
            }
            _ => false,
        }
    }

    /// What it is, for messages.
    pub(crate) fn kind(&self) -> String {
        match &self.value {
            _ if self.is_null() => "nothing".to_owned(),
            Value::Scalar { text, .. } => crate::diagnostic::quoted(text),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }
}
