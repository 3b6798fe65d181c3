//! `cargo xtask ci` looks at everything and writes nothing; `cargo xtask fix` writes.

use crate::place::Place;
use crate::say::{self, Step};
use crate::{clients, shell, suite};
use anyhow::Result;

/// The example's own workspace.
const EXAMPLE: &str = "examples/storefront/Cargo.toml";

/// What a change must pass.
pub(crate) fn ci(place: &Place) -> Result<()> {
    suite::format_check(place)?;
    let step = Step::loud("clippy");
    let strict = ["--", "-D", "warnings"];
    shell::run(place.cargo().args(["clippy", "--workspace", "--all-targets"]).args(strict))?;
    let mut example = place.cargo();
    example.args(["clippy", "--all-targets", "--manifest-path", EXAMPLE, "--target-dir"]);
    shell::run(example.arg(place.target.join("storefront")).args(strict))?;
    step.done("clean");
    let step = Step::loud("the documentation");
    let mut doc = place.cargo();
    doc.env("RUSTDOCFLAGS", "-D warnings").args(["doc", "--workspace", "--no-deps"]);
    shell::run(&mut doc)?;
    step.done("clean");
    if shell::succeeds(place.cargo().args(["deny", "--version"])) {
        let step = Step::loud("licences, duplicates, advisories");
        shell::run(place.cargo().args(["deny", "--workspace", "check"]))?;
        step.done("clean");
    } else {
        say::line("==> cargo-deny is not installed: licences and advisories were not looked at");
    }
    suite::test(place)
}

/// Format, and what clippy can mend.
pub(crate) fn fix(place: &Place) -> Result<()> {
    for manifest in ["Cargo.toml", EXAMPLE] {
        let mut clippy = place.cargo();
        clippy.args(["clippy", "--fix", "--allow-dirty", "--allow-staged", "--all-targets"]);
        shell::run(clippy.args(["--workspace", "--manifest-path", manifest]))?;
        shell::run(place.cargo().args(["fmt", "--all", "--manifest-path", manifest]))?;
    }
    shell::run(place.cargo().args(["fmt", "--all", "--manifest-path", clients::RUST]))?;
    Ok(())
}
