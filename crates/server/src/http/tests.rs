//! The API from outside, without a network: routes against the document, errors in one shape.

use super::{document, router};
use crate::{Options, Server};
use api::error::{ErrorBody, Kind};
use api::routes;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use model::time::{Clock, Timestamp};
use serde_json::Value;
use std::collections::BTreeSet;
use store::Memory;
use tower::ServiceExt as _;

struct Api {
    router: Router,
    token: String,
    _dir: tempfile::TempDir,
}

async fn api() -> Api {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        dir: dir.path().to_owned(),
        subnet: "10.42.0.0/16".parse().unwrap(),
        names: vec![],
        environment: None,
        clock: Clock::new(|| Timestamp(1)),
    };
    let server = Server::open(Memory::default(), options).await.unwrap();
    let token = std::fs::read_to_string(&server.token_file).unwrap();
    tokio::task::spawn(crate::follow::run(server.shared.clone()));
    Api { router: router(server.shared), token, _dir: dir }
}

impl Api {
    async fn call(&self, method: &str, path: &str, body: &str) -> (StatusCode, Vec<u8>) {
        self.call_as(&self.token, method, path, body).await
    }

    async fn call_as(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: &str,
    ) -> (StatusCode, Vec<u8>) {
        let request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(path)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .body(Body::from(body.to_owned()))
            .unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let status = answer.status();
        (status, answer.into_body().collect().await.unwrap().to_bytes().to_vec())
    }
}

fn error(bytes: &[u8]) -> ErrorBody {
    serde_json::from_slice(bytes)
        .unwrap_or_else(|e| panic!("not the error shape ({e}): {}", String::from_utf8_lossy(bytes)))
}

/// Method and path of every operation of the document.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, item)| {
        let one = |(method, operation): (&String, &Value)| {
            (method.to_uppercase(), path.clone(), operation.clone())
        };
        item.as_object().unwrap().iter().map(one)
    });
    all.collect()
}

fn filled(path: &str) -> String {
    routes::fill(path, &["shop", "web", "pause"])
}

#[tokio::test]
async fn every_route_is_in_the_document_and_the_other_way_round() {
    let api = api().await;
    let document = serde_json::to_value(document()).unwrap();
    let documented = operations(&document);
    for (method, path, _) in &documented {
        let (status, bytes) = api.call(method, &filled(path), "{}").await;
        assert_ne!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        let body = String::from_utf8_lossy(&bytes);
        assert!(!body.contains("there is no route"), "{method} {path}");
    }
    let known: BTreeSet<(&str, &str)> =
        documented.iter().map(|(method, path, _)| (method.as_str(), path.as_str())).collect();
    // The router shows its paths when it is printed.
    let printed = format!("{:?}", api.router);
    let routed: BTreeSet<&str> =
        printed.split('"').filter(|word| word.starts_with(routes::ROOT)).collect();
    assert!(routed.contains(routes::STACK_PLAN), "{printed}");
    for path in routed {
        for method in ["GET", "PUT", "POST", "DELETE", "PATCH"] {
            let (status, bytes) = api.call(method, &filled(path), "{}").await;
            let there = status != StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(there, known.contains(&(method, path)), "{method} {path}");
            if !there {
                assert_eq!(error(&bytes).error.kind, Kind::MethodNotAllowed);
            }
        }
    }
}

#[tokio::test]
async fn the_document_says_who_may_and_what_goes_wrong_and_refers_to_nothing_that_is_not_there() {
    let document = serde_json::to_value(document()).unwrap();
    let mut names = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let what = format!("{method} {path}");
        let name = operation["operationId"].as_str().unwrap().to_owned();
        assert!(names.insert(name), "{what} has the name of another one");
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|code| code.starts_with('2') || code == "101"), "{what}");
        let guarded = path != routes::PING;
        assert_eq!(operation["security"].is_array(), guarded, "{what}");
        assert_eq!(responses.contains_key("401"), guarded, "{what}");
        if path.contains('{') {
            assert!(responses.contains_key("404"), "{what}");
        }
        for parameter in operation["parameters"].as_array().unwrap_or(&vec![]) {
            let place = parameter["in"].as_str().unwrap();
            let in_path = path.contains(&format!("{{{}}}", parameter["name"].as_str().unwrap()));
            assert_eq!(place, if in_path { "path" } else { "query" }, "{what} {parameter}");
            assert_eq!(parameter["required"].as_bool().unwrap(), in_path, "{what} {parameter}");
        }
    }
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer} is not there");
    }
}

