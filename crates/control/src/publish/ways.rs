//! What a round changes of the network that hosts hold: the ways to others, and the policy.

use super::follow::Round;
use super::peers::Holder;
use super::publisher::Publisher;
use crate::policy::Policies;
use model::delta::PolicyDelta;
use model::id::HostId;

impl Round<'_> {
    /// All of it is derived again when ends of connections are others or speak otherwise, as long
    /// as any policy is said; each host is told what changed for it.
    pub(super) fn policy(&mut self, publisher: &mut Publisher) {
        if !self.may_alter_policy() {
            return;
        }
        let new = Policies::of(self.now.cluster);
        let old = std::mem::replace(&mut publisher.policies, new);
        if old.are_off() && publisher.policies.are_off() {
            return;
        }
        let hosts: Vec<HostId> = publisher.hosts.keys().cloned().collect();
        for host in &hosts {
            let was = old.of_host(self.before.cluster, host);
            let is = publisher.policies.of_host(self.now.cluster, host);
            let changed = PolicyDelta::between(&was, &is);
            if let Some(pending) = self.tell(host, publisher).filter(|_| !changed.is_empty()) {
                pending.spec().policy = changed;
            }
        }
    }

    /// Can who may connect to whom be otherwise? Services, instances and plain containers are its
    /// ends.
    fn may_alter_policy(&self) -> bool {
        let touched = &self.touched;
        !(self.placed.is_empty() && touched.services.is_empty() && touched.plain.is_empty())
    }

    pub(super) fn peers(&mut self, publisher: &mut Publisher) {
        let (before, now) = (self.before.cluster, self.now.cluster);
        let instances = self.placed.keys().cloned().map(Holder::Instance);
        let written = instances.chain(self.touched.plain.iter().cloned().map(Holder::Plain));
        let changed = publisher.peers.follow(before, now, written, !self.touched.moved.is_empty());
        if changed.is_empty() {
            return;
        }
        let hosts: Vec<HostId> = publisher.hosts.keys().cloned().collect();
        for host in &hosts {
            if let Some(pending) = self.tell(host, publisher) {
                pending.spec().peers.extend(changed.clone());
            }
        }
    }
}
