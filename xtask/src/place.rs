//! Where things are: the repository, its target folder, the machine's own target triple.

use crate::shell;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository as cargo sees it.
#[derive(Debug)]
pub(crate) struct Place {
    /// The repository's root.
    pub(crate) root: PathBuf,
    /// Cargo's target folder.
    pub(crate) target: PathBuf,
    /// The workspace's own packages.
    pub(crate) packages: Vec<Package>,
}

/// A package of the workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) dependencies: Vec<Dependency>,
    /// Its `Cargo.toml`.
    pub(crate) manifest_path: PathBuf,
}

/// What a package depends on.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `None` is a normal one, else `dev` or `build`.
    pub(crate) kind: Option<String>,
    /// Folder of a package of the workspace.
    pub(crate) path: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    workspace_root: PathBuf,
    target_directory: PathBuf,
    packages: Vec<Package>,
}

/// Cargo, the one that runs us, without what it told us of ourselves: build scripts look at it, and
/// would build anew what a cargo from the shell has built.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let told = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        });
        if told {
            command.env_remove(name);
        }
    }
    command
}

impl Place {
    /// Asks cargo.
    pub(crate) fn find() -> Result<Self> {
        let own = std::env::var_os("CARGO_MANIFEST_DIR")
            .context("run this as `cargo xtask …`: CARGO_MANIFEST_DIR is not set")?;
        let text = shell::read(
            cargo().args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(own),
        )?;
        let found: Metadata = serde_json::from_str(&text).context("reading `cargo metadata`")?;
        let Metadata { workspace_root: root, target_directory: target, packages } = found;
        Ok(Self { root, target, packages })
    }

    /// Cargo, in the repository's root.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = cargo();
        command.current_dir(&self.root);
        if !crate::say::colours() {
            command.env("CARGO_TERM_COLOR", "never");
        }
        command
    }

    /// Folder of our own logs.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.target.join("xtask").join(name)
    }

    /// Cargo, set up to build static release binaries, and the folder they come to.
    ///
    /// The explicit target keeps build scripts and procedural macros dynamic.
    pub(crate) fn static_build(&self, target: &Path) -> Result<(Command, PathBuf)> {
        let triple = host_triple()?;
        let mut flags = std::env::var("RUSTFLAGS").unwrap_or_default();
        flags.push_str(" -C target-feature=+crt-static");
        let mut command = self.cargo();
        command.env("RUSTFLAGS", flags.trim_start());
        command.args(["build", "--release", "--locked", "--target", &triple]);
        command.arg("--target-dir").arg(target);
        Ok((command, target.join(triple).join("release")))
    }
}

/// What this machine's compiler builds for when not told.
fn host_triple() -> Result<String> {
    let text = shell::read(Command::new("rustc").arg("-vV"))?;
    let triple = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(triple.context("`rustc -vV` names no host")?.to_owned())
}
