//! A dockerd of the test's own, which is stopped, killed and started again under a running
//! container. Needs root, and the programs `dockerd` and `unshare`.

#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test may")]

#[path = "shared/suite.rs"]
#[allow(dead_code, reason = "shared with `docker`, which uses the rest")]
mod suite;
#[path = "shared/real.rs"]
#[allow(dead_code, reason = "shared with `docker`, which uses the rest")]
mod real;

use engine::error::Error;
use engine::{Docker, DockerOptions, Engine};
use futures_util::StreamExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use suite::{Bench, PATIENCE, request};

/// A dockerd with everything of its own under one folder; containers outlive it.
struct Own {
    folder: tempfile::TempDir,
    child: Child,
    /// Process of the container, while there is one.
    container: Option<u32>,
}

fn spawn(folder: &Path) -> Child {
    let at = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let log = std::fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
    // In a network of its own: one without a bridge takes `docker0` away from the others.
    Command::new("unshare")
        .args(["--net", "--", "dockerd"])
        .args(["--host", &format!("unix://{}", at("d.sock"))])
        .args(["--data-root", &at("data"), "--exec-root", &at("exec")])
        .args(["--pidfile", &at("pid"), "--storage-driver", "vfs", "--live-restore"])
        .args(["--bridge", "none", "--iptables=false", "--ip6tables=false"])
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .expect("dockerd starts: install the package docker.io")
}

fn signal(name: &str, pid: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), pid]).stderr(Stdio::null()).status();
    if let Err(error) = sent {
        eprintln!("kill -{name} {pid}: {error}");
    }
}

impl Own {
    fn socket(&self) -> PathBuf {
        self.folder.path().join("d.sock")
    }

    fn signal(&self, name: &str) {
        signal(name, &self.child.id().to_string());
    }

    /// Waits until every thread of it stands: a stop takes effect a moment after its signal.
    fn stopped(&self) {
        let tasks = format!("/proc/{}/task", self.child.id());
        let stands = || {
            std::fs::read_dir(&tasks).unwrap().flatten().all(|task| {
                let status = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
                status.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
            })
        };
        let deadline = std::time::Instant::now() + PATIENCE;
        while !stands() {
            assert!(std::time::Instant::now() < deadline, "dockerd does not stop");
            std::thread::yield_now();
        }
    }

    /// kill -9. Its containerd goes with it, the containers go on.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        // A zombie that nobody reaps would be taken for a living containerd.
        let pid = self.folder.path().join("exec/containerd/containerd.pid");
        signal("KILL", std::fs::read_to_string(&pid).unwrap().trim());
        std::fs::remove_file(pid).unwrap();
    }

    fn start(&mut self) {
        self.child = spawn(self.folder.path());
    }

    /// Waits until it answers.
    async fn answers(&self, docker: &Docker) {
        let asked = async {
            let mut again = tokio::time::interval(Duration::from_millis(50));
            loop {
                again.tick().await;
                match docker.info().await {
                    Ok(_) => return,
                    Err(error) => assert!(error.is_transient(), "{error}"),
                }
            }
        };
        if tokio::time::timeout(PATIENCE, asked).await.is_err() {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            panic!("dockerd does not answer:\n{log}");
        }
    }
}

impl Drop for Own {
    /// A failed test leaves a container, which would outlive its dockerd: it goes first, by the
    /// pid of its shim's child.
    fn drop(&mut self) {
        self.signal("CONT");
        if let Some(pid) = self.container.take() {
            signal("KILL", &pid.to_string());
        }
        self.signal("TERM");
        if let Err(error) = self.child.wait() {
            eprintln!("waiting for dockerd: {error}");
        }
        let unmounted = Command::new("umount").arg(self.folder.path().join("data")).output();
        if let Err(error) = unmounted {
            eprintln!("unmounting: {error}");
        }
    }
}

#[tokio::test]
async fn docker_that_is_stopped_killed_and_started_again_has_the_same_container() {
    let Some(bench) = real::OnDocker::new().await else { return };
    let folder = tempfile::Builder::new().prefix("rt").tempdir().unwrap();
    let child = spawn(folder.path());
    let mut own = Own { folder, child, container: None };
    let mut options = DockerOptions::at(own.socket(), own.folder.path().join("files"));
    options.config_dir = None;
    options.deadlines.call_ms = 2_000;
    options.deadlines.ping_ms = 1_000;
    let docker = Docker::new(options);
    own.answers(&docker).await;
    real::import(&own.socket(), bench.image()).await;
    let wish = request(&bench, "steady", &["sleep", "1000"]);
    let id = docker.create(&wish).await.unwrap();
    docker.start(&id).await.unwrap();
    let before = docker.list(bench.owner()).await.unwrap();
    assert!(before[0].running());
    own.container = before[0].pid;
    let mut events = docker.events(None).await.unwrap();

    own.signal("STOP");
    own.stopped();
    let error = docker.ping().await.unwrap_err();
    assert!(matches!(error, Error::Timeout { after_ms: 1_000, .. }), "{error}");
    let error = docker.info().await.unwrap_err();
    assert!(matches!(error, Error::Timeout { after_ms: 2_000, .. }), "{error}");
    let error = docker.list(bench.owner()).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    own.signal("CONT");
    own.answers(&docker).await;
    assert_eq!(docker.list(bench.owner()).await.unwrap(), before);

    own.kill();
    let end = tokio::time::timeout(PATIENCE, events.next()).await.expect("the stream ends");
    assert!(matches!(end, None | Some(Err(Error::Lost { .. }))), "{end:?}");
    let error = docker.list(bench.owner()).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    own.start();
    own.answers(&docker).await;
    let after = docker.list(bench.owner()).await.unwrap();
    assert_eq!(after.len(), 1);
    assert_eq!(
        (&after[0].id, after[0].started_at, after[0].pid),
        (&before[0].id, before[0].started_at, before[0].pid),
        "the same process"
    );
    assert_eq!(docker.create(&wish).await.unwrap(), id, "adopted, not made again");
    docker.remove(&id).await.unwrap();
    own.container = None;
    assert!(docker.list(bench.owner()).await.unwrap().is_empty());
}
