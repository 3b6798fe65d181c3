//! What placing costs: 100,000 instances on 5,000 hosts from nothing, one more beside them, and the
//! memory of all that. `cargo run --release -p control --example schedule`; one line of JSON.

#![expect(clippy::print_stdout, reason = "it is what the program is for")]
#![expect(clippy::disallowed_methods, reason = "it measures time and reads its own memory")]

use control::cluster::Planner;
use control::placement::{Ask, Fleet};
use model::change::{Change, Edit};
use model::cluster::Cluster;
use model::container_spec::ContainerSpec;
use model::health::Health;
use model::host::{Environment, Host, HostFacts, HostLink, Scheduling};
use model::id::{InstanceId, ServiceId};
use model::instance::{Goal, Instance, InstanceStatus, Phase, Target};
use model::placement::{Constraint, Strategy, Subject};
use model::record::{Orders, Record, Revision, Service, ServiceSettings, ServiceStatus};
use model::service::{PortMapping, Template, Transport};
use model::time::{Index, Timestamp};
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

const HOSTS: u32 = 5_000;
const SERVICES: u32 = 977;
const INSTANCES: u32 = 100_000;
/// Rounds, of which the best one counts: the machine is not ours alone.
const ROUNDS: u32 = 5;
const NOW: Timestamp = Timestamp(1_000_000_000);

/// Services with their scales.
type Wanted = Vec<(ServiceId, u32)>;
type Placed = Vec<Arc<Instance>>;

fn host(n: u32) -> Result<Host, Box<dyn Error>> {
    let labels = [
        ("zone", format!("z{}", n % 3)),
        ("rack", format!("r{}", n % 100)),
        ("disk", if n.is_multiple_of(4) { "ssd".into() } else { "hdd".into() }),
    ];
    let cpus = 8 << (n % 4);
    let labels = labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let facts = HostFacts { cpus, memory: u64::from(cpus) << 32, labels, ..HostFacts::default() };
    Ok(Host {
        id: format!("host-{n:05}").parse()?,
        facts,
        status: HostLink::Active,
        changed_at: NOW,
        unheard_since: NOW,
        scheduling: Scheduling::Active,
        labels: std::collections::BTreeMap::new(),
        reason: String::new(),
        membership: model::host::Membership::default(),
    })
}

fn constraint(on: Subject, negated: bool, soft: bool) -> Constraint {
    Constraint { on, negated, soft }
}

/// Ports, labels, reservations and wishes as a crowd of services has them.
fn template(n: u32, id: &ServiceId) -> Template {
    let mut container = ContainerSpec { image: "app:1".into(), ..ContainerSpec::default() };
    container.labels.insert("tier".into(), format!("t{}", n % 7));
    container.resources.cpu_reserved_milli = u64::from(50 + n % 5 * 50);
    container.resources.memory_reserved = i64::from(64 + n % 6 * 64) << 20;
    let mut template = Template::of_container(container);
    if n.is_multiple_of(2) {
        let host_port =
            n.is_multiple_of(4).then(|| 10_000 + u16::try_from(n / 4 % 64).unwrap_or(0));
        let protocol = Transport::Tcp;
        template.ports.push(PortMapping { host_ip: None, host_port, container_port: 80, protocol });
    }
    let placement = &mut template.placement;
    let label =
        |key: &str, value: &str| Subject::HostLabel { key: key.into(), value: Some(value.into()) };
    let beside = |value: String| Subject::ContainerLabel {
        key: "io.rancher.stack_service.name".into(),
        value: Some(value),
    };
    match n % 10 {
        0 => placement.constraints.push(constraint(label("disk", "ssd"), false, false)),
        1 => placement.constraints.push(constraint(label("zone", "z1"), true, false)),
        2 => placement.constraints.push(constraint(beside(id.to_string()), true, false)),
        3 => placement.constraints.push(constraint(label("rack", "r7"), false, true)),
        4 => placement.strategy = Strategy::Binpack,
        5 => placement.spread_by = vec!["zone".into(), "rack".into()],
        _ => {}
    }
    template
}

