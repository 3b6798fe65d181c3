//! Balancers: listeners on the hosts that hold one, routes in Rancher's order, upstreams merged.

use super::catalog::listed;
use super::local::Local;
use super::{CONNECT_TIMEOUT_MS, links, listener_id};
use model::balancer::{BalancerProtocol, PortRule};
use model::cluster::Cluster;
use model::id::InstanceId;
use model::instance::{Goal, Instance};
use model::limits::DRAIN_MS_DEFAULT;
use model::service::{Kind, Transport};
use model::view::{Endpoint, HostMatch, Listener, ListenerMode, Route, Upstream};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Adds listeners, routes and upstreams of the balancers on this host.
pub(super) fn add_balancers(cluster: &Cluster, placed: &[&Arc<Instance>], local: &mut Local) {
    for instance in placed.iter().filter(|i| i.goal == Goal::Run) {
        let service = &instance.id.service;
        let Some(revision) = cluster.revision(service, instance.target.revision) else { continue };
        let Kind::Balancer(balancer) = &revision.template.kind else { continue };
        let mut by_port: BTreeMap<u16, Vec<&PortRule>> = BTreeMap::new();
        for rule in &balancer.rules {
            by_port.entry(rule.source_port).or_default().push(rule);
        }
        for (port, rules) in by_port {
            let listener = listener(cluster, &service.to_string(), port, &rules, local);
            local.listeners.insert(listener_id(None, port, Transport::Tcp), listener);
        }
    }
}

fn listener(
    cluster: &Cluster,
    balancer: &str,
    port: u16,
    rules: &[&PortRule],
    local: &mut Local,
) -> Listener {
    // Rules of one port speak the protocol of the first.
    let protocol = rules.first().map_or(BalancerProtocol::Tcp, |rule| rule.protocol);
    let mut groups: Vec<(Vec<&PortRule>, Route)> = vec![];
    for rule in ordered(rules) {
        let (host, path_prefix) = match protocol {
            BalancerProtocol::Http => (host_match(&rule.hostname), rule.path.clone()),
            BalancerProtocol::Tcp => (HostMatch::Any, String::new()),
        };
        let same = groups
            .iter_mut()
            .find(|(_, route)| route.host == host && route.path_prefix == path_prefix);
        match same {
            Some((members, _)) => members.push(rule),
            None => {
                // Callers see it in an answer 503: it says which service is meant.
                let (service, target) = (&rule.service, rule.target_port);
                let n = groups.len();
                let upstream = format!("{service}:{target} (rule {n} of {balancer}:{port})");
                groups.push((vec![rule], Route { host, path_prefix, upstream }));
            }
        }
    }
    for (members, route) in &groups {
        local.upstreams.insert(route.upstream.clone(), upstream(cluster, members));
    }
    let mut routes: Vec<Route> = groups.into_iter().map(|(_, route)| route).collect();
    let mode = match protocol {
        BalancerProtocol::Http => ListenerMode::Http { routes },
        BalancerProtocol::Tcp if routes.is_empty() => ListenerMode::Http { routes },
        BalancerProtocol::Tcp => ListenerMode::Forward { upstream: routes.remove(0).upstream },
    };
    Listener { ip: None, port, transport: Transport::Tcp, mode }
}

fn upstream(cluster: &Cluster, rules: &[&PortRule]) -> Upstream {
    let mut endpoints: Vec<Endpoint> = vec![];
    let mut known: BTreeSet<(InstanceId, u16)> = BTreeSet::new();
    let mut drain_ms = 0;
    for rule in rules {
        for service in links::behind(cluster, &rule.service) {
            // Its primaries, or its addresses outside.
            let listed = listed(cluster, &service).into_keys();
            for id in listed.filter(|id| id.sidekick.is_none()) {
                let (port, weight) = (rule.target_port, rule.weight);
                if known.insert((id.clone(), port)) {
                    endpoints.push(Endpoint { instance: id, port, weight });
                }
            }
            let target = cluster
                .service(&service)
                .and_then(|service| cluster.revision(&service.id, service.target.revision));
            drain_ms = drain_ms.max(target.map_or(DRAIN_MS_DEFAULT, |r| r.template.drain_ms));
        }
    }
    Upstream { endpoints, ..Upstream::empty(CONNECT_TIMEOUT_MS, drain_ms) }
}

/// Rancher's words for hosts: `*.foo.com` and `*foo` are ends, `foo.*` and `foo*` beginnings.
pub(super) fn host_match(hostname: &str) -> HostMatch {
    let name = hostname.to_ascii_lowercase();
    match (name.strip_prefix('*'), name.strip_suffix('*')) {
        _ if name.is_empty() || name == "*" => HostMatch::Any,
        (Some(end), _) => HostMatch::Suffix(end.to_owned()),
        (None, Some(begin)) => HostMatch::Prefix(begin.to_owned()),
        (None, None) => HostMatch::Exact(name),
    }
}

/// Explicit priorities first, ascending; then host and path, host, wildcard host and path,
/// wildcard host, path, neither. Within a class longer paths and longer hosts go first, then the
/// order of the file.
fn ordered<'a>(rules: &[&'a PortRule]) -> Vec<&'a PortRule> {
    let mut sorted: Vec<&PortRule> = rules.to_vec();
    sorted.sort_by_key(|rule| {
        let wild = rule.hostname.contains('*');
        let class = match (rule.hostname.is_empty(), wild, rule.path.is_empty()) {
            (false, false, false) => 0,
            (false, false, true) => 1,
            (false, true, false) => 2,
            (false, true, true) => 3,
            (true, _, false) => 4,
            (true, _, true) => 5,
        };
        let explicit = if rule.priority > 0 { (0, rule.priority) } else { (1, 0) };
        let lengths = (std::cmp::Reverse(rule.path.len()), std::cmp::Reverse(rule.hostname.len()));
        (explicit, class, lengths)
    });
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(hostname: &str, path: &str, priority: u32) -> PortRule {
        PortRule {
            source_port: 80,
            protocol: BalancerProtocol::Http,
            hostname: hostname.into(),
            path: path.into(),
            priority,
            service: "s/a".parse().unwrap(),
            target_port: 80,
            weight: 1,
            backend_name: String::new(),
        }
    }

    #[test]
    fn routes_come_in_ranchers_order() {
        let rules = [
            rule("", "", 0),
            rule("", "/p", 0),
            rule("*.foo.com", "", 0),
            rule("*.foo.com", "/p", 0),
            rule("foo.com", "", 0),
            rule("foo.com", "/p", 0),
            rule("foo.com", "/p/long", 0),
            rule("", "", 9),
            rule("", "/x", 2),
        ];
        let refs: Vec<&PortRule> = rules.iter().collect();
        let got: Vec<String> = ordered(&refs)
            .iter()
            .map(|r| format!("{}{}!{}", r.hostname, r.path, r.priority))
            .collect();
        assert_eq!(
            got,
            [
                "/x!2",
                "!9",
                "foo.com/p/long!0",
                "foo.com/p!0",
                "foo.com!0",
                "*.foo.com/p!0",
                "*.foo.com!0",
                "/p!0",
                "!0"
            ]
        );
    }

    #[test]
    fn wildcards_are_ends_and_beginnings() {
        assert_eq!(host_match(""), HostMatch::Any);
        assert_eq!(host_match("Foo.com"), HostMatch::Exact("foo.com".into()));
        assert_eq!(host_match("*.foo.com"), HostMatch::Suffix(".foo.com".into()));
        assert_eq!(host_match("foo.*"), HostMatch::Prefix("foo.".into()));
    }
}
