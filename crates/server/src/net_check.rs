//! A check of the network between hosts: all of them get ready, all of them ask, and when all have
//! asked each tells what has arrived. `control::net_check` says what that comes to.

use crate::hosts::Hosts;
use crate::state::Shared;
use api::stream::{Chunk, Duplex, StreamRequest};
use api::wire::NetCheckStep;
use control::net_check::{Checked, judge, pairs};
use futures_util::stream::{self, FuturesUnordered, StreamExt as _};
use model::cluster::Cluster;
use model::host::{Host, HostLink};
use model::id::HostId;
use model::instance::{Goal, Phase};
use model::limits::{
    NET_CHECK_CONTAINERS_MAX, NET_CHECK_HOSTS_MAX, NET_CHECK_LATE_MS_MAX, NET_CHECK_PACKET_MS,
    NET_CHECK_PEERS_PARALLEL_MAX, NET_CHECK_READY_MS_MAX, NET_CHECK_SMALL_PACKETS,
    NET_CHECK_TCP_MS_MAX, NET_CHECK_TELL_MS_MAX,
};
use model::net_check::{NetHost, NetReady, NetReport, NetSeen, NetTarget, NetTask};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// What is checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// One: its pairs with all others. More: the pairs between them. None: all.
    pub(crate) hosts: BTreeSet<HostId>,
    /// Every pair, however many there are.
    pub(crate) all: bool,
}

/// A host that is ready.
struct Member {
    host: HostId,
    duplex: Duplex,
    ready: NetReady,
}

/// Checks, and says how far it is; the last step is the report.
pub(crate) async fn check<S: Store>(
    shared: Shared<S>,
    wanted: Wanted,
    steps: mpsc::Sender<NetCheckStep>,
) {
    let report = run(&shared, &wanted, &steps).await;
    if steps.send(NetCheckStep::Report(report)).await.is_err() {
        tracing::debug!("a check of the network ended without its reader");
    }
}

async fn tell(steps: &mpsc::Sender<NetCheckStep>, text: String) {
    if steps.send(NetCheckStep::Text { text }).await.is_err() {
        tracing::debug!("the reader of a check of the network has gone");
    }
}

async fn run<S: Store>(
    shared: &Shared<S>,
    wanted: &Wanted,
    steps: &mpsc::Sender<NetCheckStep>,
) -> NetReport {
    let cluster = shared.cluster();
    let among = |host: &HostId| wanted.hosts.len() < 2 || wanted.hosts.contains(host);
    let is_alone = cluster.hosts().count() == 1;
    let mut chosen: Vec<Arc<Host>> =
        cluster.hosts().filter(|host| among(&host.id)).cloned().collect();
    chosen.truncate(NET_CHECK_HOSTS_MAX);
    let all_hosts = chosen.len();
    tell(steps, format!("{all_hosts} hosts compare their network with what is wished")).await;
    let number = rand::random();
    let answers: Vec<(Arc<Host>, Result<Member, String>)> = stream::iter(chosen)
        .map(|host| async move {
            let member = begin(&shared.hosts, &host, number).await;
            (host, member)
        })
        .buffer_unordered(NET_CHECK_PEERS_PARALLEL_MAX)
        .collect()
        .await;
    let (mut members, mut absent) = (vec![], vec![]);
    for (host, answer) in answers {
        match answer {
            Ok(member) if member.ready.address.is_some() => members.push(member),
            Ok(member) => absent.push(without_ways(&host, member.ready, is_alone)),
            Err(reason) => absent.push(not_checked(&host, reason)),
        }
    }
    members.sort_by(|a, b| a.host.cmp(&b.host));
    let focus: Vec<usize> =
        (0..members.len()).filter(|at| wanted.hosts.contains(&members[*at].host)).collect();
    // The one that was asked for is not here: the others say nothing of it.
    let pairs = match (wanted.hosts.len(), focus.len()) {
        (1.., 0) => BTreeSet::new(),
        _ => pairs(members.len(), &focus, wanted.all, number),
    };
    let tasks = tasks(&cluster, &members, &pairs);
    let (count, hosts) = (pairs.len(), members.len());
    tell(steps, format!("{hosts} hosts ask each other: {count} pairs, both ways")).await;
    let checked = ask_all(members, tasks, steps).await;
    let pairs_all = match wanted.hosts.len() {
        1 => all_hosts.saturating_sub(1),
        _ => all_hosts * all_hosts.saturating_sub(1) / 2,
    };
    judge(&checked, absent, &pairs, pairs_all)
}

