//! `giddyup service`: scale and containers of a service.

use super::say;
use super::source::{Source, word};
use crate::exit::{Failure, Outcome};
use clap::Subcommand;
use std::time::Duration;
use tokio::time::Instant;

/// What there is.
#[derive(Debug, Subcommand)]
pub(super) enum ServiceCommand {
    /// Print the scale of a service
    Scale {
        /// stack/service [default: this container's own]
        service: Option<String>,
        /// The number of its containers instead
        #[arg(long)]
        current: bool,
    },
    /// Wait for a service
    #[command(subcommand)]
    Wait(WaitCommand),
    /// Print the names of a service's containers
    Containers {
        /// A line each, instead of spaces between
        #[arg(short = 'n')]
        lines: bool,
        /// Without this container
        #[arg(long)]
        exclude_self: bool,
        /// stack/service [default: this container's own]
        service: Option<String>,
    },
}

/// What can be waited for.
#[derive(Debug, Subcommand)]
pub(super) enum WaitCommand {
    /// Until it has as many containers as its scale says now
    Scale {
        /// Longest wait, in seconds
        #[arg(long, default_value_t = 600)]
        timeout: u64,
        /// stack/service [default: this container's own]
        service: Option<String>,
    },
}

pub(super) async fn run(source: &Source, command: ServiceCommand) -> Outcome {
    match command {
        ServiceCommand::Scale { service, current: true } => {
            say(&source.containers(service.as_deref()).await?.len().to_string());
        }
        ServiceCommand::Scale { service, current: false } => {
            let scale = source.service(service.as_deref()).await?["scale"].as_u64();
            say(&scale.unwrap_or(0).to_string());
        }
        ServiceCommand::Wait(WaitCommand::Scale { timeout, service }) => {
            return wait(source, service.as_deref(), timeout).await;
        }
        ServiceCommand::Containers { lines, exclude_self, service } => {
            let all = source.containers(service.as_deref()).await?;
            let own = match exclude_self {
                true => word(&source.own().await?["uuid"]).to_owned(),
                false => String::new(),
            };
            let others = all.iter().filter(|one| !exclude_self || word(&one["uuid"]) != own);
            let names: Vec<&str> = others.map(|one| word(&one["name"])).collect();
            say(&names.join(if lines { "\n" } else { " " }));
        }
    }
    Ok(())
}

async fn wait(source: &Source, service: Option<&str>, seconds: u64) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let scale = source.service(service).await?["scale"].as_u64().unwrap_or(0);
    let mut version = String::from("init");
    loop {
        let there = source.containers(service).await?.len();
        if u64::try_from(there).unwrap_or(u64::MAX) >= scale {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Failure::error(format!("after {seconds} s there are {there} of {scale}")));
        }
        version = source.changed(&version, 1).await?;
    }
}
