//! The service discovery of Prometheus for Consul, replayed: its requests with their headers, its loop of
//! blocking reads, its reading of the headers, and what labels it makes of the answers. It throws a
//! body away whose index is the one that it has, so that the index has to change whenever the result does.

use crate::machine::{Machine, on_a_machine, wait_until};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

const CONSUL: &str = "127.0.0.1:8500";
const IMAGE: &str = "storefront/httpbackend:v1.0.0";
/// The longest wait that it asks for.
const WAIT: &str = "120000ms";

type Labels = BTreeMap<String, String>;

/// One connection that is kept, as Go's client keeps it.
struct Client(BufReader<TcpStream>);

/// What it reads from the headers of an answer.
struct Meta {
    last_index: u64,
    known_leader: bool,
}

impl Client {
    fn new() -> Self {
        Self(BufReader::new(TcpStream::connect(CONSUL).unwrap()))
    }

    /// The query is sorted by key, as Go encodes it.
    fn get(&mut self, path: &str, query: &[(&str, &str)]) -> (BTreeMap<String, String>, Value) {
        let mut query = query.to_vec();
        query.sort_by_key(|(key, _)| *key);
        let escape = |text: &str| text.replace(':', "%3A");
        let query: Vec<String> =
            query.iter().map(|(key, value)| format!("{key}={}", escape(value))).collect();
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        // It is set up with the name and the password of nobody.
        let request = format!(
            "GET {path}{query} HTTP/1.1\r\nHost: {CONSUL}\r\nUser-Agent: Prometheus/2.53.4\r\n\
             Authorization: Basic Og==\r\nAccept-Encoding: gzip\r\n\r\n"
        );
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        let status = self.line();
        let mut headers = BTreeMap::new();
        loop {
            let line = self.line();
            let Some((key, value)) = line.split_once(':') else { break };
            headers.insert(key.to_ascii_lowercase(), value.trim().to_owned());
        }
        let mut body = vec![];
        if let Some(length) = headers.get("content-length") {
            body.resize(length.parse().unwrap(), 0);
            self.0.read_exact(&mut body).unwrap();
        } else {
            assert_eq!(headers["transfer-encoding"], "chunked");
            loop {
                let mut chunk = vec![0; usize::from_str_radix(&self.line(), 16).unwrap()];
                self.0.read_exact(&mut chunk).unwrap();
                assert_eq!(self.line(), "");
                if chunk.is_empty() {
                    break;
                }
                body.extend(chunk);
            }
        }
        assert!(status.contains(" 200 "), "{path}{query}: {status}");
        assert_eq!(headers["content-type"], "application/json", "{path}");
        assert_eq!(headers.get("content-encoding"), None, "{path}");
        (headers, serde_json::from_slice(&body).unwrap())
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.0.read_line(&mut line).unwrap() > 0, "the connection ended");
        line.trim_end().to_owned()
    }
}

