//! Network policies: `network_policy` of a service or of a whole file, and the file of an
//! environment's policy. A key that is not known is an error here: a rule that loses half of what
//! it says would let others through.

use crate::diagnostic::{Errors, Report, quoted};
use crate::source::{Place, Source, Sources};
use crate::yaml::{self, Map, Node};
use model::id::{ServiceId, ServiceName, StackName};
use model::limits::COMPOSE_FILE_BYTES_MAX;
use model::policy::{
    Between, NetworkPolicy, PolicyAction, PolicyPeer, PolicyRule, ServicePolicy, Within,
};
use std::path::Path;
use std::sync::Arc;

/// Reads the file of an environment's policy: `default` (or Rancher's `default_policy_action`) and
/// `rules` (or `policy`). `shown` is its name in messages.
///
/// # Errors
/// `Errors`: everything that is wrong with it, each with its place.
pub fn environment_policy(text: &str, shown: &str) -> Result<NetworkPolicy, Errors> {
    let (mut sources, mut report) = (Sources::default(), Report::new(true));
    let mut source = Source::new(shown, Path::new(shown), Path::new("/"));
    source.set_text(Arc::from(text));
    let file = sources.add(source);
    let mut policy = NetworkPolicy::default();
    if text.len() > COMPOSE_FILE_BYTES_MAX {
        let what = format!("the policy has {} bytes", text.len());
        let max = COMPOSE_FILE_BYTES_MAX;
        report.file_error(shown.to_owned(), what).expected(format!("at most {max}"));
    } else if let Some(root) = yaml::parse(text, file, &mut report) {
        let mut reader = Reader { report: &mut report, subject: "network policy", stack: None };
        policy = reader.environment(&root);
    }
    if let Err(why) = policy.check() {
        report.error(Place { file, line: 1, column: 1 }, why);
    }
    report.finish(&sources).map(|_warnings| policy)
}

/// The stack that a policy is written in.
#[derive(Clone, Copy)]
pub(crate) struct Own<'a> {
    pub(crate) name: &'a StackName,
    pub(crate) services: &'a Map,
}

/// Reads one policy.
pub(crate) struct Reader<'r> {
    pub(crate) report: &'r mut Report,
    /// What begins every message.
    pub(crate) subject: &'r str,
    /// `None` for an environment's: services have their stack's name there.
    pub(crate) stack: Option<Own<'r>>,
}

