//! One suite for both fabrics: what `Fake` promises the simulation, `Linux` does on a real kernel.
//! The Linux half needs root: each case runs in a network namespace of its own.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test program: what fails here fails the test"
)]

#[path = "bed/netns.rs"]
mod netns;

use ipnet::Ipv4Net;
use network::{
    Error, Fabric, FabricStatus, FabricWish, Fake, LINK_LOCAL, Linux, Overlay, OverlayPeer, Repair,
};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

const BALANCER: Ipv4Addr = Ipv4Addr::new(10, 42, 3, 7);
const OTHER_BALANCER: Ipv4Addr = Ipv4Addr::new(10, 42, 3, 8);

/// What others can do to a host, and what they can see of it.
trait Host {
    type Fabric: Fabric;
    /// The fabric under test; `restarted` gives one that knows only what was kept on disk.
    fn fabric(&self) -> Self::Fabric;
    fn restarted(&self) -> Self::Fabric;
    /// Plays Docker.
    fn make_bridge(&self, name: &str, address: &str);
    fn set_down(&self, device: &str);
    fn add_address(&self, device: &str, ip: &str);
    fn delete_address(&self, device: &str, ip: &str);
    fn flush_rules(&self);
    fn set_forwarding(&self, on: bool);
    /// (device, address) of every address but loopback's own.
    fn addresses(&self) -> BTreeSet<(String, Ipv4Addr)>;
    /// Bridges that our rules let in; `None` without rules.
    fn let_in(&self) -> Option<BTreeSet<String>>;
    fn forwarding(&self) -> bool;
    fn is_up(&self, device: &str) -> bool;
    /// What there are ways to on other hosts, with the next host.
    fn ways(&self) -> BTreeSet<(Ipv4Net, Ipv4Addr)>;
    fn cut_way(&self, to: Ipv4Net);
    fn has_device(&self, device: &str) -> bool;
}

fn wish(environment: &str, bridge: &str, balancers: &[Ipv4Addr]) -> FabricWish {
    let subnet = if bridge == "remuda0" { "10.42.0.0/16" } else { "10.43.0.0/16" };
    let mut wish = FabricWish::new(environment, bridge, subnet.parse().unwrap());
    wish.bridge_addresses = balancers.iter().copied().collect();
    wish
}

fn at(device: &str, ip: Ipv4Addr) -> (String, Ipv4Addr) {
    (device.to_owned(), ip)
}

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 42, 0, 1);

/// The state that others see: to be the same before and after us.
fn seen<H: Host>(host: &H) -> (BTreeSet<(String, Ipv4Addr)>, Option<BTreeSet<String>>, bool) {
    (host.addresses(), host.let_in(), host.forwarding())
}

async fn makes_all_once_and_then_changes_nothing<H: Host>(host: H) {
    host.make_bridge("remuda0", "10.42.0.1/16");
    let fabric = host.fabric();
    let wish = wish("e1", "remuda0", &[BALANCER]);
    let mut repaired = fabric.ensure(&wish).await.unwrap().repaired;
    repaired.sort();
    assert_eq!(
        repaired,
        [
            Repair::Rules,
            Repair::Forwarding,
            Repair::AddressAdded(BALANCER),
            Repair::AddressAdded(LINK_LOCAL),
        ]
    );
    let expected = [at("lo", LINK_LOCAL), at("remuda0", GATEWAY), at("remuda0", BALANCER)];
    assert_eq!(host.addresses(), BTreeSet::from(expected));
    assert_eq!(host.let_in(), Some(BTreeSet::from(["remuda0".to_owned()])));
    assert!(host.forwarding());
    assert_eq!(fabric.ensure(&wish).await.unwrap(), FabricStatus::default());
    let again = host.restarted().ensure(&wish).await.unwrap();
    assert_eq!(again, FabricStatus::default(), "a restart alone changes nothing");
}

