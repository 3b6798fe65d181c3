//! From what was found to findings that explain and say what to do. Pure.

use super::{Evidence, Finding, PreflightOptions, ports};
use crate::Error;
use ipnet::Ipv4Net;

/// Bit of `CAP_NET_ADMIN` in a capability mask.
const NET_ADMIN: u64 = 1 << 12;

/// One finding for each check.
pub(super) fn judge(options: &PreflightOptions, seen: &Evidence) -> Vec<Finding> {
    vec![
        privileges(seen),
        nft(seen),
        forwarding(seen),
        link_local(options, seen),
        subnet(options, seen),
        port_use(options, seen),
        firewall(options, seen),
        tun(seen),
    ]
}

/// The mask in `CapEff:` of /proc/self/status.
pub(super) fn effective_capabilities(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

fn fine(check: &'static str) -> Finding {
    Finding { check, ok: true, problem: String::new(), fix: String::new() }
}

fn wrong(check: &'static str, problem: String, fix: impl Into<String>) -> Finding {
    Finding { check, ok: false, problem, fix: fix.into() }
}

/// A thing that could not be looked at is not fine.
fn unknown(check: &'static str, error: &Error) -> Finding {
    let mut problem = error.to_string();
    if let Some(source) = std::error::Error::source(error) {
        problem = format!("{problem}: {source}");
    }
    wrong(check, problem, "run remuda doctor as root")
}

fn privileges(seen: &Evidence) -> Finding {
    let check = "privileges";
    match seen.capabilities {
        Some(mask) if mask & NET_ADMIN != 0 => fine(check),
        _ => wrong(
            check,
            "this process has no CAP_NET_ADMIN: it cannot set addresses and rules, so containers \
             would find neither DNS nor balancers"
                .to_owned(),
            "run remuda as root (sudo), or give its unit AmbientCapabilities=CAP_NET_ADMIN",
        ),
    }
}

fn nft(seen: &Evidence) -> Finding {
    let check = "nft";
    match &seen.nft {
        Ok(()) => fine(check),
        Err(Error::NftMissing) => wrong(
            check,
            "the program nft is not installed: containers would find neither DNS nor metadata"
                .to_owned(),
            "install the package nftables: apt install nftables, dnf install nftables, or \
             apk add nftables",
        ),
        Err(Error::NftRefused { stderr }) if stderr.contains("Operation not permitted") => wrong(
            check,
            "the kernel does not let this process look at nftables".to_owned(),
            "run remuda doctor as root",
        ),
        Err(Error::NftRefused { stderr }) => wrong(
            check,
            format!("the kernel does not take our rules: {stderr}"),
            "use a kernel from 5.2 with nf_tables and NAT in the inet family \
             (CONFIG_NF_TABLES_INET, CONFIG_NFT_NAT); modprobe nft_chain_nat loads the module",
        ),
        Err(error) => unknown(check, error),
    }
}

/// Nothing but encryption needs it, so that it is no problem when it is missing.
fn tun(seen: &Evidence) -> Finding {
    let problem = match &seen.tun {
        Ok(()) => String::new(),
        Err(error) => format!(
            "/dev/net/tun cannot be used ({error}): `remuda net overlay wireguard` would carry nothing \
             here until it can (modprobe tun)"
        ),
    };
    Finding { problem, ..fine("tun") }
}

fn forwarding(seen: &Evidence) -> Finding {
    let check = "ip_forward";
    match &seen.forwarding {
        Ok(true) => fine(check),
        Ok(false) => wrong(
            check,
            "IPv4 forwarding is off: containers reach nobody outside this host (remuda switches \
             it on while it runs)"
                .to_owned(),
            "sysctl -w net.ipv4.ip_forward=1, and net.ipv4.ip_forward=1 in a file of \
             /etc/sysctl.d to keep it over a reboot",
        ),
        Err(error) => unknown(check, error),
    }
}

fn link_local(options: &PreflightOptions, seen: &Evidence) -> Finding {
    let check = "link_local";
    let addresses = match &seen.network {
        Ok(network) => &network.addresses,
        Err(error) => return unknown(check, error),
    };
    match addresses.iter().find(|a| a.ip == options.link_local && !a.ours) {
        None => fine(check),
        Some(a) => wrong(
            check,
            format!(
                "{} is set on {} already, by another program (a Rancher agent or a metadata \
                 proxy?): DNS and metadata of containers would be mixed up with its own",
                a.ip, a.device
            ),
            format!(
                "stop that program, then: ip address del {}/{} dev {}",
                a.ip, a.prefix, a.device
            ),
        ),
    }
}

fn subnet(options: &PreflightOptions, seen: &Evidence) -> Finding {
    let check = "subnet";
    let (addresses, routes) = match &seen.network {
        Ok(network) => (&network.addresses, &network.routes),
        Err(error) => return unknown(check, error),
    };
    let interfaces = addresses.iter().filter(|a| a.device != options.bridge).filter_map(|a| {
        let net = Ipv4Net::new(a.ip, a.prefix).ok()?.trunc();
        Some((net, format!("interface {} has {}/{}", a.device, a.ip, a.prefix)))
    });
    let routes = routes
        .iter()
        .filter(|(net, _device)| net.prefix_len() > 0)
        .map(|(net, device)| (*net, format!("a route to {net} goes through {device}")));
    let overlap = |net: &Ipv4Net| net.contains(&options.subnet) || options.subnet.contains(net);
    match interfaces.chain(routes).find(|(net, _)| overlap(net)) {
        None => fine(check),
        Some((_, what)) => wrong(
            check,
            format!(
                "{what}, which overlaps {}, the range of containers: one of them would be \
                 unreachable",
                options.subnet
            ),
            "choose another range for the environment when it is first made, e.g. \
             --subnet 10.142.0.0/16",
        ),
    }
}

fn port_use(options: &PreflightOptions, seen: &Evidence) -> Finding {
    let check = "ports";
    let holders = match &seen.holders {
        Ok(holders) => holders,
        Err(error) => return unknown(check, error),
    };
    let purposes = ports(options.link_local);
    let taken: Vec<String> = holders
        .iter()
        .filter(|h| !h.program.as_ref().is_some_and(|p| options.own_programs.contains(&p.name)))
        .map(|h| {
            let purpose = purposes.iter().find(|(port, _)| *port == h.wanted).map_or("", |p| p.1);
            format!("{}/{} ({purpose}) is taken by {h}", h.wanted.1, h.wanted.0)
        })
        .collect();
    if taken.is_empty() {
        fine(check)
    } else {
        wrong(
            check,
            format!("port {}", taken.join("; port ")),
            "stop the program or move it to another port",
        )
    }
}

fn firewall(options: &PreflightOptions, seen: &Evidence) -> Finding {
    let check = "firewall";
    // Docker adds its accept rules together with the bridge.
    let bridge_exists = seen.network.as_ref().is_ok_and(|network| network.bridge_exists);
    let harmful = seen.strict.iter().find(|s| s.hook == "input" || bridge_exists);
    let bridge = &options.bridge;
    match harmful {
        None => fine(check),
        Some(s) if s.hook == "input" => wrong(
            check,
            format!(
                "chain {} of table {} drops what no rule accepts, and no rule of it names \
                 {bridge}: containers would reach neither DNS nor metadata nor balancers of this \
                 host",
                s.chain, s.table
            ),
            format!(
                "let containers in, e.g.: iptables -I INPUT -i {bridge} -j ACCEPT, or \
                 ufw allow in on {bridge}, or firewall-cmd --permanent --zone=trusted \
                 --add-interface={bridge}"
            ),
        ),
        Some(s) => wrong(
            check,
            format!(
                "chain {} of table {} drops what no rule accepts, and no rule of it names \
                 {bridge}: containers would reach nobody outside this host",
                s.chain, s.table
            ),
            format!(
                "let docker manage its rules (no \"iptables\": false in daemon.json), or: \
                 iptables -I FORWARD -i {bridge} -j ACCEPT"
            ),
        ),
    }
}

#[cfg(test)]
mod tests;
