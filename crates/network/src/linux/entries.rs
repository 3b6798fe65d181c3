//! The overlay's device and entries through rtnetlink: what there is of it, and each made or taken
//! away by itself.

use super::iptables;
use super::route::{Link, Session, collect, tolerate};
use crate::Error;
use crate::overlay::{Device, Entry, MAIN, Underlay, VXLAN_DEVICE, Vxlan, WIREGUARD_DEVICE};
use ipnet::Ipv4Net;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::{
    IpVersion, LinkBridge, LinkUnspec, LinkVxlan, RouteMessageBuilder, RuleAddRequest,
};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};

/// Who made a route or a rule: the mark on ours.
pub(super) const PROTOCOL: RouteProtocol = RouteProtocol::Other(82);
/// Priority of our rules: before the main table's, after the local one's.
const PRIORITY: u32 = 5_270;

impl Session {
    /// All that is of overlays: marked as ours, or on a device of ours.
    pub(crate) async fn entries(
        &self,
        links: &BTreeMap<String, Link>,
    ) -> Result<BTreeSet<Entry>, Error> {
        let names: BTreeMap<u32, &String> =
            links.iter().map(|(name, link)| (link.index, name)).collect();
        let named = |index: u32| names.get(&index).map(|name| (*name).clone());
        let is_ours = |index: u32| {
            let link = names.get(&index).and_then(|name| links.get(*name));
            link.is_some_and(|link| link.overlay.is_some())
        };
        let mut all = BTreeSet::new();
        let message = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let routes = collect("list routes", self.handle.route().get(message).execute()).await?;
        all.extend(routes.iter().filter_map(|route| {
            let (index, entry) = route_of(route, named)?;
            let ours = matches!(entry, Entry::Route { ours: true, .. });
            (ours || is_ours(index)).then_some(entry)
        }));
        let rules = self.handle.rule().get(IpVersion::V4).execute();
        all.extend(collect("list routing rules", rules).await?.iter().filter_map(rule_of));
        for family in [AddressFamily::Inet, AddressFamily::Bridge] {
            let asked = self.handle.neighbours().get().set_address_family(family).execute();
            let found = collect("list neighbours", asked).await?;
            let on_ours = found.iter().filter(|message| is_ours(message.header.ifindex));
            all.extend(on_ours.filter_map(|message| neighbour_of(message, family, named)));
        }
        Ok(all)
    }

    /// Makes the overlay's device, up.
    pub(crate) async fn make_vxlan(&self, device: &str, vxlan: &Vxlan) -> Result<(), Error> {
        let mut wanted = LinkVxlan::new(device, vxlan.vni)
            .port(vxlan.port)
            .learning(vxlan.learning)
            .address(vxlan.mac.to_vec())
            .mtu(vxlan.mtu);
        if let Some(local) = vxlan.local {
            wanted = wanted.local(local);
        }
        let done = self.handle.link().add(wanted.up().build()).execute().await;
        tolerate(done, &[], || {
            let Vxlan { vni, port, .. } = vxlan;
            format!("make VXLAN device {device} (VNI {vni}, UDP port {port})")
        })
    }

    /// Makes a bridge, up and without ports; one that came there meanwhile is as good.
    pub(crate) async fn make_bridge(&self, device: &str) -> Result<(), Error> {
        let done = self.handle.link().add(LinkBridge::new(device).build()).execute().await;
        tolerate(done, &[io::ErrorKind::AlreadyExists], || format!("make bridge {device}"))
    }

    /// A bridge keeps the MAC that it has: by itself it would take those of its ports, and who knew
    /// the one before would not reach it.
    pub(crate) async fn keep_mac(&self, device: &str, link: &Link) -> Result<(), Error> {
        let message = LinkUnspec::new_with_index(link.index).address(link.mac.to_vec()).build();
        let done = self.handle.link().change(message).execute().await;
        tolerate(done, &[], || format!("set the MAC of bridge {device}"))
    }

