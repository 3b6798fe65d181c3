//! Paths of requests: split first, unescaped then, so that a key may have a slash in it; and keys as
//! they are written in listings.

use model::limits::METADATA_SEGMENTS_MAX;

/// The segments of a path; `None` when it has more than any tree is deep. What is no escape stands
/// for itself.
pub(super) fn segments(path: &str) -> Option<Vec<String>> {
    let mut all = vec![];
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        if all.len() >= METADATA_SEGMENTS_MAX {
            return None;
        }
        all.push(unescape(segment));
    }
    Some(all)
}

/// `%XX` and `+` of a question's words. What is not UTF-8 then is replaced.
pub(super) fn unescape(text: &str) -> String {
    if !text.contains(['%', '+']) {
        return text.to_owned();
    }
    let hex = |b: Option<&u8>| {
        b.and_then(|b| char::from(*b).to_digit(16)).and_then(|d| u8::try_from(d).ok())
    };
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        match (byte, hex(bytes.get(at + 1)), hex(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                at += 3;
            }
            (b'+', ..) => {
                out.push(b' ');
                at += 1;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Writes a key so that it can stand in a path.
pub(super) fn escape(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        match byte {
            b' ' => out.push(b'+'),
            b'-' | b'_' | b'.' | b'~' => out.push(byte),
            _ if byte.is_ascii_alphanumeric() => out.push(byte),
            _ => {
                let halves = [byte >> 4, byte & 0x0f].map(|half| HEX[usize::from(half)]);
                out.push(b'%');
                out.extend_from_slice(&halves);
            }
        }
    }
}

/// What is asked besides the path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Question {
    /// The old value, when the answer is to wait until it is another one.
    pub(super) until_not: Option<String>,
    /// `maxWait`, in seconds, as it was written.
    pub(super) max_wait: Option<u64>,
}

impl Question {
    /// Of the part behind `?`. Of a word that comes twice the first one counts.
    pub(super) fn of(query: &str) -> Self {
        let (mut wait, mut value, mut max_wait) = (None, None, None);
        for pair in query.split('&') {
            let (key, word) = pair.split_once('=').unwrap_or((pair, ""));
            match key {
                "wait" => _ = wait.get_or_insert_with(|| unescape(word)),
                "value" => _ = value.get_or_insert_with(|| unescape(word)),
                "maxWait" => _ = max_wait.get_or_insert_with(|| word.parse().ok()),
                _ => {}
            }
        }
        let until_not = value.filter(|_| wait.as_deref() == Some("true"));
        Self { until_not, max_wait: max_wait.flatten() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_is_split_before_it_is_unescaped() {
        for (path, expect) in [
            ("/latest/self/", &["latest", "self"][..]),
            ("/a//b", &["a", "b"]),
            ("/latest/links/stack%2Fsvc", &["latest", "links", "stack/svc"]),
            ("/a/..%2f..%2Fetc", &["a", "../../etc"]),
            ("/a+b/c%20d/%zz/%2", &["a b", "c d", "%zz", "%2"]),
            ("", &[]),
            ("///", &[]),
        ] {
            assert_eq!(segments(path).unwrap(), expect, "{path}");
        }
        assert_eq!(segments(&"/a".repeat(METADATA_SEGMENTS_MAX + 1)), None);
        assert!(segments(&"/a".repeat(METADATA_SEGMENTS_MAX)).is_some());
    }

    #[test]
    fn a_question_waits_only_when_it_says_so_and_names_a_value() {
        for (query, until_not, max_wait) in [
            ("wait=true&value=", Some(""), None),
            ("wait=true&value=a%2Fb&maxWait=5", Some("a/b"), Some(5)),
            ("wait=true", None, None),
            ("wait=1&value=x", None, None),
            ("value=x", None, None),
            ("wait=true&value=x&maxWait=abc", Some("x"), None),
            ("wait=true&value=x&maxWait=-1", Some("x"), None),
            ("", None, None),
        ] {
            let expect = Question { until_not: until_not.map(str::to_owned), max_wait };
            assert_eq!(Question::of(query), expect, "{query}");
        }
    }

    proptest! {
        #[test]
        fn what_a_listing_writes_leads_back(key in ".{1,20}") {
            let mut path = b"/".to_vec();
            escape(&key, &mut path);
            let path = String::from_utf8(path).unwrap();
            prop_assert_eq!(segments(&path).unwrap(), vec![key]);
        }

        #[test]
        fn no_path_and_no_question_is_too_much(text in ".{0,200}") {
            _ = segments(&text);
            _ = Question::of(&text);
        }
    }
}
