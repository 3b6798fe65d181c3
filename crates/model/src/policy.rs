//! Network policy: which containers may open connections to which others. It is said for the
//! environment and for services; `control` makes of it what each host is to hold.

use crate::id::{ServiceId, StackName};
use crate::limits::{POLICY_PORTS_MAX, POLICY_RULES_MAX};
use crate::selector::Selector;
use crate::service::Transport;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// What becomes of a connection.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum PolicyAction {
    /// It is let through.
    #[default]
    Allow,
    /// It is refused, so that who opens it hears of it at once.
    Deny,
}

impl fmt::Display for PolicyAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

/// Of a whole environment. The first rule that fits decides; services ask their own rules before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct NetworkPolicy {
    /// What no rule says.
    #[serde(alias = "default_policy_action")]
    pub default: PolicyAction,
    /// In order.
    #[serde(alias = "policy")]
    pub rules: Vec<PolicyRule>,
}

impl NetworkPolicy {
    /// Does it say nothing that is not so without it?
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.default == PolicyAction::Allow && self.rules.is_empty()
    }

    /// Checks what the types do not.
    ///
    /// # Errors
    /// Which rule, by its number from 1, breaks what.
    pub fn check(&self) -> Result<(), String> {
        check_all(&self.rules)
    }
}

/// Of one service: who may connect to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct ServicePolicy {
    /// What no rule of it says; `None` leaves it to the environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<PolicyAction>,
    /// In order: its own, then those of its stack. None has `to`: that is the service.
    pub rules: Vec<PolicyRule>,
}

impl ServicePolicy {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// Which rule, by its number from 1, breaks what.
    pub fn check(&self) -> Result<(), String> {
        let to = self.rules.iter().position(|rule| rule.to.is_some());
        match to {
            Some(at) => Err(format!("network policy: rule {} has `to`: it is the service", at + 1)),
            None => check_all(&self.rules),
        }
    }
}

fn check_all(rules: &[PolicyRule]) -> Result<(), String> {
    if rules.len() > POLICY_RULES_MAX {
        let count = rules.len();
        return Err(format!("network policy: {count} rules; at most {POLICY_RULES_MAX}"));
    }
    let problems =
        rules.iter().enumerate().filter_map(|(at, rule)| Some((at + 1, rule.problem()?)));
    problems
        .map(|(at, why)| Err(format!("network policy: rule {at} {why}")))
        .next()
        .unwrap_or(Ok(()))
}

/// One rule: `from` and `to`, or `within`, or `between`; with none of them it is for all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct PolicyRule {
    /// What becomes of a connection that fits.
    pub action: PolicyAction,
    /// Who opens it; `None` is everyone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<PolicyPeer>,
    /// To whom; `None` is everyone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<PolicyPeer>,
    /// Both are within the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<Within>,
    /// Both are alike.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub between: Option<Between>,
    /// Ports of the destination, at most `POLICY_PORTS_MAX`; none is every one, and what has no
    /// ports.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub ports: BTreeSet<PolicyPorts>,
}

impl PolicyRule {
    /// What it breaks, if anything.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let pair = self.from.is_some() || self.to.is_some();
        let forms = [pair, self.within.is_some(), self.between.is_some()];
        if forms.into_iter().filter(|is| *is).count() > 1 {
            return Some("has two of from/to, within and between: write two rules".into());
        }
        if self.ports.len() > POLICY_PORTS_MAX {
            return Some(format!("has {} ports; at most {POLICY_PORTS_MAX}", self.ports.len()));
        }
        let empty = |peer: &Option<PolicyPeer>| peer.as_ref().is_some_and(PolicyPeer::is_empty);
        if empty(&self.from) || empty(&self.to) {
            return Some("has an empty from or to: name a stack, a service or a selector".into());
        }
        let between = self.between.as_ref();
        if between.is_some_and(|b| b.selector.is_none() && b.group_by.is_none()) {
            return Some("has an empty between: name a selector or group_by".into());
        }
        None
    }
}

