//! What every host holds and may publish, followed change by change: each host is told what changed
//! for it, and what a change cannot have touched is not derived again. Nothing of what the hosts
//! know is kept here: it follows from the cluster that they were told of last.

use super::catalog::{self, Unit};
use super::directory::{self, Directory};
use super::exposure::Exposure;
use super::exposure::round::{News as ExposureNews, Part as ExposedPart};
use super::follow::{Round, World};
use super::interest;
use super::local::Local;
use super::metadata::{self, Scope};
use super::peers::Peers;
use super::relations::Relations;
use super::touched::Touched;
use crate::host::spec_of;
use crate::policy::Policies;
use crate::probing::Ring;
use model::catalog_view::CatalogView;
use model::cluster::Cluster;
use model::delta::Delta;
use model::floating::{FloatingSeat, SeatKey};
use model::host_spec::HostSpec;
use model::id::{HostId, InstanceId, ServiceId};
use model::limits::{ASKED_NAMES_MAX, LINK_HISTORY_WEIGHT_MAX, VIEW_WHOLE_INSTANCES_MAX};
use model::metadata::MetaView;
use model::time::{Generation, Index};
use model::view::{DnsView, HostView, NameTarget, ViewInstance};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// What one host holds and may publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// What it should hold.
    pub spec: Arc<HostSpec>,
    /// What it may publish.
    pub view: Arc<HostView>,
}

/// Which spec and which view of a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Of both together: another one each time that the host is told something.
    pub serial: u64,
    /// Of the spec.
    pub generation: Generation,
    /// Of the view.
    pub index: Index,
}

/// What is news for a host.
#[derive(Clone, Debug)]
pub enum News {
    /// This changed since the last time: what has the first marks has the second ones with it.
    Delta(Marks, Arc<Delta>, Marks),
    /// So much that it needs the whole.
    Whole,
}

/// What hosts that know the same share.
pub(super) type Shared = (Arc<DnsView>, Arc<BTreeMap<InstanceId, Arc<ViewInstance>>>);
/// With the catalog.
type Alike = (Index, Shared, Arc<CatalogView>);

/// The publications of many hosts, with the cluster that they were made from.
#[derive(Debug)]
pub struct Publisher {
    /// Most instances that every host is told of.
    whole_max: usize,
    made_from: Option<Cluster>,
    relations: Arc<Relations>,
    ring: Arc<Ring>,
    /// The last one given.
    serial: u64,
    pub(super) peers: Peers,
    pub(super) policies: Policies,
    /// Hosts are not told of everything.
    pub(super) partial: bool,
    pub(super) hosts: BTreeMap<HostId, Followed>,
    /// While `partial`: the hosts that have to do with a service.
    pub(super) interested: BTreeMap<ServiceId, BTreeSet<HostId>>,
    /// While `partial`: what hosts probe of others.
    pub(super) probing: BTreeMap<HostId, BTreeSet<InstanceId>>,
    /// Hosts that have asked for other names than before.
    pub(super) asked_anew: BTreeSet<HostId>,
    /// The names of plain containers.
    pub(super) plain: BTreeMap<String, NameTarget>,
    /// What of the catalog is served by hosts.
    pub(super) exposure: Exposure,
    /// What is to be told of it.
    pub(super) exposure_news: ExposureNews,
    /// What keeps services from being served may be otherwise since it was asked for.
    pub(super) exposure_unsure: bool,
    /// What the keys of floating addresses are made of.
    secret: Option<[u8; 32]>,
    /// While not `partial`: what all hosts are told alike, at its index.
    alike: Option<Alike>,
    /// What is offered, and where.
    pub(super) directory: Directory,
    /// The metadata of the environment.
    pub(super) meta: MetaView,
    /// While `partial`: the hosts that are told all of it.
    pub(super) meta_whole: BTreeSet<HostId>,
    /// Hosts that have to do with other services than before this round.
    pub(super) turned: BTreeSet<HostId>,
}

/// One host.
#[derive(Debug)]
pub(super) struct Followed {
    marks: Marks,
    pub(super) local: Local,
    /// What it is told of exposure.
    pub(super) exposed: ExposedPart,
    /// While `partial`: what it has to do with.
    pub(super) interest: BTreeSet<ServiceId>,
    pub(super) asked: BTreeSet<String>,
    /// While `partial`: the services of the catalog that it is told of.
    pub(super) told: BTreeSet<String>,
    /// While `partial`: what it is told of the metadata.
    pub(super) scope: Scope,
    /// What it was told last, oldest first, with the serial that it fits on.
    history: VecDeque<(u64, Arc<Delta>)>,
    weight: usize,
}

