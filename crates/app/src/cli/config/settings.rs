//! Settings of a service: keys below `config/STACK/SERVICE/`, one for each name, so that every client
//! of the Consul API reads the same. They have the history of keys.

use super::change::{self, Change};
use crate::cli::client::client;
use crate::cli::kv::{ask, history};
use crate::cli::place::Place;
use crate::cli::{Format, Global};
use crate::exit::{Failure, Outcome};
use crate::output;
use api::client::Client;
use api::error::ErrorInfo;
use api::wire::{KvHistoryQuery, KvVersion};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use compose::FlatFormat;
use http::Method;
use model::limits::{CONSUL_KEY_BYTES_MAX, CONSUL_SNAPSHOT_BYTES_MAX, CONSUL_VALUE_BYTES_MAX};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where all settings are.
const ROOT: &str = "config/";
/// Longest wait of one question of `watch`; the next one follows.
const WAIT: &str = "30s";

/// How a change is made.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct How {
    /// Show what would change, and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// Commands of settings.
#[derive(Debug, Subcommand)]
pub(crate) enum SettingsCommand {
    /// List the settings of a service, or those below a name
    Ls {
        /// stack/service
        service: Place,
        /// Names that begin so
        prefix: Option<String>,
    },
    /// Print one setting as it is
    Get {
        /// stack/service
        service: Place,
        /// Its name
        name: String,
        /// A former value, by the number that `config history` shows
        #[arg(long, value_name = "N")]
        version: Option<u32>,
    },
    /// Set one setting
    Set {
        /// stack/service
        service: Place,
        /// Its name
        name: String,
        /// Its value; - reads stdin, @FILE a whole file
        value: String,
        #[command(flatten)]
        how: How,
    },
    /// Take settings away
    Unset {
        /// stack/service
        service: Place,
        /// Their names
        #[arg(required = true)]
        names: Vec<String>,
        #[command(flatten)]
        how: How,
    },
    /// Set what a file of yaml, json, properties or env says
    Import {
        /// stack/service
        service: Place,
        /// The file; - reads stdin
        file: PathBuf,
        /// yaml, json, properties or env [default: by the end of the file's name]
        #[arg(long)]
        format: Option<String>,
        /// Take away what the file does not have
        #[arg(long)]
        prune: bool,
        #[command(flatten)]
        how: How,
    },
    /// Print all settings as a map in JSON
    Export {
        /// stack/service
        service: Place,
    },
    /// Show who changed settings, and when
    History {
        /// stack/service
        service: Place,
        /// Only this one
        name: Option<String>,
    },
    /// Show what differs between two versions of a setting [default: the last two]
    Diff {
        /// stack/service
        service: Place,
        /// Its name
        name: String,
        /// The older version
        from: Option<u32>,
        /// The newer version [default: the newest]
        to: Option<u32>,
    },
    /// Put a former value back
    Rollback {
        /// stack/service
        service: Place,
        /// Its name
        name: String,
        /// The version, by the number that `config history` shows
        #[arg(long, value_name = "N")]
        to: u32,
    },
    /// Print every change of settings as it comes
    Watch {
        /// stack/service
        service: Place,
    },
}

/// A setting as it is.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Found {
    key: String,
    value: Option<String>,
    modify_index: u64,
}

/// Settings by name, with the index of their last change.
type Settings = BTreeMap<String, (Vec<u8>, u64)>;

fn prefix(service: &Place) -> Outcome<String> {
    let Place { stack, service, n } = service.service()?;
    if *n != 0 {
        return Err(Failure::usage("settings are of a service, and not of one instance"));
    }
    Ok(format!("{ROOT}{stack}/{service}/"))
}

/// The key of a setting, when the name can be one.
fn key(service: &Place, name: &str) -> Outcome<String> {
    let prefix = prefix(service)?;
    check_name(&prefix, name).map_err(Failure::usage)?;
    Ok(format!("{prefix}{name}"))
}

fn check_name(prefix: &str, name: &str) -> Result<(), String> {
    let max = CONSUL_KEY_BYTES_MAX - prefix.len();
    if name.is_empty() || name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(format!("{name:?} has an empty part, or . or ..: write a name as db/host"));
    }
    if name.chars().any(char::is_control) {
        return Err(format!("{name:?} has a control character"));
    }
    if name.len() > max {
        return Err(format!("a name of {} bytes is longer than {max}", name.len()));
    }
    Ok(())
}

