//! Metadata as containers read it: every path there is, in all versions and forms, by callers that
//! are containers of a service, one started by hand, and nobody; with server and agent dead too; and
//! `remuda giddyup`, which reads it.

use crate::machine::{Machine, Ran, on_a_machine, wait_until};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;

const AT: &str = "http://169.254.169.250";
const STACK: &str = "
version: '2'
services:
  web:
    image: storefront/httpfront:v1.0.0
    environment: {BACKEND: '127.0.0.1:8081'}
    labels: {io.rancher.sidekicks: 'backend', team: blue, 'odd key/slash': 'a b'}
    ports: ['8088:8080']
    scale: 2
    links: ['other:friend']
    health_check: {port: 8080, interval: 500, response_timeout: 1000, healthy_threshold: 1,
      unhealthy_threshold: 2}
    metadata:
      example: {name: hello, value: world}
      'key with/slash': [1, 2.5, true, null, {name: two}]
  backend:
    image: storefront/httpbackend:v1.0.0
    network_mode: 'container:web'
  other:
    image: storefront/tcpfront:v1.0.0
  lb:
    image: rancher/lb-service-haproxy
    ports: ['8090:8090']
    lb_config:
      port_rules: [{source_port: 8090, target_port: 8080, service: web, protocol: http}]
  far:
    image: rancher/external-service
    external_ips: [198.51.100.7]
";

/// A place to ask from: the network of a container, or the host itself.
struct Place {
    pid: Option<String>,
}

impl Place {
    fn of(machine: &Machine, container: &str) -> Self {
        let pid = machine.docker(&["inspect", "-f", "{{.State.Pid}}", container]);
        Self { pid: Some(pid.trim().to_owned()) }
    }

    fn instance(machine: &Machine, name: &str) -> Self {
        let row = machine.ps().into_iter().find(|row| row["name"] == name).unwrap();
        Self::of(machine, row["container_id"].as_str().unwrap())
    }

    fn run(&self, machine: &Machine, program: &str, words: &[&str]) -> Ran {
        match &self.pid {
            Some(pid) => machine.run("nsenter", &[&["-t", pid, "-n", program], words].concat()),
            None => machine.run(program, words),
        }
    }

    fn text(&self, machine: &Machine, path: &str) -> String {
        self.run(machine, "curl", &["-sS", "--max-time", "20", &format!("{AT}{path}")]).out
    }

    fn json(&self, machine: &Machine, path: &str) -> Value {
        let url = format!("{AT}{path}");
        let words = ["-sS", "--max-time", "20", "-H", "Accept: application/json", &url];
        self.run(machine, "curl", &words).json()
    }

    /// Bodies of many paths in one form, by their paths. Each must be answered with 200.
    fn all(&self, machine: &Machine, paths: &[String], accept: &str) -> BTreeMap<String, String> {
        let folder = machine.folder().join("answers");
        std::fs::create_dir_all(&folder).unwrap();
        let mut config = format!("header = \"Accept: {accept}\"\nmax-time = 20\nsilent\n");
        for (nth, path) in paths.iter().enumerate() {
            writeln!(config, "url = \"{AT}{path}\"\noutput = \"{}/{nth}\"", folder.display())
                .unwrap();
        }
        config.push_str("write-out = \"%{http_code}\\n\"\n");
        let config = machine.write("curl.conf", config);
        let said = self.run(machine, "curl", &["-K", config.to_str().unwrap()]).with_code(0);
        let codes: Vec<&str> = said.out.lines().collect();
        assert_eq!(codes.len(), paths.len());
        let read = |(nth, path): (usize, &String)| {
            assert_eq!(codes[nth], "200", "{accept} {path}");
            (
                path.clone(),
                std::fs::read_to_string(folder.join(nth.to_string())).unwrap_or_default(),
            )
        };
        let all = paths.iter().enumerate().map(read).collect();
        std::fs::remove_dir_all(&folder).unwrap();
        all
    }

    fn giddyup(&self, machine: &Machine, words: &[&str]) -> Ran {
        let binary = env!("CARGO_BIN_EXE_remuda");
        let url = format!("{AT}/2015-12-19");
        self.run(machine, binary, &[&["giddyup", "--metadata-url", &url], words].concat())
    }
}

/// As a key stands in a path.
fn escaped(key: &str) -> String {
    let mut out = String::new();
    for byte in key.bytes() {
        match byte {
            b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b if b.is_ascii_alphanumeric() => out.push(char::from(b)),
            b => write!(out, "%{b:02X}").unwrap(),
        }
    }
    out
}

