//! Plain containers of the hosts: what an agent says of them becomes records. What it does not
//! know just now stays as it was known.

use crate::state::Shared;
use model::change::{Change, Edit, Proposal};
use model::cluster::Cluster;
use model::id::HostId;
use model::limits::PLAIN_EDITS_MAX;
use model::plain::{ContainerId, PlainContainer, PlainId};
use model::record::{Record, RecordKey};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::Store;

/// Writes what changed of a host's plain containers.
pub(crate) async fn ingest<S: Store>(
    shared: &Shared<S>,
    host: &HostId,
    told: Option<&BTreeMap<ContainerId, PlainContainer>>,
) {
    let Some(told) = told else { return };
    let edits = changes(&shared.cluster(), host, told);
    // Each may be large: they go in small parts.
    for part in edits.chunks(PLAIN_EDITS_MAX) {
        let change = Change { edits: part.to_vec() };
        if let Err(error) = shared.commit(Proposal { reads: vec![], change }).await {
            // They are told again.
            tracing::warn!(%host, error = api::error::chain(&error), "plain containers not stored");
            return;
        }
    }
}

/// What differs from what is known, of a host that is known.
fn changes(
    cluster: &Cluster,
    host: &HostId,
    told: &BTreeMap<ContainerId, PlainContainer>,
) -> Vec<Edit> {
    if cluster.host(host).is_none() {
        return vec![];
    }
    let known: BTreeMap<&ContainerId, &Arc<PlainContainer>> =
        cluster.plains_on(host).map(|(id, plain)| (&id.container, plain)).collect();
    let id = |container: &ContainerId| PlainId { host: host.clone(), container: container.clone() };
    let gone = known.keys().filter(|container| !told.contains_key(**container));
    let mut edits: Vec<Edit> =
        gone.map(|container| Edit::Delete(RecordKey::Plain(id(container)))).collect();
    for (container, now) in told {
        if known.get(container).is_none_or(|before| ***before != *now) {
            edits.push(Edit::Put(Record::Plain(id(container), Arc::new(now.clone()))));
        }
    }
    edits
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::host::{Host, HostFacts, HostLink, Scheduling};
    use model::plain::PlainState;
    use model::time::{Index, Timestamp};

    fn cluster(hosts: &[&str]) -> Cluster {
        let host = |id: &&str| Host {
            id: id.parse().unwrap(),
            facts: HostFacts::default(),
            status: HostLink::Active,
            changed_at: Timestamp(0),
            unheard_since: Timestamp(0),
            scheduling: Scheduling::Active,
            labels: BTreeMap::new(),
            reason: String::new(),
            membership: model::host::Membership::default(),
        };
        let edits = hosts.iter().map(|id| Edit::Put(Record::Host(Arc::new(host(id)))));
        let mut cluster = Cluster::default();
        cluster.apply(Index(1), &Change { edits: edits.collect() });
        cluster
    }

    fn told(words: &[(&str, PlainState)]) -> BTreeMap<ContainerId, PlainContainer> {
        let one = |(id, state): &(&str, PlainState)| {
            let plain = PlainContainer { state: *state, ..PlainContainer::default() };
            (id.parse().unwrap(), plain)
        };
        words.iter().map(one).collect()
    }

    #[test]
    fn only_what_differs_is_written_and_only_of_the_host_that_says_it() {
        use PlainState::{Exited, Running};
        let mut all = cluster(&["h1", "h2"]);
        let (h1, h2): (HostId, HostId) = ("h1".parse().unwrap(), "h2".parse().unwrap());
        let keys = |edits: &[Edit]| {
            let word = |edit: &Edit| match edit {
                Edit::Put(_) => format!("+{}", edit.key()),
                Edit::Delete(_) => format!("-{}", edit.key()),
            };
            edits.iter().map(word).collect::<Vec<_>>().join(" ")
        };
        for (n, (host, said, expect)) in [
            (&h1, told(&[("a", Running), ("b", Running)]), "+plain/h1/a +plain/h1/b"),
            (&h2, told(&[("a", Running)]), "+plain/h2/a"),
            (&h1, told(&[("a", Running), ("b", Running)]), ""),
            (&h1, told(&[("a", Exited), ("b", Running)]), "+plain/h1/a"),
            (&h1, told(&[("b", Running), ("c", Running)]), "-plain/h1/a +plain/h1/c"),
            (&h1, told(&[]), "-plain/h1/b -plain/h1/c"),
        ]
        .into_iter()
        .enumerate()
        {
            let edits = changes(&all, host, &said);
            assert_eq!(keys(&edits), expect, "step {n}");
            all.apply(Index(n as u64 + 2), &Change { edits });
        }
        assert_eq!(all.plains().count(), 1, "h2's stays");
        let stranger: HostId = "h3".parse().unwrap();
        assert!(changes(&all, &stranger, &told(&[("a", Running)])).is_empty());
    }
}
