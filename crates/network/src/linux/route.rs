//! Interfaces, addresses and routes through rtnetlink. One short-lived socket per `Session`; the
//! task that drives it ends with the session.

use super::entries::overlay_of;
use crate::Error;
use crate::overlay::{self, Device, Mac};
use crate::plan::{Address, MARK};
use futures_util::{Stream, TryStreamExt};
use ipnet::Ipv4Net;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use rtnetlink::{AddressMessageBuilder, Handle, LinkUnspec, RouteMessageBuilder};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use tokio::task::JoinSet;

/// Where "the default route" is asked for: an address that no host has on a link. Nothing is sent.
const FAR_AWAY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

/// An interface.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) up: bool,
    pub(crate) mtu: u32,
    pub(crate) mac: Mac,
    /// What it is, when it is a device of an overlay with a name of ours.
    pub(crate) overlay: Option<Device>,
}

/// An open rtnetlink socket.
pub(crate) struct Session {
    pub(super) handle: Handle,
    /// Drives the socket; aborted when the session is dropped.
    _driver: JoinSet<()>,
}

impl Session {
    pub(crate) fn open() -> Result<Self, Error> {
        let (connection, handle, _unsolicited) =
            rtnetlink::new_connection().map_err(Error::NetlinkOpen)?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        Ok(Self { handle, _driver: driver })
    }

    pub(crate) async fn links(&self) -> Result<BTreeMap<String, Link>, Error> {
        let found = collect("list interfaces", self.handle.link().get().execute()).await?;
        let named = found.into_iter().filter_map(|message| {
            let (mut name, mut mtu, mut mac) = (None, overlay::MTU, Mac::default());
            for attribute in &message.attributes {
                match attribute {
                    LinkAttribute::IfName(text) => name = Some(text.clone()),
                    LinkAttribute::Mtu(bytes) => mtu = *bytes,
                    LinkAttribute::Address(bytes) => {
                        mac = bytes.as_slice().try_into().unwrap_or_default();
                    }
                    _ => {}
                }
            }
            let name = name?;
            let link = Link {
                index: message.header.index,
                up: message.header.flags.contains(LinkFlags::Up),
                mtu,
                mac,
                overlay: overlay_of(&name, &message),
            };
            Some((name, link))
        });
        Ok(named.collect())
    }

    /// Every address as (device index, address, prefix length, label).
    pub(crate) async fn addresses(&self) -> Result<Vec<(u32, IpAddr, u8, String)>, Error> {
        let found = collect("list addresses", self.handle.address().get().execute()).await?;
        Ok(found.iter().filter_map(address_of).collect())
    }

    /// Adds `ip`/`prefix` to the device with our mark; an address that came there meanwhile is
    /// left as it is.
    pub(crate) async fn add(
        &self,
        device: (&str, u32),
        ip: Ipv4Addr,
        prefix: u8,
    ) -> Result<(), Error> {
        let (name, index) = device;
        let mut request = self.handle.address().add(index, IpAddr::V4(ip), prefix);
        let message = request.message_mut();
        message.attributes.push(AddressAttribute::Label(format!("{name}{MARK}")));
        if ip.is_link_local() {
            // Of host scope, so that the kernel never chooses it as the source of a packet that
            // leaves the host.
            message.header.scope = AddressScope::Host;
        }
        let done = request.execute().await;
        tolerate(done, &[io::ErrorKind::AlreadyExists], || {
            format!("add address {ip}/{prefix} to {name}")
        })
    }

    /// Takes our address away; it may have gone meanwhile, with its device or alone.
    pub(crate) async fn remove(
        &self,
        device: (&str, u32),
        ip: Ipv4Addr,
        prefix: u8,
    ) -> Result<(), Error> {
        let (name, index) = device;
        let mut message =
            AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(ip, prefix).build();
        // With the label the kernel refuses to take one of the same number that is not ours.
        message.attributes.push(AddressAttribute::Label(format!("{name}{MARK}")));
        let done = self.handle.address().del(message).execute().await;
        tolerate(done, &[io::ErrorKind::AddrNotAvailable, io::ErrorKind::NotFound], || {
            format!("remove address {ip}/{prefix} from {name}")
        })
    }

    pub(crate) async fn up(&self, name: &str, index: u32) -> Result<(), Error> {
        let message = LinkUnspec::new_with_index(index).up().build();
        let done = self.handle.link().change(message).execute().await;
        tolerate(done, &[], || format!("set {name} up"))
    }

