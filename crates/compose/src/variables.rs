//! The variables of a load: the process environment, and below it what `.env` sets.

use crate::dotenv;
use crate::interpolate::Expander;
use model::limits;
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

    /// Takes the lines of an env file; later ones win.
    pub(crate) fn take(&mut self, pairs: Vec<dotenv::Pair>) {
        let mut budget = limits::COMPOSE_EXPANDED_BYTES_MAX;
        for pair in pairs {
            if let Some(value) = value(&pair, &|name| self.get(name), &mut budget) {
                self.dotenv.insert(pair.key, value);
            }
        }
    }
}

/// The value of a line: expanded where it may be, from `lookup` where it has none. A dollar sign
/// that starts no variable stays as it is, as in every reader of such files; so does everything
/// once the budget of bytes is used up.
pub(crate) fn value(
    pair: &dotenv::Pair,
    lookup: &dyn Fn(&str) -> Option<String>,
    budget: &mut usize,
) -> Option<String> {
    let Some(text) = &pair.value else { return lookup(&pair.key) };
    if !pair.expands || !text.contains('$') {
        return Some(text.clone());
    }
    let expanded = Expander::new(lookup, *budget).expand(text);
    let expanded = expanded.unwrap_or_else(|_kept| text.clone());
    *budget = budget.saturating_sub(expanded.len());
    Some(expanded)
}
