//! What one host should hold: an entry for each container of each instance that is placed there.

use crate::names;
use crate::parts::{Part, parts};
use crate::policy::Policies;
use crate::publish;
use model::cluster::Cluster;
use model::container_spec::{BUILT_IMAGE_LABEL, ContainerSpec, Mount, VolumesFrom};
use model::host_spec::{BalancerPlacement, Ended, HostAttachment, HostSpec, InstanceSpec};
use model::id::{HostId, InstanceId, ServiceId};
use model::instance::{Goal, Instance, Phase};
use model::metadata::labels::Labelled;
use model::plain::ContainerId;
use model::record::{Revision, Service};
use model::scaling::{Metric, Mode, Scaling};
use model::service::{Kind, LossPolicy};
use model::stack::VolumeSpec;
use model::time::Generation;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What the host should hold now; without an environment it is nothing.
#[must_use]
pub fn spec(cluster: &Cluster, host: &HostId) -> HostSpec {
    let mut spec = spec_of(cluster, host, &publish::routed_ports(cluster));
    spec.peers = publish::peers(cluster);
    spec.policy = Arc::new(Policies::of(cluster).of_host(cluster, host));
    spec
}

/// The plain containers on the host that are to be in the managed network.
pub(crate) fn attachments(
    cluster: &Cluster,
    host: &HostId,
) -> BTreeMap<ContainerId, HostAttachment> {
    let each = cluster.attachments_on(host).map(|one| {
        let apart = cluster.plain(&one.id).is_some_and(|plain| plain.network != "none");
        (one.id.container.clone(), HostAttachment { address: one.address, apart })
    });
    each.collect()
}

/// Labels of the host.
pub(crate) fn labels(cluster: &Cluster, host: &HostId) -> Arc<BTreeMap<String, String>> {
    Arc::new(cluster.host(host).map(|host| host.all_labels()).unwrap_or_default())
}

/// One container that the host should hold now.
#[must_use]
pub fn container(cluster: &Cluster, host: &HostId, id: &InstanceId) -> Option<InstanceSpec> {
    let instance = cluster.instance(&id.instance()).filter(|one| one.host == *host)?;
    held(cluster, &publish::routed_ports(cluster), instance).instances.remove(id)
}

/// The same but for the peers and the policy.
pub(crate) fn spec_of(cluster: &Cluster, host: &HostId, routed: &publish::RoutedPorts) -> HostSpec {
    let placed: Vec<&Arc<Instance>> = cluster.instances_on(host).collect();
    let environment = cluster.environment().map_or_else(publish::no_environment, |e| (**e).clone());
    let (volumes, images_kept) = belongings(cluster, &placed);
    let mut spec = HostSpec {
        generation: Generation(cluster.index().0),
        host: host.clone(),
        environment,
        instances: BTreeMap::new(),
        balancers: BTreeMap::new(),
        volumes,
        images_kept,
        attachments: attachments(cluster, host),
        policy: Arc::default(),
        labels: labels(cluster, host),
        peers: Arc::default(),
    };
    for instance in placed {
        let held = held(cluster, routed, instance);
        spec.instances.extend(held.instances);
        spec.balancers.extend(held.balancers);
    }
    spec
}

/// What a host holds of one instance.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) instances: BTreeMap<InstanceId, InstanceSpec>,
    /// The instance, when it is one.
    pub(crate) balancers: BTreeMap<InstanceId, BalancerPlacement>,
}

pub(crate) fn held(cluster: &Cluster, routed: &publish::RoutedPorts, instance: &Instance) -> Held {
    let mut held = Held::default();
    let service = &instance.id.service;
    let Some(revision) = cluster.revision(service, instance.target.revision) else { return held };
    if let Kind::Balancer(_) = &revision.template.kind {
        let placement = BalancerPlacement {
            goal: instance.goal,
            address: instance.address,
            listeners: publish::balancer_listeners(&revision.template),
        };
        held.balancers.insert(instance.id.clone(), placement);
    }
    let many_hosts = cluster.hosts().nth(1).is_some();
    let made = Made { cluster, instance, revision, service: cluster.service(service), many_hosts };
    for part in parts(instance, &revision.template) {
        let one = made.container(&part, routed);
        held.instances.insert(part.id, one);
    }
    held
}

/// The volumes that instances use, and the images that a rollback of their services needs.
pub(crate) fn belongings(
    cluster: &Cluster,
    placed: &[&Arc<Instance>],
) -> (BTreeMap<String, VolumeSpec>, BTreeSet<String>) {
    let (mut volumes, mut images) = (BTreeMap::new(), BTreeSet::new());
    let mut services: BTreeSet<&ServiceId> = BTreeSet::new();
    for instance in placed {
        let service = &instance.id.service;
        services.insert(service);
        let Some(revision) = cluster.revision(service, instance.target.revision) else { continue };
        let stack = cluster.stack(&service.stack).filter(|stack| !stack.volumes.is_empty());
        let Some(stack) = stack else { continue };
        for part in parts(instance, &revision.template) {
            for mount in &part.container.mounts {
                if let Mount::Volume { name, .. } = mount
                    && let Some(volume) = stack.volumes.get(name)
                {
                    volumes.insert(of_slot(name, instance), volume.clone());
                }
            }
        }
    }
    for service in services {
        keep_images(cluster, service, &mut images);
    }
    (volumes, images)
}

