//! The objects of replies, with their keys in the order in which clients see them. What has no value
//! is `[]`, `{}` or `""` and not null: readers with types take that, the others do not care.

use crate::serve::DATACENTER;
use control::catalog::{Check, Entry, Node, Row, Times};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::IpAddr;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct NodeObject<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    node: &'a str,
    address: &'a str,
    datacenter: &'a str,
    tagged_addresses: &'a BTreeMap<String, String>,
    meta: &'a BTreeMap<String, String>,
    create_index: u64,
    modify_index: u64,
}

/// The first half of an object of `/v1/catalog/service`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CatalogNode<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    node: &'a str,
    address: &'a str,
    datacenter: &'a str,
    tagged_addresses: &'a BTreeMap<String, String>,
    node_meta: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Proxy {
    mode: &'static str,
    mesh_gateway: Empty,
    expose: Empty,
}

const PROXY: Proxy = Proxy { mode: "", mesh_gateway: Empty {}, expose: Empty {} };

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Place<'a> {
    address: &'a str,
    port: u16,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shares {
    passing: u16,
    warning: u16,
}

/// The second half of an object of `/v1/catalog/service`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CatalogService<'a> {
    service_kind: &'a str,
    #[serde(rename = "ServiceID")]
    service_id: &'a str,
    service_name: &'a str,
    service_tags: &'a [String],
    service_address: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    service_tagged_addresses: BTreeMap<&'a str, Place<'a>>,
    service_weights: Shares,
    service_meta: &'a BTreeMap<String, String>,
    service_port: u16,
    service_socket_path: &'a str,
    service_enable_tag_override: bool,
    service_proxy: Proxy,
    service_connect: Empty,
    create_index: u64,
    modify_index: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ServiceObject<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    service: &'a str,
    tags: &'a [String],
    address: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tagged_addresses: BTreeMap<&'a str, Place<'a>>,
    meta: &'a BTreeMap<String, String>,
    port: u16,
    weights: Shares,
    enable_tag_override: bool,
    proxy: Proxy,
    connect: Empty,
    create_index: u64,
    modify_index: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AgentService<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    service: &'a str,
    tags: &'a [String],
    meta: &'a BTreeMap<String, String>,
    port: u16,
    address: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tagged_addresses: BTreeMap<&'a str, Place<'a>>,
    weights: Shares,
    enable_tag_override: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_hash: Option<&'a str>,
    datacenter: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CheckObject<'a> {
    node: &'a str,
    #[serde(rename = "CheckID")]
    check_id: &'a str,
    name: &'a str,
    status: &'a str,
    notes: &'a str,
    output: &'a str,
    #[serde(rename = "ServiceID")]
    service_id: &'a str,
    service_name: &'a str,
    service_tags: &'a [String],
    r#type: &'a str,
    interval: &'a str,
    timeout: &'a str,
    exposed_port: u16,
    definition: Empty,
    create_index: u64,
    modify_index: u64,
}

fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts and numbers can always be written")
}

/// An object of `/v1/catalog/nodes`.
pub(super) fn node(row: &Row<Node>) -> String {
    let node = &row.value;
    text(&NodeObject {
        id: &node.id,
        node: &node.name,
        address: &node.address,
        datacenter: DATACENTER,
        tagged_addresses: &node.tagged_addresses,
        meta: &node.meta,
        create_index: row.times.created.0,
        modify_index: row.times.modified.0,
    })
}

/// The same as the beginning of an object of `/v1/catalog/service`, without its bracket.
pub(super) fn catalog_node(node: &Node) -> String {
    let mut text = text(&CatalogNode {
        id: &node.id,
        node: &node.name,
        address: &node.address,
        datacenter: DATACENTER,
        tagged_addresses: &node.tagged_addresses,
        node_meta: &node.meta,
    });
    text.pop();
    text.push(',');
    text
}

