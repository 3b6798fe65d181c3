//! Two or three agents over fakes, with a server between them that passes on what they say, or cuts
//! and falsifies it: images that no registry has go from host to host.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may")]

use agent::{Agent, Journal, Options};
use api::image::{ImageFound, ImageOffer, ImageWant};
use api::link::{Down, Mark, MemoryLink, Publication, Switchboard, Up};
use api::stream::{Chunk, Duplex, StreamRequest};
use engine::fake::Op;
use engine::seen::{DiskSpace, ImageInfo};
use engine::wish::BuildOptions;
use engine::{Engine as _, Fake};
use futures_util::StreamExt as _;
use model::container_spec::{ContainerSpec, NetworkMode, PullPolicy};
use model::host::Environment;
use model::host_spec::{HostSpec, InstanceSpec};
use model::host_status::HostStatus;
use model::id::{HostId, InstanceId};
use model::instance::{Goal, InstanceStatus, Target};
use model::service::RestartPolicy;
use model::time::{Clock, Generation, Index, Timestamp};
use model::view::{HostView, VIEW_FORMAT};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

const INSTANCE: &str = "shop/web#1@1";
const PATIENCE: Duration = Duration::from_secs(30);

/// What the server between the hosts does to a blob that passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The connection ends after so many pieces.
    Cut(usize),
    /// A byte is another one.
    Falsify,
}

#[derive(Clone, Default)]
struct Wire {
    board: Option<Switchboard>,
    open: Arc<Mutex<BTreeMap<HostId, mpsc::Sender<Down>>>>,
    status: Arc<Mutex<BTreeMap<HostId, watch::Sender<Option<HostStatus>>>>>,
    /// Struck one after the other by the blobs that pass; each only by blobs of more than a piece.
    faults: Arc<Mutex<Vec<Fault>>>,
    /// Digest, offset and bytes of each blob that passed.
    passed: Arc<Mutex<Vec<(String, u64, u64)>>>,
    /// Every offer is told to be for this architecture.
    architecture: Arc<Mutex<Option<String>>>,
}

impl Wire {
    async fn stream(&self, host: &HostId, request: StreamRequest) -> Option<Duplex> {
        let (stream, duplex) = self.board.as_ref().unwrap().stream(host).unwrap();
        let open = self.open.lock().unwrap().get(host).cloned()?;
        open.send(Down::Open { stream, request }).await.ok()?;
        Some(duplex)
    }

    async fn answer(self, host: HostId, number: u64, want: ImageWant, name: String, id: String) {
        let to = self.stream(&host, StreamRequest::Wanted { number }).await.unwrap();
        let last = match want {
            ImageWant::Find { .. } => {
                let found = self.find(&host, name, id).await;
                to.tx.send(Chunk::Json(serde_json::to_vec(&found).unwrap())).await.ok();
                Chunk::End
            }
            ImageWant::Manifest { image, from, .. } => {
                let request = StreamRequest::ImageManifest { name: String::new(), id: image };
                self.pass(&from, request, &to, "").await
            }
            ImageWant::Blob { image, from, digest, offset, .. } => {
                let name = String::new();
                self.passed.lock().unwrap().push((digest.clone(), offset, 0));
                let of = digest.clone();
                let request = StreamRequest::ImageBlob { name, id: image, digest, offset };
                self.pass(&from, request, &to, &of).await
            }
        };
        to.tx.send(last).await.ok();
    }

    async fn find(&self, host: &HostId, name: String, id: String) -> ImageFound {
        let others: Vec<HostId> = self.open.lock().unwrap().keys().cloned().collect();
        let mut found = ImageFound::default();
        for other in others.into_iter().filter(|other| other != host) {
            let request = StreamRequest::ImageLook { name: name.clone(), id: id.clone() };
            let mut duplex = self.stream(&other, request).await.unwrap();
            let Some(Chunk::Json(offer)) = duplex.rx.recv().await else { panic!("no answer") };
            match serde_json::from_slice::<Option<ImageOffer>>(&offer).unwrap() {
                Some(mut offer) => {
                    if let Some(other) = self.architecture.lock().unwrap().clone() {
                        offer.architecture = other;
                    }
                    found.offers.push((other, offer));
                }
                None => found.without.push(other),
            }
        }
        found
    }

