//! The command line: what there is, and which function does it.

mod acl;
mod apply;
mod backup;
mod build;
mod client;
mod config;
pub(crate) mod consul;
mod context;
mod dns;
mod doctor;
mod down;
mod events;
mod examples;
mod exec;
mod giddyup;
mod host;
mod ignore;
mod kv;
mod list;
mod logs;
mod net;
mod net_consul;
mod net_dns;
mod net_expose;
mod net_policy;
mod place;
mod progress;
mod run;
mod service;
mod source;
mod status;
mod stats;
pub(crate) mod template;
mod unified;
mod watch;

pub(crate) use apply::duration;

use crate::exit::Outcome;
use crate::role;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Turns Docker hosts into a microservice platform: compose files go in, running, discovered,
/// health-checked and balanced services come out.
#[derive(Debug, Parser)]
#[command(name = "remuda", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "Examples:
  sudo remuda dev                     start everything on this machine
  remuda up -f compose.yaml -p shop   make the stack run, wait until it is healthy
  remuda ps shop                      its instances, and why one is not ready
  remuda svc scale shop/web 5
  remuda logs -f shop/web
  remuda down shop

Exit codes: 0 done, 1 error, 2 usage, 3 not found, 4 not allowed, 5 conflict or blocked,
  6 rollout failed (what served before goes on), 7 timed out (it goes on), 10 plan has changes,
  130 interrupted.";

/// Options of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// How results are written: table, wide, json (the API's objects) or name
    #[arg(
        short,
        long,
        global = true,
        env = "REMUDA_OUTPUT",
        value_enum,
        default_value = "table",
        hide_possible_values = true,
        hide_env = true
    )]
    pub output: Format,
    /// Context of ~/.config/remuda/config.yaml
    #[arg(short, long, global = true, env = "REMUDA_CONTEXT")]
    pub context: Option<String>,
    /// URL of the server, e.g. http://127.0.0.1:7600
    #[arg(long, global = true, env = "REMUDA_ADDR")]
    pub addr: Option<String>,
    /// API token
    #[arg(long, global = true, env = "REMUDA_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// SHA-256 of the server's CA certificate, for https
    #[arg(long, global = true, env = "REMUDA_CA")]
    pub ca: Option<String>,
    /// More detail; again for more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Only errors and results
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// No colours; so does NO_COLOR
    #[arg(long, global = true)]
    pub no_color: bool,
}

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For people with wide terminals.
    Wide,
    /// For programs: the API's objects.
    Json,
    /// Names only, a line each.
    Name,
}

/// Everything that there is.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Server, agent and dataplane on this machine: a laptop or a single host
    Dev(role::dev::DevArgs),
    /// The server: API, control loops, state
    Server(role::server::ServerArgs),
    /// The agent of this host
    Agent(role::agent::AgentArgs),
    /// The dataplane of this host (started by the agent)
    #[command(hide = true)]
    Dataplane(role::dataplane::DataplaneArgs),
    /// Make a stack run as its compose files say, and wait until it is healthy
    Up(apply::UpArgs),
    /// Show what `up` would do; exit code 10 when there are changes
    #[command(after_help = examples::PLAN)]
    Plan(apply::PlanArgs),
    /// Remove a stack; named volumes stay
    #[command(after_help = examples::DOWN)]
    Down(down::DownArgs),
    /// List stacks
    #[command(after_help = examples::LS)]
    Ls,
    /// List instances, with the reason of each that is not ready
    Ps(list::PsArgs),
    /// Show logs of a stack, a service or an instance
    Logs(logs::LogsArgs),
    /// Run a command in an instance
    Exec(exec::ExecArgs),
    /// Run an image once, show its output, take its exit code
    Run(run::RunArgs),
    /// Show cpu, memory and network use
    #[command(after_help = examples::STATS)]
    Stats(stats::StatsArgs),
    /// Print the merged and interpolated compose file; or read and change settings of a service
    #[command(after_help = examples::CONFIG)]
    Config(config::ConfigArgs),
    /// Build the images of a stack that have a `build:`
    #[command(after_help = examples::BUILD)]
    Build(build::BuildArgs),
    /// Pull the images of a stack, or one image
    #[command(after_help = examples::PULL)]
    Pull(build::PullArgs),
    /// Copy the state, or put a copy back
    #[command(subcommand, after_help = examples::BACKUP)]
    Backup(backup::BackupCommand),
    /// Show what happened
    #[command(after_help = examples::EVENTS)]
    Events(events::EventsArgs),
    /// Show and change services
    #[command(subcommand, after_help = examples::SVC)]
    Svc(service::ServiceCommand),
    /// Show and change hosts, make join tokens
    #[command(subcommand, after_help = examples::HOST)]
    Host(host::HostCommand),
    /// Check the network between hosts
    #[command(subcommand, after_help = examples::NET)]
    Net(net::NetCommand),
    /// Make this machine and Docker's default bridge ask Remuda for names, and take it back
    #[command(subcommand, after_help = dns::HELP)]
    Dns(dns::DnsCommand),
    /// Render files from catalog and keys, as consul-template does (`remuda template -help`)
    #[command(disable_help_flag = true)]
    Template(AppletArgs),
    /// Render files from Rancher's metadata or keys, as confd does (`remuda confd -help`)
    #[command(disable_help_flag = true)]
    Confd(AppletArgs),
    /// Ask metadata, for start-up scripts in containers: who leads, who is there, is it well
    Giddyup(giddyup::GiddyupArgs),
    /// Read and write keys of the Consul API
    #[command(subcommand, after_help = examples::KV)]
    Kv(kv::KvCommand),
    /// Ask for tokens over the Consul API, or for none
    #[command(subcommand, after_help = acl::HELP)]
    Acl(acl::AclCommand),
    /// Look for what would keep Remuda from working here
    #[command(after_help = examples::DOCTOR)]
    Doctor(doctor::DoctorArgs),
    /// Show every role; with --wait until all answer
    #[command(after_help = examples::STATUS)]
    Status(status::StatusArgs),
    /// Print completions for a shell
    #[command(after_help = examples::COMPLETION)]
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the version of this program and of the server
    #[command(after_help = examples::VERSION)]
    Version,
}

