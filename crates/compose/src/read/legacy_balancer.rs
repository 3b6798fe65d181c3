//! Rancher's first balancer: image `rancher/load-balancer-service`, with ports, links and labels
//! instead of rules.

use super::Read;
use crate::diagnostic::quoted;
use crate::fields::Fields;
use crate::source::Place;
use model::balancer::{BalancerProtocol, BalancerSpec, PortRule};
use model::id::ServiceId;

const LABEL: &str = "io.rancher.loadbalancer.target.";

/// A port of the balancer and where it leads when a target names no port.
struct Listener {
    source: u16,
    target: u16,
    protocol: BalancerProtocol,
}

/// `host:port/path=target_port`, each part optional.
#[derive(Default)]
struct Route {
    host: String,
    source: Option<u16>,
    path: String,
    target: Option<u16>,
}

impl Read<'_> {
    pub(super) fn is_legacy_balancer(&self) -> bool {
        let image = self.fields.text("image").unwrap_or("");
        image.starts_with("rancher/load-balancer-service")
            && self.fields.node("lb_config").is_none()
    }

    pub(super) fn legacy_balancer(&mut self) -> BalancerSpec {
        let listeners = self.listeners();
        let mut rules = vec![];
        let links = self.fields.items("links").iter();
        let links: Vec<_> = links.chain(self.fields.items("external_links")).collect();
        if links.is_empty() || listeners.is_empty() {
            self.error(self.place, "a balancer needs ports and links")
                .expected("ports: [\"80:8080\"] and links: [service]");
            return BalancerSpec::default();
        }
        for link in links {
            let Some(text) = link.as_text() else { continue };
            let (name, alias) = text.split_once(':').unwrap_or((text, text));
            let Some(service) = self.target(name, link.place) else { continue };
            let routes = self.routes(&[alias, name], link.place);
            for route in routes {
                self.add(&listeners, &service, &route, link.place, &mut rules);
            }
        }
        BalancerSpec { rules }
    }

    fn listeners(&mut self) -> Vec<Listener> {
        let mut out = vec![];
        // A port that is only exposed is one of the balancer too, reached from inside.
        for node in self.fields.items("ports") {
            let Some(fields) = node.as_map().map(Fields::of) else { continue };
            let Some(target) = fields.number::<u16>("target") else { continue };
            let source = fields.number::<u16>("published").unwrap_or(target);
            // "80:8080/tcp" is how a TCP listener was written, and Docker's default too: the long
            // form cannot tell them apart, the text in the file can.
            let tcp = self.says_tcp(node.place, source);
            let protocol = if tcp { BalancerProtocol::Tcp } else { BalancerProtocol::Http };
            out.push(Listener { source, target, protocol });
        }
        out
    }

    /// Does the line of a port say `/tcp`?
    fn says_tcp(&self, place: Place, port: u16) -> bool {
        let source = self.stack.sources.get(place.file);
        let line = source.and_then(|s| s.line(place.line)).unwrap_or("");
        let rest: String = line.chars().skip(place.column as usize - 1).collect();
        let entry = rest.split([',', ']', '#', ' ', '\'']).next().unwrap_or("");
        let entry = entry.trim_matches('"');
        entry.starts_with(&port.to_string()) && entry.ends_with("/tcp")
    }

    /// What the labels say of a target; everything when they say nothing.
    fn routes(&mut self, names: &[&str], place: Place) -> Vec<Route> {
        let label = names.iter().find_map(|name| {
            let key = format!("{LABEL}{name}");
            self.labels.get(&key).map(|value| (key, value.clone()))
        });
        let Some((key, value)) = label else { return vec![Route::default()] };
        let place = self.fields.map("labels").and_then(|m| m.key(&key)).map_or(place, |k| k.place);
        let mut out = vec![];
        for part in value.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            match route(part) {
                Some(route) => out.push(route),
                None => {
                    self.error(place, &format!("label {key} has {}", quoted(part)))
                        .expected("[host][:port][/path][=target port]");
                }
            }
        }
        out
    }

    fn add(
        &mut self,
        listeners: &[Listener],
        service: &ServiceId,
        route: &Route,
        place: Place,
        rules: &mut Vec<PortRule>,
    ) {
        let mut any = false;
        for listener in listeners.iter().filter(|l| route.source.is_none_or(|s| s == l.source)) {
            any = true;
            let http = listener.protocol == BalancerProtocol::Http;
            rules.push(PortRule {
                source_port: listener.source,
                protocol: listener.protocol,
                hostname: if http { route.host.clone() } else { String::new() },
                path: if http { route.path.clone() } else { String::new() },
                priority: 0,
                service: service.clone(),
                target_port: route.target.unwrap_or(listener.target),
                weight: 1,
                backend_name: String::new(),
            });
        }
        if !any {
            let port = route.source.unwrap_or(0);
            let what = format!("a label names port {port}, which is not in ports");
            self.error(place, &what).expected("a port of the balancer");
        }
    }
}

fn route(text: &str) -> Option<Route> {
    let (rest, target) = match text.split_once('=') {
        Some((rest, target)) => (rest, Some(port(target)?)),
        None => (text, None),
    };
    let (rest, path) = match rest.find('/') {
        Some(at) => (&rest[..at], rest[at..].to_owned()),
        None => (rest, String::new()),
    };
    let (host, source) = match rest.rsplit_once(':') {
        Some((host, source)) => (host, Some(port(source)?)),
        // A number alone is a port, as in "80=8080".
        None => match port(rest) {
            Some(number) if !rest.is_empty() => ("", Some(number)),
            _ => (rest, None),
        },
    };
    let fits = host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.*".contains(&b));
    fits.then(|| Route { host: host.to_owned(), source, path, target })
}

fn port(text: &str) -> Option<u16> {
    text.parse::<u16>().ok().filter(|p| *p > 0)
}
