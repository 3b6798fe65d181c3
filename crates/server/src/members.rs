//! Members: what a certificate is worth now, and live connections that end because theirs is worth
//! nothing any more.

use crate::latest::Interest;
use crate::state::Shared;
use api::certificate::Certificate;
use api::peer::{Peer, Refusal};
use control::operate::member::{self, Claim, Denied};
use model::cluster::Cluster;
use model::host::HostLink;
use model::id::HostId;
use model::record::RecordKey;
use model::time::Timestamp;
use std::collections::BTreeSet;
use store::Store;

/// What a certificate claims.
#[must_use]
pub(crate) fn claim(certificate: &Certificate) -> Claim<'_> {
    let Certificate { host, enrolment, from, until } = certificate;
    Claim { host, enrolment, from: *from, until: *until }
}

/// Why, as it is said to an agent.
#[must_use]
pub(crate) fn refusal(denied: Denied) -> Refusal {
    Refusal { void: denied.void, why: denied.why }
}

/// Ends the connection of an agent that is no member any more. Its certificate may come to its end
/// while it is connected: that counts with the next connection.
pub(crate) fn check(cluster: &Cluster, peer: &Peer) {
    let Some(certificate) = &peer.certificate else { return };
    if let Err(denied) = member::is_member(cluster, &claim(certificate)) {
        peer.cut(refusal(denied));
    }
}

/// Follows the hosts for ever: who is removed, or has joined anew, is cut off at once.
pub(crate) async fn run<S: Store>(shared: Shared<S>) {
    let mut clusters = shared.follow(Interest::Every);
    let mut seen = shared.cluster().index();
    loop {
        let cluster = clusters.take();
        let changed: Option<BTreeSet<HostId>> = cluster.changed_since(seen).map(|keys| {
            let host = |key: &RecordKey| match key {
                RecordKey::Host(id) => Some(id.clone()),
                _ => None,
            };
            keys.filter_map(host).collect()
        });
        let peers: Vec<Peer> = {
            let sessions = shared.hosts.sessions();
            match &changed {
                Some(ids) => ids.iter().filter_map(|id| sessions.get(id)?.peer.clone()).collect(),
                None => sessions.values().filter_map(|session| session.peer.clone()).collect(),
            }
        };
        peers.iter().for_each(|peer| check(&cluster, peer));
        seen = cluster.index();
        clusters.changed().await;
    }
}

/// What keeps an agent away that is known here besides its silence; empty when nothing does.
#[must_use]
pub(crate) fn trouble<S: Store>(
    shared: &Shared<S>,
    cluster: &Cluster,
    id: &HostId,
    now: Timestamp,
) -> String {
    if let Some(refused) = shared.refusals.of(id, now) {
        return refused;
    }
    let Some(host) = cluster.host(id) else { return String::new() };
    match host.membership.certificate_until {
        Some(end) if host.status != HostLink::Active && now >= end => {
            format!(
                "its certificate was good until {}: start its agent with --join and a --token \
                 (`remuda host token create`) to take it back",
                end.utc()
            )
        }
        _ => String::new(),
    }
}
