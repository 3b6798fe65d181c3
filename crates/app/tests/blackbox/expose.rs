//! Exposure: containers with Registrator's labels are served by name and by port on every host, come
//! and go without a failed request, and what is in the way of one is told.

use crate::cluster::{Cluster, on_a_cluster};
use crate::load::{Ask, Connections, Load};
use crate::machine::{PATIENCE, text, wait_for, wait_until};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const WEB: &str = "storefront/httpbackend:v1.0.0";
const ECHO: &str = "storefront/tcpfront:v1.0.0";
const STACK: &str = "
name: shop
services:
  api:
    image: storefront/httpbackend:v1.0.0
    expose: ['8081']
    ports: ['8081']
    scale: 2
    labels: {SERVICE_NAME: api, SERVICE_TAGS: http}
";

/// Runs a container by hand, with the labels that Registrator reads.
pub(crate) fn run(cluster: &Cluster, host: &str, name: &str, labels: &[&str], image: &str) {
    let labels: Vec<&str> = labels.iter().flat_map(|label| ["-l", *label]).collect();
    let words = [&["run", "-d", "--name", name, "-P"][..], &labels, &[image]].concat();
    cluster.docker(host, &words);
}

pub(crate) fn address(host: &str, port: u16) -> SocketAddr {
    let number: u8 = host.trim_start_matches('h').parse().unwrap();
    SocketAddr::from(([10, 99, 0, number], port))
}

/// The status line that a host answers for a name.
fn status(host: &str, port: u16, name: &str) -> Option<String> {
    let wait = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&address(host, port), wait).ok()?;
    stream.set_read_timeout(Some(wait)).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text.lines().next()?.to_owned())
}

pub(crate) fn answers(host: &str, port: u16, name: &str) -> bool {
    status(host, port, name).is_some_and(|line| line.contains(" 200 "))
}

/// What comes back over TCP.
pub(crate) fn echoes(host: &str, port: u16) -> bool {
    let wait = Duration::from_secs(5);
    let Ok(mut stream) = TcpStream::connect_timeout(&address(host, port), wait) else {
        return false;
    };
    stream.set_read_timeout(Some(wait)).unwrap();
    let mut back = [0; 4];
    stream.write_all(b"ping").is_ok() && stream.read_exact(&mut back).is_ok() && &back == b"ping"
}

/// The row of `net expose` of a service.
fn row(cluster: &Cluster, name: &str) -> Option<Value> {
    let all = cluster.ok(&["net", "expose", "-o", "json"]).json();
    all["exposed"].as_array().unwrap().iter().find(|row| row["name"] == name).cloned()
}

pub(crate) fn ready(cluster: &Cluster, name: &str) -> u64 {
    row(cluster, name).map_or(0, |row| row["ready"].as_u64().unwrap())
}

#[test]
#[ignore = "needs docker and root"]
fn labelled_containers_are_served_on_every_host_and_come_and_go_without_a_failed_request() {
    on_a_cluster(3, |cluster| {
        cluster.wait_all_seen(&["active", "active", "active"]);
        cluster.ok(&["net", "expose"]).says(&["nothing is exposed"]);
        for (words, why) in [
            (&["--http-port", "8080"][..], "no domain is known yet"),
            (&["--domain", "a b"], "no part of a host name"),
            (&["--domain", "a", "--fail-timeout", "2h"], "fail_timeout"),
        ] {
            let set = [&["net", "expose", "set"][..], words].concat();
            cluster.remuda(&set).with_code(2).says(&[why]);
        }
        cluster.ok(&["net", "expose", "set", "--domain", "Example.Internal"]);
        the_articles_services(cluster);
        a_stack_s_service(cluster);
        what_a_client_registered(cluster);
        they_come_and_go_under_load(cluster);
        how_soon_they_are_served(cluster);
        what_is_in_the_way_is_told(cluster);
        cluster.ok(&["net", "expose", "off"]);
        wait_until("nothing to be served any more", || {
            TcpStream::connect_timeout(&address("h1", 80), Duration::from_secs(5)).is_err()
        });
    });
}

fn the_articles_services(cluster: &Cluster) {
    let web = ["SERVICE_NAME=web", "SERVICE_TAGS=http"];
    run(cluster, "h1", "web1", &web, WEB);
    run(cluster, "h2", "web2", &web, WEB);
    run(cluster, "h3", "tcp1", &["SERVICE_NAME=tcpfront-9999", "SERVICE_TAGS=tcp"], ECHO);
    for host in ["h1", "h2", "h3"] {
        wait_until(&format!("{host} to serve web"), || answers(host, 80, "web.example.internal"));
        wait_until(&format!("{host} to serve port 9999"), || echoes(host, 9999));
    }
    let other = status("h1", 80, "other.example.internal").unwrap();
    assert!(other.contains(" 404 "), "{other}");
    wait_until("both of web to be ready", || ready(cluster, "web") == 2);
    let row = row(cluster, "tcpfront-9999").unwrap();
    assert_eq!((&row["at"][0], &row["reason"]), (&Value::from("*:9999/tcp"), &Value::from("")));
    let table = cluster.ok(&["net", "expose"]).out;
    assert!(table.contains("http://web.example.internal/"), "{table}");
    cluster.ok(&["events"]).says(&["exposure.set"]);
}

