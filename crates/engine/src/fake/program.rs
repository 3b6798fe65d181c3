//! What the process of a fake container does, and when: all of it known at its start.

use model::health::Health;

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// When it ends by itself, in milliseconds from its start; `None` is never.
    pub exits_after_ms: Option<u64>,
    /// With which code.
    pub exit_code: i64,
    /// Does it end for want of memory?
    pub oom: bool,
    /// Why it cannot be started at all.
    pub start_fails: Option<String>,
    /// Verdicts of its HEALTHCHECK, in milliseconds from its start; empty is none.
    pub health: Vec<(u64, Health)>,
    /// How long it takes to end after its stop signal; `None` ignores it.
    pub stops_after_ms: Option<u64>,
    /// What it writes at its start: to standard error?, and the line.
    pub output: Vec<(bool, String)>,
}

impl Default for Program {
    fn default() -> Self {
        Self {
            exits_after_ms: None,
            exit_code: 0,
            oom: false,
            start_fails: None,
            health: vec![],
            stops_after_ms: Some(0),
            output: vec![],
        }
    }
}

impl Program {
    /// Runs until it is told to stop.
    #[must_use]
    pub fn forever() -> Self {
        Self::default()
    }

    /// Ends by itself.
    #[must_use]
    pub fn exits(after_ms: u64, code: i64) -> Self {
        Self { exits_after_ms: Some(after_ms), exit_code: code, ..Self::default() }
    }

    /// Has a HEALTHCHECK that passes after a while.
    #[must_use]
    pub fn healthy_after(ms: u64) -> Self {
        Self { health: vec![(ms, Health::Healthy)], ..Self::default() }
    }

    /// The few commands that the fake knows, which do the same in a real busybox; anything else
    /// runs until it is told to stop.
    pub(super) fn of_command(command: &[String]) -> Self {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["true", ..] => Self::exits(0, 0),
            ["false", ..] => Self::exits(0, 1),
            ["echo", rest @ ..] => {
                Self { output: vec![(false, rest.join(" "))], ..Self::exits(0, 0) }
            }
            ["sleep", seconds] => match seconds.parse::<u64>() {
                // A process that is PID 1 and has no handler does not die of SIGTERM.
                Ok(s) => Self { stops_after_ms: None, ..Self::exits(s.saturating_mul(1_000), 0) },
                Err(_not_a_number) => Self::exits(0, 1),
            },
            ["sh", "-c", script] => match script.strip_prefix("exit ").map(str::parse::<i64>) {
                Some(Ok(code)) => Self::exits(0, code),
                _ => Self::default(),
            },
            _ => Self::default(),
        }
    }
}