impl Followed {
    fn new(host: &HostId) -> Self {
        Self {
            marks: Marks::default(),
            local: Local::default(),
            exposed: ExposedPart::default(),
            interest: BTreeSet::new(),
            asked: BTreeSet::new(),
            told: BTreeSet::new(),
            scope: Scope::Part(host.clone(), BTreeSet::new()),
            history: VecDeque::new(),
            weight: 0,
        }
    }

    fn remember(&mut self, delta: &Arc<Delta>) {
        self.history.push_back((self.marks.serial, Arc::clone(delta)));
        self.weight += delta.weight();
        while self.weight > LINK_HISTORY_WEIGHT_MAX {
            let Some((_, oldest)) = self.history.pop_front() else { return };
            self.weight = self.weight.saturating_sub(oldest.weight());
        }
    }

    /// Marks what is news, and keeps it for one who comes back.
    fn tell(&mut self, mut delta: Delta, serial: u64, index: Index) -> News {
        let last = self.marks;
        let mut next = Marks { serial, ..last };
        if let Some(spec) = &mut delta.spec {
            next.generation = Generation(index.0);
            (spec.from, spec.to) = (self.marks.generation, next.generation);
        }
        if let Some(view) = &mut delta.view {
            next.index = index;
            (view.from, view.to) = (self.marks.index, next.index);
        }
        let delta = Arc::new(delta);
        self.remember(&delta);
        self.marks = next;
        News::Delta(last, delta, next)
    }

    fn forget(&mut self) {
        self.history.clear();
        self.weight = 0;
    }
}

impl Default for Publisher {
    fn default() -> Self {
        Self::new(VIEW_WHOLE_INSTANCES_MAX)
    }
}

impl Publisher {
    /// One that tells every host of everything as long as there are no more instances than that.
    #[must_use]
    pub fn new(whole_max: usize) -> Self {
        Self {
            whole_max,
            made_from: None,
            relations: Arc::default(),
            ring: Arc::default(),
            serial: 0,
            peers: Peers::default(),
            policies: Policies::default(),
            partial: false,
            hosts: BTreeMap::new(),
            interested: BTreeMap::new(),
            probing: BTreeMap::new(),
            asked_anew: BTreeSet::new(),
            plain: BTreeMap::new(),
            exposure: Exposure::default(),
            exposure_news: ExposureNews::default(),
            exposure_unsure: true,
            secret: None,
            alike: None,
            directory: Directory::default(),
            meta: MetaView::default(),
            meta_whole: BTreeSet::new(),
            turned: BTreeSet::new(),
        }
    }

    /// The same with a secret that the keys of floating addresses are made of.
    #[must_use]
    pub fn with_secret(self, secret: [u8; 32]) -> Self {
        Self { secret: Some(secret), ..self }
    }

