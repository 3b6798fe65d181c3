//! Images that no registry has, on three hosts: loaded or built on one of them, they run on all,
//! and a cable that is pulled meanwhile costs what had not come yet.

use crate::cluster::{Cluster, on_a_cluster};
use crate::machine::wait_until;
use std::collections::BTreeMap;
use testbed::Delay;

const BASE: &str = "storefront/httpbackend:v1.0.0";
const HOSTS: [&str; 3] = ["h1", "h2", "h3"];
/// Bytes of a layer that takes a while.
const LARGE: usize = 48 << 20;

/// A service with one instance on each of three hosts.
fn stack(name: &str, image: &str) -> String {
    format!(
        "
name: {name}
services:
  {name}:
    image: {image}
    scale: 3
    health_check: {{port: 8081, interval: 500}}
"
    )
}

/// An image that is on one host only, with a layer of its own of so many bytes; its id.
fn make(cluster: &Cluster, host: &str, tag: &str, bytes: usize) -> String {
    // Numbers, which differ from place to place: equal blocks would tell nothing.
    let content: Vec<u8> = (0..bytes / 8).flat_map(|n| (n as u64).to_le_bytes()).collect();
    let file = cluster.write_bytes("layer", &content);
    let made = cluster.docker(host, &["create", BASE]);
    let made = made.trim();
    cluster.docker(host, &["cp", &file, &format!("{made}:/layer")]);
    cluster.docker(host, &["commit", made, tag]);
    cluster.docker(host, &["rm", made]);
    cluster.docker(host, &["image", "inspect", "-f", "{{.Id}}", tag]).trim().to_owned()
}

/// The image of the service's container of each host.
fn images(cluster: &Cluster, stack: &str) -> BTreeMap<String, String> {
    let of = |host: &str| {
        let label = format!("label=io.rancher.stack.name={stack}");
        let ids = cluster.docker(host, &["ps", "-q", "--filter", &label]);
        let ids: Vec<&str> = ids.lines().collect();
        let asks = [&["inspect", "-f", "{{.Image}}"][..], &ids].concat();
        cluster.docker(host, &asks).trim().to_owned()
    };
    HOSTS.iter().map(|host| ((*host).to_owned(), of(host))).collect()
}

fn everywhere(id: &str) -> BTreeMap<String, String> {
    HOSTS.iter().map(|host| ((*host).to_owned(), id.to_owned())).collect()
}

/// What `ps` says of the instance on a host.
fn reason(cluster: &Cluster, host: &str) -> String {
    let rows = cluster.ps();
    let row = rows.iter().find(|row| row["host"] == host && row["ready"] == false);
    row.and_then(|row| row["reason"].as_str()).unwrap_or_default().to_owned()
}

/// Files of transfers that a host keeps, with their bytes.
fn pieces(cluster: &Cluster, host: &str) -> BTreeMap<String, u64> {
    let folder = cluster.bed.folder_of(host).join("data/state/agent/transfer");
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sized = files.filter_map(|file| {
        Some((file.file_name().into_string().ok()?, file.metadata().ok()?.len()))
    });
    sized.collect()
}

fn an_image_on_one_host_runs_on_all(cluster: &Cluster) {
    let id = make(cluster, "h1", "local/small:1", 1 << 20);
    let file = cluster.write("small.yaml", &stack("small", "local/small:1"));
    cluster.ok(&["up", "-f", &file]);
    assert_eq!(images(cluster, "small"), everywhere(&id));
    let named = cluster.docker("h3", &["image", "inspect", "-f", "{{.Id}}", "local/small:1"]);
    assert_eq!(named.trim(), id, "it has its name there too");
    for host in ["h2", "h3"] {
        assert_eq!(pieces(cluster, host), BTreeMap::new(), "{host}");
    }
}

fn one_name_for_two_images_runs_one_of_them(cluster: &Cluster) {
    let first = make(cluster, "h1", "local/two:1", 1_000);
    let second = make(cluster, "h2", "local/two:1", 2_000);
    assert_ne!(first, second);
    let file = cluster.write("two.yaml", &stack("two", "local/two:1"));
    cluster.ok(&["up", "-f", &file]);
    let found = images(cluster, "two");
    assert!(found == everywhere(&first) || found == everywhere(&second), "{found:?}");
    cluster.ok(&["down", "two"]);
}

fn a_cable_that_is_pulled_costs_what_had_not_come(cluster: &mut Cluster) {
    let id = make(cluster, "h1", "local/large:1", LARGE);
    // So that there is a middle to be cut in.
    cluster.bed.delay("h2", Delay { ms: 40, jitter_ms: 0 }).unwrap();
    let file = cluster.write("large.yaml", &stack("large", "local/large:1"));
    cluster.ok(&["up", "-f", &file, "--no-wait"]);
    wait_until("progress to be shown", || reason(cluster, "h2").contains("from host h1: layer"));
    let part = |cluster: &Cluster| {
        let pieces = pieces(cluster, "h2");
        let parts = pieces.into_iter().filter(|(name, _)| name.ends_with(".part"));
        parts.map(|(_, bytes)| bytes).max().unwrap_or(0)
    };
    wait_until("some of it to be there", || part(cluster) > 4 << 20);
    cluster.bed.cut("h2").unwrap();
    cluster.wait_seen("h2", "disconnected");
    let kept = part(cluster);
    assert!(kept > 4 << 20, "what had come is kept: {kept}");
    cluster.bed.heal("h2").unwrap();
    wait_until("three to be ready", || {
        cluster.ready("large").values().sum::<usize>() == 3
            && images(cluster, "large") == everywhere(&id)
    });
    let log = std::fs::read_to_string(cluster.bed.log_of("h2", testbed::Role::Agent)).unwrap();
    assert!(log.contains("image fetched from another host"), "{log}");
    let left = pieces(cluster, "h2");
    assert!(left.values().all(|bytes| *bytes < 1 << 20), "it is in docker now: {left:?}");
}

fn what_nobody_has_is_told(cluster: &Cluster) {
    let file = cluster.write(
        "none.yaml",
        &stack("none", "local/none:1").replace("image:", "pull_policy: never\n    image:"),
    );
    cluster.ok(&["up", "-f", &file, "--no-wait"]);
    wait_until("the reason to name who was asked", || {
        HOSTS.iter().any(|host| {
            let why = reason(cluster, host);
            why.contains("no other host has it") && why.contains("asked: h")
        })
    });
    cluster.ok(&["down", "none"]);
}

#[test]
#[ignore = "needs docker and root"]
fn an_image_that_no_registry_has_runs_on_every_host() {
    on_a_cluster(3, |cluster| {
        cluster.wait_all_seen(&["active", "active", "active"]);
        an_image_on_one_host_runs_on_all(cluster);
        one_name_for_two_images_runs_one_of_them(cluster);
        what_nobody_has_is_told(cluster);
        a_cable_that_is_pulled_costs_what_had_not_come(cluster);
    });
}
