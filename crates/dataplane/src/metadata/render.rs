//! An answer in the form that was asked for: text, JSON or YAML. Writes what the path leads to, and
//! looks at nothing else.

use super::tree::{Node, Reader};
use serde_json::Value;
use std::borrow::Cow;

/// A form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Json,
    Yaml,
}

impl Format {
    /// By the `Accept` header; text when it names none of ours.
    pub(super) fn of(accept: &str) -> Self {
        let kinds = accept.split(',').map(|kind| kind.split(';').next().unwrap_or("").trim());
        for kind in kinds {
            match kind.to_ascii_lowercase().as_str() {
                "application/json" => return Self::Json,
                "application/yaml" | "application/x-yaml" | "text/yaml" | "text/x-yaml" => {
                    return Self::Yaml;
                }
                "text/plain" => return Self::Text,
                _ => {}
            }
        }
        Self::Text
    }

    /// Its `Content-Type`.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; charset=utf-8",
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
        }
    }

    /// What is said of an error.
    pub(super) fn error(self, code: u16, message: &str) -> Vec<u8> {
        match self {
            Self::Text => format!("{message}\n"),
            Self::Json => {
                format!("{{\"code\":{code},\"message\":\"{message}\",\"type\":\"error\"}}\n")
            }
            Self::Yaml => format!("code: {code}\nmessage: {message}\ntype: error\n"),
        }
        .into_bytes()
    }
}

/// A value looked into once.
enum Open<'w> {
    Scalar(Scalar<'w>),
    Map(Vec<(Cow<'w, str>, Node<'w>)>),
    List(Vec<Node<'w>>),
}

enum Scalar<'w> {
    Null,
    Plain(String),
    Text(Cow<'w, str>),
}

fn open<'w>(reader: Reader<'w>, node: Node<'w>) -> Open<'w> {
    match node {
        Node::Null | Node::Json(Value::Null) => Open::Scalar(Scalar::Null),
        Node::Bool(value) | Node::Json(&Value::Bool(value)) => {
            Open::Scalar(Scalar::Plain(value.to_string()))
        }
        Node::Int(number) => Open::Scalar(Scalar::Plain(number.to_string())),
        Node::Json(Value::Number(number)) => Open::Scalar(Scalar::Plain(plain_number(number))),
        Node::Text(text) => Open::Scalar(Scalar::Text(text)),
        Node::Json(Value::String(text)) => Open::Scalar(Scalar::Text(text.into())),
        Node::Map(all) => Open::Map(all),
        Node::List(all) => Open::List(all),
        Node::Json(Value::Object(all)) => Open::Map(
            all.iter().map(|(key, value)| (key.as_str().into(), Node::Json(value))).collect(),
        ),
        Node::Json(Value::Array(all)) => Open::List(all.iter().map(Node::Json).collect()),
        Node::Branch(branch) => match reader.keys(branch) {
            Some(keys) => {
                let value = |key| reader.get(branch, key).unwrap_or(Node::Null);
                Open::Map(keys.into_iter().map(|key| (key.into(), value(key))).collect())
            }
            None => Open::List(reader.items(branch)),
        },
    }
}

/// Without an exponent.
fn plain_number(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() => format!("{float}"),
        _ => number.to_string(),
    }
}

/// The text of a scalar, for comparisons and for text; `None` for what is a map or a list.
pub(super) fn scalar<'w>(reader: Reader<'w>, node: Node<'w>) -> Option<Cow<'w, str>> {
    match node {
        Node::Branch(_) | Node::Map(_) | Node::List(_) => return None,
        Node::Json(Value::Object(_) | Value::Array(_)) => return None,
        _ => {}
    }
    match open(reader, node) {
        Open::Scalar(Scalar::Null) => Some("".into()),
        Open::Scalar(Scalar::Plain(text)) => Some(text.into()),
        Open::Scalar(Scalar::Text(text)) => Some(text),
        Open::Map(_) | Open::List(_) => None,
    }
}

/// The answer.
pub(super) fn render<'w>(reader: Reader<'w>, node: Node<'w>, format: Format) -> Vec<u8> {
    let mut out = vec![];
    match format {
        Format::Text => text(reader, node, &mut out),
        Format::Json => json(reader, node, &mut out),
        Format::Yaml => yaml(reader, open(reader, node), 0, Place::Top, &mut out),
    }
    out
}

fn is_deep(node: &Node<'_>) -> bool {
    matches!(
        node,
        Node::Map(_)
            | Node::List(_)
            | Node::Branch(_)
            | Node::Json(Value::Object(_) | Value::Array(_))
    )
}

