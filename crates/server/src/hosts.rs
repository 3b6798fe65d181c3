//! Sessions of agents: what is seen comes up, streams are opened. What goes down is in `publish`.

use crate::members;
use crate::state::Shared;
use crate::verdicts::{self, Verdicts};
use crate::{images, plain, presence};
use api::error::{ErrorInfo, Kind};
use api::link::{Arrival, Down, Known, Outbox, Switchboard, Up};
use api::peer::{Peer, Refusal};
use api::stream::{Chunk, Duplex, StreamRequest};
use model::change::{Change, Edit, Proposal};
use model::cluster::Cluster;
use model::host::HostLink;
use model::host_status::HostStatus;
use model::id::{HostId, InstanceId};
use model::instance::{Goal, InstanceStatus, Phase};
use model::limits::{
    ASKED_NAMES_MAX, HEARTBEAT_MS_MAX, HEARTBEAT_MS_MIN, HEARTBEATS_PER_S_MAX,
    HOST_DISCONNECTED_MS, IMAGE_RELAYS_MAX, IMAGE_WANTS_MAX, TXN_OPS_MAX,
};
use model::mutation::{Mutation, is_in};
use model::record::{Record, RecordKey};
use model::time::{Generation, Index, Timestamp};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::Store;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;

/// An agent that does not take up a stream or answer a question in this time is given up.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// The sessions of all connected hosts.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    switchboard: Switchboard,
    /// Guards the map; held for map operations.
    sessions: Arc<Mutex<BTreeMap<HostId, Session>>>,
    /// What sessions want of the publisher; held for map operations.
    calls: Arc<Mutex<Calls>>,
    called: Arc<Notify>,
    /// What waits for those that have begun is what the cluster asks for up to this index.
    published: Arc<AtomicU64>,
    /// Parts of images that pass through at a time.
    pub(crate) relays: Arc<Semaphore>,
    /// The right to check the network: one check at a time.
    pub(crate) net_checks: Arc<Semaphore>,
}

/// What sessions want of the publisher.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    /// Sessions that have come.
    pub(crate) begun: BTreeSet<HostId>,
    /// Sessions that need the whole.
    pub(crate) wholes: BTreeSet<HostId>,
    /// Names that are asked for.
    pub(crate) asked: BTreeMap<HostId, Vec<String>>,
}

/// The session of one host.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    number: u64,
    open: mpsc::Sender<Down>,
    /// The connection that carries it, unless the agent is in this process.
    pub(crate) peer: Option<Peer>,
    /// What waits to go down.
    pub(crate) outbox: Arc<Outbox>,
    /// What the agent had when it came.
    pub(crate) known: Option<Known>,
    told: Arc<Told>,
}

/// What a session has been told of, or will have been once it has taken what waits.
#[derive(Debug, Default)]
struct Told {
    begun: AtomicBool,
    generation: AtomicU64,
}

impl Session {
    /// It is told of everything up to this generation, and of what comes.
    pub(crate) fn tell(&self, generation: Generation) {
        self.told.generation.store(generation.0, SeqCst);
        self.told.begun.store(true, SeqCst);
    }

    /// Is it told of what comes?
    pub(crate) fn is_told(&self) -> bool {
        self.told.begun.load(SeqCst)
    }
}

impl Hosts {
    /// Over a switchboard.
    #[must_use]
    pub(crate) fn new(switchboard: Switchboard) -> Self {
        let relays = Arc::new(Semaphore::new(IMAGE_RELAYS_MAX));
        let net_checks = Arc::new(Semaphore::new(1));
        Self {
            switchboard,
            sessions: Arc::default(),
            calls: Arc::default(),
            called: Arc::default(),
            published: Arc::default(),
            relays,
            net_checks,
        }
    }

    /// May what runs at most once go on there, and with which publication? Not before it is written
    /// down that the host is here: until then somebody may decide that it is away; what was
    /// decided before must have come there.
    fn lease(&self, session: &Session, cluster: &Cluster, host: &HostId) -> Option<Generation> {
        let here = cluster.host(host).is_some_and(|host| host.status == HostLink::Active);
        let since = cluster.modified(&RecordKey::Host(host.clone()))?;
        let published = self.published.load(SeqCst);
        if !here || !session.is_told() || published < since.0 {
            return None;
        }
        Some(Generation(session.told.generation.load(SeqCst)))
    }

