//! One host: an engine that lies, a network, a real agent, a dataplane that agrees, a wire to the
//! server, and a clock of its own.

use crate::clock::SimClock;
use crate::dataplane::agree;
use crate::dice::Dice;
use crate::judge::Judge;
use crate::operator::images;
use crate::wire::{SimLink, Way, Wire};
use agent::{Agent, Journal, Options};
use engine::fake::Link;
use model::id::HostId;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use tokio::task::JoinHandle;

/// Most milliseconds that a usual clock is wrong.
const SKEW_MS: i64 = 2_000;
/// And one in eight that nobody has set.
const SKEW_LARGE_MS: i64 = 3_600_000;
const DRIFT_PPM: i64 = 200;

/// A host of the simulation.
#[derive(Debug)]
pub(crate) struct SimHost {
    pub(crate) id: HostId,
    pub(crate) engine: engine::Fake,
    pub(crate) wire: Wire,
    pub(crate) clock: SimClock,
    /// Without power nothing runs and nothing answers.
    pub(crate) powered: bool,
    dir: PathBuf,
    fabric: network::Fake,
    journal: Journal,
    agent: Option<JoinHandle<()>>,
    dataplane: Option<JoinHandle<()>>,
    drive: JoinHandle<()>,
}

/// The name of the host with this number.
pub(crate) fn host_id(number: usize) -> HostId {
    HostId::parse(&format!("h{number}")).expect("a fixed valid name")
}

impl SimHost {
    /// A host with its engine running and no agent yet.
    pub(crate) fn new(seed: u64, number: usize, dir: PathBuf, judge: &Judge) -> Self {
        // Its own dice: a world with fewer hosts has the same first ones.
        let mut dice = Dice::of(seed, 1_000 + number as u64);
        let ahead = dice.around(if dice.clone().once_in(8) { SKEW_LARGE_MS } else { SKEW_MS });
        let clock = SimClock::new(seed, ahead, dice.around(DRIFT_PPM));
        let engine = engine::Fake::with_clock(clock.clock());
        for (image, program, pull_ms) in images() {
            let added = match pull_ms {
                Some(ms) => engine.add_remote(image, Some(program), ms),
                None => engine.add_image(image, Some(program)),
            };
            added.expect("a fixed valid image");
        }
        let fabric = network::Fake::new();
        fabric.with(|world| {
            world.make_bridge(agent::BRIDGE, Ipv4Addr::new(10, 42, 0, 1), 16);
        });
        let tapped = judge.clone();
        engine.tap(move |tap| tapped.engine(number, tap));
        Self {
            id: host_id(number),
            wire: Wire::new(Dice::of(seed, 2_000_000 + number as u64)),
            clock,
            powered: true,
            dir,
            fabric,
            journal: Journal::memory(),
            agent: None,
            dataplane: None,
            drive: tokio::task::spawn(engine.clone().drive()),
            engine,
        }
    }

    /// Starts the agent, unless it runs.
    pub(crate) fn start_agent(&mut self) {
        if self.agent.is_some() || !self.powered {
            return;
        }
        let agent = Agent::new(Options {
            host: self.id.clone(),
            dir: self.dir.clone(),
            link: SimLink { wire: self.wire.clone(), host: self.id.clone() },
            engine: self.engine.clone(),
            fabric: self.fabric.clone(),
            clock: self.clock.clock(),
            journal: Some(self.journal.clone()),
            plugs: agent::Plugs::default(),
            dataplane: None,
            environment: None,
        });
        self.dataplane = Some(tokio::task::spawn(agree(agent.dataplane_port())));
        self.agent = Some(tokio::task::spawn(agent.run()));
    }

    /// Did the agent end by itself?
    pub(crate) fn has_ended(&self) -> bool {
        self.agent.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// The agent dies. Its containers go on.
    pub(crate) fn kill_agent(&mut self) {
        for task in [self.agent.take(), self.dataplane.take()].into_iter().flatten() {
            task.abort();
        }
    }

    /// The power goes: every process ends, and nobody says good-bye.
    pub(crate) fn power_off(&mut self) {
        self.powered = false;
        self.wire.cut(&[Way::Up, Way::Down]);
        self.kill_agent();
        self.engine.reboot();
        self.engine.set_link(Link::Down);
    }

    /// The power is back; the agent starts from what it kept.
    pub(crate) fn power_on(&mut self) {
        self.powered = true;
        self.wire.heal();
        self.engine.set_link(Link::Up);
        self.start_agent();
    }

    /// Whatever was done to it is over.
    pub(crate) fn heal(&mut self) {
        self.engine.heal();
        self.engine.set_link(Link::Up);
        self.wire.heal();
        self.power_on();
    }

    /// The end of the run.
    pub(crate) fn stop(&mut self) {
        self.kill_agent();
        self.drive.abort();
    }
}
