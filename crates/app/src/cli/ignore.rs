//! `.dockerignore`: which paths of a build context stay at home. Pure.

/// Rules of `.dockerignore`: the last one that matches wins, `!` brings back.
#[derive(Debug)]
pub(super) struct Ignore {
    rules: Vec<(bool, String)>,
    brings_back: bool,
}

impl Ignore {
    /// Reads the rules, one a line.
    pub(super) fn parse(text: &str) -> Self {
        let text = text.trim_start_matches('\u{feff}');
        let mut rules = vec![];
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (keep, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, rest),
                None => (false, line),
            };
            let pattern = pattern.trim_start_matches("./").trim_matches('/');
            rules.push((keep, pattern.to_owned()));
        }
        let brings_back = rules.iter().any(|(keep, _)| *keep);
        Self { rules, brings_back }
    }

    /// May something below an ignored folder be wanted after all?
    pub(super) fn brings_back(&self) -> bool {
        self.brings_back
    }

    /// Is this path, relative to the context, left out?
    pub(super) fn matches(&self, path: &str) -> bool {
        let mut ignored = false;
        for (keep, pattern) in &self.rules {
            // A pattern that names a folder covers everything below it.
            let covered = path.match_indices('/').map(|(i, _)| &path[..i]).chain([path]);
            if covered.into_iter().any(|part| glob(pattern.as_bytes(), part.as_bytes())) {
                ignored = !keep;
            }
        }
        ignored
    }
}

/// `*`, `?` and `[a-z]` within a path element, `**` across elements, `\\` before what is meant
/// as it stands.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', b'*', b'/', rest @ ..] => {
            glob(rest, text)
                || text
                    .iter()
                    .position(|b| *b == b'/')
                    .is_some_and(|i| glob(pattern, &text[i + 1..]))
        }
        [b'*', b'*', rest @ ..] => (0..=text.len()).any(|i| glob(rest, &text[i..])),
        [b'*', rest @ ..] => {
            let end = text.iter().position(|b| *b == b'/').unwrap_or(text.len());
            (0..=end).any(|i| glob(rest, &text[i..]))
        }
        [b'[', rest @ ..] if rest.contains(&b']') => {
            let end = rest.iter().position(|b| *b == b']').unwrap_or(0);
            matches!(text, [c, more @ ..] if *c != b'/'
                && class(&rest[..end], *c) && glob(&rest[end + 1..], more))
        }
        [b'\\', c, rest @ ..] => {
            matches!(text, [d, more @ ..] if c == d && glob(rest, more))
        }
        [b'?', rest @ ..] => matches!(text, [c, more @ ..] if *c != b'/' && glob(rest, more)),
        [c, rest @ ..] => matches!(text, [d, more @ ..] if c == d && glob(rest, more)),
    }
}

/// `a-z`, `abc`, `^a-z`.
fn class(pattern: &[u8], c: u8) -> bool {
    let (negated, mut rest) = match pattern {
        [b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut found = false;
    while let [from, more @ ..] = rest {
        (found, rest) = match more {
            [b'-', to, more @ ..] => (found || (*from..=*to).contains(&c), more),
            more => (found || *from == c, more),
        };
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockerignore_is_anchored_and_the_last_rule_wins() {
        let ignore = Ignore::parse(
            "node_modules\n*.md\n!README.md\n**/*.tmp\n/dist/\n# x\nv[0-9].log\na\\*b\n",
        );
        for (path, ignored) in [
            ("node_modules", true),
            ("node_modules/a/b.js", true),
            ("src/node_modules", false),
            ("a.md", true),
            ("README.md", false),
            ("docs/a.md", false),
            ("x.tmp", true),
            ("a/b/x.tmp", true),
            ("dist/x", true),
            ("src/main.rs", false),
            ("v1.log", true),
            ("va.log", false),
            ("a*b", true),
            ("acb", false),
        ] {
            assert_eq!(ignore.matches(path), ignored, "{path}");
        }
    }
}
