//! `/v1/config…`: config entries. They are kept, and given back as they came; nothing here acts on
//! them, since there is no mesh.

use crate::acl::guard::of_config;
use crate::acl::{Level, Named};
use crate::answer::Answer;
use crate::blocking::{self, Found};
use crate::fold;
use crate::request::Request;
use crate::route::Route;
use crate::serve::{Consul, Endpoint};
use crate::shelf::{Row, Rows, Write};
use crate::waiters::Topic;
use bytes::Bytes;
use http::{Method, StatusCode};
use model::limits::{CONFIG_ENTRIES_MAX, CONFIG_ENTRY_BYTES_MAX, CONFIG_NAME_BYTES_MAX};
use serde_json::{Map, Value};
use store::Store;

/// Where they are in the store.
pub(crate) const PREFIX: &str = "consul-config/";

/// Kinds, and the only name that an entry of the kind may have.
const KINDS: [(&str, Option<&str>); 17] = [
    ("service-defaults", None),
    ("service-resolver", None),
    ("service-router", None),
    ("service-splitter", None),
    ("service-intentions", None),
    ("proxy-defaults", Some("global")),
    ("mesh", Some("mesh")),
    ("exported-services", Some("default")),
    ("ingress-gateway", None),
    ("terminating-gateway", None),
    ("api-gateway", None),
    ("bound-api-gateway", None),
    ("inline-certificate", None),
    ("http-route", None),
    ("tcp-route", None),
    ("sameness-group", None),
    ("control-plane-request-limit", None),
];

/// Their endpoints.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Config {
    /// Makes or changes one.
    Put,
    /// One, or all of a kind.
    One,
}

pub(crate) const ROUTES: &[Route<Endpoint>] = &[
    Route { path: "config", methods: &[Method::PUT], to: Endpoint::Config(Config::Put) },
    Route {
        path: "config/",
        methods: &[Method::GET, Method::DELETE],
        to: Endpoint::Config(Config::One),
    },
];

/// Kind and name in the path; an empty name is all of the kind.
pub(crate) fn named(request: &Request) -> (&str, &str) {
    let rest = request.after("config/");
    let (kind, name) = rest.split_once('/').unwrap_or((rest, ""));
    (kind, name.strip_suffix('/').unwrap_or(name))
}

fn known(kind: &str) -> Result<Option<&'static str>, Answer> {
    let found = KINDS.iter().find(|(name, _)| *name == kind);
    let unknown = || Answer::bad(format!("invalid config entry kind: {kind}"));
    found.map(|(_, only)| *only).ok_or_else(unknown)
}

/// Answers a request.
pub(crate) async fn answer<S: Store>(
    consul: &Consul<S>,
    endpoint: Config,
    request: &Request,
) -> Answer {
    let done = match endpoint {
        Config::Put => put(consul, request).await,
        Config::One if request.method == Method::DELETE => delete(consul, request).await,
        Config::One => get(consul, request).await,
    };
    done.unwrap_or_else(|refused| refused)
}

fn cas(request: &Request) -> Result<Option<u64>, Answer> {
    let parse = |text: &str| text.parse().map_err(|_no| Answer::bad("Invalid cas value"));
    request.query.get("cas").map(parse).transpose()
}

/// A body as it is kept: with `Kind` and `Name` written so, and without what is ours to say.
fn read(body: &Bytes) -> Result<(String, Value), Answer> {
    if body.len() > CONFIG_ENTRY_BYTES_MAX {
        return Err(Answer::too_large(body.len(), CONFIG_ENTRY_BYTES_MAX));
    }
    let wrong = |why: String| Answer::bad(format!("Request decoding failed: {why}"));
    let value: Value = serde_json::from_slice(body).map_err(|error| wrong(error.to_string()))?;
    let (kind, name) = (fold::text(&value, "Kind"), fold::text(&value, "Name"));
    if kind.is_empty() {
        return Err(wrong("Payload does not contain a kind/Kind key at the top level".into()));
    }
    let only = known(kind)?;
    let name = if name.is_empty() { only.unwrap_or("") } else { name };
    if only.is_some_and(|only| only != name) {
        return Err(wrong(format!("invalid name ({name:?}), {kind} has only one")));
    }
    let fits = !name.is_empty()
        && name.len() <= CONFIG_NAME_BYTES_MAX
        && !name.chars().any(|c| c.is_control() || c == '/');
    if !fits {
        return Err(wrong(format!("Name of 1 to {CONFIG_NAME_BYTES_MAX} bytes is required")));
    }
    let Value::Object(fields) = &value else { return Err(wrong("it is no object".into())) };
    let ours = ["kind", "name", "createindex", "modifyindex", "create_index", "modify_index"];
    let rest = fields.iter().filter(|(key, _)| !ours.contains(&key.to_lowercase().as_str()));
    let mut kept = Map::new();
    kept.insert("Kind".into(), kind.into());
    kept.insert("Name".into(), name.into());
    kept.extend(rest.map(|(key, value)| (key.clone(), value.clone())));
    Ok((format!("{kind}/{name}"), Value::Object(kept)))
}

