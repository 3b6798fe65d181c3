//! Which services are containers of another service's instances: named by Rancher's label
//! `io.rancher.sidekicks`, or because they share a network, a namespace or volumes, which only
//! containers of one host can. It decides who belongs to whom and nothing else.

mod refer;

use crate::check::{circle, circles};
use crate::diagnostic::{Report, quoted};
use crate::fields::Fields;
use crate::source::Place;
use crate::yaml::{Map, Node};
use model::limits;
use std::collections::{BTreeMap, BTreeSet};

pub(crate) use refer::{Reference, namespace, references, volumes_from};

/// Rancher's label on a primary.
pub(crate) const SIDEKICKS: &str = "io.rancher.sidekicks";

/// Who belongs to whom.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// The primary of each sidekick.
    primary: BTreeMap<String, String>,
    /// Primaries that say so by the label.
    labelled: BTreeSet<String>,
    /// The service that has a `container_name`.
    named: BTreeMap<String, String>,
    /// Services by their names in lower case.
    lower: BTreeMap<String, String>,
}

impl Groups {
    /// Finds the groups of a stack; what cannot be is in the report.
    pub(crate) fn of(
        services: &Map,
        inactive: &BTreeMap<String, Vec<String>>,
        report: &mut Report,
    ) -> Self {
        let mut groups = Self::default();
        for (key, node) in services.iter() {
            groups.lower.insert(key.text.to_lowercase(), key.text.to_string());
            let name = node.as_map().and_then(|map| Fields::of(map).text("container_name"));
            if let Some(name) = name.filter(|name| !services.contains(name)) {
                groups.named.insert(name.to_owned(), key.text.to_string());
            }
        }
        groups.by_label(services, inactive, report);
        let said: BTreeSet<String> = groups.primary.keys().cloned().collect();
        let because = groups.by_reference(services, report);
        groups.check_circles(services, report);
        groups.check_sizes(services, report);
        for (name, reference) in because {
            let root = groups.root(&name);
            if root == name || said.contains(&name) {
                continue;
            }
            let message = format!(
                "service {}: it becomes a sidekick of {}, because of {}",
                quoted(&name),
                quoted(root),
                reference.key
            );
            report.warn(reference.place, message).hint(format!(
                "both share a host and a scale; write the label {SIDEKICKS}: {name} at {root} to say so"
            ));
        }
        groups
    }

    /// The primary of a sidekick.
    pub(crate) fn primary_of(&self, name: &str) -> Option<&str> {
        self.primary.get(name).map(String::as_str)
    }

    /// The primary of a sidekick, or the service itself.
    pub(crate) fn root<'a>(&'a self, name: &'a str) -> &'a str {
        self.primary_of(name).unwrap_or(name)
    }

    /// A service by its name in lower case.
    pub(crate) fn by_lower_case(&self, name: &str) -> Option<&str> {
        self.lower.get(name).map(String::as_str)
    }

    /// The service that a text means: by its name, or by its container's.
    pub(crate) fn find<'a>(&'a self, services: &Map, name: &'a str) -> Option<&'a str> {
        match services.contains(name) {
            true => Some(name),
            false => self.named.get(name).map(String::as_str),
        }
    }

    /// Is the sidekick in the network of its primary, and so reached at the primary's address?
    pub(crate) fn is_in_network_of_primary(&self, services: &Map, name: &str) -> bool {
        let Some(primary) = self.primary_of(name) else { return false };
        let mut at = name;
        // A chain that does not end is a circle, which has been reported.
        for _ in 0..limits::SIDEKICKS_MAX {
            let map = services.get(at).and_then(Node::as_map);
            let mode = map.and_then(|map| Fields::of(map).text("network_mode")).unwrap_or("");
            let Some((_, next)) = namespace(mode) else { return false };
            match self.find(services, next) {
                Some(next) if next == primary => return true,
                Some(next) => at = next,
                None => return false,
            }
        }
        false
    }