/// Containers: those for which all that is named holds.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(default)]
pub struct PolicyPeer {
    /// Of this stack.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub stack: Option<StackName>,
    /// Of this service, `stack/service`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub service: Option<ServiceId>,
    /// With labels that match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
}

impl PolicyPeer {
    /// Does it name nothing?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stack.is_none() && self.service.is_none() && self.selector.is_none()
    }
}

impl fmt::Display for PolicyPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stack = self.stack.as_ref().map(|stack| format!("stack {stack}"));
        let service = self.service.as_ref().map(|service| format!("service {service}"));
        let selector = self.selector.as_ref().map(|selector| format!("selector {selector}"));
        let all: Vec<String> = [stack, service, selector].into_iter().flatten().collect();
        f.write_str(&all.join(" and "))
    }
}

/// What both ends of a connection are within.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Within {
    /// One stack.
    Stack,
    /// One service.
    Service,
    /// A link: who opens the connection has a link to the other.
    Linked,
}

impl fmt::Display for Within {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stack => "stack",
            Self::Service => "service",
            Self::Linked => "linked",
        })
    }
}

/// Both ends of a connection are so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Between {
    /// The labels of both match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// Both have this label, with the same value.
    #[serde(skip_serializing_if = "Option::is_none", alias = "groupBy")]
    pub group_by: Option<String>,
}

/// A port or a range of them: `5432`, `53/udp`, `8000-8010/tcp`. Without a protocol it is both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyPorts {
    /// The first one.
    pub first: u16,
    /// The last one.
    pub last: u16,
    /// `None` is both.
    pub transport: Option<Transport>,
}

impl PolicyPorts {
    /// Is this port among them?
    #[must_use]
    pub fn contains(&self, port: u16, transport: Transport) -> bool {
        let fits = self.transport.is_none_or(|own| own == transport);
        fits && (self.first..=self.last).contains(&port)
    }
}

impl fmt::Display for PolicyPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last, transport } = self;
        write!(f, "{first}")?;
        if last != first {
            write!(f, "-{last}")?;
        }
        transport.map_or(Ok(()), |transport| write!(f, "/{transport}"))
    }
}

/// Why a text is no port of a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no port: write 5432, 53/udp or 8000-8010/tcp")]
pub struct InvalidPorts(String);

impl FromStr for PolicyPorts {
    type Err = InvalidPorts;
    fn from_str(text: &str) -> Result<Self, InvalidPorts> {
        let invalid = || InvalidPorts(text.chars().take(40).collect());
        let (range, transport) = match text.split_once('/') {
            None => (text, None),
            Some((range, "tcp")) => (range, Some(Transport::Tcp)),
            Some((range, "udp")) => (range, Some(Transport::Udp)),
            Some(_) => return Err(invalid()),
        };
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            text.parse().ok().filter(|port| digits && *port > 0)
        };
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last, transport }),
            _ => Err(invalid()),
        }
    }
}

impl Serialize for PolicyPorts {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PolicyPorts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Number(number) => number.to_string(),
            Written::Text(text) => text,
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for PolicyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.action)?;
        if let Some(from) = &self.from {
            write!(f, " from {from}")?;
        }
        if let Some(to) = &self.to {
            write!(f, " to {to}")?;
        }
        if let Some(within) = self.within {
            write!(f, " within {within}")?;
        }
        if let Some(Between { selector, group_by }) = &self.between {
            f.write_str(" between")?;
            if let Some(selector) = selector {
                write!(f, " selector {selector}")?;
            }
            if let Some(label) = group_by {
                write!(f, " same {label}")?;
            }
        }
        if !self.ports.is_empty() {
            let ports: Vec<String> = self.ports.iter().map(ToString::to_string).collect();
            write!(f, " ports {}", ports.join(", "))?;
        }
        Ok(())
    }
}

