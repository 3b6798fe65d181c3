//! Where instances may go, in the words of Rancher's labels, of Swarm's variables and of
//! `deploy.placement`. Pure; an error is what was expected.

use model::placement::{Constraint, Subject};

/// Rancher's labels, before the colon and what follows it.
pub(crate) const LABEL: &str = "io.rancher.scheduler.affinity:";
/// Labels whose value is `stack/service`; Rancher's users write the service alone.
const SERVICE_LABELS: [&str; 2] =
    ["io.rancher.stack_service.name", "io.rancher.project_service.name"];
const PAIRS: &str = "label=value, with commas between several";

/// What the words of a constraint are read against.
pub(crate) struct Words<'a> {
    /// `${stack_name}` and `${project_name}`.
    pub(crate) stack: &'a str,
    /// `${service_name}`: `service`, or `service/sidekick`.
    pub(crate) service: String,
    /// `stack/service[/sidekick]` of a service of the stack, by its name in lower case.
    pub(crate) full_name: &'a dyn Fn(&str) -> Option<String>,
}

impl Words<'_> {
    /// Text with macros filled in, in lower case: so Rancher compares.
    fn text(&self, text: &str) -> String {
        let text = text.trim();
        let filled = if text.contains("${") {
            text.replace("${stack_name}", self.stack)
                .replace("${project_name}", self.stack)
                .replace("${service_name}", &self.service)
        } else {
            text.to_owned()
        };
        filled.to_lowercase()
    }

    fn container_label(&self, key: String, value: Option<String>) -> Subject {
        let value = match value {
            Some(value) if SERVICE_LABELS.contains(&key.as_str()) && !value.contains('/') => {
                Some((self.full_name)(&value).map_or(value, |full| full.to_lowercase()))
            }
            value => value,
        };
        Subject::ContainerLabel { key, value }
    }

    /// `key=value`, or a key alone, whose value may be any.
    fn pair(&self, text: &str) -> Result<(String, Option<String>), &'static str> {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (self.text(key), Some(self.text(value))),
            None => (self.text(text), None),
        };
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(PAIRS);
        }
        Ok((key, value))
    }

    /// A label `io.rancher.scheduler.affinity:<kind>` with its value: one constraint for each
    /// element between commas.
    ///
    /// # Errors
    /// What was expected instead of this kind or value.
    pub(crate) fn label(&self, kind: &str, value: &str) -> Result<Vec<Constraint>, &'static str> {
        let (target, soft, negated) = if let Some(target) = kind.strip_suffix("_soft_ne") {
            (target, true, true)
        } else if let Some(target) = kind.strip_suffix("_soft") {
            (target, true, false)
        } else if let Some(target) = kind.strip_suffix("_ne") {
            (target, false, true)
        } else {
            (kind, false, false)
        };
        if !matches!(target, "host_label" | "container_label" | "container") {
            return Err("host_label, container_label or container, alone or with _ne, _soft or \
                        _soft_ne behind it");
        }
        let mut out = vec![];
        for element in value.split(',').map(str::trim).filter(|e| !e.is_empty()) {
            let on = match target {
                "container" => Subject::Container { name: self.text(element) },
                _ => {
                    let (key, value) = self.pair(element)?;
                    match target {
                        "host_label" => Subject::HostLabel { key, value },
                        _ => self.container_label(key, value),
                    }
                }
            };
            out.push(Constraint { on, negated, soft });
        }
        match (out.is_empty(), target) {
            (false, _) => Ok(out),
            (true, "container") => Err("names of containers, with commas between"),
            (true, _) => Err(PAIRS),
        }
    }

    /// A variable of the environment such as `constraint:zone==a` or `affinity:container!=~x`;
    /// `None` when it is an ordinary one.
    pub(crate) fn variable(
        &self,
        name: &str,
        value: &str,
    ) -> Option<Result<Constraint, &'static str>> {
        const EXPECTED: &str = "affinity:container==x, affinity:label==value or \
                                constraint:label==value, with ==, !=, ==~ or !=~";
        let (kind, rest) = name.split_once(':')?;
        if !matches!(kind, "affinity" | "constraint") {
            return None;
        }
        // What was one text in the file was cut at its first '='; in a map it has the operator whole.
        let text = match value.starts_with("==") || value.starts_with("!=") {
            true => format!("{rest}{value}"),
            false => format!("{rest}={value}"),
        };
        let cut = match (text.find("=="), text.find("!=")) {
            (Some(a), Some(b)) => Some((a.min(b), b < a)),
            (Some(at), None) => Some((at, false)),
            (None, Some(at)) => Some((at, true)),
            (None, None) => None,
        };
        let Some((at, negated)) = cut else { return Some(Err(EXPECTED)) };
        let (soft, value) = match text[at + 2..].strip_prefix('~') {
            Some(value) => (true, self.text(value)),
            None => (false, self.text(&text[at + 2..])),
        };
        let key = self.text(&text[..at]);
        if key.is_empty() || value.is_empty() {
            return Some(Err(EXPECTED));
        }
        let on = match (kind, key.as_str()) {
            ("affinity", "container") => Subject::Container { name: value },
            ("affinity", _) => self.container_label(key, Some(value)),
            _ => Subject::HostLabel { key, value: Some(value) },
        };
        Some(Ok(Constraint { on, negated, soft }))
    }
}

/// One entry of `deploy.placement.constraints`.
pub(crate) enum NodeConstraint {
    /// It is carried out.
    Is(Constraint),
    /// It asks for something that hosts do not have; why.
    Nothing(&'static str),
}

/// `node.labels.zone == a`, `node.hostname != b` …
///
/// # Errors
/// What was expected.
pub(crate) fn node(text: &str) -> Result<NodeConstraint, &'static str> {
    const EXPECTED: &str = "node.labels.x==y, node.hostname==x or node.id==x, with == or !=";
    let (left, negated, right) = match (text.split_once("=="), text.split_once("!=")) {
        (Some((left, right)), _) => (left, false, right),
        (None, Some((left, right))) => (left, true, right),
        (None, None) => return Err(EXPECTED),
    };
    let left = left.trim().to_lowercase();
    let value = right.trim().to_lowercase();
    if value.is_empty() {
        return Err(EXPECTED);
    }
    let key = left.strip_prefix("node.labels.").or_else(|| left.strip_prefix("engine.labels."));
    let on = match (left.as_str(), key) {
        (_, Some(key)) if !key.is_empty() => {
            Subject::HostLabel { key: key.to_owned(), value: Some(value) }
        }
        ("node.hostname" | "node.id", _) => Subject::Host { name: value },
        ("node.role", _) => {
            return Ok(NodeConstraint::Nothing("hosts have no role: every host may be chosen"));
        }
        ("node.platform.os" | "node.platform.arch", _) => {
            return Ok(NodeConstraint::Nothing("hosts are not told apart by their platform"));
        }
        _ => return Err(EXPECTED),
    };
    Ok(NodeConstraint::Is(Constraint { on, negated, soft: false }))
}
