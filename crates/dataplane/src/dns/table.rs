//! The names of one View, ready to be asked: built once, read by every thread, never changed.

use super::consul::Consul;
use super::mark::Mark;
use super::wire::{Name, strip};
use crate::effective::Effective;
use model::catalog_view::ASKED_PREFIX;
use model::view::HostView;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// Names, zones and callers.
#[derive(Debug, Default)]
pub(crate) struct Table {
    zones: Vec<Name>,
    /// Relative to any zone; a name that only has names below it has no addresses.
    names: HashMap<Name, Entry>,
    /// Names that were asked for since they were looked at last, as the server is asked for them; none
    /// where the view is whole.
    marks: HashMap<Box<str>, Mark>,
    /// Names of the environment that the view has no addresses of, as they are asked for.
    elsewhere: HashMap<Name, Arc<str>>,
    /// What each caller's search list appends, relative to our zones, in order.
    callers: HashMap<Ipv4Addr, Asking>,
    pub(crate) ttl: u32,
    pub(crate) serial: u32,
    /// Names of Consul; ours go before them.
    pub(super) consul: Arc<Consul>,
}

/// A container that asks.
#[derive(Debug, Default)]
struct Asking {
    /// What its search list appends.
    search: Vec<Box<[u8]>>,
    /// Names that it alone knows, and what they mean.
    aliases: HashMap<Name, Name>,
    /// Resolvers of its own.
    servers: Option<Arc<[SocketAddr]>>,
}

#[derive(Debug)]
enum Entry {
    Addresses(Box<[Ipv4Addr]>, Option<Mark>),
    /// It stands for this host name.
    Cname(Name),
    /// Only names below it.
    Branch,
}

