//! What is forgotten beside keys that were deleted.

use crate::kv::entry::encode_gone;
use crate::kv::{Draft, Map, Origin, delay_key, kv_key, past_key};
use crate::session::Delay;
use crate::state::State;
use crate::testing::clock;
use crate::waiters::Waiters;
use bytes::Bytes;
use model::limits::{CONSUL_PAST_BYTES_MAX, CONSUL_VALUE_BYTES_MAX};
use store::{Memory, Op, Store as _, Txn};

async fn put(store: &Memory, rows: Vec<(store::Key, Bytes)>) {
    let ops = rows.into_iter().map(|(key, value)| Op::Put { key, value, lease: None }).collect();
    store.txn(Txn { compares: vec![], ops }).await.unwrap();
}

/// A look finds deleted keys each time while many are deleted; the rest goes all the same.
#[tokio::test]
async fn old_versions_and_delays_go_beside_deleted_keys() {
    let store = Memory::default();
    let mut head = b"{\"v\":1,\"n\":1,\"since\":1}\n".to_vec();
    head.resize(CONSUL_VALUE_BYTES_MAX, b'x');
    let value = Bytes::from(head);
    let count = CONSUL_PAST_BYTES_MAX / CONSUL_VALUE_BYTES_MAX + 2;
    // The last version of a deleted key is the oldest of all, and is told when that is forgotten.
    put(&store, vec![(past_key("old/0001", 2), value.clone())]).await;
    for n in 0..count {
        put(&store, vec![(past_key(&format!("old/{n:04}"), 1), value.clone())]).await;
    }
    let gone = encode_gone(&Origin { version: 2, index: 1, at: 5, by: None });
    let delay = Delay::new(5, vec!["locked".into()]).encode();
    put(&store, vec![(kv_key("deleted"), gone.clone()), (delay_key("d"), delay)]).await;
    put(&store, vec![(kv_key("old/0001"), gone)]).await;
    put(&store, vec![(kv_key("newest"), Bytes::from_static(b"{\"v\":1}\nv"))]).await;
    let state = State::open(store, clock(), Waiters::default()).await.unwrap();
    let following = state.clone();
    let following = tokio::spawn(async move { following.follow().await });
    assert_eq!((state.map().len(), state.map().delays_len()), (3, 1));
    assert_eq!(state.forget(6).await.ok(), Some(false), "all in one transaction");
    assert_eq!((state.map().len(), state.map().delays_len()), (1, 0));
    let bytes = state.map().pasts().size().1;
    assert!(bytes <= CONSUL_PAST_BYTES_MAX, "{bytes}");
    assert!(state.map().pasts().of("old/0000").is_empty());
    following.abort();
}

/// A delete of much loses a part of its own history, and not all of what was kept before.
#[test]
fn one_write_leaves_what_there_is_room_for_or_a_quarter() {
    let mut value = b"{\"v\":1,\"n\":1,\"since\":1}\n".to_vec();
    value.resize(CONSUL_VALUE_BYTES_MAX, b'x');
    let (value, most) = (Bytes::from(value), CONSUL_PAST_BYTES_MAX);
    let count = 2 * most / CONSUL_VALUE_BYTES_MAX;
    // Eighths of the most that are there before, and that the write leaves.
    for (before, left) in [(0, 8), (2, 6), (7, 2), (8, 2), (9, 1), (11, 0)] {
        let mut map = Map::default();
        for n in 0..before * most / 8 / CONSUL_VALUE_BYTES_MAX {
            map.apply(&past_key(&format!("old/{n:04}"), 1), Some(&value), 1);
        }
        for n in 0..count {
            map.apply(&kv_key(&format!("p/{n:04}")), Some(&value), 1);
        }
        let mut draft = Draft::new(&map);
        assert!(draft.delete_all("p/"));
        let write = draft.write(5, &"host n1".into());
        assert_eq!(write.txn.ops.len(), count, "all are deleted");
        let bytes: usize = write.pasts.iter().map(|(key, value)| key.len() + value.len()).sum();
        assert_eq!(bytes, write.past_bytes());
        let off = bytes.abs_diff(left * most / 8);
        assert!(off <= 2 * CONSUL_VALUE_BYTES_MAX, "{before}: {bytes} of {most}");
    }
}
