//! One simulated agent: it joins, keeps a session, says that what it is to hold runs, and hears of
//! what others hold. Of its view it keeps no more than it is told anew.

use crate::Result;
use crate::serve::clock;
use api::grpc::{Caller, GrpcLink, Joining, enroll};
use api::link::{
    AgentLink as _, AgentRun, Down, Hello, Known, LinkError, Publication, Session, Up,
};
use model::delta::Delta;
use model::health::Health;
use model::host::HostFacts;
use model::host_status::HostStatus;
use model::id::{HostId, InstanceId};
use model::instance::{Goal, InstanceStatus, Phase};
use model::time::Index;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Between two tries.
const AGAIN: Duration = Duration::from_millis(200);
const HEARTBEAT: Duration = Duration::from_secs(1);
/// The first change leaves at once, what follows waits this long, as with the real agent.
const WINDOW: Duration = Duration::from_millis(20);

/// What the agents of a process count together. Held for a moment.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) joined: usize,
    /// Agents all of whose endpoints run.
    pub(crate) ready: usize,
    /// Milliseconds from a change to an agent, while it is measured.
    pub(crate) arrivals: Option<Vec<u32>>,
    pub(crate) wholes: usize,
    pub(crate) deltas: usize,
}

/// What an agent is started with.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    pub(crate) address: String,
    pub(crate) token: String,
    pub(crate) pin: String,
    pub(crate) host: HostId,
    pub(crate) group: usize,
    pub(crate) endpoints: usize,
    /// It goes once it has joined and was told what to hold.
    pub(crate) leaves: bool,
    pub(crate) counts: Arc<Mutex<Counts>>,
}

struct State {
    known: Option<Publication>,
    statuses: BTreeMap<InstanceId, InstanceStatus>,
    number: u64,
    ready: bool,
    next: usize,
}

