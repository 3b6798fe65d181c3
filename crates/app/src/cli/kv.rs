//! `kv`: keys that programs read over the Consul API, one at a time or as a file.

pub(super) mod ask;
pub(super) mod history;

use super::client::client;
use super::{Format, Global};
use crate::exit::{Failure, Outcome};
use crate::output;
use api::client::Client;
use ask::{ask, list, path, put, read};
use clap::Subcommand;
use http::Method;
use model::limits::{CONSUL_SNAPSHOT_BYTES_MAX, CONSUL_VALUE_BYTES_MAX};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Commands of `kv`.
#[derive(Debug, Subcommand)]
pub(crate) enum KvCommand {
    /// Print the value of a key as it is
    Get {
        /// The key
        key: String,
        /// A former value, by the number that `kv history` shows
        #[arg(long, value_name = "N")]
        version: Option<u32>,
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
    /// Show who changed a key, and when
    History {
        /// The key, or with --recurse the beginning of keys
        key: String,
        /// Of every key that begins so
        #[arg(long)]
        recurse: bool,
    },
    /// Show what differs between two versions of a key [default: the last two]
    Diff {
        /// The key
        key: String,
        /// The older version
        from: Option<u32>,
        /// The newer version [default: the newest]
        to: Option<u32>,
    },
    /// Put a former value back
    Rollback {
        /// The key
        key: String,
        /// The version, by the number that `kv history` shows
        #[arg(long, value_name = "N")]
        to: u32,
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
        KvCommand::Get { key, version: Some(version) } => {
            output::bytes(false, &history::value(&client, &key, version).await?);
            Ok(())
        }
        KvCommand::History { key, recurse } => history::show(global, &client, &key, recurse).await,
        KvCommand::Diff { key, from, to } => history::diff(global, &client, &key, from, to).await,
        KvCommand::Rollback { key, to } => history::rollback(&client, &key, to).await,
        KvCommand::Get { key, version: None } => {
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
