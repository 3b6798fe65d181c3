//! A small scheduler over loopback.

use super::*;
use axum::extract::State;
use axum::routing::post as on_post;
use axum::{Json, Router};
use serde_json::json;
use std::sync::{Arc, Mutex};

/// What it does, and what it was asked.
#[derive(Clone)]
struct Peer {
    order: Value,
    refuses: &'static str,
    seen: Arc<Mutex<Vec<Value>>>,
}

async fn peer(order: Value, refuses: &'static str) -> (SchedulerUrl, Arc<Mutex<Vec<Value>>>) {
    async fn prioritize(State(peer): State<Peer>, Json(body): Json<Value>) -> Json<Value> {
        peer.seen.lock().unwrap().push(body);
        Json(peer.order)
    }
    async fn reserve(
        State(peer): State<Peer>,
        Json(body): Json<Value>,
    ) -> Result<Json<Value>, http::StatusCode> {
        let host = body["data"]["schedulerRequest"]["hostID"].clone();
        peer.seen.lock().unwrap().push(body);
        if host == peer.refuses {
            return Err(http::StatusCode::CONFLICT);
        }
        Ok(Json(json!({ "portReservation": [{ "instanceID": "1", "allocatedIPs": [
            { "allocatedIP": "10.0.0.9", "publicPort": 80, "privatePort": 8080, "protocol": "tcp" },
        ] }] })))
    }
    async fn release(State(peer): State<Peer>, Json(body): Json<Value>) {
        peer.seen.lock().unwrap().push(body);
    }
    let seen = Arc::new(Mutex::new(vec![]));
    let routes = Router::new()
        .route("/v1/prioritize", on_post(prioritize))
        .route("/v1/reserve", on_post(reserve))
        .route("/v1/release", on_post(release))
        .with_state(Peer { order, refuses, seen: Arc::clone(&seen) });
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/", socket.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(socket, routes).await });
    (url.parse().unwrap(), seen)
}

fn request() -> Request {
    Request {
        key: ("shop/web".parse().unwrap(), 1, 1),
        candidates: ["a", "b", "c"].iter().map(|id| id.parse().unwrap()).collect(),
        body: json!({ "phase": "instance.allocate", "hostID": "", "force": false }),
    }
}

#[tokio::test]
async fn the_first_host_of_its_order_that_fits_and_that_it_reserves_is_taken() {
    let order = json!({ "prioritizedCandidates": ["elsewhere", "c", "b"] });
    let (url, seen) = peer(order, "c").await;
    let mut tasks = tokio::task::JoinSet::new();
    let mut scheduler = start(url, &mut tasks);
    assert!(scheduler.ask(request()).is_none());
    assert!(scheduler.ask(request()).is_none(), "asked once, however often it is wanted");
    let (key, answer) = scheduler.answer().await.unwrap();
    assert_eq!(key, request().key);
    let Answer::Reserved { host, ports } = answer else { panic!("{answer:?}") };
    assert_eq!(host.as_str(), "b");
    assert_eq!(ports[0].host_ip, Some("10.0.0.9".parse().unwrap()));
    let names: Vec<Value> = seen.lock().unwrap().iter().map(|body| body["name"].clone()).collect();
    assert_eq!(names, ["scheduler.prioritize", "scheduler.reserve", "scheduler.reserve"]);
}

#[tokio::test]
async fn a_scheduler_that_wants_it_nowhere_refuses_and_a_forced_one_is_overruled() {
    let (url, _) = peer(json!({ "prioritizedCandidates": ["a"] }), "a").await;
    assert_eq!(ask(&url, &request()).await, Answer::Refused);
    let mut forced = request();
    forced.body["force"] = json!(true);
    let answer = ask(&url, &forced).await;
    assert!(matches!(answer, Answer::Reserved { .. }), "{answer:?}");
}

#[tokio::test]
async fn one_that_is_not_there_or_talks_nonsense_is_down_with_the_reason() {
    let (url, _) = peer(json!({ "something": "else" }), "").await;
    let Answer::Down(why) = ask(&url, &request()).await else { panic!("it is not down") };
    assert!(why.contains("prioritizedCandidates"), "{why}");
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone: SchedulerUrl = format!("http://{}", socket.local_addr().unwrap()).parse().unwrap();
    drop(socket);
    let Answer::Down(why) = ask(&gone, &request()).await else { panic!("it is not down") };
    assert!(why.contains("refused"), "{why}");
}

#[tokio::test]
async fn a_release_is_told() {
    let (url, seen) = peer(json!({}), "").await;
    let body = request().on("scheduler.release", &"a".parse().unwrap());
    post(&url, "release", &body).await.unwrap();
    assert_eq!(seen.lock().unwrap()[0]["data"]["schedulerRequest"]["hostID"], "a");
}

#[test]
fn a_url_that_cannot_be_used_is_refused_with_the_reason() {
    for (text, why) in [
        ("https://a:1", "must begin with http://"),
        ("a:1", "must begin with http://"),
        ("http://", "is no URL"),
    ] {
        let error = text.parse::<SchedulerUrl>().unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
}
