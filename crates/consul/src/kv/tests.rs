//! Keys over HTTP semantics: tables of rules, a restart, and long random runs against a simple
//! model.

mod busy;
mod forget;
mod history;
mod model;

use crate::testing::{json, open, send, told};
use crate::{Consul, Topic};
use serde_json::{Value, json as js};
use store::Memory;

async fn index(consul: &Consul<Memory>, path: &str) -> u64 {
    send(consul, "GET", path, "").await.index().unwrap()
}

#[tokio::test]
async fn a_key_comes_back_as_clients_know_it() {
    let consul = open(Memory::default()).await;
    assert_eq!(told(&consul, "GET", "kv/a", "").await, (404, String::new()));
    let missing = send(&consul, "GET", "kv/a", "").await;
    assert_eq!(missing.index(), Some(1));
    assert_eq!(
        told(&consul, "PUT", "kv/a?flags=18446744073709551615", "hi").await,
        (200, "true".into())
    );
    let text = told(&consul, "GET", "kv/a", "").await.1;
    let at = index(&consul, "kv/a").await;
    assert_eq!(
        text,
        format!(
            "[{{\"LockIndex\":0,\"Key\":\"a\",\"Flags\":18446744073709551615,\"Value\":\"aGk=\",\
             \"CreateIndex\":{at},\"ModifyIndex\":{at}}}]"
        )
    );
    told(&consul, "PUT", "kv/empty", "").await;
    assert_eq!(json(&consul, "GET", "kv/empty", "").await[0]["Value"], Value::Null);
    let raw = send(&consul, "GET", "kv/a?raw", "").await;
    assert_eq!(&raw.body[..], b"hi");
    assert_eq!(raw.headers["content-type"], "text/plain");
    assert_eq!(raw.headers["x-content-type-options"], "nosniff");
    assert_eq!(raw.headers["content-security-policy"], "sandbox");
    for (name, value) in [("x-consul-knownleader", "true"), ("x-consul-lastcontact", "0")] {
        assert_eq!(raw.headers[name], value);
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let consul = open(Memory::default()).await;
    told(&consul, "PUT", "kv/a", "1").await;
    let (big, long) = ("x".repeat(512 * 1024 + 1), format!("kv/{}", "k".repeat(961)));
    for (method, path, body, status, text) in [
        ("PUT", "kv/", "v", 400, "Missing key name"),
        ("GET", "kv/", "", 400, "Missing key name"),
        ("DELETE", "kv/", "", 400, "Missing key name"),
        ("PUT", "kv/a?cas=0&acquire=x", "v", 400, "Conflicting flags: cas&acquire"),
        ("PUT", "kv/a?acquire=x&release=x", "v", 400, "Conflicting flags: acquire&release"),
        ("DELETE", "kv/a?recurse&cas=0", "", 400, "Conflicting flags: recurse&cas"),
        ("PUT", "kv/a?flags=-1", "v", 400, "Invalid flags value: \"-1\""),
        ("PUT", "kv/a?cas=", "v", 400, "Invalid cas value: \"\""),
        ("PUT", "kv/a?acquire=nobody", "v", 500, "invalid session \"nobody\""),
        (
            "PUT",
            "kv/a",
            big.as_str(),
            413,
            "Request body(524289 bytes) too large, max size: 524288 bytes.",
        ),
        ("PUT", long.as_str(), "v", 400, "a key of 961 bytes is longer than 960"),
        (
            "GET",
            "kv/a?stale&consistent",
            "",
            400,
            "Cannot specify ?stale with ?consistent, conflicting semantics.",
        ),
        ("GET", "kv/a?index=x", "", 400, "Invalid index"),
        ("GET", "kv/a?dc=other", "", 500, "No path to datacenter"),
        ("POST", "kv/a", "", 405, "method POST not allowed"),
    ] {
        let got = told(&consul, method, path, body.to_owned()).await;
        assert_eq!(got, (status, text.to_owned()), "{method} {path}");
    }
    assert_eq!(json(&consul, "GET", "kv/a", "").await[0]["Value"], "MQ==");
    let whole = "x".repeat(512 * 1024);
    assert_eq!(told(&consul, "PUT", "kv/whole", whole.clone()).await.0, 200);
    assert_eq!(told(&consul, "GET", "kv/whole?raw", "").await.1, whole);
}

#[tokio::test]
async fn cas_and_deletes_do_what_clients_expect() {
    let consul = open(Memory::default()).await;
    let put = |path: String| {
        let consul = &consul;
        async move { told(consul, "PUT", &path, "v").await.1 }
    };
    assert_eq!(put("kv/a?cas=1".into()).await, "false", "a missing key has no index");
    assert_eq!(put("kv/a?cas=0".into()).await, "true");
    assert_eq!(put("kv/a?cas=0".into()).await, "false", "it is there");
    let at = index(&consul, "kv/a").await;
    assert_eq!(put(format!("kv/a?cas={}", at - 1)).await, "false");
    assert_eq!(put(format!("kv/a?cas={at}&flags=1")).await, "true");
    let now = index(&consul, "kv/a").await;
    assert!(now > at);
    for (path, answer) in [
        ("kv/a?cas=0".to_owned(), "false"),
        (format!("kv/a?cas={at}"), "false"),
        (format!("kv/a?cas={now}"), "true"),
        ("kv/a?cas=77".to_owned(), "true"),
        ("kv/a".to_owned(), "true"),
    ] {
        assert_eq!(told(&consul, "DELETE", &path, "").await, (200, answer.into()), "{path}");
    }
    told(&consul, "PUT", "kv/a", "again").await;
    let entry = json(&consul, "GET", "kv/a", "").await;
    assert_eq!(entry[0]["CreateIndex"], entry[0]["ModifyIndex"], "it is a new one");
}

#[tokio::test]
async fn lists_are_plain_prefixes_in_the_order_of_bytes() {
    let consul = open(Memory::default()).await;
    for key in ["t/b", "t", "tz", "t/a/1", "t/a/2", "u", "Z"] {
        told(&consul, "PUT", &format!("kv/{key}"), "v").await;
    }
    let keys = |path: &'static str| {
        let consul = &consul;
        async move { json(consul, "GET", path, "").await }
    };
    assert_eq!(keys("kv/?keys").await, js!(["Z", "t", "t/a/1", "t/a/2", "t/b", "tz", "u"]));
    assert_eq!(keys("kv/t?keys").await, js!(["t", "t/a/1", "t/a/2", "t/b", "tz"]));
    assert_eq!(keys("kv/t/?keys&separator=/").await, js!(["t/a/", "t/b"]));
    assert_eq!(keys("kv/?keys&seperator=/").await, js!(["Z", "t", "t/", "tz", "u"]));
    let all = keys("kv/t/?recurse=").await;
    let names: Vec<&str> =
        all.as_array().unwrap().iter().map(|e| e["Key"].as_str().unwrap()).collect();
    assert_eq!(names, ["t/a/1", "t/a/2", "t/b"]);
    assert_eq!(told(&consul, "GET", "kv/none?keys", "").await, (404, String::new()));
    assert_eq!(told(&consul, "GET", "kv/none?recurse", "").await, (404, String::new()));
    told(&consul, "DELETE", "kv/t?recurse", "").await;
    assert_eq!(keys("kv/?keys").await, js!(["Z", "u"]));
    told(&consul, "DELETE", "kv/?recurse", "").await;
    assert_eq!(keys("kv/?keys").await, js!([]));
}

