//! The labels that our containers get besides the user's: those that Rancher's clients look for,
//! and our own. Docker has them, and metadata shows them.

use super::uuid;
use crate::id::{HostId, InstanceId};
use crate::plain::NETWORK;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Rancher's word for the primary container of a service.
const PRIMARY: &str = "io.rancher.service.primary.launch.config";

/// What the labels of one container are made of.
#[derive(Clone, Copy, Debug)]
pub struct Labelled<'a> {
    /// Id of the environment.
    pub environment: &'a str,
    /// Which container.
    pub id: &'a InstanceId,
    /// Version of its service.
    pub revision: u32,
    /// Its own address, and the length of the prefix of its network; `None` when it has none.
    pub address: Option<(Ipv4Addr, u8)>,
    /// Its network is the managed one, and its own.
    pub owns_network: bool,
    /// MAC address that was asked for.
    pub mac: Option<&'a str>,
    /// Its host, when that was named.
    pub pinned: Option<&'a HostId>,
}

impl Labelled<'_> {
    /// The labels.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        let Self { environment, id, .. } = *self;
        let stack = id.service.stack.to_string();
        let (service, launch) = match &id.sidekick {
            None => (id.service.to_string(), PRIMARY.to_owned()),
            Some(name) => (format!("{}/{name}", id.service), name.to_string()),
        };
        let mut labels: BTreeMap<String, String> = [
            ("io.remuda.environment", environment.to_owned()),
            ("io.remuda.instance", id.to_string()),
            ("io.remuda.revision", self.revision.to_string()),
            ("io.rancher.environment.uuid", environment.to_owned()),
            ("io.rancher.stack.name", stack.clone()),
            ("io.rancher.stack_service.name", service.clone()),
            ("io.rancher.project.name", stack),
            ("io.rancher.project_service.name", service),
            ("io.rancher.container.name", id.public_name()),
            ("io.rancher.container.uuid", uuid(environment, "container", &id.to_string())),
            (
                "io.rancher.service.deployment.unit",
                uuid(environment, "unit", &id.instance().to_string()),
            ),
            ("io.rancher.service.launch.config", launch),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
        if self.owns_network {
            labels.insert("io.rancher.cni.network".into(), NETWORK.into());
            if let Some(mac) = self.mac {
                labels.insert("io.rancher.container.mac_address".into(), mac.to_owned());
            }
            if let Some((address, prefix)) = self.address {
                labels.insert("io.rancher.container.ip".into(), format!("{address}/{prefix}"));
            }
        }
        if let Some(host) = self.pinned {
            labels.insert("io.rancher.service.requested.host.id".into(), host.to_string());
        }
        labels
    }
}
