//! `cargo xtask tidy`: the rules of the house that no compiler checks. It reads and never writes.

mod edges;
mod files;
mod unused;

use crate::place::Place;
use crate::say;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// A rule that is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Relative to the root; with `:line` where there is one.
    pub(crate) at: String,
    /// The rule, and what to do.
    pub(crate) what: String,
}

/// Checks everything; an error lists what is broken.
pub(crate) fn check(place: &Place) -> Result<()> {
    let mut broken = edges::check(&place.packages);
    for (document, text) in documents(place)? {
        broken.extend(edges::listed(&place.packages, &document, &text));
    }
    broken.extend(unused::check(&place.packages, own_sources));
    let manifest = fs::read_to_string(place.root.join("Cargo.toml"))?;
    broken.extend(unused::of_workspace(&place.packages, &manifest));
    let mut files = vec![];
    walk(&place.root, &mut files)?;
    for file in &files {
        let relative = file.strip_prefix(&place.root).unwrap_or(file);
        let bytes = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        broken.extend(files::check(relative, &String::from_utf8_lossy(&bytes)));
    }
    for Violation { at, what } in &broken {
        say::error(&format!("{at}: {what}"));
    }
    if broken.is_empty() {
        say::line(&format!("==> tidy: {} files, nothing to say", files.len()));
        return Ok(());
    }
    bail!("tidy: {} rules are broken (above)", broken.len())
}

/// All Rust sources of a package. What cannot be read is empty: the walk over all files reports it.
fn own_sources(package: &crate::place::Package) -> String {
    let mut files = vec![];
    let folder = package.manifest_path.parent().unwrap_or(Path::new("."));
    if let Err(error) = sources(folder, &mut files) {
        say::error(&format!("{error:#}"));
    }
    files.iter().map(|file| fs::read_to_string(file).unwrap_or_default()).collect()
}

fn documents(place: &Place) -> Result<Vec<(edges::Document, String)>> {
    [edges::Document::Architecture, edges::Document::Contributing]
        .into_iter()
        .map(|document| {
            let path = place.root.join(document.path());
            let text =
                fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            Ok((document, text))
        })
        .collect()
}

/// The Rust files under a folder.
pub(crate) fn sources(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let mut all = vec![];
    walk(folder, &mut all)?;
    found.extend(all.into_iter().filter(|path| path.extension().is_some_and(|e| e == "rs")));
    Ok(())
}

/// Every text file that is ours: no build products, nothing hidden but CI and cargo's settings.
fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))?;
    let mut entries = entries.collect::<std::io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if entry.file_type()?.is_dir() {
            let hidden = name.starts_with('.') && ![".ci", ".cargo", ".config"].contains(&&*name);
            if !hidden && name != "target" {
                walk(&path, found)?;
            }
        } else if files::is_ours(&path) {
            found.push(path);
        }
    }
    Ok(())
}
