//! What only the whole stack shows: circles in `depends_on`, and host ports taken twice.

use crate::diagnostic::Report;
use crate::fields::Fields;
use crate::group::Groups;
use crate::source::Place;
use crate::yaml::Map;
use model::service::PortMapping;
use std::collections::{BTreeMap, BTreeSet};

/// Most circles that are looked for: the first ones are enough to mend a file.
const CIRCLES_MAX: usize = 50;

/// The circles of what services need, each once, by its names: the last needs the first.
pub(crate) fn circles(services: &Map, needs: impl Fn(&str) -> Vec<String>) -> Vec<Vec<String>> {
    let mut out = vec![];
    let mut done: BTreeSet<String> = BTreeSet::new();
    for (key, _) in services.iter() {
        let mut path: Vec<(String, Vec<String>)> = vec![];
        let mut next = Some(key.text.to_string());
        loop {
            if let Some(name) = next.take() {
                if out.len() >= CIRCLES_MAX {
                    return out;
                }
                if let Some(at) = path.iter().position(|(n, _)| *n == name) {
                    out.push(path[at..].iter().map(|(n, _)| n.clone()).collect());
                } else if done.insert(name.clone()) {
                    let mut names = needs(&name);
                    names.reverse();
                    path.push((name, names));
                }
            }
            let Some((_, rest)) = path.last_mut() else { break };
            match rest.pop() {
                Some(name) => next = Some(name),
                None => {
                    path.pop();
                }
            }
        }
    }
    out
}

/// A circle in a message, its beginning when it is long.
pub(crate) fn circle(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().map(String::as_str).take(12).collect();
    let dots = if names.len() > 12 { " -> …" } else { "" };
    format!("{}{dots} -> {}", shown.join(" -> "), names[0])
}

/// Reports every circle of `depends_on` once. A sidekick starts with its primary.
pub(crate) fn dependencies(services: &Map, groups: &Groups, report: &mut Report) {
    // What each primary needs, by itself and by its sidekicks, with where it says so.
    let mut needs: BTreeMap<&str, Vec<(&str, Place)>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (key, node) in services.iter() {
        let map = node.as_map().and_then(|map| Fields::of(map).map("depends_on"));
        let root = groups.root(&key.text);
        for (other, _) in map.into_iter().flat_map(Map::iter) {
            let to = groups.root(&other.text);
            // One that is in the same instance starts with it; itself is a mistake all the same.
            if (to != root || other.text == key.text) && seen.insert((root, to)) {
                needs.entry(root).or_default().push((to, other.place));
            }
        }
    }
    let of = |name: &str| needs.get(name).map(Vec::as_slice).unwrap_or_default();
    let names = |name: &str| of(name).iter().map(|(to, _)| (*to).to_owned()).collect();
    for found in circles(services, names) {
        let (first, last) = (&found[0], &found[found.len() - 1]);
        if let Some((_, place)) = of(last).iter().find(|(to, _)| to == first) {
            report
                .error(*place, format!("depends_on goes in a circle: {}", circle(&found)))
                .expected("services that can start one after the other")
                .hint("remove one of these dependencies");
        }
    }
}

/// A host port with the service that wants it.
pub(crate) struct Wanted<'a> {
    pub(crate) service: &'a str,
    pub(crate) place: Place,
    pub(crate) port: &'a PortMapping,
    /// Does it say where it goes? It may be kept apart from another one then.
    pub(crate) placed: bool,
}

/// Reports host ports that two services want on the same address.
pub(crate) fn ports(wanted: &[Wanted<'_>], report: &mut Report) {
    let mut seen: BTreeMap<(u16, model::service::Transport), Vec<&Wanted<'_>>> = BTreeMap::new();
    for want in wanted {
        let Some(number) = want.port.host_port else { continue };
        let others = seen.entry((number, want.port.protocol)).or_default();
        let same = |o: &&&Wanted<'_>| match (o.port.host_ip, want.port.host_ip) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        if let Some(other) = others.iter().find(same) {
            let (service, by) = (want.service, other.service);
            let protocol = want.port.protocol;
            let message = if service == by {
                format!("service {service:?} takes host port {number}/{protocol} twice")
            } else {
                format!(
                    "service {service:?} takes host port {number}/{protocol}, \
                     which service {by:?} has"
                )
            };
            if service != by && (want.placed || other.placed) {
                report
                    .warn(want.place, message)
                    .hint("they can only run where their placement keeps them on different hosts");
            } else {
                let finding = report.error(want.place, message);
                finding.expected("a host port of its own");
                if service != by {
                    finding.hint("to have them on different hosts, write placement constraints");
                }
            }
            continue;
        }
        others.push(want);
    }
}
