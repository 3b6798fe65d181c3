//! Services in words.

use crate::world::service;
use model::balancer::{BalancerProtocol, BalancerSpec, PortRule};
use model::container_spec::ContainerSpec;
use model::health::{HealthCheck, HealthStrategy};
use model::placement::{Constraint, Subject};
use model::policy::{PolicyAction, PolicyPeer, PolicyRule};
use model::rollout_policy::{FailureAction, Finish, UpdateOrder};
use model::scaling::{Concurrency, JobSpec, Mode, Scaling};
use model::schedule::Schedule;
use model::service::{
    AliasSpec, Condition, Kind, Link, LossPolicy, PortMapping, RestartPolicy, ServiceSpec,
    Template, Transport,
};

/// `web image=good:1 scale=3 check order=stop batch=2 pause=5000 port=80 after=db:healthy mem=512
/// restart=no lb=80>web:8080 alias=blue,green`.
pub(crate) fn parse(line: &str) -> (String, ServiceSpec) {
    let mut words = line.split_whitespace();
    let name = words.next().unwrap().to_owned();
    let mut template = Template::of_container(ContainerSpec::default());
    let mut spec = ServiceSpec::of(template.clone());
    let mut container = ContainerSpec::default();
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        match key {
            "image" => container.image = value.to_owned(),
            "scale" => spec.scale = Some(value.parse().unwrap()),
            "check" => template.health_check = Some(HealthCheck::tcp(80)),
            // `react=none`, `react=quorum:2`, `react=init:5000`, `react=reinit:5000`.
            "react" => {
                let check = template.health_check.as_mut().unwrap();
                let (what, number) = value.split_once(':').unwrap_or((value, "0"));
                let number: u32 = number.parse().unwrap();
                match what {
                    "none" => check.strategy = HealthStrategy::None,
                    "quorum" => {
                        check.strategy = HealthStrategy::RecreateOnQuorum { quorum: number }
                    }
                    "init" => check.initializing_timeout_ms = Some(number.into()),
                    _ => check.reinitializing_timeout_ms = Some(number.into()),
                }
            }
            "label" => template.placement.constraints.push(Constraint {
                on: Subject::HostLabel { key: value.into(), value: None },
                negated: false,
                soft: false,
            }),
            // `job=*/5` fires each five minutes, `job=-` never.
            "job" => {
                template.restart = RestartPolicy::No;
                let fields = format!("{value} * * * *");
                let schedule = (value != "-").then(|| Schedule::parse(&fields, "").unwrap());
                spec.mode = Mode::Job(Box::new(JobSpec {
                    schedule,
                    history: 2,
                    timeout_ms: Some(120_000),
                    starting_deadline_ms: 60_000,
                    ..JobSpec::default()
                }));
            }
            "port" => template.ports.push(PortMapping {
                host_ip: None,
                host_port: Some(value.parse().unwrap()).filter(|port| *port != 0),
                container_port: 80,
                protocol: Transport::Tcp,
            }),
            "mem" => {
                let mib: i64 = value.parse().unwrap();
                container.resources.memory_reserved = mib * 1024 * 1024;
            }
            "restart" => {
                template.restart = match value {
                    "once" => RestartPolicy::Once,
                    _ => RestartPolicy::No,
                }
            }
            "lb" => {
                let (source, to) = value.split_once('>').unwrap();
                let (target, port) = to.split_once(':').unwrap();
                let rule = PortRule {
                    source_port: source.parse().unwrap(),
                    protocol: BalancerProtocol::Http,
                    hostname: String::new(),
                    path: String::new(),
                    priority: 0,
                    service: service(target),
                    target_port: port.parse().unwrap(),
                    weight: 1,
                    backend_name: String::new(),
                };
                match &mut template.kind {
                    Kind::Balancer(balancer) => balancer.rules.push(rule),
                    kind => *kind = Kind::Balancer(BalancerSpec { rules: vec![rule] }),
                }
            }
            "tag" => container.labels.extend(label(value)),
            "alias" => {
                let targets = value.split(',').map(service).collect();
                template.kind = Kind::Alias(AliasSpec { targets });
            }
            other => setting(&mut spec, other, value),
        }
    }
    if matches!(template.kind, Kind::Container(_)) {
        template.kind = Kind::Container(Box::new(container));
    }
    spec.template = template;
    (name, spec)
}

fn label(text: &str) -> Option<(String, String)> {
    text.split_once(':').map(|(key, value)| (key.to_owned(), value.to_owned()))
}

/// Words about what is not versioned.
fn setting(spec: &mut ServiceSpec, key: &str, value: &str) {
    match key {
        "order" => {
            assert_eq!(value, "stop");
            spec.update.order = Some(UpdateOrder::StopFirst);
        }
        "global" => spec.mode = Mode::Global,
        "canary" => spec.update.canary = Some(value.parse().unwrap()),
        "finish" => spec.update.finish = Finish::Manual,
        "unavailable" => spec.update.max_unavailable = Some(value.parse().unwrap()),
        "monitor" => spec.update.monitor_ms = Some(value.parse().unwrap()),
        "failure" => {
            spec.update.on_failure = match value {
                "pause" => FailureAction::Pause,
                _ => FailureAction::Continue,
            }
        }
        "loss" => {
            let (policy, ms) = value.split_once(':').unwrap_or((value, "0"));
            let after_ms = ms.parse().unwrap();
            spec.on_loss = Some(match policy {
                "keep" => LossPolicy::Keep,
                "stop" => LossPolicy::StopAfter { after_ms },
                _ => LossPolicy::Replace { after_ms },
            });
        }
        "retain" => spec.retain_ip = true,
        "ips" => spec.requested_ips = value.split(',').map(|ip| ip.parse().unwrap()).collect(),
        "stopped" => spec.create_stopped = true,
        "links" => {
            let link = |name: &str| Link { service: service(name), alias: name.to_owned() };
            spec.links = value.split(',').map(link).collect();
        }
        // A default, and who is let in all the same.
        "guard" => {
            spec.policy.get_or_insert_default().default = Some(PolicyAction::Deny);
        }
        "allow" => {
            let peer = PolicyPeer { service: Some(service(value)), ..PolicyPeer::default() };
            let rule = PolicyRule { from: Some(peer), ..PolicyRule::default() };
            spec.policy.get_or_insert_default().rules.push(rule);
        }
        "fit" => {
            let numbers: Vec<u32> = value.split(',').map(|n| n.parse().unwrap()).collect();
            let [min, max, increment] = numbers[..] else { panic!("min,max,increment") };
            spec.scaling = Some(Scaling::Fit { min, max, increment });
        }
        "at-once" => {
            if let Mode::Job(job) = &mut spec.mode {
                job.concurrency = match value {
                    "allow" => Concurrency::Allow,
                    "replace" => Concurrency::Replace,
                    _ => Concurrency::Forbid,
                };
            }
        }
        "batch" => spec.update.batch_size = Some(value.parse().unwrap()),
        "pause" => spec.update.interval_ms = value.parse().unwrap(),
        "after" => {
            let (on, condition) = value.split_once(':').unwrap();
            let condition = match condition {
                "started" => Condition::Started,
                "healthy" => Condition::Healthy,
                _ => Condition::Completed,
            };
            spec.depends_on.insert(on.parse().unwrap(), condition);
        }
        other => panic!("what is {other}?"),
    }
}
