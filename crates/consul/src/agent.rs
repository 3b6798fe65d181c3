//! `/v1/agent/…`, the part that reads: what the agent of the node that was asked knows. Membership
//! is not this API's: hosts come with a join token and are removed with `remuda host rm`.

mod health;
mod me;

use crate::acl::Named;
use crate::answer::Answer;
use crate::catalog::Shown;
use crate::catalog::document::{EntryDoc, join};
use crate::catalog::endpoints::Reads;
use crate::catalog::json::agent_service;
use crate::catalog::select::Wishes;
use crate::filter::{CHECK, SERVICE};
use crate::request::Request;
use crate::route::Route;
use crate::serve::{Endpoint, Facts};
use crate::waiters::Topic;
use control::catalog::NODE_CHECK;
use http::Method;
use http::header::{HeaderName, HeaderValue};
use std::sync::Arc;
use tokio::time::Instant;

const CONTENT_HASH: HeaderName = HeaderName::from_static("x-consul-contenthash");

/// The version of the dialect, where clients look for one.
pub const DIALECT_VERSION: &str = "1.16.0";

/// Their endpoints.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Agent {
    Me,
    Version,
    Host,
    Members,
    Metrics,
    Services,
    Service,
    Checks,
    HealthById,
    HealthByName,
    Join,
    Leave,
    ForceLeave,
    Reload,
    /// Tokens that an agent would use itself.
    Token,
    Monitor,
}

const fn row(path: &'static str, methods: &'static [Method], to: Agent) -> Route<Endpoint> {
    Route { path, methods, to: Endpoint::Agent(to) }
}

const GET: &[Method] = &[Method::GET];
const PUT: &[Method] = &[Method::PUT];

pub(crate) const ROUTES: &[Route<Endpoint>] = &[
    row("agent/self", GET, Agent::Me),
    row("agent/version", GET, Agent::Version),
    row("agent/host", GET, Agent::Host),
    row("agent/members", GET, Agent::Members),
    row("agent/metrics", GET, Agent::Metrics),
    row("agent/services", GET, Agent::Services),
    row("agent/service/", GET, Agent::Service),
    row("agent/checks", GET, Agent::Checks),
    row("agent/health/service/id/", GET, Agent::HealthById),
    row("agent/health/service/name/", GET, Agent::HealthByName),
    row("agent/join/", PUT, Agent::Join),
    row("agent/leave", PUT, Agent::Leave),
    row("agent/force-leave/", PUT, Agent::ForceLeave),
    row("agent/reload", PUT, Agent::Reload),
    row("agent/token/", PUT, Agent::Token),
    row("agent/monitor", GET, Agent::Monitor),
];

/// Answers one of them.
pub(crate) async fn answer(
    reads: Reads<'_>,
    facts: &Facts,
    endpoint: Agent,
    request: &Request,
) -> Answer {
    let shown = || reads.catalog.shown();
    let done = || Answer::empty(http::StatusCode::OK);
    let found = match endpoint {
        Agent::Me => Ok(me::me(&shown(), facts, &request.node)),
        Agent::Version => Ok(me::version()),
        Agent::Host => Ok(me::host(&request.node)),
        Agent::Members => Ok(me::members(&shown(), facts, request)),
        Agent::Metrics => Ok(me::metrics(&shown(), reads.waiters.len(), request)),
        Agent::Services => services(reads, &shown(), request),
        Agent::Service => service(reads, request).await,
        Agent::Checks => checks(reads, &shown(), request),
        Agent::HealthById => Ok(health::by_id(&shown(), request)),
        Agent::HealthByName => Ok(health::by_name(&shown(), request)),
        Agent::Join => join_known(&shown(), facts, request),
        Agent::ForceLeave => force_leave(&shown(), request),
        Agent::Leave | Agent::Reload => Ok(done()),
        Agent::Token => token(reads, request),
        Agent::Monitor => Err(Answer::bad(
            "the log is not given over HTTP: it is in the journal of the machine, see `remuda logs` \
             and `journalctl -u remuda-agent`",
        )),
    };
    found.unwrap_or_else(|refusal| refusal)
}

/// Agents show who they are by their certificates, and use no tokens: what would be set is taken and
/// not needed, but for the token of those who have none.
fn token(reads: Reads<'_>, request: &Request) -> Result<Answer, Answer> {
    if !reads.asks_tokens {
        return Err(Answer::error(http::StatusCode::UNAUTHORIZED, "ACL support disabled"));
    }
    match request.after("agent/token/") {
        "agent"
        | "acl_agent_token"
        | "agent_recovery"
        | "agent_master"
        | "replication"
        | "acl_agent_master_token"
        | "acl_replication_token"
        | "config_file_service_registration" => Ok(Answer::empty(http::StatusCode::OK)),
        "default" | "acl_token" => Err(Answer::bad(
            "an agent has no token of its own for others: give the anonymous token a policy",
        )),
        other => Err(Answer::not_found(format!("Token {other:?} is unknown"))),
    }
}

