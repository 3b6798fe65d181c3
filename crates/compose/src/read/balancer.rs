//! `lb_config`: Rancher's balancer rules.

use super::Read;
use crate::diagnostic::quoted;
use crate::fields::Fields;
use crate::keys::{self, Scope, Status};
use crate::source::Place;
use crate::yaml::Node;
use model::balancer::{BalancerProtocol, BalancerSpec, PortRule};
use model::id::{ServiceId, ServiceName, StackName};
use model::limits;
use model::service::Kind;
use std::collections::BTreeMap;

impl Read<'_> {
    /// A rule with a source port makes a balancer, and so does Rancher's image for one.
    pub(super) fn is_balancer(&mut self) -> bool {
        let image = self.fields.text("image").unwrap_or("");
        if image.starts_with("rancher/lb-service-haproxy") || self.is_legacy_balancer() {
            return true;
        }
        let Some(config) = self.fields.object("lb_config") else { return false };
        let has_source = |n: &Node| n.as_map().is_some_and(|m| m.contains("source_port"));
        if config.items("port_rules").iter().any(has_source) {
            return true;
        }
        let place = self.fields.place("lb_config").unwrap_or(self.place);
        self.warn(place, "lb_config without source_port is not carried out yet: it has no effect")
            .hint("a balancer's rules name a source_port; balancers name this service in theirs");
        false
    }

    /// Keys of a container say nothing to what has none.
    pub(super) fn warn_container_keys(&mut self, kind: &Kind) {
        const EVERY: [&str; 15] = [
            "image",
            "labels",
            "health_check",
            "depends_on",
            "links",
            "external_links",
            "metadata",
            "profiles",
            // Written by Rancher's export, whatever the service is.
            "stdin_open",
            "tty",
            "pull_policy",
            "network_mode",
            "network_policy",
            "retain_ip",
            "start_on_create",
        ];
        const BALANCER: [&str; 17] = [
            "lb_config",
            "ports",
            "expose",
            "scale",
            "scale_policy",
            "autoscale",
            "restart",
            "upgrade_strategy",
            "rollout",
            "on_loss",
            "floating_ip",
            "placement",
            "schedule",
            "job",
            "deploy",
            "drain_timeout_ms",
            "stop_grace_period",
        ];
        let (own, what): (&[&str], _) = match kind {
            Kind::Container(_) => return,
            Kind::Balancer(_) => (&BALANCER, "a balancer"),
            Kind::External(_) => {
                (&["external_ips", "hostname", "schedule", "job"], "a service outside of the stack")
            }
            Kind::Alias(_) => (&["schedule", "job"], "an alias"),
        };
        for (key, node) in self.fields.iter() {
            let known = keys::find(Scope::Service, &key.text);
            let done = known.is_some_and(|info| info.status == Status::Done);
            let name = &*key.text;
            let exported = name == "scale" && node.as_text() == Some("1");
            let ours = EVERY.contains(&name) || own.contains(&name) || exported;
            if done && !ours && !node.is_null() {
                self.warn(key.place, &format!("{name} has no effect on {what}"))
                    .hint(format!("{what} has no container"));
            }
        }
    }

    pub(super) fn balancer(&mut self) -> BalancerSpec {
        let config = self.fields.object("lb_config");
        let items = config.map(|c| c.items("port_rules")).unwrap_or_default();
        let mut rules = vec![];
        let mut protocols = BTreeMap::new();
        for node in items {
            let Some(fields) = node.as_map().map(Fields::of) else { continue };
            let Some(rule) = self.rule(node, fields) else { continue };
            // As in Rancher, one port speaks one protocol.
            let first = *protocols.entry(rule.source_port).or_insert(rule.protocol);
            if first != rule.protocol {
                let what = format!(
                    "port_rules: source_port {} has another protocol in an earlier rule",
                    rule.source_port
                );
                self.error(node.place, &what).expected("one protocol for each source_port");
            }
            rules.push(rule);
        }
        if items.is_empty() {
            let place = self.fields.place("lb_config").unwrap_or(self.place);
            self.error(place, "a balancer has no rules").expected("lb_config: {port_rules: […]}");
        }
        if items.len() > limits::BALANCER_RULES_MAX {
            let what = format!("lb_config has {} rules", items.len());
            self.error(self.place, &what)
                .expected(format!("at most {}", limits::BALANCER_RULES_MAX));
        }
        BalancerSpec { rules }
    }

    fn rule(&mut self, node: &Node, fields: Fields<'_>) -> Option<PortRule> {
        let protocol = self.rule_protocol(node, fields);
        if fields.node("selector").is_some() || fields.node("container").is_some() {
            // The table of keys has said that such a rule is left out.
            return None;
        }
        let mut port = |key: &str| -> Option<u16> {
            let port = fields.number::<u16>(key);
            if port.is_none() && fields.node(key).is_none() {
                self.error(node.place, &format!("port_rules: a rule has no {key}"))
                    .expected("a port number from 1 to 65535");
            }
            port
        };
        let source_port = port("source_port");
        let target_port = port("target_port");
        let Some(service) = fields.text("service") else {
            self.error(node.place, "port_rules: a rule has no service")
                .expected("service: name, or stack/name");
            return None;
        };
        let place = fields.place("service").unwrap_or(node.place);
        let service = self.target(service, place)?;
        let hostname = self.rule_host(fields, protocol?)?;
        let path = self.rule_path(fields, protocol?)?;
        Some(PortRule {
            source_port: source_port?,
            protocol: protocol?,
            hostname,
            path,
            priority: fields.number("priority").unwrap_or(0),
            service,
            target_port: target_port?,
            weight: fields.number("weight").unwrap_or(1),
            backend_name: fields.owned("backend_name").unwrap_or_default(),
        })
    }

    /// `None` for a protocol that is not carried out: its rule is left out rather than served in
    /// the clear.
    fn rule_protocol(&mut self, node: &Node, fields: Fields<'_>) -> Option<BalancerProtocol> {
        let place = fields.place("protocol").unwrap_or(node.place);
        match fields.text("protocol") {
            None | Some("http") => Some(BalancerProtocol::Http),
            Some("tcp") => Some(BalancerProtocol::Tcp),
            Some(later @ ("https" | "tls" | "sni" | "udp")) => {
                let what = format!(
                    "port_rules: protocol {later} is not carried out yet: the rule is left out"
                );
                self.warn(place, &what);
                None
            }
            Some(other) => {
                self.error(place, &format!("port_rules: protocol is {}", quoted(other)))
                    .expected("http or tcp");
                None
            }
        }
    }

    /// `service` or `stack/service`.
    pub(super) fn target(&mut self, text: &str, place: Place) -> Option<ServiceId> {
        let own = self.stack.name;
        let id = match text.split_once('/') {
            Some((stack, service)) => StackName::parse(stack)
                .and_then(|stack| Ok(ServiceId { stack, service: ServiceName::parse(service)? })),
            None => {
                ServiceName::parse(text).map(|service| ServiceId { stack: own.clone(), service })
            }
        };
        let id = match id {
            Ok(id) => id,
            Err(error) => {
                self.error(place, &error.to_string()).expected("service, or stack/service");
                return None;
            }
        };
        if id.stack == *own {
            let service = self.endpoint(id.service.as_str(), place, "it balances to")?;
            return Some(ServiceId { service, ..id });
        }
        Some(id)
    }

    /// Reports a service of this stack that is referred to and is not there.
    pub(super) fn refer(&mut self, name: &str, place: Place, how: &str) -> bool {
        if self.stack.services.contains(name) {
            return true;
        }
        if let Some(profiles) = self.stack.inactive.get(name) {
            let what = format!("{how} service {}, which is in no active profile", quoted(name));
            let profiles = profiles.join(", ");
            self.error(place, &what).hint(format!("activate one of its profiles: {profiles}"));
            return false;
        }
        let services = self.stack.services;
        let what = format!("{how} service {}, which is not there", quoted(name));
        self.error(place, &what)
            .expected("the name of a service of this stack")
            .near(name, services.iter().map(|(k, _)| &*k.text));
        false
    }

    /// `foo.com`, `*.foo.com`, `foo.*`; `None` with an error.
    fn rule_host(&mut self, fields: Fields<'_>, protocol: BalancerProtocol) -> Option<String> {
        let Some(text) = fields.text("hostname").filter(|t| !t.is_empty()) else {
            return Some(String::new());
        };
        let place = fields.place("hostname")?;
        let bare = text.strip_prefix('*').or_else(|| text.strip_suffix('*')).unwrap_or(text);
        let fits = text == "*"
            || (!bare.is_empty()
                && bare.len() <= 253
                && bare.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)));
        if !fits {
            self.error(place, &format!("port_rules: hostname is {}", quoted(text)))
                .expected("a name such as foo.com, *.foo.com or foo.*")
                .hint("ports and paths have keys of their own");
            return None;
        }
        if protocol == BalancerProtocol::Tcp {
            self.warn(place, "port_rules: hostname has no effect with protocol tcp");
            return Some(String::new());
        }
        Some(if text == "*" { String::new() } else { text.to_owned() })
    }

    fn rule_path(&mut self, fields: Fields<'_>, protocol: BalancerProtocol) -> Option<String> {
        let Some(text) = fields.text("path").filter(|t| !t.is_empty()) else {
            return Some(String::new());
        };
        let place = fields.place("path")?;
        if !text.starts_with('/') || !text.bytes().all(|b| b.is_ascii_graphic()) {
            self.error(place, &format!("port_rules: path is {}", quoted(text)))
                .expected("a path that starts with '/'");
            return None;
        }
        if protocol == BalancerProtocol::Tcp {
            self.warn(place, "port_rules: path has no effect with protocol tcp");
            return Some(String::new());
        }
        Some(text.to_owned())
    }
}
