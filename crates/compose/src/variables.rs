//! The variables of a load: the process environment, and below it what `.env` sets.

use crate::dotenv;
use crate::interpolate::Expander;
use std::collections::BTreeMap;

/// Variables by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Variables {
    process: BTreeMap<String, String>,
    dotenv: BTreeMap<String, String>,
}

impl Variables {
    pub(crate) fn new(process: BTreeMap<String, String>) -> Self {
        Self { process, dotenv: BTreeMap::new() }
    }

    /// The process environment goes before `.env`.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.process.get(name).or_else(|| self.dotenv.get(name)).cloned()
    }

    pub(crate) fn process(&self, name: &str) -> Option<&str> {
        self.process.get(name).map(String::as_str)
    }

    /// Takes the lines of an env file; later ones win. False when they have more than the budget
    /// of bytes.
    pub(crate) fn take(&mut self, pairs: Vec<dotenv::Pair>, budget: &mut usize) -> bool {
        for pair in pairs {
            let Some(value) = value(&pair, &|name| self.get(name), *budget) else { continue };
            let Some(left) = budget.checked_sub(value.len()) else { return false };
            *budget = left;
            self.dotenv.insert(pair.key, value);
        }
        true
    }
}

/// The value of a line: expanded where it may be, from `lookup` where it has none. A dollar sign
/// that starts no variable stays as it is, as in every reader of such files; so does one whose
/// value has more bytes than the budget.
pub(crate) fn value(
    pair: &dotenv::Pair,
    lookup: &dyn Fn(&str) -> Option<String>,
    budget: usize,
) -> Option<String> {
    let Some(text) = &pair.value else { return lookup(&pair.key) };
    if !pair.expands || !text.contains('$') {
        return Some(text.clone());
    }
    Some(Expander::new(lookup, budget).expand(text).unwrap_or_else(|_kept| text.clone()))
}
