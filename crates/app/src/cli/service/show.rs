//! `svc ls` and `svc show`.

use crate::cli::place::Place;
use crate::cli::{Format, Global, ago, watch};
use crate::exit::Outcome;
use crate::output::{self, Cell, Colour};
use api::client::Client;
use api::routes;
use api::wire::{InstanceRow, ServiceDetail, ServiceRow};
use model::record::RunOutcome;

/// How many of how many, in a word.
pub(crate) fn count(row: &ServiceRow) -> String {
    match (row.mode.as_str(), row.kind.as_str()) {
        ("job", _) => match row.job.as_ref().map_or(0, |job| job.running) {
            0 => "job".to_owned(),
            n => format!("job, {n} running"),
        },
        (_, "external" | "alias") => "-".to_owned(),
        ("global", _) => format!("{}/{} global", row.serving.min(row.scale), row.scale),
        _ => format!("{}/{}", row.serving.min(row.scale), row.scale),
    }
}

/// When a job runs, and everything that blocks a service.
fn reason(row: &ServiceRow) -> String {
    let job = crate::cli::list::job(row);
    let parts = Some(job).filter(|job| !job.is_empty()).into_iter();
    parts.chain(row.reasons.iter().cloned()).collect::<Vec<_>>().join("; ")
}

/// `remuda svc ls`.
///
/// # Errors
/// Exit code 3 when there is no such stack.
pub(super) async fn list(global: &Global, client: &Client, stack: Option<Place>) -> Outcome {
    let place = stack.unwrap_or_default();
    let mut page = watch::page(client, &place.stack, 0, 0).await?;
    if !place.service.is_empty() {
        let name = format!("{}/{}", place.stack, place.service);
        page.services.retain(|row| row.name == name);
    }
    if !place.stack.is_empty() && page.services.is_empty() {
        place.must_exist(client).await?;
    }
    match global.output {
        Format::Json => {
            output::json(&page.services);
            return Ok(());
        }
        Format::Name => {
            page.services.iter().for_each(|row| output::line(&row.name));
            return Ok(());
        }
        Format::Table | Format::Wide => {}
    }
    let cells: Vec<Vec<Cell>> = page
        .services
        .iter()
        .map(|row| {
            vec![
                row.name.clone().into(),
                row.kind.clone().into(),
                Cell::status(&row.status),
                count(row).into(),
                format!("r{}", row.revision).into(),
                row.image.clone().into(),
                Cell::painted(Colour::Dim, reason(row)),
            ]
        })
        .collect();
    output::table(&["SERVICE", "KIND", "STATUS", "READY", "REV", "IMAGE", "REASON"], &cells);
    Ok(())
}

/// `remuda svc show`.
///
/// # Errors
/// Exit code 3 when there is no such service.
pub(super) async fn one(global: &Global, client: &Client, place: &Place) -> Outcome {
    let path = routes::fill(routes::SERVICE, &[&place.stack, &place.service]);
    let detail: ServiceDetail = client.get(&path).await?;
    if global.output == Format::Json {
        output::json(&detail);
        return Ok(());
    }
    head(&detail.service);
    for revision in &detail.revisions {
        let mark = match (revision.wanted, revision.before) {
            (true, _) => "*",
            (false, true) => "<",
            (false, false) => " ",
        };
        let at = output::utc(revision.created_at);
        let word = match revision.verdict.as_str() {
            "failed" => format!("  failed: {}", output::harmless(&revision.why)),
            "superseded" => "  superseded".to_owned(),
            _ => String::new(),
        };
        output::line(&format!(
            "  revision {mark}{} {at} {}{word}",
            revision.number, revision.image
        ));
    }
    instances(&detail.instances);
    Ok(())
}

