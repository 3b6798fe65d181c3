//! `volumes` and `devices` in their short forms.

use super::{Canon, entry, paths};
use crate::diagnostic::quoted;
use crate::source::Place;
use crate::yaml::{Key, Map, Node, Value};

const EXPECTED: &str = "[volume or host path:]/path[:ro], such as \"./data:/data\"";

/// The long form of one entry of `volumes`; none with an error.
pub(super) fn volume(node: &Node, canon: &mut Canon<'_>) -> Vec<Node> {
    let subject = canon.subject.clone();
    match &node.value {
        Value::Map(map) => vec![long(node, map, canon)],
        Value::Scalar { text, .. } if !node.is_null() => match short(text) {
            Ok(parts) => vec![parts.node(node.place, canon)],
            Err((why, hint)) => {
                let message = format!("{subject}: volumes: {}: {why}", quoted(text));
                let finding = canon.report.error(node.place, message);
                finding.expected(EXPECTED);
                if let Some(hint) = hint {
                    finding.hint(hint);
                }
                vec![]
            }
        },
        _ => {
            let message = format!("{subject}: volumes has {} in it", node.kind());
            canon.report.error(node.place, message).expected(EXPECTED);
            vec![]
        }
    }
}

fn long(node: &Node, map: &Map, canon: &mut Canon<'_>) -> Node {
    let is_bind = map.get("type").and_then(Node::as_text) == Some("bind");
    let mut out = map.clone();
    if is_bind
        && let Some(source) = out.get_mut("source")
        && let Some(absolute) = paths::absolute(source, canon)
    {
        *source = absolute;
    }
    Node { mark: node.mark, ..Node::map(node.place, out) }
}

struct Short<'t> {
    source: Option<&'t str>,
    target: &'t str,
    modes: Vec<&'t str>,
}

fn short(text: &str) -> Result<Short<'_>, (String, Option<String>)> {
    let windows = text.as_bytes();
    if windows.len() > 2 && windows[0].is_ascii_alphabetic() && &windows[1..3] == b":\\" {
        return Err(("it is a path of Windows".to_owned(), None));
    }
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, mode) = match parts[..] {
        [target] => (None, target, ""),
        [source, target] => (Some(source), target, ""),
        [source, target, mode] => (Some(source), target, mode),
        _ => return Err(("it has too many ':'".to_owned(), None)),
    };
    if source == Some("") {
        return Err(("nothing stands before the ':'".to_owned(), None));
    }
    if !target.starts_with('/') {
        let why = format!("the path in the container, {}, is not absolute", quoted(target));
        let hint = source.is_none().then(|| "name the host path and the container's path".into());
        return Err((why, hint));
    }
    if let Some(source) = source
        && !paths::is_host_path(source)
        && source.contains('/')
    {
        let why = format!("{} is neither a path nor a volume's name", quoted(source));
        return Err((why, Some(format!("write ./{source} for a path beside the file"))));
    }
    let modes: Vec<&str> = mode.split(',').filter(|m| !m.is_empty()).collect();
    let known = [
        "ro",
        "rw",
        "z",
        "Z",
        "nocopy",
        "copy",
        "cached",
        "delegated",
        "consistent",
        "default",
        "rprivate",
        "private",
        "rshared",
        "shared",
        "rslave",
        "slave",
        "U",
    ];
    if let Some(strange) = modes.iter().find(|m| !known.contains(m)) {
        return Err((format!("mode {} is not known", quoted(strange)), None));
    }
    Ok(Short { source, target, modes })
}

impl Short<'_> {
    fn node(self, place: Place, canon: &mut Canon<'_>) -> Node {
        let has = |m: &str| self.modes.contains(&m);
        let mut map = Map::default();
        let mut put = |key: &str, node: Node| map.set(Key::new(place, key), node);
        let bind = self.source.is_some_and(paths::is_host_path);
        put("type", Node::text(place, if bind { "bind" } else { "volume" }));
        if let Some(source) = self.source {
            let node = Node::text(place, source);
            let absolute = if bind { paths::absolute(&node, canon) } else { None };
            put("source", absolute.unwrap_or(node));
        }
        put("target", Node::text(place, self.target));
        if has("ro") {
            put("read_only", Node::plain(place, "true"));
        }
        let mut options = Map::default();
        if bind {
            options.set(Key::new(place, "create_host_path"), Node::plain(place, "true"));
            let spread = ["rprivate", "private", "rshared", "shared", "rslave", "slave"];
            if let Some(spread) = spread.into_iter().find(|m| has(m)) {
                let (key, node) = entry(place, "propagation", spread);
                options.set(key, node);
            }
            if let Some(label) = ["z", "Z"].into_iter().find(|m| has(m)) {
                let (key, node) = entry(place, "selinux", label);
                options.set(key, node);
            }
        } else if has("nocopy") {
            options.set(Key::new(place, "nocopy"), Node::plain(place, "true"));
        }
        if !options.is_empty() {
            put(if bind { "bind" } else { "volume" }, Node::map(place, options));
        }
        Node::map(place, map)
    }
}

/// A device as `host:container:permissions`, from the long form; a text stays.
pub(super) fn device(node: &Node, canon: &mut Canon<'_>) -> Vec<Node> {
    let Value::Map(map) = &node.value else { return vec![node.clone()] };
    let part = |name: &str| map.get(name).and_then(Node::as_text);
    let Some(source) = part("source") else {
        let message = format!("{}: devices: an entry has no source", canon.subject);
        canon.report.error(node.place, message).expected("source, target and permissions");
        return vec![];
    };
    let target = part("target").unwrap_or(source);
    let permissions = part("permissions").unwrap_or("rwm");
    vec![Node::text(node.place, format!("{source}:{target}:{permissions}"))]
}
