//! Durations as Go writes them: `10s`, `1m30s`, `1.5h`, `250ms`.

use std::time::Duration;

/// Nanoseconds of each unit.
const UNITS: [(&str, f64); 7] =
    [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];

/// Reads a duration; `0` needs no unit. None when it is not one, is negative, or has more than
/// Go's 290 years.
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    let text = text.strip_prefix('+').unwrap_or(text);
    if text == "0" {
        return Some(Duration::ZERO);
    }
    if text.is_empty() {
        return None;
    }
    let (mut rest, mut total) = (text, 0.0_f64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let (_, nanos) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let number: f64 = number.parse().ok()?;
        total += number * nanos;
        rest = next;
    }
    // Beyond this Go's own number is full.
    (total < 9.2e18).then(|| Duration::from_nanos(total.round() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, want) in [
            ("10s", Some(10_000)),
            ("60000ms", Some(60_000)),
            ("1m30s", Some(90_000)),
            ("1.5h", Some(5_400_000)),
            ("0", Some(0)),
            ("0s", Some(0)),
            (".5s", Some(500)),
            ("10", None),
            ("", None),
            ("s", None),
            ("-1s", None),
            ("1x", None),
            ("1..2s", None),
            (".s", None),
            ("10000000000h", None),
            ("abc", None),
        ] {
            assert_eq!(parse(text), want.map(Duration::from_millis), "{text:?}");
        }
    }
}
