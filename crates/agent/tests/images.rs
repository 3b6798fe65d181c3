//! An agent over fakes, in virtual time: which images it removes from its host, and when.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may")]

use agent::{Agent, Journal, Options};
use api::link::{Down, Mark, MemoryLink, Publication, Switchboard, Up};
use api::stream::{Chunk, StreamRequest};
use engine::fake::{Fault, FaultKind, Op, Program};
use engine::seen::DiskSpace;
use engine::{Engine as _, Fake};
use model::container_spec::{ContainerSpec, NetworkMode, PullPolicy};
use model::host::{DiskFacts, Environment};
use model::host_spec::{HostSpec, InstanceSpec};
use model::host_status::HostStatus;
use model::id::InstanceId;
use model::instance::{Goal, Target};
use model::service::RestartPolicy;
use model::time::{Clock, Generation, Index, Timestamp};
use model::view::{HostView, VIEW_FORMAT};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

const GIB: u64 = 1 << 30;
const SHORT: DiskSpace = DiskSpace { total: 100 * GIB, free: 5 * GIB };

/// A host with its agent, and a server that answers as long as it is told to.
struct Place {
    engine: Fake,
    journal: Journal,
    board: Switchboard,
    answers: watch::Sender<bool>,
    publish: watch::Sender<Option<Arc<Publication>>>,
    open: watch::Receiver<Option<mpsc::Sender<Down>>>,
    status: watch::Receiver<Option<HostStatus>>,
    generation: u64,
    agent: JoinSet<()>,
    server: JoinSet<()>,
    dir: tempfile::TempDir,
    clock: Clock,
}

impl Place {
    fn new() -> Self {
        let begin = Instant::now();
        let clock = Clock::new(move || {
            let ms = i64::try_from(begin.elapsed().as_millis()).unwrap();
            Timestamp(1_700_000_000_000 + ms)
        });
        let engine = Fake::with_clock(clock.clone());
        let (board, mut arrivals) = Switchboard::new();
        let (answers, publish) = (watch::Sender::new(true), watch::Sender::new(None));
        let (now_open, open) = watch::channel(None);
        let (now_status, status) = watch::channel(None);
        let mut server = JoinSet::new();
        server.spawn(engine.clone().drive());
        let (answering, news) = (answers.subscribe(), publish.clone());
        server.spawn(async move {
            while let Some(mut arrival) = arrivals.recv().await {
                let mut news = news.subscribe();
                if let Some(news) = news.borrow_and_update().clone() {
                    arrival.outbox.put(news, None);
                }
                now_open.send_replace(Some(arrival.open.clone()));
                loop {
                    tokio::select! {
                        up = arrival.up.recv() => match up {
                            Some(Up::Beat { number }) if *answering.borrow() => {
                                let lease = news.borrow().as_ref().map(|p| p.spec.generation);
                                arrival.open.send(Down::Heard { number, lease, every_ms: 0 }).await.ok();
                            }
                            Some(Up::Status(status)) => {
                                now_status.send_replace(Some(*status));
                            }
                            Some(_) => {}
                            None => break,
                        },
                        changed = news.changed() => {
                            changed.unwrap();
                            if let Some(news) = news.borrow_and_update().clone() {
                                arrival.outbox.put(news, None);
                            }
                        }
                    }
                }
            }
        });
        let mut place = Self {
            engine,
            journal: Journal::memory(),
            board,
            answers,
            publish,
            open,
            status,
            generation: 0,
            agent: JoinSet::new(),
            server,
            dir: tempfile::tempdir().unwrap(),
            clock,
        };
        place.start_agent();
        place
    }

    fn start_agent(&mut self) {
        let fabric = network::Fake::new();
        fabric.with(|world| world.make_bridge(agent::BRIDGE, Ipv4Addr::new(10, 42, 0, 1), 16));
        let host = "one".parse().unwrap();
        let agent = Agent::new(Options {
            host,
            dir: self.dir.path().to_owned(),
            link: MemoryLink::new(self.board.clone(), "one".parse().unwrap()),
            engine: self.engine.clone(),
            fabric,
            clock: self.clock.clone(),
            journal: Some(self.journal.clone()),
            environment: None,
            plugs: agent::Plugs::default(),
            dataplane: None,
        });
        self.agent.spawn(agent.run());
    }

