//! Watches the engine's events and passes them on as hints; says when it came back, so that
//! everything is looked at again. An engine that hangs keeps its stream open: it is asked too.

use engine::Engine;
use engine::seen::EngineEvent;
use futures_util::StreamExt as _;
use model::limits::ENGINE_PING_PERIOD_MS;
use model::time::Timestamp;
use std::time::Duration;
use tokio::sync::mpsc;

/// Hints queued before the watcher waits.
pub(crate) const HINTS_MAX: usize = 1_024;
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// A reason to look.
#[derive(Debug)]
pub(crate) enum Hint {
    /// Something happened to a container.
    Event(EngineEvent),
    /// The engine answers again: look at everything.
    Back,
    /// The engine does not answer.
    Away(String),
}

/// Watches for ever; ends when nobody wants hints.
pub(crate) async fn watch<E: Engine>(engine: E, hints: mpsc::Sender<Hint>) {
    tokio::join!(follow(engine.clone(), hints.clone()), ask(engine, hints));
}

/// Asks now and then whether it is there. What breaks is seen by its stream; this sees what hangs.
async fn ask<E: Engine>(engine: E, hints: mpsc::Sender<Hint>) {
    let mut hangs = false;
    loop {
        tokio::select! {
            biased;
            () = tokio::time::sleep(Duration::from_millis(ENGINE_PING_PERIOD_MS)) => {}
            () = hints.closed() => return,
        }
        let hint = match engine.ping().await {
            Ok(()) if hangs => Hint::Back,
            Err(error @ engine::Error::Timeout { .. }) => Hint::Away(api::error::chain(&error)),
            Ok(()) | Err(_) => continue,
        };
        hangs = matches!(hint, Hint::Away(_));
        if hints.send(hint).await.is_err() {
            return;
        }
    }
}

async fn follow<E: Engine>(engine: E, hints: mpsc::Sender<Hint>) {
    let mut since: Option<Timestamp> = None;
    let mut retry = RETRY_MIN;
    loop {
        match engine.events(since).await {
            Ok(mut events) => {
                retry = RETRY_MIN;
                // The stream is open before the list is made: nothing falls between.
                if hints.send(Hint::Back).await.is_err() {
                    return;
                }
                while let Some(event) = events.next().await {
                    let Ok(event) = event else { break };
                    since = Some(event.time());
                    if hints.send(Hint::Event(event)).await.is_err() {
                        return;
                    }
                }
                let away = Hint::Away("docker's event stream ended".into());
                if hints.send(away).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                let away = Hint::Away(api::error::chain(&error));
                if hints.send(away).await.is_err() {
                    return;
                }
            }
        }
        tokio::time::sleep(retry).await;
        retry = (retry * 2).min(RETRY_MAX);
    }
}
