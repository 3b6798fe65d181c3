//! Which crate may depend on which: the table of ARCHITECTURE.md, and that every crate, ours or
//! not, is written down with its reason.

use super::Violation;
use crate::place::Package;

/// A crate of ours and what it may depend on outside its tests.
const EDGES: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("compose", &["model"]),
    ("control", &["model"]),
    ("store", &["model"]),
    ("engine", &["model"]),
    ("network", &["model"]),
    ("dataplane", &["model", "network"]),
    ("api", &["model"]),
    ("consul", &["model", "control", "store"]),
    ("template", &["model"]),
    ("server", &["model", "compose", "control", "store", "api", "consul"]),
    ("agent", &["model", "control", "engine", "network", "dataplane", "api", "consul", "template"]),
    (
        "app",
        &[
            "model",
            "compose",
            "control",
            "store",
            "engine",
            "network",
            "dataplane",
            "api",
            "consul",
            "template",
            "server",
            "agent",
        ],
    ),
    (
        "sim",
        &[
            "model",
            "compose",
            "control",
            "store",
            "engine",
            "network",
            "dataplane",
            "api",
            "consul",
            "server",
            "agent",
        ],
    ),
    ("testbed", &[]),
    ("xtask", &[]),
];

/// A file that must name crates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Document {
    /// Names every crate of ours.
    Architecture,
    /// Names every direct dependency on somebody else's crate.
    Contributing,
}

impl Document {
    /// Relative to the root.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Architecture => "ARCHITECTURE.md",
            Self::Contributing => "CONTRIBUTING.md",
        }
    }
}

/// Every edge of the workspace against the table. Tests may use any crate.
pub(super) fn check(packages: &[Package]) -> Vec<Violation> {
    let mut broken = vec![];
    for package in packages {
        let at = format!("crate {}", package.name);
        let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == package.name) else {
            let what = "is not in the table of xtask/src/tidy/edges.rs: a new crate needs a \
                        decision record";
            broken.push(Violation { at, what: what.into() });
            continue;
        };
        for edge in &package.dependencies {
            let ours = edge.path.is_some() && edge.kind.as_deref() != Some("dev");
            if ours && !allowed.contains(&edge.name.as_str()) {
                let what = format!(
                    "may not depend on {}: see the table in ARCHITECTURE.md; a new edge needs a \
                     decision record",
                    edge.name
                );
                broken.push(Violation { at: at.clone(), what });
            }
        }
    }
    broken
}

/// What `document` should name and does not.
pub(super) fn listed(packages: &[Package], document: &Document, text: &str) -> Vec<Violation> {
    let mut names: Vec<&str> = match document {
        Document::Architecture => packages.iter().map(|package| package.name.as_str()).collect(),
        Document::Contributing => {
            let all = packages.iter().flat_map(|package| &package.dependencies);
            all.filter(|edge| edge.path.is_none()).map(|edge| edge.name.as_str()).collect()
        }
    };
    names.sort_unstable();
    names.dedup();
    let missing = names.into_iter().filter(|name| !text.contains(&format!("`{name}`")));
    missing
        .map(|name| Violation {
            at: document.path().into(),
            what: format!("does not list the crate `{name}` with one line of why it is there"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Dependency;

    fn package(name: &str, edges: &[(&str, Option<&str>, bool)]) -> Package {
        let dependencies = edges
            .iter()
            .map(|(name, kind, ours)| Dependency {
                name: (*name).into(),
                kind: kind.map(Into::into),
                path: ours.then(|| "somewhere".into()),
            })
            .collect();
        Package { name: name.into(), dependencies, manifest_path: "Cargo.toml".into() }
    }

    fn whats(packages: &[Package]) -> Vec<String> {
        check(packages).into_iter().map(|v| format!("{} {}", v.at, v.what)).collect()
    }

    #[test]
    fn an_edge_against_the_table_is_found() {
        let broken = whats(&[package("control", &[("store", None, true)])]);
        assert_eq!(broken.len(), 1);
        assert!(broken[0].starts_with("crate control may not depend on store"), "{broken:?}");
        let build = whats(&[package("model", &[("control", Some("build"), true)])]);
        assert_eq!(build.len(), 1);
    }

    #[test]
    fn tests_and_others_crates_are_free() {
        let free = package("control", &[("store", Some("dev"), true), ("serde", None, false)]);
        assert_eq!(whats(&[free]), Vec::<String>::new());
    }

    #[test]
    fn a_crate_that_nobody_decided_is_found() {
        assert!(whats(&[package("extra", &[])])[0].contains("decision record"));
    }

    #[test]
    fn the_table_has_no_cycle() {
        for (at, (name, allowed)) in EDGES.iter().enumerate() {
            for edge in *allowed {
                let earlier = EDGES[..at].iter().any(|(other, _)| other == edge);
                assert!(earlier, "{name} -> {edge}: the table is in order of dependence");
            }
        }
    }

    #[test]
    fn a_crate_that_is_not_written_down_is_found() {
        let packages = [package("model", &[("serde", None, false), ("rpds", None, false)])];
        let text = "`serde` reads and writes";
        let broken = listed(&packages, &Document::Contributing, text);
        assert_eq!(broken.len(), 1);
        assert!(broken[0].what.contains("`rpds`"));
        assert_eq!(listed(&packages, &Document::Architecture, "`model`"), []);
    }
}
