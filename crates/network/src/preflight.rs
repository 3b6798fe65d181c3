//! What `remuda doctor` says of a host's network. It looks and changes nothing (rules are checked
//! by `nft -c`, which the kernel throws away); `judge` does the thinking.

mod firewall;
mod judge;

use crate::linux::{nft, read_forwarding, route};
use crate::plan::Address;
use crate::rules::RuleSet;
use crate::sockets::{self, Holder, HostPort};
use crate::{CONSUL_PORT, DNS_PORT, Error, LINK_LOCAL, METADATA_PORT};
use firewall::Strict;
use ipnet::Ipv4Net;
use model::service::Transport;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What: `privileges`, `nft`, `ip_forward`, `link_local`, `subnet`, `ports`, `firewall`,
    /// `tun`.
    pub check: &'static str,
    /// Is it as it must be?
    pub ok: bool,
    /// What is wrong and what comes of it; empty when nothing is.
    pub problem: String,
    /// What to do; empty when nothing is.
    pub fix: String,
}

/// What the host is judged for.
#[derive(Clone, Debug)]
pub struct PreflightOptions {
    /// Bridge of the environment: what is on it is not a clash.
    pub bridge: String,
    /// Range of the environment.
    pub subnet: Ipv4Net,
    /// Address of DNS and metadata.
    pub link_local: Ipv4Addr,
    /// Names of programs whose ports are ours already.
    pub own_programs: Vec<String>,
}

impl PreflightOptions {
    /// The usual: `remuda0`, 169.254.169.250, programs called `remuda`.
    #[must_use]
    pub fn new(subnet: Ipv4Net) -> Self {
        Self {
            bridge: "remuda0".to_owned(),
            subnet,
            link_local: LINK_LOCAL,
            own_programs: vec!["remuda".to_owned()],
        }
    }
}

/// What was found on the host; `Err` holds why a thing could not be looked at.
#[derive(Debug)]
struct Evidence {
    /// Effective capabilities, from /proc/self/status.
    capabilities: Option<u64>,
    nft: Result<(), Error>,
    forwarding: Result<bool, Error>,
    network: Result<Network, Error>,
    holders: Result<Vec<Holder>, Error>,
    strict: Vec<Strict>,
    /// Can a TUN device be made?
    tun: std::io::Result<()>,
}

/// Interfaces as they are.
#[derive(Debug)]
struct Network {
    addresses: Vec<Address>,
    /// With their devices; those of the bridge itself are left out.
    routes: Vec<(Ipv4Net, String)>,
    bridge_exists: bool,
}

/// Ports that Remuda's own processes listen on, and what each is for.
fn ports(link_local: Ipv4Addr) -> Vec<(HostPort, &'static str)> {
    let loopback = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let link_local = Some(IpAddr::V4(link_local));
    let (tcp, udp) = (Transport::Tcp, Transport::Udp);
    vec![
        ((tcp, 7600, loopback), "API"),
        ((tcp, 7602, loopback), "state of the dataplane"),
        ((tcp, 8600, loopback), "DNS for the host"),
        ((udp, 8600, loopback), "DNS for the host"),
        ((tcp, DNS_PORT, link_local), "DNS for containers"),
        ((udp, DNS_PORT, link_local), "DNS for containers"),
        ((tcp, METADATA_PORT, link_local), "metadata for containers"),
        ((tcp, CONSUL_PORT, link_local), "the Consul API for containers"),
    ]
}

/// Looks at the host: every check gives exactly one finding, in a fixed order.
pub async fn preflight(options: &PreflightOptions) -> Vec<Finding> {
    let evidence = gather(options).await;
    judge::judge(options, &evidence)
}

async fn gather(options: &PreflightOptions) -> Evidence {
    let status = tokio::fs::read_to_string("/proc/self/status").await.unwrap_or_default();
    let wanted: Vec<HostPort> =
        ports(options.link_local).into_iter().map(|(port, _what)| port).collect();
    // Without the right to list rules there is nothing to judge, and `privileges` says so.
    let ruleset = nft::list_ruleset().await.unwrap_or_default();
    Evidence {
        capabilities: judge::effective_capabilities(&status),
        nft: nft::feed(nft::Mode::Check, &rules(options)).await,
        forwarding: read_forwarding().await,
        network: look(options).await,
        holders: sockets::listening(&wanted).await,
        strict: firewall::strict(&ruleset, &options.bridge, options.subnet),
        tun: std::fs::File::options().read(true).write(true).open("/dev/net/tun").map(drop),
    }
}

async fn look(options: &PreflightOptions) -> Result<Network, Error> {
    let session = route::Session::open()?;
    let links = session.links().await?;
    let addresses = route::ours(&links, &session.addresses().await?);
    let names: BTreeMap<u32, &String> =
        links.iter().map(|(name, link)| (link.index, name)).collect();
    let routes = session.routes().await?;
    let routes = routes
        .into_iter()
        .map(|(to, device)| {
            let name = device.and_then(|index| names.get(&index)).map(|n| (*n).clone());
            (to, name.unwrap_or_default())
        })
        .filter(|(_to, device)| *device != options.bridge)
        .collect();
    Ok(Network { addresses, routes, bridge_exists: links.contains_key(&options.bridge) })
}

fn rules(options: &PreflightOptions) -> String {
    let at = |port| SocketAddr::from((options.link_local, port));
    RuleSet {
        link_local: options.link_local,
        dns: at(DNS_PORT),
        metadata: at(METADATA_PORT),
        overlays: BTreeMap::new(),
        policies: BTreeMap::new(),
        bridges: BTreeSet::from([options.bridge.as_str()]),
    }
    .text()
}
