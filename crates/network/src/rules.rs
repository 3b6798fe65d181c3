//! The text of our one nftables table. Pure. It is loaded as one batch: the kernel swaps the old
//! table for the new one at once, so that no packet meets a gap.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

/// The table; nobody else's rules are ever named.
pub(crate) const TABLE: &str = "remuda";

/// Takes the table away; `add` first, so that it is no error when there is none.
pub(crate) const DROP: &str = "add table inet remuda\ndelete table inet remuda\n";

/// What the rules are made of.
#[derive(Clone, Debug)]
pub(crate) struct RuleSet<'a> {
    pub(crate) link_local: Ipv4Addr,
    pub(crate) dns: SocketAddr,
    pub(crate) metadata: SocketAddr,
    /// Bridges of all environments on this host.
    pub(crate) bridges: BTreeSet<&'a str>,
}

impl RuleSet<'_> {
    /// As `nft -f` reads it.
    ///
    /// - `dnat`, not `redirect`: the destination address stays, so the answer comes from where the
    ///   question went, and source addresses are never touched.
    /// - Priority -105 is before Docker's own chains (-100): a container that publishes :80 on all
    ///   addresses of the host does not take the metadata service away.
    /// - The shield stands before connection tracking (-300 is `raw`): what comes in by a
    ///   physical interface leaves no trace.
    pub(crate) fn text(&self) -> String {
        let Self { link_local, dns, metadata, bridges } = self;
        let mut callers = String::new();
        for name in ["lo"].into_iter().chain(bridges.iter().copied()).chain(["docker0", "br-*"]) {
            callers.push_str(&format!("    iifname \"{name}\" return\n"));
        }
        format!(
            "{DROP}table inet {TABLE} {{
  chain callers {{
{callers}    drop
  }}
  chain shield {{
    type filter hook prerouting priority -300; policy accept;
    ip daddr {link_local} jump callers
  }}
  chain services {{
    ip daddr {link_local} udp dport 53 dnat ip to {dns}
    ip daddr {link_local} tcp dport 53 dnat ip to {dns}
    ip daddr {link_local} tcp dport 80 dnat ip to {metadata}
  }}
  chain from_containers {{
    type nat hook prerouting priority -105; policy accept;
    jump services
  }}
  chain from_host {{
    type nat hook output priority -105; policy accept;
    jump services
  }}
}}
"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_swapped_whole_and_lets_only_local_callers_in() {
        let at = |port| SocketAddr::from((crate::LINK_LOCAL, port));
        let text = RuleSet {
            link_local: crate::LINK_LOCAL,
            dns: at(7653),
            metadata: at(7680),
            bridges: BTreeSet::from(["remuda0", "remuda1"]),
        }
        .text();
        assert!(text.starts_with("add table inet remuda\ndelete table inet remuda\ntable inet"));
        for table in text.lines().filter(|l| l.contains("table ")) {
            assert!(table.contains("table inet remuda"), "names a table of somebody else: {table}");
        }
        let order = ["\"lo\"", "\"remuda0\"", "\"remuda1\"", "\"docker0\"", "\"br-*\"", "    drop"];
        let places: Vec<_> = order.iter().map(|part| text.find(part).unwrap()).collect();
        assert!(places.is_sorted(), "the drop must come last: {places:?}");
        assert_eq!(text.matches("dnat ip to 169.254.169.250:7653").count(), 2);
        assert_eq!(text.matches("dnat ip to 169.254.169.250:7680").count(), 1);
        assert!(!text.contains("redirect") && !text.contains("masquerade"));
    }
}
