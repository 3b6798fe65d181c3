//! What tests of endpoints share: a Consul over a store in memory, and short questions to it.

use crate::{Answer, Consul, Facts, Judge, Request, Standing};
use bytes::Bytes;
use model::time::{Clock, Timestamp};
use std::sync::Arc;
use store::Store;

/// A clock that tests set.
pub(crate) fn clock() -> Clock {
    let begun = tokio::time::Instant::now();
    Clock::new(move || {
        let ms = i64::try_from(begun.elapsed().as_millis()).unwrap();
        Timestamp(1_000_000_000_000 + ms)
    })
}

/// Of a store; the nodes `n1` and `n2` are well.
pub(crate) async fn open<S: Store>(store: S) -> Consul<S> {
    let judge: Judge = Arc::new(|node, check| match (node, check) {
        ("n1" | "n2", "serfHealth") => Standing::Passing,
        _ => Standing::Absent,
    });
    open_with(store, judge).await
}

/// Of a store and a judge of checks. It runs until the test ends.
pub(crate) async fn open_with<S: Store>(store: S, judge: Judge) -> Consul<S> {
    open_to_end(store, judge).await.0
}

/// The same with what runs it, to be ended.
pub(crate) async fn open_to_end<S: Store>(
    store: S,
    judge: Judge,
) -> (Consul<S>, tokio::task::JoinHandle<()>) {
    let facts = Facts { node: "n1".into(), address: [10, 0, 0, 1].into() };
    let consul = Consul::open(store, clock(), facts, judge).await.unwrap();
    let running = consul.clone();
    let running = tokio::spawn(async move { running.run().await });
    (consul, running)
}

/// Sends a request, `uri` behind `/v1/` or whole.
pub(crate) async fn send<S: Store>(
    consul: &Consul<S>,
    method: &str,
    uri: &str,
    body: impl Into<Bytes>,
) -> Answer {
    let uri = if uri.starts_with('/') { uri.to_owned() } else { format!("/v1/{uri}") };
    let request = http::Request::builder().method(method).uri(uri).body(()).unwrap();
    match Request::read(&request.into_parts().0, body.into(), "n1") {
        Ok(request) => consul.answer(&request).await,
        Err(answer) => answer,
    }
}

/// Status and text of the answer.
pub(crate) async fn told<S: Store>(
    consul: &Consul<S>,
    method: &str,
    uri: &str,
    body: impl Into<Bytes>,
) -> (u16, String) {
    let answer = send(consul, method, uri, body).await;
    (answer.status.as_u16(), String::from_utf8_lossy(&answer.body).into_owned())
}

/// The JSON of the answer.
pub(crate) async fn json<S: Store>(
    consul: &Consul<S>,
    method: &str,
    uri: &str,
    body: impl Into<Bytes>,
) -> serde_json::Value {
    let answer = send(consul, method, uri, body).await;
    serde_json::from_slice(&answer.body)
        .unwrap_or_else(|e| panic!("{method} {uri}: {e}: {:?}", answer.body))
}
