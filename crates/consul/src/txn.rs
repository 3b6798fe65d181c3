//! `/v1/txn`: several operations, all or nothing, at one index.

use crate::acl::{Access, Named};
use crate::answer::Answer;
use crate::fold;
use crate::kv::{Draft, Entry, check_key, shown};
use crate::request::Request;
use crate::route::Route;
use crate::serve::{Consul, Endpoint};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, StatusCode};
use model::limits::{
    CONSUL_DELETED_AT_ONCE, CONSUL_TXN_OPS_MAX, CONSUL_TXN_ROWS_MAX, CONSUL_VALUE_BYTES_MAX,
    STORE_TXN_BYTES_MAX,
};
use serde::Serialize;
use serde_json::Value;
use store::Store;

/// Its endpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Txn;

pub(crate) const ROUTES: &[Route<Endpoint>] =
    &[Route { path: "txn", methods: &[Method::PUT], to: Endpoint::Txn(Txn) }];

/// An operation on a key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct KvOp {
    verb: Verb,
    key: String,
    value: Bytes,
    flags: u64,
    index: u64,
    session: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Set,
    Cas,
    Lock,
    Unlock,
    Get,
    GetOrEmpty,
    GetTree,
    CheckIndex,
    CheckSession,
    CheckNotExists,
    Delete,
    DeleteTree,
    DeleteCas,
}

const VERBS: [(&str, Verb); 13] = [
    ("set", Verb::Set),
    ("cas", Verb::Cas),
    ("lock", Verb::Lock),
    ("unlock", Verb::Unlock),
    ("get", Verb::Get),
    ("get-or-empty", Verb::GetOrEmpty),
    ("get-tree", Verb::GetTree),
    ("check-index", Verb::CheckIndex),
    ("check-session", Verb::CheckSession),
    ("check-not-exists", Verb::CheckNotExists),
    ("delete", Verb::Delete),
    ("delete-tree", Verb::DeleteTree),
    ("delete-cas", Verb::DeleteCas),
];

/// An operation, or why the request is none.
fn read(body: &[u8]) -> Result<Vec<KvOp>, Answer> {
    let parsed = |error: String| Answer::bad(format!("Failed to parse body: {error}"));
    let list: Vec<Value> = serde_json::from_slice(body).map_err(|e| parsed(e.to_string()))?;
    if list.len() > CONSUL_TXN_OPS_MAX {
        let text = format!(
            "Transaction contains too many operations ({} > {CONSUL_TXN_OPS_MAX})",
            list.len()
        );
        return Err(Answer::error(StatusCode::PAYLOAD_TOO_LARGE, text));
    }
    list.iter().map(|item| read_one(item).map_err(|e| e.unwrap_or_else(parsed))).collect()
}

/// Either the whole answer, or what cannot be parsed.
enum Wrong {
    Answer(Answer),
    Parse(String),
}

impl Wrong {
    fn unwrap_or_else(self, parsed: impl Fn(String) -> Answer) -> Answer {
        match self {
            Self::Answer(answer) => answer,
            Self::Parse(why) => parsed(why),
        }
    }
}

fn read_one(item: &Value) -> Result<KvOp, Wrong> {
    for other in ["Node", "Service", "Check"] {
        if fold::get(item, other).is_some_and(|op| !op.is_null()) {
            let text = format!("operations on {other} are not known in a transaction");
            return Err(Wrong::Answer(Answer::bad(text)));
        }
    }
    let op = fold::get(item, "KV").filter(|op| op.is_object());
    let op = op.ok_or_else(|| Wrong::Parse("an operation without KV".into()))?;
    let name = fold::text(op, "Verb");
    let verb = VERBS.iter().find(|(known, _)| *known == name).map(|(_, verb)| *verb);
    let verb =
        verb.ok_or_else(|| Wrong::Answer(Answer::bad(format!("unknown KV verb \"{name}\""))))?;
    let value = STANDARD.decode(fold::text(op, "Value"));
    let value = value.map_err(|e| Wrong::Parse(format!("illegal base64 data: {e}")))?;
    if value.len() > CONSUL_VALUE_BYTES_MAX {
        return Err(Wrong::Answer(Answer::too_large(value.len(), CONSUL_VALUE_BYTES_MAX)));
    }
    let key = fold::text(op, "Key").to_owned();
    check_key(&key).map_err(Wrong::Answer)?;
    if key.is_empty() && !matches!(verb, Verb::GetTree | Verb::DeleteTree) {
        return Err(Wrong::Answer(Answer::bad("Missing key name")));
    }
    Ok(KvOp {
        verb,
        key,
        value: value.into(),
        flags: fold::number(op, "Flags").map_err(Wrong::Parse)?,
        index: fold::number(op, "Index").map_err(Wrong::Parse)?,
        session: fold::text(op, "Session").to_owned(),
    })
}

