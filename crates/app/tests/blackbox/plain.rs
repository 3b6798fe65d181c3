//! Plain containers: started by hand, listed, found by name and reached from other hosts; at the
//! same address after their restart, whether an agent is there or not; and never touched.

use crate::cluster::{Cluster, on_a_cluster};
use crate::machine::{text, wait_for, wait_until};
use crate::overlay::{Place, reaches, resolve};
use serde_json::Value;
use testbed::Role;

const IMAGE: &str = "storefront/httpbackend:v1.0.0";
const POOL: &str = "
name: shop
services:
  pool:
    image: storefront/httpbackend:v1.0.0
    labels: {io.rancher.service.selector.container: tier=pool}
";
const LABEL: &str = "io.rancher.container.network=true";

/// Runs a container by hand; its id.
fn run(cluster: &Cluster, host: &str, name: &str, more: &[&str]) -> String {
    let words = [&["run", "-d", "--name", name][..], more, &[IMAGE]].concat();
    cluster.docker(host, &words).trim().to_owned()
}

fn row(cluster: &Cluster, name: &str) -> Option<Value> {
    cluster.ps().into_iter().find(|row| row["kind"] == "standalone" && row["name"] == name)
}

/// One that is in the managed network, as `ps` says.
fn place(cluster: &Cluster, host: &str, name: &str) -> Place {
    let address = wait_for(&format!("{name} to be in the managed network"), || {
        let row = row(cluster, name)?;
        let joined = row["ready"] == true && row["network"] == "managed" && row["host"] == host;
        joined.then(|| row["address"].as_str().unwrap().to_owned())
    });
    let pid = cluster.docker(host, &["inspect", "-f", "{{.State.Pid}}", name]).trim().to_owned();
    Place { host: host.to_owned(), pid, address }
}

fn started(cluster: &Cluster, host: &str, name: &str) -> String {
    cluster.docker(host, &["inspect", "-f", "{{.Id}} {{.State.StartedAt}}", name])
}

/// What its /etc/resolv.conf says.
fn resolv(cluster: &Cluster, at: &Place) -> String {
    let file = format!("/proc/{}/root/etc/resolv.conf", at.pid);
    text(cluster.bed.on(&at.host, "cat").unwrap().arg(file))
}

/// A process of a host, not of a container, reaches it.
fn host_reaches(cluster: &Cluster, host: &str, to: &str) -> bool {
    let mut curl = cluster.bed.on(host, "curl").unwrap();
    let url = format!("http://{to}:8081/");
    curl.args(["-sS", "--max-time", "2", "-o", "/dev/null", &url]);
    curl.output().unwrap().status.success()
}

#[track_caller]
fn asks_us(cluster: &Cluster, at: &Place) {
    wait_until("its resolv.conf to name our server", || {
        resolv(cluster, at).lines().any(|line| line == "nameserver 169.254.169.250")
    });
}

#[test]
#[ignore = "needs docker and root"]
fn containers_started_by_hand_are_listed_and_plugged_in_and_stay_so_over_their_restart() {
    on_a_cluster(2, |cluster| {
        cluster.wait_all_seen(&["active", "active"]);
        let secret = ["-e", "SERVICE_NAME=cache", "-e", "DB_PASSWORD=hidden", "-l", "tier=pool"];
        run(cluster, "h1", "cache", &[&["--net=none", "-l", LABEL][..], &secret].concat());
        run(cluster, "h2", "front", &["-l", LABEL, "-p", "18081:8081"]);
        run(cluster, "h2", "aside", &[]);
        let (cache, front) = (place(cluster, "h1", "cache"), place(cluster, "h2", "front"));
        assert_ne!(cache.address, front.address);
        all_is_well(cluster, &cache, &front);
        what_is_told(cluster);
        a_service_counts_it(cluster, &cache, &front);
        let untouched = ["front", "aside"].map(|name| started(cluster, "h2", name));
        let again = it_restarts_while_its_agent_is_dead(cluster, &cache, &front);
        docker_starts_again(cluster, &again);
        let now = ["front", "aside"].map(|name| started(cluster, "h2", name));
        assert_eq!(now, untouched, "nobody starts, stops or removes them");
        it_goes(cluster, &front);
        down_leaves_them(cluster);
    });
}

fn all_is_well(cluster: &Cluster, cache: &Place, front: &Place) {
    for (from, to, name) in [(front, cache, "cache"), (cache, front, "front")] {
        asks_us(cluster, from);
        for zone in ["", ".rancher.internal", ".remuda.internal"] {
            let name = format!("{name}{zone}");
            wait_until(&format!("{} to find {name}", from.host), || {
                resolve(cluster, from, &name) == [to.address.clone()]
            });
        }
        wait_until(&format!("{} to reach {}", from.host, to.address), || {
            reaches(cluster, from, &to.address)
        });
        for host in ["h1", "h2"] {
            wait_until(&format!("host {host} to reach {}", to.address), || {
                host_reaches(cluster, host, &to.address)
            });
        }
    }
    let mut curl = cluster.bed.on("h1", "curl").unwrap();
    curl.args(["-sS", "--max-time", "2", "-o", "/dev/null", "http://10.99.0.2:18081/"]);
    assert!(curl.output().unwrap().status.success(), "its published port goes on");
}