/// A policy from outside: a key that is not known, or a rule without an action, is an error, since
/// what is left of it would let others through. Records are read leniently: a newer version may have
/// written them.
///
/// # Errors
/// Which key, in which rule.
pub fn strict_environment<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<NetworkPolicy>, D::Error> {
    strict(deserializer, &["default", "default_policy_action", "rules", "policy"])
}

/// The same of a service.
///
/// # Errors
/// Which key, in which rule.
pub fn strict_service<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<ServicePolicy>, D::Error> {
    strict(deserializer, &["default", "rules"])
}

fn strict<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
    keys: &[&str],
) -> Result<Option<T>, D::Error> {
    let Some(value) = Option::<Value>::deserialize(deserializer)? else { return Ok(None) };
    only(&value, keys, "network policy").map_err(serde::de::Error::custom)?;
    for key in ["rules", "policy"] {
        let rules = value.get(key).and_then(Value::as_array);
        for (number, rule) in (1..).zip(rules.into_iter().flatten()) {
            strict_rule(rule, number).map_err(serde::de::Error::custom)?;
        }
    }
    serde_json::from_value(value).map(Some).map_err(serde::de::Error::custom)
}

fn strict_rule(rule: &Value, number: usize) -> Result<(), String> {
    let what = format!("network policy: rule {number}");
    only(rule, &["action", "from", "to", "within", "between", "ports"], &what)?;
    if rule.get("action").is_none() {
        return Err(format!("{what} has no action: allow or deny"));
    }
    for (key, keys) in [
        ("from", &["stack", "service", "selector"][..]),
        ("to", &["stack", "service", "selector"]),
        ("between", &["selector", "group_by", "groupBy"]),
    ] {
        if let Some(part) = rule.get(key).filter(|part| !part.is_null()) {
            only(part, keys, &format!("{what}: {key}"))?;
        }
    }
    Ok(())
}

fn only(value: &Value, keys: &[&str], what: &str) -> Result<(), String> {
    let unknown =
        value.as_object().into_iter().flatten().find(|(key, _)| !keys.contains(&key.as_str()));
    unknown.map_or(Ok(()), |(key, _)| {
        let key: String = key.chars().take(40).collect();
        Err(format!("{what}: key {key:?} is not known: there are {}", keys.join(", ")))
    })
}

/// What one host holds of it: for each address here who may open connections to it. By default
/// nothing is held and everything is let through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostPolicy {
    /// Addresses of the range that are not in `guarded`.
    pub unlisted: Unlisted,
    /// Addresses on this host, each with its guard.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub guarded: BTreeMap<Ipv4Addr, String>,
    /// By name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub guards: BTreeMap<String, Guard>,
    /// Sources that guards name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, BTreeSet<Ipv4Addr>>,
}

impl HostPolicy {
    /// Is nothing held?
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.unlisted == Unlisted::Off
    }
}

/// What becomes of connections to addresses that have no guard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unlisted {
    /// There is no policy: the host looks at nothing.
    #[default]
    Off,
    /// They are let through.
    Allow,
    /// They are refused.
    Deny,
}

/// Who may open connections to a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// The first one that fits decides.
    pub rules: Vec<GuardRule>,
    /// What none says.
    pub default: PolicyAction,
}

/// One rule of a guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardRule {
    /// What becomes of it.
    pub action: PolicyAction,
    /// Name in `HostPolicy::sources`; `None` is everyone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Ports; none is every one, and what has no ports.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub ports: BTreeSet<PolicyPorts>,
}

