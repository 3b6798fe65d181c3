//! Join tokens: made, counted, revoked, and what becomes of a host that joins with one.

use super::Refused;
use super::host::check_labels;
use model::change::{Change, Edit, Proposal};
use model::cluster::Cluster;
use model::host::{Host, HostFacts, HostLink, Scheduling};
use model::id::HostId;
use model::limits::{JOIN_TOKENS_MAX, TXN_OPS_MAX};
use model::record::{Record, RecordKey, Token, TokenRole};
use model::time::Timestamp;
use std::sync::Arc;

/// Milliseconds that an expired token is remembered, to say that it has expired.
const REMEMBERED_MS: u64 = 24 * 3_600_000;

fn is_old(token: &Token, now: Timestamp) -> bool {
    token.expires_at.is_some_and(|end| now >= end.plus_ms(REMEMBERED_MS))
}

/// Join tokens that are worth showing.
pub fn list(cluster: &Cluster, now: Timestamp) -> impl Iterator<Item = &Arc<Token>> {
    cluster.tokens().filter(move |t| t.role == TokenRole::Join && !is_old(t, now))
}

/// Keeps a new join token; old ones go.
///
/// # Errors
/// When there are too many, or one of its labels breaks a rule.
pub fn create(cluster: &Cluster, token: Token, now: Timestamp) -> Result<Proposal, Refused> {
    check_labels(token.labels.iter().map(|(key, value)| (key, Some(value))))?;
    if list(cluster, now).count() >= JOIN_TOKENS_MAX {
        return Err(Refused::new(
            format!("there are {JOIN_TOKENS_MAX} join tokens already"),
            "`remuda host token ls` shows them, `remuda host token revoke ID` takes one away",
        ));
    }
    let old = cluster.tokens().filter(|t| t.role == TokenRole::Join && is_old(t, now));
    let old = old.take(TXN_OPS_MAX / 4).map(|t| Edit::Delete(RecordKey::Token(t.id.clone())));
    let mut edits: Vec<Edit> = old.collect();
    let reads = vec![(RecordKey::Token(token.id.clone()), None)];
    edits.push(Edit::Put(Record::Token(Arc::new(token))));
    Ok(Proposal { reads, change: Change { edits } })
}

/// Nobody joins with it any more; who has joined stays. `None` when there is no such join token.
#[must_use]
pub fn revoke(cluster: &Cluster, id: &str) -> Option<Proposal> {
    cluster.token(id).filter(|token| token.role == TokenRole::Join)?;
    let key = RecordKey::Token(id.to_owned());
    Some(Proposal {
        reads: vec![(key.clone(), cluster.modified(&key))],
        change: Change { edits: vec![Edit::Delete(key)] },
    })
}

/// A host joins with a token: it counts as one use, however often the host asks, and the host gets
/// the token's labels. Its agent has not connected yet.
///
/// # Errors
/// When the token is gone or used up.
pub fn enroll(
    cluster: &Cluster,
    id: &str,
    host: &HostId,
    now: Timestamp,
) -> Result<Proposal, Refused> {
    let gone = || {
        Refused::new(
            "the join token is not known here any more".into(),
            "make a new one: `remuda host token create`",
        )
    };
    let token = cluster.token(id).filter(|t| t.role == TokenRole::Join).ok_or_else(gone)?;
    let mut used = (**token).clone();
    used.used_by.insert(host.clone());
    if let Some(uses) = used.uses_max
        && used.used_by.len() > uses as usize
    {
        return Err(Refused::new(
            format!("the join token is used up: it was good for {uses}"),
            "make a new one: `remuda host token create --uses N`",
        ));
    }
    let known = cluster.host(host);
    let mut joined = known.map_or_else(|| new_host(host, now), |host| (**host).clone());
    joined.labels.extend(used.labels.clone());
    let keys = [RecordKey::Token(id.to_owned()), RecordKey::Host(host.clone())];
    let mut edits = vec![];
    if used.uses_max.is_some() && used != **token {
        edits.push(Edit::Put(Record::Token(Arc::new(used))));
    }
    if known.is_none_or(|known| **known != joined) {
        edits.push(Edit::Put(Record::Host(Arc::new(joined))));
    }
    let reads = keys.into_iter().map(|key| (key.clone(), cluster.modified(&key))).collect();
    Ok(Proposal { reads, change: Change { edits } })
}

