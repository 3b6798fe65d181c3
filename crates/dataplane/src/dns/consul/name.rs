//! What a name below the domain of Consul asks for.

use super::super::wire::TYPE_SRV;
use super::places::Tag;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Most labels of a name before its domain.
const LABELS_MAX: usize = 24;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked<'a> {
    /// The domain itself.
    Apex,
    /// A service, by the text of its label.
    Service { label: &'a [u8], tag: Tag<'a> },
    /// A node, by its name as labels.
    Node(&'a [u8]),
    /// A prepared query, by its name as labels.
    Query(&'a [u8]),
    /// An address that is in the name.
    Address(IpAddr),
    /// Nothing that there could be.
    Nothing,
}

/// Labels of a name, with where each begins.
struct Labels<'a> {
    wire: &'a [u8],
    starts: [usize; LABELS_MAX],
    count: usize,
}

impl<'a> Labels<'a> {
    fn of(wire: &'a [u8]) -> Option<Self> {
        let mut labels = Self { wire, starts: [0; LABELS_MAX], count: 0 };
        let mut at = 0;
        while let Some(length) = wire.get(at) {
            *labels.starts.get_mut(labels.count)? = at;
            labels.count += 1;
            at += 1 + usize::from(*length);
        }
        Some(labels)
    }

    fn text(&self, n: usize) -> &'a [u8] {
        let Some(start) = self.starts.get(n).filter(|_| n < self.count) else { return &[] };
        let length = self.wire.get(*start).map_or(0, |length| usize::from(*length));
        self.wire.get(start + 1..start + 1 + length).unwrap_or_default()
    }

    /// The first `n` labels with their lengths.
    fn first(&self, n: usize) -> &'a [u8] {
        let end = if n < self.count { self.starts.get(n).copied() } else { Some(self.wire.len()) };
        end.and_then(|end| self.wire.get(..end)).unwrap_or_default()
    }
}

/// Reads what is before the domain, in lower case, for a question of this type. `datacenter` is ours,
/// as one label with its length.
pub(super) fn read<'a>(relative: &'a [u8], kind: u16, datacenter: &[u8]) -> Asked<'a> {
    if relative.is_empty() {
        return Asked::Apex;
    }
    let Some(labels) = Labels::of(relative) else { return Asked::Nothing };
    for at in (0..labels.count).rev() {
        let word = labels.text(at);
        let known: &[&[u8]] = &[b"service", b"node", b"addr", b"query"];
        let (word, parts, after) = if known.contains(&word) {
            (word, at, at + 1)
        } else if kind == TYPE_SRV && word.first() == Some(&b'_') {
            // The word may be left out of an SRV question.
            (&b"service"[..], at + 1, at + 1)
        } else if [&b"connect"[..], b"ingress", b"virtual"].contains(&word) {
            return Asked::Nothing;
        } else {
            continue;
        };
        if parts == 0 || !is_here(&labels, after, datacenter) {
            return Asked::Nothing;
        }
        return match word {
            b"service" => service(&labels, parts),
            b"node" => Asked::Node(labels.first(parts)),
            b"query" => Asked::Query(labels.first(parts)),
            _ if parts == 1 => address(labels.text(0)).map_or(Asked::Nothing, Asked::Address),
            _ => Asked::Nothing,
        };
    }
    Asked::Nothing
}

/// Nothing, `<dc>` or `<dc>.dc`, and the datacenter is ours.
fn is_here(labels: &Labels<'_>, at: usize, datacenter: &[u8]) -> bool {
    let ours = || datacenter.get(1..) == Some(labels.text(at));
    match labels.count - at {
        0 => true,
        1 => ours(),
        2 => ours() && labels.text(at + 1) == b"dc",
        _ => false,
    }
}