    /// Takes a device away with all that is on it.
    pub(crate) async fn drop_device(&self, device: &str, index: u32) -> Result<(), Error> {
        let done = self.handle.link().del(index).execute().await;
        tolerate(done, &[], || format!("remove device {device}"))
    }

    pub(crate) async fn set_mtu(&self, device: &str, index: u32, mtu: u32) -> Result<(), Error> {
        let message = LinkUnspec::new_with_index(index).mtu(mtu).build();
        let done = self.handle.link().change(message).execute().await;
        tolerate(done, &[], || format!("set the MTU of {device} to {mtu}"))
    }

    fn rule(&self, from: Ipv4Net, table: u32) -> RuleAddRequest<Ipv4Addr> {
        let request = self.handle.rule().add().v4();
        let mut request = request
            .source_prefix(from.network(), from.prefix_len())
            .table_id(table)
            .priority(PRIORITY)
            .action(RuleAction::ToTable);
        request.message_mut().attributes.push(RuleAttribute::Protocol(PROTOCOL));
        request
    }

    /// Makes an entry, in place of one that it replaces.
    pub(crate) async fn put(
        &self,
        links: &BTreeMap<String, Link>,
        entry: &Entry,
    ) -> Result<(), Error> {
        let index = |device: &str| links.get(device).map_or(0, |link| link.index);
        let there = [io::ErrorKind::AlreadyExists];
        match entry {
            Entry::Neighbour { device, ip, mac } => {
                let all = self.handle.neighbours();
                let request = all.add(index(device), IpAddr::V4(*ip)).link_layer_address(mac);
                let done = request.replace().execute().await;
                tolerate(done, &[], || format!("set neighbour {ip} on {device}"))
            }
            Entry::Forward { device, mac, host } => {
                let request = self.handle.neighbours().add_bridge(index(device), mac);
                let request = request.destination(IpAddr::V4(*host)).flags(NeighbourFlags::Own);
                let done = request.replace().execute().await;
                tolerate(done, &[], || format!("set the forwarding entry of {host} on {device}"))
            }
            Entry::Route { to, via, device, .. } => {
                let message = route_message(entry, index(device)).unwrap_or_default();
                let done = self.handle.route().add(message).replace().execute().await;
                tolerate(done, &[], || {
                    let via = via.map(|ip| format!(" via {ip}")).unwrap_or_default();
                    format!("set route to {to}{via} on {device}")
                })
            }
            Entry::Rule { from, table } => {
                let done = self.rule(*from, *table).execute().await;
                tolerate(done, &there, || format!("add the routing rule of {from}"))
            }
            Entry::Accept { bridge, words } => iptables::accept(bridge, words).await,
        }
    }

    /// Takes an entry away; it may have gone meanwhile.
    pub(crate) async fn take(
        &self,
        links: &BTreeMap<String, Link>,
        entry: &Entry,
    ) -> Result<(), Error> {
        let index = |device: &str| links.get(device).map_or(0, |link| link.index);
        let gone = [io::ErrorKind::NotFound];
        let all = self.handle.neighbours();
        match entry {
            Entry::Neighbour { device, ip, mac } => {
                let mut request = all.add(index(device), IpAddr::V4(*ip)).link_layer_address(mac);
                let message = request.message_mut().clone();
                let done = all.del(message).execute().await;
                tolerate(done, &gone, || format!("remove neighbour {ip} from {device}"))
            }
            Entry::Forward { device, mac, host } => {
                let request = all.add_bridge(index(device), mac).destination(IpAddr::V4(*host));
                let mut request = request.flags(NeighbourFlags::Own);
                let message = request.message_mut().clone();
                let done = all.del(message).execute().await;
                tolerate(done, &gone, || format!("remove a forwarding entry from {device}"))
            }
            Entry::Route { to, device, .. } => {
                let message = route_message(entry, index(device)).unwrap_or_default();
                match self.handle.route().del(message).execute().await {
                    Err(error) if is_no_such_route(&error) => Ok(()),
                    done => tolerate(done, &gone, || format!("remove route to {to}")),
                }
            }
            Entry::Rule { from, table } => {
                let message = self.rule(*from, *table).message_mut().clone();
                let done = self.handle.rule().del(message).execute().await;
                tolerate(done, &gone, || format!("remove the routing rule of {from}"))
            }
            Entry::Accept { bridge, words } => iptables::withdraw(bridge, words).await,
        }
    }
}

