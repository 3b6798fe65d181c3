//! What a round of changes means for exposure: which sources are touched, and what each host is
//! told of it.

use super::{Changed, Exposure, Source};
use crate::publish::catalog::listing;
use crate::publish::follow::Round;
use crate::publish::interest;
use crate::publish::publisher::{Followed, Publisher};
use crate::publish::relations::Relations;
use model::cluster::Cluster;
use model::delta::{ViewDelta, changes};
use model::host::Host;
use model::id::{HostId, ServiceId};
use model::record::RecordKey;
use std::collections::{BTreeMap, BTreeSet};

/// What changes from one cluster to the next can have touched.
#[derive(Default)]
struct Touched {
    sources: BTreeSet<Source>,
    /// Hosts of which something is otherwise that says whether they serve.
    hosts: BTreeSet<HostId>,
}

impl Touched {
    fn between(before: &Cluster, now: &Cluster, sharing: &BTreeSet<model::plain::PlainId>) -> Self {
        let mut touched = Self::default();
        // Where all is derived anew nobody asks for it.
        for key in now.changed_since(before.index()).into_iter().flatten() {
            match key {
                RecordKey::Host(id) => touched.host(before, now, id),
                RecordKey::ClientNode(name) => touched.node(before, now, name),
                RecordKey::ClientService(key)
                | RecordKey::ClientCheck(key)
                | RecordKey::CheckState(key) => touched.node(before, now, &key.node),
                RecordKey::Plain(id) | RecordKey::Attachment(id) => {
                    touched.node(before, now, id.host.as_str());
                    touched.sources.insert(Source::Plain(id.clone()));
                    touched.sources.extend(sharing.iter().cloned().map(Source::Plain));
                }
                RecordKey::Service(id) | RecordKey::Revision(id, _) => {
                    touched.sources.insert(Source::Service(id.clone()));
                }
                RecordKey::Instance(id) => {
                    let host = |c: &Cluster| c.instance(id).map(|one| one.host.clone());
                    for host in [host(before), host(now)].into_iter().flatten() {
                        touched.node(before, now, host.as_str());
                    }
                    touched.sources.insert(Source::Service(id.service.clone()));
                    touched.sources.extend(sharing.iter().cloned().map(Source::Plain));
                }
                RecordKey::InstanceStatus(id) => {
                    let id = id.instance();
                    for one in [before, now].iter().filter_map(|c| c.instance(&id)) {
                        touched.node(before, now, one.host.as_str());
                    }
                    let [was, is] = [before, now]
                        .map(|c| c.instance(&id).map(|one| listing(c, one)).unwrap_or_default());
                    if was != is {
                        touched.sources.insert(Source::Service(id.service));
                    }
                    touched.sources.extend(sharing.iter().cloned().map(Source::Plain));
                }
                _ => {}
            }
        }
        touched
    }

    /// A node on which something is registered.
    fn node(&mut self, before: &Cluster, now: &Cluster, name: &str) {
        let has = |c: &Cluster| c.client_services_of(name).next().is_some();
        if has(before) || has(now) {
            self.sources.insert(Source::Node(name.to_owned()));
        }
    }

    fn host(&mut self, before: &Cluster, now: &Cluster, id: &HostId) {
        self.node(before, now, id.as_str());
        let both = [before, now].map(|cluster| cluster.host(id));
        let reached = |host: &Host| (host.status, host.facts.address.clone());
        if both[0].map(|host| reached(host)) != both[1].map(|host| reached(host)) {
            self.sources.extend(now.plains_on(id).map(|(id, _)| Source::Plain(id.clone())));
            // Those in the host's network are at its address.
            let services = now.instances_on(id).map(|one| one.id.service.clone());
            self.sources.extend(services.map(Source::Service));
        }
        if both[0].map(|host| host.all_labels()) != both[1].map(|host| host.all_labels()) {
            self.hosts.insert(id.clone());
        }
    }
}

/// What one host is told of exposure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::publish) struct Part {
    /// It serves.
    serves: bool,
    pub(in crate::publish) listeners: BTreeMap<String, model::view::Listener>,
}

impl Part {
    pub(in crate::publish) fn of(
        exposure: &Exposure,
        cluster: &Cluster,
        host: &HostId,
        local: &super::Local,
    ) -> Self {
        let serves = exposure.is_served_by(cluster, host);
        let listeners = match serves {
            true => exposure.listeners(local),
            false => BTreeMap::new(),
        };
        Self { serves, listeners }
    }

    /// Does it serve?
    pub(in crate::publish) fn serves(&self) -> bool {
        self.serves
    }
}

/// What a round found, until hosts are told.
#[derive(Debug, Default)]
pub(in crate::publish) struct News {
    changed: Changed,
    hosts: BTreeSet<HostId>,
}

impl Publisher {
    /// Brings exposure to the new cluster. Hosts whose interest it changes are looked at anew.
    pub(in crate::publish) fn follow_exposure(&mut self, before: &Cluster, now: &Cluster) {
        if self.exposure.is_off() {
            return;
        }
        let touched = Touched::between(before, now, &self.exposure.sharing);
        let changed = self.exposure.follow(now, touched.sources);
        if self.partial {
            let serving = self.hosts.iter().filter(|(_, one)| one.exposed.serves());
            let serving = serving.filter(|_| changed.services).map(|(id, _)| id.clone());
            self.asked_anew.extend(serving.collect::<Vec<_>>());
            self.asked_anew.extend(touched.hosts.iter().cloned());
        }
        self.exposure_unsure |= changed.fronts;
        self.exposure_news = News { changed, hosts: touched.hosts };
    }