/// `remuda config` with a word behind it.
///
/// # Errors
/// 2 for a bad name, value or file, 3 when there is no such setting, 5 when it changed meanwhile.
pub(super) async fn run(global: &Global, command: SettingsCommand) -> Outcome {
    let client = client(global)?;
    let client = &client;
    match command {
        SettingsCommand::Ls { service, prefix } => {
            ls(global, client, &service, prefix.as_deref().unwrap_or_default()).await
        }
        SettingsCommand::Get { service, name, version } => {
            let key = key(&service, &name)?;
            let value = match version {
                Some(version) => history::value(client, &key, version).await?,
                None => ask::ask(client, Method::GET, &ask::path(&key, "?raw")?, None)
                    .await
                    .map_err(|failed| failed.unwrap_missing(&key))?,
            };
            output::bytes(false, &value);
            Ok(())
        }
        SettingsCommand::Set { service, name, value, how } => {
            let value = match value.strip_prefix('@') {
                Some(file) => ask::read(Path::new(file), CONSUL_VALUE_BYTES_MAX)?,
                None if value == "-" => ask::read(Path::new("-"), CONSUL_VALUE_BYTES_MAX)?,
                None => value.into_bytes(),
            };
            key(&service, &name)?;
            let known = load(client, &service).await?;
            let wanted = [(name, Some(value))].into();
            apply(client, &service, &known, wanted, how).await
        }
        SettingsCommand::Unset { service, names, how } => {
            let known = load(client, &service).await?;
            for name in &names {
                if !known.contains_key(name) {
                    return Err(ErrorInfo::not_found(format!("there is no setting {name}")).into());
                }
            }
            let wanted = names.into_iter().map(|name| (name, None)).collect();
            apply(client, &service, &known, wanted, how).await
        }
        SettingsCommand::Import { service, file, format, prune, how } => {
            let read = read_file(&service, &file, format.as_deref())?;
            let known = load(client, &service).await?;
            let mut wanted: BTreeMap<String, Option<Vec<u8>>> = BTreeMap::new();
            if prune {
                wanted.extend(known.keys().map(|name| (name.clone(), None)));
            }
            wanted.extend(read.into_iter().map(|(name, value)| (name, Some(value))));
            apply(client, &service, &known, wanted, how).await
        }
        SettingsCommand::Export { service } => export(client, &service).await,
        SettingsCommand::History { service, name: None } => {
            history::show(global, client, &prefix(&service)?, true).await
        }
        SettingsCommand::History { service, name: Some(name) } => {
            history::show(global, client, &key(&service, &name)?, false).await
        }
        SettingsCommand::Diff { service, name, from, to } => {
            history::diff(global, client, &key(&service, &name)?, from, to).await
        }
        SettingsCommand::Rollback { service, name, to } => {
            history::rollback(client, &key(&service, &name)?, to).await
        }
        SettingsCommand::Watch { service } => watch(global, client, &service).await,
    }
}

async fn load(client: &Client, service: &Place) -> Outcome<Settings> {
    let prefix = prefix(service)?;
    let all: Vec<Found> = ask::list(client, &prefix, "?recurse").await?;
    let mut settings = Settings::new();
    for Found { key, value, modify_index } in all {
        let value = STANDARD.decode(value.unwrap_or_default());
        let value = value.map_err(|e| Failure::error(format!("the value of {key}: {e}")))?;
        if let Some(name) = key.strip_prefix(&prefix).filter(|name| !name.is_empty()) {
            settings.insert(name.to_owned(), (value, modify_index));
        }
    }
    Ok(settings)
}

async fn ls(global: &Global, client: &Client, service: &Place, below: &str) -> Outcome {
    let mut all = load(client, service).await?;
    all.retain(|name, _| name.starts_with(below));
    match global.output {
        Format::Json => output::json(&all.keys().collect::<Vec<_>>()),
        Format::Name => all.keys().for_each(|name| output::line(&output::harmless(name))),
        Format::Table | Format::Wide => {
            let rows: Vec<Vec<output::Cell>> = all
                .iter()
                .map(|(name, (value, index))| {
                    vec![
                        output::harmless(name).into(),
                        output::size(value.len() as u64).into(),
                        index.to_string().into(),
                    ]
                })
                .collect();
            output::table(&["NAME", "SIZE", "INDEX"], &rows);
        }
    }
    Ok(())
}

/// A file's settings, each looked at.
fn read_file(
    service: &Place,
    file: &Path,
    format: Option<&str>,
) -> Outcome<Vec<(String, Vec<u8>)>> {
    let shown = file.display().to_string();
    let format = match format {
        Some(word) => FlatFormat::of(word).ok_or_else(|| {
            Failure::usage(format!("{word} is no format")).hint("yaml, json, properties or env")
        })?,
        None => FlatFormat::of(&shown).ok_or_else(|| {
            Failure::usage(format!("{shown}: its name does not say how it is written"))
                .hint("say --format yaml, json, properties or env; `config set NAME @FILE` keeps a file whole")
        })?,
    };
    let bytes = ask::read(file, CONSUL_SNAPSHOT_BYTES_MAX)?;
    let text = String::from_utf8(bytes)
        .map_err(|_binary| Failure::usage(format!("{shown}: it is no UTF-8 text")))?;
    let settings = compose::settings(&text, format, &shown)
        .map_err(|errors| Failure::usage(errors.to_string()))?;
    let prefix = prefix(service)?;
    let mut wrong = vec![];
    for setting in &settings {
        let at = format!("{shown}:{}", setting.line);
        if let Err(why) = check_name(&prefix, &setting.name) {
            wrong.push(format!("{at}: {why}"));
        }
        if setting.value.len() > CONSUL_VALUE_BYTES_MAX {
            let bytes = setting.value.len();
            wrong.push(format!(
                "{at}: {} has {bytes} bytes, at most {CONSUL_VALUE_BYTES_MAX} are kept",
                setting.name
            ));
        }
    }
    if wrong.is_empty() {
        Ok(settings.into_iter().map(|one| (one.name, one.value.into_bytes())).collect())
    } else {
        Err(Failure::usage(wrong.join("\n")))
    }
}

