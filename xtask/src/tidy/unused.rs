//! Dependencies that nobody uses: weight in every build, and a reader's lost time.

use super::Violation;
use crate::place::Package;

/// Direct dependencies whose name does not occur in the package's sources, which `sources` reads.
pub(super) fn check(packages: &[Package], sources: impl Fn(&Package) -> String) -> Vec<Violation> {
    let mut broken = vec![];
    for package in packages {
        let text = sources(package);
        for edge in &package.dependencies {
            if !has_word(&text, &edge.name.replace('-', "_")) {
                let what = format!("depends on {} and never names it: take it out", edge.name);
                broken.push(Violation { at: format!("crate {}", package.name), what });
            }
        }
    }
    broken
}

/// Entries of `[workspace.dependencies]` in the root's `manifest` that no package takes.
pub(super) fn of_workspace(packages: &[Package], manifest: &str) -> Vec<Violation> {
    let section = manifest.lines().skip_while(|line| *line != "[workspace.dependencies]").skip(1);
    let names = section
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('=').map(|(name, _)| name.trim()));
    let taken = |name: &str| {
        packages.iter().any(|package| package.dependencies.iter().any(|edge| edge.name == name))
    };
    names
        .filter(|name| !taken(name) && !packages.iter().any(|package| package.name == **name))
        .map(|name| Violation {
            at: "Cargo.toml".into(),
            what: format!("[workspace.dependencies] has {name}, which no crate takes"),
        })
        .collect()
}

fn has_word(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back().is_some_and(part);
        let after = text[at + word.len()..].chars().next().is_some_and(part);
        !before && !after
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Dependency;

    fn package(dependencies: &[&str]) -> Package {
        let edge = |name: &&str| Dependency { name: (*name).into(), kind: None, path: None };
        Package {
            name: "web".into(),
            dependencies: dependencies.iter().map(edge).collect(),
            manifest_path: "web/Cargo.toml".into(),
        }
    }

    #[test]
    fn a_dependency_that_is_never_named_is_found() {
        let text = "use serde_json::Value; // not toml_edit\nmod tomlish;";
        let whats: Vec<String> = check(&[package(&["serde-json", "toml"])], |_| text.into())
            .into_iter()
            .map(|violation| format!("{} {}", violation.at, violation.what))
            .collect();
        assert_eq!(whats, ["crate web depends on toml and never names it: take it out"]);
    }

    #[test]
    fn an_entry_of_the_workspace_that_nobody_takes_is_found() {
        let manifest = "[workspace.dependencies]\n# ours\nweb = { path = \"x\" }\ntoml = \"1\"\nserde = \"1\"\n[lints]\nx = 1\n";
        let found = of_workspace(&[package(&["serde"])], manifest);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].what.contains("has toml"));
    }
}
