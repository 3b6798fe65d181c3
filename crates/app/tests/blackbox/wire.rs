//! Encryption between hosts: nothing of containers is in clear on the switch, the mode and the keys
//! change under load, and it goes on while anything but the hosts themselves is dead.

use crate::cluster::{Cluster, on_a_cluster};
use crate::load::{Ask, Connections, Load};
use crate::machine::{text, wait_until};
use crate::overlay::{HOSTS, Place, all_reach_all, inside, places, reaches};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{ErrorKind, Read as _};
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use testbed::{Role, SERVER};

const STACK: &str = "
name: shop
services:
  web:
    image: storefront/httpbackend:v1.0.0
    scale: 3
    expose: ['8081']
    health_check: {port: 8081, interval: 500}
  lb:
    image: rancher/lb-service-haproxy:v0.9.14
    ports: ['8080:8080/tcp']
    labels: {io.rancher.scheduler.global: 'true'}
    lb_config:
      port_rules: [{source_port: 8080, protocol: http, service: web, target_port: 8081}]
";
/// Linux' number for every protocol.
const ALL: u16 = 3;
/// Silence after which whoever listens looks whether it is over.
const LISTENED: Duration = Duration::from_millis(100);
/// What is still to come when it is over has come after this time.
const MOMENT: Duration = Duration::from_secs(2);
/// What a container asks for when somebody listens.
const WORD: &str = "a-word-that-nobody-else-says";

fn on(cluster: &Cluster, host: &str, command: &str) -> String {
    let mut words = command.split(' ');
    let program = words.next().unwrap();
    text(cluster.bed.on(host, program).unwrap().args(words))
}

fn has(cluster: &Cluster, host: &str, device: &str) -> bool {
    let mut asks = cluster.bed.on(host, "ip").unwrap();
    asks.args(["link", "show", device]).output().unwrap().status.success()
}

fn balanced() -> Load {
    let to = "10.99.0.1:8080".parse().unwrap();
    let ask = Ask { to, path: "/".into(), connections: Connections::Kept, host: "shop".into() };
    Load::start(16, &ask)
}

fn up(cluster: &Cluster) -> Vec<Place> {
    cluster.wait_all_seen(&["active", "active", "active"]);
    let file = cluster.write("shop.yaml", STACK);
    cluster.ok(&["up", "-f", &file]);
    wait_until("an instance on each host", || cluster.ready("web").len() == 3);
    // Balancers have no containers.
    places(cluster, 3)
}

fn encrypt(cluster: &Cluster) {
    wait_until("a key of every host", || {
        cluster.remuda(&["net", "overlay", "wireguard"]).code == 0
    });
    wait_until("no VXLAN on any host", || {
        HOSTS.iter().all(|host| has(cluster, host, "remudawg0") && !has(cluster, host, "remudavx0"))
    });
    wait_until("all pairs to be well", || cluster.remuda(&["net", "check"]).code == 0);
}

/// Everything that passes the switch while `then` runs.
fn overheard(then: impl FnOnce()) -> Vec<Vec<u8>> {
    let protocol = Protocol::from(i32::from(ALL.to_be()));
    let mut socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol)).unwrap();
    socket.set_read_timeout(Some(LISTENED)).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let listens = scope.spawn(|| {
            let (mut frames, mut room, mut ended) = (vec![], vec![0; 1 << 17], None);
            loop {
                let silent = match socket.read(&mut room) {
                    Ok(bytes) => {
                        frames.push(room[..bytes].to_vec());
                        false
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => true,
                    Err(error) => panic!("{error}"),
                };
                if over.load(Relaxed) {
                    let ended = ended.get_or_insert_with(Instant::now);
                    if silent || ended.elapsed() > MOMENT {
                        return frames;
                    }
                }
            }
        });
        then();
        over.store(true, Relaxed);
        listens.join().unwrap()
    })
}

/// Does anybody on the switch read what containers and hosts say to containers elsewhere?
fn is_overheard(cluster: &Cluster, places: &[Place]) -> bool {
    let frames = overheard(|| {
        for from in places {
            for to in places.iter().filter(|to| to.host != from.host) {
                let url = format!("http://{}:8081/{WORD}", to.address);
                let asked = ["curl", "-sS", "--max-time", "5", "-o", "/dev/null", &url];
                inside(cluster, from, &asked).expect("an answer");
                on(cluster, &from.host, &asked.join(" "));
            }
        }
    });
    assert!(frames.len() > 50, "{} frames", frames.len());
    frames.iter().any(|frame| frame.windows(WORD.len()).any(|part| part == WORD.as_bytes()))
}

