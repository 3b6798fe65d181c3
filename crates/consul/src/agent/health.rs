//! `/v1/agent/health/service/…`: one word and one status for a load balancer.

use crate::answer::Answer;
use crate::catalog::Shown;
use crate::catalog::document::{EntryDoc, list};
use crate::catalog::json::agent_service;
use crate::request::Request;
use control::catalog::{CheckStatus, NODE_CHECK};
use control::register::{NODE_MAINTENANCE, SERVICE_MAINTENANCE};
use http::StatusCode;
use std::sync::Arc;

/// How well, in the words of this endpoint: the worst is the whole's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Whole {
    Passing,
    Warning,
    Critical,
    Maintenance,
}

impl Whole {
    fn of(entry: &EntryDoc) -> Self {
        let node = entry.node.row.value.checks.iter().filter(|check| check.id != NODE_CHECK);
        let each = entry.row.value.checks.iter().chain(node).map(|check| match check.status {
            CheckStatus::Passing => Self::Passing,
            CheckStatus::Warning => Self::Warning,
            CheckStatus::Critical
                if check.id == NODE_MAINTENANCE || check.id.starts_with(SERVICE_MAINTENANCE) =>
            {
                Self::Maintenance
            }
            CheckStatus::Critical => Self::Critical,
        });
        each.max().unwrap_or(Self::Passing)
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Passing => "passing",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Maintenance => "maintenance",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::Passing => StatusCode::OK,
            Self::Warning => StatusCode::TOO_MANY_REQUESTS,
            Self::Critical | Self::Maintenance => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

fn write(out: &mut Vec<u8>, entry: &EntryDoc) {
    let status = Whole::of(entry).as_str();
    out.extend_from_slice(b"{\"AggregatedStatus\":\"");
    out.extend_from_slice(status.as_bytes());
    out.extend_from_slice(b"\",\"Service\":");
    out.extend_from_slice(agent_service(&entry.row.value, None).as_bytes());
    out.extend_from_slice(b",\"Checks\":");
    let checks = list(entry.checks.iter(), |out, check| out.extend_from_slice(check.as_bytes()));
    out.extend_from_slice(&checks);
    out.push(b'}');
}

fn is_text(request: &Request) -> bool {
    request.query.get("format") == Some("text")
}

/// Of one entry of the node.
pub(super) fn by_id(shown: &Shown, request: &Request) -> Answer {
    let id = request.after("agent/health/service/id/");
    let Some(entry) = shown.entry_on(&request.node, id) else {
        return Answer::not_found(format!("ServiceId {id} not found"));
    };
    let whole = Whole::of(entry);
    if is_text(request) {
        return Answer::error(whole.status(), whole.as_str());
    }
    let mut body = vec![];
    write(&mut body, entry);
    Answer { status: whole.status(), ..Answer::json_bytes(body) }
}

/// Of all entries that a service has on the node.
pub(super) fn by_name(shown: &Shown, request: &Request) -> Answer {
    let name = request.after("agent/health/service/name/");
    let entries: Vec<&Arc<EntryDoc>> =
        shown.entries_on(&request.node).filter(|entry| entry.row.value.service == name).collect();
    let whole = entries.iter().map(|entry| Whole::of(entry)).max();
    let status = whole.map_or(StatusCode::NOT_FOUND, Whole::status);
    if is_text(request) {
        let missing = || format!("ServiceName {name} Not Found");
        return Answer::error(
            status,
            whole.map_or_else(missing, |whole| whole.as_str().to_owned()),
        );
    }
    let body = list(entries.into_iter(), |out, entry| write(out, entry));
    Answer { status, ..Answer::json_bytes(body) }
}
