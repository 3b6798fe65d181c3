//! A network policy between containers of one bridge: who may connect does, who may not hears so at
//! once, what is open stays open, and nothing is left of it afterwards. Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test program: what fails here fails the test"
)]

#[path = "bed/netns.rs"]
mod netns;

use model::policy::{Guard, GuardRule, HostPolicy, PolicyAction, Unlisted};
use netns::{Container, as_root_in_own_netns, whole_state};
use network::{Fabric, FabricWish, Linux};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

const BRIDGE: &str = "remuda0";
const HOST: &str = "10.42.0.1";
const BALANCER: Ipv4Addr = Ipv4Addr::new(10, 42, 3, 200);

fn address(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 42, 3, n)
}

fn container(n: u8) -> Container {
    Container::on_bridge(n, BRIDGE, &format!("{}/16", address(n)), HOST)
}

fn ensure(fabric: &Linux, policy: HostPolicy) {
    let mut wish = FabricWish::new("e1", BRIDGE, "10.42.0.0/16".parse().unwrap());
    wish.bridge_addresses = [BALANCER].into();
    wish.policy = Arc::new(policy);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(fabric.ensure(&wish)).unwrap();
    let again = runtime.block_on(fabric.ensure(&wish)).unwrap();
    assert_eq!(again.repaired, [], "it is as wished after the first time");
}

fn echo(listener: TcpListener) {
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut bytes = [0; 64];
                while let Ok(n @ 1..) = stream.read(&mut bytes) {
                    stream.write_all(&bytes[..n]).unwrap();
                }
            });
        }
    });
}

fn answers(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    stream.write_all(b"here?").unwrap();
    let mut bytes = [0; 5];
    stream.read_exact(&mut bytes).is_ok() && bytes == *b"here?"
}

fn connect(to: Ipv4Addr, port: u16) -> std::io::Result<TcpStream> {
    TcpStream::connect_timeout(&SocketAddr::from((to, port)), Duration::from_secs(3))
}

/// Is let through, and the answer comes back.
#[track_caller]
fn reaches(from: &Container, to: Ipv4Addr, port: u16) -> TcpStream {
    let mut stream = from.on(|| connect(to, port)).unwrap();
    assert!(answers(&mut stream));
    stream
}

/// Is refused, and hears of it long before a time-out.
#[track_caller]
fn is_refused(from: &Container, to: Ipv4Addr, port: u16) {
    let start = Instant::now();
    let error = from.on(|| connect(to, port)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HostUnreachable, "{error}");
    assert!(start.elapsed() < Duration::from_millis(1_500), "after {:?}", start.elapsed());
}

/// What `from` says by UDP arrives.
fn is_heard(from: &Container, at: &UdpSocket, to: SocketAddr) -> bool {
    at.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    from.on(|| UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"x", to)).unwrap();
    at.recv_from(&mut [0; 8]).is_ok()
}

/// A way to other hosts, on which nobody answers.
struct Away {
    to: SocketAddr,
}

impl Away {
    fn new() -> Self {
        let next = ["neigh", "add", "198.51.100.9", "lladdr", "02:00:00:00:00:09", "dev", "away"];
        for args in [
            &["link", "add", "away", "type", "veth", "peer", "name", "beyond"][..],
            &["address", "add", "198.51.100.1/24", "dev", "away"],
        ] {
            netns::run("ip", args);
        }
        // Nothing but what is forwarded is sent there: IPv6 speaks by itself.
        std::fs::write("/proc/sys/net/ipv6/conf/away/disable_ipv6", "1").unwrap();
        for args in
            [&["link", "set", "beyond", "up"][..], &["link", "set", "away", "up"], &next[..]]
        {
            netns::run("ip", args);
        }
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        Self { to: SocketAddr::from(([198, 51, 100, 9], 9)) }
    }

    fn sent() -> u64 {
        let text = std::fs::read_to_string("/sys/class/net/away/statistics/tx_packets").unwrap();
        text.trim().parse().unwrap()
    }

