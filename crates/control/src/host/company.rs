//! Containers that need one another: who shares a network is started after its owner, and again
//! after it; who has the volumes of another one is made after it; a sidekick outlives its primary.

use super::decide::{Next, One};
use super::plan::{Action, SeenContainer, SeenInstance};
use model::host_spec::InstanceSpec;
use model::id::InstanceId;
use model::instance::{Goal, Phase};
use model::mutation::{Mutation, is_in};

/// How people call a container of an instance.
fn called(id: &InstanceId) -> String {
    match &id.sidekick {
        None => "its primary".into(),
        Some(name) => format!("{name:?}", name = name.as_str()),
    }
}

impl One<'_> {
    fn other(&self, id: &InstanceId) -> (Option<&InstanceSpec>, Option<&SeenInstance>) {
        (self.spec.instances.get(id), self.seen.instances.get(id))
    }

    fn container_of(&self, id: &InstanceId) -> Option<&SeenContainer> {
        self.other(id).1?.container()
    }

    /// What comes next, as far as the others let it.
    pub(super) fn in_company(&self, next: Next) -> Next {
        if self.primary_is_over() {
            return self.end_with_primary();
        }
        let starts = matches!(next.2, Some(Action::Create { .. } | Action::Start { .. }));
        if let Some(reason) = self.is_silent().filter(|_| starts) {
            return (Phase::Backoff, reason, None);
        }
        match &next.2 {
            Some(Action::Create { .. }) => match self.waits(true) {
                Some(reason) => (Phase::Starting, reason, None),
                None => next,
            },
            Some(Action::Start { .. }) => {
                if let Some(reason) = self.waits(false) {
                    return (Phase::Starting, reason, None);
                }
                let stranded = |own: &&SeenContainer| {
                    self.known.misfit || self.shared().any(|(of, _)| self.is_stranded(own, of))
                };
                match self.container().filter(stranded) {
                    Some(own) => {
                        let (instance, container) = (self.id.clone(), own.id.clone());
                        let remove = Action::Remove { instance, container };
                        (Phase::Starting, String::new(), Some(remove))
                    }
                    None => next,
                }
            }
            None if next.0 == Phase::Running || self.known.unplugged.is_some() => {
                self.follow().unwrap_or(next)
            }
            _ => next,
        }
    }

    /// The containers whose namespaces it shares, with what that is called.
    fn shared(&self) -> impl Iterator<Item = (&InstanceId, &'static str)> {
        let network = self.wanted.network_of.iter().map(|id| (id, "network"));
        network.chain(self.wanted.namespaces_of.iter().map(|id| (id, "namespace")))
    }

    /// Why it cannot be made or started yet.
    fn waits(&self, made_anew: bool) -> Option<String> {
        let unknown = |id: &InstanceId| format!("waits for {}, which there is not", called(id));
        for (owner, what) in self.shared() {
            if self.other(owner).0.is_none() {
                return Some(unknown(owner));
            }
            let unplugged = self.other(owner).1.is_some_and(|owner| owner.unplugged.is_some());
            if unplugged || !self.container_of(owner).is_some_and(|container| container.running) {
                return Some(format!("waits for {}, whose {what} it shares", called(owner)));
            }
        }
        let from = self.wanted.volumes_from.iter().filter(|_| made_anew);
        for (id, _) in from {
            if self.other(id).0.is_none() {
                return Some(unknown(id));
            }
            if self.container_of(id).is_none() {
                return Some(format!("waits for {}, whose volumes it has", called(id)));
            }
        }
        None
    }

    /// Was it made for a namespace of a container that is not there any more? It can never start.
    fn is_stranded(&self, own: &SeenContainer, owner: &InstanceId) -> bool {
        let (Some(spec), Some(there)) = (self.other(owner).0, self.container_of(owner)) else {
            return false;
        };
        let name = &spec.container_name;
        let template = &self.wanted.container;
        let means = |mode: &Option<String>| {
            mode.as_deref().and_then(|mode| mode.strip_prefix("container:")) == Some(name)
        };
        let joined = &own.joined;
        let made_for = [
            (&joined.network, self.wanted.network_of.as_ref() == Some(owner)),
            (&joined.pid, means(&template.pid)),
            (&joined.ipc, means(&template.ipc)),
        ];
        let gone = |made: &String| !made.is_empty() && *made != there.id && made != name;
        made_for.into_iter().any(|(made, meant)| meant && gone(made))
    }

    /// The owner of a namespace has started again: it is in one that nobody has any more.
    fn follow(&self) -> Option<Next> {
        let own = self.container().filter(|own| own.running && !is_in(Mutation::StayBehind))?;
        let left = |owner: &InstanceId| {
            let there = self.container_of(owner).filter(|there| there.running);
            let Some(start) = there.and_then(|there| there.started_at) else { return false };
            // Times of the engine compare only where this agent did not start it itself.
            match self.known.memo.joined_runs.get(owner) {
                Some(run) => start != *run,
                None => Some(start) > own.started_at,
            }
        };
        let (owner, what) =
            self.shared().find(|(owner, _)| left(owner) || self.is_stranded(own, owner))?;
        let stop = Action::Stop {
            instance: self.id.clone(),
            container: own.id.clone(),
            grace_ms: self.wanted.stop_grace_ms,
        };
        let reason = format!("starts again after {}, whose {what} it shares", called(owner));
        Some((Phase::Starting, reason, Some(stop)))
    }

    /// Has the primary of this sidekick ended, and does it never start again?
    fn primary_is_over(&self) -> bool {
        let Some(primary) = &self.wanted.sidekick_of else { return false };
        let (Some(wanted), Some(known)) = self.other(primary) else { return false };
        let mut one = One {
            id: primary,
            wanted,
            known,
            spec: self.spec,
            seen: self.seen,
            now: self.now,
            wake_at: None,
        };
        one.is_over()
    }

    /// It has no work without its primary.
    fn end_with_primary(&self) -> Next {
        let Some(own) = self.container().filter(|own| own.running) else {
            return (Phase::Completed, String::new(), None);
        };
        let stop = Action::Stop {
            instance: self.id.clone(),
            container: own.id.clone(),
            grace_ms: self.wanted.stop_grace_ms,
        };
        (Phase::Draining, "its primary has run to its end".into(), Some(stop))
    }

    /// A sidekick that is to end waits until its primary has.
    pub(super) fn outlives(&self) -> Option<String> {
        let primary = self.wanted.sidekick_of.as_ref()?;
        let (spec, seen) = self.other(primary);
        let (spec, seen) = (spec?, seen?);
        let alive = seen.busy.is_some() || seen.containers.iter().any(|c| c.running);
        (alive && spec.goal != Goal::Run).then(|| "waits for its primary to end".into())
    }
}
