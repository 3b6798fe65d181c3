//! The log beside the last whole publication: a line for each delta since, as it was heard. A line
//! that is cut off by a crash was never acted on; one that does not fit is of before the whole.

use api::link::{Publication, PublicationDelta};
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// A log that is smaller than this is never folded into the whole, in bytes.
const LOG_BYTES_MIN: u64 = 64 * 1024;

fn log_path(publication: &Path) -> PathBuf {
    publication.with_extension("log")
}

/// Makes of a whole publication the newest one that the log leads to.
pub(super) async fn replay(publication: &Path, whole: &mut Publication) {
    let path = log_path(publication);
    let text = match tokio::fs::read(&path).await {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "log of the journal cannot be read");
            return;
        }
    };
    let mut misfits = 0;
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        // Cut off by a crash: what it said was never acted on.
        let Ok(delta) = serde_json::from_slice::<PublicationDelta>(line) else { continue };
        if delta.is_known(whole) {
            continue;
        }
        // Of before the whole, when that is of another server's start; what follows is not.
        misfits += u32::from(delta.apply(whole).is_err());
    }
    if misfits > 0 {
        tracing::warn!(path = %path.display(), misfits, "log of the journal has lines that do not fit");
    }
}

/// Adds a line; false when the whole is to be written instead.
pub(super) async fn append(publication: &Path, delta: &PublicationDelta) -> bool {
    let path = log_path(publication);
    let added = async {
        // What is cut off before it is a line of its own.
        let mut line = vec![b'\n'];
        serde_json::to_writer(&mut line, delta)?;
        line.push(b'\n');
        let (publication, path) = (publication.to_owned(), path.clone());
        let add = move || add(&publication, &path, &line);
        // All at once: a container that starts waits for it.
        tokio::task::spawn_blocking(add).await.map_err(std::io::Error::other)?
    };
    // What a full disk refused may be half a line: the whole takes the place of it.
    added.await.unwrap_or_else(|error: std::io::Error| {
        tracing::debug!(path = %path.display(), %error, "log of the journal not written");
        false
    })
}

/// Adds a line that outlives a loss of power; `Ok(false)` when the log has outgrown the whole.
fn add(publication: &Path, path: &Path, line: &[u8]) -> std::io::Result<bool> {
    let whole = std::fs::metadata(publication)?.len();
    let mut file = File::options().append(true).create(true).mode(0o600).open(path)?;
    let logged = file.metadata()?.len();
    if logged > whole.max(LOG_BYTES_MIN) {
        return Ok(false);
    }
    file.write_all(line)?;
    file.sync_data()?;
    if logged == 0 {
        super::sync_folder(path)?;
    }
    Ok(true)
}

/// The whole has been written: the log says nothing more.
pub(super) async fn clear(publication: &Path) -> bool {
    let path = log_path(publication);
    match tokio::fs::remove_file(&path).await {
        Ok(()) => true,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "log of the journal cannot be removed");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Journal;
    use super::*;
    use api::link::Mark;
    use model::delta::{Delta, ViewDelta};
    use model::host_spec::HostSpec;
    use model::time::{Generation, Index};
    use model::view::HostView;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn whole() -> Publication {
        let host = "a".parse().unwrap();
        let view = HostView::empty("e", &host);
        let spec = HostSpec {
            generation: Generation(1),
            host,
            environment: model::host::Environment::new("e".into(), "e", Default::default()),
            instances: BTreeMap::new(),
            balancers: BTreeMap::new(),
            volumes: BTreeMap::new(),
            images_kept: Default::default(),
            attachments: BTreeMap::new(),
            policy: Arc::default(),
            labels: Arc::default(),
            peers: Arc::default(),
        };
        let mark = Mark { run: 1, serial: 0 };
        Publication { epoch: "e".into(), mark, spec: Arc::new(spec), view: Arc::new(view) }
    }

    /// A change by the server's start that what is known is of.
    async fn step(journal: &Journal, known: &mut Publication, long: usize) {
        let serial = known.mark.serial;
        let names = [(format!("n{serial}"), Some("x".repeat(long)))].into();
        let (from, to) = (Index(serial), Index(serial + 1));
        let view = ViewDelta { from, to, cnames: names, ..ViewDelta::default() };
        let delta = Delta { spec: None, view: Some(view) };
        let epoch = "e".into();
        let delta =
            PublicationDelta { epoch, run: known.mark.run, from: serial, to: serial + 1, delta };
        delta.apply(known).unwrap();
        assert!(journal.append(&Arc::new(known.clone()), &delta).await);
    }

    #[tokio::test]
    async fn nothing_that_was_written_is_lost_and_the_log_does_not_grow_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::folder(dir.path());
        let mut known = whole();
        assert!(journal.write(&Arc::new(known.clone())).await);
        let log = dir.path().join("publication.log");
        let mut folded = 0;
        for _ in 0..100 {
            step(&journal, &mut known, 4_000).await;
            folded += u32::from(!log.exists());
            assert_eq!(*journal.read().await.unwrap(), known);
        }
        assert!((1..20).contains(&folded), "{folded}");
    }

    #[tokio::test]
    async fn half_a_line_and_lines_of_before_change_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::folder(dir.path());
        let mut known = whole();
        journal.write(&Arc::new(known.clone())).await;
        step(&journal, &mut known, 1).await;
        let log = dir.path().join("publication.log");
        let old = std::fs::read(&log).unwrap();
        journal.write(&Arc::new(known.clone())).await;
        assert!(!log.exists());
        // A crash between the whole and the end of its log.
        std::fs::write(&log, &old).unwrap();
        assert_eq!(*journal.read().await.unwrap(), known);
        step(&journal, &mut known, 1).await;
        let mut cut = std::fs::read(&log).unwrap();
        cut.extend_from_slice(&old[..old.len() / 2]);
        std::fs::write(&log, &cut).unwrap();
        assert_eq!(*journal.read().await.unwrap(), known);
        // What is written after it is not lost behind it.
        step(&journal, &mut known, 1).await;
        assert_eq!(*journal.read().await.unwrap(), known);
    }

    #[tokio::test]
    async fn lines_of_another_start_of_the_server_hide_nothing_that_came_after_them() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::folder(dir.path());
        let mut known = whole();
        journal.write(&Arc::new(known.clone())).await;
        step(&journal, &mut known, 1).await;
        let log = dir.path().join("publication.log");
        let old = std::fs::read(&log).unwrap();
        known = Publication { mark: Mark { run: 2, serial: 0 }, ..whole() };
        journal.write(&Arc::new(known.clone())).await;
        // The power went between the whole and the end of its log.
        std::fs::write(&log, &old).unwrap();
        step(&journal, &mut known, 1).await;
        assert_eq!(*journal.read().await.unwrap(), known);
    }

    #[tokio::test]
    async fn what_an_agent_of_another_version_kept_is_asked_for_anew() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::folder(dir.path());
        assert!(journal.write(&Arc::new(whole())).await);
        assert_eq!(journal.read().await.unwrap().mark, whole().mark);
        let path = dir.path().join("publication.json");
        let text = std::fs::read_to_string(&path).unwrap();
        // Agents of before wrote no number.
        let number = format!("\"format\":{},", crate::journal::FORMAT);
        let older = text.replacen(&number, "", 1);
        assert_ne!(older, text);
        std::fs::write(&path, older).unwrap();
        let kept = journal.read().await.unwrap();
        assert_eq!((kept.mark, &kept.spec), (Mark::default(), &whole().spec));
    }
}
