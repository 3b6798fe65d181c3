//! `/v1/acl/bootstrap`, `/v1/acl/token…`. A secret is shown once, when its token is made.

use super::authority::ANONYMOUS;
use super::http::{body, fingerprint};
use super::keep::Acls;
use super::link;
use super::records::{
    self, ANONYMOUS_SECRET, BOOTSTRAP_ROW, KEY_ROW, Kept, Links, MANAGEMENT, Token, encode,
};
use crate::answer::Answer;
use crate::duration;
use crate::fold;
use crate::request::Request;
use crate::shelf::{Rows, Write};
use crate::uuid;
use bytes::Bytes;
use http::{Method, StatusCode};
use model::limits::{ACL_TOKENS_MAX, ACL_TTL_MS_MAX, ACL_TTL_MS_MIN};
use model::time::Timestamp;
use serde_json::{Value, json};
use store::Store;

/// What is shown in the place of a secret that is not kept.
pub(crate) const HIDDEN: &str = "<hidden>";

fn shown(rows: &Rows, kept: &Kept<Token>, secret: Option<&str>) -> Value {
    let Token { accessor, description, local, made, ends, links } = &kept.value;
    let secret = match accessor.as_str() {
        ANONYMOUS => ANONYMOUS_SECRET,
        _ => secret.unwrap_or(HIDDEN),
    };
    let mut value = json!({
        "AccessorID": accessor, "SecretID": secret, "Description": description, "Local": local,
        "CreateTime": Timestamp(*made).utc(), "Hash": fingerprint(&encode(&kept.value)),
        "CreateIndex": kept.created, "ModifyIndex": kept.modified, "Legacy": false,
    });
    if let Some(ends) = ends {
        value["ExpirationTime"] = Timestamp(*ends).utc().into();
    }
    link::show(rows, links, &mut value);
    value
}

fn missing(accessor: &str) -> Answer {
    Answer::not_found(format!("token does not exist: ACL not found: {accessor}"))
}

/// A fresh key, should there be none yet: its bytes, and the write that keeps it.
fn key(rows: &Rows, fresh: &[u8; 32]) -> (Bytes, Option<Write>) {
    match rows.get(KEY_ROW) {
        Some(row) => (row.value.clone(), None),
        None => {
            let key = Bytes::copy_from_slice(fresh);
            (key.clone(), Some((KEY_ROW.to_owned(), Some(key))))
        }
    }
}

/// Writes of a new token.
fn made(rows: &Rows, token: &Token, secret: &str, fresh: &[u8; 32]) -> Result<Vec<Write>, Answer> {
    let all = records::tokens(rows);
    if all.len() >= ACL_TOKENS_MAX {
        return Err(Answer::bad(format!("there are {ACL_TOKENS_MAX} tokens already")));
    }
    let (key, write) = key(rows, fresh);
    let row = records::token_row(&records::hash_with(&key, secret));
    let taken = |kept: &Kept<Token>| kept.row == row || kept.value.accessor == token.accessor;
    if all.iter().any(taken) {
        return Err(Answer::bad("Invalid Token: AccessorID or SecretID is already in use"));
    }
    Ok(write.into_iter().chain([(row, Some(encode(token)))]).collect())
}

/// Makes the first token, which may do everything. Once; again when somebody with an API token of
/// Remuda says the index at which it was done.
pub(super) async fn bootstrap<S: Store>(
    acls: &Acls<S>,
    request: &Request,
) -> Result<Answer, Answer> {
    let body = body(request)?;
    let secret = secret_of(&body, "BootstrapSecret")?;
    let reset = request.query.text("reset").and_then(|text| text.parse::<u64>().ok());
    let reset = reset.filter(|_| request.trusted);
    let fresh: [u8; 32] = rand::random();
    let token = Token {
        accessor: uuid::random(),
        description: "Bootstrap Token (Global Management)".into(),
        links: Links { policies: vec![MANAGEMENT.into()], ..Links::default() },
        made: acls.now(),
        ..Token::default()
    };
    let write = acls.shelf().commit(|rows| {
        if let Some(done) = rows.get(BOOTSTRAP_ROW).filter(|row| Some(row.modified) != reset) {
            let text = format!(
                "Permission denied: ACL bootstrap no longer allowed (reset index: {})",
                done.modified
            );
            return Err(Answer::error(StatusCode::FORBIDDEN, text));
        }
        let mut writes = made(rows, &token, &secret, &fresh)?;
        writes.push((BOOTSTRAP_ROW.to_owned(), Some(encode(&token.accessor))));
        Ok(((), writes))
    });
    write.await?;
    tracing::info!(accessor = token.accessor, "first token of the Consul API made");
    found(acls, &token.accessor, Some(&secret))
}