    /// Publishes instances of one slot each, by image and goal, and what is kept for a rollback.
    fn publish(&mut self, instances: &[(u32, &str, Goal)], kept: &str) {
        self.generation += 1;
        let environment = Environment::new("e1".into(), "e1", "10.42.0.0/16".parse().unwrap());
        let instances = instances.iter().map(|(n, image, goal)| {
            let id: InstanceId = format!("shop/web#{n}@{n}").parse().unwrap();
            let one = instance(&id, image, *goal);
            (id, one)
        });
        let spec = HostSpec {
            generation: Generation(self.generation),
            host: "one".parse().unwrap(),
            environment,
            instances: instances.collect(),
            balancers: BTreeMap::new(),
            volumes: BTreeMap::new(),
            images_kept: kept.split_whitespace().map(str::to_owned).collect(),
            attachments: BTreeMap::new(),
            policy: Arc::default(),
            labels: Arc::default(),
            peers: Arc::default(),
        };
        let view = HostView {
            format: VIEW_FORMAT,
            environment: "e1".into(),
            host: "one".parse().unwrap(),
            index: Index(self.generation),
            dns: Arc::default(),
            callers: Arc::default(),
            instances: Arc::default(),
            upstreams: BTreeMap::new(),
            listeners: BTreeMap::new(),
            floating: [].into(),
            checks: [].into(),
            partial: false,
            catalog: Arc::default(),
            meta: Default::default(),
        };
        let publication = Publication {
            epoch: "1".into(),
            mark: Mark::default(),
            spec: Arc::new(spec),
            view: Arc::new(view),
        };
        self.publish.send_replace(Some(Arc::new(publication)));
    }

    /// Names of the images on the host; `-` for one without a name.
    async fn images(&self) -> String {
        let images = self.engine.images().await.unwrap();
        let words: BTreeSet<String> = images
            .into_iter()
            .map(|image| image.names.first().cloned().unwrap_or_else(|| "-".into()))
            .collect();
        words.into_iter().collect::<Vec<_>>().join(" ")
    }

    /// Lets so much time pass; the images then.
    async fn after_s(&self, s: u64) -> String {
        tokio::time::sleep(Duration::from_secs(s)).await;
        self.images().await
    }

