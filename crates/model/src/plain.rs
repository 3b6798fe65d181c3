//! Plain containers: those that somebody started by hand, or with another tool. Remuda lists them,
//! gives those that ask for it an address of the managed network, and never starts, stops or
//! removes one.

use crate::health::Health;
use crate::id::{HostId, InvalidName};
use crate::limits::{
    CONTAINER_ID_BYTES_MAX, HOST_WORD_BYTES_MAX, PLAIN_CONTAINER_BYTES_MAX, PLAIN_LABELS_MAX,
    PLAIN_NETWORKS_MAX, PLAIN_PORTS_MAX, PLAIN_VARIABLES_MAX, REASON_BYTES_MAX,
};
use crate::reason::cut;
use crate::service::Transport;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

/// Docker's name of the managed network.
pub const NETWORK: &str = "remuda";
/// Label of a container that is to be in the managed network: `true`.
pub const LABEL_NETWORK: &str = "io.rancher.container.network";
/// Label: an address of the managed network that it would like, or several with commas between.
pub const LABEL_REQUESTED_IP: &str = "io.rancher.container.requested_ip";
/// Label of old versions: the address that it is to have.
pub const LABEL_IP: &str = "io.rancher.container.ip";
/// Label: with `true` it asks our DNS also outside of the managed network, with `false` never.
pub const LABEL_DNS: &str = "io.rancher.container.dns";
/// Environment variables whose names begin so are told; others may hold secrets.
pub const VARIABLE_PREFIX: &str = "SERVICE_";
/// Names of variables with one of these words in it are not told, whatever they begin with.
const SECRET_WORDS: [&str; 7] =
    ["PASSWORD", "PASSWD", "SECRET", "TOKEN", "CREDENTIAL", "PRIVATE", "APIKEY"];

/// Docker's id of a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, utoipa::ToSchema)]
#[serde(transparent)]
#[schema(value_type = String)]
pub struct ContainerId(std::sync::Arc<str>);

impl ContainerId {
    /// Checks the text and takes it as an id.
    ///
    /// # Errors
    /// `InvalidName` with the rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric());
        if text.is_empty() || text.len() > CONTAINER_ID_BYTES_MAX || !plain {
            let shown = text.chars().take(80).collect();
            let why = "it must be 1 to 64 letters and digits";
            return Err(InvalidName { what: "container id", shown, why });
        }
        Ok(Self(text.into()))
    }

    /// The id as Docker says it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Before every id; no container has it.
    pub(crate) fn lowest() -> Self {
        Self("".into())
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for ContainerId {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::parse(text)
    }
}

impl<'de> Deserialize<'de> for ContainerId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Which plain container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PlainId {
    /// On which host.
    pub host: HostId,
    /// Docker's id there.
    pub container: ContainerId,
}

impl PlainId {
    /// Before all of a host.
    pub(crate) fn first_on(host: &HostId) -> Self {
        Self { host: host.clone(), container: ContainerId::lowest() }
    }
}

impl fmt::Display for PlainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.container)
    }
}

impl FromStr for PlainId {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let (host, container) = text.split_once('/').unwrap_or((text, ""));
        Ok(Self { host: host.parse()?, container: container.parse()? })
    }
}

/// How far a plain container is, in Docker's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlainState {
    /// Made, never started.
    #[default]
    Created,
    /// Its process runs.
    Running,
    /// Its process is frozen.
    Paused,
    /// Docker starts it again.
    Restarting,
    /// Its process ended.
    Exited,
    /// It goes, or its removal failed half-way.
    Dead,
}

impl PlainState {
    /// Does its process exist, or is it about to again?
    #[must_use]
    pub fn is_up(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting)
    }
}

impl fmt::Display for PlainState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
            Self::Dead => "dead",
        })
    }
}

