//! `remuda agent reset`: this machine is no host any more, and may join as another one. For a copy of a
//! machine, which has the identity of the first one.

use crate::cli::Global;
use crate::exit::{Failure, Outcome};
use crate::output;
use crate::paths;
use crate::role::lock::{self, Part};
use crate::role::server::read_environment;
use crate::role::{down, failed};
use clap::Args;
use engine::Engine as _;
use std::path::{Path, PathBuf};

/// What makes this machine the host that it is, in the agent's folder. The identity goes first:
/// what is left after a kill is no host.
const IDENTITY: [&str; 4] = ["membership.json", "host", "publication.json", "lease"];

/// Its keys, in the dataplane's folder: it makes new ones when they are gone.
const KEYS: &str = "dataplane/wireguard.json";

/// Options of `agent reset`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ResetArgs {
    /// Data folder
    #[arg(long, env = "REMUDA_DATA_DIR", default_value = paths::DATA_DIR)]
    data_dir: PathBuf,
    /// Containers, names and traffic stay as they are; without it all of that is taken away
    #[arg(long)]
    keep_containers: bool,
}

/// Forgets.
///
/// # Errors
/// What cannot be forgotten; running it again goes on from there.
pub(super) async fn run(global: &Global, args: ResetArgs) -> Outcome {
    let data_dir = std::path::absolute(&args.data_dir)?;
    if let Some(dev) = lock::holder(&data_dir, Part::Agent).filter(|holder| holder.role == "dev") {
        return Err(Failure::error(format!("{dev} is server and agent of this machine in one"))
            .hint("it has no identity to forget; `remuda dev down` takes it away"));
    }
    if !args.keep_containers {
        if data_dir.join("server").exists() {
            let text = format!("{} holds the state of a server as well", data_dir.display());
            return Err(Failure::usage(text).hint(
                "--keep-containers forgets the host alone; `remuda dev down` takes all away",
            ));
        }
        return down::run(global, &data_dir, false).await;
    }
    lock::end(&data_dir, Part::Agent).await?;
    let dir = data_dir.join("agent");
    if !dir.exists() {
        output::note(&format!("no host is in {}", data_dir.display()));
        return Ok(());
    }
    let lock = lock::take(&data_dir, Part::Agent, "agent").await?;
    forget(&dir, &IDENTITY)?;
    forget(&data_dir, &[KEYS])?;
    tell(&data_dir).await;
    drop(lock);
    Ok(())
}

fn forget(dir: &Path, names: &[&str]) -> Outcome {
    for name in names {
        let path = dir.join(name);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(&format!("{} cannot be removed", path.display()), &e));
            }
            _ => {}
        }
    }
    Ok(())
}

/// What becomes of what runs here.
async fn tell(data_dir: &Path) {
    output::note("this machine is no host any more; join with another id:");
    output::note("  remuda agent --join SERVER:7600 --token $(remuda host token create) --host ID");
    let Some(environment) = read_environment(data_dir) else { return };
    let Ok(engine) = down::engine_of(data_dir) else { return };
    match engine.list(&environment).await {
        Ok(containers) if containers.is_empty() => {}
        Ok(containers) => {
            let count = containers.len();
            output::note(&format!(
                "{count} containers go on as they are, and nobody looks after them: they are told \
                 of in `remuda host show`, and `docker rm -f` removes what is not wanted:"
            ));
            containers.iter().for_each(|one| output::note(&format!("  {}", one.name)));
        }
        Err(error) => output::note(&format!(
            "containers go on as they are; docker cannot be asked for them: {}",
            api::error::chain(&error)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_the_machine_is_goes_and_what_runs_on_it_stays() {
        let dir = tempfile::tempdir().unwrap();
        let kept = ["images.json", "files/config", "resolv/web"];
        for name in IDENTITY.into_iter().chain(kept) {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        forget(dir.path(), &IDENTITY).unwrap();
        assert!(IDENTITY.iter().all(|name| !dir.path().join(name).exists()));
        assert!(kept.iter().all(|name| dir.path().join(name).exists()));
        forget(dir.path(), &IDENTITY).unwrap();
    }
}