fn new_host(id: &HostId, now: Timestamp) -> Host {
    Host {
        id: id.clone(),
        facts: HostFacts::default(),
        status: HostLink::Disconnected,
        changed_at: now,
        unheard_since: now,
        scheduling: Scheduling::Active,
        labels: std::collections::BTreeMap::new(),
        reason: "it has joined, and its agent has not connected yet".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::time::Index;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn token(id: &str, uses_max: Option<u32>, labels: &[(&str, &str)]) -> Token {
        Token {
            id: id.into(),
            hash: String::new(),
            role: TokenRole::Join,
            expires_at: Some(NOW.plus_ms(1_000)),
            created_at: NOW,
            uses_max,
            used_by: [].into(),
            labels: labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        }
    }

    struct World(Cluster);

    impl World {
        fn with(tokens: impl IntoIterator<Item = Token>) -> Self {
            let mut world = Self(Cluster::default());
            for token in tokens {
                let proposal = create(&world.0, token, NOW).unwrap();
                world.apply(&proposal);
            }
            world
        }

        fn apply(&mut self, proposal: &Proposal) {
            for (key, read) in &proposal.reads {
                assert_eq!(self.0.modified(key), *read);
            }
            let index = Index(self.0.index().0 + 1);
            self.0.apply(index, &proposal.change);
        }

        fn join(&mut self, token: &str, host: &str) -> Result<(), String> {
            let proposal = enroll(&self.0, token, &host.parse().unwrap(), NOW);
            proposal.map(|p| self.apply(&p)).map_err(|refused| refused.to_string())
        }
    }

    #[test]
    fn a_host_counts_once_however_often_it_asks_and_the_next_one_finds_it_used_up() {
        let mut world = World::with([token("a", Some(2), &[]), token("b", None, &[])]);
        for host in ["h1", "h1", "h2", "h1"] {
            world.join("a", host).unwrap();
        }
        assert!(world.join("a", "h3").unwrap_err().contains("used up: it was good for 2"));
        for host in ["h3", "h4", "h5"] {
            world.join("b", host).unwrap();
        }
        assert_eq!(world.0.token("b").unwrap().used_by, [].into(), "nobody counts these");
    }

    #[test]
    fn who_joins_has_the_token_s_labels_beside_its_own() {
        let mut world = World::with([token("a", None, &[("zone", "east"), ("disk", "ssd")])]);
        world.join("a", "h1").unwrap();
        let host = world.0.host(&"h1".parse().unwrap()).unwrap();
        assert_eq!((host.status, host.labels["zone"].as_str()), (HostLink::Disconnected, "east"));
        let more = World::with([token("a", None, &[("zone", "west")])]).0;
        let records = more.tokens().map(|t| Edit::Put(Record::Token(Arc::clone(t)))).collect();
        world.apply(&Proposal { reads: vec![], change: Change { edits: records } });
        world.join("a", "h1").unwrap();
        let host = world.0.host(&"h1".parse().unwrap()).unwrap();
        let labels: Vec<String> = host.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(labels, ["disk=ssd", "zone=west"]);
    }

    #[test]
    fn a_revoked_token_is_known_no_more_and_nothing_else_is_revoked() {
        let mut admin = token("admin", None, &[]);
        admin.role = TokenRole::Admin;
        let mut world = World::with([token("a", None, &[]), admin]);
        assert!(revoke(&world.0, "admin").is_none() && revoke(&world.0, "no").is_none());
        assert!(world.join("admin", "h1").is_err());
        let proposal = revoke(&world.0, "a").unwrap();
        world.apply(&proposal);
        assert!(world.join("a", "h1").unwrap_err().contains("not known here any more"));
    }

    #[test]
    fn expired_ones_are_shown_for_a_day_and_go_with_the_next_that_is_made() {
        let mut world = World::with([token("a", None, &[])]);
        let later = NOW.plus_ms(1_000 + REMEMBERED_MS);
        assert_eq!(list(&world.0, Timestamp(later.0 - 1)).count(), 1);
        assert_eq!(list(&world.0, later).count(), 0);
        let proposal = create(&world.0, token("b", None, &[]), later).unwrap();
        world.apply(&proposal);
        assert!(world.0.token("a").is_none() && world.0.token("b").is_some());
        let bad = create(&world.0, token("c", None, &[("a\nb", "")]), later).unwrap_err();
        assert!(bad.to_string().contains("cannot be used"), "{bad}");
    }
}
