//! What only the whole stack shows: circles in `depends_on`, and host ports taken twice.

use crate::diagnostic::Report;
use crate::fields::Fields;
use crate::render::Whole;
use crate::source::Place;
use crate::yaml::Map;
use model::id::{ServiceName, StackName};
use model::service::{Kind, PortMapping};
use model::stack::StackSpec;
use std::collections::{BTreeMap, BTreeSet};

/// Reports every circle of `depends_on` once, by its names.
pub(crate) fn cycles(services: &Map, report: &mut Report) {
    let mut done: BTreeMap<&str, bool> = BTreeMap::new();
    for (key, _) in services.iter() {
        let mut path: Vec<(&str, Vec<&str>)> = vec![];
        let mut next = Some(&*key.text);
        loop {
            if let Some(name) = next.take() {
                if let Some(at) = path.iter().position(|(n, _)| *n == name) {
                    let names: Vec<&str> = path[at..].iter().map(|(n, _)| *n).collect();
                    report_cycle(services, &names, report);
                } else if done.insert(name, true).is_none() {
                    path.push((name, needs(services, name)));
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
}

fn needs<'m>(services: &'m Map, name: &str) -> Vec<&'m str> {
    let node = services.get(name).and_then(crate::yaml::Node::as_map);
    let map = node.and_then(|map| Fields::of(map).map("depends_on"));
    let mut names: Vec<&str> =
        map.map(|m| m.iter().map(|(k, _)| &*k.text).collect()).unwrap_or_default();
    names.reverse();
    names
}

fn report_cycle(services: &Map, names: &[&str], report: &mut Report) {
    let first = names[0];
    let last = names[names.len() - 1];
    let depends = services.get(last).and_then(crate::yaml::Node::as_map);
    let depends = depends.and_then(|map| Fields::of(map).map("depends_on"));
    let place = depends.and_then(|m| m.key(first)).map(|k| k.place);
    let shown: Vec<&str> = names.iter().copied().take(12).collect();
    let dots = if names.len() > 12 { " -> …" } else { "" };
    let circle = format!("{}{dots} -> {first}", shown.join(" -> "));
    if let Some(place) = place {
        report
            .error(place, format!("depends_on goes in a circle: {circle}"))
            .expected("services that can start one after the other")
            .hint("remove one of these dependencies");
    }
}

/// A host port with the service that wants it.
pub(crate) struct Wanted<'a> {
    pub(crate) service: &'a str,
    pub(crate) place: Place,
    pub(crate) port: &'a PortMapping,
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
            report.error(want.place, message).expected("a host port of its own");
            continue;
        }
        others.push(want);
    }
}

/// Takes dependencies on services that are left out away, and reports balancers that lead to one.
pub(crate) fn left_out(
    spec: &mut StackSpec,
    gone: &BTreeSet<ServiceName>,
    stack: &StackName,
    whole: &Whole,
    report: &mut Report,
) {
    for (name, service) in &mut spec.services {
        service.depends_on.retain(|other, _| !gone.contains(other));
        let Kind::Balancer(balancer) = &service.template.kind else { continue };
        for rule in &balancer.rules {
            if rule.service.stack != *stack || !gone.contains(&rule.service.service) {
                continue;
            }
            if let Some(key) = whole.services.key(name.as_str()) {
                let target = rule.service.service.as_str();
                let message = format!(
                    "service {:?} balances to {target:?}, which is left out",
                    name.as_str()
                );
                report.error(key.place, message).expected("a service that runs containers");
            }
        }
    }
}