    /// What the cluster asks for up to this index is in the outboxes.
    pub(crate) fn published(&self, index: Index) {
        self.published.store(index.0, SeqCst);
    }

    /// Tells the publisher what a session wants.
    fn call(&self, want: impl FnOnce(&mut Calls)) {
        want(&mut self.calls.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        self.called.notify_one();
    }

    /// What sessions have wanted since the last time.
    pub(crate) fn calls(&self) -> Calls {
        std::mem::take(&mut self.calls.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Waits for the next call, or for one that was not waited for.
    pub(crate) async fn called(&self) {
        self.called.notified().await;
    }

    /// The session of a host.
    pub(crate) fn session(&self, host: &HostId) -> Option<Session> {
        self.sessions().get(host).cloned()
    }

    /// All sessions.
    pub(crate) fn sessions(&self) -> std::sync::MutexGuard<'_, BTreeMap<HostId, Session>> {
        self.sessions.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// From where a host is connected, if it is: " from ADDRESS", or nothing when it is here.
    #[must_use]
    pub(crate) fn seen_from(&self, host: &HostId) -> Option<String> {
        if !self.switchboard.is_present(host) {
            return None;
        }
        let peer = self.sessions().get(host).and_then(|session| session.peer.clone());
        Some(peer.map_or_else(String::new, |peer| format!(" from {}", peer.address.ip())))
    }

    /// Hosts with a session.
    #[must_use]
    pub(crate) fn connected(&self) -> Vec<HostId> {
        self.sessions().keys().cloned().collect()
    }

    /// Opens a stream to a host.
    ///
    /// # Errors
    /// `Kind::Unavailable` when it has no session.
    pub(crate) async fn open(
        &self,
        host: &HostId,
        request: StreamRequest,
    ) -> Result<Duplex, ErrorInfo> {
        let away = || {
            ErrorInfo::unavailable(format!("host {host} is not connected"))
                .hint("see `remuda host ls`; its containers and traffic go on meanwhile")
        };
        let handle = self.sessions().get(host).cloned().ok_or_else(away)?;
        let (stream, duplex) = self
            .switchboard
            .stream(host)
            .ok_or_else(|| ErrorInfo::unavailable("too many streams wait to be opened"))?;
        let sent = handle.open.send(Down::Open { stream, request });
        match tokio::time::timeout(ASK_TIMEOUT, sent).await {
            Ok(Ok(())) => Ok(duplex),
            _ => Err(away()),
        }
    }

    /// Opens a stream, takes its one JSON answer.
    ///
    /// # Errors
    /// What the host says, or that it does not answer in time.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        host: &HostId,
        request: StreamRequest,
    ) -> Result<T, ErrorInfo> {
        let mut duplex = self.open(host, request).await?;
        let answer = tokio::time::timeout(ASK_TIMEOUT, duplex.rx.recv()).await;
        match answer {
            Ok(Some(Chunk::Json(bytes))) => serde_json::from_slice(&bytes)
                .map_err(|e| ErrorInfo::new(Kind::Bug, format!("answer of host {host}: {e}"))),
            Ok(Some(Chunk::Failed(why))) => {
                Err(ErrorInfo::unavailable(format!("host {host}: {why}")))
            }
            Ok(_) => Err(ErrorInfo::unavailable(format!("host {host} went away"))),
            Err(_elapsed) => Err(ErrorInfo::unavailable(format!(
                "host {host} gave no answer in {ASK_TIMEOUT:?}"
            ))),
        }
    }
}

/// Takes arrivals until the queue ends; one task a session, joined here.
pub(crate) async fn accept<S: Store>(shared: Shared<S>, mut arrivals: mpsc::Receiver<Arrival>) {
    let mut tasks = JoinSet::new();
    let mut number = 0;
    tasks.spawn(presence::run(shared.clone()));
    loop {
        tokio::select! {
            biased;
            arrival = arrivals.recv() => {
                let Some(arrival) = arrival else { return };
                number += 1;
                tasks.spawn(session(shared.clone(), arrival, number));
            }
            Some(ended) = tasks.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "session task ended badly");
                }
            }
        }
    }
}

