//! What a change costs the catalog of the Consul API: 10,000 containers, of which one gets sick or well,
//! 200 times, until all readers see it. Prints one line of JSON.

use consul::{Consul, Facts, Judge, Standing};
use model::change::{Change, Edit};
use model::cluster::Cluster;
use model::health::Health;
use model::host::{Environment, Host, HostFacts, HostLink};
use model::plain::{PlainContainer, PlainId, PlainPort, PlainState};
use model::record::Record;
use model::service::Transport;
use model::time::{Clock, Index, Timestamp};
use std::sync::Arc;
use std::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const HOSTS: u16 = 100;
const CONTAINERS: u16 = 10_000;
/// Containers of one service.
const ENTRIES: u16 = 3;

fn container(n: u16, health: Health) -> Result<Edit> {
    let port = PlainPort {
        container_port: 80,
        protocol: Transport::Tcp,
        host_port: Some(20_000 + n),
        host_ip: None,
    };
    let service = ("SERVICE_NAME".to_owned(), format!("s{}", n / ENTRIES));
    let plain = PlainContainer {
        name: format!("c{n}"),
        image: "web".into(),
        state: PlainState::Running,
        health,
        network: "default".into(),
        ports: vec![port],
        labels: [service, ("SERVICE_TAGS".to_owned(), "http,v1".to_owned())].into(),
        ..PlainContainer::default()
    };
    let id =
        PlainId { host: format!("h{}", n % HOSTS).parse()?, container: format!("c{n}").parse()? };
    Ok(Edit::Put(Record::Plain(id, Arc::new(plain))))
}

fn cluster() -> Result<Cluster> {
    let environment = Environment::new("e".into(), "e", "10.42.0.0/16".parse()?);
    let mut edits = vec![Edit::Put(Record::Environment(Arc::new(environment)))];
    for n in 0..HOSTS {
        let facts =
            HostFacts { address: format!("10.0.{}.{}", n / 200, n % 200), ..Default::default() };
        edits.push(Edit::Put(Record::Host(Arc::new(Host {
            id: format!("h{n}").parse()?,
            facts,
            status: HostLink::Active,
            changed_at: Timestamp(0),
            unheard_since: Timestamp(0),
            scheduling: Default::default(),
            labels: Default::default(),
            reason: String::new(),
            membership: Default::default(),
        }))));
    }
    for n in 0..CONTAINERS {
        edits.push(container(n, Health::Healthy)?);
    }
    let mut cluster = Cluster::default();
    cluster.apply(Index(1), &Change { edits });
    Ok(cluster)
}

/// Milliseconds that a change of one container takes, at the median of 200.
fn change_ms(consul: &Consul<store::Memory>, cluster: &mut Cluster) -> Result<f64> {
    let mut took = vec![];
    for n in 0..200_u16 {
        let health = if n % 2 == 0 { Health::Unhealthy } else { Health::Healthy };
        let edits = vec![container(CONTAINERS - 1, health)?];
        let index = Index(cluster.index().0 + 1);
        cluster.apply(index, &Change { edits });
        let begun = Instant::now();
        consul.catalog().follow(cluster, consul.waiters());
        took.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    Ok(took.get(took.len() / 2).copied().ok_or("nothing was measured")?)
}

#[expect(clippy::print_stdout, reason = "its answer")]
#[tokio::main]
async fn main() -> Result<()> {
    let mut cluster = cluster()?;
    let judge: Judge = Arc::new(|_node, _check| Standing::Passing);
    let facts = Facts { node: "h0".into(), address: [127, 0, 0, 1].into() };
    let clock = Clock::new(|| Timestamp(0));
    let consul = Consul::open(store::Memory::default(), clock, facts, judge).await?;
    let begun = Instant::now();
    consul.catalog().follow(&cluster, consul.waiters());
    let first_ms = begun.elapsed().as_secs_f64() * 1e3;
    let change_ms = change_ms(&consul, &mut cluster)?;
    println!("{}", serde_json::json!({ "change_ms": change_ms, "first_ms": first_ms }));
    Ok(())
}
