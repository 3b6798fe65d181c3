//! One file over another, by compose's rules: maps merge key by key, lists append, what names the
//! same thing (a port, a mount's target …) is replaced, commands and single values are replaced.

use crate::diagnostic::Report;
use crate::source::Place;
use crate::yaml::{Key, Map, Mark, Node, Value};
use model::limits;
use std::collections::BTreeMap;

/// Merges within a budget: a large map below many services would be copied for each of them.
#[derive(Debug, Default)]
pub(crate) struct Merger {
    copied: usize,
    exhausted: bool,
}

impl Merger {
    /// Counts copies; false, with one error, when there were too many.
    fn charge(&mut self, entries: usize, place: Place, report: &mut Report) -> bool {
        self.copied = self.copied.saturating_add(entries);
        if self.copied <= limits::COMPOSE_MERGED_ENTRIES_MAX {
            return true;
        }
        if !self.exhausted {
            self.exhausted = true;
            let max = limits::COMPOSE_MERGED_ENTRIES_MAX;
            report
                .error(place, format!("merging copies over {max} entries"))
                .hint("extend smaller services, or merge fewer files");
        }
        false
    }
}

impl Merger {
    /// `over` laid over `base`. Both are canonical. `path` is the dotted path of the two, without the
    /// name of the service.
    pub(crate) fn maps(&mut self, base: &Map, over: &Map, path: &str, report: &mut Report) -> Map {
        let Some((first, _)) = over.iter().next() else { return base.clone() };
        if !self.charge(base.len() + over.len(), first.place, report) {
            return over.clone();
        }
        let mut out = base.clone();
        for (key, node) in over.iter() {
            match node.mark {
                Mark::Reset => {
                    // Those behind it move up.
                    if self.charge(out.len() / 16, key.place, report) {
                        out.remove(&key.text);
                    }
                    continue;
                }
                Mark::Override | Mark::Hidden => {
                    out.set(key.clone(), Node { mark: Mark::None, ..node.clone() });
                    continue;
                }
                Mark::None => {}
            }
            let Some(below) = out.get(&key.text) else {
                out.set(key.clone(), node.clone());
                continue;
            };
            // Nothing says nothing, but in a map of variables it says "from the environment".
            if node.is_null() && !matches!(path, "environment" | "build.args") {
                continue;
            }
            let path =
                if path.is_empty() { key.text.to_string() } else { format!("{path}.{}", key.text) };
            let merged = self.nodes(below, node, &path, report);
            out.set(key.clone(), merged);
        }
        out
    }

    fn nodes(&mut self, base: &Node, over: &Node, path: &str, report: &mut Report) -> Node {
        if base.is_null() {
            return over.clone();
        }
        match (&base.value, &over.value) {
            (Value::Map(from), Value::Map(to)) => {
                // Options belong to their driver.
                let driver =
                    |map: &Map| map.get("driver").and_then(Node::as_text).map(str::to_owned);
                let (old, new) = (driver(from), driver(to));
                if path == "logging" && old.is_some() && new.is_some() && old != new {
                    return over.clone();
                }
                Node::map(over.place, self.maps(from, to, path, report))
            }
            (Value::List(from), Value::List(to)) => match rule(path) {
                _ if !self.charge(from.len() + to.len(), over.place, report) => over.clone(),
                Rule::Replace => over.clone(),
                Rule::Append => {
                    Node::list(over.place, from.iter().chain(to.iter()).cloned().collect())
                }
                Rule::By(identity) => by(from, to, identity, over),
            },
            // A command may be a text in one file and a list in the other.
            (Value::Scalar { .. }, Value::Scalar { .. }) => over.clone(),
            _ if matches!(rule(path), Rule::Replace) => over.clone(),
            _ => {
                report
                    .error(over.place, format!("{path} cannot be merged: it is {}", over.kind()))
                    .expected(format!("the same kind as before, which is {}", base.kind()))
                    .hint("write !override before the value to replace what was there");
                base.clone()
            }
        }
    }
}