async fn session<S: Store>(shared: Shared<S>, arrival: Arrival, number: u64) {
    let Arrival { hello, mut up, outbox, open, presence, peer } = arrival;
    let host = hello.host;
    tracing::info!(%host, version = hello.version, "agent connected");
    let outbox = Arc::new(outbox);
    let (known, told) = (hello.known, Arc::default());
    let (peer_of, outbox_of) = (peer.clone(), Arc::clone(&outbox));
    let handle = Session { number, open, peer: peer_of, outbox: outbox_of, known, told };
    shared.hosts.sessions().insert(host.clone(), handle.clone());
    shared.hosts.call(|calls| _ = calls.begun.insert(host.clone()));
    // It may have been removed since it was let in: from here on `members` sees it.
    if let Some(peer) = &peer {
        members::check(&shared.cluster(), peer);
        shared.refusals.forget(peer);
    }
    // Guards nothing but itself.
    let heard = AtomicI64::new(shared.now().0);
    let ingester = async {
        let silence = Duration::from_millis(HOST_DISCONNECTED_MS);
        let mut newest = 0;
        // They end with the session.
        let mut wants = JoinSet::new();
        loop {
            let message = match tokio::time::timeout(silence, up.recv()).await {
                Ok(Some(message)) => message,
                Ok(None) => return,
                Err(_elapsed) => {
                    tracing::warn!(%host, "agent has sent nothing for {silence:?}");
                    return;
                }
            };
            heard.store(shared.now().0, Relaxed);
            presence.heard();
            match message {
                Up::Status(status) if status.number > 0 && status.number <= newest => {
                    tracing::debug!(%host, number = status.number, "status of the past ignored");
                }
                Up::Status(status) if status.host == host || is_in(Mutation::StatusOfOthers) => {
                    newest = newest.max(status.number);
                    ingest(&shared, *status, peer.is_some()).await;
                }
                Up::Status(status) => {
                    tracing::warn!(%host, other = %status.host, "status of another host refused");
                }
                Up::Beat { number } => answer_beat(&shared, &handle, &host, number),
                Up::Want { number, want } => {
                    while wants.try_join_next().is_some() {}
                    if wants.len() < IMAGE_WANTS_MAX {
                        wants.spawn(images::answer(shared.clone(), host.clone(), number, want));
                    } else {
                        tracing::warn!(%host, "too many questions about images at a time");
                    }
                }
                Up::Whole => {
                    tracing::debug!(%host, "what it was told does not fit");
                    shared.hosts.call(|calls| _ = calls.wholes.insert(host.clone()));
                }
                Up::Asked { mut names } => {
                    names.truncate(ASKED_NAMES_MAX);
                    shared.hosts.call(|calls| _ = calls.asked.insert(host.clone(), names));
                }
                Up::Hello(_) | Up::Heartbeat => {}
            }
        }
    };
    tokio::select! {
        biased;
        _ = cut(peer.as_ref()) => {}
        () = ingester => {}
        () = outbox.closed() => {}
    }
    tracing::info!(%host, "agent disconnected");
    {
        let mut sessions = shared.hosts.sessions();
        if sessions.get(&host).is_some_and(|handle| handle.number == number) {
            sessions.remove(&host);
        }
    }
    // What waits in there keeps a whole from another host.
    drop((handle, outbox));
    drop(presence);
    let heard = Timestamp(heard.load(Relaxed));
    let silent = shared.now().since_ms(heard);
    let wait = HOST_DISCONNECTED_MS.saturating_sub(silent);
    tokio::time::sleep(Duration::from_millis(wait)).await;
    if !shared.hosts.connected().contains(&host) {
        presence::note_silence(&shared, &host, heard).await;
    }
}

/// Says that a heartbeat was heard; one that finds no room is answered with the next.
fn answer_beat<S: Store>(shared: &Shared<S>, session: &Session, host: &HostId, number: u64) {
    let lease = shared.hosts.lease(session, &shared.cluster(), host);
    let every_ms = heartbeat_ms(shared.hosts.sessions().len());
    if let Err(error) = session.open.try_send(Down::Heard { number, lease, every_ms }) {
        tracing::debug!(%host, %error, "heartbeat not answered");
    }
}

