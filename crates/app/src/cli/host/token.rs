//! `host token`: make, list, revoke.

use super::{TokenCommand, tell};
use crate::cli::{Format, Global};
use crate::exit::{Failure, Outcome};
use crate::output::{self, Cell, Colour};
use api::client::Client;
use api::routes;
use api::wire::{Accepted, JoinToken, JoinTokenRequest, JoinTokenRow};
use http::Method;

/// Carries one out.
///
/// # Errors
/// What the server says.
pub(super) async fn run(global: &Global, client: &Client, command: TokenCommand) -> Outcome {
    match command {
        TokenCommand::Create { ttl, uses, host, labels } => {
            let ttl_ms = match ttl.map(|ttl| u64::try_from(ttl.as_millis())) {
                None => None,
                Some(Ok(ms)) => Some(ms),
                Some(Err(_beyond)) => return Err(Failure::usage("--ttl is beyond 30 days")),
            };
            let labels = labels.into_iter().collect();
            let request = JoinTokenRequest { ttl_ms, uses, host: host.clone(), labels };
            let token: JoinToken =
                client.write(Method::POST, routes::HOST_TOKENS, &request).await?;
            if global.output == Format::Json {
                output::json(&token);
            } else {
                output::line(&token.token);
                let hosts = match (host, uses) {
                    (Some(host), _) => format!(", for host {host}"),
                    (None, None) => String::new(),
                    (None, Some(1)) => ", for one host".into(),
                    (None, Some(n)) => format!(", for {n} hosts"),
                };
                let until = output::utc(token.expires_at);
                output::note(&format!("{} is good until {until}{hosts}", token.id));
            }
        }
        TokenCommand::Ls => {
            let rows: Vec<JoinTokenRow> = client.get(routes::HOST_TOKENS).await?;
            tokens(global, &rows);
        }
        TokenCommand::Revoke { id } => {
            let path = routes::fill(routes::HOST_TOKEN, &[&id]);
            let done: Accepted = client.delete(&path).await?;
            tell(global, &done, "nobody joins with it any more");
        }
    }
    Ok(())
}

fn tokens(global: &Global, rows: &[JoinTokenRow]) {
    match global.output {
        Format::Json => return output::json(&rows),
        Format::Name => return rows.iter().for_each(|row| output::line(&row.id)),
        Format::Table | Format::Wide => {}
    }
    if rows.is_empty() && !global.quiet {
        return output::note("no join tokens: `remuda host token create` makes one");
    }
    let cells: Vec<Vec<Cell>> = rows
        .iter()
        .map(|row| {
            let until = row.expires_at.map_or_else(|| "for ever".into(), output::utc);
            let uses = match (&row.host, row.uses) {
                (Some(host), _) => format!("for {host}"),
                (None, Some(uses)) => format!("{} of {uses}", row.used_by.len()),
                (None, None) => "any".into(),
            };
            let labels: Vec<String> = row.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
            vec![
                row.id.clone().into(),
                match row.expired {
                    true => Cell::painted(Colour::Red, format!("expired {until}")),
                    false => until.into(),
                },
                uses.into(),
                labels.join(" ").into(),
                row.used_by.join(" ").into(),
            ]
        })
        .collect();
    output::table(&["ID", "GOOD UNTIL", "USED", "LABELS", "HOSTS"], &cells);
}
