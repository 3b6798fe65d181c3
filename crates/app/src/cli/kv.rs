//! `kv`: keys that programs read over the Consul API, one at a time or as a file.

use super::client::client;
use super::{Format, Global};
use crate::exit::{Failure, Outcome};
use crate::output;
use api::client::Client;
use api::routes;
use bytes::Bytes;
use clap::Subcommand;
use futures_util::StreamExt as _;
use http::Method;
use model::limits::{CONSUL_SNAPSHOT_BYTES_MAX, CONSUL_VALUE_BYTES_MAX};
use serde::{Deserialize, Serialize};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Commands of `kv`.
#[derive(Debug, Subcommand)]
pub(crate) enum KvCommand {
    /// Print the value of a key as it is
    Get {
        /// The key
        key: String,
    },
    /// Put a value
    Put {
        /// The key
        key: String,
        /// The value; - reads stdin [default: empty]
        value: Option<String>,
        /// Only when the key was last changed at this index; 0 when it is not there
        #[arg(long, value_name = "INDEX")]
        cas: Option<u64>,
    },
    /// Delete a key
    Delete {
        /// The key, or with --recurse the beginning of keys
        key: String,
        /// Every key that begins so
        #[arg(long)]
        recurse: bool,
    },
    /// List keys
    Ls {
        /// Keys that begin so [default: all]
        prefix: Option<String>,
        /// Every key, rather than folders
        #[arg(long)]
        recurse: bool,
    },
    /// Print keys with their values as JSON, as `consul kv export` does
    Export {
        /// Keys that begin so [default: all]
        prefix: Option<String>,
    },
    /// Put the keys of such a file
    Import {
        /// The file; - reads stdin
        file: PathBuf,
    },
}

/// A key as the API shows it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    key: String,
    flags: u64,
    value: Option<String>,
}

/// A key in a file.
#[derive(Serialize, Deserialize)]
struct Exported {
    key: String,
    #[serde(default)]
    flags: u64,
    /// Base64.
    value: String,
}

/// `remuda kv`.
///
/// # Errors
/// 3 when there is no such key, 5 when it has changed, and what the server says.
pub(super) async fn run(global: &Global, command: KvCommand) -> Outcome {
    let client = client(global)?;
    match command {
        KvCommand::Get { key } => {
            let value = ask(&client, Method::GET, &path(&key, "?raw")?, None).await;
            let value = value.map_err(|failure| failure.unwrap_missing(&key))?;
            output::bytes(false, &value);
            Ok(())
        }
        KvCommand::Put { key, value, cas } => {
            let value = match value.as_deref() {
                Some("-") => read(Path::new("-"), CONSUL_VALUE_BYTES_MAX)?,
                value => value.unwrap_or("").as_bytes().to_vec(),
            };
            let query = cas.map_or(String::new(), |index| format!("?cas={index}"));
            put(&client, &key, &query, value).await
        }
        KvCommand::Delete { key, recurse } => {
            let query = if recurse { "?recurse" } else { "" };
            ask(&client, Method::DELETE, &path(&key, query)?, None).await?;
            Ok(())
        }
        KvCommand::Ls { prefix, recurse } => {
            let query = if recurse { "?keys" } else { "?keys&separator=/" };
            let prefix = prefix.unwrap_or_default();
            let keys: Vec<String> = list(&client, &prefix, query).await?;
            match global.output {
                Format::Json => output::json(&keys),
                _ => keys.iter().for_each(|key| output::line(key)),
            }
            Ok(())
        }
        KvCommand::Export { prefix } => {
            let prefix = prefix.unwrap_or_default();
            let all: Vec<Entry> = list(&client, &prefix, "?recurse").await?;
            let exported = |Entry { key, flags, value }| Exported {
                key,
                flags,
                value: value.unwrap_or_default(),
            };
            output::json(&all.into_iter().map(exported).collect::<Vec<_>>());
            Ok(())
        }
        KvCommand::Import { file } => import(&client, &file).await,
    }
}

/// The path of a key. `//` in a key would be cleaned away.
fn path(key: &str, query: &str) -> Outcome<String> {
    if key.starts_with('/') || key.contains("//") {
        return Err(Failure::usage(format!("key {key:?} begins with / or has // in it")));
    }
    let key: Vec<String> = key.split('/').map(routes::encode).collect();
    Ok(format!("/v1/kv/{}{query}", key.join("/")))
}

/// Why a request failed; a missing key is nothing unusual to some.
enum Failed {
    Missing,
    Other(Failure),
}

impl Failed {
    fn unwrap_missing(self, key: &str) -> Failure {
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

async fn ask(
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

async fn list<T: serde::de::DeserializeOwned>(
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

async fn put(client: &Client, key: &str, query: &str, value: Vec<u8>) -> Outcome {
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

fn read(file: &Path, max: usize) -> Outcome<Vec<u8>> {
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

async fn import(client: &Client, file: &Path) -> Outcome {
    use base64::Engine as _;
    let bytes = read(file, CONSUL_SNAPSHOT_BYTES_MAX)?;
    let wrong = |what: String| Failure::usage(format!("{}: {what}", file.display()));
    let all: Vec<Exported> =
        serde_json::from_slice(&bytes).map_err(|e| wrong(format!("no list of keys: {e}")))?;
    let mut keys = Vec::with_capacity(all.len());
    for Exported { key, flags, value } in all {
        let value = base64::engine::general_purpose::STANDARD.decode(value);
        let value = value.map_err(|e| wrong(format!("the value of {key} is no base64: {e}")))?;
        path(&key, "")?;
        keys.push((key, flags, value));
    }
    // Only now that all of it makes sense.
    for (key, flags, value) in &keys {
        put(client, key, &format!("?flags={flags}"), value.clone()).await?;
    }
    output::note(&format!("{} keys", keys.len()));
    Ok(())
}