    /// Waits until containers of just these images run, and there are no others.
    async fn running(&self, images: &[&str]) {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let all = self.engine.containers();
            let found: BTreeSet<&str> = all.iter().map(|c| c.image.as_str()).collect();
            if found == images.iter().copied().collect() && all.iter().all(|c| c.running()) {
                return;
            }
            assert!(Instant::now() < deadline, "{images:?} do not run, but {all:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn disk(&self) -> DiskFacts {
        self.status.borrow().as_ref().unwrap().facts.disk.clone().unwrap()
    }

    async fn build(&self, tag: &str) -> String {
        let (id, mut duplex) = self.board.stream(&"one".parse().unwrap()).unwrap();
        let open = self.open.borrow().clone().unwrap();
        let request = StreamRequest::Build {
            tag: tag.into(),
            dockerfile: String::new(),
            target: String::new(),
            args: BTreeMap::new(),
            labels: BTreeMap::new(),
            no_cache: false,
            pull: false,
            network: String::new(),
            shm_size: 0,
            cache_from: vec![],
        };
        open.send(Down::Open { stream: id, request }).await.unwrap();
        duplex.tx.send(Chunk::InEnd).await.unwrap();
        loop {
            match duplex.rx.recv().await.unwrap() {
                Chunk::Json(id) => return serde_json::from_slice(&id).unwrap(),
                Chunk::Failed(why) => panic!("{why}"),
                _ => {}
            }
        }
    }

    async fn end(mut self) {
        self.agent.shutdown().await;
        self.server.shutdown().await;
    }
}

fn instance(id: &InstanceId, image: &str, goal: Goal) -> InstanceSpec {
    let labels =
        [("io.remuda.environment", "e1".to_owned()), ("io.remuda.instance", id.to_string())];
    InstanceSpec {
        goal,
        ordered_at: None,
        target: Target::default(),
        container_name: format!("web-{}", id.n),
        container: Arc::new(ContainerSpec {
            image: image.into(),
            network: NetworkMode::None,
            pull: PullPolicy::Missing,
            ..ContainerSpec::default()
        }),
        address: None,
        search: vec![],
        system_labels: labels.map(|(key, value)| (key.to_owned(), value)).into(),
        restart: RestartPolicy::Always,
        stop_grace_ms: 1_000,
        drain_ms: 0,
        probed: false,
        network_of: None,
        namespaces_of: BTreeSet::new(),
        volumes_from: vec![],
        sidekick_of: None,
        stop_after_ms: None,
        image_id: None,
        image_digest: None,
        settles: false,
        measured: false,
        ended: None,
    }
}

/// A registry with `a:1`, `b:1` and `c:1`; `mine:1` was pulled by somebody else.
fn place() -> Place {
    let place = Place::new();
    for image in ["a:1", "b:1", "c:1"] {
        place.engine.add_remote(image, Some(Program::forever()), 100).unwrap();
    }
    place.engine.add_image("mine:1", Some(Program::forever())).unwrap();
    place
}

#[tokio::test(start_paused = true)]
async fn an_image_stays_while_a_rollback_may_need_it_and_goes_then_when_the_disk_is_short() {
    let mut place = place();
    place.engine.set_disk(SHORT);
    place.publish(&[(1, "a:1", Goal::Run)], "a:1");
    place.running(&["a:1"]).await;
    place.publish(&[(1, "a:1", Goal::Remove), (2, "b:1", Goal::Run)], "a:1 b:1");
    place.running(&["b:1"]).await;
    assert_eq!(place.after_s(1_200).await, "a:1 b:1 mine:1", "a rollback would need it");
    assert_eq!(place.disk().reclaimable, 0);
    // The revision is not kept any more.
    place.publish(&[(2, "b:1", Goal::Run)], "docker.io/library/b:1");
    assert_eq!(place.after_s(60).await, "b:1 mine:1");
    assert_eq!(place.after_s(1_200).await, "b:1 mine:1", "what runs and what is foreign stays");
    let disk = place.disk();
    assert_eq!((disk.total, disk.free, disk.short), (100 * GIB, 5 * GIB, true));
    place.end().await;
}

#[tokio::test(start_paused = true)]
async fn with_room_on_the_disk_an_image_that_nothing_needs_stays_for_days() {
    let mut place = place();
    place.publish(&[(1, "a:1", Goal::Run)], "a:1");
    place.running(&["a:1"]).await;
    place.publish(&[(1, "a:1", Goal::Remove)], "");
    assert_eq!(place.after_s(7_200).await, "a:1 mine:1");
    let disk = place.disk();
    assert_eq!((disk.reclaimable, disk.short), (1 << 20, false), "but it could go");
    place.end().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_goes_while_the_server_is_not_heard_nor_before_there_is_a_publication() {
    let mut place = place();
    place.engine.set_disk(SHORT);
    place.publish(&[(1, "a:1", Goal::Run)], "a:1");
    place.running(&["a:1"]).await;
    place.publish(&[(1, "a:1", Goal::Remove)], "");
    place.running(&[]).await;
    place.answers.send_replace(false);
    assert_eq!(place.after_s(3_600).await, "a:1 mine:1", "it may have other news by now");
    // An agent that starts anew remembers whose it was, and the publication.
    place.agent.shutdown().await;
    place.start_agent();
    assert_eq!(place.after_s(3_600).await, "a:1 mine:1");
    place.answers.send_replace(true);
    assert_eq!(place.after_s(120).await, "mine:1");
    // An agent without a memory of its own knows of no image that is its own.
    place.publish(&[(2, "b:1", Goal::Run)], "b:1");
    place.running(&["b:1"]).await;
    place.agent.shutdown().await;
    place.journal = Journal::memory();
    place.engine.containers().iter().for_each(|one| place.engine.remove_behind(&one.id));
    place.publish.send_replace(None);
    place.start_agent();
    assert_eq!(place.after_s(3_600).await, "b:1 mine:1");
    place.publish(&[], "");
    assert_eq!(place.after_s(3_600).await, "b:1 mine:1");
    place.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_image_that_somebody_elses_container_needs_stays_and_a_refusal_is_not_asked_again_soon()
{
    let mut place = place();
    place.engine.set_disk(SHORT);
    place.publish(&[(1, "a:1", Goal::Run)], "a:1");
    place.running(&["a:1"]).await;
    let foreign = engine::wish::CreateRequest {
        name: "somebody".into(),
        spec: Arc::new(ContainerSpec { image: "a:1".into(), ..ContainerSpec::default() }),
        labels: [("io.remuda.environment", "e2"), ("io.remuda.instance", "o/x#1@1")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        attach: engine::wish::Attach::None,
        volumes_from: vec![],
        resolv_conf: None,
        stop_grace_ms: 0,
    };
    let foreign = place.engine.create(&foreign).await.unwrap();
    place.publish(&[(1, "a:1", Goal::Remove)], "");
    assert_eq!(place.after_s(3_600).await, "a:1 mine:1", "though it does not even run");
    let asked = |place: &Place| {
        place.engine.calls().iter().filter(|(op, _)| *op == Op::RemoveImage).count()
    };
    assert_eq!(asked(&place), 0);
    place.engine.fault(Fault::once(Op::RemoveImage, FaultKind::ErrorBefore));
    place.engine.remove(&foreign).await.unwrap();
    assert_eq!(place.after_s(500).await, "a:1 mine:1");
    assert_eq!(asked(&place), 1, "it was refused, and is not asked for again at once");
    assert_eq!(place.after_s(200).await, "mine:1");
    assert_eq!(asked(&place), 2);
    place.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_build_that_a_newer_one_replaced_goes_unless_a_rollback_needs_it() {
    let mut place = place();
    place.publish(&[], "");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let first = place.build("shop_web:latest").await;
    assert_eq!(place.after_s(7_200).await, "mine:1 shop_web:latest", "it has its name");
    let second = place.build("shop_web:latest").await;
    assert_ne!(first, second);
    place.publish(&[], &format!("shop_web:latest {first}"));
    assert_eq!(place.after_s(600).await, "- mine:1 shop_web:latest");
    place.publish(&[], "shop_web:latest");
    assert_eq!(place.after_s(60).await, "mine:1 shop_web:latest");
    assert_eq!(place.engine.image("shop_web:latest").await.unwrap().unwrap().id, second);
    place.end().await;
}
