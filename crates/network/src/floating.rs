//! A floating address while this process holds it: the address itself, which goes with the process
//! however that ends, and the ARP for it, which the kernel is kept from speaking.

mod device;
mod segment;

pub use device::FloatingAddress;
pub use segment::{Question, Segment};

use crate::Error;
use crate::linux::nft::{self, Mode};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Takes our table away; `add` first, so that it is no error when there is none.
const DROP: &str = "add table arp remuda\ndelete table arp remuda\n";

/// Keeps the kernel from answering for these addresses, whether they are here or not, and from
/// asking in their name: it asks with the address of the host instead, which stands behind each.
///
/// # Errors
/// When there is no `nft`, or it refuses.
pub async fn silence(addresses: &BTreeMap<Ipv4Addr, Ipv4Addr>) -> Result<(), Error> {
    nft::feed(Mode::Load, &text(addresses)).await
}

/// Takes back what `silence` did, if it did anything.
///
/// # Errors
/// When there is no `nft`, or it refuses.
pub async fn speak_again() -> Result<(), Error> {
    nft::feed(Mode::Load, DROP).await
}

fn text(addresses: &BTreeMap<Ipv4Addr, Ipv4Addr>) -> String {
    let rules: String = addresses
        .iter()
        .map(|(address, own)| {
            format!(
                "    arp saddr ip {address} arp operation reply drop\n    \
                     arp saddr ip {address} arp saddr ip set {own}\n"
            )
        })
        .collect();
    format!(
        "{DROP}table arp remuda {{
  chain floating {{
    type filter hook output priority 0; policy accept;
{rules}  }}
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_floating_addresses_are_kept_silent() {
        let own = Ipv4Addr::new(192, 0, 2, 1);
        let text = text(&BTreeMap::from([(Ipv4Addr::new(192, 0, 2, 50), own)]));
        assert!(text.starts_with(DROP), "the table is swapped whole");
        assert!(text.contains("arp saddr ip 192.0.2.50 arp operation reply drop"), "{text}");
        assert!(text.contains("arp saddr ip 192.0.2.50 arp saddr ip set 192.0.2.1"), "{text}");
        assert_eq!(text.matches("drop").count(), 1, "nobody else is touched: {text}");
    }
}
