//! The reconciler's part in plain containers: what is seen of them is told, and those that are to
//! be in the managed network are connected, also again after somebody took them out.

use super::{Look, RESYNC_RETRY, Reconciler};
use crate::NETWORK;
use crate::plain::{self, Memo, Task};
use crate::plug::NONE;
use crate::stopping::Stopping;
use engine::Engine;
use engine::seen::{PlainList, SeenContainer};
use model::host_spec::HostSpec;
use model::plain::{ContainerId, PlainContainer, asks_for_network, has_own_network};
use model::time::Timestamp;
use network::Fabric;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::time::Instant;

/// What is known of plain containers.
#[derive(Debug, Default)]
pub(super) struct Plains {
    /// As last seen; `None` until the first look.
    seen: Option<BTreeMap<ContainerId, SeenContainer>>,
    memos: BTreeMap<ContainerId, Memo>,
    /// Further ones that are not listed.
    pub(super) left_out: u32,
    /// Why the list is not as it is now; empty when it is.
    problem: String,
    /// CNI plugs in here, and only what Docker gave no network.
    by_cni: bool,
    /// What CNI has plugged in, by Docker's id, and why it has not.
    plugged: BTreeMap<String, Ipv4Addr>,
    plug_problems: BTreeMap<String, String>,
    /// Which are being stopped, those of our stacks too.
    stopping: Stopping,
    /// What is told of them: the same one until something changes.
    told: Option<Arc<BTreeMap<ContainerId, PlainContainer>>>,
}

impl Plains {
    pub(super) fn new(by_cni: bool) -> Self {
        Self { by_cni, ..Self::default() }
    }

    /// All that were seen; `None` while they were not listed.
    pub(super) fn known(&self) -> Option<&BTreeMap<ContainerId, SeenContainer>> {
        self.seen.as_ref()
    }

    /// All that were seen.
    pub(super) fn all(&self) -> impl Iterator<Item = (&ContainerId, &SeenContainer)> {
        self.seen.iter().flatten()
    }

    /// What CNI has plugged in, and why it has not.
    pub(super) fn plugged(
        &mut self,
        addresses: BTreeMap<String, Ipv4Addr>,
        problems: BTreeMap<String, String>,
    ) {
        (self.plugged, self.plug_problems) = (addresses, problems);
        self.tell();
    }

    /// Why one is not in the managed network as it should be.
    fn problem_of(&self, id: &ContainerId, seen: &SeenContainer) -> &str {
        let own = self.memos.get(id).map_or("", |memo| memo.problem.as_str());
        let of_cni = self.plug_problems.get(&seen.id).map_or("", String::as_str);
        let other = self.by_cni && seen.network_mode != NONE && is_to_join(seen);
        match (own, of_cni) {
            ("", "") if other => "on this host CNI plugs in only containers with --net=none",
            ("", of_cni) => of_cni,
            (own, _) => own,
        }
    }

    /// What is told; `None` while it is not known.
    pub(super) fn told(&self) -> Option<Arc<BTreeMap<ContainerId, PlainContainer>>> {
        self.told.clone().filter(|_| self.problem.is_empty())
    }

    fn tell(&mut self) {
        let Some(seen) = &self.seen else { return };
        let one = |(id, seen): (&ContainerId, &SeenContainer)| {
            let mut told = plain::told(seen, self.problem_of(id, seen), self.stopping.is(seen));
            let address = self.plugged.get(&seen.id).filter(|_| seen.running());
            told.addresses.extend(address.map(|address| (NETWORK.to_owned(), *address)));
            (id.clone(), told)
        };
        let now: BTreeMap<ContainerId, PlainContainer> = seen.iter().map(one).collect();
        if self.told.as_deref() != Some(&now) {
            self.told = Some(Arc::new(now));
        }
    }

    fn replace(&mut self, list: PlainList, newer: &BTreeSet<String>) {
        self.left_out = u32::try_from(list.left_out).unwrap_or(u32::MAX);
        let known = self.seen.take().unwrap_or_default();
        let kept = known.into_iter().filter(|(id, _)| newer.contains(id.as_str()));
        let listed = list.containers.into_iter().filter_map(|seen| {
            let id = ContainerId::parse(&seen.id).ok()?;
            let fits = !newer.contains(&seen.id) && plain::is_listed(&seen);
            fits.then_some((id, seen))
        });
        let seen: BTreeMap<ContainerId, SeenContainer> = kept.chain(listed).collect();
        self.memos.retain(|id, _| seen.contains_key(id));
        self.memos.values_mut().for_each(Memo::look_again);
        self.seen = Some(seen);
        self.tell();
    }

