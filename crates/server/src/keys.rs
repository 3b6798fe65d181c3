//! Gives the order to make new keys when those that are used have grown old.

use crate::latest::Interest;
use crate::state::Shared;
use control::operate::network::{keys_due, next_keys};
use model::change::{Change, Edit, Proposal};
use model::host::Environment;
use model::record::{Record, RecordKey};
use std::sync::Arc;
use std::time::Duration;
use store::Store;

/// Longest time between two looks: the clock may be set.
const PERIOD: Duration = Duration::from_secs(3_600);
/// Pause after the store refused.
const PAUSE: Duration = Duration::from_secs(10);

/// Looks for ever.
pub(crate) async fn run<S: Store>(shared: Shared<S>) {
    let mut clusters = shared.follow(Interest::Published);
    loop {
        let cluster = clusters.take();
        let (now, known) = (shared.now(), cluster.environment().cloned());
        let due = known.as_ref().and_then(|environment| keys_due(environment));
        let wait = match (due, known) {
            (Some(at), Some(environment)) if at <= now => {
                let keys = next_keys(environment.keys, now);
                let next = Environment { keys, ..(*environment).clone() };
                let key = RecordKey::Environment;
                let proposal = Proposal {
                    reads: vec![(key.clone(), cluster.modified(&key))],
                    change: Change { edits: vec![Edit::Put(Record::Environment(Arc::new(next)))] },
                };
                match shared.commit(proposal).await {
                    Ok(_) => tracing::info!(order = keys.number, "hosts are told to make new keys"),
                    Err(error) => tracing::warn!(%error, "order of new keys not stored"),
                }
                PAUSE
            }
            (Some(at), _) => Duration::from_millis(at.since_ms(now)).min(PERIOD),
            (None, _) => PERIOD,
        };
        tokio::select! {
            biased;
            () = clusters.changed() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}
