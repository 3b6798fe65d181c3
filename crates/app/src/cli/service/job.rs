//! `svc run` and `svc runs`: a job now, and what came of its runs.

use super::show::outcome;
use super::{Wait, act};
use crate::cli::place::Place;
use crate::cli::{Format, Global, ago};
use crate::exit::{CONFLICT, ERROR, Failure, INTERRUPTED, Outcome, TIMED_OUT};
use crate::output::{self, Cell, Colour};
use api::client::Client;
use api::routes;
use api::wire::JobRuns;
use model::record::{Run, RunCause, RunOutcome};
use std::time::{Duration, Instant};

async fn ask(client: &Client, place: &Place) -> Outcome<JobRuns> {
    let path = routes::fill(routes::SERVICE_RUNS, &[&place.stack, &place.service]);
    Ok(client.get(&path).await?)
}

/// `remuda svc run`.
///
/// # Errors
/// Exit code 5 when it is no job or the run was left out, 1 when the run failed, 7 when it is not
/// over in time.
pub(super) async fn run(global: &Global, client: &Client, place: &Place, wait: &Wait) -> Outcome {
    let known = ask(client, place).await?.runs.last().map_or(0, |run| run.number);
    let accepted = act(client, place, "run", None).await?;
    if wait.no_wait {
        if global.output == Format::Json {
            output::json(&accepted);
        }
        return Ok(());
    }
    let deadline = Instant::now() + wait.timeout;
    let mut told = String::new();
    loop {
        let runs = ask(client, place).await?;
        let ours = runs.runs.iter().find(|run| run.number > known && run.cause == RunCause::Hand);
        if let Some(run) = ours {
            let text = format!("run {} {}", run.number, outcome(&run.outcome));
            if text != told && !global.quiet {
                output::note(&format!("{}: {text}", runs.service));
                told = text;
            }
            if run.outcome.is_over() {
                return ended(global, &runs.service, run);
            }
        }
        if Instant::now() >= deadline {
            return Err(Failure::Message {
                code: TIMED_OUT,
                message: format!("the run is not over after {:?}; it goes on", wait.timeout),
                hint: format!("see `remuda svc runs {}`", runs.service),
            });
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
            _ = tokio::signal::ctrl_c() => {
                return Err(Failure::Message {
                    code: INTERRUPTED,
                    message: "interrupted; the run goes on".into(),
                    hint: format!("see `remuda svc runs {}`", runs.service),
                });
            }
        }
    }
}

fn ended(global: &Global, service: &str, run: &Run) -> Outcome {
    if global.output == Format::Json {
        output::json(run);
    }
    let failure = |code, why: &str| {
        Err(Failure::Message {
            code,
            message: format!("run {} of {service}: {why}", run.number),
            hint: format!("see `remuda logs {service}` and `remuda svc runs {service}`"),
        })
    };
    match &run.outcome {
        RunOutcome::Waiting | RunOutcome::Running | RunOutcome::Succeeded => Ok(()),
        RunOutcome::Failed { why } => failure(ERROR, why),
        RunOutcome::Skipped { why } => failure(CONFLICT, why),
    }
}

/// `remuda svc runs`.
///
/// # Errors
/// Exit code 5 when it is no job.
pub(super) async fn list(global: &Global, client: &Client, place: &Place) -> Outcome {
    let runs = ask(client, place).await?;
    match global.output {
        Format::Json => {
            output::json(&runs);
            return Ok(());
        }
        Format::Name => {
            runs.runs.iter().for_each(|run| output::line(&run.number.to_string()));
            return Ok(());
        }
        Format::Table | Format::Wide => {}
    }
    let cells: Vec<Vec<Cell>> = runs
        .runs
        .iter()
        .rev()
        .map(|run| {
            let (word, why) = match &run.outcome {
                RunOutcome::Waiting => ("waiting", ""),
                RunOutcome::Running => ("running", ""),
                RunOutcome::Succeeded => ("ok", ""),
                RunOutcome::Failed { why } => ("failed", why.as_str()),
                RunOutcome::Skipped { why } => ("skipped", why.as_str()),
            };
            let cause = match run.cause {
                RunCause::Schedule => "schedule",
                RunCause::Hand => "by hand",
            };
            vec![
                run.number.to_string().into(),
                output::utc(run.due).into(),
                cause.into(),
                Cell::status(word),
                run.ended_at.map_or_else(String::new, ago).into(),
                Cell::painted(Colour::Dim, why),
            ]
        })
        .collect();
    output::table(&["RUN", "DUE", "CAUSE", "RESULT", "ENDED", "WHY"], &cells);
    if let Some(next) = runs.job.next {
        output::note(&format!("next: {} ({})", output::utc(next), ago(next)));
    }
    Ok(())
}
