//! Checks a tree against the table of keys: unknown keys, keys without effect, wrong types. It
//! reports and changes nothing; who reads a value afterwards may rely on its shape.

use crate::diagnostic::{Report, quoted};
use crate::keys::{self, Scope, Shape, Status};
use crate::scalar;
use crate::yaml::{Map, Node, Value};

/// Checks a map whose keys belong to a scope. `subject` begins every message.
pub(crate) fn check_map(map: &Map, scope: Scope, subject: &str, report: &mut Report) {
    for (key, node) in map.iter() {
        let name = &*key.text;
        if name.starts_with("x-") {
            // Those of ours have lost this sign by now.
            if let Some(rest) = name.strip_prefix("x-remuda-") {
                let message = format!("{subject}: key {} is not known", quoted(name));
                report.warn(key.place, message).near_key(scope, rest);
            }
            continue;
        }
        let Some(info) = keys::find(scope, name) else {
            let message = format!("{subject}: key {} is not known and has no effect", quoted(name));
            report.warn(key.place, message).near_key(scope, name);
            continue;
        };
        if let Status::Later(note) = info.status {
            let what = format!("{subject}: {name} is not carried out yet: {note}");
            report.warn(key.place, what);
        }
        check(node, info.shape, &format!("{subject}: {name}"), report);
    }
}

fn check(node: &Node, shape: Shape, what: &str, report: &mut Report) {
    if node.is_null() {
        return;
    }
    let expected: Result<(), String> = match shape {
        Shape::Any => Ok(()),
        Shape::Text => text(node).map(|_| ()).ok_or_else(|| "a text".to_owned()),
        Shape::Bool => parsed(node, scalar::boolean),
        Shape::Integer(min, max) => integer(node, min, max),
        Shape::Decimal => parsed(node, scalar::milli),
        Shape::Duration => parsed(node, scalar::duration_ms),
        Shape::Size { unlimited } => match text(node) {
            Some("-1") if unlimited => Ok(()),
            _ => parsed(node, scalar::size),
        },
        Shape::Texts => each(node, "a list of texts", |item| match text(item) {
            Some(_) => true,
            None => {
                wrong(item, what, "a text", report);
                false
            }
        }),
        Shape::Command => match &node.value {
            Value::Scalar { .. } => Ok(()),
            _ => each(node, "a text or a list of texts", |item| match &item.value {
                Value::Scalar { .. } => true,
                _ => {
                    wrong(item, what, "a text", report);
                    false
                }
            }),
        },
        Shape::Pairs => match node.as_map() {
            None => Err("a map, or a list of KEY=value".to_owned()),
            Some(map) => {
                for (key, value) in map.iter() {
                    if !matches!(value.value, Value::Scalar { .. }) {
                        wrong(value, &format!("{what}: {}", key.text), "a text", report);
                    }
                }
                Ok(())
            }
        },
        Shape::List => node.as_list().map(|_| ()).ok_or_else(|| "a list".to_owned()),
        Shape::Object(scope) => match node.as_map() {
            None => Err("a map".to_owned()),
            Some(map) => {
                check_map(map, scope, what, report);
                Ok(())
            }
        },
        Shape::ObjectMap(scope) => match node.as_map() {
            None => Err("a map".to_owned()),
            Some(map) => {
                for (key, item) in map.iter() {
                    let what = format!("{what}: {}", key.text);
                    check(item, Shape::Object(scope), &what, report);
                }
                Ok(())
            }
        },
        Shape::ObjectList(scope) => match node.as_list() {
            None => Err("a list".to_owned()),
            Some(items) => {
                for item in items {
                    check(item, Shape::Object(scope), what, report);
                }
                Ok(())
            }
        },
    };
    if let Err(expected) = expected {
        wrong(node, what, &expected, report);
    }
}

fn wrong(node: &Node, what: &str, expected: &str, report: &mut Report) {
    report.error(node.place, format!("{what} is {}", node.kind())).expected(expected);
}

fn text(node: &Node) -> Option<&str> {
    node.as_text()
}

fn parsed<T>(node: &Node, parse: fn(&str) -> Result<T, &'static str>) -> Result<(), String> {
    let expected = |e: &str| e.to_owned();
    match text(node) {
        Some(text) => parse(text).map(|_| ()).map_err(expected),
        None => Err(parse("").err().map_or_else(String::new, expected)),
    }
}

fn integer(node: &Node, min: i64, max: i64) -> Result<(), String> {
    let range = match (min, max) {
        (0, i64::MAX) => "a whole number, not negative".to_owned(),
        (-1, i64::MAX) => "a whole number, or -1 for no limit".to_owned(),
        _ => format!("a whole number from {min} to {max}"),
    };
    match text(node).map(scalar::integer) {
        Some(Ok(n)) if (min..=max).contains(&n) => Ok(()),
        Some(Err(expected)) if expected.contains("zeros") => Err(expected.to_owned()),
        _ => Err(range),
    }
}

fn each(node: &Node, expected: &str, mut accepts: impl FnMut(&Node) -> bool) -> Result<(), String> {
    let items = node.as_list().ok_or_else(|| expected.to_owned())?;
    // One remark for a list is enough: the same mistake is often made in each line.
    let _all = items.iter().all(&mut accepts);
    Ok(())
}
