//! What a service must keep to, whoever made its spec: files are checked when they are read, a
//! program that calls the API has only this. Pure.

use model::container_spec::{ContainerSpec, Mount, NetworkMode};
use model::id::ServiceName;
use model::limits;
use model::policy::ServicePolicy;
use model::scaling::{Mode, Scaling};
use model::service::{Kind, LossPolicy, ServiceSpec, Template};
use model::stack::StackSpec;
use model::template_file;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// Checks one service.
///
/// # Errors
/// What is wrong, with the service's name.
pub(crate) fn service(name: &ServiceName, service: &ServiceSpec) -> Result<(), String> {
    let template = &service.template;
    let policy = service.policy.as_ref().map_or(Ok(()), ServicePolicy::check);
    policy
        .and_then(|()| bounds(service))
        .and_then(|()| kind(service))
        .and_then(|()| siblings(name, template))
        .and_then(|()| rendered(template))
        .map_err(|why| format!("service {name}: {why}"))
}

/// Checks that two services of a stack do not ask for one address.
///
/// # Errors
/// Which ones do.
pub(crate) fn floating(spec: &StackSpec) -> Result<(), String> {
    let mut asked: BTreeMap<Ipv4Addr, &ServiceName> = BTreeMap::new();
    for (name, service) in &spec.services {
        let Some(ip) = &service.floating_ip else { continue };
        if let Some(other) = asked.insert(ip.address, name) {
            let address = ip.address;
            return Err(format!(
                "services {other} and {name} both ask for the floating address {address}: \
                 one of them can have it"
            ));
        }
    }
    Ok(())
}

fn bounds(service: &ServiceSpec) -> Result<(), String> {
    let template = &service.template;
    let sidekick_ports = template.sidekicks.values().map(|one| one.ports.len());
    let ports = template.ports.len() + sidekick_ports.sum::<usize>();
    for (what, count, max) in [
        ("ports", ports, limits::PORTS_MAX),
        ("sidekicks", template.sidekicks.len(), limits::SIDEKICKS_MAX),
        ("placement constraints", template.placement.constraints.len(), limits::CONSTRAINTS_MAX),
        ("links", service.links.len(), limits::LINKS_MAX),
    ] {
        if count > max {
            return Err(format!("there are {count} {what}; at most {max}"));
        }
    }
    if service.scale.is_some_and(|scale| scale > limits::SCALE_MAX) {
        return Err(format!("its scale is over the limit of {}", limits::SCALE_MAX));
    }
    if let Some(ip) = &service.floating_ip {
        if let Some(why) = ip.broken_rule() {
            return Err(format!("its floating address {} cannot be one: {why}", ip.address));
        }
        if !template.has_instances() {
            return Err("it asks for a floating address and has no instances".into());
        }
    }
    match service.scaling {
        Some(Scaling::Fit { min, max, .. } | Scaling::Load { min, max, .. })
            if min > max || max > limits::SCALE_MAX =>
        {
            let most = limits::SCALE_MAX;
            return Err(format!(
                "it scales from {min} to {max}; min at most max, max at most {most}"
            ));
        }
        Some(Scaling::Load { target: 0, .. }) => return Err("its scaling has the target 0".into()),
        Some(Scaling::Fit { increment: 0, .. }) => {
            return Err("its scale policy has the increment 0".into());
        }
        _ => {}
    }
    if let Some(LossPolicy::Replace { after_ms: after } | LossPolicy::StopAfter { after_ms: after }) =
        service.on_loss
        && after < limits::HOST_LOST_MS
    {
        let least = limits::HOST_LOST_MS;
        return Err(format!("a host that is silent for {after} ms is not lost; at least {least}"));
    }
    match &service.mode {
        Mode::Job(job) if job.history > limits::JOB_HISTORY_MAX => {
            Err(format!("it keeps {} runs; at most {}", job.history, limits::JOB_HISTORY_MAX))
        }
        _ => Ok(()),
    }
}

fn kind(service: &ServiceSpec) -> Result<(), String> {
    let template = &service.template;
    let container = template.container().is_some();
    if !container && !template.sidekicks.is_empty() {
        return Err("it has sidekicks and no container".into());
    }
    if !container && matches!(service.mode, Mode::Job(_)) {
        return Err("it is a job and has no container".into());
    }
    if let Some((of, _)) = template.containers().find(|(_, spec)| spec.image.is_empty()) {
        let of = of.map(|name| format!("its sidekick {name} ")).unwrap_or_default();
        return Err(format!("{of}has no image").trim_start().to_owned());
    }
    match &template.kind {
        Kind::Balancer(balancer) if balancer.rules.len() > limits::BALANCER_RULES_MAX => {
            let max = limits::BALANCER_RULES_MAX;
            Err(format!("there are {} rules; at most {max}", balancer.rules.len()))
        }
        Kind::External(spec) if spec.addresses.is_empty() == spec.hostname.is_empty() => {
            Err("it is outside, and leads to addresses or to a host name, one of the two".into())
        }
        _ => Ok(()),
    }
}

