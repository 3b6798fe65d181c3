//! Flags as Go programs take them: one dash or two, `-name=x` or `-name x`, anywhere; what follows
//! `--` is no flag.

/// Flags that have no value.
const ALONE: &[&str] = &[
    "tags",
    "recurse",
    "keys",
    "detailed",
    "stale",
    "wan",
    "passingonly",
    "self",
    "h",
    "help",
    "verbose",
    "child-exit-code",
];

/// A command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    given: Vec<(String, String)>,
    /// What is no flag.
    pub(super) words: Vec<String>,
}

impl Flags {
    pub(super) fn read(words: &[String]) -> Self {
        let mut flags = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--" {
                flags.words.extend(words.by_ref().cloned());
                break;
            }
            // A dash alone, and a number below zero, are words.
            let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-'));
            let name = name.filter(|name| name.starts_with(|c: char| c.is_ascii_alphabetic()));
            let Some(name) = name else {
                flags.words.push(word.clone());
                if flags.is_complete() {
                    flags.words.extend(words.by_ref().cloned());
                }
                continue;
            };
            let (name, value) = match name.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                None if ALONE.contains(&name) => (name, "true".to_owned()),
                None => (name, words.next().cloned().unwrap_or_default()),
            };
            flags.given.push((name.to_owned(), value));
        }
        flags
    }

    /// What follows is the line of a program, with flags of its own.
    fn is_complete(&self) -> bool {
        let runs = self.words.first().is_some_and(|word| word == "lock" || word == "watch");
        runs && self.words.len() == 2
    }

    /// Values of a flag, in their order.
    pub(super) fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f str> {
        self.given.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// The last value of a flag.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.given.iter().rfind(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// Is it there, and not said to be false?
    pub(super) fn has(&self, name: &str) -> bool {
        self.text(name).is_some_and(|value| value != "false")
    }

    /// These flags as the query of a URL.
    pub(super) fn query(&self, names: &[&str]) -> String {
        let mut query = String::new();
        for (name, value) in self.given.iter().filter(|(name, _)| names.contains(&name.as_str())) {
            query.push(if query.is_empty() { '?' } else { '&' });
            // Pairs are given with `=` and asked with `:`.
            let value =
                if name == "node-meta" { value.replacen('=', ":", 1) } else { value.clone() };
            query.push_str(&format!("{name}={}", super::ask::escape(&value)));
        }
        query
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Flags {
        Flags::read(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn flags_are_read_as_go_reads_them() {
        for (line, words, name, value) in [
            ("kv get -recurse a", &["kv", "get", "a"][..], "recurse", Some("true")),
            ("kv put -cas=3 a b", &["kv", "put", "a", "b"], "cas", Some("3")),
            ("kv put --cas 3 a b", &["kv", "put", "a", "b"], "cas", Some("3")),
            ("kv put -- -cas=3", &["kv", "put", "-cas=3"], "cas", None),
            ("kv put a -", &["kv", "put", "a", "-"], "cas", None),
            ("kv put a -1", &["kv", "put", "a", "-1"], "1", None),
            ("lock -try=5s p sh -c x", &["lock", "p", "sh", "-c", "x"], "try", Some("5s")),
            ("watch -type nodes sh -c x", &["watch", "sh", "-c", "x"], "type", Some("nodes")),
            ("catalog services -tags=false", &["catalog", "services"], "tags", Some("false")),
        ] {
            let flags = read(line);
            assert_eq!(
                (&flags.words[..], flags.text(name)),
                (&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>()[..], value),
                "{line}"
            );
        }
        assert!(!read("-tags=false").has("tags"));
        let flags = read("-node-meta=a=b -filter=x y -node-meta c=d");
        assert_eq!(flags.query(&["node-meta"]), "?node-meta=a%3Ab&node-meta=c%3Ad");
        assert_eq!(flags.all("node-meta").collect::<Vec<_>>(), ["a=b", "c=d"]);
    }
}