    /// IPv4 routes to networks (not to single local addresses) with their device's index; ours to
    /// other hosts are left out.
    pub(crate) async fn routes(&self) -> Result<Vec<(Ipv4Net, Option<u32>)>, Error> {
        /// `RT_TABLE_LOCAL`: the host's own addresses and broadcasts.
        const TABLE_LOCAL: u8 = 255;
        let message = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let found = collect("list routes", self.handle.route().get(message).execute()).await?;
        let theirs = |route: &&RouteMessage| route.header.protocol != super::entries::PROTOCOL;
        let kept = found.iter().filter(|route| route.header.table != TABLE_LOCAL).filter(theirs);
        Ok(kept.filter_map(route_of).collect())
    }

    /// Index of the device that packets of this host to an address leave by; `None` without a way.
    pub(crate) async fn leaves_by(&self, to: Ipv4Addr) -> Result<Option<u32>, Error> {
        let message = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(to, 32).build();
        let asked = self.handle.route().get(message).execute().try_next().await;
        match asked.map_err(to_io) {
            Ok(route) => Ok(route.and_then(|route| {
                route.attributes.iter().find_map(|attribute| match attribute {
                    RouteAttribute::Oif(index) => Some(*index),
                    _ => None,
                })
            })),
            Err(source) if is_no_way(&source) => Ok(None),
            Err(source) => {
                Err(Error::Netlink { doing: format!("look up the way to {to}"), source })
            }
        }
    }

    /// Source address of packets to far away; `None` without such a route.
    pub(crate) async fn primary_address(&self) -> Result<Option<Ipv4Addr>, Error> {
        let message =
            RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(FAR_AWAY, 32).build();
        let asked = self.handle.route().get(message).execute().try_next().await;
        match asked.map_err(to_io) {
            Ok(route) => Ok(route.and_then(|route| {
                route.attributes.iter().find_map(|attribute| match attribute {
                    RouteAttribute::PrefSource(RouteAddress::Inet(ip)) => Some(*ip),
                    _ => None,
                })
            })),
            Err(source) if is_no_way(&source) => Ok(None),
            Err(source) => {
                Err(Error::Netlink { doing: "look up the default route".to_owned(), source })
            }
        }
    }
}

fn is_no_way(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable)
}

/// Marks which addresses are ours and names their devices; those of IPv6 are never ours.
pub(crate) fn ours(
    links: &BTreeMap<String, Link>,
    raw: &[(u32, IpAddr, u8, String)],
) -> Vec<Address> {
    let names: BTreeMap<u32, &str> =
        links.iter().map(|(name, link)| (link.index, name.as_str())).collect();
    raw.iter()
        .filter_map(|(index, ip, prefix, label)| {
            let IpAddr::V4(ip) = *ip else { return None };
            let device = (*names.get(index)?).to_owned();
            let ours = label.strip_suffix(MARK) == Some(device.as_str());
            Some(Address { device, ip, prefix: *prefix, ours })
        })
        .collect()
}

fn address_of(message: &AddressMessage) -> Option<(u32, IpAddr, u8, String)> {
    let (mut local, mut peer, mut label) = (None, None, String::new());
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => peer = Some(*ip),
            AddressAttribute::Label(text) => label.clone_from(text),
            _ => {}
        }
    }
    // On a point-to-point device `Address` is the other end; IPv6 has no `Local`.
    let ip = local.or(peer)?;
    Some((message.header.index, ip, message.header.prefix_len, label))
}

fn route_of(route: &RouteMessage) -> Option<(Ipv4Net, Option<u32>)> {
    let (mut to, mut device) = (Ipv4Addr::UNSPECIFIED, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(ip)) => to = *ip,
            RouteAttribute::Oif(index) => device = Some(*index),
            _ => {}
        }
    }
    Some((Ipv4Net::new(to, route.header.destination_prefix_length).ok()?, device))
}

pub(super) async fn collect<T>(
    doing: &'static str,
    stream: impl Stream<Item = Result<T, rtnetlink::Error>>,
) -> Result<Vec<T>, Error> {
    let all: Result<Vec<T>, _> = stream.try_collect().await;
    all.map_err(|e| Error::Netlink { doing: doing.to_owned(), source: to_io(e) })
}

pub(super) fn tolerate(
    done: Result<(), rtnetlink::Error>,
    fine: &[io::ErrorKind],
    doing: impl FnOnce() -> String,
) -> Result<(), Error> {
    match done.map_err(to_io) {
        Err(source) if !fine.contains(&source.kind()) && !no_such_device(&source) => {
            Err(Error::Netlink { doing: doing(), source })
        }
        _ => Ok(()),
    }
}

/// The device went away between the look and the step; the next `ensure` sees it.
fn no_such_device(source: &io::Error) -> bool {
    source.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

/// The kernel's error number, where it gave one.
fn to_io(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}