    fn by_label(
        &mut self,
        services: &Map,
        inactive: &BTreeMap<String, Vec<String>>,
        report: &mut Report,
    ) {
        let mut places = BTreeMap::new();
        for (key, node) in services.iter() {
            let Some((place, text)) = node.as_map().and_then(label) else { continue };
            let own = &*key.text;
            let subject = format!("service {}: label {SIDEKICKS}", quoted(own));
            let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
            // With one too many the group is refused by its size.
            for name in names.take(limits::SIDEKICKS_MAX + 1) {
                let mut bad = |what: String| {
                    report
                        .error(place, format!("{subject}: {what}"))
                        .expected("names of other services of this stack, with commas between")
                        .near(name, services.iter().map(|(k, _)| &*k.text));
                };
                if name == own {
                    bad("a service cannot be its own sidekick".into());
                } else if inactive.contains_key(name) {
                    bad(format!("service {} is in no active profile", quoted(name)));
                } else if !services.contains(name) {
                    bad(format!("there is no service {}", quoted(name)));
                } else if let Some(other) = self.primary.get(name).filter(|other| *other != own) {
                    let names = format!("{} and {}", quoted(other), quoted(own));
                    bad(format!("{} would be a sidekick of both {names}", quoted(name)));
                } else {
                    self.primary.insert(name.to_owned(), own.to_owned());
                    self.labelled.insert(own.to_owned());
                    places.insert(own.to_owned(), place);
                }
            }
        }
        for name in self.labelled.clone() {
            if let Some(primary) = self.primary.get(&name).cloned() {
                let place = places[&name];
                let (name, primary) = (quoted(&name), quoted(&primary));
                let message = format!("service {name} has sidekicks and is one of {primary}");
                report
                    .error(place, message)
                    .expected("sidekicks only at the primary")
                    .hint(format!("name them all in the label of {primary}"));
            }
        }
    }

    /// Services that share what only containers of one host can, each with the reason.
    fn by_reference<'m>(
        &mut self,
        services: &'m Map,
        report: &mut Report,
    ) -> Vec<(String, Reference<'m>)> {
        let mut because = vec![];
        for (key, node) in services.iter() {
            let Some(map) = node.as_map() else { continue };
            let name = &*key.text;
            for reference in references(Fields::of(map)) {
                let Some(other) = self.find(services, reference.name).map(str::to_owned) else {
                    continue;
                };
                let (from, to) = (self.root(name).to_owned(), self.root(&other).to_owned());
                if from == to {
                    continue;
                }
                match (self.labelled.contains(&from), self.labelled.contains(&to)) {
                    (true, true) => {
                        let message = format!(
                            "service {}: {} names {}, which has another primary",
                            quoted(name),
                            reference.key,
                            quoted(&other)
                        );
                        report
                            .error(reference.place, message)
                            .expected(format!("a sidekick of {}", quoted(&from)));
                    }
                    (true, false) => {
                        self.join(&to, &from);
                        because.push((to, reference));
                    }
                    (false, _) => {
                        self.join(&from, &to);
                        because.push((from, reference));
                    }
                }
            }
        }
        because
    }

    fn join(&mut self, root: &str, to: &str) {
        for primary in self.primary.values_mut().filter(|primary| *primary == root) {
            to.clone_into(primary);
        }
        self.primary.insert(root.to_owned(), to.to_owned());
    }

    fn check_circles(&self, services: &Map, report: &mut Report) {
        let of = |name: &str| -> Vec<Reference<'_>> {
            let map = services.get(name).and_then(Node::as_map);
            map.map(|map| references(Fields::of(map))).unwrap_or_default()
        };
        let needs = |name: &str| {
            let names = of(name).into_iter().filter_map(|r| self.find(services, r.name));
            let names: BTreeSet<&str> = names.collect();
            names.into_iter().map(str::to_owned).collect()
        };
        for names in circles(services, needs) {
            let (first, last) = (&names[0], &names[names.len() - 1]);
            let back = of(last).into_iter().find(|r| self.find(services, r.name) == Some(first));
            let Some(Reference { place, .. }) = back else { continue };
            report
                .error(place, format!("containers share in a circle: {}", circle(&names)))
                .expected("containers that can be made one after the other")
                .hint("look at network_mode, ipc, pid and volumes_from");
        }
    }

    fn check_sizes(&self, services: &Map, report: &mut Report) {
        let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
        for primary in self.primary.values() {
            *sizes.entry(primary).or_default() += 1;
        }
        let max = limits::SIDEKICKS_MAX;
        for (primary, size) in sizes.into_iter().filter(|(_, size)| *size > max) {
            if let Some(key) = services.key(primary) {
                let message = format!("service {} has {size} sidekicks", quoted(primary));
                report.error(key.place, message).expected(format!("at most {max}"));
            }
        }
    }
}

/// The value of the label with its place; that of the container before that of `deploy`.
fn label(map: &Map) -> Option<(Place, &str)> {
    let fields = Fields::of(map);
    let maps = [fields.map("labels"), fields.object("deploy").and_then(|d| d.map("labels"))];
    let node = maps.into_iter().flatten().find_map(|labels| labels.get(SIDEKICKS))?;
    Some((node.place, node.as_text()?))
}