async fn repairs_what_others_changed<H: Host>(host: H) {
    host.make_bridge("remuda0", "10.42.0.1/16");
    let fabric = host.fabric();
    let wish = wish("e1", "remuda0", &[BALANCER]);
    fabric.ensure(&wish).await.unwrap();
    let settled = seen(&host);
    type Harm<H> = fn(&H);
    let cases: [(Harm<H>, Repair); 6] = [
        (|h| h.flush_rules(), Repair::Rules),
        (|h| h.set_forwarding(false), Repair::Forwarding),
        (|h| h.set_down("remuda0"), Repair::BridgeUp),
        (|h| h.delete_address("lo", "169.254.169.250/32"), Repair::AddressAdded(LINK_LOCAL)),
        (|h| h.delete_address("remuda0", "10.42.3.7/32"), Repair::AddressAdded(BALANCER)),
        (|h| h.delete_address("remuda0", "10.42.0.1/16"), Repair::AddressAdded(GATEWAY)),
    ];
    for (harm, repair) in cases {
        harm(&host);
        assert_eq!(fabric.ensure(&wish).await.unwrap().repaired, [repair]);
        assert_eq!(seen(&host), settled, "{repair}");
        assert!(host.is_up("remuda0"));
    }
}

async fn follows_the_wished_balancers<H: Host>(host: H) {
    host.make_bridge("remuda0", "10.42.0.1/16");
    host.add_address("remuda0", "10.42.9.9/32");
    let fabric = host.fabric();
    fabric.ensure(&wish("e1", "remuda0", &[BALANCER])).await.unwrap();
    let moved = host.restarted().ensure(&wish("e1", "remuda0", &[OTHER_BALANCER])).await.unwrap();
    assert_eq!(
        moved.repaired,
        [Repair::AddressAdded(OTHER_BALANCER), Repair::AddressRemoved(BALANCER)]
    );
    assert!(host.addresses().contains(&at("remuda0", Ipv4Addr::new(10, 42, 9, 9))));
}

async fn removes_what_it_made_and_nothing_else<H: Host>(host: H) {
    host.make_bridge("remuda0", "10.42.0.1/16");
    host.add_address("remuda0", "10.42.9.9/32");
    let before = seen(&host);
    host.fabric().ensure(&wish("e1", "remuda0", &[BALANCER, OTHER_BALANCER])).await.unwrap();
    assert_ne!(seen(&host), before);
    let fabric = host.restarted();
    fabric.remove("e1").await.unwrap();
    assert_eq!(seen(&host), before);
    fabric.remove("e1").await.unwrap();
    fabric.remove("never heard of").await.unwrap();
    assert_eq!(seen(&host), before, "a second removal has nothing to do");
}

async fn leaves_what_was_there_before_it<H: Host>(host: H) {
    host.make_bridge("remuda0", "10.42.0.1/16");
    host.add_address("lo", "169.254.169.250/32");
    host.add_address("remuda0", "10.42.3.7/32");
    host.set_forwarding(true);
    let before = seen(&host);
    let fabric = host.fabric();
    let status = fabric.ensure(&wish("e1", "remuda0", &[BALANCER])).await.unwrap();
    assert_eq!(status.foreign, [LINK_LOCAL, BALANCER]);
    assert_eq!(status.repaired, [Repair::Rules]);
    fabric.remove("e1").await.unwrap();
    assert_eq!(seen(&host), before);
}

async fn leaves_forwarding_on_for_a_docker_that_came_after_it<H: Host>(host: H) {
    let wish = wish("e1", "remuda0", &[]);
    for docker_was_there in [false, true] {
        host.set_forwarding(false);
        let fabric = host.restarted();
        fabric.ensure(&wish).await.unwrap_err();
        if !docker_was_there {
            host.make_bridge("docker0", "172.17.0.1/16");
        }
        fabric.remove("e1").await.unwrap();
        assert_eq!(host.forwarding(), !docker_was_there);
    }
}

async fn without_the_bridge_all_else_is_done<H: Host>(host: H) {
    let fabric = host.fabric();
    let wish = wish("e1", "remuda0", &[BALANCER]);
    let error = fabric.ensure(&wish).await.unwrap_err();
    assert!(matches!(&error, Error::BridgeMissing { bridge } if bridge == "remuda0"), "{error}");
    assert!(host.addresses().contains(&at("lo", LINK_LOCAL)));
    assert!(host.let_in().is_some() && host.forwarding());
    host.make_bridge("remuda0", "10.42.0.1/16");
    let status = fabric.ensure(&wish).await.unwrap();
    assert_eq!(status.repaired, [Repair::AddressAdded(BALANCER)]);
}

