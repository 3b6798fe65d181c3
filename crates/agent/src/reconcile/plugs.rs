//! The reconciler's part in CNI: containers that run are plugged in, those that have ended are taken
//! out, and now and then the plugins are asked whether all is well.

use super::wires::Anchor;
use super::{Look, Reconciler};
use crate::plug::{self, Done, Hands, Known, Memo, Step, Tools};
use engine::Engine;
use engine::seen::SeenContainer;
use model::host_spec::{HostSpec, InstanceSpec};
use model::id::InstanceId;
use model::limits::CNI_TASKS_PARALLEL_MAX;
use model::time::Timestamp;
use network::Fabric;
use network::cni::{Cni, Kept, Plug};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use tokio::time::Instant;

/// What a host's containers get their network from, with what was plugged in until now.
#[derive(Debug, Default)]
pub struct Plugs {
    cni: Option<Arc<Cni>>,
    tools: Option<Tools>,
    /// By Docker's id.
    kept: BTreeMap<String, Kept>,
    memos: BTreeMap<String, Memo>,
}

/// A container with what is to be done with it, and what is kept of it.
type Due = (String, Step, Option<Kept>);

impl Plugs {
    /// Of an agent's folder; without `cni` Docker is the driver, and what was plugged in before is
    /// taken out as its containers end.
    ///
    /// # Errors
    /// When what was kept cannot be read, or a name space that is held for nothing not let go.
    pub fn open(agent_dir: &Path, cni: Option<Cni>) -> Result<Self, network::Error> {
        let tools = Tools::new(agent_dir);
        let all = tools.shelf.read()?;
        let kept: BTreeMap<String, Kept> =
            all.into_iter().map(|kept| (kept.plug.container.clone(), kept)).collect();
        // Nothing was plugged in where nothing says so.
        for container in tools.pins.all().iter().filter(|held| !kept.contains_key(*held)) {
            tools.pins.release(container)?;
        }
        Ok(Self { cni: cni.map(Arc::new), tools: Some(tools), kept, memos: BTreeMap::new() })
    }

    /// Is CNI the driver of this host?
    pub(super) fn by_cni(&self) -> bool {
        self.cni.is_some()
    }

    /// In a few words; empty when Docker is the driver.
    pub(super) fn words(&self) -> String {
        self.cni.as_ref().map(|cni| format!("cni {}", cni.words())).unwrap_or_default()
    }

    /// What the fabric works with.
    pub(super) fn anchor(&self) -> Anchor {
        self.cni.as_ref().map_or_else(Anchor::docker, |cni| Anchor::of_cni(&cni.conf))
    }

    /// Why the network must stay as it is: containers are plugged in by another driver or into
    /// another bridge than the host has now.
    pub(super) fn stale(&self) -> Option<String> {
        let now = self.anchor();
        let other = |kept: &&Kept| !self.by_cni() || Anchor::of_cni(&kept.conf) != now;
        let count = self.kept.values().filter(other).count();
        let first = self.kept.values().find(other)?;
        let bridge = Anchor::of_cni(&first.conf).bridge;
        Some(format!(
            "containers here ({count}) are still plugged in by the CNI configuration from before, \
             with bridge {bridge}: `remuda host drain` this host, then `remuda host uncordon` it"
        ))
    }

    fn known<'a>(&'a self, seen: &'a SeenContainer, wanted: Option<Plug>) -> Known<'a> {
        static NONE: std::sync::LazyLock<Memo> = std::sync::LazyLock::new(Memo::default);
        let memo = self.memos.get(&seen.id).unwrap_or(&NONE);
        Known { seen: Some(seen), wanted, kept: self.kept.get(&seen.id), memo }
    }

    /// Why a container of ours that runs has no network yet; `None` when it has, or when that is not
    /// for CNI to say.
    pub(super) fn unplugged(
        &self,
        seen: &SeenContainer,
        wanted: &InstanceSpec,
        spec: &HostSpec,
    ) -> Option<String> {
        let plug = plug::plug_of(seen, wanted, spec.environment.subnet)?;
        let known = self.known(seen, Some(plug));
        if known.is_plugged() {
            return None;
        }
        Some(match known.memo.problem.as_str() {
            "" => "it is being plugged in by CNI".into(),
            problem => problem.to_owned(),
        })
    }

    /// Somebody else who has the address of a plug still.
    fn holder(&self, plug: &Plug) -> Option<&str> {
        let has = |kept: &&Kept| {
            kept.plug.address == plug.address && kept.plug.container != plug.container
        };
        self.kept.values().find(has).map(|kept| kept.plug.container.as_str())
    }

