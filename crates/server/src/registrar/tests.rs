//! Clients against a server without a network, in virtual time.

use super::*;
use crate::{Options, Server};
use ::consul::{Consul, Facts, Registrar, Request, Standing};
use bytes::Bytes;
use model::host::{Host, HostFacts, Scheduling};
use model::record::Record;
use model::time::{Clock, Index};
use std::sync::Arc;
use store::Memory;

/// Longest wait, in virtual time.
const PATIENCE: Duration = Duration::from_secs(600);

struct World {
    shared: Shared<Memory>,
    consul: Consul<Memory>,
    began: Instant,
    _tasks: JoinSet<()>,
    _dir: tempfile::TempDir,
}

async fn world(store: Memory) -> World {
    let dir = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let now = move || i64::try_from(began.elapsed().as_millis()).unwrap() + 1_000;
    let options = Options {
        dir: dir.path().to_owned(),
        subnet: "10.42.0.0/16".parse().unwrap(),
        names: vec![],
        environment: None,
        clock: Clock::new(move || Timestamp(now())),
    };
    let server = Server::open(store, options).await.unwrap();
    let facts = Facts { node: "h1".into(), address: [127, 0, 0, 1].into() };
    let (store, clock) = (server.shared.store.clone(), Clock::new(move || Timestamp(now())));
    let judge = Arc::new(|_: &str, _: &str| Standing::Passing);
    let consul = Consul::open(store, clock, facts, judge).await.unwrap();
    let (registrar, asked) = Registrar::new();
    let consul = consul.with_registrar(registrar);
    let shared = server.shared.clone();
    let mut tasks = JoinSet::new();
    tasks.spawn(crate::follow::run(shared.clone()));
    tasks.spawn(run(shared.clone(), asked));
    World { shared, consul, began, _tasks: tasks, _dir: dir }
}

impl World {
    async fn host(&self, status: HostLink) {
        let host = Host {
            id: "h1".parse().unwrap(),
            facts: HostFacts { address: "10.0.0.7".into(), ..HostFacts::default() },
            status,
            changed_at: Timestamp(0),
            unheard_since: Timestamp(0),
            scheduling: Scheduling::Active,
            labels: BTreeMap::new(),
            reason: String::new(),
            membership: model::host::Membership::default(),
        };
        let edits = vec![Edit::Put(Record::Host(Arc::new(host)))];
        let change = Change { edits };
        self.shared.commit(Proposal { reads: vec![], change }).await.unwrap();
    }

    async fn put(&self, path: &str, body: &str) -> (u16, String) {
        let uri = format!("/v1/{path}");
        let head = http::Request::builder().method("PUT").uri(uri).body(()).unwrap();
        let body = Bytes::copy_from_slice(body.as_bytes());
        let request = Request::read(&head.into_parts().0, body, "h1").unwrap();
        let answer = self.consul.answer(&request).await;
        (answer.status.as_u16(), String::from_utf8(answer.body.to_vec()).unwrap())
    }

    fn index(&self) -> Index {
        self.shared.cluster().index()
    }

    fn status(&self, check: &str) -> (CheckStatus, String) {
        let cluster = self.shared.cluster();
        let check = cluster.client_check(&ClientKey::new("h1", check)).unwrap();
        stands(&cluster, check)
    }

