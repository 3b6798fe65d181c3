//! Containers that get their network from CNI: what is to be done with each, and doing it. A plug
//! belongs to one run of a container; when that has ended, it is taken back with what it was made
//! with. What is to be done is decided here without I/O.

use engine::Engine;
use engine::seen::{RunState, SeenContainer};
use ipnet::Ipv4Net;
use model::container_spec::NetworkMode;
use model::host_spec::{HostAttachment, InstanceSpec};
use model::limits::{CNI_CHECK_MS, CNI_RETRY_MS_MAX, CNI_RETRY_MS_MIN};
use model::time::Timestamp;
use network::cni::{Cni, Kept, Pins, Plug, Runner, Shelf};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Docker's word for a container without a network.
pub(crate) const NONE: &str = "none";
/// Where name spaces are held: gone after a reboot, as they are.
const PINS: &str = "/run/remuda/netns";

/// Is the container one that asks for the managed network by itself?
fn is_managed(wanted: &InstanceSpec) -> bool {
    wanted.container.network == NetworkMode::Managed && wanted.network_of.is_none()
}

/// What a container of ours is to be plugged in with; `None` for one that has its network from
/// Docker, shares another one's or has none.
pub(crate) fn plug_of(
    seen: &SeenContainer,
    wanted: &InstanceSpec,
    subnet: Ipv4Net,
) -> Option<Plug> {
    let address = wanted.address.filter(|_| is_managed(wanted) && seen.network_mode == NONE)?;
    let mac = wanted.container.mac_address.clone().unwrap_or_else(|| mac_of(address));
    Some(Plug { container: seen.id.clone(), address, prefix: subnet.prefix_len(), mac })
}

/// The MAC that Docker would give it, and that metadata tells: who comes after it at its address is
/// reached at once by those who knew it.
fn mac_of(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("02:42:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// What a plain container is to be plugged in with.
pub(crate) fn plug_of_plain(
    seen: &SeenContainer,
    attachment: Option<&HostAttachment>,
    subnet: Ipv4Net,
) -> Option<Plug> {
    let address = attachment.filter(|_| seen.network_mode == NONE)?.address;
    let mac = mac_of(address);
    Some(Plug { container: seen.id.clone(), address, prefix: subnet.prefix_len(), mac })
}

/// Was the container made for another driver than the host has now? It is made anew rather than
/// started again.
pub(crate) fn is_misfit(seen: &SeenContainer, wanted: &InstanceSpec, by_cni: bool) -> bool {
    is_managed(wanted) && (seen.network_mode == NONE) != by_cni
}

/// What is known of the work on one container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memo {
    /// It is under way.
    pub(crate) busy: bool,
    /// Failures in a row.
    failures: u32,
    retry_at: Option<Timestamp>,
    /// Why it is not plugged in, or not taken out; empty when all is well.
    pub(crate) problem: String,
    /// A check has failed: it is taken out and plugged in anew.
    broken: bool,
    /// What that check said. When the next one says the same, it is not believed any more.
    repaired: Option<String>,
    check_at: Option<Timestamp>,
}

/// What is to be done with a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Plug it in.
    In(Plug),
    /// Take it out.
    Out {
        /// The container is gone, as far as the list says.
        gone: bool,
    },
    /// Ask whether all is well.
    Check,
}

impl Step {
    /// For the log.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::In(_) => "plug in",
            Self::Out { .. } => "take out",
            Self::Check => "check",
        }
    }
}

/// Everything that says what is to be done with one container.
#[derive(Debug)]
pub(crate) struct Known<'a> {
    /// The container; `None` when it is gone.
    pub(crate) seen: Option<&'a SeenContainer>,
    /// What it is to be plugged in with.
    pub(crate) wanted: Option<Plug>,
    /// What it was plugged in with.
    pub(crate) kept: Option<&'a Kept>,
    pub(crate) memo: &'a Memo,
}

/// Its run, while it has a process.
fn run_of(seen: Option<&SeenContainer>) -> Option<Timestamp> {
    let seen = seen.filter(|seen| matches!(seen.state, RunState::Running | RunState::Paused))?;
    seen.started_at.filter(|_| seen.pid.is_some())
}

impl Known<'_> {
    /// Is it plugged in for the run that it is in?
    pub(crate) fn is_plugged(&self) -> bool {
        let as_wanted = |kept: &&Kept| self.wanted.as_ref().is_none_or(|plug| *plug == kept.plug);
        let whole = |kept: &&Kept| kept.result.is_some() && !self.memo.broken;
        let kept = self.kept.filter(whole).filter(as_wanted);
        kept.is_some_and(|kept| run_of(self.seen) == Some(kept.run))
    }

    /// What is to be done now.
    pub(crate) fn next(&self, now: Timestamp) -> Option<Step> {
        if self.memo.busy || self.memo.waits(now) {
            return None;
        }
        match self.kept {
            Some(_) if !self.is_plugged() => Some(Step::Out { gone: self.seen.is_none() }),
            Some(kept) => {
                let due = self.memo.check_at.is_none_or(|at| !is_ahead(at, now, CNI_CHECK_MS));
                (due && kept.conf.has_check()).then_some(Step::Check)
            }
            None => {
                let runs = self.seen.is_some_and(|seen| seen.state == RunState::Running);
                self.wanted.clone().filter(|_| runs && run_of(self.seen).is_some()).map(Step::In)
            }
        }
    }
}

