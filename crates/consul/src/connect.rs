//! `/v1/connect/…` and `/v1/agent/connect/…`: the mesh, which is not there. Lists are empty; what would
//! make something is refused in words that a client can show.

use crate::answer::Answer;
use crate::request::Request;
use crate::route::Route;
use crate::serve::Endpoint;
use http::Method;

/// Their endpoints.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Connect {
    /// Certificates that would be trusted.
    Roots,
    /// Settings of the authority.
    Configuration,
    /// A certificate of a service.
    Leaf,
    /// May one service talk to another?
    Authorize,
    /// Lists that are empty.
    Nothing,
    /// What would be made.
    Intention,
}

const fn row(path: &'static str, methods: &'static [Method], to: Connect) -> Route<Endpoint> {
    Route { path, methods, to: Endpoint::Connect(to) }
}

const GET: &[Method] = &[Method::GET];
const ANY: &[Method] = &[Method::GET, Method::PUT, Method::POST, Method::DELETE];

pub(crate) const ROUTES: &[Route<Endpoint>] = &[
    row("connect/ca/roots", GET, Connect::Roots),
    row("agent/connect/ca/roots", GET, Connect::Roots),
    row("connect/ca/configuration", &[Method::GET, Method::PUT], Connect::Configuration),
    row("agent/connect/ca/leaf/", GET, Connect::Leaf),
    row("agent/connect/authorize", &[Method::POST], Connect::Authorize),
    row("connect/intentions", &[Method::GET, Method::POST], Connect::Nothing),
    row("connect/intentions/match", GET, Connect::Nothing),
    row("connect/intentions/", ANY, Connect::Intention),
];

/// Answers one of them.
pub(crate) fn answer(endpoint: Connect, request: &Request) -> Answer {
    match endpoint {
        Connect::Roots => {
            Answer::json_bytes(r#"{"ActiveRootID":"","TrustDomain":"","Roots":[]}"#).with_index(1)
        }
        Connect::Nothing if request.method == Method::GET => Answer::json_bytes("[]").with_index(1),
        // As a Consul says it whose `connect.enabled` is false.
        _ => Answer::failed(
            "Connect must be enabled in order to use this endpoint: there is no mesh here",
        ),
    }
}
