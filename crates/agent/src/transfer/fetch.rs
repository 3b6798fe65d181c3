//! What this host fetches from others: the manifest, then each blob that is not here, checked by
//! its digest, and the whole given to Docker. A cut leaves what has come, and the next try goes on
//! from there, with any host that has the image.

use super::depot::Depot;
use super::layout::{self, Proof};
use super::{Asks, archive, next};
use crate::act::Failed;
use api::error::chain;
use api::image::{Blob, ImageFound, ImageManifest, ImageOffer, ImageWant};
use api::stream::{Chunk, Duplex};
use engine::Engine;
use engine::seen::{ImageInfo, PullProgress};
use model::id::{HostId, InstanceId};
use model::limits::{IMAGE_BYTES_MAX, IMAGE_FETCHES_MAX};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

/// Images of this host that are looked at for layers that need not be fetched.
const LOOKED_AT_MAX: usize = 200;
/// Progress is told at most that often.
const TELL: Duration = Duration::from_millis(500);
/// What Docker says when its disk is full.
const NO_SPACE: &str = "no space left on device";

/// The fetching side. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Fetcher<E> {
    engine: E,
    depot: Depot,
    asks: Asks,
    turns: Arc<Semaphore>,
    /// By image: one of those that want the same one fetches it, the others wait.
    same: Arc<Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>>,
}

/// Which image, for which container.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) instance: &'a InstanceId,
    /// Its name in the spec.
    pub(crate) name: &'a str,
    pub(crate) progress: &'a mpsc::Sender<(InstanceId, PullProgress)>,
}

/// Why a try ended.
enum Stop {
    /// It is this host's fault: no other source helps.
    Here(Failed),
    /// There is no room here; nothing of it is to be left.
    Full(String),
    /// Another source may do better.
    There(String),
}

impl From<engine::Error> for Stop {
    fn from(error: engine::Error) -> Self {
        let why = chain(&error);
        if why.to_ascii_lowercase().contains(NO_SPACE) {
            return Self::Full(why);
        }
        Self::Here(error.into())
    }
}

/// A fetch from one host.
struct Way<'a> {
    wanted: Wanted<'a>,
    from: &'a HostId,
    manifest: &'a ImageManifest,
    /// Bytes of all that is fetched, and those that are here.
    total: u64,
    done: u64,
    /// When people were told last how far it is.
    told_at: Option<Instant>,
}

impl Way<'_> {
    /// How far it is, not too often: who tells more makes the server write more.
    fn tell_progress(&mut self, status: String) {
        if self.told_at.is_some_and(|at| at.elapsed() < TELL) {
            return;
        }
        self.told_at = Some(Instant::now());
        self.tell(status);
    }

    fn tell(&self, status: String) {
        let step = PullProgress {
            layer: String::new(),
            current: self.done,
            total: self.total,
            status: format!("from host {}: {status}", self.from),
        };
        // Progress is for people: what does not fit is not missed.
        if self.wanted.progress.try_send((self.wanted.instance.clone(), step)).is_err() {
            tracing::trace!("progress of a transfer not shown");
        }
    }

    fn want(&self, digest: &str, offset: u64) -> ImageWant {
        ImageWant::Blob {
            instance: self.wanted.instance.clone(),
            image: self.manifest.id.clone(),
            from: self.from.clone(),
            digest: digest.to_owned(),
            offset,
        }
    }
}

impl<E: Engine> Fetcher<E> {
    pub(crate) fn new(engine: E, depot: Depot, asks: Asks) -> Self {
        let turns = Arc::new(Semaphore::new(IMAGE_FETCHES_MAX));
        Self { engine, depot, asks, turns, same: Arc::default() }
    }

    pub(crate) async fn sweep(&self) {
        self.depot.sweep().await;
        let mut same = self.same.lock().unwrap_or_else(PoisonError::into_inner);
        same.retain(|_, lock| Arc::strong_count(lock) > 1);
    }

    /// Which hosts have the image that the spec of this host names for a container.
    ///
    /// # Errors
    /// Why nobody could be asked.
    pub(crate) async fn find(&self, instance: &InstanceId) -> Result<ImageFound, String> {
        let want = ImageWant::Find { instance: instance.clone() };
        let mut answer = self.asks.open(want).await?;
        json(&mut answer, |_text| {}).await
    }

