//! `floating_ip`, and the labels that say the same: an address that one host with an instance of the
//! service has at a time.

use super::Read;
use crate::diagnostic::quoted;
use crate::source::Place;
use model::floating::FloatingIp;
use model::limits::FLOATING_HOSTS_MAX;
use std::collections::BTreeMap;

const LABEL: &str = "io.remuda.floating_ip";
const LABEL_HOSTS: &str = "io.remuda.floating_ip.hosts";

impl Read<'_> {
    pub(super) fn floating_ip(&mut self) -> Option<FloatingIp> {
        let fields = self.fields.object("floating_ip");
        let key = fields.and_then(|fields| fields.node("address"));
        let label = self.label(LABEL);
        let (place, text) = match (key, label) {
            (Some(node), _) => (node.place, node.as_text().unwrap_or("").to_owned()),
            (None, Some((place, text))) if fields.is_none() => (place, text),
            (None, _) => {
                if let Some(place) = self.fields.place("floating_ip") {
                    self.error(place, "floating_ip has no address")
                        .expected("{address: 192.0.2.50, hosts: \"edge=true\"}");
                } else if let Some((place, _)) = self.label(LABEL_HOSTS) {
                    self.warn(place, &format!("label {LABEL_HOSTS} has no effect without {LABEL}"));
                }
                return None;
            }
        };
        let hosts = match fields {
            Some(fields) => match fields.node("hosts") {
                Some(node) => match node.as_text() {
                    Some(text) => self.host_labels(node.place, text),
                    None => fields.pairs("hosts"),
                },
                None => BTreeMap::new(),
            },
            None => match self.label(LABEL_HOSTS) {
                Some((place, text)) => self.host_labels(place, &text),
                None => BTreeMap::new(),
            },
        };
        let Ok(address) = text.trim().parse() else {
            self.error(place, &format!("floating_ip: {} is not an address", quoted(&text)))
                .expected(
                    "an IPv4 address of the hosts' segment that nobody has, such as 192.0.2.50",
                );
            return None;
        };
        let ip = FloatingIp { address, hosts };
        match ip.broken_rule() {
            Some(why) => {
                self.error(place, &format!("floating_ip: {address} cannot be one: {why}"))
                    .expected(
                        "an IPv4 address of the hosts' segment that nobody has, such as 192.0.2.50",
                    );
                None
            }
            None => Some(ip),
        }
    }

    /// `edge=true, zone=a`; a label without a value may have any.
    fn host_labels(&mut self, place: Place, text: &str) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let (key, value) = (key.trim(), value.trim());
            if key.is_empty() || key.contains(char::is_whitespace) {
                self.error(place, &format!("floating_ip: hosts has {}", quoted(part)))
                    .expected("labels of hosts such as edge=true, with commas between");
                return BTreeMap::new();
            }
            labels.insert(key.to_owned(), value.to_owned());
        }
        if labels.len() > FLOATING_HOSTS_MAX {
            self.error(place, &format!("floating_ip: hosts has {} labels", labels.len()))
                .expected(format!("at most {FLOATING_HOSTS_MAX}"));
        }
        labels
    }
}
