//! Rules for one file at a time: size, a word at its top, its name, what must not be left in it.

use super::Violation;
use std::path::Path;

/// Most lines of a source file.
const LINES_MAX: usize = 600;
/// Names that say nothing about what is inside.
const DRAWERS: &[&str] =
    &["utils", "util", "helpers", "helper", "common", "misc", "manager", "base", "types"];

/// Is it a text file that the rules are for?
pub(super) fn is_ours(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    ["rs", "md", "toml", "yml", "yaml", "json", "sh", "conf"].contains(&extension)
        || path.ends_with(".ci/run")
}

/// What is broken in a file.
pub(super) fn check(path: &Path, text: &str) -> Vec<Violation> {
    let mut broken = vec![];
    let mut say = |line: usize, what: String| {
        let at = format!("{}:{line}", path.display());
        broken.push(Violation { at, what });
    };
    for (number, line) in (1..).zip(text.lines()) {
        for name in workplaces() {
            if line.contains(&name) {
                say(number, format!("names {name:?}, a place outside the repository"));
            }
        }
    }
    if path.extension().is_none_or(|extension| extension != "rs") {
        return broken;
    }
    let generated = text.lines().next().is_some_and(|line| line.contains("@generated"));
    if !generated {
        let lines = text.lines().count();
        if lines > LINES_MAX {
            say(lines, format!("has {lines} lines, most is {LINES_MAX}: split it by idea"));
        }
        if !text.starts_with("//!") {
            say(1, "must begin with `//!`: what the file is and what it must never do".into());
        }
        for (number, line) in (1..).zip(text.lines()) {
            for what in line_rules(line) {
                say(number, what);
            }
        }
    }
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if DRAWERS.contains(&stem) {
        say(1, format!("{stem:?} says nothing: name the file after the one idea in it"));
    }
    let in_tests = path.components().any(|part| part.as_os_str() == "tests");
    if stem == "mod" && !in_tests {
        say(1, "a module's file is beside its folder, not mod.rs in it".into());
    }
    broken
}

fn line_rules(line: &str) -> Vec<String> {
    let mut broken = vec![];
    if line.trim() == "#[ignore]" {
        broken.push("a test that is left out says why: #[ignore = \"needs docker\"]".into());
    }
    for word in [concat!("TO", "DO"), concat!("FIX", "ME")] {
        let mut rest = line;
        while let Some(at) = rest.find(word) {
            let before = rest[..at].chars().next_back();
            rest = &rest[at + word.len()..];
            let whole = !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
                && !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
            if whole && !rest.starts_with("(#") {
                broken.push(format!("{word} needs the number of its issue: {word}(#12)"));
            }
        }
    }
    broken
}

/// Written in pieces, so that this file does not break its own rule.
fn workplaces() -> [String; 3] {
    [["/wo", "rk/"].concat(), ["../sha", "red"].concat(), ["/home", "/"].concat()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(path: &str, text: &str, expect: &[&str]) {
        let broken = check(Path::new(path), text);
        assert_eq!(broken.len(), expect.len(), "{path}: {broken:?}");
        for (violation, part) in broken.iter().zip(expect) {
            let shown = format!("{}: {}", violation.at, violation.what);
            assert!(shown.contains(part), "{shown} should say {part}");
        }
    }

    #[test]
    fn a_good_file_breaks_nothing() {
        check_text("crates/a/src/lib.rs", "//! Nouns.\n// TODO(#7): more\nlet todos = 1;\n", &[]);
        check_text("crates/a/tests/support/mod.rs", "//! Shared set-up.\n", &[]);
        check_text("crates/a/src/proto.rs", &format!("// @generated\n{}", "\n".repeat(900)), &[]);
        check_text("docs/a.md", "no rule about the top of a document\n", &[]);
    }

    #[test]
    fn each_rule_is_found_with_its_place() {
        check_text("a/lib.rs", "use x;\n", &["a/lib.rs:1: must begin"]);
        check_text("a/b.rs", &format!("//! b\n{}", "\n".repeat(600)), &["601 lines"]);
        check_text("a/utils.rs", "//! b\n", &["\"utils\" says nothing"]);
        check_text("a/src/mod.rs", "//! b\n", &["beside its folder"]);
        check_text("a/b.rs", "//! b\n#[ignore]\nfn f() {}\n", &["a/b.rs:2: a test that is left"]);
        let late = concat!("//! b\n// TO", "DO later\n");
        check_text("a/b.rs", late, &["needs the number"]);
        let place = ["see /wo", "rk/x\n"].concat();
        check_text("docs/a.md", &place, &["docs/a.md:1: names"]);
    }
}
