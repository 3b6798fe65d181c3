//! A floating address on three hosts: whatever happens to the one that has it, another one answers
//! soon, never do two say that it is theirs, and nothing moves without need. The client is the switch,
//! with an ARP cache of its own; it also hears every word of ARP that is said.

use crate::cluster::{Cluster, on_a_cluster};
use crate::machine::{wait_for, wait_until};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use testbed::Role;

const ADDRESS: &str = "10.99.0.50";
const STACK: &str = "
name: shop
services:
  web:
    image: storefront/httpbackend:v1.0.0
    deploy: {mode: global}
    labels: {'io.rancher.scheduler.affinity:host_label': edge=true}
    ports: ['8090:8081']
    health_check: {port: 8081, interval: 500}
    floating_ip: {address: 10.99.0.50, hosts: edge=true}
";
/// Between two requests.
const PERIOD: Duration = Duration::from_millis(20);
/// Longest wait for a connection or an answer: while nobody has the address, none comes.
const ANSWER: Duration = Duration::from_millis(60);
/// Longest time without an answer that a move may take. It takes some 0.6 seconds; a busy machine more.
const MOVE_MAX: Duration = Duration::from_millis(1_000);

/// Somebody who asks all the time, and somebody who listens to ARP.
struct Client {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    answered: u64,
    last: Option<Instant>,
    longest: Duration,
    /// Who said that the address is at which MAC, in the order of the words; the same one once.
    claims: Vec<[u8; 6]>,
}

impl Client {
    fn start() -> Self {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::default()));
        let (asks, listens) = (Arc::clone(&seen), Arc::clone(&seen));
        let stops = [Arc::clone(&stop), Arc::clone(&stop)];
        let [first, second] = stops;
        let asking = std::thread::spawn(move || ask_on(&first, &asks));
        let listening = std::thread::spawn(move || listen(&second, &listens));
        Self { stop, seen, threads: vec![asking, listening] }
    }

    /// Waits for so many more answers.
    fn more(&self, count: u64) {
        let until = self.seen.lock().unwrap().answered + count;
        wait_until(&format!("{count} more answers of the floating address"), || {
            self.seen.lock().unwrap().answered >= until
        });
    }

    /// Nothing that was seen so far counts any more.
    fn forget(&self) {
        let mut seen = self.seen.lock().unwrap();
        seen.longest = Duration::ZERO;
        let last = seen.claims.last().copied();
        seen.claims = last.into_iter().collect();
    }

    /// The longest time without an answer, and which hosts said in turn that it is theirs.
    fn told(&self) -> (Duration, Vec<String>) {
        let seen = self.seen.lock().unwrap();
        let silent = seen.last.map(|last| last.elapsed()).unwrap_or_default();
        let hosts = seen.claims.iter().map(|mac| format!("h{}", mac[5]));
        (seen.longest.max(silent), hosts.collect())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that failed has said why.
            thread.join().ok();
        }
    }
}

fn ask() -> Option<()> {
    let to: SocketAddr = format!("{ADDRESS}:8090").parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&to, ANSWER).ok()?;
    stream.set_read_timeout(Some(ANSWER * 3)).ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").ok()?;
    let mut begin = [0; 12];
    stream.read_exact(&mut begin).ok()?;
    begin.starts_with(b"HTTP/1.1 200").then_some(())
}

fn ask_on(stop: &AtomicBool, seen: &Mutex<Seen>) {
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        if ask().is_some() {
            let mut seen = seen.lock().unwrap();
            let silent = seen.last.map(|last| last.elapsed()).unwrap_or_default();
            seen.longest = seen.longest.max(silent);
            seen.last = Some(Instant::now());
            seen.answered += 1;
        }
        std::thread::park_timeout(PERIOD.saturating_sub(begun.elapsed()));
    }
}

/// Writes down who says in ARP, in a question or an answer, that the address is his.
fn listen(stop: &AtomicBool, seen: &Mutex<Seen>) {
    const ETH_P_ARP: u16 = 0x0806;
    let protocol = Protocol::from(i32::from(ETH_P_ARP.to_be()));
    let mut socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let address: std::net::Ipv4Addr = ADDRESS.parse().unwrap();
    while !stop.load(Ordering::Relaxed) {
        let mut frame = [0; 64];
        let Ok(count) = socket.read(&mut frame) else { continue };
        // Behind the head of Ethernet: the sender's MAC and address.
        if count < 42 || frame[28..32] != address.octets() {
            continue;
        }
        let mac: [u8; 6] = frame[22..28].try_into().unwrap();
        let mut seen = seen.lock().unwrap();
        if seen.claims.last() != Some(&mac) {
            seen.claims.push(mac);
        }
    }
}

/// The neighbours of the client are asked anew by everybody, so that who would answer must.
fn forget_neighbour(cluster: &Cluster) {
    let words = ["neigh", "flush", "to", ADDRESS];
    cluster.bed.on_switch("ip").args(words).output().unwrap();
}

