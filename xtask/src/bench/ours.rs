//! Our dataplane as the bench runs it: the real binary with a view from a file, which has the
//! names of the DNS part and the routes and backends of the HTTP part.

use super::dns;
use super::ground::{Ground, Server};
use crate::place::Place;
use crate::remuda::Remuda;
use crate::shell;
use anyhow::Result;
use serde_json::{Map, Value, json};

/// Where it answers names.
pub(super) const DNS: (&str, &str) = ("169.254.169.250", "7653");
/// Where it proxies.
pub(super) const PROXY: (&str, u16) = ("127.0.0.1", 8103);
/// The backends behind every proxy.
const BACKENDS: [&str; 3] = ["127.0.0.2", "127.0.0.3", "127.0.0.4"];

/// Starts it and waits until it serves both.
pub(super) fn dataplane(place: &Place, ground: &Ground) -> Result<Server> {
    let address = format!("{}/32", DNS.0);
    shell::read(ground.command("ip").args(["address", "replace", &address, "dev", "lo"]))?;
    let view = ground.write("view.json", &view().to_string())?;
    let remuda = Remuda::of(place, "bench")?;
    let mut command = ground.server(&remuda.binary().to_string_lossy());
    command.args(["dataplane", "--dir"]).arg(ground.folder.join("dataplane"));
    command.arg("--view").arg(view);
    let (dns, proxy) = (format!("{}:{}", DNS.0, DNS.1), format!("{}:{}", PROXY.0, PROXY.1));
    ground.serve("remuda", &mut command, || ground.listens_udp(&dns) && ground.listens(&proxy))
}

fn view() -> Value {
    let (mut names, mut instances, mut services) = (Map::new(), Map::new(), Map::new());
    for n in 0..dns::NAMES {
        let ids: Vec<_> = (1..=3).map(|slot| format!("bench/service-{n}#{slot}@{slot}")).collect();
        for (id, address) in ids.iter().zip(dns::addresses(n)) {
            instances.insert(id.clone(), instance(&address.to_string(), &Value::Null));
            let offers = services.entry(dns::service(n)).or_insert_with(|| json!({}));
            offers[id] = json!({
                "node": "bench", "address": address.to_string(), "port": 80, "passing": 1,
                "warning": 1, "fitness": "passing", "instance": id,
            });
        }
        names.insert(format!("service-{n}.bench"), json!({ "service": ids }));
    }
    let check = json!({
        "port": 9000,
        "probe": { "type": "http", "method": "GET", "path": "/healthz", "version": "HTTP/1.0" },
        "interval_ms": 2000, "timeout_ms": 2000, "healthy_threshold": 2, "unhealthy_threshold": 3,
        "initializing_timeout_ms": null, "reinitializing_timeout_ms": null,
        "strategy": { "type": "none" },
    });
    let mut endpoints = vec![];
    for (slot, address) in (1..).zip(BACKENDS) {
        let id = format!("bench/backend#{slot}@{slot}");
        instances.insert(id.clone(), instance(address, &check));
        endpoints.push(json!({ "instance": id, "port": 9000, "weight": 1 }));
    }
    let route = |host: &str, path: &str| json!({ "host": { "exact": host }, "path_prefix": path, "upstream": "backend" });
    let routes = [
        route("bench.example.test", "/under/"),
        route("bench.example.test", ""),
        route("other.example.test", ""),
    ];
    json!({
        "format": 1, "environment": "bench", "host": "bench", "index": 1,
        "dns": { "zones": ["rancher.internal", "remuda.internal"], "ttl_s": 1, "names": names },
        "catalog": {
            "settings": { "service_ttl_s": { "*": 1 } },
            "nodes": { "bench": { "address": "127.0.0.1", "fitness": "passing" } },
            "services": services,
        },
        "callers": {},
        "instances": instances,
        "upstreams": { "backend": {
            "endpoints": endpoints, "connect_timeout_ms": 250, "drain_ms": 10_000,
        } },
        "listeners": { "proxy": {
            "ip": PROXY.0, "port": PROXY.1, "transport": "tcp",
            "mode": { "http": { "routes": routes } },
        } },
    })
}

fn instance(address: &str, check: &Value) -> Value {
    json!({
        "address": address, "host": "bench", "admit": "active", "check": check, "ready_ports": [],
        "running": true, "health": if check.is_null() { "unchecked" } else { "healthy" },
    })
}
