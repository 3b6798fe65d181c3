//! Sessions and locks, in virtual time.

use crate::testing::{json, open, open_to_end, open_with, send, told};
use crate::{Consul, Judge, Standing};
use serde_json::{Value, json as js};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use store::Memory;
use tokio::time::Instant;

async fn create(consul: &Consul<Memory>, body: &str) -> String {
    let made = json(consul, "PUT", "session/create", body.to_owned()).await;
    made["ID"].as_str().unwrap().to_owned()
}

async fn put(consul: &Consul<Memory>, path: String) -> String {
    told(consul, "PUT", &path, "v").await.1
}

async fn info(consul: &Consul<Memory>, id: &str) -> Value {
    json(consul, "GET", &format!("session/info/{id}"), "").await
}

/// Until the session is gone; how many seconds that took.
async fn gone(consul: &Consul<Memory>, id: &str) -> u64 {
    let begun = Instant::now();
    let mut index = 1;
    loop {
        let answer = send(consul, "GET", &format!("session/info/{id}?index={index}"), "").await;
        if &answer.body[..] == b"[]" {
            return begun.elapsed().as_secs();
        }
        index = answer.index().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_client_asks_for_it_gets() {
    let consul = open(Memory::default()).await;
    for (body, field, want) in [
        ("", "LockDelay", js!(15_000_000_000_u64)),
        ("", "NodeChecks", js!(["serfHealth"])),
        ("", "ServiceChecks", Value::Null),
        ("", "Node", js!("n1")),
        ("", "Behavior", js!("release")),
        ("", "TTL", js!("")),
        ("{}", "Name", js!("")),
        ("{\"lockdelay\":\"3s\"}", "LockDelay", js!(3_000_000_000_u64)),
        ("{\"LockDelay\":3}", "LockDelay", js!(3_000_000_000_u64)),
        ("{\"LockDelay\":2000000000}", "LockDelay", js!(2_000_000_000_u64)),
        ("{\"LockDelay\":\"5m\"}", "LockDelay", js!(60_000_000_000_u64)),
        ("{\"LockDelay\":0}", "LockDelay", js!(0)),
        ("{\"Node\":\"n2\"}", "Node", js!("n2")),
        ("{\"ttl\":\"15s\"}", "TTL", js!("15s")),
        ("{\"Behavior\":\"delete\"}", "Behavior", js!("delete")),
        ("{\"Checks\":[]}", "NodeChecks", js!([])),
        ("{\"Datacenter\":\"dc1\",\"Name\":\"x\"}", "Name", js!("x")),
    ] {
        let id = create(&consul, body).await;
        assert_eq!(info(&consul, &id).await[0][field], want, "{body}");
    }
    for (body, status, text) in [
        ("{", 400, "Request decode failed"),
        ("[", 400, "Request decode failed"),
        (
            "{\"TTL\":\"9s\"}",
            400,
            "Invalid Session TTL '9000000000', must be between [10s=24h0m0s]",
        ),
        ("{\"TTL\":\"25h\"}", 400, "Invalid Session TTL"),
        ("{\"TTL\":\"x\"}", 400, "Session TTL 'x' invalid"),
        ("{\"Behavior\":\"x\"}", 400, "Invalid Behavior setting 'x'"),
        ("{\"LockDelay\":-1}", 400, "LockDelay"),
        ("{\"LockDelay\":{}}", 400, "LockDelay"),
        ("{\"Checks\":7}", 400, "Checks is no list"),
        ("{\"Name\":7}", 400, "Name is no text"),
        ("{\"Node\":\"nobody\"}", 500, "Missing node registration"),
        ("{\"Checks\":[\"none\"]}", 500, "Missing check 'none' registration"),
    ] {
        let got = told(&consul, "PUT", "session/create", body).await;
        assert!(got.0 == status && got.1.contains(text), "{body}: {got:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn sessions_are_listed_renewed_and_destroyed() {
    let consul = open(Memory::default()).await;
    let (one, two) = (create(&consul, "").await, create(&consul, "{\"Node\":\"n2\"}").await);
    let listed = json(&consul, "GET", "session/list", "").await;
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let on = json(&consul, "GET", "session/node/n2", "").await;
    assert_eq!(on[0]["ID"], js!(two));
    assert_eq!(on.as_array().unwrap().len(), 1);
    let renewed = json(&consul, "PUT", &format!("session/renew/{one}"), "").await;
    assert_eq!(renewed[0]["ID"], js!(one));
    for _ in 0..2 {
        let path = format!("session/destroy/{one}");
        assert_eq!(told(&consul, "PUT", &path, "").await, (200, "true".into()));
    }
    assert_eq!(info(&consul, &one).await, js!([]));
    let renewed = told(&consul, "PUT", &format!("session/renew/{one}"), "").await;
    assert_eq!(renewed, (404, format!("Session id '{one}' not found")));
    for path in ["session/destroy/", "session/renew/"] {
        assert_eq!(told(&consul, "PUT", path, "").await.0, 400, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_twenty_one_wins_and_the_lock_is_a_fence() {
    let consul = open(Memory::default()).await;
    let mut racing = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let consul = consul.clone();
        racing.spawn(async move {
            let id = create(&consul, "").await;
            (put(&consul, format!("kv/lock?acquire={id}")).await, id)
        });
    }
    let won: Vec<String> =
        racing.join_all().await.into_iter().filter(|(won, _)| won == "true").map(|w| w.1).collect();
    assert_eq!(won.len(), 1);
    let entry = |consul: Consul<Memory>| async move {
        json(&consul, "GET", "kv/lock", "").await[0].clone()
    };
    let held = entry(consul.clone()).await;
    assert_eq!((&held["Session"], &held["LockIndex"]), (&js!(won[0]), &js!(1)));
    let other = create(&consul, "").await;
    for (path, answer) in [
        (format!("kv/lock?acquire={}", won[0]), "true"),
        (format!("kv/lock?acquire={other}"), "false"),
        (format!("kv/lock?release={other}"), "false"),
        ("kv/lock".to_owned(), "true"),
        (format!("kv/lock?release={}", won[0]), "true"),
        (format!("kv/lock?release={}", won[0]), "false"),
        (format!("kv/lock?acquire={other}"), "true"),
    ] {
        assert_eq!(put(&consul, path.clone()).await, answer, "{path}");
    }
    let held = entry(consul.clone()).await;
    assert_eq!((&held["Session"], &held["LockIndex"]), (&js!(other), &js!(2)));
}

#[tokio::test(start_paused = true)]
async fn keys_of_a_destroyed_session_are_free_after_the_delay_or_gone() {
    let consul = open(Memory::default()).await;
    for (behavior, left) in [("release", 200), ("delete", 404)] {
        let body = format!("{{\"Behavior\":\"{behavior}\",\"LockDelay\":\"7s\"}}");
        let (one, two) = (create(&consul, &body).await, create(&consul, "").await);
        assert_eq!(put(&consul, format!("kv/x?acquire={one}")).await, "true");
        let index = send(&consul, "GET", "kv/x", "").await.index().unwrap();
        let watching = {
            let consul = consul.clone();
            let path = format!("kv/x?index={index}");
            tokio::spawn(async move { send(&consul, "GET", &path, "").await.status.as_u16() })
        };
        while consul.waiters().is_empty() {
            tokio::task::yield_now().await;
        }
        put(&consul, format!("session/destroy/{one}")).await;
        assert_eq!(watching.await.unwrap(), left, "{behavior} wakes who watches");
        assert_eq!(put(&consul, format!("kv/x?acquire={two}")).await, "false", "it is delayed");
        let ops = format!("[{{\"KV\":{{\"Verb\":\"lock\",\"Key\":\"x\",\"Session\":\"{two}\"}}}}]");
        assert_eq!(told(&consul, "PUT", "txn", ops).await.0, 409);
        tokio::time::advance(std::time::Duration::from_millis(7_001)).await;
        assert_eq!(put(&consul, format!("kv/x?acquire={two}")).await, "true");
        // Let go on purpose: no delay.
        assert_eq!(put(&consul, format!("kv/x?release={two}")).await, "true");
        let three = create(&consul, "").await;
        assert_eq!(put(&consul, format!("kv/x?acquire={three}")).await, "true");
        put(&consul, format!("kv/x?release={three}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_between_once_and_a_little_more_than_twice_its_time() {
    let store = Memory::default();
    let judge: Judge = Arc::new(|_, _| Standing::Passing);
    let (consul, running) = open_to_end(store.clone(), judge).await;
    let id = create(&consul, "{\"TTL\":\"10s\"}").await;
    put(&consul, format!("kv/x?acquire={id}")).await;
    let took = gone(&consul, &id).await;
    assert!((10..=21).contains(&took), "{took} s");
    assert_eq!(json(&consul, "GET", "kv/x", "").await[0].get("Session"), None);
    // Renewed, it lives on.
    let id = create(&consul, "{\"TTL\":\"10s\"}").await;
    for _ in 0..6 {
        tokio::time::advance(std::time::Duration::from_secs(9)).await;
        assert_eq!(told(&consul, "PUT", &format!("session/renew/{id}"), "").await.0, 200);
    }
    // A server that starts gives it its whole time again.
    tokio::time::advance(std::time::Duration::from_secs(9)).await;
    running.abort();
    let again = open(store).await;
    let took = gone(&again, &id).await;
    assert!((20..=21).contains(&took), "{took} s");
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_with_its_check() {
    let ill = Arc::new(AtomicBool::new(false));
    let judge: Judge = {
        let ill = Arc::clone(&ill);
        Arc::new(move |node, check| match (node, check, ill.load(SeqCst)) {
            ("n1", "serfHealth", _) | (_, "serfHealth" | "web", false) => Standing::Passing,
            (_, "serfHealth" | "web", true) => Standing::Critical,
            _ => Standing::Absent,
        })
    };
    let consul = open_with(Memory::default(), judge).await;
    let healthy = create(&consul, "").await;
    let bodies = ["{\"Node\":\"n2\"}", "{\"Checks\":[],\"ServiceChecks\":[{\"ID\":\"web\"}]}"];
    let sessions = [create(&consul, bodies[0]).await, create(&consul, bodies[1]).await];
    assert_eq!(
        info(&consul, &sessions[1]).await[0]["ServiceChecks"],
        js!([{"ID": "web", "Namespace": ""}])
    );
    ill.store(true, SeqCst);
    consul.checks_changed();
    for id in &sessions {
        assert!(gone(&consul, id).await < 5);
    }
    assert_eq!(info(&consul, &healthy).await.as_array().unwrap().len(), 1);
    let refused = told(&consul, "PUT", "session/create", bodies[0]).await;
    assert_eq!(refused, (500, "Check 'serfHealth' is in critical state".into()));
}

/// Session, acquire, wait for the holder to go, acquire: the recipe of the Go client's lock.
#[tokio::test(start_paused = true)]
async fn the_lock_recipe_of_clients_hands_over() {
    let consul = open(Memory::default()).await;
    let flag = 0x2ddc_cbc0_58a5_0c18_u64;
    let holder = create(&consul, "{\"TTL\":\"15s\",\"LockDelay\":\"1s\"}").await;
    let waiting = create(&consul, "").await;
    assert_eq!(put(&consul, format!("kv/l?acquire={holder}&flags={flag}")).await, "true");
    let contender = {
        let consul = consul.clone();
        tokio::spawn(async move {
            loop {
                let path = format!("kv/l?acquire={waiting}&flags={flag}");
                if put(&consul, path).await == "true" {
                    return;
                }
                let seen = send(&consul, "GET", "kv/l?consistent", "").await;
                let entry: Value = serde_json::from_slice(&seen.body).unwrap();
                assert_eq!(entry[0]["Flags"], js!(flag));
                if entry[0].get("Session").is_some() {
                    let index = seen.index().unwrap();
                    let path = format!("kv/l?consistent&wait=15s&index={index}");
                    send(&consul, "GET", &path, "").await;
                } else {
                    // Free, and delayed: clients come again after a moment.
                    tokio::time::advance(std::time::Duration::from_secs(1)).await;
                }
            }
        })
    };
    contender.await.unwrap();
    assert_eq!(info(&consul, &holder).await, js!([]));
}

#[tokio::test(start_paused = true)]
async fn a_session_with_more_keys_than_a_transaction_lets_go_of_all() {
    let consul = open(Memory::default()).await;
    let id = create(&consul, "{\"Behavior\":\"delete\",\"LockDelay\":0}").await;
    for n in 0..1_001 {
        assert_eq!(put(&consul, format!("kv/m/{n}?acquire={id}")).await, "true");
    }
    put(&consul, format!("session/destroy/{id}")).await;
    assert_eq!(told(&consul, "GET", "kv/m/?keys", "").await.0, 404);
    assert_eq!(info(&consul, &id).await, js!([]));
}

/// It was found to be over, and was renewed while another one was being ended.
#[tokio::test(start_paused = true)]
async fn a_session_that_was_renewed_in_time_lives() {
    let gate = Arc::new(store::Gate::default());
    let consul = open(Memory::default().behind(Arc::clone(&gate))).await;
    let body = "{\"TTL\":\"10s\"}";
    let ids = [create(&consul, body).await, create(&consul, body).await];
    gate.close();
    tokio::time::advance(std::time::Duration::from_secs(20)).await;
    let at = loop {
        if let Some(at) = ids.iter().position(|id| consul.keeper().is_ending(id)) {
            break at;
        }
        tokio::task::yield_now().await;
    };
    let other = &ids[1 - at];
    assert_eq!(told(&consul, "PUT", &format!("session/renew/{other}"), "").await.0, 200);
    let ended = format!("session/renew/{}", ids[at]);
    assert_eq!(told(&consul, "PUT", &ended, "").await.0, 404, "no word is given that is not kept");
    gate.open();
    assert_eq!(gone(&consul, &ids[at]).await, 0);
    let took = gone(&consul, other).await;
    assert!((19..=21).contains(&took), "{took} s");
}

#[tokio::test(start_paused = true)]
async fn a_delay_outlives_the_server() {
    let store = Memory::default();
    let judge: Judge = Arc::new(|_, _| Standing::Passing);
    let (consul, running) = open_to_end(store.clone(), judge).await;
    let (one, two) = (create(&consul, "{\"LockDelay\":\"30s\"}").await, create(&consul, "").await);
    assert_eq!(put(&consul, format!("kv/x?acquire={one}")).await, "true");
    put(&consul, format!("session/destroy/{one}")).await;
    running.abort();
    let again = open(store).await;
    assert_eq!(put(&again, format!("kv/x?acquire={two}")).await, "false");
    tokio::time::advance(std::time::Duration::from_secs(29)).await;
    assert_eq!(put(&again, format!("kv/x?acquire={two}")).await, "false");
    tokio::time::advance(std::time::Duration::from_secs(2)).await;
    assert_eq!(put(&again, format!("kv/x?acquire={two}")).await, "true");
    let mut moves = again.state().moves();
    while again.state().map().delays_len() > 0 {
        moves.changed().await.unwrap();
    }
}

/// A key that is held by a session which is gone: nobody knows its delay.
#[tokio::test(start_paused = true)]
async fn a_lock_without_its_session_is_freed_with_a_delay() {
    let store = Memory::default();
    let held = "{\"v\":1,\"lock\":1,\"session\":\"ghost\",\"at\":1}\nv";
    store::Store::txn(&store, store::Txn::default().put("consul/kv/x", held)).await.unwrap();
    let consul = open(store).await;
    let id = create(&consul, "").await;
    let mut index = 1;
    loop {
        let answer = send(&consul, "GET", &format!("kv/x?index={index}"), "").await;
        let entry: Value = serde_json::from_slice(&answer.body).unwrap();
        if entry[0].get("Session").is_none() {
            break;
        }
        index = answer.index().unwrap();
    }
    assert_eq!(put(&consul, format!("kv/x?acquire={id}")).await, "false");
    tokio::time::advance(std::time::Duration::from_secs(16)).await;
    assert_eq!(put(&consul, format!("kv/x?acquire={id}")).await, "true");
}