fn holder(cluster: &Cluster) -> Option<String> {
    let ran = cluster.remuda(&["svc", "show", "shop/web", "-o", "json"]);
    if ran.code != 0 {
        return None;
    }
    ran.json()["service"]["floating"]["host"].as_str().map(str::to_owned)
}

fn other(host: &str) -> &'static str {
    if host == "h1" { "h2" } else { "h1" }
}

/// `h1` and `h2` may have it, `h3` votes.
fn begin(cluster: &mut Cluster) -> String {
    cluster.wait_all_seen(&["active", "active", "active"]);
    for host in ["h1", "h2"] {
        cluster.ok(&["host", "label", host, "edge=true"]);
    }
    let file = cluster.write("shop.yaml", STACK);
    cluster.ok(&["up", "-f", &file]);
    wait_for("a host to have the address, and both to be able to", || {
        let ran = cluster.remuda(&["svc", "show", "shop/web", "-o", "json"]);
        let row = &ran.json()["service"]["floating"];
        let both = row["candidates"].as_array()?.len() == 2 && row["voters"].as_array()?.len() == 3;
        both.then(|| holder(cluster)).flatten()
    })
}

/// The other host has it now. How long nobody answered is told.
#[track_caller]
fn moved(cluster: &Cluster, client: &Client, from: &str, after: &str) -> &'static str {
    let to = other(from);
    wait_until(&format!("{to} to say that the address is there after: {after}"), || {
        client.told().1.last().is_some_and(|host| host == to)
    });
    client.more(20);
    let (longest, claims) = client.told();
    eprintln!("measured: floating address, {after}: {} ms without an answer", longest.as_millis());
    assert_eq!(claims, [from, to], "{after}: who said in turn that it is his");
    assert!(longest < MOVE_MAX, "{after}: {longest:?} without an answer");
    wait_until("the server to hear of it", || holder(cluster).as_deref() == Some(to));
    cluster.ok(&["ps"]).says(&[&format!("floating address {ADDRESS} on host {to}")]);
    to
}

/// The dataplane of the host that has it was killed: its agent starts it again, and it or the other
/// one has the address.
fn comes_back(cluster: &Cluster, client: &Client, host: &str) -> &'static str {
    wait_until("the dataplane to be there again", || {
        cluster.bed.find(host, Role::Dataplane).is_some()
    });
    client.more(20);
    let (longest, claims) = client.told();
    eprintln!("measured: floating address, its dataplane killed: {} ms", longest.as_millis());
    assert!(longest < MOVE_MAX && claims.len() <= 2, "{longest:?} without an answer, {claims:?}");
    if claims.last().is_some_and(|host| host == "h1") { "h1" } else { "h2" }
}

/// It stays where it is, though everybody is asked anew. A host that starts beside it on the same
/// two cores can hold an answer up for a while.
#[track_caller]
fn stays(cluster: &Cluster, client: &Client, host: &str, after: &str) {
    client.forget();
    for _ in 0..10 {
        forget_neighbour(cluster);
        client.more(5);
    }
    let (longest, claims) = client.told();
    assert_eq!(claims, [host], "{after}: who said that it is his");
    assert!(longest < ANSWER * 8, "{after}: {longest:?} without an answer");
}

#[test]
#[ignore = "needs docker and root"]
fn a_floating_address_moves_within_a_second_and_is_never_on_two_hosts() {
    on_a_cluster(3, |cluster| {
        let first = begin(cluster);
        let client = Client::start();
        client.more(20);
        cluster
            .ok(&["svc", "show", "shop/web"])
            .says(&["floating", "may have", "h1, h2", "voters"]);
        stays(cluster, &client, &first, "nothing happened");

        client.forget();
        cluster.bed.kill(&first, Some(Role::Dataplane)).unwrap();
        let second = comes_back(cluster, &client, &first);
        stays(cluster, &client, second, "the killed one is back");

        client.forget();
        cluster.bed.hang(second, Role::Dataplane).unwrap();
        let third = moved(cluster, &client, second, "its dataplane hangs");
        cluster.bed.wake(second, Role::Dataplane).unwrap();
        stays(cluster, &client, third, "the one that hung goes on");

        client.forget();
        cluster.bed.cut(third).unwrap();
        let fourth = moved(cluster, &client, third, "its cable was pulled");
        cluster.bed.heal(third).unwrap();
        cluster.wait_seen(third, "active");
        stays(cluster, &client, fourth, "the cable is back");

        wait_until("both hosts to be able to have it", || {
            let ran = cluster.remuda(&["svc", "show", "shop/web", "-o", "json"]);
            ran.json()["service"]["floating"]["candidates"].as_array().map(Vec::len) == Some(2)
        });
        client.forget();
        cluster.bed.kill(fourth, None).unwrap();
        let fifth = moved(cluster, &client, fourth, "its power was cut");
        cluster.bed.boot(fourth, None).unwrap();
        cluster.wait_seen(fourth, "active");
        stays(cluster, &client, fifth, "the power is back");
        cluster
            .ok(&["events", "--tail", "10000", "-o", "json"])
            .says(&["floating_ip.taken", "floating_ip.moved"]);
    });
}

