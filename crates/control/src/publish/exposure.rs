//! Exposure: what the hosts' balancers serve of the catalog by itself. Entries with a tag come
//! under a front (a name for HTTP, a port for the rest); each front is one upstream, and all names
//! are routes of one listener. One container's change touches the upstream of its fronts only.

mod front;
mod offer;
mod registered;
pub(super) mod round;
mod shown;

use super::CONNECT_TIMEOUT_MS;
use super::local::Local;
use front::Fronts;
use model::cluster::Cluster;
use model::delta::Changes;
use model::expose::Expose;
use model::id::{HostId, InstanceId, ServiceId};
use model::limits::DRAIN_MS_DEFAULT;
use model::plain::PlainId;
use model::service::Transport;
use model::view::{Listener, Upstream, ViewInstance};
use offer::{Listed, Offer};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use offer::{id_of_plain, is_plain};
pub use shown::{Shown, shown};

/// How the ids of listeners of exposed services begin; those of stacks go before them.
const LISTENER: &str = "expose:";

/// Is it a listener of exposed services?
#[must_use]
pub fn is_listener(id: &str) -> bool {
    id.starts_with(LISTENER)
}

/// How something is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FrontKind {
    /// By host name.
    Http,
    /// By port.
    Tcp,
    /// By port, datagrams.
    Udp,
}

impl FrontKind {
    /// The word for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A service of the catalog, served in one way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Front {
    /// How.
    pub kind: FrontKind,
    /// Name of the service.
    pub name: String,
}

impl Front {
    /// Id of its upstream. Callers see it in an answer 503: it says which service is meant.
    fn upstream(&self) -> String {
        format!("{} (exposed by {})", self.name, self.kind.as_str())
    }
}

/// Whose entries they are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    Service(ServiceId),
    Plain(PlainId),
    /// What clients registered on a node, by its name.
    Node(String),
}

/// What changed of it.
#[derive(Debug, Default)]
pub(super) struct Changed {
    upstreams: Changes<String, Upstream>,
    instances: Changes<InstanceId, Arc<ViewInstance>>,
    /// Which services of stacks are exposed, or which listeners there are.
    services: bool,
    listeners: bool,
    /// Which fronts there are, or what is in the way of one.
    fronts: bool,
}

/// All that is exposed, the same for every host that serves it.
#[derive(Debug, Default)]
pub struct Exposure {
    settings: Expose,
    offers: BTreeMap<Source, Vec<Offer>>,
    fronts: BTreeMap<Front, BTreeSet<Source>>,
    /// Plain containers that are where another container is.
    sharing: BTreeSet<PlainId>,
    upstreams: BTreeMap<String, Upstream>,
    /// Plain containers, and what clients registered, as the view lists them.
    instances: BTreeMap<InstanceId, Arc<ViewInstance>>,
    served: Fronts,
}

impl Exposure {
    /// Of a cluster, from nothing.
    #[must_use]
    pub fn of(cluster: &Cluster) -> Self {
        let settings = cluster.environment().map(|e| e.expose.clone()).unwrap_or_default();
        let mut made = Self { settings, ..Self::default() };
        if made.settings.is_off() {
            return made;
        }
        let services = cluster.services().map(|service| Source::Service(service.id.clone()));
        // A service that is gone may have instances that are still to go.
        let going = cluster.instances().map(|one| Source::Service(one.id.service.clone()));
        let plains = cluster.plains().map(|(id, _)| Source::Plain(id.clone()));
        let nodes = cluster.client_services().map(|one| Source::Node(one.key.node.clone()));
        let all: BTreeSet<Source> = services.chain(going).chain(plains).chain(nodes).collect();
        made.follow(cluster, all);
        made
    }

