//! What the reconciler learns: hints of the engine, looks that came back, containers that changed.
//! Whatever is learned about containers is told to the dataplane at once.

use super::{Look, NETWORK_PERIOD, NETWORK_RETRY, NOT_LISTED, RESYNC_RETRY, Reconciler};
use crate::observe;
use crate::watcher::Hint;
use engine::Engine;
use engine::seen::{EngineEvent, EventAction, RunState, SeenContainer};
use model::host::HostFacts;
use model::id::InstanceId;
use network::Fabric;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::time::Instant;

const SIGKILL: u8 = 9;

impl<E: Engine, F: Fabric> Reconciler<E, F> {
    /// A hint of the engine: containers that died are out of traffic at once.
    pub(super) fn hear(&mut self, hint: Hint) {
        match hint {
            Hint::Back => {
                self.engine_problem.clear();
                // What happened while it was away was not heard.
                self.list_problem = NOT_LISTED.into();
                self.resync_wanted = true;
                self.network_due = Instant::now();
                self.look_at_facts();
            }
            Hint::Away(why) => {
                if self.engine_problem.is_empty() {
                    tracing::warn!(error = why, "engine does not answer");
                }
                self.engine_problem = why;
            }
            Hint::Event(event) => self.note(&event),
        }
    }

    fn note(&mut self, event: &EngineEvent) {
        if event.owner.is_none() {
            // Somebody else's: its list is what counts, and its end is no failure of ours. Before
            // anybody has looked it takes nothing new.
            let signal = match event.action {
                EventAction::Kill { signal } => Some(signal),
                EventAction::Die { .. } => Some(SIGKILL),
                _ => None,
            };
            if let Some(signal) = signal {
                self.plains.signalled(&event.id, signal, self.parts.clock.now());
                self.publish_local();
            }
            if !matches!(
                event.action,
                EventAction::Create | EventAction::Kill { .. } | EventAction::Other(_)
            ) {
                self.look_at(event.id.clone());
            }
            return;
        }
        if event.owner != self.owner() {
            return;
        }
        let now = self.parts.clock.now();
        let look = match &event.action {
            EventAction::Die { exit_code } => {
                let known = self.known_mut(&event.id);
                if let Some((id, container)) = known
                    && container.running()
                    && container.started_at.is_none_or(|start| event.time() >= start)
                {
                    container.state = RunState::Exited;
                    container.exit_code = Some(*exit_code);
                    container.finished_at = Some(event.time());
                    let seen = observe::container(container);
                    let id = id.clone();
                    self.memos.entry(id).or_default().note_exit(&seen, now);
                    self.note_newer(&event.id);
                    self.publish_local();
                }
                true
            }
            EventAction::HealthStatus(health) => {
                if let Some((_, container)) = self.known_mut(&event.id) {
                    container.docker_health = *health;
                }
                true
            }
            EventAction::Oom => {
                // It comes before the end, whose reason it is.
                if let Some((_, container)) = self.known_mut(&event.id) {
                    container.oom_killed = true;
                }
                true
            }
            EventAction::Start | EventAction::Pause | EventAction::Destroy => true,
            EventAction::Kill { signal } => {
                let seen = self.known_mut(&event.id).map(|(_, seen)| seen.clone());
                if let Some(seen) = seen {
                    self.plains.ours_signalled(&seen, *signal, now);
                    self.publish_local();
                }
                false
            }
            EventAction::Create | EventAction::Rename | EventAction::Other(_) => false,
        };
        if look {
            self.look_at(event.id.clone());
        }
    }

    pub(super) fn known_mut(&mut self, id: &str) -> Option<(&InstanceId, &mut SeenContainer)> {
        self.containers.as_mut()?.iter_mut().find_map(|(instance, all)| {
            Some((instance, Arc::make_mut(all.iter_mut().find(|c| c.id == id)?)))
        })
    }

    pub(super) fn look_at(&mut self, id: String) {
        let engine = self.parts.engine.clone();
        self.looks.spawn(async move {
            let found = engine.inspect(&id).await.map_err(|e| api::error::chain(&e));
            let found = found.map(|container| container.map(Box::new));
            Look::One(id, found)
        });
    }

