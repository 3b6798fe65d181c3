//! A machine of the bench's own: network, mount and process namespaces, in which this program runs
//! again with a Docker and a Remuda that nobody else sees. All of it ends with the machine.

use super::report::Row;
use crate::dockerd::stop_child;
use crate::place::Place;
use crate::{interrupt, say};
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// What the machine is given a folder of its own for.
const OWN: [(&str, &str); 3] =
    [("docker", "/var/lib/docker"), ("etc", "/etc/docker"), ("state", "/var/lib/remuda")];
/// Between two looks at a machine that works.
const LOOK: Duration = Duration::from_millis(100);
/// Longest wait for a machine to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(2);

/// The first process of the machine. Cgroups are put back over the new sysfs, which shows the new
/// network; `/run` is private, so that sockets and locks are.
const BOOT: &str = r#"
set -e
folder=$1; shift
mount -t proc proc /proc
mkdir -p "$folder/cgroup"; mount --rbind /sys/fs/cgroup "$folder/cgroup"
mount -t sysfs sysfs /sys; mount --rbind "$folder/cgroup" /sys/fs/cgroup
umount -l "$folder/cgroup"
mount -t tmpfs -o mode=755 tmpfs /run; mkdir -p /run/lock
while [ "$1" != -- ]; do mkdir -p "$1" "$2"; mount --bind "$1" "$2"; shift 2; done; shift
hostname bench
ip link set lo up
ip link add eth0 type veth peer name cable
ip link set cable up; ip link set eth0 up
ip address add 192.0.2.10/24 dev eth0; ip route add default via 192.0.2.1
exec docker-init -s -- "$@"
"#;

fn folder(place: &Place) -> PathBuf {
    place.target.join("bench")
}

fn rows_file(place: &Place) -> PathBuf {
    folder(place).join("rows.json")
}

/// Runs these parts on a machine of their own: this program with `--inside` and their names.
pub(super) fn run(place: &Place, parts: &[&str], to_stderr: bool) -> Result<Vec<Row>> {
    let folder = folder(place);
    empty(&folder)?;
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]);
    command.args(["--propagation", "private", "--", "sh", "-c", BOOT, "bench"]).arg(&folder);
    for (own, of_all) in OWN {
        command.arg(folder.join(own)).arg(of_all);
    }
    let own = std::env::current_exe().context("finding this program")?;
    command.arg("--").arg(own).args(["bench", "--inside"]).args(parts);
    // a Docker and a Remuda that were named are outside
    for name in ["DOCKER_HOST", "REMUDA_ADDR", "REMUDA_TOKEN", "REMUDA_CA", "REMUDA_CONTEXT"] {
        command.env_remove(name);
    }
    // Ctrl-C is ours to hear: what is inside ends with the machine
    command.stdin(Stdio::null()).process_group(0);
    if to_stderr {
        command.stdout(std::io::stderr());
    }
    let mut machine = command.spawn().context("starting `unshare`")?;
    let status = loop {
        if let Some(status) = machine.try_wait()? {
            break status;
        }
        if interrupt::came() {
            stop_child(&mut machine, PATIENCE)?;
            bail!("interrupted");
        }
        std::thread::sleep(LOOK);
    };
    if !status.success() {
        let logs = folder.display();
        bail!("the bench's own machine ended with {status}; logs are in {logs}");
    }
    let rows = handed_out(place)?;
    empty(&folder)?;
    Ok(rows)
}

/// Outside: the rows that were handed out.
pub(super) fn handed_out(place: &Place) -> Result<Vec<Row>> {
    let path = rows_file(place);
    let rows = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_slice(&rows).context("reading the results")
}

/// Inside: hands the rows out.
pub(super) fn hand_out(place: &Place, rows: &[Row]) -> Result<()> {
    let path = rows_file(place);
    fs::create_dir_all(folder(place)).context("making the bench's folder")?;
    let text = serde_json::to_string(rows).context("writing the results")?;
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}

/// What an earlier machine left goes; a Docker's folders may hold much.
fn empty(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            // a layer that the kernel still lets go of: the next run takes it away
            say::error(&format!("removing {}: {error}", folder.display()));
        }
        _ => {}
    }
    fs::create_dir_all(folder).with_context(|| format!("making the folder {}", folder.display()))
}