/// The secret that a body asks for, else a new one.
fn secret_of(body: &Value, field: &str) -> Result<String, Answer> {
    match fold::text(body, field) {
        "" => Ok(uuid::random()),
        text if uuid::is_uuid(text) => Ok(text.to_ascii_lowercase()),
        _ => Err(Answer::bad(format!("Invalid Token: {field} is not a valid UUID"))),
    }
}

fn found<S: Store>(acls: &Acls<S>, id: &str, secret: Option<&str>) -> Result<Answer, Answer> {
    let rows = acls.shelf().rows();
    let kept = records::token(&rows, id).ok_or_else(|| missing(id))?;
    Ok(Answer::json(&shown(&rows, &kept, secret)).with_index(kept.modified))
}

/// When a token ends, as its body says.
fn ends(body: &Value, now: i64) -> Result<Option<i64>, Answer> {
    if !fold::text(body, "ExpirationTime").is_empty() {
        return Err(Answer::bad("say ExpirationTTL instead of ExpirationTime"));
    }
    let ttl = match fold::get(body, "ExpirationTTL") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) if text.is_empty() => return Ok(None),
        Some(Value::String(text)) => duration::parse(text),
        Some(value) => value.as_u64().map(std::time::Duration::from_nanos),
    };
    let ms = ttl.and_then(|ttl| u64::try_from(ttl.as_millis()).ok());
    match ms {
        Some(0) => Ok(None),
        Some(ms) if (ACL_TTL_MS_MIN..=ACL_TTL_MS_MAX).contains(&ms) => {
            Ok(Some(Timestamp(now).plus_ms(ms).0))
        }
        _ => Err(Answer::bad("ExpirationTTL is a duration of 1m to 24h")),
    }
}

/// Makes one; its secret is shown now and never again.
pub(super) async fn create<S: Store>(acls: &Acls<S>, request: &Request) -> Result<Answer, Answer> {
    let body = body(request)?;
    let accessor = secret_of(&body, "AccessorID")?;
    let secret = secret_of(&body, "SecretID")?;
    if accessor.starts_with("00000000-0000-0000-0000-") {
        return Err(Answer::bad("Invalid Token: this AccessorID is reserved"));
    }
    let (fresh, now): ([u8; 32], i64) = (rand::random(), acls.now());
    let (description, ends) = (link::description(&body)?, ends(&body, now)?);
    let local = fold::get(&body, "Local").and_then(Value::as_bool).unwrap_or(false);
    let write = acls.shelf().commit(|rows| {
        let links = link::links(rows, &body, true)?;
        let (accessor, description) = (accessor.clone(), description.clone());
        let token = Token { accessor, description, links, local, made: now, ends };
        Ok(((), made(rows, &token, &secret, &fresh)?))
    });
    write.await?;
    found(acls, &accessor, Some(&secret))
}

/// Reads, changes, copies or deletes one.
pub(super) async fn one<S: Store>(acls: &Acls<S>, request: &Request) -> Result<Answer, Answer> {
    let id = request.after("acl/token/");
    if let Some(id) = id.strip_suffix("/clone") {
        return match request.method {
            Method::PUT => clone(acls, request, id).await,
            _ => Err(Answer::error(StatusCode::METHOD_NOT_ALLOWED, "clone is a PUT")),
        };
    }
    match request.method {
        Method::PUT => update(acls, request, id).await,
        Method::DELETE => delete(acls, request, id).await,
        _ => found(acls, id, None),
    }
}