async fn put<S: Store>(consul: &Consul<S>, request: &Request) -> Result<Answer, Answer> {
    let (key, value) = read(&request.body)?;
    let (kind, name) = key.split_once('/').unwrap_or((&key, ""));
    of_config(&request.access, kind, name, Level::Write)?;
    let cas = cas(request)?;
    let value: Bytes = serde_json::to_vec(&value).unwrap_or_default().into();
    let write = consul.config().commit(|rows| {
        let known = rows.get(&key);
        if cas.is_some_and(|index| known.map_or(0, |row| row.modified) != index) {
            return Ok((false, vec![]));
        }
        if known.is_none() && rows.all.size() >= CONFIG_ENTRIES_MAX {
            let text = format!("there are {CONFIG_ENTRIES_MAX} config entries already");
            return Err(Answer::failed(text));
        }
        let changed = known.is_none_or(|row| row.value != value);
        let writes: Vec<Write> =
            changed.then(|| (key.clone(), Some(value.clone()))).into_iter().collect();
        Ok((true, writes))
    });
    let (done, _) = write.await?;
    Ok(Answer::json(&done))
}

async fn delete<S: Store>(consul: &Consul<S>, request: &Request) -> Result<Answer, Answer> {
    let (kind, name) = named(request);
    known(kind)?;
    if name.is_empty() {
        return Err(Answer::bad("Must provide both a kind and name to delete"));
    }
    let (key, cas) = (format!("{kind}/{name}"), cas(request)?);
    let write = consul.config().commit(|rows| {
        let found = rows.get(&key);
        let fits = cas.is_none_or(|index| found.is_some_and(|row| row.modified == index));
        let goes = fits && found.is_some();
        Ok((fits, goes.then(|| (key.clone(), None)).into_iter().collect()))
    });
    let (done, _) = write.await?;
    Ok(match cas {
        Some(_) => Answer::json(&done),
        None => Answer::json_bytes("{}"),
    })
}

/// As it came, with its indexes.
fn shown(row: &Row) -> Value {
    let mut value: Value = serde_json::from_slice(&row.value).unwrap_or_default();
    value["CreateIndex"] = row.created.into();
    value["ModifyIndex"] = row.modified.into();
    value
}

async fn get<S: Store>(consul: &Consul<S>, request: &Request) -> Result<Answer, Answer> {
    let options = request.read_options()?;
    let (kind, name) = named(request);
    if kind.is_empty() {
        return Err(Answer::bad("Must provide either a kind or both kind and name"));
    }
    known(kind)?;
    let key = format!("{kind}/{name}");
    let read = || {
        let rows: std::sync::Arc<Rows> = consul.config().rows();
        let one = if name.is_empty() { None } else { rows.get(&key).map(|row| row.modified) };
        Ok::<_, Answer>(Found::at(one.unwrap_or(rows.changed), rows))
    };
    let found = blocking::query(consul.waiters(), options, vec![Topic::Config], read).await?;
    let rows = &found.value;
    if name.is_empty() {
        if !kind.starts_with("service-") {
            of_config(&request.access, kind, "", Level::Read)?;
        }
        let sees =
            |name: &str| !kind.starts_with("service-") || request.access.sees(Named::Service, name);
        let all = rows.below(&key).filter(|(name, _)| sees(name));
        let all: Vec<Value> = all.map(|(_, row)| shown(row)).collect();
        return Ok(Answer::json(&all).with_index(found.index));
    }
    let missing = || {
        let text = format!("Config entry not found for \"{kind}\" / \"{name}\"");
        Answer::error(StatusCode::NOT_FOUND, text)
    };
    let answer = rows.get(&key).map_or_else(missing, |row| Answer::json(&shown(row)));
    Ok(answer.with_index(found.index))
}

#[cfg(test)]
mod tests;
