//! The server in a process of its own: it says where it is, and deploys what it is told to.

use crate::Result;
use model::change::{Change, Edit, Proposal};
use model::container_spec::ContainerSpec;
use model::health::HealthCheck;
use model::id::ServiceId;
use model::instance::{Goal, Target};
use model::placement::{Constraint, Subject};
use model::record::{Orders, Record, Revision, Service, ServiceSettings, Stack};
use model::scaling::Mode;
use model::service::{ServiceSpec, Template};
use model::time::{Clock, Timestamp};
use serde_json::json;
use server::{Options, Server};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use store::{Sqlite, Store, codec};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;

pub(crate) fn clock() -> Clock {
    Clock::new(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
    })
}

/// `deploy GROUPS SERVICES` on its input brings a stack of so many services to each group of
/// hosts, an instance on every host of the group.
pub(crate) async fn run() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let store = Sqlite::open(dir.path().join("store")).await?;
    let options = Options {
        dir: dir.path().to_owned(),
        subnet: "10.0.0.0/8".parse()?,
        names: vec![],
        environment: None,
        clock: clock(),
    };
    let server = Server::open(store.clone(), options).await?;
    let socket = TcpListener::bind("127.0.0.1:0").await?;
    let address = socket.local_addr()?.to_string();
    let (pin, token_file) = (server.pin(), server.token_file.clone());
    let token = server.join_token();
    let serving = tokio::task::spawn(server.run(Some(socket)));
    let token = token.await.map_err(|error| error.message)?.token;
    let admin = std::fs::read_to_string(token_file)?.trim().to_owned();
    println!("{}", json!({ "address": address, "pin": pin, "token": token, "admin": admin }));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["deploy", groups, services] = words[..] else { continue };
        deploy(&store, groups.parse()?, services.parse()?).await?;
        println!("{{}}");
    }
    serving.abort();
    Ok(())
}

async fn deploy(store: &Sqlite, groups: usize, services: usize) -> Result<()> {
    for group in 0..groups {
        let created_at = clock().now();
        let name = format!("g{group:03}").parse()?;
        let stack = Stack { name, volumes: [].into(), created_at };
        let mut edits = vec![Edit::Put(Record::Stack(Arc::new(stack)))];
        for n in 0..services {
            edits.extend(service(&format!("g{group:03}/s{n:03}").parse()?, group, created_at)?);
        }
        let proposal = Proposal { reads: vec![], change: Change { edits } };
        store.txn(codec::encode(&proposal)?).await?;
    }
    Ok(())
}

fn service(id: &ServiceId, group: usize, now: Timestamp) -> Result<[Edit; 2]> {
    let container = ContainerSpec { image: "app:1".into(), ..ContainerSpec::default() };
    let mut template = Template::of_container(container);
    let check: HealthCheck = serde_json::from_value(json!({
        "port": 9000, "probe": { "type": "tcp" },
        "interval_ms": 2000, "timeout_ms": 2000, "healthy_threshold": 2, "unhealthy_threshold": 3,
        "initializing_timeout_ms": null, "reinitializing_timeout_ms": null,
        "strategy": { "type": "none" },
    }))?;
    template.health_check = Some(check);
    let on = Subject::HostLabel { key: "group".into(), value: Some(group.to_string()) };
    template.placement.constraints = vec![Constraint { on, negated: false, soft: false }];
    let spec = ServiceSpec { mode: Mode::Global, ..ServiceSpec::of(template.clone()) };
    let revision = Revision { service: id.clone(), number: 1, template, created_at: now };
    let service = Service {
        id: id.clone(),
        settings: ServiceSettings::of(&spec),
        scale: 1,
        target: Target { revision: 1, restart: 0 },
        attempt: 0,
        orders: Orders::default(),
        goal: Goal::Run,
        created_at: now,
    };
    Ok([
        Edit::Put(Record::Revision(Arc::new(revision))),
        Edit::Put(Record::Service(Arc::new(service))),
    ])
}