#[tokio::test]
async fn the_same_value_again_is_no_change_and_a_delete_raises_the_prefix() {
    let consul = open(Memory::default()).await;
    for key in ["p/a", "p/b", "q"] {
        told(&consul, "PUT", &format!("kv/{key}"), "v").await;
    }
    let (a, p, q) = (
        index(&consul, "kv/p/a").await,
        index(&consul, "kv/p/?recurse").await,
        index(&consul, "kv/q").await,
    );
    assert!(a < p && p < q);
    told(&consul, "PUT", "kv/p/b", "v").await;
    assert_eq!(index(&consul, "kv/p/?recurse").await, p);
    told(&consul, "DELETE", "kv/p/b", "").await;
    let deleted = index(&consul, "kv/p/?recurse").await;
    assert!(deleted > q);
    assert_eq!(index(&consul, "kv/p/?keys").await, deleted);
    assert_eq!(index(&consul, "kv/p/b").await, deleted, "a missing key has the table's");
    assert_eq!(index(&consul, "kv/q").await, q);
    assert_eq!(index(&consul, "kv/never").await, deleted);
}

#[tokio::test]
async fn deleting_more_than_a_transaction_holds() {
    let store = Memory::default();
    let consul = open(store).await;
    for n in 0..1_201 {
        told(&consul, "PUT", &format!("kv/many/{n}"), "v").await;
    }
    assert_eq!(told(&consul, "DELETE", "kv/many/?recurse", "").await, (200, "true".into()));
    assert_eq!(told(&consul, "GET", "kv/many/?keys", "").await.0, 404);
}

