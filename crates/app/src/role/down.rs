//! `remuda dev down`: everything of ours leaves this machine but named volumes. It touches nothing
//! that others made, may be run again and again, and finds what is left also when the data folder
//! has been removed.

use super::lock::{self, Part};
use super::server::read_environment;
use super::{CONTEXT, failed, need_root};
use crate::cli::Global;
use crate::exit::{Failure, Outcome};
use crate::output;
use crate::paths;
use engine::Engine as _;
use futures_util::StreamExt as _;
use network::Fabric as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest wait for the dataplane to end.
const END_TIMEOUT: Duration = Duration::from_secs(20);
/// Looks for containers: one may still have been under way when its agent ended.
const LOOKS: u32 = 5;
/// Containers removed at the same time.
const REMOVALS: usize = 16;
/// What we make in the data folder; anything else in it is somebody else's.
const FOLDERS: [&str; 5] = ["server", "agent", "dataplane", "network", "restore"];
/// The file that tells the environment goes last: until then this can be run again.
const FILES: [&str; 3] = ["server.lock", "agent.lock", "environment"];

/// Takes everything away.
///
/// # Errors
/// What could not be taken away; running it again goes on from there.
pub(super) async fn run(global: &Global, data_dir: &Path, keep_state: bool) -> Outcome {
    need_root()?;
    for part in Part::ALL {
        lock::end(data_dir, part).await?;
    }
    // Its probes would leave the host once the network is gone: it has to end first.
    dataplane::stop(&data_dir.join("dataplane"), END_TIMEOUT)
        .await
        .map_err(|e| failed("the dataplane cannot be stopped", &e))?;
    end_orphans(data_dir).await?;
    let Some(environment) = environment(data_dir).await? else {
        output::note(&format!("nothing of remuda is in {}", data_dir.display()));
        if !keep_state && data_dir.exists() {
            remove_files(data_dir)?;
        }
        return Ok(());
    };
    // Everything is tried; what fails is told together at the end.
    let mut problems: Vec<String> = vec![];
    let kept = match remove_containers(global, data_dir, &environment).await {
        Ok(kept) => kept,
        // A server alone has nothing in Docker, and may do without one.
        Err(_) if !data_dir.join("agent").exists() => vec![],
        Err(more) => {
            problems.extend(more);
            vec![]
        }
    };
    if let Err(why) = agent::unplug_all(&data_dir.join("agent")).await {
        problems.push(format!("cni: {why}"));
    }
    let fabric = network::Linux::new(data_dir.join("network"));
    if let Err(error) = fabric.remove(&environment).await {
        problems.push(format!("network: {}", api::error::chain(&error)));
    }
    if !problems.is_empty() {
        return Err(Failure::error(format!("not all is gone:\n  {}", problems.join("\n  ")))
            .hint("mend it and run `remuda dev down` again"));
    }
    if !keep_state {
        for file in paths::context_files(data_dir) {
            paths::remove_context(&file, CONTEXT)?;
        }
        remove_files(data_dir)?;
    }
    output::note("all is gone: containers, network, rules, dataplane");
    for volume in kept {
        output::note(&format!("kept: volume {volume} (docker volume rm {volume} removes it)"));
    }
    Ok(())
}

/// The environment of the folder: from its file, else from the network that was made for it.
async fn environment(data_dir: &Path) -> Outcome<Option<String>> {
    if let Some(environment) = read_environment(data_dir) {
        return Ok(Some(environment));
    }
    let ours = FOLDERS.iter().any(|name| holds_files(&data_dir.join(name)));
    let engine = engine_of(data_dir)?;
    match engine.network_labels(agent::NETWORK).await {
        Ok(labels) => {
            let folder = data_dir.join("agent");
            Ok(labels
                .filter(|labels| {
                    labels.get(agent::FOLDER_LABEL).is_some_and(|f| Path::new(f) == folder)
                })
                .and_then(|labels| labels.get(engine::label::ENVIRONMENT).cloned()))
        }
        // A machine that never had a remuda needs no Docker to be told so.
        Err(_) if !ours => Ok(None),
        Err(error) => Err(failed("docker cannot be asked what is left", &error)
            .hint("start docker and run `remuda dev down` again")),
    }
}

/// A folder alone is no trace: a start that failed leaves one.
fn holds_files(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.path().is_file())
}

