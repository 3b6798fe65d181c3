//! Keys and half-open ranges of them, in the order of their bytes.

use std::sync::Arc;

/// A key: any text of 1 to `limits::STORE_KEY_BYTES_MAX` bytes.
pub type Key = Arc<str>;

/// A range of keys, `start` in it and `end` not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    start: Key,
    end: Option<Key>,
}

impl Keys {
    /// Every key.
    #[must_use]
    pub fn all() -> Self {
        Self { start: "".into(), end: None }
    }

    /// Exactly this key.
    #[must_use]
    pub fn one(key: &str) -> Self {
        Self { start: key.into(), end: Some(format!("{key}\0").into()) }
    }

    /// Every key that starts with `prefix`.
    #[must_use]
    pub fn prefix(prefix: &str) -> Self {
        Self { start: prefix.into(), end: successor(prefix).map(Into::into) }
    }

    /// From `start` (in) to `end` (out).
    #[must_use]
    pub fn between(start: &str, end: &str) -> Self {
        Self { start: start.into(), end: Some(end.into()) }
    }

    /// The part of this range from `key` on: the next page.
    #[must_use]
    pub fn starting_at(&self, key: &Key) -> Self {
        Self { start: key.clone().max(self.start.clone()), end: self.end.clone() }
    }

    /// Is the key in it?
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        key >= &*self.start && self.end.as_ref().is_none_or(|end| key < &**end)
    }

    /// The first key that may be in it.
    #[must_use]
    pub fn start(&self) -> &str {
        &self.start
    }

    /// The first key behind it, `None` when it has no end.
    #[must_use]
    pub fn end(&self) -> Option<&str> {
        self.end.as_deref()
    }

    /// Nothing can be in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }
}

/// The least text behind everything that starts with `prefix`; `None` when there is none.
/// The order of UTF-8 is the order of code points, so the last one is raised by one.
fn successor(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        let next = match last {
            '\u{D7FF}' => Some('\u{E000}'),
            other => char::from_u32(u32::from(other) + 1),
        };
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_holds_what_starts_with_it_and_nothing_else() {
        for (prefix, key, inside) in [
            ("a/", "a/", true),
            ("a/", "a/b", true),
            ("a/", "a/\u{10FFFF}x", true),
            ("a/", "a0", false),
            ("a/", "a", false),
            ("", "anything", true),
            ("\u{10FFFF}", "\u{10FFFF}z", true),
            ("\u{10FFFF}", "\u{10FFFE}", false),
            ("x\u{D7FF}", "x\u{D7FF}y", true),
            ("x\u{D7FF}", "x\u{E000}", false),
            ("x\u{7F}", "x\u{7F}q", true),
            ("x\u{7F}", "x\u{80}", false),
        ] {
            assert_eq!(Keys::prefix(prefix).contains(key), inside, "{key:?} in {prefix:?}");
        }
    }

    #[test]
    fn one_key_is_one_key_and_a_page_goes_on_where_it_stopped() {
        assert!(Keys::one("a").contains("a"));
        assert!(!Keys::one("a").contains("a\0"));
        assert!(!Keys::one("a").contains("aa"));
        let rest = Keys::between("b", "d").starting_at(&"c".into());
        assert_eq!(rest, Keys::between("c", "d"));
        assert_eq!(Keys::between("b", "d").starting_at(&"a".into()), Keys::between("b", "d"));
        assert!(Keys::between("d", "b").is_empty());
    }
}
