//! What makes a service more than plain copies: sidekicks, constraints, a policy for lost hosts,
//! addresses, ways of a rollout, and the other kinds of services.

use super::file::{BROKEN, Draw, GOOD, JOB, LONG, NOWHERE, check, container, name, plain, reserve};
use model::container_spec::{Mount, NetworkMode, VolumesFrom};
use model::health::HealthStrategy;
use model::id::ServiceId;
use model::limits::HOST_LOST_MS;
use model::placement::{Constraint, Strategy, Subject};
use model::rollout_policy::{FailureAction, Finish, UpdateOrder};
use model::scaling::{Concurrency, JobSpec, Mode, Scaling};
use model::schedule::Schedule;
use model::service::{
    AliasSpec, ExternalSpec, Kind, LossPolicy, RestartPolicy, ServiceSpec, Sidekick, Template,
};
use std::net::Ipv4Addr;

/// Label by which instances find and avoid one another.
const TIER: &str = "tier";
/// A rollout that takes its time is drawn for at most so many instances: it must be over in time.
const SCALE_WITH_PAUSES_MAX: u32 = 4;

/// Makes something else of a service.
type Change = fn(&mut Draw<'_>, &mut ServiceSpec);

/// Some of everything.
pub(super) fn add(draw: &mut Draw<'_>, spec: &mut ServiceSpec) {
    let chances: [(u64, Change); 9] = [
        (3, sidekicks),
        (3, placement),
        (3, loss),
        (6, addresses),
        (3, rollout),
        (8, fit),
        (8, ends),
        (8, host_network),
        (8, volume),
    ];
    for (n, change) in chances {
        if draw.one_in(n) {
            change(draw, spec);
        }
    }
    if let Some(check) = &mut spec.template.health_check {
        let quorum = HealthStrategy::RecreateOnQuorum { quorum: 1 };
        check.strategy = draw.pick(HealthStrategy::Recreate, &[HealthStrategy::None, quorum]);
    }
    spec.create_stopped = draw.one_in(20);
}

/// One or two containers that share the fate of each instance.
fn sidekicks(draw: &mut Draw<'_>, spec: &mut ServiceSpec) {
    let mut log = sidekick(draw);
    // The primary has the volumes of its sidekick, or the other way round.
    match draw.dice.below(4) {
        0 => log.container.network = NetworkMode::Sibling(None),
        1 => log.container.volumes_from.push(VolumesFrom { sidekick: None, read_only: true }),
        2 => {
            if let Kind::Container(primary) = &mut spec.template.kind {
                let from = VolumesFrom { sidekick: Some(name("log")), read_only: false };
                primary.volumes_from.push(from);
            }
        }
        _ => {}
    }
    spec.template.sidekicks.insert(name("log"), log);
    if draw.one_in(3) {
        let mut meter = sidekick(draw);
        let with = if draw.one_in(2) { Some(name("log")) } else { None };
        meter.container.network = NetworkMode::Sibling(with);
        spec.template.sidekicks.insert(name("meter"), meter);
    }
}

fn sidekick(draw: &mut Draw<'_>) -> Sidekick {
    let image = match draw.dice.below(12) {
        0 => BROKEN,
        1 => NOWHERE,
        2 => JOB,
        n if n % 2 == 0 => GOOD[0],
        _ => GOOD[1],
    };
    let mut container = container(image);
    reserve(draw, &mut container);
    Sidekick {
        health_check: draw.one_in(3).then(check),
        restart: if image == JOB { RestartPolicy::No } else { RestartPolicy::Always },
        container,
        ports: vec![],
        stop_grace_ms: 1_000,
    }
}

/// Where instances may and should go.
fn placement(draw: &mut Draw<'_>, spec: &mut ServiceSpec) {
    let tier = draw.pick("back", &["front"]);
    if let Kind::Container(primary) = &mut spec.template.kind
        && draw.one_in(2)
    {
        primary.labels.insert(TIER.into(), tier.into());
    }
    let placement = &mut spec.template.placement;
    match draw.dice.below(9) {
        0 => placement.max_per_host = Some(1 + draw.dice.small(2)),
        1 => placement.strategy = Strategy::Binpack,
        2 => placement.spread_by = vec!["zone".into()],
        3 => placement.requested_host = draw.dice.pick(draw.hosts).cloned(),
        4 | 5 => placement.constraints.push(zone(draw)),
        _ => {
            let key = TIER.to_owned();
            let value = if draw.one_in(2) { Some(tier.to_owned()) } else { None };
            let on = match draw.one_in(4) {
                true => Subject::Container { name: format!("{}-web-1", draw.stack) },
                false => Subject::ContainerLabel { key, value },
            };
            let (negated, soft) = (!draw.one_in(3), draw.one_in(3));
            placement.constraints.push(Constraint { on, negated, soft });
        }
    }
    if draw.one_in(4) {
        placement.constraints.push(zone(draw));
    }
}

fn zone(draw: &mut Draw<'_>) -> Constraint {
    let value = draw.pick(None, &[Some("a"), Some("b")]).map(str::to_owned);
    let on = Subject::HostLabel { key: "zone".into(), value };
    Constraint { on, negated: draw.one_in(3), soft: draw.one_in(3) }
}

/// What happens when a host is lost.
fn loss(draw: &mut Draw<'_>, spec: &mut ServiceSpec) {
    let after_ms = HOST_LOST_MS + draw.dice.below(3) * 1_000;
    let policies = [
        LossPolicy::Replace { after_ms },
        LossPolicy::StopAfter { after_ms },
        LossPolicy::StopAfter { after_ms },
    ];
    spec.on_loss = Some(draw.pick(LossPolicy::Keep, &policies));
}

/// Addresses that are kept or asked for.
fn addresses(draw: &mut Draw<'_>, spec: &mut ServiceSpec) {
    spec.retain_ip = !draw.one_in(3);
    if draw.one_in(2) {
        // Few of them, so that services want the same one.
        let first = 1 + u8::try_from(draw.dice.below(3)).unwrap_or(0);
        spec.requested_ips =
            (first..first + 2).map(|last| Ipv4Addr::new(10, 42, 77, last)).collect();
    }
}

/// How a rollout goes.
fn rollout(draw: &mut Draw<'_>, spec: &mut ServiceSpec) {
    let update = &mut spec.update;
    if draw.one_in(3) {
        update.canary = Some(draw.dice.small(3));
    }
    if draw.one_in(3) {
        update.finish = Finish::Manual;
    }
    update.on_failure =
        draw.pick(FailureAction::Rollback, &[FailureAction::Pause, FailureAction::Continue]);
    if draw.one_in(3) {
        update.order = Some(UpdateOrder::StopFirst);
        update.max_unavailable = Some(draw.dice.small(3));
    }
    if draw.one_in(3) && spec.scale.is_some_and(|scale| scale <= SCALE_WITH_PAUSES_MAX) {
        update.interval_ms = draw.dice.below(2_000);
        update.monitor_ms = Some(draw.dice.below(4_000));
    }
}

/// As many as fit.
fn fit(draw: &mut Draw<'_>, spec: &mut ServiceSpec) {
    let (min, more) = (draw.dice.small(3), draw.dice.small(4));
    spec.scaling = Some(Scaling::Fit { min, max: min + more, increment: 1 + draw.dice.small(2) });
    spec.scale = None;
}

/// It ends, and stays so: Rancher's `start_once` among them.
fn ends(draw: &mut Draw<'_>, spec: &mut ServiceSpec) {
    let image = draw.pick(JOB, &[BROKEN, LONG]);
    spec.template.restart = draw.pick(
        RestartPolicy::Once,
        &[RestartPolicy::No, RestartPolicy::OnFailure { max_attempts: Some(1) }],
    );
    spec.template.health_check = None;
    if let Kind::Container(primary) = &mut spec.template.kind {
        primary.image = image.into();
    }
}

/// It is in the network of its host, and binds its ports there itself.
fn host_network(_: &mut Draw<'_>, spec: &mut ServiceSpec) {
    if let Kind::Container(primary) = &mut spec.template.kind {
        primary.network = NetworkMode::Host;
    }
}

/// Its data is on its host.
fn volume(draw: &mut Draw<'_>, spec: &mut ServiceSpec) {
    if let Kind::Container(primary) = &mut spec.template.kind {
        primary.mounts.push(Mount::Volume {
            name: format!("{}_data", draw.stack),
            target: "/data".into(),
            read_only: false,
            nocopy: false,
        });
    }
}

/// A service with one instance on each host that fits.
pub(super) fn daemon(draw: &mut Draw<'_>) -> ServiceSpec {
    let mut spec = plain(draw);
    spec.scale = None;
    spec.mode = Mode::Global;
    if draw.one_in(2) {
        let soft = false;
        spec.template.placement.constraints.push(Constraint { soft, ..zone(draw) });
    }
    for (n, change) in [(4, sidekicks as Change), (5, loss)] {
        if draw.one_in(n) {
            change(draw, &mut spec);
        }
    }
    spec
}

/// A job, by the clock or when asked for.
pub(super) fn task(draw: &mut Draw<'_>) -> ServiceSpec {
    let image = draw.pick(JOB, &[LONG, LONG, BROKEN, GOOD[0]]);
    let mut template = Template::of_container(container(image));
    template.drain_ms = 1_000;
    template.stop_grace_ms = 1_000;
    template.restart =
        draw.pick(RestartPolicy::No, &[RestartPolicy::OnFailure { max_attempts: Some(1) }]);
    let mut spec = ServiceSpec::of(template);
    let every_minute = Schedule::parse("* * * * *", "").expect("a fixed valid schedule");
    // What never ends is ended by its time.
    let timeout = if image == GOOD[0] || draw.one_in(3) { Some(5_000) } else { None };
    spec.mode = Mode::Job(Box::new(JobSpec {
        schedule: (!draw.one_in(3)).then_some(every_minute),
        concurrency: draw.pick(
            Concurrency::Forbid,
            &[Concurrency::Forbid, Concurrency::Allow, Concurrency::Replace],
        ),
        timeout_ms: timeout,
        history: draw.dice.small(4),
        starting_deadline_ms: 2_000 + draw.dice.below(2) * 60_000,
    }));
    if draw.one_in(4) {
        sidekicks(draw, &mut spec);
    }
    spec
}

/// A name for something else.
pub(super) fn other(draw: &mut Draw<'_>) -> ServiceSpec {
    let web = ServiceId { stack: draw.stack.clone(), service: name("web") };
    let kind = match draw.dice.below(3) {
        0 => Kind::Alias(AliasSpec { targets: vec![web] }),
        1 => Kind::External(ExternalSpec { addresses: vec![], hostname: "example.org".into() }),
        _ => Kind::External(ExternalSpec {
            addresses: vec![Ipv4Addr::new(192, 0, 2, 1).into()],
            hostname: String::new(),
        }),
    };
    let template = Template { kind, ..Template::of_container(container("none")) };
    ServiceSpec::of(template)
}
