//! The query of a URL: keys in their order, which may repeat. A flag is there or not: `?recurse`,
//! `?recurse=` and `?recurse=true` are the same.

/// A parsed query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Reads what is behind the `?`. A pair that is not valid is left out, as Go does.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';'));
        let pairs = pairs.filter_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((unescape(key, true)?, unescape(value, true)?))
        });
        Self { pairs: pairs.collect() }
    }

    /// Is the flag there, with whatever value?
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// The first value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.all(key).next()
    }

    /// The first value that is not empty.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key).filter(|value| !value.is_empty())
    }

    /// Takes a key away, with all its values.
    pub(crate) fn remove(&mut self, key: &str) {
        self.pairs.retain(|(name, _)| name != key);
    }

    /// Every value of a key, in the order of the URL.
    pub fn all<'q>(&'q self, key: &str) -> impl Iterator<Item = &'q str> + use<'q> {
        let key = key.to_owned();
        self.pairs.iter().filter(move |(name, _)| *name == key).map(|(_, value)| value.as_str())
    }
}

/// Undoes percent-encoding, and `+` for a blank in a query. None when it is broken or no UTF-8.
#[must_use]
pub(crate) fn unescape(text: &str, plus: bool) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'%' => {
                let digit = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
                let code = digit(at + 1)? * 16 + digit(at + 2)?;
                out.push(u8::try_from(code).ok()?);
                at += 2;
            }
            b'+' if plus => out.push(b' '),
            byte => out.push(*byte),
        }
        at += 1;
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_there_or_not() {
        for (text, there) in [
            ("recurse", true),
            ("recurse=", true),
            ("recurse=true", true),
            ("recurse=false", true),
            ("stale=&recurse=", true),
            ("recursive", false),
            ("", false),
            ("&&", false),
        ] {
            assert_eq!(Query::parse(text).has("recurse"), there, "{text}");
        }
    }

    #[test]
    fn keys_repeat_and_are_unescaped() {
        let query = Query::parse("tag=a&tag=b%20c&x=1+2&broken=%zz&semi;colon=1&tag=");
        assert_eq!(query.all("tag").collect::<Vec<_>>(), ["a", "b c", ""]);
        assert_eq!(query.get("x"), Some("1 2"));
        assert!(!query.has("broken"));
        assert_eq!(query.text("nothing"), None);
    }

    #[test]
    fn escapes_are_undone_once() {
        for (text, want) in [
            ("a%3Ab", Some("a:b")),
            ("a%2525", Some("a%25")),
            ("a+b", Some("a+b")),
            ("%", None),
            ("%2", None),
            ("%+1", None),
            ("%ff", None),
            ("%C3%A4", Some("ä")),
        ] {
            assert_eq!(unescape(text, false).as_deref(), want, "{text}");
        }
    }
}
