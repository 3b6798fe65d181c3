//! `HostView`: what one host may publish: names, callers, upstreams, listeners. Derived by the
//! server, never edited. The dataplane serves `effective(view, local)`.

use crate::catalog_view::CatalogView;
use crate::dns::NobodyHealthy;
use crate::expose::{Balance, Outlier};
use crate::floating::FloatingSeat;
use crate::health::{Health, HealthCheck};
use crate::id::{HostId, InstanceId, ServiceId};
use crate::metadata::MetaView;
use crate::registration::CheckWish;
use crate::service::Transport;
use crate::time::{Index, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Version of this format; a dataplane reads its own and the one before.
pub const VIEW_FORMAT: u32 = 1;

/// What one host may publish, at one index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostView {
    /// `VIEW_FORMAT` of its maker.
    pub format: u32,
    /// Of which environment.
    pub environment: String,
    /// For which host.
    pub host: HostId,
    /// Made from the cluster at this index.
    pub index: Index,
    /// Names. Like callers and instances they are the same for every host, and shared.
    pub dns: Arc<DnsView>,
    /// Who asks, by source address.
    pub callers: Arc<BTreeMap<Ipv4Addr, Caller>>,
    /// Everything that an endpoint or a name refers to.
    pub instances: Arc<BTreeMap<InstanceId, Arc<ViewInstance>>>,
    /// Sets of endpoints by id.
    pub upstreams: BTreeMap<String, Upstream>,
    /// Ports of the host by id, e.g. `0.0.0.0:8080/tcp`.
    pub listeners: BTreeMap<String, Listener>,
    /// Floating addresses that this host votes about or may have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub floating: BTreeMap<Ipv4Addr, FloatingSeat>,
    /// Checks of this host's node that its dataplane carries out, by id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub checks: BTreeMap<String, Arc<CheckWish>>,
    /// It has only what this host has to do with; the names of the rest are in `DnsView::elsewhere`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// The catalog, whose names are Consul's; shared between hosts like `dns`.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub catalog: Arc<CatalogView>,
    /// What its containers are told when they ask for metadata.
    #[serde(default, skip_serializing_if = "MetaView::is_empty")]
    pub meta: MetaView,
}

fn is_nothing(catalog: &CatalogView) -> bool {
    catalog.is_nothing()
}

impl HostView {
    /// One that publishes nothing.
    #[must_use]
    pub fn empty(environment: &str, host: &HostId) -> Self {
        Self {
            format: VIEW_FORMAT,
            environment: environment.to_owned(),
            host: host.clone(),
            index: Index(0),
            dns: Arc::default(),
            callers: Arc::default(),
            instances: Arc::default(),
            upstreams: BTreeMap::new(),
            listeners: BTreeMap::new(),
            floating: BTreeMap::new(),
            checks: BTreeMap::new(),
            partial: false,
            catalog: Arc::default(),
            meta: MetaView::default(),
        }
    }
}

/// Names that are answered with authority.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsView {
    /// Zones, without dots at the ends: `rancher.internal`, `remuda.internal`.
    pub zones: Vec<String>,
    /// TTL of our names, in seconds.
    pub ttl_s: u32,
    /// Lower-case name relative to any zone (`api.shop`, `shop-api-1`) -> what it answers.
    pub names: BTreeMap<String, NameTarget>,
    /// Lower-case name relative to any zone -> the host name, without a last dot, that it stands
    /// for. Such a name has no addresses of its own in `names`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cnames: BTreeMap<String, String>,
    /// Names of services that exist and that this host has nothing to do with yet: who asks for
    /// one makes the server tell what it is. Empty when the view is not `partial`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub elsewhere: BTreeSet<String>,
    /// What services' names answer when nobody is healthy, where an instance does not say it.
    #[serde(default, skip_serializing_if = "is_fail_open")]
    pub nobody_healthy: NobodyHealthy,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_fail_open(said: &NobodyHealthy) -> bool {
    *said == NobodyHealthy::All
}

/// What a name answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NameTarget {
    /// The instances that may take traffic; all of them when none may (fail open).
    Service(Vec<InstanceId>),
    /// One instance whatever its health: container names are never filtered.
    Instance(InstanceId),
    /// A fixed address, e.g. `rancher-metadata`.
    Address(Ipv4Addr),
}

