//! `svc`: show, scale, restart, stop, start; verbs of a rollout; history; runs of a job.

mod history;
mod job;
mod show;

use super::client::client;
use super::place::Place;
use super::{Format, Global, examples, watch};
use crate::exit::Outcome;
use crate::output;
use api::client::Client;
use api::routes;
use api::wire::{Accepted, ActionRequest, ScaleRequest, ServiceDetail};
use clap::{Args, Subcommand};
use http::Method;
use model::limits::SCALE_MAX;
use std::time::Duration;

/// Commands of `svc`.
#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// List services, with what blocks each of them
    Ls {
        /// stack [default: all]
        stack: Option<Place>,
    },
    /// Show a service: what is wanted, what is there, and why it differs
    #[command(after_help = examples::SVC_SHOW)]
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
    /// Hold a rollout where it is
    #[command(alias = "cancelupgrade", alias = "cancelrollback", after_help = examples::SVC_PAUSE)]
    Pause {
        /// stack/service
        service: Place,
    },
    /// Go on with a rollout that was paused or has stopped at a failure
    #[command(alias = "continueupgrade", after_help = examples::SVC_PAUSE)]
    Resume {
        /// stack/service
        service: Place,
        /// How to wait.
        #[command(flatten)]
        wait: Wait,
    },
    /// The canaries are good: let the rest follow
    #[command(after_help = examples::SVC_CANARY)]
    Promote {
        /// stack/service
        service: Place,
        /// How to wait.
        #[command(flatten)]
        wait: Wait,
    },
    /// Go back to what served before the rollout began
    #[command(after_help = examples::SVC_CANARY)]
    Abort {
        /// stack/service
        service: Place,
        /// How to wait.
        #[command(flatten)]
        wait: Wait,
    },
    /// Let go of what was kept of before the rollout (`finish: manual`)
    #[command(alias = "finishupgrade", after_help = examples::SVC_ROLLBACK)]
    Finish {
        /// stack/service
        service: Place,
        /// How to wait.
        #[command(flatten)]
        wait: Wait,
    },
    /// Go back to the revision before, or to any that is kept
    #[command(alias = "rollbackupgrade", after_help = examples::SVC_ROLLBACK)]
    Rollback {
        /// stack/service
        service: Place,
        /// Number of the revision, as `svc history` shows it
        #[arg(long, value_name = "REVISION")]
        to: Option<u32>,
        /// How to wait.
        #[command(flatten)]
        wait: Wait,
    },
    /// Show the revisions that are kept: when, what, how it ended and why
    #[command(after_help = examples::SVC_ROLLBACK)]
    History {
        /// stack/service
        service: Place,
    },
    /// Show what differs between two revisions; secrets are hidden
    #[command(after_help = examples::SVC_DIFF)]
    Diff {
        /// stack/service
        service: Place,
        /// Older revision [default: what served before]
        from: Option<u32>,
        /// Newer revision [default: the one that is wanted]
        to: Option<u32>,
    },
    /// Run a job now, and wait for its end
    #[command(after_help = examples::SVC_RUN)]
    Run {
        /// stack/service
        service: Place,
        /// How to wait.
        #[command(flatten)]
        wait: Wait,
    },
    /// Show the runs of a job
    #[command(after_help = examples::SVC_RUN)]
    Runs {
        /// stack/service
        service: Place,
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
        ServiceCommand::Ls { stack } => show::list(global, &client, stack).await,
        ServiceCommand::Show { service } => show::one(global, &client, service.service()?).await,
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
        ServiceCommand::Pause { service } => pause(global, &client, service.service()?).await,
        ServiceCommand::Resume { service, wait } => {
            verb(global, &client, &service, "resume", None, &wait).await
        }
        ServiceCommand::Promote { service, wait } => {
            verb(global, &client, &service, "promote", None, &wait).await
        }
        ServiceCommand::Abort { service, wait } => {
            verb(global, &client, &service, "abort", None, &wait).await
        }
        ServiceCommand::Finish { service, wait } => {
            verb(global, &client, &service, "finish", None, &wait).await
        }
        ServiceCommand::Rollback { service, to, wait } => {
            verb(global, &client, &service, "rollback", to, &wait).await
        }
        ServiceCommand::History { service } => {
            history::show(global, &client, service.service()?).await
        }
        ServiceCommand::Diff { service, from, to } => {
            history::diff(global, &client, service.service()?, from, to).await
        }
        ServiceCommand::Run { service, wait } => {
            job::run(global, &client, service.service()?, &wait).await
        }
        ServiceCommand::Runs { service } => job::list(global, &client, service.service()?).await,
    }
}

/// Asks for a verb of a rollout.
async fn act(client: &Client, place: &Place, verb: &str, to: Option<u32>) -> Outcome<Accepted> {
    let path = routes::fill(routes::SERVICE_ACTION, &[&place.stack, &place.service, verb]);
    Ok(client.write(Method::POST, &path, &ActionRequest { to }).await?)
}

async fn pause(global: &Global, client: &Client, place: &Place) -> Outcome {
    let accepted = act(client, place, "pause", None).await?;
    if global.output == Format::Json {
        output::json(&accepted);
    } else if !global.quiet {
        let name = format!("{}/{}", place.stack, place.service);
        let word = if accepted.changed { "is paused" } else { "was paused already" };
        output::note(&format!("the rollout of {name} {word}: what serves goes on"));
        output::note(&format!("  next: remuda svc resume {name}, or remuda svc abort {name}"));
    }
    Ok(())
}

async fn verb(
    global: &Global,
    client: &Client,
    place: &Place,
    word: &str,
    to: Option<u32>,
    wait: &Wait,
) -> Outcome {
    let place = place.service()?;
    let accepted = act(client, place, word, to).await?;
    if global.output == Format::Json {
        output::json(&accepted);
    }
    if wait.no_wait {
        return Ok(());
    }
    let goal = watch::Goal {
        stack: place.stack.clone(),
        services: vec![format!("{}/{}", place.stack, place.service)],
        timeout: wait.timeout,
        known: None,
    };
    watch::until_healthy(global, client, &goal).await
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
