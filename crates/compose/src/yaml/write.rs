//! The tree as canonical YAML: block style, keys sorted, texts quoted where any reader of YAML 1.1
//! or 1.2 could take them for something else, `$` doubled so that the result loads again.

use crate::yaml::node::{Map, Mark, Node, Value};
use std::fmt::Write;

/// The text of a map. Values marked `Hidden` are left out behind a tag that does not load.
pub(crate) fn write(map: &Map) -> String {
    let mut out = String::new();
    entries(map, 0, &mut out);
    out
}

fn entries(map: &Map, indent: usize, out: &mut String) {
    let mut sorted: Vec<_> = map.iter().collect();
    sorted.sort_by(|a, b| a.0.text.cmp(&b.0.text));
    for (key, node) in sorted {
        pad(indent, out);
        scalar(&key.text, false, out);
        out.push(':');
        value(node, indent, false, out);
    }
}

fn value(node: &Node, indent: usize, in_list: bool, out: &mut String) {
    if node.mark == Mark::Hidden {
        out.push_str(" !hidden ''\n");
        return;
    }
    match &node.value {
        Value::Scalar { .. } if node.is_null() => out.push_str(" null\n"),
        Value::Scalar { text, plain } => {
            out.push(' ');
            scalar(&text.replace('$', "$$"), *plain, out);
            out.push('\n');
        }
        Value::List(items) if items.is_empty() => out.push_str(" []\n"),
        Value::Map(map) if map.is_empty() => out.push_str(" {}\n"),
        Value::List(items) => {
            out.push('\n');
            for item in items.iter() {
                pad(indent + 2, out);
                out.push('-');
                value(item, indent + 2, true, out);
            }
        }
        Value::Map(map) => {
            if in_list {
                // The first key stands behind the dash, the others below it.
                let mut text = String::new();
                entries(map, indent + 2, &mut text);
                out.push(' ');
                out.push_str(text.trim_start_matches(' '));
            } else {
                out.push('\n');
                entries(map, indent + 2, out);
            }
        }
    }
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

fn scalar(text: &str, plain: bool, out: &mut String) {
    if is_safe(text) || (plain && is_number(text)) || (plain && matches!(text, "true" | "false")) {
        out.push_str(text);
        return;
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                write!(out, "\\U{:08X}", u32::from(c)).expect("writing to a String does not fail");
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'))
}

/// May it stand without quotes, and still be a text for everybody?
fn is_safe(text: &str) -> bool {
    let word = text.to_ascii_lowercase();
    let reserved =
        ["y", "n", "yes", "no", "on", "off", "true", "false", "null"].contains(&word.as_str());
    let start = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'/');
    let body = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-./@+=:$".contains(&b));
    start && body && !reserved && !text.ends_with(':')
}
