//! One run: the world of a scenario is built, disturbed, left alone, and looked at.

mod trouble;

use crate::clock::SimClock;
use crate::dice::Dice;
use crate::host::SimHost;
use crate::judge::Judge;
use crate::oracle::{Flaw, Oracle};
use crate::scenario::{Scenario, Step};
use crate::trace::Trace;
use api::token;
use model::change::{Change, Edit, Proposal};
use model::host::{Environment, Rebalance};
use model::record::{Record, Token, TokenRole};
use server::{Options, Server};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store::{Gate, Memory, Store as _, codec};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Once the faults have stopped, everything has so long to come to rest; a rollout that goes on has
/// it from each of its steps: on ten hosts, one after the other, it takes longer.
const REST: Duration = Duration::from_secs(60);
/// No rollout may go on for longer.
const REST_MAX: Duration = Duration::from_secs(900);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_secs(1);
/// Looks in a row that must find everything at rest.
const QUIET_LOOKS: u32 = 2;

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Digest of the trace.
    pub digest: u64,
    /// Lines of the trace.
    pub lines: u64,
    /// The trace itself, when it was asked for.
    pub trace: Vec<String>,
    /// What must never be.
    pub flaws: Vec<Flaw>,
    /// Virtual milliseconds from the last fault until everything was at rest.
    pub rest_ms: u64,
}

struct World {
    dir: PathBuf,
    /// Of the server, and of the people.
    clock: SimClock,
    store: Memory,
    judge: Judge,
    hosts: Vec<SimHost>,
    server: Option<JoinHandle<()>>,
    /// What the server writes passes here.
    gate: Arc<Gate>,
    /// Servers that should be gone and still work.
    zombies: Vec<(JoinHandle<()>, Arc<Gate>)>,
    /// Troubles that end by themselves: hosts, and when.
    pending: Vec<(Instant, Ending)>,
}

/// What ends by itself.
#[derive(Clone, Debug)]
enum Ending {
    /// The server comes back.
    Server,
    /// The old server is really gone.
    Zombies,
    /// What a server writes comes at last.
    Gate(Arc<Gate>),
    /// The agent of a host comes back.
    Agent(usize),
    /// A host comes back.
    Power(usize),
    /// An engine answers again.
    Engine(usize),
    /// A wire is whole again.
    Wire(usize),
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gate(_) => f.write_str("late writes"),
            other => write!(f, "{other:?}"),
        }
    }
}

/// Runs a scenario in a folder of its own; `keep` keeps the whole trace.
///
/// # Panics
/// When the runtime cannot be made, or a fake refuses its set-up: defects of the test.
#[must_use]
pub fn run(scenario: &Scenario, dir: &Path, keep: bool) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime of one thread");
    runtime.block_on(live(scenario, dir, keep))
}

async fn live(scenario: &Scenario, dir: &Path, keep: bool) -> Outcome {
    let trace = Trace::new(keep);
    let judge = Judge::new(trace.clone());
    let store = Memory::default();
    let clock = SimClock::new(scenario.seed, 0, 0);
    let watching = tokio::task::spawn(judge.clone().watch(store.clone()));
    found(&store, scenario.seed, dir, &clock).await;
    let hosts = (0..scenario.hosts)
        .map(|n| SimHost::new(scenario.seed, n, dir.to_owned(), &judge))
        .collect();
    let mut world = World {
        dir: dir.to_owned(),
        clock,
        store,
        judge: judge.clone(),
        hosts,
        server: None,
        gate: Arc::default(),
        zombies: vec![],
        pending: vec![],
    };
    world.start_server().await;
    for host in &mut world.hosts {
        host.start_agent();
    }
    // Time to come up: what is asked before there is a host is only blocked.
    tokio::time::sleep(Duration::from_millis(500)).await;
    for step in &scenario.steps {
        world.step(step).await;
        world.pass(Duration::from_millis(step.pause_ms)).await;
    }
    let (rest_ms, at_rest) = world.rest().await;
    world.stop();
    watching.abort();
    let (digest, lines, trace) = trace.end();
    let mut flaws = judge.flaws();
    flaws.extend(at_rest);
    Outcome { digest, lines, trace, flaws, rest_ms }
}

/// Founds the environment from the seed: a server would draw it.
async fn found(store: &Memory, seed: u64, dir: &Path, clock: &SimClock) {
    let mut dice = Dice::of(seed, 2);
    let subnet = "10.42.0.0/16".parse().expect("a fixed valid range");
    let mut environment =
        Environment::new(format!("{:010x}", dice.next() >> 24), "default", subnet);
    let rebalance = [Rebalance::Off, Rebalance::Suggest, Rebalance::On];
    environment.rebalance = dice.pick(&rebalance).copied().unwrap_or_default();
    let (text, parts) = token::format(token::API_PREFIX, [7; 6], [9; 32], "");
    std::fs::write(dir.join("admin.token"), text).expect("the run's folder takes a file");
    let record = Token {
        id: parts.id.clone(),
        hash: token::hash(&environment, &parts.secret),
        role: TokenRole::Admin,
        expires_at: None,
        created_at: clock.clock().now(),
        uses_max: None,
        used_by: [].into(),
        labels: [].into(),
        host: None,
    };
    let edits = vec![
        Edit::Put(Record::Environment(Arc::new(environment))),
        Edit::Put(Record::Token(Arc::new(record))),
    ];
    let proposal = Proposal { reads: vec![], change: Change { edits } };
    let txn = codec::encode(&proposal).expect("two small records have a form");
    store.txn(txn).await.expect("a new store in memory takes a transaction");
}