/// Files that a host renders have a place of their own.
fn rendered(template: &Template) -> Result<(), String> {
    for (of, spec) in template.containers() {
        let files = spec.files.iter().map(|file| file.target.as_str());
        let mounted = spec.mounts.iter().map(Mount::target).chain(files);
        template_file::check(&spec.templates, mounted)
            .map_err(|(n, why)| format!("{}: template {}: {why}", shown_of(of), n + 1))?;
    }
    Ok(())
}

/// What a container shares is of another container of the same instance, and not in a circle.
fn siblings(service: &ServiceName, template: &Template) -> Result<(), String> {
    let is_sidekick = |name: &str| template.sidekicks.keys().any(|known| known.as_str() == name);
    let mut made: BTreeSet<Option<&str>> = BTreeSet::new();
    let all: Vec<(Option<&ServiceName>, &ContainerSpec)> = template.containers().collect();
    for (name, spec) in &all {
        for other in shares(service, spec) {
            if let Some(shown) = other.filter(|other| !is_sidekick(other)) {
                return Err(format!(
                    "{} shares with {shown:?}, which is no sidekick",
                    shown_of(*name)
                ));
            }
        }
    }
    // Whoever needs only containers that can be made can be made too.
    while made.len() < all.len() {
        let before = made.len();
        for (name, spec) in &all {
            if shares(service, spec).all(|other| made.contains(&other)) {
                made.insert(name.map(ServiceName::as_str));
            }
        }
        if made.len() == before {
            let left = |name: &Option<&ServiceName>| !made.contains(&name.map(ServiceName::as_str));
            let names = all.iter().map(|(name, _)| *name).filter(left);
            let names: Vec<String> = names.map(shown_of).collect();
            return Err(format!("these containers share in a circle: {}", names.join(", ")));
        }
    }
    Ok(())
}

/// The containers whose network, namespaces or mounts a container has; `None` is the primary.
fn shares<'s>(
    service: &'s ServiceName,
    spec: &'s ContainerSpec,
) -> impl Iterator<Item = Option<&'s str>> {
    let network = match &spec.network {
        NetworkMode::Sibling(of) => Some(of.as_ref().map(ServiceName::as_str)),
        NetworkMode::Managed | NetworkMode::Host | NetworkMode::None => None,
    };
    let namespaces = [&spec.ipc, &spec.pid].into_iter().flatten().filter_map(|mode| {
        let name = mode.strip_prefix("service:")?;
        Some(Some(name).filter(|name| *name != service.as_str()))
    });
    let mounts = spec.volumes_from.iter().map(|from| from.sidekick.as_ref());
    let mounts = mounts.map(|sidekick| sidekick.map(ServiceName::as_str));
    network.into_iter().chain(namespaces).chain(mounts)
}