fn head(row: &ServiceRow) {
    let word = output::paint(output::status_colour(&row.status), &row.status);
    let mode = if row.mode == "replicated" { "" } else { &format!(", {}", row.mode) };
    output::line(&format!("{} ({}{mode}): {word}", row.name, row.kind));
    let field = |name: &str, text: &str| {
        output::line(&format!("  {name:<9} {}", output::harmless(text)));
    };
    if !row.image.is_empty() {
        field("image", &row.image);
    }
    match &row.job {
        Some(_) => {}
        None if row.mode == "global" => {
            field("scale", &format!("{}, one on each host that takes it", count(row)));
        }
        None => field(
            "scale",
            &format!(
                "{} wanted, {} ready at revision {}, {} serving",
                row.scale, row.ready, row.revision, row.serving
            ),
        ),
    }
    if let Some(scaled) = &row.scaled {
        let why = if scaled.why.is_empty() { "at the least" } else { &scaled.why };
        let at = scaled.at.map_or_else(String::new, |at| format!(", {}", ago(at)));
        field("policy", &format!("{} to {}: {why}{at}", scaled.min, scaled.max));
    }
    if let Some(job) = &row.job {
        match job.schedule.as_str() {
            "" => field("schedule", "none: it runs when asked for"),
            schedule => field("schedule", &format!("{schedule} ({})", job.zone)),
        }
        if let Some(next) = job.next {
            field("next", &format!("{} ({})", output::utc(next), ago(next)));
        }
        field("runs", &format!("{} running, {} waiting", job.running, job.waiting));
        if let Some(last) = &job.last {
            let at = last.ended_at.map_or_else(String::new, |at| format!(", {}", ago(at)));
            field("last", &format!("run {} {}{at}", last.number, outcome(&last.outcome)));
        }
    }
    if let Some(floating) = &row.floating {
        field("floating", &crate::cli::list::floating_ip(floating));
        field("may have", &hosts(&floating.candidates));
        field("voters", &hosts(&floating.voters));
        floating.problems.iter().for_each(|why| field("problem", why));
    }
    if !row.advice.is_empty() {
        field("advice", &row.advice);
    }
    // Slot by slot, and what is of the whole service.
    let mut told: Vec<&str> = vec![];
    for blocked in &row.blocked {
        match blocked.n {
            0 => field("blocked", &blocked.reason),
            n => field("blocked", &format!("#{n}: {}", blocked.reason)),
        }
        told.push(&blocked.reason);
    }
    for reason in row.reasons.iter().filter(|reason| !told.contains(&reason.as_str())) {
        field("reason", reason);
    }
}

fn hosts(names: &[String]) -> String {
    if names.is_empty() { "no host".to_owned() } else { names.join(", ") }
}

/// What came of a run, in words.
pub(super) fn outcome(outcome: &RunOutcome) -> String {
    match outcome {
        RunOutcome::Waiting => "waits to begin".to_owned(),
        RunOutcome::Running => "runs".to_owned(),
        RunOutcome::Succeeded => "succeeded".to_owned(),
        RunOutcome::Failed { why } => format!("failed: {}", output::harmless(why)),
        RunOutcome::Skipped { why } => format!("was left out: {}", output::harmless(why)),
    }
}

fn instances(rows: &[InstanceRow]) {
    if rows.is_empty() {
        return;
    }
    let mut cells: Vec<Vec<Cell>> = vec![];
    for row in rows {
        let name = if row.n == 0 { "-".to_owned() } else { format!("#{}", row.n) };
        cells.push(vec![
            format!("  {name}").into(),
            format!("r{}", row.revision).into(),
            Cell::status(&row.status),
            Cell::status(&row.health.to_string()),
            row.host.clone().into(),
            row.address.clone().into(),
            Cell::painted(Colour::Dim, crate::cli::list::reason(row)),
        ]);
        cells.extend(row.sidekicks.iter().map(|one| {
            vec![
                format!("    + {}", one.name).into(),
                "".into(),
                Cell::status(&one.status),
                Cell::status(&one.health.to_string()),
                "".into(),
                one.address.clone().into(),
                Cell::painted(Colour::Dim, one.reason.clone()),
            ]
        }));
    }
    output::table(&["  N", "REV", "STATUS", "HEALTH", "HOST", "ADDRESS", "REASON"], &cells);
}
