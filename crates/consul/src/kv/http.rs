//! `/v1/kv/…`.

use super::entry::Entry;
use crate::acl::Named;
use crate::answer::Answer;
use crate::blocking;
use crate::request::Request;
use crate::route::Route;
use crate::serve::{Consul, Endpoint};
use crate::waiters::Topic;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode};
use model::limits::{CONSUL_DELETED_AT_ONCE, CONSUL_KEY_BYTES_MAX, CONSUL_VALUE_BYTES_MAX};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use store::Store;

/// A recursive delete that others came before so often takes an eighth of the keys, so that one of
/// `CONSUL_CONFLICTS_MAX` tries has a single key.
const TRIES_OF_ONE_SIZE: usize = 4;

/// Its endpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kv;

pub(crate) const ROUTES: &[Route<Endpoint>] = &[Route {
    path: "kv/",
    methods: &[Method::GET, Method::PUT, Method::DELETE],
    to: Endpoint::Kv(Kv),
}];

/// As clients read it, in their order of fields.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Shown<'a> {
    lock_index: u64,
    key: &'a str,
    flags: u64,
    /// Base64; null when it is empty.
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    create_index: u64,
    modify_index: u64,
}

/// An entry as clients read it. Without its value that is null.
pub(crate) fn shown(entry: &Entry, with_value: bool) -> Shown<'_> {
    let has_value = with_value && !entry.value.is_empty();
    Shown {
        lock_index: entry.lock_index,
        key: &entry.key,
        flags: entry.flags,
        value: has_value.then(|| STANDARD.encode(&entry.value)),
        session: entry.session.as_deref(),
        create_index: entry.create_index,
        modify_index: entry.modify_index,
    }
}

/// Answers a request.
pub(crate) async fn answer<S: Store>(consul: &Consul<S>, request: &Request) -> Answer {
    let done = match request.method {
        Method::PUT => put(consul, request).await,
        Method::DELETE => delete(consul, request).await,
        _ => get(consul, request).await,
    };
    done.unwrap_or_else(|refused| refused)
}

/// The key of a request.
fn key(request: &Request) -> Result<&str, Answer> {
    match request.after("kv/") {
        "" => Err(Answer::bad("Missing key name")),
        key => check_key(key).map(|()| key),
    }
}

/// Is it short enough?
///
/// # Errors
/// 400 when it is not.
pub(crate) fn check_key(key: &str) -> Result<(), Answer> {
    if key.len() > CONSUL_KEY_BYTES_MAX {
        let bytes = key.len();
        let max = CONSUL_KEY_BYTES_MAX;
        return Err(Answer::bad(format!("a key of {bytes} bytes is longer than {max}")));
    }
    Ok(())
}

fn number(request: &Request, name: &str) -> Result<Option<u64>, Answer> {
    let parse = |text: &str| {
        text.parse().map_err(|_none| Answer::bad(format!("Invalid {name} value: {text:?}")))
    };
    request.query.get(name).map(parse).transpose()
}

fn conflicting(request: &Request, flags: &[&str]) -> Result<(), Answer> {
    let found: Vec<&str> = flags.iter().copied().filter(|flag| request.query.has(flag)).collect();
    match found.len() {
        0 | 1 => Ok(()),
        _ => Err(Answer::bad(format!("Conflicting flags: {}", found.join("&")))),
    }
}

async fn get<S: Store>(consul: &Consul<S>, request: &Request) -> Result<Answer, Answer> {
    let options = request.read_options()?;
    let (prefix, query) = (request.after("kv/"), &request.query);
    if !query.has("recurse") && !query.has("keys") {
        let key = key(request)?;
        let topics = vec![Topic::Key(key.into())];
        let read = || Ok::<_, Answer>(consul.state().map().get(key));
        let found = blocking::query(consul.waiters(), options, topics, read).await?;
        let answer = match &found.value {
            None => Answer::empty(StatusCode::NOT_FOUND),
            Some(entry) if query.has("raw") => raw(entry),
            Some(entry) => Answer::json(&[shown(entry, true)]),
        };
        return Ok(answer.with_index(found.index));
    }
    check_key(prefix)?;
    let topics = vec![Topic::Prefix(prefix.into())];
    let read = || Ok::<_, Answer>(consul.state().map().list(prefix));
    let mut found = blocking::query(consul.waiters(), options, topics, read).await?;
    if !request.access.is_all() {
        found.value.retain(|entry| request.access.sees(Named::Key, &entry.key));
    }
    let is_missing = found.value.is_empty() && !(query.has("keys") && prefix.is_empty());
    let answer = if is_missing {
        Answer::empty(StatusCode::NOT_FOUND)
    } else if query.has("keys") {
        let separator = query.text("separator").or_else(|| query.text("seperator")).unwrap_or("");
        Answer::json(&folded(&found.value, prefix, separator))
    } else {
        let all: Vec<Shown<'_>> = found.value.iter().map(|entry| shown(entry, true)).collect();
        Answer::json(&all)
    };
    Ok(answer.with_index(found.index))
}

