//! How the adding of hosts is told: a line for each machine that is redrawn on a terminal, a line
//! for each step elsewhere; at the end what came of each, with reason and next step.

use super::decide::Problem;
use crate::cli::{Format, Global};
use crate::output::{self, Cell, Colour};
use serde::Serialize;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What came of one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Added {
    /// As it was named.
    pub(super) target: String,
    /// Its id, once that is known.
    pub(super) host: String,
    /// `active`, `already`, `joined` (not started yet) or `failed`.
    pub(super) result: &'static str,
    /// What was done there, in order.
    pub(super) done: Vec<String>,
    /// What a person should know.
    pub(super) warnings: Vec<String>,
    /// Why it failed; empty when it did not.
    pub(super) reason: String,
    /// What to do next; empty when there is nothing to do.
    pub(super) next: String,
}

impl Added {
    pub(super) fn of(target: String) -> Self {
        Self {
            target,
            host: String::new(),
            result: "failed",
            done: vec![],
            warnings: vec![],
            reason: String::new(),
            next: String::new(),
        }
    }

    /// It did not become a host.
    pub(super) fn fail(&mut self, problem: Problem) {
        self.result = "failed";
        // Parts of it are what a machine said.
        self.reason = output::harmless(&problem.reason);
        self.next = output::harmless(&problem.next);
    }

    pub(super) fn has_failed(&self) -> bool {
        self.result == "failed"
    }

    /// In one line.
    fn told(&self) -> String {
        match self.result {
            "failed" => self.reason.clone(),
            "already" if self.done.is_empty() => "it is a host, and as it should be".into(),
            "already" => format!("it is a host; {}", self.done.join(", ")),
            _ => self.done.join(", "),
        }
    }

    fn colour(&self) -> Colour {
        match self.result {
            "failed" => Colour::Red,
            "joined" => Colour::Yellow,
            _ => Colour::Green,
        }
    }
}

/// One line of the board.
struct Row {
    target: String,
    text: String,
    colour: Option<Colour>,
}

/// All of them.
struct Drawn {
    rows: Vec<Row>,
    lines: usize,
}

/// The progress of all machines.
pub(super) struct Board {
    live: bool,
    quiet: bool,
    width: usize,
    drawn: Mutex<Drawn>,
}

impl Board {
    /// `is_shared`: somebody else writes to the terminal as well, so nothing is redrawn.
    pub(super) fn new(global: &Global, targets: &[String], is_shared: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let (_, height) = output::screen();
        let live = output::is_live() && !dumb && !is_shared && targets.len() + 1 < height;
        let row = |target: &String| Row {
            target: target.clone(),
            text: "waiting".into(),
            colour: Some(Colour::Dim),
        };
        let rows = targets.iter().map(row).collect();
        let width = targets.iter().map(String::len).max().unwrap_or(0);
        Self { live, quiet: global.quiet, width, drawn: Mutex::new(Drawn { rows, lines: 0 }) }
    }

    fn drawn(&self) -> MutexGuard<'_, Drawn> {
        self.drawn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A machine has come to another step.
    pub(super) fn tell(&self, number: usize, text: &str) {
        self.set(number, text, None);
    }

    /// A machine is done with.
    pub(super) fn end(&self, number: usize, added: &Added) {
        self.set(number, &format!("{}: {}", added.result, added.told()), Some(added.colour()));
    }

    fn set(&self, number: usize, text: &str, colour: Option<Colour>) {
        if self.quiet {
            return;
        }
        let mut drawn = self.drawn();
        let Some(row) = drawn.rows.get_mut(number) else { return };
        (row.text, row.colour) = (output::harmless(text), colour);
        if self.live {
            return self.redraw(&mut drawn);
        }
        output::note(&format!("{}: {}", row.target, row.text));
    }

    fn redraw(&self, drawn: &mut Drawn) {
        let (columns, _) = output::screen();
        let mut out = String::new();
        if drawn.lines > 0 {
            out.push_str(&format!("\x1b[{}A\r", drawn.lines));
        }
        for row in &drawn.rows {
            let room = columns.saturating_sub(self.width + 3);
            let text = output::fit(&row.text, room);
            let text = row.colour.map_or_else(|| text.clone(), |c| output::paint(c, &text));
            out.push_str(&format!("{:<width$}  {text}\x1b[K\n", row.target, width = self.width));
        }
        drawn.lines = drawn.rows.len();
        output::raw_note(&out);
    }
}

/// The end of it: the results on stdout, and what to do about those that failed.
pub(super) fn summary(global: &Global, all: &[Added]) {
    match global.output {
        Format::Json => return output::json(&all),
        Format::Name => {
            let added = all.iter().filter(|one| !one.has_failed());
            return added.for_each(|one| output::line(&one.host));
        }
        Format::Table | Format::Wide => {}
    }
    let cells: Vec<Vec<Cell>> = all
        .iter()
        .map(|one| {
            let host = if one.host.is_empty() { "-" } else { one.host.as_str() };
            vec![
                host.to_owned().into(),
                one.target.clone().into(),
                Cell::painted(one.colour(), one.result),
                one.told().into(),
            ]
        })
        .collect();
    output::table(&["HOST", "MACHINE", "RESULT", "WHAT WAS DONE, OR WHY NOT"], &cells);
    for one in all {
        for warning in &one.warnings {
            output::note(&format!("{}: {}", one.target, output::harmless(warning)));
        }
        if one.has_failed() {
            output::complain(&format!("{}: {}", one.target, one.reason), &one.next);
        } else if !one.next.is_empty() {
            output::note(&format!("{}: {}", one.target, one.next));
        }
    }
    let failed = all.iter().filter(|one| one.has_failed()).count();
    if failed > 0 && all.len() > 1 {
        output::note(&format!("{failed} of {} machines did not become hosts", all.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_reads_well() {
        let mut added = Added::of("root@a".into());
        added.result = "already";
        assert!(added.told().contains("as it should be"));
        added.done = vec!["copied remuda".into(), "restarted it".into()];
        assert_eq!(added.told(), "it is a host; copied remuda, restarted it");
        added.fail(Problem::new("no route", "switch it on"));
        assert_eq!((added.told().as_str(), added.has_failed()), ("no route", true));
        let json = serde_json::to_value(&added).unwrap();
        assert_eq!(
            (json["result"].as_str(), json["next"].as_str()),
            (Some("failed"), Some("switch it on"))
        );
    }
}
