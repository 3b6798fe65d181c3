//! Docker's times: RFC 3339 text to nanoseconds since the epoch and back to what its queries take.

use model::time::Timestamp;

/// Nanoseconds since the epoch of `2026-01-31T23:59:59.123456789Z` (or with an offset); `None` for
/// anything else and for Docker's "never", the year 1.
pub(crate) fn parse_ns(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let part = text.get(from..to)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?
    };
    let sign = |at: usize, want: &[u8]| bytes.get(at).is_some_and(|b| want.contains(b));
    if !(sign(4, b"-") && sign(7, b"-") && sign(10, b"Tt ") && sign(13, b":") && sign(16, b":")) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1970..=2261).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = text.get(19..)?;
    let mut nanos = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        let shown = fraction.get(..digits.min(9))?;
        nanos = format!("{shown:0<9}").parse().ok()?;
        rest = fraction.get(digits..)?;
    }
    let offset_s = offset_seconds(rest)?;
    let seconds =
        days_from_epoch(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset_s;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
}

fn offset_seconds(text: &str) -> Option<i64> {
    if matches!(text, "Z" | "z") {
        return Some(0);
    }
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    Some(sign * (hours.parse::<i64>().ok()? * 3_600 + minutes.parse::<i64>().ok()? * 60))
}

/// Days from 1970-01-01 in the Gregorian calendar, counted in years that begin in March.
fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (y.div_euclid(400), y.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The same in milliseconds.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    parse_ns(text).map(|ns| Timestamp(ns.div_euclid(1_000_000)))
}

/// `seconds.nanoseconds`, as Docker's `since` and `until` take it.
pub(crate) fn query(time: Timestamp) -> String {
    format!("{}.{:03}000000", time.0.div_euclid(1_000), time.0.rem_euclid(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_times_are_read() {
        for (text, ns) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:30:45.5Z", Some(951_827_445_500_000_000)),
            ("2024-12-31T23:59:59.123456789Z", Some(1_735_689_599_123_456_789)),
            ("2024-05-01T02:00:00+02:00", Some(1_714_521_600_000_000_000)),
            ("2024-05-01T00:00:00-00:30", Some(1_714_523_400_000_000_000)),
            ("0001-01-01T00:00:00Z", None),
            ("", None),
            ("2024-05-01", None),
            ("2024-05-01T00:00:00", None),
            ("2024-13-01T00:00:00Z", None),
            ("2024-05-01T00:00:0üZ", None),
        ] {
            assert_eq!(parse_ns(text), ns, "{text}");
        }
    }

    #[test]
    fn a_time_is_asked_for_in_seconds_with_a_fraction() {
        assert_eq!(query(Timestamp(1_735_689_599_123)), "1735689599.123000000");
        assert_eq!(query(Timestamp(5)), "0.005000000");
    }
}
