//! A build's context: the folder beside the compose file as a tar stream, without what
//! `.dockerignore` names, and a hash of it. Nothing here talks to a server.

use super::ignore::Ignore;
use crate::exit::{Failure, Outcome};
use api::client::Upload;
use bytes::Bytes;
use compose::BuildSpec;
use futures_util::StreamExt as _;
use model::limits::AUXILIARY_FILE_BYTES_MAX;
use sha2::{Digest as _, Sha256};
use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Name in the archive of a Dockerfile that is not in the folder.
const GIVEN: &str = ".remuda.Dockerfile";
/// Rules about what is left out.
const IGNORE: &str = ".dockerignore";

/// What a build is made from.
#[derive(Clone, Debug)]
pub(super) struct Context {
    folder: PathBuf,
    /// Path of the Dockerfile in the archive.
    dockerfile: String,
    /// Its text when it is inline, or outside of the folder.
    given: Option<Arc<[u8]>>,
    ignore: Arc<Ignore>,
}

impl Context {
    /// The context of a build.
    ///
    /// # Errors
    /// When its Dockerfile or `.dockerignore` cannot be read.
    pub(super) fn of(build: &BuildSpec) -> Outcome<Self> {
        let folder = build.context.clone();
        let rules = match read(&folder.join(IGNORE)) {
            Ok(rules) => String::from_utf8_lossy(&rules).into_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed(&folder.join(IGNORE), &error)),
        };
        let ignore = Arc::new(Ignore::parse(&rules));
        let named = build.dockerfile.as_deref().unwrap_or("Dockerfile");
        let path = folder.join(named);
        let inside = path.strip_prefix(&folder).ok().filter(|p| !p.starts_with(".."));
        let (dockerfile, given) = match (&build.dockerfile_inline, inside) {
            (Some(text), _) => (GIVEN.to_owned(), Some(Arc::from(text.as_bytes()))),
            (None, Some(inside)) => (inside.to_string_lossy().into_owned(), None),
            (None, None) => {
                let text = read(&path).map_err(|e| failed(&path, &e))?;
                (GIVEN.to_owned(), Some(Arc::from(text)))
            }
        };
        Ok(Self { folder, dockerfile, given, ignore })
    }

    /// Path of the Dockerfile in the archive.
    pub(super) fn dockerfile(&self) -> &str {
        &self.dockerfile
    }

    /// The archive as it is made.
    pub(super) fn upload(&self) -> Upload {
        let (tx, rx) = mpsc::channel::<std::io::Result<Bytes>>(8);
        let context = self.clone();
        tokio::task::spawn_blocking(move || {
            let end = tx.clone();
            if let Err(error) = context.write(Pipe(tx)) {
                // A receiver that is gone has its own reason to be told.
                let _told = end.blocking_send(Err(error));
            }
        });
        let next = |mut rx: mpsc::Receiver<_>| async { rx.recv().await.map(|b| (b, rx)) };
        futures_util::stream::unfold(rx, next).boxed()
    }

    /// A hash of `asked` and of the archive.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(super) async fn hash(&self, asked: String) -> Outcome<String> {
        let context = self.clone();
        let hashed = tokio::task::spawn_blocking(move || {
            let mut hash = Hashed(Sha256::new_with_prefix(asked));
            context.write(&mut hash)?;
            let bytes = hash.0.finalize();
            Ok(bytes.iter().take(16).map(|b| format!("{b:02x}")).collect())
        });
        hashed.await.map_err(std::io::Error::other)?.map_err(|e: std::io::Error| {
            Failure::error(format!("build context {}: {e}", self.folder.display()))
        })
    }

    fn write(&self, out: impl Write) -> std::io::Result<()> {
        let mut archive = tar::Builder::new(out);
        archive.follow_symlinks(false);
        archive.mode(tar::HeaderMode::Deterministic);
        if let Some(text) = &self.given {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, GIVEN, &**text)?;
        }
        self.add(&mut archive, Path::new(""))?;
        archive.into_inner()?.flush()
    }

    fn add(&self, archive: &mut tar::Builder<impl Write>, at: &Path) -> std::io::Result<()> {
        let named = |e: std::io::Error, path: &Path| {
            std::io::Error::new(e.kind(), format!("{}: {e}", self.folder.join(path).display()))
        };
        let mut entries: Vec<_> = std::fs::read_dir(self.folder.join(at))
            .and_then(Iterator::collect::<std::io::Result<_>>)
            .map_err(|e| named(e, at))?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let path = at.join(entry.file_name());
            let kind = entry.file_type().map_err(|e| named(e, &path))?;
            // Docker reads these two itself, and leaves them out of what it copies.
            let needed = path == Path::new(&self.dockerfile) || path == Path::new(IGNORE);
            let ignored = !needed && self.ignore.matches(&path.to_string_lossy());
            if kind.is_dir() {
                if !ignored {
                    archive.append_dir(&path, entry.path()).map_err(|e| named(e, &path))?;
                }
                // A rule may bring back something below, and the Dockerfile may be there.
                let below = Path::new(&self.dockerfile).starts_with(&path);
                if !ignored || below || self.ignore.brings_back() {
                    self.add(archive, &path)?;
                }
            } else if !ignored && (kind.is_file() || kind.is_symlink()) {
                archive.append_path_with_name(entry.path(), &path).map_err(|e| named(e, &path))?;
            }
        }
        Ok(())
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![];
    let max = AUXILIARY_FILE_BYTES_MAX as u64;
    std::fs::File::open(path)?.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(std::io::Error::other(format!("it is larger than {max} bytes")));
    }
    Ok(bytes)
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!("{} cannot be read: {error}", path.display()))
}

/// A writer whose bytes go into a channel.
struct Pipe(mpsc::Sender<std::io::Result<Bytes>>);

impl Write for Pipe {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.0
            .blocking_send(Ok(Bytes::copy_from_slice(data)))
            .map_err(|_closed| std::io::Error::from(std::io::ErrorKind::BrokenPipe))?;
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A writer whose bytes are hashed.
struct Hashed(Sha256);

impl Write for &mut Hashed {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.0.update(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