/// The keys of a host, as the server knows them.
fn keys(cluster: &Cluster, host: &str) -> Vec<String> {
    let shown = cluster.ok(&["host", "show", host, "-o", "json"]).json();
    let text = shown.to_string();
    let found = shown.pointer("/host/facts/wireguard").or(shown.pointer("/facts/wireguard"));
    let all = found.and_then(|keys| keys.as_array()).unwrap_or_else(|| panic!("no keys: {text}"));
    all.iter().map(|key| key.as_str().unwrap().to_owned()).collect()
}

#[test]
#[ignore = "needs docker and root"]
fn nothing_between_hosts_is_in_clear_and_mode_and_keys_change_under_load() {
    on_a_cluster(3, |cluster| {
        let places = up(cluster);
        all_reach_all(cluster, &places);
        assert!(is_overheard(cluster, &places), "in VXLAN everything can be read");
        let load = balanced();
        encrypt(cluster);
        all_reach_all(cluster, &places);
        load.nothing_failed();
        cluster.ok(&["net", "overlay"]).says(&["wireguard"]);
        assert!(!is_overheard(cluster, &places), "something is in clear");
        as_documented(cluster);
        keys_change(cluster);
        a_firewall_is_named(cluster);
        let load = balanced();
        cluster.ok(&["net", "overlay", "vxlan"]);
        wait_until("VXLAN on all hosts", || {
            HOSTS
                .iter()
                .all(|one| has(cluster, one, "remudavx0") && !has(cluster, one, "remudawg0"))
        });
        all_reach_all(cluster, &places);
        load.nothing_failed();
    });
}

/// Devices, files and rights.
fn as_documented(cluster: &Cluster) {
    let device = on(cluster, "h1", "ip -d link show remudawg0");
    assert!(device.contains("mtu 1440") && device.contains("tun"), "{device}");
    let route = on(cluster, "h1", "ip route show proto 82");
    assert!(route.contains("dev remudawg0") && !route.contains("remudavx0"), "{route}");
    for host in HOSTS {
        let stat = on(cluster, host, "stat -c %a /var/lib/remuda/dataplane/wireguard.json");
        assert_eq!(stat.trim(), "600", "{host}");
        let dump = on(cluster, host, "cat /var/lib/remuda/dataplane/wire.json");
        assert!(!dump.contains("secret"), "{dump}");
    }
    let shown = cluster.ok(&["host", "show", "h1", "-o", "json"]).out;
    assert!(!shown.contains("secret"), "{shown}");
}

/// All hosts make new ones at once, and the old ones are given up.
fn keys_change(cluster: &Cluster) {
    let before: Vec<Vec<String>> = HOSTS.iter().map(|host| keys(cluster, host)).collect();
    assert!(before.iter().all(|keys| keys.len() == 1), "{before:?}");
    let load = balanced();
    cluster.ok(&["net", "rotate-keys"]).says(&["every host makes a new key"]);
    wait_until("both keys of a host to be told of", || keys(cluster, "h1").len() == 2);
    wait_until("each host to have one new key", || {
        HOSTS.iter().zip(&before).all(|(host, before)| {
            let now = keys(cluster, host);
            now.len() == 1 && now != *before
        })
    });
    load.nothing_failed();
}

fn a_firewall_is_named(cluster: &Cluster) {
    let rules = "table inet theirs {\n  chain theirs {\n    type filter hook input priority 0;\n    \
                 udp dport 51820 drop\n  }\n}\n";
    let file = cluster.write("rules.nft", rules);
    text(cluster.bed.on("h2", "nft").unwrap().args(["-f", &file]));
    let ran = cluster.remuda(&["net", "check"]).with_code(1);
    ran.says(&["h1 -> h2: no overlay", "WireGuard, UDP port 51820"]);
    on(cluster, "h2", "nft delete table inet theirs");
    wait_until("all pairs to be well again", || cluster.remuda(&["net", "check"]).code == 0);
}

#[test]
#[ignore = "needs docker and root"]
fn what_is_encrypted_goes_on_whoever_is_dead_and_strangers_are_not_heard() {
    on_a_cluster(3, |cluster| {
        let places = up(cluster);
        encrypt(cluster);
        all_reach_all(cluster, &places);
        strangers(cluster, &places);
        a_dataplane_dies(cluster, &places);
        nothing_is_sent_without_a_dataplane(cluster, &places);
        everybody_else_is_dead(cluster, &places);
        a_host_is_removed(cluster, &places);
    });
}