    pub(super) fn look_at_facts(&mut self) {
        let (engine, fabric) = (self.parts.engine.clone(), self.parts.fabric.clone());
        self.looks.spawn(async move {
            let mut facts = HostFacts {
                agent_version: env!("CARGO_PKG_VERSION").into(),
                ..HostFacts::default()
            };
            if let Ok(host) = fabric.facts().await {
                facts.hostname = host.hostname;
                facts.kernel = host.kernel;
                facts.segment = host.segment;
                facts.address = host.address.map(|a| a.to_string()).unwrap_or_default();
            }
            if let Ok(info) = engine.info().await {
                facts.docker_version = info.version;
                facts.cpus = info.cpus;
                facts.memory = info.memory;
            }
            Look::Facts(Box::new(facts))
        });
    }

    pub(super) fn learn(&mut self, look: Result<Look, tokio::task::JoinError>) {
        match look {
            Ok(Look::All(ours, plain)) => {
                self.resync_running = false;
                let newer = std::mem::take(&mut self.newer);
                self.replace_plain(plain, &newer);
                match ours {
                    Ok(all) => {
                        self.list_problem.clear();
                        self.replace_all(all, &newer);
                        if !self.resync_wanted {
                            // Nothing has failed since this list was begun.
                            self.memos.values_mut().for_each(|memo| memo.unsure = false);
                        }
                    }
                    Err(why) => {
                        tracing::warn!(error = why, "containers cannot be listed");
                        self.resync_wanted = true;
                        self.resync_due = Instant::now() + RESYNC_RETRY;
                        self.list_problem = why;
                    }
                }
            }
            Ok(Look::One(_, Ok(Some(container)))) => self.put(*container),
            Ok(Look::One(id, Ok(None))) => self.forget(&id),
            Ok(Look::One(_, Err(why))) => {
                tracing::debug!(error = why, "container cannot be looked at");
                self.resync_wanted = true;
            }
            Ok(Look::Network(result)) => {
                self.network_running = false;
                self.network_due = Instant::now() + NETWORK_PERIOD;
                match result {
                    Ok(()) => {
                        self.network_problem.clear();
                        let made = self.network_made.as_ref().map(|wish| Arc::clone(&wish.policy));
                        self.policy_held = made.unwrap_or_default();
                    }
                    Err(why) => {
                        if self.network_problem != why {
                            tracing::warn!(error = why, "network is not as wished");
                        }
                        self.network_problem = why;
                        self.network_made = None;
                        self.network_due = Instant::now() + NETWORK_RETRY;
                    }
                }
            }
            Ok(Look::Plugged(done)) => self.plugged(*done),
            Ok(Look::Attached(task, result)) => self.attached(&task, result),
            Ok(Look::Facts(facts)) => {
                let before = std::mem::replace(&mut self.facts, *facts);
                self.facts.keep_what_the_engine_said(&before);
            }
            Ok(Look::Usage(measured)) => self.meter.take(measured),
            Ok(Look::Shelf(found)) => self.clean(found),
            Ok(Look::Swept(all)) => self.cleaned(all),
            Err(error) => {
                tracing::error!(%error, "a look ended badly");
                self.meter.is_running = false;
                self.plains.work_again();
                self.plugs.work_again();
                self.clean_again();
                self.resync_running = false;
                self.network_running = false;
                self.resync_wanted = true;
            }
        }
    }

    /// Takes over a whole list, but for what was looked at by itself since it was asked for: the
    /// list may be from before.
    fn replace_all(&mut self, all: Vec<SeenContainer>, newer: &BTreeSet<String>) {
        let first = self.containers.is_none();
        let known = self.containers.iter().flat_map(BTreeMap::values).flatten();
        let kept: Vec<Arc<SeenContainer>> =
            known.filter(|c| newer.contains(&c.id)).cloned().collect();
        let listed = all.into_iter().filter(|container| !newer.contains(&container.id));
        let mut containers: BTreeMap<InstanceId, Vec<Arc<SeenContainer>>> = BTreeMap::new();
        for container in listed.map(Arc::new).chain(kept) {
            let Some(id) = instance_of(&container) else { continue };
            if first {
                let memo = self.memos.entry(id.clone()).or_default();
                memo.pulled = true;
                memo.starts = u32::from(container.started_at.is_some());
            }
            containers.entry(id).or_default().push(container);
        }
        for (id, before) in self.containers.take().unwrap_or_default() {
            let now = self.parts.clock.now();
            for old in before.iter().filter(|old| old.running()) {
                let ended = containers
                    .get(&id)
                    .and_then(|all| all.iter().find(|c| c.id == old.id))
                    .filter(|new| !new.running());
                if let Some(ended) = ended {
                    let seen = observe::container(ended);
                    self.memos.entry(id.clone()).or_default().note_exit(&seen, now);
                }
            }
        }
        self.containers = Some(containers);
        self.publish_local();
    }

