//! What a proposal would lead to, for `remuda plan`: nothing is changed.

use super::{plan, scale_of};
use crate::ledger;
use model::change::Proposal;
use model::cluster::Cluster;
use model::host::HostLink;
use model::id::{HostId, ServiceId};
use model::instance::Goal;
use model::reason::{Blocked, Reason};
use model::record::{RecordKey, Service};
use model::scaling::Mode;
use model::service::{Kind, Template, Transport};
use model::time::{Index, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What a proposal would lead to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Instance by instance.
    pub steps: Vec<Step>,
    /// What could not be done.
    pub blocked: Vec<(ServiceId, Blocked)>,
}

/// What happens to one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// How.
    pub sign: Sign,
    /// `stack/service#n`.
    pub subject: String,
    /// Where.
    pub host: String,
    /// Why.
    pub why: String,
}

/// How an instance changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It is made.
    Make,
    /// It goes.
    Remove,
    /// A new one takes its place.
    Replace,
    /// It changes where it is.
    Change,
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Make => "+",
            Self::Remove => "-",
            Self::Replace => "±",
            Self::Change => "~",
        })
    }
}

/// Applies the proposal to a copy and plans on it. `foreign` are ports that programs other than
/// ours hold.
#[must_use]
pub fn simulate(
    cluster: &Cluster,
    proposal: &Proposal,
    foreign: &BTreeMap<(HostId, Transport, u16), String>,
    now: Timestamp,
) -> Outcome {
    let mut outcome = Outcome::default();
    if proposal.is_empty() {
        return outcome;
    }
    let mut copy = cluster.clone();
    let mut index = Index(cluster.index().0 + 1);
    copy.apply(index, &proposal.change);
    let mut touched: Vec<ServiceId> = vec![];
    for edit in &proposal.change.edits {
        if let RecordKey::Service(id) | RecordKey::Revision(id, _) = edit.key()
            && !touched.contains(&id)
        {
            touched.push(id);
        }
    }
    let next = plan(&copy, now);
    for one in &next.proposals {
        index = Index(index.0 + 1);
        copy.apply(index, &one.change);
    }
    for id in &touched {
        if let Some(service) = copy.service(id) {
            steps(cluster, &copy, service, &mut outcome);
            taken_ports(cluster, &copy, service, foreign, &mut outcome);
        }
        if let Some(status) = copy.service_status(id) {
            outcome.blocked.extend(status.blocked.iter().map(|b| (id.clone(), b.clone())));
        }
    }
    outcome
}

/// Slots that are to hold an instance: those of a global service are told by its instances, a job
/// has none until it runs.
fn wanted_slots(after: &Cluster, service: &Service, template: Option<&Template>) -> BTreeSet<u32> {
    let has_instances = template.is_none_or(Template::has_instances);
    match service.settings.mode {
        _ if service.goal != Goal::Run || !has_instances => BTreeSet::new(),
        Mode::Job(_) => BTreeSet::new(),
        Mode::Replicated => (1..=scale_of(after, service)).collect(),
        Mode::Global => {
            let running = after.instances_of(&service.id).filter(|i| i.goal == Goal::Run);
            running.map(|i| i.id.n).collect()
        }
    }
}

fn steps(before: &Cluster, after: &Cluster, service: &Service, outcome: &mut Outcome) {
    let template = after.revision(&service.id, service.target.revision).map(|r| &r.template);
    let in_place = template.is_some_and(|t| matches!(t.kind, Kind::Balancer(_)));
    let slots = wanted_slots(after, service, template);
    let mut step = |sign, n: u32, host: String, why: String| {
        let subject = format!("{}#{n}", service.id);
        outcome.steps.push(Step { sign, subject, host, why });
    };
    for n in slots.iter().copied() {
        let known = before.instances_of(&service.id).find(|i| i.id.n == n && i.goal == Goal::Run);
        match known {
            None => {
                let placed =
                    after.instances_of(&service.id).find(|i| i.id.n == n && i.goal == Goal::Run);
                let host = placed.map(|i| i.host.to_string()).unwrap_or_default();
                step(Sign::Make, n, host, format!("slot {n} of {}", slots.len()));
            }
            Some(known) if known.target != service.target => {
                let sign = if in_place { Sign::Change } else { Sign::Replace };
                let why =
                    format!("revision {} -> {}", known.target.revision, service.target.revision);
                step(sign, n, known.host.to_string(), why);
            }
            Some(_) => {}
        }
    }
    let is_job = matches!(service.settings.mode, Mode::Job(_)) && service.goal == Goal::Run;
    for known in before.instances_of(&service.id) {
        if known.goal == Goal::Run && !slots.contains(&known.id.n) && !is_job {
            let why = match service.goal {
                Goal::Remove => "service removed",
                Goal::Stop => "service stopped",
                Goal::Run => "scaled down",
            };
            step(Sign::Remove, known.id.n, known.host.to_string(), why.into());
        }
    }
}

/// Fixed ports that a program of somebody else holds on every host that could be chosen.
fn taken_ports(
    before: &Cluster,
    after: &Cluster,
    service: &Service,
    foreign: &BTreeMap<(HostId, Transport, u16), String>,
    outcome: &mut Outcome,
) {
    if service.goal != Goal::Run || service.scale == 0 {
        return;
    }
    let Some(revision) = after.revision(&service.id, service.target.revision) else { return };
    for port in ledger::wanted_ports(&revision.template) {
        let Some(number) = port.host_port else { continue };
        let held_by_us = before.instances_of(&service.id).any(|i| {
            i.ports.iter().any(|p| p.host_port == Some(number) && p.protocol == port.protocol)
        });
        let mut hosts = after.hosts().filter(|host| host.status == HostLink::Active).peekable();
        if held_by_us || hosts.peek().is_none() {
            continue;
        }
        let mut taken = None;
        let all = hosts.all(|host| {
            let by = foreign.get(&(host.id.clone(), port.protocol, number));
            taken = by.map(|by| (host.id.clone(), by.clone())).or(taken.take());
            by.is_some()
        });
        if all && let Some((host, by)) = taken {
            let reason = Reason::PortTaken { port: number, transport: port.protocol, host, by };
            outcome.blocked.push((service.id.clone(), Blocked { n: 0, reason }));
        }
    }
}
