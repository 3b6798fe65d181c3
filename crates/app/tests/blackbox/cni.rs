//! CNI: hosts whose containers are plugged in by Debian's plugins, beside one whose containers are
//! Docker's. They reach each other and are balanced alike; a plug outlives the agent, is made anew
//! after a restart, a reboot or when somebody breaks it, and nothing is left of it at the end.

use crate::cluster::{Cluster, on_a_cluster_with};
use crate::machine::{text, wait_for, wait_until};
use crate::overlay::{Place, all_reach_all, inside, place, reaches};
use std::fs;
use std::path::Path;
use std::process::Command;
use testbed::{Role, State};

/// The page with the configuration that people copy.
const PAGE: &str = include_str!("../../../../docs/cni.md");
/// Debian's plugins.
const BIN: &str = "/usr/lib/cni";
/// The bridge that it names.
const BRIDGE: &str = "cni-remuda";
/// The same with addresses from `host-local`, and of an older specification.
const HOST_LOCAL: &str = r#"{"cniVersion": "0.4.0", "name": "local", "plugins": [
    {"type": "bridge", "bridge": "cni-remuda", "isDefaultGateway": true, "ipMasq": true,
     "mtu": 1450, "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.42.0.0/16"}]]}}]}"#;
/// Where `host-local` notes the addresses of that network.
const TAKEN: &str = "/var/lib/cni/networks/local";
const STACK: &str = "
name: shop
services:
  web:
    image: storefront/httpbackend:v1.0.0
    scale: 3
    ports: ['18081:8081']
    health_check: {port: 8081, interval: 500}
  lb:
    image: rancher/lb-service-haproxy:v0.9.14
    ports: ['8080:8080']
    labels: {io.rancher.scheduler.global: 'true'}
    lb_config:
      port_rules: [{source_port: 8080, protocol: http, service: web, target_port: 8081}]
";

/// Words for an agent whose driver is CNI.
fn words(folder: &Path, host: &str, bin: &Path, conf: &str) -> Vec<String> {
    let file = folder.join(format!("{host}.conflist"));
    fs::write(&file, conf).unwrap();
    vec![
        "--network-driver=cni".to_owned(),
        format!("--cni-bin-dir={}", bin.display()),
        format!("--cni-conf={}", file.display()),
    ]
}

/// The configuration of the page.
fn of_page() -> &'static str {
    let conf = PAGE.split_once("```json\n").unwrap().1.split_once("```").unwrap().0;
    assert!(conf.contains(BRIDGE));
    conf
}

/// h1 has the configuration of the page, h2 another one, h3 Docker. The plugins of h1 are copies,
/// so that one can be taken away.
fn configure(state: &mut State, folder: &Path) {
    let bin = folder.join("bin");
    fs::create_dir_all(&bin).unwrap();
    for name in ["bridge", "static", "firewall"] {
        fs::copy(Path::new(BIN).join(name), bin.join(name)).unwrap();
    }
    state.agent_args.insert("h1".into(), words(folder, "h1", &bin, of_page()));
    state.agent_args.insert("h2".into(), words(folder, "h2", Path::new(BIN), HOST_LOCAL));
}

/// What a program prints on a host; nothing when it fails.
fn on(cluster: &Cluster, host: &str, words: &[&str]) -> String {
    let mut command = cluster.bed.on(host, words[0]).unwrap();
    String::from_utf8_lossy(&command.args(&words[1..]).output().unwrap().stdout).into_owned()
}

fn answers(cluster: &Cluster, host: &str, at: &str) -> bool {
    let url = format!("http://{at}/");
    let mut curl = cluster.bed.on(host, "curl").unwrap();
    curl.args(["-sS", "--fail", "--max-time", "2", "-o", "/dev/null", &url]);
    curl.output().unwrap().status.success()
}

/// The host's ends of what is plugged in.
fn ends(cluster: &Cluster, host: &str) -> usize {
    on(cluster, host, &["ip", "-o", "link", "show", "master", BRIDGE]).lines().count()
}

/// Addresses that `host-local` holds on h2.
fn taken(cluster: &Cluster) -> Vec<String> {
    let names = on(cluster, "h2", &["ls", TAKEN]);
    let mut all: Vec<String> =
        names.lines().filter(|name| name.starts_with("10.")).map(str::to_owned).collect();
    all.sort();
    all
}

fn of<'a>(places: &'a [Place], host: &str) -> &'a Place {
    places.iter().find(|place| place.host == host).unwrap()
}

