//! `acl`: whether the Consul API asks for tokens, and the first of them.

use super::client::client;
use super::{Format, Global};
use crate::exit::{Failure, Outcome};
use crate::output;
use api::client::Client;
use api::routes;
use api::wire::{Accepted, EnvironmentRequest};
use clap::Subcommand;
use futures_util::StreamExt as _;
use http::Method;
use model::consul_access::AclMode;
use model::host::Environment;
use serde_json::Value;

pub(super) const HELP: &str = "Tokens, policies and roles are made with Consul's own commands and clients, e.g. `consul acl token
create` (docs/acl.md). `remuda kv` and this command use the token of Remuda's API, which may do everything.

Examples:
  remuda acl enable                 what no policy names may not be done
  remuda acl enable --default allow
  remuda acl bootstrap              the first token, which may do everything
  remuda acl bootstrap --reset 812  another one, when that was lost
  remuda acl disable";

/// Commands of `acl`.
#[derive(Debug, Subcommand)]
pub(crate) enum AclCommand {
    /// Show whether tokens are asked for
    Status,
    /// Ask for tokens
    Enable {
        /// What holds where no policy says anything: deny or allow
        #[arg(long, value_name = "WHAT", default_value = "deny")]
        default: AclMode,
    },
    /// Ask for no tokens; those that there are stay
    Disable,
    /// Make the first token, which may do everything; its secret is shown once
    Bootstrap {
        /// Again, when it was made at this index (the refusal says which)
        #[arg(long, value_name = "INDEX")]
        reset: Option<u64>,
    },
}

/// `remuda acl`.
///
/// # Errors
/// What the server says.
pub(super) async fn run(global: &Global, command: AclCommand) -> Outcome {
    let client = client(global)?;
    match command {
        AclCommand::Status => status(global, &client).await,
        AclCommand::Enable { default: AclMode::Off } => {
            Err(Failure::usage("--default is deny or allow").hint("remuda acl disable"))
        }
        AclCommand::Enable { default } => set(global, &client, default).await,
        AclCommand::Disable => set(global, &client, AclMode::Off).await,
        AclCommand::Bootstrap { reset } => bootstrap(global, &client, reset).await,
    }
}

fn told(mode: AclMode) -> &'static str {
    match mode {
        AclMode::Off => "off: the Consul API asks for no tokens",
        AclMode::Allow => "on: what no policy names may be done",
        AclMode::Deny => "on: what no policy names may not be done",
    }
}

async fn status(global: &Global, client: &Client) -> Outcome {
    let environment: Environment = client.get(routes::ENVIRONMENT).await?;
    match global.output {
        Format::Json => output::json(&environment.consul),
        _ => output::line(told(environment.consul.acl)),
    }
    Ok(())
}

async fn set(global: &Global, client: &Client, mode: AclMode) -> Outcome {
    let request = EnvironmentRequest { acl: Some(mode), ..EnvironmentRequest::default() };
    let done: Accepted = client.write(Method::PUT, routes::ENVIRONMENT, &request).await?;
    if global.output == Format::Json {
        output::json(&done);
    } else if !global.quiet {
        output::line(told(mode));
    }
    Ok(())
}

async fn bootstrap(global: &Global, client: &Client, reset: Option<u64>) -> Outcome {
    let query = reset.map_or(String::new(), |index| format!("?reset={index}"));
    let path = format!("/v1/acl/bootstrap{query}");
    let mut parts = client.bytes(Method::PUT, &path, None).await?;
    let mut answer = Vec::new();
    while let Some(part) = parts.next().await {
        answer.extend_from_slice(&part?);
    }
    let token: Value = serde_json::from_slice(&answer)
        .map_err(|e| Failure::error(format!("the server's token cannot be read: {e}")))?;
    match global.output {
        Format::Json => output::json(&token),
        _ => output::line(&super::consul::token(&token)),
    }
    Ok(())
}
