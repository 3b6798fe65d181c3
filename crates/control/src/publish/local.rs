//! What is a host's own: its ports and balancers, and what belongs to what it holds.

use super::{CONNECT_TIMEOUT_MS, catalog, listener_id, routes};
use crate::catalog::checks;
use crate::floating;
use crate::host::{attachments, belongings, labels};
use crate::parts::parts;
use model::cluster::Cluster;
use model::floating::FloatingSeat;
use model::host_spec::HostAttachment;
use model::id::{HostId, InstanceId};
use model::instance::Instance;
use model::plain::ContainerId;
use model::registration::CheckWish;
use model::service::{PortMapping, Transport};
use model::stack::VolumeSpec;
use model::view::{Endpoint, Listener, ListenerMode, Upstream};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// How the ids of upstreams of host ports begin.
const HOST_PORT: &str = "host:";

/// Of one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Local {
    pub(super) upstreams: BTreeMap<String, Upstream>,
    pub(super) listeners: BTreeMap<String, Listener>,
    pub(super) volumes: BTreeMap<String, VolumeSpec>,
    pub(super) images_kept: BTreeSet<String>,
    pub(super) attachments: BTreeMap<ContainerId, HostAttachment>,
    pub(super) labels: Arc<BTreeMap<String, String>>,
    /// Without keys.
    pub(super) floating: BTreeMap<Ipv4Addr, FloatingSeat>,
    pub(super) checks: BTreeMap<String, Arc<CheckWish>>,
}

impl Local {
    pub(super) fn of(cluster: &Cluster, host: &HostId) -> Self {
        let placed: Vec<&Arc<Instance>> = cluster.instances_on(host).collect();
        let (volumes, images_kept) = belongings(cluster, &placed);
        let (attachments, labels) = (attachments(cluster, host), labels(cluster, host));
        let mut local = Self { volumes, images_kept, attachments, labels, ..Self::default() };
        local.add_host_ports(cluster, &placed);
        routes::add_balancers(cluster, &placed, &mut local);
        local.add_seats(cluster, host);
        local.checks = checks::wishes(cluster, host);
        local
    }

    /// Floating addresses. Where the service has ports of its own, one of them must lead somewhere.
    fn add_seats(&mut self, cluster: &Cluster, host: &HostId) {
        for one in cluster.floatings() {
            let Some(mut seat) = floating::seat(one, host) else { continue };
            let own = self.upstreams.iter().filter(|(id, upstream)| {
                let mut of = upstream.endpoints.iter().map(|end| &end.instance.service);
                id.starts_with(HOST_PORT) && of.any(|of| Some(of) == one.service.as_ref())
            });
            seat.upstreams = own.map(|(id, _)| id.clone()).collect();
            self.floating.insert(one.address, seat);
        }
    }

    /// Host ports of containers: one listener for all instances of a service on this host.
    fn add_host_ports(&mut self, cluster: &Cluster, placed: &[&Arc<Instance>]) {
        for instance in placed {
            let service = &instance.id.service;
            let revision = cluster.revision(service, instance.target.revision);
            let Some(revision) = revision.filter(|_| !instance.ports.is_empty()) else { continue };
            let drain_ms = revision.template.drain_ms;
            let listing = catalog::listing(cluster, instance);
            for part in parts(instance, &revision.template) {
                if listing.iter().any(|(id, _)| *id == part.id) {
                    part.ports.iter().for_each(|port| self.add_host_port(&part.id, port, drain_ms));
                }
            }
        }
    }

    fn add_host_port(&mut self, of: &InstanceId, port: &PortMapping, drain_ms: u64) {
        let Some(number) = port.host_port else { return };
        let id = listener_id(port.host_ip, number, port.protocol);
        let upstream = format!("{HOST_PORT}{id}");
        let empty = Upstream::empty(CONNECT_TIMEOUT_MS, drain_ms);
        let endpoint = Endpoint { instance: of.clone(), port: port.container_port, weight: 1 };
        self.upstreams.entry(upstream.clone()).or_insert(empty).endpoints.push(endpoint);
        self.listeners.entry(id).or_insert_with(|| Listener {
            ip: port.host_ip,
            port: number,
            transport: port.protocol,
            mode: match port.protocol {
                Transport::Tcp => ListenerMode::Port { upstream },
                Transport::Udp => ListenerMode::Forward { upstream },
            },
        });
    }
}
