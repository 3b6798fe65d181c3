//! Config entries are kept as they came, and waited for.

use crate::testing::{json, open, send, told};
use proptest::prelude::*;
use serde_json::json as object;
use store::Memory;

#[tokio::test]
async fn an_entry_comes_back_as_it_came() {
    let consul = open(Memory::default()).await;
    let body = r#"{"kind":"service-splitter","Name":"web","Splits":[{"Weight":90.5}],"x_y":null}"#;
    assert_eq!(told(&consul, "PUT", "config", body).await, (200, "true".into()));
    let mut found = json(&consul, "GET", "config/service-splitter/web", "").await;
    let index = found["ModifyIndex"].as_u64().unwrap();
    assert_eq!(found["CreateIndex"], index);
    let fields = found.as_object_mut().unwrap();
    fields.remove("ModifyIndex");
    fields.remove("CreateIndex");
    let want = object!({
        "Kind": "service-splitter", "Name": "web", "Splits": [{"Weight": 90.5}], "x_y": null,
    });
    assert_eq!(found, want);
    // The same again is no change.
    assert_eq!(told(&consul, "PUT", "config", body).await.1, "true");
    let again = json(&consul, "GET", "config/service-splitter", "").await;
    assert_eq!((again.as_array().unwrap().len(), &again[0]["ModifyIndex"]), (1, &index.into()));
    let cas = |index: u64| format!("config?cas={index}");
    let other = r#"{"Kind":"service-splitter","Name":"web","Splits":[]}"#;
    assert_eq!(told(&consul, "PUT", &cas(0), other).await.1, "false");
    assert_eq!(told(&consul, "PUT", &cas(index), other).await.1, "true");
    assert_eq!(told(&consul, "PUT", &cas(0), r#"{"Kind":"mesh"}"#).await.1, "true");
    assert_eq!(json(&consul, "GET", "config/mesh/mesh", "").await["Name"], "mesh");
    let path = format!("config/service-splitter/web?cas={index}");
    assert_eq!(told(&consul, "DELETE", &path, "").await.1, "false");
    let path = "config/service-splitter/web";
    assert_eq!(told(&consul, "DELETE", path, "").await, (200, "{}".into()));
    let (status, text) = told(&consul, "GET", path, "").await;
    assert_eq!(status, 404);
    assert_eq!(text, "Config entry not found for \"service-splitter\" / \"web\"");
    assert_eq!(told(&consul, "GET", "config/service-splitter", "").await, (200, "[]".into()));
}

#[tokio::test]
async fn what_is_no_entry_is_refused() {
    let consul = open(Memory::default()).await;
    let long = format!(r#"{{"Kind":"service-defaults","Name":"{}"}}"#, "x".repeat(257));
    for body in [
        "",
        "[]",
        "{}",
        r#"{"Kind":"service-x","Name":"a"}"#,
        r#"{"Kind":"service-defaults"}"#,
        r#"{"Kind":"service-defaults","Name":"a/b"}"#,
        r#"{"Kind":"proxy-defaults","Name":"other"}"#,
        &long,
    ] {
        assert_eq!(told(&consul, "PUT", "config", body.to_owned()).await.0, 400, "{body}");
    }
    assert_eq!(told(&consul, "GET", "config/nothing/a", "").await.0, 400);
    assert_eq!(told(&consul, "DELETE", "config/mesh", "").await.0, 400);
}

#[tokio::test]
async fn who_waits_for_a_kind_is_woken_by_a_change() {
    let consul = open(Memory::default()).await;
    // No client is told of index 0: the first write of a store would be no news.
    told(&consul, "PUT", "kv/a", "").await;
    let index = send(&consul, "GET", "config/mesh", "").await.index().unwrap();
    let waiting = {
        let consul = consul.clone();
        let path = format!("config/mesh?index={index}&wait=10m");
        tokio::spawn(async move { json(&consul, "GET", &path, "").await })
    };
    while consul.waiters().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(told(&consul, "PUT", "config", r#"{"Kind":"mesh"}"#).await.1, "true");
    assert_eq!(waiting.await.unwrap()[0]["Kind"], "mesh");
}

proptest! {
    #[test]
    fn no_body_breaks_the_reader(body in prop::collection::vec(any::<u8>(), 0..200)) {
        super::read(&body.into()).ok();
    }
}
