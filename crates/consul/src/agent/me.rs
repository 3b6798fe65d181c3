//! What an agent says of itself and of its fellows.

use super::DIALECT_VERSION;
use crate::acl::Named;
use crate::answer::Answer;
use crate::catalog::Shown;
use crate::coordinate::Coord;
use crate::request::Request;
use crate::serve::{DATACENTER, Facts};
use control::catalog::{CheckStatus, Node};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;

const GOSSIP_PORT: u16 = 8301;
/// Statuses of members, as clients know them.
const ALIVE: u8 = 1;
const FAILED: u8 = 4;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Member {
    name: String,
    addr: String,
    port: u16,
    tags: BTreeMap<&'static str, String>,
    status: u8,
    protocol_min: u8,
    protocol_max: u8,
    protocol_cur: u8,
    delegate_min: u8,
    delegate_max: u8,
    delegate_cur: u8,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Me<'a> {
    config: Config<'a>,
    debug_config: BTreeMap<String, String>,
    coord: Coord,
    member: Member,
    stats: BTreeMap<&'static str, BTreeMap<&'static str, String>>,
    meta: BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Config<'a> {
    datacenter: &'a str,
    primary_datacenter: &'a str,
    node_name: &'a str,
    #[serde(rename = "NodeID")]
    node_id: &'a str,
    revision: &'a str,
    server: bool,
    version: &'a str,
}

fn member(name: &str, address: &str, id: &str, server: bool, status: u8) -> Member {
    let role = if server { "consul" } else { "node" };
    let mut tags = BTreeMap::from([
        ("build", format!("{DIALECT_VERSION}:remuda")),
        ("dc", DATACENTER.to_owned()),
        ("id", id.to_owned()),
        ("role", role.to_owned()),
        ("segment", String::new()),
        ("vsn", "2".to_owned()),
        ("vsn_max", "3".to_owned()),
        ("vsn_min", "2".to_owned()),
    ]);
    if server {
        tags.insert("port", "8300".to_owned());
        tags.insert("bootstrap", "1".to_owned());
    }
    Member {
        name: name.to_owned(),
        addr: address.to_owned(),
        port: GOSSIP_PORT,
        tags,
        status,
        protocol_min: 1,
        protocol_max: 5,
        protocol_cur: 2,
        delegate_min: 2,
        delegate_max: 5,
        delegate_cur: 4,
    }
}

fn member_of(node: &Node, facts: &Facts) -> Member {
    let lost = node.checks.iter().any(|check| check.status == CheckStatus::Critical);
    let status = if lost { FAILED } else { ALIVE };
    member(&node.name, &node.address, &node.id, node.name == facts.node, status)
}

fn server(facts: &Facts) -> Member {
    member(&facts.node, &facts.address.to_string(), "", true, ALIVE)
}

/// `/v1/agent/self`
pub(super) fn me(shown: &Shown, facts: &Facts, name: &str) -> Answer {
    let node = shown.nodes.get(name).map(|node| &node.row.value);
    let is_server = name == facts.node;
    let member = node.map_or_else(|| server(facts), |node| member_of(node, facts));
    let leader = BTreeMap::from([
        ("known_servers", "1".to_owned()),
        ("leader", is_server.to_string()),
        ("leader_addr", facts.leader()),
        ("server", is_server.to_string()),
    ]);
    Answer::json(&Me {
        config: Config {
            datacenter: DATACENTER,
            primary_datacenter: DATACENTER,
            node_name: name,
            node_id: node.map_or("", |node| &node.id),
            revision: "remuda",
            server: is_server,
            version: DIALECT_VERSION,
        },
        debug_config: BTreeMap::new(),
        coord: Coord::default(),
        member,
        stats: BTreeMap::from([("consul", leader)]),
        meta: node.map(|node| node.meta.clone()).unwrap_or_default(),
    })
}

/// `/v1/agent/members`: the server, and every host.
pub(super) fn members(shown: &Shown, facts: &Facts, request: &Request) -> Answer {
    let hosts = shown.nodes.values().map(|node| &node.row.value).filter(|node| node.host.is_some());
    let mut all: Vec<Member> = hosts.map(|node| member_of(node, facts)).collect();
    if !all.iter().any(|member| member.name == facts.node) {
        all.insert(0, server(facts));
    }
    all.retain(|member| request.access.sees(Named::Node, &member.name));
    Answer::json(&all)
}

/// `/v1/agent/version`
pub(super) fn version() -> Answer {
    Answer::json(&json!({
        "SHA": "remuda", "BuildDate": "1970-01-01T00:00:00Z", "HumanVersion": DIALECT_VERSION, "FIPS": "",
    }))
}

/// `/v1/agent/host`: its name. How it fares is in `remuda host show`.
pub(super) fn host(name: &str) -> Answer {
    Answer::json(&json!({
        "Memory": null, "CPU": null, "Host": {"hostname": name}, "Disk": null,
        "CollectionTime": 0, "Errors": null,
    }))
}

/// `/v1/agent/metrics`, as JSON or for Prometheus.
pub(super) fn metrics(shown: &Shown, waiting: usize, request: &Request) -> Answer {
    let entries: usize = shown.services.values().map(|one| one.entries.size()).sum();
    let gauges = [
        ("consul.state.nodes", shown.nodes.size()),
        ("consul.state.services", shown.services.size()),
        ("consul.state.service_instances", entries),
        ("consul.rpc.queries_blocking", waiting),
    ];
    if request.query.get("format") == Some("prometheus") {
        let lines = gauges.iter().map(|(name, value)| {
            let name = name.replace('.', "_");
            format!("# HELP {name} {name}\n# TYPE {name} gauge\n{name} {value}\n")
        });
        let text: String = lines.collect();
        return Answer::error(http::StatusCode::OK, text)
            .with_type("text/plain; version=0.0.4; charset=utf-8");
    }
    let gauges = gauges.map(|(name, value)| json!({"Name": name, "Value": value, "Labels": {}}));
    Answer::json(&json!({
        "Timestamp": "1970-01-01 00:00:00 +0000 UTC",
        "Gauges": gauges, "Points": [], "Counters": [], "Samples": [],
    }))
}
