//! Network mode, networks and names.

use super::Read;
use crate::diagnostic::quoted;
use crate::group;
use model::container_spec::NetworkMode;
use std::net::IpAddr;

impl Read<'_> {
    pub(super) fn network_mode(&mut self) -> NetworkMode {
        let Some(text) = self.fields.text("network_mode") else { return NetworkMode::Managed };
        let place = self.fields.place("network_mode").unwrap_or(self.place);
        if let Some((_, name)) = group::namespace(text) {
            return match self.sibling("network_mode", name, place) {
                Some(sibling) => NetworkMode::Sibling(sibling),
                None => NetworkMode::Managed,
            };
        }
        match text {
            "host" => NetworkMode::Host,
            "none" => NetworkMode::None,
            "bridge" | "managed" | "default" => NetworkMode::Managed,
            _ => {
                self.error(place, &format!("network_mode is {}", quoted(text)))
                    .expected("bridge, host, none, service:name or container:name");
                NetworkMode::Managed
            }
        }
    }

    /// Every container is in the managed network; other networks are named in a warning.
    pub(super) fn networks(&mut self) {
        let Some(map) = self.fields.map("networks") else { return };
        if let Some(place) = self.fields.place("network_mode") {
            let mode = self.fields.text("network_mode").unwrap_or("");
            if !matches!(mode, "bridge" | "managed" | "default") {
                self.error(place, "network_mode and networks exclude each other")
                    .hint("keep one of them");
                return;
            }
        }
        let declared = self.stack.networks;
        for (key, _) in map.iter().filter(|(k, _)| &*k.text != "default") {
            let name = &*key.text;
            if !declared.contains(name) && !self.stack.sources.is_legacy(key.place.file) {
                let what = format!("network {} is not declared", quoted(name));
                self.error(key.place, &what)
                    .expected("a name below the top-level networks")
                    .near(name, declared.iter().map(|(k, _)| &*k.text));
                continue;
            }
            let what = format!(
                "network {} is not carried out yet: the container is in the one managed network",
                quoted(name)
            );
            self.warn(key.place, &what);
        }
    }

    pub(super) fn dns(&mut self) -> Vec<String> {
        let mut out = vec![];
        for node in self.fields.items("dns") {
            let Some(text) = node.as_text() else { continue };
            if text.parse::<IpAddr>().is_err() {
                self.error(node.place, &format!("dns: {} is not an address", quoted(text)))
                    .expected("an address such as 1.1.1.1");
            }
            out.push(text.to_owned());
        }
        out
    }

    /// `name:address`, the forms with `=` and with brackets brought to it.
    pub(super) fn extra_hosts(&mut self) -> Vec<String> {
        let mut out = vec![];
        for node in self.fields.items("extra_hosts") {
            let Some(text) = node.as_text() else { continue };
            let parts = text.split_once('=').or_else(|| text.split_once(':'));
            let parts = parts.map(|(name, address)| {
                let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']'));
                (name.trim(), bare.unwrap_or(address).trim())
            });
            match parts {
                Some((name, address))
                    if !name.is_empty()
                        && (address == "host-gateway" || address.parse::<IpAddr>().is_ok()) =>
                {
                    out.push(format!("{name}:{address}"));
                }
                _ => {
                    let what = format!("extra_hosts: {}", quoted(text));
                    self.error(node.place, &what).expected("name:address");
                }
            }
        }
        out
    }

    pub(super) fn mac_address(&mut self) -> Option<String> {
        let text = self.fields.owned("mac_address")?;
        let pairs: Vec<&str> = text.split([':', '-']).collect();
        let hex = |p: &&str| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit());
        if pairs.len() != 6 || !pairs.iter().all(hex) {
            let place = self.fields.place("mac_address").unwrap_or(self.place);
            self.error(place, &format!("mac_address is {}", quoted(&text)))
                .expected("six pairs of hexadecimal digits with ':' between");
        }
        Some(text)
    }
}
