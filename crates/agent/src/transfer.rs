//! Images that go from host to host, for those that no registry has: this host gives what it has
//! (`give`) and fetches what it lacks (`fetch`), both through the server, to which it only dials out.

mod archive;
mod depot;
mod fetch;
mod give;
mod layout;

pub(crate) use fetch::{Fetcher, Wanted};
pub(crate) use give::Giver;

use api::image::ImageWant;
use api::stream::{Chunk, Duplex};
use depot::Depot;
use engine::Engine;
use model::limits::{IMAGE_SILENCE_MS_MAX, IMAGE_WANTS_MAX};
use std::path::Path;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Time between two looks at the pieces that nothing needs.
const SWEEP: Duration = Duration::from_secs(60);

/// A question for the server, and where its answer goes.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) want: ImageWant,
    pub(crate) answer: oneshot::Sender<Duplex>,
}

/// The session's end of questions.
#[derive(Debug)]
pub(crate) struct Questions {
    pub(crate) asks: mpsc::Receiver<Ask>,
    /// Is there a session?
    pub(crate) connected: watch::Sender<bool>,
}

/// The way of questions to the server. Clones ask the same one.
#[derive(Clone, Debug)]
pub(crate) struct Asks {
    asks: mpsc::Sender<Ask>,
    connected: watch::Receiver<bool>,
}

/// Both ends.
pub(crate) fn questions() -> (Asks, Questions) {
    let (tx, rx) = mpsc::channel(IMAGE_WANTS_MAX);
    let connected = watch::Sender::new(false);
    let asks = Asks { asks: tx, connected: connected.subscribe() };
    (asks, Questions { asks: rx, connected })
}

impl Asks {
    /// Asks the server; the answer comes as a stream.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn open(&self, want: ImageWant) -> Result<Duplex, String> {
        if !*self.connected.borrow() {
            return Err("there is no session with the server".into());
        }
        let (answer, opened) = oneshot::channel();
        let ask = async {
            let gone = || "the session with the server ended".to_owned();
            self.asks.send(Ask { want, answer }).await.map_err(|_closed| gone())?;
            opened.await.map_err(|_closed| gone())
        };
        let wait = Duration::from_millis(IMAGE_SILENCE_MS_MAX);
        let none = |_elapsed| "the server does not answer questions about images".to_owned();
        tokio::time::timeout(wait, ask).await.map_err(none)?
    }
}

/// The next chunk of an answer.
async fn next(duplex: &mut Duplex) -> Result<Chunk, String> {
    let wait = Duration::from_millis(IMAGE_SILENCE_MS_MAX);
    match tokio::time::timeout(wait, duplex.rx.recv()).await {
        Ok(Some(Chunk::Failed(why))) => Err(why),
        Ok(Some(chunk)) => Ok(chunk),
        Ok(None) => Err("the connection to the server ended".into()),
        Err(_elapsed) => Err(format!("nothing came for {} s", wait.as_secs())),
    }
}

/// Both sides of this host.
pub(crate) fn sides<E: Engine>(engine: &E, dir: &Path, asks: Asks) -> (Giver<E>, Fetcher<E>) {
    let depot = Depot::open(dir.join("transfer"));
    (Giver::new(engine.clone(), depot.clone()), Fetcher::new(engine.clone(), depot, asks))
}

/// Keeps the pieces of images in bounds, for ever.
pub(crate) async fn tidy<E: Engine>(fetcher: Fetcher<E>) {
    let mut due = tokio::time::interval(SWEEP);
    loop {
        due.tick().await;
        fetcher.sweep().await;
    }
}
