//! An agent over fakes, in virtual time: plain containers are told, connected, connected again
//! after whatever happened to them, and never started, stopped or removed.

#![expect(clippy::unwrap_used, reason = "a test may")]

use agent::{Agent, Journal, NETWORK, Options};
use api::link::{Mark, MemoryLink, Publication, Switchboard, Up};
use engine::fake::{Fault, FaultKind, Link, Op};
use engine::{Engine as _, Fake};
use model::host::Environment;
use model::host_spec::{HostAttachment, HostSpec};
use model::plain::{ContainerId, LABEL_NETWORK, PlainContainer};
use model::time::{Clock, Generation, Index, Timestamp};
use model::view::{HostView, VIEW_FORMAT};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

type Told = BTreeMap<ContainerId, PlainContainer>;

/// A host with its agent, and a server that takes what it says.
struct Place {
    engine: Fake,
    journal: Journal,
    board: Switchboard,
    publish: watch::Sender<Option<Arc<Publication>>>,
    told: watch::Receiver<Told>,
    agent: JoinSet<()>,
    server: JoinSet<()>,
    dir: tempfile::TempDir,
    clock: Clock,
    attached: BTreeMap<ContainerId, HostAttachment>,
    generation: u64,
}

impl Place {
    fn new() -> Self {
        let begin = Instant::now();
        let clock = Clock::new(move || {
            Timestamp(1_700_000_000_000 + i64::try_from(begin.elapsed().as_millis()).unwrap())
        });
        let engine = Fake::with_clock(clock.clone());
        engine.add_image("redis:1", None).unwrap();
        let (board, mut arrivals) = Switchboard::new();
        let (publish, (now_told, told)) = (watch::Sender::new(None), watch::channel(Told::new()));
        let mut server = JoinSet::new();
        server.spawn(engine.clone().drive());
        let news: watch::Sender<Option<Arc<Publication>>> = publish.clone();
        server.spawn(async move {
            while let Some(mut arrival) = arrivals.recv().await {
                let mut news = news.subscribe();
                if let Some(news) = news.borrow_and_update().clone() {
                    arrival.outbox.put(news, None);
                }
                loop {
                    tokio::select! {
                        up = arrival.up.recv() => match up {
                            // As the server does: what is not told stays as it was.
                            Some(Up::Status(status)) => if let Some(plain) = status.plain {
                                now_told.send_replace((*plain).clone());
                            },
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
            publish,
            told,
            agent: JoinSet::new(),
            server,
            dir: tempfile::tempdir().unwrap(),
            clock,
            attached: BTreeMap::new(),
            generation: 0,
        };
        place.publish();
        place.start_agent();
        place
    }

    fn start_agent(&mut self) {
        let fabric = network::Fake::new();
        fabric.with(|world| world.make_bridge(agent::BRIDGE, Ipv4Addr::new(10, 42, 0, 1), 16));
        let agent = Agent::new(Options {
            host: "one".parse().unwrap(),
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

    fn publish(&mut self) {
        self.generation += 1;
        let spec = HostSpec {
            generation: Generation(self.generation),
            host: "one".parse().unwrap(),
            environment: Environment::new("e1".into(), "e1", "10.42.0.0/16".parse().unwrap()),
            instances: BTreeMap::new(),
            balancers: BTreeMap::new(),
            volumes: BTreeMap::new(),
            images_kept: Default::default(),
            attachments: self.attached.clone(),
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

    /// Somebody runs one that asks for the managed network.
    fn run(&self, name: &str) -> String {
        self.engine.run_plain(name, "redis:1", &[(LABEL_NETWORK, "true")], "none").unwrap()
    }

    /// The server decides its address.
    fn decide(&mut self, id: &str, address: Ipv4Addr) {
        let one = HostAttachment { address, apart: false };
        self.attached.insert(id.parse().unwrap(), one);
        self.publish();
    }

    async fn until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while !is(self) {
            let told = self.told.borrow().clone();
            assert!(Instant::now() < deadline, "{what}: {told:?} {:?}", self.engine.containers());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// It has the address, and the server knows.
    async fn until_connected(&self, id: &str, address: Ipv4Addr) {
        self.until(&format!("{id} at {address}"), |place| {
            let all = place.engine.containers();
            let seen = all.iter().find(|one| one.id == id);
            let told = place.told.borrow().get(&id.parse().unwrap()).cloned();
            seen.and_then(|one| one.addresses.get(NETWORK)) == Some(&address)
                && told.is_some_and(|one| {
                    one.addresses.get(NETWORK) == Some(&address) && one.problem.is_empty()
                })
        })
        .await;
    }

    fn problem(&self, id: &str) -> String {
        self.told.borrow().get(&id.parse().unwrap()).cloned().unwrap_or_default().problem
    }
}

#[tokio::test(start_paused = true)]
async fn plain_containers_are_told_and_connected_whatever_happens_and_never_touched() {
    let mut place = Place::new();
    let at = |n| Ipv4Addr::new(10, 42, 7, n);
    let first = place.run("first");
    let shown = |id: &str| {
        let id: ContainerId = id.parse().unwrap();
        move |place: &Place| place.told.borrow().contains_key(&id)
    };
    place.until("it to be told", shown(&first)).await;
    place.decide(&first, at(1));
    place.until_connected(&first, at(1)).await;

    // It ends and starts while nobody hears of it.
    place.engine.set_link(Link::Down);
    place.engine.exit(&first, 1);
    place.engine.start_behind(&first).unwrap();
    place.engine.set_link(Link::Up);
    place.until_connected(&first, at(1)).await;

    // Somebody takes it out; somebody runs another one while the agent is dead.
    place.engine.disconnect(&first, NETWORK).await.unwrap();
    place.until_connected(&first, at(1)).await;
    place.agent.shutdown().await;
    let second = place.run("second");
    place.engine.disconnect(&first, NETWORK).await.unwrap();
    place.start_agent();
    place.decide(&second, at(2));
    place.until_connected(&first, at(1)).await;
    place.until_connected(&second, at(2)).await;

    // What does not work is told, and tried again.
    let third = place.run("third");
    let fault = Fault {
        op: Some(Op::Connect),
        subject: None,
        skip: 0,
        times: 4,
        kind: FaultKind::ErrorBefore,
    };
    place.engine.fault(fault);
    place.decide(&third, at(3));
    place.until("the trouble to be told", |place| !place.problem(&third).is_empty()).await;
    place.until_connected(&third, at(3)).await;

    place.engine.remove_behind(&third);
    let is_shown = shown(&third);
    place.until("it to be told no longer", |place| !is_shown(place)).await;
    let touched = [Op::Create, Op::Start, Op::Stop, Op::Kill, Op::Remove];
    let calls = place.engine.calls();
    let touched: Vec<_> = calls.iter().filter(|(op, _)| touched.contains(op)).collect();
    assert!(touched.is_empty(), "{touched:?}");
    place.agent.shutdown().await;
    place.server.shutdown().await;
}