#[test]
#[ignore = "needs docker and root"]
fn containers_that_cni_plugs_in_are_as_good_as_those_of_docker() {
    on_a_cluster_with(3, configure, |cluster| {
        cluster.wait_all_seen(&["active", "active", "active"]);
        let file = cluster.write("shop.yaml", STACK);
        cluster.ok(&["up", "-f", &file]);
        all_is_well(cluster);
        what_is_told(cluster);
        plain_containers(cluster);
        an_agent_is_dead(cluster);
        a_container_starts_anew(cluster);
        a_plug_is_broken(cluster);
        a_plugin_is_missing(cluster);
        a_host_boots_without_a_server(cluster);
        nothing_is_left(cluster);
    });
}

/// Every container reaches every other one by address and name, and hosts and balancers reach them.
#[track_caller]
fn all_is_well(cluster: &Cluster) {
    let places = places_of_web(cluster);
    all_reach_all(cluster, &places);
    for host in ["h1", "h2", "h3"] {
        for place in &places {
            let at = format!("{}:8081", place.address);
            wait_until(&format!("{host} to reach {at}"), || answers(cluster, host, &at));
        }
        for at in ["10.99.0.1:8080", "10.99.0.2:8080", "10.99.0.3:8080", "127.0.0.1:18081"] {
            wait_until(&format!("{host} to reach {at}"), || answers(cluster, host, at));
        }
    }
    for at in ["10.99.0.1:18081", "10.99.0.2:18081"] {
        wait_until(&format!("h3 to reach {at}"), || answers(cluster, "h3", at));
    }
}

/// The three containers of `web`, one on each host.
#[track_caller]
fn places_of_web(cluster: &Cluster) -> Vec<Place> {
    let all = wait_for("three ready instances with their containers", || {
        let rows = cluster.ps();
        let rows = rows.iter().filter(|row| row["service"] == "web" && row["ready"] == true);
        let all: Vec<Place> = rows.filter_map(|row| place(cluster, row)).collect();
        (all.len() == 3).then_some(all)
    });
    let hosts: std::collections::BTreeSet<&str> = all.iter().map(|p| p.host.as_str()).collect();
    assert_eq!(hosts.len(), 3, "one on each: {all:?}");
    all
}

fn what_is_told(cluster: &Cluster) {
    let places = places_of_web(cluster);
    cluster.ok(&["host", "show", "h1"]).says(&["cni remuda: bridge, firewall (CNI 1.0.0)"]);
    cluster.ok(&["host", "show", "h2"]).says(&["cni local: bridge (CNI 0.4.0)"]);
    let mut doctor = cluster.bed.on("h1", env!("CARGO_BIN_EXE_remuda")).unwrap();
    let said = doctor.args(["doctor"]).output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("network driver: cni remuda"), "{said}");
    let at = of(&places, "h1");
    let link = inside(cluster, at, &["ip", "link", "show", "eth0"]).unwrap();
    assert!(link.contains("mtu 1450") && link.contains("02:42:0a:2a:"), "{link}");
    let hosts = on(cluster, "h1", &["cat", &format!("/proc/{}/root/etc/hosts", at.pid)]);
    assert!(hosts.lines().any(|line| line.starts_with(&format!("{}\t", at.address))), "{hosts}");
    assert_eq!(taken(cluster), [of(&places, "h2").address.clone()]);
    let networks = on(cluster, "h1", &["docker", "network", "ls", "--format", "{{.Name}}"]);
    assert!(!networks.lines().any(|name| name == "remuda"), "{networks}");
}

/// One that was started by hand is plugged in as well, when Docker gives it no network.
fn plain_containers(cluster: &Cluster) {
    let label = "io.rancher.container.network=true";
    let image = "storefront/httpbackend:v1.0.0";
    let run = |words: &[&str]| {
        cluster.docker("h1", &[&["run", "-d", "-l", label][..], words, &[image]].concat());
    };
    run(&["--name", "hand", "--net=none"]);
    run(&["--name", "other"]);
    let row = |name: &str| {
        cluster.ps().into_iter().find(|row| row["kind"] == "standalone" && row["name"] == name)
    };
    wait_until("it to be in the managed network", || {
        row("hand").is_some_and(|row| row["ready"] == true && row["network"] == "managed")
    });
    let address = row("hand").unwrap()["address"].as_str().unwrap().to_owned();
    let from = places_of_web(cluster);
    for host in ["h1", "h2", "h3"] {
        wait_until("it to be reached", || reaches(cluster, of(&from, host), &address));
    }
    wait_until("the other one to say why not", || {
        row("other").is_some_and(|row| row["reason"].to_string().contains("--net=none"))
    });
    cluster.docker("h1", &["rm", "-f", "hand", "other"]);
    wait_until("its end to go", || ends(cluster, "h1") == 1);
}