/// An object of things by a key, without those that a filter keeps out.
fn object<'a>(all: impl Iterator<Item = (&'a str, String)>, wishes: &Wishes) -> Answer {
    let mut body = vec![b'{'];
    let all = all.filter(|(_, json)| wishes.lets(json.as_bytes()));
    join(&mut body, all, |out, (key, json)| {
        // A text can always be written.
        out.extend(serde_json::to_vec(key).unwrap_or_default());
        out.push(b':');
        out.extend_from_slice(json.as_bytes());
    });
    body.push(b'}');
    Answer::json_bytes(body)
}

fn services(reads: Reads<'_>, shown: &Shown, request: &Request) -> Result<Answer, Answer> {
    let wishes = reads.wishes(request, &SERVICE)?;
    let entries = shown.entries_on(&request.node).map(|entry| &entry.row.value);
    let entries = entries.filter(|entry| wishes.sees_service(&entry.service));
    let entries = entries.map(|entry| (entry.id.as_str(), agent_service(entry, None)));
    Ok(object(entries, &wishes))
}

/// Checks that the agent itself has: `serfHealth` is what others say of it.
fn checks(reads: Reads<'_>, shown: &Shown, request: &Request) -> Result<Answer, Answer> {
    let wishes = reads.wishes(request, &CHECK)?;
    let node = shown.nodes.get(&request.node).filter(|_| wishes.sees_node(&request.node));
    let own = node.into_iter().flat_map(|node| node.row.value.checks.iter().zip(&node.checks));
    let entries = shown.entries_on(&request.node);
    let entries = entries.filter(|one| wishes.sees_service(&one.row.value.service));
    let entries = entries.flat_map(|one| one.row.value.checks.iter().zip(&one.checks));
    let all = own.chain(entries).filter(|(check, _)| check.id != NODE_CHECK);
    Ok(object(all.map(|(check, json)| (check.id.as_str(), json.clone())), &wishes))
}

/// One service; with `?hash=` as soon as it is another than that.
async fn service(reads: Reads<'_>, request: &Request) -> Result<Answer, Answer> {
    let options = request.read_options()?;
    let id = request.after("agent/service/");
    let known = request.query.text("hash").unwrap_or_default();
    let waiter = reads.waiters.on(vec![Topic::Node(request.node.as_str().into())]);
    let until = Instant::now() + options.wait.min(reads.wait_max);
    let mut late = false;
    loop {
        let shown = reads.catalog.shown();
        let Some(entry) = shown.entry_on(&request.node, id) else {
            return Err(Answer::not_found(format!("unknown service ID: {id}")));
        };
        // While it waited the id may have become that of another service.
        request.access.read(Named::Service, &entry.row.value.service)?;
        let hash = content_hash(entry);
        if late || hash != known {
            let header = HeaderValue::from_str(&hash);
            let answer = Answer::json_bytes(agent_service(&entry.row.value, Some(&hash)));
            return Ok(match header {
                Ok(header) => answer.with(CONTENT_HASH, header),
                Err(_not_hex) => answer,
            });
        }
        drop(shown);
        late = tokio::time::timeout_at(until, waiter.changed()).await.is_err();
    }
}

/// FNV-1a of what the entry says.
fn content_hash(entry: &Arc<EntryDoc>) -> String {
    let json = agent_service(&entry.row.value, None);
    let hash = json.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// Who is to be joined is here already, or cannot be joined so.
fn join_known(shown: &Shown, facts: &Facts, request: &Request) -> Result<Answer, Answer> {
    let wanted = request.after("agent/join/");
    let (host, _port) = wanted.rsplit_once(':').unwrap_or((wanted, ""));
    let mut nodes = shown.nodes.values().map(|node| &node.row.value);
    let is = |name: &str, address: &str| [wanted, host].iter().any(|w| *w == name || *w == address);
    let server = is(&facts.node, &facts.address.to_string());
    if server || nodes.any(|node| is(&node.name, &node.address)) {
        return Ok(Answer::empty(http::StatusCode::OK));
    }
    Err(Answer::failed(format!(
        "{wanted} is no member: a host joins when its agent is started with a join token \
         (`remuda agent --join`)"
    )))
}

fn force_leave(shown: &Shown, request: &Request) -> Result<Answer, Answer> {
    let name = request.after("agent/force-leave/");
    match shown.nodes.contains_key(name) {
        true => Ok(Answer::empty(http::StatusCode::OK)),
        false => Err(Answer::failed(format!("agent: No node found with name '{name}'"))),
    }
}
