//! What is left of us after `down` and `dev down`: named volumes. What others made stays as it was.

use crate::machine::{Machine, on_a_machine, signal, text, wait_for, wait_until};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

const DATA: &str = "/var/lib/remuda";
const STACK: &str = "
name: shop
services:
  web:
    image: storefront/httpbackend:v1.0.0
    scale: 2
    ports: ['8081']
    volumes: ['data:/data', '/anonymous']
    health_check: {port: 8081, interval: 1000}
  lb:
    image: rancher/lb-service-haproxy
    ports: ['8080:8080']
    lb_config:
      port_rules: [{source_port: 8080, service: web, target_port: 8081}]
volumes:
  data:
";

/// Everything of the machine that we could have left something in.
#[derive(Debug, PartialEq)]
struct Traces {
    containers: Vec<String>,
    networks: BTreeSet<String>,
    volumes: BTreeSet<String>,
    addresses: BTreeSet<String>,
    routes: BTreeSet<String>,
    rules: BTreeSet<String>,
    tables: BTreeSet<String>,
    theirs: String,
    forwarding: String,
    processes: Vec<String>,
    files: Vec<String>,
}

fn lines(command: &mut Command) -> BTreeSet<String> {
    text(command).lines().map(|line| line.trim().to_owned()).collect()
}

