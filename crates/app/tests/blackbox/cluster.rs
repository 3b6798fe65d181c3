//! A cluster of the test's own: the test runs on its switch, from which it reaches every host and
//! is none of them. All of it ends with the test.

use crate::machine::{Ran, inside, run_inside, text, wait_for, wait_until};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use testbed::{Boot, Keeper, SERVER, State};

/// Logs that are shown when a test fails.
const LOGS: [&str; 6] = [
    "server/server.log",
    "h1/agent.log",
    "h2/agent.log",
    "h3/agent.log",
    "h1/dockerd.log",
    "h1/boot.log",
];

/// Runs `body` on the switch of a cluster whose hosts have all joined and are active.
pub(crate) fn on_a_cluster<F: FnOnce(&mut Cluster)>(hosts: u8, body: F) {
    on_a_cluster_with(hosts, |_state, _folder| {}, body);
}

/// The same of a cluster that is otherwise; what `change` writes goes into the folder.
pub(crate) fn on_a_cluster_with<F: FnOnce(&mut Cluster)>(
    hosts: u8,
    change: fn(&mut State, &Path),
    body: F,
) {
    let Some(folder) = inside() else {
        let closure = std::any::type_name::<F>();
        return run_inside(closure, &LOGS, |folder| Boot::new(folder, "switch").unwrap());
    };
    let mut state = state(hosts);
    change(&mut state, &folder);
    let bed = testbed::Cluster::up(&folder, state, Keeper::Thread, &mut |_| {}).unwrap();
    body(&mut Cluster { bed, folder });
}

/// Runs `body` on the switch of a cluster with a server and with machines that have no power yet.
pub(crate) fn beside_machines<F: FnOnce(&mut Cluster)>(hosts: u8, body: F) {
    let Some(folder) = inside() else {
        let closure = std::any::type_name::<F>();
        return run_inside(closure, &LOGS, |folder| Boot::new(folder, "switch").unwrap());
    };
    let mut state = state(hosts);
    // What is copied from machine to machine is as small as a release.
    let binary = folder.join("remuda");
    text(Command::new("strip").arg("-o").arg(&binary).arg(env!("CARGO_BIN_EXE_remuda")));
    state.binary = Some(binary);
    let mut bed = testbed::Cluster::make(&folder, state, Keeper::Thread).unwrap();
    bed.boot(SERVER, None).unwrap();
    body(&mut Cluster { bed, folder });
}

fn state(hosts: u8) -> State {
    let mut state = State::new(hosts);
    state.binary = Some(env!("CARGO_BIN_EXE_remuda").into());
    state.images = std::env::var_os("REMUDA_TEST_IMAGES").map(PathBuf::from);
    state
}

/// The cluster that a test breaks.
pub(crate) struct Cluster {
    /// What breaks it.
    pub(crate) bed: testbed::Cluster,
    folder: PathBuf,
}

impl Cluster {
    /// Writes a file for the CLI; its whole path.
    pub(crate) fn write(&self, name: &str, content: &str) -> String {
        self.write_bytes(name, content.as_bytes())
    }

    /// The same with any bytes.
    pub(crate) fn write_bytes(&self, name: &str, content: &[u8]) -> String {
        let path = self.folder.join("files").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A file or folder of the cluster.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Runs the CLI on the switch.
    pub(crate) fn remuda(&self, arguments: &[&str]) -> Ran {
        let mut command = self.bed.remuda().unwrap();
        Ran::of(&command.args(arguments).stdin(Stdio::null()).output().unwrap())
    }

    /// Runs the CLI on the switch, which must succeed.
    #[track_caller]
    pub(crate) fn ok(&self, arguments: &[&str]) -> Ran {
        self.remuda(arguments).with_code(0)
    }

    /// Runs `docker` on a host, which must succeed; what it printed.
    #[track_caller]
    pub(crate) fn docker(&self, host: &str, arguments: &[&str]) -> String {
        text(self.bed.on(host, "docker").unwrap().args(arguments))
    }

    /// What the server says of each host; empty when it does not answer.
    pub(crate) fn seen(&self) -> BTreeMap<String, String> {
        self.bed.hosts_seen().unwrap_or_default().into_iter().collect()
    }

    /// Waits until the server says so of a host, whatever else it says before.
    #[track_caller]
    pub(crate) fn wait_seen(&self, host: &str, status: &str) {
        wait_until(&format!("host {host} to be {status}"), || {
            self.seen().get(host).is_some_and(|seen| seen == status)
        });
    }

    /// Waits until the server says of the hosts `h1`, `h2` … that they are so, and of no others.
    #[track_caller]
    pub(crate) fn wait_all_seen(&self, status: &[&str]) {
        let wanted: BTreeMap<String, String> = (1..)
            .zip(status)
            .map(|(number, status)| (format!("h{number}"), (*status).to_owned()))
            .collect();
        wait_until(&format!("the hosts to be {status:?}"), || self.seen() == wanted);
    }

    /// The rows of `ps -o json`; empty when the server does not answer.
    pub(crate) fn ps(&self) -> Vec<Value> {
        let ran = self.remuda(&["ps", "-o", "json"]);
        if ran.code == 0 { ran.json().as_array().unwrap().clone() } else { vec![] }
    }

    /// How many ready instances of a service each host has, as `ps` says.
    pub(crate) fn ready(&self, service: &str) -> BTreeMap<String, usize> {
        let mut hosts = BTreeMap::new();
        for row in self.ps() {
            if row["service"] == service && row["ready"] == true {
                *hosts.entry(row["host"].as_str().unwrap_or("-").to_owned()).or_default() += 1;
            }
        }
        hosts
    }

    /// Remuda's containers of a host that run: by name, id and start time.
    pub(crate) fn containers(&self, host: &str) -> BTreeMap<String, String> {
        let ours = ["ps", "-q", "--no-trunc", "--filter", "label=io.remuda.environment"];
        let split = |line: &str| line.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned()));
        wait_for("a list of containers that are all there when they are looked at", || {
            let ids = self.docker(host, &ours);
            let ids: Vec<&str> = ids.lines().collect();
            if ids.is_empty() {
                return Some(BTreeMap::new());
            }
            let mut docker = self.bed.on(host, "docker").unwrap();
            docker.args(["inspect", "-f", "{{.Name}} {{.Id}} {{.State.StartedAt}}"]).args(ids);
            let output = docker.output().unwrap();
            let told = String::from_utf8_lossy(&output.stderr);
            // One that was being removed is gone by now.
            let gone = told.contains("No such object");
            assert!(output.status.success() || gone, "{told}");
            let text = String::from_utf8_lossy(&output.stdout);
            (!gone).then(|| text.lines().filter_map(split).collect())
        })
    }
}
