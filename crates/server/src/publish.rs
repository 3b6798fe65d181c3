//! Keeps the publication of every connected host equal to the cluster. One loop for all hosts: what
//! is the same for all of them is derived once, what a change cannot have touched is not derived
//! again, and only what changed goes out. A few go out at once, and what changes all the
//! time goes out together.

use crate::hosts::Session;
use crate::latest::Interest;
use crate::state::Shared;
use api::link::Publication;
use api::pace::Pace;
use control::publish::{Published, Publisher};
use model::cluster::Cluster;
use model::id::HostId;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio::time::Instant;

/// Publications go out one each window, but for so many at once: what comes between is gathered.
const WINDOW: Duration = Duration::from_millis(5);
const AT_ONCE: u32 = 8;
/// Everything is derived again at least this often, whatever the events say.
const PERIOD: Duration = Duration::from_secs(10);

/// Publishes for ever.
pub(crate) async fn run<S: Store>(shared: Shared<S>) {
    let mut clusters = shared.follow(Interest::Published);
    let mut publisher = Publisher::default();
    let mut whole_at = Instant::now();
    let mut pace = Pace::new(WINDOW, AT_ONCE);
    loop {
        let arrived = shared.hosts.arrived();
        let began = Instant::now();
        let cluster = clusters.take();
        if cluster.environment().is_some() {
            let whole = began >= whole_at;
            if whole {
                whole_at = began + PERIOD;
            }
            let sessions = shared.hosts.sessions();
            publisher.follow(&cluster, sessions.keys(), whole);
            publish(&cluster, &shared.epoch.to_string(), &publisher, &sessions);
        }
        // A cluster that takes long to derive is derived less often.
        tokio::time::sleep(pace.went(began).max(began.elapsed())).await;
        tokio::select! {
            biased;
            () = clusters.changed() => {}
            () = arrived => {}
            () = tokio::time::sleep_until(whole_at) => {}
        }
    }
}

fn publish(
    cluster: &Cluster,
    epoch: &str,
    publisher: &Publisher,
    sessions: &BTreeMap<HostId, Session>,
) {
    for (host, session) in sessions {
        let Some(Published { spec, view }) = publisher.of(host) else { continue };
        session.publish.send_if_modified(|last| {
            let same = last
                .as_ref()
                .is_some_and(|last| Arc::ptr_eq(&last.spec, spec) && Arc::ptr_eq(&last.view, view));
            if !same {
                let (spec, view) = (Arc::clone(spec), Arc::clone(view));
                *last = Some(Arc::new(Publication { epoch: epoch.to_owned(), spec, view }));
            }
            !same
        });
        session.published(cluster.index());
    }
}
