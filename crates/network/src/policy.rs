//! The rules of a network policy as nftables has them. Pure.
//!
//! Packets from one container to another of the same bridge are switched and not routed: they pass
//! these rules only when the bridge says so (`Setting::CallsIptables`).

use ipnet::Ipv4Net;
use model::policy::{Guard, GuardRule, HostPolicy, PolicyAction, PolicyPorts, Unlisted};
use model::service::Transport;
use std::collections::{BTreeMap, BTreeSet};

/// Chains of one bridge's policy; nothing when there is none.
///
/// - What is open stays open: only the first packet of a connection is judged.
/// - What hosts send themselves, probes and balancers among it, has an address outside of the range
///   and is let through. A container that pretends to such an address is not, wherever it sends to:
///   its own host does not let the packet out.
/// - Only the range is IPv4: containers must not go around it by IPv6 addresses of the link.
/// - What is for all neighbours, by broadcast or multicast, has no guard: it goes by the default.
/// - An accept ends only this look at a packet; Docker's own chains still see it.
/// - A refusal is told by ICMP, so that who connects hears "no route to host" at once.
pub(crate) fn text(bridge: &str, subnet: Ipv4Net, policy: &HostPolicy) -> String {
    if policy.is_off() {
        return String::new();
    }
    let name = chain_name(bridge);
    let sets: BTreeMap<&str, String> = (0..)
        .zip(policy.sources.keys())
        .map(|(n, of)| (of.as_str(), format!("policy_{name}_s{n}")))
        .collect();
    let guards: BTreeMap<&str, String> = (0..)
        .zip(policy.guards.keys())
        .map(|(n, of)| (of.as_str(), format!("policy_{name}_g{n}")))
        .collect();
    let mut text = String::new();
    for (of, set) in &sets {
        let addresses = policy.sources.get(*of).map(listed).unwrap_or_default();
        text +=
            &format!("  set {set} {{\n    type ipv4_addr; elements = {{ {addresses} }}\n  }}\n");
    }
    for (of, chain) in &guards {
        let Some(guard) = policy.guards.get(*of) else { continue };
        text += &format!("  chain {chain} {{\n{}  }}\n", guard_text(guard, &sets));
    }
    let jumps = policy
        .guarded
        .iter()
        .filter_map(|(address, of)| Some(format!("{address} : jump {}", guards.get(of.as_str())?)));
    let jumps: Vec<String> = jumps.collect();
    let map = match jumps.is_empty() {
        true => String::new(),
        false => format!("    ip daddr vmap {{ {} }}\n", jumps.join(", ")),
    };
    let (rest, to_all) = match policy.unlisted {
        Unlisted::Deny => (format!("    {REFUSE}\n"), "drop"),
        Unlisted::Allow | Unlisted::Off => (String::new(), "accept"),
    };
    text + &format!(
        "  chain policy_{name}_to_containers {{
    type filter hook forward priority -5; policy accept;
    iifname \"{bridge}\" ip saddr != {subnet} drop
    oifname != \"{bridge}\" accept
    ct state established,related accept
    iifname \"{bridge}\" meta nfproto ipv6 drop
    ip saddr != {subnet} accept
    ip daddr != {subnet} {to_all}
{map}{rest}  }}
  chain policy_{name}_to_balancers {{
    type filter hook input priority -5; policy accept;
    iifname \"lo\" accept
    ct state established,related accept
    ip saddr != {subnet} accept
{map}  }}
"
    )
}

const REFUSE: &str = "reject with icmpx admin-prohibited";

/// A name may have characters that a chain's may not.
pub(crate) fn chain_name(bridge: &str) -> String {
    bridge.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

fn listed<T: ToString>(all: &BTreeSet<T>) -> String {
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    all.join(", ")
}

fn guard_text(guard: &Guard, sets: &BTreeMap<&str, String>) -> String {
    let mut text = String::new();
    for rule in &guard.rules {
        let source = match &rule.from {
            None => String::new(),
            // Who nobody is opens no connection.
            Some(of) => match sets.get(of.as_str()) {
                Some(set) => format!("ip saddr @{set} "),
                None => continue,
            },
        };
        for ports in port_words(rule) {
            text += &format!("    {source}{ports}{}\n", verdict(rule.action));
        }
    }
    text + &format!("    {}\n", verdict(guard.default))
}

fn verdict(action: PolicyAction) -> &'static str {
    match action {
        PolicyAction::Allow => "accept",
        PolicyAction::Deny => REFUSE,
    }
}