/// A service whose selector finds it leads to it too.
fn a_service_counts_it(cluster: &Cluster, cache: &Place, front: &Place) {
    let file = cluster.write("pool.yaml", POOL);
    cluster.ok(&["up", "-f", &file]);
    let rows = cluster.ps();
    let own = rows.iter().find(|row| row["service"] == "pool").unwrap()["address"].as_str();
    let mut both = [own.unwrap().to_owned(), cache.address.clone()];
    both.sort();
    wait_until("the service to lead to both", || resolve(cluster, front, "pool.shop") == both);
    cluster.ok(&["down", "shop", "--yes"]);
}

/// Variables stay on the host, but for those that Registrator reads.
fn what_is_told(cluster: &Cluster) {
    let cache = row(cluster, "cache").unwrap();
    assert_eq!(cache["variables"], serde_json::json!({"SERVICE_NAME": "cache"}));
    assert!(!cluster.ok(&["ps", "-o", "json"]).out.contains("hidden"));
    let aside = row(cluster, "aside").unwrap();
    assert_eq!((aside["address"].as_str(), aside["ready"].as_bool()), (Some(""), Some(true)));
    let table = cluster.ok(&["ps"]).out;
    assert!(table.contains("STANDALONE") && table.contains("aside"), "{table}");
}

fn it_restarts_while_its_agent_is_dead(
    cluster: &mut Cluster,
    cache: &Place,
    front: &Place,
) -> Place {
    cluster.bed.kill("h1", Some(Role::Agent)).unwrap();
    cluster.wait_seen("h1", "disconnected");
    assert!(row(cluster, "cache").unwrap()["reason"].as_str().unwrap().contains("not heard"));
    cluster.docker("h1", &["restart", "-t", "0", "cache"]);
    run(cluster, "h1", "late", &["-l", LABEL]);
    wait_until("it to be reached again without an agent", || {
        reaches(cluster, front, &cache.address)
    });
    assert_eq!(resolve(cluster, front, "cache"), std::slice::from_ref(&cache.address));
    cluster.bed.boot("h1", Some(Role::Agent)).unwrap();
    cluster.wait_all_seen(&["active", "active"]);
    let again = place(cluster, "h1", "cache");
    assert_eq!(again.address, cache.address);
    asks_us(cluster, &again);
    let late = place(cluster, "h1", "late");
    wait_until("what began meanwhile to be reached", || reaches(cluster, front, &late.address));
    again
}

/// Docker ends its containers; who starts them again finds them where they were.
fn docker_starts_again(cluster: &mut Cluster, cache: &Place) {
    cluster.bed.kill("h1", Some(Role::Dockerd)).unwrap();
    cluster.bed.boot("h1", Some(Role::Dockerd)).unwrap();
    wait_until("docker to start it", || {
        let mut docker = cluster.bed.on("h1", "docker").unwrap();
        docker.args(["start", "cache"]).output().unwrap().status.success()
    });
    let again = place(cluster, "h1", "cache");
    assert_eq!(again.address, cache.address);
    asks_us(cluster, &again);
}

fn it_goes(cluster: &Cluster, front: &Place) {
    cluster.docker("h1", &["rm", "-f", "cache"]);
    wait_until("it to be listed no longer", || row(cluster, "cache").is_none());
    wait_until("its name to be gone", || resolve(cluster, front, "cache").is_empty());
    let own = resolve(cluster, front, "front");
    assert_eq!(own, std::slice::from_ref(&front.address), "it still asks");
}

/// Who takes Remuda away leaves them running, with the DNS that Docker gave them.
fn down_leaves_them(cluster: &mut Cluster) {
    let before = started(cluster, "h2", "front");
    cluster.bed.kill("h2", Some(Role::Agent)).unwrap();
    text(cluster.bed.on("h2", env!("CARGO_BIN_EXE_remuda")).unwrap().args(["dev", "down"]));
    assert_eq!(started(cluster, "h2", "front"), before);
    let networks = ["inspect", "-f", "{{range $n, $_ := .NetworkSettings.Networks}}{{$n}} {{end}}"];
    assert_eq!(cluster.docker("h2", &[&networks[..], &["front"]].concat()).trim(), "bridge");
    let pid = cluster.docker("h2", &["inspect", "-f", "{{.State.Pid}}", "front"]);
    let file = format!("/proc/{}/root/etc/resolv.conf", pid.trim());
    let resolv = text(cluster.bed.on("h2", "cat").unwrap().arg(file));
    assert!(!resolv.contains("169.254.169.250") && !resolv.contains("#remuda"), "{resolv}");
}
