//! Jobs: each run is one instance that ends. Runs come by the clock or because somebody asked, and
//! what became of them is kept.

use super::draft::Draft;
use super::{depend, leaving};
use crate::ledger::Ledger;
use model::instance::{Goal, Phase};
use model::limits::{JOB_HISTORY_MAX, JOB_RUNS_PARALLEL_MAX};
use model::mutation::{Mutation, is_in};
use model::reason::{Reason, within_limit};
use model::record::{Rollout, Run, RunCause, RunOutcome};
use model::scaling::{Concurrency, JobSpec};
use model::time::Timestamp;

/// Decides for a job that is to run.
pub(super) fn decide(draft: &mut Draft<'_>, ledger: &mut Ledger<'_>, job: &JobSpec) {
    draft.status.blocked.clear();
    draft.status.rollout = Rollout::Done;
    for run in 0..draft.status.runs.len() {
        settle(draft, job, run);
    }
    take_asked(draft);
    take_due(draft, job);
    begin(draft, ledger, job);
    forget(draft, job);
}

/// Runs that are not over when the job is stopped or goes end with it.
pub(super) fn end_runs(draft: &mut Draft<'_>, why: &str) {
    for run in 0..draft.status.runs.len() {
        if !draft.status.runs[run].outcome.is_over() {
            end(draft, run, RunOutcome::Failed { why: why.to_owned() });
        }
    }
}

fn end(draft: &mut Draft<'_>, run: usize, outcome: RunOutcome) {
    let now = draft.now;
    let run = &mut draft.status.runs[run];
    run.ended_at = Some(now);
    run.outcome = match outcome {
        RunOutcome::Failed { why } => RunOutcome::Failed { why: within_limit(why) },
        RunOutcome::Skipped { why } => RunOutcome::Skipped { why: within_limit(why) },
        other => other,
    };
}

fn member_of(draft: &Draft<'_>, incarnation: Option<u64>) -> Option<usize> {
    let incarnation = incarnation?;
    draft.members.iter().position(|m| m.instance.id.incarnation == incarnation)
}

/// What became of a run that is under way.
fn settle(draft: &mut Draft<'_>, job: &JobSpec, run: usize) {
    if draft.status.runs[run].outcome != RunOutcome::Running {
        return;
    }
    let Some(index) = member_of(draft, draft.status.runs[run].incarnation) else {
        return end(draft, run, RunOutcome::Failed { why: "its instance was removed".into() });
    };
    let member = &draft.members[index];
    let seen = member.seen.clone();
    match seen.phase {
        Phase::Completed if seen.exit_code.unwrap_or(0) == 0 => {
            return end(draft, run, RunOutcome::Succeeded);
        }
        Phase::Completed | Phase::Failed => {
            let code = seen.exit_code.unwrap_or(0);
            let why = match seen.reason.as_str() {
                "" => format!("exited with code {code}"),
                reason => reason.to_owned(),
            };
            // One container of the unit has failed: the others end with the run.
            draft.set_goal(index, Goal::Stop, &why);
            return end(draft, run, RunOutcome::Failed { why });
        }
        _ => {}
    }
    if draft.cluster.host(&member.instance.host).is_none() || leaving::is_given_up(draft, index) {
        let why = format!("host {} was lost", draft.members[index].instance.host);
        draft.set_goal(index, Goal::Remove, &why);
        return end(draft, run, RunOutcome::Failed { why });
    }
    let (Some(timeout), Some(_)) = (job.timeout_ms, seen.started_at) else { return };
    // By the server's clock; that of the host may be wrong.
    let due = seen.changed_at.plus_ms(timeout);
    if draft.now < due {
        draft.wake(due);
        return;
    }
    let why = format!("it took longer than {} s", timeout.div_ceil(1_000));
    draft.set_goal(index, Goal::Stop, &why);
    end(draft, run, RunOutcome::Failed { why });
}

fn add(draft: &mut Draft<'_>, due: Timestamp, cause: RunCause) -> usize {
    let number = draft.status.runs.last().map_or(0, |run| run.number) + 1;
    let number = number.max(draft.status.runs_made + 1);
    draft.status.runs_made = number;
    let outcome = RunOutcome::Waiting;
    draft.status.runs.push(Run { number, due, cause, incarnation: None, ended_at: None, outcome });
    draft.status.runs.len() - 1
}

/// Runs that somebody asked for.
fn take_asked(draft: &mut Draft<'_>) {
    let asked = draft.service.orders.runs;
    while draft.status.runs_taken < asked {
        draft.status.runs_taken += 1;
        let run = add(draft, draft.now, RunCause::Hand);
        if waiting(draft) > JOB_RUNS_PARALLEL_MAX {
            let why = format!("more than {JOB_RUNS_PARALLEL_MAX} runs wait already");
            end(draft, run, RunOutcome::Skipped { why });
        }
    }
}

fn waiting(draft: &Draft<'_>) -> usize {
    draft.status.runs.iter().filter(|run| run.outcome == RunOutcome::Waiting).count()
}

fn running(draft: &Draft<'_>) -> Vec<usize> {
    let runs = draft.status.runs.iter().enumerate();
    runs.filter(|(_, run)| run.outcome == RunOutcome::Running).map(|(index, _)| index).collect()
}

