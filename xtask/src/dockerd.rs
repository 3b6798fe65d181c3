//! A Docker that answers: the one that is there, or one that we start and take away again.
//! Somebody else's is never stopped.

use crate::place::Place;
use crate::say::{self, Step};
use crate::shell;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for a Docker that we started to answer.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for it to end, before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest silence of a Docker that is there.
const ANSWER_SECS: &str = "20";
/// Between two looks at something that we wait for.
const LOOK: Duration = Duration::from_millis(100);

/// A Docker that answers. Dropped, it ends if it is ours.
#[derive(Debug)]
pub(crate) struct Dockerd {
    ours: Option<Child>,
}

/// Its version, if it answers.
fn version() -> Result<String> {
    shell::read(Command::new("timeout").args([
        ANSWER_SECS,
        "docker",
        "version",
        "--format",
        "{{.Server.Version}}",
    ]))
}

impl Dockerd {
    /// Finds one or starts one.
    pub(crate) fn ensure(place: &Place) -> Result<Self> {
        if let Ok(version) = version() {
            say::line(&format!("==> Docker {version} is there"));
            return Ok(Self { ours: None });
        }
        if let Ok(elsewhere) = std::env::var("DOCKER_HOST") {
            let why = version().err().map(|error| format!("{error:#}")).unwrap_or_default();
            bail!("DOCKER_HOST is {elsewhere}, but no Docker answers there: {why}");
        }
        if !rustix::process::geteuid().is_root() {
            bail!("no Docker answers; start it (`systemctl start docker`) or run this as root");
        }
        let log = place.log("dockerd.log");
        let step = Step::silent("starting dockerd");
        let file = shell::create(&log)?;
        // a session of its own: Ctrl-C here must not end it before what runs in it was taken away
        let child = Command::new("setsid")
            .arg("dockerd")
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .context("starting `setsid dockerd`")?;
        let mut dockerd = Self { ours: Some(child) };
        let until = Instant::now() + START_TIMEOUT;
        loop {
            if let Ok(version) = version() {
                step.done(&format!("Docker {version} answers, its log is {}", log.display()));
                return Ok(dockerd);
            }
            if let Some(status) = dockerd.ours.as_mut().and_then(|child| child.try_wait().ok()?) {
                dockerd.ours = None;
                bail!("dockerd ended: {status}; its last lines:\n{}", shell::tail(&log));
            }
            if Instant::now() > until {
                bail!("dockerd does not answer; its last lines:\n{}", shell::tail(&log));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Ends it if it is ours.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        let Some(mut child) = self.ours.take() else { return Ok(()) };
        let step = Step::silent("stopping the dockerd that this task started");
        stop_child(&mut child, STOP_TIMEOUT).context("stopping dockerd")?;
        step.done("stopped");
        Ok(())
    }
}

/// SIGTERM, and SIGKILL when that was not heard in time. Says whether SIGTERM was enough.
pub(crate) fn stop_child(child: &mut Child, patience: Duration) -> Result<bool> {
    if child.try_wait()?.is_some() {
        return Ok(true);
    }
    kill_process(Pid::from_child(child), Signal::TERM).context("sending SIGTERM")?;
    let until = Instant::now() + patience;
    while Instant::now() < until {
        if child.try_wait()?.is_some() {
            return Ok(true);
        }
        std::thread::sleep(LOOK);
    }
    child.kill().context("sending SIGKILL")?;
    child.wait()?;
    Ok(false)
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            say::error(&format!("{error:#}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_asked_first_and_killed_when_deaf() {
        let mut polite = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        assert!(stop_child(&mut polite, Duration::from_secs(10)).unwrap());
        let mut deaf = Command::new("sh")
            .args(["-c", "trap '' TERM; echo ready; while :; do read x; done"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        std::io::Read::read_exact(deaf.stdout.as_mut().unwrap(), &mut ready).unwrap();
        assert!(!stop_child(&mut deaf, Duration::from_millis(200)).unwrap());
    }
}
