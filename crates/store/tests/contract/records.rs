//! Records through a store: proposals in, a cluster out.

use crate::{Driver, next};
use model::change::{Change, Edit, Proposal};
use model::cluster::Cluster;
use model::record::{Record, RecordKey, Stack};
use model::time::{Index, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::{Error, Txn, codec};

fn stack(name: &str, at: i64) -> Record {
    let name = name.parse().unwrap();
    Record::Stack(Arc::new(Stack { name, volumes: BTreeMap::new(), created_at: Timestamp(at) }))
}

fn proposal(reads: &[(&str, Option<u64>)], edits: Vec<Edit>) -> Proposal {
    let key = |name: &str| RecordKey::Stack(name.parse().unwrap());
    let reads = reads.iter().map(|(name, index)| (key(name), index.map(Index))).collect();
    Proposal { reads, change: Change { edits } }
}

pub(crate) async fn a_proposal_goes_through_the_store_into_a_cluster<S: Driver>(store: S) {
    let (mut watched, epoch) = codec::cluster(&store).await.unwrap();
    assert_eq!(watched, Cluster::default());
    let mut events = store.watch(codec::keys(), watched.index(), epoch).await.unwrap();
    let gone = Edit::Delete(stack("one", 0).key());
    for step in [
        proposal(&[("one", None)], vec![Edit::Put(stack("one", 1)), Edit::Put(stack("two", 1))]),
        proposal(&[("one", Some(1))], vec![Edit::Put(stack("one", 2))]),
        proposal(&[("one", Some(2)), ("two", Some(1))], vec![gone, Edit::Put(stack("three", 3))]),
    ] {
        store.txn(codec::encode(&step).unwrap()).await.unwrap();
        let decoded = codec::decode(&next(&mut events).await.unwrap()).unwrap();
        assert_eq!(decoded.change(), step.change);
        for (before, edit) in &decoded.edits {
            let known = watched.modified(&edit.key()).is_some();
            assert_eq!(before.is_some(), known, "{edit:?}");
        }
        watched.apply(decoded.index, &decoded.change());
    }
    // What is no record moves the index of the store and nothing in the cluster.
    store.txn(Txn::default().put("kv/x", "1")).await.unwrap();
    let (loaded, _) = codec::cluster(&store).await.unwrap();
    assert_eq!(loaded.index(), Index(4));
    watched.apply(Index(4), &Change::default());
    assert_eq!(loaded, watched, "loading and watching come to the same");
}

pub(crate) async fn a_proposal_on_old_records_is_refused<S: Driver>(store: S) {
    let first = proposal(&[("one", None)], vec![Edit::Put(stack("one", 1))]);
    let first = codec::encode(&first).unwrap();
    store.txn(first.clone()).await.unwrap();
    let error = store.txn(first).await.unwrap_err();
    assert!(matches!(&error, Error::Conflict { key } if &**key == "state/stack/one"), "{error:?}");
    let old = proposal(&[("one", Some(9))], vec![Edit::Delete(stack("one", 1).key())]);
    assert!(store.txn(codec::encode(&old).unwrap()).await.is_err());
    assert_eq!(codec::cluster(&store).await.unwrap().0.stacks().count(), 1);
}
