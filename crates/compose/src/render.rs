//! The merged, interpolated stack as canonical YAML. What a secret holds is never in it.

use crate::source::Place;
use crate::yaml::{Key, Map, Mark, Node};

/// The top-level maps of a loaded stack.
#[derive(Default)]
pub(crate) struct Whole {
    pub(crate) name: String,
    pub(crate) services: Map,
    pub(crate) volumes: Map,
    pub(crate) networks: Map,
    pub(crate) secrets: Map,
    pub(crate) configs: Map,
    pub(crate) policy: Option<Node>,
}

/// The text of the whole stack; it loads again to the same stack, unless a secret's content stood
/// in the file itself.
pub(crate) fn text(whole: Whole) -> String {
    let place = Place { file: 0, line: 1, column: 1 };
    let mut top = Map::default();
    top.set(Key::new(place, "name"), Node::text(place, whole.name));
    let sections = [
        ("services", whole.services),
        ("volumes", whole.volumes),
        ("networks", whole.networks),
        ("secrets", hidden(whole.secrets)),
        ("configs", whole.configs),
    ];
    for (name, map) in sections {
        if !map.is_empty() {
            top.set(Key::new(place, name), Node::map(place, map));
        }
    }
    if let Some(policy) = whole.policy {
        top.set(Key::new(place, "network_policy"), policy);
    }
    crate::yaml::write(&top)
}

fn hidden(secrets: Map) -> Map {
    let mut out = Map::default();
    for (key, mut node) in secrets {
        if let Some(content) = node.as_map_mut().and_then(|m| m.get_mut("content")) {
            content.mark = Mark::Hidden;
        }
        out.set(key, node);
    }
    out
}
