//! The plan of one service while it is made: its instances as they will be, and the edits so far.

use crate::ledger::{Ask, Ledger};
use crate::names::container_name;
use crate::readiness::Ready;
use crate::unit;
use model::change::{Change, Edit, Proposal};
use model::cluster::Cluster;
use model::host::HostLink;
use model::id::{HostId, InstanceId, ServiceName};
use model::instance::{Goal, Instance, InstanceStatus, Phase, Target};
use model::limits::{DECISIONS_PER_PLAN_MAX, INCARNATIONS_BEHIND_MAX, TXN_OPS_MAX};
use model::mutation::{Mutation, is_in};
use model::reason::{Blocked, Reason, within_limit};
use model::record::{Record, RecordKey, Service, ServiceStatus};
use model::service::Template;
use model::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Statuses that a decision may rest on: of a service with more containers a few do not matter.
const STATUSES_READ_MAX: usize = 128;
/// A decision is an edit and the read that it rests on; a few records are read for the whole plan.
const _: () = assert!(2 * DECISIONS_PER_PLAN_MAX + STATUSES_READ_MAX + 64 <= TXN_OPS_MAX);

/// One instance of the service.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) instance: Instance,
    /// Of the whole unit: as well as the worst of its containers.
    pub(super) seen: InstanceStatus,
    /// Of its primary alone.
    pub(super) primary: InstanceStatus,
    /// Of its sidekicks.
    pub(super) sidekicks: Vec<(ServiceName, InstanceStatus)>,
}

impl Member {
    fn of(cluster: &Cluster, instance: &Instance) -> Self {
        let id = &instance.id;
        let revision = cluster.revision(&id.service, instance.target.revision);
        let sidekicks = unit::sidekicks(cluster, id, revision.map(|r| &r.template));
        let primary = cluster.instance_status(id).map(|seen| (**seen).clone()).unwrap_or_default();
        let seen = unit::folded(&primary, &sidekicks, instance.goal == Goal::Run);
        Self { instance: instance.clone(), seen, primary, sidekicks }
    }
}