/// A plain container as its host sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlainContainer {
    /// Docker's name, unique on its host.
    pub name: String,
    /// Its own host name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// The image as it was named.
    pub image: String,
    /// How far it is.
    pub state: PlainState,
    /// Docker's HEALTHCHECK.
    pub health: Health,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its last start; 0 when it never started.
    #[serde(skip_serializing_if = "Timestamp::is_zero")]
    pub started_at: Timestamp,
    /// Exit code of its last end, while it does not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// `host`, `none`, `container:<id>`, `default` or a network's name.
    pub network: String,
    /// Its addresses by Docker's name of the network, while it runs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub addresses: BTreeMap<String, Ipv4Addr>,
    /// Ports that it publishes or that its image exposes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PlainPort>,
    /// Its labels, those of its image too.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Environment variables that Registrator reads; no others leave the host.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
    /// Why it is not in the managed network as it should be, or does not ask our DNS; empty when
    /// all is well.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub problem: String,
    /// It has got its stop signal and still runs: it takes nothing new.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stopping: bool,
}

/// A port of a plain container.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
pub struct PlainPort {
    /// Inside.
    pub container_port: u16,
    /// tcp or udp.
    pub protocol: Transport,
    /// On the host, when it is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_port: Option<u16>,
    /// On which address of the host; `None` is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub host_ip: Option<IpAddr>,
}

/// Does a variable of this name leave its host?
#[must_use]
pub fn is_told(variable: &str) -> bool {
    let upper = variable.to_ascii_uppercase();
    variable.starts_with(VARIABLE_PREFIX) && !SECRET_WORDS.iter().any(|word| upper.contains(word))
}

fn says(labels: &BTreeMap<String, String>, key: &str, word: &str) -> bool {
    labels.get(key).is_some_and(|value| value.trim().eq_ignore_ascii_case(word))
}

/// Does a container with these labels ask to be in the managed network?
#[must_use]
pub fn asks_for_network(labels: &BTreeMap<String, String>) -> bool {
    let named = |key| labels.get(key).is_some_and(|value: &String| !value.trim().is_empty());
    says(labels, LABEL_NETWORK, "true") || named(LABEL_IP) || named(LABEL_REQUESTED_IP)
}

/// Does a container with these labels ask our DNS?
#[must_use]
pub fn asks_for_dns(labels: &BTreeMap<String, String>) -> bool {
    let wanted = says(labels, LABEL_DNS, "true") || asks_for_network(labels);
    wanted && !says(labels, LABEL_DNS, "false")
}

/// Can what is in this network be connected to another one? What has the host's network or another
/// container's has none of its own.
#[must_use]
pub fn has_own_network(network: &str) -> bool {
    network != "host" && !network.starts_with("container:")
}

impl PlainContainer {
    /// Is it to be in the managed network?
    #[must_use]
    pub fn is_to_join(&self) -> bool {
        asks_for_network(&self.labels) && has_own_network(&self.network)
    }

    /// Addresses that it would like to have: the one that it has, then those of its labels.
    #[must_use]
    pub fn wanted_addresses(&self) -> Vec<Ipv4Addr> {
        let labels = [LABEL_IP, LABEL_REQUESTED_IP].into_iter();
        let asked = labels.filter_map(|key| self.labels.get(key)).flat_map(|text| text.split(','));
        let asked = asked.filter_map(|text| text.split('/').next()?.trim().parse().ok());
        self.addresses.get(NETWORK).copied().into_iter().chain(asked).take(8).collect()
    }

    /// Takes away what no agent of ours would say.
    pub(crate) fn bound(&mut self) {
        for word in [&mut self.name, &mut self.hostname, &mut self.image, &mut self.network] {
            cut(word, HOST_WORD_BYTES_MAX);
        }
        cut(&mut self.problem, REASON_BYTES_MAX);
        while self.addresses.len() > PLAIN_NETWORKS_MAX {
            self.addresses.pop_last();
        }
        self.addresses.retain(|network, _| network.len() <= HOST_WORD_BYTES_MAX);
        self.ports.truncate(PLAIN_PORTS_MAX);
        bound_words(&mut self.labels, PLAIN_LABELS_MAX);
        self.variables.retain(|name, _| is_told(name));
        bound_words(&mut self.variables, PLAIN_VARIABLES_MAX);
    }
}