/// Time from one heartbeat of an agent to its next, in milliseconds: with more sessions it is longer.
fn heartbeat_ms(sessions: usize) -> u64 {
    let all = u64::try_from(sessions).unwrap_or(u64::MAX).saturating_mul(1_000);
    (all / HEARTBEATS_PER_S_MAX).clamp(HEARTBEAT_MS_MIN, HEARTBEAT_MS_MAX)
}

/// Ends when the connection has to end.
async fn cut(peer: Option<&Peer>) -> Refusal {
    match peer {
        Some(peer) => peer.is_cut().await,
        None => std::future::pending().await,
    }
}

/// Writes what changed of a host's status; only transitions reach the store.
async fn ingest<S: Store>(shared: &Shared<S>, mut status: HostStatus, joins: bool) {
    let cluster = shared.cluster();
    let host = status.host.clone();
    status.bound(|id| cluster.instance(&id.instance()).is_some());
    status.usage.retain(|id, _| is_on(&cluster, id, &host));
    shared.usages.note(&status, shared.now());
    let changed = shared.verdicts.note(&status, |id| is_on(&cluster, id, &host));
    let edits = transitions(&cluster, &status, &shared.verdicts, shared.now());
    for part in edits.chunks(TXN_OPS_MAX / 2) {
        let change = Change { edits: part.to_vec() };
        if let Err(error) = shared.commit(Proposal { reads: vec![], change }).await {
            // The agent sends its whole status again; nothing is lost but time.
            tracing::warn!(host = %status.host, %error, "status of a host not stored");
            return;
        }
    }
    verdicts::revise(shared, changed).await;
    // Of a host that is back nothing is shown that ended while it was away.
    let known = cluster.host(&host).is_some();
    if known {
        plain::ingest(shared, &host, status.plain.as_deref()).await;
    }
    // After that: a host that is back, or whose engine is, is trusted from what it says now on.
    presence::note_facts(shared, &status.host, &status.facts, joins).await;
    if !known {
        plain::ingest(shared, &host, status.plain.as_deref()).await;
    }
    crate::floating::ingest(shared, &host, &status.floating).await;
    crate::registrar::ingest(shared, &host, &status.checks).await;
}

/// The status records that differ from what is known, of instances that are known on that host.
fn transitions(
    cluster: &Cluster,
    status: &HostStatus,
    verdicts: &Verdicts,
    now: Timestamp,
) -> Vec<Edit> {
    let mut edits = vec![];
    for (id, new) in status.instances.iter().filter(|(id, _)| is_on(cluster, id, &status.host)) {
        let over = matches!(new.phase, Phase::Absent | Phase::Stopped);
        if over && !is_told(cluster, id, status) {
            continue;
        }
        let old = cluster.instance_status(id).map(|old| &**old);
        let new = stamped(old, verdicts.judged(cluster, id, new.clone()), now);
        if old != Some(&new) {
            edits.push(Edit::Put(Record::InstanceStatus(id.clone(), Arc::new(new))));
        }
    }
    edits
}

/// Is this an instance that the host was given? Of no other one it has anything to say.
fn is_on(cluster: &Cluster, id: &InstanceId, host: &HostId) -> bool {
    let ours = |of: &HostId| of == host || is_in(Mutation::StatusOfOthers);
    cluster.instance(&id.instance()).is_some_and(|instance| ours(&instance.host))
}

/// Does a host that says that an instance is stopped or gone know that it was to be so? One that has
/// not heard of it yet, or says what was true before, may still start its container.
fn is_told(cluster: &Cluster, id: &InstanceId, status: &HostStatus) -> bool {
    let instance = id.instance();
    let ordered = cluster.modified(&RecordKey::Instance(instance.clone()));
    cluster.instance(&instance).is_some_and(|one| one.goal != Goal::Run)
        && ordered.is_some_and(|ordered| ordered.0 <= status.generation.0)
}

