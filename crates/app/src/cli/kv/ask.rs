//! Asks the server's Consul API for keys, as the commands of keys and of settings need it.

use crate::exit::{Failure, Outcome};
use api::client::Client;
use api::routes;
use api::wire::{KvHistory, KvHistoryQuery};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::Method;
use std::io::Read as _;
use std::path::Path;

/// The path of a key. `//` in a key would be cleaned away.
pub(in crate::cli) fn path(key: &str, query: &str) -> Outcome<String> {
    if key.starts_with('/') || key.contains("//") {
        return Err(Failure::usage(format!("key {key:?} begins with / or has // in it")));
    }
    let key: Vec<String> = key.split('/').map(routes::encode).collect();
    Ok(format!("/v1/kv/{}{query}", key.join("/")))
}

/// Why a request failed; a missing key is nothing unusual to some.
pub(in crate::cli) enum Failed {
    Missing,
    Other(Failure),
}

impl Failed {
    pub(in crate::cli) fn unwrap_missing(self, key: &str) -> Failure {
        match self {
            Self::Missing => {
                api::error::ErrorInfo::not_found(format!("there is no key {key}")).into()
            }
            Self::Other(failure) => failure,
        }
    }
}

impl From<Failed> for Failure {
    fn from(failed: Failed) -> Self {
        failed.unwrap_missing("like that")
    }
}

impl From<api::error::ErrorInfo> for Failed {
    fn from(error: api::error::ErrorInfo) -> Self {
        match error.kind {
            api::error::Kind::NotFound => Self::Missing,
            _ => Self::Other(error.into()),
        }
    }
}

pub(in crate::cli) async fn ask(
    client: &Client,
    method: Method,
    path: &str,
    body: Option<Vec<u8>>,
) -> Result<Vec<u8>, Failed> {
    let upload = body.map(|body| {
        let part = std::future::ready(Ok(Bytes::from(body)));
        Box::pin(futures_util::stream::once(part)) as api::client::Upload
    });
    let mut parts = client.bytes(method, path, upload).await?;
    let mut answer = Vec::new();
    while let Some(part) = parts.next().await {
        answer.extend_from_slice(&part?);
    }
    Ok(answer)
}

pub(in crate::cli) async fn list<T: serde::de::DeserializeOwned>(
    client: &Client,
    prefix: &str,
    query: &str,
) -> Outcome<Vec<T>> {
    let answer = match ask(client, Method::GET, &path(prefix, query)?, None).await {
        Ok(answer) => answer,
        Err(Failed::Missing) => return Ok(vec![]),
        Err(Failed::Other(failure)) => return Err(failure),
    };
    serde_json::from_slice(&answer)
        .map_err(|e| Failure::error(format!("the server's list of keys cannot be read: {e}")))
}

pub(in crate::cli) async fn put(
    client: &Client,
    key: &str,
    query: &str,
    value: Vec<u8>,
) -> Outcome {
    let answer = ask(client, Method::PUT, &path(key, query)?, Some(value)).await?;
    if answer == b"true" {
        return Ok(());
    }
    let error = api::error::ErrorInfo::new(
        api::error::Kind::Conflict,
        format!("key {key} is not at the index that was given; nothing was changed"),
    );
    Err(error.into())
}

pub(in crate::cli) fn read(file: &Path, max: usize) -> Outcome<Vec<u8>> {
    let failed = |e: std::io::Error| Failure::error(format!("{}: {e}", file.display()));
    let source: Box<dyn std::io::Read> = match file.as_os_str() == "-" {
        true => Box::new(std::io::stdin()),
        false => Box::new(std::fs::File::open(file).map_err(failed)?),
    };
    let mut bytes = Vec::new();
    source.take(max as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > max {
        return Err(Failure::usage(format!("{} has more than {max} bytes", file.display())));
    }
    Ok(bytes)
}

/// Versions of a key, or of all keys that begin so.
pub(in crate::cli) async fn history(client: &Client, query: &KvHistoryQuery) -> Outcome<KvHistory> {
    let mut path = format!("{}?key={}", routes::KV_HISTORY, routes::encode(&query.key));
    if let Some(version) = query.version {
        path.push_str(&format!("&version={version}"));
    }
    for (name, on) in [("below", query.below), ("values", query.values)] {
        if on {
            path.push_str(&format!("&{name}=true"));
        }
    }
    Ok(client.get(&path).await?)
}
