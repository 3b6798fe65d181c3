//! The scheduler against tables of Rancher's labels, and against an oracle that knows no indexes.

mod labels;
mod oracle;
mod properties;
mod room;
mod wakes;

use super::{Ask, Fleet, Place, Unplaced};
use model::change::{Change, Edit};
use model::cluster::Cluster;
use model::container_spec::ContainerSpec;
use model::host::{Environment, Host, HostFacts, HostLink, Scheduling};
use model::id::{HostId, InstanceId, ServiceId};
use model::instance::{Goal, Instance, Target};
use model::placement::{Constraint, Subject};
use model::record::{Orders, Record, RecordKey, Revision, Service, ServiceSettings, ServiceStatus};
use model::service::{Kind, PortMapping, Sidekick, Template, Transport};
use model::time::{Index, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A cluster and the fleet that follows it change by change.
pub(super) struct World {
    pub(super) cluster: Cluster,
    pub(super) fleet: Fleet,
}

pub(super) fn id(name: &str) -> ServiceId {
    match name.contains('/') {
        true => name.parse().unwrap(),
        false => format!("shop/{name}").parse().unwrap(),
    }
}

fn pairs(text: &str) -> BTreeMap<String, String> {
    let pair = |word: &str| {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        (key.to_owned(), value.to_owned())
    };
    text.split_whitespace().map(pair).collect()
}

pub(super) fn port(
    host_ip: Option<&str>,
    host_port: Option<u16>,
    container_port: u16,
) -> PortMapping {
    let host_ip = host_ip.map(|ip| ip.parse().unwrap());
    PortMapping { host_ip, host_port, container_port, protocol: Transport::Tcp }
}

/// A template of one container; its labels as `k=v k2=v2`.
pub(super) fn template(labels: &str) -> Template {
    Template::of_container(ContainerSpec { labels: pairs(labels), ..ContainerSpec::default() })
}

pub(super) fn container(template: &mut Template) -> &mut ContainerSpec {
    match &mut template.kind {
        Kind::Container(container) => container,
        _ => panic!("no container"),
    }
}

pub(super) fn sidekick(container: ContainerSpec, ports: Vec<PortMapping>) -> Sidekick {
    Sidekick {
        container,
        ports,
        health_check: None,
        restart: model::service::RestartPolicy::default(),
        stop_grace_ms: 1_000,
    }
}

/// `host_label_soft_ne zone=a`: Rancher's label after `io.rancher.scheduler.affinity:`.
pub(super) fn constraint(text: &str) -> Constraint {
    let (word, rest) = text.split_once(' ').unwrap();
    let negated = word.ends_with("_ne");
    let word = word.trim_end_matches("_ne");
    let soft = word.ends_with("_soft");
    let (key, value) = match rest.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (rest.to_owned(), None),
    };
    let on = match word.trim_end_matches("_soft") {
        "host_label" => Subject::HostLabel { key, value },
        "container_label" => Subject::ContainerLabel { key, value },
        "container" => Subject::Container { name: rest.to_owned() },
        "host" => Subject::Host { name: rest.to_owned() },
        other => panic!("what is {other}?"),
    };
    Constraint { on, negated, soft }
}

pub(super) fn host(name: &str, labels: &str, cpus: u32, memory: u64) -> Host {
    Host {
        id: name.parse().unwrap(),
        facts: HostFacts {
            hostname: format!("{name}.Example"),
            cpus,
            memory,
            ..HostFacts::default()
        },
        status: HostLink::Active,
        changed_at: Timestamp(0),
        unheard_since: Timestamp(0),
        scheduling: Scheduling::Active,
        labels: pairs(labels),
        reason: String::new(),
        membership: model::host::Membership::default(),
    }
}

impl World {
    /// Hosts as `a zone=x Disk=SSD`, each with 4 cores and 4 GiB.
    pub(super) fn new(hosts: &[&str]) -> Self {
        let mut world = Self { cluster: Cluster::default(), fleet: Fleet::default() };
        let environment = Environment {
            id: "e1".into(),
            name: "default".into(),
            subnet: "10.42.0.0/16".parse().unwrap(),
            rebalance: model::host::Rebalance::Off,
            overlay: model::host::OverlayMode::default(),
            policy: model::policy::NetworkPolicy::default(),
            keys: Default::default(),
            dns: Default::default(),
            expose: Default::default(),
            consul: Default::default(),
        };
        world.put(Record::Environment(Arc::new(environment)));
        for line in hosts {
            let (name, labels) = line.split_once(' ').unwrap_or((line, ""));
            world.put(Record::Host(Arc::new(host(name, labels, 4, 4 << 30))));
        }
        world
    }

