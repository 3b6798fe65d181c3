//! `remuda dev`: server and agent in one process, the dataplane beside it; and `remuda dev down`.

use super::server::{Opened, ServerArgs, read_environment};
use super::{failed, host_id, hostname, make_private_dir, told_to_stop};
use crate::cli::Global;
use crate::exit::{Failure, Outcome};
use crate::output;
use crate::paths;
use api::link::MemoryLink;
use clap::{Args, Subcommand};
use engine::Engine as _;
use futures_util::StreamExt as _;
use network::Fabric as _;
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Context of the CLI that `dev` writes.
const CONTEXT: &str = "dev";
/// Longest wait for a process to end.
const END_TIMEOUT: Duration = Duration::from_secs(20);

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
            down(global, &data_dir, keep_state).await
        }
        None => start(args.server).await,
    }
}

/// Roles that change the host need root.
///
/// # Errors
/// When this process is not root.
pub(crate) fn need_root() -> Outcome {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::error("this needs root: it sets up addresses, rules and containers")
        .hint("sudo remuda …; `remuda doctor` shows what else is missing"))
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

fn lock_file(data_dir: &Path, role: &str) -> PathBuf {
    data_dir.join(format!("{role}.lock"))
}

/// Takes the lock of a role; it holds our process id and is free when we end, however we end.
///
/// # Errors
/// When another process holds it.
pub(crate) fn lock(data_dir: &Path, role: &str) -> Outcome<File> {
    let path = lock_file(data_dir, role);
    let mut file =
        File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let pid = holder(&path).map_or_else(String::new, |pid| format!(" (pid {pid})"));
        return Err(Failure::error(format!(
            "another remuda works with {} already{pid}",
            data_dir.display()
        ))
        .hint("stop it first, or name another folder with --data-dir"));
    }
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "{}", std::process::id())?;
    Ok(file)
}

/// Process id of the holder of a lock; `None` when nobody holds it.
fn holder(path: &Path) -> Option<i32> {
    let mut file = File::open(path).ok()?;
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return None;
    }
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Does a `dev`, `server` or `agent` run on this data folder?
#[must_use]
pub(crate) fn is_running(data_dir: &Path) -> bool {
    ["dev", "agent"].iter().any(|role| holder(&lock_file(data_dir, role)).is_some())
}

async fn start(args: ServerArgs) -> Outcome {
    need_root()?;
    make_private_dir(&args.data_dir)?;
    let lock = lock(&args.data_dir, "dev")?;
    let Opened { server, socket, .. } = super::server::open(&args, CONTEXT).await?;
    let link = MemoryLink(server.switchboard());
    let agent = super::agent::prepare(&args.data_dir, host_id(&hostname()), link)?;
    output::note(&format!(
        "remuda dev {}: API on http://{}, data in {}",
        env!("CARGO_PKG_VERSION"),
        args.listen,
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
    drop(lock);
    Ok(())
}

/// Waits until a condition holds.
async fn wait_for(what: &str, mut done: impl FnMut() -> bool) -> Outcome {
    let deadline = Instant::now() + END_TIMEOUT;
    while !done() {
        if Instant::now() >= deadline {
            return Err(Failure::error(format!("{what} does not end")));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn stop_process(path: &Path, what: &str) -> Outcome {
    let Some(pid) = holder(path) else { return Ok(()) };
    let pid = rustix::process::Pid::from_raw(pid)
        .ok_or_else(|| Failure::error(format!("{} holds no process id", path.display())))?;
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)
        .map_err(|e| Failure::error(format!("{what} (pid {}): {e}", pid.as_raw_nonzero())))?;
    wait_for(what, || holder(path).is_none()).await
}

async fn down(global: &Global, data_dir: &Path, keep_state: bool) -> Outcome {
    need_root()?;
    let Some(environment) = read_environment(data_dir) else {
        output::note(&format!("nothing of remuda is in {}", data_dir.display()));
        return Ok(());
    };
    for role in ["dev", "agent"] {
        stop_process(&lock_file(data_dir, role), &format!("remuda {role}")).await?;
    }
    // Its probes would leave the host once the network is gone: it has to end first.
    dataplane::stop(&data_dir.join("dataplane"), END_TIMEOUT)
        .await
        .map_err(|e| failed("the dataplane cannot be stopped", &e))?;
    // Everything is tried; what fails is told together at the end.
    let mut problems: Vec<String> = vec![];
    let kept = match remove_containers(global, data_dir, &environment).await {
        Ok(kept) => kept,
        Err(more) => {
            problems.extend(more);
            vec![]
        }
    };
    let fabric = network::Linux::new(data_dir.join("network"));
    if let Err(error) = fabric.remove(&environment).await {
        problems.push(format!("network: {}", api::error::chain(&error)));
    }
    if !problems.is_empty() {
        return Err(Failure::error(format!("not all is gone:\n  {}", problems.join("\n  ")))
            .hint("mend it and run `remuda dev down` again"));
    }
    if !keep_state {
        std::fs::remove_dir_all(data_dir)
            .map_err(|e| Failure::error(format!("{}: {e}", data_dir.display())))?;
        paths::remove_context(&paths::config_file(), CONTEXT)?;
    }
    output::note("all is gone: containers, network, rules, dataplane");
    for volume in kept {
        output::note(&format!("kept: volume {volume} (docker volume rm {volume} removes it)"));
    }
    Ok(())
}

/// Removes our containers and network; returns the named volumes, which stay.
async fn remove_containers(
    global: &Global,
    data_dir: &Path,
    environment: &str,
) -> Result<Vec<String>, Vec<String>> {
    let one = |error: &engine::Error| vec![format!("docker: {}", api::error::chain(error))];
    let engine =
        docker(data_dir).map_err(|_said| vec!["docker: DOCKER_HOST makes no sense".into()])?;
    let containers = engine.list(environment).await.map_err(|e| one(&e))?;
    if !global.quiet && !containers.is_empty() {
        output::note(&format!("removing {} containers", containers.len()));
    }
    let remove = |id: String| {
        let engine = engine.clone();
        async move {
            if let Err(error) = engine.stop(&id, 2_000).await {
                tracing::debug!(%error, "container not stopped before its removal");
            }
            engine.remove(&id).await
        }
    };
    let results: Vec<_> = futures_util::stream::iter(containers.into_iter().map(|c| remove(c.id)))
        .buffer_unordered(16)
        .collect()
        .await;
    let problems: Vec<String> =
        results.iter().filter_map(|r| r.as_ref().err()).flat_map(one).collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    engine.remove_network(agent::NETWORK, environment).await.map_err(|e| one(&e))?;
    let volumes = engine.list_volumes(environment).await.map_err(|e| one(&e))?;
    Ok(volumes.into_iter().map(|volume| volume.name).collect())
}
