//! The last publication, on disk: a host boots alone from it.

use api::link::Publication;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the last publication is kept.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    path: PathBuf,
}

impl Journal {
    /// In the agent's folder.
    #[must_use]
    pub(crate) fn new(dir: &Path) -> Self {
        Self { path: dir.join("publication.json") }
    }

    /// The last publication; a file that cannot be read is set aside and said so.
    pub(crate) async fn read(&self) -> Option<Arc<Publication>> {
        let bytes = match tokio::fs::read(&self.path).await {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "journal cannot be read");
                return None;
            }
        };
        match serde_json::from_slice(&bytes) {
            Ok(publication) => Some(Arc::new(publication)),
            Err(error) => {
                let aside = self.path.with_extension("unreadable");
                tracing::warn!(aside = %aside.display(), %error, "journal set aside");
                if let Err(error) = tokio::fs::rename(&self.path, &aside).await {
                    tracing::warn!(%error, "journal cannot be set aside");
                }
                None
            }
        }
    }

    /// Keeps a publication: whole or not at all; did it? A failure is a warning: the host only
    /// boots less well alone.
    pub(crate) async fn write(&self, publication: &Publication) -> bool {
        let result = async {
            let bytes = serde_json::to_vec(publication)?;
            let new = self.path.with_extension("new");
            let mut options = tokio::fs::OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&new).await?;
            tokio::io::AsyncWriteExt::write_all(&mut file, &bytes).await?;
            file.sync_data().await?;
            tokio::fs::rename(&new, &self.path).await
        };
        let result = result.await;
        if let Err(error) = &result {
            tracing::warn!(path = %self.path.display(), %error, "journal cannot be written");
        }
        result.is_ok()
    }
}
