//! Lists have what may be read, and say so when something is left out.

use super::Guarded;
use crate::answer::Answer;
use model::consul_access::AclMode;
use serde_json::Value;

fn is_filtered(answer: &Answer) -> bool {
    answer.headers.get("x-consul-results-filtered-by-acls").is_some()
}

fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

#[tokio::test]
async fn keys_that_may_not_be_read_are_left_out() {
    let guarded = Guarded::new(AclMode::Deny).await;
    let root = guarded.root.as_str();
    for key in ["a/1", "a/2", "b/1"] {
        assert_eq!(guarded.told("PUT", &format!("kv/{key}"), "v", root).await.1, "true");
    }
    let secret = guarded.token("a", "key_prefix \"a/\" { policy = \"read\" }").await;
    let all = guarded.ask("GET", "kv/?recurse", "", &secret).await;
    assert!(is_filtered(&all) && !text(&all).contains("b/1") && text(&all).contains("a/2"));
    let keys = guarded.ask("GET", "kv/a/?keys", "", &secret).await;
    assert_eq!(text(&keys), r#"["a/1","a/2"]"#);
    assert!(!is_filtered(&keys));
    assert_eq!(guarded.told("GET", "kv/b/?recurse", "", &secret).await.0, 404);
    let answer = guarded.ask("GET", "kv/b/1", "", &secret).await;
    assert_eq!(answer.status, 403);
    assert!(text(&answer).starts_with("Permission denied: token with AccessorID '"));
    assert!(text(&answer).ends_with("lacks permission 'key:read' on \"b/1\""), "{answer:?}");
    let (_, none) = guarded.told("GET", "kv/b/1", "", "").await;
    assert!(none.starts_with("Permission denied: anonymous token lacks permission 'key:read'"));
}

#[tokio::test]
async fn a_recursive_delete_needs_all_that_is_below() {
    let guarded = Guarded::new(AclMode::Deny).await;
    let rules = "key_prefix \"a/\" { policy = \"write\" } key \"a/b/keep\" { policy = \"read\" }";
    let secret = guarded.token("a", rules).await;
    assert_eq!(guarded.told("DELETE", "kv/a/?recurse", "", &secret).await.0, 403);
    assert_eq!(guarded.told("DELETE", "kv/a/c/?recurse", "", &secret).await.0, 200);
    assert_eq!(guarded.told("DELETE", "kv/a/b/keep", "", &secret).await.0, 403);
}

#[tokio::test]
async fn a_transaction_is_looked_at_operation_by_operation() {
    let guarded = Guarded::new(AclMode::Deny).await;
    let root = guarded.root.as_str();
    guarded.told("PUT", "kv/b/1", "v", root).await;
    let secret = guarded.token("a", "key_prefix \"a/\" { policy = \"write\" }").await;
    let two = |second: &str| {
        format!(r#"[{{"KV":{{"Verb":"set","Key":"a/1","Value":"dg=="}}}},{{"KV":{second}}}]"#)
    };
    let (status, told) =
        guarded.told("PUT", "txn", &two(r#"{"Verb":"set","Key":"b/1"}"#), &secret).await;
    assert_eq!(status, 409);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["Errors"][0]["OpIndex"], 1);
    assert!(told["Errors"][0]["What"].as_str().unwrap().starts_with("Permission denied"));
    assert_eq!(guarded.told("GET", "kv/a/1", "", root).await.0, 404, "nothing was done");
    let (status, told) =
        guarded.told("PUT", "txn", &two(r#"{"Verb":"get","Key":"b/1"}"#), &secret).await;
    assert_eq!(status, 200);
    assert!(!told.contains("b/1"), "{told}");
}

#[tokio::test]
async fn the_catalog_shows_what_may_be_read() {
    let guarded = Guarded::new(AclMode::Deny).await;
    let rules = "service \"web\" { policy = \"read\" } node \"h1\" { policy = \"read\" }";
    let secret = guarded.token("web", rules).await;
    for (path, has, lacks) in [
        ("catalog/services", "web", "db"),
        ("catalog/nodes", "\"h1\"", "\"h2\""),
        ("catalog/service/web", "\"h1\"", "\"h2\""),
        ("health/service/web", "\"h1\"", "\"h2\""),
        ("health/checks/web", "\"h1\"", "\"h2\""),
        ("health/state/any", "\"h1\"", "\"h2\""),
        ("agent/members", "\"h1\"", "\"h2\""),
        ("catalog/service/db", "[]", "\"h2\""),
        ("health/service/db", "[]", "\"h2\""),
        ("catalog/node/h2", "null", "db"),
        ("catalog/node-services/h2", "null", "db"),
        ("health/node/h2", "[]", "db"),
    ] {
        let whole = guarded.told("GET", path, "", &guarded.root).await.1;
        let part = guarded.ask("GET", path, "", &secret).await;
        assert!(text(&part).contains(has) && !text(&part).contains(lacks), "{path}: {part:?}");
        assert_ne!(whole, text(&part), "{path}");
        assert_eq!(is_filtered(&part), part.index().is_some(), "{path}");
        let none = guarded.ask("GET", path, "", "").await;
        assert!(!text(&none).contains("\"h1\"") && !text(&none).contains("10.0.0"), "{path}");
    }
    let own = guarded.ask("GET", "catalog/node/h1", "", &secret).await;
    assert!(text(&own).contains("\"web\"") && !is_filtered(&own), "{own:?}");
}

#[tokio::test]
async fn a_registration_needs_the_service_that_it_has_and_the_one_that_it_gets() {
    let guarded = Guarded::new(AclMode::Deny).await;
    let id = guarded.json("GET", "catalog/service/web", "", &guarded.root).await;
    let id = id[0]["ServiceID"].as_str().unwrap().to_owned();
    let secret = guarded.token("mine", "service \"mine\" { policy = \"write\" }").await;
    let take = format!(r#"{{"ID":"{id}","Name":"mine"}}"#);
    assert_eq!(guarded.told("PUT", "agent/service/register", &take, &secret).await.0, 403);
    let path = format!("agent/service/deregister/{id}");
    assert_eq!(guarded.told("PUT", &path, "", &secret).await.0, 403);
    let path = format!("agent/service/maintenance/{id}?enable=true");
    assert_eq!(guarded.told("PUT", &path, "", &secret).await.0, 403);
    let check = r#"{"Name":"node","TTL":"10s"}"#;
    assert_eq!(guarded.told("PUT", "agent/check/register", check, &secret).await.0, 403);
    let outside = r#"{"Node":"o","Address":"1.2.3.4","Service":{"Service":"mine"}}"#;
    assert_eq!(guarded.told("PUT", "catalog/register", outside, &secret).await.0, 403);
    assert!(guarded.world.consul.acls().mode() == AclMode::Deny);
}
