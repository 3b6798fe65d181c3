//! Functions of formats: base64, JSON, YAML, TOML, hashes.

use super::{Call, Outcome, Table};
use crate::value::{from_json, text, to_json};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use gotmpl::{TemplateError, Value};
use serde_json::Value as Json;

pub(super) const TABLE: Table = &[
    ("base64Decode", |c| one(c).and_then(|t| decoded(c, STANDARD.decode(t)))),
    ("base64Encode", |c| one(c).and_then(|t| c.made(STANDARD.encode(t)))),
    ("base64URLDecode", |c| one(c).and_then(|t| decoded(c, URL_SAFE.decode(t)))),
    ("base64URLEncode", |c| one(c).and_then(|t| c.made(URL_SAFE.encode(t)))),
    ("parseJSON", parse_json),
    ("parseYAML", parse_yaml),
    ("toJSON", |c| json_of(c).and_then(|j| c.made(escaped(&compact(&j))))),
    ("toJSONPretty", |c| json_of(c).and_then(|j| c.made(escaped(&pretty(&j))))),
    ("toUnescapedJSON", |c| json_of(c).and_then(|j| c.made(compact(&j)))),
    ("toUnescapedJSONPretty", |c| json_of(c).and_then(|j| c.made(pretty(&j)))),
    ("toYAML", |c| json_of(c).and_then(|j| c.made(crate::yaml::write(&j)))),
    ("toTOML", to_toml),
    ("md5sum", |c| one(c).and_then(|t| c.made(format!("{:x}", md5::compute(t))))),
    ("sha256Hex", |c| one(c).and_then(|t| c.made(hash(&ring::digest::SHA256, t)))),
    ("hmacSHA256Hex", hmac),
];

fn one<'a>(call: &'a Call<'_>) -> Result<&'a str, TemplateError> {
    call.count(1, 1)?;
    call.text(0)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A hash of text in hexadecimal.
pub(super) fn hash(how: &'static ring::digest::Algorithm, text: &str) -> String {
    hex(ring::digest::digest(how, text.as_bytes()).as_ref())
}

pub(super) fn decoded(call: &Call<'_>, bytes: Result<Vec<u8>, base64::DecodeError>) -> Outcome {
    let bytes = bytes.map_err(|e| call.fail(e))?;
    let made = String::from_utf8(bytes);
    call.made(made.map_err(|_no| call.fail("what is inside is no text in UTF-8"))?)
}

fn parse_json(call: &Call<'_>) -> Outcome {
    let text = one(call)?;
    if text.is_empty() {
        return Ok(Value::Map(std::sync::Arc::default()));
    }
    let json: Json = serde_json::from_str(text).map_err(|e| call.fail(e))?;
    Ok(from_json(&json))
}

fn parse_yaml(call: &Call<'_>) -> Outcome {
    let text = one(call)?;
    if text.is_empty() {
        return Ok(Value::Map(std::sync::Arc::default()));
    }
    crate::yaml::parse(text).map(|json| from_json(&json)).map_err(|why| call.fail(why))
}

pub(super) fn json_of(call: &Call<'_>) -> Result<Json, TemplateError> {
    call.count(1, 1)?;
    to_json(call.arg(0)?).ok_or_else(|| call.fail("is nested too deep"))
}

pub(super) fn compact(json: &Json) -> String {
    json.to_string()
}

pub(super) fn pretty(json: &Json) -> String {
    serde_json::to_string_pretty(json).unwrap_or_default()
}

/// As Go writes JSON, harmless inside HTML.
pub(super) fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            c => out.push(c),
        }
    }
    out
}

fn without_null(json: Json) -> Json {
    match json {
        Json::Object(fields) => {
            let kept = fields.into_iter().filter(|(_, v)| !v.is_null());
            Json::Object(kept.map(|(k, v)| (k, without_null(v))).collect())
        }
        Json::Array(items) => Json::Array(items.into_iter().map(without_null).collect()),
        other => other,
    }
}

fn to_toml(call: &Call<'_>) -> Outcome {
    let json = without_null(json_of(call)?);
    call.made(toml::to_string(&json).map_err(|e| call.fail(e))?)
}

fn hmac(call: &Call<'_>) -> Outcome {
    call.count(2, 2)?;
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, call.text(1)?.as_bytes());
    Ok(text(hex(ring::hmac::sign(&key, call.text(0)?.as_bytes()).as_ref())))
}
