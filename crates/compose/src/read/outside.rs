//! Services without instances: a name for something outside (Rancher's external service), and a
//! name for other services (its DNS service).

use super::Read;
use crate::diagnostic::quoted;
use crate::source::Place;
use model::service::{AliasSpec, ExternalSpec, Link};
use std::collections::BTreeSet;
use std::net::IpAddr;

impl Read<'_> {
    pub(super) fn is_external(&self) -> bool {
        let image = self.fields.text("image").unwrap_or("");
        self.fields.node("external_ips").is_some() || image.starts_with("rancher/external-service")
    }

    pub(super) fn is_alias(&self) -> bool {
        self.fields.text("image").unwrap_or("").starts_with("rancher/dns-service")
    }

    pub(super) fn external(&mut self) -> ExternalSpec {
        let (mut addresses, mut seen) = (vec![], BTreeSet::new());
        for node in self.fields.items("external_ips") {
            let Some(text) = node.as_text() else { continue };
            match text.trim().parse::<IpAddr>() {
                Ok(address) if !seen.insert(address) => {}
                Ok(address) => addresses.push(address),
                Err(_) => {
                    let what = format!("external_ips: {} is not an address", quoted(text));
                    self.error(node.place, &what)
                        .expected("an address such as 10.0.0.1")
                        .hint("a host name goes in hostname");
                }
            }
        }
        let max = model::limits::DNS_ANSWER_ADDRESSES_MAX;
        if addresses.len() > max {
            self.error(self.place, &format!("external_ips: there are {}", addresses.len()))
                .expected(format!("at most {max}"));
        }
        let hostname = self.hostname("hostname").unwrap_or_default();
        let place = self.fields.place("hostname").unwrap_or(self.place);
        match (self.fields.items("external_ips").is_empty(), hostname.is_empty()) {
            (true, true) => {
                self.error(self.place, "a service outside of the stack leads nowhere")
                    .expected("external_ips: [address], or hostname: name");
            }
            (false, false) => {
                self.error(place, "external_ips and hostname exclude each other")
                    .hint("keep one of them");
            }
            _ => {}
        }
        ExternalSpec { addresses, hostname }
    }

    /// The targets of an alias are its links.
    pub(super) fn alias(&mut self, links: &[(Place, Link)]) -> AliasSpec {
        let mut targets = vec![];
        for (_, link) in links {
            if !targets.contains(&link.service) {
                targets.push(link.service.clone());
            }
        }
        let selected = self.label("io.rancher.service.selector.link").is_some();
        if targets.is_empty() && !selected && self.fields.items("links").is_empty() {
            self.error(self.place, "an alias stands for no service")
                .expected("links: [service], or external_links: [stack/service]");
        }
        AliasSpec { targets }
    }
}
