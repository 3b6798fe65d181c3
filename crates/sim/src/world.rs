//! One server, one host, in virtual time: started, disturbed, left alone, and looked at.

use crate::dice::Dice;
use crate::operator::{self, IMAGES};
use crate::oracle::{self, Flaw};
use agent::{Agent, DataplanePort, DataplaneState, Options as AgentOptions};
use api::link::MemoryLink;
use engine::fake::{Fault, FaultKind, Link, Op, Program};
use model::cluster::Cluster;
use model::health::Health;
use model::id::HostId;
use model::time::{Clock, Timestamp};
use server::{Options as ServerOptions, Server};
use std::path::Path;
use std::time::Duration;
use store::{Memory, Store as _, codec};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Virtual milliseconds between two looks of the fakes at the clock.
const TICK_MS: u64 = 20;
/// Disturbances of one run.
const STEPS: u64 = 40;
/// Virtual time that everything has to come to rest.
const REST: Duration = Duration::from_secs(120);
/// The epoch of virtual time, in milliseconds.
const START_MS: i64 = 1_800_000_000_000;

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What happened, in order.
    pub story: Vec<String>,
    /// What must never be.
    pub flaws: Vec<Flaw>,
}

struct World {
    dice: Dice,
    dir: std::path::PathBuf,
    clock: Clock,
    store: Memory,
    engine: engine::Fake,
    fabric: network::Fake,
    server: Option<JoinHandle<()>>,
    agent: Option<JoinHandle<()>>,
    dataplane: Option<JoinHandle<()>>,
    switchboard: Option<api::link::Switchboard>,
    outcome: Outcome,
}

/// Runs one world from its seed.
///
/// # Panics
/// When the folder of the run cannot be made, or a fake refuses its set-up: defects of the test.
#[must_use]
pub fn run(seed: u64) -> Outcome {
    let dir = tempfile::tempdir().expect("a folder for the run");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime of one thread");
    runtime.block_on(live(seed, dir.path()))
}

async fn live(seed: u64, dir: &Path) -> Outcome {
    let begin = Instant::now();
    let clock = Clock::new(move || {
        let ms = i64::try_from(begin.elapsed().as_millis()).unwrap_or(i64::MAX);
        Timestamp(START_MS.saturating_add(ms))
    });
    let engine = engine::Fake::new(clock.now());
    for image in &IMAGES[..2] {
        engine.add_image(image, Some(Program::forever())).expect("a fixed valid image");
    }
    engine.add_remote(IMAGES[2], Some(Program::forever()), 3_000).expect("a fixed valid image");
    engine.add_image(IMAGES[3], Some(Program::exits(300, 1))).expect("a fixed valid image");
    let fabric = network::Fake::new();
    fabric.with(|world| {
        world.make_bridge(agent::BRIDGE, std::net::Ipv4Addr::new(10, 42, 0, 1), 16);
    });
    let mut world = World {
        dice: Dice::new(seed),
        dir: dir.to_owned(),
        clock: clock.clone(),
        store: Memory::default(),
        engine: engine.clone(),
        fabric,
        server: None,
        agent: None,
        dataplane: None,
        switchboard: None,
        outcome: Outcome::default(),
    };
    let pump = tokio::task::spawn(async move {
        loop {
            engine.advance_to(clock.now());
            tokio::time::sleep(Duration::from_millis(TICK_MS)).await;
        }
    });
    world.start_server().await;
    world.start_agent();
    for _ in 0..STEPS {
        world.disturb().await;
        let pause = world.dice.below(4_000);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let flaws = oracle::always(&world.cluster().await);
        world.outcome.flaws.extend(flaws);
    }
    world.rest().await;
    world.stop();
    pump.abort();
    world.outcome
}

impl World {
    fn tell(&mut self, text: impl Into<String>) {
        let at = self.clock.now().0 - START_MS;
        self.outcome.story.push(format!("{at:>7} ms  {}", text.into()));
    }

    async fn cluster(&self) -> Cluster {
        codec::cluster(&self.store).await.expect("the store in memory answers").0
    }

    async fn start_server(&mut self) {
        let options = ServerOptions {
            dir: self.dir.clone(),
            subnet: "10.42.0.0/16".parse().expect("a fixed valid range"),
            names: vec![],
            environment: None,
            clock: self.clock.clone(),
        };
        let server = Server::open(self.store.clone(), options).await.expect("a server opens");
        self.switchboard = Some(server.switchboard());
        self.server = Some(tokio::task::spawn(async move {
            server.run(None).await.expect("a server without a socket runs");
        }));
    }

    fn start_agent(&mut self) {
        let Some(switchboard) = self.switchboard.clone() else { return };
        let host = HostId::parse("one").expect("a fixed valid name");
        let agent = Agent::new(AgentOptions {
            host: host.clone(),
            dir: self.dir.clone(),
            link: MemoryLink::new(switchboard, host),
            engine: self.engine.clone(),
            fabric: self.fabric.clone(),
            clock: self.clock.clone(),
            dataplane: None,
            environment: None,
        });
        self.dataplane = Some(tokio::task::spawn(agree(agent.dataplane_port())));
        self.agent = Some(tokio::task::spawn(agent.run()));
    }

