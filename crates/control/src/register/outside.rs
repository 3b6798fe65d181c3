//! Nodes outside of any agent, and what clients put on nodes from outside. Nobody asks their checks:
//! they are as the client says.

use super::{Draft, Refused, unknown};
use crate::catalog::CheckStatus;
use model::id::HostId;
use model::limits::CLIENT_NODES_MAX;
use model::record::{Record, RecordKey};
use model::registration::{ClientCheck, ClientNode, ClientService};
use std::sync::Arc;

/// Most records that go at once; who asks again goes on.
const AT_ONCE: usize = 300;

fn is_host(draft: &Draft<'_>, node: &str) -> bool {
    node.parse::<HostId>().is_ok_and(|host| draft.cluster.host(&host).is_some())
}

pub(super) fn put(
    draft: &mut Draft<'_>,
    node: &ClientNode,
    skip_node: bool,
    service: Option<&ClientService>,
    checks: &[(ClientCheck, String)],
) -> Result<(), Refused> {
    put_node(draft, node, skip_node)?;
    if let Some(service) = service {
        draft.put_service(service)?;
    }
    for (check, _) in checks {
        let with_it = service.is_some_and(|service| service.key.id == check.service);
        if !with_it {
            draft.of_known_service(check)?;
        }
        // The status is what is said now, and not a part of what the check is.
        let check = ClientCheck { status: CheckStatus::Critical, ..check.clone() };
        draft.put_checks(std::slice::from_ref(&check))?;
    }
    for (check, output) in checks {
        draft.put_state(check, output);
    }
    Ok(())
}

fn put_node(draft: &mut Draft<'_>, node: &ClientNode, skip: bool) -> Result<(), Refused> {
    if let Some(rule) = node.broken_rule() {
        return Err(Refused::Bad(rule));
    }
    let host = node.name.parse::<HostId>().ok().and_then(|id| draft.cluster.host(&id));
    if let Some(host) = host {
        if skip || host.facts.address == node.address {
            return Ok(());
        }
        return Err(Refused::Forbidden(format!(
            "Permission denied: node \"{}\" is a host at {}, and its address is not a client's to \
             change; say SkipNodeUpdate to register something on it",
            node.name, host.facts.address
        )));
    }
    let known = draft.cluster.client_node(&node.name);
    if known.is_some_and(|known| skip || **known == *node) {
        draft.reads.insert(RecordKey::ClientNode(node.name.clone()));
        return Ok(());
    }
    if known.is_none() && draft.cluster.client_node_count() >= CLIENT_NODES_MAX {
        let max = CLIENT_NODES_MAX;
        return Err(Refused::Full(format!("{max} nodes of clients are kept; deregister some")));
    }
    draft.put(Record::ClientNode(Arc::new(node.clone())));
    Ok(())
}

/// With all that is on it; of a large one the first part, and the node itself with the last.
pub(super) fn drop(draft: &mut Draft<'_>, name: &str) -> Result<(), Refused> {
    if is_host(draft, name) {
        return Err(Refused::Forbidden(format!(
            "Permission denied: node \"{name}\" is a host; `remuda host rm {name}` takes it away"
        )));
    }
    if name.is_empty() {
        return Err(unknown("node", name));
    }
    let cluster = draft.cluster;
    let states = cluster.check_states_of(name).map(|one| RecordKey::CheckState(one.key.clone()));
    let checks = cluster.client_checks_of(name).map(|one| RecordKey::ClientCheck(one.key.clone()));
    let services = cluster.client_services_of(name);
    let services = services.map(|one| RecordKey::ClientService(one.key.clone()));
    let node = std::iter::once(RecordKey::ClientNode(name.to_owned()));
    for key in states.chain(checks).chain(services).chain(node).take(AT_ONCE) {
        draft.delete(key);
    }
    Ok(())
}
