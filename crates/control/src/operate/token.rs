//! Join tokens: made, shown, revoked. What becomes of a host that joins with one: `member`.

use super::Refused;
use super::host::check_labels;
use model::change::{Change, Edit, Proposal};
use model::cluster::Cluster;
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
            host: None,
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
    }

    #[test]
    fn a_revoked_token_is_known_no_more_and_nothing_else_is_revoked() {
        let mut admin = token("admin", None, &[]);
        admin.role = TokenRole::Admin;
        let mut world = World::with([token("a", None, &[]), admin]);
        assert!(revoke(&world.0, "admin").is_none() && revoke(&world.0, "no").is_none());
        let proposal = revoke(&world.0, "a").unwrap();
        world.apply(&proposal);
        assert!(world.0.token("a").is_none() && world.0.token("admin").is_some());
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
