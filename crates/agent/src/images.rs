//! The images that Remuda had to do with on this host, remembered on disk. An image that is not in
//! here is somebody else's and stays, so that a lost or unreadable file only keeps images longer.

use crate::journal::Journal;
use control::host::ImageUse;
use engine::image_name;
use model::limits::IMAGES_REMEMBERED_MAX;
use model::time::{Clock, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A use that is told again writes the file anew only when it is so much newer, in milliseconds.
const WRITE_AGAIN_MS: u64 = 600_000;

/// One image as it is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Entry {
    pub(crate) names: BTreeSet<String>,
    pub(crate) built: bool,
    pub(crate) used_at: Timestamp,
}

/// Images by id.
pub(crate) type Entries = BTreeMap<String, Entry>;

/// What is remembered. Clones are the same book.
#[derive(Clone, Debug)]
pub(crate) struct ImageBook {
    journal: Journal,
    clock: Clock,
    pages: Arc<Mutex<Pages>>,
}

#[derive(Debug, Default)]
struct Pages {
    entries: Entries,
    /// What the journal has.
    written: Entries,
}

impl ImageBook {
    /// With what the journal has.
    pub(crate) async fn open(journal: Journal, clock: Clock) -> Self {
        let entries = journal.read_images().await;
        let pages = Pages { written: entries.clone(), entries };
        Self { journal, clock, pages: Arc::new(Mutex::new(pages)) }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An image was pulled or run under a name; an id is no name.
    pub(crate) fn used(&self, id: &str, name: &str) {
        self.note(id, name, false);
    }

    /// An image was built.
    pub(crate) fn built(&self, id: &str, name: &str) {
        self.note(id, name, true);
    }

    fn note(&self, id: &str, name: &str, built: bool) {
        if id.is_empty() {
            return;
        }
        let now = self.clock.now();
        let mut pages = self.pages();
        let entry = pages.entries.entry(id.to_owned()).or_default();
        entry.names.extend(image_name(name).filter(|name| !name.starts_with("sha256:")));
        entry.built |= built;
        entry.used_at = now;
        while pages.entries.len() > IMAGES_REMEMBERED_MAX {
            let oldest = pages.entries.iter().min_by_key(|(_, entry)| entry.used_at);
            let Some(oldest) = oldest.map(|(id, _)| id.clone()) else { break };
            pages.entries.remove(&oldest);
        }
    }

    /// Forgets images that are not here any more. The newest were perhaps not listed yet.
    pub(crate) fn keep(&self, here: &BTreeSet<&str>, listed_at: Timestamp) {
        let mut pages = self.pages();
        pages.entries.retain(|id, entry| here.contains(id.as_str()) || entry.used_at >= listed_at);
    }

    /// All of them, for the planner.
    pub(crate) fn uses(&self) -> BTreeMap<String, ImageUse> {
        let use_of = |entry: &Entry| ImageUse {
            names: entry.names.clone(),
            built: entry.built,
            used_at: entry.used_at,
        };
        self.pages().entries.iter().map(|(id, entry)| (id.clone(), use_of(entry))).collect()
    }

    /// Brings the journal up to date, when there is something new to it.
    pub(crate) async fn write(&self) {
        let entries = {
            let pages = self.pages();
            if !pages.differ() {
                return;
            }
            pages.entries.clone()
        };
        if self.journal.write_images(&entries).await {
            self.pages().written = entries;
        }
    }
}

impl Pages {
    fn differ(&self) -> bool {
        let same = |(id, new): (&String, &Entry)| {
            self.written.get(id).is_some_and(|old| {
                let later = new.used_at.since_ms(old.used_at) >= WRITE_AGAIN_MS;
                (&old.names, old.built) == (&new.names, new.built) && !later
            })
        };
        self.entries.len() != self.written.len() || !self.entries.iter().all(same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

    fn clock() -> (Arc<AtomicI64>, Clock) {
        let now = Arc::new(AtomicI64::new(1_000));
        let read = Arc::clone(&now);
        (now, Clock::new(move || Timestamp(read.load(Relaxed))))
    }

    #[tokio::test]
    async fn what_was_noted_is_remembered_by_the_next_agent() {
        let dir = tempfile::tempdir().unwrap();
        let (now, clock) = clock();
        let book = ImageBook::open(Journal::folder(dir.path()), clock.clone()).await;
        book.used("sha256:aa", "docker.io/library/nginx");
        book.used("sha256:aa", "sha256:aa");
        book.built("sha256:bb", "shop_web:latest");
        book.used("", "nothing");
        book.write().await;
        now.store(2_000, Relaxed);
        book.used("sha256:bb", "shop_web:latest");
        book.write().await;
        let next = ImageBook::open(Journal::folder(dir.path()), clock.clone()).await;
        let uses = next.uses();
        let of = |id: &str| uses[id].clone();
        let names = |name: &str| BTreeSet::from([name.to_owned()]);
        let used_at = Timestamp(1_000);
        let nginx = ImageUse { names: names("nginx:latest"), built: false, used_at };
        assert_eq!(of("sha256:aa"), nginx);
        // A use soon after the last one is not worth a write of its own.
        let web = ImageUse { names: names("shop_web:latest"), built: true, used_at };
        assert_eq!(of("sha256:bb"), web);
        assert_eq!(uses.len(), 2);
        now.store(1_000 + 600_000, Relaxed);
        book.used("sha256:bb", "shop_web:latest");
        book.write().await;
        let later = ImageBook::open(Journal::folder(dir.path()), clock).await;
        assert_eq!(later.uses()["sha256:bb"].used_at, Timestamp(601_000));
    }

    #[tokio::test]
    async fn a_book_that_cannot_be_read_is_set_aside_and_knows_no_image() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("images.json"), "{\"sha256:aa\":").unwrap();
        let book = ImageBook::open(Journal::folder(dir.path()), clock().1).await;
        assert!(book.uses().is_empty());
        assert!(dir.path().join("images.unreadable").exists());
    }

    #[tokio::test]
    async fn what_is_gone_is_forgotten_and_the_oldest_when_there_are_too_many() {
        let (now, clock) = clock();
        let book = ImageBook::open(Journal::memory(), clock).await;
        book.used("sha256:aa", "a:1");
        book.used("sha256:bb", "b:1");
        now.store(2_000, Relaxed);
        book.used("sha256:cc", "c:1");
        book.keep(&["sha256:bb"].into(), Timestamp(2_000));
        assert_eq!(book.uses().into_keys().collect::<Vec<_>>(), ["sha256:bb", "sha256:cc"]);
        now.store(3_000, Relaxed);
        (0..IMAGES_REMEMBERED_MAX).for_each(|n| book.used(&format!("sha256:{n}"), "n:1"));
        let uses = book.uses();
        assert_eq!(uses.len(), IMAGES_REMEMBERED_MAX);
        assert!(!uses.contains_key("sha256:bb") && !uses.contains_key("sha256:cc"));
    }
}
