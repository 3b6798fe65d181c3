//! What a host knows of the catalog: nodes, and what is offered at which of them. The dataplane makes
//! the names of Consul of it.

use crate::consul_access::ConsulAccess;
use crate::dns::ConsulNames;
use crate::id::InstanceId;
use crate::prepared::QueryNames;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What begins a name of Consul that is asked for (`DnsView::elsewhere` has none that begins so).
pub const ASKED_PREFIX: &str = "consul:";

/// What is offered under one name, by keys that say nothing but which is which.
pub type Offers = BTreeMap<String, Arc<Offer>>;

/// The catalog as one host may publish it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CatalogView {
    /// How its names look.
    pub settings: ConsulNames,
    /// Who may read and write it over HTTP.
    #[serde(skip_serializing_if = "ConsulAccess::is_default")]
    pub access: ConsulAccess,
    /// Nodes by name, in lower case.
    pub nodes: BTreeMap<String, Arc<CatalogNode>>,
    /// By the name of the service, in lower case; none is empty.
    pub services: BTreeMap<String, Arc<Offers>>,
    /// Names of services that exist and of which this host is told nothing yet: who asks for one
    /// makes the server tell. Empty when the view is not partial.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub elsewhere: BTreeSet<String>,
    /// Prepared queries by id.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub queries: BTreeMap<String, Arc<QueryNames>>,
}

impl CatalogView {
    /// Is there nothing in it, and nothing said?
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// A machine, or what a client has registered as one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CatalogNode {
    /// An address, or a host name.
    pub address: String,
    /// Free words.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub meta: BTreeMap<String, String>,
    /// The worst of its own checks.
    pub fitness: Fitness,
}

/// One place where a service is offered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Offer {
    /// Name of its node, in lower case.
    pub node: String,
    /// An address, or a host name; empty is its node's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// 0 when it has none.
    pub port: u16,
    /// As written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Share of traffic while it passes.
    pub passing: u16,
    /// Share while it warns.
    pub warning: u16,
    /// The worst of its own checks; those of its node are at the node.
    pub fitness: Fitness,
    /// The instance that it is: what a host sees itself of it may take it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
}

/// How well something is. The worst of several is the whole's.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Fitness {
    /// Well.
    #[default]
    Passing,
    /// It works, and somebody should look.
    Warning,
    /// It takes no traffic.
    Critical,
}
