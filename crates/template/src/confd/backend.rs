//! Where confd's keys come from: Rancher's metadata, flattened, or Consul's keys. Each node is
//! tried in its order.

use super::{Backend, Options};
use crate::error::Error;
use crate::http::{Client, Reply, Target};
use crate::query::escaped;
use crate::settings::{Consul, Tls};
use crate::watch::next_index;
use base64::Engine as _;
use http::StatusCode;
use model::limits::TEMPLATE_DEPTH_MAX;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long one question for a change waits, in seconds, as confd asks Rancher.
const RANCHER_WAIT: u64 = 10;
/// As it asks Consul.
const CONSUL_WAIT: u64 = 60;

/// Keys of one answer of Rancher's metadata: maps and lists become paths, an element of a list by
/// its `name`, else its number.
#[must_use]
pub fn flattened(root: &str, json: &Json) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    flatten(root.trim_end_matches('/'), json, 0, &mut all);
    all
}

fn flatten(path: &str, json: &Json, depth: usize, all: &mut BTreeMap<String, String>) {
    if depth > TEMPLATE_DEPTH_MAX {
        return;
    }
    let value = match json {
        Json::Object(fields) => {
            for (key, value) in fields {
                flatten(&format!("{path}/{key}"), value, depth + 1, all);
            }
            return;
        }
        Json::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                let name = item.get("name").and_then(Json::as_str);
                let name = name.map_or_else(|| at.to_string(), ToOwned::to_owned);
                flatten(&format!("{path}/{name}"), item, depth + 1, all);
            }
            return;
        }
        Json::String(text) => text.clone(),
        Json::Null => "null".to_owned(),
        Json::Bool(b) => b.to_string(),
        Json::Number(n) => match n.as_f64() {
            Some(float) if !n.is_i64() && !n.is_u64() => format!("{float}"),
            _ => n.to_string(),
        },
    };
    all.insert(path.to_owned(), value);
}

/// The backend, with what is known of its changes.
pub(super) struct Server {
    backend: Backend,
    targets: Vec<Arc<Target>>,
    clients: Vec<Client>,
    /// By prefix: Consul's index, or the version that Rancher's metadata had.
    seen: BTreeMap<String, String>,
}

impl Server {
    pub(super) fn new(options: &Options) -> Result<Self, Error> {
        let mut targets = vec![];
        for node in &options.nodes {
            let address = if node.contains("://") {
                node.clone()
            } else {
                format!("{}://{node}", options.scheme)
            };
            let target = match options.backend {
                Backend::Rancher => Target::new(&address, 80, Some(&Tls::default()))?,
                Backend::Consul => {
                    let token = options.token.clone();
                    Target::consul(&Consul { address, token, ..Consul::default() })?
                }
            };
            targets.push(Arc::new(target));
        }
        let clients = targets.iter().map(|target| Client::new(Arc::clone(target))).collect();
        Ok(Self { backend: options.backend, targets, clients, seen: BTreeMap::new() })
    }

    async fn ask(&mut self, path: &str) -> Result<(Reply, String), Error> {
        let mut last = None;
        for (client, target) in self.clients.iter_mut().zip(&self.targets) {
            match client.get(path, "application/json", ANSWER_TIMEOUT).await {
                Ok(reply) => return Ok((reply, target.shown().to_owned())),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| Error::Server {
            address: "-node".into(),
            why: "there is none to ask".into(),
        }))
    }

    /// All keys at and below a path.
    pub(super) async fn values(&mut self, path: &str) -> Result<BTreeMap<String, String>, Error> {
        let url = match self.backend {
            Backend::Rancher => escaped(path, true),
            Backend::Consul => format!("/v1/kv{}?recurse=", escaped(path, true)),
        };
        let (reply, address) = self.ask(&url).await?;
        let broken = |why: String| Error::Server { address: address.clone(), why };
        match reply.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(BTreeMap::new()),
            status => return Err(broken(format!("{url}: {status}"))),
        }
        let json: Json = serde_json::from_slice(&reply.body)
            .map_err(|e| broken(format!("{url}: the answer is no JSON: {e}")))?;
        Ok(match self.backend {
            Backend::Rancher => flattened(path, &json),
            Backend::Consul => pairs(&json),
        })
    }

    /// Waits until something at or below the paths may have changed. The first call of a path
    /// only learns where it stands, and comes back at once.
    pub(super) async fn changed(&mut self, paths: &[String]) -> Result<(), Error> {
        let wanted: BTreeSet<String> = match self.backend {
            Backend::Consul => paths.iter().cloned().collect(),
            // One version counts for the whole tree.
            Backend::Rancher => paths
                .iter()
                .map(|path| path.split('/').nth(1).unwrap_or("latest").to_owned())
                .collect(),
        };
        if wanted.is_empty() {
            return std::future::pending().await;
        }
        let mut watches = JoinSet::new();
        for path in wanted {
            let seen = self.seen.get(&path).cloned();
            let targets = self.targets.clone();
            match self.backend {
                Backend::Rancher => watches.spawn(rancher(targets, path, seen)),
                Backend::Consul => watches.spawn(consul(targets, path, seen)),
            };
        }
        while let Some(done) = watches.join_next().await {
            let Ok(done) = done else { continue };
            let (path, now) = done?;
            let changed = self.seen.get(&path) != Some(&now);
            self.seen.insert(path.clone(), now.clone());
            if changed {
                return Ok(());
            }
            let targets = self.targets.clone();
            match self.backend {
                Backend::Rancher => watches.spawn(rancher(targets, path, Some(now))),
                Backend::Consul => watches.spawn(consul(targets, path, Some(now))),
            };
        }
        Ok(())
    }
}