/// One condition for each protocol that the ports are of; an empty one when there are none.
fn port_words(rule: &GuardRule) -> Vec<String> {
    if rule.ports.is_empty() {
        return vec![String::new()];
    }
    let over = |transport: Transport| {
        let all = rule.ports.iter().filter(|p| p.transport.is_none_or(|own| own == transport));
        let ports: Vec<String> =
            merged(all).iter().map(|(first, last)| range(*first, *last)).collect();
        (!ports.is_empty()).then(|| format!("{transport} dport {{ {} }} ", ports.join(", ")))
    };
    [Transport::Tcp, Transport::Udp].into_iter().filter_map(over).collect()
}

fn range(first: u16, last: u16) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

/// Ranges that overlap are one: nftables refuses them otherwise.
fn merged<'a>(ports: impl Iterator<Item = &'a PolicyPorts>) -> Vec<(u16, u16)> {
    let sorted: BTreeSet<(u16, u16)> = ports.map(|ports| (ports.first, ports.last)).collect();
    let mut merged: Vec<(u16, u16)> = vec![];
    for (first, last) in sorted {
        match merged.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(action: PolicyAction, from: Option<&str>, ports: &[&str]) -> GuardRule {
        let ports = ports.iter().map(|text| text.parse().unwrap()).collect();
        GuardRule { action, from: from.map(str::to_owned), ports }
    }

    #[test]
    fn a_guard_is_a_chain_that_ends_in_its_default() {
        use PolicyAction::{Allow, Deny};
        let rules = vec![
            rule(Deny, Some("service shop/batch"), &[]),
            rule(Allow, Some("stack shop"), &["5432", "53/udp", "5000-5433/tcp"]),
            rule(Allow, Some("nobody"), &[]),
            rule(Allow, None, &["80/tcp"]),
        ];
        let address = |text: &str| text.parse().unwrap();
        let policy = HostPolicy {
            unlisted: Unlisted::Deny,
            guarded: [(address("10.42.0.7"), "shop/db".to_owned())].into(),
            guards: [("shop/db".to_owned(), Guard { rules, default: Deny })].into(),
            sources: [
                ("service shop/batch".to_owned(), [address("10.42.0.9")].into()),
                ("stack shop".to_owned(), ["10.42.0.7", "10.42.1.8"].map(address).into()),
            ]
            .into(),
        };
        let text = text("remuda0", "10.42.0.0/16".parse().unwrap(), &policy);
        let guard = "  chain policy_remuda0_g0 {
    ip saddr @policy_remuda0_s0 reject with icmpx admin-prohibited
    ip saddr @policy_remuda0_s1 tcp dport { 5000-5433 } accept
    ip saddr @policy_remuda0_s1 udp dport { 53, 5432 } accept
    tcp dport { 80 } accept
    reject with icmpx admin-prohibited
  }
";
        assert!(text.contains(guard), "{text}");
        assert!(text.contains("elements = { 10.42.0.7, 10.42.1.8 }"), "{text}");
        assert_eq!(text.matches("ip daddr vmap { 10.42.0.7 : jump policy_remuda0_g0 }").count(), 2);
        let ends: Vec<&str> = text.lines().filter(|line| line.ends_with(REFUSE)).collect();
        assert_eq!(ends.len(), 3, "the last one is for what is not listed: {text}");
    }

    #[test]
    fn without_a_policy_there_are_no_rules() {
        let subnet = "10.42.0.0/16".parse().unwrap();
        assert_eq!(text("remuda0", subnet, &HostPolicy::default()), "");
        let open = HostPolicy { unlisted: Unlisted::Allow, ..HostPolicy::default() };
        let text = text("remuda0", subnet, &open);
        assert!(text.contains("hook forward") && !text.contains("reject"), "{text}");
    }
}
