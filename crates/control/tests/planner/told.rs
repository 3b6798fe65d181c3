//! Hosts that are told change by change what they hold and may publish, each held against what is
//! derived from nothing.

use control::publish::{self, News, Published, Publisher};
use model::cluster::Cluster;
use model::delta::Delta;
use model::id::HostId;
use model::metadata::METADATA_NAME;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The hosts of a cluster.
pub(crate) struct Told {
    publisher: Publisher,
    partial: bool,
    hosts: BTreeMap<HostId, (u64, Published)>,
    /// Hosts that have heard nothing for some rounds.
    away: BTreeMap<HostId, u32>,
    rounds: u32,
    /// Came back to a delta, and to the whole.
    pub(crate) resumed: (u32, u32),
}

fn apply(delta: &Delta, known: &mut Published) {
    delta.apply(&mut known.spec, &mut known.view).unwrap();
}

impl Told {
    pub(crate) fn new(publisher: Publisher, partial: bool) -> Self {
        let (hosts, away) = (BTreeMap::new(), BTreeMap::new());
        Self { publisher, partial, hosts, away, rounds: 0, resumed: (0, 0) }
    }

    /// Of the spec that a host is to have.
    pub(crate) fn generation(&self, host: &HostId) -> u64 {
        self.publisher.marks(host).unwrap().generation.0
    }

    fn fetch(&mut self, host: &HostId) {
        let whole = self.publisher.whole(host).unwrap();
        let serial = self.publisher.marks(host).unwrap().serial;
        self.hosts.insert(host.clone(), (serial, whole));
    }

    /// What is asked for on a host: nothing, or one name more or less with the rounds, and now and
    /// then all metadata.
    fn asked(&self, cluster: &Cluster, nth: usize) -> BTreeSet<String> {
        let turn = usize::try_from(self.rounds / 3).unwrap() + nth;
        let ids = cluster.services().map(|service| &service.id);
        let names = ids.flat_map(|id| {
            let name = format!("{}.{}", id.service, id.stack).to_lowercase();
            [name, format!("consul:{}-{}", id.stack, id.service).to_lowercase()]
        });
        let all = turn.is_multiple_of(4).then(|| METADATA_NAME.to_owned());
        names.skip(turn % 5).step_by(5).chain(all).collect()
    }

    pub(crate) fn follow(&mut self, cluster: &Cluster) {
        self.rounds += 1;
        let hosts: Vec<HostId> = cluster.hosts().map(|host| host.id.clone()).collect();
        let asked: Vec<_> = (0..hosts.len()).map(|nth| self.asked(cluster, nth)).collect();
        for (host, asked) in hosts.iter().zip(&asked).filter(|_| self.partial) {
            self.publisher.ask(host, asked.iter().cloned());
        }
        for (host, news) in self.publisher.follow(cluster) {
            let away = self.away.contains_key(&host);
            match (news, self.hosts.get_mut(&host)) {
                (News::Delta(from, delta, to), Some((serial, known))) if !away => {
                    assert_eq!(*serial, from.serial);
                    apply(&delta, known);
                    *serial = to.serial;
                }
                (News::Whole, _) if !away => self.fetch(&host),
                _ => {}
            }
        }
        self.publisher.retain(|host| hosts.contains(host));
        self.hosts.retain(|host, _| hosts.contains(host));
        for (nth, (host, asked)) in hosts.iter().zip(&asked).enumerate() {
            if !self.hosts.contains_key(host) {
                self.publisher.attend(host);
                if self.partial {
                    self.publisher.ask(host, asked.iter().cloned());
                }
                self.fetch(host);
                continue;
            }
            // Now and then one is away for a while, and comes back to what it lacks.
            match self.away.get_mut(host) {
                Some(0) => self.come_back(host),
                Some(rounds) => {
                    *rounds -= 1;
                    continue;
                }
                None if (self.rounds + u32::try_from(nth).unwrap()).is_multiple_of(7) => {
                    self.away.insert(host.clone(), 3);
                    continue;
                }
                None => {}
            }
            self.check(cluster, host, asked);
        }
    }

    fn come_back(&mut self, host: &HostId) {
        self.away.remove(host);
        let (serial, known) = self.hosts.get_mut(host).unwrap();
        match self.publisher.since(host, *serial) {
            Some(delta) => {
                apply(&delta, known);
                *serial = self.publisher.marks(host).unwrap().serial;
                self.resumed.0 += 1;
            }
            None => {
                self.fetch(host);
                self.resumed.1 += 1;
            }
        }
    }

    fn check(&self, cluster: &Cluster, host: &HostId, asked: &BTreeSet<String>) {
        let (_, told) = &self.hosts[host];
        let marks = self.publisher.marks(host).unwrap();
        assert_eq!((told.spec.generation, told.view.index), (marks.generation, marks.index));
        // What hosts hold is the same for both kinds.
        let mut spec = match self.partial {
            true => (*told.spec).clone(),
            false => control::host::spec(cluster, host),
        };
        assert!(told.spec.generation <= spec.generation);
        spec.generation = told.spec.generation;
        assert_eq!(*told.spec, spec, "on {host}");
        let partial = self.partial && cluster.instance_count() > 0;
        if partial && self.rounds.is_multiple_of(2) {
            return;
        }
        let mut view = match partial {
            true => publish::partial_view(cluster, host, asked),
            false => publish::view(cluster, host),
        };
        view.index = told.view.index;
        assert_eq!(Arc::new(view), told.view, "on {host}");
        // Who may still start a container must have heard of what was decided since.
        for id in told.spec.instances.keys().chain(told.spec.balancers.keys()) {
            let key = model::record::RecordKey::Instance(id.instance());
            let ordered = cluster.modified(&key);
            assert!(ordered.is_none_or(|at| at.0 <= told.spec.generation.0), "{id} on {host}");
        }
    }
}
