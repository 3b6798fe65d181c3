//! The table of what can go wrong: each trouble with what it does to the world.

use super::{Ending, World};
use crate::dice::Dice;
use crate::operator;
use crate::scenario::Trouble;
use crate::wire::Way;
use api::link::Up;
use engine::fake::{Fault, FaultKind, Link, Op};
use model::host_status::HostStatus;
use model::instance::{InstanceStatus, Phase};
use model::time::Generation;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use store::{Store as _, codec};
use tokio::time::Instant;

/// One thing happens; gives what, in words.
pub(super) async fn begin(world: &mut World, trouble: Trouble, dice: &mut Dice) -> String {
    match trouble {
        Trouble::Operator => operator(world, dice).await,
        Trouble::Server => server(world, dice).await,
        Trouble::Agent => agent(world, dice),
        Trouble::Host => host(world, dice),
        Trouble::Call => call(world, dice),
        Trouble::Engine => engine_link(world, dice),
        Trouble::Container => container(world, dice),
        Trouble::Link => wire(world, dice),
        Trouble::Clock => clock(world, dice),
        Trouble::Store => store(world, dice),
    }
}

fn soon(dice: &mut Dice, most_ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(1 + dice.below(most_ms))
}

/// When a host that is cut off or without power is back: one time in three only after it was lost.
fn back(dice: &mut Dice) -> Instant {
    let most_ms = if dice.once_in(3) { 40_000 } else { 12_000 };
    soon(dice, most_ms)
}

/// Hosts that may not hear the server for a while.
fn note_silence(world: &World, hosts: impl IntoIterator<Item = usize>) {
    world.judge.with(|oracle| hosts.into_iter().for_each(|n| oracle.note_silence(n)));
}

/// A host whose engine may fail, or has nobody to speak with it, until then.
fn note_away(world: &World, n: usize, until: Instant) {
    world.judge.with(|oracle| oracle.note_away(n, until));
}

fn one_host(world: &World, dice: &mut Dice) -> usize {
    usize::try_from(dice.below(world.hosts.len() as u64)).unwrap_or(0)
}

async fn operator(world: &mut World, dice: &mut Dice) -> String {
    let cluster = world.judge.cluster();
    let now = world.clock.clock().now();
    let Some((what, proposal)) = operator::next(dice, &cluster, now) else {
        return "nobody wants anything".into();
    };
    let result = match codec::encode(&proposal) {
        _ if proposal.is_empty() => "nothing to change".to_owned(),
        Ok(txn) => match world.store.txn(txn).await {
            Ok(done) => format!("at {}", done.index),
            Err(error) => error.to_string(),
        },
        Err(error) => error.to_string(),
    };
    format!("{what}: {result}")
}

async fn server(world: &mut World, dice: &mut Dice) -> String {
    note_silence(world, 0..world.hosts.len());
    match dice.below(3) {
        0 => {
            world.kill_server();
            world.pending.push((soon(dice, 6_000), Ending::Server));
            "server killed".into()
        }
        1 => {
            world.kill_server();
            world.start_server().await;
            "server killed and started".into()
        }
        _ => {
            // The old one does not know yet that it is over.
            let gate = Arc::clone(&world.gate);
            let late = dice.once_in(2);
            if late {
                gate.close();
            }
            world.zombies.extend(world.server.take().map(|zombie| (zombie, gate)));
            world.kill_server();
            let ahead = dice.around(3_000);
            let step = world.clock.set_ahead(ahead);
            let until = soon(dice, 3_000);
            let by = Duration::from_millis(step.unsigned_abs());
            let by = by.max(until.saturating_duration_since(Instant::now()));
            world.judge.with(|oracle| oracle.note_server_clock(by));
            world.start_server().await;
            world.pending.push((until, Ending::Zombies));
            let how = if late { ", what the first one writes comes late" } else { "" };
            format!("second server started beside the first, its clock {ahead} ms ahead{how}")
        }
    }
}

fn agent(world: &mut World, dice: &mut Dice) -> String {
    let n = one_host(world, dice);
    world.hosts[n].kill_agent();
    let until = soon(dice, 5_000);
    note_silence(world, [n]);
    note_away(world, n, until);
    world.pending.push((until, Ending::Agent(n)));
    format!("agent of h{n} killed")
}

fn host(world: &mut World, dice: &mut Dice) -> String {
    let n = one_host(world, dice);
    world.hosts[n].power_off();
    note_silence(world, [n]);
    world.pending.push((back(dice), Ending::Power(n)));
    format!("host h{n} without power")
}

fn call(world: &mut World, dice: &mut Dice) -> String {
    let ops = [Op::Create, Op::Start, Op::Stop, Op::Remove, Op::List, Op::Inspect, Op::Pull];
    let kinds = [
        FaultKind::ErrorBefore,
        FaultKind::ErrorAfter,
        FaultKind::LostRequest,
        FaultKind::LostReply,
        FaultKind::HangAfter,
        FaultKind::Slow { ms: 100 + dice.below(3_000) },
    ];
    let op = dice.pick(&ops).copied().unwrap_or(Op::Create);
    let kind = dice.pick(&kinds).copied().unwrap_or(FaultKind::LostReply);
    let n = one_host(world, dice);
    // It may strike a call that is made much later.
    note_away(world, n, Instant::now() + Duration::from_secs(60));
    let times = 1 + dice.small(3);
    world.hosts[n].engine.fault(Fault { times, ..Fault::once(op, kind) });
    format!("fault on h{n}: {op:?} {kind:?} x{times}")
}

