//! The only place that commits decisions: newest state -> plan -> commit, again and again.

use crate::state::Shared;
use model::change::{Change, Edit, Proposal};
use model::cluster::Cluster;
use model::record::Record;
use model::time::{Index, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use store::Store;

/// Pause after the store refused, so that a full disk is not hammered.
const PAUSE: Duration = Duration::from_millis(500);
/// The store is tried again this often while it is in trouble.
const PROBE: Duration = Duration::from_secs(4);
/// The plan is made at least this often, whatever the events say.
const PERIOD: Duration = Duration::from_secs(10);
/// Changes between two compactions of the store's history.
const COMPACT_EVERY: u64 = 2_000;
/// Changes of history kept for events and watchers.
const HISTORY: u64 = 20_000;

/// Plans and commits for ever.
pub(crate) async fn run<S: Store>(shared: Shared<S>) {
    let mut clusters = shared.subscribe();
    let mut compacted = Index(0);
    let mut planner = control::cluster::Planner::default();
    loop {
        let cluster = Arc::clone(&clusters.borrow_and_update());
        let now = shared.now();
        let plan = planner.plan(&cluster, now);
        if plan.proposals.is_empty() {
            for violation in control::audit::audit(&cluster) {
                tracing::error!(?violation, "audit found a violation");
            }
            compacted = compact(&shared, cluster.index(), compacted).await;
            let mut wait = plan.wake_at.map_or(PERIOD, |at| until(at, now)).min(PERIOD);
            if !shared.store_problem().is_empty() {
                look_at_store(&shared, &cluster).await;
                wait = wait.min(PROBE);
            }
            tokio::select! {
                changed = clusters.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(wait) => {}
            }
            continue;
        }
        if !commit_all(&shared, plan.proposals).await {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn until(at: Timestamp, now: Timestamp) -> Duration {
    // A plan that asks for the present again would spin.
    Duration::from_millis(at.since_ms(now).max(5))
}

/// Commits the proposals together; false when the store is in trouble.
async fn commit_all<S: Store>(shared: &Shared<S>, proposals: Vec<Proposal>) -> bool {
    let commits = proposals.into_iter().map(|proposal| shared.commit(proposal));
    let mut well = true;
    for result in futures_util::future::join_all(commits).await {
        match result {
            Ok(_) => {}
            // Somebody changed a record meanwhile: the next plan rests on the newer state.
            Err(store::Error::Conflict { key }) => tracing::debug!(%key, "plan was late"),
            Err(error) => {
                tracing::error!(error = api::error::chain(&error), "decision not stored");
                well = false;
            }
        }
    }
    well
}

/// Writes a record again as it is: nothing else would tell that the store is well again.
async fn look_at_store<S: Store>(shared: &Shared<S>, cluster: &Cluster) {
    let Some(environment) = cluster.environment() else { return };
    let edits = vec![Edit::Put(Record::Environment(Arc::clone(environment)))];
    match shared.commit(Proposal { reads: vec![], change: Change { edits } }).await {
        Ok(_) => tracing::info!("the store takes writes again"),
        Err(error) => tracing::debug!(error = api::error::chain(&error), "store still in trouble"),
    }
}

/// Forgets history that nobody needs any more.
async fn compact<S: Store>(shared: &Shared<S>, index: Index, last: Index) -> Index {
    if index.0 < last.0 + COMPACT_EVERY {
        return last;
    }
    let keep_from = Index(index.0.saturating_sub(HISTORY));
    if let Err(error) = shared.store.compact(keep_from).await {
        tracing::warn!(error = api::error::chain(&error), "history not compacted");
    }
    index
}