async fn makes_a_bridge_that_nobody_else_makes_and_takes_it_away<H: Host>(host: H) {
    let fabric = host.fabric();
    let mut wish = wish("e1", "plugins0", &[]);
    wish.makes_bridge = true;
    let gateway = model::host::gateway(wish.subnet);
    let repaired = fabric.ensure(&wish).await.unwrap().repaired;
    assert!(repaired.contains(&Repair::BridgeMade), "{repaired:?}");
    assert!(host.is_up("plugins0") && host.addresses().contains(&at("plugins0", gateway)));
    assert_eq!(host.restarted().ensure(&wish).await.unwrap(), FabricStatus::default());
    host.restarted().remove("e1").await.unwrap();
    assert!(!host.has_device("plugins0"));
    host.make_bridge("plugins0", "10.43.0.1/16");
    host.restarted().ensure(&wish).await.unwrap();
    host.restarted().remove("e1").await.unwrap();
    assert!(host.has_device("plugins0"), "somebody else has made it");
}

async fn two_environments_share_a_host<H: Host>(host: H) {
    host.make_bridge("remuda0", "10.42.0.1/16");
    host.make_bridge("remuda1", "10.43.0.1/16");
    let before = seen(&host);
    let fabric = host.fabric();
    let one = wish("e1", "remuda0", &[BALANCER]);
    let two = wish("e2", "remuda1", &[Ipv4Addr::new(10, 43, 3, 7)]);
    fabric.ensure(&one).await.unwrap();
    fabric.ensure(&two).await.unwrap();
    let both = BTreeSet::from(["remuda0".to_owned(), "remuda1".to_owned()]);
    assert_eq!(host.let_in(), Some(both));
    assert_eq!(fabric.ensure(&one).await.unwrap(), FabricStatus::default());
    fabric.remove("e1").await.unwrap();
    assert_eq!(host.let_in(), Some(BTreeSet::from(["remuda1".to_owned()])));
    assert!(!host.addresses().contains(&at("remuda0", BALANCER)));
    assert!(host.addresses().contains(&at("lo", LINK_LOCAL)), "the other one still needs it");
    assert_eq!(fabric.ensure(&two).await.unwrap(), FabricStatus::default());
    fabric.remove("e2").await.unwrap();
    assert_eq!(seen(&host), before);
}

async fn has_ways_to_the_peers_it_is_told_of_and_no_others<H: Host>(host: H) {
    host.make_bridge("remuda0", "10.42.0.1/16");
    let before = seen(&host);
    let block = |n: u8| Ipv4Net::new(Ipv4Addr::new(10, 42, n, 0), 26).unwrap();
    let underlay = |n: u8| Ipv4Addr::new(192, 0, 2, n);
    let told = |peers: &[u8]| {
        let mut wish = wish("e1", "remuda0", &[]);
        let mut overlay = Overlay::new("e1", "remudavx0", underlay(1));
        for n in peers {
            let routes = BTreeSet::from([block(*n)]);
            overlay.peers.insert(n.to_string(), OverlayPeer { underlay: underlay(*n), routes });
        }
        wish.overlay = Some(overlay);
        wish
    };
    let ways = |peers: &[u8]| peers.iter().map(|n| (block(*n), underlay(*n))).collect();
    host.fabric().ensure(&told(&[2, 3])).await.unwrap();
    assert_eq!(host.ways(), ways(&[2, 3]));
    host.cut_way(block(2));
    assert_eq!(host.ways(), ways(&[3]));
    let repaired = host.fabric().ensure(&told(&[2, 3])).await.unwrap().repaired;
    assert_eq!(repaired, [Repair::RouteAdded(block(2))]);
    assert_eq!(host.ways(), ways(&[2, 3]));
    let restarted = host.restarted();
    assert_eq!(restarted.ensure(&told(&[2, 3])).await.unwrap(), FabricStatus::default());
    let repaired = restarted.ensure(&told(&[3, 4])).await.unwrap().repaired;
    let has = |repair: Repair| repaired.contains(&repair);
    assert!(has(Repair::RouteRemoved(block(2))) && has(Repair::RouteAdded(block(4))));
    assert!(has(Repair::PeerRemoved(underlay(2))) && has(Repair::PeerAdded(underlay(4))));
    assert_eq!(host.ways(), ways(&[3, 4]));
    // Alone again: there is nothing to keep a device for.
    assert!(host.has_device("remudavx0"));
    restarted.ensure(&wish("e1", "remuda0", &[])).await.unwrap();
    assert!(!host.has_device("remudavx0") && host.ways().is_empty());
    restarted.ensure(&told(&[2])).await.unwrap();
    restarted.remove("e1").await.unwrap();
    assert!(!host.has_device("remudavx0") && host.ways().is_empty());
    assert_eq!(seen(&host), before);
}

