//! Instances of several containers: what their host is told to hold, and what may be published.

#![expect(clippy::unwrap_used, reason = "a test may")]

use control::{cluster, host};
use model::change::{Change, Edit};
use model::cluster::Cluster;
use model::container_spec::{BUILT_IMAGE_LABEL, ContainerSpec, Mount, NetworkMode, VolumesFrom};
use model::health::Health;
use model::host::{Environment, Host, HostFacts, HostLink, Scheduling};
use model::host_spec::{Ended, HostSpec, InstanceSpec};
use model::id::InstanceId;
use model::instance::{Goal, Instance, InstanceStatus, Phase, Target};
use model::record::{
    Record, RecordKey, Revision, RevisionStatus, Rollout, Run, RunCause, RunOutcome, Service,
    ServiceSettings, ServiceStatus, Stack,
};
use model::scaling::{Metric, Mode, Scaling};
use model::service::{LossPolicy, PortMapping, RestartPolicy, Sidekick, Template, Transport};
use model::stack::VolumeSpec;
use model::time::{Index, Timestamp};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

const NOW: Timestamp = Timestamp(1_000_000);
const UNIT: &str = "shop/web#2@9";

fn sidekick(container: ContainerSpec) -> Sidekick {
    Sidekick {
        container,
        ports: vec![],
        health_check: None,
        restart: RestartPolicy::Always,
        stop_grace_ms: 3_000,
    }
}

fn port(host_port: u16, container_port: u16) -> PortMapping {
    PortMapping {
        host_ip: None,
        host_port: Some(host_port),
        container_port,
        protocol: Transport::Tcp,
    }
}

/// `web` with `log` in its network and with its volumes, and `cache` in a network of its own.
fn template() -> Template {
    let mut template = Template::of_container(ContainerSpec {
        image: "web:1".into(),
        mac_address: Some("02:42:0a:2a:00:09".into()),
        mounts: vec![Mount::Volume {
            name: "shop_data_${n}".into(),
            target: "/data".into(),
            read_only: false,
            nocopy: false,
        }],
        ..ContainerSpec::default()
    });
    template.ports = vec![port(8080, 80)];
    let log = ContainerSpec {
        image: "log:1".into(),
        network: NetworkMode::Sibling(None),
        volumes_from: vec![VolumesFrom { sidekick: None, read_only: true }],
        pid: Some("service:web".into()),
        ipc: Some("service:cache".into()),
        dns_search: vec!["corp".into()],
        ..ContainerSpec::default()
    };
    let cache = ContainerSpec { image: "cache:1".into(), ..ContainerSpec::default() };
    template.sidekicks.insert("log".parse().unwrap(), sidekick(log));
    let mut cache = sidekick(cache);
    cache.ports = vec![port(6379, 6379)];
    cache.restart = RestartPolicy::Once;
    template.sidekicks.insert("cache".parse().unwrap(), cache);
    template
}

/// Records of one service and its one instance on `alpha`, to be changed before they are put.
struct Unit {
    template: Template,
    service: Service,
    instance: Instance,
    status: ServiceStatus,
    seen: Vec<(&'static str, InstanceStatus)>,
}

impl Unit {
    fn new() -> Self {
        let id: InstanceId = UNIT.parse().unwrap();
        let target = Target { revision: 1, restart: 0 };
        let service = Service {
            id: id.service.clone(),
            settings: ServiceSettings::default(),
            scale: 2,
            target,
            attempt: 0,
            orders: model::record::Orders::default(),
            goal: Goal::Run,
            created_at: NOW,
        };
        let address = |n| Ipv4Addr::new(10, 42, 0, n);
        let instance = Instance {
            id: id.clone(),
            host: "alpha".parse().unwrap(),
            address: Some(address(9)),
            sidekick_addresses: BTreeMap::from([("cache".parse().unwrap(), address(10))]),
            container_name: "shop-web-2-abcdef".into(),
            target,
            ports: vec![port(8080, 80), port(6379, 6379)],
            goal: Goal::Run,
            leaving: false,
            dropped: vec![],
            reason: String::new(),
            placed_at: NOW,
            goal_at: NOW,
        };
        let status = ServiceStatus { incarnations: 9, ..ServiceStatus::new(id.service) };
        Self { template: template(), service, instance, status, seen: vec![] }
    }

