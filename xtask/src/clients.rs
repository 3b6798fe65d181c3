//! Clients of others, as they are published in the registries of their languages: what the tests of
//! the old dialects ask us with. They are installed once into the target folder, and made anew when
//! the lists of their versions change.

use crate::place::Place;
use crate::say::Step;
use crate::{needs, shell};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the lists are, from the repository's root.
const LISTS: &str = "crates/app/tests/clients";
/// Says for which lists the folder was made.
const MADE: &str = "made-for";

/// Those of Rust are a package of their own, with a lock file of its own.
pub(crate) const RUST: &str = "crates/app/tests/clients/rust/Cargo.toml";

/// Sees to it that they are there: `<target>/clients/python`, `<target>/clients/node_modules`, and the
/// program `<target>/clients-rust/debug/walk`.
pub(crate) fn ensure(place: &Place) -> Result<()> {
    installed(place)?;
    // Built by what is on disk already, this takes no time; its first time is some hundred crates.
    let step = Step::silent("building clients of others");
    let mut cargo = place.cargo();
    cargo.args(["build", "--quiet", "--locked", "--manifest-path", RUST, "--target-dir"]);
    cargo.arg(place.target.join("clients-rust"));
    shell::logged(&step, &mut cargo, &place.log("clients-rust.log"))?;
    step.done("built");
    Ok(())
}

fn installed(place: &Place) -> Result<()> {
    let lists = place.root.join(LISTS);
    let [python, node] = ["requirements.txt", "packages.txt"].map(|name| lists.join(name));
    let wanted = read(&python)? + &read(&node)?;
    let folder = place.target.join("clients");
    if fs::read_to_string(folder.join(MADE)).is_ok_and(|made| made == wanted) {
        return Ok(());
    }
    let step = Step::silent("installing clients of others");
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("removing {}", folder.display()));
        }
        _ => {}
    }
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let log = place.log("clients.log");
    with_python(place, &step, &folder, &python, &log)?;
    let packages = read(&node)?;
    let packages = packages.lines().filter(|line| !line.starts_with('#'));
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-save", "--no-package-lock", "--ignore-scripts", "--no-audit"]);
    npm.arg("--prefix").arg(&folder).args(packages);
    shell::logged(&step, &mut npm, &log)?;
    fs::write(folder.join("package.json"), "{}").context("writing package.json")?;
    fs::write(folder.join(MADE), wanted).context("writing down what was made")?;
    step.done("installed");
    Ok(())
}

fn with_python(
    place: &Place,
    step: &Step,
    folder: &Path,
    requirements: &Path,
    log: &Path,
) -> Result<()> {
    let own: PathBuf = folder.join("python");
    // Debian has what makes environments in a package of its own.
    if !shell::succeeds(Command::new("python3").args(["-c", "import ensurepip"])) {
        needs::package(place, "python3-venv")?;
    }
    shell::logged(step, Command::new("python3").args(["-m", "venv"]).arg(&own), log)?;
    let mut pip = Command::new(own.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check", "--requirement"]);
    shell::logged(step, pip.arg(requirements), log)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}