impl Agent {
    fn count(&self, with: impl FnOnce(&mut Counts)) {
        with(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Works until `changes` has no sender any more; each word there changes one of its endpoints.
    pub(crate) async fn run(self, mut changes: mpsc::Receiver<()>) -> Result<()> {
        let enrolled = loop {
            let joining = Joining {
                address: &self.address,
                token: &self.token,
                pin: &self.pin,
                host: &self.host,
                before: None,
                clock: clock().now(),
            };
            match enroll(&joining).await {
                Ok(enrolled) => break enrolled,
                Err(LinkError::Unreachable { .. }) => tokio::time::sleep(AGAIN).await,
                Err(error) => return Err(error.into()),
            }
        };
        let run = AgentRun {
            process: self.host.to_string(),
            boot: self.host.to_string(),
            hostname: self.host.to_string(),
        };
        let caller = Caller { run, clock: clock() };
        let link = GrpcLink::new(&self.address, &self.pin, &enrolled.identity, caller)?;
        let statuses = BTreeMap::new();
        let mut state = State { known: None, statuses, number: 0, ready: false, next: 0 };
        loop {
            let mut hello = Hello::new(self.host.clone(), env!("CARGO_PKG_VERSION"));
            hello.known = state
                .known
                .as_ref()
                .map(|known| Known { epoch: known.epoch.clone(), mark: known.mark });
            match link.connect(hello).await {
                Ok(session) => {
                    if self.serve(session, &mut state, &mut changes).await {
                        return Ok(());
                    }
                }
                Err(LinkError::Unreachable { .. } | LinkError::Refused { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// One session; true when the agent is done.
    async fn serve(
        &self,
        mut session: Session,
        state: &mut State,
        changes: &mut mpsc::Receiver<()>,
    ) -> bool {
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut beat, mut dirty, mut quiet_until) = (0, true, Instant::now());
        state.number = 0;
        loop {
            let message = tokio::select! {
                biased;
                down = session.down.recv() => {
                    match down {
                        None => return false,
                        Some(Down::Publish(whole)) => {
                            dirty |= self.take(&whole, state);
                            if self.leaves {
                                return true;
                            }
                        }
                        Some(Down::Delta(delta)) => {
                            let Some(known) = &mut state.known else { return false };
                            if delta.is_known(known) {
                                continue;
                            }
                            if delta.apply(known).is_err() {
                                self.send(&session, Up::Whole).await;
                                continue;
                            }
                            dirty |= self.hear(&delta.delta, state);
                        }
                        Some(_) => {}
                    }
                    continue;
                }
                _ = heartbeat.tick() => {
                    beat += 1;
                    Up::Beat { number: beat }
                }
                () = tokio::time::sleep_until(quiet_until), if dirty => {
                    dirty = false;
                    quiet_until = Instant::now() + WINDOW;
                    Up::Status(Box::new(self.status(state)))
                }
                change = changes.recv() => {
                    if change.is_none() {
                        return true;
                    }
                    let next = state.next;
                    state.next += 1;
                    let count = state.statuses.len().max(1);
                    if let Some(status) = state.statuses.values_mut().nth(next % count) {
                        status.started_at = Some(clock().now());
                        dirty = true;
                    }
                    continue;
                }
            };
            if !self.send(&session, message).await {
                return false;
            }
        }
    }

    async fn send(&self, session: &Session, message: Up) -> bool {
        session.up.send(message).await.is_ok()
    }

    fn take(&self, whole: &Publication, state: &mut State) -> bool {
        if state.known.is_none() {
            self.count(|counts| counts.joined += 1);
        }
        self.count(|counts| counts.wholes += 1);
        let mut kept = whole.clone();
        let view = Arc::make_mut(&mut kept.view);
        view.dns = Arc::default();
        view.instances = Arc::default();
        state.known = Some(kept);
        self.hold(state)
    }

    /// Everything that it is to hold runs; is that news?
    fn hold(&self, state: &mut State) -> bool {
        let Some(known) = &state.known else { return false };
        let mut news = false;
        for (id, spec) in &known.spec.instances {
            let phase = if spec.goal == Goal::Run { Phase::Running } else { Phase::Absent };
            let status = state.statuses.entry(id.clone()).or_default();
            if status.phase != phase {
                news = true;
                *status = InstanceStatus {
                    phase,
                    health: Health::Healthy,
                    container_id: "c".repeat(64),
                    image_id: format!("sha256:{}", "a".repeat(64)),
                    started_at: Some(clock().now()),
                    ..InstanceStatus::default()
                };
            }
        }
        state.statuses.retain(|id, _| known.spec.instances.contains_key(id));
        let ready = state.statuses.len() >= self.endpoints;
        if ready && !state.ready {
            state.ready = true;
            self.count(|counts| counts.ready += 1);
        }
        news
    }

    fn hear(&self, delta: &Delta, state: &mut State) -> bool {
        let now = clock().now();
        self.count(|counts| {
            counts.deltas += 1;
            let Some(arrivals) = &mut counts.arrivals else { return };
            let entries = delta.view.iter().flat_map(|view| view.instances.values().flatten());
            let others = entries.filter(|one| one.host != self.host && !one.run.is_zero());
            let ages = others.map(|one| u32::try_from(now.since_ms(one.run)).unwrap_or(u32::MAX));
            arrivals.extend(ages);
        });
        if let Some(known) = &mut state.known {
            let view = Arc::make_mut(&mut known.view);
            view.dns = Arc::default();
            view.instances = Arc::default();
        }
        delta.spec.is_some() && self.hold(state)
    }

    fn status(&self, state: &mut State) -> HostStatus {
        state.number += 1;
        let facts = HostFacts {
            hostname: self.host.to_string(),
            address: "127.0.0.1".into(),
            agent_version: env!("CARGO_PKG_VERSION").into(),
            docker_version: "1".into(),
            cpus: 64,
            memory: 256 << 30,
            labels: [("group".to_owned(), self.group.to_string())].into(),
            ..HostFacts::default()
        };
        let known = state.known.as_ref();
        HostStatus {
            host: self.host.clone(),
            number: state.number,
            generation: known.map(|known| known.spec.generation).unwrap_or_default(),
            view: known.map_or(Index(0), |known| known.view.index),
            facts,
            instances: state.statuses.clone(),
            probes: BTreeMap::new(),
            usage: BTreeMap::new(),
            requests: None,
            floating: BTreeMap::new(),
            checks: BTreeMap::new(),
            plain: None,
        }
    }
}
