//! People who change their minds: stacks come, change and go. One table, `MOVES`; a new verb is a
//! new row.

use crate::dice::Dice;
use control::operate::{Refused, host, rollout};
use control::{cluster, operate};
use model::change::Proposal;
use model::cluster::Cluster;
use model::container_spec::ContainerSpec;
use model::health::HealthCheck;
use model::host::{HostLink, Scheduling};
use model::id::{HostId, ServiceId, ServiceName, StackName};
use model::rollout_policy::UpdateOrder;
use model::service::{Condition, PortMapping, RestartPolicy, ServiceSpec, Template, Transport};
use model::stack::StackSpec;
use model::time::Timestamp;

/// Images that the engines know; `nowhere:1` is in no registry, `job:1` ends well by itself.
pub(crate) const IMAGES: [&str; 6] =
    ["good:1", "good:2", "slow:1", "broken:1", "nowhere:1", "job:1"];

/// What a move is made with.
struct Ask<'a> {
    dice: &'a mut Dice,
    cluster: &'a Cluster,
    now: Timestamp,
}

/// What somebody asks for, in words, and as a proposal; `None` when there is nothing to ask it of.
type Move = fn(&mut Ask<'_>) -> Option<(String, Proposal)>;

/// Every move with its weight.
const MOVES: &[(u64, Move)] = &[
    (45, up),
    (10, restart),
    (7, stop),
    (8, start),
    (16, scale),
    (6, remove),
    (5, down),
    (14, rollout_verb),
    (3, run),
    (4, cordon),
    (5, uncordon),
    (4, drain),
    (3, label),
    (3, remove_host),
];

/// The next thing that somebody asks for.
pub(crate) fn next(
    dice: &mut Dice,
    cluster: &Cluster,
    now: Timestamp,
) -> Option<(String, Proposal)> {
    let mut ask = Ask { dice, cluster, now };
    let total: u64 = MOVES.iter().map(|(weight, _)| weight).sum();
    let mut drawn = ask.dice.below(total);
    for (weight, make) in MOVES {
        if drawn < *weight {
            // Where there is no service yet, somebody makes one.
            return make(&mut ask).or_else(|| up(&mut ask));
        }
        drawn -= weight;
    }
    None
}

impl Ask<'_> {
    fn service(&mut self) -> Option<ServiceId> {
        let services: Vec<ServiceId> = self.cluster.services().map(|s| s.id.clone()).collect();
        self.dice.pick(&services).cloned()
    }

    fn host(&mut self) -> Option<HostId> {
        let hosts: Vec<HostId> = self.cluster.hosts().map(|host| host.id.clone()).collect();
        self.dice.pick(&hosts).cloned()
    }

    fn stack(&mut self) -> StackName {
        let name = self.dice.pick(&["alpha", "beta", "gamma"]).copied().unwrap_or("alpha");
        StackName::parse(name).expect("a fixed valid name")
    }

    /// Instances of a service; in a large cluster more.
    fn scale(&mut self) -> u32 {
        let hosts = u32::try_from(self.cluster.hosts().count()).unwrap_or(1);
        match self.dice.below(10) {
            0 => 0,
            1..=6 => 1 + self.dice.small(4),
            _ => 1 + self.dice.small((hosts * 3 / 2).clamp(4, 60)),
        }
    }
}

fn restart(ask: &mut Ask<'_>) -> Option<(String, Proposal)> {
    let id = ask.service()?;
    Some((format!("restart {id}"), operate::restart(ask.cluster, &id)))
}

fn stop(ask: &mut Ask<'_>) -> Option<(String, Proposal)> {
    let id = ask.service()?;
    Some((format!("stop {id}"), operate::stop(ask.cluster, &id)))
}

fn start(ask: &mut Ask<'_>) -> Option<(String, Proposal)> {
    let id = ask.service()?;
    Some((format!("start {id}"), operate::start(ask.cluster, &id)))
}

/// What is refused changes nothing.
fn said(what: String, asked: Result<Proposal, Refused>) -> Option<(String, Proposal)> {
    Some(match asked {
        Ok(proposal) => (what, proposal),
        Err(refused) => (format!("{what} refused: {refused}"), Proposal::default()),
    })
}

fn scale(ask: &mut Ask<'_>) -> Option<(String, Proposal)> {
    let id = ask.service()?;
    let scale = ask.scale();
    said(format!("scale {id} {scale}"), operate::scale(ask.cluster, &id, scale))
}

fn run(ask: &mut Ask<'_>) -> Option<(String, Proposal)> {
    let id = ask.service()?;
    said(format!("run {id}"), operate::run(ask.cluster, &id))
}

/// Pause, resume, promote, abort, finish, roll back, in our words and Rancher's.
fn rollout_verb(ask: &mut Ask<'_>) -> Option<(String, Proposal)> {
    let id = ask.service()?;
    let (word, _) = ask.dice.pick(&rollout::WORDS).copied()?;
    let revisions: Vec<u32> = ask.cluster.revisions_of(&id).map(|r| r.number).collect();
    let to = if ask.dice.once_in(2) { ask.dice.pick(&revisions).copied() } else { None };
    let verb = rollout::Verb::parse(word, to)?;
    said(format!("{word} {id} {to:?}"), rollout::verb(ask.cluster, &id, verb))
}

