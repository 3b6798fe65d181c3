//! Hosts with a switch between them: containers of all hosts reach each other, and what one host
//! has of the others is exactly what it was told. Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test program: what fails here fails the test"
)]

#[path = "bed/netns.rs"]
mod netns;
#[path = "bed/services.rs"]
mod services;

use ipnet::Ipv4Net;
use model::wireguard::{PublicKey, WIREGUARD_PORT, WirePeer, WireStatus, WireWish};
use netns::{Container, Host, as_root_in_own_netns, attempt, run, wait_until, whole_state};
use network::{Error, Fabric, FabricStatus, FabricWish, Linux, Overlay, OverlayMode, OverlayPeer};
use network::{Repair, VXLAN_PORT};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::sync::watch;

const SWITCH: &str = "switch";
const BRIDGE: &str = "remuda0";
const DEVICE: &str = "remudavx0";
const GATEWAY: &str = "10.42.0.1";

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// The host's address on the switch.
fn underlay(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, 0, n)
}

/// Its part of the range.
fn block(n: u8) -> Ipv4Net {
    Ipv4Net::new(Ipv4Addr::new(10, 42, n, 0), 26).unwrap()
}

fn peer(n: u8) -> (String, OverlayPeer) {
    (format!("h{n}"), OverlayPeer { underlay: underlay(n), routes: BTreeSet::from([block(n)]) })
}

/// What host `n` wants when the others are there.
fn wish(n: u8, others: &[u8]) -> FabricWish {
    let mut wish = FabricWish::new("e1", BRIDGE, "10.42.0.0/16".parse().unwrap());
    let mut overlay = Overlay::new("e1", DEVICE, underlay(n));
    overlay.peers = others.iter().map(|n| peer(*n)).collect();
    wish.overlay = Some(overlay);
    wish
}

/// A host with Docker's bridge and one container, 10.42.N.10.
struct Machine {
    n: u8,
    host: Host,
    data: tempfile::TempDir,
    container: Container,
}

impl Machine {
    fn new(n: u8) -> Self {
        let host = Host::on_switch(n, SWITCH, &format!("{}/24", underlay(n)));
        let container = host.on(|| {
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
            netns::make_bridge(BRIDGE, "10.42.0.1/16");
            Container::on_bridge(1, BRIDGE, &format!("10.42.{n}.10/16"), GATEWAY)
        });
        Self { n, host, data: tempfile::tempdir().unwrap(), container }
    }

    fn try_ensure(&self, wish: &FabricWish) -> Result<FabricStatus, Error> {
        self.host.on(|| wait(Linux::new(self.data.path()).ensure(wish)))
    }

    fn ensure(&self, wish: &FabricWish) -> Vec<Repair> {
        let repaired = self.try_ensure(wish).unwrap().repaired;
        let again = self.try_ensure(wish).unwrap();
        assert_eq!(again, FabricStatus::default(), "a second time has nothing to do");
        repaired
    }

    fn remove(&self) {
        self.host.on(|| wait(Linux::new(self.data.path()).remove("e1"))).unwrap();
    }

    fn run(&self, command: &str) -> String {
        let words: Vec<&str> = command.split(' ').collect();
        self.host.on(|| run(words[0], &words[1..]))
    }

    /// All that it has of hosts and addresses elsewhere.
    fn tables(&self) -> String {
        let commands = [
            "ip route show table all proto 82",
            "ip neighbour show nud permanent",
            "bridge fdb show dev remudavx0",
            "ip rule show",
            "nft list table inet remuda",
        ];
        let all = commands.map(|command| self.run(command)).join("\n");
        let mut lines: Vec<&str> = all.lines().collect();
        lines.sort_unstable();
        lines.join("\n")
    }

    /// All that could be left behind; addresses of IPv6 settle by themselves.
    fn state(&self) -> String {
        let all = self.host.on(whole_state);
        let settled = all.lines().filter(|l| !l.contains("fe80") && !l.contains("ff00"));
        settled.collect::<Vec<_>>().join("\n")
    }

    /// Serves HTTP in the host's own network.
    fn serve(&self, at: &str) {
        let at: SocketAddr = at.parse().unwrap();
        self.host.on(|| services::serve_http(at, "host"));
    }
}