fn put(cluster: &mut Cluster, records: Vec<Record>) {
    let index = Index(cluster.index().0 + 1);
    cluster.apply(index, &Change { edits: records.into_iter().map(Edit::Put).collect() });
}

/// Sizes from 1 to twice the mean; one service of ten is of exactly ten.
fn size(n: u32) -> u32 {
    match n % 10 {
        9 => 10,
        _ => 1 + n.wrapping_mul(2_654_435_761_u32.wrapping_mul(n)) % 226,
    }
}

fn service(id: &ServiceId, scale: u32) -> Service {
    Service {
        id: id.clone(),
        settings: ServiceSettings::default(),
        scale,
        target: Target { revision: 1, restart: 0 },
        attempt: 0,
        orders: Orders::default(),
        goal: Goal::Run,
        created_at: NOW,
    }
}

/// The cluster without instances, and how many each service is to have.
fn empty() -> Result<(Cluster, Wanted), Box<dyn Error>> {
    let mut cluster = Cluster::default();
    let environment = Environment::new("0123456789abcdef".into(), "default", "10.0.0.0/8".parse()?);
    put(&mut cluster, vec![Record::Environment(Arc::new(environment))]);
    for n in 0..HOSTS {
        put(&mut cluster, vec![Record::Host(Arc::new(host(n)?))]);
    }
    let (mut wanted, mut left) = (vec![], INSTANCES);
    for n in 0..SERVICES {
        let id: ServiceId = format!("stack-{}/service-{n:04}", n / 10).parse()?;
        let scale = if n + 1 == SERVICES { left } else { size(n).min(left) };
        left -= scale;
        let revision = Revision {
            service: id.clone(),
            number: 1,
            template: template(n, &id),
            created_at: NOW,
        };
        let records = vec![
            Record::Service(Arc::new(service(&id, scale))),
            Record::Revision(Arc::new(revision)),
        ];
        put(&mut cluster, records);
        wanted.push((id, scale));
    }
    Ok((cluster, wanted))
}

/// Places everything; how long that took, and what was placed.
fn place_all(
    cluster: &Cluster,
    wanted: &[(ServiceId, u32)],
) -> Result<(Fleet, Placed, f64), Box<dyn Error>> {
    let mut fleet = Fleet::of(cluster);
    let mut placed = Vec::with_capacity(INSTANCES as usize);
    let since = cpu()?;
    for (id, scale) in wanted {
        let revision = cluster.revision(id, 1).ok_or("the revision is not there")?;
        for n in 1..=*scale {
            let place = fleet
                .choose(&Ask {
                    service: id,
                    revision: 1,
                    template: &revision.template,
                    n,
                    before: None,
                    pin: None,
                    prefer: vec![],
                    more: scale - n + 1,
                })
                .map_err(|unplaced| format!("{id}#{n}: {}", unplaced.reason))?;
            let instance = Arc::new(Instance {
                id: InstanceId::new(id.clone(), n, u64::from(n)),
                host: place.host,
                address: place.address,
                sidekick_addresses: place.sidekick_addresses,
                container_name: String::new(),
                target: Target { revision: 1, restart: 0 },
                ports: place.ports,
                goal: Goal::Run,
                leaving: false,
                dropped: place.dropped,
                reason: String::new(),
                placed_at: NOW,
                goal_at: NOW,
            });
            fleet.take(cluster, &instance);
            placed.push(instance);
        }
    }
    Ok((fleet, placed, cpu()? - since))
}

/// What was placed goes into the cluster, and runs.
fn run_all(cluster: &mut Cluster, wanted: &[(ServiceId, u32)], placed: &[Arc<Instance>]) {
    let seen = InstanceStatus {
        phase: Phase::Running,
        health: Health::Unchecked,
        container_id: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef".into(),
        image_id: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef".into(),
        started_at: Some(NOW),
        changed_at: NOW,
        ..InstanceStatus::default()
    };
    for instance in placed {
        let mut named = (**instance).clone();
        named.container_name = format!("{}-abcdef", instance.id.public_name());
        named.reason = "slot 1 of 100".into();
        let records = vec![
            Record::InstanceStatus(instance.id.clone(), Arc::new(seen.clone())),
            Record::Instance(Arc::new(named)),
        ];
        put(cluster, records);
    }
    for (id, scale) in wanted {
        let mut status = ServiceStatus::new(id.clone());
        status.incarnations = u64::from(*scale);
        put(cluster, vec![Record::ServiceStatus(Arc::new(status))]);
    }
}

