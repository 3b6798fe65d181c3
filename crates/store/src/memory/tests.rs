//! What only the in-memory driver can do: fail on demand, be restored, let time pass.

use super::*;
use crate::{Kind, Txn};

async fn put(store: &Memory, key: &str) -> Result<TxnOutcome> {
    store.txn(Txn::default().put(key, "1")).await
}

async fn keys(store: &Memory) -> Vec<String> {
    let page = store.range(Keys::all(), Read::Latest).await.unwrap();
    page.kvs.iter().map(|kv| kv.key.to_string()).collect()
}

#[tokio::test]
async fn an_injected_fault_happens_once_to_a_change_and_does_what_it_says() {
    let store = Memory::default();
    for fault in [Fault::NoSpace, Fault::AmbiguousDone, Fault::AmbiguousLost] {
        store.inject(fault);
    }
    // What changes nothing or is refused does not use a fault up.
    store.txn(Txn::default().delete("absent")).await.unwrap();
    store.txn(Txn::default().if_modified("a", Index(1)).put("a", "1")).await.unwrap_err();
    assert!(matches!(put(&store, "full").await, Err(Error::NoSpace { .. })));
    for key in ["done", "lost"] {
        assert_eq!(put(&store, key).await.unwrap_err().kind(), Kind::Ambiguous);
    }
    assert_eq!(put(&store, "fine").await.unwrap().index, Index(2));
    assert_eq!(keys(&store).await, ["done", "fine"]);
    let mut events = store.watch(Keys::all(), Index(0), Epoch::default()).await.unwrap();
    for key in ["done", "fine"] {
        assert_eq!(&*events.next().await.unwrap().ops[0].key, key);
    }
}

#[tokio::test]
async fn a_restore_ends_every_watch_and_never_goes_back() {
    let store = Memory::default();
    put(&store, "a").await.unwrap();
    let mut live = store.watch(Keys::all(), Index(1), Epoch::default()).await.unwrap();
    let mut past = store.watch(Keys::all(), Index(0), Epoch::default()).await.unwrap();
    let epoch = Epoch([3; 16]);
    store.restored_as(epoch);
    for watch in [&mut live, &mut past] {
        let end = watch.next().await.unwrap_err();
        assert!(matches!(end, WatchEnd::EpochChanged { epoch: now } if now == epoch), "{end:?}");
    }
    let index = Index(1 + RESTORE_INDEX_JUMP);
    let status = store.status().await;
    assert_eq!((status.epoch, status.index, status.compacted), (epoch, index, index));
    assert_eq!(keys(&store).await, ["a"]);
    assert_eq!(put(&store, "b").await.unwrap().index, Index(index.0 + 1));
}

#[tokio::test]
async fn leases_end_in_the_order_of_their_time() {
    let store = Memory::default();
    let second = Duration::from_secs(1);
    for (key, ttl) in [("late", 5), ("early", 1), ("middle", 3), ("stays", 9)] {
        let lease = store.lease_grant(second * ttl).await.unwrap();
        store.txn(Txn::default().put_leased(key, "", lease)).await.unwrap();
    }
    let mut events = store.watch(Keys::all(), Index(4), Epoch::default()).await.unwrap();
    store.advance(second * 5 - Duration::from_millis(1));
    assert_eq!(keys(&store).await, ["late", "stays"]);
    store.advance(Duration::from_millis(1));
    for key in ["early", "middle", "late"] {
        assert_eq!(&*events.next().await.unwrap().ops[0].key, key);
    }
    assert_eq!(keys(&store).await, ["stays"]);
}
