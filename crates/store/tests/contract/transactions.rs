//! Compares, puts and deletes.

use crate::{Driver, all, texts};
use model::limits::{STORE_KEY_BYTES_MAX, STORE_TXN_OPS_MAX, STORE_VALUE_BYTES_MAX};
use model::time::Index;
use store::{Error, Keys, Kind, LeaseId, Read, Txn};

fn txn() -> Txn {
    Txn::default()
}

pub(crate) async fn a_new_store_is_empty<S: Driver>(store: S) {
    let status = store.status().await;
    assert_eq!((status.index, status.compacted), (Index(0), Index(0)));
    let page = all(&store).await;
    assert_eq!((page.index, page.kvs.len(), page.next), (Index(0), 0, None));
}

pub(crate) async fn every_change_takes_the_next_index<S: Driver>(store: S) {
    let both = store.txn(txn().put("a", "1").put("b", "2")).await.unwrap();
    assert_eq!((both.index, both.changed), (Index(1), 2));
    // What changes nothing takes no index.
    for idle in [txn(), txn().delete("x"), txn().if_absent("x").if_modified("a", Index(1))] {
        let outcome = store.txn(idle).await.unwrap();
        assert_eq!((outcome.index, outcome.changed), (Index(1), 0));
    }
    let one = store.txn(txn().delete("x").delete("a")).await.unwrap();
    assert_eq!((one.index, one.changed), (Index(2), 1));
    assert_eq!(store.status().await.index, Index(2));
    assert_eq!(texts(&all(&store).await), [("b".into(), "2".into())]);
}

pub(crate) async fn a_failed_compare_changes_nothing<S: Driver>(store: S) {
    store.txn(txn().put("a", "1")).await.unwrap();
    store.txn(txn().put("b", "2")).await.unwrap();
    let before = all(&store).await;
    for (compares, culprit) in [
        (txn().if_absent("a"), "a"),
        (txn().if_modified("a", Index(2)), "a"),
        (txn().if_modified("a", Index(u64::MAX)), "a"),
        (txn().if_modified("x", Index(1)), "x"),
        (txn().if_modified("a", Index(1)).if_absent("b"), "b"),
        (txn().if_absent("x").if_modified("b", Index(1)), "b"),
    ] {
        let error = store.txn(compares.put("a", "new").put("c", "3").delete("b")).await;
        let error = error.unwrap_err();
        assert!(matches!(&error, Error::Conflict { key } if &**key == culprit), "{error:?}");
        assert_eq!(error.kind(), Kind::Conflict);
        assert_eq!(all(&store).await, before);
    }
    let right = txn().if_modified("a", Index(1)).if_modified("b", Index(2)).if_absent("c");
    let outcome = store.txn(right.put("c", "3").delete("a")).await.unwrap();
    assert_eq!(outcome.index, Index(3));
    let now = texts(&all(&store).await);
    assert_eq!(now, [("b".into(), "2".into()), ("c".into(), "3".into())]);
}

pub(crate) async fn a_put_keeps_when_the_key_came_to_be<S: Driver>(store: S) {
    for (step, created, modified) in [
        (txn().put("a", "1"), 1, 1),
        (txn().put("a", "2"), 1, 2),
        (txn().put("other", ""), 1, 2),
        (txn().put("a", "2"), 1, 4),
    ] {
        store.txn(step).await.unwrap();
        let kv = all(&store).await.kvs.remove(0);
        assert_eq!((kv.created, kv.modified), (Index(created), Index(modified)));
    }
    store.txn(txn().delete("a")).await.unwrap();
    store.txn(txn().put("a", "3")).await.unwrap();
    let kv = all(&store).await.kvs.remove(0);
    assert_eq!((kv.created, kv.modified), (Index(6), Index(6)), "a new life after a delete");
}

