//! Texts that stand for booleans, numbers, sizes and times. Pure; an error is what was expected.

/// YAML 1.1's booleans: compose files are full of `yes` and `on`.
pub(crate) fn boolean(text: &str) -> Result<bool, &'static str> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" => Ok(true),
        "false" | "no" | "off" | "n" => Ok(false),
        _ => Err("true or false"),
    }
}

/// A whole number: decimal, `0x…` or `0o…`. `010` is 8 to one YAML reader and 10 to the next, so
/// it is neither here.
pub(crate) fn integer(text: &str) -> Result<i64, &'static str> {
    const EXPECTED: &str = "a whole number";
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let parsed = if let Some(hex) = digits.strip_prefix("0x") {
        plain_digits(hex, 16)
    } else if let Some(octal) = digits.strip_prefix("0o") {
        plain_digits(octal, 8)
    } else if digits.len() > 1 && digits.starts_with('0') {
        return Err("a whole number without leading zeros (0o10 is octal)");
    } else {
        plain_digits(digits, 10)
    };
    parsed.map(|n| sign * n).ok_or(EXPECTED)
}

/// Digits without a sign.
fn plain_digits(text: &str, radix: u32) -> Option<i64> {
    if text.is_empty() || !text.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    i64::from_str_radix(text, radix).ok()
}

/// A file mode: octal with or without a leading zero.
pub(crate) fn mode(text: &str) -> Result<u32, &'static str> {
    const EXPECTED: &str = "an octal file mode such as 0440";
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let mode = plain_digits(digits, 8).ok_or(EXPECTED)?;
    u32::try_from(mode).ok().filter(|m| *m <= 0o7777).ok_or(EXPECTED)
}

/// Bytes: `512m`, `1.5g`, `64kb`, `1024`; units are powers of 1024, as Docker has them.
pub(crate) fn size(text: &str) -> Result<i64, &'static str> {
    const EXPECTED: &str = "a size such as 512m, 1g or a number of bytes";
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let power = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return Err(EXPECTED),
    };
    let factor = 1024_i64.pow(power);
    let thousandths = thousandths(number).ok_or(EXPECTED)?;
    let bytes = i128::from(thousandths) * i128::from(factor) / 1000;
    i64::try_from(bytes).map_err(|_too_large| EXPECTED)
}

/// A number with at most nine decimals, in thousandths, rounded down. Not negative.
pub(crate) fn milli(text: &str) -> Result<u64, &'static str> {
    const EXPECTED: &str = "a number such as 0.5 or 2, not negative";
    let n = thousandths(text).ok_or(EXPECTED)?;
    u64::try_from(n).map_err(|_negative| EXPECTED)
}

fn thousandths(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let whole = match whole {
        "" if text.starts_with('.') => 0,
        digits => plain_digits(digits, 10)?,
    };
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) || fraction.len() > 9 {
        return None;
    }
    let fraction: String = fraction.chars().chain("000".chars()).take(3).collect();
    whole.checked_mul(1000)?.checked_add(plain_digits(&fraction, 10)?)
}

/// Milliseconds of a duration: `1m30s`, `500ms`, `1.5h`; `0` needs no unit.
pub(crate) fn duration_ms(text: &str) -> Result<u64, &'static str> {
    const EXPECTED: &str = "a duration such as 30s, 1m30s or 500ms";
    if text == "0" {
        return Ok(0);
    }
    if text.is_empty() {
        return Err(EXPECTED);
    }
    let mut rest = text;
    let mut micros: u64 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or(EXPECTED)?;
        let number = thousandths(&rest[..end]).ok_or(EXPECTED)?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        // Thousandths of a unit, in microseconds.
        let micros_of =
            |per_unit: u64| u64::try_from(number).ok()?.checked_mul(per_unit).map(|n| n / 1000);
        let part = match &rest[..end] {
            "ns" => micros_of(1).map(|n| n / 1000),
            "us" | "µs" => micros_of(1),
            "ms" => micros_of(1_000),
            "s" => micros_of(1_000_000),
            "m" => micros_of(60_000_000),
            "h" => micros_of(3_600_000_000),
            "d" => micros_of(86_400_000_000),
            _ => return Err(EXPECTED),
        };
        micros = part.and_then(|p| micros.checked_add(p)).ok_or(EXPECTED)?;
        rest = &rest[end..];
    }
    Ok(micros / 1000)
}

/// Words of a command line as a shell splits it: quotes and backslashes, nothing else.
pub(crate) fn shell_words(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = vec![];
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' => {
                let into = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or("a closing '")? {
                        '\'' => break,
                        c => into.push(c),
                    }
                }
            }
            '"' => {
                let into = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or("a closing \"")? {
                        '"' => break,
                        '\\' => match chars.next().ok_or("a closing \"")? {
                            c @ ('"' | '\\' | '$' | '`') => into.push(c),
                            '\n' => {}
                            c => into.extend(['\\', c]),
                        },
                        c => into.push(c),
                    }
                }
            }
            '\\' => match chars.next().ok_or("a character after the backslash")? {
                '\n' => {}
                c => word.get_or_insert_default().push(c),
            },
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}
