//! Watches: whole, in order, and with an explicit end.

use crate::{Driver, next, watch};
use model::limits::{STORE_VALUE_BYTES_MAX, WATCH_QUEUE_BYTES_MAX, WATCH_QUEUE_MAX};
use model::time::Index;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use store::{Epoch, Keys, Txn, WatchEnd, WatchEvent};

fn put(n: u64) -> Txn {
    Txn::default().put("a/n", n.to_string())
}

/// `key=before>after` of every operation.
fn told(event: &WatchEvent) -> Vec<String> {
    let text = |kv: &Option<store::Kv>| {
        kv.as_ref().map_or("-".into(), |kv| String::from_utf8(kv.value.to_vec()).unwrap())
    };
    let one = |op: &store::WatchOp| format!("{}={}>{}", op.key, text(&op.prev), text(&op.next));
    event.ops.iter().map(one).collect()
}

pub(crate) async fn a_watch_delivers_whole_transactions_in_order<S: Driver>(store: S) {
    let mut events = watch(&store, "", 0).await;
    store.txn(Txn::default().put("b", "1").put("a", "1")).await.unwrap();
    store.txn(Txn::default().delete("b").put("a", "2").delete("absent")).await.unwrap();
    for (index, ops) in [(1, ["b=->1", "a=->1"]), (2, ["b=1>-", "a=1>2"])] {
        let event = next(&mut events).await.unwrap();
        assert_eq!((event.index, told(&event)), (Index(index), ops.map(str::to_owned).into()));
        for op in event.ops.iter() {
            assert!(op.next.as_ref().is_none_or(|kv| kv.modified == event.index));
            assert!(op.prev.as_ref().is_none_or(|kv| kv.modified < event.index));
        }
    }
    assert_eq!(events.after(), Index(2));
}

pub(crate) async fn a_watch_begins_in_the_past_and_goes_on_without_a_gap<S: Driver>(store: S) {
    const PAST: u64 = 600;
    const MORE: u64 = 300;
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..PAST {
        let store = store.clone();
        writers.spawn(async move { store.txn(put(n)).await.map(drop) });
    }
    writers.join_all().await.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
    let mut events = watch(&store, "a/", 10).await;
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0..MORE {
                store.txn(put(n)).await.unwrap();
            }
        })
    };
    for index in 11..=PAST + MORE {
        let event = next(&mut events).await.unwrap();
        assert_eq!((event.index, event.ops.len()), (Index(index), 1));
    }
    writer.await.unwrap();
}

pub(crate) async fn a_watch_sees_only_its_keys<S: Driver>(store: S) {
    let mut live = watch(&store, "a/", 0).await;
    store.txn(Txn::default().put("b", "1")).await.unwrap();
    store.txn(Txn::default().put("a/x", "1").put("b", "2").put("a/y", "1")).await.unwrap();
    store.txn(Txn::default().put("a", "1").put("a0", "1")).await.unwrap();
    store.txn(Txn::default().delete("a/x").delete("b")).await.unwrap();
    let mut past = watch(&store, "a/", 0).await;
    for events in [&mut live, &mut past] {
        let first = next(events).await.unwrap();
        assert_eq!(
            (first.index, told(&first)),
            (Index(2), vec!["a/x=->1".into(), "a/y=->1".into()])
        );
        let second = next(events).await.unwrap();
        assert_eq!((second.index, told(&second)), (Index(4), vec!["a/x=1>-".to_owned()]));
    }
}

pub(crate) async fn a_watch_of_another_epoch_or_of_the_future_ends<S: Driver>(store: S) {
    store.txn(put(1)).await.unwrap();
    let epoch = store.status().await.epoch;
    for (after, theirs) in [(1, Epoch([9; 16])), (2, epoch), (u64::MAX, epoch)] {
        let mut events = store.watch(Keys::all(), Index(after), theirs).await.unwrap();
        for _ in 0..2 {
            let end = next(&mut events).await.unwrap_err();
            assert!(
                matches!(end, WatchEnd::EpochChanged { epoch: now } if now == epoch),
                "{end:?}"
            );
        }
    }
}

