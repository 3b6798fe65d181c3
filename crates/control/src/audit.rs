//! An independent check of the cluster: written apart from the planner, empty after every plan.

mod auditor;

pub use auditor::Auditor;

use model::cluster::Cluster;
use model::id::{HostId, InstanceId, ServiceId};
use model::plain::PlainId;
use std::net::Ipv4Addr;

/// Something that must never be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// Two instances have one address.
    AddressTwice(Ipv4Addr, InstanceId, InstanceId),
    /// An address that is not the planner's to give.
    AddressNotOurs(Ipv4Addr, InstanceId),
    /// Somebody else has the address of a plain container: an instance, or another one.
    AttachedTwice(Ipv4Addr, String, PlainId),
    /// A plain container has an address that is not the planner's to give.
    AttachedNotOurs(Ipv4Addr, PlainId),
    /// Two instances have one container name.
    NameTwice(String, InstanceId, InstanceId),
    /// Two services hold one host port, or two instances whose processes bind it themselves.
    PortTwice(u16, InstanceId, InstanceId),
    /// The instances that are to run on a host reserve more memory than it has, in bytes.
    MemoryOver(HostId, u64),
    /// The instances that are to run on a host reserve more cpu than it has, in thousandths.
    CpuOver(HostId, u64),
    /// Two instances of one version are to run in one slot, neither is leaving, and both are heard.
    SlotTwice(InstanceId, InstanceId),
    /// An instance of a service that is not there.
    NoService(InstanceId),
    /// An instance of a revision that is not there.
    NoRevision(InstanceId, u32),
    /// An incarnation that was never given.
    Unknown(InstanceId),
    /// An instance that is to run on a host that is not there.
    NoHost(InstanceId),
    /// The wanted revision of a service is not there.
    NoTarget(ServiceId),
}

/// Checks everything, from nothing.
#[must_use]
pub fn audit(cluster: &Cluster) -> Vec<Violation> {
    let mut auditor = Auditor::default();
    auditor.follow(cluster);
    auditor.violations().cloned().collect()
}
