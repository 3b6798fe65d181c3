//! `host`: list, and tokens to join one.

use super::client::client;
use super::{Format, Global};
use crate::exit::Outcome;
use crate::output::{self, Cell};
use api::routes;
use api::wire::{HostRow, JoinToken};
use clap::Subcommand;
use http::Method;

/// Commands of `host`.
#[derive(Debug, Subcommand)]
pub(crate) enum HostCommand {
    /// List hosts
    Ls,
    /// Tokens to join a host
    #[command(subcommand)]
    Token(TokenCommand),
}

/// Commands of `host token`.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a join token; it is shown once and good for an hour
    Create,
}

/// `remuda host`.
///
/// # Errors
/// What the server says.
pub(super) async fn run(global: &Global, command: HostCommand) -> Outcome {
    let client = client(global)?;
    match command {
        HostCommand::Ls => {
            let rows: Vec<HostRow> = client.get(routes::HOSTS).await?;
            list(global, &rows);
        }
        HostCommand::Token(TokenCommand::Create) => {
            let token: JoinToken = client.write(Method::POST, routes::HOST_TOKENS, &()).await?;
            if global.output == Format::Json {
                output::json(&token);
            } else {
                output::line(&token.token);
                output::note(&format!("good until {}", output::utc(token.expires_at)));
            }
        }
    }
    Ok(())
}

fn list(global: &Global, rows: &[HostRow]) {
    match global.output {
        Format::Json => return output::json(&rows),
        Format::Name => return rows.iter().for_each(|row| output::line(&row.id)),
        Format::Table | Format::Wide => {}
    }
    let cells: Vec<Vec<Cell>> = rows
        .iter()
        .map(|row| {
            let facts = &row.facts;
            vec![
                row.id.clone().into(),
                Cell::status(&row.status),
                facts.address.clone().into(),
                row.instances.to_string().into(),
                facts.cpus.to_string().into(),
                output::size(facts.memory).into(),
                facts.docker_version.clone().into(),
                facts.agent_version.clone().into(),
                row.reason.clone().into(),
            ]
        })
        .collect();
    let heading =
        ["HOST", "STATUS", "ADDRESS", "INSTANCES", "CPUS", "MEMORY", "DOCKER", "AGENT", "REASON"];
    output::table(&heading, &cells);
}