    /// What is due, each marked as under way; and when the next is.
    fn begin(
        &mut self,
        wanted: BTreeMap<&str, (&SeenContainer, Option<Plug>)>,
        may_plug: bool,
        now: Timestamp,
    ) -> (Vec<Due>, Option<Timestamp>) {
        let (mut steps, mut wake) = (vec![], None);
        let ids: BTreeSet<String> =
            wanted.keys().map(|id| (*id).to_owned()).chain(self.kept.keys().cloned()).collect();
        let busy = self.memos.values().filter(|memo| memo.busy).count();
        let mut free = CNI_TASKS_PARALLEL_MAX.saturating_sub(busy);
        self.memos.retain(|id, memo| memo.busy || ids.contains(id));
        for id in ids {
            let none = Memo::default();
            let memo = self.memos.get(&id).unwrap_or(&none);
            let of = wanted.get(id.as_str());
            let (seen, plug) = of.map_or((None, None), |(seen, plug)| (Some(*seen), plug.clone()));
            let kept = self.kept.get(&id);
            let known = Known { seen, wanted: plug, kept, memo };
            if let Some(at) = memo.wake_at(now) {
                wake = Some(wake.map_or(at, |known: Timestamp| known.min(at)));
            }
            let Some(step) = known.next(now) else { continue };
            if let Step::In(plug) = &step {
                // Its last owner is being taken out; that wakes us.
                if !may_plug || self.holder(plug).is_some() {
                    continue;
                }
            }
            if free == 0 {
                break;
            }
            free -= 1;
            let kept = kept.cloned();
            self.memos.entry(id.clone()).or_default().busy = true;
            steps.push((id, step, kept));
        }
        (steps, wake)
    }

    /// A step ended without a word: nobody knows which one.
    pub(super) fn work_again(&mut self) {
        self.memos.values_mut().for_each(|memo| memo.busy = false);
    }
}

impl<E: Engine, F: Fabric> Reconciler<E, F> {
    /// Begins what is to be done with plugs; gives when something is next.
    pub(super) fn begin_plugging(&mut self, spec: &HostSpec, now: Timestamp) -> Option<Timestamp> {
        // What is gone is only known from a list that is as it is now.
        if !self.engine_trouble().is_empty() || self.plains.told().is_none() {
            return None;
        }
        let tools = self.plugs.tools.clone()?;
        if !self.plugs.by_cni() && self.plugs.kept.is_empty() {
            return None;
        }
        let mut wanted: BTreeMap<&str, (&SeenContainer, Option<Plug>)> = BTreeMap::new();
        for (id, all) in self.containers.iter().flatten() {
            let of = spec.instances.get(id);
            for seen in all {
                let plug = of.and_then(|of| plug::plug_of(seen, of, spec.environment.subnet));
                wanted.insert(&seen.id, (&**seen, plug));
            }
        }
        for (id, seen) in self.plains.all() {
            let plug = plug::plug_of_plain(seen, spec.attachments.get(id), spec.environment.subnet);
            wanted.insert(&seen.id, (seen, plug.filter(|_| self.plugs.by_cni())));
        }
        let may_plug = self.plugs.by_cni() && self.may_join(spec);
        let (steps, wake) = self.plugs.begin(wanted, may_plug, now);
        for (container, step, kept) in steps {
            let hands = Hands {
                engine: self.parts.engine.clone(),
                cni: self.plugs.cni.clone(),
                tools: tools.clone(),
                labels: Arc::clone(&spec.labels),
            };
            self.looks.spawn(async move {
                Look::Plugged(Box::new(hands.act(container, step, kept).await))
            });
        }
        wake
    }

    /// Containers of ours that run and are not plugged in.
    pub(super) fn unplugged<'a>(
        &self,
        containers: &'a BTreeMap<InstanceId, Vec<Arc<SeenContainer>>>,
        spec: &HostSpec,
    ) -> Vec<&'a str> {
        let of = containers.iter().filter_map(|(id, all)| Some((spec.instances.get(id)?, all)));
        let each = of.flat_map(|(of, all)| all.iter().map(move |seen| (of, seen)));
        let out = each.filter(|(of, seen)| self.plugs.unplugged(seen, of, spec).is_some());
        out.map(|(_, seen)| seen.id.as_str()).collect()
    }

    /// A step has ended.
    pub(super) fn plugged(&mut self, done: Done) {
        let Done { container, step, result, kept } = done;
        if let Err(why) = &result {
            tracing::warn!(container, step = step.word(), error = why, "CNI failed");
        } else if let (Step::In(plug), Some(kept)) = (&step, &kept) {
            tracing::info!(container, address = %plug.address, network = kept.conf.name, "plugged in");
        }
        let now = self.parts.clock.now();
        let was_stale = self.plugs.stale().is_some();
        match kept {
            Some(kept) => drop(self.plugs.kept.insert(container.clone(), kept)),
            None => drop(self.plugs.kept.remove(&container)),
        }
        if was_stale && self.plugs.stale().is_none() {
            self.network_due = Instant::now();
        }
        self.plugs.memos.entry(container).or_default().note(&step, result, now);
        self.tell_plugged();
        self.publish_local();
    }

    /// Plain containers that are plugged in are in the managed network.
    fn tell_plugged(&mut self) {
        let all = self.plugs.kept.values().filter(|kept| kept.result.is_some());
        let addresses = all.map(|kept| (kept.plug.container.clone(), kept.plug.address)).collect();
        let problem = |memo: &Memo| memo.problem.clone();
        let memos = self.plugs.memos.iter().filter(|(_, memo)| !memo.problem.is_empty());
        let problems = memos.map(|(id, memo)| (id.clone(), problem(memo))).collect();
        self.plains.plugged(addresses, problems);
    }
}
