//! A machine of the test's own: network, mount, process and name spaces, a dockerd with the
//! example's images, an empty `/var/lib/remuda` and home. A test runs itself again inside; all that
//! it started ends with it.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};
use testbed::{Boot, Own, cgroup, ground};

/// Set for the test that runs inside: the folder of its machine.
const INSIDE: &str = "REMUDA_TEST_MACHINE";
/// How long anything may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The machine's address on its cable; 127.0.0.1 is there as well.
pub(crate) const ADDRESS: &str = "192.0.2.10";
/// Runs `body` on a machine of its own, with a dockerd that answers.
pub(crate) fn on_a_machine<F: FnOnce(&mut Machine)>(body: F) {
    on_a_bare_machine(
        |machine| {
            machine.start_dockerd(&[]);
            body(machine);
        },
        std::any::type_name::<F>(),
    );
}

/// Runs `body` on a machine of its own where no dockerd was started yet.
pub(crate) fn without_dockerd<F: FnOnce(&mut Machine)>(body: F) {
    on_a_bare_machine(body, std::any::type_name::<F>());
}

/// `closure` is the full name of the test's closure, which holds the test's own.
fn on_a_bare_machine(body: impl FnOnce(&mut Machine), closure: &str) {
    if let Some(folder) = inside() {
        body(&mut Machine { folder, dockerd: None });
        return;
    }
    run_inside(closure, &["dockerd.log", "dev.log", "server.log", "agent.log"], |folder| {
        Boot::new(folder, "machine").unwrap().with(&[
            Own::Layer("/etc"),
            Own::Layer("/var/lib"),
            Own::Bind("state", "/var/lib/remuda"),
            Own::Cable("192.0.2.10/24", "192.0.2.1"),
        ])
    });
}

/// The folder of the machine that this test runs on; nothing outside.
pub(crate) fn inside() -> Option<PathBuf> {
    std::env::var_os(INSIDE).map(PathBuf::from)
}

/// Runs the test again on the machine that `boot` gives in a new folder. The machine ends with us,
/// and nothing is left of it. When the test fails, the ends of these logs are shown.
pub(crate) fn run_inside(closure: &str, logs: &[&str], boot: impl FnOnce(&Path) -> Boot) {
    let test = closure.trim_start_matches("blackbox::").trim_end_matches("::{{closure}}");
    assert_eq!(text(Command::new("id").arg("-u")).trim(), "0", "{test} makes namespaces: be root");
    let images = testbed::images::saved(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap();
    ground::sweep().unwrap();
    let folder = tempfile::Builder::new().prefix(ground::TEMPORARY).tempdir().unwrap();
    let own = std::env::current_exe().unwrap();
    let boot = boot(folder.path()).run(own, &[test, "--exact", "--nocapture", "--include-ignored"]);
    let mut child = boot
        .command()
        .unwrap()
        .env(INSIDE, folder.path())
        .env("REMUDA_TEST_IMAGES", images)
        .env("HOME", folder.path().join("home"))
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("util-linux's unshare runs");
    let errors = child.stderr.take().unwrap();
    let told = std::thread::spawn(move || tell(errors));
    let output = child.wait_with_output().unwrap();
    let (out, err) = (lossy(&output.stdout), told.join().unwrap());
    if let Some(init) = Boot::init_of(folder.path()) {
        cgroup::remove(init).unwrap();
    }
    if !output.status.success() {
        for log in logs {
            let Ok(log_text) = fs::read_to_string(folder.path().join(log)) else { continue };
            let lines: Vec<&str> = log_text.lines().rev().take(60).collect();
            eprintln!("--- the end of {log}");
            lines.iter().rev().for_each(|line| eprintln!("{line}"));
        }
        panic!("on the machine:\n{out}\n{err}");
    }
    assert!(out.contains("1 passed"), "no test called {test} ran on the machine:\n{out}\n{err}");
    ground::remove(&folder.keep()).unwrap();
}

/// What a test says; what it measured, and how far it is, is said on the outside too, at once.
fn tell(errors: impl std::io::Read) -> String {
    let mut all = String::new();
    for line in BufReader::new(errors).split(b'\n') {
        let Ok(line) = line else { break };
        let line = lossy(&line);
        if line.starts_with("measured: ") || line.starts_with("told: ") {
            eprintln!("{line}");
        }
        all.push_str(&line);
        all.push('\n');
    }
    all
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs it to its end; anything but success fails the test. What it printed.
pub(crate) fn text(command: &mut Command) -> String {
    let output =
        command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let (out, err) = (lossy(&output.stdout), lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} failed:\n{out}\n{err}");
    out
}

/// Waits until `condition` gives something; fails after a minute with what it waited for.
pub(crate) fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// [`wait_for`] a condition.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}

/// What a run of `remuda` gave.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// From what a command gave.
    pub(crate) fn of(output: &Output) -> Self {
        // Killed by a signal: as a shell says it.
        let code = |status: ExitStatus| {
            use std::os::unix::process::ExitStatusExt as _;
            status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
        };
        Self { code: code(output.status), out: lossy(&output.stdout), err: lossy(&output.stderr) }
    }

    /// Fails the test unless it ended with `code`.
    #[track_caller]
    pub(crate) fn with_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code\nstdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// Both streams say each of these somewhere.
    #[track_caller]
    pub(crate) fn says(&self, parts: &[&str]) {
        let all = format!("{}{}", self.out, self.err);
        for part in parts {
            assert!(all.contains(part), "it does not say {part:?}:\n{all}");
        }
    }

    /// Standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("no JSON ({e}):\n{}", self.out))
    }
}