    async fn pass(
        &self,
        from: &HostId,
        request: StreamRequest,
        to: &Duplex,
        digest: &str,
    ) -> Chunk {
        let mut source = self.stream(from, request).await.unwrap();
        let mut fault = None;
        let mut pieces = 0;
        while let Some(mut chunk) = source.rx.recv().await {
            if chunk.is_last() {
                return chunk;
            }
            if let Chunk::Out { bytes, .. } = &mut chunk {
                pieces += 1;
                // A small blob is let pass.
                if pieces == 1 && bytes.len() >= 32 * 1024 {
                    let mut faults = self.faults.lock().unwrap();
                    fault = (!faults.is_empty()).then(|| faults.remove(0));
                }
                match fault {
                    Some(Fault::Cut(after)) if pieces > after => {
                        return Chunk::Failed("the link was cut".into());
                    }
                    Some(Fault::Falsify) => {
                        let mut other = bytes.to_vec();
                        other[0] ^= 1;
                        *bytes = other.into();
                    }
                    _ => {}
                }
                let mut passed = self.passed.lock().unwrap();
                let last = passed.iter_mut().rfind(|one| one.0 == digest).unwrap();
                last.2 += bytes.len() as u64;
            }
            to.tx.send(chunk).await.ok();
        }
        Chunk::Failed("the host went away".into())
    }
}

/// Hosts with their agents, and the server between them.
struct Place {
    wire: Wire,
    engines: BTreeMap<HostId, Fake>,
    publish: BTreeMap<HostId, watch::Sender<Option<Arc<Publication>>>>,
    dirs: BTreeMap<HostId, tempfile::TempDir>,
    tasks: JoinSet<()>,
    generation: u64,
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp(i64::try_from(since.as_millis()).unwrap())
}

fn host(name: &str) -> HostId {
    name.parse().unwrap()
}

impl Place {
    fn new(names: &[&str]) -> Self {
        let (board, mut arrivals) = Switchboard::new();
        let wire = Wire { board: Some(board.clone()), ..Wire::default() };
        let mut place = Self {
            wire: wire.clone(),
            engines: BTreeMap::new(),
            publish: BTreeMap::new(),
            dirs: BTreeMap::new(),
            tasks: JoinSet::new(),
            generation: 0,
        };
        let mut news = BTreeMap::new();
        for name in names {
            let publish = watch::Sender::new(None);
            news.insert(host(name), publish.clone());
            place.publish.insert(host(name), publish);
            wire.status.lock().unwrap().insert(host(name), watch::Sender::new(None));
        }
        place.tasks.spawn(async move {
            let mut sessions = JoinSet::new();
            while let Some(arrival) = arrivals.recv().await {
                let news = news[&arrival.hello.host].subscribe();
                sessions.spawn(session(wire.clone(), arrival, news));
            }
        });
        for name in names {
            place.start(name, &board);
        }
        place
    }

    fn start(&mut self, name: &str, board: &Switchboard) {
        let clock = Clock::new(now);
        let engine = Fake::with_clock(clock.clone());
        self.tasks.spawn(engine.clone().drive());
        let fabric = network::Fake::new();
        fabric.with(|world| world.make_bridge(agent::BRIDGE, Ipv4Addr::new(10, 42, 0, 1), 16));
        let dir = tempfile::tempdir().unwrap();
        let agent = Agent::new(Options {
            host: host(name),
            dir: dir.path().to_owned(),
            link: MemoryLink::new(board.clone(), host(name)),
            engine: engine.clone(),
            fabric,
            clock,
            journal: Some(Journal::memory()),
            environment: None,
            plugs: agent::Plugs::default(),
            dataplane: None,
        });
        self.tasks.spawn(agent.run());
        self.engines.insert(host(name), engine);
        self.dirs.insert(host(name), dir);
    }

