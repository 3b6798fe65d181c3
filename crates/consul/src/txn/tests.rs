//! Transactions, events, operator and snapshots, as clients send them.

use crate::testing::{json, open, send, told};
use serde_json::{Value, json as js};
use store::Memory;

fn op(verb: &str, key: &str, more: Value) -> Value {
    let mut op = js!({"Verb": verb, "Key": key});
    op.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    js!({ "KV": op })
}

#[tokio::test]
async fn all_verbs_and_what_they_say_when_they_fail() {
    let consul = open(Memory::default()).await;
    told(&consul, "PUT", "kv/a", "1").await;
    let at = send(&consul, "GET", "kv/a", "").await.index().unwrap();
    let made = json(&consul, "PUT", "session/create", "{\"LockDelay\":0}").await;
    let session = made["ID"].as_str().unwrap();
    let none = || js!({});
    for (ops, failed) in [
        (vec![op("get", "none", none())], Some((0, "key \"none\" doesn't exist"))),
        (
            vec![op("get", "a", none()), op("cas", "a", js!({"Index": 77}))],
            Some((1, "failed to set key \"a\", index is stale")),
        ),
        (vec![op("check-index", "a", js!({"Index": 77}))], Some((0, "current modify index"))),
        (vec![op("check-index", "a", js!({"Index": at}))], None),
        (vec![op("check-not-exists", "a", none())], Some((0, "key \"a\" exists"))),
        (vec![op("check-not-exists", "b", none())], None),
        (
            vec![op("check-session", "a", js!({"Session": "x"}))],
            Some((0, "current session \"\" != \"x\"")),
        ),
        (
            vec![op("unlock", "a", js!({"Session": session}))],
            Some((0, "failed to unlock key \"a\"")),
        ),
        (
            vec![op("lock", "a", js!({"Session": "nobody"}))],
            Some((0, "invalid session \"nobody\"")),
        ),
        (
            vec![op("delete-cas", "a", js!({"Index": 77}))],
            Some((0, "failed to delete key \"a\", index is stale")),
        ),
        (vec![op("get-or-empty", "none", none())], None),
        (vec![op("get-tree", "", none())], None),
        (
            vec![
                op("lock", "l", js!({"Session": session})),
                op("check-session", "l", js!({"Session": session})),
            ],
            None,
        ),
        (
            vec![
                op("unlock", "l", js!({"Session": session})),
                op("lock", "l", js!({"Session": session})),
            ],
            None,
        ),
    ] {
        let body = serde_json::to_string(&ops).unwrap();
        let (status, text) = told(&consul, "PUT", "txn", body.clone()).await;
        let answer: Value = serde_json::from_str(&text).unwrap();
        match failed {
            None => {
                assert_eq!((status, &answer["Errors"]), (200, &Value::Null), "{body}: {text}");
            }
            Some((at, why)) => {
                let error = &answer["Errors"][0];
                assert_eq!((status, &error["OpIndex"]), (409, &js!(at)), "{body}: {text}");
                assert!(error["What"].as_str().unwrap().starts_with(why), "{body}: {text}");
                assert_eq!(answer["Results"], Value::Null);
            }
        }
    }
}

#[tokio::test]
async fn a_transaction_is_whole_at_one_index_and_sees_itself() {
    let consul = open(Memory::default()).await;
    told(&consul, "PUT", "kv/old/1", "x").await;
    let ops = js!([
        op("set", "a", js!({"Value": "MQ==", "Flags": 7})),
        {"kv": {"verb": "get", "key": "a"}},
        op("delete-tree", "old/", js!({})),
        op("check-not-exists", "old/1", js!({})),
        op("set", "b", js!({"Value": null})),
    ]);
    let answer = json(&consul, "PUT", "txn", ops.to_string()).await;
    let at = send(&consul, "GET", "kv/a", "").await.index().unwrap();
    let rows = answer["Results"].as_array().unwrap();
    assert_eq!(rows.len(), 3);
    let a = |value: Value| js!({"LockIndex": 0, "Key": "a", "Flags": 7, "Value": value, "CreateIndex": at, "ModifyIndex": at});
    assert_eq!((&rows[0]["KV"], &rows[1]["KV"]), (&a(Value::Null), &a(js!("MQ=="))));
    assert_eq!(rows[2]["KV"]["ModifyIndex"], js!(at));
    assert_eq!(json(&consul, "GET", "kv/?keys", "").await, js!(["a", "b"]));
    // One that fails changes nothing.
    let ops = js!([op("set", "c", js!({})), op("get", "none", js!({}))]);
    assert_eq!(told(&consul, "PUT", "txn", ops.to_string()).await.0, 409);
    assert_eq!(told(&consul, "GET", "kv/c", "").await.0, 404);
}