    pub(super) fn put(&mut self, record: Record) {
        self.edit(Edit::Put(record));
    }

    pub(super) fn edit(&mut self, edit: Edit) {
        let key = edit.key();
        let index = Index(self.cluster.index().0 + 1);
        self.cluster.apply(index, &Change { edits: vec![edit] });
        self.fleet.note(&self.cluster, [&key]);
    }

    pub(super) fn revise(&mut self, service: &ServiceId, number: u32, template: &Template) {
        self.put(Record::Service(Arc::new(Service {
            id: service.clone(),
            settings: ServiceSettings::default(),
            scale: 1,
            target: Target { revision: number, restart: 0 },
            attempt: 0,
            orders: Orders::default(),
            goal: Goal::Run,
            created_at: Timestamp(0),
        })));
        self.put(Record::Revision(Arc::new(Revision {
            service: service.clone(),
            number,
            template: template.clone(),
            created_at: Timestamp(0),
        })));
    }

    pub(super) fn change_host(&mut self, name: &str, change: impl Fn(&mut Host)) {
        let mut host = (**self.cluster.host(&name.parse().unwrap()).unwrap()).clone();
        change(&mut host);
        self.put(Record::Host(Arc::new(host)));
    }

    pub(super) fn remove(&mut self, id: &InstanceId) {
        self.edit(Edit::Delete(RecordKey::Instance(id.clone())));
    }

    pub(super) fn set_goal(&mut self, id: &InstanceId, goal: Goal) {
        let mut instance = (**self.cluster.instance(id).unwrap()).clone();
        instance.goal = goal;
        self.put(Record::Instance(Arc::new(instance)));
    }

    pub(super) fn ask<'a>(service: &'a ServiceId, template: &'a Template, n: u32) -> Ask<'a> {
        Ask { service, revision: 1, template, n, before: None, pin: None, prefer: vec![], more: 1 }
    }

    /// Puts what was chosen into the cluster.
    pub(super) fn commit(&mut self, ask: &Ask<'_>, place: Place) -> Arc<Instance> {
        let known = self.cluster.service_status(ask.service).map_or(0, |s| s.incarnations);
        let mut status = ServiceStatus::new(ask.service.clone());
        status.incarnations = known + 1;
        let instance = Arc::new(Instance {
            id: InstanceId::new(ask.service.clone(), ask.n, known + 1),
            host: place.host,
            address: place.address,
            sidekick_addresses: place.sidekick_addresses,
            container_name: format!(
                "{}-{}-{}-abcdef",
                ask.service.stack, ask.service.service, ask.n
            ),
            target: Target { revision: ask.revision, restart: 0 },
            ports: place.ports,
            goal: Goal::Run,
            leaving: false,
            dropped: place.dropped,
            reason: String::new(),
            placed_at: Timestamp(0),
            goal_at: Timestamp(0),
        });
        // As the planner does it: first taken in the plan, then noted from the cluster.
        self.fleet.take(&self.cluster, &instance);
        self.put(Record::Instance(Arc::clone(&instance)));
        self.put(Record::ServiceStatus(Arc::new(status)));
        instance
    }

    /// Places one instance of a service with its first revision.
    pub(super) fn place(
        &mut self,
        service: &ServiceId,
        template: &Template,
        n: u32,
    ) -> Result<Arc<Instance>, Unplaced> {
        if self.cluster.revision(service, 1).is_none() {
            self.revise(service, 1, template);
        }
        let ask = Self::ask(service, template, n);
        let place = self.fleet.choose(&ask)?;
        Ok(self.commit(&ask, place))
    }

    /// Puts an instance on a host, whatever the scheduler would say.
    pub(super) fn on(&mut self, name: &str, service: &str, template: &Template, n: u32) {
        let service = id(service);
        self.revise(&service, 1, template);
        let pin: HostId = name.parse().unwrap();
        let mut plain = template.clone();
        plain.placement = model::placement::Placement::default();
        let ask = Ask { pin: Some(&pin), ..Self::ask(&service, &plain, n) };
        let place = self.fleet.choose(&ask).unwrap();
        self.commit(&ask, place);
    }
}

/// Which host was chosen, or why none.
pub(super) fn said(result: Result<Arc<Instance>, Unplaced>) -> String {
    match result {
        Ok(instance) => match instance.dropped.is_empty() {
            true => instance.host.to_string(),
            false => format!("{}, dropped {}", instance.host, instance.dropped.join(" + ")),
        },
        Err(unplaced) => unplaced.reason.to_string(),
    }
}
