//! The binary under test, its folder, and waiting for what it does.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` gives something; fails after a minute with what it waited for.
pub(crate) fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// A folder for one test.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn shown(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Writes a file; its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self.shown(name)
    }

    /// What stands in a file; empty when there is none.
    pub(crate) fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub(crate) fn wait_text(&self, name: &str, expect: &str) {
        wait_for(&format!("{name} to be {expect:?}"), || (self.text(name) == expect).then_some(()));
    }

    /// Names in the folder.
    pub(crate) fn names(&self) -> Vec<String> {
        let all = std::fs::read_dir(self.0.path()).unwrap();
        let mut all: Vec<String> =
            all.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        all.sort();
        all
    }
}

fn binary(program: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(words).env_remove("CONSUL_HTTP_ADDR").env_remove("REMUDA_LOG");
    command
}

/// Runs `remuda` with these words to its end.
pub(crate) fn remuda(words: &[&str]) -> Output {
    run_as(Path::new(env!("CARGO_BIN_EXE_remuda")), words)
}

/// Runs the program at a path to its end.
pub(crate) fn run_as(program: &Path, words: &[&str]) -> Output {
    binary(program, words).output().unwrap()
}

pub(crate) fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A `remuda` that runs on; it is killed with this.
pub(crate) struct Running {
    child: Child,
    told: Arc<Mutex<String>>,
}

impl Running {
    pub(crate) fn start(words: &[&str]) -> Self {
        let mut child = binary(Path::new(env!("CARGO_BIN_EXE_remuda")), words)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let told = Arc::new(Mutex::new(String::new()));
        let (lines, to) = (BufReader::new(child.stderr.take().unwrap()), Arc::clone(&told));
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let mut to = to.lock().unwrap();
                to.push_str(&line);
                to.push('\n');
            }
        });
        Self { child, told }
    }

    /// What it wrote to stderr so far.
    pub(crate) fn told(&self) -> String {
        self.told.lock().unwrap().clone()
    }

    pub(crate) fn wait_told(&self, part: &str) {
        let what = format!("it to tell {part:?}");
        let deadline = Instant::now() + PATIENCE;
        while !self.told().contains(part) {
            assert!(
                Instant::now() < deadline,
                "waited in vain for {what}; it told\n{}",
                self.told()
            );
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Its exit code, or 128 and the signal that ended it.
    pub(crate) fn ended(&mut self) -> i32 {
        let status: ExitStatus = wait_for("its end", || self.child.try_wait().unwrap());
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}