/// Is it still to come? What is farther away than it can have been set is by a clock that was set
/// back since.
fn is_ahead(at: Timestamp, now: Timestamp, most_ms: u64) -> bool {
    at > now && at <= now.plus_ms(most_ms)
}

impl Memo {
    fn waits(&self, now: Timestamp) -> bool {
        self.retry_at.is_some_and(|at| is_ahead(at, now, CNI_RETRY_MS_MAX))
    }

    /// When something is next, as far as this says it.
    pub(crate) fn wake_at(&self, now: Timestamp) -> Option<Timestamp> {
        let ahead = [self.retry_at, self.check_at].into_iter().flatten();
        ahead.filter(|at| !self.busy && *at > now).min()
    }

    /// A step has ended.
    pub(crate) fn note(&mut self, step: &Step, result: Result<(), String>, now: Timestamp) {
        self.busy = false;
        match (step, result) {
            (Step::Check, result) => self.note_check(result, now),
            (step, Ok(())) => {
                self.failures = 0;
                self.retry_at = None;
                if let Step::In(_) = step {
                    self.problem.clear();
                    self.check_at = Some(now.plus_ms(CNI_CHECK_MS));
                } else {
                    self.broken = false;
                }
            }
            (_, Err(why)) => {
                let wait = CNI_RETRY_MS_MIN << self.failures.min(10);
                self.failures = self.failures.saturating_add(1);
                self.retry_at = Some(now.plus_ms(wait.min(CNI_RETRY_MS_MAX)));
                self.problem = why;
            }
        }
    }

    fn note_check(&mut self, result: Result<(), String>, now: Timestamp) {
        self.check_at = Some(now.plus_ms(CNI_CHECK_MS));
        match result {
            Ok(()) => self.repaired = None,
            Err(why) if self.repaired.as_ref() == Some(&why) => {}
            Err(why) => {
                self.broken = true;
                self.problem = format!("{why}; it is plugged in anew");
                self.repaired = Some(why);
            }
        }
    }
}

/// What steps are carried out with.
#[derive(Clone, Debug)]
pub(crate) struct Hands<E> {
    pub(crate) engine: E,
    pub(crate) cni: Option<Arc<Cni>>,
    pub(crate) tools: Tools,
    /// Labels of the host, which values of the configuration may stand for.
    pub(crate) labels: Arc<BTreeMap<String, String>>,
}

/// Where plugs are kept and name spaces are held.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    pub(crate) shelf: Shelf,
    pub(crate) pins: Pins,
}

impl Tools {
    /// Of an agent's folder.
    pub(crate) fn new(agent_dir: &Path) -> Self {
        Self { shelf: Shelf::new(agent_dir.join("cni")), pins: Pins::new(PINS) }
    }
}

/// What came of a step.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) container: String,
    pub(crate) step: Step,
    pub(crate) result: Result<(), String>,
    /// What is kept of the container now.
    pub(crate) kept: Option<Kept>,
}

/// Work that waits for a disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, network::Error> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|e| e.to_string())?;
    done.map_err(|e| api::error::chain(&e))
}

impl<E: Engine> Hands<E> {
    /// Carries out a step; it may be repeated.
    pub(crate) async fn act(self, container: String, step: Step, kept: Option<Kept>) -> Done {
        let (result, kept) = match (&step, kept) {
            (Step::In(plug), before) => self.plug_in(plug, before.is_none()).await,
            (Step::Out { .. }, None) => (Ok(()), None),
            (Step::Out { gone }, Some(kept)) => match self.take_out(&kept, *gone).await {
                Ok(()) => (Ok(()), None),
                Err(why) => (Err(why), Some(kept)),
            },
            (Step::Check, None) => (Ok(()), None),
            (Step::Check, Some(kept)) => (self.check(&kept).await, Some(kept)),
        };
        Done { container, step, result, kept }
    }

    async fn plug_in(&self, plug: &Plug, fresh: bool) -> (Result<(), String>, Option<Kept>) {
        let (netns, mut kept) = match self.prepare(plug, fresh).await {
            Ok(both) => both,
            Err(why) => return (Err(why), None),
        };
        let runner = Runner::new(kept.bin_dirs.clone());
        let why = match runner.add(&kept.conf, plug, &netns).await {
            Ok(result) => {
                kept.result = Some(result);
                let (shelf, whole) = (self.tools.shelf.clone(), kept.clone());
                match blocking(move || shelf.write(&whole)).await {
                    Ok(()) => {
                        self.name_itself(plug).await;
                        return (Ok(()), Some(kept));
                    }
                    Err(why) => why,
                }
            }
            Err(error) => api::error::chain(&error),
        };
        // Something of it may be there.
        match give_back(&self.tools, &kept).await {
            Ok(()) => (Err(why), None),
            Err(also) => {
                kept.result = None;
                (Err(format!("{why}; and taking it back: {also}")), Some(kept))
            }
        }
    }

