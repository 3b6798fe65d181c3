//! People who change their minds: stacks come, change and go. One table, `MOVES`; a new verb is a
//! new row. What they write into their files is in `file`.

mod extras;
mod file;
mod machines;

pub(crate) use file::images;

use crate::dice::Dice;
use control::operate::{Refused, rollout};
use control::{cluster, operate};
use machines::{cordon, drain, label, rebalance, remove_host, uncordon};
use model::change::Proposal;
use model::cluster::Cluster;
use model::id::{HostId, ServiceId, StackName};
use model::scaling::Mode;
use model::time::Timestamp;

/// What a move is made with.
struct Ask<'a> {
    dice: &'a mut Dice,
    cluster: &'a Cluster,
    now: Timestamp,
}

/// What somebody asks for, in words, and as a proposal; `None` when there is nothing to ask it of.
type Move = fn(&mut Ask<'_>) -> Option<(String, Proposal)>;

/// Every move with its weight.
const MOVES: &[(u64, Move)] = &[
    (45, up),
    (10, restart),
    (7, stop),
    (8, start),
    (16, scale),
    (6, remove),
    (5, down),
    (14, rollout_verb),
    (10, run),
    (4, cordon),
    (5, uncordon),
    (4, drain),
    (7, label),
    (3, remove_host),
    (1, rebalance),
];

/// The next thing that somebody asks for.
pub(crate) fn next(
    dice: &mut Dice,
    cluster: &Cluster,
    now: Timestamp,
) -> Option<(String, Proposal)> {
    let mut ask = Ask { dice, cluster, now };
    let total: u64 = MOVES.iter().map(|(weight, _)| weight).sum();
    let mut drawn = ask.dice.below(total);
    for (weight, make) in MOVES {
        if drawn < *weight {
            // Where there is no service yet, somebody makes one.
            return make(&mut ask).or_else(|| up(&mut ask));
        }
        drawn -= weight;
    }
    None
}

impl Ask<'_> {
    fn service(&mut self) -> Option<ServiceId> {
        let services: Vec<ServiceId> = self.cluster.services().map(|s| s.id.clone()).collect();
        self.dice.pick(&services).cloned()
    }

    fn host(&mut self) -> Option<HostId> {
        let hosts: Vec<HostId> = self.cluster.hosts().map(|host| host.id.clone()).collect();
        self.dice.pick(&hosts).cloned()
    }

    fn stack(&mut self) -> StackName {
        let name = self.dice.pick(&["alpha", "beta", "gamma"]).copied().unwrap_or("alpha");
        StackName::parse(name).expect("a fixed valid name")
    }
}

fn restart(ask: &mut Ask<'_>) -> Option<(String, Proposal)> {
    let id = ask.service()?;
    Some((format!("restart {id}"), operate::restart(ask.cluster, &id)))
}

fn stop(ask: &mut Ask<'_>) -> Option<(String, Proposal)> {
    let id = ask.service()?;
    Some((format!("stop {id}"), operate::stop(ask.cluster, &id)))
}

fn start(ask: &mut Ask<'_>) -> Option<(String, Proposal)> {
    let id = ask.service()?;
    Some((format!("start {id}"), operate::start(ask.cluster, &id)))
}

/// What is refused changes nothing.
fn said(what: String, asked: Result<Proposal, Refused>) -> Option<(String, Proposal)> {
    Some(match asked {
        Ok(proposal) => (what, proposal),
        Err(refused) => (format!("{what} refused: {refused}"), Proposal::default()),
    })
}

fn scale(ask: &mut Ask<'_>) -> Option<(String, Proposal)> {
    let id = ask.service()?;
    let hosts = ask.cluster.hosts().count();
    let scale = file::scale(ask.dice, hosts);
    said(format!("scale {id} {scale}"), operate::scale(ask.cluster, &id, scale))
}

fn run(ask: &mut Ask<'_>) -> Option<(String, Proposal)> {
    let jobs = ask.cluster.services().filter(|one| matches!(one.settings.mode, Mode::Job(_)));
    let jobs: Vec<ServiceId> = jobs.map(|one| one.id.clone()).collect();
    let id = ask.dice.pick(&jobs).cloned().or_else(|| ask.service())?;
    said(format!("run {id}"), operate::run(ask.cluster, &id))
}

/// Pause, resume, promote, abort, finish, roll back, in our words and Rancher's.
fn rollout_verb(ask: &mut Ask<'_>) -> Option<(String, Proposal)> {
    let id = ask.service()?;
    let (word, _) = ask.dice.pick(&rollout::WORDS).copied()?;
    let revisions: Vec<u32> = ask.cluster.revisions_of(&id).map(|r| r.number).collect();
    let to = if ask.dice.once_in(2) { ask.dice.pick(&revisions).copied() } else { None };
    let verb = rollout::Verb::parse(word, to)?;
    said(format!("{word} {id} {to:?}"), rollout::verb(ask.cluster, &id, verb))
}

fn remove(ask: &mut Ask<'_>) -> Option<(String, Proposal)> {
    let id = ask.service()?;
    Some((format!("remove {id}"), operate::remove_service(ask.cluster, &id)))
}

fn down(ask: &mut Ask<'_>) -> Option<(String, Proposal)> {
    let stack = ask.stack();
    Some((format!("down {stack}"), operate::remove_stack(ask.cluster, &stack)))
}

fn up(ask: &mut Ask<'_>) -> Option<(String, Proposal)> {
    let stack = ask.stack();
    let hosts: Vec<HostId> = ask.cluster.hosts().map(|host| host.id.clone()).collect();
    let wanted = file::stack(&mut file::Draw { dice: ask.dice, hosts: &hosts, stack: &stack });
    let mut what = format!("up {stack}: {}", file::told(&wanted));
    let orphans = ask.dice.once_in(3);
    // As the API does.
    if let Err(error) = server::check_stack(&wanted) {
        return Some((format!("{what} refused: {error}"), Proposal::default()));
    }
    let diff = cluster::diff(ask.cluster, &stack, &wanted, orphans, ask.now);
    match diff.refused.first() {
        Some(why) => {
            what = format!("{what} refused: {why}");
            Some((what, Proposal::default()))
        }
        None => Some((what, diff.proposal)),
    }
}