impl Session {
    /// Lets the kernel forget which MACs it has found for addresses on a device.
    pub(crate) async fn forget(
        &self,
        index: u32,
        addresses: &BTreeSet<Ipv4Addr>,
    ) -> Result<(), Error> {
        let all = self.handle.neighbours();
        let asked = all.get().set_address_family(AddressFamily::Inet).execute();
        let found = collect("list neighbours", asked).await?;
        let is_gone = |message: &&NeighbourMessage| {
            message.header.ifindex == index
                && message.attributes.iter().any(|attribute| {
                    matches!(attribute, NeighbourAttribute::Destination(NeighbourAddress::Inet(ip))
                        if addresses.contains(ip))
                })
        };
        for message in found.iter().filter(is_gone) {
            let done = all.del(message.clone()).execute().await;
            tolerate(done, &[io::ErrorKind::NotFound], || "forget a neighbour".to_owned())?;
        }
        Ok(())
    }
}

/// `ESRCH`: what the kernel says of a route that is not there.
fn is_no_such_route(error: &rtnetlink::Error) -> bool {
    let rtnetlink::Error::NetlinkError(message) = error else { return false };
    message.to_io().raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

fn route_message(entry: &Entry, index: u32) -> Option<RouteMessage> {
    let Entry::Route { table, to, via, source, metric, ours, .. } = entry else { return None };
    let mut builder = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(to.network(), to.prefix_len())
        .table_id(*table)
        .output_interface(index);
    builder = match via {
        Some(via) => builder.gateway(*via).onlink(),
        None => builder.scope(RouteScope::Link),
    };
    if let Some(source) = source {
        builder = builder.pref_source(*source);
    }
    if *metric != 0 {
        builder = builder.priority(*metric);
    }
    // Somebody else's is named without its protocol: that of ours is the mark.
    let protocol = if *ours { PROTOCOL } else { RouteProtocol::Unspec };
    Some(builder.protocol(protocol).build())
}

/// A plain route with its device's index.
fn route_of(route: &RouteMessage, named: impl Fn(u32) -> Option<String>) -> Option<(u32, Entry)> {
    if route.header.kind != RouteType::Unicast {
        return None;
    }
    let (mut to, mut via, mut source) = (Ipv4Addr::UNSPECIFIED, None, None);
    let (mut index, mut metric, mut table) = (0, 0, u32::from(route.header.table));
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(ip)) => to = *ip,
            RouteAttribute::Gateway(RouteAddress::Inet(ip)) => via = Some(*ip),
            RouteAttribute::PrefSource(RouteAddress::Inet(ip)) => source = Some(*ip),
            RouteAttribute::Oif(oif) => index = *oif,
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::Table(id) => table = *id,
            _ => {}
        }
    }
    let ours = route.header.protocol == PROTOCOL;
    if !ours && table != MAIN {
        return None;
    }
    let to = Ipv4Net::new(to, route.header.destination_prefix_length).ok()?;
    let device = named(index)?;
    Some((index, Entry::Route { table, to, via, device, source, metric, ours }))
}

