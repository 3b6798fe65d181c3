//! A cluster that is gone has left nothing: no mount, network, process, cgroup or file, however it
//! ended. Looked for with the kernel's own tables.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use testbed::{Boot, Ident, Own, cgroup, ground, text, wait_for};

const PATIENCE: Duration = Duration::from_secs(60);
/// Set for the process that owns a machine and is killed: the machine's folder.
const OWNER: &str = "REMUDA_TEST_OWNER";

/// What a cluster could leave. What Docker does on this machine meanwhile is not ours.
#[derive(Debug, PartialEq)]
struct Traces {
    mounts: Vec<String>,
    links: BTreeSet<String>,
    named_networks: String,
    loops: String,
    cgroups: Vec<PathBuf>,
}

fn traces() -> Traces {
    let not_docker =
        |line: &&str| !["docker", "veth", "br-"].iter().any(|word| line.contains(word));
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let links = text(Command::new("ip").args(["-o", "link"])).unwrap();
    let name = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
    let cgroups = find("/sys/fs/cgroup", "-path", "*/remuda-testbed/*-*");
    Traces {
        mounts: mounts.lines().filter(not_docker).map(str::to_owned).collect(),
        links: links.lines().filter(not_docker).filter_map(name).collect(),
        loops: text(Command::new("losetup").args(["-nO", "BACK-FILE"])).unwrap(),
        named_networks: text(Command::new("ip").args(["netns", "list"])).unwrap(),
        // other tests may have machines now: only the dead ones count
        cgroups: cgroups.into_iter().filter(|path| !is_of_the_living(path)).collect(),
    }
}

fn find(below: &str, by: &str, what: &str) -> Vec<PathBuf> {
    let output = Command::new("find").args([below, by, what, "-type", "d"]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).lines().map(PathBuf::from).collect()
}

fn is_of_the_living(cgroup: &Path) -> bool {
    let names = cgroup.iter().filter_map(|name| name.to_str());
    names.filter_map(Ident::from_name).any(Ident::lives)
}

/// Namespaces of every process whose mounts show that it is on a machine in `folder`.
fn namespaces(folder: &Path) -> BTreeSet<PathBuf> {
    let own = namespaces_of("self");
    let all = processes().into_iter().filter(|pid| {
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        mounts.contains(&*folder.to_string_lossy())
    });
    all.flat_map(|pid| namespaces_of(&pid)).filter(|space| !own.contains(space)).collect()
}

fn namespaces_of(pid: &str) -> BTreeSet<PathBuf> {
    let kinds = ["mnt", "net", "pid", "uts", "ipc"];
    kinds.iter().filter_map(|kind| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()).collect()
}

fn processes() -> Vec<String> {
    let names = fs::read_dir("/proc").unwrap().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).collect()
}

