//! What becomes of the orders of clients that register: a proposal for the store, or a refusal. An
//! order that changes nothing proposes nothing, so that who repeats it wakes nobody.

mod outside;
mod told;

pub use told::{Telling, expired, heard, told};

use crate::catalog::{CheckStatus, is_our_check, is_ours};
use model::change::{Change, Edit, Proposal};
use model::cluster::Cluster;
use model::id::HostId;
use model::limits::{CHECKS_OF_NODE_MAX, CLIENT_SERVICES_MAX, CLIENT_SERVICES_OF_NODE_MAX};
use model::record::{Record, RecordKey};
use model::registration::{
    CheckPlan, CheckProbe, CheckState, ClientCheck, ClientKey, ClientNode, ClientService,
};
use model::time::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The check of a node that is held for maintenance.
pub const NODE_MAINTENANCE: &str = "_node_maintenance";
/// How the id of the check of a service that is held for maintenance begins.
pub const SERVICE_MAINTENANCE: &str = "_service_maintenance:";

/// What a client wants. Names and sizes are checked when it is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// A service of an agent's node, with its checks.
    Service {
        /// The service; its node is the agent's.
        service: ClientService,
        /// Its checks.
        checks: Vec<ClientCheck>,
        /// Its earlier checks that are not among these go.
        replace_checks: bool,
    },
    /// No such service any more.
    NoService(ClientKey),
    /// Maintenance of a service, or of a node when the id is empty, begins or ends.
    Maintenance {
        /// Of what.
        of: ClientKey,
        /// It begins.
        on: bool,
        /// Why; empty when nobody said.
        reason: String,
    },
    /// A check of an agent's node or of a service there.
    Check(ClientCheck),
    /// No such check any more.
    NoCheck(ClientKey),
    /// A node, and what is on it, outside of any agent.
    Node {
        /// The node.
        node: ClientNode,
        /// Of a node that is known only what is on it is taken.
        skip_node: bool,
        /// A service of it.
        service: Option<ClientService>,
        /// Checks with what is said of them.
        checks: Vec<(ClientCheck, String)>,
    },
    /// No such node any more, with all that is on it.
    NoNode(String),
}

/// Why an order is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It breaks a rule.
    Bad(String),
    /// There is no such thing.
    Unknown(String),
    /// It is not a client's to change.
    Forbidden(String),
    /// There are too many.
    Full(String),
}

/// What the order comes to at this time.
///
/// # Errors
/// Why nothing comes of it.
pub fn decide(cluster: &Cluster, order: &Order, now: Timestamp) -> Result<Proposal, Refused> {
    let mut draft = Draft { cluster, now, edits: vec![], reads: BTreeSet::new() };
    match order {
        Order::Service { service, checks, replace_checks } => {
            draft.agent_node(&service.key.node)?;
            draft.put_service(service)?;
            draft.put_checks(checks)?;
            if *replace_checks {
                let kept = |check: &ClientCheck| checks.iter().any(|new| new.key == check.key);
                draft.drop_checks_of(&service.key, |check| !kept(check));
            }
        }
        Order::NoService(key) => draft.drop_service(key, true)?,
        Order::Maintenance { of, on, reason } => draft.maintenance(of, *on, reason)?,
        Order::Check(check) => {
            draft.agent_node(&check.key.node)?;
            draft.of_known_service(check)?;
            draft.put_checks(std::slice::from_ref(check))?;
        }
        Order::NoCheck(key) => draft.drop_check(key, true)?,
        Order::Node { node, skip_node, service, checks } => {
            outside::put(&mut draft, node, *skip_node, service.as_ref(), checks)?;
        }
        Order::NoNode(name) => outside::drop(&mut draft, name)?,
    }
    Ok(draft.proposal())
}

/// A proposal that grows.
struct Draft<'a> {
    cluster: &'a Cluster,
    now: Timestamp,
    edits: Vec<Edit>,
    reads: BTreeSet<RecordKey>,
}

fn forbidden(what: &str, key: &ClientKey) -> Refused {
    Refused::Forbidden(format!(
        "Permission denied: {what} \"{}\" of node \"{}\" is of a container that runs there; change \
         its stack or its labels instead",
        key.id, key.node
    ))
}

