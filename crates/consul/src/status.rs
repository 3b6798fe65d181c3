//! `/v1/status/…`: who leads, and who else votes. There is one server: it does both.

use crate::answer::Answer;
use crate::route::Route;
use crate::serve::{Endpoint, Facts};
use http::Method;

/// Its endpoints.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Status {
    Leader,
    Peers,
}

pub(crate) const ROUTES: &[Route<Endpoint>] = &[
    Route { path: "status/leader", methods: &[Method::GET], to: Endpoint::Status(Status::Leader) },
    Route { path: "status/peers", methods: &[Method::GET], to: Endpoint::Status(Status::Peers) },
];

pub(crate) fn answer(facts: &Facts, endpoint: Status) -> Answer {
    match endpoint {
        Status::Leader => Answer::json(&facts.leader()),
        Status::Peers => Answer::json(&[facts.leader()]),
    }
}
