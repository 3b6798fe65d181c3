//! What the tasks tell: lines on stdout, steps with their duration, a sign of life every ten
//! seconds of a silent one. The only file here that prints.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often a silent step shows that it lives.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// Set when stdout is for a result that a program reads.
static ON_STDERR: AtomicBool = AtomicBool::new(false);

/// From now on lines go to stderr: stdout is for [`result`].
pub(crate) fn on_stderr() {
    ON_STDERR.store(true, Ordering::Relaxed);
}

/// Prints a line. A reader that has gone away is no reason to leave things half done.
pub(crate) fn line(text: &str) {
    if ON_STDERR.load(Ordering::Relaxed) {
        return error(text);
    }
    result(text);
}

/// Prints what was asked for.
pub(crate) fn result(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).ok();
}

/// Prints a line of a failure.
pub(crate) fn error(text: &str) {
    writeln!(std::io::stderr().lock(), "{text}").ok();
}

/// May output have colours?
pub(crate) fn colours() -> bool {
    std::env::var_os("CI").is_none()
        && std::env::var_os("NO_COLOR").is_none()
        && std::io::stdout().is_terminal()
}

/// Something that may take more than a second.
#[derive(Debug)]
pub(crate) struct Step {
    what: String,
    since: Instant,
    alive: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Step {
    /// Says what begins and that it goes on, until it is dropped or done.
    pub(crate) fn silent(what: &str) -> Self {
        let mut step = Self::loud(what);
        let (ended, wait) = channel();
        let (what, since) = (what.to_owned(), step.since);
        let ticking = std::thread::spawn(move || {
            while wait.recv_timeout(SIGN_OF_LIFE) == Err(RecvTimeoutError::Timeout) {
                line(&format!("    still {what} ({} s)", since.elapsed().as_secs()));
            }
        });
        step.alive = Some((ended, ticking));
        step
    }

    /// Says what begins; what runs in it shows its own progress.
    pub(crate) fn loud(what: &str) -> Self {
        line(&format!("==> {what}"));
        Self { what: what.to_owned(), since: Instant::now(), alive: None }
    }

    /// Says what came of it and how long it took.
    pub(crate) fn done(mut self, outcome: &str) {
        self.hush();
        let secs = self.since.elapsed().as_secs_f64();
        let outcome = if outcome.is_empty() { "done" } else { outcome };
        line(&format!("    {outcome} ({secs:.1} s)"));
    }

    /// The step's name, for messages.
    pub(crate) fn name(&self) -> &str {
        &self.what
    }

    fn hush(&mut self) {
        if let Some((ended, ticking)) = self.alive.take() {
            drop(ended);
            // it prints and nothing else: there is no failure to hear of
            ticking.join().ok();
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.hush();
    }
}
