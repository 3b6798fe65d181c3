//! What must hold, whatever happened: at every change of the store, at every call of an engine,
//! and at rest.

mod engines;
mod placed;
mod rest;
mod runs;
mod serving;

use control::audit::{Auditor, Violation};
use engines::Engines;
use model::change::Edit;
use model::cluster::Cluster;
use model::host::Scheduling;
use model::id::{HostId, InstanceId, ServiceId};
use model::instance::{Goal, Instance};
use model::record::{Record, RecordKey, Rollout, Service};
use runs::Promises;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use store::codec::Decoded;
use tokio::time::Instant;

/// Changes between two whole audits.
const WHOLE_AUDIT_EVERY: u64 = 100;
/// Flaws kept of one run; the first ones say most.
const FLAWS_MAX: usize = 50;

/// Something that must never be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The independent audit found something.
    Audit(String),
    /// An incarnation was given twice.
    GivenTwice(String),
    /// An instance was given another host or address: two decisions did not know of each other.
    Moved(String),
    /// Two containers of one instance run at the same time.
    TwoAtOnce(String),
    /// A container was stopped or removed though no change had ordered it.
    GoneUnasked(String),
    /// A container was stopped before those who knew its address could have heard of it.
    Undrained(String),
    /// The record of an instance is gone and its container runs.
    ForgottenAlive(String),
    /// Two containers of one slot run at the same time, though at most one may.
    Overlap(String),
    /// A job ran twice for one time, or twice at once though that is forbidden.
    RunTwice(String),
    /// An instance was placed where it must not be.
    Misplaced(String),
    /// A sidekick runs in a namespace that nobody else has any more.
    Stranded(String),
    /// A global service has not one instance on each host that fits.
    PerHost(String),
    /// A service was taken below its promised minimum by our own doing.
    BelowMinimum(String),
    /// A container of ours that no instance stands for, and nobody told of it.
    Orphan(String),
    /// Two containers of one instance.
    Twice(String),
    /// An instance that should run has no running container.
    NotRunning(String),
    /// Something goes on that should have come to its end.
    NotQuiet(String),
    /// A service is not as wanted and nothing says why.
    NoReason(String),
    /// A loop that should go on for ever has ended: it panicked.
    Ended(String),
    /// The simulation itself is broken.
    Broken(String),
}

impl Flaw {
    /// Which kind it is: a shrunk run must fail in the same way.
    #[must_use]
    pub fn kind(&self) -> std::mem::Discriminant<Self> {
        std::mem::discriminant(self)
    }
}

/// The books of a run.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    cluster: Cluster,
    auditor: Auditor,
    pub(crate) flaws: Vec<Flaw>,
    changes: u64,
    /// Every instance that there ever was.
    given: BTreeSet<InstanceId>,
    /// Those that some change ordered to stop or go, with the virtual time of the last order.
    ordered: BTreeMap<InstanceId, Instant>,
    /// Since when a container has been seen as it is, in virtual time.
    since: BTreeMap<InstanceId, Instant>,
    /// Hosts whose clocks were set: what they time may come too early.
    clocks_set: BTreeSet<usize>,
    /// How far a server's clock was set at most: what it times may be as much too early or late.
    server_skew: Duration,
    /// When a server was started last.
    server_started: Option<Instant>,
    /// What was changed of a host last by somebody else than the planner.
    host_changed: BTreeMap<HostId, Instant>,
    /// Hosts that people have removed at some time.
    removed_hosts: BTreeSet<HostId>,
    /// What services have promised about their containers.
    promises: Promises,
    /// What the engines do, and what was done to them.
    engines: Engines,
}

impl Oracle {
    /// The state as the store has told it.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The clock of a host was set.
    pub(crate) fn note_clock(&mut self, host: usize) {
        self.clocks_set.insert(host);
    }

    /// Times that the server notes may be so much too early or late: its clock was set, or what it
    /// writes comes late.
    pub(crate) fn note_server_clock(&mut self, by: Duration) {
        self.server_skew = self.server_skew.max(by);
    }

    /// Instances that there ever were, while a rollout goes on; otherwise none.
    pub(crate) fn given_in_rollouts(&self) -> usize {
        let goes_on = |service: &Arc<Service>| {
            let status = self.cluster.service_status(&service.id);
            status.is_some_and(|status| matches!(status.rollout, Rollout::Running { .. }))
        };
        if self.cluster.services().any(goes_on) { self.given.len() } else { 0 }
    }

    /// A server was started.
    pub(crate) fn note_server(&mut self) {
        self.server_started = Some(Instant::now());
    }

    pub(crate) fn flaw(&mut self, flaw: Flaw) {
        if self.flaws.len() < FLAWS_MAX && !self.flaws.contains(&flaw) {
            self.flaws.push(flaw);
        }
    }