    fn put(&mut self, container: SeenContainer) {
        let Ok(id) = ContainerId::parse(&container.id) else { return };
        let Some(seen) = &mut self.seen else { return };
        if plain::is_listed(&container) {
            seen.insert(id, container);
        } else {
            seen.remove(&id);
            self.memos.remove(&id);
        }
        self.tell();
    }

    /// Which are being stopped.
    pub(super) fn stopping(&self) -> &Stopping {
        &self.stopping
    }

    /// A plain container got a signal, or its process ended.
    pub(super) fn signalled(&mut self, container: &str, signal: u8, now: Timestamp) {
        let Ok(id) = ContainerId::parse(container) else { return };
        let Some(seen) = self.seen.as_ref().and_then(|seen| seen.get(&id)) else { return };
        if self.stopping.note(seen, signal, now) {
            self.tell();
        }
    }

    /// The same of one of ours.
    pub(super) fn ours_signalled(&mut self, seen: &SeenContainer, signal: u8, now: Timestamp) {
        self.stopping.note(seen, signal, now);
    }

    /// Forgets stops that did not come; says when the next one is over.
    pub(super) fn tidy(&mut self, now: Timestamp) -> Option<Timestamp> {
        let (some, next) = self.stopping.tidy(now);
        if some {
            self.tell();
        }
        next
    }

    pub(super) fn forget(&mut self, container: &str) {
        self.stopping.forget(container);
        let (Ok(id), Some(seen)) = (ContainerId::parse(container), &mut self.seen) else { return };
        if seen.remove(&id).is_some() {
            self.memos.remove(&id);
            self.tell();
        }
    }

    /// A task ended without a word: nobody knows which one.
    pub(super) fn work_again(&mut self) {
        self.memos.values_mut().for_each(|memo| memo.busy = false);
    }

    /// Tasks that are due, each marked as under way; and when the next one is.
    fn begin(&mut self, spec: &HostSpec, now: Timestamp) -> (Vec<Task>, Option<Timestamp>) {
        let (mut tasks, mut wake) = (vec![], None);
        for (id, seen) in self.seen.iter().flatten() {
            let decided = spec.attachments.get(id).map(|one| one.address);
            let decided = decided.filter(|_| !self.by_cni);
            let none = Memo::default();
            let memo = self.memos.get(id).unwrap_or(&none);
            if let Some(task) = plain::next(seen, decided, memo, now) {
                self.memos.entry(id.clone()).or_default().busy = true;
                tasks.push(task);
            } else if let Some(at) = memo.retry_at() {
                wake = Some(wake.map_or(at, |known: Timestamp| known.min(at)));
            }
        }
        (tasks, wake)
    }
}

fn is_to_join(seen: &SeenContainer) -> bool {
    asks_for_network(&seen.labels) && has_own_network(&seen.network_mode)
}

impl<E: Engine, F: Fabric> Reconciler<E, F> {
    /// Takes over the whole list, but for what was looked at since it was asked for.
    pub(super) fn replace_plain(
        &mut self,
        list: Result<PlainList, String>,
        newer: &BTreeSet<String>,
    ) {
        match list {
            Ok(list) => {
                if list.left_out > 0 && self.plains.left_out == 0 {
                    tracing::warn!(left_out = list.left_out, "too many plain containers");
                }
                self.plains.problem.clear();
                self.plains.replace(list, newer);
            }
            Err(why) => {
                tracing::warn!(error = why, "plain containers cannot be listed");
                self.plains.problem = why;
                self.resync_wanted = true;
                self.resync_due = Instant::now() + RESYNC_RETRY;
            }
        }
    }

    pub(super) fn put_plain(&mut self, container: SeenContainer) {
        self.note_newer(&container.id);
        self.plains.put(container);
    }

    /// Begins what is to be done with plain containers; gives when something is next.
    pub(super) fn begin_attaching(&mut self, spec: &HostSpec, now: Timestamp) -> Option<Timestamp> {
        if !self.engine_trouble().is_empty() || !self.may_join(spec) {
            return None;
        }
        let (tasks, wake) = self.plains.begin(spec, now);
        for task in tasks {
            let engine = self.parts.engine.clone();
            self.looks.spawn(async move {
                let result = plain::attach(engine, &task).await;
                Look::Attached(task, result)
            });
        }
        wake
    }

    /// A task has ended: what it changed is looked at.
    pub(super) fn attached(&mut self, task: &Task, result: Result<(), String>) {
        if let Err(why) = &result {
            tracing::warn!(container = task.id, error = why, "plain container not attached");
        }
        let now = self.parts.clock.now();
        if let Some(memo) =
            ContainerId::parse(&task.id).ok().and_then(|id| self.plains.memos.get_mut(&id))
        {
            memo.note(task, result, now);
        }
        self.plains.tell();
        if task.connect.is_some() {
            self.look_at(task.id.clone());
        }
    }
}
