//! Programs of others that a task needs: found, or installed by apt on Debian as root, or named
//! with the command to type. A daemon that comes with a package is not started.

use crate::place::Place;
use crate::say::Step;
use crate::shell;
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program and the Debian package that brings it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    program: &'static str,
    package: &'static str,
}

const fn need(program: &'static str, package: &'static str) -> Need {
    Need { program, package }
}

/// To run Remuda.
pub(crate) const RUN: &[Need] = &[
    need("dockerd", "docker.io"),
    need("docker", "docker.io"),
    need("nft", "nftables"),
    need("ip", "iproute2"),
    need("iptables", "iptables"),
];

/// To run every test: servers of somebody else's that must not be disturbed, clients that ask us,
/// a second libc, an image's content, signals, machines to log in to.
pub(crate) const TEST: &[Need] = &[
    need("busybox", "busybox-static"),
    need("musl-gcc", "musl-tools"),
    need("dnsmasq", "dnsmasq"),
    need("nginx", "nginx-light"),
    need("/usr/lib/nginx/modules/ngx_stream_module.so", "libnginx-mod-stream"),
    need("curl", "curl"),
    need("dig", "bind9-dnsutils"),
    need("kill", "procps"),
    need("ssh", "openssh-client"),
    need("sshd", "openssh-server"),
    need("sudo", "sudo"),
    need("python3", "python3"),
    need("node", "nodejs"),
    need("npm", "npm"),
    need("/usr/lib/cni/bridge", "containernetworking-plugins"),
    need("dpkg-deb", "dpkg"),
    need("strip", "binutils"),
    need("unshare", "util-linux"),
    need("nsenter", "util-linux"),
    need("setpriv", "util-linux"),
    need("mount", "mount"),
    need("mkfs.ext4", "e2fsprogs"),
    need("hostname", "hostname"),
];

/// For machines made of namespaces.
pub(crate) const CLUSTER: &[Need] = &[
    need("unshare", "util-linux"),
    need("nsenter", "util-linux"),
    need("setpriv", "util-linux"),
    need("mount", "mount"),
    need("mkfs.ext4", "e2fsprogs"),
    need("hostname", "hostname"),
];

/// To pack a release.
pub(crate) const DIST: &[Need] = &[
    need("dpkg-deb", "dpkg"),
    need("tar", "tar"),
    need("gzip", "gzip"),
    need("sha256sum", "coreutils"),
    need("md5sum", "coreutils"),
];

/// To measure beside the peers, on a machine of namespaces.
pub(crate) const BENCH: &[Need] = &[
    need("haproxy", "haproxy"),
    need("nginx", "nginx-light"),
    need("dnsmasq", "dnsmasq"),
    need("dnsperf", "dnsperf"),
    need("wrk", "wrk"),
    need("unshare", "util-linux"),
    need("taskset", "util-linux"),
    need("mount", "mount"),
    need("hostname", "hostname"),
];

/// Where a package's scripts ask whether they may start its daemon.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Sees to it that these programs are there.
pub(crate) fn ensure(place: &Place, sets: &[&[Need]]) -> Result<()> {
    let missing = missing(sets, |program| shell::find(program).is_some());
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    let by_hand = format!("apt-get install --no-install-recommends {packages}");
    if !Path::new("/etc/debian_version").exists() || shell::find("apt-get").is_none() {
        bail!(
            "missing: {}; this is not Debian, so install what brings them (Debian's packages are {packages})",
            programs(sets)
        );
    }
    if !rustix::process::geteuid().is_root() {
        bail!("missing: {}; as root, type: {by_hand}", programs(sets));
    }
    fetch(place, &missing)?;
    let left = self::missing(sets, |program| shell::find(program).is_some());
    if !left.is_empty() {
        bail!("installed {packages}, but {} is still not found in PATH", programs(sets));
    }
    Ok(())
}

/// Installs one package that brings no program of its own.
pub(crate) fn package(place: &Place, package: &'static str) -> Result<()> {
    let by_hand = format!("apt-get install --no-install-recommends {package}");
    if shell::find("apt-get").is_none() || !rustix::process::geteuid().is_root() {
        bail!(
            "missing: what Debian's package {package} brings; as root on Debian, type: {by_hand}"
        );
    }
    fetch(place, &[package])
}

/// Installs packages, and starts no daemon of theirs.
fn fetch(place: &Place, packages: &[&str]) -> Result<()> {
    let step = Step::silent(&format!("installing {}", packages.join(" ")));
    let daemons_stay_off = Policy::forbid()?;
    let log = place.log("apt.log");
    if install(&step, packages, &log).is_err() {
        // the lists may be old or absent
        shell::logged(&step, apt().arg("update"), &log)?;
        install(&step, packages, &log)?;
    }
    drop(daemons_stay_off);
    step.done("installed");
    Ok(())
}

fn missing(sets: &[&[Need]], found: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let lacking = sets.iter().copied().flatten().filter(|need| !found(need.program));
    let mut packages: Vec<_> = lacking.map(|need| need.package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn programs(sets: &[&[Need]]) -> String {
    let lacking = sets.iter().copied().flatten().filter(|n| shell::find(n.program).is_none());
    lacking.map(|need| need.program).collect::<Vec<_>>().join(", ")
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["-y", "-q"]);
    command
}

fn install(step: &Step, packages: &[&str], log: &Path) -> Result<()> {
    shell::logged(step, apt().args(["install", "--no-install-recommends"]).args(packages), log)
}

/// While it lives, no package may start a daemon: nginx or dnsmasq on a well-known port is not
/// what somebody who runs a test has asked for.
struct Policy(Option<PathBuf>);

impl Policy {
    fn forbid() -> Result<Self> {
        let path = PathBuf::from(POLICY);
        if path.exists() {
            return Ok(Self(None));
        }
        fs::write(&path, "#!/bin/sh\nexit 101\n").with_context(|| format!("writing {POLICY}"))?;
        let policy = Self(Some(path.clone()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("making {POLICY} executable"))?;
        Ok(policy)
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if let Some(path) = &self.0
            && let Err(error) = fs::remove_file(path)
        {
            crate::say::error(&format!("removing {POLICY}: {error}; please remove it"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_package_is_named_once() {
        let sets = [RUN, TEST, BENCH];
        assert_eq!(missing(&sets, |program| program != "nginx"), ["nginx-light"]);
        let all = missing(&sets, |_| false);
        assert_eq!(all.iter().filter(|package| **package == "docker.io").count(), 1);
        assert!(missing(&sets, |_| true).is_empty());
    }
}