    pub(super) fn put(&mut self, container: SeenContainer) {
        if container.owner.is_none() {
            return self.put_plain(container);
        }
        let Some(id) = instance_of(&container) else { return };
        if container.owner != self.owner() {
            return;
        }
        let now = self.parts.clock.now();
        self.note_newer(&container.id);
        let Some(containers) = &mut self.containers else { return };
        let all = containers.entry(id.clone()).or_default();
        let known = all.iter_mut().find(|known| known.id == container.id);
        // An end is noted once: one that began and was over between two looks has a start that
        // nobody knows yet.
        let was_known = known
            .as_ref()
            .is_some_and(|old| !old.running() && old.started_at == container.started_at);
        if !container.running() && container.started_at.is_some() && !was_known {
            let seen = observe::container(&container);
            self.memos.entry(id).or_default().note_exit(&seen, now);
        }
        // A look that comes late tells of one that is as good as gone.
        let going = matches!(container.state, RunState::Removing | RunState::Dead);
        match known {
            Some(known) => *known = Arc::new(container),
            None if going => {}
            None => all.push(Arc::new(container)),
        }
        self.publish_local();
    }

    /// What is known of a container is newer than a list that is under way.
    pub(super) fn note_newer(&mut self, container: &str) {
        if self.resync_running {
            self.newer.insert(container.to_owned());
        }
    }

    pub(super) fn forget(&mut self, container: &str) {
        self.note_newer(container);
        self.plains.forget(container);
        let Some(containers) = &mut self.containers else { return };
        for all in containers.values_mut() {
            all.retain(|known| known.id != container);
        }
        containers.retain(|_, all| !all.is_empty());
        self.publish_local();
    }

    pub(super) fn publish_local(&mut self) {
        let Some(containers) = &self.containers else { return };
        // An instance of the spec without a container does not run: the dataplane must know.
        let none = vec![];
        let publication = self.parts.publication.borrow().clone();
        let missing: Vec<InstanceId> = publication
            .iter()
            .flat_map(|p| p.spec.instances.keys())
            .filter(|id| !containers.contains_key(*id))
            .cloned()
            .collect();
        let unplugged = publication.iter().flat_map(|p| self.unplugged(containers, &p.spec));
        let unplugged: BTreeSet<&str> = unplugged.collect();
        let stopping = self.plains.stopping();
        let mut local = observe::local(containers.iter(), &unplugged, stopping);
        local.extend(observe::local(missing.iter().map(|id| (id, &none)), &unplugged, stopping));
        let view = publication.as_ref().map(|p| &*p.view);
        local.extend(observe::exposed(&self.parts.host, self.plains.known(), view, stopping));
        self.parts.local.send_if_modified(|known| {
            if known.as_deref() == Some(&local) {
                return false;
            }
            *known = Some(Arc::new(local));
            true
        });
        let running = |all: &Vec<Arc<SeenContainer>>| {
            all.iter().find(|c| c.running()).or_else(|| all.first()).cloned()
        };
        let by_instance: BTreeMap<InstanceId, Arc<SeenContainer>> =
            containers.iter().filter_map(|(id, all)| Some((id.clone(), running(all)?))).collect();
        self.parts.containers.send_if_modified(|known| {
            if *known == by_instance {
                return false;
            }
            *known = by_instance;
            true
        });
    }
}

/// Which instance a container of ours is of.
fn instance_of(container: &SeenContainer) -> Option<InstanceId> {
    container.instance.as_deref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_known_by_its_label() {
        let label =
            |text: &str| SeenContainer { instance: Some(text.into()), ..Default::default() };
        assert!(instance_of(&label("shop/web#1@4")).is_some());
        assert!(instance_of(&label("nonsense")).is_none());
        assert!(instance_of(&SeenContainer::default()).is_none());
    }
}
