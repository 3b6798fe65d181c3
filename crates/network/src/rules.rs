//! The text of our one nftables table. Pure. It is loaded as one batch: the kernel swaps the old
//! table for the new one at once, so that no packet meets a gap.

use crate::overlay::OverlayTrace;
use crate::policy;
use ipnet::Ipv4Net;
use model::policy::HostPolicy;
use std::collections::{BTreeMap, BTreeSet};
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
    /// Overlays by their bridge.
    pub(crate) overlays: BTreeMap<&'a str, &'a OverlayTrace>,
    /// Network policies by their bridge, with its range.
    pub(crate) policies: BTreeMap<&'a str, (Ipv4Net, &'a HostPolicy)>,
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
        let Self { link_local, dns, metadata, bridges, overlays, policies } = self;
        let consul = crate::CONSUL_PORT;
        let overlays: String =
            overlays.iter().map(|(bridge, trace)| overlay_text(bridge, trace, bridges)).collect();
        let policies: String = policies
            .iter()
            .map(|(bridge, (subnet, policy))| policy::text(bridge, *subnet, policy))
            .collect();
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
    ip daddr {link_local} tcp dport 8500 dnat ip to {link_local}:{consul}
  }}
  chain from_containers {{
    type nat hook prerouting priority -105; policy accept;
    jump services
  }}
  chain from_host {{
    type nat hook output priority -105; policy accept;
    jump services
  }}
{overlays}{policies}}}
"
        )
    }
}

/// Chains of one overlay.
///
/// - VXLAN of our VNI is taken from the peers alone; other people's VXLAN on the same port is not
///   looked at. The VNI is the three bytes after the UDP header and the first word of VXLAN's.
/// - What comes out of the overlay goes to its bridge or to the host, and nowhere else.
/// - A TCP connection learns at its start what fits through the overlay.
/// - A container with another network too would answer other hosts by that one: to it they come
///   from the bridge.
/// - Where everything between hosts is encrypted, nothing else is: what is for a container elsewhere, or
///   from one here to another host, leaves by the device or not at all. After routing, since that is
///   what may have gone wrong. VXLAN of our VNI is taken from nobody.
/// - Sources stay: Docker masquerades all that leaves a bridge. Rewriting an address to itself
///   before that (100) settles the matter for the connection; an accept would not.
fn overlay_text(bridge: &str, trace: &OverlayTrace, local: &BTreeSet<&str>) -> String {
    let OverlayTrace { device, subnet, vni, port, peers, sealed, apart } = trace;
    let mut text = String::new();
    if let Some(device) = device {
        let mut known = String::new();
        if !peers.is_empty() {
            known = format!("    ip saddr {{ {} }} return\n", listed(peers));
        }
        text = format!(
            "  chain {device}_senders {{
{known}    drop
  }}
  chain {device}_in {{
    type filter hook input priority 0; policy accept;
    udp dport {port} @th,96,24 {vni} jump {device}_senders
  }}
  chain {device}_through {{
    type filter hook forward priority 0; policy accept;
    iifname \"{device}\" oifname != \"{bridge}\" drop
    oifname \"{device}\" iifname != \"{bridge}\" drop
    oifname \"{device}\" tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
  }}
"
        );
    }
    if let Some(device) = device.as_ref().filter(|_| !sealed.is_empty()) {
        let local: String = local
            .iter()
            .filter(|name| **name != bridge)
            .map(|name| format!("    oifname \"{name}\" return\n"))
            .collect();
        text += &format!(
            "  chain {device}_sealed {{
    type filter hook postrouting priority 0; policy accept;
    oifname {{ \"{bridge}\", \"{device}\", \"lo\" }} return
{local}    ip daddr {subnet} drop
    ip saddr {subnet} ip daddr {{ {} }} drop
  }}
",
            listed(sealed)
        );
    }
    let chain = policy::chain_name(bridge);
    let mut bridged = String::new();
    if !apart.is_empty() {
        let gateway = model::host::gateway(*subnet);
        bridged = format!(
            "    ip saddr != {subnet} ip daddr {{ {} }} oifname \"{bridge}\" snat ip to {gateway}\n",
            listed(apart)
        );
    }
    text + &format!(
        "  chain sources_{chain} {{
    type nat hook postrouting priority 95; policy accept;
    ip saddr {subnet} ip daddr {subnet} oifname != \"{bridge}\" snat ip to ip saddr
{bridged}  }}
"
    )
}

fn listed(addresses: &BTreeSet<Ipv4Addr>) -> String {
    let all: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    all.join(", ")
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
            overlays: BTreeMap::new(),
            policies: BTreeMap::new(),
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
        let consul = "tcp dport 8500 dnat ip to 169.254.169.250:7685\n";
        assert_eq!(text.matches(consul).count(), 1);
        assert!(!text.contains("redirect") && !text.contains("masquerade"));
    }

    #[test]
    fn who_would_answer_another_way_is_asked_by_the_bridge() {
        let mut trace = OverlayTrace {
            device: Some("remudavx0".into()),
            subnet: "10.42.0.0/16".parse().unwrap(),
            vni: 7,
            port: 4789,
            peers: BTreeSet::new(),
            sealed: BTreeSet::new(),
            apart: BTreeSet::new(),
        };
        assert!(
            !overlay_text("remuda0", &trace, &BTreeSet::new()).contains("snat ip to 10.42.0.1")
        );
        trace.apart = ["10.42.7.7", "10.42.7.9"].map(|ip| ip.parse().unwrap()).into();
        let text = overlay_text("remuda0", &trace, &BTreeSet::new());
        let rule = "ip saddr != 10.42.0.0/16 ip daddr { 10.42.7.7, 10.42.7.9 } \
                    oifname \"remuda0\" snat ip to 10.42.0.1\n";
        assert!(text.contains(rule), "{text}");
    }

    #[test]
    fn what_is_to_be_encrypted_leaves_by_its_device_or_not_at_all() {
        let mut trace = OverlayTrace {
            device: Some("remudawg0".into()),
            subnet: "10.42.0.0/16".parse().unwrap(),
            vni: 7,
            port: 4789,
            peers: BTreeSet::new(),
            sealed: BTreeSet::new(),
            apart: BTreeSet::new(),
        };
        assert!(!overlay_text("remuda0", &trace, &BTreeSet::new()).contains("_sealed"));
        trace.sealed = ["192.0.2.2", "192.0.2.3"].map(|ip| ip.parse().unwrap()).into();
        let text = overlay_text("remuda0", &trace, &BTreeSet::from(["remuda0", "veth*"]));
        assert!(text.contains("    oifname \"veth*\" return\n"), "what is here stays here: {text}");
        let text = overlay_text("remuda0", &trace, &BTreeSet::new());
        let lines = [
            "chain remudawg0_senders {\n    drop\n",
            "udp dport 4789 @th,96,24 7 jump remudawg0_senders\n",
            "oifname { \"remuda0\", \"remudawg0\", \"lo\" } return\n    ip daddr 10.42.0.0/16 drop\n",
            "ip saddr 10.42.0.0/16 ip daddr { 192.0.2.2, 192.0.2.3 } drop\n",
            "iifname \"remudawg0\" oifname != \"remuda0\" drop\n",
        ];
        for line in lines {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
