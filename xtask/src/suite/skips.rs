//! Tests that say they need something (`#[ignore = "needs docker"]`) run when it is there; those
//! that are left out for another reason are listed with it. Nothing is left out in silence.

use crate::tidy;
use anyhow::Result;
use std::path::Path;

/// What this machine offers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Have {
    pub(super) docker: bool,
    pub(super) root: bool,
}

/// A test that does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Skip {
    /// The function's name.
    pub(super) test: String,
    /// What its `#[ignore]` says.
    pub(super) reason: String,
}

/// The tests of the workspace that will not run here.
pub(super) fn left_out(root: &Path, have: Have) -> Result<Vec<Skip>> {
    let mut files = vec![];
    for folder in ["crates", "xtask"] {
        tidy::sources(&root.join(folder), &mut files)?;
    }
    let mut skips = vec![];
    for file in files {
        let ignored = ignored(&super::read(&file)?);
        skips.extend(ignored.into_iter().filter(|skip| !can_run(&skip.reason, have)));
    }
    Ok(skips)
}

fn can_run(reason: &str, have: Have) -> bool {
    let Some(needs) = reason.strip_prefix("needs ") else { return false };
    let mut words = needs.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.all(|word| match word {
        "docker" | "Docker" | "dockerd" => have.docker,
        "root" => have.root,
        _ => true,
    })
}

/// The ignored tests of a source text.
fn ignored(text: &str) -> Vec<Skip> {
    let mut found = vec![];
    let mut reason: Option<&str> = None;
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("#[ignore") {
            reason = Some(rest.split('"').nth(1).unwrap_or("no reason is given"));
        } else if let Some((_, rest)) = line.split_once("fn ")
            && !line.starts_with("//")
            && let Some(reason) = reason.take()
        {
            let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next();
            let test = name.unwrap_or_default().to_owned();
            found.push(Skip { test, reason: reason.to_owned() });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_tests_are_found_with_their_reason() {
        let text = "#[test]\n#[ignore = \"needs docker and root\"]\n/// a fn of note\nfn one() {}\n\
                    #[test]\nfn two() {}\n#[tokio::test]\n#[ignore = \"an hour long\"]\n\
                    async fn three() {}\n";
        let found = ignored(text);
        let shown: Vec<_> = found.iter().map(|s| (s.test.as_str(), s.reason.as_str())).collect();
        assert_eq!(shown, [("one", "needs docker and root"), ("three", "an hour long")]);
    }

    #[test]
    fn a_need_that_is_met_lets_the_test_run() {
        let all = Have { docker: true, root: true };
        let user = Have { docker: true, root: false };
        let none = Have { docker: false, root: false };
        for (reason, have, expect) in [
            ("needs docker", user, true),
            ("needs docker and root", user, false),
            ("needs docker and root", all, true),
            ("needs docker", none, false),
            ("needs dnsmasq", none, true),
            ("an hour long", all, false),
        ] {
            assert_eq!(can_run(reason, have), expect, "{reason} {have:?}");
        }
    }
}