    fn engine(&self, name: &str) -> &Fake {
        &self.engines[&host(name)]
    }

    /// Builds an image: no registry has it.
    async fn build(&self, name: &str, tag: &str) -> ImageInfo {
        let options = BuildOptions { tag: tag.into(), ..BuildOptions::default() };
        let context = futures_util::stream::empty().boxed();
        let output: Vec<_> =
            self.engine(name).build(context, &options).await.unwrap().collect().await;
        assert!(output.iter().all(Result::is_ok));
        self.engine(name).image(tag).await.unwrap().unwrap()
    }

    /// The same image on a further host.
    async fn copy(&self, from: &str, to: &str, image: &ImageInfo, tag: &str) {
        let archive: Vec<_> =
            self.engine(from).save_image(&image.id).await.unwrap().collect().await;
        let archive = archive.into_iter().map(|piece| Ok(piece.unwrap()));
        self.engine(to).load_image(futures_util::stream::iter(archive).boxed()).await.unwrap();
        self.engine(to).tag_image(&image.id, tag).await.unwrap();
    }

    /// The host is to run one instance of an image.
    fn run(&mut self, name: &str, image: &str, id: Option<&str>) {
        self.run_with(name, image, id, PullPolicy::Missing);
    }

    fn run_with(&mut self, name: &str, image: &str, id: Option<&str>, pull: PullPolicy) {
        self.generation += 1;
        let environment = Environment::new("e1".into(), "e1", "10.42.0.0/16".parse().unwrap());
        let mut one = instance(image, pull);
        one.image_id = id.map(str::to_owned);
        let spec = HostSpec {
            generation: Generation(self.generation),
            host: host(name),
            environment,
            instances: [(INSTANCE.parse().unwrap(), one)].into(),
            balancers: BTreeMap::new(),
            volumes: BTreeMap::new(),
            images_kept: BTreeSet::new(),
            attachments: BTreeMap::new(),
            policy: Arc::default(),
            labels: Arc::default(),
            peers: Arc::default(),
        };
        let view = HostView {
            format: VIEW_FORMAT,
            environment: "e1".into(),
            host: host(name),
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
        let next = Publication {
            epoch: "1".into(),
            mark: Mark::default(),
            spec: Arc::new(spec),
            view: Arc::new(view),
        };
        self.publish[&host(name)].send_replace(Some(Arc::new(next)));
    }

    /// Waits until the host tells this of its instance.
    async fn until(&self, name: &str, is_it: impl Fn(&InstanceStatus) -> bool) -> InstanceStatus {
        let mut told = self.wire.status.lock().unwrap()[&host(name)].subscribe();
        let instance: InstanceId = INSTANCE.parse().unwrap();
        let mut last = None;
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                let status = told.borrow_and_update().clone();
                last = status.and_then(|status| status.instances.get(&instance).cloned());
                if let Some(found) = last.clone().filter(&is_it) {
                    return found;
                }
                told.changed().await.unwrap();
            }
        });
        found.await.unwrap_or_else(|_elapsed| panic!("it is never so: {last:?}"))
    }

    async fn running(&self, name: &str) -> InstanceStatus {
        self.until(name, |status| status.phase == model::instance::Phase::Running).await
    }

    fn passed(&self) -> Vec<(String, u64, u64)> {
        self.wire.passed.lock().unwrap().clone()
    }

    /// Files of transfers on a host.
    fn pieces(&self, name: &str) -> usize {
        let dir = self.dirs[&host(name)].path().join("transfer");
        std::fs::read_dir(dir).map_or(0, Iterator::count)
    }

    fn pulls(&self, name: &str) -> usize {
        self.engine(name).calls().iter().filter(|(op, _)| *op == Op::Pull).count()
    }
}