fn a_stack_s_service(cluster: &Cluster) {
    let file = cluster.write("shop.yaml", STACK);
    cluster.ok(&["up", "-f", &file]);
    for host in ["h1", "h2", "h3"] {
        wait_until(&format!("{host} to serve api"), || answers(host, 80, "api.example.internal"));
    }
    cluster.ok(&["down", "shop", "--yes"]);
    wait_until("api to be served no more", || row(cluster, "api").is_none());
}

/// A PUT at the agent of a host.
fn put(cluster: &Cluster, host: &str, path: &str, body: &Value) {
    let url = format!("http://127.0.0.1:8500/v1/{path}");
    let mut curl = cluster.bed.on(host, "curl").unwrap();
    let body = body.to_string();
    text(curl.args(["-sS", "-f", "-X", "PUT", "-d", &body, &url]));
}

/// A program that is no container of anybody's labels, with a check of its own.
fn what_a_client_registered(cluster: &Cluster) {
    let name = "billing.example.internal";
    cluster.docker("h2", &["run", "-d", "--name", "billing", "-p", "18090:8081", WEB]);
    let check =
        json!({"HTTP": "http://127.0.0.1:18090/healthz", "Interval": "1s", "Timeout": "1s"});
    let billing = json!({"Name": "billing", "Tags": ["http"], "Port": 18090, "Check": check});
    put(cluster, "h2", "agent/service/register", &billing);
    for host in ["h1", "h2", "h3"] {
        wait_until(&format!("{host} to serve billing"), || answers(host, 80, name));
    }
    // One outside of all agents, which nobody checks; nobody is at its address.
    let aside = json!({"Service": "billing", "ID": "aside", "Tags": ["http"], "Port": 9});
    let node = json!({"Node": "aside", "Address": "10.99.0.254", "Service": aside,
        "Check": {"Name": "word", "ServiceID": "aside", "Status": "critical"}});
    put(cluster, "h1", "catalog/register", &node);
    wait_until("both to be known, one to be ready", || {
        row(cluster, "billing").is_some_and(|row| row["endpoints"] == 2 && row["ready"] == 1)
    });
    let load = Load::start(
        4,
        &Ask {
            to: address("h3", 80),
            host: name.into(),
            path: "/".into(),
            connections: Connections::Kept,
        },
    );
    load.nothing_failed();
    put(cluster, "h1", "catalog/deregister", &json!({"Node": "aside"}));
    cluster.docker("h2", &["stop", "billing"]);
    wait_until("its check to fail", || ready(cluster, "billing") == 0);
    cluster.docker("h2", &["start", "billing"]);
    wait_until("its check to pass", || ready(cluster, "billing") == 1 && answers("h1", 80, name));
    put(cluster, "h2", "agent/service/deregister/billing", &json!({}));
    wait_until("it to be served no more", || row(cluster, "billing").is_none());
    cluster.docker("h2", &["rm", "-f", "billing"]);
}

/// Somebody stops one and runs another one, again and again, on all hosts.
fn they_come_and_go_under_load(cluster: &Cluster) {
    let ask = |host: &str, connections| Ask {
        to: address(host, 80),
        host: "web.example.internal".into(),
        path: "/".into(),
        connections,
    };
    let loads = [
        Load::start(8, &ask("h1", Connections::Kept)),
        Load::start(4, &ask("h1", Connections::New)),
        Load::start(4, &ask("h3", Connections::Kept)),
    ];
    let web = ["SERVICE_NAME=web", "SERVICE_TAGS=http"];
    let mut running = vec![("h1", "web1".to_owned()), ("h2", "web2".to_owned())];
    for n in 3..12 {
        let host = ["h1", "h2", "h3"][n % 3];
        let name = format!("web{n}");
        run(cluster, host, &name, &web, WEB);
        wait_until("the new one to be ready", || ready(cluster, "web") == 3);
        loads[0].more(100);
        let (on, old) = running.remove(0);
        match n % 3 {
            // By its process, as one that crashes: those that wait on it are sent again.
            0 => cluster.docker(on, &["kill", &old]),
            1 => cluster.docker(on, &["stop", &old]),
            _ => cluster.docker(on, &["restart", &old]),
        };
        if n % 3 == 2 {
            wait_until("the one that restarted to be ready", || ready(cluster, "web") == 3);
            loads[0].more(100);
            cluster.docker(on, &["stop", &old]);
        }
        cluster.docker(on, &["rm", "-f", &old]);
        wait_until("the old one to be gone", || ready(cluster, "web") == 2);
        loads[1].more(50);
        let failed = loads.each_ref().map(Load::failed);
        assert_eq!(failed, [0; 3], "after round {n}; stopping tells");
        running.push((host, name));
    }
    loads.into_iter().for_each(Load::nothing_failed);
}

