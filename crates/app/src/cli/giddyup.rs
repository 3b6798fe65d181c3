//! `giddyup`: what start-up scripts in containers ask of metadata: who leads, who else is there, is it
//! well. The words, the output and the exit codes are Rancher's.

mod exec;
mod forward;
mod health;
mod ip;
mod leader;
mod probe;
mod service;
mod source;

use crate::exit::Outcome;
use clap::{Args, Subcommand};
use source::Source;

/// Options of `giddyup`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  remuda giddyup leader check && ./migrate
  remuda giddyup leader elect --proxy-tcp-port 3306 ./primary
  remuda giddyup ip stringify --delimiter , --suffix :9042 shop/cassandra
  remuda giddyup service wait scale --timeout 60
  remuda giddyup health --check-command ./is-well ./server

What is printed has no line end, so that scripts can use it as it is.")]
pub(crate) struct GiddyupArgs {
    /// Metadata, with a version
    #[arg(long, default_value = "http://rancher-metadata/2015-12-19")]
    metadata_url: String,
    /// What to do.
    #[command(subcommand)]
    command: GiddyupCommand,
}

/// What there is.
#[derive(Debug, Subcommand)]
enum GiddyupCommand {
    /// The container of this service that was made first
    #[command(subcommand)]
    Leader(leader::LeaderCommand),
    /// Addresses
    #[command(subcommand)]
    Ip(ip::IpCommand),
    /// Scale and containers of a service
    #[command(subcommand)]
    Service(service::ServiceCommand),
    /// Answer GET /ping with 200, or 503 while a command fails
    Health(health::HealthArgs),
    /// Ask tcp://host:port, http://host/path or https://host/path whether it is there
    Probe(probe::ProbeArgs),
    /// Prepare files and variables, and become a command
    Exec(exec::ExecArgs),
}

/// `remuda giddyup`.
///
/// # Errors
/// Exit code 1 for a no, or when metadata does not answer.
pub(super) async fn run(args: GiddyupArgs) -> Outcome {
    let source = Source::new(&args.metadata_url)?;
    match args.command {
        GiddyupCommand::Leader(command) => leader::run(&source, command).await,
        GiddyupCommand::Ip(command) => ip::run(&source, command).await,
        GiddyupCommand::Service(command) => service::run(&source, command).await,
        GiddyupCommand::Health(args) => health::run(args).await,
        GiddyupCommand::Probe(args) => probe::run(args).await,
        GiddyupCommand::Exec(args) => exec::run(&source, args).await,
    }
}

/// Prints what a script reads: no line end.
fn say(text: &str) {
    crate::output::bytes(false, text.as_bytes());
}
