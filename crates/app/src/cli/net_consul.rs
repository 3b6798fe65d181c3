//! `net consul`: what containers may over the Consul API.

use super::{Format, Global};
use crate::exit::Outcome;
use crate::output;
use api::client::Client;
use api::routes;
use api::wire::{Accepted, EnvironmentRequest};
use clap::Args;
use http::Method;
use model::consul_access::ContainerAccess;
use model::host::Environment;

pub(super) const HELP: &str = "Containers find it at 169.254.169.250:8500. More in docs/acl.md.

Examples:
  remuda net consul
  remuda net consul --containers write
  remuda net consul --containers off";

/// Options of `net consul`.
#[derive(Debug, Args)]
pub(crate) struct ConsulArgs {
    /// What containers may: off, read or write
    #[arg(long, value_name = "WHAT")]
    containers: Option<ContainerAccess>,
}

/// `remuda net consul`.
///
/// # Errors
/// What the server says.
pub(super) async fn run(global: &Global, client: &Client, args: ConsulArgs) -> Outcome {
    let Some(containers) = args.containers else {
        let environment: Environment = client.get(routes::ENVIRONMENT).await?;
        match global.output {
            Format::Json => output::json(&environment.consul),
            _ => show(environment.consul.containers),
        }
        return Ok(());
    };
    let request =
        EnvironmentRequest { containers: Some(containers), ..EnvironmentRequest::default() };
    let done: Accepted = client.write(Method::PUT, routes::ENVIRONMENT, &request).await?;
    if global.output == Format::Json {
        output::json(&done);
    } else if !global.quiet {
        show(containers);
    }
    Ok(())
}

fn show(containers: ContainerAccess) {
    output::line(&format!("containers over the Consul API: {}", containers.as_str()));
}
