//! What is said about a file: a place, the line, what was found, what was expected, what to do.
//! Nothing here decides whether something is wrong.

use crate::source::{Place, Sources};
use serde::Serialize;
use std::fmt;
use unicode_width::UnicodeWidthChar;

/// Most errors shown; the rest is only counted.
const ERRORS_SHOWN_MAX: usize = 20;
/// Most warnings kept; the rest is only counted.
const WARNINGS_KEPT_MAX: usize = 200;
/// Longest part of a line that is shown, in characters.
const EXCERPT_CHARS_MAX: usize = 120;
/// Longest message, in characters: names and values of a file may be as long as the file.
const MESSAGE_CHARS_MAX: usize = 400;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The stack cannot be made.
    Error,
    /// Something is not carried out as written.
    Warning,
}

/// One remark about a compose file. `Display` renders it over several lines, with a caret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// File as the user named it; `-` is the standard input.
    pub file: String,
    /// From 1; 0 when the file could not be read at all.
    pub line: u32,
    /// From 1, in characters; 0 when the file could not be read at all.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What was expected there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The line, cut to a printable length, control characters replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<String>,
    /// Columns of a terminal before the caret under `excerpt`.
    #[serde(skip)]
    caret: usize,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        if self.line == 0 {
            write!(f, "{}: {severity}: {}", self.file, self.message)?;
        } else {
            let Self { file, line, column, message, .. } = self;
            write!(f, "{file}:{line}:{column}: {severity}: {message}")?;
        }
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        match (&self.excerpt, &self.expected) {
            (Some(excerpt), expected) => {
                write!(f, "\n {number} | {excerpt}\n {margin} | {}^", " ".repeat(self.caret))?;
                if let Some(expected) = expected {
                    write!(f, " expected {expected}")?;
                }
            }
            (None, Some(expected)) => write!(f, "\n {margin} = expected {expected}")?,
            (None, None) => {}
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n {margin} = help: {hint}")?;
        }
        Ok(())
    }
}

/// Why a stack could not be loaded: at least one error, in the order of the files, and
/// the warnings seen on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Errors {
    /// At most 20 errors.
    pub errors: Vec<Diagnostic>,
    /// Errors found beyond those.
    pub more: usize,
    /// Warnings found.
    pub warnings: Vec<Diagnostic>,
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.errors.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        match self.more {
            0 => Ok(()),
            1 => f.write_str("\nand 1 more error"),
            more => write!(f, "\nand {more} more errors"),
        }
    }
}

impl std::error::Error for Errors {}

/// A remark that has not met its text yet.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    severity: Severity,
    place: At,
    message: String,
    expected: Option<String>,
    hint: Option<String>,
    kept: bool,
}

#[derive(Clone, Debug)]
enum At {
    Place(Place),
    File(String),
}

impl Finding {
    /// What was expected there, as it follows the word "expected".
    pub(crate) fn expected(&mut self, text: impl Into<String>) -> &mut Self {
        self.expected = Some(text.into());
        self
    }

    /// What the user can do.
    pub(crate) fn hint(&mut self, text: impl Into<String>) -> &mut Self {
        self.hint = Some(text.into());
        self
    }

    /// Will it be shown? Beyond the bounds of a report it is only counted.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept
    }
}

/// Collects remarks, bounded.
#[derive(Debug, Default)]
pub(crate) struct Report {
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
    errors_seen: usize,
    warnings_seen: usize,
    strict: bool,
    /// Takes the remarks beyond the bounds.
    spill: Option<Box<Finding>>,
}

impl Report {
    pub(crate) fn new(strict: bool) -> Self {
        Self { strict, ..Self::default() }
    }

    pub(crate) fn error(&mut self, place: Place, message: impl Into<String>) -> &mut Finding {
        self.push(Severity::Error, At::Place(place), message.into())
    }

    /// A warning; with `strict` it is an error.
    pub(crate) fn warn(&mut self, place: Place, message: impl Into<String>) -> &mut Finding {
        let strict = self.strict;
        let severity = if strict { Severity::Error } else { Severity::Warning };
        let finding = self.push(severity, At::Place(place), message.into());
        if strict {
            finding.hint("a warning; it is an error because of --strict");
        }
        finding
    }

    /// An error about a file that has no text to point into.
    pub(crate) fn file_error(&mut self, file: String, message: impl Into<String>) -> &mut Finding {
        self.push(Severity::Error, At::File(file), message.into())
    }

    pub(crate) fn failed(&self) -> bool {
        self.errors_seen > 0
    }