/// `n` machines whose overlays know each other.
fn machines(n: u8) -> Vec<Machine> {
    run("ip", &["link", "add", SWITCH, "type", "bridge"]);
    run("ip", &["address", "add", "10.99.0.254/24", "dev", SWITCH]);
    run("ip", &["link", "set", SWITCH, "up"]);
    (1..=n).map(Machine::new).collect()
}

fn connect(machines: &[Machine]) {
    for machine in machines {
        machine.ensure(&wish(machine.n, &others(machines, machine.n)));
    }
}

fn others(machines: &[Machine], n: u8) -> Vec<u8> {
    machines.iter().map(|machine| machine.n).filter(|other| *other != n).collect()
}

/// Answers in a container with the address of whoever asks.
fn serve_in(container: &Container, folder: &tempfile::TempDir) -> netns::Process {
    let page = folder.path().join("page");
    std::fs::write(&page, vec![b'x'; 300_000]).unwrap();
    let script = folder.path().join("cgi-bin");
    std::fs::create_dir_all(&script).unwrap();
    let who = script.join("who");
    std::fs::write(&who, "#!/bin/sh\necho\necho -n $REMOTE_ADDR | sed 's/.*://; s/]//'\n").unwrap();
    run("chmod", &["+x", who.to_str().unwrap()]);
    let root = folder.path().to_str().unwrap();
    container.start("busybox", &["httpd", "-f", "-p", "8080", "-h", root])
}

fn curl(url: &str) -> [&str; 6] {
    ["-sS", "--max-time", "3", "--noproxy", "*", url]
}

fn pings(from: &Container, to: &str) -> bool {
    from.attempt("busybox", &["ping", "-c", "1", "-W", "1", to]).0
}

/// Waits until a sender has learned that its packets of 1,500 bytes do not fit, and what does.
fn learns_mtu(from: &Container, to: &str, mtu: u32) {
    let at: SocketAddr = format!("{to}:9").parse().unwrap();
    let socket = from.on(move || {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect(at).unwrap();
        socket
    });
    wait_until("the MTU is learned", || {
        // A refusal on the way is told at the next sending.
        let _told = socket.send(&[0; 1472]);
        from.exec("ip", &["route", "get", to]).contains(&format!("mtu {mtu}"))
    });
}

/// As dockerd 20.10 leaves a host.
fn docker_rules() {
    for rule in [
        "-N DOCKER-USER",
        "-A DOCKER-USER -j RETURN",
        "-P FORWARD DROP",
        "-A FORWARD -j DOCKER-USER",
        "-A FORWARD -o remuda0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-A FORWARD -i remuda0 ! -o remuda0 -j ACCEPT",
        "-A FORWARD -i remuda0 -o remuda0 -j ACCEPT",
        "-t nat -A POSTROUTING -s 10.42.0.0/16 ! -o remuda0 -j MASQUERADE",
    ] {
        let words: Vec<&str> = rule.split(' ').collect();
        run("iptables", &words);
    }
}

#[test]
#[ignore = "needs root"]
fn as_root_containers_of_two_hosts_reach_each_other_with_their_own_addresses() {
    as_root_in_own_netns(
        "as_root_containers_of_two_hosts_reach_each_other_with_their_own_addresses",
        || {
            let machines = machines(2);
            let [one, two] = machines.as_slice() else { panic!("two") };
            machines.iter().for_each(|machine| machine.host.on(docker_rules));
            assert!(!pings(&one.container, "10.42.2.10"), "before there is an overlay");
            connect(&machines);
            let folder = tempfile::tempdir().unwrap();
            let _served = serve_in(&two.container, &folder);
            wait_until("it is reached", || {
                one.container.attempt("curl", &curl("http://10.42.2.10:8080/page")).0
            });
            let who = "http://10.42.2.10:8080/cgi-bin/who";
            assert_eq!(one.container.exec("curl", &curl(who)), "10.42.1.10", "source kept");
            assert_eq!(
                one.host.on(|| run("curl", &curl(who))),
                "10.99.0.1",
                "the host itself, as the host that it is"
            );
            // All of a big answer, and packets of the whole MTU but no larger ones.
            let page = one.container.exec("curl", &curl("http://10.42.2.10:8080/page"));
            assert_eq!(page.len(), 300_000);
            learns_mtu(&one.container, "10.42.2.10", 1450);
            assert!(pings(&two.container, "10.42.1.10"), "the other way");
            // Balancers of the other host, on its bridge.
            let mut with_balancer = wish(2, &[1]);
            with_balancer.bridge_addresses = ["10.42.2.7".parse().unwrap()].into();
            two.ensure(&with_balancer);
            two.serve("10.42.2.7:80");
            let balancer = one.container.exec("curl", &curl("http://10.42.2.7/"));
            assert_eq!(balancer, "host 10.42.1.10");
            // Out of the house the host's address is shown, as without an overlay.
            services::serve_http("10.99.0.254:80".parse().unwrap(), "outside");
            let outside = one.container.exec("curl", &curl("http://10.99.0.254/"));
            assert_eq!(outside, "outside 10.99.0.1");
        },
    );
}