fn unknown(what: &str, id: &str) -> Refused {
    Refused::Unknown(format!(
        "Unknown {what} ID \"{id}\". Ensure that the {what} ID is passed, not the {what} name."
    ))
}

impl Draft<'_> {
    fn proposal(self) -> Proposal {
        if self.edits.is_empty() {
            return Proposal::default();
        }
        let reads = self.reads.into_iter();
        let reads = reads.map(|key| (self.cluster.modified(&key), key));
        let reads = reads.map(|(modified, key)| (key, modified)).collect();
        Proposal { reads, change: Change { edits: self.edits } }
    }

    /// The record is another one than before when it is put.
    fn put(&mut self, record: Record) {
        self.reads.insert(record.key());
        self.edits.push(Edit::Put(record));
    }

    fn delete(&mut self, key: RecordKey) {
        if self.cluster.modified(&key).is_some() {
            self.reads.insert(key.clone());
            self.edits.push(Edit::Delete(key));
        }
    }

    /// Only who has an agent can be asked to keep something.
    fn agent_node(&self, node: &str) -> Result<(), Refused> {
        let host = node.parse::<HostId>().ok();
        match host.and_then(|host| self.cluster.host(&host)) {
            Some(_) => Ok(()),
            None => Err(Refused::Bad(format!(
                "node \"{node}\" has no agent: register at the agent of a host, or with \
                 /v1/catalog/register"
            ))),
        }
    }

    fn put_service(&mut self, service: &ClientService) -> Result<(), Refused> {
        if let Some(rule) = service.broken_rule() {
            return Err(Refused::Bad(rule));
        }
        let key = &service.key;
        if is_ours(self.cluster, &key.node, &key.id) {
            return Err(forbidden("service", key));
        }
        let known = self.cluster.client_service(key);
        if known.is_some_and(|known| **known == *service) {
            self.reads.insert(RecordKey::ClientService(key.clone()));
            return Ok(());
        }
        let of_node = || self.cluster.client_services_of(&key.node).count();
        let all = self.cluster.client_service_count();
        if known.is_none()
            && (all >= CLIENT_SERVICES_MAX || of_node() >= CLIENT_SERVICES_OF_NODE_MAX)
        {
            return Err(Refused::Full(format!(
                "there are {all} services of clients: {CLIENT_SERVICES_MAX} are kept, \
                 {CLIENT_SERVICES_OF_NODE_MAX} of one node; deregister some"
            )));
        }
        self.put(Record::ClientService(Arc::new(service.clone())));
        Ok(())
    }

    /// The service of a check is there; it may not go meanwhile.
    fn of_known_service(&mut self, check: &ClientCheck) -> Result<(), Refused> {
        if check.service.is_empty() {
            return Ok(());
        }
        let key = ClientKey::new(&check.key.node, &check.service);
        if is_ours(self.cluster, &key.node, &key.id) {
            return Err(forbidden("service", &key));
        }
        if self.cluster.client_service(&key).is_none() {
            return Err(unknown("service", &check.service));
        }
        self.reads.insert(RecordKey::ClientService(key));
        Ok(())
    }

    /// One that was there before goes on from where it stands.
    fn put_checks(&mut self, checks: &[ClientCheck]) -> Result<(), Refused> {
        let mut new = 0;
        for check in checks {
            if let Some(rule) = check.broken_rule() {
                return Err(Refused::Bad(rule));
            }
            if is_our_check(self.cluster, &check.key.node, &check.key.id) {
                return Err(forbidden("check", &check.key));
            }
            if matches!(check.plan.probe, CheckProbe::Script { .. }) {
                return Err(Refused::Bad(
                    "Invalid check: Scripts are disabled on this agent: programs are not run as \
                     checks; use an HTTP, TCP, gRPC or TTL check"
                        .into(),
                ));
            }
            let known = self.cluster.client_check(&check.key);
            new += usize::from(known.is_none());
            let since = known.map_or(self.now, |known| known.since);
            let check = ClientCheck { since, ..check.clone() };
            if known.is_none_or(|known| **known != check) {
                self.put(Record::ClientCheck(Arc::new(check)));
            }
        }
        let node = checks.first().map(|check| check.key.node.as_str());
        let there = node.map_or(0, |node| self.cluster.client_checks_of(node).count());
        if new > 0 && there + new > CHECKS_OF_NODE_MAX {
            return Err(Refused::Full(format!(
                "the node has {there} checks, {CHECKS_OF_NODE_MAX} are kept; deregister some"
            )));
        }
        Ok(())
    }

    fn drop_checks_of(&mut self, service: &ClientKey, drop: impl Fn(&ClientCheck) -> bool) {
        let cluster = self.cluster;
        let of = cluster.client_checks_of(&service.node);
        for check in of.filter(|check| check.service == service.id && drop(check)) {
            self.delete(RecordKey::ClientCheck(check.key.clone()));
            self.delete(RecordKey::CheckState(check.key.clone()));
        }
    }

    fn drop_service(&mut self, key: &ClientKey, must_be: bool) -> Result<(), Refused> {
        // What a client has registered it may take away, though there is one of ours by that id now.
        let known = self.cluster.client_service(key).is_some();
        if !known && is_ours(self.cluster, &key.node, &key.id) {
            return Err(forbidden("service", key));
        }
        if must_be && !known {
            return Err(unknown("service", &key.id));
        }
        self.delete(RecordKey::ClientService(key.clone()));
        self.drop_checks_of(key, |_| true);
        Ok(())
    }

    fn drop_check(&mut self, key: &ClientKey, must_be: bool) -> Result<(), Refused> {
        let known = self.cluster.client_check(key).is_some();
        if !known && is_our_check(self.cluster, &key.node, &key.id) {
            return Err(forbidden("check", key));
        }
        if must_be && !known {
            return Err(unknown("check", &key.id));
        }
        self.delete(RecordKey::ClientCheck(key.clone()));
        self.delete(RecordKey::CheckState(key.clone()));
        Ok(())
    }

    fn maintenance(&mut self, of: &ClientKey, on: bool, reason: &str) -> Result<(), Refused> {
        self.agent_node(&of.node)?;
        let (id, name, what) = match of.id.as_str() {
            "" => (NODE_MAINTENANCE.to_owned(), "Node Maintenance Mode", "node"),
            id => (format!("{SERVICE_MAINTENANCE}{id}"), "Service Maintenance Mode", "service"),
        };
        if !of.id.is_empty() {
            if is_ours(self.cluster, &of.node, &of.id) {
                return Err(forbidden("service", of));
            }
            if self.cluster.client_service(of).is_none() {
                return Err(unknown("service", &of.id));
            }
            self.reads.insert(RecordKey::ClientService(of.clone()));
        }
        let key = ClientKey::new(&of.node, &id);
        if !on {
            return self.drop_check(&key, false);
        }
        let default = || {
            format!(
                "Maintenance mode is enabled for this {what}, but no reason was provided. This is a \
                 default message."
            )
        };
        let check = ClientCheck {
            key,
            name: name.into(),
            notes: if reason.is_empty() { default() } else { reason.to_owned() },
            service: of.id.clone(),
            plan: CheckPlan::of(CheckProbe::Told),
            status: CheckStatus::Critical,
            deregister_after_ms: None,
            since: self.now,
        };
        // It stays as it began: who says it again changes nothing.
        if self.cluster.client_check(&check.key).is_some() {
            return Ok(());
        }
        self.put_checks(&[check])
    }

    /// What a client says of a check at once with it.
    fn put_state(&mut self, check: &ClientCheck, output: &str) {
        let since = self.cluster.client_check(&check.key).map_or(self.now, |known| known.since);
        let known = self.cluster.check_state(&check.key).filter(|known| known.run == since);
        let mut state = CheckState {
            key: check.key.clone(),
            run: since,
            status: check.status,
            output: output.to_owned(),
            changed_at: self.now,
        };
        model::registration::cut_output(&mut state.output);
        if let Some(known) = known.filter(|known| known.status == state.status) {
            state.changed_at = known.changed_at;
        }
        if known.is_none_or(|known| **known != state) {
            self.put(Record::CheckState(Arc::new(state)));
        }
    }
}

#[cfg(test)]
mod tests;
