//! Pieces of images on their way between hosts, on the agent's disk: whole blobs by their digest,
//! and those that have not come whole yet, with which a transfer that was cut goes on. What nothing
//! needs just now goes after a while, or when there is too much of it.

use api::image::{Blob, hex_of};
use model::limits::{IMAGE_PIECES_BYTES_MAX, IMAGE_PIECES_KEPT_MS, IMAGE_ROOM_BYTES_MIN};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

/// Bytes read at a time to compute a digest.
const READ_BYTES: usize = 64 * 1024;

/// The folder of pieces. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Depot {
    dir: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// By hex: how many hold it, and when it was needed last.
    pieces: BTreeMap<String, (usize, Instant)>,
    numbers: u64,
}

/// Pieces that are needed now: they stay until this is dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    depot: Depot,
    hexes: Vec<String>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.depot.state();
        for hex in &self.hexes {
            if let Some((holders, at)) = state.pieces.get_mut(hex) {
                *holders = holders.saturating_sub(1);
                *at = Instant::now();
            }
        }
    }
}

/// A blob that is being written.
pub(crate) struct Writer {
    file: File,
    path: PathBuf,
    hash: Sha256,
    /// Bytes that are there.
    pub(crate) len: u64,
    /// Takes the file away when nobody has finished it.
    _unfinished: Option<Unfinished>,
}

struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(path = %self.0.display(), %error, "a piece of an image stays");
        }
    }
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn no_digest(digest: &str) -> std::io::Error {
    std::io::Error::other(format!("{digest:?} is no digest"))
}