/// What a client said, and the address by its family where it said nothing of that.
fn tagged(entry: &Entry) -> BTreeMap<&str, Place<'_>> {
    let kinds = match entry.address.parse() {
        Ok(IpAddr::V4(_)) => &["lan_ipv4", "wan_ipv4"][..],
        Ok(IpAddr::V6(_)) => &["lan_ipv6", "wan_ipv6"],
        Err(_) => &[],
    };
    let own = kinds.iter().map(|kind| (*kind, Place { address: &entry.address, port: entry.port }));
    let said = entry.tagged.iter();
    let said = said.map(|(kind, (address, port))| (kind.as_str(), Place { address, port: *port }));
    own.chain(said).collect()
}

fn shares(entry: &Entry) -> Shares {
    Shares { passing: entry.weights.passing, warning: entry.weights.warning }
}

/// The rest of an object of `/v1/catalog/service`, with its closing bracket.
pub(super) fn catalog_service(row: &Row<Entry>) -> String {
    let entry = &row.value;
    text(&CatalogService {
        service_kind: "",
        service_id: &entry.id,
        service_name: &entry.service,
        service_tags: &entry.tags,
        service_address: &entry.address,
        service_tagged_addresses: tagged(entry),
        service_weights: shares(entry),
        service_meta: &entry.meta,
        service_port: entry.port,
        service_socket_path: "",
        service_enable_tag_override: entry.tag_override,
        service_proxy: PROXY,
        service_connect: Empty {},
        create_index: row.times.created.0,
        modify_index: row.times.modified.0,
    })
    .split_off(1)
}

/// The service in an object of `/v1/health/service`.
pub(super) fn service(row: &Row<Entry>) -> String {
    let entry = &row.value;
    text(&ServiceObject {
        id: &entry.id,
        service: &entry.service,
        tags: &entry.tags,
        address: &entry.address,
        tagged_addresses: tagged(entry),
        meta: &entry.meta,
        port: entry.port,
        weights: shares(entry),
        enable_tag_override: entry.tag_override,
        proxy: PROXY,
        connect: Empty {},
        create_index: row.times.created.0,
        modify_index: row.times.modified.0,
    })
}

/// An object of `/v1/agent/services`; with its hash one of `/v1/agent/service`.
pub(crate) fn agent_service(entry: &Entry, content_hash: Option<&str>) -> String {
    text(&AgentService {
        id: &entry.id,
        service: &entry.service,
        tags: &entry.tags,
        meta: &entry.meta,
        port: entry.port,
        address: &entry.address,
        tagged_addresses: tagged(entry),
        weights: shares(entry),
        enable_tag_override: entry.tag_override,
        content_hash,
        datacenter: DATACENTER,
    })
}

fn check(node: &str, entry: Option<&Entry>, check: &Check, times: Times) -> String {
    text(&CheckObject {
        node,
        check_id: &check.id,
        name: &check.name,
        status: check.status.as_str(),
        notes: &check.notes,
        output: &check.output,
        service_id: entry.map_or("", |entry| &entry.id),
        service_name: entry.map_or("", |entry| &entry.service),
        service_tags: entry.map_or(&[], |entry| &entry.tags),
        r#type: &check.kind,
        interval: "",
        timeout: "",
        exposed_port: 0,
        definition: Empty {},
        create_index: times.created.0,
        modify_index: times.modified.0,
    })
}

/// The checks of a node, each an object of `/v1/health/checks`.
pub(super) fn node_checks(row: &Row<Node>) -> Vec<String> {
    let checks = row.value.checks.iter().zip(&row.checks);
    checks.map(|(one, times)| check(&row.value.name, None, one, *times)).collect()
}

/// The checks of an entry.
pub(super) fn entry_checks(row: &Row<Entry>) -> Vec<String> {
    let checks = row.value.checks.iter().zip(&row.checks);
    checks.map(|(one, times)| check(&row.value.node, Some(&row.value), one, *times)).collect()
}
