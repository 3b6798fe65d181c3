//! Images that nothing needs any more: looked for every little while, judged by
//! `control::host::sweep`, and removed one after the other. While the server is not heard, nothing
//! is: what it keeps for a rollback may have changed.

use super::{Look, Reconciler};
use api::link::Publication;
use control::host::{HostImage, ImageRefusal, ImageRemoval, ImageSweep, ImagesSeen};
use engine::seen::{DiskSpace, SeenImage};
use engine::{Engine, image_name};
use model::host::DiskFacts;
use model::instance::Goal;
use model::limits::{HOST_LOST_MS, IMAGE_LOOK_MS};
use model::time::Timestamp;
use network::Fabric;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// What the engine says of its images.
pub(super) struct Shelf {
    /// Since before it was asked.
    listed_at: Timestamp,
    images: Vec<SeenImage>,
    in_use: BTreeSet<String>,
    /// `None` when it could not be looked at.
    disk: Option<DiskSpace>,
}

/// Where the clean-up is.
#[derive(Default)]
pub(super) struct Cleaner {
    due: Option<Instant>,
    is_running: bool,
    /// By image id.
    refused: BTreeMap<String, ImageRefusal>,
    problem: String,
    /// What is told of the disk.
    pub(super) disk: Option<DiskFacts>,
}

impl Cleaner {
    fn pause(&mut self) {
        self.is_running = false;
        self.due = Some(Instant::now() + Duration::from_millis(IMAGE_LOOK_MS));
    }

    /// Tells of the disk, when it is not nearly as it was: what is told is stored by the server.
    fn tell(&mut self, disk: Option<DiskSpace>, sweep: &ImageSweep) {
        let Some(disk) = disk else { return };
        let new = DiskFacts {
            total: disk.total,
            free: disk.free,
            reclaimable: sweep.reclaimable,
            short: sweep.pressed,
        };
        let step = disk.total / 100;
        let same = self.disk.as_ref().is_some_and(|old| {
            old.total == new.total
                && old.short == new.short
                && old.free.abs_diff(new.free) <= step
                && old.reclaimable.abs_diff(new.reclaimable) <= step
                && (old.reclaimable == 0) == (new.reclaimable == 0)
        });
        if !same {
            self.disk = Some(new);
        }
    }
}

impl<E: Engine, F: Fabric> Reconciler<E, F> {
    /// Begins a look at the images when one is due.
    pub(super) fn begin_cleaning(&mut self) {
        let due = self.cleaner.due.is_none_or(|due| Instant::now() >= due);
        if !due || self.cleaner.is_running || !self.engine_problem.is_empty() {
            return;
        }
        let Some(containers) = &self.containers else { return };
        for container in containers.values().flatten() {
            self.parts.images.used(&container.image_id, &container.image);
        }
        self.cleaner.is_running = true;
        let (engine, book) = (self.parts.engine.clone(), self.parts.images.clone());
        let listed_at = self.parts.clock.now();
        self.looks.spawn(async move {
            book.write().await;
            Look::Shelf(look(&engine, listed_at).await.map_err(|e| api::error::chain(&e)))
        });
    }