async fn two_environments_have_overlays_apart<H: Host>(host: H) {
    host.make_bridge("remuda0", "10.42.0.1/16");
    host.make_bridge("remuda1", "10.43.0.1/16");
    let told = |n: u8| {
        let mut wish = wish(&format!("e{n}"), &format!("remuda{n}"), &[]);
        let own = Ipv4Addr::new(192, 0, 2, 1);
        let mut overlay = Overlay::new(&wish.environment, &format!("remudavx{n}"), own);
        let routes = [Ipv4Net::new(Ipv4Addr::new(10, 42 + n, 5, 0), 26).unwrap()].into();
        let underlay = Ipv4Addr::new(192, 0, 2, 2);
        overlay.peers.insert("h2".to_owned(), OverlayPeer { underlay, routes });
        wish.overlay = Some(overlay);
        wish
    };
    let fabric = host.fabric();
    for n in [0, 1, 0, 1] {
        fabric.ensure(&told(n)).await.unwrap();
    }
    assert_eq!(fabric.ensure(&told(0)).await.unwrap(), FabricStatus::default());
    assert_eq!(host.ways().len(), 2);
    fabric.remove("e0").await.unwrap();
    assert!(!host.has_device("remudavx0") && host.has_device("remudavx1"));
    assert_eq!(host.ways().len(), 1);
    assert_eq!(fabric.ensure(&told(1)).await.unwrap(), FabricStatus::default());
}

async fn refuses_a_wish_that_no_host_can_carry_out<H: Host>(host: H) {
    let before = seen(&host);
    let outside = wish("e1", "remuda0", &[Ipv4Addr::new(192, 0, 2, 1)]);
    let error = host.fabric().ensure(&outside).await.unwrap_err();
    assert!(matches!(error, Error::Wish { .. }), "{error}");
    assert_eq!(seen(&host), before);
}

async fn tells_addresses_and_facts<H: Host>(host: H) {
    host.make_bridge("remuda0", "10.42.0.1/16");
    let fabric = host.fabric();
    let all = fabric.local_addresses().await.unwrap();
    let has = |device: &str, ip: Ipv4Addr, prefix: u8| {
        all.iter().any(|a| a.device == device && a.ip == ip && a.prefix == prefix)
    };
    assert!(has("lo", Ipv4Addr::LOCALHOST, 8) && has("remuda0", GATEWAY, 16), "{all:?}");
    let facts = fabric.facts().await.unwrap();
    assert!(!facts.hostname.is_empty() && !facts.kernel.is_empty());
    assert_eq!(fabric.listening(&[]).await.unwrap(), []);
}

impl Host for Fake {
    type Fabric = Self;
    fn fabric(&self) -> Self {
        self.clone()
    }
    fn restarted(&self) -> Self {
        self.clone()
    }
    fn make_bridge(&self, name: &str, address: &str) {
        let (ip, prefix) = split(address);
        self.with(|w| w.make_bridge(name, ip, prefix));
    }
    fn set_down(&self, device: &str) {
        self.with(|w| w.links.insert(device.to_owned(), false));
    }
    fn add_address(&self, device: &str, address: &str) {
        let (ip, prefix) = split(address);
        let device = device.to_owned();
        self.with(|w| {
            w.addresses.push(network::FakeAddress { device, ip, prefix, ours: false });
        });
    }
    fn delete_address(&self, device: &str, address: &str) {
        let (ip, _) = split(address);
        self.with(|w| w.addresses.retain(|a| !(a.device == device && a.ip == ip)));
    }
    fn flush_rules(&self) {
        self.with(|w| w.rules = None);
    }
    fn set_forwarding(&self, on: bool) {
        self.with(|w| w.forwarding = on);
    }
    fn addresses(&self) -> BTreeSet<(String, Ipv4Addr)> {
        self.with(|w| w.addresses.iter().map(|a| (a.device.clone(), a.ip)).collect())
    }
    fn let_in(&self) -> Option<BTreeSet<String>> {
        self.with(|w| w.rules.clone())
    }
    fn forwarding(&self) -> bool {
        self.with(|w| w.forwarding)
    }
    fn is_up(&self, device: &str) -> bool {
        self.with(|w| w.links.get(device) == Some(&true))
    }
    fn ways(&self) -> BTreeSet<(Ipv4Net, Ipv4Addr)> {
        self.with(|w| w.ways().into_iter().filter_map(|(to, via)| Some((to, via?))).collect())
    }
    fn cut_way(&self, to: Ipv4Net) {
        self.with(|w| w.cut_way(to));
    }
    fn has_device(&self, device: &str) -> bool {
        self.with(|w| w.links.contains_key(device))
    }
}