#[test]
#[ignore = "needs root"]
fn as_root_what_a_host_has_of_others_is_what_it_was_told_and_nothing_else() {
    as_root_in_own_netns(
        "as_root_what_a_host_has_of_others_is_what_it_was_told_and_nothing_else",
        || {
            let machines = machines(3);
            let one = &machines[0];
            one.host.on(docker_rules);
            let before = one.state();
            connect(&machines);
            let settled = one.tables();
            assert!(settled.contains("10.99.0.3") && settled.contains("10.42.3.0/26"));
            let device = one.run("ip -d link show remudavx0");
            assert!(device.contains("mtu 1450") && device.contains("nolearning"), "{device}");
            // What others do is undone, and told.
            let wished = wish(1, &[2, 3]);
            let route = |n: u8| Repair::RouteAdded(block(n));
            type Harm = &'static [&'static str];
            let cases: [(Harm, Vec<Repair>); 11] = [
                (&["ip route del 10.42.2.0/26"], vec![route(2)]),
                (&["ip route replace 10.42.2.0/26 via 10.99.0.254"], vec![route(2)]),
                (&["ip route replace blackhole 10.42.3.0/26"], vec![route(3)]),
                (
                    &["ip route add 10.7.0.0/16 dev remudavx0"],
                    vec![Repair::RouteRemoved("10.7.0.0/16".parse().unwrap())],
                ),
                (
                    &["ip neighbour replace 10.99.0.2 lladdr 02:00:00:00:00:01 dev remudavx0"],
                    vec![Repair::PeerAdded(underlay(2))],
                ),
                (
                    &["bridge fdb append 00:00:00:00:00:00 dst 10.99.0.9 dev remudavx0"],
                    vec![Repair::PeerRemoved(underlay(9))],
                ),
                (
                    &["bridge fdb del 02:52:0a:63:00:02 dst 10.99.0.2 dev remudavx0"],
                    vec![Repair::PeerAdded(underlay(2))],
                ),
                (&["ip rule del pref 5270"], vec![Repair::Rule]),
                (&["iptables -F DOCKER-USER"], vec![Repair::Accepted]),
                (&["sysctl -qw net.ipv4.conf.remuda0.proxy_arp=0"], vec![Repair::Setting]),
                (&["ip link set remudavx0 mtu 9000"], vec![Repair::OverlayTuned]),
            ];
            for (harm, repairs) in cases {
                harm.iter().for_each(|command| _ = one.run(command));
                assert_eq!(one.ensure(&wished), repairs, "{harm:?}");
                assert_eq!(one.tables(), settled, "{harm:?}");
                assert!(pings(&one.container, "10.42.2.10"), "{harm:?}");
            }
            for harm in ["ip link del remudavx0", "ip link set remudavx0 down", "nft flush ruleset"]
            {
                one.run(harm);
                assert_ne!(one.ensure(&wished), [], "{harm}");
                assert_eq!(one.tables(), settled, "{harm}");
                assert!(pings(&one.container, "10.42.2.10"), "{harm}");
            }
            // The flush took Docker's rules with it: they are made again as they were.
            one.host.on(docker_rules);
            one.ensure(&wished);
            // A host that leaves is gone from every table.
            let gone = one.ensure(&wish(1, &[2]));
            assert!(gone.contains(&Repair::RouteRemoved(block(3))), "{gone:?}");
            let after = one.tables();
            assert!(!after.contains("10.99.0.3") && !after.contains("10.42.3."), "{after}");
            assert!(pings(&one.container, "10.42.2.10") && !pings(&one.container, "10.42.3.10"));
            one.remove();
            assert_eq!(one.state(), before, "all that was ours is gone");
        },
    );
}

