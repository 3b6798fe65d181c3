//! What an environment says of its names in DNS: how long answers hold, what is answered when nobody
//! is healthy, and how the names of Consul look.

use crate::limits::{CONSUL_TTL_S_MAX, CONSUL_TTLS_MAX, DNS_TTL_S, DNS_TTL_S_MAX};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Zones of our own names, without dots at the ends.
pub const ZONES: [&str; 2] = ["rancher.internal", "remuda.internal"];
/// Label of a service's container that says `NobodyHealthy` for the service: `all` or `none`.
pub const LABEL_NOBODY_HEALTHY: &str = "io.remuda.dns.nobody_healthy";
/// Label of a container that says `DnsSettings::hosts_file` for itself: `true` or `false`.
pub const LABEL_HOSTS_FILE: &str = "io.remuda.dns.hosts_file";

/// Names of an environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct DnsSettings {
    /// How long an answer with names of ours holds, in seconds: 0 to `DNS_TTL_S_MAX`.
    pub ttl_s: u32,
    /// What a service's name answers when none of its instances is healthy.
    pub nobody_healthy: NobodyHealthy,
    /// Names of Consul.
    pub consul: ConsulNames,
    /// Containers have the names of services in their /etc/hosts too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub hosts_file: bool,
}

/// What a service's name answers when none of its instances is healthy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NobodyHealthy {
    /// All that run: a check that is wrong takes nothing down.
    #[default]
    All,
    /// None: the name is known and has no address.
    None,
}

impl NobodyHealthy {
    /// The word of people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::None => "none",
        }
    }
}

impl std::str::FromStr for NobodyHealthy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "all" => Ok(Self::All),
            "none" => Ok(Self::None),
            _ => Err(format!("{text:?} is neither all nor none")),
        }
    }
}

/// How the names of Consul look, and which settings of its DNS hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct ConsulNames {
    /// Where they end, without dots at the ends; empty turns them off.
    pub domain: String,
    /// A second such end; empty is none.
    pub alt_domain: String,
    /// The name of the datacenter, one label.
    pub datacenter: String,
    /// Only what passes is answered; what warns is not.
    pub only_passing: bool,
    /// How long an answer about a node holds, in seconds.
    pub node_ttl_s: u32,
    /// How long one about a service holds, in seconds: by its name, by how it begins (`web*`), or
    /// for all others (`*`). What is not named has 0.
    pub service_ttl_s: BTreeMap<String, u32>,
    /// Most answers over UDP to who offers no EDNS; 0 is as many as fit.
    pub udp_answers: u16,
}

impl Default for DnsSettings {
    fn default() -> Self {
        Self {
            ttl_s: DNS_TTL_S,
            nobody_healthy: NobodyHealthy::default(),
            consul: ConsulNames::default(),
            hosts_file: false,
        }
    }
}

impl Default for ConsulNames {
    fn default() -> Self {
        Self {
            domain: "consul".into(),
            alt_domain: String::new(),
            datacenter: "dc1".into(),
            only_passing: false,
            node_ttl_s: 0,
            service_ttl_s: BTreeMap::new(),
            udp_answers: 3,
        }
    }
}

impl DnsSettings {
    /// Is nothing said otherwise than by default?
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// May it be so?
    ///
    /// # Errors
    /// What may not, where and what may be, for people.
    pub fn check(&self) -> Result<(), String> {
        if self.ttl_s > DNS_TTL_S_MAX {
            return Err(format!("ttl is {} s, and may be {DNS_TTL_S_MAX} at most", self.ttl_s));
        }
        self.consul.check()
    }
}

