//! The only place that commits decisions: newest state -> plan -> commit, again and again.

use crate::latest::Interest;
use crate::scheduler::Scheduler;
use crate::state::Shared;
use control::audit::Auditor;
use control::cluster::{ClusterPlan, Planner};
use control::placement::external::{Answer, Key};
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
pub(crate) async fn run<S: Store>(shared: Shared<S>, mut scheduler: Option<Scheduler>) {
    crate::presence::begin(&shared).await;
    let mut clusters = shared.follow(Interest::Every);
    let mut compacted = Index(0);
    let mut planner = match &scheduler {
        Some(_) => Planner::with_scheduler(),
        None => Planner::default(),
    };
    let mut auditor = Auditor::default();
    loop {
        let cluster = clusters.take();
        let now = shared.now();
        let mut plan = planner.plan(&cluster, now);
        if let Some(scheduler) = &mut scheduler {
            tell(scheduler, &mut planner, &mut plan);
        }
        if plan.proposals.is_empty() {
            for violation in auditor.follow(&cluster) {
                tracing::error!(?violation, "audit found a violation");
            }
            compacted = compact(&shared, cluster.index(), compacted).await;
            let mut wait = plan.wake_at.map_or(PERIOD, |at| until(at, now)).min(PERIOD);
            if !shared.store_problem().is_empty() {
                look_at_store(&shared, &cluster).await;
                wait = wait.min(PROBE);
            }
            tokio::select! {
                biased;
                () = clusters.changed() => {}
                Some((key, answer)) = next_answer(&mut scheduler) => planner.answer(key, answer),
                () = tokio::time::sleep(wait) => {}
            }
            continue;
        }
        match commit_all(&shared, plan.proposals).await {
            Committed::All => {}
            // What it conflicts with is newer than this state: a plan of the same state would fail
            // the same way.
            Committed::Late => {
                if tokio::time::timeout(PAUSE, clusters.changed()).await.is_err() {
                    tracing::warn!(index = %cluster.index(), "no newer state after a conflict");
                }
            }
            Committed::Trouble => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Gives questions and releases to the external scheduler.
fn tell(scheduler: &mut Scheduler, planner: &mut Planner, plan: &mut ClusterPlan) {
    for body in plan.releases.drain(..) {
        scheduler.release(body);
    }
    for request in plan.asks.drain(..) {
        if let Some((key, answer)) = scheduler.ask(request) {
            planner.answer(key, answer);
        }
    }
}

/// The next answer of the external scheduler; never without one.
async fn next_answer(scheduler: &mut Option<Scheduler>) -> Option<(Key, Answer)> {
    match scheduler {
        Some(scheduler) => scheduler.answer().await,
        None => std::future::pending().await,
    }
}

fn until(at: Timestamp, now: Timestamp) -> Duration {
    // A plan that asks for the present again would spin.
    Duration::from_millis(at.since_ms(now).max(5))
}

/// What came of a plan's proposals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Committed {
    /// All are in the state in memory.
    All,
    /// Some records were changed by somebody else meanwhile.
    Late,
    /// The store is in trouble.
    Trouble,
}

/// Commits the proposals together.
async fn commit_all<S: Store>(shared: &Shared<S>, proposals: Vec<Proposal>) -> Committed {
    let commits = proposals.into_iter().map(|proposal| shared.commit(proposal));
    let mut worst = Committed::All;
    for result in futures_util::future::join_all(commits).await {
        match result {
            Ok(_) => {}
            // Somebody changed a record meanwhile: the next plan rests on the newer state.
            Err(store::Error::Conflict { key }) => {
                tracing::debug!(%key, "plan was late");
                worst = worst.max(Committed::Late);
            }
            Err(error) => {
                tracing::error!(error = api::error::chain(&error), "decision not stored");
                worst = Committed::Trouble;
            }
        }
    }
    worst
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