/// Deleted keys are forgotten after their time, and only then may the index of a prefix go back.
#[tokio::test(start_paused = true)]
async fn deleted_keys_are_forgotten_after_a_quarter_of_an_hour() {
    let consul = open(Memory::default()).await;
    for key in ["p/a", "p/b"] {
        told(&consul, "PUT", &format!("kv/{key}"), "v").await;
    }
    let live = index(&consul, "kv/p/a").await;
    told(&consul, "DELETE", "kv/p/b", "").await;
    told(&consul, "PUT", "kv/q", "newest").await;
    let newest = index(&consul, "kv/q").await;
    assert!(index(&consul, "kv/p/?recurse").await > live);
    let begun = tokio::time::Instant::now();
    // Whoever waits is not woken by it; time goes on by itself while all wait.
    let waited = json(&consul, "GET", &format!("kv/p/?keys&wait=600s&index={newest}"), "").await;
    assert_eq!(waited, js!(["p/a"]));
    assert!(begun.elapsed().as_secs() >= 600);
    assert!(index(&consul, "kv/p/?recurse").await > live);
    json(&consul, "GET", &format!("kv/p/?keys&wait=600s&index={newest}"), "").await;
    assert_eq!(index(&consul, "kv/p/?recurse").await, live);
    assert_eq!(index(&consul, "kv/none").await, newest);
    assert_eq!(consul.state().map().len(), 2);
    assert!(consul.waiters().is_empty());
}

#[tokio::test]
async fn a_restart_forgets_nothing() {
    let store = Memory::default();
    let first = open(store.clone()).await;
    for (path, body) in [("kv/a?flags=7", "1"), ("kv/b", "2"), ("kv/c", "3")] {
        told(&first, "PUT", path, body).await;
    }
    told(&first, "DELETE", "kv/c", "").await;
    let session = json(&first, "PUT", "session/create", "{\"Name\":\"s\"}").await;
    let id = session["ID"].as_str().unwrap();
    assert_eq!(told(&first, "PUT", &format!("kv/b?acquire={id}"), "2").await.1, "true");
    let second = open(store).await;
    for path in ["kv/?recurse", "kv/a", "kv/c"] {
        let (was, is) = (send(&first, "GET", path, "").await, send(&second, "GET", path, "").await);
        assert_eq!(was, is, "{path}");
    }
    // The index of the sessions is the store's after a start: no less than it was.
    let list = "session/list";
    let (was, is) = (send(&first, "GET", list, "").await, send(&second, "GET", list, "").await);
    assert_eq!(was.body, is.body);
    assert!(is.index() >= was.index());
    // The new one does not know the lock's holder any better: the session and the lock are stored.
    assert_eq!(told(&second, "PUT", &format!("kv/b?release={id}"), "2").await.1, "true");
}

#[tokio::test]
async fn many_writers_of_one_key_lose_nothing() {
    let consul = open(Memory::default()).await;
    told(&consul, "PUT", "kv/n", "0").await;
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let consul = consul.clone();
        writers.spawn(async move {
            loop {
                let entry = send(&consul, "GET", "kv/n?raw", "").await;
                let n: u64 = std::str::from_utf8(&entry.body).unwrap().parse().unwrap();
                let cas = format!("kv/n?cas={}", entry.index().unwrap());
                if told(&consul, "PUT", &cas, (n + 1).to_string()).await.1 == "true" {
                    return;
                }
            }
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    assert_eq!(told(&consul, "GET", "kv/n?raw", "").await.1, "20");
}

#[tokio::test]
async fn a_key_that_nothing_wakes_costs_no_waiter_after_it_is_gone() {
    let consul = open(Memory::default()).await;
    told(&consul, "PUT", "kv/a", "1").await;
    let at = index(&consul, "kv/a").await;
    let asking = {
        let consul = consul.clone();
        tokio::spawn(async move { json(&consul, "GET", &format!("kv/a?index={at}"), "").await })
    };
    while consul.waiters().is_empty() {
        tokio::task::yield_now().await;
    }
    told(&consul, "PUT", "kv/b", "unrelated").await;
    consul.waiters().wake([&Topic::Key("b".into())]);
    assert!(!asking.is_finished());
    told(&consul, "PUT", "kv/a", "2").await;
    assert_eq!(asking.await.unwrap()[0]["Value"], "Mg==");
    assert!(consul.waiters().is_empty());
}
