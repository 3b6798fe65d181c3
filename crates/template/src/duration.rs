//! Durations as Go writes them: `1m30s`, `250ms`, `2h`, and times of day in Go's layouts.

use chrono::{DateTime, Datelike, Timelike, Utc};
use std::time::Duration;

/// Longest that is taken, in milliseconds: a year.
const LONGEST_MS: u128 = 366 * 24 * 3_600_000;

/// Reads a duration; a bare number is refused unless it is 0, as Go does.
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return None;
    }
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let size: u128 = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && part.is_empty()) || whole.len() > 12 || part.len() > 12 {
            return None;
        }
        let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let scale = 10_u128.pow(u32::try_from(part.len()).ok()?);
        let part: u128 = if part.is_empty() { 0 } else { part.parse().ok()? };
        nanos = nanos.checked_add(whole.checked_mul(size)?)?.checked_add(part * size / scale)?;
        rest = tail;
    }
    if nanos > LONGEST_MS * 1_000_000 {
        return None;
    }
    let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
    Some(Duration::new(seconds, u32::try_from(nanos % 1_000_000_000).ok()?))
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// What a layout may hold, the longer before its beginning.
const PIECES: &[&str] = &[
    "January",
    "Jan",
    "Monday",
    "Mon",
    "MST",
    "2006",
    "-07:00",
    "-0700",
    "Z07:00",
    "Z0700",
    "02",
    "01",
    "03",
    "04",
    "05",
    "06",
    "002",
    "15",
    "PM",
    "pm",
    ".000000000",
    ".000000",
    ".000",
    ".999999999",
    ".999999",
    ".999",
    "_2",
    "-07",
    "__2",
    "1",
    "2",
    "3",
    "4",
    "5",
];

/// A time in a layout of Go, which shows how it writes Monday, 2 January 2006, 15:04:05. UTC.
#[must_use]
pub fn format(at: DateTime<Utc>, layout: &str) -> String {
    let mut out = String::new();
    let mut rest = layout;
    while let Some(first) = rest.chars().next() {
        let piece = if rest.starts_with("002") {
            Some("002")
        } else {
            PIECES.iter().copied().find(|piece| rest.starts_with(piece))
        };
        match piece {
            Some(piece) => {
                out.push_str(&shown(at, piece));
                rest = rest.get(piece.len()..).unwrap_or_default();
            }
            None => {
                out.push(first);
                rest = rest.get(first.len_utf8()..).unwrap_or_default();
            }
        }
    }
    out
}

fn shown(at: DateTime<Utc>, piece: &str) -> String {
    let month = MONTHS.get(at.month0() as usize).copied().unwrap_or_default();
    let day = DAYS.get(at.weekday().num_days_from_sunday() as usize).copied().unwrap_or_default();
    let short = |name: &str| name.chars().take(3).collect::<String>();
    let nanos = format!("{:09}", at.nanosecond().min(999_999_999));
    let twelve = if at.hour().is_multiple_of(12) { 12 } else { at.hour() % 12 };
    let trimmed = |digits: usize| {
        let cut: String = nanos.chars().take(digits).collect();
        let cut = cut.trim_end_matches('0');
        if cut.is_empty() { String::new() } else { format!(".{cut}") }
    };
    match piece {
        "2006" => format!("{:04}", at.year()),
        "06" => format!("{:02}", at.year().rem_euclid(100)),
        "January" => month.to_owned(),
        "Jan" => short(month),
        "01" => format!("{:02}", at.month()),
        "1" => at.month().to_string(),
        "Monday" => day.to_owned(),
        "Mon" => short(day),
        "02" => format!("{:02}", at.day()),
        "_2" => format!("{:2}", at.day()),
        "2" => at.day().to_string(),
        "002" => format!("{:03}", at.ordinal()),
        "__2" => format!("{:3}", at.ordinal()),
        "15" => format!("{:02}", at.hour()),
        "03" => format!("{twelve:02}"),
        "3" => twelve.to_string(),
        "04" => format!("{:02}", at.minute()),
        "4" => at.minute().to_string(),
        "05" => format!("{:02}", at.second()),
        "5" => at.second().to_string(),
        "PM" => if at.hour() < 12 { "AM" } else { "PM" }.to_owned(),
        "pm" => if at.hour() < 12 { "am" } else { "pm" }.to_owned(),
        "MST" => "UTC".to_owned(),
        "-0700" => "+0000".to_owned(),
        "-07:00" => "+00:00".to_owned(),
        "-07" => "+00".to_owned(),
        "Z07:00" | "Z0700" => "Z".to_owned(),
        ".000" => format!(".{}", nanos.chars().take(3).collect::<String>()),
        ".000000" => format!(".{}", nanos.chars().take(6).collect::<String>()),
        ".000000000" => format!(".{nanos}"),
        ".999" => trimmed(3),
        ".999999" => trimmed(6),
        ".999999999" => trimmed(9),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, ms) in [
            ("250ms", Some(250)),
            ("1m30s", Some(90_000)),
            ("1.5s", Some(1_500)),
            ("2h", Some(7_200_000)),
            ("0", Some(0)),
            ("0s", Some(0)),
            (".5s", Some(500)),
            ("5", None),
            ("-1s", None),
            ("1x", None),
            ("s", None),
            ("", None),
            ("99999999h", None),
        ] {
            assert_eq!(parse(text).map(|d| d.as_millis()), ms, "{text}");
        }
        assert_eq!(parse("3us"), Some(Duration::from_micros(3)));
    }

    #[test]
    fn a_time_is_written_in_layouts_of_go() {
        let at = DateTime::from_timestamp(1_600_000_005, 120_000_000).expect("in range");
        for (layout, text) in [
            ("2006-01-02T15:04:05Z07:00", "2020-09-13T12:26:45Z"),
            ("Mon Jan _2 15:04:05 MST 2006", "Sun Sep 13 12:26:45 UTC 2020"),
            ("Monday, 02-Jan-06 3:4:5 PM", "Sunday, 13-Sep-20 12:26:45 PM"),
            ("15:04:05.000", "12:26:45.120"),
            ("05.999999999", "45.12"),
            ("2006 002", "2020 257"),
            ("no day: -0700", "no day: +0000"),
        ] {
            assert_eq!(format(at, layout), text, "{layout}");
        }
    }
}