/// Bytes of memory that this process has resident.
fn resident() -> Result<f64, Box<dyn Error>> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: f64 = statm.split_whitespace().nth(1).ok_or("statm has no second field")?.parse()?;
    Ok(pages * 4_096.0)
}

/// Time that this process has had of a core: what others do meanwhile does not count.
fn cpu() -> Result<f64, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/schedstat")?;
    let ns: f64 = stat.split_whitespace().next().ok_or("schedstat is empty")?.parse()?;
    Ok(ns / 1e9)
}

fn seconds(one: impl FnOnce()) -> f64 {
    let since = Instant::now();
    one();
    since.elapsed().as_secs_f64()
}

/// The middle one, in milliseconds.
fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default() * 1e3
}

fn main() -> Result<(), Box<dyn Error>> {
    let before = resident()?;
    let (mut cluster, wanted) = empty()?;
    let (fleet, placed, _) = place_all(&cluster, &wanted)?;
    drop(fleet);
    run_all(&mut cluster, &wanted, &placed);
    drop(placed);
    let mut planner = Planner::default();
    let now = NOW.plus_ms(3_600_000);
    let mut first = 0.0;
    // Until it has nothing more to say; a plan is bounded.
    for round in 0.. {
        let mut plan = control::cluster::ClusterPlan::default();
        let took = seconds(|| plan = planner.plan(&cluster, now));
        first = if round == 0 { took } else { first };
        if plan.proposals.is_empty() {
            break;
        }
        if round > 20 {
            return Err(format!("it does not come to rest: {:?}", plan.proposals.first()).into());
        }
        for proposal in plan.proposals {
            let index = Index(cluster.index().0 + 1);
            cluster.apply(index, &proposal.change);
        }
    }
    let bytes = (resident()? - before) / f64::from(INSTANCES);
    let ten = wanted.iter().filter(|(_, scale)| *scale == 10);
    let (mut plans, mut chosen, mut fleet) = (vec![], vec![], Fleet::of(&cluster));
    for (id, _) in ten.take(50) {
        let revision = cluster.revision(id, 1).cloned().ok_or("the revision is not there")?;
        let ask = Ask {
            service: id,
            revision: 1,
            template: &revision.template,
            n: 11,
            before: None,
            pin: None,
            prefer: vec![],
            more: 1,
        };
        chosen.push(seconds(|| drop(fleet.choose(&ask))));
        put(&mut cluster, vec![Record::Service(Arc::new(service(id, 11)))]);
        let mut made = 0;
        plans.push(seconds(|| made = planner.plan(&cluster, now).proposals.len()));
        if made != 1 {
            return Err(format!("{id}: {made} proposals instead of one").into());
        }
        // What was planned is seen before the next.
        let again = planner.plan(&cluster, now);
        for proposal in again.proposals {
            let index = Index(cluster.index().0 + 1);
            cluster.apply(index, &proposal.change);
        }
        drop(planner.plan(&cluster, now));
    }
    let copies = (0..100).map(|_| seconds(|| drop(cluster.clone()))).collect();
    let (nothing, wanted) = empty()?;
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let (_, placed, took) = place_all(&nothing, &wanted)?;
        if placed.len() != INSTANCES as usize {
            return Err(format!("{} were placed", placed.len()).into());
        }
        best = best.min(took);
    }
    println!(
        "{{\"placements_per_s\":{:.0},\"choose_ms\":{:.4},\"plan_ms\":{:.4},\"snapshot_ms\":{:.4},\
         \"bytes_per_instance\":{bytes:.0},\"first_plan_ms\":{:.1}}}",
        f64::from(INSTANCES) / best,
        median(chosen),
        median(plans),
        median(copies),
        first * 1e3,
    );
    Ok(())
}