    /// Is nothing exposed?
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.settings.is_off()
    }

    /// Does a host serve?
    #[must_use]
    pub fn is_served_by(&self, cluster: &Cluster, host: &HostId) -> bool {
        let Some(host) = cluster.host(host).filter(|_| !self.is_off()) else { return false };
        let selector = self.settings.hosts.as_ref();
        selector.is_none_or(|selector| selector.matches(&host.all_labels()))
    }

    /// Services of stacks of which something is exposed.
    pub(super) fn services(&self) -> impl Iterator<Item = &ServiceId> {
        self.offers.keys().filter_map(|source| match source {
            Source::Service(id) => Some(id),
            Source::Plain(_) | Source::Node(_) => None,
        })
    }

    /// What is told of instances, with what else is exposed.
    pub(super) fn add_to(&self, all: &mut Arc<BTreeMap<InstanceId, Arc<ViewInstance>>>) {
        if !self.instances.is_empty() {
            let own = self.instances.iter().map(|(id, one)| (id.clone(), Arc::clone(one)));
            Arc::make_mut(all).extend(own);
        }
    }

    /// Upstreams for a host that serves.
    pub(super) fn upstreams(&self) -> impl Iterator<Item = (String, Upstream)> {
        self.upstreams.iter().map(|(id, upstream)| (id.clone(), upstream.clone()))
    }

    /// Listeners of a host that serves: a port that a stack has there is the stack's.
    pub(super) fn listeners(&self, local: &Local) -> BTreeMap<String, Listener> {
        let taken: BTreeSet<(u16, Transport)> =
            local.listeners.values().map(|one| (one.port, one.transport)).collect();
        let free = |listener: &Listener| !taken.contains(&(listener.port, listener.transport));
        let all = self.served.listeners.iter().filter(|(_, listener)| free(listener));
        all.map(|(id, listener)| (id.clone(), listener.clone())).collect()
    }

    /// Derives anew what these sources offer, and says what is otherwise.
    pub(super) fn follow(&mut self, cluster: &Cluster, touched: BTreeSet<Source>) -> Changed {
        let mut changed = Changed::default();
        let mut fronts: BTreeSet<Front> = BTreeSet::new();
        for source in touched {
            self.derive(cluster, source, &mut fronts, &mut changed);
        }
        let mut others = false;
        for front in fronts {
            others |= self.rebuild(&front, &mut changed);
        }
        changed.fronts = others;
        if others {
            let fronts = self.fronts.keys().map(|front| (front, self.wishes(front)));
            let served = Fronts::of(&self.settings, fronts);
            changed.listeners = served.listeners != self.served.listeners;
            self.served = served;
        }
        changed
    }

    fn derive(
        &mut self,
        cluster: &Cluster,
        source: Source,
        fronts: &mut BTreeSet<Front>,
        changed: &mut Changed,
    ) {
        let (new, listed) = match &source {
            Source::Service(id) => (offer::of_service(cluster, &self.settings, id), Listed::new()),
            Source::Plain(id) => {
                let shares = cluster.plain(id).is_some_and(|p| p.network.starts_with("container:"));
                match shares {
                    true => _ = self.sharing.insert(id.clone()),
                    false => _ = self.sharing.remove(id),
                }
                offer::of_plain(cluster, &self.settings, id)
            }
            Source::Node(node) => registered::of_node(cluster, &self.settings, node),
        };
        if !matches!(source, Source::Service(_)) {
            self.list(&source, listed, changed);
        }
        let old = match new.is_empty() {
            true => self.offers.remove(&source).unwrap_or_default(),
            false => self.offers.insert(source.clone(), new.clone()).unwrap_or_default(),
        };
        if old == new {
            return;
        }
        changed.services |=
            matches!(source, Source::Service(_)) && old.is_empty() != new.is_empty();
        for offer in &old {
            if let Some(of) = self.fronts.get_mut(&offer.front) {
                of.remove(&source);
            }
        }
        for offer in &new {
            self.fronts.entry(offer.front.clone()).or_default().insert(source.clone());
        }
        fronts.extend(old.into_iter().chain(new).map(|offer| offer.front));
    }

    /// Lists these of a source, and none of its others.
    fn list(&mut self, source: &Source, listed: Listed, changed: &mut Changed) {
        let before = self.offers.get(source).into_iter().flatten();
        let before = before.filter_map(|offer| offer.endpoint.as_ref());
        let gone: BTreeSet<InstanceId> = before
            .map(|endpoint| endpoint.instance.clone())
            .filter(|id| !listed.contains_key(id))
            .collect();
        for id in gone {
            if self.instances.remove(&id).is_some() {
                changed.instances.insert(id, None);
            }
        }
        for (id, one) in listed {
            if self.instances.get(&id) != Some(&one) {
                self.instances.insert(id.clone(), Arc::clone(&one));
                changed.instances.insert(id, Some(one));
            }
        }
    }

    /// Makes the upstream of a front anew. Is there another set of fronts, or do they wish for
    /// other names?
    fn rebuild(&mut self, front: &Front, changed: &mut Changed) -> bool {
        if self.fronts.get(front).is_some_and(BTreeSet::is_empty) {
            self.fronts.remove(front);
        }
        let id = front.upstream();
        let new = self.upstream(front);
        let old = match &new {
            Some(new) => self.upstreams.insert(id.clone(), new.clone()),
            None => self.upstreams.remove(&id),
        };
        let (was, is) = (old.is_some(), new.is_some());
        if old != new {
            changed.upstreams.insert(id, new);
        }
        was != is || self.served.wishes(front) != Some(&self.wishes(front))
    }

    fn offered<'a>(&'a self, front: &'a Front) -> impl Iterator<Item = &'a Offer> + Clone {
        let sources = self.fronts.get(front).into_iter().flatten();
        let offers = sources.filter_map(|source| self.offers.get(source)).flatten();
        offers.filter(move |offer| offer.front == *front)
    }

    fn upstream(&self, front: &Front) -> Option<Upstream> {
        if !self.fronts.contains_key(front) {
            return None;
        }
        let offers = self.offered(front);
        let drain_ms = offers.clone().map(|offer| offer.drain_ms).max().unwrap_or(DRAIN_MS_DEFAULT);
        let balance = offers.clone().find_map(|offer| offer.balance);
        let mut outlier = self.settings.outlier;
        if let Some(max_fails) = offers.clone().find_map(|offer| offer.max_fails) {
            outlier.max_fails = max_fails;
        }
        if let Some(ms) = offers.clone().find_map(|offer| offer.fail_timeout_ms) {
            outlier.fail_timeout_ms = ms;
        }
        Some(Upstream {
            endpoints: offers.filter_map(|offer| offer.endpoint.clone()).collect(),
            balance: balance.unwrap_or(self.settings.balance),
            outlier: Some(outlier),
            ..Upstream::empty(CONNECT_TIMEOUT_MS, drain_ms)
        })
    }

    /// Host names that a front asks for, and what is wrong with its labels.
    fn wishes(&self, front: &Front) -> front::Wishes {
        let offers = self.offered(front);
        let problems: BTreeSet<String> =
            offers.clone().flat_map(|offer| offer.problems.iter().cloned()).collect();
        let hostnames: BTreeSet<String> =
            offers.flat_map(|offer| offer.hostnames.iter().cloned()).collect();
        front::Wishes { hostnames, problems }
    }

    /// Names that are not served as they should be, and why.
    #[must_use]
    pub fn problems(&self) -> BTreeMap<Front, BTreeSet<String>> {
        self.served.problems()
    }
}