impl Reader<'_> {
    fn error(&mut self, place: Place, what: &str, expected: &str) {
        self.report.error(place, format!("{}: {what}", self.subject)).expected(expected);
    }

    fn map<'n>(&mut self, node: &'n Node, what: &str, keys: &[&str]) -> Option<&'n Map> {
        let Some(map) = node.as_map() else {
            let words = format!("a map with {}", keys.join(", "));
            self.error(node.place, &format!("{what} is {}", node.kind()), &words);
            return None;
        };
        for (key, _) in map.iter().filter(|(key, _)| !key.text.starts_with("x-")) {
            if !keys.contains(&&*key.text) {
                let what = format!("{what}: key {} is not known", quoted(&key.text));
                self.error(key.place, &what, &keys.join(", "));
            }
        }
        Some(map)
    }

    fn environment(&mut self, node: &Node) -> NetworkPolicy {
        let mut policy = NetworkPolicy::default();
        if node.is_null() {
            return policy;
        }
        let keys = ["default", "rules", "default_policy_action", "policy"];
        let Some(map) = self.map(node, "the policy", &keys) else { return policy };
        for (key, of) in map.iter() {
            match &*key.text {
                "default" | "default_policy_action" => {
                    policy.default = self.action(of).unwrap_or_default();
                }
                "rules" | "policy" => policy.rules.extend(self.rules(of, true)),
                _ => {}
            }
        }
        policy
    }

    /// Of a service, or of all services of a file.
    pub(crate) fn service(&mut self, node: &Node) -> ServicePolicy {
        let mut policy = ServicePolicy::default();
        let Some(map) = self.map(node, "network_policy", &["default", "rules"]) else {
            return policy;
        };
        if let Some(of) = map.get("default").filter(|of| !of.is_null()) {
            policy.default = self.action(of);
        }
        if let Some(of) = map.get("rules").filter(|of| !of.is_null()) {
            policy.rules = self.rules(of, false);
        }
        policy
    }

    fn action(&mut self, node: &Node) -> Option<PolicyAction> {
        match node.as_text() {
            Some("allow") => Some(PolicyAction::Allow),
            Some("deny") => Some(PolicyAction::Deny),
            _ => {
                self.error(node.place, &format!("an action is {}", node.kind()), "allow or deny");
                None
            }
        }
    }

    fn rules(&mut self, node: &Node, of_environment: bool) -> Vec<PolicyRule> {
        let Some(items) = node.as_list() else {
            self.error(node.place, &format!("rules is {}", node.kind()), "a list of rules");
            return vec![];
        };
        items.iter().filter_map(|item| self.rule(item, of_environment)).collect()
    }

    fn rule(&mut self, node: &Node, of_environment: bool) -> Option<PolicyRule> {
        let keys = match of_environment {
            true => &["action", "from", "to", "within", "between", "ports"][..],
            false => &["action", "from", "within", "between", "ports"],
        };
        let map = self.map(node, "a rule", keys)?;
        let Some(action) = map.get("action") else {
            self.error(node.place, "a rule has no action", "action: allow, or action: deny");
            return None;
        };
        let mut rule = PolicyRule { action: self.action(action)?, ..PolicyRule::default() };
        for (key, of) in map.iter() {
            match &*key.text {
                "from" => rule.from = Some(self.peer(of)?),
                "to" => rule.to = Some(self.peer(of)?),
                "within" => rule.within = Some(self.within(of)?),
                "between" => rule.between = Some(self.between(of)?),
                "ports" => rule.ports = self.ports(of),
                _ => {}
            }
        }
        match rule.problem() {
            Some(why) => {
                self.error(node.place, &format!("a rule {why}"), "one of them");
                None
            }
            None => Some(rule),
        }
    }

    fn within(&mut self, node: &Node) -> Option<Within> {
        match node.as_text() {
            Some("stack") => Some(Within::Stack),
            Some("service") => Some(Within::Service),
            Some("linked") => Some(Within::Linked),
            _ => {
                let what = format!("within is {}", node.kind());
                self.error(node.place, &what, "stack, service or linked");
                None
            }
        }
    }

    /// A text that parses, or an error with what was expected.
    fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
        &mut self,
        node: &Node,
        what: &str,
    ) -> Option<T> {
        let Some(text) = node.as_text() else {
            self.error(node.place, &format!("{what} is {}", node.kind()), "a text");
            return None;
        };
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                let what = format!("{what} is {}", quoted(text));
                self.error(node.place, &what, &error.to_string());
                None
            }
        }
    }

    fn peer(&mut self, node: &Node) -> Option<PolicyPeer> {
        let map = self.map(node, "from and to", &["stack", "service", "selector"])?;
        let mut peer = PolicyPeer::default();
        for (key, of) in map.iter() {
            match &*key.text {
                "stack" => peer.stack = Some(self.parsed(of, "stack")?),
                "service" => peer.service = Some(self.service_name(of)?),
                "selector" => peer.selector = Some(self.parsed(of, "selector")?),
                _ => {}
            }
        }
        Some(peer)
    }

    fn service_name(&mut self, node: &Node) -> Option<ServiceId> {
        let own = match (self.stack, node.as_text()) {
            (Some(own), Some(text)) if !text.contains('/') => own,
            _ => return self.parsed(node, "service"),
        };
        let service: ServiceName = self.parsed(node, "service")?;
        if !own.services.contains(service.as_str()) {
            let what = format!("there is no service {}", quoted(service.as_str()));
            self.error(node.place, &what, "a service of this file, or stack/service");
            return None;
        }
        Some(ServiceId { stack: own.name.clone(), service })
    }

    fn between(&mut self, node: &Node) -> Option<Between> {
        let map = self.map(node, "between", &["selector", "group_by", "groupBy"])?;
        let mut between = Between::default();
        for (key, of) in map.iter() {
            match &*key.text {
                "selector" => between.selector = Some(self.parsed(of, "selector")?),
                "group_by" | "groupBy" => between.group_by = Some(self.parsed(of, "group_by")?),
                _ => {}
            }
        }
        Some(between)
    }

    fn ports(&mut self, node: &Node) -> std::collections::BTreeSet<model::policy::PolicyPorts> {
        let alone = std::slice::from_ref(node);
        let items = node.as_list().unwrap_or(alone);
        if items.is_empty() {
            self.error(node.place, "ports is an empty list", "ports, or no key ports");
        }
        items.iter().filter_map(|item| self.parsed(item, "a port")).collect()
    }
}
