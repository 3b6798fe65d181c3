//! Selectors of Rancher's grammar: `k=v, k!=v, k, k in (a,b), k notin (a,b)`, all of which must
//! hold. A comma within brackets belongs to its list.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A parsed selector; its text form is one-to-one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Selector {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Term {
    Has(String),
    Is(String, String),
    IsNot(String, String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
}

/// Why a text is no selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("selector {text:?}: {why}; write k=v, k!=v, k, k in (a,b) or k notin (a,b), with commas")]
pub struct InvalidSelector {
    /// What was given, shortened.
    pub text: String,
    /// Which rule it breaks.
    pub why: String,
}

impl Selector {
    /// Do the labels match? A label that is not there is never equal and never in a list.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.terms.iter().all(|term| match term {
            Term::Has(key) => labels.contains_key(key),
            Term::Is(key, value) => labels.get(key) == Some(value),
            Term::IsNot(key, value) => labels.get(key) != Some(value),
            Term::In(key, values) => labels.get(key).is_some_and(|v| values.contains(v)),
            Term::NotIn(key, values) => labels.get(key).is_none_or(|v| !values.contains(v)),
        })
    }
}

/// Splits at commas that are not within brackets.
fn split(text: &str) -> Vec<&str> {
    let (mut depth, mut from, mut out) = (0i32, 0, vec![]);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth <= 0 => {
                out.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    out.push(&text[from..]);
    out
}

fn word(text: &str, what: &str) -> Result<String, String> {
    let word = text.trim();
    if word.is_empty() {
        return Err(format!("a {what} is empty"));
    }
    if word.contains(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | ',' | '=' | '!')) {
        return Err(format!("{word:?} is no {what}"));
    }
    Ok(word.to_owned())
}

fn list(text: &str) -> Result<Vec<String>, String> {
    let inner = text.trim().strip_prefix('(').and_then(|t| t.strip_suffix(')'));
    let inner = inner.ok_or_else(|| format!("{:?} is no list in brackets", text.trim()))?;
    inner.split(',').map(|one| word(one, "value")).collect()
}

fn term(text: &str) -> Result<Term, String> {
    let text = text.trim();
    if let Some((key, value)) = text.split_once("!=") {
        return Ok(Term::IsNot(word(key, "key")?, word(value, "value")?));
    }
    if let Some((key, value)) = text.split_once('=') {
        return Ok(Term::Is(word(key, "key")?, word(value, "value")?));
    }
    if let Some((key, rest)) = text.split_once(char::is_whitespace) {
        let rest = rest.trim_start();
        if let Some(values) = rest.strip_prefix("notin") {
            return Ok(Term::NotIn(word(key, "key")?, list(values)?));
        }
        if let Some(values) = rest.strip_prefix("in") {
            return Ok(Term::In(word(key, "key")?, list(values)?));
        }
    }
    Ok(Term::Has(word(text, "key")?))
}

impl FromStr for Selector {
    type Err = InvalidSelector;
    fn from_str(text: &str) -> Result<Self, InvalidSelector> {
        let invalid = |why| InvalidSelector { text: text.chars().take(100).collect(), why };
        if text.len() > crate::limits::SELECTOR_BYTES_MAX {
            let max = crate::limits::SELECTOR_BYTES_MAX;
            return Err(invalid(format!("it is longer than {max} bytes")));
        }
        let terms: Result<Vec<Term>, String> = split(text).into_iter().map(term).collect();
        Ok(Self { terms: terms.map_err(invalid)? })
    }
}

impl TryFrom<String> for Selector {
    type Error = InvalidSelector;
    fn try_from(text: String) -> Result<Self, InvalidSelector> {
        text.parse()
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> Self {
        selector.to_string()
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, term) in self.terms.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            match term {
                Term::Has(key) => f.write_str(key)?,
                Term::Is(key, value) => write!(f, "{key}={value}")?,
                Term::IsNot(key, value) => write!(f, "{key}!={value}")?,
                Term::In(key, values) => write!(f, "{key} in ({})", values.join(","))?,
                Term::NotIn(key, values) => write!(f, "{key} notin ({})", values.join(","))?,
            }
        }
        Ok(())
    }
}

impl utoipa::PartialSchema for Selector {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        String::schema()
    }
}

impl utoipa::ToSchema for Selector {}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> BTreeMap<String, String> {
        let pair = |p: &str| p.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
        text.split(' ').filter_map(pair).collect()
    }

    #[test]
    fn each_form_matches_as_rancher_documents_it() {
        for (selector, have, wanted) in [
            ("a=1", "a=1", true),
            ("a=1", "a=2", false),
            ("a=1", "b=1", false),
            ("a!=1", "a=2", true),
            ("a!=1", "b=1", true),
            ("a!=1", "a=1", false),
            ("a", "a=x", true),
            ("a", "b=x", false),
            ("a in (1,2)", "a=2", true),
            ("a in (1, 2)", "a=3", false),
            ("a in(1,2)", "b=1", false),
            ("a notin (1,2)", "a=3", true),
            ("a notin (1,2)", "b=1", true),
            ("a notin (1,2)", "a=1", false),
            ("a=1, b in (x,y), c", "a=1 b=y c=0", true),
            ("a=1, b in (x,y), c", "a=1 b=z c=0", false),
            ("in", "in=1", true),
        ] {
            let parsed: Selector = selector.parse().unwrap();
            assert_eq!(parsed.matches(&labels(have)), wanted, "{selector} on {have}");
            let again: Selector = parsed.to_string().parse().unwrap();
            assert_eq!(again, parsed, "{selector}");
        }
    }

    #[test]
    fn what_does_not_parse_is_refused_with_its_rule() {
        for (text, why) in [
            ("", "empty"),
            ("a=1,", "empty"),
            ("=1", "empty"),
            ("a=", "empty"),
            ("a in 1,2", "brackets"),
            ("a in (1", "brackets"),
            ("a in ()", "empty"),
            ("a b", "no key"),
            ("a==b", "no value"),
            (&"a".repeat(10_000), "longer"),
        ] {
            let error = text.parse::<Selector>().unwrap_err().to_string();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }
}