/// The run that the schedule asks for now; of several that were missed the last one.
fn take_due(draft: &mut Draft<'_>, job: &JobSpec) {
    let Some(schedule) = &job.schedule else { return };
    if draft.status.scheduled_to == Timestamp::default() {
        draft.status.scheduled_to = draft.now;
    }
    let mut last = None;
    let mut at = draft.status.scheduled_to;
    // What was missed for very long is not counted one by one.
    let floor = Timestamp(
        draft.now.0.saturating_sub(i64::try_from(job.starting_deadline_ms).unwrap_or(i64::MAX)),
    );
    if at < floor && schedule.after(at).is_some_and(|next| next < floor) {
        at = floor;
    }
    while let Some(next) = schedule.after(at).filter(|next| *next <= draft.now) {
        last = Some(next);
        at = next;
    }
    if let Some(next) = schedule.after(at) {
        draft.wake(next);
    }
    let Some(due) = last else { return };
    draft.status.scheduled_to = due;
    let run = add(draft, due, RunCause::Schedule);
    let busy = running(draft);
    let forbids = job.concurrency == Concurrency::Forbid && !is_in(Mutation::RunBeside);
    if forbids && (!busy.is_empty() || waiting(draft) > 1) {
        end(draft, run, RunOutcome::Skipped { why: "the run before it is not over".into() });
    }
}

/// Waiting runs get their instances.
fn begin(draft: &mut Draft<'_>, ledger: &mut Ledger<'_>, job: &JobSpec) {
    if waiting(draft) == 0 {
        return;
    }
    if draft.status.incarnations == 0
        && let Some(reason) = depend::waits(draft)
    {
        draft.block(0, reason);
        return;
    }
    for run in 0..draft.status.runs.len() {
        if draft.status.runs[run].outcome != RunOutcome::Waiting || !draft.has_room() {
            continue;
        }
        let busy = running(draft);
        match job.concurrency {
            _ if is_in(Mutation::RunBeside) => {}
            Concurrency::Forbid if !busy.is_empty() || is_ending(draft) => continue,
            Concurrency::Replace => {
                for old in busy {
                    let why = "replaced by the next run";
                    if let Some(index) = member_of(draft, draft.status.runs[old].incarnation) {
                        draft.set_goal(index, Goal::Stop, why);
                    }
                    end(draft, old, RunOutcome::Failed { why: why.into() });
                }
                if is_ending(draft) {
                    continue;
                }
            }
            _ if busy.len() >= JOB_RUNS_PARALLEL_MAX => continue,
            Concurrency::Allow | Concurrency::Forbid => {}
        }
        let Run { number, due, .. } = draft.status.runs[run];
        let n = free_slot(draft);
        let target = draft.service.target;
        match draft.try_place(ledger, n, target, &format!("run {number}")) {
            Ok(incarnation) => {
                let run = &mut draft.status.runs[run];
                run.incarnation = Some(incarnation);
                run.outcome = RunOutcome::Running;
            }
            Err(reason) => wait(draft, job, run, due, reason),
        }
    }
}

/// Is an instance of a run that is over still there, as far as anybody can know?
fn is_ending(draft: &mut Draft<'_>) -> bool {
    let over = [Phase::Absent, Phase::Stopped, Phase::Completed, Phase::Failed];
    let ending: Vec<usize> = (0..draft.members.len())
        .filter(|index| {
            let member = &draft.members[*index];
            member.instance.goal != Goal::Run
                && !over.contains(&member.seen.phase)
                && !leaving::is_given_up(draft, *index)
        })
        .collect();
    for index in &ending {
        if let Some(at) = leaving::given_up_at(draft, *index) {
            draft.wake(at);
        }
    }
    !ending.is_empty()
}

/// A run that cannot begin waits, and is left out in the end.
fn wait(draft: &mut Draft<'_>, job: &JobSpec, run: usize, due: Timestamp, reason: Reason) {
    let deadline = due.plus_ms(job.starting_deadline_ms);
    if draft.now < deadline {
        draft.wake(deadline);
        draft.block(0, reason);
    } else {
        let s = job.starting_deadline_ms / 1_000;
        end(
            draft,
            run,
            RunOutcome::Skipped { why: format!("it could not begin in {s} s: {reason}") },
        );
    }
}

fn free_slot(draft: &Draft<'_>) -> u32 {
    (1..).find(|n| draft.in_slot(*n).is_empty()).unwrap_or(1)
}

/// Old runs are forgotten, with their containers.
fn forget(draft: &mut Draft<'_>, job: &JobSpec) {
    let keep = job.history.min(JOB_HISTORY_MAX) as usize;
    let over: Vec<u64> = draft
        .status
        .runs
        .iter()
        .filter(|run| run.outcome.is_over())
        .map(|run| run.number)
        .collect();
    let old: Vec<u64> = over.iter().copied().take(over.len().saturating_sub(keep)).collect();
    draft.status.runs.retain(|run| !old.contains(&run.number));
    let known: Vec<u64> = draft.status.runs.iter().filter_map(|run| run.incarnation).collect();
    for index in 0..draft.members.len() {
        let instance = &draft.members[index].instance;
        let unknown = !known.contains(&instance.id.incarnation);
        if unknown && instance.goal != Goal::Remove && draft.has_room() {
            draft.set_goal(index, Goal::Remove, "its run is forgotten");
        }
    }
}