    /// Has an image here that other hosts have.
    ///
    /// # Errors
    /// Why none of them could give it.
    pub(crate) async fn fetch(
        &self,
        wanted: Wanted<'_>,
        offers: &[(HostId, ImageOffer)],
    ) -> Result<ImageInfo, Failed> {
        let machine = self.engine.info().await?.architecture;
        let (fit, unfit): (Vec<_>, Vec<_>) =
            offers.iter().partition(|(_, offer)| layout::runs(&machine, &offer.architecture));
        if let (true, Some((host, offer))) = (fit.is_empty(), unfit.first()) {
            let why = format!(
                "image {} on host {host} is for {}/{}, and this host is {}/{}: build it for that, \
                 or keep the service on hosts that fit",
                wanted.name,
                offer.os,
                offer.architecture,
                offer.os,
                layout::platform(&machine),
            );
            return Err(Failed { why, permanent: true });
        }
        let mut troubles = vec![];
        for (host, offer) in fit {
            let lock = {
                let mut same = self.same.lock().unwrap_or_else(PoisonError::into_inner);
                Arc::clone(same.entry(offer.id.clone()).or_default())
            };
            let _alone = lock.lock().await;
            if let Some(here) = self.engine.image(&offer.id).await? {
                return Ok(here);
            }
            let turn = self.turns.acquire().await;
            let _turn = turn.map_err(|e| Failed { why: e.to_string(), permanent: false })?;
            match self.fetch_from(wanted, host, offer).await {
                Ok(info) => return Ok(info),
                Err(Stop::Here(failed)) => return Err(failed),
                Err(Stop::Full(why)) => return Err(Failed { why, permanent: false }),
                Err(Stop::There(why)) => {
                    tracing::warn!(image = wanted.name, %host, error = why, "image not fetched");
                    troubles.push(format!("host {host}: {why}"));
                }
            }
        }
        let why = format!("image {} could not be fetched: {}", wanted.name, troubles.join("; "));
        Err(Failed { why, permanent: false })
    }

    async fn fetch_from(
        &self,
        wanted: Wanted<'_>,
        from: &HostId,
        offer: &ImageOffer,
    ) -> Result<ImageInfo, Stop> {
        let want = ImageWant::Manifest {
            instance: wanted.instance.clone(),
            image: offer.id.clone(),
            from: from.clone(),
        };
        let mut answer = self.asks.open(want).await.map_err(Stop::There)?;
        let none = ImageManifest::default();
        let say = Way { wanted, from, manifest: &none, total: 0, done: 0, told_at: None };
        let manifest: ImageManifest =
            json(&mut answer, |text| say.tell(text)).await.map_err(Stop::There)?;
        layout::check(&manifest).map_err(Stop::There)?;
        if manifest.id != offer.id {
            return Err(Stop::There(format!("it gave {} for {}", manifest.id, offer.id)));
        }
        let hold = self.depot.hold(manifest.blobs().map(|blob| blob.digest.as_str()));
        let mut way = Way { wanted, from, manifest: &manifest, total: 0, done: 0, told_at: None };
        let result = self.bring(&mut way, offer).await;
        drop(hold);
        if matches!(result, Ok(_) | Err(Stop::Full(_))) {
            // What is in Docker is not needed twice, and a full disk is not kept full.
            self.depot.remove(manifest.blobs().map(|blob| blob.digest.as_str())).await;
        }
        result
    }

    async fn bring(&self, way: &mut Way<'_>, offer: &ImageOffer) -> Result<ImageInfo, Stop> {
        let manifest = way.manifest;
        let proof = self.proof(way).await?;
        let mut skipped = match manifest.documents.is_empty() {
            true => layout::shared_layers(&proof.diff_ids, &self.layers_here().await?),
            false => 0,
        };
        loop {
            let layers = manifest.layers.get(skipped..).unwrap_or_default();
            self.make_room(way, layers, offer).await?;
            for (n, blob) in layers.iter().enumerate() {
                self.blob(way, blob, n + 1 + skipped).await?;
            }
            way.tell("docker takes it in".into());
            let members = layout::members(manifest, proof.is_index, skipped);
            let archive = archive::compose(&self.depot, members);
            match self.engine.load_image(archive).await {
                // A layer that was here may have gone meanwhile.
                Err(error) if skipped > 0 && !error.is_transient() => {
                    tracing::info!(%error, "image is fetched with all of its layers");
                    skipped = 0;
                }
                result => break result?,
            }
        }
        let info = self.engine.image(&manifest.id).await?.ok_or_else(|| {
            let why = format!(
                "docker took image {} in under another id: it keeps images in another kind of \
                 store than docker on host {} (overlay2, containerd); use one kind on all hosts, \
                 or a registry",
                way.wanted.name, way.from
            );
            Stop::Here(Failed { why, permanent: true })
        })?;
        tracing::info!(image = way.wanted.name, host = %way.from, "image fetched from another host");
        self.give_name(way.wanted.name, &info).await?;
        Ok(info)
    }

    /// The name goes to the image, unless a newer one has it.
    async fn give_name(&self, name: &str, info: &ImageInfo) -> Result<(), Stop> {
        if name.contains('@') || name.starts_with("sha256:") {
            return Ok(());
        }
        let second = |created: &str| created.get(..19).unwrap_or_default().to_owned();
        let other = self.engine.image(name).await?.filter(|other| other.id != info.id);
        if other.is_none_or(|other| second(&other.created) < second(&info.created)) {
            self.engine.tag_image(&info.id, name).await?;
        }
        Ok(())
    }

