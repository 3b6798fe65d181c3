//! What a read of the Consul API costs: `reads SECONDS` serves a catalog of 10,000 containers on
//! loopback, has `wrk` ask for the passing entries of one service over 32 connections, and prints one
//! line of JSON. The processor time is that of this process, which serves and does nothing else.

use consul::{Consul, Facts, Judge, Standing, accept};
use model::change::{Change, Edit};
use model::cluster::Cluster;
use model::health::Health;
use model::host::{Environment, Host, HostFacts, HostLink};
use model::plain::{PlainContainer, PlainId, PlainPort, PlainState};
use model::record::Record;
use model::service::Transport;
use model::time::{Clock, Index, Timestamp};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

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

/// Milliseconds of processor time of this process so far.
fn cpu_ms() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let behind = stat.rsplit(')').next().ok_or("/proc/self/stat")?;
    let field =
        |n: usize| behind.split_whitespace().nth(n).and_then(|word| word.parse::<f64>().ok());
    // utime and stime, in hundredths of a second.
    let ticks = field(11).zip(field(12)).ok_or("/proc/self/stat")?;
    Ok((ticks.0 + ticks.1) * 10.0)
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
    let seconds: u64 = std::env::args().nth(1).ok_or("reads SECONDS")?.parse()?;
    let mut cluster = cluster()?;
    let judge: Judge = Arc::new(|_node, _check| Standing::Passing);
    let facts = Facts { node: "h0".into(), address: [127, 0, 0, 1].into() };
    let clock = Clock::new(|| Timestamp(0));
    let consul = Consul::open(store::Memory::default(), clock, facts, judge).await?;
    let begun = Instant::now();
    consul.catalog().follow(&cluster, consul.waiters());
    let first_ms = begun.elapsed().as_secs_f64() * 1e3;
    let change_ms = change_ms(&consul, &mut cluster)?;
    let socket = TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}/v1/health/service/s1?passing", socket.local_addr()?);
    let serving = tokio::spawn(accept(socket, consul));
    let asking = move || {
        let before = cpu_ms()?;
        let mut wrk = Command::new("wrk");
        wrk.args(["-t1", "-c32", "--latency", &format!("-d{seconds}s"), &url]);
        let output = wrk.output()?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>((
            String::from_utf8(output.stdout)?,
            cpu_ms()? - before,
        ))
    };
    let (said, cpu) = tokio::task::spawn_blocking(asking).await??;
    serving.abort();
    if said.contains("Non-2xx") || said.contains("Socket errors") {
        return Err(format!("requests failed:\n{said}").into());
    }
    let word = |line: &str, n: usize| -> Option<String> {
        let line = said.lines().find(|one| one.contains(line))?;
        line.split_whitespace().nth(n).map(str::to_owned)
    };
    let requests: f64 = word("requests in", 0).ok_or("wrk's answer")?.parse()?;
    let per_s: f64 = word("Requests/sec", 1).ok_or("wrk's answer")?.parse()?;
    let p99 = word("99%", 1).ok_or("wrk's answer")?;
    let told = serde_json::json!({
        "requests_per_s": per_s, "cpu_us": cpu * 1e3 / requests, "p99": p99,
        "change_ms": change_ms, "first_ms": first_ms,
        "seconds": Duration::from_secs(seconds).as_secs(),
    });
    println!("{told}");
    Ok(())
}