fn traces(machine: &Machine) -> Traces {
    let docker = |arguments: &[&str]| lines(Command::new("docker").args(arguments));
    let containers = machine.containers().into_iter().map(|(name, id)| format!("{name} {id}"));
    // Counters of rules move by themselves.
    let rules = lines(&mut Command::new("iptables-save"))
        .into_iter()
        .filter(|line| line.starts_with('-'))
        .collect();
    let processes = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.split('/').next_back()?.starts_with("remuda ").then_some(line)
    });
    let addresses = lines(Command::new("ip").args(["-o", "-4", "address"]));
    Traces {
        containers: containers.collect(),
        networks: docker(&["network", "ls", "--format", "{{.Name}} {{.ID}}"]),
        volumes: docker(&["volume", "ls", "-q"]),
        addresses: addresses
            .iter()
            .map(|line| line.split_whitespace().skip(1).take(3).collect::<Vec<_>>().join(" "))
            .collect(),
        routes: lines(Command::new("ip").arg("route")),
        rules,
        tables: lines(Command::new("nft").args(["list", "tables"])),
        theirs: text(Command::new("nft").args(["list", "table", "inet", "theirs"])),
        forwarding: fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap(),
        processes: processes.collect(),
        files: names(Path::new(DATA)),
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Somebody else's things, of every kind that we make as well.
fn others(machine: &Machine) {
    machine.docker(&["network", "create", "theirs", "--subnet", "172.30.0.0/24"]);
    machine.docker(&["volume", "create", "theirs"]);
    machine.docker(&[
        "run",
        "-d",
        "--name",
        "theirs",
        "--network",
        "theirs",
        "-v",
        "theirs:/data",
        "--label",
        "io.remuda.environment=another",
        "-p",
        "127.0.0.1:18081:8081",
        "storefront/httpbackend:v1.0.0",
    ]);
    let rules =
        "table inet theirs { chain c { type filter hook input priority 0; tcp dport 9 drop; }; }";
    text(Command::new("nft").arg(rules));
    text(Command::new("iptables").args(["-A", "INPUT", "-s", "198.51.100.7", "-j", "DROP"]));
    text(Command::new("ip").args(["address", "add", "198.51.100.1/24", "dev", "eth0"]));
    fs::write(Path::new(DATA).join("theirs.txt"), "theirs").unwrap();
}

fn up(machine: &Machine) {
    let file = machine.write("shop.yaml", STACK);
    machine.ok(&["up", "-f", file.to_str().unwrap()]);
}

/// `dev down` says what it kept, and nothing of ours is there any more.
fn goes(machine: &Machine, before: &Traces) {
    machine.ok(&["dev", "down"]).says(&["all is gone", "kept: volume shop_data"]);
    machine.docker(&["volume", "rm", "shop_data"]);
    assert_eq!(traces(machine), *before);
    let context = Path::new(&std::env::var("HOME").unwrap()).join(".config/remuda/config.yaml");
    assert!(!context.exists());
}

fn pid_of(file: &str) -> u32 {
    let path = Path::new(DATA).join(file);
    wait_for("a process to write its id", || {
        fs::read_to_string(&path).ok()?.split_whitespace().next()?.parse().ok()
    })
}

#[test]
#[ignore = "needs docker and root"]
fn down_and_dev_down_leave_named_volumes_and_what_others_made() {
    on_a_machine(|machine| {
        others(machine);
        let before = traces(machine);
        machine.ok(&["dev", "down"]).says(&["nothing of remuda"]);
        assert_eq!(traces(machine), before, "nothing was there");

        let dev = machine.dev();
        let fresh = machine.containers();
        up(machine);
        assert_eq!(machine.containers().len(), fresh.len() + 2);
        machine.ok(&["down", "shop"]).says(&["kept: volume shop_data"]);
        assert_eq!(machine.containers(), fresh);
        let volumes = lines(Command::new("docker").args(["volume", "ls", "-q"]));
        assert_eq!(volumes, ["shop_data", "theirs"].map(str::to_owned).into());
        machine.remuda(&["down", "shop"]).with_code(3).says(&["no stack"]);
        up(machine);
        goes(machine, &before);
        assert!(dev.wait().success());
        machine.ok(&["dev", "down"]).says(&["nothing of remuda"]);

        everything_is_dead(machine, &before);
        docker_is_dead(machine);
        the_folder_was_removed(machine, &before);
        by_somebody_else_and_apart(machine, &before);
    });
}

/// kill -9 of all that is ours, then `dev down`.
fn everything_is_dead(machine: &Machine, before: &Traces) {
    let dev = machine.dev();
    up(machine);
    dev.kill();
    signal(pid_of("dataplane/dataplane.lock"), "KILL");
    goes(machine, before);
}

/// `dev down` cannot do its work without dockerd: it says so, and does the rest later.
fn docker_is_dead(machine: &mut Machine) {
    let _dev = machine.dev();
    up(machine);
    machine.stop_dockerd();
    machine.remuda(&["dev", "down"]).with_code(1).says(&["not all is gone", "docker:", "again"]);
    machine.start_dockerd(&[]);
    machine.ok(&["dev", "down"]).says(&["all is gone", "kept: volume shop_data"]);
    machine.docker(&["volume", "rm", "shop_data"]);
    machine.docker(&["start", "theirs"]);
}

/// Somebody thought that removing the folder removes it all.
fn the_folder_was_removed(machine: &Machine, _before: &Traces) {
    let before = traces(machine);
    let _dev = machine.dev();
    up(machine);
    for name in names(Path::new(DATA)).iter().filter(|name| *name != "theirs.txt") {
        let path = Path::new(DATA).join(name);
        if path.is_dir() {
            // What runs writes into it meanwhile.
            let begun = std::time::Instant::now();
            while fs::remove_dir_all(&path).is_err() && path.exists() {
                assert!(begun.elapsed().as_secs() < 20, "{} stays", path.display());
            }
        } else {
            fs::remove_file(path).unwrap();
        }
    }
    machine.ok(&["dev", "down"]).says(&["all is gone", "kept: volume shop_data"]);
    machine.docker(&["volume", "rm", "shop_data"]);
    let after = traces(machine);
    assert_eq!(after, before);
}

/// Another user may not; root may, whoever runs: server and agent apart, in another home.
fn by_somebody_else_and_apart(machine: &Machine, _before: &Traces) {
    let before = traces(machine);
    let mut server = machine.start("server", &["server"]);
    wait_until("the server to answer", || machine.remuda(&["host", "token", "create"]).code == 0);
    let token = machine.ok(&["host", "token", "create"]).out.trim().to_owned();
    let mut agent =
        machine.start("agent", &["agent", "--join", "127.0.0.1:7600", "--token", &token]);
    machine.ready();
    up(machine);
    let nobody = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(env!("CARGO_BIN_EXE_remuda"))
        .args(["dev", "down"])
        .output()
        .unwrap();
    assert_eq!(nobody.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("needs root"));
    assert!(!server.has_ended() && !agent.has_ended());
    let home = machine.folder().join("another-home");
    let mut down = machine.command(&["dev", "down"]);
    assert!(down.env("HOME", home).status().unwrap().success());
    assert!(server.wait().success());
    assert!(agent.wait().success());
    machine.docker(&["volume", "rm", "shop_data"]);
    assert_eq!(traces(machine), before);
    let context = Path::new(&std::env::var("HOME").unwrap()).join(".config/remuda/config.yaml");
    assert!(!context.exists(), "the context of who started it");
}
