//! What this host gives to others: whether it has an image, what that is made of, and its blobs.
//! Docker writes an image out as a whole; it is kept in the depot for as long as somebody asks.

use super::archive;
use super::depot::Depot;
use api::error::chain;
use api::image::{ImageManifest, ImageOffer};
use api::stream::Chunk;
use bytes::Bytes;
use engine::Engine;
use model::limits::{IMAGE_CHUNK_BYTES, IMAGE_SERVES_MAX};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::sync::{Semaphore, mpsc};

/// Who waits is told that often that it goes on.
const TELL: Duration = Duration::from_secs(2);
/// Images whose parts are remembered.
const KNOWN_MAX: usize = 64;

/// The giving side. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Giver<E> {
    engine: E,
    depot: Depot,
    /// What was written out, by id.
    known: Arc<Mutex<BTreeMap<String, ImageManifest>>>,
    /// One image is written out at a time.
    turn: Arc<tokio::sync::Mutex<()>>,
    serves: Arc<Semaphore>,
}

/// Does the work, and says all the time that it goes on.
async fn telling<T>(
    tx: &mpsc::Sender<Chunk>,
    what: &str,
    work: impl Future<Output = T>,
) -> Result<T, String> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            () = tokio::time::sleep(TELL) => {
                let told = tx.send(Chunk::Text(what.to_owned())).await;
                told.map_err(|_closed| "nobody waits for it any more".to_owned())?;
            }
        }
    }
}

impl<E: Engine> Giver<E> {
    pub(crate) fn new(engine: E, depot: Depot) -> Self {
        let serves = Arc::new(Semaphore::new(IMAGE_SERVES_MAX));
        Self { engine, depot, known: Arc::default(), turn: Arc::default(), serves }
    }

    /// The image of this name and id, either of them empty for any, when it is here.
    pub(crate) async fn look(&self, name: &str, id: &str) -> Result<Option<ImageOffer>, String> {
        let found = self.engine.image(if name.is_empty() { id } else { name }).await;
        let found = found.map_err(|e| chain(&e))?;
        let found = found.filter(|found| id.is_empty() || found.id == id);
        Ok(found.map(|found| ImageOffer {
            id: found.id,
            digests: found.digests,
            os: found.os,
            architecture: found.architecture,
            created: found.created,
            size: found.size,
        }))
    }

    /// What an image is made of, which is in the depot then.
    pub(crate) async fn manifest(
        &self,
        name: &str,
        id: &str,
        tx: &mpsc::Sender<Chunk>,
    ) -> Result<ImageManifest, String> {
        let offer = self.look(name, id).await?;
        let offer = offer.ok_or_else(|| format!("image {id} is not here any more"))?;
        if let Some(known) = self.whole(id).await {
            return Ok(known);
        }
        telling(tx, "the image is got ready", async {
            let _turn = self.turn.lock().await;
            if let Some(known) = self.whole(id).await {
                return Ok(known);
            }
            self.write_out(id, offer.size).await
        })
        .await?
    }

    /// What is known of an image that is in the depot whole.
    async fn whole(&self, id: &str) -> Option<ImageManifest> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()?;
        for blob in known.blobs() {
            if !self.depot.has(blob).await {
                return None;
            }
        }
        Some(known)
    }

    async fn write_out(&self, id: &str, size: u64) -> Result<ImageManifest, String> {
        let failed = |why: String| format!("image {id} cannot be written out: {why}");
        if let Some(room) = self.depot.room().await
            && room < size
        {
            let dir = self.depot.dir().display();
            return Err(failed(format!("{size} bytes are needed in {dir}, {room} are free")));
        }
        let archive = self.engine.save_image(id).await.map_err(|e| chain(&e))?;
        let archive = archive::keep(&self.depot, archive).await.map_err(failed)?;
        let manifest = archive.manifest(id).map_err(failed)?;
        tracing::info!(image = id, "image written out for another host");
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(id.to_owned(), manifest.clone());
        Ok(manifest)
    }

    /// Sends a blob of an image from `offset` on.
    pub(crate) async fn blob(
        &self,
        name: &str,
        id: &str,
        digest: &str,
        offset: u64,
        tx: &mpsc::Sender<Chunk>,
    ) -> Result<(), String> {
        let manifest = self.manifest(name, id, tx).await?;
        if !manifest.blobs().any(|blob| blob.digest == digest) {
            return Err(format!("image {id} has no part {digest}"));
        }
        let _hold = self.depot.hold([digest].into_iter());
        let waits = telling(tx, "other hosts are served first", self.serves.acquire()).await?;
        let _turn = waits.map_err(|e| e.to_string())?;
        let broken = |e: std::io::Error| format!("part {digest} cannot be read: {e}");
        let mut file = self.depot.read(digest, offset).await.map_err(broken)?;
        loop {
            let mut piece = vec![0; IMAGE_CHUNK_BYTES];
            let n = file.read(&mut piece).await.map_err(broken)?;
            if n == 0 {
                return Ok(());
            }
            piece.truncate(n);
            let chunk = Chunk::Out { stderr: false, bytes: Bytes::from(piece) };
            if tx.send(chunk).await.is_err() {
                return Ok(());
            }
        }
    }
}
