//! The table: what was measured, beside whom, and whether the target is met.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    /// Which part of the bench: a word of its command line.
    pub(super) part: String,
    /// "HTTP proxy, CPU per request, c=64".
    pub(super) what: String,
    /// Ours with its unit.
    pub(super) ours: String,
    /// Who is beside us, and what they took.
    pub(super) beside: String,
    /// What the target is about: a ratio, or a number in the target's unit.
    pub(super) measured: f64,
    /// Most that is good; `None` is for information.
    pub(super) target: Option<f64>,
    /// Unit of `measured` and `target`.
    pub(super) unit: String,
}

impl Row {
    /// Is the target met? `None` when there is none.
    pub(super) fn met(&self) -> Option<bool> {
        self.target.map(|target| self.measured <= target)
    }

    fn verdict(&self) -> &'static str {
        match self.met() {
            None => "-",
            Some(true) => "passed",
            Some(false) => "**missed**",
        }
    }

    /// One line for a terminal.
    pub(super) fn line(&self) -> String {
        let Self { what, ours, beside, measured, unit, .. } = self;
        let verdict = match self.met() {
            None => "      ",
            Some(true) => "passed",
            Some(false) => "MISSED",
        };
        let target = self.target.map_or_else(String::new, |t| format!(", target {t}{unit}"));
        let beside = if beside == "-" { String::new() } else { format!("; {beside}") };
        format!("{verdict}  {what}: {measured:.2}{unit}{target} ({ours}{beside})")
    }
}

/// For programs: every row, with `met` beside what it says.
pub(super) fn json(rows: &[Row]) -> Result<String> {
    let with_verdict = |row: &Row| -> Result<serde_json::Value> {
        let mut value = serde_json::to_value(row)?;
        value["met"] = row.met().into();
        Ok(value)
    };
    let rows = rows.iter().map(with_verdict).collect::<Result<Vec<_>>>();
    serde_json::to_string_pretty(&rows?).context("writing the rows as JSON")
}

/// The middle one; the mean of the two in the middle of an even number.
pub(super) fn median(values: &[f64]) -> f64 {
    percentile(values, 0.5)
}

/// The median of the ratios of what was measured one after the other.
pub(super) fn paired(ours: &[f64], theirs: &[f64]) -> f64 {
    let ratios: Vec<_> = ours.iter().zip(theirs).map(|(a, b)| a / b).collect();
    median(&ratios)
}

/// Linear between the two nearest ranks; 0 of nothing.
pub(super) fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let at = share * last as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

/// As Markdown, with columns that line up.
pub(super) fn table(rows: &[Row]) -> String {
    let mut cells =
        vec![["what", "remuda", "beside", "measured", "target", "verdict"].map(str::to_owned)];
    for row in rows {
        let target = row.target.map_or_else(|| "-".into(), |t| format!("<= {t}{}", row.unit));
        cells.push([
            row.what.clone(),
            row.ours.clone(),
            row.beside.clone(),
            format!("{:.2}{}", row.measured, row.unit),
            target,
            row.verdict().to_owned(),
        ]);
    }
    let width =
        |at: usize| cells.iter().map(|row| row[at].chars().count()).max().unwrap_or_default();
    let widths: Vec<_> = (0..6).map(width).collect();
    let mut text = String::new();
    for (number, row) in cells.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            write!(text, "| {cell:width$} ").expect("a String takes everything");
        }
        text.push_str("|\n");
        if number == 0 {
            for width in &widths {
                write!(text, "|{}", "-".repeat(width + 2)).expect("a String takes everything");
            }
            text.push_str("|\n");
        }
    }
    text
}

/// Around what a run writes into the document; the words outside are written by hand.
const MARKS: (&str, &str) = ("<!-- measured -->\n", "<!-- end of measured -->\n");

/// The document with this run's part in place of the last one's.
pub(super) fn document(old: &str, measured: &str) -> String {
    let (begin, end) = MARKS;
    let parts = old.split_once(begin).and_then(|(head, rest)| {
        let (_, tail) = rest.split_once(end)?;
        Some((head, tail))
    });
    let (head, tail) = parts.unwrap_or(("# Benchmarks\n\n", ""));
    format!("{head}{begin}{measured}{end}{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_between_ranks() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!((percentile(&[0.0, 10.0], 0.99) - 9.9).abs() < 1e-9);
        assert!(median(&[]).abs() < 1e-9);
        assert!((paired(&[1.0, 4.0, 9.0], &[1.0, 2.0, 3.0]) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn a_run_replaces_only_what_the_last_one_wrote() {
        let first = document("", "one\n");
        let by_hand = format!("{}\nend\n", first.replace("# Benchmarks", "# Numbers"));
        let second = document(&by_hand, "two\n");
        assert!(second.starts_with("# Numbers") && second.ends_with("\nend\n"), "{second}");
        assert!(second.contains("two\n") && !second.contains("one\n"), "{second}");
    }

    #[test]
    fn a_missed_target_stands_out() {
        let row = |measured, target| Row {
            part: "p".into(),
            what: "w".into(),
            ours: "o".into(),
            beside: "b".into(),
            measured,
            target,
            unit: "x".into(),
        };
        let text = table(&[row(1.0, Some(1.1)), row(1.2, Some(1.1)), row(9.0, None)]);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[2].contains("| 1.00x    | <= 1.1x | passed     |"), "{text}");
        assert!(lines[3].contains("**missed**"), "{text}");
        assert!(lines[4].contains("| -       | -"), "{text}");
        assert!(row(1.2, Some(1.1)).line().starts_with("MISSED  w: 1.20x, target 1.1x"));
        let json: serde_json::Value =
            serde_json::from_str(&json(&[row(1.2, Some(1.1))]).unwrap()).unwrap();
        assert_eq!(json[0]["met"], false);
    }
}
