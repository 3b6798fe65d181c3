//! Questions for names of the environment that the view says nothing of but that they exist: the
//! server is asked what they are, by way of the agent, and the question is answered from the table
//! that brings it. Who gets no answer in time is told to try again, never that there is no such name.

use super::Shared;
use super::answer::{Step, Transport, answer};
use super::forward::{Ask, ReplyTo};
use super::serve::{Asking, forward};
use super::table::Table;
use super::wire::{self, Rcode};
use model::limits::{ASKED_NAMES_MAX, DNS_ASKED_KEPT_MS, DNS_FORWARDS_MAX, DNS_LATER_MS_MAX};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// A question that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) message: Box<[u8]>,
    /// What is asked of the server.
    pub(super) name: Arc<str>,
    pub(super) source: IpAddr,
    pub(super) transport: Transport,
    pub(super) to: ReplyTo,
}

/// The names that were asked for, each with when that was last. Held for map operations.
#[derive(Debug, Default)]
pub(super) struct Asked(Mutex<BTreeMap<Arc<str>, Instant>>);

impl Asked {
    /// Is it news?
    fn note(&self, name: &Arc<str>, now: Instant) -> bool {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() + 1 >= ASKED_NAMES_MAX && !names.contains_key(name) {
            let oldest = names.iter().min_by_key(|(_, at)| **at).map(|(name, _)| name.clone());
            oldest.map(|oldest| names.remove(&oldest));
        }
        names.insert(name.clone(), now).is_none()
    }

    /// The names that count now: those that were answered from this table count from now on.
    pub(super) fn names(&self, table: &Table, now: Instant) -> BTreeSet<String> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = Duration::from_millis(DNS_ASKED_KEPT_MS);
        for (name, at) in names.iter_mut() {
            if table.take_mark(name) {
                *at = now;
            }
        }
        names.retain(|_, at| now.saturating_duration_since(*at) < kept);
        names.keys().map(ToString::to_string).collect()
    }
}

/// Answers until the last sender is gone.
pub(super) async fn run(
    mut waiting: mpsc::Receiver<Waiting>,
    shared: Arc<Shared>,
    asks: mpsc::Sender<Ask>,
    tables: watch::Receiver<()>,
    news: Arc<watch::Sender<()>>,
) {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            one = waiting.recv(), if tasks.len() < DNS_FORWARDS_MAX => {
                let Some(one) = one else { return };
                if shared.asked.note(&one.name, Instant::now()) {
                    news.send_replace(());
                }
                tasks.spawn(wait(one, shared.clone(), asks.clone(), tables.clone()));
            }
            Some(ended) = tasks.join_next() => if let Err(error) = ended {
                tracing::error!(%error, "dns task failed");
            }
        }
    }
}

async fn wait(
    one: Waiting,
    shared: Arc<Shared>,
    asks: mpsc::Sender<Ask>,
    mut tables: watch::Receiver<()>,
) {
    let deadline = tokio::time::Instant::now() + Duration::from_millis(DNS_LATER_MS_MAX);
    let mut rng = SmallRng::from_os_rng();
    let mut out = vec![];
    loop {
        tables.mark_unchanged();
        let table = shared.table.load_full();
        let step = answer(&one.message, one.source, one.transport, &table, &mut rng, &mut out);
        let (query, target) = match step {
            Step::Send => break,
            Step::Drop => return,
            Step::Forward(query) => (query, None),
            Step::Chase(query, target, ttl) => (query, Some((target, ttl))),
            Step::Later(..) => {
                let changed = tokio::time::timeout_at(deadline, tables.changed()).await;
                if matches!(changed, Ok(Ok(()))) {
                    continue;
                }
                tracing::debug!(name = %one.name, "the server has not said what it is");
                wire::refuse(&one.message, Rcode::ServFail, &mut out);
                break;
            }
        };
        let asking = Asking { query: &query, target, transport: one.transport };
        let mut to = Some(one.to);
        let sent = forward(asking, one.source, &shared, &asks, || to.take(), &mut out);
        if let Some(to) = to.filter(|_| sent) {
            to.send(out);
        }
        return;
    }
    one.to.send(out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{Message, MessageType, OpCode, Query};
    use hickory_proto::rr::{Name, RecordType};
    use model::catalog_view::{CatalogNode, CatalogView, Offer, Offers};
    use model::dns::{ConsulNames, NobodyHealthy};
    use model::view::{DnsView, HostView, NameTarget};
    use std::net::Ipv4Addr;

    /// A table of a host that was told of `web` as a service of a stack, by containers, and in the
    /// catalog.
    fn told(before: Option<&Table>) -> Table {
        let mut view = HostView::empty("e", &"a".parse().unwrap());
        view.partial = true;
        let address = NameTarget::Address(Ipv4Addr::new(10, 42, 0, 7));
        let names = ["web.shop", "idle.shop", "shop-web-1", "shop-web-12"];
        view.dns = Arc::new(DnsView {
            zones: vec!["rancher.internal".into()],
            ttl_s: 1,
            names: names.into_iter().map(|name| (name.to_owned(), address.clone())).collect(),
            cnames: BTreeMap::new(),
            elsewhere: BTreeSet::new(),
            nobody_healthy: NobodyHealthy::All,
        });
        let node = CatalogNode { address: "10.0.0.1".into(), ..CatalogNode::default() };
        let offer = Offer { node: "a".into(), passing: 1, ..Offer::default() };
        let offers = |name: &str| {
            let offers = Offers::from([("1".to_owned(), Arc::new(offer.clone()))]);
            (name.to_owned(), Arc::new(offers))
        };
        view.catalog = Arc::new(CatalogView {
            settings: ConsulNames::default(),
            nodes: [("a".to_owned(), Arc::new(node))].into(),
            services: ["web", "idle"].into_iter().map(offers).collect(),
            ..CatalogView::default()
        });
        let served = crate::effective::effective(&view, &crate::Local::new(), &Default::default());
        Table::after(before, &view, &served)
    }

    fn ask(table: &Table, name: &str) {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
        let (mut rng, mut out) = (SmallRng::seed_from_u64(1), vec![]);
        let from = Ipv4Addr::new(10, 42, 0, 9).into();
        let bytes = message.to_vec().unwrap();
        let step = answer(&bytes, from, Transport::Udp, table, &mut rng, &mut out);
        assert!(matches!(step, Step::Send), "{name}");
        assert_eq!(Message::from_vec(&out).unwrap().answers.len(), 1, "{name}");
    }

    #[test]
    fn a_name_that_is_in_use_is_not_forgotten() {
        let (asked, start) = (Asked::default(), Instant::now());
        let hours = |n: u64| start + Duration::from_millis(n * DNS_ASKED_KEPT_MS);
        let used = ["web.shop", "shop-web-", "consul:web"];
        for name in used.into_iter().chain(["idle.shop", "consul:idle"]) {
            assert!(asked.note(&name.into(), start));
        }
        let first = told(None);
        for name in
            ["web.shop.rancher.internal.", "shop-web-12.rancher.internal.", "web.service.consul."]
        {
            ask(&first, name);
        }
        // What was noted before another table came counts.
        let table = told(Some(&first));
        let kept: BTreeSet<String> = used.map(str::to_owned).into();
        assert_eq!(asked.names(&table, hours(1)), kept);
        ask(&table, "web.shop.rancher.internal.");
        assert_eq!(asked.names(&table, hours(2)), ["web.shop".to_owned()].into());
        assert!(asked.names(&table, hours(3)).is_empty(), "nobody asks any more");
    }
}