    /// Is what a container sends by this address forwarded? Packets from a veth are handled before
    /// `send` comes back, or a moment later.
    fn goes_out(&self, from: &Container, source: Ipv4Addr) -> bool {
        let before = Self::sent();
        from.on(|| UdpSocket::bind((source, 0)).unwrap().send_to(b"x", self.to).unwrap());
        let until = Instant::now() + Duration::from_millis(500);
        while Instant::now() < until {
            if Self::sent() > before {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }
}

fn rule(action: PolicyAction, from: Option<&str>, ports: &[&str]) -> GuardRule {
    let ports = ports.iter().map(|text| text.parse().unwrap()).collect();
    GuardRule { action, from: from.map(str::to_owned), ports }
}

/// The first container and the balancer may be called on port 80 and 53/udp by the second one.
fn policy(unlisted: Unlisted) -> HostPolicy {
    let rules = vec![rule(PolicyAction::Allow, Some("web"), &["80", "53/udp"])];
    HostPolicy {
        unlisted,
        guarded: [(address(1), "db".to_owned()), (BALANCER, "db".to_owned())].into(),
        guards: [("db".to_owned(), Guard { rules, default: PolicyAction::Deny })].into(),
        sources: [("web".to_owned(), [address(2)].into())].into(),
    }
}

#[test]
#[ignore = "needs root"]
fn as_root_containers_of_one_bridge_connect_as_the_policy_says() {
    as_root_in_own_netns("as_root_containers_of_one_bridge_connect_as_the_policy_says", || {
        let data = tempfile::tempdir().unwrap();
        // What it shows is of the namespace in which it was mounted.
        netns::run("mount", &["-t", "sysfs", "sysfs", "/sys"]);
        netns::make_bridge(BRIDGE, "10.42.0.1/16");
        let [db, web, other] = [1, 2, 3].map(container);
        let fabric = Linux::new(data.path());
        ensure(&fabric, HostPolicy::default());
        let away = Away::new();
        let before = whole_state();
        for port in [80, 81] {
            echo(db.on(|| TcpListener::bind(("0.0.0.0", port))).unwrap());
            echo(TcpListener::bind((BALANCER, port)).unwrap());
        }
        echo(other.on(|| TcpListener::bind("0.0.0.0:80")).unwrap());
        let names = db.on(|| UdpSocket::bind("0.0.0.0:53")).unwrap();
        let at = SocketAddr::from((address(1), 53));
        let mut open = reaches(&other, address(1), 81);
        assert!(is_heard(&other, &names, at));

        ensure(&fabric, policy(Unlisted::Allow));
        for to in [address(1), BALANCER] {
            reaches(&web, to, 80);
            is_refused(&web, to, 81);
            is_refused(&other, to, 80);
        }
        assert!(is_heard(&web, &names, at) && !is_heard(&other, &names, at));
        assert!(answers(&mut open), "what was open stays open");
        reaches(&db, address(3), 80);
        let mut host = connect(address(1), 81).unwrap();
        assert!(answers(&mut host), "the host itself is let through");

        ensure(&fabric, policy(Unlisted::Deny));
        is_refused(&db, address(3), 80);
        reaches(&web, address(1), 80);

        // An address from outside of the range is the host's, not a container's.
        other.exec("ip", &["address", "add", "192.0.2.7/32", "dev", "eth0"]);
        let pretends = other.on(|| {
            let socket = UdpSocket::bind("192.0.2.7:0").unwrap();
            socket.send_to(b"x", at).unwrap();
            names.recv_from(&mut [0; 8]).is_ok()
        });
        assert!(!pretends, "a container that has another address is not let through");
        other.exec("ip", &["route", "replace", "default", "via", "10.42.0.1"]);
        assert!(away.goes_out(&other, address(3)), "by its own address");
        let pretended = Ipv4Addr::new(192, 0, 2, 7);
        assert!(!away.goes_out(&other, pretended), "nor is it let out to other hosts");

        ensure(&fabric, HostPolicy::default());
        reaches(&other, address(1), 81);
        assert_eq!(whole_state(), before, "nothing is left of it");
        for file in ["nf_call_iptables", "nf_call_ip6tables"] {
            let path = format!("/sys/class/net/{BRIDGE}/bridge/{file}");
            assert_eq!(std::fs::read_to_string(path).unwrap().trim(), "0", "{file}");
        }
    });
}