/// Plugs outlive it; what ended meanwhile is taken out by the next one.
fn an_agent_is_dead(cluster: &mut Cluster) {
    let before = places_of_web(cluster);
    cluster.bed.kill("h2", Some(Role::Agent)).unwrap();
    cluster.wait_seen("h2", "disconnected");
    all_reach_all(cluster, &before);
    let name = cluster.docker("h2", &["ps", "-q", "--filter", "label=io.remuda.environment"]);
    cluster.docker("h2", &["rm", "-f", name.trim()]);
    assert_eq!(taken(cluster).len(), 1, "nobody has given it back");
    cluster.bed.boot("h2", Some(Role::Agent)).unwrap();
    cluster.wait_all_seen(&["active", "active", "active"]);
    wait_until("another container in its place", || {
        let now = cluster.ready("web");
        now.values().sum::<usize>() == 3 && taken(cluster).len() == 1 && ends(cluster, "h2") == 1
    });
    all_is_well(cluster);
    let masquerade = on(cluster, "h2", &["iptables", "-t", "nat", "-S"]);
    let chains = masquerade.lines().filter(|line| line.starts_with("-N CNI-")).count();
    assert_eq!(chains, 1, "of the one that runs: {masquerade}");
}

/// Its process ends: the next run has a name space of its own, at the same address.
fn a_container_starts_anew(cluster: &Cluster) {
    let before = places_of_web(cluster);
    let at = of(&before, "h1");
    text(cluster.bed.on("h1", "kill").unwrap().args(["-9", &at.pid]));
    wait_until("another process at the same address", || {
        let address = at.address.as_str();
        cluster
            .ps()
            .iter()
            .any(|row| row["restarts"] == 1 && row["ready"] == true && row["address"] == address)
    });
    all_is_well(cluster);
    wait_until("one end on the bridge", || ends(cluster, "h1") == 1);
}

/// An agent asks the plugins when it begins, and repairs what they say.
fn a_plug_is_broken(cluster: &mut Cluster) {
    let before = places_of_web(cluster);
    let at = of(&before, "h1");
    cluster.bed.kill("h1", Some(Role::Agent)).unwrap();
    cluster.wait_seen("h1", "disconnected");
    inside(cluster, at, &["ip", "link", "del", "eth0"]).unwrap();
    assert!(!reaches(cluster, of(&before, "h3"), &at.address));
    cluster.bed.boot("h1", Some(Role::Agent)).unwrap();
    wait_until("it to be reached again", || reaches(cluster, of(&before, "h3"), &at.address));
    all_is_well(cluster);
    assert_eq!(of(&places_of_web(cluster), "h1").pid, at.pid, "it has not been started anew");
    let log = fs::read_to_string(cluster.bed.log_of("h1", Role::Agent)).unwrap();
    assert!(log.contains("CNI failed") && log.contains("check"), "{log}");
}

/// The reason is told where the instance is shown, and it goes on when that is mended.
fn a_plugin_is_missing(cluster: &Cluster) {
    let bin = cluster.path("bin");
    fs::rename(bin.join("static"), bin.join("away")).unwrap();
    for host in ["h2", "h3"] {
        cluster.ok(&["host", "cordon", host]);
    }
    let late = "name: late\nservices: {one: {image: storefront/httpbackend:v1.0.0}}\n";
    let file = cluster.write("late.yaml", late);
    cluster.ok(&["up", "--no-wait", "-f", &file]);
    wait_until("the reason", || {
        row_of_one(cluster).is_some_and(|row| {
            let why = row["reason"].to_string();
            row["ready"] == false && why.contains("CNI plugin bridge, ") && why.contains("static")
        })
    });
    assert_eq!(cluster.ready("one").len(), 0);
    fs::rename(bin.join("away"), bin.join("static")).unwrap();
    wait_until("it to be ready", || cluster.ready("one").get("h1") == Some(&1));
    cluster.ok(&["down", "late", "--yes"]);
    for host in ["h2", "h3"] {
        cluster.ok(&["host", "uncordon", host]);
    }
    wait_until("one end on the bridge", || ends(cluster, "h1") == 1);
}

/// All of the kernel's part is gone; what is made anew comes from the journal.
fn a_host_boots_without_a_server(cluster: &mut Cluster) {
    let before = places_of_web(cluster);
    let address = of(&before, "h2").address.clone();
    cluster.bed.kill("server", None).unwrap();
    cluster.bed.kill("h2", None).unwrap();
    cluster.bed.boot("h2", None).unwrap();
    let at = format!("{address}:8081");
    wait_until("its container to be plugged in", || answers(cluster, "h2", &at));
    wait_until("a host to reach it", || answers(cluster, "h3", "10.99.0.2:18081"));
    assert_eq!(taken(cluster), [address]);
    cluster.bed.boot("server", None).unwrap();
    cluster.wait_all_seen(&["active", "active", "active"]);
    all_is_well(cluster);
}