/// A volume of its own for each instance has `${n}` in its name.
fn of_slot(volume: &str, instance: &Instance) -> String {
    volume.replace("${n}", &instance.id.n.to_string())
}

/// The images of all kept revisions of a service: a rollback needs one of them.
fn keep_images(cluster: &Cluster, service: &ServiceId, kept: &mut BTreeSet<String>) {
    for revision in cluster.revisions_of(service) {
        let containers = revision.template.containers();
        kept.extend(containers.flat_map(|(_, container)| {
            let built = container.labels.get(BUILT_IMAGE_LABEL).cloned();
            [container.image.clone()].into_iter().chain(built)
        }));
    }
    if let Some(status) = cluster.service_status(service) {
        kept.extend(status.revisions.values().flat_map(|of| of.images.values().cloned()));
    }
}

/// An instance with all that its containers are made from.
struct Made<'a> {
    cluster: &'a Cluster,
    instance: &'a Instance,
    revision: &'a Revision,
    service: Option<&'a Arc<Service>>,
    many_hosts: bool,
}

impl Made<'_> {
    fn container(&self, part: &Part<'_>, routed: &publish::RoutedPorts) -> InstanceSpec {
        let instance = self.instance;
        let settings = self.service.map(|service| &service.settings);
        let stop_after_ms = match settings.and_then(|settings| settings.on_loss) {
            Some(LossPolicy::StopAfter { after_ms }) => Some(after_ms),
            _ => None,
        };
        let metric = settings.and_then(|settings| match settings.scaling {
            Some(Scaling::Load { metric, .. }) => Some(metric),
            _ => None,
        });
        let measured = matches!(metric, Some(Metric::Cpu | Metric::Memory));
        let probed = part.health_check.is_some()
            || !publish::ready_ports(routed, &instance.id.service, part).is_empty();
        let from = part.container.volumes_from.iter();
        let (image_id, image_digest) = self.image(part);
        InstanceSpec {
            goal: instance.goal,
            ordered_at: (instance.goal != Goal::Run).then_some(instance.goal_at),
            target: instance.target,
            container_name: self.container_name(&part.id),
            container: Arc::new(self.template(part)),
            address: part.address.filter(|_| part.network_of.is_none()),
            search: search(&part.id, part.container),
            system_labels: self.labels(part),
            restart: part.restart,
            stop_grace_ms: part.stop_grace_ms,
            drain_ms: self.revision.template.drain_ms,
            probed,
            network_of: part.network_of.clone(),
            namespaces_of: self.namespaces_of(part),
            volumes_from: from
                .map(|of| (instance.id.container(of.sidekick.as_ref()), of.read_only))
                .collect(),
            sidekick_of: part.name.map(|_| instance.id.clone()),
            stop_after_ms,
            settles: image_id.is_none() && self.settles(),
            image_id,
            image_digest,
            measured,
            ended: self.ended(part),
        }
    }

    /// How it has ended for good. One whose volumes others have is made again all the same: they
    /// cannot be made without it.
    fn ended(&self, part: &Part<'_>) -> Option<Ended> {
        let seen = self.cluster.instance_status(&part.id)?;
        let mut containers = self.revision.template.containers();
        let lends = |of: &VolumesFrom| self.instance.id.container(of.sidekick.as_ref()) == part.id;
        let lends = containers.any(|(_, other)| other.volumes_from.iter().any(lends));
        (seen.phase == Phase::Completed && !lends)
            .then(|| Ended { exit_code: seen.exit_code, reason: seen.reason.clone() })
    }

    /// The container's template, with what the instance's name decides.
    fn template(&self, part: &Part<'_>) -> ContainerSpec {
        let mut template = part.container.clone();
        let named = template.labels.get("io.rancher.container.hostname_override");
        if named.is_some_and(|value| value == "container_name") && part.network_of.is_none() {
            template.hostname = Some(part.id.public_name());
        }
        if template.ipc.is_none() && self.lends_memory(part) {
            template.ipc = Some("shareable".into());
        }
        for mode in [&mut template.ipc, &mut template.pid].into_iter().flatten() {
            if let Some(other) = self.sibling(mode) {
                *mode = format!("container:{}", self.container_name(&other));
            }
        }
        for mount in &mut template.mounts {
            if let Mount::Volume { name, .. } = mount {
                *name = of_slot(name, self.instance);
            }
        }
        template
    }

    /// The container of this instance that `service:<name>` means.
    fn sibling(&self, mode: &str) -> Option<InstanceId> {
        let name = mode.strip_prefix("service:")?;
        let id = &self.instance.id;
        let sidekicks = &self.revision.template.sidekicks;
        let sidekick = sidekicks.keys().find(|sidekick| sidekick.as_str() == name);
        (sidekick.is_some() || id.service.service.as_str() == name).then(|| id.container(sidekick))
    }

    fn namespaces_of(&self, part: &Part<'_>) -> BTreeSet<InstanceId> {
        let modes = [&part.container.ipc, &part.container.pid].into_iter().flatten();
        modes.filter_map(|mode| self.sibling(mode)).filter(|id| *id != part.id).collect()
    }

    /// Does another container of the instance share its memory? Docker wants to be told so.
    fn lends_memory(&self, part: &Part<'_>) -> bool {
        let mut containers = self.revision.template.containers();
        containers.any(|(_, other)| {
            other.ipc.as_deref().and_then(|mode| self.sibling(mode)).as_ref() == Some(&part.id)
        })
    }

    fn container_name(&self, id: &InstanceId) -> String {
        match id.sidekick {
            None => self.instance.container_name.clone(),
            Some(_) => names::container_name(self.cluster, id),
        }
    }

    /// The image that was settled for all hosts, by id and by digest: the one that `up` built, else
    /// what the name meant where it was looked up first. A restart of the newest revision looks it
    /// up anew: what was built or pulled under that name since is wanted there.
    fn image(&self, part: &Part<'_>) -> (Option<String>, Option<String>) {
        if let Some(built) = part.container.labels.get(BUILT_IMAGE_LABEL) {
            return (Some(built.clone()).filter(|id| !id.is_empty()), None);
        }
        let id = &self.instance.id.service;
        let status = self.cluster.service_status(id);
        let known = status.and_then(|status| status.revisions.get(&self.revision.number));
        let Some(known) = known
            .filter(|known| known.images_of == self.instance.target.restart || !self.is_newest())
        else {
            return (None, None);
        };
        let of = part.name.map_or("", |name| name.as_str());
        let filled =
            |map: &BTreeMap<String, String>| map.get(of).filter(|t| !t.is_empty()).cloned();
        (filled(&known.images), filled(&known.image_digests))
    }

    fn is_newest(&self) -> bool {
        let revisions = self.cluster.revisions_of(&self.instance.id.service);
        revisions.map(|revision| revision.number).max() == Some(self.revision.number)
    }

    /// Will the image be settled for all hosts once one of them says what the name means? Runs of
    /// jobs are alone, and so is a single host.
    fn settles(&self) -> bool {
        let service = self.service.filter(|service| service.target == self.instance.target);
        self.many_hosts && service.is_some_and(|s| !matches!(s.settings.mode, Mode::Job(_)))
    }

    fn labels(&self, part: &Part<'_>) -> BTreeMap<String, String> {
        let environment = self.cluster.environment();
        let global = self.service.is_some_and(|s| s.settings.mode == Mode::Global);
        let pinned = global || self.revision.template.placement.requested_host.is_some();
        let prefix = environment.map(|e| e.subnet.prefix_len());
        let labelled = Labelled {
            environment: environment.map(|e| e.id.as_str()).unwrap_or_default(),
            id: &part.id,
            revision: self.instance.target.revision,
            address: part.address.zip(prefix),
            owns_network: part.owns_address(),
            mac: part.container.mac_address.as_deref(),
            pinned: pinned.then_some(&self.instance.host),
        };
        labelled.labels()
    }
}

/// Search domains: what makes `api` and a sidekick's name work inside a stack. Rancher's label
/// `io.rancher.container.dns.priority` puts the user's own before them, or takes them away.
pub(crate) fn search(id: &InstanceId, container: &ContainerSpec) -> Vec<String> {
    const ZONE: &str = "rancher.internal";
    let stack = id.service.stack.as_str().to_ascii_lowercase();
    let service = format!("{}.{stack}", id.service.service.as_str().to_ascii_lowercase());
    let mut ours = vec![];
    if let Some(sidekick) = &id.sidekick {
        ours.push(format!("{}.{service}.{ZONE}", sidekick.as_str().to_ascii_lowercase()));
    }
    ours.extend([format!("{service}.{ZONE}"), format!("{stack}.{ZONE}")]);
    let mut all = match container.labels.get("io.rancher.container.dns.priority") {
        Some(word) if word == "service_last" => {
            container.dns_search.iter().cloned().chain(ours).collect()
        }
        Some(word) if word.eq_ignore_ascii_case("none") => vec![],
        _ => ours,
    };
    all.push(ZONE.into());
    all
}
