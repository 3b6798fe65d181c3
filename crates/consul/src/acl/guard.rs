//! What each endpoint needs before it is asked. Lists are not refused: what may not be read is left
//! out of them by `Access::sees`, where they are made.

use super::authority::Access;
use super::level::{Level, Named, Whole};
use crate::agent::Agent;
use crate::answer::Answer;
use crate::catalog::Shown;
use crate::config::Config;
use crate::connect::Connect;
use crate::coordinate::Coordinate;
use crate::event::Events;
use crate::request::Request;
use crate::serve::Endpoint;
use crate::session::Sessions;
use control::register::Order;
use http::Method;
use model::registration::ClientKey;

/// May the endpoint be asked? `session_node` says of which node a session is.
///
/// # Errors
/// 403, in words that clients know.
pub(crate) fn check(
    endpoint: Endpoint,
    request: &Request,
    shown: &Shown,
    session_node: impl Fn(&str) -> Option<String>,
) -> Result<(), Answer> {
    let access = &request.access;
    if access.is_all() {
        return Ok(());
    }
    match endpoint {
        // Who leads is told to everybody; reads of the catalog are filtered; `acl` looks itself.
        Endpoint::Status(_) | Endpoint::Catalog(_) | Endpoint::Acl(_) => Ok(()),
        // What it is about is in the body: `order` and the operations look.
        Endpoint::Register(_) | Endpoint::Txn(_) => Ok(()),
        // A query is looked at when it is known.
        Endpoint::Prepared(_) => Ok(()),
        Endpoint::Kv(_) => key(request),
        Endpoint::Session(endpoint) => session(endpoint, request, session_node),
        Endpoint::Event(Events::Fire) => access.write(Named::Event, request.after("event/fire/")),
        Endpoint::Event(Events::List) => Ok(()),
        Endpoint::Operator(_) => access.whole(Whole::Operator, Level::Read),
        // It has all keys and would put back all keys.
        Endpoint::Snapshot(_) => access.whole(Whole::Acl, Level::Write),
        Endpoint::Agent(endpoint) => agent(endpoint, request, shown),
        Endpoint::Coordinate(Coordinate::Node) => {
            access.read(Named::Node, request.after("coordinate/node/").trim_end_matches('/'))
        }
        Endpoint::Coordinate(Coordinate::Update) => {
            let body = serde_json::from_slice(&request.body).unwrap_or_default();
            access.write(Named::Node, crate::fold::text(&body, "Node"))
        }
        Endpoint::Coordinate(Coordinate::Datacenters | Coordinate::Nodes) => Ok(()),
        Endpoint::Config(endpoint) => match endpoint {
            Config::Put => Ok(()),
            Config::One => config(request),
        },
        Endpoint::Connect(endpoint) => connect(endpoint, request),
    }
}

fn key(request: &Request) -> Result<(), Answer> {
    let (access, query, key) = (&request.access, &request.query, request.after("kv/"));
    match request.method {
        Method::PUT => access.write(Named::Key, key),
        Method::DELETE if query.has("recurse") => access.write_below(Named::Key, key),
        Method::DELETE => access.write(Named::Key, key),
        _ if query.has("recurse") || query.has("keys") => Ok(()),
        _ => access.read(Named::Key, key),
    }
}

fn session(
    endpoint: Sessions,
    request: &Request,
    session_node: impl Fn(&str) -> Option<String>,
) -> Result<(), Answer> {
    let access = &request.access;
    let of = |prefix: &str| match session_node(request.after(prefix)) {
        Some(node) => access.write(Named::Session, &node),
        // There is none: whoever may end some session is told so.
        None => access.write_any(Named::Session),
    };
    match endpoint {
        Sessions::Create => access.write(Named::Session, &session_of(request)),
        Sessions::Destroy => of("session/destroy/"),
        Sessions::Renew => of("session/renew/"),
        Sessions::Info | Sessions::List | Sessions::Node => Ok(()),
    }
}

/// The node of a session that is to be made.
fn session_of(request: &Request) -> String {
    let body = serde_json::from_slice(&request.body).unwrap_or_default();
    match crate::fold::text(&body, "Node") {
        "" => request.node.clone(),
        node => node.to_owned(),
    }
}

fn agent(endpoint: Agent, request: &Request, shown: &Shown) -> Result<(), Answer> {
    let (access, node) = (&request.access, request.node.as_str());
    let service = |id: &str| match shown.entry_on(node, id) {
        Some(entry) => access.read(Named::Service, &entry.row.value.service),
        // Only who may read all learns that there is none.
        None => access.read(Named::Service, id),
    };
    match endpoint {
        Agent::Me | Agent::Version | Agent::Metrics | Agent::Monitor => {
            access.read(Named::Agent, node)
        }
        Agent::Host => access.whole(Whole::Operator, Level::Read),
        Agent::Members | Agent::Services | Agent::Checks => Ok(()),
        Agent::Service => service(request.after("agent/service/")),
        Agent::HealthById => service(request.after("agent/health/service/id/")),
        Agent::HealthByName => {
            access.read(Named::Service, request.after("agent/health/service/name/"))
        }
        Agent::Join | Agent::Leave | Agent::Reload | Agent::Token => {
            access.write(Named::Agent, node)
        }
        Agent::ForceLeave => access.whole(Whole::Operator, Level::Write),
    }
}

