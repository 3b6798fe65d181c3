//! What people write into their files: stacks, drawn. About half of the services are plain copies;
//! the others have some of what is in `extras`.

use super::extras;
use crate::dice::Dice;
use engine::fake::Program;
use model::container_spec::{ContainerSpec, Mount};
use model::health::HealthCheck;
use model::id::{HostId, ServiceId, ServiceName, StackName};
use model::rollout_policy::UpdateOrder;
use model::scaling::Mode;
use model::service::{
    Condition, Link, PortMapping, RestartPolicy, ServiceSpec, Template, Transport,
};
use model::stack::{StackSpec, VolumeSpec};

pub(super) const GOOD: [&str; 2] = ["good:1", "good:2"];
/// It has to be fetched, which takes a while.
pub(super) const SLOW: &str = "slow:1";
/// It ends with an error soon after its start.
pub(super) const BROKEN: &str = "broken:1";
/// It is in no registry.
pub(super) const NOWHERE: &str = "nowhere:1";
/// It ends well by itself.
pub(super) const JOB: &str = "job:1";
/// The same, after some time.
pub(super) const LONG: &str = "long:1";

/// Images of every host, and those of the registry with the milliseconds that a pull takes.
pub(crate) fn images() -> Vec<(&'static str, Program, Option<u64>)> {
    vec![
        (GOOD[0], Program::forever(), None),
        (GOOD[1], Program::forever(), None),
        (SLOW, Program::forever(), Some(3_000)),
        (BROKEN, Program::exits(300, 1), None),
        (JOB, Program::exits(400, 0), None),
        (LONG, Program::exits(15_000, 0), None),
    ]
}

/// What a file is drawn with.
pub(super) struct Draw<'a> {
    pub(super) dice: &'a mut Dice,
    pub(super) hosts: &'a [HostId],
    pub(super) stack: &'a StackName,
}

impl Draw<'_> {
    /// Once in `n` times.
    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.dice.once_in(n)
    }

    /// One of them.
    pub(super) fn pick<T: Copy>(&mut self, first: T, rest: &[T]) -> T {
        match self.dice.below(rest.len() as u64 + 1) {
            0 => first,
            _ => self.dice.pick(rest).copied().unwrap_or(first),
        }
    }
}

pub(super) fn name(text: &str) -> ServiceName {
    ServiceName::parse(text).expect("a fixed valid name")
}

/// Instances of a service; in a large cluster more.
pub(super) fn scale(dice: &mut Dice, hosts: usize) -> u32 {
    let hosts = u32::try_from(hosts).unwrap_or(1);
    match dice.below(10) {
        0 => 0,
        1..=6 => 1 + dice.small(4),
        _ => 1 + dice.small((hosts * 3 / 2).clamp(4, 60)),
    }
}

/// A whole file.
pub(super) fn stack(draw: &mut Draw<'_>) -> StackSpec {
    let mut wanted = StackSpec::default();
    wanted.services.insert(name("web"), copies(draw));
    if draw.one_in(2) {
        let mut front = copies(draw);
        let conditions = [Condition::Started, Condition::Started, Condition::Healthy];
        front.depends_on.insert(name("web"), draw.pick(Condition::Started, &conditions));
        if draw.one_in(4) {
            let service = ServiceId { stack: draw.stack.clone(), service: name("web") };
            front.links.push(Link { service, alias: "backend".into() });
        }
        wanted.services.insert(name("front"), front);
    }
    // What a name stands for stays of one kind: copies cannot become a job.
    if draw.one_in(5) {
        wanted.services.insert(name("daemon"), extras::daemon(draw));
    }
    if draw.one_in(5) {
        wanted.services.insert(name("task"), extras::task(draw));
    }
    if draw.one_in(12) {
        wanted.services.insert(name("other"), extras::other(draw));
    }
    let mounts = wanted.services.values().flat_map(|one| one.template.containers());
    let volumes = mounts.flat_map(|(_, container)| &container.mounts).filter_map(|one| match one {
        Mount::Volume { name, .. } => Some((name.clone(), VolumeSpec::default())),
        _ => None,
    });
    wanted.volumes = volumes.collect();
    wanted
}