impl Depot {
    /// The depot in this folder, which need not be there. What an agent before this one left is
    /// taken for needed just now; what it was writing out itself goes.
    pub(crate) fn open(dir: PathBuf) -> Self {
        let mut state = State::default();
        let found = std::fs::read_dir(&dir).into_iter().flatten().flatten();
        for file in found {
            let name = file.file_name().to_string_lossy().into_owned();
            let hex = name.strip_suffix(".part").unwrap_or(&name);
            if hex_of(&format!("sha256:{hex}")).is_some() {
                state.pieces.insert(hex.to_owned(), (0, Instant::now()));
            } else if name.ends_with(".new")
                && let Err(error) = std::fs::remove_file(file.path())
            {
                tracing::warn!(path = %file.path().display(), %error, "left-over file stays");
            }
        }
        Self { dir, state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn path(&self, digest: &str) -> std::io::Result<PathBuf> {
        Ok(self.dir.join(hex_of(digest).ok_or_else(|| no_digest(digest))?))
    }

    fn part(&self, digest: &str) -> std::io::Result<PathBuf> {
        Ok(self.path(digest)?.with_extension("part"))
    }

    /// Keeps these blobs from going.
    pub(crate) fn hold<'b>(&self, blobs: impl Iterator<Item = &'b str>) -> Hold {
        let hexes: Vec<String> = blobs.filter_map(hex_of).map(str::to_owned).collect();
        let mut state = self.state();
        for hex in &hexes {
            state.pieces.entry(hex.clone()).or_insert((0, Instant::now())).0 += 1;
        }
        drop(state);
        Hold { depot: self.clone(), hexes }
    }

    /// Is the blob here, whole?
    pub(crate) async fn has(&self, blob: &Blob) -> bool {
        let Ok(path) = self.path(&blob.digest) else { return false };
        tokio::fs::metadata(path).await.is_ok_and(|found| found.len() == blob.size)
    }

    /// Bytes of the blob that are here.
    pub(crate) async fn here(&self, blob: &Blob) -> u64 {
        if self.has(blob).await {
            return blob.size;
        }
        let Ok(path) = self.part(&blob.digest) else { return 0 };
        tokio::fs::metadata(path).await.map_or(0, |found| found.len().min(blob.size))
    }

    /// A whole blob, to be read from `offset` on.
    ///
    /// # Errors
    /// When it is not here.
    pub(crate) async fn read(&self, digest: &str, offset: u64) -> std::io::Result<File> {
        let mut file = File::open(self.path(digest)?).await?;
        tokio::io::AsyncSeekExt::seek(&mut file, std::io::SeekFrom::Start(offset)).await?;
        Ok(file)
    }

    /// The same for a thread that may wait.
    ///
    /// # Errors
    /// When it is not here.
    pub(crate) fn open_now(&self, digest: &str) -> std::io::Result<std::fs::File> {
        std::fs::File::open(self.path(digest)?)
    }

    /// Goes on with a blob where it was cut.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) async fn resume(&self, blob: &Blob) -> std::io::Result<Writer> {
        self.make_dir().await?;
        let path = self.part(&blob.digest)?;
        let again = path.clone();
        let size = blob.size;
        let (hash, len) = tokio::task::spawn_blocking(move || hash_of(&again, size)).await??;
        let mut options = tokio::fs::OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).await?;
        file.set_len(len).await?;
        tokio::io::AsyncSeekExt::seek(&mut file, std::io::SeekFrom::Start(len)).await?;
        Ok(Writer { file, path, hash, len, _unfinished: None })
    }

    /// Writes a blob whose digest is not known yet.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) async fn create(&self) -> std::io::Result<Writer> {
        self.make_dir().await?;
        let number = {
            let mut state = self.state();
            state.numbers += 1;
            state.numbers
        };
        let path = self.dir.join(format!("{number}.new"));
        let mut options = tokio::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&path).await?;
        let _unfinished = Some(Unfinished(path.clone()));
        Ok(Writer { file, path, hash: Sha256::new(), len: 0, _unfinished })
    }

    async fn make_dir(&self) -> std::io::Result<()> {
        let mut builder = tokio::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&self.dir).await
    }

    /// The blob is written: gives its digest; it is in the depot when that is the wanted one, and
    /// gone otherwise.
    ///
    /// # Errors
    /// When the disk refuses; the file is gone then.
    pub(crate) async fn finish(
        &self,
        mut writer: Writer,
        wanted: Option<&str>,
    ) -> std::io::Result<String> {
        let digest = format!("sha256:{}", hex(writer.hash));
        let result = async {
            writer.file.flush().await?;
            if wanted.is_some_and(|wanted| wanted != digest) {
                return tokio::fs::remove_file(&writer.path).await;
            }
            tokio::fs::rename(&writer.path, self.path(&digest)?).await
        };
        if let Err(error) = result.await {
            remove(&writer.path).await;
            return Err(error);
        }
        if let Some(hex) = hex_of(&digest) {
            self.state().pieces.entry(hex.to_owned()).or_insert((0, Instant::now())).1 =
                Instant::now();
        }
        Ok(digest)
    }

    /// Takes blobs away that nobody holds, whole or not.
    pub(crate) async fn remove(&self, digests: impl Iterator<Item = &str>) {
        for hex in digests.filter_map(hex_of) {
            let free = {
                let mut state = self.state();
                let free = state.pieces.get(hex).is_none_or(|(holders, _)| *holders == 0);
                if free {
                    state.pieces.remove(hex);
                }
                free
            };
            if free {
                remove(&self.dir.join(hex)).await;
                remove(&self.dir.join(format!("{hex}.part"))).await;
            }
        }
    }

    /// Takes away what nothing has needed for long, and the oldest when there is too much.
    pub(crate) async fn sweep(&self) {
        let mut idle: Vec<(Instant, String)> = {
            let state = self.state();
            let idle = state.pieces.iter().filter(|(_, (holders, _))| *holders == 0);
            idle.map(|(hex, (_, at))| (*at, hex.clone())).collect()
        };
        idle.sort();
        let mut sizes = vec![];
        for (_, hex) in &idle {
            let mut size = 0;
            for name in [hex.clone(), format!("{hex}.part")] {
                let found = tokio::fs::metadata(self.dir.join(name)).await;
                size += found.map_or(0, |found| found.len());
            }
            sizes.push(size);
        }
        let mut total: u64 = sizes.iter().sum();
        let kept = Duration::from_millis(IMAGE_PIECES_KEPT_MS);
        for ((at, hex), size) in idle.into_iter().zip(sizes) {
            if at.elapsed() >= kept || total > IMAGE_PIECES_BYTES_MAX {
                self.remove([format!("sha256:{hex}").as_str()].into_iter()).await;
                total -= size;
            }
        }
    }

    /// Free bytes on its disk, without those that must stay; `None` when nobody can say.
    pub(crate) async fn room(&self) -> Option<u64> {
        self.make_dir().await.ok()?;
        let dir = self.dir.clone();
        let disk =
            tokio::task::spawn_blocking(move || rustix::fs::statvfs(&dir)).await.ok()?.ok()?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        Some(free.saturating_sub(IMAGE_ROOM_BYTES_MIN))
    }
}

