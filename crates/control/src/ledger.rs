//! What is taken while a plan is made: the fleet, and the cluster that it is of. One ledger a plan,
//! so that two services of one plan never get the same thing.

use crate::placement::external::External;
use crate::placement::{Fleet, Place, Wake};
use model::cluster::Cluster;
use model::id::{HostId, InstanceId, ServiceId};
use model::instance::Instance;
use model::reason::Reason;
use model::service::PortMapping;
use model::time::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;

pub(crate) use crate::placement::Ask;
pub(crate) use crate::placement::needs::wanted_ports;

/// What is taken.
#[derive(Debug)]
pub(crate) struct Ledger<'a> {
    cluster: &'a Cluster,
    fleet: Fleet,
    /// What the last requests that could not be met wait for.
    wake: Wake,
    /// What was decided in this plan: it is in the fleet and not yet in the cluster.
    taken: Vec<InstanceId>,
    /// Who has a say beside the fleet.
    external: Option<External>,
}

impl<'a> Ledger<'a> {
    /// On a fleet that is up to date with the cluster.
    pub(crate) fn on(cluster: &'a Cluster, fleet: Fleet, external: Option<External>) -> Self {
        Self { cluster, fleet, wake: Wake::default(), taken: vec![], external }
    }

    /// The fleet, the instances in it that the cluster does not have so, and the external
    /// scheduler.
    pub(crate) fn close(self) -> (Fleet, Vec<InstanceId>, Option<External>) {
        (self.fleet, self.taken, self.external)
    }

    /// The service was thought about. Says when the external scheduler is to be asked again.
    pub(crate) fn settle(&mut self, service: &ServiceId, now: Timestamp) -> Option<Timestamp> {
        self.external.as_mut()?.settle(self.cluster, service, now)
    }

    /// Notes what an instance holds. A removed one holds its address and ports until it is gone.
    pub(crate) fn take(&mut self, instance: &Instance) {
        self.taken.push(instance.id.clone());
        self.fleet.take(self.cluster, &Arc::new(instance.clone()));
    }

    /// Who else holds one of these ports on the host?
    pub(crate) fn port_holder(
        &self,
        host: &HostId,
        service: &ServiceId,
        ports: &[PortMapping],
    ) -> Option<Reason> {
        self.fleet.port_holder(host, service, ports)
    }

    /// Chooses a host with its address and ports; they are taken with the instance.
    ///
    /// # Errors
    /// Why no host can take it.
    pub(crate) fn place(&mut self, ask: &Ask<'_>) -> Result<Place, Reason> {
        let place = match &mut self.external {
            None => self.fleet.choose(ask),
            Some(external) => external.place(&mut self.fleet, ask),
        };
        place.map_err(|unplaced| {
            self.wake = self.wake.or(unplaced.wake);
            unplaced.reason
        })
    }

    /// Has the host of a stopped instance, open or not, still room for it?
    pub(crate) fn fits_again(&mut self, ask: &Ask<'_>, host: &HostId) -> bool {
        self.fleet.fits_again(ask, host)
    }

    /// Hosts that a global service may be on: those that meet its hard constraints on hosts.
    pub(crate) fn eligible(&self, ask: &Ask<'_>) -> BTreeSet<HostId> {
        self.fleet.eligible(ask).into_iter().map(|(host, _)| host).collect()
    }

    /// What the requests since the last call wait for that could not be met.
    pub(crate) fn take_wake(&mut self) -> Wake {
        std::mem::take(&mut self.wake)
    }
}
