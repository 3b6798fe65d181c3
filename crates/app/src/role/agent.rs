//! `remuda agent`: Docker, network and dataplane of this host.

mod join;
mod membership;
mod reset;

use super::consul::ConsulArgs;
use super::driver::DriverArgs;
use super::lock::{self, Part};
use super::{clock, failed, hostname, make_private_dir, need_root, told_to_stop};
use crate::cli::Global;
use crate::exit::{Failure, Outcome};
use crate::output;
use crate::paths;
use ::agent::{Agent, DataplaneCommand, Options, Plugs};
use api::grpc::{Caller, GrpcLink};
use api::link::{AgentLink, AgentRun};
use clap::{Args, Subcommand};
use model::id::HostId;
use model::view::HostView;
use network::cni::Cni;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;

/// Options of `agent`.
#[derive(Clone, Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  remuda agent --join 127.0.0.1:7600 --token rmj_…     the first time, and to take a host back
                                                       that was removed or whose certificate expired
  remuda agent                                         from then on
  remuda agent reset --keep-containers                 on a copy of a machine"
)]
pub(crate) struct AgentArgs {
    /// Something that it does and ends.
    #[command(subcommand)]
    command: Option<AgentCommand>,
    /// Data folder
    #[arg(long, env = "REMUDA_DATA_DIR", default_value = paths::DATA_DIR)]
    data_dir: PathBuf,
    /// Address of the server, host:port
    #[arg(long, env = "REMUDA_JOIN")]
    join: Option<String>,
    /// Join token, from `remuda host token create`
    #[arg(long, env = "REMUDA_JOIN_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Id of this host [default: its host name]
    #[arg(long)]
    host: Option<String>,
    #[command(flatten)]
    driver: DriverArgs,
    #[command(flatten)]
    consul: ConsulArgs,
}

/// Commands of `agent`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// Join a server and end: the agent is started by its unit, without a token
    Join(join::JoinArgs),
    /// Forget which host this machine is: it joins as another one, with a token
    Reset(reset::ResetArgs),
}

impl AgentArgs {
    /// Does it run on, rather than do something and end?
    #[must_use]
    pub(crate) fn is_role(&self) -> bool {
        self.command.is_none()
    }
}

/// `remuda agent`.
///
/// # Errors
/// Why it does not start; exit code 4 when the server refuses it.
pub(crate) async fn run(global: &Global, mut args: AgentArgs) -> Outcome {
    need_root()?;
    match args.command.take() {
        Some(AgentCommand::Join(join)) => return join::run(join).await,
        Some(AgentCommand::Reset(reset)) => return reset::run(global, reset).await,
        None => {}
    }
    args.data_dir = std::path::absolute(&args.data_dir)?;
    let dir = args.data_dir.join("agent");
    make_private_dir(&args.data_dir)?;
    make_private_dir(&dir)?;
    let cni = args.driver.load(&dir)?;
    let lock = lock::take(&args.data_dir, Part::Agent, "agent").await?;
    let file = dir.join("membership.json");
    let (membership, token) = membership::open(&args, &file).await?;
    let link = membership.link(caller()).map_err(|e| {
        failed("the certificate of this host cannot be used", &e)
            .hint("join again with --join and a --token: remuda host token create --host ID")
    })?;
    output::note(&format!("remuda agent of host {} dials {}", membership.host, membership.server));
    let environment = Some(membership.environment.clone());
    let machine = lock::take_machine(&args.data_dir)?;
    let plugs = plugs(&args.data_dir, cni)?;
    let agent = prepare(&args.data_dir, membership.host.clone(), environment, link.clone(), plugs)?;
    let view = agent.dataplane_port().view;
    let agent = agent.asking(args.consul.consul_listen.0);
    let containers = ::agent::serve_containers(link.apart(), view.clone());
    let clients = clients(args.consul.consul_listen.0, link.clone(), view);
    let keeper = membership::Keeper { membership, file, link, token, clock: clock() };
    tokio::select! {
        () = agent.run() => {}
        () = keeper.run() => {}
        () = clients => {}
        () = containers => {}
        stopped = told_to_stop() => stopped?,
    }
    output::note("containers and dataplane go on");
    drop((lock, machine));
    Ok(())
}

/// Answers clients of Consul on this host, for ever.
async fn clients(
    listen: Option<SocketAddr>,
    link: GrpcLink,
    view: watch::Receiver<Option<Arc<HostView>>>,
) {
    match listen {
        Some(listen) => ::agent::serve_consul(listen, link, view).await,
        None => std::future::pending().await,
    }
}

/// What this run of the agent says of itself.
fn caller() -> Caller {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let run = AgentRun {
        process: api::token::hex(&rand::random::<[u8; 8]>()),
        boot: boot.trim().to_owned(),
        hostname: hostname(),
    };
    Caller { run, clock: clock() }
}

/// What containers get their network from, with what was plugged in before.
pub(super) fn plugs(data_dir: &Path, cni: Option<Cni>) -> Outcome<Plugs> {
    Plugs::open(&data_dir.join("agent"), cni).map_err(|e| failed("network driver", &e))
}

/// An agent over real Docker and the real network.
pub(super) fn prepare<L: AgentLink>(
    data_dir: &Path,
    host: HostId,
    environment: Option<String>,
    link: L,
    plugs: Plugs,
) -> Outcome<Agent<L, engine::Docker, network::Linux>> {
    let dir = data_dir.join("agent");
    make_private_dir(&dir)?;
    let dataplane_dir = data_dir.join("dataplane");
    make_private_dir(&dataplane_dir)?;
    let engine = super::dev::docker(data_dir)?;
    let fabric = network::Linux::new(data_dir.join("network"));
    make_private_dir(&data_dir.join("network"))?;
    let program = std::env::current_exe()?;
    let command = DataplaneCommand {
        program,
        args: vec!["dataplane".into(), "--dir".into(), dataplane_dir.clone().into()],
        dir: dataplane_dir,
    };
    Ok(Agent::new(Options {
        host,
        dir,
        link,
        engine,
        fabric,
        clock: clock(),
        journal: None,
        environment,
        plugs,
        dataplane: Some(command),
    }))
}

/// The id of this host: the one that it has had, else the one asked for, else its name.
///
/// # Errors
/// When the id asked for is not one, or is not the one that it has.
pub(super) fn own_host(data_dir: &Path, asked: Option<&str>) -> Outcome<HostId> {
    let file = data_dir.join("agent/host");
    let asked = match asked {
        Some(name) => Some(HostId::parse(name).map_err(|e| Failure::usage(e.to_string()))?),
        None => None,
    };
    let kept = std::fs::read_to_string(&file).ok();
    let kept = kept.and_then(|text| HostId::parse(text.trim()).ok());
    match (kept, asked) {
        (Some(kept), Some(asked)) if kept != asked => {
            Err(Failure::usage(format!("this host is {kept} already, not {asked}"))
                .hint("leave out --host, or `remuda dev down` takes away what it is"))
        }
        (Some(kept), _) => Ok(kept),
        (None, asked) => {
            let host = asked.unwrap_or_else(|| super::host_id(&hostname()));
            make_private_dir(&data_dir.join("agent"))?;
            paths::write_private(&file, &format!("{host}\n"))?;
            Ok(host)
        }
    }
}
