//! What is taken while a plan is made: the fleet, and the cluster that it is of. One ledger a plan,
//! so that two services of one plan never get the same thing.

use crate::placement::{Fleet, Place};
use model::cluster::Cluster;
use model::id::{HostId, ServiceId};
use model::instance::Instance;
use model::reason::Reason;
use model::service::PortMapping;
use std::sync::Arc;

pub(crate) use crate::placement::Ask;
pub(crate) use crate::placement::needs::wanted_ports;

/// What is taken.
#[derive(Debug)]
pub(crate) struct Ledger<'a> {
    cluster: &'a Cluster,
    fleet: Fleet,
}

impl<'a> Ledger<'a> {
    pub(crate) fn of(cluster: &'a Cluster) -> Self {
        Self { cluster, fleet: Fleet::of(cluster) }
    }

    /// Notes what an instance holds. A removed one holds its address and ports until it is gone.
    pub(crate) fn take(&mut self, instance: &Instance) {
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
        self.fleet.choose(ask).map_err(|unplaced| unplaced.reason)
    }
}
