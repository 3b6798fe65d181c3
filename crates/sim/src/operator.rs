//! People who change their minds: stacks come, change and go.

use crate::dice::Dice;
use control::{cluster, operate};
use model::change::Proposal;
use model::cluster::Cluster;
use model::container_spec::ContainerSpec;
use model::health::HealthCheck;
use model::id::{ServiceId, ServiceName, StackName};
use model::service::{Condition, RestartPolicy, ServiceSpec, Template};
use model::stack::StackSpec;
use model::time::Timestamp;

/// Images that the engine knows; the last one is nowhere.
pub(crate) const IMAGES: [&str; 5] = ["good:1", "good:2", "slow:1", "broken:1", "nowhere:1"];

fn spec(dice: &mut Dice) -> ServiceSpec {
    let image = match dice.below(10) {
        0 => IMAGES[3],
        1 => IMAGES[4],
        2 => IMAGES[2],
        n if n % 2 == 0 => IMAGES[0],
        _ => IMAGES[1],
    };
    let container = ContainerSpec { image: image.into(), ..ContainerSpec::default() };
    let mut template = Template::of_container(container);
    template.drain_ms = 2_000;
    if dice.below(3) == 0 {
        template.health_check =
            Some(HealthCheck { initializing_timeout_ms: Some(10_000), ..HealthCheck::tcp(80) });
    }
    if dice.below(8) == 0 {
        template.restart = RestartPolicy::OnFailure { max_attempts: Some(3) };
    }
    ServiceSpec {
        scale: Some(u32::try_from(dice.below(5)).unwrap_or(0)),
        ..ServiceSpec::of(template)
    }
}

fn name(text: &str) -> ServiceName {
    ServiceName::parse(text).expect("a fixed valid name")
}

/// The next thing that somebody asks for.
pub(crate) fn next(dice: &mut Dice, cluster: &Cluster, now: Timestamp) -> (String, Proposal) {
    let stacks = ["alpha", "beta"];
    let stack = StackName::parse(dice.pick(&stacks).copied().unwrap_or("alpha"))
        .expect("a fixed valid name");
    let services: Vec<ServiceId> = cluster.services().map(|s| s.id.clone()).collect();
    let chosen = dice.pick(&services).cloned();
    match (dice.below(10), chosen) {
        (0, Some(id)) => (format!("restart {id}"), operate::restart(cluster, &id)),
        (1, Some(id)) => (format!("stop {id}"), operate::stop(cluster, &id)),
        (2, Some(id)) => (format!("start {id}"), operate::start(cluster, &id)),
        (3, Some(id)) => {
            let scale = u32::try_from(dice.below(7)).unwrap_or(0);
            (format!("scale {id} {scale}"), operate::scale(cluster, &id, scale).unwrap_or_default())
        }
        (4, Some(id)) => (format!("remove {id}"), operate::remove_service(cluster, &id)),
        (5, _) => (format!("down {stack}"), operate::remove_stack(cluster, &stack)),
        _ => {
            let mut wanted = StackSpec::default();
            wanted.services.insert(name("web"), spec(dice));
            if dice.below(2) == 0 {
                let mut front = spec(dice);
                front.depends_on.insert(name("web"), Condition::Started);
                wanted.services.insert(name("front"), front);
            }
            let diff = cluster::diff(cluster, &stack, &wanted, dice.below(3) == 0, now);
            (format!("up {stack}"), diff.proposal)
        }
    }
}
