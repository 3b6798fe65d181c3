//! What goes to the terminal: data on stdout, everything else on stderr, colours on a TTY only.

use serde::Serialize;
use std::io::{IsTerminal as _, Write as _};
use std::sync::OnceLock;
use unicode_width::UnicodeWidthStr as _;

static COLOUR: OnceLock<bool> = OnceLock::new();

/// Decides once whether colours are used.
pub(crate) fn set_colour(off: bool) {
    let wanted = !off
        && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
        && std::io::stderr().is_terminal()
        && std::io::stdout().is_terminal();
    COLOUR.get_or_init(|| wanted);
}

/// A colour of the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    /// Well.
    Green,
    /// On its way, or needs a look.
    Yellow,
    /// Not well.
    Red,
    /// Not important now.
    Dim,
    /// Headings.
    Bold,
}

/// Are colours used?
#[must_use]
pub(crate) fn is_coloured() -> bool {
    COLOUR.get().copied().unwrap_or(false)
}

/// The text in a colour, when colours are used.
#[must_use]
pub(crate) fn paint(colour: Colour, text: &str) -> String {
    if !is_coloured() {
        return text.to_owned();
    }
    let code = match colour {
        Colour::Green => "32",
        Colour::Yellow => "33",
        Colour::Red => "31",
        Colour::Dim => "2",
        Colour::Bold => "1",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// The colour of a status word.
#[must_use]
pub(crate) fn status_colour(word: &str) -> Colour {
    match word {
        "running" | "healthy" | "active" | "completed" | "ok" => Colour::Green,
        "failed" | "unhealthy" | "blocked" | "disconnected" | "degraded" | "lost" => Colour::Red,
        "stopped" | "-" | "removing" | "idle" | "skipped" | "" => Colour::Dim,
        _ => Colour::Yellow,
    }
}

/// Ends the process when data could not be written: quietly when its reader went away, as for any
/// filter, with a message when it is lost.
fn written(result: std::io::Result<()>) {
    let Err(error) = result else { return };
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    complain(&format!("the output cannot be written: {error}"), "");
    std::process::exit(i32::from(crate::exit::ERROR));
}

/// One line of data.
pub(crate) fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    written(writeln!(out, "{text}").and_then(|()| out.flush()));
}

/// Bytes of data, as they are.
pub(crate) fn bytes(stderr: bool, data: &[u8]) {
    written(if stderr {
        let mut out = std::io::stderr().lock();
        out.write_all(data).and_then(|()| out.flush())
    } else {
        let mut out = std::io::stdout().lock();
        out.write_all(data).and_then(|()| out.flush())
    });
}

/// One line of progress.
pub(crate) fn note(text: &str) {
    raw_note(&format!("{text}\n"));
}

/// Text of progress as it is, without a line end. Work goes on when nobody reads it.
pub(crate) fn raw_note(text: &str) {
    let mut err = std::io::stderr().lock();
    let _unread = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

/// An error with what to do next.
pub(crate) fn complain(message: &str, hint: &str) {
    note(&format!("{} {message}", paint(Colour::Red, "error:")));
    if !hint.is_empty() {
        note(&format!("{} {hint}", paint(Colour::Dim, " hint:")));
    }
}

/// A document as JSON.
pub(crate) fn json<T: Serialize>(value: &T) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => line(&text),
        Err(error) => complain(&format!("the answer cannot be written as JSON: {error}"), ""),
    }
}

/// A table cell.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    colour: Option<Colour>,
}

impl Cell {
    /// Text in a colour.
    pub(crate) fn painted(colour: Colour, text: impl Into<String>) -> Self {
        Self { text: text.into(), colour: Some(colour) }
    }

    /// A status word in its colour.
    #[must_use]
    pub(crate) fn status(word: &str) -> Self {
        Self::painted(status_colour(word), word)
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), colour: None }
    }
}

/// Characters that could move the cursor or end the line are shown, not sent.
#[must_use]
pub(crate) fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Rows under a heading, columns as wide as their widest cell (CJK counts double).
pub(crate) fn table(heading: &[&str], rows: &[Vec<Cell>]) {
    let mut widths: Vec<usize> = heading.iter().map(|h| h.width()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(harmless(&cell.text).width());
        }
    }
    let pad = |text: &str, width: usize, last: bool| {
        let fill = if last { 0 } else { width.saturating_sub(text.width()) + 2 };
        format!("{text}{}", " ".repeat(fill))
    };
    let last = heading.len().saturating_sub(1);
    let head: String =
        heading.iter().enumerate().map(|(i, h)| pad(h, widths[i], i == last)).collect();
    line(&paint(Colour::Bold, head.trim_end()));
    for row in rows {
        let mut out = String::new();
        for (i, cell) in row.iter().enumerate() {
            let text = harmless(&cell.text);
            let padded = pad(&text, widths.get(i).copied().unwrap_or(0), i == last);
            match cell.colour {
                Some(colour) => {
                    let (word, fill) = padded.split_at(text.len());
                    out.push_str(&paint(colour, word));
                    out.push_str(fill);
                }
                None => out.push_str(&padded),
            }
        }
        line(out.trim_end());
    }
}

/// Is there a person at the other end of stderr?
#[must_use]
pub(crate) fn is_live() -> bool {
    std::io::stderr().is_terminal()
}

/// Columns and rows of the terminal; one that does not know has 80 and 24.
#[must_use]
pub(crate) fn screen() -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok();
    let known = |n: u16, default: usize| if n == 0 { default } else { usize::from(n) };
    size.map_or((80, 24), |s| (known(s.ws_col, 80).max(40), known(s.ws_row, 24).max(5)))
}

/// The text cut to a number of columns.
#[must_use]
pub(crate) fn fit(text: &str, columns: usize) -> String {
    use unicode_width::UnicodeWidthChar as _;
    let text = harmless(text);
    if text.width() <= columns {
        return text;
    }
    if columns == 0 {
        return String::new();
    }
    let mut width = 0;
    let mut out: String = text
        .chars()
        .take_while(|c| {
            width += c.width().unwrap_or(0);
            width < columns
        })
        .collect();
    out.push('…');
    out
}

/// Bytes for people.
#[must_use]
pub(crate) fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", units[unit]) }
}

/// Local day and time is not known to a static binary without zone files: UTC, RFC 3339.
#[must_use]
pub(crate) fn utc(at: model::time::Timestamp) -> String {
    at.utc()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::time::Timestamp;

    #[test]
    fn dates_are_right() {
        assert_eq!(utc(Timestamp(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(utc(Timestamp(951_827_696_007)), "2000-02-29T12:34:56.007Z");
        assert_eq!(utc(Timestamp(1_795_219_200_000)), "2026-11-21T00:00:00.000Z");
    }

    #[test]
    fn text_is_cut_by_columns_and_made_harmless() {
        assert_eq!(fit("abcdef", 4), "abc…");
        assert_eq!(fit("部署完成", 5), "部署…");
        assert_eq!(fit("a\x1b[2J", 20), "a\u{fffd}[2J");
        assert_eq!(size(1536), "1.5 KiB");
    }
}
