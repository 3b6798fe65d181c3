//! `/v1/query…`: prepared queries. They are records, one each, and read from the store: there are few
//! of them, and whoever asks sees every one that was acknowledged. Hosts are told what they need to
//! answer their names.

mod definition;
mod execute;
mod template;

use crate::acl::Named;
use crate::answer::Answer;
use crate::catalog::endpoints::Reads;
use crate::request::Request;
use crate::route::Route;
use crate::serve::Endpoint;
use definition::Definition;
use http::Method;
use model::change::{Change, Edit, Proposal};
use model::limits::{PREPARED_BYTES_MAX, PREPARED_QUERIES_MAX};
use model::prepared::PreparedQuery;
use model::record::{Record, RecordKey};
use std::sync::Arc;
use store::{Keys, Read, Store, codec};

/// Their endpoints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prepared;

const LIST: &[Method] = &[Method::GET, Method::POST];
const ONE: &[Method] = &[Method::GET, Method::PUT, Method::DELETE];

pub(crate) const ROUTES: &[Route<Endpoint>] = &[
    Route { path: "query", methods: LIST, to: Endpoint::Prepared(Prepared) },
    Route { path: "query/", methods: ONE, to: Endpoint::Prepared(Prepared) },
];

/// A query as it is kept.
#[derive(Clone, Debug)]
struct Kept {
    id: String,
    definition: Definition,
    created: u64,
    modified: u64,
}

impl Kept {
    fn json(&self) -> Vec<u8> {
        self.definition.json(&self.id, self.created, self.modified)
    }
}

/// Answers one of them.
pub(crate) async fn answer<S: Store>(store: &S, reads: Reads<'_>, request: &Request) -> Answer {
    let rest = request.after("query/").trim_end_matches('/');
    let (id, verb) = match rest.rsplit_once('/') {
        Some((id, verb @ ("execute" | "explain"))) => (id, verb),
        _ => (rest, ""),
    };
    let method = &request.method;
    let done = match (id, verb) {
        ("", _) if *method == Method::GET => list(store, request).await,
        ("", _) if *method == Method::POST => create(store, request).await,
        (id, "execute") if *method == Method::GET => execute(store, reads, request, id).await,
        (id, "explain") if *method == Method::GET => explain(store, reads, request, id).await,
        (id, "") if *method == Method::GET => one(store, request, id).await,
        (id, "") if *method == Method::PUT => update(store, request, id).await,
        (id, "") if *method == Method::DELETE => delete(store, request, id).await,
        _ => Err(Answer::bad("an id belongs to GET, PUT and DELETE, and none to POST")),
    };
    done.unwrap_or_else(|refusal| refusal)
}

fn refused(error: &store::Error) -> Answer {
    Answer::failed(format!("prepared queries cannot be read or written: {error}"))
}

fn missing() -> Answer {
    Answer::not_found("Query not found")
}

/// All of them, by id.
async fn all<S: Store>(store: &S) -> Result<(Vec<Kept>, u64), Answer> {
    let mut found = vec![];
    let prefix = codec::key(&RecordKey::Query(String::new()));
    let (mut keys, mut read) = (Keys::prefix(&prefix), Read::Latest);
    loop {
        let page = store.range(keys.clone(), read).await.map_err(|error| refused(&error))?;
        for kv in &page.kvs {
            // One that a newer version wrote is left alone, and cannot be run here.
            let Ok(Some(Record::Query(query))) = codec::read(kv) else { continue };
            let Ok(definition) = serde_json::from_value(query.definition.clone()) else { continue };
            let (created, modified) = (kv.created.0, kv.modified.0);
            found.push(Kept { id: query.id.clone(), definition, created, modified });
        }
        let Some(next) = page.next else {
            let newest = found.iter().map(|one| one.modified).max().unwrap_or(1);
            return Ok((found, newest));
        };
        (keys, read) = (keys.starting_at(&next), Read::At(page.index));
    }
}

/// May a query be written? One without a name by whoever may write some query.
fn may_write(request: &Request, definition: &Definition) -> Result<(), Answer> {
    match definition.name.as_str() {
        "" if !definition.is_template() => request.access.write_any(Named::Query),
        // A template without a name stands for all names.
        name => request.access.write(Named::Query, name),
    }
}

fn may_read(request: &Request, definition: &Definition) -> Result<(), Answer> {
    match definition.name.as_str() {
        // Its id is known to who made it.
        "" if !definition.is_template() => Ok(()),
        name => request.access.read(Named::Query, name),
    }
}

async fn list<S: Store>(store: &S, request: &Request) -> Result<Answer, Answer> {
    let (mut all, index) = all(store).await?;
    all.retain(|one| request.access.sees(Named::Query, &one.definition.name));
    let body = crate::catalog::document::list(all.iter(), |out, one| out.extend(one.json()));
    Ok(Answer::json_bytes(body).with_index(index))
}

async fn one<S: Store>(store: &S, request: &Request, id: &str) -> Result<Answer, Answer> {
    let (all, _) = all(store).await?;
    let found = all.iter().find(|one| one.id == id).ok_or_else(missing)?;
    may_read(request, &found.definition)?;
    let mut body = vec![b'['];
    body.extend(found.json());
    body.push(b']');
    Ok(Answer::json_bytes(body).with_index(found.modified))
}

