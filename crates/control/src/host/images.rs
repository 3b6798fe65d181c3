//! Which images a host may do without: those that Remuda brought or ran, that no kept revision, no
//! container and no name of somebody else needs, and that can be had again. Pure; what it is not
//! told of stays.

use model::limits::{
    IMAGE_DISK_BYTES_ENOUGH, IMAGE_DISK_BYTES_MIN, IMAGE_DISK_PERCENT_ENOUGH,
    IMAGE_DISK_PERCENT_MIN, IMAGE_PRESSED_MS_MIN, IMAGE_RETRY_MS_MAX, IMAGE_RETRY_MS_MIN,
    IMAGE_SUPERSEDED_MS_MIN, IMAGE_UNUSED_MS_MAX, IMAGES_REMOVED_TOGETHER_MAX,
};
use model::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// An image as it is on the host. Names are in the spelling of the engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostImage {
    /// `sha256:…`.
    pub id: String,
    /// `name:tag`; empty when its names went to others.
    pub names: BTreeSet<String>,
    /// `name@sha256:…`; empty when no registry is known to have it.
    pub digests: BTreeSet<String>,
    /// Bytes.
    pub size: u64,
}

/// What Remuda had to do with an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageUse {
    /// The names under which it was pulled, built or run.
    pub names: BTreeSet<String>,
    /// It was built by Remuda.
    pub built: bool,
    /// When it was pulled, built or run last.
    pub used_at: Timestamp,
}

/// A removal that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageRefusal {
    /// How often in a row.
    pub times: u32,
    /// When last.
    pub at: Timestamp,
}

impl ImageRefusal {
    /// The next refusal, after `before`.
    #[must_use]
    pub fn after(before: Option<&Self>, now: Timestamp) -> Self {
        Self { times: before.map_or(1, |before| before.times.saturating_add(1)), at: now }
    }

    fn is_over(self, now: Timestamp) -> bool {
        let doublings = self.times.saturating_sub(1).min(20);
        let wait = IMAGE_RETRY_MS_MIN.checked_shl(doublings).unwrap_or(u64::MAX);
        now.since_ms(self.at) >= wait.min(IMAGE_RETRY_MS_MAX)
    }
}

/// Everything that is known when images are looked through.
#[derive(Clone, Copy, Debug)]
pub struct ImagesSeen<'a> {
    /// All images of the host.
    pub images: &'a [HostImage],
    /// By id, those that Remuda had to do with.
    pub uses: &'a BTreeMap<String, ImageUse>,
    /// Ids of the images of all containers, whoever's.
    pub in_use: &'a BTreeSet<String>,
    /// Names and ids that the newest publication keeps, names in the spelling of the engine.
    pub kept: &'a BTreeSet<String>,
    /// Bytes of the disk and those that are free of them; `None` when it could not be looked at.
    pub disk: Option<(u64, u64)>,
    /// By id, removals that were refused.
    pub refused: &'a BTreeMap<String, ImageRefusal>,
}

/// An image that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRemoval {
    /// Its id.
    pub id: String,
    /// The names that are taken from it; without any it is removed by its id.
    pub names: Vec<String>,
    /// Bytes, with layers that it may share with others.
    pub size: u64,
    /// Why.
    pub why: &'static str,
}

/// What becomes of the images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageSweep {
    /// What goes now, in this order.
    pub removals: Vec<ImageRemoval>,
    /// Bytes of all that nothing needs, gone or waiting: at most so much can be had back.
    pub reclaimable: u64,
    /// The disk is short of room.
    pub pressed: bool,
}

/// Looks through the images of a host.
#[must_use]
pub fn sweep(seen: &ImagesSeen<'_>, now: Timestamp) -> ImageSweep {
    let mut idle: Vec<(&HostImage, &ImageUse)> = seen
        .images
        .iter()
        .filter_map(|image| Some((image, seen.uses.get(&image.id)?)))
        .filter(|(image, used)| may_go(seen, image, used))
        .collect();
    idle.sort_by_key(|(image, used)| (used.used_at, &image.id));
    let reclaimable = idle.iter().fold(0_u64, |sum, (image, _)| sum.saturating_add(image.size));
    let pressed = seen.disk.is_some_and(|(total, free)| is_disk_short(total, free));
    let mut sweep = ImageSweep { removals: vec![], reclaimable, pressed };
    let mut freed = 0_u64;
    for (image, used) in idle {
        let refused = seen.refused.get(&image.id).is_some_and(|refusal| !refusal.is_over(now));
        if refused || sweep.removals.len() >= IMAGES_REMOVED_TOGETHER_MAX {
            continue;
        }
        let unused_ms = now.since_ms(used.used_at);
        let room = pressed
            && seen.disk.is_some_and(|(total, free)| {
                let free = free.saturating_add(freed);
                is_short(total, free, IMAGE_DISK_PERCENT_ENOUGH, IMAGE_DISK_BYTES_ENOUGH)
            });
        let why = if used.built && unused_ms >= IMAGE_SUPERSEDED_MS_MIN {
            "a newer build has its name"
        } else if unused_ms >= IMAGE_UNUSED_MS_MAX {
            "nothing has needed it for long"
        } else if room && unused_ms >= IMAGE_PRESSED_MS_MIN {
            "nothing needs it, and the disk is short of room"
        } else {
            continue;
        };
        freed = freed.saturating_add(image.size);
        let (id, names) = (image.id.clone(), image.names.iter().cloned().collect());
        sweep.removals.push(ImageRemoval { id, names, size: image.size, why });
    }
    sweep
}

/// May it go at all, now or later?
fn may_go(seen: &ImagesSeen<'_>, image: &HostImage, used: &ImageUse) -> bool {
    if seen.in_use.contains(&image.id) || is_kept(seen.kept, image) {
        return false;
    }
    // A name that Remuda never used is somebody's wish to have it.
    if !image.names.is_subset(&used.names) {
        return false;
    }
    // What no registry has cannot be had again: only a build that a newer one replaced may go.
    if used.built { image.names.is_empty() } else { !image.digests.is_empty() }
}

fn is_kept(kept: &BTreeSet<String>, image: &HostImage) -> bool {
    let hex = image.id.strip_prefix("sha256:").unwrap_or(&image.id);
    // An image may be asked for by the begin of its id, which reads like a name.
    let by_begin = |word: &String| {
        let word = word.strip_suffix(":latest").unwrap_or(word);
        word.len() >= SHORT_ID_MIN && hex.starts_with(word)
    };
    kept.contains(&image.id)
        || !kept.is_disjoint(&image.names)
        || !kept.is_disjoint(&image.digests)
        || kept.iter().any(by_begin)
}

/// Fewer digits of an id are not taken for one.
const SHORT_ID_MIN: usize = 6;

/// Is a disk with so many bytes, and so many of them free, short of room for images?
#[must_use]
pub fn is_disk_short(total: u64, free: u64) -> bool {
    is_short(total, free, IMAGE_DISK_PERCENT_MIN, IMAGE_DISK_BYTES_MIN)
}

fn is_short(total: u64, free: u64, percent: u64, bytes: u64) -> bool {
    // A disk that is small as a whole is not short of room for that.
    let share = total / 100 * percent;
    free < share || free < bytes.min(total / 4)
}

#[cfg(test)]
mod tests;