fn engine_link(world: &mut World, dice: &mut Dice) -> String {
    let n = one_host(world, dice);
    let link = if dice.once_in(2) { Link::Down } else { Link::Hung };
    if world.hosts[n].powered {
        world.hosts[n].engine.set_link(link);
    }
    let until = soon(dice, 8_000);
    note_away(world, n, until);
    world.pending.push((until, Ending::Engine(n)));
    format!("engine of h{n}: {link:?}")
}

fn container(world: &mut World, dice: &mut Dice) -> String {
    let removed = dice.once_in(2);
    let first = one_host(world, dice);
    let hosts = world.hosts.len();
    // The first host from there that has one.
    for n in (0..hosts).map(|step| (first + step) % hosts) {
        let host = &world.hosts[n];
        let all = host.engine.containers();
        let running: Vec<_> = all.iter().filter(|c| removed || c.running()).collect();
        let Some(container) = dice.pick(&running) else { continue };
        if removed {
            host.engine.remove_behind(&container.id);
            return format!("container {} of h{n} removed by somebody", container.name);
        }
        host.engine.exit(&container.id, 137);
        return format!("container {} of h{n} killed", container.name);
    }
    "no container to kill".into()
}

/// What an agent that takes itself for another one would say of that host, or what one would say of
/// its own host before it has heard of anything.
fn mistaken(world: &World, by: usize, other: usize) -> HostStatus {
    let cluster = world.judge.cluster();
    let host = world.hosts[other].id.clone();
    let facts = cluster.host(&host).map(|host| host.facts.clone()).unwrap_or_default();
    let absent = InstanceStatus { phase: Phase::Absent, ..InstanceStatus::default() };
    let instances =
        cluster.instances_on(&host).map(|one| (one.id.clone(), absent.clone())).collect();
    HostStatus {
        host,
        number: 0,
        generation: Generation(if by == other { 0 } else { cluster.index().0 }),
        view: cluster.index(),
        facts,
        instances,
        plain: None,
        probes: BTreeMap::new(),
        usage: BTreeMap::new(),
        requests: None,
        floating: BTreeMap::new(),
        checks: BTreeMap::new(),
    }
}

fn wire(world: &mut World, dice: &mut Dice) -> String {
    let n = one_host(world, dice);
    note_silence(world, [n]);
    let (what, ways): (&str, &[Way]) = match dice.below(7) {
        0 => ("cut towards the server", &[Way::Up]),
        1 => ("cut towards the agent", &[Way::Down]),
        2 => ("cut", &[Way::Up, Way::Down]),
        3 => {
            let ms = 50 + dice.below(1_500);
            world.hosts[n].wire.delay(ms);
            world.pending.push((soon(dice, 10_000), Ending::Wire(n)));
            return format!("link of h{n} up to {ms} ms late");
        }
        4 => {
            let other = one_host(world, dice);
            let status = mistaken(world, n, other);
            world.hosts[n].wire.inject(Up::Status(Box::new(status)));
            return format!("h{n} says that everything of h{other} is gone");
        }
        _ => {
            let times = 1 + dice.small(8);
            world.hosts[n].wire.stutter(times);
            return format!("link of h{n} stutters {times} times");
        }
    };
    world.hosts[n].wire.cut(ways);
    world.pending.push((back(dice), Ending::Wire(n)));
    format!("link of h{n} {what}")
}

fn clock(world: &mut World, dice: &mut Dice) -> String {
    let n = one_host(world, dice);
    let ahead = dice.around(10_000);
    let step = world.hosts[n].clock.set_ahead(ahead);
    world.hosts[n].engine.set_clock_by(step);
    world.judge.with(|oracle| oracle.note_clock(n));
    format!("clock of h{n} set {ahead} ms ahead")
}

fn store(world: &mut World, dice: &mut Dice) -> String {
    if dice.once_in(2) {
        // What it decides meanwhile rests on records that others change.
        world.gate.close();
        let until = soon(dice, 1_500);
        // The times that it notes are as much too early.
        let late = until.saturating_duration_since(Instant::now());
        world.judge.with(|oracle| oracle.note_server_clock(late));
        world.pending.push((until, Ending::Gate(Arc::clone(&world.gate))));
        return "the store takes what the server writes late".into();
    }
    let faults = [store::Fault::NoSpace, store::Fault::AmbiguousDone, store::Fault::AmbiguousLost];
    let fault = dice.pick(&faults).copied().unwrap_or(store::Fault::NoSpace);
    let times = 1 + dice.small(3);
    for _ in 0..times {
        world.store.inject(fault);
    }
    format!("the store answers {fault:?} {times} times")
}
