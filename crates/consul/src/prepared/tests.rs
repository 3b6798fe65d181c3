//! Prepared queries: kept, changed, run, and templates.

use crate::catalog::tests::{World, plain};
use model::health::Health;
use serde_json::Value;

async fn world() -> World {
    let mut world = World::new().await;
    let label = [("SERVICE_TAGS", "http,canary")];
    world.apply(vec![plain("h2", "d", 31004, Health::Healthy, &label)]);
    world
}

async fn create(world: &World, body: &str) -> String {
    let answer = world.send("POST", "query", body).await;
    assert_eq!(answer.status, 200, "{body}: {answer:?}");
    let told: Value = serde_json::from_slice(&answer.body).unwrap();
    told["ID"].as_str().unwrap().to_owned()
}

async fn nodes(world: &World, path: &str) -> Vec<String> {
    let told: Value = serde_json::from_str(&world.text(path).await).unwrap();
    let nodes = told["Nodes"].as_array().unwrap().iter();
    let mut ids: Vec<String> =
        nodes.map(|one| one["Service"]["ID"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn a_query_is_kept_read_changed_and_deleted() {
    let world = world().await;
    assert_eq!(world.text("query").await, "[]");
    let id = create(
        &world,
        r#"{"name":"q","Service":{"Service":"web"},"DNS":{"TTL":"7s"},"Token":"t"}"#,
    )
    .await;
    let told = world.text(&format!("query/{id}")).await;
    let index: Value = serde_json::from_str(&told).unwrap();
    let index = index[0]["ModifyIndex"].as_u64().unwrap();
    assert_eq!(
        told,
        format!(
            "[{{\"ID\":\"{id}\",\"Name\":\"q\",\"Session\":\"\",\"Template\":{{\"Type\":\"\",\"Regexp\":\"\",\
         \"RemoveEmptyTags\":false}},\"Token\":\"<hidden>\",\"Service\":{{\"Service\":\"web\",\
         \"Failover\":{{\"NearestN\":0,\"Datacenters\":[]}},\"OnlyPassing\":false,\
         \"IgnoreCheckIDs\":[],\"Near\":\"\",\"Tags\":[],\"NodeMeta\":{{}},\"ServiceMeta\":{{}},\
         \"Connect\":false}},\"DNS\":{{\"TTL\":\"7s\"}},\"CreateIndex\":{index},\"ModifyIndex\":{index}}}]"
        )
    );
    let answer = world
        .send("PUT", &format!("query/{id}"), r#"{"Name":"r","Service":{"Service":"db"}}"#)
        .await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
    assert!(world.text("query").await.contains("\"Name\":\"r\""));
    assert_eq!(world.ask("GET", "query/q/execute").await.status, 404);
    assert_eq!(nodes(&world, "query/r/execute").await, ["h2:c:80"]);
    assert_eq!(world.ask("DELETE", &format!("query/{id}")).await.status, 200);
    assert_eq!(world.text("query").await, "[]");
    assert_eq!(&world.ask("GET", &format!("query/{id}")).await.body[..], b"Query not found");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let world = world().await;
    create(&world, r#"{"Name":"taken","Service":{"Service":"web"}}"#).await;
    for (body, why) in [
        ("", "Request decode failed"),
        ("[]", "a query is a JSON object"),
        ("{}", "Must provide a Service name"),
        (r#"{"Service":{"Service":"x","Tags":"a"}}"#, "Tags must be a list of texts"),
        (r#"{"Service":{"Service":"x","OnlyPassing":"a"}}"#, "OnlyPassing must be true or false"),
        (r#"{"Service":{"Service":"x"},"DNS":{"TTL":"soon"}}"#, "Bad DNS TTL 'soon'"),
        (r#"{"Service":{"Service":"x"},"Template":{"Type":"other"}}"#, "Bad Template.Type 'other'"),
        (
            r#"{"Service":{"Service":"x"},"Template":{"Type":"name_prefix_match","Regexp":"("}}"#,
            "Bad Template.Regexp",
        ),
        (r#"{"Name":"taken","Service":{"Service":"x"}}"#, "choose another"),
        (r#"{"Name":"a\u0000","Service":{"Service":"x"}}"#, "cannot be printed"),
    ] {
        let answer = world.send("POST", "query", body).await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(answer.status == 400 && text.contains(why), "{body}: {} {text}", answer.status);
    }
    assert_eq!(world.send("PUT", "query/none", "{}").await.status, 404);
    assert_eq!(world.ask("POST", "query/none").await.status, 405);
}

#[tokio::test]
async fn who_fits_is_answered() {
    let world = world().await;
    for (service, ids) in [
        (r#"{"Service":"web"}"#, &["h1:a:80", "h2:d:80"][..]),
        (
            r#"{"Service":"web","IgnoreCheckIDs":["service:h2:b:80"]}"#,
            &["h1:a:80", "h2:b:80", "h2:d:80"],
        ),
        (r#"{"Service":"web","OnlyPassing":true}"#, &["h1:a:80", "h2:d:80"]),
        (r#"{"Service":"web","Tags":["HTTP","!canary"]}"#, &["h1:a:80"]),
        (r#"{"Service":"web","NodeMeta":{"zone":"b"}}"#, &["h2:d:80"]),
        (r#"{"Service":"web","ServiceMeta":{"env":"prod"}}"#, &["h1:a:80"]),
        (r#"{"Service":"none"}"#, &[]),
    ] {
        let id = create(&world, &format!("{{\"Service\":{service}}}")).await;
        assert_eq!(nodes(&world, &format!("query/{id}/execute")).await, ids, "{service}");
    }
    let id = create(&world, r#"{"Service":{"Service":"web"},"DNS":{"TTL":"7s"}}"#).await;
    assert_eq!(nodes(&world, &format!("query/{id}/execute?near=h2&limit=1")).await, ["h2:d:80"]);
    assert_eq!(
        nodes(&world, &format!("query/{id}/execute?near=_agent&limit=1")).await,
        ["h1:a:80"]
    );
    let told = world.text(&format!("query/{id}/execute")).await;
    assert!(told.starts_with("{\"Service\":\"web\",\"Nodes\":[{\"Node\":{"), "{told}");
    assert!(
        told.ends_with("],\"DNS\":{\"TTL\":\"7s\"},\"Datacenter\":\"dc1\",\"Failovers\":0}"),
        "{told}"
    );
}

#[tokio::test]
async fn the_template_with_the_longest_name_is_filled_in() {
    let world = world().await;
    create(
        &world,
        r#"{"Name":"","Service":{"Service":"none"},"Template":{"Type":"name_prefix_match"}}"#,
    )
    .await;
    create(&world, r#"{"Name":"geo-","Template":{"Type":"name_prefix_match","Regexp":"^geo-([a-z]+)-?(.*)$","RemoveEmptyTags":true},
        "Service":{"Service":"${match(1)}","Tags":["${match(2)}"]}}"#).await;
    assert_eq!(nodes(&world, "query/geo-web/execute").await, ["h1:a:80", "h2:d:80"]);
    assert_eq!(nodes(&world, "query/geo-web-canary/execute").await, ["h2:d:80"]);
    let explained: Value =
        serde_json::from_str(&world.text("query/geo-web/explain").await).unwrap();
    assert_eq!(explained["Query"]["Service"]["Service"], "web");
    assert_eq!(nodes(&world, "query/else/execute").await, [""; 0]);
}