    fn cluster(&self) -> Cluster {
        let environment = Environment {
            id: "e1".into(),
            name: "default".into(),
            subnet: "10.42.0.0/16".parse().unwrap(),
            rebalance: model::host::Rebalance::default(),
            overlay: model::host::OverlayMode::default(),
            policy: model::policy::NetworkPolicy::default(),
            keys: Default::default(),
            dns: Default::default(),
            expose: Default::default(),
            consul: Default::default(),
        };
        let host = Host {
            id: "alpha".parse().unwrap(),
            facts: HostFacts { cpus: 4, memory: 4 << 30, ..HostFacts::default() },
            status: HostLink::Active,
            changed_at: NOW,
            unheard_since: NOW,
            scheduling: Scheduling::Active,
            labels: BTreeMap::new(),
            reason: String::new(),
            membership: model::host::Membership::default(),
        };
        let stack = Stack {
            name: "shop".parse().unwrap(),
            volumes: BTreeMap::from([("shop_data_${n}".into(), VolumeSpec::default())]),
            created_at: NOW,
        };
        let mut records = vec![
            Record::Environment(Arc::new(environment)),
            Record::Host(Arc::new(host)),
            Record::Stack(Arc::new(stack)),
            Record::Service(Arc::new(self.service.clone())),
            Record::ServiceStatus(Arc::new(self.status.clone())),
            Record::Instance(Arc::new(self.instance.clone())),
        ];
        for number in 1..=2 {
            let mut template = self.template.clone();
            if let (2, model::service::Kind::Container(container)) = (number, &mut template.kind) {
                container.image = "web:2".into();
            }
            let service = self.service.id.clone();
            let revision = Revision { service, number, template, created_at: NOW };
            records.push(Record::Revision(Arc::new(revision)));
        }
        for (id, seen) in &self.seen {
            let status = Arc::new(seen.clone());
            records.push(Record::InstanceStatus(id.parse().unwrap(), status));
        }
        let mut cluster = Cluster::default();
        let edits = records.into_iter().map(Edit::Put).collect();
        cluster.apply(Index(7), &Change { edits });
        cluster
    }

    fn spec(&self) -> HostSpec {
        host::spec(&self.cluster(), &"alpha".parse().unwrap())
    }

