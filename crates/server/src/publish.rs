//! Keeps what every connected host is told equal to the cluster. One loop for all hosts: what changed
//! is derived once and told to those whom it concerns. A few go out at once, and what
//! changes all the time goes out together. A host that comes back is told what it lacks; the whole is
//! made for a few hosts at a time.

use crate::hosts::{Calls, Session};
use crate::latest::Interest;
use crate::state::Shared;
use api::link::{Mark, Publication, PublicationDelta};
use api::pace::Pace;
use control::publish::{News, Published, Publisher};
use model::cluster::Cluster;
use model::id::HostId;
use model::limits::LINK_WHOLES_MAX;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Publications go out one each window, but for so many at once: what comes between is gathered.
const WINDOW: Duration = Duration::from_millis(5);
const AT_ONCE: u32 = 8;
/// Hosts that are gone are forgotten this often.
const TIDY: Duration = Duration::from_secs(10);

/// Publishes for ever.
pub(crate) async fn run<S: Store>(shared: Shared<S>) {
    let mut clusters = shared.follow(Interest::Published);
    let mut works = Works {
        run: shared.started.0,
        publisher: Publisher::default().with_secret(crate::floating::secret(&shared.authority)),
        troubles: BTreeMap::new(),
        wanting: BTreeSet::new(),
        given: None,
        permits: Arc::new(Semaphore::new(LINK_WHOLES_MAX)),
        shared,
    };
    let mut tidy_at = Instant::now() + TIDY;
    let mut pace = Pace::new(WINDOW, AT_ONCE);
    loop {
        let began = Instant::now();
        let cluster = clusters.take();
        if cluster.environment().is_some() {
            works.round(&cluster);
        }
        if began >= tidy_at {
            tidy_at = began + TIDY;
            works.tidy(&cluster);
        }
        // A cluster that takes long to derive is derived less often.
        tokio::time::sleep(pace.went(began).max(began.elapsed())).await;
        tokio::select! {
            biased;
            () = clusters.changed() => {}
            () = works.shared.hosts.called() => {}
            () = works.may_go_on() => {}
            () = tokio::time::sleep_until(tidy_at) => {}
        }
    }
}

struct Works<S> {
    shared: Shared<S>,
    /// Tells the serials of this run from those of others.
    run: i64,
    publisher: Publisher,
    /// What keeps services from being exposed, as it was told last.
    troubles: BTreeMap<String, String>,
    /// Hosts whose sessions need the whole.
    wanting: BTreeSet<HostId>,
    /// The host that was given one last.
    given: Option<HostId>,
    permits: Arc<Semaphore>,
}

impl<S: Store> Works<S> {
    fn round(&mut self, cluster: &Cluster) {
        let Calls { begun, wholes, asked } = self.shared.hosts.calls();
        begun.iter().for_each(|host| self.publisher.attend(host));
        for (host, names) in asked {
            self.publisher.ask(&host, names);
        }
        for (host, news) in self.publisher.follow(cluster) {
            let session = self.shared.hosts.session(&host);
            // One that has just begun hears of it with all that it lacks.
            if let Some(session) = session.filter(Session::is_told) {
                self.tell(host, &session, news);
            }
        }
        for host in begun {
            if let Some(session) = self.shared.hosts.session(&host) {
                self.begin(host, &session);
            }
        }
        if let Some(troubles) = self.publisher.exposure_troubles() {
            let (index, now) = (cluster.index(), self.shared.now());
            let told = control::events::of_exposure(&self.troubles, &troubles, index, now);
            self.shared.events.push(index, told);
            self.troubles = troubles;
        }
        self.wanting.extend(wholes);
        self.give_wholes();
        self.shared.hosts.published(cluster.index());
    }

    fn tell(&mut self, host: HostId, session: &Session, news: News) {
        let said = match news {
            News::Delta(from, delta, to) => {
                session.tell(to.generation);
                session.outbox.push(self.delta(from.serial, to.serial, (*delta).clone()))
            }
            News::Whole => {
                session.outbox.want_whole();
                false
            }
        };
        if !said {
            self.want(host, session);
        }
    }

    /// The lease of a host that waits for the whole waits for it as well.
    fn want(&mut self, host: HostId, session: &Session) {
        if let Some(marks) = self.publisher.marks(&host) {
            session.tell(marks.generation);
        }
        self.wanting.insert(host);
    }

    fn delta(&self, from: u64, to: u64, delta: model::delta::Delta) -> PublicationDelta {
        PublicationDelta { epoch: self.shared.epoch.to_string(), run: self.run, from, to, delta }
    }

    /// A session has begun: it is told what its agent lacks.
    fn begin(&mut self, host: HostId, session: &Session) {
        let Some(marks) = self.publisher.marks(&host) else { return };
        let epoch = self.shared.epoch.to_string();
        let known = session.known.as_ref();
        let known = known.filter(|known| known.epoch == epoch && known.mark.run == self.run);
        let lacks = known.and_then(|known| {
            let serial = known.mark.serial;
            Some((serial, self.publisher.since(&host, serial)?))
        });
        let said = lacks.is_some_and(|(serial, delta)| {
            session.tell(marks.generation);
            session.outbox.push(self.delta(serial, marks.serial, delta))
        });
        if !said {
            session.outbox.want_whole();
            self.want(host, session);
        }
    }

    /// Makes the whole for as many as may have it now.
    fn give_wholes(&mut self) {
        while let Some(host) = next_after(&self.wanting, self.given.as_ref()).cloned() {
            let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else { return };
            self.wanting.remove(&host);
            self.given = Some(host.clone());
            let Some(session) = self.shared.hosts.session(&host) else { continue };
            let whole = self.publisher.whole(&host).zip(self.publisher.marks(&host));
            let Some((Published { spec, view }, marks)) = whole else { continue };
            let mark = Mark { run: self.run, serial: marks.serial };
            let epoch = self.shared.epoch.to_string();
            session.tell(marks.generation);
            session.outbox.put(Arc::new(Publication { epoch, mark, spec, view }), Some(permit));
        }
    }

    /// Ends when another whole may be made, if one is wanted.
    async fn may_go_on(&self) {
        if self.wanting.is_empty() || self.permits.acquire().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Forgets hosts that are no more, and have no session.
    fn tidy(&mut self, cluster: &Cluster) {
        let hosts = &self.shared.hosts;
        let is_there = |host: &HostId| cluster.host(host).is_some();
        self.publisher.retain(|host| is_there(host) || hosts.session(host).is_some());
    }
}

/// Whose turn it is. They go round: agents that know no deltas want the whole after each change, and
/// the first of them must not keep the last ones waiting for ever.
fn next_after<'a>(wanting: &'a BTreeSet<HostId>, given: Option<&HostId>) -> Option<&'a HostId> {
    let behind = given.and_then(|given| wanting.range((Excluded(given), Unbounded)).next());
    behind.or_else(|| wanting.first())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wholes_go_round_though_the_first_ones_want_another_at_once() {
        let hosts: Vec<HostId> = ["a", "b", "c", "d"].map(|id| id.parse().unwrap()).into();
        let wanting: BTreeSet<HostId> = hosts.iter().cloned().collect();
        let mut given: Option<HostId> = None;
        for host in hosts.iter().chain(&hosts) {
            given = next_after(&wanting, given.as_ref()).cloned();
            assert_eq!(given.as_ref(), Some(host));
        }
        let some: BTreeSet<HostId> = hosts[..1].iter().cloned().collect();
        assert_eq!(next_after(&some, given.as_ref()), hosts.first());
        assert_eq!(next_after(&BTreeSet::new(), given.as_ref()), None);
    }
}