#[tokio::test]
async fn nothing_but_the_ping_is_answered_without_the_right_token() {
    let api = api().await;
    let document = serde_json::to_value(document()).unwrap();
    let mut wrong = api.token.clone();
    let last = if wrong.ends_with('0') { "1" } else { "0" };
    wrong.replace_range(wrong.len() - 1.., last);
    for (method, path, _) in operations(&document) {
        for token in ["", "nonsense", &wrong] {
            let (status, bytes) = api.call_as(token, &method, &filled(&path), "{}").await;
            if path == routes::PING {
                assert_eq!(status, StatusCode::OK);
                continue;
            }
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path}");
            assert_eq!(error(&bytes).error.kind, Kind::Unauthorized);
        }
    }
}

#[tokio::test]
async fn whatever_is_wrong_the_error_has_one_shape() {
    let api = api().await;
    let long = "x".repeat(model::limits::API_BODY_BYTES_MAX + 1);
    let many = format!("{{\"scale\": {}}}", u64::MAX);
    for (method, path, body, kind) in [
        ("GET", "/", "", Kind::NotFound),
        ("GET", "/api/v1/nothing", "", Kind::NotFound),
        ("GET", "/api/v1/stacks/none", "", Kind::NotFound),
        ("GET", "/api/v1/stacks/no%20ne", "", Kind::Invalid),
        ("GET", "/api/v1/stacks/%ff", "", Kind::Invalid),
        ("PATCH", "/api/v1/ping", "", Kind::MethodNotAllowed),
        ("DELETE", "/api/v1/stacks", "", Kind::MethodNotAllowed),
        ("GET", "/api/v1/images/build", "", Kind::MethodNotAllowed),
        ("GET", "/api/v1/events?tail=x", "", Kind::Invalid),
        ("GET", "/api/v1/instances?after=-1", "", Kind::Invalid),
        ("GET", "/api/v1/logs?stack=none", "", Kind::NotFound),
        ("GET", "/api/v1/exec?stack=none", "", Kind::Invalid),
        ("POST", "/api/v1/images/build?args=x", "", Kind::Invalid),
        ("PUT", "/api/v1/stacks/shop", "{", Kind::Invalid),
        ("PUT", "/api/v1/stacks/shop", "[]", Kind::Invalid),
        ("PUT", "/api/v1/stacks/shop", long.as_str(), Kind::TooLarge),
        ("POST", "/api/v1/stacks/shop/services/web/scale", many.as_str(), Kind::Invalid),
        ("POST", "/api/v1/stacks/shop/services/web/restart", "", Kind::NotFound),
        ("POST", "/api/v1/stacks/shop/services/web/actions/pause", "", Kind::NotFound),
        ("POST", "/api/v1/stacks/shop/services/web/actions/dance", "", Kind::NotFound),
        (
            "POST",
            "/api/v1/stacks/shop/services/web/actions/rollback",
            "{\"to\": -1}",
            Kind::Invalid,
        ),
        ("POST", "/api/v1/stacks/shop/services/web/actions/pause", "{\"to\": 1}", Kind::Invalid),
        ("GET", "/api/v1/stacks/shop/services/web/history", "", Kind::NotFound),
        ("GET", "/api/v1/stacks/shop/services/web/diff?from=x", "", Kind::Invalid),
        ("GET", "/api/v1/stacks/shop/services/web/runs", "", Kind::NotFound),
        ("GET", "/api/v1/hosts/none", "", Kind::NotFound),
        ("GET", "/api/v1/hosts/a%20b", "", Kind::Invalid),
        ("DELETE", "/api/v1/hosts/none?force=true", "", Kind::NotFound),
        ("POST", "/api/v1/hosts/none/cordon", "", Kind::NotFound),
        ("POST", "/api/v1/hosts/none/drain", "{\"soon\": 1}", Kind::Invalid),
        ("POST", "/api/v1/hosts/none/labels", "{\"zone\": 1}", Kind::Invalid),
        ("POST", "/api/v1/images/pull?image=x", "", Kind::Unavailable),
    ] {
        let (status, bytes) = api.call(method, path, body).await;
        let error = error(&bytes).error;
        assert_eq!((error.kind, status), (kind, kind.status()), "{method} {path}: {error:?}");
        assert!(!error.message.is_empty());
    }
}
