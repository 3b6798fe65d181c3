//! One host: what it should hold (`spec`, on the server), and the next actions to get there
//! (`plan`, on the agent).

mod plan;

pub use plan::{
    Action, Busy, BusyKind, HostPlan, Memo, Probe, Seen, SeenContainer, SeenInstance, plan,
};

use crate::publish;
use model::cluster::Cluster;
use model::host_spec::{BalancerPlacement, HostSpec, InstanceSpec};
use model::id::HostId;
use model::instance::Instance;
use model::service::{Kind, Template};
use model::time::Generation;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What the host should hold now.
///
/// # Panics
/// Never: a cluster without an environment gives an empty spec.
#[must_use]
pub fn spec(cluster: &Cluster, host: &HostId) -> HostSpec {
    let environment = cluster.environment().map_or_else(publish::no_environment, |e| (**e).clone());
    let mut spec = HostSpec {
        generation: Generation(cluster.index().0),
        host: host.clone(),
        environment,
        instances: BTreeMap::new(),
        balancers: BTreeMap::new(),
        volumes: BTreeMap::new(),
        images_kept: BTreeSet::new(),
    };
    let routed = publish::routed_ports(cluster);
    for instance in cluster.instances().filter(|instance| instance.host == *host) {
        let service = &instance.id.service;
        let Some(revision) = cluster.revision(service, instance.target.revision) else { continue };
        match &revision.template.kind {
            Kind::Balancer(_) => {
                let placement = BalancerPlacement {
                    goal: instance.goal,
                    address: instance.address,
                    listeners: publish::balancer_listeners(&revision.template),
                };
                spec.balancers.insert(instance.id.clone(), placement);
            }
            Kind::Container(container) => {
                let one = InstanceSpec {
                    goal: instance.goal,
                    target: instance.target,
                    container_name: instance.container_name.clone(),
                    container: Arc::new((**container).clone()),
                    address: instance.address,
                    search: search(instance),
                    system_labels: labels(cluster, instance),
                    restart: revision.template.restart,
                    stop_grace_ms: revision.template.stop_grace_ms,
                    drain_ms: revision.template.drain_ms,
                    probed: is_probed(&routed, instance, &revision.template),
                    network_of: None,
                    volumes_from: vec![],
                    sidekick_of: None,
                    stop_after_ms: None,
                    image_id: None,
                    measured: false,
                };
                volumes(cluster, &one, instance, &mut spec);
                spec.instances.insert(instance.id.clone(), one);
            }
            Kind::External(_) | Kind::Alias(_) => {}
        }
    }
    spec
}

/// Does the dataplane probe it, so that its health comes from there?
fn is_probed(routed: &publish::RoutedPorts, instance: &Instance, template: &Template) -> bool {
    template.health_check.is_some() || !publish::ready_ports(routed, instance, template).is_empty()
}

fn volumes(cluster: &Cluster, one: &InstanceSpec, instance: &Instance, spec: &mut HostSpec) {
    let Some(stack) = cluster.stack(&instance.id.service.stack) else { return };
    for mount in &one.container.mounts {
        if let model::container_spec::Mount::Volume { name, .. } = mount
            && let Some(volume) = stack.volumes.get(name)
        {
            spec.volumes.insert(name.clone(), volume.clone());
        }
    }
}

/// Search domains: what makes `api` and a sidekick's name work inside a stack.
pub(crate) fn search(instance: &Instance) -> Vec<String> {
    let stack = instance.id.service.stack.as_str().to_ascii_lowercase();
    let service = instance.id.service.service.as_str().to_ascii_lowercase();
    vec![
        format!("{service}.{stack}.rancher.internal"),
        format!("{stack}.rancher.internal"),
        "rancher.internal".into(),
    ]
}

fn labels(cluster: &Cluster, instance: &Instance) -> BTreeMap<String, String> {
    let id = &instance.id;
    let environment = cluster.environment().map(|e| e.id.clone()).unwrap_or_default();
    let stack = id.service.stack.to_string();
    let mut labels: BTreeMap<String, String> = [
        ("io.remuda.environment", environment.clone()),
        ("io.remuda.instance", id.to_string()),
        ("io.remuda.revision", instance.target.revision.to_string()),
        ("io.rancher.environment.uuid", environment),
        ("io.rancher.stack.name", stack.clone()),
        ("io.rancher.stack_service.name", id.service.to_string()),
        ("io.rancher.project.name", stack),
        ("io.rancher.project_service.name", id.service.to_string()),
        ("io.rancher.container.name", id.public_name()),
        ("io.rancher.service.launch.config", "io.rancher.service.primary.launch.config".into()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect();
    if let (Some(address), Some(environment)) = (instance.address, cluster.environment()) {
        let prefix = environment.subnet.prefix_len();
        labels.insert("io.rancher.container.ip".into(), format!("{address}/{prefix}"));
    }
    labels
}