fn cordon(ask: &mut Ask<'_>) -> Option<(String, Proposal)> {
    let id = ask.host()?;
    Some((format!("cordon {id}"), host::cordon(ask.cluster, &id)))
}

fn uncordon(ask: &mut Ask<'_>) -> Option<(String, Proposal)> {
    let held = ask.cluster.hosts().filter(|host| host.scheduling != Scheduling::Active);
    let held: Vec<HostId> = held.map(|host| host.id.clone()).collect();
    let id = ask.dice.pick(&held).cloned()?;
    Some((format!("uncordon {id}"), host::uncordon(ask.cluster, &id)))
}

fn drain(ask: &mut Ask<'_>) -> Option<(String, Proposal)> {
    let id = ask.host()?;
    let deadline = if ask.dice.once_in(2) { Some(1_000 + ask.dice.below(20_000)) } else { None };
    let force = ask.dice.once_in(3);
    let what = format!("drain {id} {deadline:?} force {force}");
    Some((what, host::drain(ask.cluster, &id, deadline, force, ask.now)))
}

fn label(ask: &mut Ask<'_>) -> Option<(String, Proposal)> {
    let id = ask.host()?;
    let value = ask.dice.pick(&[None, Some("a"), Some("b")]).copied()?;
    let labels = [("zone".to_owned(), value.map(str::to_owned))].into();
    said(format!("label {id} zone {value:?}"), host::label(ask.cluster, &id, &labels))
}

fn remove_host(ask: &mut Ask<'_>) -> Option<(String, Proposal)> {
    let away = ask.cluster.hosts().filter(|host| host.status != HostLink::Active);
    let away: Vec<HostId> = away.map(|host| host.id.clone()).collect();
    let id = ask.dice.pick(&away).cloned()?;
    let force = ask.dice.once_in(2);
    said(format!("remove host {id} force {force}"), host::remove(ask.cluster, &id, force))
}

fn remove(ask: &mut Ask<'_>) -> Option<(String, Proposal)> {
    let id = ask.service()?;
    Some((format!("remove {id}"), operate::remove_service(ask.cluster, &id)))
}

fn down(ask: &mut Ask<'_>) -> Option<(String, Proposal)> {
    let stack = ask.stack();
    Some((format!("down {stack}"), operate::remove_stack(ask.cluster, &stack)))
}

fn up(ask: &mut Ask<'_>) -> Option<(String, Proposal)> {
    let stack = ask.stack();
    let mut wanted = StackSpec::default();
    wanted.services.insert(name("web"), spec(ask));
    if ask.dice.once_in(2) {
        let mut front = spec(ask);
        front.depends_on.insert(name("web"), Condition::Started);
        wanted.services.insert(name("front"), front);
    }
    let told: Vec<String> = wanted
        .services
        .iter()
        .map(|(name, spec)| {
            let image = spec.template.container().map_or("", |c| c.image.as_str());
            format!("{name} {}x{image}", spec.scale.unwrap_or(1))
        })
        .collect();
    let orphans = ask.dice.once_in(3);
    let diff = cluster::diff(ask.cluster, &stack, &wanted, orphans, ask.now);
    Some((format!("up {stack}: {}", told.join(", ")), diff.proposal))
}

fn spec(ask: &mut Ask<'_>) -> ServiceSpec {
    let image = match ask.dice.below(12) {
        0 => IMAGES[3],
        1 => IMAGES[4],
        2 => IMAGES[2],
        n if n % 2 == 0 => IMAGES[0],
        _ => IMAGES[1],
    };
    let mut container = ContainerSpec { image: image.into(), ..ContainerSpec::default() };
    if ask.dice.once_in(4) {
        // A host has 4 GiB.
        container.resources.memory_reserved = 512 << (20 + ask.dice.below(3));
    }
    if ask.dice.once_in(6) {
        container.resources.cpu_reserved_milli = 250 << ask.dice.below(3);
    }
    let mut template = Template::of_container(container);
    template.drain_ms = 1_000 + ask.dice.below(4) * 1_000;
    template.stop_grace_ms = 1_000;
    if ask.dice.once_in(3) {
        template.health_check =
            Some(HealthCheck { initializing_timeout_ms: Some(10_000), ..HealthCheck::tcp(80) });
    }
    if ask.dice.once_in(8) {
        template.restart = RestartPolicy::OnFailure { max_attempts: Some(3) };
    }
    if ask.dice.once_in(4) {
        // Few numbers, so that services want the same one.
        let number = 8_000 + u16::try_from(ask.dice.below(3)).unwrap_or(0);
        template.ports.push(PortMapping {
            host_ip: None,
            host_port: Some(number),
            container_port: 80,
            protocol: Transport::Tcp,
        });
    }
    let mut spec = ServiceSpec { scale: Some(ask.scale()), ..ServiceSpec::of(template) };
    if ask.dice.once_in(4) {
        spec.update.order = Some(UpdateOrder::StopFirst);
    }
    if ask.dice.once_in(4) {
        // All of it has to be through in the time that a run has to come to rest.
        spec.update.batch_size = Some(1 + ask.dice.small(3) + spec.scale.unwrap_or(1) / 8);
    }
    spec
}

fn name(text: &str) -> ServiceName {
    ServiceName::parse(text).expect("a fixed valid name")
}
