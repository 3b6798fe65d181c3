//! Leases: what is attached to one goes with it, all at once.

use crate::{Driver, all, next, texts, watch};
use model::limits::{LEASE_KEYS_MAX, LEASE_TTL_MS_MAX};
use model::time::Index;
use std::time::Duration;
use store::{Error, Txn};

const TTL: Duration = Duration::from_millis(40);
const LONG: Duration = Duration::from_secs(3_600);

pub(crate) async fn the_keys_of_a_lease_go_together_when_its_time_is_over<S: Driver>(store: S) {
    let lease = store.lease_grant(TTL).await.unwrap();
    let all_at_once = Txn::default().put_leased("a", "", lease).put_leased("b", "", lease);
    store.txn(all_at_once.put("stays", "")).await.unwrap();
    store.txn(Txn::default().put_leased("c", "", lease)).await.unwrap();
    let mut events = watch(&store, "", 2).await;
    store.pass(TTL);
    let event = next(&mut events).await.unwrap();
    let gone: Vec<_> = event.ops.iter().map(|op| &*op.key).collect();
    assert_eq!((event.index, gone), (Index(3), vec!["a", "b", "c"]));
    assert!(event.ops.iter().all(|op| op.next.is_none()));
    assert_eq!(texts(&all(&store).await), [("stays".into(), String::new())]);
    assert!(matches!(store.lease_keepalive(lease).await, Err(Error::LeaseGone { .. })));
}

pub(crate) async fn a_revoked_lease_takes_its_keys_at_once<S: Driver>(store: S) {
    let (one, two) =
        (store.lease_grant(LONG).await.unwrap(), store.lease_grant(LONG).await.unwrap());
    assert_ne!(one, two);
    let both = Txn::default().put_leased("a", "", one).put_leased("b", "", two);
    store.txn(both).await.unwrap();
    assert_eq!(all(&store).await.kvs[0].lease, Some(one));
    store.lease_revoke(one).await.unwrap();
    let page = all(&store).await;
    assert_eq!((page.index, texts(&page)), (Index(2), vec![("b".into(), String::new())]));
    // A lease without keys ends without a change.
    let empty = store.lease_grant(LONG).await.unwrap();
    assert!(empty > two, "an id is never used again");
    store.lease_revoke(empty).await.unwrap();
    assert_eq!(store.status().await.index, Index(2));
}

pub(crate) async fn a_lease_that_is_kept_alive_stays<S: Driver>(store: S) {
    let (kept, left) =
        (store.lease_grant(LONG).await.unwrap(), store.lease_grant(TTL).await.unwrap());
    store
        .txn(Txn::default().put_leased("kept", "", kept).put_leased("left", "", left))
        .await
        .unwrap();
    let mut events = watch(&store, "", 1).await;
    store.pass(LONG - TTL);
    assert_eq!(store.lease_keepalive(kept).await.unwrap(), LONG);
    store.pass(LONG - TTL);
    let event = next(&mut events).await.unwrap();
    assert_eq!((event.ops.len(), &*event.ops[0].key), (1, "left"));
    assert_eq!(texts(&all(&store).await), [("kept".into(), String::new())]);
}

pub(crate) async fn a_lease_that_has_ended_refuses<S: Driver>(store: S) {
    let lease = store.lease_grant(LONG).await.unwrap();
    store.lease_revoke(lease).await.unwrap();
    let gone = |error: &Error| matches!(error, Error::LeaseGone { id } if *id == lease);
    assert!(gone(&store.lease_revoke(lease).await.unwrap_err()));
    assert!(gone(&store.lease_keepalive(lease).await.unwrap_err()));
    let late = Txn::default().put("a", "").put_leased("b", "", lease);
    assert!(gone(&store.txn(late).await.unwrap_err()));
    assert_eq!(all(&store).await.kvs, []);
    for wrong in [Duration::ZERO, Duration::from_millis(LEASE_TTL_MS_MAX + 1), Duration::MAX] {
        let error = store.lease_grant(wrong).await.unwrap_err();
        assert!(matches!(error, Error::LeaseTtl { .. }), "{error:?}");
    }
}

pub(crate) async fn a_key_put_again_without_its_lease_stays<S: Driver>(store: S) {
    let (one, two) =
        (store.lease_grant(LONG).await.unwrap(), store.lease_grant(LONG).await.unwrap());
    for key in ["freed", "moved", "deleted"] {
        store.txn(Txn::default().put_leased(key, "", one)).await.unwrap();
    }
    store.txn(Txn::default().put("freed", "")).await.unwrap();
    store.txn(Txn::default().put_leased("moved", "", two)).await.unwrap();
    store.txn(Txn::default().delete("deleted")).await.unwrap();
    store.txn(Txn::default().put("deleted", "")).await.unwrap();
    store.lease_revoke(one).await.unwrap();
    let left = texts(&all(&store).await);
    assert_eq!(left.iter().map(|(key, _)| key).collect::<Vec<_>>(), ["deleted", "freed", "moved"]);
    store.lease_revoke(two).await.unwrap();
    assert_eq!(all(&store).await.kvs.len(), 2);
}

pub(crate) async fn a_lease_holds_a_bounded_number_of_keys<S: Driver>(store: S) {
    let lease = store.lease_grant(LONG).await.unwrap();
    let full = (0..LEASE_KEYS_MAX)
        .fold(Txn::default(), |txn, n| txn.put_leased(&n.to_string(), "", lease));
    store.txn(full).await.unwrap();
    // The same keys again are no more keys.
    store.txn(Txn::default().put_leased("0", "again", lease)).await.unwrap();
    let error =
        store.txn(Txn::default().put("x", "").put_leased("y", "", lease)).await.unwrap_err();
    assert!(matches!(error, Error::LeaseFull { .. }), "{error:?}");
    let swap = Txn::default().delete("0");
    store.txn(swap).await.unwrap();
    store.txn(Txn::default().put_leased("y", "", lease)).await.unwrap();
    store.lease_revoke(lease).await.unwrap();
    assert_eq!(all(&store).await.kvs, []);
}
