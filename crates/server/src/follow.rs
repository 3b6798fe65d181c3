//! The one way that state in memory moves: changes as the store's watch delivers them.

use crate::state::Shared;
use model::change::Edit;
use model::record::{Record, Rollout};
use model::time::{Index, Timestamp};
use std::time::Duration;
use store::{Store, Watch, WatchEnd, codec};

/// Pause before a broken watch is taken up again.
const RETRY: Duration = Duration::from_millis(200);

/// Applies every change from the state in memory on, for ever. History before it is told to
/// `events` first, so that a restart forgets nothing that the store still knows.
pub(crate) async fn run<S: Store>(shared: Shared<S>) {
    replay(&shared).await;
    shared.events.replay_done();
    loop {
        let from = shared.cluster().index();
        let watch = match shared.store.watch(codec::keys(), from, shared.epoch).await {
            Ok(watch) => watch,
            Err(error) => {
                tracing::error!(error = api::error::chain(&error), "watch of the store failed");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        match follow(&shared, watch).await {
            WatchEnd::Compacted { .. } | WatchEnd::Lagged { .. } => {
                match codec::cluster(&shared.store).await {
                    Ok((cluster, _)) => {
                        tracing::warn!(index = %cluster.index(), "watch was late, state loaded anew");
                        shared.advance(cluster, true);
                    }
                    Err(error) => {
                        tracing::error!(
                            error = api::error::chain(&error),
                            "state cannot be loaded"
                        );
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
            end => {
                tracing::error!(?end, "watch of the store ended");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn follow<S: Store>(shared: &Shared<S>, mut watch: Watch) -> WatchEnd {
    loop {
        let event = match watch.next().await {
            Ok(event) => event,
            Err(end) => return end,
        };
        match codec::decode(&event) {
            Ok(decoded) => {
                let mut cluster = (*shared.cluster()).clone();
                cluster.apply(decoded.index, &decoded.change());
                tell(shared, &decoded.edits, decoded.index, shared.now());
                let mut edits = decoded.edits.iter();
                let relevant =
                    edits.any(|(before, edit)| control::publish::concerns(before.as_ref(), edit));
                shared.advance(cluster, relevant);
            }
            // A record that cannot be read would be skipped at a start as well; say so and go on.
            Err(error) => {
                tracing::error!(error = api::error::chain(&error), "change cannot be read");
            }
        }
    }
}

fn tell<S: Store>(
    shared: &Shared<S>,
    edits: &[(Option<Record>, Edit)],
    index: Index,
    at: Timestamp,
) {
    let events = edits.iter().filter_map(|(prev, edit)| {
        let next = match edit {
            Edit::Put(record) => Some(record),
            Edit::Delete(_) => None,
        };
        control::events::describe(prev.as_ref(), next, index, at)
    });
    shared.events.push(index, events);
}

/// Tells `events` what the store still knows of the time before the start.
async fn replay<S: Store>(shared: &Shared<S>) {
    let until = shared.cluster().index();
    let from = shared.store.status().await.compacted;
    shared.events.begin(from);
    let mut watch = match shared.store.watch(codec::keys(), from, shared.epoch).await {
        Ok(watch) => watch,
        Err(error) => {
            tracing::warn!(error = api::error::chain(&error), "earlier events cannot be read");
            return;
        }
    };
    let mut at = Timestamp(0);
    // The state in memory is at `until`, so that the store has an event at that index or none left.
    while watch.after() < until {
        let next = tokio::time::timeout(RETRY, watch.next()).await;
        let Ok(Ok(event)) = next else { return };
        if event.index > until {
            return;
        }
        let Ok(decoded) = codec::decode(&event) else { continue };
        let times = decoded.edits.iter().filter_map(|(_, edit)| time_of(edit));
        at = times.max().unwrap_or(at).max(at);
        tell(shared, &decoded.edits, decoded.index, at);
    }
}

/// When a record says it was written; the log itself keeps no time.
fn time_of(edit: &Edit) -> Option<Timestamp> {
    let Edit::Put(record) = edit else { return None };
    Some(match record {
        Record::Stack(stack) => stack.created_at,
        Record::Service(service) => service.created_at,
        Record::Revision(revision) => revision.created_at,
        Record::Instance(instance) => instance.goal_at.max(instance.placed_at),
        Record::InstanceStatus(_, status) => status.changed_at,
        Record::Host(host) => host.changed_at,
        Record::Token(token) => token.created_at,
        Record::ServiceStatus(status) => match &status.rollout {
            Rollout::Done => return None,
            Rollout::Running { since, .. } | Rollout::Finishing { since, .. } => *since,
            Rollout::Failed { at, .. } => *at,
        },
        Record::Floating(floating) => floating.holder.as_ref()?.since,
        Record::CheckState(state) => state.changed_at,
        Record::ClientCheck(check) => check.since,
        Record::Environment(_)
        | Record::Plain(..)
        | Record::Attachment(_)
        | Record::ClientNode(_)
        | Record::ClientService(_)
        | Record::Query(_) => return None,
    })
}
