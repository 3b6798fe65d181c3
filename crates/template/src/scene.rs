//! What one render sees and what it asked for: answers, environment, time, and a note of every
//! question with those that have no answer yet.

use crate::query::Query;
use chrono::{DateTime, Utc};
use gotmpl::{Template, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};

/// Answers that are known; `None` is what is known not to exist.
pub type Answers = BTreeMap<Query, Option<Value>>;

/// Why something is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Nobody has answered yet.
    NotYet,
    /// It does not exist.
    Absent,
}

/// What one render sees.
#[derive(Clone)]
pub struct View {
    /// What is known.
    pub answers: Arc<Answers>,
    /// Keys of confd's backend; empty elsewhere.
    pub keys: Arc<BTreeMap<String, String>>,
    /// The environment.
    pub env: Arc<BTreeMap<String, String>>,
    /// Now.
    pub now: DateTime<Utc>,
    /// `file` reads only below this folder.
    pub sandbox: Option<PathBuf>,
}

/// A render under way.
pub struct Scene {
    /// What it sees.
    pub view: View,
    /// The parsed template, for those that it calls by name.
    pub base: Arc<Template>,
    /// How deep `executeTemplate` is.
    pub nested: AtomicUsize,
    /// What it keeps for itself. Never held across a call into the template.
    pub scratch: Mutex<BTreeMap<String, Value>>,
    // Both are locked for one look only.
    asked: Mutex<BTreeMap<Query, Option<Missing>>>,
    patterns: Mutex<BTreeMap<String, regex::Regex>>,
}

impl Scene {
    /// A render that begins.
    #[must_use]
    pub fn new(view: View, base: Arc<Template>) -> Self {
        Self {
            view,
            base,
            nested: AtomicUsize::new(0),
            scratch: Mutex::default(),
            asked: Mutex::default(),
            patterns: Mutex::default(),
        }
    }

    /// Asks; what is `needed` and not there keeps the template from being written.
    #[must_use]
    pub fn ask(&self, query: Query, needed: bool) -> Option<Value> {
        let (found, missing) = match self.view.answers.get(&query) {
            None => (None, Some(Missing::NotYet)),
            Some(None) => (None, needed.then_some(Missing::Absent)),
            Some(Some(value)) => (Some(value.clone()), None),
        };
        self.note(query, missing);
        found
    }

    /// Notes that something was asked; once missing, it stays missing in this render.
    pub fn note(&self, query: Query, missing: Option<Missing>) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = asked.entry(query).or_insert(None);
        *entry = entry.or(missing);
    }

    /// What was asked, and what of it is missing.
    #[must_use]
    pub fn asked(&self) -> (BTreeSet<Query>, BTreeMap<Query, Missing>) {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = asked.iter().filter_map(|(q, m)| m.map(|m| (q.clone(), m)));
        (asked.keys().cloned().collect(), missing.collect())
    }

    /// A pattern, compiled once a render.
    ///
    /// # Errors
    /// Why it is none.
    pub fn pattern(&self, text: &str) -> Result<regex::Regex, String> {
        let mut patterns = self.patterns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = patterns.get(text) {
            return Ok(known.clone());
        }
        let built = regex::RegexBuilder::new(text).size_limit(1 << 20).build();
        let built = built.map_err(|e| format!("pattern {text:?}: {e}"))?;
        patterns.insert(text.to_owned(), built.clone());
        Ok(built)
    }
}