    fn kill_agent(&mut self) {
        for task in [self.agent.take(), self.dataplane.take()].into_iter().flatten() {
            task.abort();
        }
    }

    fn kill_server(&mut self) {
        if let Some(task) = self.server.take() {
            task.abort();
        }
    }

    /// One thing happens: somebody asks for something, or something breaks.
    async fn disturb(&mut self) {
        match self.dice.below(12) {
            0 => {
                self.tell("server and agent killed and started");
                // In one process they die together: the link is in memory.
                self.kill_agent();
                self.kill_server();
                tokio::time::sleep(Duration::from_millis(200)).await;
                self.start_server().await;
                self.start_agent();
            }
            1 => {
                self.tell("agent killed and started");
                self.kill_agent();
                tokio::time::sleep(Duration::from_millis(200)).await;
                self.start_agent();
            }
            2 => {
                let ops = [Op::Create, Op::Start, Op::Stop, Op::Remove, Op::List, Op::Inspect];
                let kinds = [
                    FaultKind::ErrorBefore,
                    FaultKind::ErrorAfter,
                    FaultKind::LostRequest,
                    FaultKind::LostReply,
                    FaultKind::Slow { ms: 700 },
                ];
                let op = self.dice.pick(&ops).copied().unwrap_or(Op::Create);
                let kind = self.dice.pick(&kinds).copied().unwrap_or(FaultKind::LostReply);
                self.tell(format!("fault {op:?} {kind:?}"));
                self.engine.fault(Fault::once(op, kind));
            }
            3 => {
                let link = if self.dice.below(2) == 0 { Link::Down } else { Link::Hung };
                self.tell(format!("engine {link:?} for a while"));
                self.engine.set_link(link);
                tokio::time::sleep(Duration::from_millis(1_500)).await;
                self.engine.set_link(Link::Up);
            }
            4 => {
                let running: Vec<_> =
                    self.engine.containers().into_iter().filter(|c| c.running()).collect();
                if let Some(container) = self.dice.pick(&running) {
                    self.engine.exit(&container.id, 137);
                    let name = container.name.clone();
                    self.tell(format!("container {name} killed"));
                }
            }
            5 => {
                let all = self.engine.containers();
                if let Some(container) = self.dice.pick(&all) {
                    self.engine.remove_behind(&container.id);
                    let name = container.name.clone();
                    self.tell(format!("container {name} removed by somebody"));
                }
            }
            _ => {
                let cluster = self.cluster().await;
                let (what, proposal) = operator::next(&mut self.dice, &cluster, self.clock.now());
                let result = match codec::encode(&proposal) {
                    _ if proposal.is_empty() => "nothing to change".to_owned(),
                    Ok(txn) => match self.store.txn(txn).await {
                        Ok(done) => format!("at {}", done.index),
                        Err(error) => error.to_string(),
                    },
                    Err(error) => error.to_string(),
                };
                self.tell(format!("{what}: {result}"));
            }
        }
    }

    /// The faults end; everything gets its time, then it is looked at.
    async fn rest(&mut self) {
        self.engine.heal();
        self.engine.set_link(Link::Up);
        self.tell("left alone");
        tokio::time::sleep(REST).await;
        let cluster = self.cluster().await;
        // Failed rollouts and crash loops are at rest when nothing but their back-off goes on.
        let flaws = oracle::at_rest(&cluster, &self.engine.containers(), self.clock.now());
        self.outcome.flaws.extend(flaws);
        self.tell(format!("at rest at index {}", cluster.index()));
    }

    fn stop(&mut self) {
        self.kill_agent();
        self.kill_server();
    }
}

/// A dataplane that puts every view in force at once and finds every running container healthy.
async fn agree(mut port: DataplanePort) {
    loop {
        let view = port.view.borrow_and_update().clone();
        let local = port.local.borrow_and_update().clone();
        let mut state = DataplaneState { pid: 1, ..DataplaneState::default() };
        if let Some(view) = &view {
            state.report.view = view.index;
            let ok = dataplane::ListenerStatus { ok: true, error: String::new() };
            state.report.listeners =
                view.listeners.keys().map(|id| (id.clone(), ok.clone())).collect();
        }
        for (id, one) in local.iter().flat_map(|local| local.iter()) {
            if let Some(run) = &one.run {
                let verdict = dataplane::ProbeVerdict {
                    health: Health::Healthy,
                    detail: String::new(),
                    run_started_at: run.started_at,
                };
                state.report.probes.insert(id.clone(), verdict);
            }
        }
        port.state.send_replace(state);
        let alive = tokio::select! {
            changed = port.view.changed() => changed.is_ok(),
            changed = port.local.changed() => changed.is_ok(),
        };
        if !alive {
            return;
        }
    }
}