/// A file in few words.
pub(super) fn told(wanted: &StackSpec) -> String {
    let one = |(name, spec): (&ServiceName, &ServiceSpec)| {
        let image = spec.template.container().map_or("", |c| c.image.as_str());
        let mode = match &spec.mode {
            Mode::Replicated => String::new(),
            Mode::Global => " global".into(),
            Mode::Job(job) => format!(" {:?} job", job.concurrency),
        };
        let sidekicks: Vec<&str> =
            spec.template.sidekicks.keys().map(ServiceName::as_str).collect();
        let with =
            if sidekicks.is_empty() { String::new() } else { format!(" with {sidekicks:?}") };
        format!("{name}{mode} {}x{image}{with}", spec.scale.unwrap_or(1))
    };
    wanted.services.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// A service of copies: plain, or with some of what there is besides.
fn copies(draw: &mut Draw<'_>) -> ServiceSpec {
    let mut spec = plain(draw);
    if draw.one_in(2) {
        extras::add(draw, &mut spec);
    }
    spec
}

/// What a container reserves, if anything.
pub(super) fn reserve(draw: &mut Draw<'_>, container: &mut ContainerSpec) {
    if draw.one_in(4) {
        // A host has 4 GiB.
        container.resources.memory_reserved = 512 << (20 + draw.dice.below(3));
    }
    if draw.one_in(6) {
        container.resources.cpu_reserved_milli = 250 << draw.dice.below(3);
    }
}

/// Remuda's own check.
pub(super) fn check() -> HealthCheck {
    HealthCheck { initializing_timeout_ms: Some(10_000), ..HealthCheck::tcp(80) }
}

pub(super) fn container(image: &str) -> ContainerSpec {
    ContainerSpec { image: image.into(), ..ContainerSpec::default() }
}

/// A plain service of copies.
pub(super) fn plain(draw: &mut Draw<'_>) -> ServiceSpec {
    let image = match draw.dice.below(12) {
        0 => BROKEN,
        1 => NOWHERE,
        2 => SLOW,
        n if n % 2 == 0 => GOOD[0],
        _ => GOOD[1],
    };
    let mut container = container(image);
    reserve(draw, &mut container);
    let mut template = Template::of_container(container);
    template.drain_ms = 1_000 + draw.dice.below(4) * 1_000;
    template.stop_grace_ms = 1_000;
    if draw.one_in(3) {
        template.health_check = Some(check());
    }
    if draw.one_in(8) {
        template.restart = RestartPolicy::OnFailure { max_attempts: Some(3) };
    }
    if draw.one_in(4) {
        // Few numbers, so that services want the same one.
        let number = 8_000 + u16::try_from(draw.dice.below(3)).unwrap_or(0);
        template.ports.push(PortMapping {
            host_ip: None,
            host_port: Some(number),
            container_port: 80,
            protocol: Transport::Tcp,
        });
    }
    let scale = scale(draw.dice, draw.hosts.len());
    let mut spec = ServiceSpec { scale: Some(scale), ..ServiceSpec::of(template) };
    if draw.one_in(4) {
        spec.update.order = Some(UpdateOrder::StopFirst);
    }
    if draw.one_in(4) {
        // All of it has to be through in the time that a run has to come to rest.
        spec.update.batch_size = Some(1 + draw.dice.small(3) + scale / 8);
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::service::LossPolicy;
    use std::collections::BTreeMap;

    #[test]
    fn what_is_drawn_is_valid_and_about_half_of_it_is_plain() {
        let hosts: Vec<HostId> = (0..5).map(|n| HostId::parse(&format!("h{n}")).unwrap()).collect();
        let stack_name = StackName::parse("alpha").unwrap();
        let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
        let mut note = |what, is: bool| *seen.entry(what).or_default() += u32::from(is);
        for seed in 0..2_000 {
            let mut dice = Dice::new(seed);
            let draw = &mut Draw { dice: &mut dice, hosts: &hosts, stack: &stack_name };
            let wanted = stack(draw);
            assert_eq!(server::check_stack(&wanted).map_err(|e| e.to_string()), Ok(()), "{seed}");
            let web = &wanted.services[&name("web")];
            note("sidekicks", !web.template.sidekicks.is_empty());
            note("placement", web.template.placement != model::placement::Placement::default());
            note("at most once", matches!(web.on_loss, Some(LossPolicy::StopAfter { .. })));
            note("kept address", web.retain_ip);
            note("canary", web.update.canary.is_some());
            note("fits", web.scaling.is_some());
            note("volume", !wanted.volumes.is_empty());
            note("global", wanted.services.contains_key(&name("daemon")));
            note("job", wanted.services.contains_key(&name("task")));
            note("name", wanted.services.contains_key(&name("other")));
        }
        for (what, count) in seen {
            assert!(count >= 40, "{what} was drawn {count} times of 2000");
        }
    }
}