impl World {
    fn tell(&self, text: &str) {
        self.judge.trace.line(format_args!("* {text}"));
    }

    async fn start_server(&mut self) {
        let options = Options {
            dir: self.dir.clone(),
            subnet: "10.42.0.0/16".parse().expect("a fixed valid range"),
            names: vec![],
            environment: None,
            clock: self.clock.clock(),
        };
        self.gate = Arc::default();
        let store = self.store.behind(Arc::clone(&self.gate));
        let server = match Server::open(store, options).await {
            Ok(server) => server,
            Err(error) => {
                self.tell(&format!("server not started: {error}"));
                self.pending.push((Instant::now() + LOOK, Ending::Server));
                return;
            }
        };
        self.judge.with(Oracle::note_server);
        let board = server.switchboard();
        for host in &self.hosts {
            host.wire.lead_to(Some(board.clone()));
        }
        self.server = Some(tokio::task::spawn(async move {
            server.run(None).await.expect("a server without a socket runs");
        }));
    }

    fn kill_server(&mut self) {
        if let Some(task) = self.server.take() {
            task.abort();
        }
        for host in &self.hosts {
            host.wire.lead_to(None);
        }
    }

    /// Loops never end by themselves: one that did has met a defect.
    fn check_alive(&self) {
        let ended = |task: &JoinHandle<()>| task.is_finished();
        if self.server.as_ref().is_some_and(ended) {
            self.judge.with(|oracle| oracle.flaw(Flaw::Ended("the server".into())));
        }
        for host in self.hosts.iter().filter(|host| host.has_ended()) {
            let flaw = Flaw::Ended(format!("the agent of {}", host.id));
            self.judge.with(|oracle| oracle.flaw(flaw));
        }
    }

    async fn step(&mut self, step: &Step) {
        self.check_alive();
        let mut dice = Dice::new(step.dice);
        let what = trouble::begin(self, step.trouble, &mut dice).await;
        self.tell(&format!("#{} {}", step.number, what));
    }

    /// Time passes; what is due in it ends.
    async fn pass(&mut self, time: Duration) {
        let until = Instant::now() + time;
        loop {
            let next = self.pending.iter().map(|(at, _)| *at).min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            tokio::time::sleep_until(next).await;
            self.end_due().await;
        }
        tokio::time::sleep_until(until).await;
    }

    async fn end_due(&mut self) {
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.pending).into_iter().partition(|p| p.0 <= now);
        self.pending = later;
        let due: Vec<(Instant, Ending)> = due;
        for (_, ending) in due {
            self.tell(&format!("over: {ending}"));
            match ending {
                Ending::Server if self.server.is_none() => self.start_server().await,
                Ending::Server => {}
                Ending::Zombies => self.end_zombies().await,
                // That of a server which should be gone opens when it goes.
                Ending::Gate(gate) if Arc::ptr_eq(&gate, &self.gate) => gate.open(),
                Ending::Gate(_) => {}
                Ending::Agent(n) => self.hosts[n].start_agent(),
                Ending::Power(n) => self.hosts[n].power_on(),
                Ending::Engine(n) if self.hosts[n].powered => {
                    self.hosts[n].engine.set_link(engine::fake::Link::Up);
                }
                Ending::Engine(_) => {}
                Ending::Wire(n) if self.hosts[n].powered => self.hosts[n].wire.heal(),
                Ending::Wire(_) => {}
            }
        }
    }

    /// Servers that should be gone are; what they had written until then comes at last.
    async fn end_zombies(&mut self) {
        let zombies = std::mem::take(&mut self.zombies);
        if zombies.is_empty() {
            return;
        }
        for (_, gate) in &zombies {
            gate.open();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        for (zombie, _) in zombies {
            zombie.abort();
        }
    }

    /// The faults end; everything gets its time, and is looked at until it is at rest.
    async fn rest(&mut self) -> (u64, Vec<Flaw>) {
        self.pending.clear();
        self.gate.open();
        self.end_zombies().await;
        for host in &mut self.hosts {
            host.heal();
        }
        if self.server.is_none() {
            self.start_server().await;
        }
        self.tell("left alone");
        let begin = Instant::now();
        let mut step = (begin, 0);
        let mut quiet = 0;
        loop {
            self.pass(LOOK).await;
            let on = |(n, host): (usize, &SimHost)| {
                host.engine.containers().into_iter().map(move |one| (n, one)).collect::<Vec<_>>()
            };
            let containers: Vec<_> = self.hosts.iter().enumerate().flat_map(on).collect();
            let now = self.clock.clock().now();
            let flaws = self.judge.with(|oracle| oracle.at_rest(&containers, now));
            quiet = if flaws.is_empty() { quiet + 1 } else { 0 };
            self.check_alive();
            let given = self.judge.with(|oracle| oracle.given_in_rollouts());
            if given > step.1 && begin.elapsed() < REST_MAX {
                step = (Instant::now(), given);
            }
            let over = step.0.elapsed() >= REST;
            if over || quiet >= QUIET_LOOKS {
                let ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
                self.tell(&format!("at rest at index {}", self.judge.cluster().index()));
                return (ms, flaws);
            }
        }
    }

    fn stop(&mut self) {
        self.kill_server();
        for host in &mut self.hosts {
            host.stop();
        }
    }
}
