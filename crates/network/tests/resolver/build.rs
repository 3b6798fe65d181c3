//! Builds `resolve.c` as a static program with glibc or musl, to be run where nothing else is: in
//! a chroot or an image made from scratch. Black-box tests of other crates include this file too.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The C libraries whose resolvers differ.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Libc {
    Glibc,
    Musl,
}

/// Builds the program into `folder`. Fails the test when the compiler is missing or refuses.
pub(crate) fn resolver(libc: Libc, folder: &Path) -> PathBuf {
    let (compiler, package, name) = match libc {
        Libc::Glibc => ("cc", "gcc and libc6-dev", "resolve-glibc"),
        Libc::Musl => ("musl-gcc", "musl-tools", "resolve-musl"),
    };
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../network/tests/resolver/resolve.c");
    let program = folder.join(name);
    let output = Command::new(compiler)
        .args(["-O1", "-static", "-o"])
        .arg(&program)
        .arg(source)
        .output()
        .unwrap_or_else(|e| panic!("{compiler} does not run (install {package}): {e}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{compiler} refused {source}: {errors}");
    program
}