/// A header that is malformed is an error, one that is missing is none but for the time of contact.
fn meta(headers: &BTreeMap<String, String>) -> Meta {
    let number = |key: &str| headers.get(key).map(|text| text.parse::<u64>().unwrap());
    assert!(number("x-consul-lastcontact").is_some(), "{headers:?}");
    number("age");
    if let Some(policy) = headers.get("x-consul-default-acl-policy") {
        assert!(["allow", "deny"].contains(&policy.as_str()), "{policy}");
    }
    let known_leader = match headers["x-consul-knownleader"].as_str() {
        "true" => true,
        "false" => false,
        other => panic!("{other}"),
    };
    Meta { last_index: number("x-consul-index").unwrap_or(0), known_leader }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// Letters that no label has are `_`.
fn sanitized(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// Of all checks of an instance, those of its node too.
fn health(checks: &Value) -> &'static str {
    let checks = checks.as_array().unwrap();
    let is = |status: &str| checks.iter().any(|check| check["Status"] == status);
    let held = checks.iter().any(|check| {
        let id = text(&check["CheckID"]);
        id == "_node_maintenance" || id.starts_with("_service_maintenance:")
    });
    match (held, is("critical"), is("warning")) {
        (true, ..) => "maintenance",
        (_, true, _) => "critical",
        (_, _, true) => "warning",
        _ => "passing",
    }
}

/// The labels of an instance.
fn target(one: &Value) -> Labels {
    let (node, service) = (&one["Node"], &one["Service"]);
    let port = service["Port"].as_u64().unwrap().to_string();
    let own = text(&service["Address"]);
    let address = if own.is_empty() { text(&node["Address"]) } else { own };
    let tags: Vec<&str> = service["Tags"].as_array().unwrap().iter().map(text).collect();
    let mut labels = Labels::new();
    let mut set = |key: &str, value: &str| labels.insert(key.to_owned(), value.to_owned());
    set("__address__", &format!("{address}:{port}"));
    set("__meta_consul_address", text(&node["Address"]));
    set("__meta_consul_node", text(&node["Node"]));
    set("__meta_consul_tags", &format!(",{},", tags.join(",")));
    set("__meta_consul_service_address", own);
    set("__meta_consul_service_port", &port);
    set("__meta_consul_service_id", text(&service["ID"]));
    set("__meta_consul_health", health(&one["Checks"]));
    for (from, prefix) in [
        (&node["Meta"], "metadata"),
        (&service["Meta"], "service_metadata"),
        (&node["TaggedAddresses"], "tagged_address"),
    ] {
        for (key, value) in from.as_object().into_iter().flatten() {
            set(&format!("__meta_consul_{prefix}_{}", sanitized(key)), text(value));
        }
    }
    labels
}

/// What it knows, and every result that it saw by its index.
#[derive(Default)]
struct Known {
    watched: BTreeSet<String>,
    /// The targets of each service that is watched.
    groups: BTreeMap<String, Vec<Labels>>,
    seen: BTreeMap<(String, u64), Value>,
}

/// Discovery as it runs, until the test ends.
#[derive(Clone, Default)]
struct Discovery(Arc<Mutex<Known>>);

impl Discovery {
    fn start() -> Self {
        let all = Self::default();
        let own = all.clone();
        std::thread::spawn(move || own.services());
        all
    }

    fn services(&self) {
        let (mut client, mut last) = (Client::new(), 0);
        loop {
            let index = last.to_string();
            let mut query = vec![("stale", ""), ("wait", WAIT)];
            query.extend((last > 0).then_some(("index", index.as_str())));
            let (headers, services) = client.get("/v1/catalog/services", &query);
            let meta = meta(&headers);
            if meta.last_index == last {
                continue;
            }
            last = meta.last_index;
            let services = services.as_object().unwrap().clone();
            let mut known = self.0.lock().unwrap();
            for name in services.keys() {
                if known.watched.insert(name.clone()) {
                    let (own, name) = (self.clone(), name.clone());
                    std::thread::spawn(move || own.service(&name));
                }
            }
            known.groups.retain(|name, _| services.contains_key(name));
            known.watched.retain(|name| services.contains_key(name));
        }
    }

    fn service(&self, name: &str) {
        let (mut client, mut last) = (Client::new(), 0);
        loop {
            let index = last.to_string();
            let mut query = vec![("stale", ""), ("wait", WAIT)];
            query.extend((last > 0).then_some(("index", index.as_str())));
            let (headers, found) = client.get(&format!("/v1/health/service/{name}"), &query);
            let meta = meta(&headers);
            let mut known = self.0.lock().unwrap();
            if !known.watched.contains(name) {
                return;
            }
            let before = known.seen.insert((name.to_owned(), meta.last_index), found.clone());
            assert!(before.is_none_or(|before| before == found), "two results at one index");
            if meta.last_index == last {
                continue;
            }
            assert!(meta.known_leader);
            last = meta.last_index;
            let targets = found.as_array().unwrap().iter().map(target).collect();
            known.groups.insert(name.to_owned(), targets);
        }
    }

    /// A label of each target of a service.
    fn each(&self, service: &str, label: &str) -> Vec<String> {
        let known = self.0.lock().unwrap();
        let targets = known.groups.get(service).into_iter().flatten();
        targets.map(|one| one.get(label).cloned().unwrap_or_default()).collect()
    }

    #[track_caller]
    fn comes_to(&self, service: &str, label: &str, wanted: &[&str]) {
        wait_until(&format!("{label} of {service} to be {wanted:?}"), || {
            self.each(service, label) == wanted
        });
    }
}

fn put(machine: &Machine, path: &str, body: &Value) {
    let url = format!("http://{CONSUL}/v1/{path}");
    let body = body.to_string();
    machine.run("curl", &["-sS", "-f", "-X", "PUT", "-d", &body, &url]).with_code(0);
}

fn billing(tags: &[&str]) -> Value {
    json!({"Name": "billing", "ID": "billing-1", "Port": 9090, "Tags": tags, "Meta": {"metrics-path": "/m"},
        "Check": {"TTL": "60s", "CheckID": "alive"}})
}

#[test]
#[ignore = "needs docker and root"]
fn the_discovery_of_prometheus_finds_and_follows_what_there_is() {
    on_a_machine(|machine| {
        let _dev = machine.dev();
        let (headers, me) = Client::new().get("/v1/agent/self", &[]);
        assert_eq!(me["Config"]["Datacenter"], "dc1", "{headers:?}");
        let node = text(&me["Config"]["NodeName"]).to_owned();
        let labels =
            ["-l", "SERVICE_NAME=web", "-l", "SERVICE_TAGS=a,b", "-l", "SERVICE_TEAM=shop"];
        let run = |name: &str, port: &str| {
            let start = ["run", "-d", "--name", name, "-p", port];
            machine.docker(&[&start[..], &labels, &[IMAGE]].concat());
        };
        run("web1", "18081:8081");
        put(machine, "agent/service/register", &billing(&["metrics"]));
        let found = Discovery::start();
        found.comes_to("web", "__meta_consul_tags", &[",a,b,"]);
        found.comes_to("web", "__meta_consul_node", &[&node]);
        found.comes_to("web", "__meta_consul_service_port", &["18081"]);
        found.comes_to("web", "__meta_consul_service_metadata_team", &["shop"]);
        found.comes_to("web", "__meta_consul_health", &["passing"]);
        // It registered no address: that of its node is taken.
        found.comes_to("billing", "__meta_consul_service_address", &[""]);
        let at = found.each("billing", "__meta_consul_address").concat();
        found.comes_to("billing", "__address__", &[&format!("{at}:9090")]);
        found.comes_to("billing", "__meta_consul_service_metadata_metrics_path", &["/m"]);
        what_changes_is_followed(machine, &found, run);
        let asked = Client::new();
        those_that_are_asked_for_by_tag(asked);
    });
}

fn what_changes_is_followed(machine: &Machine, found: &Discovery, run: impl Fn(&str, &str)) {
    let none = json!({});
    let health = "__meta_consul_health";
    found.comes_to("billing", health, &["critical"]);
    put(machine, "agent/check/pass/alive", &none);
    found.comes_to("billing", health, &["passing"]);
    put(machine, "agent/check/warn/alive", &none);
    found.comes_to("billing", health, &["warning"]);
    put(machine, "agent/service/maintenance/billing-1?enable=true", &none);
    found.comes_to("billing", health, &["maintenance"]);
    put(machine, "agent/service/maintenance/billing-1?enable=false", &none);
    found.comes_to("billing", health, &["warning"]);
    put(machine, "agent/maintenance?enable=true", &none);
    found.comes_to("billing", health, &["maintenance"]);
    put(machine, "agent/maintenance?enable=false", &none);
    put(machine, "agent/service/register", &billing(&["metrics", "v2"]));
    found.comes_to("billing", "__meta_consul_tags", &[",metrics,v2,"]);
    run("web2", "18082:8081");
    found.comes_to("web", "__meta_consul_service_port", &["18081", "18082"]);
    machine.docker(&["stop", "web1"]);
    found.comes_to("web", "__meta_consul_service_port", &["18082"]);
    machine.docker(&["start", "web1"]);
    found.comes_to("web", "__meta_consul_service_port", &["18081", "18082"]);
    machine.docker(&["rm", "-f", "web1", "web2"]);
    wait_until("the group to be cleared", || !found.0.lock().unwrap().groups.contains_key("web"));
    run("web1", "18081:8081");
    found.comes_to("web", "__meta_consul_service_port", &["18081"]);
    assert!(found.0.lock().unwrap().seen.len() > 10, "each change had an index of its own");
}

/// With `tags` and `node_meta` in its settings: all tags have to be there.
fn those_that_are_asked_for_by_tag(mut client: Client) {
    let query = [("stale", ""), ("wait", WAIT), ("tag", "metrics"), ("tag", "v2")];
    let (_, found) = client.get("/v1/health/service/billing", &query);
    assert_eq!(found.as_array().unwrap().len(), 1);
    let query = [("stale", ""), ("wait", WAIT), ("tag", "metrics"), ("tag", "v3")];
    let (headers, found) = client.get("/v1/health/service/billing", &query);
    assert_eq!(found, json!([]));
    assert!(meta(&headers).last_index > 0);
    let query = [("stale", ""), ("wait", WAIT), ("node-meta", "rack:none")];
    let (headers, services) = client.get("/v1/catalog/services", &query);
    assert_eq!(services, json!({}));
    assert!(meta(&headers).last_index > 0);
}