    /// The container finds its own host name, as it does where Docker gives the network.
    async fn name_itself(&self, plug: &Plug) {
        let Ok(Some(seen)) = self.engine.inspect(&plug.container).await else { return };
        let Some(hosts) = seen.hosts else { return };
        let address = plug.address;
        let name = move || network::name_in_hosts(&hosts, address, &seen.hostname);
        if let Err(error) = blocking(name).await {
            tracing::warn!(container = plug.container, error, "it does not find its own name");
        }
    }

    /// Holds the name space, and writes down that ADD is about to begin. A `fresh` container has
    /// nothing plugged in: a name space that is still held for it is of a try that was broken off.
    async fn prepare(&self, plug: &Plug, fresh: bool) -> Result<(PathBuf, Kept), String> {
        let cni = self.cni.as_ref().ok_or("this host has no CNI any more: make it anew")?;
        let conf = cni.conf.resolved(&self.labels)?;
        let seen = self.running(&plug.container).await?;
        let (pid, run) = seen.ok_or("it does not run any more")?;
        let (pins, container) = (self.tools.pins.clone(), plug.container.clone());
        let hold = move || {
            if fresh {
                pins.release(&container)?;
            }
            pins.hold(&container, pid)
        };
        let netns = blocking(hold).await?;
        // It may have ended before its name space was held, and its number be another one's.
        if self.running(&plug.container).await? != Some((pid, run)) {
            let (pins, container) = (self.tools.pins.clone(), plug.container.clone());
            blocking(move || pins.release(&container)).await?;
            return Err("it has started anew meanwhile".into());
        }
        let bin_dirs = cni.bin_dirs.clone();
        let kept = Kept { plug: plug.clone(), run, conf, bin_dirs, result: None };
        let (Tools { shelf, pins }, begun) = (self.tools.clone(), kept.clone());
        let written = blocking(move || shelf.write(&begun)).await;
        if let Err(why) = written {
            let container = plug.container.clone();
            blocking(move || pins.release(&container)).await?;
            return Err(why);
        }
        Ok((netns, kept))
    }

    /// Process and run of a container that runs.
    async fn running(&self, container: &str) -> Result<Option<(u32, Timestamp)>, String> {
        let seen = self.engine.inspect(container).await.map_err(|e| api::error::chain(&e))?;
        Ok(seen.and_then(|seen| Some((seen.pid?, run_of(Some(&seen))?))))
    }

    async fn take_out(&self, kept: &Kept, gone: bool) -> Result<(), String> {
        if gone && self.running(&kept.plug.container).await?.is_some() {
            return Err("it runs, and no list has it".into());
        }
        give_back(&self.tools, kept).await?;
        tracing::info!(container = kept.plug.container, address = %kept.plug.address, "unplugged");
        Ok(())
    }

    async fn check(&self, kept: &Kept) -> Result<(), String> {
        let container = &kept.plug.container;
        let netns = self.tools.pins.held(container);
        let netns = netns.ok_or("its network name space is not held any more")?;
        let result = kept.result.as_ref().ok_or("it was not plugged in to the end")?;
        let runner = Runner::new(kept.bin_dirs.clone());
        let checked = runner.check(&kept.conf, &kept.plug, &netns, result).await;
        match checked {
            // That it could not be asked says nothing of the container, which may be well.
            Err(error) if !matches!(error, network::Error::CniPlugin { answered: true, .. }) => {
                let error = api::error::chain(&error);
                tracing::warn!(container, error, "what is plugged in cannot be checked");
                Ok(())
            }
            checked => checked.map_err(|e| api::error::chain(&e)),
        }
    }
}

/// Takes a plug back, lets the name space go, and forgets it.
async fn give_back(tools: &Tools, kept: &Kept) -> Result<(), String> {
    let container = kept.plug.container.clone();
    let netns = tools.pins.held(&container);
    let runner = Runner::new(kept.bin_dirs.clone());
    let given = runner.del(&kept.conf, &kept.plug, netns.as_deref(), kept.result.as_ref()).await;
    given.map_err(|e| api::error::chain(&e))?;
    let Tools { shelf, pins } = tools.clone();
    blocking(move || pins.release(&container).and_then(|()| shelf.forget(&container))).await
}

/// Takes all plugs of an agent's folder back, also of containers that run.
///
/// # Errors
/// What could not be taken back, after everything was tried; it can be called again.
pub async fn unplug_all(agent_dir: &Path) -> Result<(), String> {
    let tools = Tools::new(agent_dir);
    let mut problems = vec![];
    let all = tools.shelf.read().map_err(|e| api::error::chain(&e))?;
    for kept in &all {
        if let Err(why) = give_back(&tools, kept).await {
            problems.push(format!("container {}: {why}", kept.plug.container));
        }
    }
    let kept: Vec<&str> = all.iter().map(|kept| kept.plug.container.as_str()).collect();
    for container in tools.pins.all().iter().filter(|held| !kept.contains(&held.as_str())) {
        if let Err(error) = tools.pins.release(container) {
            problems.push(api::error::chain(&error));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
}

#[cfg(test)]
mod tests;
