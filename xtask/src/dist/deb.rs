//! The package of Debian: files in their places, and what `dpkg` wants to know of them.

use super::{Release, set_mode, units, write};
use crate::shell;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the binary is on Debian.
const BINARY: &str = "/usr/bin/remuda";
/// Configuration that a person may edit: `dpkg` keeps it.
const CONFIGURATION: [&str; 2] = ["remuda-agent", "remuda-server"];
/// What runs at the installation.
const SCRIPTS: [&str; 3] = ["postinst", "postrm", "prerm"];
/// A shell, and where its completions are.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/remuda"),
    ("zsh", "usr/share/zsh/vendor-completions/_remuda"),
    ("fish", "usr/share/fish/vendor_completions.d/remuda.fish"),
];

/// Makes it; its path.
pub(super) fn make(release: &Release<'_>, folder: &Path) -> Result<PathBuf> {
    let tree = folder.join("deb");
    put_files(release, &tree)?;
    put_control(release, &tree)?;
    let name = format!("remuda_{}_{}.deb", release.version, release.elf.debian);
    let deb = folder.join(name);
    let mut build = Command::new("dpkg-deb");
    build.args(["--root-owner-group", "-Zxz", "-z2", "--build"]).arg(&tree).arg(&deb);
    shell::read(build.env("SOURCE_DATE_EPOCH", release.epoch.to_string()))?;
    Ok(deb)
}

fn put_files(release: &Release<'_>, tree: &Path) -> Result<()> {
    let binary = tree.join(BINARY.trim_start_matches('/'));
    super::copy(release.binary, &binary, 0o755)?;
    for (name, text) in units(release.place, BINARY)? {
        write(&tree.join("usr/lib/systemd/system").join(name), &text, 0o644)?;
    }
    let packaging = release.place.root.join("packaging/deb");
    for name in CONFIGURATION {
        let from = packaging.join(format!("{name}.default"));
        super::copy(&from, &tree.join("etc/default").join(name), 0o644)?;
    }
    let documents = tree.join("usr/share/doc/remuda");
    super::copy(&packaging.join("copyright"), &documents.join("copyright"), 0o644)?;
    super::copy(&release.place.root.join("README.md"), &documents.join("README.md"), 0o644)?;
    let changes = documents.join("changelog");
    super::copy(&release.place.root.join("CHANGELOG.md"), &changes, 0o644)?;
    shell::read(Command::new("gzip").args(["-9", "-n"]).arg(&changes))?;
    for (shell_name, path) in COMPLETIONS {
        let text = shell::read(Command::new(release.binary).args(["completion", shell_name]))?;
        write(&tree.join(path), &format!("{text}\n"), 0o644)?;
    }
    Ok(())
}

fn put_control(release: &Release<'_>, tree: &Path) -> Result<()> {
    let control = tree.join("DEBIAN");
    let kib = kib_of(tree)?;
    write(&control.join("control"), &control_text(release, kib), 0o644)?;
    let list: String = CONFIGURATION.iter().map(|name| format!("/etc/default/{name}\n")).collect();
    write(&control.join("conffiles"), &list, 0o644)?;
    let packaging = release.place.root.join("packaging/deb");
    for script in SCRIPTS {
        super::copy(&packaging.join(script), &control.join(script), 0o755)?;
    }
    let mut files = vec![];
    files_of(tree, tree, &mut files)?;
    files.retain(|file| !file.starts_with("DEBIAN"));
    files.sort();
    let mut sums = Command::new("md5sum");
    let sums = shell::read(sums.args(&files).current_dir(tree))?;
    write(&control.join("md5sums"), &format!("{sums}\n"), 0o644)?;
    set_mode(&control, 0o755)
}

fn control_text(release: &Release<'_>, kib: u64) -> String {
    let Release { version, elf, .. } = release;
    let mut depends = vec!["iproute2", "iptables", "nftables"];
    if !elf.is_static {
        depends.insert(0, "libc6");
    }
    format!(
        "Package: remuda\nVersion: {version}\nArchitecture: {}\n\
         Maintainer: The authors of Remuda <remuda@example.invalid>\nInstalled-Size: {kib}\n\
         Depends: {}\nRecommends: docker.io | docker-ce\nSuggests: openssh-client\n\
         Section: admin\nPriority: optional\n\
         Description: turns Linux hosts with Docker into a microservice platform\n \
         A compose file goes in; running, discovered, health-checked and load-balanced\n \
         services come out, on one machine or on many. This one binary is server, agent,\n \
         dataplane and command line.\n .\n \
         Nothing is started by the installation: `systemctl enable --now remuda-server`,\n \
         and on each host `remuda agent join` and `systemctl enable --now remuda-agent`.\n",
        elf.debian,
        depends.join(", ")
    )
}

/// Every file below a folder, as a path from `root`.
fn files_of(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let read = || format!("reading {}", folder.display());
    for entry in fs::read_dir(folder).with_context(read)? {
        let path = entry.with_context(read)?.path();
        if path.is_dir() {
            files_of(root, &path, files)?;
        } else {
            files.push(path.strip_prefix(root)?.to_owned());
        }
    }
    Ok(())
}

/// KiB that the files take, each rounded up as `dpkg` counts them.
fn kib_of(tree: &Path) -> Result<u64> {
    let mut files = vec![];
    files_of(tree, tree, &mut files)?;
    let sizes = files.iter().map(|file| fs::metadata(tree.join(file)).map(|m| m.len()));
    let sizes: std::io::Result<Vec<u64>> = sizes.collect();
    Ok(sizes?.iter().map(|bytes| bytes.div_ceil(1024)).sum())
}