#[tokio::test]
async fn bodies_that_are_none_are_refused() {
    let consul = open(Memory::default()).await;
    let ops = |n: usize| serde_json::to_string(&vec![op("get-or-empty", "a", js!({})); n]).unwrap();
    let big = js!([op("set", "a", js!({"Value": "AAAA".repeat(200_000)}))]).to_string();
    for (body, status, text) in [
        ("".to_owned(), 400, "Failed to parse body"),
        ("{}".to_owned(), 400, "Failed to parse body"),
        ("[{}]".to_owned(), 400, "Failed to parse body: an operation without KV"),
        (
            "[{\"KV\":{\"Verb\":\"nope\",\"Key\":\"a\"}}]".to_owned(),
            400,
            "unknown KV verb \"nope\"",
        ),
        (
            "[{\"KV\":{\"Verb\":\"set\",\"Key\":\"a\",\"Value\":\"?\"}}]".to_owned(),
            400,
            "Failed to parse body: illegal base64",
        ),
        ("[{\"KV\":{\"Verb\":\"set\",\"Key\":\"\"}}]".to_owned(), 400, "Missing key name"),
        (
            "[{\"KV\":{\"Verb\":\"set\",\"Key\":\"a\",\"Flags\":-1}}]".to_owned(),
            400,
            "Failed to parse body: Flags",
        ),
        ("[{\"Node\":{\"Verb\":\"get\"}}]".to_owned(), 400, "operations on Node are not known"),
        (ops(129), 413, "Transaction contains too many operations (129 > 128)"),
        (big, 413, "Request body(600000 bytes) too large"),
    ] {
        let got = told(&consul, "PUT", "txn", body.clone()).await;
        assert!(got.0 == status && got.1.starts_with(text), "{got:?}");
    }
    assert_eq!(told(&consul, "PUT", "txn", ops(128)).await.0, 200);
    assert_eq!(told(&consul, "PUT", "txn", "[]").await.0, 200);
}

#[tokio::test]
async fn events_are_fired_listed_and_waited_for() {
    let consul = open(Memory::default()).await;
    assert_eq!(told(&consul, "GET", "event/list", "").await, (200, "[]".into()));
    let fired = json(&consul, "PUT", "event/fire/deploy?node=n&tag=t", "hi").await;
    assert_eq!(
        (&fired["Payload"], &fired["NodeFilter"], &fired["LTime"]),
        (&js!("aGk="), &js!("n"), &js!(1))
    );
    json(&consul, "PUT", "event/fire/other", "").await;
    let listed = json(&consul, "GET", "event/list?name=deploy", "").await;
    assert_eq!(listed, js!([fired]));
    let at = send(&consul, "GET", "event/list", "").await.index().unwrap();
    let waiting = {
        let (consul, path) = (consul.clone(), format!("event/list?index={at}"));
        tokio::spawn(async move { json(&consul, "GET", &path, "").await })
    };
    while consul.waiters().is_empty() {
        tokio::task::yield_now().await;
    }
    let last = json(&consul, "PUT", "event/fire/third", "").await;
    assert_eq!(waiting.await.unwrap().as_array().unwrap().last(), Some(&last));
    for n in 0..300 {
        told(&consul, "PUT", &format!("event/fire/e{n}"), "").await;
    }
    let listed = json(&consul, "GET", "event/list", "").await;
    assert_eq!(listed.as_array().unwrap().len(), 256);
    assert_eq!(told(&consul, "PUT", "event/fire/big", "x".repeat(513)).await.0, 413);
    assert_eq!(told(&consul, "PUT", "event/fire/", "").await.0, 400);
}

#[tokio::test]
async fn one_server_leads_and_is_well() {
    let consul = open(Memory::default()).await;
    let raft = json(&consul, "GET", "operator/raft/configuration", "").await;
    let server = &raft["Servers"][0];
    assert_eq!(
        (&server["Leader"], &server["Voter"], &server["Address"]),
        (&js!(true), &js!(true), &js!("10.0.0.1:8300"))
    );
    let health = json(&consul, "GET", "operator/autopilot/health", "").await;
    assert_eq!((&health["Healthy"], &health["Servers"][0]["Name"]), (&js!(true), &js!("n1")));
}

#[tokio::test]
async fn a_snapshot_puts_the_keys_back_and_a_corrupt_one_changes_nothing() {
    let consul = open(Memory::default()).await;
    for (key, value) in [("a", "1"), ("b/c", "2")] {
        told(&consul, "PUT", &format!("kv/{key}?flags=3"), value).await;
    }
    let saved = send(&consul, "GET", "snapshot", "").await;
    assert_eq!(saved.headers["content-type"], "application/x-gzip");
    assert!(saved.index().unwrap() > 1);
    told(&consul, "PUT", "kv/a", "changed").await;
    told(&consul, "DELETE", "kv/b/c", "").await;
    let made = json(&consul, "PUT", "session/create", "").await;
    let holder = made["ID"].as_str().unwrap().to_owned();
    told(&consul, "PUT", &format!("kv/new?acquire={holder}"), "x").await;
    told(&consul, "PUT", &format!("kv/a?acquire={holder}"), "changed").await;
    let before = json(&consul, "GET", "kv/?recurse", "").await;
    let cut = saved.body.slice(..saved.body.len() / 2);
    for corrupt in ["nonsense".into(), cut, bytes::Bytes::new()] {
        let (status, text) = told(&consul, "PUT", "snapshot", corrupt).await;
        assert!(status == 500 && text.contains("nothing was changed"), "{text}");
    }
    assert_eq!(json(&consul, "GET", "kv/?recurse", "").await, before);
    assert_eq!(told(&consul, "PUT", "snapshot", saved.body).await, (200, String::new()));
    let after = json(&consul, "GET", "kv/?recurse", "").await;
    let rows: Vec<(&Value, &Value, &Value)> =
        after.as_array().unwrap().iter().map(|e| (&e["Key"], &e["Value"], &e["Flags"])).collect();
    assert_eq!(rows, [(&js!("a"), &js!("MQ=="), &js!(3)), (&js!("b/c"), &js!("Mg=="), &js!(3))]);
    assert_eq!(after[0].get("Session"), None);
}