    /// Waits until it is so, and says how long that took since the beginning.
    async fn until(&self, is_so: impl Fn(&Cluster) -> bool) -> Duration {
        let mut clusters = self.shared.follow(Interest::Every);
        let waiting = async {
            while !is_so(&clusters.take()) {
                clusters.changed().await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap();
        self.began.elapsed()
    }

    async fn critical(&self, id: &'static str) -> Duration {
        let key = ClientKey::new("h1", id);
        let is_so = |cluster: &Cluster| {
            cluster.check_state(&key).is_some_and(|state| state.status == CheckStatus::Critical)
        };
        self.until(is_so).await
    }
}

const WEB: &str = r#"{"Name":"web","Port":80,"Check":{"TTL":"20s"},"Checks":null}"#;

#[tokio::test(start_paused = true)]
async fn clients_register_speak_and_deregister() {
    let world = world(Memory::default()).await;
    world.host(HostLink::Active).await;
    let ok = (200, String::new());
    assert_eq!(world.put("agent/service/register", WEB).await, ok);
    assert_eq!(world.status("service:web").0, CheckStatus::Critical);
    assert_eq!(world.put("agent/check/pass/service:web?note=fine", "").await, ok);
    assert_eq!(world.status("service:web"), (CheckStatus::Passing, "fine".into()));
    let index = world.index();
    assert_eq!(world.put("agent/service/register", WEB).await, ok);
    assert_eq!(world.put("agent/check/pass/service:web?note=fine", "").await, ok);
    assert_eq!(world.index(), index, "the same again is no change");
    assert_eq!(world.put("agent/check/pass/service:web?note=1", "").await, ok);
    assert_eq!(world.index(), index, "another output alone waits");
    let warning = r#"{"Status":"warning","Output":"slow"}"#;
    assert_eq!(world.put("agent/check/update/service:web", warning).await, ok);
    assert_eq!(world.status("service:web"), (CheckStatus::Warning, "slow".into()));
    assert_eq!(world.put("agent/service/maintenance/web?enable=true&reason=x", "").await, ok);
    assert_eq!(world.status("_service_maintenance:web").0, CheckStatus::Critical);
    for (path, body, status, text) in [
        ("agent/service/register", "{}", 400, "Missing service name"),
        ("agent/service/register", "{", 400, "Request decode failed"),
        ("agent/service/register", r#"{"Name":"a\u0007"}"#, 400, "control characters"),
        ("agent/service/deregister/nothing", "", 404, "Unknown service ID \"nothing\""),
        ("agent/check/register", "{}", 400, "Missing check name"),
        ("agent/check/pass/nothing", "", 404, "Unknown check ID \"nothing\""),
        ("agent/check/update/service:web", r#"{"Status":"x"}"#, 400, "Invalid check status: 'x'"),
        ("agent/service/maintenance/web", "", 400, "Missing value for enable"),
        ("agent/maintenance?enable=maybe", "", 400, "Invalid value for enable"),
        ("catalog/register", r#"{"Address":"x"}"#, 400, "Must provide node"),
        ("catalog/register", r#"{"Node":"h1","Address":"9.9.9.9"}"#, 403, "Permission denied"),
        ("catalog/deregister", r#"{"Node":"h1"}"#, 403, "is a host"),
    ] {
        let answer = world.put(path, body).await;
        assert!(answer.0 == status && answer.1.contains(text), "{path}: {answer:?}");
    }
    assert_eq!(world.put("agent/service/deregister/web", "").await, ok);
    assert_eq!(world.shared.cluster().client_checks().count(), 0);
    let node = r#"{"Node":"db","Address":"db.example","Service":{"Service":"sql"},
        "Check":{"Name":"alive","ServiceID":"sql","Status":"passing"}}"#;
    assert_eq!(world.put("catalog/register", node).await, (200, "true".into()));
    assert_eq!(world.put("catalog/deregister", r#"{"Node":"db"}"#).await, (200, "true".into()));
    assert_eq!(world.put("catalog/deregister", r#"{"Node":"db"}"#).await, (200, "true".into()));
    assert_eq!(world.shared.cluster().client_node_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_is_silent_is_critical_in_time_and_a_new_server_gives_the_whole_time_again() {
    let store = Memory::default();
    let first = world(store.clone()).await;
    first.host(HostLink::Active).await;
    first.put("agent/service/register", WEB).await;
    first.put("agent/check/pass/service:web?note=fine", "").await;
    drop(first);
    let second = world(store).await;
    let known = (CheckStatus::Passing, "fine".to_owned());
    assert_eq!(second.status("service:web"), known, "no alarm by the start");
    let late = second.critical("service:web").await;
    assert!(late >= Duration::from_secs(20) && late < Duration::from_secs(21), "{late:?}");
    let expect = "TTL expired (last output before timeout follows): fine";
    assert_eq!(second.status("service:web").1, expect);
    assert_eq!(second.put("agent/check/pass/service:web", "").await.0, 200);
    assert_eq!(second.status("service:web").0, CheckStatus::Passing, "it may come back");
}

#[tokio::test(start_paused = true)]
async fn nobody_is_late_while_its_host_cannot_be_heard() {
    let world = world(Memory::default()).await;
    world.host(HostLink::Active).await;
    world.put("agent/service/register", WEB).await;
    world.put("agent/check/pass/service:web", "").await;
    world.host(HostLink::Disconnected).await;
    let other = r#"{"Node":"n","Address":"a"}"#;
    tokio::time::advance(Duration::from_secs(100)).await;
    world.put("catalog/register", other).await;
    assert_eq!(world.status("service:web").0, CheckStatus::Passing);
    world.host(HostLink::Active).await;
    let back = world.began.elapsed();
    let late = world.critical("service:web").await.checked_sub(back).unwrap();
    assert!(late >= Duration::from_secs(20) && late < Duration::from_secs(21), "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_critical_for_too_long_goes_by_itself() {
    let world = world(Memory::default()).await;
    world.host(HostLink::Active).await;
    let body = r#"{"name":"web","check":{"ttl":"5s","deregister_critical_service_after":"1s"}}"#;
    world.put("agent/service/register", body).await;
    world.put("agent/check/pass/service:web", "").await;
    let since = world.critical("service:web").await;
    let gone = world.until(|cluster| cluster.client_service_count() == 0).await;
    let after = gone.checked_sub(since).unwrap();
    assert!(after > Duration::from_secs(60) && after <= Duration::from_secs(91), "{after:?}");
    assert_eq!(world.shared.cluster().check_states().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_on_a_node_that_is_gone_goes_too() {
    let world = world(Memory::default()).await;
    world.host(HostLink::Active).await;
    world.put("agent/service/register", WEB).await;
    world.put("agent/check/pass/service:web", "").await;
    let edits = vec![Edit::Delete(RecordKey::Host("h1".parse().unwrap()))];
    let proposal = Proposal { reads: vec![], change: Change { edits } };
    world.shared.commit(proposal).await.unwrap();
    world.until(|cluster| cluster.client_service_count() == 0).await;
    let cluster = world.shared.cluster();
    assert_eq!(cluster.client_checks().count() + cluster.check_states().count(), 0);
}

/// The store does not answer for a while; what was said before the time was over counts.
#[tokio::test(start_paused = true)]
async fn a_word_counts_from_when_it_came_however_long_the_store_takes() {
    let gate = Arc::new(store::Gate::default());
    let world = world(Memory::default().behind(Arc::clone(&gate))).await;
    world.host(HostLink::Active).await;
    let check = |name: &str| format!("{{\"Name\":\"{name}\",\"TTL\":\"20s\"}}");
    for name in ["one", "two"] {
        world.put("agent/check/register", &check(name)).await;
        world.put(&format!("agent/check/pass/{name}"), "").await;
    }
    let began = world.began.elapsed();
    tokio::time::advance(Duration::from_secs(15)).await;
    gate.close();
    let words = async {
        let (one, two) = tokio::join!(
            world.put("agent/check/warn/one", ""),
            world.put("agent/check/warn/two", "")
        );
        assert_eq!((one.0, two.0), (200, 200));
    };
    let opened = async {
        // Past the time at which both would be late.
        tokio::time::advance(Duration::from_secs(6)).await;
        tokio::time::advance(Duration::from_secs(4)).await;
        gate.open();
    };
    tokio::join!(words, opened);
    for name in ["one", "two"] {
        assert_eq!(world.status(name).0, CheckStatus::Warning, "{name}");
    }
    for name in ["one", "two"] {
        let late = world.critical(name).await.checked_sub(began).unwrap();
        assert!(late >= Duration::from_secs(35) && late < Duration::from_secs(36), "{late:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_with_many_checks_is_deregistered_at_once() {
    let world = world(Memory::default()).await;
    world.host(HostLink::Active).await;
    assert_eq!(world.put("agent/service/register", "{\"Name\":\"web\"}").await.0, 200);
    for n in 0..600 {
        let check = format!("{{\"Name\":\"c{n}\",\"ServiceID\":\"web\",\"TTL\":\"1h\"}}");
        assert_eq!(world.put("agent/check/register", &check).await.0, 200);
        world.put(&format!("agent/check/pass/c{n}"), "").await;
    }
    let before = world.index();
    assert_eq!(world.put("agent/service/deregister/web", "").await, (200, String::new()));
    assert_eq!(world.index(), Index(before.0 + 1));
    let cluster = world.shared.cluster();
    assert_eq!(cluster.client_checks().count() + cluster.check_states().count(), 0);
}
