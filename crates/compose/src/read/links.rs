//! Links: further names for other services, and the services that an alias stands for.

use super::Read;
use crate::diagnostic::quoted;
use crate::source::Place;
use crate::yaml::Node;
use model::id::{ServiceId, ServiceName, StackName};
use model::limits;
use model::service::Link;
use std::collections::BTreeMap;

impl Read<'_> {
    /// `links` and `external_links`, each with its place; what leads nowhere is reported.
    pub(super) fn links(&mut self) -> Vec<(Place, Link)> {
        let mut out: Vec<(Place, Link)> = vec![];
        for node in self.fields.items("links") {
            out.extend(self.link(node, false));
        }
        for node in self.fields.items("external_links") {
            out.extend(self.link(node, true));
        }
        let mut aliases: BTreeMap<String, ServiceId> = BTreeMap::new();
        let mut kept = vec![];
        for (place, link) in out {
            let alias = link.alias.to_lowercase();
            match aliases.get(&alias) {
                // An alias of services has the endpoints of all; the names do not matter.
                _ if self.is_alias() => {}
                Some(same) if *same == link.service => continue,
                Some(other) => {
                    let what = format!(
                        "links: the name {} is that of {other}: {} is not found by it",
                        quoted(&link.alias),
                        link.service
                    );
                    self.warn(place, &what).hint("give it another name: service:name");
                    continue;
                }
                None => {
                    aliases.insert(alias, link.service.clone());
                }
            }
            kept.push((place, link));
        }
        if kept.len() > limits::LINKS_MAX {
            self.error(self.place, &format!("there are {} links", kept.len()))
                .expected(format!("at most {}", limits::LINKS_MAX));
            kept.truncate(limits::LINKS_MAX);
        }
        kept
    }

    fn link(&mut self, node: &Node, external: bool) -> Option<(Place, Link)> {
        let key = if external { "external_links" } else { "links" };
        let text = node.as_text()?;
        let (target, alias) = match text.split_once(':') {
            Some((target, alias)) => (target.trim(), Some(alias.trim())),
            None => (text.trim(), None),
        };
        let service = match target.split('/').collect::<Vec<_>>()[..] {
            [name] if external && !self.stack.services.contains(name) => {
                let what = format!("{key}: {} has no effect: no stack is named", quoted(name));
                self.warn(node.place, &what).hint("write stack/service[:alias]");
                return None;
            }
            [name] if self.is_of_own_instance(name) => {
                if alias.is_some_and(|alias| alias != name) {
                    let what = format!("{key}: the alias of {} has no effect", quoted(name));
                    self.warn(node.place, &what)
                        .hint("containers of one instance find each other by their names");
                }
                return None;
            }
            [name] => self.linked(name, node.place)?,
            [stack, name] => self.linked_elsewhere(key, stack, name, node.place)?,
            _ => {
                let what = format!(
                    "{key}: {} is not carried out yet: it leads to another environment",
                    quoted(target)
                );
                self.warn(node.place, &what);
                return None;
            }
        };
        let alias = alias.unwrap_or_else(|| service.service.as_str()).to_owned();
        if !is_alias(&alias) {
            self.error(node.place, &format!("{key}: the alias {} is not a name", quoted(&alias)))
                .expected("letters, digits, '-', '_' and '.', in parts of at most 63");
            return None;
        }
        Some((node.place, Link { service, alias }))
    }

    /// Is it another container of the same instance?
    fn is_of_own_instance(&self, name: &str) -> bool {
        let groups = self.stack.groups;
        name != self.name && groups.root(name) == groups.root(self.name)
    }

    fn linked(&mut self, name: &str, place: Place) -> Option<ServiceId> {
        let service = self.endpoint(name, place, "it links to")?;
        Some(ServiceId { stack: self.stack.name.clone(), service })
    }

    fn linked_elsewhere(
        &mut self,
        key: &str,
        stack: &str,
        name: &str,
        place: Place,
    ) -> Option<ServiceId> {
        let id = StackName::parse(stack)
            .and_then(|stack| Ok(ServiceId { stack, service: ServiceName::parse(name)? }));
        let id = match id {
            Ok(id) => id,
            Err(error) => {
                self.error(place, &format!("{key}: {error}")).expected("stack/service[:alias]");
                return None;
            }
        };
        if id.stack == *self.stack.name {
            let services = self.stack.services;
            if !self.stack.services.contains(name) {
                let what = format!("{key}: there is no service {} in this stack", quoted(name));
                self.warn(place, &what).near(name, services.iter().map(|(k, _)| &*k.text));
                return Some(id);
            }
            return self.linked(name, place);
        }
        Some(id)
    }

    /// The service whose instances a name of this stack reaches; `None` with an error. A sidekick
    /// in the network of its primary is reached there.
    pub(super) fn endpoint(&mut self, name: &str, place: Place, how: &str) -> Option<ServiceName> {
        if !self.refer(name, place, how) {
            return None;
        }
        let (groups, services) = (self.stack.groups, self.stack.services);
        let Some(primary) = groups.primary_of(name) else { return ServiceName::parse(name).ok() };
        if !groups.is_in_network_of_primary(services, name) {
            let what = format!("{how} {}, a sidekick of {}", quoted(name), quoted(primary));
            self.error(place, &what)
                .expected(format!("a service, such as {primary}"))
                .hint(format!("sidekicks are found as {name}.{primary}"));
            return None;
        }
        ServiceName::parse(primary).ok()
    }

    /// The container of the same instance that a text means: `None` inside is the primary.
    pub(super) fn sibling(
        &mut self,
        key: &str,
        name: &str,
        place: Place,
    ) -> Option<Option<ServiceName>> {
        let (groups, services) = (self.stack.groups, self.stack.services);
        let Some(found) = groups.find(services, name) else {
            self.refer(name, place, &format!("{key} names"));
            return None;
        };
        if found == groups.root(self.name) {
            return Some(None);
        }
        ServiceName::parse(found).ok().map(Some)
    }
}

fn is_alias(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= limits::NAME_BYTES_MAX
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    text.len() <= 253 && text.split('.').all(label)
}