/// The value alone. What a key holds must not run as a page of this address.
fn raw(entry: &Entry) -> Answer {
    Answer::empty(StatusCode::OK)
        .with_type("text/plain")
        .with(
            HeaderName::from_static("x-content-type-options"),
            HeaderValue::from_static("nosniff"),
        )
        .with(
            HeaderName::from_static("content-security-policy"),
            HeaderValue::from_static("sandbox"),
        )
        .with_body(entry.value.clone())
}

/// Keys up to the first separator behind the prefix, each once.
fn folded<'e>(entries: &'e [Arc<Entry>], prefix: &str, separator: &str) -> Vec<&'e str> {
    let mut keys: Vec<&str> = Vec::new();
    for entry in entries {
        let rest = entry.key.get(prefix.len()..).unwrap_or("");
        let end = match separator {
            "" => None,
            separator => rest.find(separator).map(|at| prefix.len() + at + separator.len()),
        };
        let key = end.map_or(&*entry.key, |end| &entry.key[..end]);
        if keys.last() != Some(&key) {
            keys.push(key);
        }
    }
    keys
}

async fn put<S: Store>(consul: &Consul<S>, request: &Request) -> Result<Answer, Answer> {
    let key = key(request)?;
    conflicting(request, &["cas", "acquire", "release"])?;
    let flags = number(request, "flags")?.unwrap_or(0);
    let cas = number(request, "cas")?;
    let query = &request.query;
    let value = &request.body;
    if value.len() > CONSUL_VALUE_BYTES_MAX {
        return Err(Answer::too_large(value.len(), CONSUL_VALUE_BYTES_MAX));
    }
    let (state, keeper) = (consul.state(), consul.keeper());
    let _turn = state.turn(key).await;
    let write = state.commit(&request.by, |draft| {
        let value = value.clone();
        let done = if let Some(index) = cas {
            draft.cas(key, value, flags, index)
        } else if let Some(session) = query.get("acquire") {
            if keeper.is_ending(session) {
                return Err(Answer::failed(format!("invalid session \"{session}\"")));
            }
            match keeper.may_lock(key) || is_held(draft, key, session) {
                true => draft.lock(key, value, flags, session),
                false => Ok(false),
            }
        } else if let Some(session) = query.get("release") {
            draft.unlock(key, value, flags, session)
        } else {
            draft.set(key, value, flags).map(|()| true)
        };
        done.map_err(|refused| Answer::failed(refused.to_string()))
    });
    let (done, _) = write.await?;
    Ok(Answer::json(&done))
}

fn is_held(draft: &mut super::Draft<'_>, key: &str, session: &str) -> bool {
    draft.get(key).is_some_and(|entry| entry.session.as_deref() == Some(session))
}

async fn delete<S: Store>(consul: &Consul<S>, request: &Request) -> Result<Answer, Answer> {
    conflicting(request, &["recurse", "cas"])?;
    let state = consul.state();
    if request.query.has("recurse") {
        let prefix = request.after("kv/");
        check_key(prefix)?;
        delete_below(consul, prefix, &request.by).await?;
        return Ok(Answer::json(&true));
    }
    let key = key(request)?;
    let cas = number(request, "cas")?;
    let _turn = state.turn(key).await;
    let write = state.commit(&request.by, |draft| {
        Ok(match cas {
            Some(index) => draft.delete_cas(key, index),
            None => {
                draft.delete(key);
                true
            }
        })
    });
    let (done, _) = write.await?;
    Ok(Answer::json(&done))
}

/// Deletes everything below a prefix at one index. What is too much for one transaction of the
/// store goes in several; so does what others change so often that a large one is never in time.
/// A key that is written again behind what is deleted already stays.
///
/// # Errors
/// When the store does not take it; of more than one transaction some may be done by then.
async fn delete_below<S: Store>(
    consul: &Consul<S>,
    prefix: &str,
    by: &Arc<str>,
) -> Result<(), Answer> {
    let mut from: Arc<str> = prefix.into();
    let mut most = CONSUL_DELETED_AT_ONCE;
    loop {
        let tries = AtomicUsize::new(0);
        let portion = |tries: usize| (most >> (3 * (tries / TRIES_OF_ONE_SIZE))).max(1);
        let write = consul.state().commit(by, |draft| {
            let tried = tries.fetch_add(1, Ordering::Relaxed);
            Ok(draft.delete_some(prefix, &from, portion(tried)))
        });
        let (next, _) = write.await?;
        let Some(next) = next else { return Ok(()) };
        let tried = tries.load(Ordering::Relaxed).saturating_sub(1);
        // It grows again where it is calm.
        most = (portion(tried) * 2).min(CONSUL_DELETED_AT_ONCE);
        from = next;
    }
}
