//! `remuda dev`: server and agent in one process, the dataplane beside it; and `remuda dev down`.

use super::driver::DriverArgs;
use super::lock::{self, Part};
use super::server::{Opened, ServerArgs};
use super::{down, failed, make_private_dir, need_root, told_to_stop};
use crate::cli::Global;
use crate::exit::Outcome;
use crate::output;
use crate::paths;
use api::link::MemoryLink;
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

/// Options of `dev`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  sudo remuda dev                  Ctrl-C leaves containers and traffic as they are
  sudo remuda dev down             takes all away but named volumes"
)]
pub(crate) struct DevArgs {
    /// Down.
    #[command(subcommand)]
    pub command: Option<DevCommand>,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    driver: DriverArgs,
}

/// Commands of `dev`.
#[derive(Debug, Subcommand)]
pub(crate) enum DevCommand {
    /// Take everything away: containers, network, dataplane, state; named volumes stay
    Down {
        /// Data folder
        #[arg(long, env = "REMUDA_DATA_DIR", default_value = paths::DATA_DIR)]
        data_dir: PathBuf,
        /// Keep the state: the next `remuda dev` makes the stacks run again
        #[arg(long)]
        keep_state: bool,
    },
}

/// `remuda dev` and `remuda dev down`.
///
/// # Errors
/// Why it does not start, or what could not be taken away.
pub(crate) async fn run(global: &Global, args: DevArgs) -> Outcome {
    match args.command {
        Some(DevCommand::Down { data_dir, keep_state }) => {
            let data_dir = std::path::absolute(&data_dir)?;
            down::run(global, &data_dir, keep_state).await
        }
        None => start(args.server, args.driver).await,
    }
}

/// The engine, with its files in the data folder.
///
/// # Errors
/// When DOCKER_HOST makes no sense.
pub(crate) fn docker(data_dir: &Path) -> Outcome<engine::Docker> {
    let files = data_dir.join("agent/files");
    make_private_dir(&files)?;
    let options = engine::DockerOptions::from_env(files).map_err(|e| failed("docker", &e))?;
    Ok(engine::Docker::new(options))
}

async fn start(mut args: ServerArgs, driver: DriverArgs) -> Outcome {
    need_root()?;
    args.data_dir = std::path::absolute(&args.data_dir)?;
    args.answers_containers = true;
    make_private_dir(&args.data_dir)?;
    let cni = driver.load(&args.data_dir.join("agent"))?;
    let mut locks = vec![];
    for part in Part::ALL {
        locks.push(lock::take(&args.data_dir, part, "dev").await?);
    }
    let machine = lock::take_machine(&args.data_dir)?;
    let plugs = super::agent::plugs(&args.data_dir, cni)?;
    let Opened { server, socket, .. } = super::server::open(&args).await?;
    let host = super::agent::own_host(&args.data_dir, None)?;
    let link = MemoryLink::new(server.switchboard(), host.clone());
    let agent = super::agent::prepare(&args.data_dir, host, None, link, plugs)?
        .asking(args.consul.consul_listen.0);
    output::note(&format!(
        "remuda dev {}: API on {}, data in {}",
        env!("CARGO_PKG_VERSION"),
        super::server::url(args.listen),
        args.data_dir.display()
    ));
    output::note(
        "next: remuda status --wait 60s, then remuda up; Ctrl-C leaves containers running",
    );
    tokio::select! {
        result = server.run(Some(socket)) => return result.map_err(|e| failed("server", &e)),
        () = agent.run() => {}
        stopped = told_to_stop() => stopped?,
    }
    output::note("stopped; containers and dataplane go on. `remuda dev down` takes all away");
    drop((locks, machine));
    Ok(())
}
