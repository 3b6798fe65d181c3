//! `/v1/session/…`.

use super::{Behavior, Session};
use crate::acl::Named;
use crate::answer::Answer;
use crate::blocking::{self, Found};
use crate::request::Request;
use crate::route::Route;
use crate::serve::{Consul, Endpoint, Standing};
use crate::uuid;
use crate::waiters::Topic;
use http::{Method, StatusCode};
use model::limits::CONSUL_SESSIONS_MAX;
use serde::Serialize;
use std::sync::Arc;
use store::{Op, Store};

/// Its endpoints.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sessions {
    Create,
    Destroy,
    Renew,
    Info,
    List,
    Node,
}

const GET: &[Method] = &[Method::GET];
const PUT: &[Method] = &[Method::PUT];

const fn row(path: &'static str, methods: &'static [Method], to: Sessions) -> Route<Endpoint> {
    Route { path, methods, to: Endpoint::Session(to) }
}

pub(crate) const ROUTES: &[Route<Endpoint>] = &[
    row("session/create", PUT, Sessions::Create),
    row("session/destroy/", PUT, Sessions::Destroy),
    row("session/renew/", PUT, Sessions::Renew),
    row("session/info/", GET, Sessions::Info),
    row("session/list", GET, Sessions::List),
    row("session/node/", GET, Sessions::Node),
];

/// As clients read it, in their order of fields.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    name: &'a str,
    node: &'a str,
    /// Nanoseconds.
    lock_delay: u64,
    behavior: Behavior,
    #[serde(rename = "TTL")]
    ttl: &'a str,
    node_checks: &'a [String],
    service_checks: Option<Vec<ServiceCheck<'a>>>,
    /// What older clients read.
    checks: &'a [String],
    create_index: u64,
    modify_index: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ServiceCheck<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    namespace: &'a str,
}

#[derive(Serialize)]
struct Made<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
}

fn shown(session: &Session) -> Shown<'_> {
    let checks = session.service_checks.iter();
    let checks: Vec<_> = checks.map(|id| ServiceCheck { id, namespace: "" }).collect();
    Shown {
        id: &session.id,
        name: &session.name,
        node: &session.node,
        lock_delay: session.lock_delay_ms.saturating_mul(1_000_000),
        behavior: session.behavior,
        ttl: &session.ttl,
        node_checks: &session.node_checks,
        service_checks: (!checks.is_empty()).then_some(checks),
        checks: &session.node_checks,
        create_index: session.index,
        modify_index: session.index,
    }
}

fn listed(sessions: &[Arc<Session>]) -> Answer {
    let shown: Vec<Shown<'_>> = sessions.iter().map(|session| shown(session)).collect();
    Answer::json(&shown)
}

/// Answers one of them.
pub(crate) async fn answer<S: Store>(
    consul: &Consul<S>,
    request: &Request,
    endpoint: Sessions,
) -> Answer {
    let done = match endpoint {
        Sessions::Create => create(consul, request).await,
        Sessions::Destroy => destroy(consul, request.after("session/destroy/")).await,
        Sessions::Renew => Ok(renew(consul, request.after("session/renew/"))),
        Sessions::Info | Sessions::List | Sessions::Node => read(consul, request, endpoint).await,
    };
    done.unwrap_or_else(|refused| refused)
}

async fn create<S: Store>(consul: &Consul<S>, request: &Request) -> Result<Answer, Answer> {
    let id = uuid::random();
    let session = Session::wish(&request.body, &id, &request.node);
    let session = session.map_err(Answer::bad)?;
    if consul.standing(&session.node, super::SERF_HEALTH) == Standing::Absent {
        return Err(Answer::failed("Missing node registration"));
    }
    for check in session.checks() {
        match consul.standing(&session.node, check) {
            Standing::Passing => {}
            Standing::Critical => {
                return Err(Answer::failed(format!("Check '{check}' is in critical state")));
            }
            Standing::Absent => {
                return Err(Answer::failed(format!("Missing check '{check}' registration")));
            }
        }
    }
    if consul.state().map().sessions_len() >= CONSUL_SESSIONS_MAX {
        return Err(Answer::failed(format!(
            "there are {CONSUL_SESSIONS_MAX} sessions already, the most that there can be: give \
             them a TTL, or destroy some"
        )));
    }
    let (key, value) = (crate::kv::session_key(&id), session.encode());
    let write = consul.state().commit(&request.by, |draft| {
        draft.also(Op::Put { key: key.clone(), value: value.clone(), lease: None }, None);
        Ok(())
    });
    write.await?;
    // Its time begins now, and not when somebody looks.
    consul.keeper().renew(consul.state(), &id);
    Ok(Answer::json(&Made { id: &id }))
}

async fn destroy<S: Store>(consul: &Consul<S>, id: &str) -> Result<Answer, Answer> {
    if id.is_empty() {
        return Err(Answer::bad("Missing session"));
    }
    consul.keeper().end(consul.state(), id).await?;
    Ok(Answer::json(&true))
}

fn renew<S: Store>(consul: &Consul<S>, id: &str) -> Answer {
    if id.is_empty() {
        return Answer::bad("Missing session");
    }
    match consul.keeper().renew(consul.state(), id) {
        Some(session) => listed(&[session]),
        None => Answer::error(StatusCode::NOT_FOUND, format!("Session id '{id}' not found")),
    }
}

async fn read<S: Store>(
    consul: &Consul<S>,
    request: &Request,
    endpoint: Sessions,
) -> Result<Answer, Answer> {
    let options = request.read_options()?;
    let (id, node) = (request.after("session/info/"), request.after("session/node/"));
    match endpoint {
        Sessions::Info if id.is_empty() => return Err(Answer::bad("Missing session")),
        Sessions::Node if node.is_empty() => return Err(Answer::bad("Missing node name")),
        _ => {}
    }
    let look = || {
        let map = consul.state().map();
        let (index, all) = map.sessions();
        let value: Vec<Arc<Session>> = match endpoint {
            Sessions::Info => map.session(id).cloned().into_iter().collect(),
            Sessions::Node => all.filter(|session| session.node == node).cloned().collect(),
            _ => all.cloned().collect(),
        };
        Ok::<_, Answer>(Found::at(index, value))
    };
    let mut found = blocking::query(consul.waiters(), options, vec![Topic::Sessions], look).await?;
    found.value.retain(|session| request.access.sees(Named::Session, &session.node));
    Ok(listed(&found.value).with_index(found.index))
}
