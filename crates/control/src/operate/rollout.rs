//! What people say about a rollout: pause, resume, promote, abort, finish, roll back. Rancher's
//! verbs are the same in other words: see `Verb::parse`.

use super::{Refused, change};
use model::change::Proposal;
use model::cluster::Cluster;
use model::id::ServiceId;
use model::instance::{Goal, Target};
use model::record::{Rollout, Service, ServiceStatus, Verdict};
use model::rollout_policy::Finish;

/// What is to become of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Nothing changes its version any more.
    Pause,
    /// It goes on.
    Resume,
    /// The canaries are good: the rest follows.
    Promote,
    /// Back to what served before it began.
    Abort,
    /// What was kept of before may go.
    Finish,
    /// Back to a kept revision; `None` is the one before.
    Rollback(Option<u32>),
}

/// Every word for a verb, ours first, then Rancher's.
pub const WORDS: [(&str, Verb); 11] = [
    ("pause", Verb::Pause),
    ("resume", Verb::Resume),
    ("promote", Verb::Promote),
    ("abort", Verb::Abort),
    ("finish", Verb::Finish),
    ("rollback", Verb::Rollback(None)),
    ("cancelupgrade", Verb::Pause),
    ("continueupgrade", Verb::Resume),
    ("finishupgrade", Verb::Finish),
    ("cancelrollback", Verb::Pause),
    ("rollbackupgrade", Verb::Rollback(None)),
];

impl Verb {
    /// A word of `WORDS`, with the revision for a rollback.
    #[must_use]
    pub fn parse(word: &str, to: Option<u32>) -> Option<Self> {
        let (_, verb) = WORDS.iter().find(|(known, _)| *known == word)?;
        Some(match verb {
            Self::Rollback(_) => Self::Rollback(to),
            other => *other,
        })
    }
}

/// Carries out a verb.
///
/// # Errors
/// Why it means nothing now, and what does.
pub fn verb(cluster: &Cluster, id: &ServiceId, verb: Verb) -> Result<Proposal, Refused> {
    let Some(service) = cluster.service(id) else { return Ok(Proposal::default()) };
    let none = ServiceStatus::new(id.clone());
    let status = cluster.service_status(id).map_or(&none, |status| &**status);
    if service.goal == Goal::Remove {
        return Err(Refused::new(format!("service {id} is being removed"), ""));
    }
    let moving = matches!(
        &status.rollout,
        Rollout::Running { target, before: Some(_), .. } if *target == service.target
    );
    let pending = status.rollout == Rollout::Done && runs_other(cluster, service);
    match verb {
        Verb::Pause => {
            if !moving && !pending {
                return Err(nothing_moves(service, status));
            }
            Ok(change(cluster, id, |service| service.orders.paused = true))
        }
        Verb::Resume => Ok(change(cluster, id, |service| {
            service.orders.paused = false;
            // One that stopped at a failure is tried again.
            if is_failed(service, status) {
                service.attempt += 1;
            }
        })),
        Verb::Promote => {
            if !moving && !pending {
                return Err(nothing_moves(service, status));
            }
            Ok(change(cluster, id, |service| {
                service.orders.promoted = Some(service.target);
                service.orders.paused = false;
            }))
        }
        Verb::Finish => match &status.rollout {
            Rollout::Finishing { target, .. } if *target == service.target => {
                Ok(change(cluster, id, |service| service.orders.finished = Some(service.target)))
            }
            Rollout::Running { .. } => Err(Refused::new(
                format!("the rollout of {id} is not at its end"),
                "wait for it, or `svc abort`",
            )),
            _ if service.orders.finished == Some(service.target)
                && service.settings.update.finish == Finish::Manual =>
            {
                Ok(Proposal::default())
            }
            _ => Err(Refused::new(
                format!("nothing of {id} waits to be finished"),
                "see `svc history`",
            )),
        },
        Verb::Abort => {
            if !moving && !is_failed(service, status) {
                return Err(nothing_moves(service, status));
            }
            let Some(before) = status.rollout.before() else {
                return Err(Refused::new(
                    format!("nothing of {id} served before"),
                    "change the file and `up` again, or `svc rm`",
                ));
            };
            back_to(cluster, service, before)
        }
        Verb::Rollback(to) => {
            let target = rollback_target(cluster, service, status, to)?;
            back_to(cluster, service, target)
        }
    }
}

fn is_failed(service: &Service, status: &ServiceStatus) -> bool {
    matches!(&status.rollout, Rollout::Failed { target, attempt, .. }
        if *target == service.target && *attempt == service.attempt)
}

/// Does an instance run that is not at the target, though the planner has not said so yet?
fn runs_other(cluster: &Cluster, service: &Service) -> bool {
    cluster
        .instances_of(&service.id)
        .any(|i| i.goal == Goal::Run && i.target.revision != service.target.revision)
}

fn nothing_moves(service: &Service, status: &ServiceStatus) -> Refused {
    let why = match &status.rollout {
        Rollout::Finishing { .. } => "its rollout has ended and waits for `finish` or `rollback`",
        Rollout::Failed { .. } => "its rollout has failed already",
        Rollout::Running { .. } => "it is its first deployment",
        Rollout::Done => "no rollout is under way",
    };
    Refused::new(format!("service {}: {why}", service.id), "see `svc history`")
}

fn back_to(cluster: &Cluster, service: &Service, target: Target) -> Result<Proposal, Refused> {
    if cluster.revision(&service.id, target.revision).is_none() {
        return Err(pruned(cluster, service, target.revision));
    }
    Ok(change(cluster, &service.id, |service| {
        service.target = target;
        service.attempt += 1;
        service.orders.paused = false;
        // What has served needs no canaries, and what is left is not kept: it was not wanted.
        service.orders.promoted = Some(target);
        service.orders.finished = Some(target);
        if service.goal == Goal::Stop {
            service.goal = Goal::Run;
        }
    }))
}

fn pruned(cluster: &Cluster, service: &Service, revision: u32) -> Refused {
    let kept: Vec<String> =
        cluster.revisions_of(&service.id).map(|r| r.number.to_string()).collect();
    Refused::new(
        format!("revision {revision} of {} is not kept (kept: {})", service.id, kept.join(", ")),
        "see `svc history`",
    )
}

/// Where a rollback goes: the asked revision, what served before the present rollout, or the last
/// good one besides the present one.
fn rollback_target(
    cluster: &Cluster,
    service: &Service,
    status: &ServiceStatus,
    to: Option<u32>,
) -> Result<Target, Refused> {
    let before = status.rollout.before().filter(|b| *b != service.target);
    if let Some(revision) = to {
        if revision == service.target.revision && !is_failed(service, status) {
            return Err(Refused::new(
                format!("service {} is at revision {revision} already", service.id),
                "see `svc history`",
            ));
        }
        let known = before.filter(|b| b.revision == revision);
        let restart = service.target.restart;
        return Ok(known.unwrap_or(Target { revision, restart }));
    }
    if let Some(before) = before {
        return Ok(before);
    }
    let good =
        |number: u32| status.revisions.get(&number).filter(|known| known.verdict == Verdict::Good);
    let last = cluster
        .revisions_of(&service.id)
        .map(|r| r.number)
        .filter(|number| *number != service.target.revision)
        .filter_map(|number| Some((good(number)?.at, number)))
        .max();
    match last {
        Some((_, revision)) => Ok(Target { revision, restart: service.target.restart }),
        None => Err(Refused::new(
            format!("no other revision of {} has ever served", service.id),
            "see `svc history`; `--to N` takes any that is kept",
        )),
    }
}
