//! One service as one file has it, brought to the long form of every key, so that merging and
//! reading meet one form only. Relative paths become absolute here, while it is still known in
//! which file they were written.

mod lists;
mod paths;
mod ports;
mod volumes;

use crate::diagnostic::Report;
use crate::source::{Place, Sources};
use crate::yaml::{Key, Map, Mark, Node, Value};

pub(crate) use paths::{Paths, is_remote};

/// What is needed beside the service itself.
pub(crate) struct Canon<'a> {
    pub(crate) sources: &'a Sources,
    pub(crate) report: &'a mut Report,
    pub(crate) paths: &'a Paths,
    /// `service "web"`, which begins every message.
    pub(crate) subject: String,
}

/// The canonical form of a service. Keys with a value of a form that cannot be read are left out,
/// with an error.
pub(crate) fn service(map: &Map, canon: &mut Canon<'_>) -> Map {
    let mut out = Map::default();
    for (key, node) in map.iter() {
        if node.mark == Mark::Reset {
            out.set(key.clone(), node.clone());
            continue;
        }
        // A job without anything said of it is a job.
        if node.is_null() && ours(&key.text) != "job" {
            continue;
        }
        match ours(&key.text) {
            "net" => out.set(renamed(key, "network_mode"), node.clone()),
            "log_driver" => nest(&mut out, key, "logging", "driver", node.clone()),
            "log_opt" => {
                if let Some(options) = lists::pairs(node, canon, "log_opt") {
                    nest(&mut out, key, "logging", "options", options);
                }
            }
            name => {
                if let Some(mut node_out) = value(name, node, canon) {
                    node_out.mark = node.mark;
                    set_once(&mut out, renamed(key, name), node_out, canon);
                }
            }
        }
    }
    if let Some(deploy) = out.get("deploy").and_then(Node::as_map).cloned() {
        for (key, node) in deploy.iter() {
            let name = key.text.strip_prefix("x-remuda-").or_else(|| key.text.strip_prefix("x-"));
            let Some(name) = name.filter(|name| OURS.contains(name)) else { continue };
            if let Some(below) = out.get_mut("deploy").and_then(Node::as_map_mut) {
                below.remove(&key.text);
            }
            if let Some(node) = value(name, node, canon) {
                set_once(&mut out, renamed(key, name), node, canon);
            }
        }
    }
    out
}

/// Remuda's own keys. Docker Compose refuses what it does not know, so that each may be written
/// with `x-remuda-` before it, and below `deploy` too.
const OURS: [&str; 9] = [
    "autoscale",
    "schedule",
    "job",
    "rollout",
    "on_loss",
    "placement",
    "network_policy",
    "floating_ip",
    "templates",
];

/// A key without the sign of an extension, when it is one of ours.
fn ours(key: &str) -> &str {
    let name = key.strip_prefix("x-remuda-").filter(|name| OURS.contains(name));
    name.unwrap_or(key)
}

/// Sets one of our keys, which may be written in two ways but once.
fn set_once(map: &mut Map, key: Key, node: Node, canon: &mut Canon<'_>) {
    if OURS.contains(&&*key.text) && map.contains(&key.text) {
        let message = format!("{}: {} is here twice", canon.subject, key.text);
        canon.report.error(key.place, message).expected("one of the two");
        return;
    }
    map.set(key, node);
}

fn value(name: &str, node: &Node, canon: &mut Canon<'_>) -> Option<Node> {
    match name {
        "environment" | "labels" | "sysctls" | "storage_opt" | "annotations" => {
            lists::pairs(node, canon, name)
        }
        "dns" | "dns_search" | "tmpfs" | "label_file" | "profiles" | "volumes_from" | "certs"
        | "external_ips" => {
            let list = lists::texts(node);
            if name == "label_file" { paths::each(list, canon) } else { Some(list) }
        }
        "dns_opt" => Some(lists::joined(node, ':')),
        "extra_hosts" => Some(lists::joined(node, ':')),
        "env_file" => lists::env_files(node, canon),
        "depends_on" => lists::names(node, canon, name, Some(("condition", "service_started"))),
        "networks" => lists::names(node, canon, name, None),
        "extends" => Some(lists::wrapped(node, "service")),
        "secrets" | "configs" => {
            lists::items(node, canon, name, |n, _| vec![lists::wrapped(n, "source")])
        }
        "ports" => lists::items(node, canon, name, ports::port),
        "volumes" => lists::items(node, canon, name, volumes::volume),
        "templates" => lists::items(node, canon, name, |n, canon| vec![template(n, canon)]),
        "devices" => lists::items(node, canon, name, volumes::device),
        "ulimits" => Some(lists::ulimits(node)),
        "build" => build(node, canon),
        "logging" => Some(inner_pairs(node, "options", canon)),
        "deploy" => Some(inner_pairs(node, "labels", canon)),
        "stop_grace_period" => Some(seconds(node)),
        "schedule" => Some(lists::wrapped(node, "cron")),
        "job" => job(node),
        "on_loss" => Some(lists::wrapped(node, "policy")),
        "floating_ip" => Some(lists::wrapped(node, "address")),
        "placement" => Some(placement(node)),
        _ => Some(node.clone()),
    }
}