fn service<'a>(labels: &Labels<'a>, parts: usize) -> Asked<'a> {
    let begins = |n: usize| labels.text(n).first() == Some(&b'_');
    if parts == 2 && begins(0) && begins(1) {
        let (label, tag) = (&labels.text(0)[1..], &labels.text(1)[1..]);
        let tag = if tag == b"tcp" { Tag::Any } else { Tag::Text(tag) };
        return Asked::Service { label, tag };
    }
    let tag = match labels.first(parts - 1) {
        [] => Tag::Any,
        tag => Tag::Labels(tag),
    };
    Asked::Service { label: labels.text(parts - 1), tag }
}

fn address(hex: &[u8]) -> Option<IpAddr> {
    let text =
        std::str::from_utf8(hex).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))?;
    match text.len() {
        8 => Some(Ipv4Addr::from(u32::from_str_radix(text, 16).ok()?).into()),
        32 => Some(Ipv6Addr::from(u128::from_str_radix(text, 16).ok()?).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::wire::{Name, TYPE_A};
    use super::*;

    #[test]
    fn every_form_of_a_name_is_understood() {
        let tag = |text: &'static str| Box::leak(Box::new(Name::parse(text).unwrap())).as_wire();
        let web = |tag| Asked::Service { label: b"web", tag };
        let v4 = Asked::Address(IpAddr::from([10, 42, 0, 5]));
        for (name, kind, expect) in [
            ("web.service", TYPE_A, web(Tag::Any)),
            ("web.service.dc1", TYPE_A, web(Tag::Any)),
            ("web.service.dc1.dc", TYPE_A, web(Tag::Any)),
            ("web.service.dc2", TYPE_A, Asked::Nothing),
            ("web.service.dc1.peer", TYPE_A, Asked::Nothing),
            ("web.service.x.dc1.dc", TYPE_A, Asked::Nothing),
            ("v1.web.service", TYPE_A, web(Tag::Labels(tag("v1")))),
            ("a.b.web.service.dc1", TYPE_A, web(Tag::Labels(tag("a.b")))),
            ("_web._tcp.service", TYPE_A, web(Tag::Any)),
            ("_web._v1.service.dc1", TYPE_SRV, web(Tag::Text(b"v1"))),
            ("_web._tcp", TYPE_SRV, web(Tag::Any)),
            ("_web._v1.dc1", TYPE_SRV, web(Tag::Text(b"v1"))),
            ("_web._tcp", TYPE_A, Asked::Nothing),
            ("service", TYPE_A, Asked::Nothing),
            ("web", TYPE_A, Asked::Nothing),
            ("web.connect", TYPE_A, Asked::Nothing),
            ("web.query", TYPE_A, Asked::Query(tag("web"))),
            ("web.query.dc1", TYPE_A, Asked::Query(tag("web"))),
            ("web.query.dc2", TYPE_A, Asked::Nothing),
            ("a.b.query", TYPE_A, Asked::Query(tag("a.b"))),
            ("query", TYPE_A, Asked::Nothing),
            ("h1.node", TYPE_A, Asked::Node(tag("h1"))),
            ("h1.lan.node.dc1", TYPE_A, Asked::Node(tag("h1.lan"))),
            ("node", TYPE_A, Asked::Nothing),
            ("0a2a0005.addr", TYPE_A, v4),
            ("0a2a0005.addr.dc1", TYPE_A, v4),
            ("0a2a0005.addr.dc2", TYPE_A, Asked::Nothing),
            ("+a2a0005.addr", TYPE_A, Asked::Nothing),
            ("0a2a00.addr", TYPE_A, Asked::Nothing),
            ("x.0a2a0005.addr", TYPE_A, Asked::Nothing),
        ] {
            let wire = Name::parse(name).unwrap();
            assert_eq!(read(wire.as_wire(), kind, b"\x03dc1"), expect, "{name} {kind}");
        }
        assert_eq!(read(&[], TYPE_A, b"\x03dc1"), Asked::Apex);
        let long = Name::parse(&["a"; 40].join(".")).unwrap();
        assert_eq!(read(long.as_wire(), TYPE_A, b"\x03dc1"), Asked::Nothing);
    }
}