    /// Judges what the look came to, and begins the removals.
    pub(super) fn clean(&mut self, found: Result<Shelf, String>) {
        self.cleaner.pause();
        let shelf = match found {
            Ok(shelf) => shelf,
            Err(why) => {
                if self.cleaner.problem != why {
                    tracing::warn!(error = why, "images cannot be looked through");
                    self.cleaner.problem = why;
                }
                return;
            }
        };
        self.cleaner.problem.clear();
        let here: BTreeSet<&str> = shelf.images.iter().map(|image| image.id.as_str()).collect();
        self.parts.images.keep(&here, shelf.listed_at);
        self.cleaner.refused.retain(|id, _| here.contains(id.as_str()));
        let publication = self.parts.publication.borrow().clone();
        let Some(publication) = publication else { return };
        let images: Vec<HostImage> = shelf.images.into_iter().map(host_image).collect();
        let seen = ImagesSeen {
            images: &images,
            uses: &self.parts.images.uses(),
            in_use: &shelf.in_use,
            kept: &kept(&publication),
            disk: shelf.disk.map(|disk| (disk.total, disk.free)),
            refused: &self.cleaner.refused,
        };
        let sweep = control::host::sweep(&seen, self.parts.clock.now());
        self.cleaner.tell(shelf.disk, &sweep);
        let lease = self.parts.lease.now();
        let heard = lease.renewed && lease.unheard_ms.is_some_and(|ms| ms < HOST_LOST_MS);
        if sweep.removals.is_empty() || !heard {
            return;
        }
        self.cleaner.is_running = true;
        let engine = self.parts.engine.clone();
        self.looks.spawn(async move { Look::Swept(remove_all(&engine, sweep.removals).await) });
    }

    /// Notes what came of the removals.
    pub(super) fn cleaned(&mut self, all: Vec<(ImageRemoval, Result<(), String>)>) {
        self.cleaner.pause();
        let now = self.parts.clock.now();
        for (image, result) in all {
            let (id, why) = (image.id, image.why);
            match result {
                Ok(()) => {
                    let names = image.names.join(" ");
                    tracing::info!(image = id, names, bytes = image.size, why, "image removed");
                    self.cleaner.refused.remove(&id);
                }
                Err(error) => {
                    let before = self.cleaner.refused.get(&id);
                    if before.is_none() {
                        tracing::warn!(image = id, error, "image not removed, tried again later");
                    }
                    let refusal = ImageRefusal::after(before, now);
                    self.cleaner.refused.insert(id, refusal);
                }
            }
        }
    }

    /// A look or a sweep ended badly.
    pub(super) fn clean_again(&mut self) {
        if self.cleaner.is_running {
            self.cleaner.pause();
        }
    }
}

async fn look<E: Engine>(engine: &E, listed_at: Timestamp) -> engine::Result<Shelf> {
    let images = engine.images().await?;
    // After the images: one that is in use was there before its container.
    let in_use = engine.images_in_use().await?;
    let disk = match engine.disk().await {
        Ok(disk) => Some(disk),
        Err(error) => {
            tracing::debug!(error = api::error::chain(&error), "disk of docker not looked at");
            None
        }
    };
    Ok(Shelf { listed_at, images, in_use, disk })
}

fn host_image(seen: SeenImage) -> HostImage {
    let SeenImage { id, names, digests, size } = seen;
    HostImage { id, names, digests, size }
}

/// What the publication keeps, and what containers are still to be made from.
fn kept(publication: &Publication) -> BTreeSet<String> {
    let spec = &publication.spec;
    let instances = spec.instances.values().filter(|one| one.goal != Goal::Remove);
    let wanted = instances.flat_map(|one| [Some(&one.container.image), one.image_id.as_ref()]);
    let all = spec.images_kept.iter().chain(wanted.flatten());
    all.map(|image| image_name(image).unwrap_or_else(|| image.clone())).collect()
}

async fn remove_all<E: Engine>(
    engine: &E,
    removals: Vec<ImageRemoval>,
) -> Vec<(ImageRemoval, Result<(), String>)> {
    let mut done = vec![];
    for one in removals {
        let result = remove(engine, &one).await.map_err(|error| api::error::chain(&error));
        done.push((one, result));
    }
    done
}

async fn remove<E: Engine>(engine: &E, image: &ImageRemoval) -> engine::Result<()> {
    if image.names.is_empty() {
        return engine.remove_image(&image.id).await;
    }
    for name in &image.names {
        // The name may have moved on to another image since it was listed.
        let still = engine.image(name).await?.is_some_and(|found| found.id == image.id);
        if still {
            engine.remove_image(name).await?;
        }
    }
    Ok(())
}
