//! What services promise about their containers: at most one of a slot, no run of a job beside
//! another one, no time of a schedule twice.

use super::{Flaw, Oracle};
use model::change::Edit;
use model::cluster::Cluster;
use model::host::HostLink;
use model::id::{HostId, InstanceId, ServiceId};
use model::record::{Record, RecordKey, RunCause, ServiceStatus};
use model::scaling::{Concurrency, Mode};
use model::service::LossPolicy;
use model::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use store::codec::Decoded;
use tokio::time::Instant;

/// An engine that fails, or an agent that is away, in the last so many seconds: the host may not
/// have stopped in time what it should have. A process that is dead stops nothing.
const HELPLESS: Duration = Duration::from_secs(15);

/// What services have promised.
#[derive(Debug, Default)]
pub(super) struct Promises {
    /// By service: its policy for lost hosts, since when, and whether its job forbids a second run.
    by_service: BTreeMap<ServiceId, Promise>,
    /// When an instance was decided on.
    made: BTreeMap<InstanceId, Instant>,
    /// Hosts that were away when it was.
    away: BTreeMap<InstanceId, BTreeSet<HostId>>,
    /// Services that were at most once at some time.
    once: BTreeSet<ServiceId>,
    /// Times of schedules for which a run was made.
    due: BTreeMap<ServiceId, BTreeSet<Timestamp>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Promise {
    on_loss: Option<LossPolicy>,
    forbids: bool,
    since: Instant,
}

impl Promises {
    /// Works in a change of the store.
    pub(super) fn note(&mut self, decoded: &Decoded, before: &Cluster) {
        for (prev, edit) in &decoded.edits {
            match edit {
                Edit::Put(Record::Service(service)) => {
                    let settings = &service.settings;
                    let forbids = matches!(&settings.mode,
                        Mode::Job(job) if job.concurrency == Concurrency::Forbid);
                    let since = Instant::now();
                    let new = Promise { on_loss: settings.on_loss, forbids, since };
                    let same = |old: &Promise| Promise { since, ..old.clone() } == new;
                    if !self.by_service.get(&service.id).is_some_and(same) {
                        self.by_service.insert(service.id.clone(), new);
                    }
                    if matches!(settings.on_loss, Some(LossPolicy::StopAfter { .. })) {
                        self.once.insert(service.id.clone());
                    }
                }
                Edit::Delete(RecordKey::Service(id)) => {
                    self.by_service.remove(id);
                    // A service that comes back under its name is another one.
                    self.due.remove(id);
                }
                Edit::Put(Record::Instance(new)) if prev.is_none() => {
                    self.made.insert(new.id.clone(), Instant::now());
                    let away = before.hosts().filter(|host| host.status != HostLink::Active);
                    self.away.insert(new.id.clone(), away.map(|host| host.id.clone()).collect());
                }
                _ => {}
            }
        }
    }

    /// Was it at most once at some time?
    pub(super) fn was_at_most_once(&self, id: &ServiceId) -> bool {
        self.once.contains(id)
    }

    /// The promise under which both instances were decided on. Who changes it says nothing of what
    /// was there before: a host that is away has not heard of the change.
    fn of_both(&self, a: &InstanceId, b: &InstanceId) -> Option<&Promise> {
        let promise = self.by_service.get(&a.service)?;
        let under = |id: &InstanceId| {
            self.made.get(&id.instance()).is_some_and(|made| *made >= promise.since)
        };
        (under(a) && under(b)).then_some(promise)
    }
}

impl Oracle {
    /// A container was started: is it alone where it must be?
    pub(super) fn check_alone(&mut self, host: usize, id: &InstanceId) {
        for (other, there) in self.engines.others(id) {
            let Some(promise) = self.promises.of_both(id, &other) else { continue };
            // Who removes a host has taken it on himself that nothing runs there any more.
            let helpless = self.engines.was_away(there, HELPLESS) || self.was_removed(there);
            if helpless {
                continue;
            }
            let text = format!("{id} on h{host} beside {other} on h{there}");
            let once = matches!(promise.on_loss, Some(LossPolicy::StopAfter { .. }));
            if promise.forbids {
                // The run on a host that was away when the next one was decided on was given up,
                // unless it ends itself there.
                let newer = if id.incarnation > other.incarnation { id } else { &other };
                let away = self.promises.away.get(&newer.instance());
                let places = [crate::host::host_id(host), crate::host::host_id(there)];
                let reached = away.is_none_or(|away| !places.iter().any(|one| away.contains(one)));
                if (once || reached) && id.sidekick.is_none() {
                    self.flaw(Flaw::RunTwice(text));
                }
            } else if once && other.n == id.n && !self.is_job(&id.service) {
                self.flaw(Flaw::Overlap(text));
            }
        }
    }

    fn is_job(&self, id: &ServiceId) -> bool {
        self.cluster.service(id).is_some_and(|one| matches!(one.settings.mode, Mode::Job(_)))
    }

    /// No run is made twice for one time, and none gets a second instance.
    pub(super) fn check_runs(&mut self, decoded: &Decoded) {
        for (prev, edit) in &decoded.edits {
            let Edit::Put(Record::ServiceStatus(new)) = edit else { continue };
            let old = match prev {
                Some(Record::ServiceStatus(old)) => Some(&**old),
                _ => None,
            };
            self.check_runs_of(old, new);
        }
    }

    fn check_runs_of(&mut self, old: Option<&ServiceStatus>, new: &ServiceStatus) {
        let made = old.map_or(0, |old| old.runs_made);
        for run in &new.runs {
            let text = format!("{} run {}: {:?}", new.service, run.number, run);
            if run.number > made && run.cause == RunCause::Schedule {
                let due = self.promises.due.entry(new.service.clone()).or_default();
                if !due.insert(run.due) {
                    self.flaw(Flaw::RunTwice(text));
                    continue;
                }
            }
            let before = old.and_then(|old| old.runs.iter().find(|one| one.number == run.number));
            let given = before.and_then(|before| before.incarnation);
            if given.is_some() && given != run.incarnation {
                self.flaw(Flaw::RunTwice(format!("{text}, before {given:?}")));
            }
        }
    }
}
