//! Puts a copy of the state back: looked at whole in a folder of its own first, so that what is no
//! copy of this state changes nothing.

use super::lock::{self, Part};
use super::server::read_environment;
use super::{failed, make_private_dir};
use crate::exit::{Failure, Outcome};
use std::path::{Path, PathBuf};
use store::{Sqlite, codec};

/// Puts a copy of the state in place; what was there is kept and its path returned.
///
/// # Errors
/// Why not; nothing is changed then.
pub(crate) async fn restore(file: &Path, data_dir: &Path) -> Outcome<Option<PathBuf>> {
    let data_dir = std::path::absolute(data_dir)?;
    let known = read_environment(&data_dir);
    let fresh = !data_dir.exists();
    make_private_dir(&data_dir)?;
    let lock = lock::take(&data_dir, Part::Server, "backup restore").await?;
    let trial = data_dir.join("restore");
    let found = environment_of(file, &trial).await;
    remove(&trial)?;
    let found = match found {
        Ok(found) => found,
        Err(failure) => {
            drop(lock);
            // Nothing was here before: not even the folder is left.
            if fresh && let Err(error) = std::fs::remove_dir_all(&data_dir) {
                tracing::warn!(folder = %data_dir.display(), %error, "new folder not removed");
            }
            return Err(failure);
        }
    };
    if let Some(known) = known.filter(|known| *known != found) {
        return Err(Failure::error(format!(
            "{} is the state of environment {found}, and {} is of environment {known}",
            file.display(),
            data_dir.display()
        ))
        .hint(
            "name another folder with --data-dir, or take away what runs here: remuda dev down",
        ));
    }
    let dir = data_dir.join("server");
    make_private_dir(&dir)?;
    let restored =
        store::restore(file, &dir).map_err(|e| failed("the state cannot be put back", &e))?;
    Ok(restored.aside)
}

/// Which environment is the copy of? It is put back in a folder that nobody uses.
async fn environment_of(file: &Path, trial: &Path) -> Outcome<String> {
    remove(trial)?;
    make_private_dir(trial)?;
    let what = format!("{} cannot be put back", file.display());
    store::restore(file, trial).map_err(|e| failed(&what, &e))?;
    let store = Sqlite::open(trial).await.map_err(|e| failed(&what, &e))?;
    let (cluster, _) = codec::cluster(&store).await.map_err(|e| failed(&what, &e))?;
    let environment = cluster.environment().map(|environment| environment.id.clone());
    environment.ok_or_else(|| Failure::error(format!("{what}: it holds no environment")))
}

fn remove(dir: &Path) -> Outcome {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::error(format!("folder {} cannot be removed: {e}", dir.display())))
        }
        _ => Ok(()),
    }
}