/// All paths below one, with their values.
fn paths(at: &str, value: &Value, all: &mut Vec<(String, Value)>) {
    all.push((at.to_owned(), value.clone()));
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(key, value)| (escaped(key), value)).collect(),
        Value::Array(list) => list.iter().enumerate().map(|(n, v)| (n.to_string(), v)).collect(),
        _ => vec![],
    };
    for (key, child) in children {
        paths(&format!("{at}/{key}"), child, all);
    }
}

/// The lines of a listing, or the text of a scalar.
fn listing(value: &Value) -> String {
    let deep = |value: &Value| value.is_array() || value.is_object();
    let mark = |value: &Value| if deep(value) { "/" } else { "" };
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| format!("{}{}\n", escaped(key).replace("%20", "+"), mark(value)))
            .collect(),
        Value::Array(list) => {
            let line = |(n, value): (usize, &Value)| {
                let name = value.get("name").or_else(|| value.get("uuid"));
                match name.and_then(Value::as_str).filter(|_| value.is_object()) {
                    Some(name) => format!("{n}={}\n", escaped(name)),
                    None => format!("{n}{}\n", mark(value)),
                }
            };
            list.iter().enumerate().map(line).collect()
        }
        other => other.to_string(),
    }
}

/// Every path of these versions from one place; how many.
fn crawl(machine: &Machine, place: &Place, versions: &[&str]) -> usize {
    let mut count = 0;
    for version in versions {
        let root = format!("/{version}");
        let mut all = vec![];
        paths(&root, &place.json(machine, &root), &mut all);
        let names: Vec<String> = all.iter().map(|(path, _)| path.clone()).collect();
        let text = place.all(machine, &names, "text/plain");
        let json = place.all(machine, &names, "application/json");
        let yaml = place.all(machine, &names, "application/yaml");
        for (path, value) in &all {
            let said: Value = serde_json::from_str(&json[path]).unwrap();
            assert_eq!(said, *value, "{path}");
            assert_eq!(text[path], listing(value), "{path}");
            assert!(yaml[path].ends_with('\n'), "{path}");
            let scalar = value.is_number() || value.is_boolean() || value.is_null();
            assert!(!scalar || yaml[path] == format!("{value}\n"), "{path}");
        }
        count += all.len();
    }
    count
}

fn up(machine: &Machine) {
    let file = machine.write("meta.yaml", STACK);
    machine.ok(&["up", "-f", file.to_str().unwrap(), "-p", "shop"]);
    machine.docker(&["run", "-d", "--name", "By-Hand", "storefront/httpbackend:v1.0.0"]);
    let host = Place { pid: None };
    // What was told of all of it is told here too, and comes to rest.
    wait_until("metadata to know all", || {
        let all = host.json(machine, "/2015-12-19/containers");
        let state =
            |one: &Value| one["state"] == "running" && one["health_state"] != "initializing";
        let all = all.as_array().unwrap();
        all.len() == 7 && all.iter().all(state)
    });
}

/// What a container is told of itself is what Docker knows of it.
fn as_docker_knows_it(machine: &Machine, place: &Place) {
    let own = place.json(machine, "/2015-12-19/self/container");
    let id = own["external_id"].as_str().unwrap();
    let known: Value = serde_json::from_str(&machine.docker(&["inspect", id])).unwrap();
    let known = &known[0];
    let network = known["NetworkSettings"]["Networks"]["remuda"]["IPAddress"].as_str();
    assert_eq!(own["primary_ip"].as_str(), network);
    assert_eq!(own["name"], "shop-web-1");
    let labels = own["labels"].as_object().unwrap();
    assert!(labels.len() > 10 && labels["team"] == "blue");
    for (key, value) in labels {
        assert_eq!(known["Config"]["Labels"][key], *value, "label {key}");
    }
    assert_eq!(labels["io.rancher.container.uuid"], own["uuid"]);
    let service = place.json(machine, "/2015-12-19/self/service");
    assert_eq!(service["metadata"]["example"]["value"], "world");
    assert_eq!(service["links"]["shop/other"], "friend");
    assert_eq!(service["containers"].as_array().unwrap().len(), 2);
    assert_eq!(place.text(machine, "/latest/self/service/metadata/key+with%2Fslash/4/name"), "two");
    assert_eq!(place.text(machine, "/latest/self/host/agent_ip"), crate::machine::ADDRESS);
    let port = place.text(machine, "/2015-12-19/self/container/ports/0");
    assert_eq!(port, format!("{}:8088:8080/tcp", crate::machine::ADDRESS));
}

