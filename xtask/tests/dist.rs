//! `cargo xtask dist` with a binary at hand: what is in the tarball and in the package, and what
//! `dpkg` makes of it in a root of its own, where nothing is started or stopped.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Stands for systemd, says that everything runs, and notes what it is told.
const SYSTEMCTL: &str = "#!/bin/sh\necho \"$*\" >>\"$DPKG_ROOT/told\"\n";

/// Runs it to its end, which must be a good one; what it said on both streams.
#[track_caller]
fn text(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{command:?}: {}: {said}", output.status);
    said
}

/// A small binary of Remuda: the one of the tests, without what is for debuggers.
fn binary(folder: &Path) -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_xtask")).with_file_name("remuda");
    if !built.exists() {
        let mut cargo = Command::new(env!("CARGO"));
        text(cargo.args(["build", "--package", "app", "--bin", "remuda"]));
    }
    let small = folder.join("remuda");
    text(Command::new("strip").arg("-o").arg(&small).arg(built));
    small
}

fn dist(binary: &Path, out: &Path) {
    let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"));
    xtask.args(["dist", "--binary"]).arg(binary).arg("--out").arg(out);
    text(&mut xtask);
}

/// The one file of a folder with this end of its name.
#[track_caller]
fn the(folder: &Path, end: &str) -> PathBuf {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.to_str().unwrap().ends_with(end)).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

#[test]
#[ignore = "needs root"]
fn a_release_is_packed_installed_upgraded_and_purged_and_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (binary, out) = (binary(folder.path()), folder.path().join("out"));
    dist(&binary, &out);
    let left: Vec<_> = fs::read_dir(&out).unwrap().collect();
    assert_eq!(left.len(), 3, "a tarball, a package, the checksums: {left:?}");
    text(Command::new("sha256sum").args(["--check", "SHA256SUMS"]).current_dir(&out));
    let sums = fs::read_to_string(out.join("SHA256SUMS")).unwrap();
    the_tarball_has_what_one_needs(&out);
    the_package_is_well_made(&the(&out, ".deb"));
    dpkg_keeps_what_is_a_persons(&folder.path().join("root"), &the(&out, ".deb"));
    dist(&binary, &out);
    assert_eq!(fs::read_to_string(out.join("SHA256SUMS")).unwrap(), sums, "the same bytes again");
}

fn the_tarball_has_what_one_needs(out: &Path) {
    let tarball = the(out, "-linux.tar.gz");
    let list = text(Command::new("tar").arg("-tvzf").arg(&tarball));
    for (mode, name) in [
        ("-rwxr-xr-x 0/0", "/remuda\n"),
        ("-rw-r--r-- 0/0", "/LICENSE\n"),
        ("-rw-r--r-- 0/0", "/README.md\n"),
        ("-rw-r--r-- 0/0", "/remuda-agent.service\n"),
        ("-rw-r--r-- 0/0", "/remuda-server.service\n"),
    ] {
        let is = |line: &str| line.starts_with(mode) && format!("{line}\n").ends_with(name);
        assert!(list.lines().any(is), "{mode} {name} is not in\n{list}");
    }
    text(Command::new("tar").arg("-xzf").arg(&tarball).arg("-C").arg(out));
    let name = tarball.file_name().unwrap().to_str().unwrap();
    let tree = out.join(name.trim_end_matches(".tar.gz"));
    assert!(text(Command::new(tree.join("remuda")).arg("--version")).starts_with("remuda "));
    let unit = fs::read_to_string(tree.join("remuda-agent.service")).unwrap();
    assert!(unit.contains("ExecStart=/usr/local/bin/remuda agent\n"), "{unit}");
    fs::remove_dir_all(tree).unwrap();
}

