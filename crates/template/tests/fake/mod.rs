//! A server that answers as the Consul API and Rancher's metadata do, from memory, with true
//! blocking queries and indexes. For tests only.

#![allow(dead_code, reason = "each test uses a part of it")]

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;

/// What it knows.
#[derive(Default)]
pub(crate) struct World {
    index: u64,
    keys: BTreeMap<String, (Vec<u8>, u64)>,
    keys_deleted: u64,
    services: BTreeMap<String, (Vec<Json>, u64)>,
    metadata: Json,
    version: u64,
    failing: bool,
    hiding: bool,
    behind_ms: u64,
    asked: Vec<String>,
}

/// The server, on a thread of its own; it ends with this.
pub(crate) struct Fake {
    address: SocketAddr,
    world: Arc<Mutex<World>>,
    changed: watch::Sender<()>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[derive(Clone)]
struct Shared {
    world: Arc<Mutex<World>>,
    changed: watch::Sender<()>,
}

impl Fake {
    /// Starts on a free port of the loopback.
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        // On a thread of its own, as the test may be inside a runtime.
        let (to, bound) = std::sync::mpsc::channel();
        let world = Arc::new(Mutex::new(World { index: 10, ..World::default() }));
        let (changed, _) = watch::channel(());
        let shared = Shared { world: Arc::clone(&world), changed: changed.clone() };
        let router = Router::new().fallback(answer).with_state(shared);
        runtime.spawn(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            to.send(listener.local_addr().unwrap()).unwrap();
            axum::serve(listener, router).await.unwrap();
        });
        let address = bound.recv().unwrap();
        Self { address, world, changed, runtime: Some(runtime) }
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    fn change(&self, with: impl FnOnce(&mut World)) {
        let mut world = self.world.lock().unwrap();
        world.index += 1;
        with(&mut world);
        drop(world);
        self.changed.send_replace(());
    }

    /// Sets a key.
    pub(crate) fn put(&self, key: &str, value: &str) {
        self.change(|world| {
            let at = world.index;
            world.keys.insert(key.to_owned(), (value.as_bytes().to_vec(), at));
        });
    }

    /// Takes a key away.
    pub(crate) fn delete(&self, key: &str) {
        self.change(|world| {
            world.keys.remove(key);
            world.keys_deleted = world.index;
        });
    }

    /// Sets the instances of a service: name of the node, port, tags, status.
    pub(crate) fn service(&self, name: &str, instances: &[(&str, u16, &[&str], &str)]) {
        let all = instances
            .iter()
            .map(|(node, port, tags, status)| {
                json!({"Node": {"Node": node, "Address": "10.0.0.1", "Datacenter": "dc1"},
                       "Service": {"ID": format!("{node}:{name}:{port}"), "Service": name,
                                   "Port": port, "Tags": tags, "Address": "10.42.0.7"},
                       "Checks": [{"CheckID": "c", "Status": status}]})
            })
            .collect();
        self.change(|world| {
            let at = world.index;
            world.services.insert(name.to_owned(), (all, at));
        });
    }

    /// Sets Rancher's metadata below every version.
    pub(crate) fn metadata(&self, tree: Json) {
        self.change(|world| {
            world.version += 1;
            world.metadata = tree;
        });
    }

    /// Every question is answered by 500 from now on, or no more.
    pub(crate) fn fail(&self, failing: bool) {
        self.change(|world| world.failing = failing);
    }

    /// Rights keep all services back from now on, or no more.
    pub(crate) fn hide(&self, hiding: bool) {
        self.change(|world| {
            world.hiding = hiding;
            let at = world.index;
            world.services.values_mut().for_each(|(_, changed)| *changed = at);
        });
    }

    /// What stale answers say of their age, in milliseconds.
    pub(crate) fn behind(&self, ms: u64) {
        self.change(|world| world.behind_ms = ms);
    }

    /// Listens on a Unix socket too.
    pub(crate) fn listen_at(&self, path: &std::path::Path) {
        let shared = Shared { world: Arc::clone(&self.world), changed: self.changed.clone() };
        let router = Router::new().fallback(answer).with_state(shared);
        let (to, bound) = std::sync::mpsc::channel();
        let path = path.to_owned();
        self.runtime.as_ref().unwrap().spawn(async move {
            let listener = tokio::net::UnixListener::bind(path).unwrap();
            to.send(()).unwrap();
            axum::serve(listener, router).await.unwrap();
        });
        bound.recv().unwrap();
    }

    /// All indexes begin anew, as after a restore.
    pub(crate) fn restore(&self) {
        let mut world = self.world.lock().unwrap();
        world.index = 3;
        world.keys_deleted = 1;
        for (_, at) in world.keys.values_mut() {
            *at = 2;
        }
        for (_, at) in world.services.values_mut() {
            *at = 2;
        }
        drop(world);
        self.changed.send_replace(());
    }

    /// Paths and queries that were asked, in their order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.world.lock().unwrap().asked.clone()
    }
}

