//! What clients register in the catalog: nodes that are no hosts of ours, services, and checks; and
//! how a check stands. Everything is validated at the door, and bounded.

mod check;

pub(crate) use check::bound;
pub use check::{
    CheckHeaders, CheckPlan, CheckProbe, CheckSeen, CheckState, CheckStatus, CheckTls, CheckWish,
    ClientCheck, cut_output,
};

use crate::id::InvalidName;
use crate::limits::{
    CATALOG_ADDRESS_BYTES_MAX, CATALOG_ID_BYTES_MAX, CATALOG_META_KEY_BYTES_MAX, CATALOG_META_MAX,
    CATALOG_NODE_BYTES_MAX, CATALOG_TAGGED_MAX, CATALOG_TAGS_MAX, CATALOG_WORD_BYTES_MAX,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Which service or check of which node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClientKey {
    /// Name of the node; it has no slash.
    pub node: String,
    /// Unique among the services, or the checks, of the node.
    pub id: String,
}

impl ClientKey {
    /// Of a node.
    #[must_use]
    pub fn new(node: &str, id: &str) -> Self {
        Self { node: node.to_owned(), id: id.to_owned() }
    }

    /// Before all of a node.
    pub(crate) fn first_of(node: &str) -> Self {
        Self::new(node, "")
    }
}

impl fmt::Display for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node, self.id)
    }
}

impl FromStr for ClientKey {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let bad = |why| {
            let shown = text.chars().take(80).collect();
            Err(InvalidName { what: "key of a registration", shown, why })
        };
        let Some((node, id)) = text.split_once('/') else { return bad("it has no id") };
        if node.is_empty() || id.is_empty() {
            return bad("its node and its id must not be empty");
        }
        Ok(Self::new(node, id))
    }
}

/// A node that a client registered: a machine, or something else outside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientNode {
    /// Unique in the catalog.
    pub name: String,
    /// A UUID, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// An address or a host name.
    pub address: String,
    /// Further addresses by kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tagged_addresses: BTreeMap<String, String>,
    /// Free words.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub meta: BTreeMap<String, String>,
}

/// A service that a client registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientService {
    /// Its node and its id there.
    pub key: ClientKey,
    /// Its name.
    pub service: String,
    /// In the order in which they were given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Where it is offered; empty means its node's address.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// 0 when it has none.
    #[serde(default)]
    pub port: u16,
    /// Free words.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub meta: BTreeMap<String, String>,
    /// Further addresses and ports by kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tagged_addresses: BTreeMap<String, (String, u16)>,
    /// Share of traffic while it passes.
    #[serde(default = "one")]
    pub weight_passing: u16,
    /// Share of traffic while it warns.
    #[serde(default = "one")]
    pub weight_warning: u16,
    /// May others change its tags? Kept for clients that ask; nobody else changes them here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub enable_tag_override: bool,
}

fn one() -> u16 {
    1
}

/// Why a text cannot be a name or an id; `None` when it can.
#[must_use]
pub fn broken_word(what: &str, text: &str, bytes_max: usize) -> Option<String> {
    if text.len() > bytes_max {
        Some(format!("{what} has {} bytes, {bytes_max} are taken", text.len()))
    } else if text.chars().any(char::is_control) {
        Some(format!("{what} has control characters"))
    } else {
        None
    }
}

/// The same for one that must be there.
fn broken_name(what: &str, text: &str, bytes_max: usize) -> Option<String> {
    if text.is_empty() {
        return Some(format!("{what} is missing"));
    }
    broken_word(what, text, bytes_max)
}

/// Why a name cannot be a node's.
#[must_use]
pub fn broken_node_name(name: &str) -> Option<String> {
    let slash = || name.contains('/').then(|| "the name of the node has a slash".to_owned());
    broken_name("the name of the node", name, CATALOG_NODE_BYTES_MAX).or_else(slash)
}

fn broken_meta(meta: &BTreeMap<String, String>) -> Option<String> {
    if meta.len() > CATALOG_META_MAX {
        let count = meta.len();
        return Some(format!(
            "Node metadata cannot contain more than {CATALOG_META_MAX} key/value pairs: it has {count}"
        ));
    }
    meta.iter().find_map(|(key, value)| {
        broken_name("a key of the meta", key, CATALOG_META_KEY_BYTES_MAX).or_else(|| {
            let long = value.len() > CATALOG_WORD_BYTES_MAX;
            long.then(|| {
                format!("Value is too long (limit: {CATALOG_WORD_BYTES_MAX} characters) for {key}")
            })
        })
    })
}

