//! What every endpoint has in common.

use crate::testing::{open, send};
use store::Memory;

async fn ask(method: &str, uri: &str) -> (u16, String) {
    let consul = open(Memory::default()).await;
    let answer = send(&consul, method, uri, "").await;
    (answer.status.as_u16(), String::from_utf8(answer.body.to_vec()).unwrap())
}

#[tokio::test]
async fn common_rules() {
    for (method, uri, status, body) in [
        ("GET", "/v1/status/leader", 200, "\"10.0.0.1:8300\""),
        ("GET", "/v1/status/peers", 200, "[\"10.0.0.1:8300\"]"),
        ("GET", "/v1/status/peers?pretty", 200, "[\n    \"10.0.0.1:8300\"\n]\n"),
        ("GET", "/v1/status/leader?dc=dc1", 200, "\"10.0.0.1:8300\""),
        ("GET", "/v1/status/leader?dc=nowhere", 500, "No path to datacenter"),
        ("GET", "/v1/status/leader?datacenter=nowhere", 500, "No path to datacenter"),
        ("PUT", "/v1/status/leader", 405, "method PUT not allowed"),
        ("OPTIONS", "/v1/status/leader", 200, ""),
        ("GET", "/v1/status/nobody", 404, "404 page not found\n"),
    ] {
        assert_eq!(ask(method, uri).await, (status, body.to_owned()), "{method} {uri}");
    }
}