/// Words that are not read by clap: the flags have one dash.
#[derive(Clone, Debug, Args)]
pub(crate) struct AppletArgs {
    /// Flags of the original
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// Compose files and how they are read.
#[derive(Clone, Debug, Args)]
pub(crate) struct Source {
    /// Compose file; several are merged in order; `-` is stdin
    #[arg(short, long = "file", env = "REMUDA_FILE", value_delimiter = ':')]
    pub files: Vec<PathBuf>,
    /// Name of the stack [default: `name:` of the file, else the folder's name]
    #[arg(
        short = 'p',
        long = "project",
        visible_alias = "stack",
        short_alias = 's',
        env = "REMUDA_PROJECT"
    )]
    pub project: Option<String>,
    /// File with variables, instead of .env
    #[arg(long = "env-file")]
    pub env_files: Vec<PathBuf>,
    /// Profile to switch on
    #[arg(long = "profile", env = "REMUDA_PROFILES", value_delimiter = ',')]
    pub profiles: Vec<String>,
    /// Keys that are unknown or not carried out yet are errors
    #[arg(long)]
    pub strict: bool,
}

/// How long ago a moment was, or how far away it is: "3 min ago", "in 2 h".
#[must_use]
fn ago(at: model::time::Timestamp) -> String {
    distance(now().0.saturating_sub(at.0))
}

/// The time.
#[must_use]
fn now() -> model::time::Timestamp {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = i64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(i64::MAX);
    model::time::Timestamp(now)
}

/// Milliseconds for people; those of the future are below 0.
fn distance(ms: i64) -> String {
    let s = ms.unsigned_abs() / 1_000;
    let text = match s {
        0..120 => format!("{s} s"),
        120..7_200 => format!("{} min", s / 60),
        7_200..172_800 => format!("{} h", s / 3_600),
        _ => format!("{} d", s / 86_400),
    };
    if ms < 0 { format!("in {text}") } else { format!("{text} ago") }
}

impl Cli {
    /// Is it a role that runs on, rather than a command?
    #[must_use]
    pub(crate) fn is_role(&self) -> bool {
        match &self.command {
            Command::Dev(args) => args.command.is_none(),
            Command::Agent(args) => args.is_role(),
            Command::Server(_) | Command::Dataplane(_) => true,
            _ => false,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// The command's failure, with its exit code.
pub(crate) async fn run(cli: Cli) -> Outcome {
    if cli.is_role() {
        role::raise_files();
    }
    let global = cli.global;
    match cli.command {
        Command::Dev(args) => role::dev::run(&global, args).await,
        Command::Server(args) => role::server::run(args).await,
        Command::Agent(args) => role::agent::run(&global, args).await,
        Command::Dataplane(args) => role::dataplane::run(args).await,
        Command::Up(args) => apply::up(&global, args).await,
        Command::Plan(args) => apply::plan(&global, args).await,
        Command::Down(args) => down::run(&global, args).await,
        Command::Ls => list::stacks(&global).await,
        Command::Ps(args) => list::instances(&global, args).await,
        Command::Logs(args) => logs::run(&global, args).await,
        Command::Exec(args) => exec::run(&global, args).await,
        Command::Run(args) => run::run(&global, args).await,
        Command::Stats(args) => stats::run(&global, args).await,
        Command::Config(args) => config::run(&global, args).await,
        Command::Build(args) => build::build(&global, args).await,
        Command::Pull(args) => build::pull(&global, args).await,
        Command::Backup(command) => backup::run(&global, command).await,
        Command::Events(args) => events::run(&global, args).await,
        Command::Svc(command) => service::run(&global, command).await,
        Command::Host(command) => host::run(&global, command).await,
        Command::Net(command) => net::run(&global, command).await,
        Command::Dns(command) => dns::run(&global, &command),
        Command::Template(args) => template::run(template::Applet::Template(args.words)).await,
        Command::Confd(args) => template::run(template::Applet::Confd(args.words)).await,
        Command::Giddyup(args) => giddyup::run(args).await,
        Command::Kv(command) => kv::run(&global, command).await,
        Command::Acl(command) => acl::run(&global, command).await,
        Command::Doctor(args) => doctor::run(&global, args).await,
        Command::Status(args) => status::run(&global, args).await,
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "remuda", &mut std::io::stdout());
            Ok(())
        }
        Command::Version => {
            status::version(&global).await;
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_put_together_well() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_distance_in_time_reads_well() {
        for (ms, text) in [
            (0, "0 s ago"),
            (119_999, "119 s ago"),
            (120_000, "2 min ago"),
            (-7_200_000, "in 2 h"),
            (172_800_000, "2 d ago"),
        ] {
            assert_eq!(distance(ms), text);
        }
    }
}