/// Removes our containers and network; returns the named volumes, which stay.
async fn remove_containers(
    global: &Global,
    data_dir: &Path,
    environment: &str,
) -> Result<Vec<String>, Vec<String>> {
    let one = |error: &engine::Error| vec![format!("docker: {}", api::error::chain(error))];
    let engine =
        engine_of(data_dir).map_err(|_said| vec!["docker: DOCKER_HOST makes no sense".into()])?;
    for look in 1..=LOOKS {
        let containers = engine.list(environment).await.map_err(|e| one(&e))?;
        if containers.is_empty() {
            break;
        }
        if look == LOOKS {
            return Err(vec![format!("docker: {} containers come back", containers.len())]);
        }
        if !global.quiet {
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
        let results: Vec<_> =
            futures_util::stream::iter(containers.into_iter().map(|c| remove(c.id)))
                .buffer_unordered(REMOVALS)
                .collect()
                .await;
        let problems: Vec<String> =
            results.iter().filter_map(|r| r.as_ref().err()).flat_map(one).collect();
        if !problems.is_empty() {
            return Err(problems);
        }
    }
    release_plain(&engine, environment).await.map_err(|e| one(&e))?;
    engine.remove_network(agent::NETWORK, environment).await.map_err(|e| one(&e))?;
    let volumes = engine.list_volumes(environment).await.map_err(|e| one(&e))?;
    Ok(volumes.into_iter().map(|volume| volume.name).collect())
}

/// Takes plain containers out of our network, and gives them back their DNS; they run on. One that
/// has ended could not start again without the network.
async fn release_plain(engine: &engine::Docker, environment: &str) -> Result<(), engine::Error> {
    let labels = engine.network_labels(agent::NETWORK).await?.unwrap_or_default();
    if labels.get(engine::label::ENVIRONMENT).is_none_or(|owner| owner != environment) {
        return Ok(());
    }
    for plain in engine.list_plain().await?.containers {
        let joined = plain.addresses.contains_key(agent::NETWORK);
        if joined || model::plain::asks_for_network(&plain.labels) {
            engine.disconnect(&plain.id, agent::NETWORK).await?;
        }
        if !plain.running() {
            continue;
        }
        let dns = plain.resolv_conf.as_deref().map(network::return_dns);
        let names = plain.hosts.as_deref().map(|file| network::names_in_hosts(file, &[]));
        for given_back in [dns, names].into_iter().flatten() {
            if let Err(error) = given_back {
                let error = api::error::chain(&error);
                tracing::warn!(container = plain.name, error, "its DNS is not given back");
            }
        }
    }
    Ok(())
}

/// The engine of the folder, which is not made for it.
pub(super) fn engine_of(data_dir: &Path) -> Outcome<engine::Docker> {
    let files = data_dir.join("agent/files");
    let options = engine::DockerOptions::from_env(files).map_err(|e| failed("docker", &e))?;
    Ok(engine::Docker::new(options))
}

/// Removes what we made in the folder, and the folder when nothing else is in it.
fn remove_files(data_dir: &Path) -> Outcome {
    let told = |path: &Path, e: std::io::Error| {
        Failure::error(format!("{} cannot be removed: {e}", path.display()))
    };
    let gone = |result: std::io::Result<()>| match result {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    for name in FOLDERS {
        let path = data_dir.join(name);
        gone(std::fs::remove_dir_all(&path)).map_err(|e| told(&path, e))?;
    }
    paths::forget_context_files(data_dir)?;
    for name in FILES {
        let path = data_dir.join(name);
        gone(std::fs::remove_file(&path)).map_err(|e| told(&path, e))?;
    }
    // Somebody else's files in it, or a disk mounted there, keep the folder itself.
    match std::fs::remove_dir(data_dir) {
        Err(e)
            if !matches!(
                e.kind(),
                std::io::ErrorKind::NotFound
                    | std::io::ErrorKind::DirectoryNotEmpty
                    | std::io::ErrorKind::ResourceBusy
            ) =>
        {
            Err(told(data_dir, e))
        }
        _ => Ok(()),
    }
}

/// Ends processes of ours whose files in the folder were removed under them, so that no lock
/// names them any more.
async fn end_orphans(data_dir: &Path) -> Outcome {
    let files: Vec<PathBuf> = ["server.lock", "agent.lock", "dataplane/dataplane.lock"]
        .iter()
        .map(|name| PathBuf::from(format!("{} (deleted)", data_dir.join(name).display())))
        .collect();
    let mut signals = [rustix::process::Signal::TERM, rustix::process::Signal::KILL].into_iter();
    let mut deadline = Instant::now();
    loop {
        let found = holders_of(&files);
        if found.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let signal = signals
                .next()
                .ok_or_else(|| Failure::error(format!("processes {found:?} do not end")))?;
            for pid in found.iter().filter_map(|pid| rustix::process::Pid::from_raw(*pid)) {
                if let Err(error) = rustix::process::kill_process(pid, signal) {
                    tracing::debug!(%error, "process has ended already");
                }
            }
            deadline = Instant::now() + END_TIMEOUT;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Processes that hold one of these files open; what cannot be looked at is not ours.
fn holders_of(files: &[PathBuf]) -> Vec<i32> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return vec![] };
    let holds = |pid: &i32| {
        let Ok(open) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        open.flatten()
            .filter_map(|entry| std::fs::read_link(entry.path()).ok())
            .any(|target| files.contains(&target))
    };
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(holds)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_ours_leaves_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        for name in FOLDERS {
            std::fs::create_dir_all(data.join(name).join("deep")).unwrap();
        }
        for name in FILES.into_iter().chain(["theirs"]) {
            std::fs::write(data.join(name), "x").unwrap();
        }
        remove_files(&data).unwrap();
        let left: Vec<_> =
            std::fs::read_dir(&data).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["theirs"]);
        std::fs::remove_file(data.join("theirs")).unwrap();
        remove_files(&data).unwrap();
        assert!(!data.exists());
        remove_files(&data).unwrap();
    }

    #[test]
    fn a_file_that_was_removed_tells_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.lock");
        let _held = std::fs::File::create(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let deleted = PathBuf::from(format!("{} (deleted)", path.display()));
        let ours = i32::try_from(std::process::id()).unwrap();
        assert_eq!(holders_of(&[deleted]), [ours]);
    }
}