fn connect(endpoint: Connect, request: &Request) -> Result<(), Answer> {
    let access = &request.access;
    match endpoint {
        Connect::Roots | Connect::Nothing => Ok(()),
        Connect::Configuration if request.method == Method::GET => {
            access.whole(Whole::Operator, Level::Read)
        }
        Connect::Configuration | Connect::Intention => access.whole(Whole::Operator, Level::Write),
        Connect::Leaf => access.write_any(Named::Service),
        Connect::Authorize => access.write_any(Named::Service),
    }
}

fn config(request: &Request) -> Result<(), Answer> {
    let (kind, name) = crate::config::named(request);
    match request.method {
        Method::DELETE => of_config(&request.access, kind, name, Level::Write),
        // A list of a kind is filtered.
        _ if name.is_empty() => Ok(()),
        _ => of_config(&request.access, kind, name, Level::Read),
    }
}

/// May a config entry be read or written? Those of services go with their service.
pub(crate) fn of_config(
    access: &Access,
    kind: &str,
    name: &str,
    level: Level,
) -> Result<(), Answer> {
    match (kind.starts_with("service-"), level) {
        (true, Level::Write) => access.write(Named::Service, name),
        (true, _) => access.read(Named::Service, name),
        (false, Level::Write) => access.whole(Whole::Operator, Level::Write),
        // What holds for all is read by all; others may have secrets in them.
        (false, _) if ["proxy-defaults", "mesh"].contains(&kind) => Ok(()),
        (false, _) => access.whole(Whole::Operator, Level::Read),
    }
}

/// May the order of a client be carried out?
///
/// # Errors
/// 403.
pub(crate) fn order(access: &Access, shown: &Shown, order: &Order) -> Result<(), Answer> {
    match order {
        Order::Service { service, .. } => {
            of_service(access, shown, &service.key)?;
            access.write(Named::Service, &service.service)
        }
        Order::NoService(key) => of_service(access, shown, key),
        Order::Maintenance { of, .. } if of.id.is_empty() => access.write(Named::Node, &of.node),
        Order::Maintenance { of, .. } => of_service(access, shown, of),
        Order::Check(check) => {
            of_check(access, shown, &check.key)?;
            match check.service.as_str() {
                "" => access.write(Named::Node, &check.key.node),
                id => of_service(access, shown, &ClientKey::new(&check.key.node, id)),
            }
        }
        Order::NoCheck(key) => told(access, shown, key),
        Order::Node { node, service, checks, .. } => {
            access.write(Named::Node, &node.name)?;
            if let Some(service) = service {
                of_service(access, shown, &service.key)?;
                access.write(Named::Service, &service.service)?;
            }
            for (check, _) in checks.iter().filter(|(check, _)| !check.service.is_empty()) {
                let key = ClientKey::new(&node.name, &check.service);
                if service.as_ref().is_none_or(|service| service.key != key) {
                    of_service(access, shown, &key)?;
                }
            }
            Ok(())
        }
        Order::NoNode(node) => access.write(Named::Node, node),
    }
}

/// May the service that has this key now be written? One that there is not may.
fn of_service(access: &Access, shown: &Shown, key: &ClientKey) -> Result<(), Answer> {
    match shown.entry_on(&key.node, &key.id) {
        Some(entry) => access.write(Named::Service, &entry.row.value.service),
        None => Ok(()),
    }
}

/// May the check that has this key now be written? One that there is not may.
fn of_check(access: &Access, shown: &Shown, key: &ClientKey) -> Result<(), Answer> {
    let has = |checks: &[control::catalog::Check]| checks.iter().any(|check| check.id == key.id);
    let entry = shown.entries_on(&key.node).find(|entry| has(&entry.row.value.checks));
    if let Some(entry) = entry {
        return access.write(Named::Service, &entry.row.value.service);
    }
    match shown.nodes.get(&key.node).is_some_and(|node| has(&node.row.value.checks)) {
        true => access.write(Named::Node, &key.node),
        false => Ok(()),
    }
}

/// May something be said of the check of this key, or may it be taken away? Of one that there is not
/// only those hear who may write something.
pub(crate) fn told(access: &Access, shown: &Shown, key: &ClientKey) -> Result<(), Answer> {
    of_check(access, shown, key)?;
    access.write_any(Named::Service).or_else(|_no| access.write(Named::Node, &key.node))
}
