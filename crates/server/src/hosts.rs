//! Sessions of agents: publications go down, what is seen comes up, streams are opened.

use crate::presence;
use crate::state::Shared;
use api::error::{ErrorInfo, Kind};
use api::link::{Arrival, Down, Publication, Switchboard, Up};
use api::stream::{Chunk, Duplex, StreamRequest};
use model::change::{Change, Edit, Proposal};
use model::cluster::Cluster;
use model::host_status::HostStatus;
use model::id::{HostId, InstanceId};
use model::instance::InstanceStatus;
use model::limits::{HOST_DISCONNECTED_MS, TXN_OPS_MAX};
use model::record::Record;
use model::time::Timestamp;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::Store;
use tokio::sync::{mpsc, watch};

/// An agent that does not take up a stream or answer a question in this time is given up.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// The sessions of all connected hosts.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    switchboard: Switchboard,
    /// Guards the map; held for map operations only.
    sessions: Arc<Mutex<BTreeMap<HostId, SessionHandle>>>,
}

#[derive(Clone, Debug)]
struct SessionHandle {
    number: u64,
    open: mpsc::Sender<Down>,
}

impl Hosts {
    /// Over a switchboard.
    #[must_use]
    pub(crate) fn new(switchboard: Switchboard) -> Self {
        Self { switchboard, sessions: Arc::default() }
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, BTreeMap<HostId, SessionHandle>> {
        self.sessions.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Has this host a session?
    #[must_use]
    pub(crate) fn is_present(&self, host: &HostId) -> bool {
        self.switchboard.is_present(host)
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
    let mut tasks = tokio::task::JoinSet::new();
    let mut number = 0;
    tasks.spawn(presence::run(shared.clone()));
    loop {
        tokio::select! {
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
    let Arrival { hello, mut up, publish, open, presence } = arrival;
    let host = hello.host;
    tracing::info!(%host, version = hello.version, "agent connected");
    let answers = open.clone();
    shared.hosts.sessions().insert(host.clone(), SessionHandle { number, open });
    let publisher = publish_changes(shared.clone(), host.clone(), publish);
    // Guards nothing but itself.
    let heard = AtomicI64::new(shared.now().0);
    let ingester = async {
        let silence = Duration::from_millis(HOST_DISCONNECTED_MS);
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
            match message {
                Up::Status(status) if status.host == host => ingest(&shared, *status).await,
                Up::Status(status) => {
                    tracing::warn!(%host, other = %status.host, "status of another host refused");
                }
                Up::Beat { number } => {
                    // One that finds no room is answered with the next.
                    if let Err(error) = answers.try_send(Down::Heard { number }) {
                        tracing::debug!(%host, %error, "heartbeat not answered");
                    }
                }
                Up::Hello(_) | Up::Heartbeat => {}
            }
        }
    };
    tokio::select! {
        () = ingester => {}
        () = publisher => {}
    }
    tracing::info!(%host, "agent disconnected");
    {
        let mut sessions = shared.hosts.sessions();
        if sessions.get(&host).is_some_and(|handle| handle.number == number) {
            sessions.remove(&host);
        }
    }
    drop(presence);
    let heard = Timestamp(heard.load(Relaxed));
    let silent = shared.now().since_ms(heard);
    let wait = HOST_DISCONNECTED_MS.saturating_sub(silent);
    tokio::time::sleep(Duration::from_millis(wait)).await;
    if !shared.hosts.connected().contains(&host) {
        presence::note_silence(&shared, &host, heard).await;
    }
}

/// Keeps the publication of a host equal to the cluster; unchanged ones are not sent.
async fn publish_changes<S: Store>(
    shared: Shared<S>,
    host: HostId,
    publish: watch::Sender<Option<Arc<Publication>>>,
) {
    let mut clusters = shared.subscribe();
    loop {
        let cluster = Arc::clone(&clusters.borrow_and_update());
        if cluster.environment().is_some() {
            let next = Publication {
                epoch: shared.epoch.to_string(),
                spec: control::host::spec(&cluster, &host),
                view: control::publish::view(&cluster, &host),
            };
            publish.send_if_modified(|last| {
                if last.as_ref().is_some_and(|last| same(last, &next)) {
                    return false;
                }
                *last = Some(Arc::new(next));
                true
            });
        }
        if clusters.changed().await.is_err() || publish.is_closed() {
            return;
        }
    }
}

/// Equal but for the marks of when it was made?
fn same(a: &Publication, b: &Publication) -> bool {
    a.epoch == b.epoch
        && a.spec.environment == b.spec.environment
        && a.spec.instances == b.spec.instances
        && a.spec.balancers == b.spec.balancers
        && a.spec.volumes == b.spec.volumes
        && a.spec.images_kept == b.spec.images_kept
        && a.view.dns == b.view.dns
        && a.view.callers == b.view.callers
        && a.view.instances == b.view.instances
        && a.view.upstreams == b.view.upstreams
        && a.view.listeners == b.view.listeners
}

/// Writes what changed of a host's status; only transitions reach the store.
async fn ingest<S: Store>(shared: &Shared<S>, status: HostStatus) {
    shared.usages.note(&status, shared.now());
    presence::note_facts(shared, &status.host, &status.facts).await;
    let cluster = shared.cluster();
    let edits = transitions(&cluster, &status);
    for part in edits.chunks(TXN_OPS_MAX / 2) {
        let change = Change { edits: part.to_vec() };
        if let Err(error) = shared.commit(Proposal { reads: vec![], change }).await {
            // The agent sends its whole status again; nothing is lost but time.
            tracing::warn!(host = %status.host, %error, "status of a host not stored");
            return;
        }
    }
}

/// The status records that differ from what is known, of instances that are known on that host.
fn transitions(cluster: &Cluster, status: &HostStatus) -> Vec<Edit> {
    let known =
        |id: &InstanceId| cluster.instance(&id.instance()).is_some_and(|i| i.host == status.host);
    let differs = |id: &InstanceId, new: &InstanceStatus| {
        cluster.instance_status(id).is_none_or(|old| **old != *new)
    };
    status
        .instances
        .iter()
        .filter(|(id, new)| known(id) && differs(id, new))
        .map(|(id, new)| Edit::Put(Record::InstanceStatus(id.clone(), Arc::new(new.clone()))))
        .collect()
}