async fn session(
    wire: Wire,
    mut arrival: api::link::Arrival,
    mut news: watch::Receiver<Option<Arc<Publication>>>,
) {
    let me = arrival.hello.host.clone();
    wire.open.lock().unwrap().insert(me.clone(), arrival.open.clone());
    let mut answers = JoinSet::new();
    if let Some(news) = news.borrow_and_update().clone() {
        arrival.outbox.put(news, None);
    }
    loop {
        tokio::select! {
            up = arrival.up.recv() => match up {
                Some(Up::Beat { number }) => {
                    arrival.open.send(Down::Heard { number, lease: None, every_ms: 0 }).await.ok();
                }
                Some(Up::Status(status)) => {
                    wire.status.lock().unwrap()[&me].send_replace(Some(*status));
                }
                Some(Up::Want { number, want }) => {
                    let publication = news.borrow().clone().unwrap();
                    let one = &publication.spec.instances[want.instance()];
                    let (name, id) = match &one.image_id {
                        Some(id) => (String::new(), id.clone()),
                        None => (one.container.image.clone(), String::new()),
                    };
                    answers.spawn(wire.clone().answer(me.clone(), number, want, name, id));
                }
                Some(_) => {}
                None => return,
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

fn instance(image: &str, pull: PullPolicy) -> InstanceSpec {
    let labels =
        [("io.remuda.environment", "e1".to_owned()), ("io.remuda.instance", INSTANCE.to_owned())];
    InstanceSpec {
        goal: Goal::Run,
        ordered_at: None,
        target: Target::default(),
        container_name: "web-1".into(),
        container: Arc::new(ContainerSpec {
            image: image.into(),
            network: NetworkMode::None,
            pull,
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

#[tokio::test]
async fn an_image_that_no_registry_has_comes_from_the_host_that_has_it() {
    for policy in [PullPolicy::Missing, PullPolicy::Never] {
        let mut place = Place::new(&["one", "two"]);
        let image = place.build("one", "web:1").await;
        place.run_with("two", "web:1", None, policy);
        let status = place.running("two").await;
        assert_eq!(status.image_id, image.id);
        let here = place.engine("two").image("web:1").await.unwrap().unwrap();
        assert_eq!((&here.id, &here.layers), (&image.id, &image.layers));
        assert_eq!(place.pulls("two"), 0, "a registry cannot have it");
        assert_eq!(place.pieces("two"), 0, "what is in docker is not kept twice");
        assert_eq!(place.pieces("one"), 3, "the next host that asks is served from these");
    }
}

#[tokio::test]
async fn a_layer_that_is_here_is_not_sent() {
    let mut place = Place::new(&["one", "two"]);
    let image = place.build("one", "web:1").await;
    place.build("two", "other:1").await;
    place.run("two", "web:1", None);
    place.running("two").await;
    let sent: BTreeSet<String> = place.passed().into_iter().map(|(digest, ..)| digest).collect();
    let [lower, upper] = &image.layers[..] else { panic!("two layers") };
    assert!(sent.contains(upper) && !sent.contains(lower), "{sent:?}");
}

#[tokio::test]
async fn a_transfer_that_was_cut_goes_on_where_it_was() {
    let mut place = Place::new(&["one", "two"]);
    let image = place.build("one", "web:1").await;
    place.wire.faults.lock().unwrap().extend([Fault::Cut(1), Fault::Cut(1)]);
    place.run("two", "web:1", None);
    assert_eq!(place.running("two").await.image_id, image.id);
    let layer = &image.layers[1];
    let passed = place.passed();
    let parts: Vec<(u64, u64)> =
        passed.iter().filter(|one| one.0 == *layer).map(|one| (one.1, one.2)).collect();
    assert_eq!(parts, [(0, 32_768), (32_768, 32_768), (65_536, 34_464)]);
}

#[tokio::test]
async fn other_bytes_than_those_of_the_digest_are_fetched_anew() {
    let mut place = Place::new(&["one", "two"]);
    let image = place.build("one", "web:1").await;
    place.wire.faults.lock().unwrap().push(Fault::Falsify);
    place.run("two", "web:1", None);
    let told = place.until("two", |status| status.reason.contains("what it sent for")).await;
    assert!(told.reason.contains("one"), "{}", told.reason);
    assert_eq!(place.running("two").await.image_id, image.id);
    let again = place.passed().into_iter().filter(|one| one.0 == image.layers[1]);
    assert_eq!(again.map(|one| one.1).collect::<Vec<_>>(), [0, 0], "nothing of it was kept");
}

#[tokio::test]
async fn another_host_goes_on_when_the_first_one_dies() {
    let mut place = Place::new(&["one", "three", "two"]);
    let image = place.build("one", "web:1").await;
    place.copy("one", "three", &image, "web:1").await;
    place.wire.faults.lock().unwrap().push(Fault::Cut(1));
    place.run("two", "web:1", Some(&image.id));
    assert_eq!(place.running("two").await.image_id, image.id);
    let passed = place.passed();
    let parts: Vec<u64> =
        passed.iter().filter(|one| one.0 == image.layers[1]).map(|one| one.1).collect();
    assert_eq!(parts, [0, 32_768], "the other host has the same bytes");
    assert_eq!(place.pieces("three"), 3);
}

#[tokio::test]
async fn the_image_that_was_settled_is_run_whatever_the_name_means_here() {
    let mut place = Place::new(&["one", "two"]);
    let image = place.build("one", "web:1").await;
    place.build("two", "other:1").await;
    let other = place.build("two", "web:1").await;
    assert_ne!(image.id, other.id);
    place.run("two", "web:1", Some(&image.id));
    assert_eq!(place.running("two").await.image_id, image.id);
    let named = place.engine("two").image("web:1").await.unwrap().unwrap();
    assert_eq!(named.id, other.id, "the name of an image that is no older stays");
}

#[tokio::test]
async fn what_nobody_has_is_told_with_who_was_asked() {
    let mut place = Place::new(&["one", "three", "two"]);
    place.run("two", "web:1", None);
    let told = place.until("two", |status| status.reason.contains("no other host")).await;
    assert!(told.reason.contains("asked: one, three"), "{}", told.reason);
    assert!(told.reason.contains("registry has no such image"), "{}", told.reason);
    // Once a host has it, it comes.
    place.build("three", "web:1").await;
    place.run("two", "web:1", Some(&format!("sha256:{}", "0".repeat(64))));
    let told = place.until("two", |status| status.reason.contains("asked: one, three")).await;
    assert!(!told.reason.is_empty());
}

#[tokio::test]
async fn an_image_for_another_machine_is_named_as_such() {
    let mut place = Place::new(&["one", "two"]);
    place.build("one", "web:1").await;
    *place.wire.architecture.lock().unwrap() = Some("arm64".into());
    place.run("two", "web:1", None);
    let told = place.until("two", |status| status.reason.contains("arm64")).await;
    assert!(told.reason.contains("linux/amd64") && told.reason.contains("host one"), "{told:?}");
    assert!(place.passed().is_empty());
}

#[tokio::test]
async fn without_room_nothing_is_left_and_the_reason_says_how_much_is_needed() {
    let mut place = Place::new(&["one", "two"]);
    place.build("one", "web:1").await;
    place.engine("two").set_disk(DiskSpace { total: 1 << 30, free: 10_000 });
    place.run("two", "web:1", None);
    let told = place.until("two", |status| status.reason.contains("no room")).await;
    assert!(told.reason.contains("docker's disk"), "{}", told.reason);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while place.pieces("two") > 0 {
        assert!(tokio::time::Instant::now() < deadline, "pieces are left");
        tokio::task::yield_now().await;
    }
    place.engine("two").set_disk(DiskSpace { total: 1 << 30, free: 1 << 29 });
    place.running("two").await;
}