/// Shows what changes, then changes it.
async fn apply(
    client: &Client,
    service: &Place,
    known: &Settings,
    wanted: BTreeMap<String, Option<Vec<u8>>>,
    how: How,
) -> Outcome {
    let changes = change::changes(known, wanted);
    for change in &changes {
        change.shown().iter().for_each(|line| output::line(line));
    }
    if changes.is_empty() {
        output::note("no setting changes");
        return Ok(());
    }
    if how.dry_run {
        output::note(&format!("{} settings would change", changes.len()));
        return Ok(());
    }
    let prefix = prefix(service)?;
    let all: Vec<&Change> = changes.iter().collect();
    change::write(client, &prefix, &all).await?;
    output::note(&format!("{} settings changed", changes.len()));
    Ok(())
}

async fn export(client: &Client, service: &Place) -> Outcome {
    let mut map = serde_json::Map::new();
    for (name, (value, _)) in load(client, service).await? {
        let value = String::from_utf8(value).map_err(|_binary| {
            Failure::error(format!("{name} is no text"))
                .hint("`remuda kv export` has values that are no text")
        })?;
        map.insert(name, value.into());
    }
    output::json(&map);
    Ok(())
}

/// Follows the history: every version that is newer than what was there at the beginning.
async fn watch(global: &Global, client: &Client, service: &Place) -> Outcome {
    let prefix = prefix(service)?;
    let query = KvHistoryQuery { key: prefix.clone(), below: true, ..KvHistoryQuery::default() };
    let mut seen = None;
    loop {
        // Before the history is read: a change after that ends the wait.
        let found: Vec<Found> = ask::list(client, &prefix, "?recurse").await?;
        let newest = found.iter().map(|one| one.modify_index).max().unwrap_or(0);
        let versions = ask::history(client, &query).await?.versions;
        let known = versions.iter().map(|version| version.index).max().unwrap_or(0);
        let since = seen.unwrap_or(known);
        for version in versions.iter().rev().filter(|version| version.index > since) {
            tell(global, &prefix, version);
        }
        seen = Some(since.max(known));
        let index = newest.max(known).max(1);
        let query = format!("?keys&index={index}&wait={WAIT}");
        let _keys: Vec<String> = ask::list(client, &prefix, &query).await?;
    }
}

fn tell(global: &Global, prefix: &str, version: &KvVersion) {
    if global.output == Format::Json {
        output::json(version);
        return;
    }
    let name = output::harmless(version.key.strip_prefix(prefix).unwrap_or(&version.key));
    let what = match version.deleted {
        true => "deleted".to_owned(),
        false => output::size(version.bytes as u64),
    };
    let (at, by) = (output::utc(version.at), output::harmless(&version.by));
    output::line(&format!("{at}  {name}  version {}  {what}  by {by}", version.version));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_path_without_empty_parts() {
        let long = "x".repeat(CONSUL_KEY_BYTES_MAX - 15);
        for (name, is_good) in [
            ("db/host", true),
            ("app.yaml", true),
            ("", false),
            ("/a", false),
            ("a//b", false),
            ("a/", false),
            ("../x", false),
            ("a/./b", false),
            ("a\nb", false),
            (&long, true),
            (&format!("{long}x"), false),
        ] {
            assert_eq!(check_name("config/shop/we/", name).is_ok(), is_good, "{name}");
        }
    }

    #[test]
    fn a_file_that_is_wrong_is_refused_with_its_lines() {
        let dir = tempfile::tempdir().unwrap();
        let place: Place = "shop/web".parse().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let good = write("a.yaml", "db: {host: pg}\n");
        let read = read_file(&place, &good, None).unwrap();
        assert_eq!(read, [("db/host".to_owned(), b"pg".to_vec())]);
        let long = format!("a: 1\nb: {}\n", "x".repeat(CONSUL_VALUE_BYTES_MAX + 1));
        for (name, text, said) in [
            ("b.yaml", long.as_str(), "b.yaml:2: b has"),
            ("c.env", "A=1\n..=2\n", "c.env:2: \"..\""),
            ("d.txt", "", "does not say how"),
            ("e.json", "{", "e.json:1"),
        ] {
            let Err(Failure::Message { code, message, .. }) =
                read_file(&place, &write(name, text), None)
            else {
                panic!("{name} is read")
            };
            assert!(code == 2 && message.contains(said), "{name}: {message}");
        }
    }
}
