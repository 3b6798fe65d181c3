//! What a token may do.

use super::level::{Level, Named, Rules, Whole};
use crate::answer::Answer;
use http::StatusCode;
use model::consul_access::AclMode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Accessor of the token that is used where none is said.
pub(crate) const ANONYMOUS: &str = "00000000-0000-0000-0000-000000000002";

/// What a token may do: its policies together, and what holds where they say nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authority {
    /// Its accessor; empty when no token is asked for.
    pub(crate) accessor: String,
    rules: Rules,
    otherwise: Level,
    /// All, whatever rules say.
    is_all: bool,
    /// When it ends, in milliseconds since 1970.
    pub(crate) ends: Option<i64>,
}

impl Authority {
    /// Everything may be done.
    pub(crate) fn everything() -> Self {
        let (accessor, rules) = (String::new(), Rules::default());
        Self { accessor, rules, otherwise: Level::Write, is_all: true, ends: None }
    }

    /// Of the token of an accessor.
    pub(super) fn of(accessor: &str, rules: Rules, mode: AclMode, ends: Option<i64>) -> Self {
        let otherwise = if mode == AclMode::Deny { Level::Deny } else { Level::Write };
        Self { accessor: accessor.to_owned(), rules, otherwise, is_all: false, ends }
    }

    /// The same with every right.
    pub(super) fn with_all(self) -> Self {
        Self { is_all: true, ..self }
    }

    /// What may be done with a name.
    pub(crate) fn level(&self, kind: Named, name: &str) -> Level {
        if self.is_all {
            return Level::Write;
        }
        self.rules.named(kind).and_then(|names| names.of(name)).unwrap_or(self.otherwise)
    }

    /// What may be done with all names that begin so.
    pub(crate) fn level_below(&self, kind: Named, prefix: &str) -> Level {
        if self.is_all {
            return Level::Write;
        }
        let names = self.rules.named(kind);
        names.map_or(self.otherwise, |names| names.below(prefix, self.otherwise))
    }

    /// What may be done with what there is one of. Who says nothing of `acl` by a policy has no
    /// right to it, whatever holds otherwise: tokens give all other rights.
    pub(crate) fn level_whole(&self, what: Whole) -> Level {
        if self.is_all {
            return Level::Write;
        }
        match (self.rules.whole(what), what) {
            (Some(level), _) => level,
            (None, Whole::Acl) => Level::Deny,
            // What the mesh and others may is what operators may, unless a policy says it.
            (None, Whole::Mesh | Whole::Peering) => {
                self.rules.whole(Whole::Operator).unwrap_or(self.otherwise)
            }
            (None, _) => self.otherwise,
        }
    }

    /// The most that may be done with any name of a kind.
    pub(crate) fn most(&self, kind: Named) -> Level {
        if self.is_all {
            return Level::Write;
        }
        let named = self.rules.named(kind).and_then(super::level::Names::most);
        named.map_or(self.otherwise, |most| most.max(self.otherwise))
    }
}

/// What one request may do, and whether something was kept from it.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// `None` when everything may be done: then nothing is looked up.
    authority: Option<Arc<Authority>>,
    hidden: Arc<AtomicBool>,
}

impl Default for Access {
    /// Everything.
    fn default() -> Self {
        Self { authority: None, hidden: Arc::default() }
    }
}

impl Access {
    /// As an authority says.
    pub(crate) fn of(authority: Arc<Authority>) -> Self {
        let limited = !authority.is_all;
        Self { authority: limited.then_some(authority), hidden: Arc::default() }
    }

    /// May everything be done?
    pub(crate) fn is_all(&self) -> bool {
        self.authority.is_none()
    }

    /// Was something kept from the answer?
    pub(crate) fn has_hidden(&self) -> bool {
        self.hidden.load(Ordering::Relaxed)
    }

    /// May it be seen in a list? What may not is remembered.
    pub(crate) fn sees(&self, kind: Named, name: &str) -> bool {
        let Some(authority) = &self.authority else { return true };
        let sees = authority.level(kind, name) >= Level::Read;
        if !sees {
            self.hidden.store(true, Ordering::Relaxed);
        }
        sees
    }

    /// Is the entry of a service on a node to be seen in a list?
    pub(crate) fn sees_entry(&self, node: &str, service: &str) -> bool {
        self.is_all() || (self.sees(Named::Node, node) & self.sees(Named::Service, service))
    }

    /// May it be read?
    ///
    /// # Errors
    /// 403.
    pub(crate) fn read(&self, kind: Named, name: &str) -> Result<(), Answer> {
        self.need(kind, name, Level::Read)
    }

    /// May it be written?
    ///
    /// # Errors
    /// 403.
    pub(crate) fn write(&self, kind: Named, name: &str) -> Result<(), Answer> {
        self.need(kind, name, Level::Write)
    }

    fn need(&self, kind: Named, name: &str, level: Level) -> Result<(), Answer> {
        let Some(authority) = &self.authority else { return Ok(()) };
        match authority.level(kind, name) >= level {
            true => Ok(()),
            false => Err(denied(authority, kind.as_str(), level, name)),
        }
    }

    /// May all that begins so be written?
    ///
    /// # Errors
    /// 403.
    pub(crate) fn write_below(&self, kind: Named, prefix: &str) -> Result<(), Answer> {
        let Some(authority) = &self.authority else { return Ok(()) };
        match authority.level_below(kind, prefix) == Level::Write {
            true => Ok(()),
            false => Err(denied(authority, kind.as_str(), Level::Write, prefix)),
        }
    }

    /// May this be done with what there is one of?
    ///
    /// # Errors
    /// 403.
    pub(crate) fn whole(&self, what: Whole, level: Level) -> Result<(), Answer> {
        let Some(authority) = &self.authority else { return Ok(()) };
        match authority.level_whole(what) >= level {
            true => Ok(()),
            false => Err(denied(authority, what.as_str(), level, "")),
        }
    }

    /// May any name of a kind be written?
    ///
    /// # Errors
    /// 403.
    pub(crate) fn write_any(&self, kind: Named) -> Result<(), Answer> {
        let Some(authority) = &self.authority else { return Ok(()) };
        match authority.most(kind) == Level::Write {
            true => Ok(()),
            false => Err(denied(authority, kind.as_str(), Level::Write, "")),
        }
    }
}

/// 403, in the words that clients know.
fn denied(authority: &Authority, what: &str, level: Level, name: &str) -> Answer {
    let level = if level == Level::Write { "write" } else { "read" };
    let on = if name.is_empty() { String::new() } else { format!(" on \"{name}\"") };
    let text = match authority.accessor.as_str() {
        ANONYMOUS => format!(
            "Permission denied: anonymous token lacks permission '{what}:{level}'{on}. The \
             anonymous token is used implicitly when a request does not specify a token."
        ),
        accessor => format!(
            "Permission denied: token with AccessorID '{accessor}' lacks permission \
             '{what}:{level}'{on}"
        ),
    };
    Answer::error(StatusCode::FORBIDDEN, text)
}