fn shown_of(name: Option<&ServiceName>) -> String {
    name.map_or_else(|| "the primary".to_owned(), |name| format!("sidekick {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::container_spec::{SpecFile, VolumesFrom};
    use model::placement::{Constraint, Subject};
    use model::scaling::{JobSpec, Metric};
    use model::service::{ExternalSpec, RestartPolicy, Sidekick};
    use model::template_file::TemplateFile;

    fn name(text: &str) -> ServiceName {
        ServiceName::parse(text).unwrap()
    }

    fn container() -> ContainerSpec {
        ContainerSpec { image: "a".into(), ..ContainerSpec::default() }
    }

    fn sidekick(container: ContainerSpec) -> Sidekick {
        Sidekick {
            container,
            ports: vec![],
            health_check: None,
            restart: RestartPolicy::Always,
            stop_grace_ms: 1,
        }
    }

    fn with(change: impl FnOnce(&mut ServiceSpec)) -> Result<(), String> {
        let mut spec = ServiceSpec::of(Template::of_container(container()));
        let log = sidekick(ContainerSpec {
            network: NetworkMode::Sibling(None),
            pid: Some("service:web".into()),
            ipc: Some("container:outside".into()),
            volumes_from: vec![VolumesFrom { sidekick: None, read_only: true }],
            ..container()
        });
        spec.template.sidekicks = BTreeMap::from([(name("log"), log)]);
        change(&mut spec);
        service(&name("web"), &spec)
    }

    #[test]
    fn a_service_with_a_sidekick_is_good() {
        assert_eq!(with(|_| {}), Ok(()));
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_with_the_bound() {
        let constraint =
            Constraint { on: Subject::Host { name: "h".into() }, negated: false, soft: false };
        let load = |min, max, target| Scaling::Load {
            min,
            max,
            metric: Metric::Cpu,
            target,
            down_after_ms: 1,
            up_after_ms: 1,
        };
        let cases: Vec<(&str, Result<(), String>)> = vec![
            ("its scale", with(|s| s.scale = Some(1_000_000_000))),
            ("scales from 3 to 2", with(|s| s.scaling = Some(load(3, 2, 1)))),
            ("max at most", with(|s| s.scaling = Some(load(1, 1_000_000, 1)))),
            ("target 0", with(|s| s.scaling = Some(load(1, 2, 0)))),
            (
                "increment 0",
                with(|s| s.scaling = Some(Scaling::Fit { min: 1, max: 2, increment: 0 })),
            ),
            ("keeps 101 runs", with(|s| s.mode = job_of(101))),
            (
                "101 placement constraints",
                with(|s| s.template.placement.constraints = vec![constraint; 101]),
            ),
            (
                "51 sidekicks",
                with(|s| {
                    let all = (0..51).map(|i| (name(&format!("s{i}")), sidekick(container())));
                    s.template.sidekicks = all.collect();
                }),
            ),
        ];
        refused(cases);
    }

    #[test]
    fn what_cannot_be_made_is_refused() {
        let external = |hostname: &str| {
            Kind::External(ExternalSpec { addresses: vec![], hostname: hostname.into() })
        };
        let shared = |of: Option<&str>| NetworkMode::Sibling(of.map(name));
        let cases: Vec<(&str, Result<(), String>)> = vec![
            ("its scale", with(|s| s.scale = Some(1_000_000_000))),
            ("sidekicks and no container", with(|s| s.template.kind = external("x"))),
            (
                "leads to addresses",
                with(|s| {
                    s.template.sidekicks.clear();
                    s.template.kind = external("");
                }),
            ),
            (
                "a job and has no container",
                with(|s| {
                    s.template.sidekicks.clear();
                    s.template.kind = external("x");
                    s.mode = job_of(1);
                }),
            ),
            (
                "its sidekick bad has no image",
                with(|s| {
                    let bad = sidekick(ContainerSpec::default());
                    s.template.sidekicks.insert(name("bad"), bad);
                }),
            ),
            (
                "shares with \"nobody\"",
                with(|s| {
                    let kind = ContainerSpec { network: shared(Some("nobody")), ..container() };
                    s.template.kind = Kind::Container(Box::new(kind));
                }),
            ),
            (
                "shares with \"gone\"",
                with(|s| {
                    let kind = ContainerSpec { pid: Some("service:gone".into()), ..container() };
                    s.template.kind = Kind::Container(Box::new(kind));
                }),
            ),
            (
                "circle: the primary, sidekick log",
                with(|s| {
                    let kind = ContainerSpec { ipc: Some("service:log".into()), ..container() };
                    s.template.kind = Kind::Container(Box::new(kind));
                }),
            ),
            (
                "template 1: target \"/b\"",
                with(|s| {
                    let bad = TemplateFile { target: "/b".into(), ..TemplateFile::default() };
                    let kind = ContainerSpec { templates: vec![bad], ..container() };
                    s.template.kind = Kind::Container(Box::new(kind));
                }),
            ),
            (
                "template 1: folder \"/run/app\"",
                with(|s| {
                    let one =
                        TemplateFile { target: "/run/app/a".into(), ..TemplateFile::default() };
                    let file = SpecFile {
                        name: "password".into(),
                        target: "/run/app/password".into(),
                        content_base64: String::new(),
                        mode: 0o444,
                        uid: 0,
                        gid: 0,
                        secret: true,
                    };
                    let (templates, files) = (vec![one], vec![file]);
                    let kind = ContainerSpec { templates, files, ..container() };
                    s.template.kind = Kind::Container(Box::new(kind));
                }),
            ),
            (
                "silent for 9999 ms",
                with(|s| s.on_loss = Some(LossPolicy::StopAfter { after_ms: 9_999 })),
            ),
            (
                "circle: the primary, sidekick log",
                with(|s| {
                    let kind = ContainerSpec { network: shared(Some("log")), ..container() };
                    s.template.kind = Kind::Container(Box::new(kind));
                }),
            ),
        ];
        refused(cases);
    }

    fn job_of(history: u32) -> Mode {
        Mode::Job(Box::new(JobSpec { history, ..JobSpec::default() }))
    }

    fn refused(cases: Vec<(&str, Result<(), String>)>) {
        for (rule, result) in cases {
            let why = result.expect_err(rule);
            assert!(why.starts_with("service web: ") && why.contains(rule), "{rule}: {why}");
        }
    }
}