    fn containers(&self) -> BTreeMap<String, InstanceSpec> {
        let spec = self.spec();
        let name = |id: &InstanceId| id.sidekick.as_ref().map_or("web".into(), ToString::to_string);
        spec.instances.into_iter().map(|(id, one)| (name(&id), one)).collect()
    }
}

fn id(text: &str) -> InstanceId {
    text.parse().unwrap()
}

#[test]
fn each_container_of_a_unit_has_its_entry() {
    let all = Unit::new().containers();
    let names: Vec<&str> = all.keys().map(String::as_str).collect();
    assert_eq!(names, ["cache", "log", "web"]);
    let (web, log, cache) = (&all["web"], &all["log"], &all["cache"]);
    assert_eq!(web.container_name, "shop-web-2-abcdef");
    assert!(log.container_name.starts_with("shop-web-log-2-"), "{}", log.container_name);
    assert!(cache.container_name.starts_with("shop-web-cache-2-"));
    assert_eq!((web.network_of.as_ref(), web.sidekick_of.as_ref()), (None, None));
    assert_eq!(log.network_of, Some(id(UNIT)));
    assert_eq!(log.sidekick_of, Some(id(UNIT)));
    assert_eq!(log.volumes_from, [(id(UNIT), true)]);
    assert_eq!(log.container.pid.as_deref(), Some("container:shop-web-2-abcdef"));
    assert_eq!(log.container.ipc, Some(format!("container:{}", cache.container_name)));
    assert_eq!(cache.container.ipc.as_deref(), Some("shareable"), "docker wants to be told");
    assert_eq!(log.namespaces_of, [id(UNIT), id("shop/web#2@9+cache")].into());
    assert_eq!(web.address, Some(Ipv4Addr::new(10, 42, 0, 9)));
    assert_eq!(log.address, None, "it has that of its primary");
    assert_eq!(cache.address, Some(Ipv4Addr::new(10, 42, 0, 10)));
    assert_eq!((cache.restart, cache.stop_grace_ms), (RestartPolicy::Once, 3_000));
    // A port of its own must listen before it gets a request.
    assert_eq!((web.probed, log.probed, cache.probed), (true, false, true));
}

#[test]
fn what_has_run_to_its_end_is_said_so_unless_others_need_its_volumes() {
    let mut unit = Unit::new();
    let seen = |phase| InstanceStatus { phase, exit_code: Some(0), ..InstanceStatus::default() };
    unit.seen = vec![
        (UNIT, seen(Phase::Completed)),
        ("shop/web#2@9+cache", seen(Phase::Completed)),
        ("shop/web#2@9+log", seen(Phase::Failed)),
    ];
    let all = unit.containers();
    let ended = Ended { exit_code: Some(0), reason: String::new() };
    assert_eq!(all["cache"].ended, Some(ended));
    assert_eq!(all["web"].ended, None, "log cannot be made without its volumes");
    assert_eq!(all["log"].ended, None, "it has failed, and may be tried again");
}

#[test]
fn labels_are_ranchers() {
    let all = Unit::new().containers();
    for (container, label, value) in [
        ("web", "io.rancher.stack.name", "shop"),
        ("web", "io.rancher.project.name", "shop"),
        ("web", "io.rancher.stack_service.name", "shop/web"),
        ("log", "io.rancher.stack_service.name", "shop/web/log"),
        ("web", "io.rancher.project_service.name", "shop/web"),
        ("log", "io.rancher.project_service.name", "shop/web/log"),
        ("web", "io.rancher.service.launch.config", "io.rancher.service.primary.launch.config"),
        ("log", "io.rancher.service.launch.config", "log"),
        ("web", "io.rancher.container.name", "shop-web-2"),
        ("log", "io.rancher.container.name", "shop-web-log-2"),
        ("web", "io.rancher.container.ip", "10.42.0.9/16"),
        ("cache", "io.rancher.container.ip", "10.42.0.10/16"),
        ("log", "io.rancher.container.ip", ""),
        ("web", "io.rancher.container.mac_address", "02:42:0a:2a:00:09"),
        ("cache", "io.rancher.container.mac_address", ""),
        ("web", "io.rancher.cni.network", "remuda"),
        ("log", "io.rancher.cni.network", ""),
        ("web", "io.rancher.environment.uuid", "e1"),
        ("web", "io.rancher.service.requested.host.id", ""),
        ("log", "io.remuda.instance", "shop/web#2@9+log"),
        ("web", "io.remuda.revision", "1"),
    ] {
        let found = all[container].system_labels.get(label).map_or("", String::as_str);
        assert_eq!(found, value, "{container}: {label}");
    }
    let of = |container: &str, label: &str| all[container].system_labels[label].clone();
    let (unit, uuid) = ("io.rancher.service.deployment.unit", "io.rancher.container.uuid");
    assert_eq!(of("web", unit), of("log", unit), "one unit");
    assert_ne!(of("web", uuid), of("log", uuid));
    let mut global = Unit::new();
    global.service.settings.mode = Mode::Global;
    let label = "io.rancher.service.requested.host.id";
    assert_eq!(global.containers()["log"].system_labels[label], "alpha");
}

#[test]
fn labels_of_the_user_that_need_the_instance_are_carried_out() {
    let mut unit = Unit::new();
    let search = |unit: &Unit| unit.containers()["log"].search.clone();
    let full =
        ["log.web.shop.rancher.internal", "web.shop.rancher.internal", "shop.rancher.internal"];
    let zone = "rancher.internal";
    assert_eq!(search(&unit), [&full[..], &[zone]].concat());
    for (value, expect) in [
        ("service_last", [&["corp"], &full[..], &[zone]].concat()),
        ("None", vec![zone]),
        ("nonsense", [&full[..], &[zone]].concat()),
    ] {
        let log = unit
            .template
            .sidekicks
            .get_mut("log".parse::<model::id::ServiceName>().as_ref().unwrap());
        let labels = &mut log.unwrap().container.labels;
        labels.insert("io.rancher.container.dns.priority".into(), value.into());
        assert_eq!(search(&unit), expect, "{value}");
    }
    for container in unit.template.sidekicks.values_mut() {
        let labels = &mut container.container.labels;
        labels.insert("io.rancher.container.hostname_override".into(), "container_name".into());
    }
    let all = unit.containers();
    assert_eq!(all["cache"].container.hostname.as_deref(), Some("shop-web-cache-2"));
    assert_eq!(all["log"].container.hostname, None, "it has the host name of its primary");
}

#[test]
fn a_volume_of_its_own_for_each_instance_has_the_slot_in_its_name() {
    let spec = Unit::new().spec();
    assert_eq!(spec.volumes.keys().collect::<Vec<_>>(), ["shop_data_2"]);
    let Mount::Volume { name, .. } = &spec.instances[&id(UNIT)].container.mounts[0] else {
        unreachable!("it is a volume")
    };
    assert_eq!(name, "shop_data_2");
}

#[test]
fn an_older_revision_runs_the_very_image_that_it_ran() {
    let mut unit = Unit::new();
    let images = [("", "sha256:web"), ("log", "sha256:log")];
    let images = images.map(|(name, image)| (name.to_owned(), image.to_owned())).into();
    unit.status.revisions.insert(1, RevisionStatus { images, ..RevisionStatus::default() });
    let image = |unit: &Unit, name: &str| unit.containers()[name].image_id.clone();
    assert_eq!(image(&unit, "web").as_deref(), Some("sha256:web"));
    assert_eq!(image(&unit, "log").as_deref(), Some("sha256:log"));
    assert_eq!(image(&unit, "cache"), None, "it was never seen");
    let kept: Vec<String> = unit.spec().images_kept.into_iter().collect();
    assert_eq!(kept, ["cache:1", "log:1", "sha256:log", "sha256:web", "web:1", "web:2"]);
    // The newest one too, until it is restarted: then a name may mean another image.
    let mut newest = Unit::new();
    newest.instance.target.revision = 2;
    let mut known = unit.status.revisions[&1].clone();
    known.image_digests = [(String::new(), "web@sha256:dd".to_owned())].into();
    newest.status.revisions.insert(2, known);
    assert_eq!(image(&newest, "web").as_deref(), Some("sha256:web"));
    assert_eq!(newest.containers()["web"].image_digest.as_deref(), Some("web@sha256:dd"));
    newest.instance.target.restart = 1;
    assert_eq!(image(&newest, "web"), None, "a tag may have been built or pulled anew");
    unit.instance.target.restart = 1;
    assert_eq!(image(&unit, "web").as_deref(), Some("sha256:web"), "an older one is what it was");
}

#[test]
fn an_image_that_was_built_is_the_one_that_was_built() {
    let mut unit = Unit::new();
    let model::service::Kind::Container(container) = &mut unit.template.kind else {
        unreachable!("it is a container")
    };
    container.labels.insert(BUILT_IMAGE_LABEL.into(), "sha256:built".into());
    let images = [(String::new(), "sha256:other".to_owned())].into();
    unit.status.revisions.insert(1, RevisionStatus { images, ..RevisionStatus::default() });
    assert_eq!(unit.containers()["web"].image_id.as_deref(), Some("sha256:built"));
    assert!(unit.spec().images_kept.contains("sha256:built"));
}

#[test]
fn what_the_service_says_of_loss_and_load_goes_to_each_container() {
    let mut unit = Unit::new();
    unit.service.settings.on_loss = Some(LossPolicy::StopAfter { after_ms: 30_000 });
    let policy = Scaling::Load {
        min: 1,
        max: 4,
        metric: Metric::Cpu,
        target: 70,
        down_after_ms: 60_000,
        up_after_ms: 10_000,
    };
    unit.service.settings.scaling = Some(policy);
    for (name, one) in unit.containers() {
        assert_eq!((one.stop_after_ms, one.measured), (Some(30_000), true), "{name}");
    }
    unit.service.settings.scaling = Some(match policy {
        Scaling::Load { min, max, target, down_after_ms, up_after_ms, .. } => {
            let metric = Metric::Requests;
            Scaling::Load { min, max, metric, target, down_after_ms, up_after_ms }
        }
        other => other,
    });
    for (name, one) in unit.containers() {
        assert!(!one.measured, "{name}: requests are counted by the dataplane");
    }
    unit.service.settings.on_loss = Some(LossPolicy::Keep);
    unit.service.settings.scaling = None;
    for (name, one) in unit.containers() {
        assert_eq!((one.stop_after_ms, one.measured), (None, false), "{name}");
    }
}

#[test]
fn networks_are_followed_to_their_owner_and_circles_are_shown() {
    let mut unit = Unit::new();
    let on = |name: &str| NetworkMode::Sibling(Some(name.parse().unwrap()));
    let set = |unit: &mut Unit, name: &str, mode| {
        let name = name.parse().unwrap();
        unit.template.sidekicks.get_mut(&name).unwrap().container.network = mode;
    };
    set(&mut unit, "cache", on("log"));
    assert_eq!(unit.containers()["cache"].network_of, Some(id(UNIT)), "the last of the chain");
    set(&mut unit, "log", on("cache"));
    assert_eq!(unit.containers()["cache"].network_of, Some(id("shop/web#2@9+log")));
    set(&mut unit, "log", on("nobody"));
    assert_eq!(unit.containers()["log"].network_of, Some(id("shop/web#2@9+nobody")));
}

#[test]
fn an_instance_is_forgotten_when_all_of_its_containers_are_gone() {
    let seen = |phase| InstanceStatus { phase, ..InstanceStatus::default() };
    let deleted = |unit: &Unit| -> Vec<String> {
        let proposals = cluster::plan(&unit.cluster(), NOW).proposals;
        let edits = proposals.into_iter().flat_map(|proposal| proposal.change.edits);
        let keys = edits.filter_map(|edit| match edit {
            Edit::Delete(key @ (RecordKey::Instance(_) | RecordKey::InstanceStatus(_))) => {
                Some(key.to_string())
            }
            _ => None,
        });
        keys.collect()
    };
    let mut unit = Unit::new();
    unit.service.scale = 0;
    unit.instance.goal = Goal::Remove;
    unit.seen = vec![
        (UNIT, seen(Phase::Absent)),
        ("shop/web#2@9+log", seen(Phase::Draining)),
        ("shop/web#2@9+cache", seen(Phase::Absent)),
    ];
    assert!(deleted(&unit).is_empty(), "the log runs");
    unit.seen[1].1.phase = Phase::Absent;
    let mut all = deleted(&unit);
    all.sort();
    let expect = [
        "instance-status/shop/web#2@9",
        "instance-status/shop/web#2@9+cache",
        "instance-status/shop/web#2@9+log",
        "instance/shop/web#2@9",
    ];
    assert_eq!(all, expect);
    unit.seen = vec![("shop/web#1@3+log", seen(Phase::Absent))];
    assert_eq!(deleted(&unit), ["instance-status/shop/web#1@3+log"], "nothing stands behind it");
}

#[test]
fn a_primary_without_a_check_settles_whatever_its_sidekick_says() {
    let seen = |health| InstanceStatus {
        phase: Phase::Running,
        health,
        changed_at: Timestamp(NOW.0 - 10),
        ..InstanceStatus::default()
    };
    let mut unit = Unit::new();
    unit.status.rollout =
        Rollout::Running { target: unit.service.target, before: None, since: NOW };
    unit.seen = vec![
        (UNIT, seen(Health::Unchecked)),
        ("shop/web#2@9+log", seen(Health::Healthy)),
        ("shop/web#2@9+cache", seen(Health::Healthy)),
    ];
    let plan = cluster::plan(&unit.cluster(), NOW);
    assert!(plan.wake_at.is_some_and(|at| at > NOW), "it settles first: {:?}", plan.wake_at);
    for (_, one) in &mut unit.seen {
        one.changed_at = Timestamp(NOW.0 - 60_000);
    }
    let plan = cluster::plan(&unit.cluster(), NOW);
    assert_eq!(plan.wake_at, None, "and is ready then");
}

#[test]
fn a_run_that_fails_by_one_of_its_containers_ends_with_all_of_them() {
    let mut unit = Unit::new();
    unit.service.settings.mode = Mode::Job(Box::default());
    unit.status.runs_made = 2;
    let run = |number, incarnation, outcome| Run {
        number,
        due: NOW,
        cause: RunCause::Hand,
        incarnation,
        ended_at: None,
        outcome,
    };
    // The next one waits until nothing of this one is there any more.
    unit.status.runs =
        vec![run(1, Some(9), RunOutcome::Running), run(2, None, RunOutcome::Waiting)];
    let seen = |phase| InstanceStatus { phase, ..InstanceStatus::default() };
    unit.seen = vec![
        (UNIT, seen(Phase::Running)),
        ("shop/web#2@9+log", seen(Phase::Failed)),
        ("shop/web#2@9+cache", seen(Phase::Running)),
    ];
    let proposals = cluster::plan(&unit.cluster(), NOW).proposals;
    let edits = proposals.iter().flat_map(|proposal| &proposal.change.edits);
    let mut goals = edits.filter_map(|edit| match edit {
        Edit::Put(Record::Instance(instance)) => Some((instance.goal, instance.reason.as_str())),
        _ => None,
    });
    assert_eq!(goals.next(), Some((Goal::Stop, "sidekick log is failed")));
    assert_eq!(goals.next(), None);
}
