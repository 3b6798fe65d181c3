//! `ls` and `ps`.

use super::client::client;
use super::place::Place;
use super::{Format, Global, watch};
use crate::exit::Outcome;
use crate::output::{self, Cell, Colour};
use api::routes;
use api::wire::{FloatingRow, InstanceRow, ServiceRow, SidekickRow, StackRow, StandaloneRow};
use clap::Args;
use model::record::RunOutcome;
use serde::Serialize;

/// Options of `ps`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  remuda ps
  remuda ps shop/web
  remuda ps -o json shop | jq '.[] | select(.ready | not) | .reason'
  remuda ps -o json | jq '.[] | select(.kind) | .name'

Without a stack it also lists plain containers: those that no stack made.")]
pub(crate) struct PsArgs {
    /// stack, stack/service or stack/service#n [default: all]
    place: Option<Place>,
    /// Name of the stack, as in `up`
    #[arg(short = 'p', long = "project", short_alias = 's', conflicts_with = "place")]
    project: Option<Place>,
    /// Show it again at every change
    #[arg(short, long)]
    watch: bool,
}

/// `remuda ls`.
///
/// # Errors
/// What the server says.
pub(super) async fn stacks(global: &Global) -> Outcome {
    let rows: Vec<StackRow> = client(global)?.get(routes::STACKS).await?;
    match global.output {
        Format::Json => output::json(&rows),
        Format::Name => rows.iter().for_each(|row| output::line(row.name.as_str())),
        Format::Table | Format::Wide => {
            let cells: Vec<Vec<Cell>> = rows
                .iter()
                .map(|row| {
                    vec![
                        row.name.to_string().into(),
                        Cell::status(&row.status),
                        row.services.to_string().into(),
                        format!("{}/{}", row.ready, row.wanted).into(),
                        row.reason.clone().into(),
                    ]
                })
                .collect();
            output::table(&["STACK", "STATUS", "SERVICES", "READY", "REASON"], &cells);
        }
    }
    Ok(())
}

/// `remuda ps`.
///
/// # Errors
/// Exit code 3 when the stack or service is not there.
pub(super) async fn instances(global: &Global, args: PsArgs) -> Outcome {
    let client = client(global)?;
    let place = args.place.or(args.project).unwrap_or_default();
    let mut after = 0;
    loop {
        let wait = if after == 0 { 0 } else { 60_000 };
        let page = watch::page(&client, &place.stack, after, wait).await?;
        after = page.index.0;
        if !place.stack.is_empty() && page.services.is_empty() {
            Place { stack: place.stack.clone(), ..Place::default() }.must_exist(&client).await?;
        }
        let rows: Vec<&InstanceRow> = page
            .instances
            .iter()
            .filter(|row| place.service.is_empty() || row.service == place.service)
            .filter(|row| place.n == 0 || row.n == place.n)
            .collect();
        if rows.is_empty() && !place.service.is_empty() {
            place.must_exist(&client).await?;
        }
        if args.watch && output::is_live() {
            output::raw_note("\x1b[H\x1b[2J");
        }
        print(global, &rows, &page.standalone);
        if matches!(global.output, Format::Table | Format::Wide) {
            let shown = |service: &&ServiceRow| {
                place.n == 0
                    && (place.service.is_empty()
                        || service.name == format!("{}/{}", place.stack, place.service))
            };
            let services: Vec<&ServiceRow> = page.services.iter().filter(shown).collect();
            notes(&services, &rows).iter().for_each(|note| output::line(note));
        }
        if !args.watch {
            return Ok(());
        }
    }
}

/// Why an instance is not as it should be, with the wishes on its place that were dropped.
pub(super) fn reason(row: &InstanceRow) -> String {
    let mut parts = vec![];
    if !row.reason.is_empty() {
        parts.push(row.reason.clone());
    }
    if row.leaving {
        parts.push("leaves its host".to_owned());
    }
    if !row.dropped.is_empty() {
        parts.push(format!("without: {}", row.dropped.join(", ")));
    }
    parts.join("; ")
}

/// When a job runs next, and what came of its last run.
pub(super) fn job(row: &ServiceRow) -> String {
    let Some(job) = &row.job else { return String::new() };
    let mut parts = vec![match (job.next, job.schedule.as_str()) {
        (Some(next), _) => format!("next {}", super::ago(next)),
        (None, "") => "runs when asked for".to_owned(),
        (None, schedule) => format!("at {schedule}"),
    }];
    if let Some(last) = &job.last {
        let at = last.ended_at.map_or_else(String::new, |at| format!(" {}", super::ago(at)));
        let word = match &last.outcome {
            RunOutcome::Succeeded => "succeeded",
            RunOutcome::Skipped { .. } => "was left out",
            RunOutcome::Failed { .. } | RunOutcome::Waiting | RunOutcome::Running => "failed",
        };
        parts.push(format!("run {} {word}{at}", last.number));
    }
    parts.join(", ")
}

