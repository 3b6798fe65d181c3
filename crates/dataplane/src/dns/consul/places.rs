//! Where something is, as records of DNS say it.

use super::super::wire::Name;
use super::Node;
use model::catalog_view::{Fitness, Offer};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    V4(Ipv4Addr),
    V6(Ipv6Addr),
    /// A name of the internet, or one of ours.
    Host(Name),
}

impl Place {
    /// From what was registered; `None` when it is neither address nor name.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => Some(Self::V4(address)),
            Ok(IpAddr::V6(address)) => Some(Self::V6(address)),
            Err(_) => Name::parse(text.trim_end_matches('.')).map(Self::Host),
        }
    }

    pub(super) fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::V4(address) => Some((*address).into()),
            Self::V6(address) => Some((*address).into()),
            Self::Host(_) => None,
        }
    }
}

/// What an SRV record names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// To be ended by the domain that was asked for.
    Within(Name),
    /// As it is.
    Outside(Name),
}

/// One place where a service is offered and takes traffic.
#[derive(Debug)]
pub(super) struct Spot {
    /// As labels, in lower case; those that no question can have are left out.
    tags: Vec<Name>,
    pub(super) place: Place,
    /// It has an address of its own, and not its node's.
    pub(super) own: bool,
    pub(super) node: Option<Arc<Node>>,
    pub(super) port: u16,
    pub(super) weight: u16,
    pub(super) target: Target,
    /// It passes, and does not only warn.
    pub(super) passing: bool,
}

impl Spot {
    /// `None` when it takes no traffic, or nobody could be told where it is.
    pub(super) fn of(
        offer: &Offer,
        nodes: &HashMap<Name, Arc<Node>>,
        datacenter: &Name,
        only_passing: bool,
    ) -> Option<Self> {
        let name = Name::parse(&offer.node);
        let node = name.and_then(|name| nodes.get(name.as_wire())).cloned();
        let fitness = node.as_ref().map_or(offer.fitness, |node| node.fitness.max(offer.fitness));
        let weight = match fitness {
            Fitness::Passing => offer.passing,
            Fitness::Warning if !only_passing => offer.warning,
            Fitness::Warning | Fitness::Critical => return None,
        };
        let own = !offer.address.is_empty();
        let (place, target) = if own {
            let place = Place::parse(&offer.address)?;
            let target = match &place {
                Place::Host(name) => Target::Outside(name.clone()),
                Place::V4(address) => hex_name(&address.octets(), datacenter)?,
                Place::V6(address) => hex_name(&address.octets(), datacenter)?,
            };
            (place, target)
        } else {
            let node = node.as_ref()?;
            (node.place.clone(), Target::Within(node.target.clone()))
        };
        let tags = offer.tags.iter().filter_map(|tag| Name::parse(tag)).collect();
        let passing = fitness == Fitness::Passing;
        Some(Self { tags, place, own, node, port: offer.port, weight, target, passing })
    }

    pub(super) fn has(&self, tag: Tag<'_>) -> bool {
        match tag {
            Tag::Any => true,
            Tag::Labels(wire) => self.tags.iter().any(|tag| tag.as_wire() == wire),
            Tag::Text(text) => self.tags.iter().any(|tag| {
                tag.as_wire().split_first().is_some_and(|(length, rest)| {
                    usize::from(*length) == rest.len() && rest == text
                })
            }),
        }
    }
}

/// Which tag a question wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag<'a> {
    Any,
    /// Labels, each with its length.
    Labels(&'a [u8]),
    /// The text of one label.
    Text(&'a [u8]),
}

/// Labels one after the other; `None` when they are too long for a name.
pub(super) fn within(parts: &[&[u8]]) -> Option<Name> {
    let wire = parts.concat();
    (wire.len() < 255).then(|| Name::of_wire(&wire))
}

/// `0a2a0005.addr.dc1`.
fn hex_name(octets: &[u8], datacenter: &Name) -> Option<Target> {
    let hex: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    let length = [u8::try_from(hex.len()).ok()?];
    let parts: [&[u8]; 4] = [&length, hex.as_bytes(), b"\x04addr", datacenter.as_wire()];
    within(&parts).map(Target::Within)
}

/// `5.0.42.10.in-addr.arpa`, or the same of IPv6.
pub(super) fn reverse_name(address: IpAddr) -> Option<Name> {
    let text = match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let digits = address.octets().into_iter().rev();
            let digits = digits.map(|octet| format!("{:x}.{:x}.", octet & 0x0f, octet >> 4));
            format!("{}ip6.arpa", digits.collect::<String>())
        }
    };
    Name::parse(&text)
}