fn start_up_scripts(machine: &Machine, first: &Place, second: &Place) {
    let said = |place: &Place, words: &[&str]| place.giddyup(machine, words).with_code(0).out;
    let ip = |place: &Place| place.text(machine, "/latest/self/container/primary_ip");
    let (one, two) = (ip(first), ip(second));
    assert_eq!(said(first, &["leader", "check"]), "");
    second.giddyup(machine, &["leader", "check"]).with_code(1);
    assert_eq!(said(second, &["leader", "get"]), one);
    assert_eq!(said(second, &["leader", "get", "agent_ip"]), crate::machine::ADDRESS);
    assert_eq!(said(second, &["ip", "myip"]), two);
    assert_eq!(said(first, &["ip", "stringify", "--delimiter", ";"]), format!("{one};{two}"));
    let words = ["ip", "stringify", "--prefix", "<", "--suffix", ">", "shop/web"];
    assert_eq!(said(first, &words), format!("<{one}>,<{two}>"));
    assert_eq!(said(first, &["service", "scale"]), "2");
    assert_eq!(said(first, &["service", "scale", "other", "--current"]), "1");
    assert_eq!(said(first, &["service", "wait", "scale", "--timeout", "5"]), "");
    assert_eq!(said(first, &["service", "containers"]), "shop-web-1 shop-web-2");
    assert_eq!(said(first, &["service", "containers", "-n", "--exclude-self"]), "shop-web-2");
    let word = first.giddyup(machine, &["leader", "elect", "echo", "leads"]).with_code(0).out;
    assert_eq!(word, "leads\n");
    second.giddyup(machine, &["leader", "elect", "echo", "leads"]).with_code(1);
    assert_eq!(said(first, &["probe", &format!("tcp://{two}:8080")]), "OK\n");
    assert_eq!(said(first, &["probe", &format!("http://{two}:8080/")]), "OK\n");
    first.giddyup(machine, &["probe", "tcp://127.0.0.1:1", "-t", "1s"]).with_code(1);
    first.giddyup(machine, &["service", "scale", "nobody"]).with_code(1);
    first.giddyup(machine, &["exec", "--", "sh", "-c", "exit 7"]).with_code(7);
}

#[test]
#[ignore = "needs docker and root"]
fn every_path_of_metadata_is_answered_to_every_caller_and_by_a_dataplane_alone() {
    on_a_machine(|machine| {
        let dev = machine.dev();
        up(machine);
        let web = Place::instance(machine, "shop/web#1");
        let second = Place::instance(machine, "shop/web#2");
        let by_hand = Place::of(machine, "By-Hand");
        let host = Place { pid: None };
        as_docker_knows_it(machine, &web);
        assert_eq!(by_hand.text(machine, "/2015-12-19/self/container/name"), "By-Hand");
        assert_eq!(by_hand.text(machine, "/latest/self/service"), "");
        assert_eq!(host.text(machine, "/latest/self"), "host/\n");
        let count = crawl(machine, &web, &["2015-07-25", "2015-12-19", "2016-07-29", "latest"]);
        assert!(count > 3_000, "{count} paths");
        for place in [&by_hand, &host] {
            let count = crawl(machine, place, &["2015-12-19"]);
            assert!(count > 1_000, "{count} paths");
        }
        start_up_scripts(machine, &web, &second);

        // A scale that changes wakes who waits for it, and only then.
        let version = web.text(machine, "/latest/version");
        let path = format!("/latest/version?wait=true&value={version}&maxWait=30");
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| web.text(machine, &path));
            machine.ok(&["svc", "scale", "shop/web", "3"]);
            assert_ne!(waits.join().unwrap(), version);
        });
        wait_until("the third to be told", || {
            web.text(machine, "/latest/self/service/containers").lines().count() == 3
        });

        // Nobody is left but the dataplane.
        let known = web.json(machine, "/latest/self/stack");
        dev.kill();
        assert_eq!(web.json(machine, "/latest/self/stack"), known);
        assert!(
            crawl(machine, &host, &["2015-07-25"]) > 300,
            "the first version names more than it lists"
        );
    });
}
