//! Signals by the names that people and Docker give them.

const NAMES: [(&str, u8); 10] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ABRT", 6),
    ("KILL", 9),
    ("USR1", 10),
    ("USR2", 12),
    ("TERM", 15),
    ("WINCH", 28),
    ("RTMIN+3", 37),
];

/// Its number: of `15`, `TERM` or `SIGTERM`, in any case; `None` for one that is not known.
pub(crate) fn number(text: &str) -> Option<u8> {
    let upper = text.trim().to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let known = NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    known.or_else(|| name.parse().ok().filter(|number| (1..=64).contains(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_read() {
        for (text, signal) in [
            ("15", Some(15)),
            ("SIGTERM", Some(15)),
            ("quit", Some(3)),
            ("SIGRTMIN+3", Some(37)),
            ("64", Some(64)),
            ("0", None),
            ("65", None),
            ("SIGNOTHING", None),
            ("", None),
        ] {
            assert_eq!(number(text), signal, "{text}");
        }
    }
}