/// A floating address, and who has it.
pub(super) fn floating_ip(row: &FloatingRow) -> String {
    let address = row.address;
    match (&row.host, row.since) {
        (Some(host), Some(since)) => {
            format!("floating address {address} on host {host}, {}", super::ago(since))
        }
        (Some(host), None) => format!("floating address {address} on host {host}"),
        (None, _) => format!("floating address {address} on no host"),
    }
}

/// What is of a whole service and so in no row: what blocks it, when a job runs, who has its
/// floating address.
fn notes(services: &[&ServiceRow], rows: &[&InstanceRow]) -> Vec<String> {
    let mut notes = vec![];
    for service in services {
        let is_told = |reason: &str| {
            let mut rows = rows.iter().filter(|row| watch::in_service(row, &service.name));
            rows.any(|row| row.reason.contains(reason))
        };
        if service.job.is_some() {
            notes.push(format!("{}: {}", service.name, output::harmless(&job(service))));
        }
        if let Some(floating) = &service.floating {
            notes.push(format!("{}: {}", service.name, floating_ip(floating)));
        }
        let left = service.reasons.iter().filter(|reason| !is_told(reason));
        notes.extend(left.map(|r| format!("{}: {}", service.name, output::harmless(r))));
    }
    if !notes.is_empty() {
        notes.insert(0, String::new());
    }
    notes
}

/// The row of a container beside the primary.
fn sidekick(one: &SidekickRow, wide: bool) -> Vec<Cell> {
    let mut cells: Vec<Cell> = vec![
        format!("  + {}", one.name).into(),
        Cell::status(&one.status),
        Cell::status(&one.health.to_string()),
        "".into(),
        one.address.clone().into(),
        "".into(),
        "".into(),
    ];
    if wide {
        cells.push(one.image.clone().into());
        cells.push("".into());
        cells.push(one.container_id.chars().take(12).collect::<String>().into());
        cells.push(one.restarts.to_string().into());
    }
    cells.push(Cell::painted(Colour::Dim, one.reason.clone()));
    cells
}

/// A row of either kind.
#[derive(Serialize)]
#[serde(untagged)]
enum AnyRow<'a> {
    Instance(&'a InstanceRow),
    Standalone(&'a StandaloneRow),
}

fn print(global: &Global, rows: &[&InstanceRow], standalone: &[StandaloneRow]) {
    match global.output {
        Format::Json => {
            let instances = rows.iter().map(|row| AnyRow::Instance(row));
            let all: Vec<AnyRow<'_>> =
                instances.chain(standalone.iter().map(AnyRow::Standalone)).collect();
            return output::json(&all);
        }
        // Names of what other commands take.
        Format::Name => return rows.iter().for_each(|row| output::line(&row.name)),
        Format::Table | Format::Wide => {}
    }
    let wide = global.output == Format::Wide;
    let cells: Vec<Vec<Cell>> = rows
        .iter()
        .flat_map(|row| {
            let mut cells: Vec<Cell> = vec![
                row.name.clone().into(),
                Cell::status(&row.status),
                Cell::status(&row.health.to_string()),
                format!("r{}", row.revision).into(),
                row.address.clone().into(),
                row.ports.join(", ").into(),
                row.host.clone().into(),
            ];
            if wide {
                cells.push(row.image.clone().into());
                cells.push(row.container_name.clone().into());
                cells.push(row.container_id.chars().take(12).collect::<String>().into());
                cells.push(row.restarts.to_string().into());
            }
            cells.push(Cell::painted(Colour::Dim, reason(row)));
            let sidekicks = row.sidekicks.iter().map(|one| sidekick(one, wide));
            std::iter::once(cells).chain(sidekicks).collect::<Vec<_>>()
        })
        .collect();
    let mut heading = vec!["INSTANCE", "STATUS", "HEALTH", "REV", "ADDRESS", "PORTS", "HOST"];
    if wide {
        heading.extend(["IMAGE", "CONTAINER", "ID", "RESTARTS"]);
    }
    heading.push("REASON");
    output::table(&heading, &cells);
    print_standalone(standalone, wide);
}

/// Plain containers, below the instances.
fn print_standalone(rows: &[StandaloneRow], wide: bool) {
    if rows.is_empty() {
        return;
    }
    let cells: Vec<Vec<Cell>> = rows
        .iter()
        .map(|row| {
            let mut cells: Vec<Cell> = vec![
                row.name.clone().into(),
                Cell::status(&row.status),
                Cell::status(&row.health.to_string()),
                row.network.clone().into(),
                row.address.clone().into(),
                row.ports.join(", ").into(),
                row.host.clone().into(),
            ];
            if wide {
                cells.push(row.image.clone().into());
                cells.push(row.dns.clone().into());
                cells.push(row.container_id.chars().take(12).collect::<String>().into());
            }
            cells.push(Cell::painted(Colour::Dim, row.reason.clone()));
            cells
        })
        .collect();
    let mut heading = vec!["STANDALONE", "STATUS", "HEALTH", "NETWORK", "ADDRESS", "PORTS", "HOST"];
    if wide {
        heading.extend(["IMAGE", "DNS", "ID"]);
    }
    heading.push("REASON");
    output::line("");
    output::table(&heading, &cells);
}
