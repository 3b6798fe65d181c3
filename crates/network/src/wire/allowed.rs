//! Who is behind an address: where a packet goes, and who may send one from there. Pure.

use ipnet::Ipv4Net;
use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

/// Ranges with their owners; the longest one that has an address counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Allowed {
    owners: HashMap<(u8, u32), Option<usize>>,
    /// The lengths that there are, the longest first.
    lengths: Vec<u8>,
}

impl Allowed {
    /// Ranges with the number of their owner, none for this host; of two owners the first counts.
    pub(super) fn new(ranges: impl Iterator<Item = (Ipv4Net, Option<usize>)>) -> Self {
        let mut owners = HashMap::new();
        for (range, owner) in ranges {
            let key = (range.prefix_len(), u32::from(range.network()));
            owners.entry(key).or_insert(owner);
        }
        let lengths: BTreeSet<u8> = owners.keys().map(|(length, _)| *length).collect();
        Self { owners, lengths: lengths.into_iter().rev().collect() }
    }

    /// The owner of an address; none when it is here, or nobody's.
    pub(super) fn owner(&self, address: Ipv4Addr) -> Option<usize> {
        let address = u32::from(address);
        let mut lengths = self.lengths.iter();
        lengths.find_map(|length| {
            let mask = u32::MAX.checked_shl(32 - u32::from(*length)).unwrap_or(0);
            self.owners.get(&(*length, address & mask)).copied()
        })?
    }
}

/// The destination of a packet; none of what is no IPv4.
pub(super) fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    let bytes: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
    (packet.first()? >> 4 == 4).then(|| Ipv4Addr::from(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_range_that_has_an_address_says_whose_it_is() {
        let net = |text: &str| text.parse::<Ipv4Net>().unwrap();
        let allowed = Allowed::new(
            [
                (net("10.42.1.0/26"), Some(0)),
                (net("10.42.2.0/26"), Some(1)),
                (net("10.42.1.9/32"), Some(1)),
                (net("10.42.2.5/32"), None),
                (net("10.42.0.0/26"), None),
                (net("10.42.2.0/26"), Some(0)),
                (net("192.0.2.2/32"), Some(0)),
            ]
            .into_iter(),
        );
        for (address, owner) in [
            ("10.42.1.1", Some(0)),
            ("10.42.1.9", Some(1)),
            ("10.42.2.9", Some(1)),
            ("10.42.2.5", None),
            ("10.42.0.7", None),
            ("10.42.9.9", None),
            ("192.0.2.2", Some(0)),
            ("192.0.2.3", None),
        ] {
            assert_eq!(allowed.owner(address.parse().unwrap()), owner, "{address}");
        }
        let all = Allowed::new([(net("0.0.0.0/0"), Some(7))].into_iter());
        assert_eq!(all.owner(Ipv4Addr::BROADCAST), Some(7));
    }

    #[test]
    fn what_is_no_ipv4_packet_has_no_address() {
        let mut packet = [0_u8; 20];
        packet[0] = 0x45;
        packet[16..20].copy_from_slice(&[10, 42, 1, 1]);
        assert_eq!(destination(&packet), Some(Ipv4Addr::new(10, 42, 1, 1)));
        packet[0] = 0x60;
        assert_eq!(destination(&packet), None);
        assert_eq!(destination(&[0x45; 19]), None);
        assert_eq!(destination(&[]), None);
    }
}