fn read(request: &Request, all: &[Kept], id: &str) -> Result<Definition, Answer> {
    if request.body.len() > PREPARED_BYTES_MAX {
        return Err(Answer::too_large(request.body.len(), PREPARED_BYTES_MAX));
    }
    let definition = Definition::read(&request.body).map_err(Answer::bad)?;
    let same = |one: &&Kept| {
        one.id != id && !definition.name.is_empty() && one.definition.name == definition.name
    };
    match all.iter().find(same) {
        Some(other) => Err(Answer::bad(format!(
            "name {:?} is that of query {}: choose another",
            definition.name, other.id
        ))),
        None => Ok(definition),
    }
}

async fn put<S: Store>(store: &S, id: &str, definition: &Definition) -> Result<(), Answer> {
    let names = definition.names().map(Arc::new);
    let definition = serde_json::to_value(definition)
        .map_err(|error| Answer::failed(format!("the query cannot be written: {error}")))?;
    let query = PreparedQuery { id: id.to_owned(), definition, names };
    write(store, Edit::Put(Record::Query(Arc::new(query)))).await
}

async fn write<S: Store>(store: &S, edit: Edit) -> Result<(), Answer> {
    let proposal = Proposal { reads: vec![], change: Change { edits: vec![edit] } };
    let txn = codec::encode(&proposal).map_err(|error| refused(&error))?;
    store.txn(txn).await.map(drop).map_err(|error| refused(&error))
}

async fn create<S: Store>(store: &S, request: &Request) -> Result<Answer, Answer> {
    let (all, _) = all(store).await?;
    if all.len() >= PREPARED_QUERIES_MAX {
        return Err(Answer::failed(format!(
            "there are {PREPARED_QUERIES_MAX} prepared queries, which is the limit: delete some"
        )));
    }
    let definition = read(request, &all, "")?;
    may_write(request, &definition)?;
    let id = crate::uuid::random();
    put(store, &id, &definition).await?;
    Ok(Answer::json(&std::collections::BTreeMap::from([("ID", id)])))
}

async fn update<S: Store>(store: &S, request: &Request, id: &str) -> Result<Answer, Answer> {
    let (all, _) = all(store).await?;
    let known = all.iter().find(|one| one.id == id).ok_or_else(missing)?;
    may_write(request, &known.definition)?;
    let definition = read(request, &all, id)?;
    may_write(request, &definition)?;
    put(store, id, &definition).await?;
    Ok(Answer::empty(http::StatusCode::OK))
}

async fn delete<S: Store>(store: &S, request: &Request, id: &str) -> Result<Answer, Answer> {
    let (all, _) = all(store).await?;
    match all.iter().find(|one| one.id == id) {
        Some(known) => may_write(request, &known.definition)?,
        None => request.access.write_any(Named::Query)?,
    }
    write(store, Edit::Delete(RecordKey::Query(id.to_owned()))).await?;
    Ok(Answer::empty(http::StatusCode::OK))
}

/// The query of an id or a name, else the template with the longest name that fits, filled in.
async fn resolve<S: Store>(store: &S, asked: &str) -> Result<Kept, Answer> {
    let (all, _) = all(store).await?;
    let plain = all.iter().find(|one| one.id == asked || one.definition.is_named(asked));
    if let Some(found) = plain {
        return Ok(found.clone());
    }
    let fits = all.into_iter().filter(|one| one.definition.is_template_of(asked));
    let mut best = fits.max_by_key(|one| one.definition.name.len()).ok_or_else(missing)?;
    best.definition = template::fill(&best.definition, asked).map_err(Answer::failed)?;
    Ok(best)
}

async fn execute<S: Store>(
    store: &S,
    reads: Reads<'_>,
    request: &Request,
    asked: &str,
) -> Result<Answer, Answer> {
    let found = resolve(store, asked).await?;
    may_read(request, &found.definition)?;
    let limit = request.query.text("limit").map(str::parse::<usize>).transpose();
    let limit = limit.map_err(|_no_number| Answer::bad("Invalid limit"))?.unwrap_or(0);
    let near = request.query.text("near").unwrap_or(&found.definition.service.near);
    let near = if near == "_agent" { &request.node } else { near };
    let shown = reads.catalog.shown();
    let name = &found.definition.service.service;
    let answer =
        Answer::json_bytes(execute::run(&shown, &found.definition, near, limit, &request.access));
    Ok(answer.with_index(shown.tables.service_index(name).0))
}

async fn explain<S: Store>(
    store: &S,
    reads: Reads<'_>,
    request: &Request,
    asked: &str,
) -> Result<Answer, Answer> {
    let found = resolve(store, asked).await?;
    may_read(request, &found.definition)?;
    let mut body = b"{\"Query\":".to_vec();
    body.extend(found.json());
    body.push(b'}');
    let name = &found.definition.service.service;
    Ok(Answer::json_bytes(body).with_index(reads.catalog.shown().tables.service_index(name).0))
}

#[cfg(test)]
mod tests;
