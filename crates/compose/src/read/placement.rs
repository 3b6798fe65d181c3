//! Where instances may and should go: Rancher's labels, variables of the environment,
//! `deploy.placement`, and Remuda's `placement`.

use super::Read;
use crate::affinity::{self, LABEL, NodeConstraint, Words};
use crate::diagnostic::quoted;
use crate::fields::Fields;
use crate::source::Place;
use crate::yaml::Node;
use model::id::HostId;
use model::limits;
use model::placement::{Constraint, Placement, Strategy, Subject};

const REQUESTED_HOST: &str = "io.rancher.service.requested.host.id";

impl Read<'_> {
    pub(super) fn placement(&mut self) -> Placement {
        let mut out = Placement::default();
        self.constraints_of_variables(&mut out.constraints);
        self.constraints_of_labels(&mut out.constraints);
        out.requested_host = self.requested_host();
        if let Some(fields) = self.fields.object("deploy").and_then(|d| d.object("placement")) {
            self.constraints_of_nodes(fields, "deploy: placement", &mut out.constraints);
            out.max_per_host = fields.number("max_replicas_per_node").filter(|max| *max > 0);
            for node in fields.items("preferences") {
                let spread = node.as_map().and_then(|map| Fields::of(map).text("spread"));
                out.spread_by.extend(self.spread(spread, node));
            }
        }
        if let Some(fields) = self.fields.object("placement") {
            self.own_placement(fields, &mut out);
        }
        let max = limits::CONSTRAINTS_MAX;
        for (what, count) in [
            ("placement constraints", out.constraints.len()),
            ("host labels to spread over", out.spread_by.len()),
        ] {
            if count > max {
                self.error(self.place, &format!("there are {count} {what}"))
                    .expected(format!("at most {max}"));
            }
        }
        out.constraints.truncate(max);
        out.spread_by.truncate(max);
        out
    }

    fn own_placement(&mut self, fields: Fields<'_>, out: &mut Placement) {
        self.constraints_of_nodes(fields, "placement", &mut out.constraints);
        if let Some(max) = fields.number("max_per_host") {
            out.max_per_host = Some(max);
        }
        let spread = fields.items("spread_by");
        if !spread.is_empty() {
            out.spread_by.clear();
        }
        for node in spread {
            out.spread_by.extend(self.spread(node.as_text(), node));
        }
        match fields.text("strategy") {
            None | Some("spread") => {}
            Some("binpack") => out.strategy = Strategy::Binpack,
            Some(other) => {
                let place = fields.place("strategy").unwrap_or(self.place);
                self.error(place, &format!("placement: strategy is {}", quoted(other)))
                    .expected("spread or binpack");
            }
        }
        for (key, negated, soft) in [
            ("affinity", false, false),
            ("affinity_soft", false, true),
            ("anti_affinity", true, false),
            ("anti_affinity_soft", true, true),
        ] {
            for node in fields.items(key) {
                let Some(text) = node.as_text() else { continue };
                if text == "self" && negated && !soft {
                    out.max_per_host = Some(1);
                    continue;
                }
                if text == "self" && !negated && !soft {
                    let what = "placement: affinity to itself leaves no host for the first one";
                    self.error(node.place, what).expected("another service, or affinity_soft");
                    continue;
                }
                if let Some(on) = self.company(text, node.place) {
                    out.constraints.push(Constraint { on, negated, soft });
                }
            }
        }
    }

    /// The containers of `self`, of a service of this stack, or of `stack/service`.
    fn company(&mut self, text: &str, place: Place) -> Option<Subject> {
        let stack = self.stack.name;
        let value = match text {
            "self" => format!("{stack}/{}", self.stack.groups.root(self.name)),
            _ if text.contains('/') => {
                if let Err(error) = text.parse::<model::id::ServiceId>() {
                    self.error(place, &format!("placement: {error}"))
                        .expected("self, service, or stack/service");
                    return None;
                }
                text.to_owned()
            }
            _ => {
                if !self.refer(text, place, "placement names") {
                    return None;
                }
                self.full_name(text)
            }
        };
        let key = "io.rancher.stack_service.name".to_owned();
        Some(Subject::ContainerLabel { key, value: Some(value.to_lowercase()) })
    }

    /// `stack/service`, or `stack/service/sidekick`, as Rancher's label has it.
    fn full_name(&self, name: &str) -> String {
        let stack = self.stack.name;
        match self.stack.groups.primary_of(name) {
            Some(primary) => format!("{stack}/{primary}/{name}"),
            None => format!("{stack}/{name}"),
        }
    }

    fn spread(&mut self, text: Option<&str>, node: &Node) -> Option<String> {
        let key = text.map(str::trim).unwrap_or("");
        let key = key.strip_prefix("node.labels.").unwrap_or(key).to_lowercase();
        let fits = !key.is_empty() && key.len() <= 255 && !key.contains(char::is_whitespace);
        if !fits || key.starts_with("node.") || key.starts_with("engine.") {
            self.error(node.place, &format!("placement: it spreads over {}", node.kind()))
                .expected("the name of a host label, as in node.labels.zone");
            return None;
        }
        Some(key)
    }

    fn constraints_of_nodes(&mut self, fields: Fields<'_>, what: &str, out: &mut Vec<Constraint>) {
        for node in fields.items("constraints") {
            let Some(text) = node.as_text() else { continue };
            match affinity::node(text).map_err(|expected| (expected, "is")) {
                Ok(_) if text.len() > limits::SELECTOR_BYTES_MAX => self.too_long(node.place),
                Ok(NodeConstraint::Is(constraint)) => out.push(constraint),
                Ok(NodeConstraint::Nothing(why)) => {
                    let what = format!("{what}: {} has no effect: {why}", quoted(text));
                    self.warn(node.place, &what);
                }
                Err((expected, _)) => {
                    self.error(node.place, &format!("{what}: constraint {}", quoted(text)))
                        .expected(expected);
                }
            }
        }
    }

    fn too_long(&mut self, place: Place) {
        let max = limits::SELECTOR_BYTES_MAX;
        self.error(place, "a placement constraint is too long")
            .expected(format!("at most {max} bytes"));
    }

    fn constraints_of_labels(&mut self, out: &mut Vec<Constraint>) {
        let maps =
            [self.fields.object("deploy").and_then(|d| d.map("labels")), self.fields.map("labels")];
        for (key, node) in maps.into_iter().flatten().flat_map(|map| map.iter()) {
            let Some(kind) = key.text.strip_prefix(LABEL) else { continue };
            let value = node.as_text().unwrap_or("");
            if value.len() > limits::SELECTOR_BYTES_MAX {
                self.too_long(node.place);
                continue;
            }
            match self.with_words(|words| words.label(kind, value)) {
                Ok(constraints) => out.extend(constraints),
                Err(expected) => {
                    let what = format!("label {LABEL}{} has {}", shortened(kind), quoted(value));
                    self.error(node.place, &what).expected(expected);
                }
            }
        }
    }

    fn constraints_of_variables(&mut self, out: &mut Vec<Constraint>) {
        let Some(map) = self.fields.map("environment") else { return };
        for (key, node) in map.iter() {
            let value = node.as_text().unwrap_or("");
            let Some(read) = self.with_words(|words| words.variable(&key.text, value)) else {
                continue;
            };
            match read {
                Ok(_) if value.len() + key.text.len() > limits::SELECTOR_BYTES_MAX => {
                    self.too_long(node.place);
                }
                Ok(constraint) => out.push(constraint),
                Err(expected) => {
                    let what = format!("environment: {} is no constraint", quoted(&key.text));
                    self.error(key.place, &what).expected(expected);
                }
            }
        }
    }

    fn with_words<T>(&self, read: impl FnOnce(&Words<'_>) -> T) -> T {
        let groups = self.stack.groups;
        let service = match groups.primary_of(self.name) {
            Some(primary) => format!("{primary}/{}", self.name),
            None => self.name.to_owned(),
        };
        let full_name = |lower: &str| groups.by_lower_case(lower).map(|name| self.full_name(name));
        read(&Words { stack: self.stack.name.as_str(), service, full_name: &full_name })
    }

    fn requested_host(&mut self) -> Option<HostId> {
        let (place, text) = self.label(REQUESTED_HOST)?;
        match HostId::parse(&text) {
            Ok(host) => Some(host),
            Err(error) => {
                self.error(place, &format!("label {REQUESTED_HOST}: {error}"))
                    .expected("the id of a host, as `remuda host ls` shows it");
                None
            }
        }
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}
