//! How a check stands after somebody has said something of it: its client, the dataplane that asks
//! it, or the clock.

use super::{Refused, forbidden, unknown};
use crate::catalog::{CheckStatus, checks, is_our_check};
use model::change::{Change, Edit, Proposal};
use model::cluster::Cluster;
use model::id::HostId;
use model::record::{Record, RecordKey};
use model::registration::{CheckProbe, CheckSeen, CheckState, CheckWish, ClientKey, cut_output};
use model::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a client says of a check that waits for its word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telling {
    /// Of which.
    pub key: ClientKey,
    /// How it is.
    pub status: CheckStatus,
    /// What it found.
    pub output: String,
}

/// The check that is spoken of, registered by a client or asked for by labels.
fn wish_of(cluster: &Cluster, key: &ClientKey) -> Option<CheckWish> {
    if let Some(check) = cluster.client_check(key) {
        let (plan, status) = (check.plan.clone(), check.status);
        return Some(CheckWish { plan, run: check.since, status });
    }
    let host = key.node.parse::<HostId>().ok()?;
    checks::known(cluster, &host).remove(&key.id)
}

/// Takes the word of a client: how the check stands now, with its time to live in milliseconds.
///
/// # Errors
/// When there is no such check, or nobody's word is waited for.
pub fn told(
    cluster: &Cluster,
    telling: &Telling,
    now: Timestamp,
) -> Result<(CheckState, u64), Refused> {
    let key = &telling.key;
    match wish_of(cluster, key) {
        Some(CheckWish { plan, run, .. }) => match plan.probe {
            CheckProbe::Ttl(ttl) => {
                let (status, output) = (telling.status, telling.output.clone());
                Ok((state(cluster, key, run, status, output, now), ttl))
            }
            _ => Err(Refused::Bad(format!("CheckID \"{}\" does not have associated TTL", key.id))),
        },
        None if is_our_check(cluster, &key.node, &key.id) => Err(forbidden("check", key)),
        None => Err(unknown("check", &key.id)),
    }
}

/// How a check stands of which nobody has said anything for too long; `None` when that changes
/// nothing. `last` is what was said last, where it is newer than what is kept.
#[must_use]
pub fn expired(
    cluster: &Cluster,
    key: &ClientKey,
    last: Option<&str>,
    now: Timestamp,
) -> Option<CheckState> {
    let wish = wish_of(cluster, key)?;
    if !matches!(wish.plan.probe, CheckProbe::Ttl(_)) {
        return None;
    }
    let known = cluster.check_state(key).filter(|known| known.run == wish.run);
    let (status, kept) =
        known.map_or((wish.status, ""), |known| (known.status, known.output.as_str()));
    let last = last.unwrap_or(kept);
    if status == CheckStatus::Critical {
        return None;
    }
    let mut output = "TTL expired".to_owned();
    if !last.is_empty() {
        output = format!("{output} (last output before timeout follows): {last}");
    }
    Some(state(cluster, key, wish.run, CheckStatus::Critical, output, now))
}

/// What a host's dataplane found that is news, of checks that it was asked to carry out.
#[must_use]
pub fn heard(
    cluster: &Cluster,
    host: &HostId,
    seen: &BTreeMap<String, CheckSeen>,
    now: Timestamp,
) -> Vec<Edit> {
    if seen.is_empty() {
        return vec![];
    }
    let same = |id: &String, seen: &CheckSeen| {
        let known = cluster.check_state(&ClientKey::new(host.as_str(), id));
        known.is_some_and(|known| {
            (known.run, known.status, &known.output) == (seen.run, seen.status, &seen.output)
        })
    };
    let mut news = seen.iter().filter(|(id, seen)| !same(id, seen)).peekable();
    if news.peek().is_none() {
        return vec![];
    }
    let wishes = checks::wishes(cluster, host);
    let asked = news.filter(|(id, seen)| wishes.get(*id).is_some_and(|wish| wish.run == seen.run));
    let states = asked.map(|(id, seen)| {
        let key = ClientKey::new(host.as_str(), id);
        state(cluster, &key, seen.run, seen.status, seen.output.clone(), now)
    });
    states.map(|state| Edit::Put(Record::CheckState(Arc::new(state)))).collect()
}

fn state(
    cluster: &Cluster,
    key: &ClientKey,
    run: Timestamp,
    status: CheckStatus,
    mut output: String,
    now: Timestamp,
) -> CheckState {
    cut_output(&mut output);
    let known = cluster.check_state(key);
    let same = known.filter(|known| (known.run, known.status) == (run, status));
    let changed_at = same.map_or(now, |known| known.changed_at);
    CheckState { key: key.clone(), run, status, output, changed_at }
}

impl super::Order {
    /// A proposal that puts how a check stands, if the check is still the one that was spoken of.
    #[must_use]
    pub fn stand(cluster: &Cluster, state: CheckState) -> Proposal {
        let keys =
            [RecordKey::ClientCheck(state.key.clone()), RecordKey::CheckState(state.key.clone())];
        let reads = keys.map(|key| (cluster.modified(&key), key));
        let reads = reads.into_iter().map(|(modified, key)| (key, modified)).collect();
        let edits = vec![Edit::Put(Record::CheckState(Arc::new(state)))];
        Proposal { reads, change: Change { edits } }
    }
}
