//! The last publication, on disk: a host boots alone from it. It is a whole one, and beside it a log
//! of what changed since, a line for each delta; when the log has grown as large as the whole, a
//! new whole takes the place of both. And when the server was heard last, and which images were used.

mod log;

use crate::images::Entries;
use api::link::{Mark, Publication, PublicationDelta};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Where the last publication and the lease are kept. Clones are the same place.
#[derive(Clone, Debug)]
pub struct Journal(Place);

#[derive(Clone, Debug)]
enum Place {
    /// The publication's file; the lease is beside it.
    File(PathBuf),
    /// Held for a copy only.
    Memory(Arc<Mutex<Kept>>),
}

#[derive(Debug, Default)]
struct Kept {
    publication: Option<Arc<Publication>>,
    lease: Option<i64>,
    images: Entries,
}

/// What of a publication its writer knew of; one more with each thing that is added to specs or
/// views. An agent of another version has dropped, or lacks, what the server thinks that it has.
const FORMAT: u32 = 4;

/// Who wrote a publication; 0 are agents of before there was a number.
#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    format: u32,
}

#[derive(Serialize)]
struct OfOurs<'a> {
    format: u32,
    #[serde(flatten)]
    publication: &'a Publication,
}

impl Journal {
    /// In the agent's folder.
    #[must_use]
    pub fn folder(dir: &Path) -> Self {
        Self(Place::File(dir.join("publication.json")))
    }

    /// In memory, for the simulation: it outlives the agent as long as a clone is kept.
    #[must_use]
    pub fn memory() -> Self {
        Self(Place::Memory(Arc::default()))
    }

    /// The last publication; a file that cannot be read is set aside and said so.
    pub(crate) async fn read(&self) -> Option<Arc<Publication>> {
        match &self.0 {
            Place::File(path) => {
                let by: Written = read(path).await?;
                let mut whole: Publication = read(path).await?;
                log::replay(path, &mut whole).await;
                if by.format != FORMAT {
                    // No server knows this mark, so the whole is sent.
                    whole.mark = Mark::default();
                }
                Some(Arc::new(whole))
            }
            Place::Memory(kept) => lock(kept).publication.clone(),
        }
    }

    /// Keeps a publication: whole or not at all; did it? A failure is a warning: the host only
    /// boots less well alone.
    pub(crate) async fn write(&self, publication: &Arc<Publication>) -> bool {
        match &self.0 {
            Place::File(path) => {
                let of_ours = OfOurs { format: FORMAT, publication };
                write(path, &of_ours).await && log::clear(path).await
            }
            Place::Memory(kept) => {
                lock(kept).publication = Some(Arc::clone(publication));
                true
            }
        }
    }

    /// Keeps a publication by what led to it from the one that was kept last: whole or not at all;
    /// did it?
    pub(crate) async fn append(
        &self,
        publication: &Arc<Publication>,
        by: &PublicationDelta,
    ) -> bool {
        match &self.0 {
            Place::File(path) if log::append(path, by).await => true,
            _ => self.write(publication).await,
        }
    }

    /// The images that Remuda had to do with; none when they cannot be read.
    pub(crate) async fn read_images(&self) -> Entries {
        match &self.0 {
            Place::File(path) => read(&images_path(path)).await.unwrap_or_default(),
            Place::Memory(kept) => lock(kept).images.clone(),
        }
    }

    /// Keeps them: whole or not at all; did it?
    pub(crate) async fn write_images(&self, images: &Entries) -> bool {
        match &self.0 {
            Place::File(path) => write(&images_path(path), images).await,
            Place::Memory(kept) => {
                lock(kept).images.clone_from(images);
                true
            }
        }
    }

    /// When the server was heard last, in milliseconds of the host's clock.
    pub(crate) async fn read_lease(&self) -> Option<i64> {
        match &self.0 {
            Place::File(path) => {
                let text = tokio::fs::read_to_string(path.with_file_name("lease")).await.ok()?;
                text.trim().parse().ok()
            }
            Place::Memory(kept) => lock(kept).lease,
        }
    }

    /// Keeps when the server was heard last.
    ///
    /// # Errors
    /// Why the file cannot be written.
    pub(crate) async fn write_lease(&self, at: i64) -> std::io::Result<()> {
        match &self.0 {
            Place::File(path) => {
                let (new, path) = (path.with_file_name("lease.new"), path.with_file_name("lease"));
                tokio::fs::write(&new, at.to_string()).await?;
                tokio::fs::rename(&new, &path).await
            }
            Place::Memory(kept) => {
                lock(kept).lease = Some(at);
                Ok(())
            }
        }
    }
}

fn lock(kept: &Mutex<Kept>) -> std::sync::MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

fn images_path(publication: &Path) -> PathBuf {
    publication.with_file_name("images.json")
}

async fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let bytes = match tokio::fs::read(path).await {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "journal cannot be read");
            return None;
        }
    };
    match serde_json::from_slice(&bytes) {
        Ok(found) => Some(found),
        Err(error) => {
            let aside = path.with_extension("unreadable");
            tracing::warn!(aside = %aside.display(), %error, "journal set aside");
            if let Err(error) = tokio::fs::rename(path, &aside).await {
                tracing::warn!(%error, "journal cannot be set aside");
            }
            None
        }
    }
}

async fn write<T: Serialize>(path: &Path, kept: &T) -> bool {
    let result = async {
        let (bytes, path) = (serde_json::to_vec(kept)?, path.to_owned());
        let replace = move || replace(&path, &bytes);
        tokio::task::spawn_blocking(replace).await.map_err(std::io::Error::other)?
    };
    let result: std::io::Result<()> = result.await;
    if let Err(error) = &result {
        tracing::warn!(path = %path.display(), %error, "journal cannot be written");
    }
    result.is_ok()
}

/// Puts a file in the place of another one, whole or not at all, so that it outlives a loss of power.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let mut options = File::options();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    std::fs::rename(&new, path)?;
    sync_folder(path)
}

/// Makes the names in the folder of a file outlive a loss of power.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
