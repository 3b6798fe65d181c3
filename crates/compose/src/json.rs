//! A tree as JSON, for Rancher's `metadata`, which services read back.

use crate::yaml::{Node, Value};
use serde_json::Value as Json;

/// Unquoted numbers and booleans keep their type, all else is text.
pub(crate) fn value(node: &Node) -> Json {
    match &node.value {
        _ if node.is_null() => Json::Null,
        Value::Scalar { text, plain: true } => plain(text),
        Value::Scalar { text, .. } => Json::String(text.to_string()),
        Value::List(items) => items.iter().map(value).collect(),
        Value::Map(map) => map.iter().map(|(k, n)| (k.text.to_string(), value(n))).collect(),
    }
}

fn plain(text: &str) -> Json {
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "true" | "yes" | "on" => return Json::Bool(true),
        "false" | "no" | "off" => return Json::Bool(false),
        _ => {}
    }
    // Only what reads back as it was written is a number: 010 and 1_000 stay texts.
    if let Ok(number) = text.parse::<i64>()
        && number.to_string() == text
    {
        return Json::from(number);
    }
    let decimal = text.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'-');
    match text.parse::<f64>() {
        Ok(number) if decimal && text.contains('.') && number.to_string() == text => {
            serde_json::Number::from_f64(number).map_or_else(|| text.into(), Json::Number)
        }
        _ => text.into(),
    }
}