pub(crate) async fn a_watch_of_forgotten_history_ends<S: Driver>(store: S) {
    for n in 1..=5 {
        store.txn(put(n)).await.unwrap();
    }
    // One that has not read yet, and one that comes too late.
    let mut early = watch(&store, "", 1).await;
    store.compact(Index(4)).await.unwrap();
    let mut late = watch(&store, "", 3).await;
    for (events, after) in [(&mut early, 1), (&mut late, 3)] {
        let end = next(events).await.unwrap_err();
        let WatchEnd::Compacted { after: at, compacted } = end else { panic!("{end:?}") };
        assert_eq!((at, compacted), (Index(after), Index(4)));
    }
    let mut right = watch(&store, "", 4).await;
    assert_eq!(next(&mut right).await.unwrap().index, Index(5));
}

pub(crate) async fn a_slow_watch_is_cut_off_and_can_go_on<S: Driver>(store: S) {
    let total = WATCH_QUEUE_MAX as u64 + 50;
    let mut slow = watch(&store, "a/", 0).await;
    let mut other = watch(&store, "b/", 0).await;
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..total {
        let store = store.clone();
        writers.spawn(async move { store.txn(put(n)).await.map(drop) });
    }
    writers.join_all().await.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
    // What it held comes first, without a gap; then the end says where to go on.
    let mut seen = 0;
    let after = loop {
        match next(&mut slow).await {
            Ok(event) => {
                seen += 1;
                assert_eq!(event.index, Index(seen));
            }
            Err(WatchEnd::Lagged { after }) => break after,
            Err(end) => panic!("{end:?}"),
        }
    };
    assert_eq!((seen, after), (WATCH_QUEUE_MAX as u64, Index(seen)));
    let mut again = watch(&store, "a/", after.0).await;
    for index in seen + 1..=total {
        assert_eq!(next(&mut again).await.unwrap().index, Index(index));
    }
    // Who watches something else was not touched.
    store.txn(Txn::default().put("b/", "")).await.unwrap();
    assert_eq!(next(&mut other).await.unwrap().index, Index(total + 1));
}

pub(crate) async fn a_watch_of_large_values_is_bounded_in_bytes<S: Driver>(store: S) {
    let mut slow = watch(&store, "", 0).await;
    let count = WATCH_QUEUE_BYTES_MAX / STORE_VALUE_BYTES_MAX + 2;
    for n in 0..count {
        let value = vec![0; STORE_VALUE_BYTES_MAX];
        store.txn(Txn::default().put(&n.to_string(), value)).await.unwrap();
    }
    let mut seen = 0;
    while let Ok(event) = next(&mut slow).await {
        seen += event.ops.len();
    }
    assert!((1..count).contains(&seen), "{seen} of {count}");
    let end = next(&mut slow).await.unwrap_err();
    assert!(matches!(end, WatchEnd::Lagged { after } if after == Index(seen as u64)), "{end:?}");
}

pub(crate) async fn a_watch_ends_with_its_store<S: Driver>(store: S) {
    store.txn(put(1)).await.unwrap();
    let mut live = watch(&store, "", 1).await;
    let mut past = watch(&store, "", 0).await;
    store.txn(put(2)).await.unwrap();
    drop(store);
    // What was queued is still delivered.
    assert_eq!(next(&mut live).await.unwrap().index, Index(2));
    assert!(matches!(next(&mut live).await, Err(WatchEnd::Closed)));
    // What is still in the log cannot be read any more.
    assert!(matches!(next(&mut past).await, Err(WatchEnd::Closed)));
}

pub(crate) async fn a_dropped_wait_loses_nothing<S: Driver>(store: S) {
    for n in 1..=300 {
        store.txn(put(n)).await.unwrap();
    }
    let mut events = watch(&store, "", 0).await;
    let mut index = 0;
    while index < 310 {
        if index >= 300 {
            store.txn(put(index)).await.unwrap();
        }
        // Polled once and dropped, as `select!` does.
        let polled = pin!(events.next()).poll(&mut Context::from_waker(Waker::noop()));
        let event = match polled {
            Poll::Ready(event) => event.unwrap(),
            Poll::Pending => next(&mut events).await.unwrap(),
        };
        index += 1;
        assert_eq!(event.index, Index(index));
    }
}
