//! `svc history` and `svc diff`.

use crate::cli::place::Place;
use crate::cli::{Format, Global, ago};
use crate::exit::Outcome;
use crate::output::{self, Cell, Colour};
use api::client::Client;
use api::routes;
use api::wire::{History, RevisionDiff, RevisionRow};

/// How a revision stands, and how it ended, in words.
fn words(row: &RevisionRow) -> (&'static str, String) {
    let count = row.instances;
    match (row.wanted, row.before, row.verdict.as_str()) {
        (true, _, "failed") => ("failed", format!("failed: {}", row.why)),
        (true, _, "good") => ("runs", format!("{count} run")),
        (true, _, _) => ("rolling out", format!("{count} run")),
        (false, true, _) => ("before", format!("it served before; {count} run")),
        (false, false, "failed") => ("failed", format!("failed: {}", row.why)),
        (false, false, "superseded") => {
            ("superseded", "another one was wanted before it was over".to_owned())
        }
        (false, false, "good") => ("served", String::new()),
        (false, false, _) => ("-", String::new()),
    }
}

/// `remuda svc history`.
///
/// # Errors
/// Exit code 3 when there is no such service.
pub(super) async fn show(global: &Global, client: &Client, place: &Place) -> Outcome {
    let path = routes::fill(routes::SERVICE_HISTORY, &[&place.stack, &place.service]);
    let history: History = client.get(&path).await?;
    match global.output {
        Format::Json => {
            output::json(&history);
            return Ok(());
        }
        Format::Name => {
            history.revisions.iter().for_each(|row| output::line(&row.number.to_string()));
            return Ok(());
        }
        Format::Table | Format::Wide => {}
    }
    let wide = global.output == Format::Wide;
    let cells: Vec<Vec<Cell>> = history
        .revisions
        .iter()
        .rev()
        .map(|row| {
            let (word, why) = words(row);
            let changes = match (row.changes.as_slice(), wide) {
                ([], _) => String::new(),
                (all, true) => all.join("; "),
                ([one], false) => one.clone(),
                ([first, rest @ ..], false) => format!("{first} (and {} more)", rest.len()),
            };
            let mark = if row.wanted { "*" } else { " " };
            vec![
                format!("{mark}{}", row.number).into(),
                output::utc(row.created_at).into(),
                row.image.clone().into(),
                Cell::painted(colour(word), word),
                row.at.map_or_else(String::new, ago).into(),
                why.into(),
                Cell::painted(Colour::Dim, changes),
            ]
        })
        .collect();
    let heading = [" REVISION", "CREATED", "IMAGE", "RESULT", "WHEN", "WHY", "CHANGES"];
    output::table(&heading, &cells);
    Ok(())
}

fn colour(word: &str) -> Colour {
    match word {
        "runs" => Colour::Green,
        "failed" => Colour::Red,
        "rolling out" | "before" => Colour::Yellow,
        _ => Colour::Dim,
    }
}

/// `remuda svc diff`.
///
/// # Errors
/// Exit code 3 when there is no such service or revision.
pub(super) async fn diff(
    global: &Global,
    client: &Client,
    place: &Place,
    from: Option<u32>,
    to: Option<u32>,
) -> Outcome {
    let path = routes::fill(routes::SERVICE_DIFF, &[&place.stack, &place.service]);
    let query = |name: &str, value: Option<u32>| {
        value.map_or_else(String::new, |value| format!("&{name}={value}"))
    };
    let path = format!("{path}?{}{}", query("from", from), query("to", to)).replacen("?&", "?", 1);
    let diff: RevisionDiff = client.get(&path).await?;
    if global.output == Format::Json {
        output::json(&diff);
        return Ok(());
    }
    output::line(&format!("{} revision {} -> {}", diff.service, diff.from, diff.to));
    if diff.changes.is_empty() {
        output::line("  no difference");
    }
    for change in &diff.changes {
        output::line(&format!("  {}", output::harmless(change)));
    }
    Ok(())
}