#[test]
#[ignore = "needs root"]
fn as_root_vxlan_of_a_stranger_is_not_heard_and_a_peer_is_no_way_out() {
    as_root_in_own_netns(
        "as_root_vxlan_of_a_stranger_is_not_heard_and_a_peer_is_no_way_out",
        || {
            let machines = machines(3);
            connect(&machines);
            let [one, two, three] = machines.as_slice() else { panic!("three") };
            assert!(pings(&three.container, "10.42.1.10"));
            // The first forgets the third, which still sends and could still be answered.
            one.ensure(&wish(1, &[2]));
            let count = || {
                let all = one.run("ip -s -j link show remudavx0");
                let start = all.split("\"rx\":").nth(1).unwrap();
                let packets = start.split("\"packets\":").nth(1).unwrap();
                packets.split(',').next().unwrap().parse::<u64>().unwrap()
            };
            let heard = count();
            assert!(!pings(&three.container, "10.42.1.10"));
            assert_eq!(count(), heard, "a stranger's packet came in");
            assert!(pings(&two.container, "10.42.1.10"));
            assert!(count() > heard);
            // Another bridge of the first host is not to be reached through the overlay.
            one.host.on(|| netns::make_bridge("docker0", "172.17.0.1/16"));
            let _other =
                one.host.on(|| Container::on_bridge(5, "docker0", "172.17.0.2/16", "172.17.0.1"));
            two.run("ip route add 172.17.0.0/16 via 10.99.0.1 dev remudavx0 onlink");
            assert!(!pings(&two.container, "172.17.0.2"));
        },
    );
}

#[test]
#[ignore = "needs root"]
fn as_root_an_address_that_moved_to_another_host_is_found_there() {
    as_root_in_own_netns("as_root_an_address_that_moved_to_another_host_is_found_there", || {
        let machines = machines(2);
        let [one, two] = machines.as_slice() else { panic!("two") };
        connect(&machines);
        // 10.42.1.20 is of the first one's block and lives on the second.
        let moved: Ipv4Addr = "10.42.1.20".parse().unwrap();
        let _guest = two.host.on(|| Container::on_bridge(6, BRIDGE, "10.42.1.20/16", GATEWAY));
        assert!(!pings(&one.container, "10.42.1.20"));
        let mut first = wish(1, &[2]);
        let known = first.overlay.as_mut().unwrap().peers.get_mut("h2").unwrap();
        known.routes.insert(Ipv4Net::from(moved));
        one.ensure(&first);
        let mut second = wish(2, &[1]);
        second.overlay.as_mut().unwrap().own.insert(moved);
        two.ensure(&second);
        wait_until("it is found from its old host", || pings(&one.container, "10.42.1.20"));
        assert!(pings(&two.container, "10.42.1.20"), "from its new host");
        assert!(pings(&two.container, "10.42.1.10"), "the rest of the block stays where it was");
    });
}

/// The MAC address under which a container knows another one; empty when it does not.
fn mac_known(to: &Container, ip: &str) -> String {
    let entry = to.exec("ip", &["-o", "neighbour", "show", ip]);
    let mut words = entry.split_whitespace().skip_while(|word| *word != "lladdr");
    words.nth(1).unwrap_or_default().to_owned()
}

