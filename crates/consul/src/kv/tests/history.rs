//! Former versions of keys, and deletes of many keys.

use crate::testing::{json, open, send, told};
use crate::{Consul, Version};
use bytes::Bytes;
use model::limits::{
    CONSUL_PAST_OF_KEY_BYTES_MAX, CONSUL_PAST_OF_KEY_MAX, CONSUL_PAST_ROWS_MAX, CONSUL_TOMBSTONE_MS,
};
use std::time::Duration;
use store::Memory;
use tokio::time::Instant;

async fn history(consul: &Consul<Memory>, key: &str) -> Vec<Version> {
    consul.history(key, false, CONSUL_PAST_ROWS_MAX).await.unwrap()
}

/// `number value`, the newest first; `number -` is a deletion, `*` is current.
async fn shown(consul: &Consul<Memory>, key: &str) -> Vec<String> {
    let all = history(consul, key).await;
    let one = |version: &Version| {
        let value = version.value.as_ref().map_or("-".into(), |v| String::from_utf8_lossy(v));
        let mark = if version.is_current { "*" } else { "" };
        format!("{mark}{} {value}", version.origin.version)
    };
    all.iter().map(one).collect()
}

/// Until no more than so many keys are known, with those that were deleted.
async fn forgotten(consul: &Consul<Memory>, left: usize) {
    let mut moves = consul.state().moves();
    while consul.state().map().len() > left {
        moves.changed().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn every_value_stays_with_who_when_and_at_which_index() {
    let store = Memory::default();
    let consul = open(store.clone()).await;
    assert!(shown(&consul, "a").await.is_empty());
    let mut indexes = vec![];
    for value in ["1", "2"] {
        told(&consul, "PUT", "kv/a", value).await;
        indexes.push(send(&consul, "GET", "kv/a", "").await.index().unwrap());
    }
    told(&consul, "PUT", "kv/a", "2").await;
    let session = json(&consul, "PUT", "session/create", "").await["ID"].clone();
    let session = session.as_str().unwrap();
    told(&consul, "PUT", &format!("kv/a?acquire={session}"), "2").await;
    told(&consul, "PUT", &format!("kv/a?release={session}"), "2").await;
    assert_eq!(shown(&consul, "a").await, ["*2 2", "1 1"], "a lock is no version");
    let found = history(&consul, "a").await;
    let seen: Vec<u64> = found.iter().rev().map(|version| version.origin.index).collect();
    assert_eq!(seen, indexes, "and does not alter the one that there is");
    assert!(found.iter().all(|version| version.origin.by.as_deref() == Some("host n1")));
    assert!(found.iter().all(|version| version.origin.at >= 1_000_000_000_000));
    told(&consul, "DELETE", "kv/a", "").await;
    told(&consul, "PUT", "kv/a?flags=7", "3").await;
    let all = ["*4 3", "3 -", "2 2", "1 1"];
    assert_eq!(shown(&consul, "a").await, all);
    assert_eq!(history(&consul, "a").await[0].flags, 7);
    let again = open(store).await;
    assert_eq!(shown(&again, "a").await, all, "a restart forgets nothing");
    assert_eq!(history(&again, "a").await, history(&consul, "a").await);
}

#[tokio::test(start_paused = true)]
async fn history_outlives_the_memory_of_a_delete() {
    let consul = open(Memory::default()).await;
    for value in ["1", "2"] {
        told(&consul, "PUT", "kv/p/a", value).await;
    }
    told(&consul, "DELETE", "kv/p/a", "").await;
    let before = history(&consul, "p/a").await;
    told(&consul, "PUT", "kv/q", "newest").await;
    forgotten(&consul, 1).await;
    let after = history(&consul, "p/a").await;
    assert!(after.iter().all(|version| !version.is_current));
    let same = |all: &[Version]| {
        all.iter().map(|v| (v.origin.clone(), v.value.clone())).collect::<Vec<_>>()
    };
    assert_eq!(same(&after), same(&before));
    let below = consul.history("p/", true, 2).await.unwrap();
    assert_eq!(below.len(), 2);
    assert_eq!(below[0].origin.version, 3);
    told(&consul, "PUT", "kv/p/a", "3").await;
    assert_eq!(shown(&consul, "p/a").await, ["*4 3", "3 -", "2 2", "1 1"]);
}

/// That a version became a former one lately does not make it a new one.
#[tokio::test]
async fn the_newest_of_several_keys_are_those_that_were_made_last() {
    let consul = open(Memory::default()).await;
    for (key, value) in [("p/a", "1"), ("p/b", "1"), ("p/c", "1"), ("p/a", "2"), ("q", "1")] {
        told(&consul, "PUT", &format!("kv/{key}"), value).await;
    }
    told(&consul, "DELETE", "kv/p/b", "").await;
    let below = consul.history("p/", true, 3).await.unwrap();
    let found: Vec<_> = below.iter().map(|v| (&*v.key, v.origin.version, v.is_current)).collect();
    assert_eq!(found, [("p/b", 2, true), ("p/a", 2, true), ("p/c", 1, true)]);
    let all = consul.history("p/", true, 9).await.unwrap();
    assert!(all.windows(2).all(|two| two[0].origin.index > two[1].origin.index), "{all:?}");
    assert_eq!((all.len(), all[4].value.as_deref()), (5, Some(&b"1"[..])));
}

#[tokio::test]
async fn a_key_keeps_so_many_versions_and_bytes() {
    let consul = open(Memory::default()).await;
    for n in 0..CONSUL_PAST_OF_KEY_MAX + 10 {
        told(&consul, "PUT", "kv/a", n.to_string()).await;
    }
    let all = history(&consul, "a").await;
    assert_eq!(all.len(), CONSUL_PAST_OF_KEY_MAX + 1, "and the current one");
    assert_eq!(all.last().unwrap().value.as_deref(), Some(&b"9"[..]));
    for n in 0..20_u8 {
        told(&consul, "PUT", "kv/big", vec![n; 512 * 1024]).await;
    }
    let past = &history(&consul, "big").await[1..];
    let bytes: usize = past.iter().map(|v| v.value.as_ref().map_or(0, Bytes::len)).sum();
    assert!(bytes <= CONSUL_PAST_OF_KEY_BYTES_MAX && past.len() == 7, "{bytes} {}", past.len());
    assert_eq!(consul.state().map().pasts().size().0, CONSUL_PAST_OF_KEY_MAX + 7);
}

/// As an older version wrote it: without a number, an index of the value or a writer.
#[tokio::test]
async fn keys_of_before_have_a_history_from_now_on() {
    let store = Memory::default();
    let old = |value: &str| format!("{{\"v\":1,\"at\":5}}\n{value}");
    store::Store::txn(&store, store::Txn::default().put("consul/kv/a", old("0"))).await.unwrap();
    let consul = open(store.clone()).await;
    told(&consul, "PUT", "kv/a", "1").await;
    assert_eq!(shown(&consul, "a").await, ["*2 1", "1 0"]);
    store::Store::txn(&store, store::Txn::default().put("consul/kv/a", old("2"))).await.unwrap();
    let consul = open(store).await;
    told(&consul, "PUT", "kv/a", "3").await;
    assert_eq!(shown(&consul, "a").await, ["*3 3", "2 2", "1 0"], "no number is used twice");
}

#[tokio::test]
async fn ten_thousand_keys_go_at_one_index_with_their_values_kept() {
    let consul = open(Memory::default()).await;
    let value = "x".repeat(200);
    let mut puts = tokio::task::JoinSet::new();
    for part in 0..10 {
        let (consul, value) = (consul.clone(), value.clone());
        puts.spawn(async move {
            for n in 0..1_000 {
                told(&consul, "PUT", &format!("kv/many/{part}/{n}"), value.clone()).await;
            }
        });
    }
    puts.join_all().await;
    let before = send(&consul, "GET", "kv/many/?keys", "").await.index().unwrap();
    assert_eq!(told(&consul, "DELETE", "kv/many/?recurse", "").await, (200, "true".into()));
    let after = send(&consul, "GET", "kv/many/?keys", "").await;
    assert_eq!(after.status.as_u16(), 404);
    let index = after.index().unwrap();
    assert!(index > before);
    let gone: Vec<u64> = {
        let map = consul.state().map();
        let keys: Vec<_> = map.gone_below("many/").map(|(key, _)| key.clone()).collect();
        keys.iter().map(|key| map.gone(key).unwrap().index).collect()
    };
    assert_eq!((gone.len(), gone.iter().all(|at| *at == index)), (10_000, true));
    let past = history(&consul, "many/7/77").await;
    assert_eq!((past.len(), past[0].value.as_ref()), (2, None));
    assert_eq!(past[1].value.as_deref(), Some(value.as_bytes()));
    let ops = "[{\"KV\":{\"Verb\":\"delete-tree\",\"Key\":\"tree/\"}}]";
    for n in 0..1_500 {
        told(&consul, "PUT", &format!("kv/tree/{n}"), "v").await;
    }
    assert_eq!(told(&consul, "PUT", "txn", ops).await.0, 200);
    assert_eq!(told(&consul, "GET", "kv/tree/?keys", "").await.0, 404);
}

/// Each lives for a moment and has a name of its own.
#[tokio::test(start_paused = true)]
async fn short_lived_keys_are_forgotten_as_fast_as_they_come() {
    let consul = open(Memory::default()).await;
    for n in 0..6_000 {
        told(&consul, "PUT", &format!("kv/short/{n}"), "v").await;
    }
    told(&consul, "DELETE", "kv/short/?recurse", "").await;
    told(&consul, "PUT", "kv/q", "newest").await;
    assert_eq!(consul.state().map().len(), 6_001);
    let begun = Instant::now();
    forgotten(&consul, 1).await;
    let after = begun.elapsed();
    assert!(after <= Duration::from_millis(CONSUL_TOMBSTONE_MS + 6_000), "{after:?}");
}