/// Leaves out what is long, and what is too much: first what nobody is known to read.
fn bound_words(words: &mut BTreeMap<String, String>, max: usize) {
    words.retain(|key, value| key.len().max(value.len()) <= HOST_WORD_BYTES_MAX);
    let read = |key: &String| key.starts_with("io.rancher.") || key.starts_with(VARIABLE_PREFIX);
    let (first, rest): (Vec<&String>, Vec<&String>) = words.keys().partition(|key| read(key));
    let mut bytes = 0;
    let fits = |key: &&String| {
        bytes += key.len() + words.get(*key).map_or(0, String::len);
        bytes <= PLAIN_CONTAINER_BYTES_MAX
    };
    let kept = first.into_iter().chain(rest).take(max).take_while(fits);
    let kept: BTreeSet<String> = kept.cloned().collect();
    words.retain(|key, _| kept.contains(key));
}

/// An address of the managed network that was given to a plain container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// To which.
    pub id: PlainId,
    /// The address; it stays while the container is there, also over its restart.
    pub address: Ipv4Addr,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(labels: &[(&str, &str)], network: &str) -> PlainContainer {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        PlainContainer { labels, network: network.into(), ..PlainContainer::default() }
    }

    #[test]
    fn labels_say_who_joins_the_managed_network_and_who_asks_our_dns() {
        for (labels, network, joins, dns) in [
            (&[][..], "default", false, false),
            (&[(LABEL_NETWORK, "true")], "default", true, true),
            (&[(LABEL_NETWORK, "True ")], "none", true, true),
            (&[(LABEL_NETWORK, "false")], "default", false, false),
            (&[(LABEL_NETWORK, "true")], "host", false, true),
            (&[(LABEL_NETWORK, "true")], "container:ab", false, true),
            (&[(LABEL_NETWORK, "true"), (LABEL_DNS, "false")], "mine", true, false),
            (&[(LABEL_DNS, "true")], "bridge", false, true),
            (&[(LABEL_IP, "10.42.3.4/16")], "default", true, true),
            (&[(LABEL_REQUESTED_IP, "")], "default", false, false),
        ] {
            let one = with(labels, network);
            assert_eq!((one.is_to_join(), asks_for_dns(&one.labels)), (joins, dns), "{labels:?}");
        }
    }

    #[test]
    fn the_address_that_it_has_is_wanted_first() {
        let mut one = with(
            &[(LABEL_IP, "10.42.3.4/16"), (LABEL_REQUESTED_IP, "10.42.0.7, x, 10.42.0.8")],
            "none",
        );
        let text = |one: &PlainContainer| {
            one.wanted_addresses().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(text(&one), "10.42.3.4 10.42.0.7 10.42.0.8");
        one.addresses.insert(NETWORK.into(), Ipv4Addr::new(10, 42, 9, 9));
        assert_eq!(text(&one), "10.42.9.9 10.42.3.4 10.42.0.7 10.42.0.8");
    }

    #[test]
    fn only_what_registrator_reads_leaves_the_host_and_nothing_that_sounds_secret() {
        for (name, told) in [
            ("SERVICE_NAME", true),
            ("SERVICE_80_CHECK_HTTP", true),
            ("SERVICE_TAGS", true),
            ("MYSQL_ROOT_PASSWORD", false),
            ("SERVICE_DB_PASSWORD", false),
            ("SERVICE_api_token", false),
            ("service_name", false),
            ("PATH", false),
        ] {
            assert_eq!(is_told(name), told, "{name}");
        }
        let mut one = PlainContainer::default();
        one.variables.insert("AWS_KEY".into(), "x".into());
        one.variables.insert("SERVICE_NAME".into(), "web".into());
        one.bound();
        assert_eq!(one.variables.len(), 1, "a member of another version may tell more");
    }

    #[test]
    fn of_many_labels_those_stay_that_are_read() {
        let labels = (0..500).map(|n| (format!("a{n}"), String::new()));
        let labels = labels.chain([(LABEL_NETWORK.to_owned(), "true".to_owned())]);
        let mut one = PlainContainer { labels: labels.collect(), ..PlainContainer::default() };
        one.bound();
        assert_eq!(one.labels.len(), PLAIN_LABELS_MAX);
        assert!(one.is_to_join());
    }

    #[test]
    fn ids_are_parsed_at_the_door() {
        let id: PlainId = "h1/0123abcd".parse().unwrap();
        assert_eq!(id.to_string(), "h1/0123abcd");
        for bad in ["h1", "h1/", "/ab", "h1/a b", "h1/../x", &format!("h1/{}", "a".repeat(65))] {
            assert!(bad.parse::<PlainId>().is_err(), "{bad}");
        }
    }
}