#[test]
#[ignore = "needs root"]
fn as_root_neighbours_of_an_address_that_moves_away_forget_its_mac_at_once() {
    as_root_in_own_netns(
        "as_root_neighbours_of_an_address_that_moves_away_forget_its_mac_at_once",
        || {
            let machines = machines(2);
            let [one, two] = machines.as_slice() else { panic!("two") };
            connect(&machines);
            let guest = |on: &Machine| {
                on.host.on(|| Container::on_bridge(6, BRIDGE, "10.42.1.20/16", GATEWAY))
            };
            let moved: Ipv4Addr = "10.42.1.20".parse().unwrap();
            let [mut first, mut second] = [wish(1, &[2]), wish(2, &[1])];
            for round in 0..2 {
                let here = guest(one);
                wait_until("the guest is reached at home", || pings(&one.container, "10.42.1.20"));
                assert!(pings(&two.container, "10.42.1.20"), "and from elsewhere");
                let old = mac_known(&one.container, "10.42.1.20");
                drop(here);
                let there = guest(two);
                let known = first.overlay.as_mut().unwrap().peers.get_mut("h2").unwrap();
                known.routes.insert(Ipv4Net::from(moved));
                second.overlay.as_mut().unwrap().own.insert(moved);
                two.ensure(&second);
                one.ensure(&first);
                wait_until("its old neighbour has forgotten it", || {
                    mac_known(&one.container, "10.42.1.20") != old
                });
                assert!(pings(&one.container, "10.42.1.20"), "round {round}: its old neighbour");
                assert!(pings(&two.container, "10.42.1.20"), "round {round}: its new neighbour");
                // Back again.
                let old = mac_known(&two.container, "10.42.1.20");
                drop(there);
                [first, second] = [wish(1, &[2]), wish(2, &[1])];
                one.ensure(&first);
                two.ensure(&second);
                wait_until("the neighbour of a while has forgotten it", || {
                    mac_known(&two.container, "10.42.1.20") != old
                });
            }
        },
    );
}

#[test]
#[ignore = "needs root"]
fn as_root_hosts_on_one_segment_do_without_vxlan() {
    as_root_in_own_netns("as_root_hosts_on_one_segment_do_without_vxlan", || {
        let machines = machines(2);
        let [one, two] = machines.as_slice() else { panic!("two") };
        machines.iter().for_each(|machine| machine.host.on(docker_rules));
        let before = one.state();
        // Both ways to change the mode while it is in use.
        connect(&machines);
        let mut plain = [wish(1, &[2]), wish(2, &[1])];
        for (machine, wish) in machines.iter().zip(&mut plain) {
            wish.overlay.as_mut().unwrap().mode = OverlayMode::Routes;
            machine.ensure(wish);
        }
        assert!(!one.host.on(|| attempt("ip", &["link", "show", DEVICE])).0, "no device is left");
        let folder = tempfile::tempdir().unwrap();
        let _served = serve_in(&two.container, &folder);
        let who = "http://10.42.2.10:8080/cgi-bin/who";
        wait_until("it is reached", || one.container.attempt("curl", &curl(who)).0);
        assert_eq!(one.container.exec("curl", &curl(who)), "10.42.1.10");
        assert_eq!(one.host.on(|| run("curl", &curl(who))), "10.99.0.1");
        connect(&machines);
        assert!(pings(&one.container, "10.42.2.10"));
        one.ensure(&plain[0]);
        one.remove();
        assert_eq!(one.state(), before);
    });
}

/// What encrypts on a machine, until it is dropped.
struct Wires {
    wish: watch::Sender<Option<Arc<WireWish>>>,
    status: watch::Receiver<WireStatus>,
    _dir: tempfile::TempDir,
}

impl Wires {
    fn start(machine: &Machine) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (wish, wishes) = watch::channel(None);
        let (said, status) = watch::channel(WireStatus::default());
        let folder = dir.path().to_owned();
        machine.host.on(move || network::start_wires(folder, wishes, said)).unwrap();
        Self { wish, status, _dir: dir }
    }

    fn keys(&self) -> Vec<PublicKey> {
        wait_until("a key", || !self.status.borrow().keys.is_empty());
        self.status.borrow().keys.clone()
    }

    /// Tells host `n` of the others.
    fn tell(&self, n: u8, others: &[(u8, Vec<PublicKey>)]) {
        let peers = others.iter().map(|(n, keys)| {
            let (_, peer) = peer(*n);
            let keys = keys.clone();
            let peer = WirePeer { address: peer.underlay, keys, routes: peer.routes };
            (format!("h{n}").parse().unwrap(), peer)
        });
        self.wish.send_replace(Some(Arc::new(WireWish {
            active: true,
            device: "remudawg0".to_owned(),
            address: underlay(n),
            port: WIREGUARD_PORT,
            subnet: "10.42.0.0/16".parse().unwrap(),
            order: 0,
            own: BTreeSet::from([block(n)]),
            peers: peers.collect(),
        })));
    }
}