fn rule_of(rule: &RuleMessage) -> Option<Entry> {
    let (mut from, mut table, mut ours) = (None, u32::from(rule.header.table), false);
    for attribute in &rule.attributes {
        match attribute {
            RuleAttribute::Source(IpAddr::V4(ip)) => from = Some(*ip),
            RuleAttribute::Table(id) => table = *id,
            RuleAttribute::Protocol(protocol) => ours = *protocol == PROTOCOL,
            _ => {}
        }
    }
    let from = Ipv4Net::new(from?, rule.header.src_len).ok()?;
    ours.then_some(Entry::Rule { from, table })
}

fn neighbour_of(
    message: &NeighbourMessage,
    family: AddressFamily,
    named: impl Fn(u32) -> Option<String>,
) -> Option<Entry> {
    // What the kernel tries to find out by itself comes and goes.
    if family == AddressFamily::Inet && message.header.state != NeighbourState::Permanent {
        return None;
    }
    let (mut ip, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => ip = Some(*address),
            // Of a bridge the family does not say what its bytes are.
            NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => {
                ip = <[u8; 4]>::try_from(bytes.as_slice()).ok().map(Ipv4Addr::from);
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.as_slice().try_into().ok(),
            _ => {}
        }
    }
    let (device, ip, mac) = (named(message.header.ifindex)?, ip?, mac?);
    Some(match family {
        AddressFamily::Bridge => Entry::Forward { device, mac, host: ip },
        _ => Entry::Neighbour { device, ip, mac },
    })
}

/// What a link says of itself, when it is a device of an overlay with a name of ours.
pub(super) fn overlay_of(name: &str, message: &LinkMessage) -> Option<Device> {
    if name.starts_with(WIREGUARD_DEVICE) {
        return tun_of(message);
    }
    vxlan_of(name, message).map(Device::Vxlan)
}

fn tun_of(message: &LinkMessage) -> Option<Device> {
    let (mut mtu, mut is_tun) = (0, false);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Mtu(bytes) => mtu = *bytes,
            LinkAttribute::LinkInfo(infos) => {
                is_tun = infos.iter().any(|info| matches!(info, LinkInfo::Kind(InfoKind::Tun)));
            }
            _ => {}
        }
    }
    is_tun.then_some(Device::Tun { mtu })
}

fn vxlan_of(name: &str, message: &LinkMessage) -> Option<Vxlan> {
    if !name.starts_with(VXLAN_DEVICE) {
        return None;
    }
    let mut found = Vxlan { vni: 0, port: 0, local: None, learning: true, mac: [0; 6], mtu: 0 };
    let mut is_vxlan = false;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Address(bytes) => {
                found.mac = bytes.as_slice().try_into().unwrap_or_default();
            }
            LinkAttribute::Mtu(mtu) => found.mtu = *mtu,
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    let LinkInfo::Data(InfoData::Vxlan(data)) = info else { continue };
                    is_vxlan = true;
                    data.iter().for_each(|part| note(&mut found, part));
                }
            }
            _ => {}
        }
    }
    is_vxlan.then_some(found)
}

fn note(found: &mut Vxlan, part: &InfoVxlan) {
    match part {
        InfoVxlan::Id(vni) => found.vni = *vni,
        InfoVxlan::Port(port) => found.port = *port,
        InfoVxlan::Local(ip) => found.local = Some(*ip),
        InfoVxlan::Learning(learning) => found.learning = *learning,
        _ => {}
    }
}

/// The device that an address of the host is on; ours have it as well.
pub(super) fn underlay(
    links: &BTreeMap<String, Link>,
    raw: &[(u32, IpAddr, u8, String)],
    address: Ipv4Addr,
) -> Option<Underlay> {
    let at = raw.iter().filter(|(_, ip, _, _)| *ip == IpAddr::V4(address));
    let mut devices = at.filter_map(|(index, _, prefix, _)| {
        let (name, link) =
            links.iter().find(|(_, link)| link.index == *index && link.overlay.is_none())?;
        let segment = Ipv4Net::new(address, *prefix).ok()?.trunc();
        Some(Underlay { device: name.clone(), mtu: link.mtu, segment })
    });
    devices.next()
}