fn not_checked(host: &Host, reason: String) -> NetHost {
    NetHost {
        host: host.id.clone(),
        address: host.facts.address.clone(),
        checked: false,
        reason,
        problem: String::new(),
        repaired: vec![],
    }
}

/// A host that has no ways to others; one that is alone needs none.
fn without_ways(host: &Host, ready: NetReady, is_alone: bool) -> NetHost {
    let reason = match (is_alone, ready.problem.as_str()) {
        (true, _) => String::new(),
        (false, "") => {
            "it has no ways to other hosts yet: it needs an IPv4 address that they reach, see \
             `remuda host show`"
                .to_owned()
        }
        (false, problem) => problem.to_owned(),
    };
    let NetReady { problem, repaired, .. } = ready;
    NetHost { checked: is_alone, problem, repaired, ..not_checked(host, reason) }
}

/// The next document of a stream.
async fn next<T: DeserializeOwned>(duplex: &mut Duplex) -> Result<T, String> {
    match duplex.rx.recv().await {
        Some(Chunk::Json(bytes)) => {
            serde_json::from_slice(&bytes).map_err(|e| format!("its answer is not understood: {e}"))
        }
        Some(Chunk::Failed(why)) => Err(why),
        _ => Err("it went away during the check".into()),
    }
}

/// Opens a host's end.
async fn begin(hosts: &Hosts, host: &Host, check: u64) -> Result<Member, String> {
    let away = |what: &str| match host.reason.as_str() {
        "" => what.to_owned(),
        reason => format!("{what}: {reason}"),
    };
    match host.status {
        HostLink::Active => {}
        HostLink::Disconnected => return Err(away("its agent is disconnected")),
        HostLink::Lost => return Err(away("it is lost")),
        HostLink::Joined => return Err("its agent has never connected".into()),
    }
    let opened = async {
        let request = StreamRequest::NetCheck { check };
        let mut duplex = hosts.open(&host.id, request).await.map_err(|e| e.message)?;
        let ready = next(&mut duplex).await?;
        Ok(Member { host: host.id.clone(), duplex, ready })
    };
    timeout(Duration::from_millis(NET_CHECK_READY_MS_MAX), opened).await.unwrap_or_else(|_late| {
        Err(format!(
            "its agent (version {}) gave no answer within {NET_CHECK_READY_MS_MAX} ms: its link to \
             the server is broken, it hangs, or it is older than the server",
            host.facts.agent_version
        ))
    })
}

