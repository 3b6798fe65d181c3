//! The reconciler's part in names in /etc/hosts: which containers have some, and what they say.

use super::Reconciler;
use crate::dataplane::{DataplaneState, Local};
use crate::hosts::{self, Wanted, Wish};
use api::link::Publication;
use dataplane::Probes;
use engine::Engine;
use engine::seen::SeenContainer;
use model::plain::asks_for_network;
use model::view::HostView;
use network::Fabric;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::sync::watch;

/// What names were last made from, and they.
#[derive(Debug)]
struct Served {
    view: Arc<HostView>,
    local: Option<Arc<Local>>,
    probes: Probes,
    names: BTreeMap<String, Vec<Ipv4Addr>>,
}

/// The reconciler's side.
#[derive(Debug)]
pub(crate) struct Desk {
    wish: watch::Sender<Wish>,
    served: Option<Served>,
}

impl Desk {
    pub(crate) fn new(wish: watch::Sender<Wish>) -> Self {
        Self { wish, served: None }
    }

    /// Addresses by name, as this host's DNS answers them.
    fn names(
        &mut self,
        view: &Arc<HostView>,
        local: Option<Arc<Local>>,
        probes: &Probes,
    ) -> &BTreeMap<String, Vec<Ipv4Addr>> {
        let known = self.served.take().filter(|served| {
            Arc::ptr_eq(&served.view, view) && served.local == local && served.probes == *probes
        });
        let served = known.unwrap_or_else(|| {
            let none = Local::new();
            let all = dataplane::effective(view, local.as_deref().unwrap_or(&none), probes);
            let (view, probes) = (Arc::clone(view), probes.clone());
            Served { view, local, probes, names: all.names }
        });
        &self.served.insert(served).names
    }
}

impl<E: Engine, F: Fabric> Reconciler<E, F> {
    /// Says what the /etc/hosts of which containers is to have.
    pub(super) fn wish_hosts(&mut self, publication: &Publication, state: &DataplaneState) {
        let (spec, view) = (&publication.spec, &publication.view);
        let of_all = spec.environment.dns.hosts_file;
        let ours = self.containers.iter().flatten();
        let ours = ours.filter_map(|(id, all)| {
            let seen: &SeenContainer = all.iter().find(|container| container.running())?;
            let address = spec.instances.get(id)?.address?;
            Some((seen, Some(address)))
        });
        let plain =
            self.plains.all().filter(|(_, seen)| seen.running() && asks_for_network(&seen.labels));
        let plain = plain.map(|(_, seen)| (seen, None));
        let all: Vec<(&SeenContainer, Option<Ipv4Addr>)> = ours.chain(plain).collect();
        let is_on = |seen: &SeenContainer| hosts::is_on(of_all, &seen.labels);
        let none = BTreeMap::new();
        let names = match all.iter().any(|(seen, _)| is_on(seen)) {
            true => {
                let local = self.parts.local.borrow().clone();
                self.parts.hosts.names(view, local, &state.report.probes)
            }
            false => &none,
        };
        let zone = view.dns.zones.first().map_or("", String::as_str);
        let nothing = Arc::new(vec![]);
        let wish: Wish = all
            .into_iter()
            .filter_map(|(seen, address)| {
                let lines = if is_on(seen) {
                    let caller = address.and_then(|address| view.callers.get(&address));
                    Arc::new(hosts::lines(names, zone, caller))
                } else {
                    Arc::clone(&nothing)
                };
                let path = seen.hosts.clone()?;
                Some((seen.id.clone(), Wanted { path, run: seen.started_at, lines }))
            })
            .collect();
        self.parts.hosts.wish.send_if_modified(|known| {
            let news = *known != wish;
            if news {
                *known = wish;
            }
            news
        });
    }
}