fn pairs(json: &Json) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for pair in json.as_array().into_iter().flatten() {
        let field = |name| pair.get(name).and_then(Json::as_str).unwrap_or_default();
        let key = format!("/{}", field("Key").trim_matches('/'));
        let bytes = base64::engine::general_purpose::STANDARD.decode(field("Value"));
        let value = String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned();
        all.insert(key, value);
    }
    all
}

type Seen = Result<(String, String), Error>;

async fn first(targets: &[Arc<Target>], url: &str, wait: u64) -> Result<Reply, Error> {
    let mut last = None;
    for target in targets {
        let timeout = ANSWER_TIMEOUT + Duration::from_secs(wait);
        match Client::new(Arc::clone(target)).get(url, "text/plain", timeout).await {
            Ok(reply)
                if reply.status == StatusCode::OK || reply.status == StatusCode::NOT_FOUND =>
            {
                return Ok(reply);
            }
            Ok(reply) => {
                last = Some(Error::Server {
                    address: target.shown().to_owned(),
                    why: format!("{url}: {}", reply.status),
                });
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| Error::Server {
        address: "-node".into(),
        why: "there is none to ask".into(),
    }))
}

async fn rancher(targets: Vec<Arc<Target>>, version: String, seen: Option<String>) -> Seen {
    let root = escaped(&version, false);
    let url = match &seen {
        Some(seen) => format!(
            "/{root}/version?wait=true&value={}&maxWait={RANCHER_WAIT}",
            escaped(seen, false)
        ),
        None => format!("/{root}/version"),
    };
    let reply = first(&targets, &url, RANCHER_WAIT).await?;
    if reply.status == StatusCode::NOT_FOUND {
        let why = format!("{url}: there is no version: the prefix has to begin with one");
        let address = targets.first().map(|t| t.shown().to_owned()).unwrap_or_default();
        return Err(Error::Server { address, why });
    }
    Ok((version, String::from_utf8_lossy(&reply.body).trim().to_owned()))
}

async fn consul(targets: Vec<Arc<Target>>, path: String, seen: Option<String>) -> Seen {
    let last: u64 = seen.and_then(|seen| seen.parse().ok()).unwrap_or(0);
    let wait = if last > 0 { format!("&wait={CONSUL_WAIT}s") } else { String::new() };
    let url = format!("/v1/kv{}?recurse=&index={last}{wait}", escaped(&path, true));
    let reply = first(&targets, &url, CONSUL_WAIT).await?;
    let came = reply.headers.get("x-consul-index").and_then(|v| v.to_str().ok());
    let came = came.and_then(|v| v.parse().ok());
    Ok((path, next_index(last, came).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn metadata_is_flattened_by_names() {
        let json = json!({"containers": [{"name": "web_1", "primary_ip": "10.42.0.1", "n": 3},
            "x"], "labels": {"a.b": true, "c": null}, "f": 1.5, "big": 1e6});
        let flat = flattened("/latest/self/", &json);
        let flat: Vec<(&str, &str)> = flat.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(
            flat,
            [
                ("/latest/self/big", "1000000"),
                ("/latest/self/containers/1", "x"),
                ("/latest/self/containers/web_1/n", "3"),
                ("/latest/self/containers/web_1/name", "web_1"),
                ("/latest/self/containers/web_1/primary_ip", "10.42.0.1"),
                ("/latest/self/f", "1.5"),
                ("/latest/self/labels/a.b", "true"),
                ("/latest/self/labels/c", "null"),
            ]
        );
    }
}