fn text<'w>(reader: Reader<'w>, node: Node<'w>, out: &mut Vec<u8>) {
    match open(reader, node) {
        Open::Scalar(Scalar::Null) => {}
        Open::Scalar(Scalar::Plain(text)) => out.extend_from_slice(text.as_bytes()),
        Open::Scalar(Scalar::Text(text)) => out.extend_from_slice(text.as_bytes()),
        Open::Map(all) => {
            for (key, node) in all {
                super::path::escape(&key, out);
                out.extend_from_slice(if is_deep(&node) { b"/\n" } else { b"\n" });
            }
        }
        Open::List(all) => {
            for (at, node) in all.into_iter().enumerate() {
                out.extend_from_slice(at.to_string().as_bytes());
                match called(reader, &node) {
                    Some(name) => {
                        out.push(b'=');
                        super::path::escape(&name, out);
                    }
                    None if is_deep(&node) => out.push(b'/'),
                    None => {}
                }
                out.push(b'\n');
            }
        }
    }
}

/// The name of a map, or its UUID.
fn called<'w>(reader: Reader<'w>, node: &Node<'w>) -> Option<Cow<'w, str>> {
    let is_map = match node {
        Node::Map(_) | Node::Json(Value::Object(_)) => true,
        Node::Branch(branch) => reader.keys(*branch).is_some(),
        _ => false,
    };
    let of = |key| match reader.step(node, key) {
        Some(Node::Text(text)) => Some(text),
        Some(Node::Json(Value::String(text))) => Some(text.into()),
        _ => None,
    };
    is_map.then(|| of("name").or_else(|| of("uuid"))).flatten()
}

fn quoted(text: &str, out: &mut Vec<u8>) {
    // A string is always written to memory.
    serde_json::to_writer(&mut *out, text).unwrap_or_default();
}

fn json<'w>(reader: Reader<'w>, node: Node<'w>, out: &mut Vec<u8>) {
    match open(reader, node) {
        Open::Scalar(Scalar::Null) => out.extend_from_slice(b"null"),
        Open::Scalar(Scalar::Plain(text)) => out.extend_from_slice(text.as_bytes()),
        Open::Scalar(Scalar::Text(text)) => quoted(&text, out),
        Open::Map(all) => {
            out.push(b'{');
            for (at, (key, node)) in all.into_iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                quoted(&key, out);
                out.push(b':');
                json(reader, node, out);
            }
            out.push(b'}');
        }
        Open::List(all) => {
            out.push(b'[');
            for (at, node) in all.into_iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                json(reader, node, out);
            }
            out.push(b']');
        }
    }
}

/// Where a YAML value stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Top,
    /// Behind `key:`.
    Value,
    /// Behind `-`.
    Member,
}

fn yaml<'w>(
    reader: Reader<'w>,
    open_node: Open<'w>,
    depth: usize,
    place: Place,
    out: &mut Vec<u8>,
) {
    let scalar = |text: &[u8], out: &mut Vec<u8>| {
        if place != Place::Top {
            out.push(b' ');
        }
        out.extend_from_slice(text);
        out.push(b'\n');
    };
    match open_node {
        Open::Scalar(Scalar::Null) => scalar(b"null", out),
        Open::Scalar(Scalar::Plain(text)) => scalar(text.as_bytes(), out),
        Open::Scalar(Scalar::Text(text)) => {
            let mut word = vec![];
            yaml_text(&text, &mut word);
            scalar(&word, out);
        }
        Open::Map(all) if all.is_empty() => scalar(b"{}", out),
        Open::List(all) if all.is_empty() => scalar(b"[]", out),
        Open::Map(all) => {
            if place == Place::Value {
                out.push(b'\n');
            }
            for (at, (key, node)) in all.into_iter().enumerate() {
                match place {
                    Place::Member if at == 0 => out.push(b' '),
                    _ => indent(depth, out),
                }
                yaml_text(&key, out);
                out.push(b':');
                yaml(reader, open(reader, node), depth + 1, Place::Value, out);
            }
        }
        Open::List(all) => {
            if place == Place::Value {
                out.push(b'\n');
            }
            for (at, node) in all.into_iter().enumerate() {
                match place {
                    Place::Member if at == 0 => out.push(b' '),
                    _ => indent(depth, out),
                }
                out.push(b'-');
                yaml(reader, open(reader, node), depth + 1, Place::Member, out);
            }
        }
    }
}

fn indent(depth: usize, out: &mut Vec<u8>) {
    out.resize(out.len() + 2 * depth, b' ');
}

/// As it is, where nobody can take it for anything but a text; else in quotes.
fn yaml_text(text: &str, out: &mut Vec<u8>) {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'/' | b'-');
    let begins = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let word = words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if begins && !word && text.bytes().all(plain) {
        out.extend_from_slice(text.as_bytes());
    } else {
        quoted(text, out);
    }
}