fn split(address: &str) -> (Ipv4Addr, u8) {
    let (ip, prefix) = address.split_once('/').unwrap();
    (ip.parse().unwrap(), prefix.parse().unwrap())
}

/// The namespace that the test runs in.
struct Kernel {
    data: tempfile::TempDir,
    fabric: Linux,
}

impl Kernel {
    fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let fabric = Linux::new(data.path());
        let host = Self { data, fabric };
        // A new namespace has it as its maker's parent namespace had it.
        host.set_forwarding(false);
        host
    }
}

impl Host for Kernel {
    type Fabric = Linux;
    fn fabric(&self) -> Linux {
        self.fabric.clone()
    }
    fn restarted(&self) -> Linux {
        Linux::new(self.data.path())
    }
    fn make_bridge(&self, name: &str, address: &str) {
        netns::make_bridge(name, address);
    }
    fn set_down(&self, device: &str) {
        netns::run("ip", &["link", "set", device, "down"]);
    }
    fn add_address(&self, device: &str, address: &str) {
        netns::run("ip", &["address", "add", address, "dev", device]);
    }
    fn delete_address(&self, device: &str, address: &str) {
        netns::run("ip", &["address", "del", address, "dev", device]);
    }
    fn flush_rules(&self) {
        netns::run("nft", &["flush", "ruleset"]);
    }
    fn set_forwarding(&self, on: bool) {
        let value = if on { "1" } else { "0" };
        std::fs::write("/proc/sys/net/ipv4/ip_forward", value).unwrap();
    }
    fn addresses(&self) -> BTreeSet<(String, Ipv4Addr)> {
        let listed = netns::run("ip", &["-4", "-o", "address", "show"]);
        let parsed = listed.lines().map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            (words[1].to_owned(), split(words[3]).0)
        });
        parsed.filter(|(_, ip)| !ip.is_loopback()).collect()
    }
    fn let_in(&self) -> Option<BTreeSet<String>> {
        let (present, text, _) = netns::attempt("nft", &["list", "table", "inet", "remuda"]);
        let quoted = text.lines().filter_map(|line| line.trim().strip_prefix("iifname \""));
        let names = quoted.filter_map(|rest| rest.strip_suffix("\" return"));
        let ours = names.filter(|name| name.starts_with("remuda")).map(str::to_owned).collect();
        present.then_some(ours)
    }
    fn forwarding(&self) -> bool {
        std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap().trim() == "1"
    }
    fn is_up(&self, device: &str) -> bool {
        netns::run("ip", &["-o", "link", "show", device]).contains(",UP")
    }
    fn ways(&self) -> BTreeSet<(Ipv4Net, Ipv4Addr)> {
        let listed = netns::run("ip", &["route", "show", "proto", "82"]);
        let parsed = listed.lines().map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(words[1], "via", "{line}");
            (words[0].parse().unwrap(), words[2].parse().unwrap())
        });
        parsed.collect()
    }
    fn cut_way(&self, to: Ipv4Net) {
        netns::run("ip", &["route", "del", &to.to_string()]);
    }
    fn has_device(&self, device: &str) -> bool {
        netns::attempt("ip", &["link", "show", device]).0
    }
}

/// Waits for a future on a runtime of its own.
fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

macro_rules! contract {
    ($($case:ident)*) => {
        mod fake {
            $(#[test]
            fn $case() {
                super::wait(super::$case(super::Fake::new()));
            })*
        }
        mod linux_as_root {
            $(#[test]
            #[ignore = "needs root"]
            fn $case() {
                let name = concat!("linux_as_root::", stringify!($case));
                super::netns::as_root_in_own_netns(name, || {
                    super::wait(super::$case(super::Kernel::new()));
                });
            })*
        }
    };
}

contract! {
    makes_all_once_and_then_changes_nothing
    repairs_what_others_changed
    follows_the_wished_balancers
    removes_what_it_made_and_nothing_else
    leaves_what_was_there_before_it
    leaves_forwarding_on_for_a_docker_that_came_after_it
    without_the_bridge_all_else_is_done
    makes_a_bridge_that_nobody_else_makes_and_takes_it_away
    two_environments_share_a_host
    has_ways_to_the_peers_it_is_told_of_and_no_others
    two_environments_have_overlays_apart
    refuses_a_wish_that_no_host_can_carry_out
    tells_addresses_and_facts
}