/// `job: true`, or nothing behind it, is a job that runs when it is told to.
fn job(node: &Node) -> Option<Node> {
    match node.as_text().map(crate::scalar::boolean) {
        Some(Ok(true)) => Some(Node::map(node.place, Map::default())),
        Some(Ok(false)) => None,
        _ if node.is_null() => Some(Node::map(node.place, Map::default())),
        _ => Some(lists::wrapped(node, "cron")),
    }
}

/// The path of a template is beside the file that names it.
fn template(node: &Node, canon: &mut Canon<'_>) -> Node {
    let mut node = node.clone();
    if let Some(source) = node.as_map_mut().and_then(|map| map.get_mut("source"))
        && let Some(path) = paths::absolute(source, canon)
    {
        *source = path;
    }
    node
}

/// Single names as lists.
fn placement(node: &Node) -> Node {
    let mut node = node.clone();
    if let Some(map) = node.as_map_mut() {
        let names = ["affinity", "affinity_soft", "anti_affinity", "anti_affinity_soft"];
        for name in names.into_iter().chain(["spread_by", "constraints"]) {
            if let Some(list) = map.get_mut(name) {
                *list = lists::texts(list);
            }
        }
    }
    node
}

fn build(node: &Node, canon: &mut Canon<'_>) -> Option<Node> {
    let node = lists::wrapped(node, "context");
    let mut node = inner_pairs(&inner_pairs(&node, "args", canon), "labels", canon);
    let map = node.as_map_mut()?;
    for name in ["cache_from", "tags"] {
        if let Some(list) = map.get_mut(name) {
            *list = lists::texts(list);
        }
    }
    if let Some(hosts) = map.get_mut("extra_hosts") {
        *hosts = lists::joined(hosts, ':');
    }
    if let Some(context) = map.get_mut("context")
        && let Some(text) = context.as_text()
        && !is_remote(text)
    {
        *context = paths::absolute(context, canon)?;
    }
    Some(node)
}

/// Brings one key of a map to the form of a map of scalars.
fn inner_pairs(node: &Node, name: &str, canon: &mut Canon<'_>) -> Node {
    let mut out = node.clone();
    if let Some(map) = out.as_map_mut()
        && let Some(inner) = map.get(name).cloned().filter(|n| !n.is_null())
        && let Some(key) = map.key(name).cloned()
    {
        match lists::pairs(&inner, canon, name) {
            Some(pairs) => map.set(key, Node { mark: inner.mark, ..pairs }),
            None => {
                map.remove(name);
            }
        }
    }
    out
}

/// A map whose named values are brought to maps of scalars.
pub(crate) fn pairs_in(map: &Map, names: &[&str], canon: &mut Canon<'_>) -> Map {
    let mut node = map.iter().next().map_or_else(
        || Node::map(Place { file: 0, line: 1, column: 1 }, Map::default()),
        |(key, _)| Node::map(key.place, map.clone()),
    );
    for name in names {
        node = inner_pairs(&node, name, canon);
    }
    node.as_map().cloned().unwrap_or_default()
}

/// A bare number of seconds, as docker-compose v1 took it.
fn seconds(node: &Node) -> Node {
    match node.as_text() {
        Some(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
            Node::text(node.place, format!("{text}s"))
        }
        _ => node.clone(),
    }
}

fn renamed(key: &Key, name: &str) -> Key {
    Key::new(key.place, name)
}

/// Sets `outer.inner` of a map that may not have `outer` yet.
fn nest(map: &mut Map, key: &Key, outer: &str, inner: &str, node: Node) {
    if !map.get(outer).is_some_and(|n| matches!(n.value, Value::Map(_))) {
        map.set(renamed(key, outer), Node::map(key.place, Map::default()));
    }
    if let Some(below) = map.get_mut(outer).and_then(Node::as_map_mut) {
        below.set(renamed(key, inner), node);
    }
}

/// An entry for a map that this crate writes itself.
fn entry(place: Place, key: &str, value: &str) -> (Key, Node) {
    (Key::new(place, key), Node::text(place, value))
}