async fn answer(State(shared): State<Shared>, uri: Uri) -> Response {
    let query: BTreeMap<String, String> = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let mut changed = shared.changed.subscribe();
    shared.world.lock().unwrap().asked.push(uri.to_string());
    let rancher = !uri.path().starts_with("/v1/");
    let wait = if rancher {
        query.get("maxWait").and_then(|w| w.parse().ok()).map(Duration::from_secs)
    } else {
        query.get("wait").and_then(|w| {
            let (number, unit) = w.split_at(w.find(|c: char| !c.is_ascii_digit())?);
            let number: u64 = number.parse().ok()?;
            Some(Duration::from_millis(if unit == "s" { number * 1_000 } else { number }))
        })
    };
    let deadline = Instant::now() + wait.unwrap_or(Duration::from_secs(300));
    let index: u64 = query.get("index").and_then(|i| i.parse().ok()).unwrap_or(0);
    loop {
        // Looked at before and after: what is said beside an answer is never too little.
        let hid = shared.world.lock().unwrap().hiding;
        let (status, body, at) = if rancher {
            metadata(&shared, uri.path())
        } else {
            consul(&shared, uri.path(), &query)
        };
        let same =
            if rancher { query.get("value") == Some(&body) } else { index > 0 && at <= index };
        let late = Instant::now() >= deadline;
        if status == StatusCode::INTERNAL_SERVER_ERROR || !same || late {
            let mut reply = (status, body).into_response();
            reply.headers_mut().insert("x-consul-index", at.into());
            let behind = shared.world.lock().unwrap().behind_ms;
            let behind = if query.contains_key("stale") { behind } else { 0 };
            reply.headers_mut().insert("x-consul-lastcontact", behind.into());
            if hid || shared.world.lock().unwrap().hiding {
                let filtered = HeaderValue::from_static("true");
                reply.headers_mut().insert("x-consul-results-filtered-by-acls", filtered);
            }
            return reply;
        }
        // A change or the deadline: either way it is looked at again.
        let _late = tokio::time::timeout_at(deadline, changed.changed()).await;
    }
}

fn metadata(shared: &Shared, path: &str) -> (StatusCode, String, u64) {
    let world = shared.world.lock().unwrap();
    if world.failing {
        return (StatusCode::INTERNAL_SERVER_ERROR, "down".into(), 0);
    }
    let mut parts = path.trim_matches('/').split('/').skip(1).peekable();
    if parts.peek() == Some(&"version") {
        return (StatusCode::OK, format!("v{}", world.version), 0);
    }
    let mut at = &world.metadata;
    for part in parts {
        let next = at.get(part).or_else(|| {
            at.as_array()?.iter().find(|e| e.get("name").and_then(Json::as_str) == Some(part))
        });
        match next {
            Some(next) => at = next,
            None => {
                let body = json!({"code": 404, "message": "Not found", "type": "error"});
                return (StatusCode::NOT_FOUND, body.to_string(), 0);
            }
        }
    }
    (StatusCode::OK, at.to_string(), 0)
}

fn consul(
    shared: &Shared,
    path: &str,
    query: &BTreeMap<String, String>,
) -> (StatusCode, String, u64) {
    let world = shared.world.lock().unwrap();
    if world.failing {
        return (StatusCode::INTERNAL_SERVER_ERROR, "No cluster leader".into(), 0);
    }
    let ok = |body: Json, at: u64| (StatusCode::OK, body.to_string(), at.max(1));
    if let Some(key) = path.strip_prefix("/v1/kv/") {
        let recurse = query.contains_key("recurse");
        let wanted = |k: &str| if recurse { k.starts_with(key) } else { k == key };
        let found: Vec<(&String, &(Vec<u8>, u64))> =
            world.keys.iter().filter(|(k, _)| wanted(k)).collect();
        let newest = found.iter().map(|(_, (_, at))| *at).max();
        let at = newest.unwrap_or(0).max(if newest.is_none() || recurse {
            world.keys_deleted
        } else {
            0
        });
        if found.is_empty() {
            return (StatusCode::NOT_FOUND, String::new(), at.max(1));
        }
        let pairs = found.iter().map(|(key, (value, at))| {
            let value = base64::engine::general_purpose::STANDARD.encode(value);
            json!({"Key": key, "Value": value, "ModifyIndex": at, "CreateIndex": 1, "Flags": 0})
        });
        return ok(Json::Array(pairs.collect()), at);
    }
    let newest = world.services.values().map(|(_, at)| *at).max().unwrap_or(1);
    if world.hiding {
        let none = if path == "/v1/catalog/services" { json!({}) } else { json!([]) };
        return ok(none, newest);
    }
    if path == "/v1/catalog/services" {
        let all = world.services.iter().map(|(name, (instances, _))| {
            let mut tags: Vec<Json> = instances
                .iter()
                .flat_map(|i| i["Service"]["Tags"].as_array().cloned().unwrap_or_default())
                .collect();
            tags.sort_by_key(ToString::to_string);
            tags.dedup();
            (name.clone(), Json::Array(tags))
        });
        return ok(Json::Object(all.collect()), newest);
    }
    if let Some(name) = path.strip_prefix("/v1/health/service/") {
        let Some((instances, at)) = world.services.get(name) else { return ok(json!([]), newest) };
        let mut found = instances.clone();
        if let Some(tag) = query.get("tag") {
            found.retain(|i| {
                i["Service"]["Tags"].as_array().is_some_and(|t| t.contains(&json!(tag)))
            });
        }
        if query.contains_key("passing") {
            found.retain(|i| i["Checks"][0]["Status"] == "passing");
        }
        return ok(Json::Array(found), *at);
    }
    (StatusCode::NOT_FOUND, "no such path".into(), 1)
}