/// What was overheard, and what is made up, from an address that is no host's.
fn strangers(cluster: &Cluster, places: &[Place]) {
    let frames = overheard(|| {
        assert!(reaches(cluster, &places[0], &places[1].address));
    });
    // Ethernet, IPv4 without options and UDP come before it.
    let is_ours = |frame: &&Vec<u8>| {
        frame.len() > 74
            && frame[12..14] == [8, 0]
            && frame[23] == 17
            && frame[36..38] == [0xca, 0x6c]
    };
    let datagrams: Vec<&[u8]> = frames.iter().filter(is_ours).map(|frame| &frame[42..]).collect();
    assert!(!datagrams.is_empty(), "nothing was overheard");
    let socket = UdpSocket::bind("10.99.0.254:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    for number in [1, 2, 3] {
        let to = format!("10.99.0.{number}:51820");
        for datagram in &datagrams {
            let sent = socket.send_to(&datagram[..datagram.len().min(1_400)], &to);
            assert!(sent.is_ok(), "{sent:?}");
        }
        for kind in 0..6_u8 {
            let mut made_up = vec![kind, 0, 0, 0];
            made_up.resize(if kind == 1 { 148 } else { 92 }, 7);
            socket.send_to(&made_up, &to).unwrap();
        }
    }
    all_reach_all(cluster, places);
    let error = socket.recv(&mut [0; 64]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "somebody answered");
}

/// Its agent starts another one, which shakes hands with everybody.
fn a_dataplane_dies(cluster: &mut Cluster, places: &[Place]) {
    let load = balanced();
    cluster.bed.kill("h2", Some(Role::Dataplane)).unwrap();
    all_reach_all(cluster, places);
    load.nothing_failed();
}

/// Neither in clear nor otherwise, until there is one.
fn nothing_is_sent_without_a_dataplane(cluster: &mut Cluster, places: &[Place]) {
    let from = places.iter().find(|place| place.host == "h3").unwrap();
    let to = places.iter().find(|place| place.host == "h1").unwrap();
    cluster.bed.kill("h3", Some(Role::Agent)).unwrap();
    cluster.bed.kill("h3", Some(Role::Dataplane)).unwrap();
    let frames = overheard(|| {
        assert!(!reaches(cluster, from, &to.address), "without a dataplane");
        assert!(!reaches(cluster, to, &from.address), "the other way");
    });
    let clear = |frame: &&Vec<u8>| frame.len() > 34 && frame[26..28] == [10, 42];
    let clear: Vec<&Vec<u8>> = frames.iter().filter(clear).collect();
    assert!(clear.is_empty(), "in clear: {clear:?}");
    cluster.bed.boot("h3", Some(Role::Agent)).unwrap();
    cluster.wait_all_seen(&["active", "active", "active"]);
    all_reach_all(cluster, places);
}

/// The server and every agent; and a host that boots then.
fn everybody_else_is_dead(cluster: &mut Cluster, places: &[Place]) {
    cluster.bed.kill(SERVER, None).unwrap();
    for host in HOSTS {
        cluster.bed.kill(host, Some(Role::Agent)).unwrap();
    }
    let (from, to) = (&places[0], &places[1]);
    for _ in 0..20 {
        assert!(reaches(cluster, from, &to.address), "nobody but the dataplanes is needed");
    }
    for host in ["h1", "h2"] {
        cluster.bed.boot(host, Some(Role::Agent)).unwrap();
    }
    cluster.bed.kill("h3", None).unwrap();
    cluster.bed.boot("h3", None).unwrap();
    let one = places.iter().find(|place| place.host == "h1").unwrap();
    let three = places.iter().find(|place| place.host == "h3").unwrap();
    wait_until("the container of a host that booted alone", || {
        reaches(cluster, one, &three.address)
    });
    cluster.bed.boot(SERVER, None).unwrap();
    cluster.wait_all_seen(&["active", "active", "active"]);
}

/// Nobody has a session with it, or anything else of it.
fn a_host_is_removed(cluster: &mut Cluster, places: &[Place]) {
    // Without its agent, which would join again: its dataplane runs on.
    cluster.bed.kill("h3", Some(Role::Agent)).unwrap();
    cluster.wait_seen("h3", "lost");
    let knows = |host: &str| {
        let wish = on(cluster, host, "cat /var/lib/remuda/dataplane/wire.json");
        let routes = on(cluster, host, "ip route show table all proto 82");
        wish.contains("10.99.0.3") || routes.contains("10.99.0.3")
    };
    assert!(knows("h1") && knows("h2"));
    cluster.ok(&["host", "rm", "h3", "--force"]);
    wait_until("h1 and h2 to have forgotten h3", || !knows("h1") && !knows("h2"));
    // It sends by the keys that it has.
    let one = places.iter().find(|place| place.host == "h1").unwrap();
    let url = format!("http://{}:8081/", one.address);
    let asks = |host: &str| {
        let mut curl = cluster.bed.on(host, "curl").unwrap();
        curl.args(["-sS", "--max-time", "3", "-o", "/dev/null", &url]);
        curl.output().unwrap().status.success()
    };
    assert!(asks("h2"), "h2 is still a host");
    assert!(!asks("h3"), "h1 answers a host that was removed");
}