/// Whom each host asks.
fn tasks(cluster: &Cluster, members: &[Member], pairs: &BTreeSet<(usize, usize)>) -> Vec<NetTask> {
    let mut containers: BTreeMap<&HostId, Vec<Ipv4Addr>> = BTreeMap::new();
    for instance in cluster.instances().filter(|instance| instance.goal == Goal::Run) {
        let status = cluster.instance_status(&instance.id);
        let runs = status.is_some_and(|status| status.phase == Phase::Running);
        let has_container = !instance.container_name.is_empty();
        if let Some(ip) = instance.address.filter(|_| runs && has_container) {
            let some = containers.entry(&instance.host).or_default();
            if some.len() < NET_CHECK_CONTAINERS_MAX {
                some.push(ip);
            }
        }
    }
    let of = |member: &Member| containers.get(&member.host).cloned().unwrap_or_default();
    let number = |at: usize| u16::try_from(at).unwrap_or(u16::MAX);
    let mut tasks: Vec<NetTask> = members
        .iter()
        .enumerate()
        .map(|(at, member)| NetTask { number: number(at), targets: vec![], own: of(member) })
        .collect();
    for (one, other) in pairs.iter().flat_map(|(a, b)| [(*a, *b), (*b, *a)]) {
        let (Some(task), Some(member)) = (tasks.get_mut(one), members.get(other)) else { continue };
        let Some(address) = member.ready.address else { continue };
        task.targets.push(NetTarget {
            number: number(other),
            address,
            tcp_port: member.ready.tcp_port,
            containers: of(member),
        });
    }
    tasks
}

/// Time that hosts need to ask so many others.
fn patience(targets: usize) -> Duration {
    let sending = u64::from(NET_CHECK_SMALL_PACKETS) * NET_CHECK_PACKET_MS;
    let rounds = targets.div_ceil(NET_CHECK_PEERS_PARALLEL_MAX) as u64;
    let asking = rounds * sending.max(NET_CHECK_TCP_MS_MAX);
    // As much again: it is only waited for when something hangs.
    Duration::from_millis(2 * (asking + NET_CHECK_LATE_MS_MAX))
}

async fn ask_all(
    members: Vec<Member>,
    tasks: Vec<NetTask>,
    steps: &mpsc::Sender<NetCheckStep>,
) -> Vec<Checked> {
    let longest = tasks.iter().map(|task| task.targets.len()).max().unwrap_or(0);
    let patience = patience(longest);
    let count = members.len();
    let mut asking: FuturesUnordered<_> = members
        .into_iter()
        .zip(tasks)
        .map(|(mut member, task)| async move {
            let asked = timeout(patience, ask(&mut member.duplex, &task)).await;
            let asked = asked.unwrap_or_else(|_late| {
                Err(format!("it has not asked the others within {patience:?}"))
            });
            (task.number, member, asked)
        })
        .collect();
    let mut asked = BTreeMap::new();
    while let Some((number, member, result)) = asking.next().await {
        asked.insert(number, (member, result));
        tell(steps, format!("{} of {count} hosts have asked the others", asked.len())).await;
    }
    // Only now: until then somebody may still be sending.
    let telling = asked.into_values().map(|(member, result)| async {
        let Member { host, mut duplex, ready } = member;
        let seen = match result {
            Ok(()) => {
                let wait = Duration::from_millis(NET_CHECK_TELL_MS_MAX);
                let told = timeout(wait, heard(&mut duplex)).await;
                told.unwrap_or_else(|_late| Err("it has not told what it has seen".into()))
            }
            Err(why) => Err(why),
        };
        Checked { host, ready, seen }
    });
    let mut checked: Vec<Checked> =
        stream::iter(telling).buffer_unordered(NET_CHECK_PEERS_PARALLEL_MAX).collect().await;
    checked.sort_by(|a, b| a.host.cmp(&b.host));
    checked
}

async fn ask(duplex: &mut Duplex, task: &NetTask) -> Result<(), String> {
    let gone = || "it went away during the check".to_owned();
    let bytes = serde_json::to_vec(task).map_err(|e| e.to_string())?;
    duplex.tx.send(Chunk::In(bytes.into())).await.map_err(|_closed| gone())?;
    match duplex.rx.recv().await {
        Some(Chunk::Text(_)) => Ok(()),
        Some(Chunk::Failed(why)) => Err(why),
        _ => Err(gone()),
    }
}

async fn heard(duplex: &mut Duplex) -> Result<NetSeen, String> {
    let gone = |_closed| "it went away during the check".to_owned();
    duplex.tx.send(Chunk::InEnd).await.map_err(gone)?;
    next(duplex).await
}