/// A container that asks: its source address says who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Of which service.
    pub service: ServiceId,
    /// Search list that the server applies itself before any recursion, without a last dot.
    pub search: Vec<String>,
    /// Further names that it alone knows, lower-case and relative to any zone, with the name of
    /// `DnsView` that is meant. They go before it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aliases: BTreeMap<String, String>,
    /// Its own resolvers, `DNS_OWN_SERVERS_MAX` at most: asked before the host's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<IpAddr>,
}

/// An instance that names or upstreams refer to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewInstance {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its host; on the dataplane's own host `local` status is newer than the view.
    pub host: HostId,
    /// May it take new requests?
    pub admit: Admit,
    /// Probe by the dataplane of its host and by those of `probers`.
    pub check: Option<HealthCheck>,
    /// Other hosts whose dataplanes probe it, `PROBERS_OTHER_MAX` at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probers: Vec<HostId>,
    /// Which start of it `probers` probe; 0 when none is known.
    #[serde(default, skip_serializing_if = "Timestamp::is_zero")]
    pub run: Timestamp,
    /// Ports that must accept a connection before the first request of a start is sent there,
    /// when there is no `check`: a balancer never routes to a port that does not listen yet.
    pub ready_ports: Vec<u16>,
    /// What the server knew when it made the view: used until `local` knows better.
    pub running: bool,
    /// The same for health.
    pub health: Health,
    /// The scale of its service follows its requests: they are counted and told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub counted: bool,
    /// What the names of its service answer when nobody is healthy; `None` is as the environment
    /// has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nobody_healthy: Option<NobodyHealthy>,
}

/// May an instance take new requests?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Admit {
    /// Yes.
    Active,
    /// No: those in flight end.
    Draining,
}

/// A set of endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// Endpoints in a fixed order.
    pub endpoints: Vec<Endpoint>,
    /// Milliseconds to connect before the next endpoint is tried.
    pub connect_timeout_ms: u64,
    /// Longest wait for requests in flight on a draining endpoint, milliseconds.
    pub drain_ms: u64,
    /// How the next endpoint is chosen.
    #[serde(default, skip_serializing_if = "Balance::is_default")]
    pub balance: Balance,
    /// When an endpoint that cannot be reached is out; `None` leaves it to the dataplane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlier: Option<Outlier>,
}

impl Upstream {
    /// One without endpoints.
    #[must_use]
    pub fn empty(connect_timeout_ms: u64, drain_ms: u64) -> Self {
        let (balance, outlier) = (Balance::default(), None);
        Self { endpoints: vec![], connect_timeout_ms, drain_ms, balance, outlier }
    }
}

/// An address and port that may take traffic while its instance may.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Endpoint {
    /// Which instance.
    pub instance: InstanceId,
    /// Port inside.
    pub port: u16,
    /// Relative share; 0 takes nothing new.
    pub weight: u32,
}

/// A port of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Address; `None` is all, IPv4 and IPv6.
    pub ip: Option<IpAddr>,
    /// Port.
    pub port: u16,
    /// tcp or udp.
    pub transport: Transport,
    /// What is done with what arrives.
    pub mode: ListenerMode,
}

/// What a listener does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListenerMode {
    /// Bytes or datagrams to one upstream.
    Forward {
        /// Upstream id.
        upstream: String,
    },
    /// A published port: HTTP/1 goes request by request, anything else as bytes.
    Port {
        /// Upstream id.
        upstream: String,
    },
    /// HTTP by route; the first that matches wins, none is 404.
    Http {
        /// In order.
        routes: Vec<Route>,
    },
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Which hosts.
    pub host: HostMatch,
    /// Path prefix; empty is every path.
    pub path_prefix: String,
    /// Upstream id.
    pub upstream: String,
}

/// Which `Host` header a route takes, without port, any case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostMatch {
    /// Every one.
    Any,
    /// This one.
    Exact(String),
    /// Ends with (from `*.foo.com` or `*foo`).
    Suffix(String),
    /// Begins with (from `foo.*`).
    Prefix(String),
}
