//! Lists that may be maps, maps that may be lists, and single texts that may be lists.

use super::{Canon, entry, paths};
use crate::diagnostic::quoted;
use crate::yaml::{Key, Map, Node, Value};

/// A map of scalars, from a map or a list of `KEY=value`; `KEY` alone has no value.
pub(super) fn pairs(node: &Node, canon: &mut Canon<'_>, what: &str) -> Option<Node> {
    let subject = &canon.subject;
    match &node.value {
        Value::Map(_) => Some(node.clone()),
        Value::List(items) => {
            let mut map = Map::default();
            for item in items.iter().filter(|i| !i.is_null()) {
                let Some(text) = item.as_text() else {
                    canon
                        .report
                        .error(item.place, format!("{subject}: {what} has {} in it", item.kind()))
                        .expected("KEY=value");
                    continue;
                };
                let (key, value) = match text.split_once('=') {
                    Some((key, value)) => (key, Node::text(item.place, value)),
                    None => (text, Node::null(item.place)),
                };
                if key.is_empty() || key.contains(char::is_whitespace) && what == "environment" {
                    canon
                        .report
                        .error(item.place, format!("{subject}: {what} has {}", quoted(text)))
                        .expected("KEY=value with a name before the '='");
                    continue;
                }
                map.set(Key::new(item.place, key), value);
            }
            Some(Node::map(node.place, map))
        }
        Value::Scalar { .. } => {
            canon
                .report
                .error(node.place, format!("{subject}: {what} is {}", node.kind()))
                .expected("a map, or a list of KEY=value");
            None
        }
    }
}

/// A list, from a list or one text.
pub(super) fn texts(node: &Node) -> Node {
    match &node.value {
        Value::Scalar { .. } => Node::list(node.place, vec![node.clone()]),
        _ => node.clone(),
    }
}

/// A list of texts, from a list or a map whose keys and values are joined by a sign. A value that
/// is a list gives one text each.
pub(super) fn joined(node: &Node, sign: char) -> Node {
    let Value::Map(map) = &node.value else { return texts(node) };
    let mut items = vec![];
    for (key, value) in map.iter() {
        let values = match &value.value {
            Value::List(values) => values.to_vec(),
            _ => vec![value.clone()],
        };
        for value in values {
            let text = value.as_text().unwrap_or("");
            items.push(Node::text(value.place, format!("{}{sign}{text}", key.text)));
        }
    }
    Node::list(node.place, items)
}

/// A map with one key, from a text; anything else stays.
pub(super) fn wrapped(node: &Node, key: &str) -> Node {
    match node.as_text() {
        Some(_) => {
            let map = [(Key::new(node.place, key), node.clone())].into_iter().collect();
            Node::map(node.place, map)
        }
        None => node.clone(),
    }
}

/// A map by name, from a map or a list of names; a name of the list gets one default entry.
pub(super) fn names(
    node: &Node,
    canon: &mut Canon<'_>,
    what: &str,
    default: Option<(&str, &str)>,
) -> Option<Node> {
    let of = |place| match default {
        Some((key, value)) => Node::map(place, [entry(place, key, value)].into_iter().collect()),
        None => Node::null(place),
    };
    match &node.value {
        Value::Map(map) => {
            let fill = |n: &Node| if n.is_null() { of(n.place) } else { n.clone() };
            let map = map.iter().map(|(k, n)| (k.clone(), fill(n))).collect();
            Some(Node::map(node.place, map))
        }
        Value::List(items) => {
            let mut map = Map::default();
            for item in items.iter() {
                let Some(name) = item.as_text() else {
                    let subject = &canon.subject;
                    canon
                        .report
                        .error(item.place, format!("{subject}: {what} has {} in it", item.kind()))
                        .expected("a name");
                    continue;
                };
                map.set(Key::new(item.place, name), of(item.place));
            }
            Some(Node::map(node.place, map))
        }
        Value::Scalar { .. } => {
            let subject = &canon.subject;
            canon
                .report
                .error(node.place, format!("{subject}: {what} is {}", node.kind()))
                .expected("a list of names, or a map");
            None
        }
    }
}

/// A list whose items are each brought to their long form, which may be several.
pub(super) fn items(
    node: &Node,
    canon: &mut Canon<'_>,
    what: &str,
    long: fn(&Node, &mut Canon<'_>) -> Vec<Node>,
) -> Option<Node> {
    let Some(list) = node.as_list() else {
        let subject = &canon.subject;
        canon
            .report
            .error(node.place, format!("{subject}: {what} is {}", node.kind()))
            .expected("a list");
        return None;
    };
    let mut out = vec![];
    for item in list {
        out.extend(long(item, canon));
    }
    Some(Node::list(node.place, out))
}

/// A list of `{path, required, format}`.
pub(super) fn env_files(node: &Node, canon: &mut Canon<'_>) -> Option<Node> {
    let list = match &node.value {
        Value::Map(_) => Node::list(node.place, vec![node.clone()]),
        _ => texts(node),
    };
    items(&list, canon, "env_file", |item, canon| {
        let mut item = wrapped(item, "path");
        if let Some(path) = item.as_map_mut().and_then(|m| m.get_mut("path"))
            && let Some(absolute) = paths::absolute(path, canon)
        {
            *path = absolute;
        }
        vec![item]
    })
}

/// Maps of `{soft, hard}`, from numbers.
pub(super) fn ulimits(node: &Node) -> Node {
    let Value::Map(map) = &node.value else { return node.clone() };
    let both = |n: &Node| match n.as_text() {
        Some(_) => {
            let of = |name| (Key::new(n.place, name), n.clone());
            Node::map(n.place, [of("soft"), of("hard")].into_iter().collect())
        }
        None => n.clone(),
    };
    let map = map.iter().map(|(key, n)| (key.clone(), both(n))).collect();
    Node::map(node.place, map)
}