    /// Fetches the configuration and what leads to it from the id, and checks the way.
    async fn proof(&self, way: &mut Way<'_>) -> Result<Proof, Stop> {
        let mut documents = BTreeMap::new();
        for blob in way.manifest.documents.iter().chain([&way.manifest.config]) {
            way.total = 0;
            self.blob(way, blob, 0).await?;
            let text = async {
                let mut file = self.depot.read(&blob.digest, 0).await?;
                let mut text = vec![];
                tokio::io::AsyncReadExt::read_to_end(&mut file, &mut text).await?;
                Ok::<_, std::io::Error>(text)
            };
            let text = text.await.map_err(|e| self.disk(&e))?;
            documents.insert(blob.digest.clone(), text);
        }
        layout::prove(way.manifest, &documents).map_err(Stop::There)
    }

    /// The layers of the images of this host.
    async fn layers_here(&self) -> Result<Vec<Vec<String>>, Stop> {
        let mut all = vec![];
        for image in self.engine.images().await?.into_iter().take(LOOKED_AT_MAX) {
            all.extend(self.engine.image(&image.id).await?.map(|info| info.layers));
        }
        Ok(all)
    }

    /// Is there room for what is to come: on the agent's disk, and twice on Docker's, which keeps
    /// a copy while it takes it in?
    async fn make_room(
        &self,
        way: &mut Way<'_>,
        layers: &[Blob],
        offer: &ImageOffer,
    ) -> Result<(), Stop> {
        let (mut total, mut here) = (0_u64, 0_u64);
        for blob in layers {
            total += blob.size;
            here += self.depot.here(blob).await;
        }
        (way.total, way.done) = (total, here);
        let lacks = |what: &str, needed: u64, free: u64| {
            Stop::Full(format!(
                "there is no room for image {} ({} MiB): {} MiB are needed {what}, {} are free; \
                 make room, or keep the service on other hosts",
                way.wanted.name,
                offer.size.max(total) >> 20,
                needed >> 20,
                free >> 20
            ))
        };
        let missing = total.saturating_sub(here);
        if let Some(room) = self.depot.room().await
            && room < missing
        {
            let what = format!("in {}", self.depot.dir().display());
            return Err(lacks(&what, missing, room));
        }
        let disk = self.engine.disk().await?;
        let needed = total.saturating_mul(2).min(IMAGE_BYTES_MAX);
        if disk.total > 0 && disk.free < needed {
            return Err(lacks("on docker's disk", needed, disk.free));
        }
        Ok(())
    }

    fn disk(&self, error: &std::io::Error) -> Stop {
        let dir = self.depot.dir().display();
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                Stop::Full(format!("a part of an image cannot be kept in {dir}: {NO_SPACE}"))
            }
            _ => {
                let why = format!("a part of an image cannot be kept in {dir}: {error}");
                Stop::Here(Failed { why, permanent: false })
            }
        }
    }

    /// Has a blob in the depot.
    async fn blob(&self, way: &mut Way<'_>, blob: &Blob, layer: usize) -> Result<(), Stop> {
        if self.depot.has(blob).await {
            return Ok(());
        }
        let mut writer = self.depot.resume(blob).await.map_err(|e| self.disk(&e))?;
        let mut trouble = None;
        if writer.len < blob.size {
            let want = way.want(&blob.digest, writer.len);
            let mut answer = self.asks.open(want).await.map_err(Stop::There)?;
            let of = way.manifest.layers.len();
            loop {
                match next(&mut answer).await {
                    Ok(Chunk::Out { bytes, .. }) => {
                        if writer.len + bytes.len() as u64 > blob.size {
                            trouble = Some(format!("it sent more than {} bytes", blob.size));
                            break;
                        }
                        writer.write(&bytes).await.map_err(|e| self.disk(&e))?;
                        way.done += bytes.len() as u64;
                        if layer > 0 {
                            way.tell_progress(format!("layer {layer} of {of}"));
                        }
                    }
                    Ok(Chunk::Text(text)) => way.tell(text),
                    Ok(Chunk::End) => break,
                    Ok(_) => {}
                    Err(why) => {
                        trouble = Some(why);
                        break;
                    }
                }
            }
        }
        if writer.len < blob.size {
            let why = trouble.unwrap_or_else(|| "it broke off".to_owned());
            writer.pause().await.map_err(|e| self.disk(&e))?;
            return Err(Stop::There(why));
        }
        let finished = self.depot.finish(writer, Some(&blob.digest)).await;
        let digest = finished.map_err(|e| self.disk(&e))?;
        if digest != blob.digest {
            return Err(Stop::There(format!("what it sent for {} is {digest}", blob.digest)));
        }
        Ok(())
    }
}

/// The JSON document of an answer.
async fn json<T: serde::de::DeserializeOwned>(
    answer: &mut Duplex,
    tell: impl Fn(String),
) -> Result<T, String> {
    loop {
        match next(answer).await? {
            Chunk::Json(bytes) => {
                return serde_json::from_slice(&bytes).map_err(|e| format!("its answer: {e}"));
            }
            Chunk::Text(text) => tell(text),
            Chunk::End => return Err("its answer is empty".into()),
            _ => {}
        }
    }
}