/// An entry of the result, and whether it shows its value.
type Row = (Entry, bool);

/// Why an operation fails.
enum Failed {
    /// As the result says.
    Op(String),
    /// The transaction would delete more keys than it can.
    TooLarge,
}

impl From<String> for Failed {
    fn from(what: String) -> Self {
        Self::Op(what)
    }
}

/// What one operation does, and what it gives; or why the transaction fails.
fn run(
    draft: &mut Draft<'_>,
    op: &KvOp,
    may_lock: &dyn Fn(&str, &str) -> bool,
) -> Result<Vec<Row>, Failed> {
    let KvOp { key, flags, index, session, .. } = op;
    let (flags, index, value) = (*flags, *index, op.value.clone());
    let full = |refused: crate::kv::Refused| refused.to_string();
    let must = |done: bool, why: String| if done { Ok(()) } else { Err(why) };
    match op.verb {
        Verb::Set => draft.set(key, value, flags).map_err(full)?,
        Verb::Cas => {
            let done = draft.cas(key, value, flags, index).map_err(full)?;
            must(done, format!("failed to set key \"{key}\", index is stale"))?;
        }
        Verb::Lock => {
            let done =
                may_lock(key, session) && draft.lock(key, value, flags, session).map_err(full)?;
            must(done, format!("failed to lock key \"{key}\", lock is already held"))?;
        }
        Verb::Unlock => {
            let done = draft.unlock(key, value, flags, session).map_err(full)?;
            let why = "lock isn't held, or is held by another session";
            must(done, format!("failed to unlock key \"{key}\", {why}"))?;
        }
        Verb::Get => {
            let entry = draft.get(key).ok_or_else(|| format!("key \"{key}\" doesn't exist"))?;
            return Ok(vec![(entry, true)]);
        }
        Verb::GetOrEmpty => {
            let empty = || Entry {
                key: key.as_str().into(),
                value: Bytes::new(),
                flags: 0,
                lock_index: 0,
                session: None,
                create_index: 0,
                modify_index: 0,
                origin: crate::kv::Origin::default(),
            };
            return Ok(vec![(draft.get(key).unwrap_or_else(empty), true)]);
        }
        Verb::GetTree => {
            return Ok(draft.list(key).into_iter().map(|entry| (entry, true)).collect());
        }
        Verb::CheckIndex => {
            let found = draft.get(key);
            let found = found.ok_or_else(|| format!("key \"{key}\" doesn't exist"))?;
            let at = found.modify_index;
            must(at == index, format!("current modify index {at} != {index}"))?;
            return Ok(vec![(found, false)]);
        }
        Verb::CheckSession => {
            let found = draft.get(key);
            let found = found.ok_or_else(|| format!("key \"{key}\" doesn't exist"))?;
            let holder = found.session.as_deref().unwrap_or("").to_owned();
            must(holder == *session, format!("current session \"{holder}\" != \"{session}\""))?;
            return Ok(vec![(found, false)]);
        }
        Verb::CheckNotExists => {
            must(draft.get(key).is_none(), format!("key \"{key}\" exists"))?;
            return Ok(vec![]);
        }
        Verb::Delete => {
            draft.delete(key);
            return Ok(vec![]);
        }
        Verb::DeleteTree => {
            return if draft.delete_all(key) { Ok(vec![]) } else { Err(Failed::TooLarge) };
        }
        Verb::DeleteCas => {
            let done = draft.delete_cas(key, index);
            must(done, format!("failed to delete key \"{key}\", index is stale"))?;
            return Ok(vec![]);
        }
    }
    Ok(draft.get(key).map(|entry| (entry, false)).into_iter().collect())
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    op_index: usize,
    what: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Outcome<R> {
    results: Option<R>,
    errors: Option<Vec<Failure>>,
}

#[derive(Serialize)]
struct Shown<T> {
    #[serde(rename = "KV")]
    kv: T,
}

/// May an operation be done? Reads are filtered.
fn may(access: &Access, op: &KvOp) -> Result<(), String> {
    let allowed = match op.verb {
        Verb::Get | Verb::GetOrEmpty | Verb::GetTree => Ok(()),
        Verb::CheckIndex | Verb::CheckSession | Verb::CheckNotExists => {
            access.read(Named::Key, &op.key)
        }
        Verb::DeleteTree => access.write_below(Named::Key, &op.key),
        Verb::Set | Verb::Cas | Verb::Lock | Verb::Unlock | Verb::Delete | Verb::DeleteCas => {
            access.write(Named::Key, &op.key)
        }
    };
    allowed.map_err(|denied| String::from_utf8_lossy(&denied.body).into_owned())
}

/// Answers a request.
pub(crate) async fn answer<S: Store>(consul: &Consul<S>, request: &Request) -> Answer {
    transact(consul, request).await.unwrap_or_else(|refused| refused)
}

async fn transact<S: Store>(consul: &Consul<S>, request: &Request) -> Result<Answer, Answer> {
    let ops = read(&request.body)?;
    let keeper = consul.keeper();
    let write = consul.state().commit(&request.by, |draft| {
        let mut rows: Vec<Row> = vec![];
        for (at, op) in ops.iter().enumerate() {
            let may_lock =
                |key: &str, session: &str| !keeper.is_ending(session) && keeper.may_lock(key);
            may(&request.access, op).map_err(|what| failed(at, what))?;
            match run(draft, op, &may_lock) {
                // What may not be read is left out.
                Ok(more) => {
                    let sees = |row: &Row| request.access.sees(Named::Key, &row.0.key);
                    rows.extend(more.into_iter().filter(sees));
                }
                Err(Failed::Op(what)) => return Err(failed(at, what)),
                Err(Failed::TooLarge) => return Err(too_large(&op.key)),
            }
            if rows.len() > CONSUL_TXN_ROWS_MAX {
                let what = format!(
                    "the results have more than {CONSUL_TXN_ROWS_MAX} keys: list fewer of them"
                );
                return Err(failed(at, what));
            }
        }
        Ok(rows)
    });
    let (mut rows, index) = write.await?;
    // What this transaction wrote has its index.
    let own = index.unwrap_or_else(|| consul.state().map().table());
    let settle = |at: &mut u64| {
        if *at == crate::kv::PENDING {
            *at = own;
        }
    };
    for (entry, _) in &mut rows {
        settle(&mut entry.modify_index);
        settle(&mut entry.create_index);
    }
    let results = rows.iter().map(|(entry, value)| Shown { kv: shown(entry, *value) }).collect();
    let outcome = Outcome::<Vec<_>> { results: Some(results), errors: None };
    let answer = Answer::json(&outcome);
    Ok(match index {
        Some(_) => answer,
        None => answer.with_index(own),
    })
}

/// 413 of a `delete-tree`.
fn too_large(prefix: &str) -> Answer {
    let mib = STORE_TXN_BYTES_MAX / 2 / (1024 * 1024);
    let text = format!(
        "delete-tree of {prefix:?} is too large: a transaction deletes up to \
         {CONSUL_DELETED_AT_ONCE} keys or {mib} MiB of their names; delete parts of it, or with \
         DELETE /v1/kv/...?recurse"
    );
    Answer::error(StatusCode::PAYLOAD_TOO_LARGE, text)
}

fn failed(op_index: usize, what: String) -> Answer {
    let errors = Some(vec![Failure { op_index, what }]);
    let outcome = Outcome::<()> { results: None, errors };
    let answer = Answer::json(&outcome);
    Answer { status: StatusCode::CONFLICT, ..answer }
}

#[cfg(test)]
mod tests;