    fn push(&mut self, severity: Severity, place: At, message: String) -> &mut Finding {
        let mut finding =
            Finding { severity, place, message, expected: None, hint: None, kept: true };
        let (list, max) = match severity {
            Severity::Error => {
                self.errors_seen += 1;
                (&mut self.errors, ERRORS_SHOWN_MAX)
            }
            Severity::Warning => {
                self.warnings_seen += 1;
                (&mut self.warnings, WARNINGS_KEPT_MAX)
            }
        };
        if list.len() >= max {
            finding.kept = false;
            return self.spill.insert(Box::new(finding));
        }
        list.push(finding);
        let last = list.len() - 1;
        &mut list[last]
    }

    /// The warnings, or the errors when there is one, in the order of the files.
    pub(crate) fn finish(mut self, sources: &Sources) -> Result<Vec<Diagnostic>, Errors> {
        for findings in [&mut self.errors, &mut self.warnings] {
            findings.sort_by_key(|f| match &f.place {
                At::File(_) => (0, None),
                At::Place(place) => (1, Some(*place)),
            });
        }
        let more = self.warnings_seen - self.warnings.len();
        if more > 0 {
            let message = format!("{more} more warnings are not shown");
            let place = At::File("compose".to_owned());
            let severity = Severity::Warning;
            self.warnings.push(Finding {
                severity,
                place,
                message,
                expected: None,
                hint: None,
                kept: true,
            });
        }
        let warnings = self.warnings.iter().map(|f| diagnostic(f, sources)).collect();
        if self.errors_seen == 0 {
            return Ok(warnings);
        }
        let errors: Vec<_> = self.errors.iter().map(|f| diagnostic(f, sources)).collect();
        Err(Errors { more: self.errors_seen - errors.len(), errors, warnings })
    }
}

fn diagnostic(finding: &Finding, sources: &Sources) -> Diagnostic {
    let mut out = Diagnostic {
        severity: finding.severity,
        file: String::new(),
        line: 0,
        column: 0,
        message: shown(&finding.message),
        expected: finding.expected.as_deref().map(shown),
        hint: finding.hint.as_deref().map(shown),
        excerpt: None,
        caret: 0,
    };
    match &finding.place {
        At::File(file) => out.file = shown(file),
        At::Place(place) => {
            (out.line, out.column) = (place.line, place.column);
            if let Some(source) = sources.get(place.file) {
                out.file = shown(&source.shown);
                if let Some(line) = source.line(place.line) {
                    let line = if source.masked { mask(line) } else { line.to_owned() };
                    let (excerpt, caret) = excerpt(&line, place.column);
                    out.excerpt = Some(excerpt);
                    out.caret = caret;
                }
            }
        }
    }
    out
}

/// Text of a file as a terminal may have it: no control characters, bounded.
pub(crate) fn shown(text: &str) -> String {
    let mut out: String = text.chars().take(MESSAGE_CHARS_MAX).map(printable).collect();
    if text.chars().nth(MESSAGE_CHARS_MAX).is_some() {
        out.push('…');
    }
    out
}

/// A value of a file inside a message: quoted and bounded.
pub(crate) fn quoted(text: &str) -> String {
    quoted_to(text, 60)
}

/// A path inside a message: quoted, long enough to be found.
pub(crate) fn quoted_path(text: &str) -> String {
    quoted_to(text, 300)
}

fn quoted_to(text: &str, max: usize) -> String {
    let cut: String = text.chars().take(max).map(printable).collect();
    if text.chars().nth(max).is_some() { format!("\"{cut}…\"") } else { format!("\"{cut}\"") }
}

fn printable(c: char) -> char {
    // Directional controls could make a line read as something else.
    let directional = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    match c {
        '\t' => ' ',
        c if c.is_control() || directional => '\u{fffd}',
        c => c,
    }
}

/// `KEY=secret` becomes `KEY=…`.
fn mask(line: &str) -> String {
    match line.split_once(['=', ':']) {
        Some((key, _)) => format!("{key}=…"),
        None => "…".to_owned(),
    }
}

/// The part of a line around a column, and how many terminal columns precede the caret.
fn excerpt(line: &str, column: u32) -> (String, usize) {
    let at = (column as usize).saturating_sub(1);
    let start = if at < EXCERPT_CHARS_MAX - 20 { 0 } else { at - EXCERPT_CHARS_MAX / 2 };
    let mut out = String::new();
    let mut caret = 0;
    if start > 0 {
        out.push('…');
        caret = 1;
    }
    let mut rest = line.chars().skip(start);
    for (i, c) in rest.by_ref().take(EXCERPT_CHARS_MAX).enumerate() {
        let c = printable(c);
        if start + i < at {
            caret += c.width().unwrap_or(1);
        }
        out.push(c);
    }
    if rest.next().is_some() {
        out.push('…');
    }
    (out, caret)
}
