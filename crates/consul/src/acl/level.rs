//! What rules allow, and of what: names exactly, names by how they begin, and the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// What is allowed; each has what is before it, but for the first, which is nothing at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Level {
    /// Nothing.
    Deny,
    /// Read.
    Read,
    /// Read, and list keys below.
    List,
    /// Everything.
    Write,
}

impl Level {
    /// The word of a policy.
    pub(super) fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "deny" => Self::Deny,
            "read" => Self::Read,
            "list" => Self::List,
            "write" => Self::Write,
            _ => return None,
        })
    }

    /// Of two policies that name the same: who denies has the word, then who allows more.
    fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Deny, _) | (_, Self::Deny) => Self::Deny,
            (one, other) => one.max(other),
        }
    }
}

/// What has names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Named {
    /// Keys.
    Key,
    /// Services of the catalog.
    Service,
    /// Nodes of the catalog.
    Node,
    /// Sessions, by their node.
    Session,
    /// Events.
    Event,
    /// Prepared queries.
    Query,
    /// What the agent of a node tells and does.
    Agent,
}

impl Named {
    pub(super) const ALL: [Self; 7] = [
        Self::Key,
        Self::Service,
        Self::Node,
        Self::Session,
        Self::Event,
        Self::Query,
        Self::Agent,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Service => "service",
            Self::Node => "node",
            Self::Session => "session",
            Self::Event => "event",
            Self::Query => "query",
            Self::Agent => "agent",
        }
    }
}

/// What there is one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Whole {
    /// Tokens, policies, roles, snapshots.
    Acl,
    /// What operators do.
    Operator,
    /// Keys of the gossip, which is not there.
    Keyring,
    /// The mesh, which is not there.
    Mesh,
    /// Other clusters, which are not there.
    Peering,
}

impl Whole {
    pub(super) const ALL: [Self; 5] =
        [Self::Acl, Self::Operator, Self::Keyring, Self::Mesh, Self::Peering];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Acl => "acl",
            Self::Operator => "operator",
            Self::Keyring => "keyring",
            Self::Mesh => "mesh",
            Self::Peering => "peering",
        }
    }
}

/// Rules about names of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    exact: BTreeMap<String, Level>,
    prefix: BTreeMap<String, Level>,
    /// Lengths of the prefixes, in bytes: only these are looked up.
    lengths: BTreeSet<usize>,
}

impl Names {
    fn put(&mut self, name: &str, is_prefix: bool, level: Level) {
        let map = if is_prefix { &mut self.prefix } else { &mut self.exact };
        map.entry(name.to_owned()).and_modify(|old| *old = old.join(level)).or_insert(level);
        if is_prefix {
            self.lengths.insert(name.len());
        }
    }

    /// What the longest prefix says.
    fn by_prefix(&self, name: &str) -> Option<Level> {
        let lengths = self.lengths.range(..=name.len()).rev();
        lengths.filter_map(|length| name.get(..*length)).find_map(|p| self.prefix.get(p).copied())
    }

    /// What is said of a name: exactly, else by its longest prefix.
    pub(super) fn of(&self, name: &str) -> Option<Level> {
        self.exact.get(name).copied().or_else(|| self.by_prefix(name))
    }

    /// What is said of everything that begins so: the least of it. `None` is what is said where no
    /// rule is.
    pub(super) fn below(&self, prefix: &str, otherwise: Level) -> Level {
        let whole = self.by_prefix(prefix).unwrap_or(otherwise);
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let inside = [&self.exact, &self.prefix].into_iter().flat_map(|map| {
            let all = map.range::<str, _>(from);
            all.take_while(|(name, _)| name.starts_with(prefix)).map(|(_, level)| *level)
        });
        inside.fold(whole, Level::min)
    }

    /// The most that is allowed to any name.
    pub(super) fn most(&self) -> Option<Level> {
        self.exact.values().chain(self.prefix.values()).copied().max()
    }
}

/// What one or several policies say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    named: BTreeMap<Named, Names>,
    whole: BTreeMap<Whole, Level>,
}

impl Rules {
    pub(super) fn put_named(&mut self, kind: Named, name: &str, is_prefix: bool, level: Level) {
        self.named.entry(kind).or_default().put(name, is_prefix, level);
    }

    pub(super) fn put_whole(&mut self, what: Whole, level: Level) {
        self.whole.entry(what).and_modify(|old| *old = old.join(level)).or_insert(level);
    }

    /// Adds what another policy says.
    pub(super) fn add(&mut self, other: &Self) {
        for (kind, names) in &other.named {
            for (is_prefix, map) in [(false, &names.exact), (true, &names.prefix)] {
                for (name, level) in map {
                    self.put_named(*kind, name, is_prefix, *level);
                }
            }
        }
        for (what, level) in &other.whole {
            self.put_whole(*what, *level);
        }
    }

    pub(super) fn named(&self, kind: Named) -> Option<&Names> {
        self.named.get(&kind)
    }

    pub(super) fn whole(&self, what: Whole) -> Option<Level> {
        self.whole.get(&what).copied()
    }
}