pub(crate) async fn what_breaks_a_limit_is_refused_and_changes_nothing<S: Driver>(store: S) {
    let long = "k".repeat(STORE_KEY_BYTES_MAX + 1);
    let many = (0..=STORE_TXN_OPS_MAX).fold(txn(), |txn, n| txn.put(&format!("k{n}"), ""));
    let big = vec![0; STORE_VALUE_BYTES_MAX];
    let heavy = (0..33).fold(txn(), |txn, n| txn.put(&format!("k{n}"), big.clone()));
    for (wrong, said) in [
        (txn().put("", "1"), "InvalidKey"),
        (txn().put(&long, "1"), "InvalidKey"),
        (txn().if_absent(&long), "InvalidKey"),
        (txn().put("a", vec![0; STORE_VALUE_BYTES_MAX + 1]), "ValueTooLarge"),
        (txn().put("a", "1").delete("a"), "DuplicateKey"),
        (many, "TxnTooLarge"),
        (heavy, "TxnTooLarge"),
    ] {
        let error = store.txn(wrong.put("fine", "1")).await.unwrap_err();
        assert!(format!("{error:?}").starts_with(said), "{error:?} is not {said}");
        assert_eq!(error.kind(), Kind::Invalid);
    }
    let error = store.txn(txn().put_leased("a", "1", LeaseId(99)).put("b", "1")).await;
    assert!(matches!(error, Err(Error::LeaseGone { id: LeaseId(99) })));
    assert_eq!(all(&store).await.kvs, []);
    // At the limits, everything works.
    let longest = "k".repeat(STORE_KEY_BYTES_MAX);
    store.txn(txn().put(&longest, big)).await.unwrap();
    let full = (0..STORE_TXN_OPS_MAX).fold(txn(), |txn, n| txn.put(&format!("n{n}"), ""));
    assert_eq!(store.txn(full).await.unwrap().changed, STORE_TXN_OPS_MAX);
}

pub(crate) async fn nothing_is_lost_between_many_writers<S: Driver>(store: S) {
    const WRITERS: u64 = 16;
    const TIMES: u64 = 12;
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            let mut indexes = Vec::new();
            while indexes.len() < TIMES as usize {
                let page = store.range(Keys::one("n"), Read::Latest).await.unwrap();
                let add = match page.kvs.first() {
                    None => txn().if_absent("n").put("n", "1"),
                    Some(kv) => {
                        let n: u64 = std::str::from_utf8(&kv.value).unwrap().parse().unwrap();
                        txn().if_modified("n", kv.modified).put("n", (n + 1).to_string())
                    }
                };
                match store.txn(add).await {
                    Ok(outcome) => indexes.push(outcome.index),
                    Err(Error::Conflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            indexes
        });
    }
    let mut indexes = writers.join_all().await.concat();
    indexes.sort();
    assert_eq!(indexes, (1..=WRITERS * TIMES).map(Index).collect::<Vec<_>>());
    assert_eq!(texts(&all(&store).await), [("n".into(), (WRITERS * TIMES).to_string())]);
}

pub(crate) async fn any_text_can_be_a_key_and_any_bytes_a_value<S: Driver>(store: S) {
    let mut keys = ["a\0b", "a", "a\0", "ü/ß", "\u{10FFFF}", "'; DROP TABLE kv", "A", "\n", "%_"];
    for (n, key) in keys.iter().enumerate() {
        let value = vec![u8::try_from(n).unwrap(), 0, 255];
        store.txn(txn().put(key, value)).await.unwrap();
    }
    store.txn(txn().put("a", "")).await.unwrap();
    keys.sort_unstable();
    let page = all(&store).await;
    assert_eq!(page.kvs.iter().map(|kv| &*kv.key).collect::<Vec<_>>(), keys);
    for kv in &page.kvs {
        let one = store.range(Keys::one(&kv.key), Read::Latest).await.unwrap();
        assert_eq!(one.kvs, std::slice::from_ref(kv));
        assert_eq!(kv.value.len(), if &*kv.key == "a" { 0 } else { 3 });
    }
}

pub(crate) async fn a_range_has_its_start_and_not_its_end<S: Driver>(store: S) {
    for key in ["a", "b", "b/1", "b/2", "b0", "c"] {
        store.txn(txn().put(key, key)).await.unwrap();
    }
    for (keys, found) in [
        (Keys::all(), &["a", "b", "b/1", "b/2", "b0", "c"][..]),
        (Keys::prefix("b/"), &["b/1", "b/2"]),
        (Keys::prefix("b"), &["b", "b/1", "b/2", "b0"]),
        (Keys::prefix("z"), &[]),
        (Keys::one("b"), &["b"]),
        (Keys::between("b", "b0"), &["b", "b/1", "b/2"]),
        (Keys::between("c", "a"), &[]),
    ] {
        let latest = store.range(keys.clone(), Read::Latest).await.unwrap();
        assert_eq!(latest.kvs.iter().map(|kv| &*kv.key).collect::<Vec<_>>(), found, "{keys:?}");
        let past = store.range(keys.clone(), Read::At(Index(5))).await.unwrap();
        let past: Vec<_> = past.kvs.iter().map(|kv| &*kv.key).collect();
        let found: Vec<_> = found.iter().copied().filter(|key| *key != "c").collect();
        assert_eq!(past, found, "{keys:?} at 5");
    }
}
