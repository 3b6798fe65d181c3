//! Clients of others, unmodified, against a running Remuda: each walks every endpoint that it has.
//! `cargo xtask test` installs them.

use crate::machine::{Machine, Process, on_a_machine, wait_until};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the dialect of Consul answers.
const CONSUL: &str = "127.0.0.1:8500";
const TRAEFIK: &str = "127.0.0.1:8880";

/// The folder into which they were installed.
pub(crate) fn installed() -> PathBuf {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = tmp.parent().expect("the target folder").join("clients");
    assert!(folder.join("made-for").exists(), "`cargo xtask test` installs clients of others");
    folder
}

pub(crate) fn script(name: &str) -> String {
    format!("{}/tests/clients/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// What it printed, when it came to its end.
#[track_caller]
pub(crate) fn walk(command: &mut Command) {
    let output = command.output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (said(&output.stdout), said(&output.stderr));
    assert!(output.status.success() && out.contains("\"client\""), "{out}\n{err}");
    eprintln!("told: {}", out.lines().last().unwrap_or_default());
}

#[test]
#[ignore = "needs docker and root"]
fn py_consul_walks_every_endpoint() {
    on_a_machine(|machine| {
        let _dev = machine.dev();
        let python = installed().join("python/bin/python");
        walk(Command::new(python).args([&script("walk.py"), CONSUL]));
    });
}

#[test]
#[ignore = "needs docker and root"]
fn npm_consul_walks_every_endpoint() {
    on_a_machine(|machine| {
        let _dev = machine.dev();
        let mut node = Command::new("node");
        walk(node.args([&script("walk.mjs"), CONSUL]).env("CLIENTS_DIR", installed()));
    });
}

#[test]
#[ignore = "needs docker and root"]
fn rs_consul_walks_every_method() {
    on_a_machine(|machine| {
        let _dev = machine.dev();
        let built = installed().with_file_name("clients-rust").join("debug/walk");
        assert!(built.exists(), "`cargo xtask test` builds clients of others");
        walk(Command::new(built).arg(CONSUL));
    });
}

fn asked(host: &str) -> String {
    let url = format!("http://{TRAEFIK}/");
    let words = ["-sS", "--max-time", "5", "-H", &format!("Host: {host}"), &url].map(str::to_owned);
    let output = Command::new("curl").args(words).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn traefik(machine: &Machine, provider: &[&str]) -> Process {
    let mut command = Command::new(installed().join("python/bin/traefik"));
    command.args(["--entrypoints.web.address=127.0.0.1:8880", "--log.level=INFO"]).args(provider);
    Process::start(&mut command, machine.folder().join("traefik.log"))
}

#[test]
#[ignore = "needs docker and root"]
fn traefik_routes_to_what_it_finds_in_the_catalog() {
    on_a_machine(|machine| {
        let _dev = machine.dev();
        let label =
            "SERVICE_TAGS=traefik.enable=true,traefik.http.routers.web.rule=Host(`web.test`)";
        let image = "storefront/httpbackend:v1.0.0";
        let named = ["-l", "SERVICE_NAME=web", "-l", label, "-p", "18081:8081"];
        machine.docker(&[&["run", "-d", "--name", "web1"][..], &named, &[image]].concat());
        let traefik = traefik(
            machine,
            &[
                "--providers.consulcatalog=true",
                "--providers.consulcatalog.endpoint.address=127.0.0.1:8500",
                "--providers.consulcatalog.exposedbydefault=false",
                "--providers.consulcatalog.watch=true",
            ],
        );
        wait_until("a request to be routed", || asked("web.test").contains("httpbackend"));
        let named = ["-l", "SERVICE_NAME=web", "-l", label, "-p", "18082:8081"];
        machine.docker(&[&["run", "-d", "--name", "web2"][..], &named, &[image]].concat());
        machine.docker(&["rm", "-f", "web1"]);
        wait_until("the other one to be routed to", || asked("web.test").contains("httpbackend"));
        machine.docker(&["rm", "-f", "web2"]);
        wait_until("nothing to be there", || !asked("web.test").contains("httpbackend"));
        traefik.stop();
    });
}

#[test]
#[ignore = "needs docker and root"]
fn traefik_is_configured_by_the_kv() {
    on_a_machine(|machine| {
        let _dev = machine.dev();
        machine.docker(&[
            "run",
            "-d",
            "--name",
            "web",
            "-p",
            "18081:8081",
            "storefront/httpbackend:v1.0.0",
        ]);
        let put = |key: &str, value: &str| {
            let url = format!("http://{CONSUL}/v1/kv/traefik/http/{key}");
            let said = machine.run("curl", &["-sS", "-X", "PUT", "-d", value, &url]).with_code(0);
            assert_eq!(said.out.trim(), "true", "{key}");
        };
        put("services/web/loadbalancer/servers/0/url", "http://127.0.0.1:18081");
        put("routers/web/rule", "Host(`kv.test`)");
        put("routers/web/service", "web");
        let endpoint = "--providers.consul.endpoints=127.0.0.1:8500";
        let traefik = traefik(machine, &["--providers.consul=true", endpoint]);
        wait_until("a request to be routed", || asked("kv.test").contains("httpbackend"));
        put("routers/web/rule", "Host(`other.test`)");
        wait_until("the change to arrive", || asked("other.test").contains("httpbackend"));
        traefik.stop();
    });
}