impl ConsulNames {
    fn check(&self) -> Result<(), String> {
        for (what, domain) in [("domain", &self.domain), ("alternative domain", &self.alt_domain)] {
            if domain.is_empty() {
                continue;
            }
            if !is_domain(domain) {
                return Err(format!("{what} {domain:?} is no name in DNS, like \"consul\""));
            }
            let within = |zone: &&str| domain == *zone || domain.ends_with(&format!(".{zone}"));
            if let Some(zone) = ZONES.into_iter().find(within) {
                return Err(format!(
                    "{what} {domain:?} is within {zone}, which has names of its own"
                ));
            }
        }
        if !is_label(&self.datacenter) {
            let name = &self.datacenter;
            return Err(format!("datacenter {name:?} is not one label of letters, digits and -"));
        }
        let ttls = self.service_ttl_s.iter().map(|(name, ttl)| (format!("of {name}"), *ttl));
        for (what, ttl) in ttls.chain([("of nodes".to_owned(), self.node_ttl_s)]) {
            if ttl > CONSUL_TTL_S_MAX {
                return Err(format!(
                    "ttl {what} is {ttl} s, and may be {CONSUL_TTL_S_MAX} at most"
                ));
            }
        }
        if self.service_ttl_s.len() > CONSUL_TTLS_MAX {
            let many = self.service_ttl_s.len();
            return Err(format!("{many} services have a ttl of their own; {CONSUL_TTLS_MAX} may"));
        }
        let wrong = |name: &&String| name.is_empty() || name.len() > 63 || name.contains('.');
        match self.service_ttl_s.keys().find(wrong) {
            Some(name) => Err(format!("{name:?} is no name of a service in DNS")),
            None => Ok(()),
        }
    }

    /// How long an answer about a service holds, in seconds: the longest beginning decides.
    #[must_use]
    pub fn ttl_of(&self, service: &str) -> u32 {
        if let Some(ttl) = self.service_ttl_s.get(service) {
            return *ttl;
        }
        let begins = self.service_ttl_s.iter().filter_map(|(name, ttl)| {
            let begins = name.strip_suffix('*')?;
            service.starts_with(begins).then_some((begins.len(), *ttl))
        });
        begins.max().map_or(0, |(_, ttl)| ttl)
    }
}

/// One label of a name, in lower case.
fn is_label(text: &str) -> bool {
    let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    (1..=63).contains(&text.len()) && text.bytes().all(letters)
}

fn is_domain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_said_of_names() {
        type Change = fn(&mut DnsSettings);
        let cases: [(Change, &str); 12] = [
            (|_| {}, ""),
            (|s| s.ttl_s = 600, ""),
            (|s| s.ttl_s = 601, "may be 600 at most"),
            (|s| s.consul.domain = String::new(), ""),
            (|s| s.consul.domain = "dc.example".into(), ""),
            (|s| s.consul.domain = "consul.".into(), "is no name in DNS"),
            (|s| s.consul.domain = "Consul".into(), "is no name in DNS"),
            (|s| s.consul.alt_domain = "a.rancher.internal".into(), "names of its own"),
            (|s| s.consul.datacenter = "a.b".into(), "not one label"),
            (|s| s.consul.node_ttl_s = 86_401, "ttl of nodes"),
            (|s| _ = s.consul.service_ttl_s.insert("web".into(), 99_999), "ttl of web"),
            (|s| _ = s.consul.service_ttl_s.insert("a.b".into(), 1), "no name of a service"),
        ];
        for (change, wrong) in cases {
            let mut settings = DnsSettings::default();
            change(&mut settings);
            let said = settings.check().err().unwrap_or_default();
            assert_eq!(said.is_empty(), wrong.is_empty(), "{said}");
            assert!(said.contains(wrong), "{said}");
        }
    }

    #[test]
    fn the_nearest_word_on_a_ttl_decides() {
        let mut names = ConsulNames::default();
        assert_eq!(names.ttl_of("web"), 0);
        let said = [("*", 1), ("we*", 2), ("web*", 3), ("web", 4), ("other", 5)];
        names.service_ttl_s = said.map(|(name, ttl)| (name.to_owned(), ttl)).into();
        let asked = ["web", "webs", "west", "x"];
        assert_eq!(asked.map(|name| names.ttl_of(name)), [4, 3, 2, 1]);
    }
}