/// What a name is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// Ours, with these addresses (none: it exists).
    Addresses(&'a [Ipv4Addr]),
    /// Ours: another name for this one.
    Cname(&'a Name),
    /// The zone itself.
    Apex,
    /// Ours, and what it is has to be asked for, by this name.
    Elsewhere(&'a Arc<str>),
    /// Ours, and it does not exist.
    Missing,
    /// Not ours.
    Foreign,
}

impl Table {
    /// From a view and what is served of it. Names that DNS cannot carry are left out.
    pub(crate) fn of(view: &HostView, served: &Effective) -> Self {
        Self::after(None, view, served)
    }

    /// The same; what is as it was in the one before is taken over.
    pub(crate) fn after(before: Option<&Self>, view: &HostView, served: &Effective) -> Self {
        let consul = Consul::of(view, &served.unfit, before.map(|before| &before.consul));
        let zones: Vec<Name> = view.dns.zones.iter().filter_map(|zone| Name::parse(zone)).collect();
        let mut names = HashMap::with_capacity(served.names.len());
        let mut marks = HashMap::new();
        for (text, addresses) in &served.names {
            let Some(name) = Name::parse(text) else { continue };
            let mut parent = name.as_wire();
            while let Some(length) = parent.first() {
                parent = parent.get(1 + usize::from(*length)..).unwrap_or_default();
                if !parent.is_empty() && !names.contains_key(parent) {
                    names.insert(Name::of_wire(parent), Entry::Branch);
                }
            }
            let mark = view.partial.then(|| {
                let known = before.and_then(|before| before.marks.get(stem(text)));
                let mark = marks.entry(stem(text).into());
                mark.or_insert_with(|| known.cloned().unwrap_or_default()).clone()
            });
            names.insert(name, Entry::Addresses(addresses.as_slice().into(), mark));
        }
        for (text, target) in &view.dns.cnames {
            if let (Some(name), Some(target)) = (Name::parse(text), Name::parse(target)) {
                names.insert(name, Entry::Cname(target));
            }
        }
        let suffix = |text: &String| {
            let name = Name::parse(text)?;
            zones.iter().find_map(|zone| strip(name.as_wire(), zone.as_wire()).map(Box::from))
        };
        let callers = view.callers.iter();
        let callers = callers
            .map(|(address, caller)| {
                let names = caller.aliases.iter();
                let aliases = names.filter_map(|(a, b)| Some((Name::parse(a)?, Name::parse(b)?)));
                let search = caller.search.iter().filter_map(suffix).collect();
                let servers: Arc<[SocketAddr]> =
                    caller.servers.iter().map(|ip| SocketAddr::new(*ip, 53)).collect();
                let servers = Some(servers).filter(|servers| !servers.is_empty());
                (*address, Asking { search, aliases: aliases.collect(), servers })
            })
            .collect();
        let serial = u32::try_from(view.index.0 & u64::from(u32::MAX)).unwrap_or(0);
        let elsewhere = view.dns.elsewhere.iter();
        let elsewhere =
            elsewhere.filter_map(|text| Some((Name::parse(text)?, text.as_str().into()))).collect();
        Self { zones, names, marks, elsewhere, callers, ttl: view.dns.ttl_s, serial, consul }
    }

    /// Was a name in use, that the server was asked for, since the last such question?
    pub(super) fn take_mark(&self, asked: &str) -> bool {
        match asked.strip_prefix(ASKED_PREFIX) {
            Some(service) => self.consul.take_mark(service),
            None => self.marks.get(asked).is_some_and(Mark::take),
        }
    }

    /// The resolvers that are to be asked before the host's for this caller.
    pub(crate) fn servers(&self, caller: IpAddr) -> Option<Arc<[SocketAddr]>> {
        let IpAddr::V4(address) = caller.to_canonical() else { return None };
        self.callers.get(&address)?.servers.clone()
    }

    /// Is it a name of the environment that has to be asked for: a service's, or that of one of its
    /// containers, which begins like it?
    fn elsewhere(&self, name: &[u8]) -> Option<&Arc<str>> {
        if self.elsewhere.is_empty() {
            return None;
        }
        let of_container = || {
            let (length, label) = name.split_first()?;
            if usize::from(*length) != label.len() {
                return None;
            }
            let digits = label.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
            let begins = label.get(..label.len() - digits).filter(|_| digits > 0)?;
            let mut wire = vec![u8::try_from(begins.len()).ok()?];
            wire.extend_from_slice(begins);
            self.elsewhere.get(wire.as_slice())
        };
        self.elsewhere.get(name).or_else(of_container)
    }

    /// Looks a name up as `caller` means it: whole when it ends in a zone of ours, else by its
    /// search list and then below our zones. The second is the zone that has authority.
    pub(crate) fn find(&self, name: &[u8], caller: Option<Ipv4Addr>) -> (Found<'_>, &[u8]) {
        let asking = caller.and_then(|caller| self.callers.get(&caller));
        for zone in &self.zones {
            let Some(relative) = strip(name, zone.as_wire()) else { continue };
            let found = if relative.is_empty() {
                Found::Apex
            } else {
                let meant = asking.and_then(|asking| asking.aliases.get(relative));
                let meant = meant.map_or(relative, Name::as_wire);
                match (self.names.get(meant), self.elsewhere(meant)) {
                    (Some(Entry::Addresses(addresses, mark)), _) => {
                        mark.iter().for_each(Mark::set);
                        Found::Addresses(addresses)
                    }
                    (Some(Entry::Cname(target)), _) => Found::Cname(target),
                    (_, Some(name)) => Found::Elsewhere(name),
                    (Some(Entry::Branch), None) => Found::Addresses(&[]),
                    (None, None) => Found::Missing,
                }
            };
            return (found, zone.as_wire());
        }
        let zone = self.zones.first().map_or(&[][..], Name::as_wire);
        if name.is_empty() {
            return (Found::Foreign, zone);
        }
        let mut buffer = [0u8; 256];
        // What the asker alone knows goes before what everybody knows.
        let knows_more = asking.is_some_and(|asking| !asking.aliases.is_empty());
        for own in [true, false].into_iter().skip(usize::from(!knows_more)) {
            let search = asking.into_iter().flat_map(|asking| asking.search.iter());
            for suffix in search.map(Box::as_ref).chain([&[][..]]) {
                let length = name.len() + suffix.len();
                let Some(candidate) = buffer.get_mut(..length) else { continue };
                candidate[..name.len()].copy_from_slice(name);
                candidate[name.len()..].copy_from_slice(suffix);
                let meant = asking.and_then(|asking| asking.aliases.get(&*candidate));
                let name = match (own, meant) {
                    (true, Some(meant)) => meant.as_wire(),
                    (true, None) => continue,
                    (false, _) => &*candidate,
                };
                match self.names.get(name) {
                    Some(Entry::Addresses(addresses, mark)) => {
                        mark.iter().for_each(Mark::set);
                        return (Found::Addresses(addresses), zone);
                    }
                    Some(Entry::Cname(target)) => return (Found::Cname(target), zone),
                    Some(Entry::Branch) | None => {}
                }
                if let Some(name) = self.elsewhere(name) {
                    return (Found::Elsewhere(name), zone);
                }
            }
        }
        (Found::Foreign, zone)
    }
}

/// How a name is asked for: that of a container, `shop-web-12`, by what all of its service begin with.
fn stem(text: &str) -> &str {
    match text.contains('.') {
        true => text,
        false => text.trim_end_matches(|c: char| c.is_ascii_digit()),
    }
}

#[cfg(test)]
impl Table {
    /// Gives a name these addresses, whatever the view said.
    pub(crate) fn put(&mut self, name: &str, addresses: impl Iterator<Item = Ipv4Addr>) {
        let name = Name::parse(name).expect("a name of the test");
        self.names.insert(name, Entry::Addresses(addresses.collect(), None));
    }
}