enum Rule {
    Append,
    Replace,
    /// Items of the same identity: the later one wins, at the place of the first.
    By(fn(&Node) -> Option<String>),
}

fn rule(path: &str) -> Rule {
    match path {
        "command" | "entrypoint" | "healthcheck.test" => Rule::Replace,
        "ports" => Rule::By(port),
        "volumes" => Rule::By(|n| field(n, "target").map(|t| t.trim_end_matches('/').to_owned())),
        "secrets" | "configs" => Rule::By(|n| field(n, "target").or_else(|| field(n, "source"))),
        "devices" => Rule::By(|n| n.as_text()?.split(':').nth(1).map(str::to_owned)),
        "tmpfs" => Rule::By(|n| n.as_text()?.split(':').next().map(str::to_owned)),
        "env_file" | "lb_config.port_rules" => Rule::Append,
        _ if path.starts_with("metadata.") => Rule::Replace,
        _ => Rule::By(|n| n.as_text().map(str::to_owned)),
    }
}

fn field(node: &Node, name: &str) -> Option<String> {
    node.as_map()?.get(name)?.as_text().map(str::to_owned)
}

fn port(node: &Node) -> Option<String> {
    let part = |name| field(node, name).unwrap_or_default();
    let protocol = field(node, "protocol").unwrap_or_else(|| "tcp".to_owned());
    node.as_map()?;
    let (ip, published, target) = (part("host_ip"), part("published"), part("target"));
    Some(format!("{ip}|{published}|{target}|{protocol}"))
}

fn by(base: &[Node], over: &[Node], identity: fn(&Node) -> Option<String>, at: &Node) -> Node {
    let mut out: Vec<Node> = vec![];
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for item in base.iter().chain(over) {
        match identity(item) {
            None => out.push(item.clone()),
            Some(id) => match seen.get(&id) {
                Some(&i) => out[i] = item.clone(),
                None => {
                    seen.insert(id, out.len());
                    out.push(item.clone());
                }
            },
        }
    }
    Node::list(at.place, out)
}

/// Takes the marks of the last file away, once nothing more is laid over.
pub(crate) fn settle(map: &Map) -> Map {
    map.iter()
        .filter(|(_, n)| n.mark != Mark::Reset)
        .map(|(k, n)| (k.clone(), settled(n)))
        .collect()
}

fn settled(node: &Node) -> Node {
    let mark = if node.mark == Mark::Override { Mark::None } else { node.mark };
    let value = match &node.value {
        Value::Map(map) => return Node { mark, ..Node::map(node.place, settle(map)) },
        Value::List(items) => {
            let items = items.iter().filter(|n| n.mark != Mark::Reset).map(settled).collect();
            return Node { mark, ..Node::list(node.place, items) };
        }
        Value::Scalar { .. } => node.value.clone(),
    };
    Node { place: node.place, mark, value }
}

impl Merger {
    /// `over` laid over `base`, for a map by name (services, volumes …) whose values are maps.
    pub(crate) fn named(&mut self, base: &Map, over: &Map, report: &mut Report) -> Map {
        let first = over.iter().next();
        if !first.is_none_or(|(key, _)| self.charge(base.len() + over.len(), key.place, report)) {
            return base.clone();
        }
        let mut out = base.clone();
        for (key, node) in over.iter() {
            if node.mark == Mark::Reset {
                out.remove(&key.text);
                continue;
            }
            let merged = match (out.get(&key.text).and_then(Node::as_map), node.as_map()) {
                (Some(base), Some(over)) if node.mark == Mark::None => {
                    Some(Node::map(node.place, self.maps(base, over, "", report)))
                }
                (Some(_), None) if node.is_null() => None,
                _ => Some(Node { mark: Mark::None, ..node.clone() }),
            };
            if let Some(merged) = merged {
                // Where a service is first written is where it is looked for.
                let key = out.key(&key.text).cloned().unwrap_or_else(|| key.clone());
                out.set(Key { ..key }, merged);
            }
        }
        out
    }
}