/// What a policy says of one connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PolicyVerdict {
    /// What becomes of it.
    pub action: PolicyAction,
    /// Which rule says so, in words.
    pub by: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_they_are_written() {
        for text in ["5432", "53/udp", "8000-8010/tcp", "1-65535"] {
            assert_eq!(text.parse::<PolicyPorts>().unwrap().to_string(), text);
        }
        assert_eq!("80-80".parse::<PolicyPorts>().unwrap().to_string(), "80");
        for text in ["", "0", "65536", "9-8", "80/sctp", "80/", "+80", "-80", "80-", "a", "80/TCP"]
        {
            let error = text.parse::<PolicyPorts>().unwrap_err().to_string();
            assert!(error.contains("53/udp"), "{text}: {error}");
        }
        let ports: PolicyPorts = "80-81/tcp".parse().unwrap();
        let among = [(79, false), (80, true), (81, true), (82, false)];
        assert!(among.iter().all(|(port, is)| ports.contains(*port, Transport::Tcp) == *is));
        assert!(!ports.contains(80, Transport::Udp));
    }

    #[test]
    fn a_policy_is_read_in_our_words_and_in_those_of_old_files() {
        let ours = r#"{"default":"deny","rules":[{"action":"allow","within":"stack"},
            {"action":"allow","between":{"group_by":"team"},"ports":[80,"53/udp"]}]}"#;
        let old = r#"{"default_policy_action":"deny","policy":[{"action":"allow","within":"stack"},
            {"action":"allow","between":{"groupBy":"team"},"ports":["80","53/udp"]}]}"#;
        let [ours, old]: [NetworkPolicy; 2] = [ours, old].map(|t| serde_json::from_str(t).unwrap());
        assert_eq!(ours, old);
        assert_eq!(ours.rules[1].to_string(), "allow between same team ports 53/udp, 80");
        let text = serde_json::to_string(&ours).unwrap();
        assert_eq!(serde_json::from_str::<NetworkPolicy>(&text).unwrap(), ours);
    }

    #[test]
    fn what_comes_from_outside_is_read_strictly() {
        let read = |text: &str| {
            let mut json = serde_json::Deserializer::from_str(text);
            strict_environment(&mut json).map_err(|error| error.to_string())
        };
        let good = r#"{"default":"deny","rules":[{"action":"allow","from":{"stack":"a"}}]}"#;
        assert_eq!(read(good).unwrap().unwrap().rules.len(), 1);
        assert_eq!(read("null"), Ok(None));
        for (text, why) in [
            (r#"{"defualt":"deny"}"#, "\"defualt\" is not known"),
            (r#"{"rules":[{"action":"allow"},{"from":{"stack":"a"}}]}"#, "rule 2 has no action"),
            (r#"{"rules":[{"action":"allow","form":{"stack":"a"}}]}"#, "rule 1: key \"form\""),
            (r#"{"policy":[{"action":"allow","from":{"stak":"a"}}]}"#, "from: key \"stak\""),
            (r#"{"rules":[{"action":"allow","between":{"by":"a"}}]}"#, "between: key \"by\""),
            (r#"{"rules":[{"action":"drop"}]}"#, "drop"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_the_number_of_its_rule() {
        let rule = |text: &str| serde_json::from_str::<PolicyRule>(text).unwrap();
        let cases = [
            (r#"{"within":"stack","from":{"stack":"a"}}"#, "two of from/to"),
            (r#"{"from":{}}"#, "empty from or to"),
            (r#"{"between":{}}"#, "empty between"),
        ];
        for (text, why) in cases {
            let rules = vec![rule(r#"{"action":"deny"}"#), rule(text)];
            let error = NetworkPolicy { rules, ..NetworkPolicy::default() }.check().unwrap_err();
            assert!(error.contains("rule 2") && error.contains(why), "{error}");
        }
        let many = vec![PolicyRule::default(); POLICY_RULES_MAX + 1];
        let error = NetworkPolicy { rules: many, ..NetworkPolicy::default() }.check().unwrap_err();
        assert!(error.contains("at most"), "{error}");
        let to = vec![rule(r#"{"to":{"stack":"a"}}"#)];
        let error = ServicePolicy { rules: to, default: None }.check().unwrap_err();
        assert!(error.contains("rule 1 has `to`"), "{error}");
    }
}
