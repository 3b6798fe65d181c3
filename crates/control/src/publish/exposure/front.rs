//! Who gets which host name and which port: listeners and routes of all fronts, and why some are
//! not served. A service's own name goes before the names that others ask for by labels; among
//! equals the first by name has it.

use super::{Front, FrontKind, LISTENER};
use crate::publish::listener_id;
use crate::publish::routes::host_match;
use model::expose::{Expose, check_host_name};
use model::limits::EXPOSE_FRONTS_MAX;
use model::service::Transport;
use model::view::{HostMatch, Listener, ListenerMode, Route};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// What the labels of a front's containers say that concerns others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    pub(super) hostnames: BTreeSet<String>,
    pub(super) problems: BTreeSet<String>,
}

/// All fronts, as they are served.
#[derive(Debug, Default)]
pub(super) struct Fronts {
    pub(super) listeners: BTreeMap<String, Listener>,
    wishes: BTreeMap<Front, Wishes>,
    /// Why they are not served as they should be.
    refused: BTreeMap<Front, BTreeSet<String>>,
    /// Host names, or the port, at which each is served.
    at: BTreeMap<Front, BTreeSet<String>>,
}

impl Fronts {
    pub(super) fn of<'a>(
        settings: &Expose,
        fronts: impl Iterator<Item = (&'a Front, Wishes)>,
    ) -> Self {
        let wishes: BTreeMap<Front, Wishes> =
            fronts.map(|(front, wishes)| (front.clone(), wishes)).collect();
        let mut made = Self { wishes, ..Self::default() };
        let all: Vec<Front> = made.wishes.keys().cloned().collect();
        let (mut names, mut ports) = (BTreeMap::new(), BTreeMap::new());
        for (count, front) in (1..).zip(&all) {
            if count > EXPOSE_FRONTS_MAX {
                made.refuse(front, format!("more than {EXPOSE_FRONTS_MAX} are exposed"));
            } else if front.kind == FrontKind::Http {
                made.add_own_names(settings, front, &mut names);
            }
        }
        for front in all.iter().take(EXPOSE_FRONTS_MAX) {
            match front.kind {
                FrontKind::Http => made.add_wishes(front, &mut names),
                FrontKind::Tcp | FrontKind::Udp => made.add_port(front, &mut ports),
            }
        }
        made.add_http(settings, names);
        made.add_ports(ports);
        made
    }

    pub(super) fn wishes(&self, front: &Front) -> Option<&Wishes> {
        self.wishes.get(front)
    }

    /// Where a front is served: host names, or the port.
    pub(super) fn at(&self, front: &Front) -> impl Iterator<Item = &String> {
        self.at.get(front).into_iter().flatten()
    }

    pub(super) fn problems(&self) -> BTreeMap<Front, BTreeSet<String>> {
        let mut all = self.refused.clone();
        for (front, wishes) in self.wishes.iter().filter(|(_, w)| !w.problems.is_empty()) {
            all.entry(front.clone()).or_default().extend(wishes.problems.iter().cloned());
        }
        all
    }

    fn refuse(&mut self, front: &Front, why: String) {
        self.refused.entry(front.clone()).or_default().insert(why);
    }

    fn claim(&mut self, front: &Front, host: String, names: &mut BTreeMap<String, Front>) {
        match names.get(&host) {
            Some(other) if other != front => {
                self.refuse(front, format!("host name {host} is that of service {}", other.name));
            }
            _ => {
                self.at.entry(front.clone()).or_default().insert(host.clone());
                names.insert(host, front.clone());
            }
        }
    }

    fn add_own_names(
        &mut self,
        settings: &Expose,
        front: &Front,
        names: &mut BTreeMap<String, Front>,
    ) {
        for domain in &settings.domains {
            let host = format!("{}.{domain}", front.name.to_ascii_lowercase());
            match check_host_name(&host) {
                Ok(()) => self.claim(front, host, names),
                Err(why) => {
                    let why = format!("{:?} cannot be a host name: {why}", front.name);
                    self.refuse(front, why);
                }
            }
        }
    }

    fn add_wishes(&mut self, front: &Front, names: &mut BTreeMap<String, Front>) {
        let wishes = self.wishes.get(front).map(|w| w.hostnames.clone()).unwrap_or_default();
        wishes.into_iter().for_each(|host| self.claim(front, host, names));
    }

    fn add_port(&mut self, front: &Front, ports: &mut BTreeMap<(u16, FrontKind), Front>) {
        let port = front.name.rsplit_once('-').and_then(|(_, port)| port.parse().ok());
        let Some(port) = port.filter(|port| *port > 0) else {
            let word = front.kind.as_str();
            let why = format!(
                "tag {word}, and its name does not end in a port: SERVICE_NAME={}-9999",
                front.name
            );
            return self.refuse(front, why);
        };
        match ports.get(&(port, front.kind)) {
            Some(other) => {
                let why = format!("port {port} is that of service {}", other.name);
                self.refuse(front, why);
            }
            None => {
                self.at.entry(front.clone()).or_default().insert(port.to_string());
                ports.insert((port, front.kind), front.clone());
            }
        }
    }

    /// Host names that are whole go before those with a `*`, and of these the longer ones.
    fn add_http(&mut self, settings: &Expose, names: BTreeMap<String, Front>) {
        let mut routes: Vec<Route> = names
            .into_iter()
            .map(|(host, front)| Route {
                host: host_match(&host),
                path_prefix: String::new(),
                upstream: front.upstream(),
            })
            .collect();
        routes.sort_by_key(|route| match &route.host {
            HostMatch::Exact(_) => (0, Reverse(0)),
            HostMatch::Suffix(text) | HostMatch::Prefix(text) => (1, Reverse(text.len())),
            HostMatch::Any => (2, Reverse(0)),
        });
        if !routes.is_empty() {
            self.listen(settings.http_port, Transport::Tcp, ListenerMode::Http { routes });
        }
    }

    fn add_ports(&mut self, ports: BTreeMap<(u16, FrontKind), Front>) {
        for ((port, kind), front) in ports {
            let transport = match kind {
                FrontKind::Udp => Transport::Udp,
                FrontKind::Http | FrontKind::Tcp => Transport::Tcp,
            };
            let mode = ListenerMode::Forward { upstream: front.upstream() };
            if self.listeners.contains_key(&id(port, transport)) {
                let why = format!("port {port} is that of the services with names");
                self.refuse(&front, why);
                self.at.remove(&front);
            } else {
                self.listen(port, transport, mode);
            }
        }
    }

    fn listen(&mut self, port: u16, transport: Transport, mode: ListenerMode) {
        self.listeners.insert(id(port, transport), Listener { ip: None, port, transport, mode });
    }
}

fn id(port: u16, transport: Transport) -> String {
    format!("{LISTENER}{}", listener_id(None, port, transport))
}
