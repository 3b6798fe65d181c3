//! Where the instances of a service may and should go: constraints in Rancher's and compose's
//! words, parsed once. Who evaluates them is `control::placement`.

use crate::id::HostId;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where instances may and should go. Part of the template: a change of it makes a new revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Placement {
    /// In the order of the file; soft ones are dropped from the first that fails on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<Constraint>,
    /// How a host is chosen among those that fit.
    pub strategy: Strategy,
    /// Host labels whose values are to share the instances evenly, e.g. `zone`; each after the
    /// one before it. Compose's `deploy.placement.preferences`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spread_by: Vec<String>,
    /// Most instances of the service on one host; `None` is no bound. Compose's
    /// `deploy.placement.max_replicas_per_node`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_per_host: Option<u32>,
    /// This host and no other: Rancher's `io.rancher.service.requested.host.id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub requested_host: Option<HostId>,
}

/// How a host is chosen among those that fit.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The host with the fewest instances of the service, then in the emptiest zone, then with the
    /// most left of what is reserved, then with the fewest instances.
    #[default]
    Spread,
    /// The host with the least left of what is reserved that still fits.
    Binpack,
}

/// One condition on a host. Keys and values are lower case: Rancher compares them so.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
pub struct Constraint {
    /// What is looked at.
    pub on: Subject,
    /// The host must not (or should not) match.
    #[serde(default)]
    pub negated: bool,
    /// A wish: it is dropped when it cannot be met.
    #[serde(default)]
    pub soft: bool,
}

/// What a constraint looks at.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum Subject {
    /// The host has this label with this value; `node.labels.x`.
    HostLabel {
        /// Label.
        key: String,
        /// Value; `None` is any.
        value: Option<String>,
    },
    /// A container on the host has this label with this value. An instance counts with the labels
    /// of all its containers, Rancher's and ours included.
    ContainerLabel {
        /// Label.
        key: String,
        /// Value; `None` is any.
        value: Option<String>,
    },
    /// A container of this name is on the host: Rancher's name or Docker's.
    Container {
        /// Name.
        name: String,
    },
    /// The host itself: `node.hostname`, `node.id`.
    Host {
        /// Id or host name.
        name: String,
    },
}

impl Subject {
    fn word(&self) -> &'static str {
        match self {
            Self::HostLabel { .. } => "host label",
            Self::ContainerLabel { .. } => "container with label",
            Self::Container { .. } => "container",
            Self::Host { .. } => "host",
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HostLabel { key, value: Some(value) }
            | Self::ContainerLabel { key, value: Some(value) } => {
                write!(f, "{} {key}={value}", self.word())
            }
            Self::HostLabel { key, value: None } | Self::ContainerLabel { key, value: None } => {
                write!(f, "{} {key}", self.word())
            }
            Self::Container { name } | Self::Host { name } => write!(f, "{} {name}", self.word()),
        }
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match (self.soft, self.negated) {
            (false, false) => "must have",
            (false, true) => "must not have",
            (true, false) => "should have",
            (true, true) => "should not have",
        };
        write!(f, "{verb} {}", self.on)
    }
}
