//! `/v1/acl/…`

use super::level::{Level, Whole};
use super::{policy, role, token};
use crate::answer::Answer;
use crate::request::Request;
use crate::route::Route;
use crate::serve::{Consul, Endpoint};
use http::{Method, StatusCode};
use model::consul_access::AclMode;
use model::limits::ACL_BODY_BYTES_MAX;
use serde_json::{Value, json};
use store::Store;

/// Their endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acl {
    Bootstrap,
    Replication,
    MyToken,
    NewToken,
    Token,
    Tokens,
    NewPolicy,
    Policy,
    PolicyByName,
    Policies,
    NewRole,
    Role,
    RoleByName,
    Roles,
    /// What there is none of: auth methods, binding rules.
    Nothing,
    /// Logins by what others say of somebody.
    Login,
    /// What clients of before 1.4 call.
    Legacy,
}

const fn row(path: &'static str, methods: &'static [Method], to: Acl) -> Route<Endpoint> {
    Route { path, methods, to: Endpoint::Acl(to) }
}

const GET: &[Method] = &[Method::GET];
const PUT: &[Method] = &[Method::PUT];
const ONE: &[Method] = &[Method::GET, Method::PUT, Method::DELETE];
const ANY: &[Method] = &[Method::GET, Method::PUT, Method::POST, Method::DELETE];

pub(crate) const ROUTES: &[Route<Endpoint>] = &[
    row("acl/bootstrap", PUT, Acl::Bootstrap),
    row("acl/replication", GET, Acl::Replication),
    row("acl/token/self", GET, Acl::MyToken),
    row("acl/token", PUT, Acl::NewToken),
    row("acl/token/", ONE, Acl::Token),
    row("acl/tokens", GET, Acl::Tokens),
    row("acl/policy", PUT, Acl::NewPolicy),
    row("acl/policy/", ONE, Acl::Policy),
    row("acl/policy/name/", GET, Acl::PolicyByName),
    row("acl/policies", GET, Acl::Policies),
    row("acl/role", PUT, Acl::NewRole),
    row("acl/role/", ONE, Acl::Role),
    row("acl/role/name/", GET, Acl::RoleByName),
    row("acl/roles", GET, Acl::Roles),
    row("acl/auth-methods", GET, Acl::Nothing),
    row("acl/binding-rules", GET, Acl::Nothing),
    row("acl/auth-method", PUT, Acl::Login),
    row("acl/auth-method/", ONE, Acl::Login),
    row("acl/binding-rule", PUT, Acl::Login),
    row("acl/binding-rule/", ONE, Acl::Login),
    row("acl/login", &[Method::POST], Acl::Login),
    row("acl/logout", &[Method::POST], Acl::Login),
    row("acl/", ANY, Acl::Legacy),
];

/// What has to be allowed before one of them is looked at: nothing, or a level of `acl`.
pub(super) fn needs(endpoint: Acl, method: &Method) -> Option<Level> {
    match endpoint {
        // Whoever comes first, replication's state, and who oneself is: without a right.
        Acl::Bootstrap | Acl::Replication | Acl::MyToken | Acl::Legacy => None,
        Acl::NewToken | Acl::NewPolicy | Acl::NewRole | Acl::Login => Some(Level::Write),
        Acl::Token | Acl::Policy | Acl::Role if *method != Method::GET => Some(Level::Write),
        Acl::Token | Acl::Tokens | Acl::Policy | Acl::PolicyByName | Acl::Policies => {
            Some(Level::Read)
        }
        Acl::Role | Acl::RoleByName | Acl::Roles | Acl::Nothing => Some(Level::Read),
    }
}

/// Answers one of them.
pub(crate) async fn answer<S: Store>(
    consul: &Consul<S>,
    endpoint: Acl,
    request: &Request,
) -> Answer {
    if consul.acls().mode() == AclMode::Off {
        return Answer::error(StatusCode::UNAUTHORIZED, "ACL support disabled");
    }
    done(consul, endpoint, request).await.unwrap_or_else(|refused| refused)
}

async fn done<S: Store>(
    consul: &Consul<S>,
    endpoint: Acl,
    request: &Request,
) -> Result<Answer, Answer> {
    if let Some(level) = needs(endpoint, &request.method) {
        request.access.whole(Whole::Acl, level)?;
    }
    let acls = consul.acls();
    match endpoint {
        Acl::Bootstrap => token::bootstrap(acls, request).await,
        Acl::Replication => Ok(replication()),
        Acl::MyToken => token::mine(acls, request),
        Acl::NewToken => token::create(acls, request).await,
        Acl::Token => token::one(acls, request).await,
        Acl::Tokens => Ok(token::list(acls, request)),
        Acl::NewPolicy => policy::create(acls, request).await,
        Acl::Policy => policy::one(acls, request).await,
        Acl::PolicyByName => policy::by_name(acls, request),
        Acl::Policies => Ok(policy::list(acls)),
        Acl::NewRole => role::create(acls, request).await,
        Acl::Role => role::one(acls, request).await,
        Acl::RoleByName => role::by_name(acls, request),
        Acl::Roles => Ok(role::list(acls)),
        Acl::Nothing => Ok(Answer::json_bytes("[]")),
        Acl::Login => Err(Answer::bad(
            "there are no auth methods here: a token is made with PUT /v1/acl/token",
        )),
        Acl::Legacy => Err(Answer::error(
            StatusCode::GONE,
            format!("Endpoint /v1/{} for the legacy ACL system was removed", request.path),
        )),
    }
}

fn replication() -> Answer {
    let never = "0001-01-01T00:00:00Z";
    Answer::json(&json!({
        "Enabled": false, "Running": false, "SourceDatacenter": "", "ReplicationType": "",
        "ReplicatedIndex": 0, "ReplicatedRoleIndex": 0, "ReplicatedTokenIndex": 0,
        "LastSuccess": never, "LastError": never, "LastErrorMessage": "",
    }))
}

/// The body as an object; an empty one is empty.
pub(super) fn body(request: &Request) -> Result<Value, Answer> {
    if request.body.len() > ACL_BODY_BYTES_MAX {
        return Err(Answer::too_large(request.body.len(), ACL_BODY_BYTES_MAX));
    }
    if request.body.trim_ascii().is_empty() {
        return Ok(json!({}));
    }
    match serde_json::from_slice(&request.body) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(Answer::bad("Failed to decode the request body: it is no JSON object")),
        Err(error) => Err(Answer::bad(format!("Failed to decode the request body: {error}"))),
    }
}

/// A hash of what something says, as clients show it: it is only compared.
pub(super) fn fingerprint(text: &[u8]) -> String {
    use base64::Engine as _;
    use sha2::Digest as _;
    base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(text))
}
