//! What a dataplane remembers on disk, so that a new one serves at once what the last one served:
//! the View, and apart from it, since it changes more often, what is known of this host.

#[cfg(test)]
mod tests;

use crate::check::Found;
use crate::error::Error;
use crate::metadata::Kept;
use crate::protocol::{Local, Probes};
use model::limits::{DATAPLANE_STATE_MS, DATAPLANE_STATE_RETRY_MS, METADATA_STATE_PAUSE};
use model::view::{HostView, VIEW_FORMAT};
use model::wireguard::WireWish;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

/// What this host knew, newer than the View.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Live {
    pub(crate) local: Arc<Local>,
    pub(crate) probes: Arc<Probes>,
    pub(crate) checks: Arc<Found>,
}

/// All that is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remembered {
    pub(crate) view: Option<Arc<HostView>>,
    pub(crate) live: Live,
    /// What to encrypt between hosts.
    pub(crate) wire: Option<Arc<WireWish>>,
}

fn wire_path(dir: &Path) -> PathBuf {
    dir.join("wire.json")
}

fn view_path(dir: &Path) -> PathBuf {
    dir.join("view.json")
}

fn live_path(dir: &Path) -> PathBuf {
    dir.join("live.json")
}

/// Reads what the last dataplane of `dir` left. What cannot be read is set aside with a warning.
pub(crate) fn load(dir: &Path) -> Remembered {
    let view: Option<HostView> = read(&view_path(dir), |view: &HostView| {
        (view.format <= VIEW_FORMAT).then_some(()).ok_or_else(|| {
            format!("it has format {}, this program reads {VIEW_FORMAT}", view.format)
        })
    });
    let live = read(&live_path(dir), |_: &Live| Ok(()));
    let wire = read(&wire_path(dir), |_: &WireWish| Ok(()));
    Remembered {
        view: view.map(Arc::new),
        live: live.unwrap_or_default(),
        wire: wire.map(Arc::new),
    }
}

fn read<T: DeserializeOwned>(path: &Path, check: impl Fn(&T) -> Result<(), String>) -> Option<T> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "state not read, starting without it");
            return None;
        }
    };
    let parsed = serde_json::from_slice(&bytes).map_err(|error| error.to_string());
    match parsed.and_then(|value| check(&value).map(|()| value)) {
        Ok(value) => Some(value),
        Err(why) => {
            let aside = path.with_extension("json.bad");
            let moved = std::fs::rename(path, &aside);
            tracing::warn!(path = %path.display(), why, aside = %aside.display(), moved = moved.is_ok(),
                "state cannot be used and is set aside");
            None
        }
    }
}

/// Reads a view file.
///
/// # Errors
/// When it is not readable, no view, or of a newer format.
pub(crate) fn view_file(path: &Path) -> Result<HostView, Error> {
    let failed = |source: io::Error| Error::ViewFile { path: path.to_owned(), source };
    let bytes = std::fs::read(path).map_err(failed)?;
    let view: HostView = serde_json::from_slice(&bytes).map_err(|e| failed(io::Error::from(e)))?;
    if view.format > VIEW_FORMAT {
        let (path, format) = (path.to_owned(), view.format);
        return Err(Error::ViewFormat { path, format, newest: VIEW_FORMAT });
    }
    Ok(view)
}

/// Replaces a file by one that is whole, whenever the machine stops.
fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let new = path.with_extension("json.new");
    let mut options = File::options();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.sync_data()?;
    std::fs::rename(&new, path)
}

/// Writes what is sent until its sender is gone, the last of it always. `written` is on disk. What
/// could not be written is tried again: a full disk may have room later, and nothing new may come.
pub(crate) async fn keep(
    dir: PathBuf,
    mut written: Remembered,
    mut state: watch::Receiver<Remembered>,
) {
    let mut failed = false;
    loop {
        let open = tokio::select! {
            changed = state.changed() => changed.is_ok(),
            () = sleep(Duration::from_millis(DATAPLANE_STATE_RETRY_MS)), if failed => true,
        };
        if open {
            sleep(Duration::from_millis(DATAPLANE_STATE_MS)).await;
        }
        let new = state.borrow_and_update().clone();
        let (dir, before) = (dir.clone(), written.clone());
        let work = tokio::task::spawn_blocking(move || save(&dir, before, new));
        failed = match work.await {
            Ok((on_disk, whole)) => {
                written = on_disk;
                !whole
            }
            Err(error) => {
                tracing::error!(%error, "state not written");
                true
            }
        };
        if !open {
            return;
        }
    }
}

fn metadata_path(dir: &Path) -> PathBuf {
    dir.join("metadata.json")
}

/// Reads the metadata that the last dataplane of `dir` told.
pub(crate) fn load_metadata(dir: &Path) -> Option<Kept> {
    read(&metadata_path(dir), |_: &Kept| Ok(()))
}

/// Writes the metadata that is sent until its sender is gone, the last of it always. It is written
/// the less often the longer it takes: the agent has it too.
pub(crate) async fn keep_metadata(dir: PathBuf, mut news: watch::Receiver<Option<Arc<Kept>>>) {
    let path = metadata_path(&dir);
    let gathering = Duration::from_millis(DATAPLANE_STATE_MS);
    let mut not_before = Instant::now();
    let mut open = true;
    while open && news.changed().await.is_ok() {
        loop {
            open = open && gather(&mut news, not_before.max(Instant::now() + gathering)).await;
            let kept = news.borrow_and_update().clone();
            let (began, to) = (Instant::now(), path.clone());
            let work =
                tokio::task::spawn_blocking(move || kept.map_or(Ok(()), |kept| write(&to, &*kept)));
            let written = work.await.map_err(io::Error::other).flatten();
            not_before = Instant::now() + began.elapsed() * METADATA_STATE_PAUSE;
            let Err(error) = written else { break };
            tracing::error!(path = %path.display(), %error, "metadata not written, trying again");
            if !open {
                return;
            }
            not_before = Instant::now() + Duration::from_millis(DATAPLANE_STATE_RETRY_MS);
        }
    }
}

/// Lets news gather until then; false when there will be none any more.
async fn gather(news: &mut watch::Receiver<Option<Arc<Kept>>>, until: Instant) -> bool {
    loop {
        match timeout_at(until, news.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_closed)) => return false,
            Err(_elapsed) => return true,
        }
    }
}

/// Writes what is another one than before: what is on disk now, and whether that is all of `new`.
fn save(dir: &Path, before: Remembered, new: Remembered) -> (Remembered, bool) {
    let told = |path: PathBuf, result: io::Result<()>| {
        if let Err(error) = &result {
            tracing::error!(path = %path.display(), %error, "state not written, trying again");
        }
        result.is_ok()
    };
    let (mut on_disk, mut whole) = (before, true);
    if let Some(view) = &new.view
        && on_disk.view.as_ref().is_none_or(|before| !Arc::ptr_eq(before, view))
    {
        if told(view_path(dir), write(&view_path(dir), view)) {
            on_disk.view = new.view;
        } else {
            whole = false;
        }
    }
    if on_disk.live != new.live {
        if told(live_path(dir), write(&live_path(dir), &new.live)) {
            on_disk.live = new.live;
        } else {
            whole = false;
        }
    }
    if let Some(wire) = &new.wire
        && on_disk.wire != new.wire
    {
        if told(wire_path(dir), write(&wire_path(dir), wire)) {
            on_disk.wire = new.wire;
        } else {
            whole = false;
        }
    }
    (on_disk, whole)
}
