//! Secrets and configs of containers: files in a private folder, mounted read-only, so that they
//! work in an image without anything in it and with a read-only root. Each container has a folder
//! of its name; the file `id` beside its files says to which container it went.

use super::connection::Docker;
use crate::error::{Error, Result};
use crate::wish::CreateRequest;
use base64::Engine as _;
use model::container_spec::SpecFile;
use model::limits::AUXILIARY_FILE_BYTES_MAX;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

const ID: &str = "id";

/// Files that are written for a container which is not made yet. While it lives, nobody sweeps them.
pub(super) struct Writing<'a> {
    docker: &'a Docker,
    name: String,
    paths: Vec<PathBuf>,
}

impl Writing<'_> {
    pub(super) fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Notes the container that has the files.
    pub(super) async fn belongs_to(&self, id: &str) -> Result<()> {
        if self.paths.is_empty() {
            return Ok(());
        }
        let path = self.docker.folder_of(&self.name).join(ID);
        let id = id.to_owned();
        blocking("write", path, move |path| std::fs::write(path, id)).await
    }

    /// Takes the files away again: no container was made.
    pub(super) async fn discard(&self) -> Result<()> {
        if self.paths.is_empty() {
            return Ok(());
        }
        remove_folder(self.docker.folder_of(&self.name)).await
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let mut creating =
            self.docker.shared.creating.lock().unwrap_or_else(PoisonError::into_inner);
        creating.remove(&self.name);
    }
}

impl Docker {
    fn folder_of(&self, container: &str) -> PathBuf {
        self.shared.options.files_dir.join(container)
    }

    /// Writes the files of a container, durably: a secret must not come back empty after a power
    /// loss.
    pub(super) async fn write_files(&self, request: &CreateRequest) -> Result<Writing<'_>> {
        let name = request.name.clone();
        if !request.spec.files.is_empty() {
            let mut creating = self.shared.creating.lock().unwrap_or_else(PoisonError::into_inner);
            creating.insert(name.clone());
        }
        let mut writing = Writing { docker: self, name, paths: vec![] };
        let folder = self.folder_of(&writing.name);
        for (n, file) in request.spec.files.iter().enumerate() {
            let content = content(request, file)?;
            let path = folder.join(n.to_string());
            let (mode, uid, gid) = (file.mode & 0o7777, file.uid, file.gid);
            blocking("write", path.clone(), move |path| write(path, &content, mode, uid, gid))
                .await?;
            writing.paths.push(path);
        }
        Ok(writing)
    }

    /// Removes the files of a container that is gone, and folders that an interrupted create left.
    pub(super) async fn drop_files_of(&self, id: &str) -> Result<()> {
        let root = self.shared.options.files_dir.clone();
        let folders = blocking("read", root, folders).await?;
        for (name, owner) in folders {
            let gone = match owner {
                Some(owner) => owner == id,
                None => !self.is_creating(&name) && self.inspect_container(&name).await?.is_none(),
            };
            if gone {
                remove_folder(self.folder_of(&name)).await?;
            }
        }
        Ok(())
    }

    fn is_creating(&self, name: &str) -> bool {
        self.shared.creating.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
    }
}

fn content(request: &CreateRequest, file: &SpecFile) -> Result<Vec<u8>> {
    let refuse = |why: &str| Error::Spec {
        container: request.name.clone(),
        why: format!("{why} {}", file.name),
    };
    if !file.target.starts_with('/') {
        return Err(refuse("there is no absolute target for the file"));
    }
    let content = base64::engine::general_purpose::STANDARD
        .decode(&file.content_base64)
        .map_err(|_shows_content| refuse("there is no base64 in the file"))?;
    if content.len() > AUXILIARY_FILE_BYTES_MAX {
        return Err(refuse("there is more than 500 KiB in the file"));
    }
    Ok(content)
}

fn write(path: &Path, content: &[u8], mode: u32, uid: u32, gid: u32) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    // A new inode, never a write into one that a container may have mounted.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    if uid != 0 || gid != 0 {
        chown(path, Some(uid), Some(gid))?;
    }
    file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.sync_all()
}

/// Each folder with the id of the container that has it.
fn folders(root: &Path) -> io::Result<Vec<(String, Option<String>)>> {
    let entries = match std::fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        other => other?,
    };
    let mut found = vec![];
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let owner = match std::fs::read_to_string(entry.path().join(ID)) {
            Ok(id) => Some(id.trim().to_owned()).filter(|id| !id.is_empty()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        found.push((name, owner));
    }
    Ok(found)
}

async fn remove_folder(folder: PathBuf) -> Result<()> {
    blocking("remove", folder, |folder| match remove_ours(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    })
    .await
}

/// A folder with anything in it that was not written here is somebody else's, and stays whole.
fn remove_ours(folder: &Path) -> io::Result<()> {
    let mut files = vec![];
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let ours = name.to_str().is_some_and(|n| n.starts_with(ID) || n.parse::<usize>().is_ok());
        if !ours || !entry.file_type()?.is_file() {
            tracing::warn!(folder = %folder.display(), "folder of another program left alone");
            return Ok(());
        }
        files.push(entry.path());
    }
    files.iter().try_for_each(std::fs::remove_file)?;
    std::fs::remove_dir(folder)
}

async fn blocking<T: Send + 'static>(
    action: &'static str,
    path: PathBuf,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T> {
    let at = path.clone();
    tokio::task::spawn_blocking(move || work(&at))
        .await
        .unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
        .map_err(|source| Error::Files { action, path, source })
}