async fn update<S: Store>(acls: &Acls<S>, request: &Request, id: &str) -> Result<Answer, Answer> {
    let body = body(request)?;
    let said = fold::text(&body, "AccessorID");
    if !said.is_empty() && said != id {
        return Err(Answer::bad("Token Accessor ID in URL and payload do not match"));
    }
    let secret = fold::text(&body, "SecretID");
    let description = link::description(&body)?;
    let write = acls.shelf().commit(|rows| {
        let known = records::token(rows, id).ok_or_else(|| missing(id))?;
        let is_same = secret.is_empty()
            || [HIDDEN, ANONYMOUS_SECRET].contains(&secret)
            || records::hash(rows, secret).is_some_and(|h| records::token_row(&h) == known.row);
        if !is_same {
            return Err(Answer::bad("Changing a token's SecretID is not permitted"));
        }
        let links = link::links(rows, &body, true)?;
        let token = Token { description: description.clone(), links, ..known.value.clone() };
        let changed = token != known.value;
        let writes = changed.then(|| (known.row, Some(encode(&token))));
        Ok(((), writes.into_iter().collect()))
    });
    write.await?;
    found(acls, id, None)
}

async fn clone<S: Store>(acls: &Acls<S>, request: &Request, id: &str) -> Result<Answer, Answer> {
    let body = body(request)?;
    let (accessor, secret) = (uuid::random(), uuid::random());
    let (fresh, now): ([u8; 32], i64) = (rand::random(), acls.now());
    let said = fold::get(&body, "Description").and_then(Value::as_str).map(str::to_owned);
    if said.is_some() {
        link::description(&body)?;
    }
    let write = acls.shelf().commit(|rows| {
        let known = records::token(rows, id).ok_or_else(|| missing(id))?.value;
        if known.accessor == ANONYMOUS {
            return Err(Answer::bad("Cannot clone the anonymous token"));
        }
        let description = said.clone().unwrap_or_else(|| format!("Clone of {}", known.description));
        let token = Token { accessor: accessor.clone(), description, made: now, ..known };
        Ok(((), made(rows, &token, &secret, &fresh)?))
    });
    write.await?;
    found(acls, &accessor, Some(&secret))
}

async fn delete<S: Store>(acls: &Acls<S>, request: &Request, id: &str) -> Result<Answer, Answer> {
    if id == ANONYMOUS {
        return Err(Answer::bad("Delete operation not permitted on the anonymous token"));
    }
    let write = acls.shelf().commit(|rows| {
        let Some(known) = records::token(rows, id) else { return Ok(((), vec![])) };
        let own = records::hash(rows, &request.token).map(|hash| records::token_row(&hash));
        if !request.trusted && own.as_ref() == Some(&known.row) {
            return Err(Answer::bad(
                "Deletion of the request's authorization token is not permitted",
            ));
        }
        Ok(((), vec![(known.row, None)]))
    });
    write.await?;
    Ok(Answer::json(&true))
}

/// The token of the request itself.
pub(super) fn mine<S: Store>(acls: &Acls<S>, request: &Request) -> Result<Answer, Answer> {
    let rows = acls.shelf().rows();
    let kept = match request.token.as_str() {
        "" | ANONYMOUS_SECRET => Some(records::anonymous(&rows)),
        secret => records::hash(&rows, secret).and_then(|hash| records::token_of(&rows, &hash)),
    };
    let kept = kept.ok_or_else(|| Answer::error(StatusCode::FORBIDDEN, "ACL not found"))?;
    Ok(Answer::json(&shown(&rows, &kept, Some(&request.token))).with_index(kept.modified))
}

/// All of them; `?policy=` and `?role=` choose those that have one.
pub(super) fn list<S: Store>(acls: &Acls<S>, request: &Request) -> Answer {
    let rows = acls.shelf().rows();
    let (policy, role) = (request.query.text("policy"), request.query.text("role"));
    let has = |ids: &[String], id: Option<&str>| id.is_none_or(|id| ids.iter().any(|x| x == id));
    let all = records::tokens(&rows);
    let all = all.iter().filter(|kept| {
        has(&kept.value.links.policies, policy) && has(&kept.value.links.roles, role)
    });
    let all: Vec<Value> = all.map(|kept| shown(&rows, kept, None)).collect();
    Answer::json(&all).with_index(rows.changed)
}