fn the_package_is_well_made(deb: &Path) {
    let control = text(Command::new("dpkg-deb").arg("--field").arg(deb));
    for field in [
        "Package: remuda\n",
        "Architecture: ",
        "Maintainer: ",
        "Installed-Size: ",
        "Depends: ",
        "iproute2, iptables, nftables",
        "Section: admin\n",
        "Description: turns Linux",
    ] {
        assert!(control.contains(field), "{field:?} is not in\n{control}");
    }
    let list = text(Command::new("dpkg-deb").arg("--contents").arg(deb));
    for (mode, name) in [
        ("-rwxr-xr-x", "./usr/bin/remuda"),
        ("-rw-r--r--", "./usr/lib/systemd/system/remuda-agent.service"),
        ("-rw-r--r--", "./usr/lib/systemd/system/remuda-server.service"),
        ("-rw-r--r--", "./etc/default/remuda-agent"),
        ("-rw-r--r--", "./etc/default/remuda-server"),
        ("-rw-r--r--", "./usr/share/doc/remuda/copyright"),
        ("-rw-r--r--", "./usr/share/doc/remuda/changelog.gz"),
        ("-rw-r--r--", "./usr/share/bash-completion/completions/remuda"),
    ] {
        let is = |line: &str| line.starts_with(mode) && line.ends_with(name);
        assert!(list.lines().any(is), "{mode} {name} is not in\n{list}");
    }
    for line in list.lines() {
        assert!(line.contains(" root/root "), "{line}");
        let outside = ["./usr/local", "./var", "./run", "./home", "./root"];
        assert!(!outside.iter().any(|place| line.contains(place)), "{line}");
        let is_open = line.as_bytes()[5] == b'w' || line.as_bytes()[8] == b'w';
        assert!(!is_open, "others may write: {line}");
    }
    let parts = deb.with_file_name("control");
    text(Command::new("dpkg-deb").arg("--control").arg(deb).arg(&parts));
    let read = |name: &str| fs::read_to_string(parts.join(name)).unwrap();
    assert_eq!(read("conffiles"), "/etc/default/remuda-agent\n/etc/default/remuda-server\n");
    assert!(read("md5sums").contains("  usr/bin/remuda\n"), "{}", read("md5sums"));
    for script in ["postinst", "prerm", "postrm"] {
        let mode = fs::metadata(parts.join(script)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755, "{script}");
        assert!(read(script).starts_with("#!/bin/sh\n"), "{script}");
        text(Command::new("sh").arg("-n").arg(parts.join(script)));
    }
    fs::remove_dir_all(parts).unwrap();
}

/// A root that `dpkg` installs into.
struct Root {
    root: PathBuf,
    tools: PathBuf,
}

impl Root {
    fn make(root: &Path) -> Self {
        for folder in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "run/systemd/system", "tools"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        for file in ["status", "available"] {
            fs::write(root.join("var/lib/dpkg").join(file), "").unwrap();
        }
        let tools = root.join("tools");
        let systemctl = tools.join("systemctl");
        fs::write(&systemctl, SYSTEMCTL).unwrap();
        fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).unwrap();
        Self { root: root.to_owned(), tools }
    }

    /// Runs dpkg; what it and the scripts said.
    #[track_caller]
    fn dpkg(&self, words: &[&str], asks_for_all: bool) -> String {
        let path = std::env::var("PATH").unwrap();
        let mut dpkg = Command::new("dpkg");
        dpkg.arg("--root").arg(&self.root).args(["--force-script-chrootless", "--force-depends"]);
        dpkg.args(words).env("PATH", format!("{}:{path}", self.tools.display()));
        if asks_for_all {
            dpkg.env("REMUDA_PURGE_DATA", "yes");
        }
        text(&mut dpkg)
    }

    fn has(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// What systemd was told that is more than a question or a look at its files.
    fn told(&self) -> Vec<String> {
        let told = fs::read_to_string(self.root.join("told")).unwrap_or_default();
        let harmless = |line: &&str| *line == "daemon-reload" || line.starts_with("is-active ");
        told.lines().filter(|line| !harmless(line)).map(str::to_owned).collect()
    }
}

fn dpkg_keeps_what_is_a_persons(root: &Path, deb: &Path) {
    let root = Root::make(root);
    let deb = deb.to_str().unwrap();
    root.dpkg(&["--install", deb], false);
    let version = text(Command::new(root.root.join("usr/bin/remuda")).arg("--version"));
    assert!(version.starts_with("remuda "), "{version}");
    // What the agent and a person have made since.
    let configuration = root.root.join("etc/default/remuda-agent");
    fs::write(&configuration, "REMUDA_DATA_DIR=/srv\n").unwrap();
    let data = "var/lib/remuda/server/state.db";
    let wants = "etc/systemd/system/multi-user.target.wants/remuda-agent.service";
    for path in [data, wants, "var/log/remuda-agent.log"] {
        fs::create_dir_all(root.root.join(path).parent().unwrap()).unwrap();
        fs::write(root.root.join(path), "").unwrap();
    }
    let said = root.dpkg(&["--install", deb], false);
    assert!(said.contains("systemctl restart remuda-agent"), "an upgrade tells: {said}");
    assert_eq!(fs::read_to_string(&configuration).unwrap(), "REMUDA_DATA_DIR=/srv\n");
    let said = root.dpkg(&["--remove", "remuda"], false);
    assert!(said.contains("systemctl stop remuda-agent"), "a removal tells: {said}");
    assert!(!root.has("usr/bin/remuda") && root.has("etc/default/remuda-agent") && root.has(data));
    let said = root.dpkg(&["--purge", "remuda"], false);
    assert!(said.contains("the data in /var/lib/remuda stays"), "{said}");
    for gone in
        ["etc/default/remuda-agent", wants, "var/log/remuda-agent.log", "usr/share/doc/remuda"]
    {
        assert!(!root.has(gone), "{gone} stays after a purge");
    }
    assert!(root.has(data), "data stays");
    root.dpkg(&["--install", deb], false);
    root.dpkg(&["--purge", "remuda"], true);
    assert!(!root.has("var/lib/remuda"), "unless asked");
    assert_eq!(root.told(), Vec::<String>::new(), "nothing was started or stopped");
}