/// When a host answers 200 for a name, asked all the time from now on.
pub(crate) fn first_answer(
    host: &'static str,
    port: u16,
    name: &'static str,
) -> JoinHandle<Instant> {
    std::thread::spawn(move || {
        let until = Instant::now() + PATIENCE;
        while !answers(host, port, name) {
            assert!(Instant::now() < until, "{host}:{port} never answers for {name}");
            std::thread::park_timeout(Duration::from_micros(300));
        }
        Instant::now()
    })
}

/// From the first answer at the published port to the first by name, on its host and on another.
fn how_soon_they_are_served(cluster: &Cluster) {
    const STARTS: usize = 20;
    let mut late: [Vec<f64>; 2] = [vec![], vec![]];
    for _ in 0..STARTS {
        let name = "soon.example.internal";
        let through = ["h2", "h1"].map(|host| first_answer(host, 80, name));
        let direct = first_answer("h2", 8098, name);
        let labels = ["-l", "SERVICE_NAME=soon", "-l", "SERVICE_TAGS=http"];
        let start = ["run", "-d", "--name", "soon", "-p", "8098:8081"];
        cluster.docker("h2", &[&start[..], &labels, &[WEB]].concat());
        let direct = direct.join().unwrap();
        for (late, through) in late.iter_mut().zip(through) {
            let through = through.join().unwrap();
            late.push(through.saturating_duration_since(direct).as_secs_f64() * 1e3);
        }
        cluster.docker("h2", &["rm", "-f", "soon"]);
        wait_until("it to be gone", || row(cluster, "soon").is_none());
        wait_until("nobody to serve it", || {
            ["h1", "h2"]
                .iter()
                .all(|host| status(host, 80, name).is_some_and(|s| s.contains(" 404 ")))
        });
    }
    for (where_, late) in ["its own host", "another host"].into_iter().zip(&mut late) {
        late.sort_by(f64::total_cmp);
        let (middle, worst) = (late[STARTS / 2], late[STARTS - 1]);
        eprintln!(
            "measured: docker run to served, {where_}: p50 {middle:.1} ms, worst {worst:.1} ms"
        );
    }
}

/// A port that somebody has, and a name that two services want.
fn what_is_in_the_way_is_told(cluster: &Cluster) {
    cluster.docker("h2", &["run", "-d", "--name", "taken", "-p", "9998:9999", ECHO]);
    let labels = ["SERVICE_NAME=late-9998", "SERVICE_TAGS=tcp"];
    run(cluster, "h3", "late", &labels, ECHO);
    wait_until("the other hosts to serve it", || echoes("h1", 9998) && echoes("h3", 9998));
    let reason = wait_for("h2 to say why it cannot", || {
        let reason = row(cluster, "late-9998")?["reason"].as_str()?.to_owned();
        (!reason.is_empty()).then_some(reason)
    });
    assert!(
        reason.contains("9998/tcp") && reason.contains("h2") && reason.contains("in use"),
        "{reason}"
    );
    cluster.ok(&["host", "ls"]).says(&["9998/tcp"]);
    cluster.ok(&["events"]).says(&["host.problem", "9998/tcp"]);
    let thief =
        ["SERVICE_NAME=thief", "SERVICE_TAGS=http", "SERVICE_HOSTNAME=web.example.internal"];
    run(cluster, "h1", "thief", &thief, WEB);
    let why = "host name web.example.internal is that of service web";
    wait_until("`ps` to say who has the name", || {
        let all = cluster.ps();
        let mine = all.iter().find(|row| row["name"] == "thief");
        mine.is_some_and(|row| row["reason"].as_str().unwrap().contains(why))
    });
    cluster.ok(&["events"]).says(&["exposure.blocked", why]);
    wait_until("its own name to be served", || answers("h2", 80, "thief.example.internal"));
    cluster.docker("h2", &["rm", "-f", "taken"]);
    wait_until("h2 to serve the port that is free now", || echoes("h2", 9998));
    wait_until("nothing to be in the way any more", || {
        row(cluster, "late-9998").is_some_and(|row| row["reason"] == "")
    });
}
