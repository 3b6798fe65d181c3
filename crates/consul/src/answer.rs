//! What is answered: a status, a few headers and a body that is whole. Errors are plain text, as
//! clients print them.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use serde::Serialize;

/// Where a read stands; clients give it back as `?index=`.
const INDEX: HeaderName = HeaderName::from_static("x-consul-index");
const KNOWN_LEADER: HeaderName = HeaderName::from_static("x-consul-knownleader");
const LAST_CONTACT: HeaderName = HeaderName::from_static("x-consul-lastcontact");
const EFFECTIVE: HeaderName = HeaderName::from_static("x-consul-effective-consistency");

/// An answer. One that is an error is made by `Answer::error` and its kin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// Headers beside those that every answer has.
    pub headers: Box<HeaderMap>,
    /// The body, whole.
    pub body: Bytes,
}

impl Answer {
    /// An empty answer.
    #[must_use]
    pub fn empty(status: StatusCode) -> Self {
        Self { status, headers: Box::default(), body: Bytes::new() }
    }

    /// 200 with a JSON document.
    #[must_use]
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self::json_bytes(body),
            Err(error) => Self::failed(format!("the answer cannot be written: {error}")),
        }
    }

    /// 200 with a JSON document that is written already.
    #[must_use]
    pub fn json_bytes(body: impl Into<Bytes>) -> Self {
        Self::empty(StatusCode::OK).with_type("application/json").with_body(body)
    }

    /// An error as plain text: what, where, why.
    #[must_use]
    pub fn error(status: StatusCode, text: impl Into<String>) -> Self {
        Self::empty(status).with_type("text/plain; charset=utf-8").with_body(text.into())
    }

    /// 400: the caller's mistake.
    #[must_use]
    pub fn bad(text: impl Into<String>) -> Self {
        Self::error(StatusCode::BAD_REQUEST, text)
    }

    /// 404.
    #[must_use]
    pub fn not_found(text: impl Into<String>) -> Self {
        Self::error(StatusCode::NOT_FOUND, text)
    }

    /// 413: a body of `bytes` where `max` are taken.
    #[must_use]
    pub fn too_large(bytes: usize, max: usize) -> Self {
        let text = format!("Request body({bytes} bytes) too large, max size: {max} bytes.");
        Self::error(StatusCode::PAYLOAD_TOO_LARGE, text)
    }

    /// 500: clients try again.
    #[must_use]
    pub fn failed(text: impl Into<String>) -> Self {
        Self::error(StatusCode::INTERNAL_SERVER_ERROR, text)
    }

    /// 500 in the words by which clients know that nobody can answer now.
    #[must_use]
    pub fn no_leader() -> Self {
        Self::failed("No cluster leader")
    }

    /// Is it one of success?
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.status.is_success()
    }

    /// The same with another body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// The same with a content type.
    #[must_use]
    pub fn with_type(self, kind: &'static str) -> Self {
        self.with(header::CONTENT_TYPE, HeaderValue::from_static(kind))
    }

    /// The same with a header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// The same with what every read says: the index (1 where it would be 0), that there is a
    /// leader, and that it was asked just now.
    #[must_use]
    pub fn with_index(self, index: u64) -> Self {
        self.with(INDEX, index.max(1).into())
            .with(KNOWN_LEADER, HeaderValue::from_static("true"))
            .with(LAST_CONTACT, HeaderValue::from_static("0"))
            .with(EFFECTIVE, HeaderValue::from_static("leader"))
    }

    /// The index that `with_index` set, for tests and the cache.
    #[must_use]
    pub fn index(&self) -> Option<u64> {
        self.headers.get(INDEX)?.to_str().ok()?.parse().ok()
    }
}

/// The JSON of an answer written with indentation, as `?pretty` asks; anything else as it is.
#[must_use]
pub(crate) fn pretty(answer: Answer) -> Answer {
    let kind = answer.headers.get(header::CONTENT_TYPE);
    if !kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json")) {
        return answer;
    }
    let body = indent(&answer.body);
    answer.with_body(body)
}

/// Indents a document, which is valid and has no blanks outside of its texts.
fn indent(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() + json.len() / 4);
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    let line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', depth * 4));
    };
    for (at, byte) in json.iter().copied().enumerate() {
        if in_text {
            out.push(byte);
            in_text = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'[' | b'{' => {
                out.push(byte);
                depth += 1;
                if !matches!(json.get(at + 1), Some(b']' | b'}')) {
                    line(&mut out, depth);
                }
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                if at > 0 && !matches!(json[at - 1], b'[' | b'{') {
                    line(&mut out, depth);
                }
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                line(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            _ => {
                out.push(byte);
                in_text = byte == b'"';
            }
        }
    }
    out.push(b'\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pretty_keeps_the_order_and_the_numbers() {
        let body = r#"[{"b":18446744073709551615,"a":null,"c":[],"d":"x\"[,","e":{"z":true}}]"#;
        let answer = pretty(Answer::json_bytes(body.to_owned()));
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        let want = "[\n    {\n        \"b\": 18446744073709551615,\n        \"a\": null,\n        \
                    \"c\": [],\n        \"d\": \"x\\\"[,\",\n        \"e\": {\n            \"z\": true\n        \
                    }\n    }\n]\n";
        assert_eq!(text, want);
        assert_eq!(pretty(Answer::bad("{}")).body, "{}");
    }

    #[test]
    fn an_index_is_never_zero() {
        assert_eq!(Answer::json(&()).with_index(0).index(), Some(1));
        assert_eq!(Answer::json(&()).with_index(7).index(), Some(7));
    }
}
