//! Who is probed, and for what: a pure function of the View and of this host's containers.

use crate::protocol::Local;
use model::health::HealthCheck;
use model::id::InstanceId;
use model::time::Timestamp;
use model::view::{HostView, ViewInstance};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Does the dataplane of this host probe it? A port that is only to listen concerns its own host
/// alone.
pub(crate) fn is_probed(view: &HostView, instance: &ViewInstance) -> bool {
    match &instance.check {
        Some(_) => instance.host == view.host || instance.probers.contains(&view.host),
        None => instance.host == view.host && !instance.ready_ports.is_empty(),
    }
}

/// All targets of this host.
pub(crate) type Targets = BTreeMap<InstanceId, Arc<Target>>;

/// A running instance that is probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) address: Ipv4Addr,
    pub(crate) what: What,
    /// Which start of it; 0 when nobody told.
    pub(crate) run: Timestamp,
}

/// What it is probed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Health, for as long as it runs.
    Check(HealthCheck),
    /// That these ports listen, once for each start.
    Ready(Vec<u16>),
}

/// Targets of a view: instances of its host that run and ask for it, and those of other hosts that
/// it is to probe as well.
pub(crate) fn targets(view: &HostView, local: &Local) -> Targets {
    let probed = view.instances.iter().filter(|(_, instance)| is_probed(view, instance));
    probed
        .filter_map(|(id, instance)| {
            let what = match &instance.check {
                Some(check) => What::Check(check.clone()),
                None if instance.ready_ports.is_empty() => return None,
                None => What::Ready(instance.ready_ports.clone()),
            };
            let run = match local.get(id) {
                _ if instance.host != view.host => instance.running.then_some(instance.run)?,
                Some(local) => local.run.as_ref()?.started_at,
                None if instance.running => Timestamp::default(),
                None => return None,
            };
            Some((id.clone(), Arc::new(Target { address: instance.address, what, run })))
        })
        .collect()
}