#[test]
#[ignore = "needs docker and root"]
fn a_floating_address_does_not_need_server_or_agents() {
    on_a_cluster(3, |cluster| {
        let first = begin(cluster);
        let client = Client::start();
        client.more(20);
        cluster.bed.kill(testbed::SERVER, Some(Role::Server)).unwrap();
        for host in ["h1", "h2", "h3"] {
            cluster.bed.kill(host, Some(Role::Agent)).unwrap();
        }
        stays(cluster, &client, &first, "server and agents are dead");
        // They agree without them as well.
        client.forget();
        cluster.bed.kill(&first, Some(Role::Dataplane)).unwrap();
        let to = other(&first);
        wait_until("the other one to have it", || {
            client.told().1.last().is_some_and(|host| host == to)
        });
        client.more(20);
        let (longest, claims) = client.told();
        eprintln!("measured: floating address, nobody else alive: {} ms", longest.as_millis());
        assert_eq!(claims, [first.as_str(), to]);
        assert!(longest < MOVE_MAX, "{longest:?} without an answer");
    });
}

#[test]
#[ignore = "needs docker and root"]
fn the_last_of_two_hosts_gets_the_address_when_the_other_one_is_lost() {
    on_a_cluster(2, |cluster| {
        cluster.wait_all_seen(&["active", "active"]);
        for host in ["h1", "h2"] {
            cluster.ok(&["host", "label", host, "edge=true"]);
        }
        let file = cluster.write("shop.yaml", STACK);
        cluster.ok(&["up", "-f", &file]);
        let first = wait_for("a host to have the address", || holder(cluster));
        let client = Client::start();
        client.more(20);
        stays(cluster, &client, &first, "nothing happened");
        cluster.bed.kill(&first, None).unwrap();
        let to = other(&first);
        wait_until("the last host to have it", || holder(cluster).as_deref() == Some(to));
        client.more(20);
        let (longest, claims) = client.told();
        eprintln!(
            "measured: floating address, the other one of two lost: {} ms",
            longest.as_millis()
        );
        assert_eq!(claims, [first.as_str(), to]);
        assert!(longest > Duration::from_secs(8), "nobody can know it earlier: {longest:?}");
        cluster.bed.boot(&first, None).unwrap();
        cluster.wait_seen(&first, "active");
        stays(cluster, &client, to, "the other one is back");
    });
}

#[test]
#[ignore = "needs docker and root"]
fn nobody_has_the_address_without_a_reason_and_it_goes_with_the_service() {
    on_a_cluster(2, |cluster| {
        cluster.wait_all_seen(&["active", "active"]);
        let file = cluster.write("shop.yaml", STACK);
        cluster.remuda(&["up", "-f", &file, "--no-wait"]);
        let reason = "there is no host with edge=true";
        wait_until("the reason to be told", || {
            cluster.ok(&["svc", "show", "shop/web"]).out.contains(reason)
        });
        cluster.ok(&["host", "label", "h1", "edge=true"]);
        wait_until("h1 to have it", || holder(cluster).as_deref() == Some("h1"));
        let on_h1 = |program: &str, words: &[&str]| {
            let output = cluster.bed.on("h1", program).unwrap().args(words).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        assert!(on_h1("ip", &["-o", "address"]).contains(ADDRESS));
        let twice = STACK.replace("name: shop", "name: twice").replace("8090", "8091");
        let twice = cluster.write("twice.yaml", &twice);
        cluster.remuda(&["up", "-f", &twice]).with_code(5).says(&["shop/web asks for it too"]);
        let own = STACK.replace("10.99.0.50", "10.99.0.2");
        let own = cluster.write("own.yaml", &own);
        cluster.remuda(&["up", "-f", &own]).with_code(5).says(&["own address of host h2"]);
        let dump = on_h1("curl", &["-s", "http://127.0.0.1:7602/dump"]);
        let dump: serde_json::Value = serde_json::from_str(&dump).unwrap();
        let seat = &dump["view"]["floating"][ADDRESS];
        assert!(
            seat["candidate"] == true && seat["key"].as_array().unwrap().iter().all(|b| b == 0)
        );
        cluster.ok(&["down", "shop"]);
        wait_until("the address to be away, and the rules with it", || {
            !on_h1("ip", &["-o", "address"]).contains(ADDRESS)
                && !on_h1("nft", &["list", "tables"]).contains("arp remuda")
                && on_h1("ss", &["-lunH", "sport", "= :7605"]).is_empty()
        });
    });
}