/// Processes that are in one of these, or in one whose mounts name the folder.
fn left(spaces: &BTreeSet<PathBuf>, folder: &Path) -> Vec<String> {
    let mut left: Vec<String> =
        namespaces(folder).iter().map(|s| s.display().to_string()).collect();
    for pid in processes() {
        if namespaces_of(&pid).intersection(spaces).next().is_some() {
            left.push(fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default());
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let pinned = |space: &&PathBuf| mounts.contains(&*space.to_string_lossy());
    left.extend(spaces.iter().filter(pinned).map(|space| space.display().to_string()));
    left
}

/// `cargo xtask cluster`'s program in one folder.
struct Bed(PathBuf);

impl Bed {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
        command.arg("--folder").arg(&self.0).args(words).stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    #[track_caller]
    fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[track_caller]
    fn fails(&self, words: &[&str], says: &str) {
        let output = self.run(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{words:?} should fail");
        assert!(said.contains(says), "{words:?} should say {says:?}: {said}");
    }

    /// A container on `h1`: its id.
    fn container(&self) -> String {
        let busybox = text(Command::new("sh").args(["-c", "command -v busybox"])).unwrap();
        let busybox = Path::new(busybox.trim());
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(busybox.parent().unwrap()).args(["-chf", "-", "busybox"]);
        let layer = tar.output().unwrap().stdout;
        let mut import = self.command(&["exec", "h1", "--", "docker", "import", "-", "busybox:1"]);
        let mut import = import.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        import.stdin.take().unwrap().write_all(&layer).unwrap();
        assert!(import.wait().unwrap().success());
        let run =
            ["exec", "h1", "--", "docker", "run", "-d", "busybox:1", "/busybox", "sleep", "9999"];
        self.ok(&run).trim().to_owned()
    }

    /// `down`, after which nothing is as it was not `before`.
    #[track_caller]
    fn goes(&self, spaces: &BTreeSet<PathBuf>, before: &Traces) {
        self.ok(&["down"]);
        assert_eq!(left(spaces, &self.0), Vec::<String>::new());
        assert_eq!(traces(), *before);
        assert!(!self.0.exists());
    }
}

#[test]
#[ignore = "needs docker and root"]
fn a_cluster_that_is_down_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let bed = Bed(place.path().join("cluster"));
    let before = traces();
    bed.fails(&["status"], "no cluster is in");
    bed.ok(&["down"]);
    bed.fails(&["up", "0", "--bare"], "1 to 100 hosts");
    bed.fails(&["up", "2", "--binary", "/nowhere"], "no file /nowhere");
    bed.fails(&["up", "2"], "--bare");
    assert!(!bed.0.exists(), "what did not come up is gone");

    bed.ok(&["up", "2", "--bare", "--disk", "200"]);
    bed.fails(&["up", "2", "--bare"], "take it away first");
    // The ground has the ends of cables and nothing that leads out of it.
    let links = bed.ok(&["exec", "switch", "--", "ls", "/sys/class/net"]);
    let mut links: Vec<&str> = links.split_whitespace().collect();
    links.retain(|link| *link != "bonding_masters");
    assert_eq!(links, ["h1", "h2", "lo", "server", "switch"]);
    let size = ["exec", "h1", "--", "df", "-m", "--output=size", "/var/lib/remuda"];
    let size: u32 = bed.ok(&size).lines().last().unwrap().trim().parse().unwrap();
    assert!((100..200).contains(&size), "{size} MiB");
    let id = bed.container();
    let spaces = namespaces(&bed.0);
    assert!(spaces.len() > 4 * 5, "the switch, three machines and a container: {spaces:?}");
    assert!(!find("/sys/fs/cgroup", "-name", &id).is_empty());
    bed.ok(&["delay", "h1", "5", "2"]);
    bed.ok(&["drop", "h2", "12.5"]);
    bed.ok(&["cut", "h1", "h2"]);
    bed.ok(&["hang", "h2", "dockerd"]);
    bed.ok(&["kill", "server"]);
    bed.fails(&["kill", "server"], "no power");
    bed.fails(&["cut", "h3"], "no machine is called h3: there are h1, h2, server");
    bed.fails(&["kill", "h1", "agent"], "no agent runs on h1");
    assert_eq!(bed.run(&["exec", "h1", "--", "sh", "-c", "exit 7"]).status.code(), Some(7));
    let status: serde_json::Value =
        serde_json::from_str(&bed.ok(&["status", "-o", "json"])).unwrap();
    assert_eq!(status["machines"][0]["power"], false, "{status}");
    assert_eq!(status["machines"][1]["address"], "10.99.0.1", "{status}");
    assert_eq!(status["faults"].as_array().unwrap().len(), 5, "{status}");
    bed.goes(&spaces, &before);
    assert_eq!(find("/sys/fs/cgroup", "-name", &id), Vec::<PathBuf>::new());
    bed.ok(&["down"]);
}

/// `up` until `there`, then kill -9 of who brings it up.
fn killed_when(bed: &Bed, there: &str) {
    let mut up: Child = bed.command(&["up", "2", "--bare"]).stdout(Stdio::null()).spawn().unwrap();
    let path = bed.0.join(there);
    let exists = || Ok(path.exists().then_some(()));
    wait_for(there, PATIENCE, exists).unwrap();
    up.kill().unwrap();
    up.wait().unwrap();
}

#[test]
#[ignore = "needs docker and root"]
fn a_cluster_whose_owner_was_killed_can_be_taken_away() {
    let place = tempfile::tempdir().unwrap();
    let bed = Bed(place.path().join("cluster"));
    let before = traces();
    let moments = ["cluster.json", "init", "ready", "h1/init", "h2/dockerd.log", "h1/data/docker"];
    for moment in moments {
        killed_when(&bed, moment);
        let spaces = namespaces(&bed.0);
        bed.goes(&spaces, &before);
    }
    // Who brings it up is told to stop: it takes it away itself.
    let mut up = bed.command(&["up", "2", "--bare"]).stdout(Stdio::null()).spawn().unwrap();
    let there = bed.0.join("h1/ready");
    wait_for("a host", PATIENCE, || Ok(there.exists().then_some(()))).unwrap();
    text(Command::new("kill").args(["-TERM", &up.id().to_string()])).unwrap();
    assert_eq!(up.wait().unwrap().code(), Some(130));
    assert!(!bed.0.exists());
    // The first process of all is killed: everything has ended at once, and files are left.
    bed.ok(&["up", "2", "--bare"]);
    bed.container();
    let spaces = namespaces(&bed.0);
    ground::running(&bed.0).unwrap().kill().unwrap();
    let gone = || Ok(left(&spaces, &bed.0).is_empty().then_some(()));
    wait_for("processes to end with their ground", PATIENCE, gone).unwrap();
    bed.fails(&["status"], "was killed: `down` takes away");
    bed.fails(&["up", "2", "--bare"], "was left behind");
    bed.goes(&spaces, &before);
}

#[test]
#[ignore = "needs docker and root"]
fn a_machine_ends_with_who_owns_it_and_is_swept_up() {
    if let Some(folder) = std::env::var_os(OWNER) {
        let boot = Boot::new(Path::new(&folder), "machine").unwrap().with(&[Own::Layer("/etc")]);
        boot.command().unwrap().status().unwrap();
        return;
    }
    let before = traces();
    let folder = tempfile::Builder::new().prefix(ground::TEMPORARY).tempdir().unwrap().keep();
    let mut owner = Command::new("setpriv");
    owner.args(["--pdeathsig", "KILL", "--"]).arg(std::env::current_exe().unwrap());
    owner.args(["a_machine_ends_with_who_owns_it_and_is_swept_up", "--exact", "--include-ignored"]);
    let mut owner = owner.env(OWNER, &folder).stdout(Stdio::null()).spawn().unwrap();
    let ready = || Ok(folder.join("ready").exists().then_some(()));
    wait_for("the machine", PATIENCE, ready).unwrap();
    let init = Boot::init_of(&folder).unwrap();
    let group = cgroup::parent(init, "machine");
    let group = format!("/sys/fs/cgroup/pids{group}/container");
    fs::create_dir_all(&group).unwrap();
    ground::sweep().unwrap();
    assert!(folder.exists() && Path::new(&group).exists(), "who lives is not swept up");
    let spaces = namespaces(&folder);
    assert!(!spaces.is_empty());
    owner.kill().unwrap();
    owner.wait().unwrap();
    let gone = || Ok(left(&spaces, &folder).is_empty().then_some(()));
    wait_for("the machine to end with its owner", PATIENCE, gone).unwrap();
    ground::sweep().unwrap();
    assert!(!folder.exists() && !Path::new(&group).exists());
    assert_eq!(traces(), before);
}