/// What a host sees, with the time of the change by this server's clock: what is decided by time
/// must not hang on how right the clock of a host is.
fn stamped(
    old: Option<&InstanceStatus>,
    mut new: InstanceStatus,
    now: Timestamp,
) -> InstanceStatus {
    let same = |old: &&InstanceStatus| {
        (old.phase, old.health, old.started_at) == (new.phase, new.health, new.started_at)
            && old.container_id == new.container_id
    };
    new.changed_at = old.filter(same).map_or(now, |old| old.changed_at);
    // An agent that was started anew has not looked at the image again.
    if let Some(old) = old.filter(|old| new.image_digest.is_empty() && old.image_id == new.image_id)
    {
        new.image_digest.clone_from(&old.image_digest);
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::instance::{Instance, Target};

    #[test]
    fn a_change_has_the_time_of_the_server_whatever_the_host_s_clock_says() {
        let of = |phase, started: i64, changed: i64| InstanceStatus {
            phase,
            started_at: Some(Timestamp(started)),
            changed_at: Timestamp(changed),
            ..InstanceStatus::default()
        };
        let hour = 3_600_000;
        let first = stamped(None, of(Phase::Running, hour, hour), Timestamp(10));
        assert_eq!(first.changed_at, Timestamp(10));
        let same = stamped(Some(&first), of(Phase::Running, hour, hour + 500), Timestamp(900));
        assert_eq!(same, first, "nothing changed");
        let again = stamped(Some(&first), of(Phase::Running, hour + 700, 0), Timestamp(900));
        assert_eq!(again.changed_at, Timestamp(900), "it was started once more");
        let other = stamped(Some(&first), of(Phase::Backoff, hour, hour), Timestamp(950));
        assert_eq!(other.changed_at, Timestamp(950));
    }

    #[test]
    fn heartbeats_are_rarer_in_a_large_fleet_and_never_so_rare_that_one_counts_for_silence() {
        let every = [0, 1, 1_000, 1_500, 2_000, 100_000].map(heartbeat_ms);
        assert_eq!(every, [1_000, 1_000, 1_000, 1_500, 2_000, 2_000]);
        const { assert!(HEARTBEAT_MS_MAX * 2 <= HOST_DISCONNECTED_MS) }
    }

    #[test]
    fn what_is_said_to_be_over_counts_only_from_a_host_that_knows_of_the_order() {
        let id: InstanceId = "shop/web#1@7".parse().unwrap();
        let host: HostId = "h1".parse().unwrap();
        for (goal, phase, generation, counts) in [
            (Goal::Remove, Phase::Absent, 9, true),
            (Goal::Remove, Phase::Absent, 8, false),
            (Goal::Remove, Phase::Draining, 8, true),
            (Goal::Run, Phase::Absent, 9, false),
            (Goal::Stop, Phase::Stopped, 9, true),
            (Goal::Stop, Phase::Stopped, 8, false),
            (Goal::Run, Phase::Stopped, 9, false),
            (Goal::Run, Phase::Running, 0, true),
        ] {
            let mut cluster = Cluster::default();
            let instance = Instance {
                id: id.clone(),
                host: host.clone(),
                address: None,
                sidekick_addresses: BTreeMap::new(),
                container_name: String::new(),
                target: Target { revision: 1, restart: 0 },
                ports: vec![],
                goal,
                leaving: false,
                dropped: vec![],
                reason: String::new(),
                placed_at: Timestamp(0),
                goal_at: Timestamp(0),
            };
            let edits = vec![Edit::Put(Record::Instance(Arc::new(instance)))];
            cluster.apply(Index(9), &Change { edits });
            let seen = InstanceStatus { phase, ..InstanceStatus::default() };
            let status = HostStatus {
                host: host.clone(),
                number: 0,
                generation: Generation(generation),
                view: Index(0),
                facts: model::host::HostFacts::default(),
                instances: [(id.clone(), seen)].into(),
                plain: None,
                probes: BTreeMap::new(),
                usage: BTreeMap::new(),
                requests: None,
                floating: BTreeMap::new(),
                checks: BTreeMap::new(),
            };
            let told =
                !transitions(&cluster, &status, &Verdicts::default(), Timestamp(1)).is_empty();
            assert_eq!(told, counts, "{goal:?} {phase} at generation {generation}");
            let other = HostStatus { host: "h2".parse().unwrap(), ..status };
            let told = transitions(&cluster, &other, &Verdicts::default(), Timestamp(1));
            assert_eq!(told, vec![], "it is not on that host");
        }
    }
}
