//! Tells the containers on a bridge that addresses are reached through the host from now on. Who had
//! such an address as a neighbour until now would keep its old MAC for up to a minute.

use crate::overlay::{Entry, MAIN, Mac};
use crate::plan::Step;
use ipnet::Ipv4Net;
use model::limits::ANNOUNCED_ADDRESSES_MAX;
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type, socklen_t};
use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;

const ETH_P_ARP: u16 = 0x0806;
/// Everybody on the link.
pub(crate) const BROADCAST: Mac = [0xff; 6];

/// Addresses that have left the bridge by these steps, single ones before those of a block. What is
/// on a device that is only just made nobody can have known otherwise.
pub(super) fn gone(bridge: &str, steps: &[Step]) -> Vec<Ipv4Addr> {
    if steps.iter().any(|step| matches!(step, Step::MakeDevice { .. })) {
        return vec![];
    }
    let left = |step: &Step| match step {
        Step::Put(Entry::Route { table: MAIN, to, via: Some(_), .. }) => Some(*to),
        Step::Take(Entry::Route { table: MAIN, to, via: None, device, .. }) if device == bridge => {
            Some(*to)
        }
        _ => None,
    };
    let mut all: Vec<Ipv4Net> = steps.iter().filter_map(left).collect();
    all.sort_by_key(|net| (u8::MAX - net.prefix_len(), net.addr()));
    let mut seen = BTreeSet::new();
    let each = all.into_iter().flat_map(|net| net.network().into()..=net.broadcast().into());
    let each = each.map(|ip: u32| Ipv4Addr::from(ip)).filter(|ip| seen.insert(*ip));
    each.take(ANNOUNCED_ADDRESSES_MAX).collect()
}

/// Says on the bridge that these addresses have its MAC: gratuitous ARP, which changes what is known
/// and makes nobody learn.
pub(super) fn announce(index: u32, mac: Mac, addresses: &[Ipv4Addr]) -> io::Result<()> {
    let socket = arp_socket()?;
    let to = link_address(index, BROADCAST);
    addresses.iter().try_for_each(|ip| socket.send_to(&question(mac, *ip), &to).map(drop))
}

/// A socket for ARP of all devices, without the frames' heads. What is not taken at once is not
/// waited for: the host's network has other things to do.
pub(crate) fn arp_socket() -> io::Result<Socket> {
    let protocol = Protocol::from(i32::from(ETH_P_ARP.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// "Who has this address? It is at this MAC."
fn question(mac: Mac, ip: Ipv4Addr) -> Vec<u8> {
    arp(ASKS, (mac, ip), ([0; 6], ip))
}

/// Operation of a question.
pub(crate) const ASKS: u8 = 1;
/// Operation of an answer.
pub(crate) const ANSWERS: u8 = 2;

/// An ARP message of a sender to a target.
pub(crate) fn arp(operation: u8, from: (Mac, Ipv4Addr), to: (Mac, Ipv4Addr)) -> Vec<u8> {
    // Ethernet, IPv4, their lengths.
    let head = [0, 1, 8, 0, 6, 4, 0, operation];
    [&head[..], &from.0, &from.1.octets(), &to.0, &to.1.octets()].concat()
}

/// The kernel's `sockaddr_ll`.
#[repr(C)]
struct LinkAddress {
    family: u16,
    protocol: u16,
    index: i32,
    hardware: u16,
    kind: u8,
    length: u8,
    address: [u8; 8],
}

#[expect(unsafe_code, reason = "no safe call makes an address of a packet socket")]
pub(crate) fn link_address(index: u32, to: Mac) -> SockAddr {
    const AF_PACKET: u16 = 17;
    let mut address = [0; 8];
    address[..to.len()].copy_from_slice(&to);
    let all = LinkAddress {
        family: AF_PACKET,
        protocol: ETH_P_ARP.to_be(),
        index: i32::try_from(index).unwrap_or(0),
        hardware: 0,
        kind: 0,
        length: 6,
        address,
    };
    let mut storage = SockAddrStorage::zeroed();
    #[expect(clippy::cast_possible_truncation, reason = "20 bytes")]
    let length = size_of::<LinkAddress>() as socklen_t;
    // SAFETY: the layout is that of the kernel's sockaddr_ll, smaller than the storage, all of it set.
    unsafe {
        *storage.view_as::<LinkAddress>() = all;
        SockAddr::new(storage, length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(to: &str, via: Option<&str>, device: &str) -> Entry {
        Entry::Route {
            table: MAIN,
            to: to.parse().unwrap(),
            via: via.map(|ip| ip.parse().unwrap()),
            device: device.to_owned(),
            source: None,
            metric: 0,
            ours: true,
        }
    }

    #[test]
    fn what_is_reached_elsewhere_from_now_on_is_announced_single_addresses_first() {
        let peer = Some("10.99.0.2");
        let mut steps = vec![
            Step::Put(route("10.42.2.0/30", peer, "remudavx0")),
            Step::Put(route("10.42.1.20/32", peer, "remudavx0")),
            Step::Put(route("10.42.2.2/32", peer, "remudavx0")),
            Step::Take(route("10.42.3.9/32", None, "remuda0")),
            Step::Take(route("10.42.4.0/26", peer, "remudavx0")),
            Step::Put(route("10.42.5.1/32", None, "remuda0")),
        ];
        let told: Vec<String> = gone("remuda0", &steps).iter().map(ToString::to_string).collect();
        let expected =
            ["10.42.1.20", "10.42.2.2", "10.42.3.9", "10.42.2.0", "10.42.2.1", "10.42.2.3"];
        assert_eq!(told, expected);
        steps.push(Step::Put(route("10.43.0.0/16", peer, "remudavx0")));
        assert_eq!(gone("remuda0", &steps).len(), ANNOUNCED_ADDRESSES_MAX);
        let vxlan = crate::overlay::Vxlan {
            vni: 1,
            port: 1,
            local: None,
            learning: false,
            mac: [0; 6],
            mtu: 1450,
        };
        steps.push(Step::MakeDevice {
            device: "remudavx0".into(),
            made: crate::overlay::Device::Vxlan(vxlan),
        });
        assert!(gone("remuda0", &steps).is_empty(), "nobody knew of any");
    }
}