impl Writer {
    /// Writes what comes next.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.file.write_all(bytes).await?;
        self.hash.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// It goes on later: all that was written is on the disk.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) async fn pause(mut self) -> std::io::Result<()> {
        self.file.flush().await
    }
}

async fn remove(path: &Path) {
    match tokio::fs::remove_file(path).await {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(path = %path.display(), %error, "a piece of an image stays"),
    }
}

/// The digest so far of at most `size` bytes of a file, and how many they are.
fn hash_of(path: &Path, size: u64) -> std::io::Result<(Sha256, u64)> {
    let mut hash = Sha256::new();
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((hash, 0)),
        Err(error) => return Err(error),
    };
    let mut file = file.take(size);
    let mut buffer = vec![0; READ_BYTES];
    let mut len = 0;
    loop {
        let n = file.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..n).filter(|bytes| !bytes.is_empty()) else {
            return Ok((hash, len));
        };
        hash.update(bytes);
        len += n as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(bytes: &[u8]) -> Blob {
        let mut hash = Sha256::new();
        hash.update(bytes);
        Blob { digest: format!("sha256:{}", hex(hash)), size: bytes.len() as u64 }
    }

    #[tokio::test]
    async fn a_blob_goes_on_where_it_was_cut_and_is_checked_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let depot = Depot::open(dir.path().join("pieces"));
        let wanted = blob(b"hello world");
        let mut writer = depot.resume(&wanted).await.unwrap();
        writer.write(b"hello").await.unwrap();
        writer.pause().await.unwrap();
        assert_eq!((depot.here(&wanted).await, depot.has(&wanted).await), (5, false));
        // The agent was started anew meanwhile.
        let depot = Depot::open(dir.path().join("pieces"));
        let mut writer = depot.resume(&wanted).await.unwrap();
        assert_eq!(writer.len, 5);
        writer.write(b" world").await.unwrap();
        let digest = depot.finish(writer, Some(&wanted.digest)).await.unwrap();
        assert_eq!(digest, wanted.digest);
        assert!(depot.has(&wanted).await);
        // Other bytes than those that were promised are not kept.
        let other = blob(b"something else");
        let mut writer = depot.resume(&other).await.unwrap();
        writer.write(b"something evil").await.unwrap();
        assert_ne!(depot.finish(writer, Some(&other.digest)).await.unwrap(), other.digest);
        assert_eq!(depot.here(&other).await, 0);
        assert_eq!(std::fs::read_dir(depot.dir()).unwrap().count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nothing_needs_goes_after_a_while_and_what_is_held_stays() {
        let dir = tempfile::tempdir().unwrap();
        let depot = Depot::open(dir.path().to_owned());
        for text in ["held", "idle"] {
            let mut writer = depot.create().await.unwrap();
            writer.write(text.as_bytes()).await.unwrap();
            depot.finish(writer, None).await.unwrap();
        }
        let (held, idle) = (blob(b"held"), blob(b"idle"));
        let hold = depot.hold([held.digest.as_str()].into_iter());
        depot.sweep().await;
        assert!(depot.has(&held).await && depot.has(&idle).await, "it may be asked for again");
        tokio::time::advance(Duration::from_millis(IMAGE_PIECES_KEPT_MS)).await;
        depot.sweep().await;
        assert!(depot.has(&held).await && !depot.has(&idle).await);
        depot.remove([held.digest.as_str()].into_iter()).await;
        assert!(depot.has(&held).await, "it is held");
        drop(hold);
        depot.remove([held.digest.as_str()].into_iter()).await;
        assert!(!depot.has(&held).await);
    }

    #[tokio::test]
    async fn what_an_agent_was_writing_out_when_it_died_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let depot = Depot::open(dir.path().to_owned());
        let mut writer = depot.create().await.unwrap();
        writer.write(b"half").await.unwrap();
        // It died too suddenly to tidy up.
        std::fs::copy(dir.path().join("1.new"), dir.path().join("7.new")).unwrap();
        drop(writer);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        Depot::open(dir.path().to_owned());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