impl ClientNode {
    /// Which rule it breaks; `None` when it can be kept.
    #[must_use]
    pub fn broken_rule(&self) -> Option<String> {
        let tagged = || {
            let many = self.tagged_addresses.len() > CATALOG_TAGGED_MAX;
            let many = many.then(|| format!("more than {CATALOG_TAGGED_MAX} tagged addresses"));
            many.or_else(|| {
                self.tagged_addresses.iter().find_map(|(kind, address)| {
                    broken_name("a kind of address", kind, CATALOG_META_KEY_BYTES_MAX)
                        .or_else(|| broken_word("an address", address, CATALOG_ADDRESS_BYTES_MAX))
                })
            })
        };
        broken_node_name(&self.name)
            .or_else(|| broken_name("the address", &self.address, CATALOG_ADDRESS_BYTES_MAX))
            .or_else(|| broken_word("the id of the node", &self.id, CATALOG_META_KEY_BYTES_MAX))
            .or_else(tagged)
            .or_else(|| broken_meta(&self.meta))
    }
}

impl ClientService {
    /// Which rule it breaks; `None` when it can be kept.
    #[must_use]
    pub fn broken_rule(&self) -> Option<String> {
        let tags = || {
            let many = self.tags.len() > CATALOG_TAGS_MAX;
            let many = many.then(|| format!("more than {CATALOG_TAGS_MAX} tags"));
            let mut tags = self.tags.iter();
            many.or_else(|| tags.find_map(|tag| broken_word("a tag", tag, CATALOG_WORD_BYTES_MAX)))
        };
        let tagged = || {
            let many = self.tagged_addresses.len() > CATALOG_TAGGED_MAX;
            let many = many.then(|| format!("more than {CATALOG_TAGGED_MAX} tagged addresses"));
            many.or_else(|| {
                self.tagged_addresses.iter().find_map(|(kind, (address, _))| {
                    broken_name("a kind of address", kind, CATALOG_META_KEY_BYTES_MAX)
                        .or_else(|| broken_word("an address", address, CATALOG_ADDRESS_BYTES_MAX))
                })
            })
        };
        broken_node_name(&self.key.node)
            .or_else(|| broken_name("the id of the service", &self.key.id, CATALOG_ID_BYTES_MAX))
            .or_else(|| {
                broken_name("the name of the service", &self.service, CATALOG_WORD_BYTES_MAX)
            })
            .or_else(|| broken_word("the address", &self.address, CATALOG_ADDRESS_BYTES_MAX))
            .or_else(tags)
            .or_else(tagged)
            .or_else(|| broken_meta(&self.meta))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> ClientService {
        ClientService {
            key: ClientKey::new("h1", "web:1"),
            service: "web".into(),
            tags: vec![],
            address: String::new(),
            port: 80,
            meta: BTreeMap::new(),
            tagged_addresses: BTreeMap::new(),
            weight_passing: 1,
            weight_warning: 1,
            enable_tag_override: false,
        }
    }

    #[test]
    fn what_is_too_long_too_much_or_no_text_is_refused() {
        assert_eq!(service().broken_rule(), None);
        let words = |n: usize| (0..n).map(|n| (format!("k{n}"), String::new())).collect();
        let rows: [fn(&mut ClientService); 9] = [
            |s| s.service = String::new(),
            |s| s.service = "a\nb".into(),
            |s| s.service = "x".repeat(513),
            |s| s.key.id = String::new(),
            |s| s.key.node = "a/b".into(),
            |s| s.tags = vec!["t".into(); 65],
            |s| s.tags = vec!["\u{7}".into()],
            |s| s.meta = [("k".repeat(129), String::new())].into(),
            |s| s.meta = [("k".into(), "v".repeat(513))].into(),
        ];
        for (n, break_it) in rows.into_iter().enumerate() {
            let mut one = service();
            break_it(&mut one);
            assert!(one.broken_rule().is_some(), "row {n}");
        }
        let mut one = service();
        one.meta = words(64);
        assert_eq!(one.broken_rule(), None);
        one.meta = words(65);
        assert!(one.broken_rule().is_some());
    }

    #[test]
    fn a_key_keeps_whatever_is_in_its_id() {
        for text in ["h1/h1:web:80:udp", "h1/a/b", "h1/service:web"] {
            assert_eq!(text.parse::<ClientKey>().unwrap().to_string(), text);
        }
        for bad in ["h1", "h1/", "/web"] {
            assert!(bad.parse::<ClientKey>().is_err(), "{bad}");
        }
    }
}
