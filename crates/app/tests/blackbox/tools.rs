//! An image with a shell: the machine's own programs with what they are linked to, since no
//! registry can be reached.

use crate::machine::{Machine, text};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Name of the image.
pub(crate) const IMAGE: &str = "tools:1";
const PROGRAMS: [&str; 13] = [
    "sh", "cat", "sleep", "ls", "stat", "stty", "env", "id", "head", "touch", "hostname", "grep",
    "getent",
];

/// A folder with a root file system: `/bin`, and the libraries of it.
pub(crate) fn root(machine: &Machine, below: &str) -> PathBuf {
    let root = machine.write(&format!("{below}/root/tmp/.keep"), "");
    let root = root.ancestors().nth(2).unwrap().to_owned();
    // As Debian's images have them.
    machine.write(&format!("{below}/root/etc/nsswitch.conf"), "hosts: files dns\n");
    machine.write(&format!("{below}/root/etc/host.conf"), "multi on\n");
    for program in PROGRAMS {
        let path =
            text(Command::new("sh").args(["-c", "readlink -f \"$(command -v $0)\"", program]));
        copy(Path::new(path.trim()), &root.join("bin").join(program));
        let linked = Command::new("ldd").arg(path.trim()).output().unwrap();
        for library in String::from_utf8_lossy(&linked.stdout).split_whitespace() {
            if library.starts_with('/') {
                copy(Path::new(library), &root.join(library.trim_start_matches('/')));
            }
        }
    }
    root
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(from, to).unwrap_or_else(|e| panic!("{} to {}: {e}", from.display(), to.display()));
}

/// Gives the machine's Docker the image.
pub(crate) fn import(machine: &Machine) {
    let root = root(machine, "tools");
    let archive = root.with_extension("tar");
    text(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg("."));
    machine.docker(&["import", "-c", "ENV PATH=/bin", archive.to_str().unwrap(), IMAGE]);
}