/// The plan of one service while it is made.
pub(super) struct Draft<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) service: &'a Service,
    pub(super) now: Timestamp,
    pub(super) members: Vec<Member>,
    pub(super) status: ServiceStatus,
    /// Slots that are to hold an instance, ascending.
    pub(super) slots: Vec<u32>,
    /// Hosts of the slots of a global service.
    pub(super) pins: BTreeMap<u32, HostId>,
    by_slot: BTreeMap<u32, Vec<usize>>,
    /// Slots with a member that this plan forgets: what it held is free after the commit.
    pub(super) emptied: BTreeSet<u32>,
    wake_at: Option<Timestamp>,
    touched: BTreeSet<InstanceId>,
    edits: Vec<Edit>,
    reads: BTreeMap<RecordKey, Option<model::time::Index>>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(cluster: &'a Cluster, service: &'a Service, now: Timestamp) -> Self {
        let members = cluster
            .instances_of(&service.id)
            .map(|instance| Member::of(cluster, instance))
            .collect();
        let status = cluster.service_status(&service.id);
        let mut draft = Self {
            cluster,
            service,
            now,
            members,
            slots: vec![],
            pins: BTreeMap::new(),
            by_slot: BTreeMap::new(),
            emptied: BTreeSet::new(),
            status: status
                .map_or_else(|| ServiceStatus::new(service.id.clone()), |s| (**s).clone()),
            wake_at: None,
            touched: BTreeSet::new(),
            edits: vec![],
            reads: BTreeMap::new(),
        };
        draft.index_slots();
        draft.read(RecordKey::Service(service.id.clone()));
        draft.read(RecordKey::ServiceStatus(service.id.clone()));
        draft
    }

    fn read(&mut self, key: RecordKey) {
        let modified = self.cluster.modified(&key);
        self.reads.insert(key, modified);
    }

    fn index_slots(&mut self) {
        self.by_slot.clear();
        for (index, member) in self.members.iter().enumerate() {
            self.by_slot.entry(member.instance.id.n).or_default().push(index);
        }
    }

    /// Indexes of the members of a slot, oldest first.
    pub(super) fn in_slot(&self, n: u32) -> &[usize] {
        self.by_slot.get(&n).map_or(&[], Vec::as_slice)
    }

    /// Indexes of the members of a slot that are to run.
    pub(super) fn running_in(&self, n: u32) -> impl Iterator<Item = usize> + '_ {
        self.in_slot(n).iter().copied().filter(|i| self.members[*i].instance.goal == Goal::Run)
    }

    /// Room for one more decision in this plan?
    pub(super) fn has_room(&self) -> bool {
        self.edits.len() + self.touched.len() < DECISIONS_PER_PLAN_MAX
    }

    /// Plan again at the latest then.
    pub(super) fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |known| known.min(at)));
    }

    pub(super) fn template(&self, target: Target) -> Option<&'a Template> {
        self.cluster.revision(&self.service.id, target.revision).map(|r| &r.template)
    }

    /// Is the instance ready? Notes when to look again.
    pub(super) fn is_ready(&mut self, index: usize) -> bool {
        let member = &self.members[index];
        let Some(template) = self.template(member.instance.target) else { return false };
        match unit::of_instance(template, &member.primary, &member.sidekicks, self.now) {
            Ready::Yes => true,
            Ready::No => false,
            Ready::At(at) => {
                self.wake(at);
                false
            }
        }
    }

    /// Sets what is to become of an instance.
    pub(super) fn set_goal(&mut self, index: usize, goal: Goal, reason: &str) {
        let now = self.now;
        let member = &mut self.members[index];
        let instance = &mut member.instance;
        if instance.goal == goal {
            return;
        }
        instance.goal = goal;
        instance.goal_at = now;
        instance.reason = within_limit(reason.to_owned());
        self.touched.insert(instance.id.clone());
        // A unit that is to go is there as long as any of its containers.
        member.seen = unit::folded(&member.primary, &member.sidekicks, goal == Goal::Run);
    }

    /// Is the agent of a host connected?
    pub(super) fn is_connected(&self, host: &HostId) -> bool {
        self.cluster.host(host).is_some_and(|host| host.status == HostLink::Active)
    }

    /// Notes whether an instance is to be replaced by one of the same version elsewhere.
    pub(super) fn set_leaving(&mut self, index: usize, leaving: bool) {
        let instance = &mut self.members[index].instance;
        if instance.leaving != leaving {
            instance.leaving = leaving;
            self.touched.insert(instance.id.clone());
        }
    }

    /// A stopped instance is to run again, where its host still has room for what it reserves; else
    /// it goes, so that another one can be made. What it held was given to others meanwhile.
    pub(super) fn start_again(
        &mut self,
        ledger: &mut Ledger<'_>,
        index: usize,
        reason: &str,
    ) -> bool {
        let instance = self.members[index].instance.clone();
        let host = self.cluster.host(&instance.host);
        let open = host.is_some_and(|host| host.takes_instances());
        if let Some(template) = self.template(instance.target) {
            let ask = Ask {
                service: &self.service.id,
                revision: instance.target.revision,
                template,
                n: instance.id.n,
                before: Some(&instance),
                pin: Some(&instance.host),
                prefer: vec![],
                more: 1,
            };
            // A host that is away or cordoned takes nothing new, and gives back what it has.
            let fits = match open {
                true => ledger.place(&ask).is_ok(),
                false => ledger.fits_again(&ask, &instance.host),
            };
            if !fits {
                self.set_goal(index, Goal::Remove, "its host has no room for it any more");
                return false;
            }
        }
        self.set_goal(index, Goal::Run, reason);
        ledger.take(&self.members[index].instance);
        self.forget_seen(index);
        true
    }

    /// That it was seen stopped says nothing any more: its host may have started it.
    fn forget_seen(&mut self, index: usize) {
        let member = &mut self.members[index];
        member.seen = InstanceStatus::default();
        member.primary = InstanceStatus::default();
        let names = member.sidekicks.iter().map(|(name, _)| Some(name));
        let ids: Vec<InstanceId> =
            std::iter::once(None).chain(names).map(|n| member.instance.id.container(n)).collect();
        for (_, seen) in &mut member.sidekicks {
            *seen = InstanceStatus::default();
        }
        for id in ids {
            if self.cluster.instance_status(&id).is_some() {
                let blank = Arc::new(InstanceStatus::default());
                self.edits.push(Edit::Put(Record::InstanceStatus(id, blank)));
            }
        }
    }

    /// Changes an instance in place: only a balancer's version and ports move so.
    pub(super) fn retarget(
        &mut self,
        index: usize,
        target: Target,
        ports: Vec<model::service::PortMapping>,
    ) {
        let instance = &mut self.members[index].instance;
        instance.target = target;
        instance.ports = ports;
        self.touched.insert(instance.id.clone());
    }

    /// Every instance that is to run gets another goal.
    pub(super) fn end_all(&mut self, goal: Goal, reason: &str) {
        for index in 0..self.members.len() {
            let now_goal = self.members[index].instance.goal;
            let further = goal == Goal::Remove && now_goal != Goal::Remove;
            if (further || now_goal == Goal::Run) && self.has_room() {
                self.set_goal(index, goal, reason);
            }
        }
    }

    /// Drops instances that were to go and are gone, or whose host is gone.
    pub(super) fn forget_gone(&mut self) {
        let cluster = self.cluster;
        let gone = |member: &Member| {
            member.instance.goal == Goal::Remove
                && !is_in(Mutation::ForgetGone)
                && (member.seen.phase == Phase::Absent
                    || cluster.host(&member.instance.host).is_none())
        };
        let ids: Vec<InstanceId> =
            self.members.iter().filter(|m| gone(m)).map(|m| m.instance.id.clone()).collect();
        for id in ids.into_iter().take(DECISIONS_PER_PLAN_MAX / 2) {
            let known = self.members.iter().position(|member| member.instance.id == id);
            let sidekicks = known.map(|at| self.members.remove(at).sidekicks).unwrap_or_default();
            for (name, _) in sidekicks {
                let status = RecordKey::InstanceStatus(id.container(Some(&name)));
                if self.cluster.modified(&status).is_some() {
                    self.edits.push(Edit::Delete(status));
                }
            }
            self.emptied.insert(id.n);
            self.read(RecordKey::Instance(id.clone()));
            self.edits.push(Edit::Delete(RecordKey::Instance(id.clone())));
            self.edits.push(Edit::Delete(RecordKey::InstanceStatus(id)));
        }
        self.index_slots();
    }

    /// The service's own records go.
    pub(super) fn delete_service(&mut self) {
        let id = &self.service.id;
        for revision in self.cluster.revisions_of(id) {
            self.edits.push(Edit::Delete(RecordKey::Revision(id.clone(), revision.number)));
        }
        self.edits.push(Edit::Delete(RecordKey::ServiceStatus(id.clone())));
        self.edits.push(Edit::Delete(RecordKey::Service(id.clone())));
    }

    /// Drops revisions that nothing uses, but the newest.
    pub(super) fn forget_revisions(&mut self, keep: usize) {
        let id = &self.service.id;
        let numbers: Vec<u32> = self.cluster.revisions_of(id).map(|r| r.number).collect();
        let old = numbers.len().saturating_sub(keep);
        let before = self.status.rollout.before();
        self.status.revisions.retain(|number, _| numbers.contains(number));
        for number in numbers.into_iter().take(old) {
            let used = self.service.target.revision == number
                || before.is_some_and(|before| before.revision == number)
                || self.members.iter().any(|m| m.instance.target.revision == number);
            if !used {
                self.status.revisions.remove(&number);
                self.edits.push(Edit::Delete(RecordKey::Revision(id.clone(), number)));
            }
        }
    }

    /// Places a new instance in a slot; false when it is blocked, which is noted.
    pub(super) fn place(
        &mut self,
        ledger: &mut Ledger<'_>,
        n: u32,
        target: Target,
        reason: &str,
    ) -> bool {
        match self.try_place(ledger, n, target, reason) {
            Ok(_) => true,
            Err(reason) => {
                self.block(n, reason);
                false
            }
        }
    }

    /// Addresses that an instance of this slot should have, best first.
    fn preferred_addresses(&self, n: u32) -> Vec<Ipv4Addr> {
        let settings = &self.service.settings;
        let kept = self.status.retained.get(&n).copied().filter(|_| settings.retain_ip);
        let others: Vec<Ipv4Addr> = match settings.retain_ip {
            true => self.status.retained.values().copied().collect(),
            false => vec![],
        };
        let asked = settings.requested_ips.iter().copied().filter(|a| !others.contains(a));
        kept.into_iter().chain(asked).collect()
    }

    /// Places a new instance in a slot and gives its incarnation.
    ///
    /// # Errors
    /// Why no host can take it.
    pub(super) fn try_place(
        &mut self,
        ledger: &mut Ledger<'_>,
        n: u32,
        target: Target,
        reason: &str,
    ) -> Result<u64, Reason> {
        let Some(template) = self.template(target) else {
            let why = format!("revision {} is not kept any more", target.revision);
            return Err(Reason::RolloutFailed { revision: target.revision, why });
        };
        let before = self.in_slot(n).last().map(|index| self.members[*index].instance.clone());
        let more = self.slots.len().saturating_sub(self.members.len()).max(1);
        let place = ledger.place(&Ask {
            service: &self.service.id,
            revision: target.revision,
            template,
            n,
            before: before.as_ref(),
            pin: self.pins.get(&n),
            prefer: self.preferred_addresses(n),
            more: u32::try_from(more).unwrap_or(u32::MAX),
        })?;
        if self.service.settings.retain_ip
            && let Some(address) = place.address
        {
            self.status.retained.insert(n, address);
        }
        let index = self.cluster.index().0;
        let ahead = index.saturating_sub(self.status.incarnations);
        let anew = self.status.incarnations == 0 || ahead > INCARNATIONS_BEHIND_MAX;
        if anew && !is_in(Mutation::ReuseIncarnation) {
            // A service that comes back under its old name must not give its old ids again, nor
            // one whose state was put back from a copy: what was made since may still run.
            self.status.incarnations = index;
        }
        self.status.incarnations += 1;
        let incarnation = self.status.incarnations;
        let id = InstanceId::new(self.service.id.clone(), n, incarnation);
        let container_name = match template.container() {
            Some(_) => container_name(self.cluster, &id),
            None => String::new(),
        };
        let instance = Instance {
            id,
            host: place.host,
            address: place.address,
            sidekick_addresses: place.sidekick_addresses,
            container_name,
            target,
            ports: place.ports,
            goal: Goal::Run,
            leaving: false,
            dropped: place.dropped,
            reason: within_limit(reason.to_owned()),
            placed_at: self.now,
            goal_at: self.now,
        };
        ledger.take(&instance);
        self.touched.insert(instance.id.clone());
        self.by_slot.entry(n).or_default().push(self.members.len());
        self.members.push(Member::of(self.cluster, &instance));
        Ok(incarnation)
    }

    pub(super) fn block(&mut self, n: u32, reason: Reason) {
        let blocked = Blocked { n, reason };
        if !self.status.blocked.contains(&blocked) && !is_in(Mutation::LoseReason) {
            self.status.blocked.push(blocked);
        }
    }

    /// Puts the status record when it changed.
    pub(super) fn note_status(&mut self) {
        let known = self.cluster.service_status(&self.service.id);
        if known.is_none_or(|known| **known != self.status) {
            let status = Arc::new(self.status.clone());
            self.edits.push(Edit::Put(Record::ServiceStatus(status)));
        }
    }

    /// An instance is let go since others serve: what is known of these, and of their hosts, must
    /// not have changed when that is stored.
    fn read_who_serves(&mut self) {
        let before = |id: &InstanceId| self.cluster.instance(id).map(|one| one.goal);
        let lets_go = |member: &Member| {
            member.instance.goal != Goal::Run && before(&member.instance.id) == Some(Goal::Run)
        };
        if !self.members.iter().any(lets_go) {
            return;
        }
        let serve = self.members.iter().filter(|member| {
            member.instance.goal == Goal::Run
                && matches!(member.seen.phase, Phase::Running | Phase::Completed)
        });
        let keys = serve.flat_map(|member| {
            let id = &member.instance.id;
            let sidekicks = member.sidekicks.iter().map(|(name, _)| id.container(Some(name)));
            let containers = std::iter::once(id.clone()).chain(sidekicks);
            let host = RecordKey::Host(member.instance.host.clone());
            containers.map(RecordKey::InstanceStatus).chain([host])
        });
        let keys: Vec<RecordKey> = keys.take(STATUSES_READ_MAX).collect();
        for key in keys {
            self.read(key);
        }
    }

    /// The proposal, and when to plan again.
    pub(super) fn finish(mut self) -> (Proposal, Option<Timestamp>) {
        self.read_who_serves();
        for id in std::mem::take(&mut self.touched) {
            if let Some(member) = self.members.iter().find(|m| m.instance.id == id) {
                let instance = Arc::new(member.instance.clone());
                self.edits.push(Edit::Put(Record::Instance(instance)));
                self.read(RecordKey::Instance(id));
            }
        }
        let change = Change { edits: self.edits };
        if is_in(Mutation::DropFence) {
            self.reads.clear();
        }
        (Proposal { reads: self.reads.into_iter().collect(), change }, self.wake_at)
    }
}