/// No address, no interface, no rule and no file; at the end no bridge either.
fn nothing_is_left(cluster: &mut Cluster) {
    cluster.ok(&["down", "shop", "--yes"]);
    for host in ["h1", "h2"] {
        wait_until(&format!("nothing to be plugged in on {host}"), || ends(cluster, host) == 0);
        let kept = "ls /var/lib/remuda/agent/cni /run/remuda/netns";
        wait_until("nothing to be kept", || {
            !on(cluster, host, &["sh", "-c", kept]).lines().any(|line| line.len() > 60)
        });
        let rules = on(cluster, host, &["iptables-save"]);
        let left = |line: &&str| line.contains("10.42.") && line.contains("CNI");
        let left: Vec<&str> = rules.lines().filter(left).collect();
        assert!(left.is_empty(), "{left:?}");
        assert!(!rules.contains("id: "), "{rules}");
    }
    assert_eq!(taken(cluster), Vec::<String>::new());
    cluster.bed.kill("h1", Some(Role::Agent)).unwrap();
    assert!(on(cluster, "h1", &["ip", "link", "show", BRIDGE]).contains(BRIDGE));
    let mut down = cluster.bed.on("h1", env!("CARGO_BIN_EXE_remuda")).unwrap();
    text(down.args(["dev", "down"]));
    assert!(!on(cluster, "h1", &["ip", "link"]).contains(BRIDGE));
}

#[test]
#[ignore = "needs docker and root"]
fn a_host_changes_its_driver_when_its_containers_have_left() {
    crate::cluster::on_a_cluster(1, |cluster| {
        cluster.wait_all_seen(&["active"]);
        let late = "name: late\nservices: {one: {image: storefront/httpbackend:v1.0.0}}\n";
        let file = cluster.write("late.yaml", late);
        cluster.ok(&["up", "-f", &file]);
        let cni = words(&cluster.path(""), "h1", Path::new(BIN), of_page());
        for (driver, words, why, mode) in [
            ("cni", cni, "in the way of CNI", "none"),
            ("docker", vec![], "still plugged in by the CNI configuration", "remuda"),
        ] {
            let address = row_of_one(cluster).unwrap()["address"].as_str().unwrap().to_owned();
            cluster.bed.kill("h1", Some(Role::Agent)).unwrap();
            cluster.wait_seen("h1", "disconnected");
            cluster.bed.set_agent_args("h1", words);
            cluster.bed.boot("h1", Some(Role::Agent)).unwrap();
            wait_until(&format!("{driver} to wait"), || {
                let rows = cluster.ok(&["host", "ls", "-o", "json"]).json();
                rows[0]["reason"].to_string().contains(why)
            });
            let at = format!("{address}:8081");
            assert!(answers(cluster, "h1", &at), "what is there goes on");
            assert!(row_of_one(cluster).is_some_and(|row| row["ready"] == true));
            cluster.ok(&["down", "late", "--yes"]);
            cluster.ok(&["up", "-f", &file]);
            let id = row_of_one(cluster).unwrap()["container_id"].as_str().unwrap().to_owned();
            let inspect = ["inspect", "-f", "{{.HostConfig.NetworkMode}}", &id];
            assert_eq!(cluster.docker("h1", &inspect).trim(), mode);
        }
        assert!(!on(cluster, "h1", &["ip", "link"]).contains(BRIDGE), "it was ours");
    });
}

fn row_of_one(cluster: &Cluster) -> Option<serde_json::Value> {
    cluster.ps().into_iter().find(|row| row["service"] == "one")
}

#[test]
#[ignore = "needs docker and root"]
fn a_configuration_that_cannot_work_is_told_before_anything_is_done() {
    crate::machine::without_dockerd(|machine| {
        let file = machine.write("net.conflist", r#"{"cniVersion": "0.2.0", "name": "n"}"#);
        let file = file.to_str().unwrap();
        let refused = |words: &[&str], parts: &[&str]| {
            let mut agent = Command::new(env!("CARGO_BIN_EXE_remuda"));
            agent.arg("agent").args(words);
            let ran = crate::machine::Ran::of(&agent.output().unwrap()).with_code(2);
            ran.says(parts);
        };
        refused(&["--cni-conf", file], &["for CNI alone", "--network-driver cni"]);
        let cni = ["--network-driver", "cni", "--cni-bin-dir", "/usr/lib/cni", "--cni-conf"];
        refused(&[&cni[..], &[file]].concat(), &["net.conflist", "\"0.2.0\" is none of"]);
        refused(&[&cni[..], &["/nowhere"]].concat(), &["/nowhere: No such file"]);
    });
}