/// A process that runs beside the test; killed with it.
pub(crate) struct Process {
    child: Child,
    /// Where both its streams go.
    pub(crate) log: PathBuf,
}

impl Process {
    /// Starts it; what it says is appended to `log`.
    pub(crate) fn start(command: &mut Command, log: PathBuf) -> Self {
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Self { child, log }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it said so far.
    pub(crate) fn said(&self) -> String {
        lossy(&fs::read(&self.log).unwrap())
    }

    /// Sends a signal by its name: `KILL`, `TERM`, `STOP`, `CONT`, `INT`.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// kill -9, and waits for the end.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and waits for the end.
    pub(crate) fn stop(self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> ExitStatus {
        wait_for("a process to end", || self.child.try_wait().unwrap())
    }

    /// Has it ended?
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

/// Sends a signal to a process by its name.
pub(crate) fn signal(pid: u32, name: &str) {
    text(Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()));
}

/// The machine that the test runs on.
pub(crate) struct Machine {
    folder: PathBuf,
    dockerd: Option<Process>,
}

impl Machine {
    /// A folder for the test's files; gone with the machine.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a file below the test's folder, with the folders on the way; its whole path.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.join("files").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// The example's pair of files: arguments for `up` and `plan` as stack `storefront`.
    pub(crate) fn storefront() -> [&'static str; 6] {
        [
            "-f",
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/storefront/docker-compose.yml"),
            "-f",
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/storefront/rancher-compose.yml"),
            "-p",
            "storefront",
        ]
    }

    /// Starts dockerd, waits until it answers, and gives it the images at its first start.
    pub(crate) fn start_dockerd(&mut self, arguments: &[&str]) {
        let first = !self.folder.join("docker").exists();
        let mut command = Command::new("dockerd");
        command.arg("--data-root").arg(self.folder.join("docker"));
        let init = Boot::init_of(&self.folder).expect("a machine has a first process");
        command.arg("--cgroup-parent").arg(cgroup::parent(init, "machine")).args(arguments);
        self.dockerd = Some(Process::start(&mut command, self.folder.join("dockerd.log")));
        wait_until("dockerd to answer", || {
            Command::new("docker").arg("version").output().unwrap().status.success()
        });
        if first {
            let images = std::env::var_os("REMUDA_TEST_IMAGES").unwrap();
            text(Command::new("docker").arg("load").arg("-i").arg(images));
        }
    }

    /// The dockerd that runs.
    pub(crate) fn dockerd(&self) -> &Process {
        self.dockerd.as_ref().expect("a dockerd was started")
    }

    /// kill -9 of dockerd and its containerd; containers live on with `--live-restore`.
    pub(crate) fn kill_dockerd(&mut self) {
        self.dockerd.take().expect("a dockerd was started").kill();
        let pid = fs::read_to_string("/run/docker/containerd/containerd.pid").unwrap();
        // It may be on its way out already, since its parent is gone.
        self.run("kill", &["-KILL", pid.trim()]);
        wait_until("containerd to end", || !Path::new("/proc").join(pid.trim()).exists());
        for file in ["/run/docker/containerd/containerd.pid", "/run/docker.pid", "/run/docker.sock"]
        {
            fs::remove_file(file).ok();
        }
    }

    /// SIGTERM of dockerd, and waits for its end.
    pub(crate) fn stop_dockerd(&mut self) {
        self.dockerd.take().expect("a dockerd was started").stop();
    }

    /// A command line of `remuda`.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_remuda"));
        let _same: &Self = self;
        command.args(arguments).current_dir("/").stdin(Stdio::null());
        command
    }

    /// Runs `remuda` to its end.
    pub(crate) fn remuda(&self, arguments: &[&str]) -> Ran {
        Ran::of(&self.command(arguments).output().unwrap())
    }

    /// Runs `remuda`, which must succeed.
    #[track_caller]
    pub(crate) fn ok(&self, arguments: &[&str]) -> Ran {
        self.remuda(arguments).with_code(0)
    }

    /// Starts `remuda` beside the test; its log is `<role>.log`.
    pub(crate) fn start(&self, role: &str, arguments: &[&str]) -> Process {
        Process::start(&mut self.command(arguments), self.folder.join(format!("{role}.log")))
    }

    /// Starts `remuda dev` and waits until every role answers.
    pub(crate) fn dev(&self) -> Process {
        let dev = self.start("dev", &["dev"]);
        self.ready();
        dev
    }

    /// Waits until every role answers.
    #[track_caller]
    pub(crate) fn ready(&self) {
        // The context file of the first start may not be there yet.
        wait_until("remuda to answer", || self.remuda(&["status", "--wait", "30s"]).code == 0);
    }

    /// The rows of `remuda ps -o json`.
    pub(crate) fn ps(&self) -> Vec<Value> {
        self.ok(&["ps", "-o", "json"]).json().as_array().expect("ps gives a list").clone()
    }

    /// Runs another program to its end, whatever comes of it.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Ran {
        let _same: &Self = self;
        let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
        Ran::of(&output.unwrap_or_else(|e| panic!("{program}: {e}")))
    }

    /// Runs `docker`, which must succeed; what it printed.
    #[track_caller]
    pub(crate) fn docker(&self, arguments: &[&str]) -> String {
        let _same: &Self = self;
        text(Command::new("docker").args(arguments))
    }

    /// Docker's containers, whoever made them: by name, id and start time.
    pub(crate) fn containers(&self) -> BTreeMap<String, String> {
        let ids = self.docker(&["ps", "-aq"]);
        let ids: Vec<&str> = ids.lines().collect();
        if ids.is_empty() {
            return BTreeMap::new();
        }
        let format = "{{.Name}} {{.Id}} {{.State.StartedAt}} {{.RestartCount}}";
        let mut arguments = vec!["inspect", "-f", format];
        arguments.extend(ids);
        let text = self.docker(&arguments);
        let split = |line: &str| line.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned()));
        text.lines().filter_map(split).collect()
    }

    /// Brings the example up as stack `storefront`.
    #[track_caller]
    pub(crate) fn up_storefront(&self) {
        let mut arguments = vec!["up"];
        arguments.extend(Self::storefront());
        self.ok(&arguments);
    }
}