    /// What keeps services from being served, by `http web`, `tcp db-5432` and so on, when it may be
    /// otherwise than the last time that it was asked for.
    pub fn exposure_troubles(&mut self) -> Option<BTreeMap<String, String>> {
        if !std::mem::take(&mut self.exposure_unsure) {
            return None;
        }
        let mut all = BTreeMap::new();
        for (front, problems) in self.exposure.problems() {
            let problems: Vec<String> = problems.into_iter().collect();
            let key = format!("{} {}", front.kind.as_str(), front.name);
            all.insert(key, problems.join("; "));
        }
        for (host, one) in self.hosts.iter().filter(|(_, one)| one.exposed.serves) {
            let all_ports = self.exposure.served.listeners.iter();
            let lacks = all_ports.filter(|(id, _)| !one.exposed.listeners.contains_key(*id));
            for (_, listener) in lacks {
                let port = format!("port {}/{} of host {host}", listener.port, listener.transport);
                all.insert(port, "a stack has it".to_owned());
            }
        }
        Some(all)
    }

    /// What a host has to do with.
    pub(in crate::publish) fn interest(
        &self,
        cluster: &Cluster,
        relations: &Relations,
        host: &HostId,
        asked: &BTreeSet<String>,
    ) -> BTreeSet<ServiceId> {
        interest::of(cluster, relations, host, asked, &self.exposure)
    }
}

impl Round<'_> {
    /// Tells each host what is otherwise of exposure; what is its own has been told.
    pub(in crate::publish) fn expose(&mut self, publisher: &mut Publisher) {
        if publisher.exposure.is_off() {
            return;
        }
        let news = std::mem::take(&mut publisher.exposure_news);
        let changed = &news.changed;
        let all =
            changed.listeners || !changed.upstreams.is_empty() || !changed.instances.is_empty();
        let hosts: BTreeSet<HostId> = match all {
            true => publisher.hosts.keys().cloned().collect(),
            false => self.told_ports().chain(news.hosts.iter().cloned()).collect(),
        };
        for host in hosts {
            let Some(known) = publisher.hosts.get_mut(&host) else { continue };
            let new = Part::of(&publisher.exposure, self.now.cluster, &host, &known.local);
            let old = std::mem::replace(&mut known.exposed, new.clone());
            publisher.exposure_unsure |= old != new;
            let mut told = ViewDelta {
                listeners: changes(&old.listeners, &new.listeners),
                ..ViewDelta::default()
            };
            turn(&mut told, &publisher.exposure, changed, (old.serves, new.serves));
            if publisher.partial {
                let (had, has) = (old.serves, new.serves);
                instances(&mut told, &publisher.exposure, changed, (had, has));
            } else {
                told.instances.extend(changed.instances.clone());
            }
            if told.entries() == 0 {
                continue;
            }
            let Some(pending) = self.tell(&host, publisher) else { continue };
            let view = pending.view();
            view.upstreams.extend(told.upstreams);
            view.listeners.extend(told.listeners);
            view.instances.extend(told.instances);
        }
    }
}

impl Round<'_> {
    /// Hosts that are told of ports of their own.
    fn told_ports(&self) -> impl Iterator<Item = HostId> {
        let told = self.told.iter().filter(|(_, pending)| {
            pending.delta.view.as_ref().is_some_and(|view| !view.listeners.is_empty())
        });
        told.map(|(id, _)| id.clone())
    }
}

/// Upstreams for a host that did or did not serve, and does or does not.
fn turn(told: &mut ViewDelta, exposure: &Exposure, changed: &Changed, serves: (bool, bool)) {
    match serves {
        (true, true) => told.upstreams.extend(changed.upstreams.clone()),
        (false, true) => {
            told.upstreams.extend(exposure.upstreams().map(|(id, one)| (id, Some(one))));
        }
        (true, false) => {
            let gone = changed.upstreams.keys().cloned();
            let all = exposure.upstreams().map(|(id, _)| id).chain(gone);
            told.upstreams.extend(all.map(|id| (id, None)));
        }
        (false, false) => {}
    }
}

/// The same of plain containers.
fn instances(told: &mut ViewDelta, exposure: &Exposure, changed: &Changed, serves: (bool, bool)) {
    match serves {
        (true, true) => told.instances.extend(changed.instances.clone()),
        (false, true) => {
            let all = exposure.instances.iter();
            told.instances.extend(all.map(|(id, one)| (id.clone(), Some(one.clone()))));
        }
        (true, false) => {
            let all = exposure.instances.keys().chain(changed.instances.keys());
            told.instances.extend(all.map(|id| (id.clone(), None)));
        }
        (false, false) => {}
    }
}

impl Followed {
    /// What it is told of exposure, from nothing.
    pub(in crate::publish) fn begin_exposed(
        &mut self,
        exposure: &Exposure,
        cluster: &Cluster,
        host: &HostId,
    ) {
        self.exposed = Part::of(exposure, cluster, host, &self.local);
    }
}
