//! Former versions of keys: shown, compared, put back.

use super::ask::{history, put};
use crate::cli::unified;
use crate::cli::{Format, Global, ago};
use crate::exit::{Failure, Outcome};
use crate::output::{self, Cell, Colour};
use api::client::Client;
use api::error::{ErrorInfo, Kind};
use api::wire::{KvHistoryQuery, KvVersion};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

fn missing(key: &str, version: u32) -> Failure {
    let error = ErrorInfo::not_found(format!("key {key} has no version {version} that is kept"));
    error.hint(format!("`remuda kv history {key}` lists those that are")).into()
}

fn decoded(version: &KvVersion) -> Outcome<Vec<u8>> {
    let value = STANDARD.decode(version.value.as_deref().unwrap_or_default());
    value.map_err(|error| Failure::error(format!("the server's answer is no base64: {error}")))
}

/// The value of a version.
///
/// # Errors
/// 3 when there is no such version, or when the key was deleted by it.
pub(in crate::cli) async fn value(client: &Client, key: &str, version: u32) -> Outcome<Vec<u8>> {
    let query =
        KvHistoryQuery { key: key.into(), version: Some(version), ..KvHistoryQuery::default() };
    let found = history(client, &query).await?;
    match found.versions.first() {
        None => Err(missing(key, version)),
        Some(found) if found.deleted => {
            let text = format!("version {version} of {key} is that it was deleted");
            Err(ErrorInfo::not_found(text).into())
        }
        Some(found) => decoded(found),
    }
}

/// `kv history`: the newest first.
///
/// # Errors
/// 3 when nothing is known of the key.
pub(in crate::cli) async fn show(
    global: &Global,
    client: &Client,
    key: &str,
    below: bool,
) -> Outcome {
    let query = KvHistoryQuery { key: key.into(), below, ..KvHistoryQuery::default() };
    let found = history(client, &query).await?;
    if found.versions.is_empty() {
        return Err(ErrorInfo::not_found(format!("nothing is known of {key}")).into());
    }
    match global.output {
        Format::Json => output::json(&found),
        Format::Name => {
            found.versions.iter().for_each(|row| output::line(&row.version.to_string()));
        }
        Format::Table | Format::Wide => {
            let rows: Vec<Vec<Cell>> = found.versions.iter().map(|row| cells(row, below)).collect();
            let heading = [" VERSION", "KEY", "CHANGED", "WHEN", "BY", "INDEX", "VALUE"];
            output::table(if below { &heading[..] } else { &HEADING[..] }, &rows);
        }
    }
    Ok(())
}

const HEADING: [&str; 6] = [" VERSION", "CHANGED", "WHEN", "BY", "INDEX", "VALUE"];

fn cells(row: &KvVersion, with_key: bool) -> Vec<Cell> {
    let mark = if row.current { "*" } else { " " };
    let value = match row.deleted {
        true => Cell::painted(Colour::Red, "deleted"),
        false => output::size(row.bytes as u64).into(),
    };
    let mut cells: Vec<Cell> = vec![format!("{mark}{}", row.version).into()];
    if with_key {
        cells.push(output::harmless(&row.key).into());
    }
    cells.extend([
        output::utc(row.at).into(),
        ago(row.at).into(),
        output::harmless(if row.by.is_empty() { "-" } else { &row.by }).into(),
        row.index.to_string().into(),
        value,
    ]);
    cells
}

#[derive(Serialize)]
struct Difference<'a> {
    key: &'a str,
    from: u32,
    to: u32,
    lines: Vec<String>,
}

/// `kv diff`.
///
/// # Errors
/// 3 when there is no such version.
pub(in crate::cli) async fn diff(
    global: &Global,
    client: &Client,
    key: &str,
    from: Option<u32>,
    to: Option<u32>,
) -> Outcome {
    let query = KvHistoryQuery { key: key.into(), values: true, ..KvHistoryQuery::default() };
    let found = history(client, &query).await?.versions;
    let of = |number: u32| found.iter().find(|version| version.version == number);
    let newest = found
        .first()
        .ok_or_else(|| Failure::from(ErrorInfo::not_found(format!("nothing is known of {key}"))))?;
    let new = to.map_or(Ok(newest), |to| of(to).ok_or_else(|| missing(key, to)))?;
    let old = match from {
        Some(from) => Some(of(from).ok_or_else(|| missing(key, from))?),
        None => found.iter().find(|version| version.version < new.version),
    };
    let before = old.map(decoded).transpose()?.unwrap_or_default();
    let from = old.map_or(0, |old| old.version);
    let name = |version: u32, of: Option<&KvVersion>| match of {
        Some(KvVersion { deleted: false, .. }) => format!("{key} {version}"),
        Some(_) => format!("{key} {version} (deleted)"),
        None => "nothing".to_owned(),
    };
    let lines =
        unified::diff((&name(from, old), &before), (&name(new.version, Some(new)), &decoded(new)?));
    if global.output == Format::Json {
        output::json(&Difference { key, from, to: new.version, lines });
    } else if lines.is_empty() && old.is_some_and(|old| old.flags != new.flags) {
        output::note("the value is the same; the flags differ");
    } else {
        lines.iter().for_each(|line| output::line(line));
    }
    Ok(())
}

/// `kv rollback`: nobody else may change the key meanwhile.
///
/// # Errors
/// 3 when there is no such version, 5 when the key has changed meanwhile.
pub(in crate::cli) async fn rollback(client: &Client, key: &str, to: u32) -> Outcome {
    let query = KvHistoryQuery { key: key.into(), values: true, ..KvHistoryQuery::default() };
    let found = history(client, &query).await?;
    let version = found.versions.iter().find(|version| version.version == to);
    let version = version.ok_or_else(|| missing(key, to))?;
    if version.deleted {
        return Err(Failure::usage(format!("version {to} of {key} is that it was deleted"))
            .hint(format!("`remuda kv delete {key}` deletes it again")));
    }
    if version.current {
        output::note(&format!("{key} is at version {to} already"));
        return Ok(());
    }
    let query = format!("?cas={}&flags={}", found.modified, version.flags);
    put(client, key, &query, decoded(version)?).await.map_err(|failure| match failure {
        failure if failure.code() == crate::exit::CONFLICT => {
            let text = format!("{key} was changed by somebody else meanwhile; nothing was done");
            let hint = format!("look at `remuda kv history {key}` and try again");
            ErrorInfo::new(Kind::Conflict, text).hint(hint).into()
        }
        failure => failure,
    })?;
    output::note(&format!("{key} has the value of version {to} again"));
    Ok(())
}
