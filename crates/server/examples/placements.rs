//! What a placement costs end to end: services are asked for, and it is measured until each of
//! their instances is decided on and durable in SQLite. `cargo run --release -p server --example
//! placements`; one line of JSON.

#![expect(clippy::print_stdout, reason = "it is what the program is for")]

use model::change::{Change, Edit, Proposal};
use model::container_spec::ContainerSpec;
use model::host::{Host, HostFacts, HostLink, Scheduling};
use model::id::ServiceId;
use model::instance::{Goal, Target};
use model::record::{Orders, Record, Revision, Service, ServiceSettings};
use model::service::{ServiceSpec, Template};
use model::time::{Clock, Timestamp};
use server::{Options, Server};
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use store::{Sqlite, Store, codec};

const HOSTS: usize = 500;
const SERVICES: usize = 60;
const SCALE: u32 = 500;
/// The whole may not take longer.
const LIMIT: Duration = Duration::from_secs(120);

fn clock() -> Clock {
    Clock::new(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
    })
}

async fn put<S: Store>(store: &S, records: Vec<Record>) -> Result<(), Box<dyn Error>> {
    for part in records.chunks(500) {
        let edits = part.iter().cloned().map(Edit::Put).collect();
        let proposal = Proposal { reads: vec![], change: Change { edits } };
        store.txn(codec::encode(&proposal)?).await?;
    }
    Ok(())
}

fn hosts(now: Timestamp) -> Result<Vec<Record>, Box<dyn Error>> {
    let host = |n: usize| {
        let facts = HostFacts { cpus: 64, memory: 256 << 30, ..HostFacts::default() };
        Ok(Record::Host(Arc::new(Host {
            id: format!("host-{n:04}").parse()?,
            facts,
            status: HostLink::Active,
            changed_at: now,
            unheard_since: now,
            scheduling: Scheduling::Active,
            labels: std::collections::BTreeMap::new(),
            reason: String::new(),
            membership: model::host::Membership::default(),
        })))
    };
    (0..HOSTS).map(host).collect()
}

fn services(now: Timestamp) -> Result<Vec<Record>, Box<dyn Error>> {
    let mut records = vec![];
    for n in 0..SERVICES {
        let id: ServiceId = format!("load/service-{n:03}").parse()?;
        let mut container = ContainerSpec { image: "app:1".into(), ..ContainerSpec::default() };
        container.resources.memory_reserved = 64 << 20;
        container.environment.insert("MODE".into(), "production".into());
        let template = Template::of_container(container);
        let settings = ServiceSettings::of(&ServiceSpec::of(template.clone()));
        let revision = Revision { service: id.clone(), number: 1, template, created_at: now };
        records.push(Record::Revision(Arc::new(revision)));
        records.push(Record::Service(Arc::new(Service {
            id,
            settings,
            scale: SCALE,
            target: Target { revision: 1, restart: 0 },
            attempt: 0,
            orders: Orders::default(),
            goal: Goal::Run,
            created_at: now,
        })));
    }
    Ok(records)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let store = Sqlite::open(dir.path().join("store")).await?;
    let clock = clock();
    let options = Options {
        dir: dir.path().to_owned(),
        subnet: "10.0.0.0/8".parse()?,
        names: vec![],
        environment: None,
        clock: clock.clone(),
    };
    let server = Server::open(store.clone(), options).await?;
    put(&store, hosts(clock.now())?).await?;
    let task = tokio::task::spawn(server.run(None));
    let wanted = SERVICES * SCALE as usize;
    let begun = Instant::now();
    put(&store, services(clock.now())?).await?;
    loop {
        let (cluster, _) = codec::cluster(&store).await?;
        let placed = cluster.instances().count();
        if placed >= wanted {
            break;
        }
        if begun.elapsed() > LIMIT {
            return Err(format!("{placed} of {wanted} placed after {LIMIT:?}").into());
        }
        // Reading everything costs as well: seldom, and the more is missing the later.
        let missing = u64::try_from(wanted - placed).unwrap_or(u64::MAX);
        tokio::time::sleep(Duration::from_millis((missing / 40).clamp(20, 400))).await;
    }
    let seconds = begun.elapsed().as_secs_f64();
    task.abort();
    println!(
        "{}",
        serde_json::json!({
            "placements": wanted,
            "seconds": seconds,
            "per_second": f64::from(u32::try_from(wanted)?) / seconds,
        })
    );
    Ok(())
}