    /// Gives seats their keys.
    pub(super) fn seal<'a>(&self, seats: impl Iterator<Item = (Ipv4Addr, &'a mut FloatingSeat)>) {
        let Some(secret) = self.secret else { return };
        for (address, seat) in seats {
            let hash = Sha256::new_with_prefix(b"remuda floating address");
            seat.key =
                SeatKey(hash.chain_update(secret).chain_update(address.octets()).finalize().into());
        }
    }

    /// Brings the publications to the cluster, which is never older than the last one, and says
    /// what is news for which host.
    pub fn follow(&mut self, cluster: &Cluster) -> BTreeMap<HostId, News> {
        let Some(before) = self.made_from.replace(cluster.clone()) else {
            return self.begin_anew(cluster);
        };
        let partial = interest::is_partial(cluster, self.whole_max, self.partial);
        let touched = Touched::between(&before, cluster);
        let Some(touched) = touched.filter(|_| partial == self.partial) else {
            return self.begin_anew(cluster);
        };
        let (relations, ring) = (Arc::clone(&self.relations), Arc::clone(&self.ring));
        if touched.related {
            self.relations = Arc::new(Relations::of(cluster));
        }
        if touched.ring {
            self.ring = Arc::new(Ring::of(cluster));
        }
        self.follow_exposure(&before, cluster);
        let was = World { cluster: &before, relations: &relations, ring: &ring };
        let (relations_now, ring_now) = (Arc::clone(&self.relations), Arc::clone(&self.ring));
        let is = World { cluster, relations: &relations_now, ring: &ring_now };
        let changed = metadata::follow(
            &self.meta,
            (&before, cluster),
            (&relations, &relations_now),
            (&ring, &ring_now),
        );
        let Some(changed) = changed else { return self.begin_anew(cluster) };
        let mut told = Round::new(was, is, touched).run(self);
        let meta = self.meta.clone();
        changed.apply(&mut self.meta);
        metadata::spread(self, &meta, &changed, &mut told);
        self.asked_anew.clear();
        let news = told.into_iter().filter_map(|(host, delta)| {
            let followed = self.hosts.get_mut(&host)?;
            self.serial += 1;
            Some((host, followed.tell(delta, self.serial, cluster.index())))
        });
        news.collect()
    }

    /// Everything is derived from nothing.
    fn begin_anew(&mut self, cluster: &Cluster) -> BTreeMap<HostId, News> {
        self.relations = Arc::new(Relations::of(cluster));
        self.ring = Arc::new(Ring::of(cluster));
        self.peers = Peers::of(cluster);
        self.policies = Policies::of(cluster);
        self.directory.begin(cluster);
        self.exposure = Exposure::of(cluster);
        self.exposure_unsure = true;
        self.partial = interest::is_partial(cluster, self.whole_max, self.partial);
        self.interested.clear();
        self.asked_anew.clear();
        let (relations, ring) = (Arc::clone(&self.relations), Arc::clone(&self.ring));
        self.plain = World { cluster, relations: &relations, ring: &ring }.plain_names();
        self.meta = metadata::whole(cluster, &relations, &ring);
        self.meta_whole.clear();
        self.probing = match self.partial {
            true => probing(cluster, &self.relations, &self.ring),
            false => BTreeMap::new(),
        };
        let hosts: Vec<HostId> = self.hosts.keys().cloned().collect();
        for host in &hosts {
            self.begin(cluster, host);
        }
        self.turned.clear();
        hosts.into_iter().map(|host| (host, News::Whole)).collect()
    }

    fn begin(&mut self, cluster: &Cluster, host: &HostId) {
        let mut followed = self.hosts.remove(host).unwrap_or_else(|| Followed::new(host));
        followed.forget();
        followed.local = Local::of(cluster, host);
        followed.begin_exposed(&self.exposure, cluster, host);
        followed.interest.clear();
        followed.told = directory::asked(&followed.asked);
        self.serial += 1;
        let (generation, index) = (Generation(cluster.index().0), cluster.index());
        followed.marks = Marks { serial: self.serial, generation, index };
        let interest =
            interest::of(cluster, &self.relations, host, &followed.asked, &self.exposure);
        followed.scope = Scope::of(host, &followed.asked, interest.clone());
        if self.partial && followed.scope == Scope::All {
            self.meta_whole.insert(host.clone());
        }
        self.hosts.insert(host.clone(), followed);
        if self.partial {
            self.set_interest(host, interest);
        }
    }

    /// Follows this host from now on, if it is not followed already.
    pub fn attend(&mut self, host: &HostId) {
        if self.hosts.contains_key(host) {
            return;
        }
        match self.made_from.clone() {
            Some(cluster) => self.begin(&cluster, host),
            None => _ = self.hosts.insert(host.clone(), Followed::new(host)),
        }
    }

    /// Follows only these hosts any more.
    pub fn retain(&mut self, keep: impl Fn(&HostId) -> bool) {
        let gone: Vec<HostId> = self.hosts.keys().filter(|host| !keep(host)).cloned().collect();
        for host in &gone {
            self.set_interest(host, BTreeSet::new());
            self.hosts.remove(host);
            self.meta_whole.remove(host);
        }
    }

    /// These names were asked for on a host, all of them that count now. What follows from it is
    /// told with the next round.
    pub fn ask(&mut self, host: &HostId, names: impl IntoIterator<Item = String>) {
        let Some(followed) = self.hosts.get_mut(host) else { return };
        let names: BTreeSet<String> = names.into_iter().take(ASKED_NAMES_MAX).collect();
        if followed.asked != names {
            followed.asked = names;
            self.asked_anew.insert(host.clone());
        }
    }

    /// Which spec and view a host is to have.
    #[must_use]
    pub fn marks(&self, host: &HostId) -> Option<Marks> {
        self.hosts.get(host).map(|followed| followed.marks)
    }

    /// What a host lacks that was told everything up to this serial; `None` when it needs the
    /// whole.
    #[must_use]
    pub fn since(&self, host: &HostId, serial: u64) -> Option<Delta> {
        let followed = self.hosts.get(host)?;
        let mut delta = Delta::default();
        if serial == followed.marks.serial {
            return Some(delta);
        }
        let at = followed.history.iter().position(|(before, _)| *before == serial)?;
        for (_, next) in followed.history.range(at..) {
            delta.merge(next).ok()?;
        }
        Some(delta)
    }

    /// All that a host holds and may publish; `None` when it is not followed.
    pub fn whole(&mut self, host: &HostId) -> Option<Published> {
        let cluster = self.made_from.clone()?;
        let followed = self.hosts.get(host)?;
        let (relations, ring) = (Arc::clone(&self.relations), Arc::clone(&self.ring));
        let world = World { cluster: &cluster, relations: &relations, ring: &ring };
        let mut spec = spec_of(&cluster, host, &relations.routed);
        spec.peers = self.peers.all();
        spec.policy = Arc::new(self.policies.of_host(&cluster, host));
        spec.generation = followed.marks.generation;
        let mut view = HostView {
            index: followed.marks.index,
            partial: self.partial,
            callers: Arc::new(catalog::callers(&cluster, &relations, host)),
            upstreams: followed.local.upstreams.clone(),
            listeners: followed.local.listeners.clone(),
            floating: followed.local.floating.clone(),
            checks: followed.local.checks.clone(),
            ..super::empty(&cluster, host)
        };
        if followed.exposed.serves() {
            view.upstreams.extend(self.exposure.upstreams());
        }
        view.listeners.extend(followed.exposed.listeners.clone());
        self.seal(view.floating.iter_mut().map(|(address, seat)| (*address, seat)));
        let names = catalog::settings(&cluster).consul;
        let access = catalog::access(&cluster);
        view.meta = match self.partial {
            true => followed.scope.part(&self.meta),
            false => self.meta.clone(),
        };
        if self.partial {
            let none = BTreeSet::new();
            let probed = self.probing.get(host).unwrap_or(&none);
            (view.dns, view.instances) = world.part(&followed.interest, probed);
            let told = Some(&followed.told);
            view.catalog = Arc::new(self.directory.view(&names, access, told));
            if followed.exposed.serves() {
                self.exposure.add_to(&mut view.instances);
            }
        } else {
            let known = self.alike.take().filter(|(index, ..)| *index == cluster.index());
            let (index, shared, catalog) = known.unwrap_or_else(|| {
                let catalog = Arc::new(self.directory.view(&names, access, None));
                let (dns, mut instances) = world.all();
                self.exposure.add_to(&mut instances);
                (cluster.index(), (dns, instances), catalog)
            });
            (view.dns, view.instances) = shared.clone();
            view.catalog = Arc::clone(&catalog);
            self.alike = Some((index, shared, catalog));
        }
        Some(Published { spec: Arc::new(spec), view: Arc::new(view) })
    }

    /// Has a host to do with a service, while `partial`?
    pub(super) fn has_to_do_with(&self, host: &HostId, service: &ServiceId) -> bool {
        self.interested.get(service).is_some_and(|hosts| hosts.contains(host))
    }

    /// Sets what a host has to do with, and gives back what it had.
    pub(super) fn set_interest(
        &mut self,
        host: &HostId,
        new: BTreeSet<ServiceId>,
    ) -> BTreeSet<ServiceId> {
        let Some(followed) = self.hosts.get_mut(host) else { return BTreeSet::new() };
        if followed.interest != new {
            self.turned.insert(host.clone());
        }
        for id in followed.interest.difference(&new) {
            if let Some(hosts) = self.interested.get_mut(id) {
                hosts.remove(host);
                if hosts.is_empty() {
                    self.interested.remove(id);
                }
            }
        }
        for id in new.difference(&followed.interest) {
            self.interested.entry(id.clone()).or_default().insert(host.clone());
        }
        std::mem::replace(&mut followed.interest, new)
    }

    /// Who probes what of an instance, and no more what it was before.
    pub(super) fn note_probers(&mut self, old: &Unit, new: &Unit) {
        if !self.partial {
            return;
        }
        for (id, one) in &old.instances {
            for host in &one.probers {
                if let Some(ids) = self.probing.get_mut(host) {
                    ids.remove(id);
                }
            }
        }
        for (id, one) in &new.instances {
            for host in &one.probers {
                self.probing.entry(host.clone()).or_default().insert(id.clone());
            }
        }
    }
}

/// What each host probes of others.
pub(super) fn probing(
    cluster: &Cluster,
    relations: &Relations,
    ring: &Ring,
) -> BTreeMap<HostId, BTreeSet<InstanceId>> {
    let mut probing: BTreeMap<HostId, BTreeSet<InstanceId>> = BTreeMap::new();
    for instance in cluster.instances() {
        for (id, one) in catalog::unit(cluster, relations, ring, instance).instances {
            for host in &one.probers {
                probing.entry(host.clone()).or_default().insert(id.clone());
            }
        }
    }
    probing
}
