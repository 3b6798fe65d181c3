//! "Did you mean …?" Searching costs time for each name, so it is done only for remarks that will
//! be shown.

use crate::diagnostic::Finding;
use crate::keys::{self, Scope};

impl Finding {
    /// Hints at the nearest of the names that exist, or at all of them when there are few.
    pub(crate) fn near<'a>(
        &mut self,
        name: &str,
        names: impl Iterator<Item = &'a str>,
    ) -> &mut Self {
        if !self.is_kept() {
            return self;
        }
        let names: Vec<&str> = names.take(500).collect();
        let lower = name.to_lowercase();
        let near = names
            .iter()
            .filter(|n| n.len() <= 80 && name.len() <= 80)
            .map(|n| (strsim::damerau_levenshtein(&lower, &n.to_lowercase()), n))
            .min()
            .filter(|(distance, _)| *distance <= (name.len() / 3).clamp(1, 4));
        match near {
            Some((_, near)) => self.hint(format!("did you mean {near:?}?")),
            None if names.is_empty() || names.len() > 8 => self,
            None => self.hint(format!("there are: {}", names.join(", "))),
        }
    }

    /// Hints at the nearest key of a scope, or says what to do with a strange one.
    pub(crate) fn near_key(&mut self, scope: Scope, name: &str) -> &mut Self {
        if !self.is_kept() {
            return self;
        }
        match keys::nearest(scope, name) {
            Some(near) => self.hint(format!("did you mean {near:?}?")),
            None if scope == Scope::Label => self,
            None => self.hint("remove it, or begin it with \"x-\" to keep it as a note"),
        }
    }
}
