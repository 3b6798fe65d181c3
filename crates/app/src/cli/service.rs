//! `svc`: show, scale, restart, stop, start.

use super::client::client;
use super::place::Place;
use super::{Format, Global, watch};
use crate::exit::Outcome;
use crate::output;
use api::client::Client;
use api::routes;
use api::wire::{Accepted, ScaleRequest, ServiceDetail};
use clap::{Args, Subcommand};
use http::Method;
use model::limits::SCALE_MAX;
use std::time::Duration;

/// Commands of `svc`.
#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Show a service: what is wanted, what is there, and why it differs
    Show {
        /// stack/service
        service: Place,
    },
    /// Set the number of instances
    Scale {
        /// stack/service
        service: Place,
        /// Instances wanted
        #[arg(allow_hyphen_values = true, value_parser = scale)]
        scale: u32,
        /// How to wait.
        #[command(flatten)]
        wait: Wait,
    },
    /// Make every instance anew, a batch at a time, with nothing dropped
    Restart {
        /// stack/service
        service: Place,
        /// How to wait.
        #[command(flatten)]
        wait: Wait,
    },
    /// Stop it; its containers are kept
    Stop {
        /// stack/service
        service: Place,
        /// How to wait.
        #[command(flatten)]
        wait: Wait,
    },
    /// Start it again
    Start {
        /// stack/service
        service: Place,
        /// How to wait.
        #[command(flatten)]
        wait: Wait,
    },
}

/// A number of instances.
fn scale(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|n| *n <= SCALE_MAX);
    number.ok_or_else(|| format!("expected a whole number from 0 to {SCALE_MAX}"))
}

/// How to wait.
#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// Do not wait until it is done
    #[arg(long)]
    no_wait: bool,
    /// Longest wait
    #[arg(long, default_value = "10m", value_parser = super::apply::duration)]
    timeout: Duration,
}

/// `remuda svc`.
///
/// # Errors
/// Exit code 3 when there is no such service; as `up` while it waits.
pub(super) async fn run(global: &Global, command: ServiceCommand) -> Outcome {
    let client = client(global)?;
    match command {
        ServiceCommand::Show { service } => show(global, &client, service.service()?).await,
        ServiceCommand::Scale { service, scale, wait } => {
            let body = ScaleRequest { scale };
            change(global, &client, &service, routes::SERVICE_SCALE, &body, &wait).await
        }
        ServiceCommand::Restart { service, wait } => {
            change(global, &client, &service, routes::SERVICE_RESTART, &(), &wait).await
        }
        ServiceCommand::Stop { service, wait } => {
            change(global, &client, &service, routes::SERVICE_STOP, &(), &wait).await
        }
        ServiceCommand::Start { service, wait } => {
            change(global, &client, &service, routes::SERVICE_START, &(), &wait).await
        }
    }
}

async fn change<B: serde::Serialize + Sync>(
    global: &Global,
    client: &Client,
    place: &Place,
    route: &str,
    body: &B,
    wait: &Wait,
) -> Outcome {
    let place = place.service()?;
    let path = routes::fill(routes::SERVICE, &[&place.stack, &place.service]);
    let before: ServiceDetail = client.get(&path).await?;
    let path = routes::fill(route, &[&place.stack, &place.service]);
    let accepted: Accepted = client.write(Method::POST, &path, body).await?;
    if global.output == Format::Json {
        output::json(&accepted);
    }
    if wait.no_wait {
        return Ok(());
    }
    let services = vec![format!("{}/{}", place.stack, place.service)];
    let goal = watch::Goal {
        stack: place.stack.clone(),
        services,
        timeout: wait.timeout,
        known: Some(before.service.rollout),
    };
    watch::until_healthy(global, client, &goal).await
}

async fn show(global: &Global, client: &Client, place: &Place) -> Outcome {
    let path = routes::fill(routes::SERVICE, &[&place.stack, &place.service]);
    let detail: ServiceDetail = client.get(&path).await?;
    if global.output == Format::Json {
        output::json(&detail);
        return Ok(());
    }
    let row = &detail.service;
    let word = output::paint(output::status_colour(&row.status), &row.status);
    output::line(&format!("{} ({}): {word}", row.name, row.kind));
    if !row.image.is_empty() {
        output::line(&format!("  image     {}", row.image));
    }
    output::line(&format!(
        "  scale     {} wanted, {} ready at revision {}, {} serving",
        row.scale, row.ready, row.revision, row.serving
    ));
    for reason in &row.reasons {
        output::line(&format!("  reason    {reason}"));
    }
    for revision in &detail.revisions {
        let mark = if revision.number == row.revision { "*" } else { " " };
        let at = output::utc(revision.created_at);
        output::line(&format!("  revision {mark}{} {at} {}", revision.number, revision.image));
    }
    for instance in &detail.instances {
        let word = output::paint(output::status_colour(&instance.status), &instance.status);
        output::line(&format!(
            "  #{:<3} r{} {word} {} {} {}",
            instance.n, instance.revision, instance.health, instance.address, instance.reason
        ));
    }
    Ok(())
}