#[test]
#[ignore = "needs root"]
fn as_root_what_is_to_be_encrypted_leaves_by_its_device_or_not_at_all() {
    as_root_in_own_netns(
        "as_root_what_is_to_be_encrypted_leaves_by_its_device_or_not_at_all",
        || {
            let machines = machines(2);
            let [one, two] = machines.as_slice() else { panic!("two") };
            machines.iter().for_each(|machine| machine.host.on(docker_rules));
            let before = one.state();
            connect(&machines);
            let mut sealed = [wish(1, &[2]), wish(2, &[1])];
            for (machine, wish) in machines.iter().zip(&mut sealed) {
                wish.overlay.as_mut().unwrap().mode = OverlayMode::Wireguard;
                machine.ensure(wish);
            }
            assert!(!one.host.on(|| attempt("ip", &["link", "show", DEVICE])).0, "VXLAN is left");
            assert!(one.run("ip link show remudawg0").contains("mtu 1440"));
            assert!(!pings(&one.container, "10.42.2.10"), "nobody encrypts yet");
            let wires = [Wires::start(one), Wires::start(two)];
            wires[0].tell(1, &[(2, wires[1].keys())]);
            wires[1].tell(2, &[(1, wires[0].keys())]);
            let folder = tempfile::tempdir().unwrap();
            let _served = serve_in(&two.container, &folder);
            let who = "http://10.42.2.10:8080/cgi-bin/who";
            wait_until("it is reached", || one.container.attempt("curl", &curl(who)).0);
            assert_eq!(one.container.exec("curl", &curl(who)), "10.42.1.10");
            assert_eq!(one.host.on(|| run("curl", &curl(who))), "10.99.0.1");
            let page = "http://10.42.2.10:8080/page";
            assert_eq!(one.container.exec("curl", &curl(page)).len(), 300_000);
            learns_mtu(&one.container, "10.42.2.10", 1440);
            // Its maker goes: the device stays with all that is on it, and carries nothing.
            let [wires_of_one, wires_of_two] = wires;
            drop(wires_of_one);
            wait_until("nobody encrypts", || !pings(&one.container, "10.42.2.10"));
            assert_eq!(one.try_ensure(&sealed[0]).unwrap(), FabricStatus::default());
            let again = Wires::start(one);
            again.tell(1, &[(2, wires_of_two.keys())]);
            wires_of_two.tell(2, &[(1, again.keys())]);
            wait_until("it is reached again", || pings(&one.container, "10.42.2.10"));
            // A way around it, of somebody else: what takes it ends on this host.
            one.run("ip route replace 10.42.2.0/26 via 10.99.0.2 dev eth0");
            two.run("nft add table inet seen");
            two.run("nft add chain inet seen seen { type filter hook prerouting priority -300 ; }");
            two.run("nft add rule inet seen seen iifname eth0 ip saddr 10.42.0.0/16 counter");
            assert!(!pings(&one.container, "10.42.2.10"), "in clear");
            assert!(two.run("nft list table inet seen").contains("packets 0"), "in clear");
            connect(&machines);
            assert!(!one.host.on(|| attempt("ip", &["link", "show", "remudawg0"])).0);
            assert!(pings(&one.container, "10.42.2.10"), "by VXLAN");
            one.ensure(&sealed[0]);
            one.remove();
            assert_eq!(one.state(), before);
        },
    );
}

#[test]
#[ignore = "needs root"]
fn as_root_a_device_of_somebody_else_is_left_alone_and_said() {
    as_root_in_own_netns("as_root_a_device_of_somebody_else_is_left_alone_and_said", || {
        let machines = machines(1);
        let one = &machines[0];
        one.run("ip link add remudavx0 type bridge");
        let error = one.try_ensure(&wish(1, &[2])).unwrap_err();
        assert!(matches!(&error, Error::DeviceTaken { device } if device == DEVICE), "{error}");
        one.remove();
        one.run("ip link show remudavx0");
        one.run("ip link del remudavx0");
        // A VXLAN of somebody else with another number may have the same port.
        one.run("ip link add theirs type vxlan id 7 dstport 4789 nolearning");
        one.run("ip link set theirs up");
        assert_eq!(VXLAN_PORT, 4789);
        one.ensure(&wish(1, &[2]));
    });
}