    /// The simulation itself is broken.
    pub(crate) fn note(&mut self, what: String) {
        self.flaw(Flaw::Broken(what));
    }

    /// A change of the store.
    pub(crate) fn commit(&mut self, decoded: &Decoded) {
        let before = self.cluster.clone();
        let was_ready =
            |id: &InstanceId| before.instance(id).is_some_and(|one| self.serves(&before, one));
        let ready_before: BTreeSet<InstanceId> = decoded
            .edits
            .iter()
            .filter_map(|(_, edit)| instance_of(edit))
            .filter(was_ready)
            .collect();
        let slots_before = self.slots_of(&before, &ready_before);
        self.note_statuses(decoded);
        self.note_hosts(decoded);
        self.promises.note(decoded, &before);
        self.cluster.apply(decoded.index, &decoded.change());
        self.changes += 1;
        self.check_runs(decoded);
        let mut let_go: BTreeSet<ServiceId> = BTreeSet::new();
        for (prev, edit) in &decoded.edits {
            if let Edit::Delete(RecordKey::Instance(id)) = edit {
                self.check_forgotten(id, prev.as_ref());
            }
            let Edit::Put(Record::Instance(new)) = edit else { continue };
            let old = match prev {
                Some(Record::Instance(old)) => Some(old),
                _ => None,
            };
            if let Some(old) = old
                && (&old.host, old.address) != (&new.host, new.address)
            {
                self.flaw(Flaw::Moved(new.id.to_string()));
            }
            if old.is_none() {
                if !self.given.insert(new.id.clone()) {
                    self.flaw(Flaw::GivenTwice(new.id.to_string()));
                }
                self.check_placed(new, &before);
            }
            if new.goal != Goal::Run {
                if old.is_none_or(|old| old.goal == Goal::Run) {
                    self.ordered.insert(new.id.clone(), Instant::now());
                }
                if ready_before.contains(&new.id) && !self.is_people_s(new) {
                    let_go.insert(new.id.service.clone());
                }
            }
        }
        for service in let_go {
            let was = slots_before.get(&service).copied().unwrap_or(0);
            self.check_minimum(was, &service);
        }
        self.audit();
    }

    /// What this change has broken.
    fn audit(&mut self) {
        let found = self.auditor.follow(&self.cluster);
        self.tell_audit(found);
        if self.changes.is_multiple_of(WHOLE_AUDIT_EVERY) {
            let mut whole = control::audit::audit(&self.cluster);
            let mut known: Vec<Violation> = self.auditor.violations().cloned().collect();
            whole.sort();
            known.sort();
            if whole != known {
                let text = format!("whole {whole:?}, by its changes {known:?}");
                self.flaw(Flaw::Audit(text));
            }
        }
    }

    fn tell_audit(&mut self, found: Vec<Violation>) {
        for violation in found {
            // Who removes a host leaves what was on it to the planner, and so does a host that is
            // heard again: they are gone at rest.
            if !matches!(violation, Violation::NoHost(_) | Violation::SlotTwice(..)) {
                self.flaw(Flaw::Audit(format!("{violation:?}")));
            }
        }
    }

    /// Notes since when each instance has been as it is.
    fn note_statuses(&mut self, decoded: &Decoded) {
        for (prev, edit) in &decoded.edits {
            let Edit::Put(Record::InstanceStatus(id, new)) = edit else { continue };
            let same = matches!(prev, Some(Record::InstanceStatus(_, old))
                if (old.phase, old.health, old.started_at)
                    == (new.phase, new.health, new.started_at));
            if !same {
                self.since.insert(id.clone(), Instant::now());
            }
        }
    }

    /// Notes what happens to hosts.
    fn note_hosts(&mut self, decoded: &Decoded) {
        for (prev, edit) in &decoded.edits {
            match (prev, edit) {
                (_, Edit::Delete(RecordKey::Host(id))) => {
                    self.removed_hosts.insert(id.clone());
                }
                (Some(Record::Host(old)), Edit::Put(Record::Host(new)))
                    if old.all_labels() == new.all_labels() && old.scheduling == new.scheduling => {
                }
                (_, Edit::Put(Record::Host(new))) => {
                    self.host_changed.insert(new.id.clone(), Instant::now());
                }
                _ => {}
            }
        }
    }

    /// Did people order it, whatever that takes away: a host that was removed, or is drained by
    /// force?
    fn is_people_s(&self, instance: &Instance) -> bool {
        self.cluster
            .host(&instance.host)
            .is_none_or(|host| matches!(host.scheduling, Scheduling::Draining { force: true, .. }))
    }
}

/// The instance that an edit puts.
fn instance_of(edit: &Edit) -> Option<InstanceId> {
    match edit {
        Edit::Put(Record::Instance(instance)) => Some(instance.id.clone()),
        _ => None,
    }
}
