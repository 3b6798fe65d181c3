//! `plan` and `up` say the same: nothing for what is there, every edit, and what is blocked.

use crate::machine::{ADDRESS, Machine, on_a_machine, wait_until};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::{TcpListener, UdpSocket};

/// A stack with one of everything that an edit may change.
const STACK: &str = r#"
services:
  front:
    image: storefront/httpfront:v1.0.0
    scale: 2
    environment: {BACKEND: "back:8081"}
    env_file: front.env
    labels: {team: a}
    ports: ["8080:8080"]
    command: []
    configs: [settings]
    secrets: [password]
    health_check: {port: 8080, interval: 1000, response_timeout: 1000}
  back:
    image: storefront/httpbackend:v1.0.0
    volumes: ["data:/data", "./beside:/beside:ro"]
    deploy: {resources: {limits: {memory: 64m}}}
  balancer:
    lb_config:
      port_rules:
      - {source_port: 9090, protocol: http, service: front, target_port: 8080}
configs: {settings: {file: settings.conf}}
secrets: {password: {file: password.txt}}
volumes: {data: }
"#;

/// Edits of the file: what, text, its replacement, what `plan` says of it.
const EDITS: &[(&str, &str, &str, &str)] = &[
    ("image", "httpfront:v1.0.0", "httpfront:v1.1.0", "image: "),
    ("scale", "scale: 2", "scale: 3", "scale: 2 -> 3"),
    ("environment", "BACKEND: \"", "BACKEND: \"x", "environment.BACKEND: "),
    ("a new variable", "env_file", "user: '7'\n    env_file", "user: "),
    ("label", "team: a", "team: b", "labels.team: a -> b"),
    ("port", "8080:8080", "8081:8080", "ports: "),
    ("command", "command: []", "command: [a]", "command: "),
    ("health check", "interval: 1000", "interval: 1001", "health_check"),
    ("no health check", "    health_check", "    x-health_check", "health_check"),
    ("memory", "64m", "65m", "memory"),
    ("mount", "/beside:ro", "/beside", "mounts./beside.read_only: true -> false"),
    ("rule", "source_port: 9090", "source_port: 9091", "rules: + "),
    ("target", "target_port: 8080", "target_port: 8082", "rules: - "),
    ("secret", "    secrets: [password]\n", "", "files: - "),
    ("restart", "    scale: 2", "    scale: 2\n    restart: 'no'", "restart.policy: always -> no"),
    ("grace", "    scale: 2", "    scale: 2\n    stop_grace_period: 3s", "stop_grace_ms: "),
    ("dependency", "    scale: 2", "    scale: 2\n    depends_on: [back]", "dependencies"),
    ("a new service", "volumes: {data: }", "volumes: {data: }\n#", "no changes"),
];

/// Edits of the files beside it: which, content, what `plan` says of it.
const BESIDE: &[(&str, &str, &str)] = &[
    ("front.env", "A=2\n", "environment.A: 1 -> 2"),
    ("settings.conf", "b\n", "files./settings.content_base64: (hidden) -> (hidden)"),
    ("password.txt", "other\n", "files./run/secrets/password.content_base64: (hidden)"),
];

fn container_ids(machine: &Machine) -> Vec<(String, String)> {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    machine.ps().iter().map(|row| (text(row, "name"), text(row, "container_id"))).collect()
}

#[test]
#[ignore = "needs docker and root"]
fn a_second_up_changes_nothing_and_plan_sees_every_edit() {
    on_a_machine(|machine| {
        let _dev = machine.dev();
        for (name, content) in
            [("front.env", "A=1\n"), ("settings.conf", "a\n"), ("password.txt", "sesame\n")]
        {
            machine.write(name, content);
        }
        machine.write("beside/x", "");
        let file = machine.write("compose.yml", STACK);
        let file = file.to_str().unwrap();
        let plan = |code| machine.remuda(&["plan", "-f", file, "-p", "shop"]).with_code(code);
        let up = || machine.ok(&["up", "-f", file, "-p", "shop"]);
        plan(10).says(&["+ shop/front", "+ shop/back", "+ shop/balancer", "3 to create"]);
        up();
        let before = container_ids(machine);
        let said = plan(0);
        assert_eq!(said.out, "shop: no changes\n");
        up().says(&["shop: no changes"]);
        assert_eq!(container_ids(machine), before, "the second up made containers");
        for (what, from, to, says) in EDITS {
            assert!(STACK.contains(from), "{what}");
            machine.write("compose.yml", STACK.replacen(from, to, 1));
            let said = plan(if *says == "no changes" { 0 } else { 10 });
            assert!(said.out.contains(says), "{what}: {}", said.out);
            assert!(!said.out.contains("sesame") && !said.out.contains("c2VzYW1l"), "{}", said.out);
        }
        machine.write("compose.yml", STACK);
        for (name, content, says) in BESIDE {
            let kept = std::fs::read(machine.folder().join("files").join(name)).unwrap();
            machine.write(name, content);
            let said = plan(10);
            assert!(said.out.contains(says), "{name}: {}", said.out);
            machine.write(name, kept);
        }
        plan(0);
        // A service that is in no file any more is told, and goes when that is asked for.
        let (head, _) = STACK.split_once("  balancer:").unwrap();
        let (_, tail) = STACK.split_once("configs: {settings:").unwrap();
        machine.write("compose.yml", format!("{head}configs: {{settings:{tail}"));
        plan(0).says(&["shop/balancer runs and is in no file here", "--remove-orphans"]);
        let orphans = ["plan", "-f", file, "-p", "shop", "--remove-orphans"];
        machine.remuda(&orphans).with_code(10).says(&["- shop/balancer", "1 to remove"]);
        machine.ok(&["up", "-f", file, "-p", "shop", "--remove-orphans"]);
        machine.remuda(&orphans).with_code(0);
        wait_until("the orphan to be gone", || machine.ps().len() == 3);
        // After an edit that is carried out there is nothing left to do.
        for (from, to) in [("httpfront:v1.0.0", "httpfront:v1.1.0"), ("scale: 2", "scale: 1")] {
            let text = std::fs::read_to_string(file).unwrap();
            machine.write("compose.yml", text.replacen(from, to, 1));
            plan(10);
            up();
            plan(0);
        }
        written_otherwise(machine);
    });
}

/// Keys of a service in forms that could be read back differently.
const FORMS: &[&str] = &[
    "command: echo 'a  b' $$HOME \"c\\\\d\"",
    "command: [a, '', 'b c', $$x]",
    "entrypoint: ['']",
    "entrypoint: []",
    "environment: {A: yes, B: , C: \"\\n\\ttab\", D: 1e3, E: 0x10, F: 007, G: ~, H: 1.50}",
    "environment: [A=1=2, B=, C, 'D= x ', 'E=ü€']",
    "labels: [a=b, 'c=d: e', f]",
    "labels: {on: on, n: 010, e: ''}",
    "ports: [80, '70-72', '53/udp', {target: 9}]",
    "expose: [1, '2-3/udp']",
    "volumes: [/a, './b/../c:/b:ro', 'v:/c:nocopy', '~/d:/d:z', {type: tmpfs, target: /e}]",
    "volumes: [{type: bind, source: ., target: /x, read_only: yes, bind: {propagation: rslave}}]",
    "tmpfs: ['/e:size=1m,mode=700', /f]",
    "healthcheck: {test: curl x, interval: 1m30s, timeout: 0.5s, retries: 0, start_period: 1h}",
    "healthcheck: {disable: true}",
    "healthcheck: {test: [NONE]}",
    "health_check: {port: 1, request_line: 'GET \"/a%20b\" \"HTTP/1.0\"'}",
    "depends_on: [db]",
    "depends_on: {db: {condition: service_healthy, required: false}}",
    "restart: on-failure:2",
    "restart: no",
    "deploy: {resources: {limits: {cpus: 1.5, memory: 1g, pids: 9}, reservations: {memory: 1m}}}",
    "mem_limit: 1.5gb\n    memswap_limit: -1\n    cpus: .5\n    cpu_shares: 7\n    pids_limit: -1",
    "ulimits: {nofile: 3, core: {soft: 1, hard: -1}}",
    "logging: {driver: local, options: {max-size: 1m, compress: false}}",
    "dns: 1.1.1.1\n    dns_search: [a.b]\n    dns_opt: [ndots:1]",
    "extra_hosts: {a: [1.2.3.4, '::1'], b: host-gateway}",
    "extra_hosts: ['a:1.2.3.4', 'b=[::1]']",
    "metadata: {a: [1, '1', {b: [[], {}]}], '01': ~, c: 1.0, d: true, e: 1e400}",
    "stop_grace_period: 90\n    stop_signal: SIGRTMIN+3",
    "stop_grace_period: 1m30s",
    "sysctls: [net.core.somaxconn=1]",
    "cap_add: [net_admin, CAP_SYS_TIME]\n    cap_drop: [all]",
    "security_opt: ['no-new-privileges:false', 'seccomp:unconfined']",
    "user: '007'\n    group_add: [7, 0x7]\n    working_dir: /a/../b/",
    "hostname: a.b.c\n    domainname: d.e",
    "shm_size: 64m\n    oom_score_adj: -5\n    init: on\n    read_only: off",
    "upgrade_strategy: {start_first: true, batch_size: 2}",
    "drain_timeout_ms: 5\n    tty: y\n    stdin_open: n",
    "configs: [c, {source: c, target: /t, mode: 0400, uid: 1}]",
    "secrets: [{source: s, target: deep/er, mode: '0440'}]",
    "io.remuda: x",
];

/// Whatever the form of a file, once it is there `plan` finds nothing, nor for what `config` makes
/// of it.
fn written_otherwise(machine: &Machine) {
    let mut text = String::from("services:\n  db: {image: 'a:1', scale: 0}\n");
    let mut seed: u64 = 0x9e37_79b9_7f4a_7c15;
    for n in 0..80 {
        text.push_str(&format!("  s{n}:\n    image: a:1\n    scale: 0\n"));
        let mut keys = BTreeSet::new();
        for form in FORMS {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let wanted = match FORMS.get(n) {
                Some(alone) => alone == form,
                None => seed.is_multiple_of(3),
            };
            let names: Vec<&str> =
                form.lines().map(|l| l.trim().split(':').next().unwrap()).collect();
            if wanted && names.iter().all(|name| !keys.contains(name)) {
                text.push_str(&format!("    {form}\n"));
                keys.extend(names);
            }
        }
    }
    text.push_str("volumes: {v: }\nsecrets: {s: {file: x}}\nconfigs: {c: {content: 'a: $$b'}}\n");
    machine.write("forms/x", "\u{0}\u{ff}");
    let file = machine.write("forms/compose.yml", text);
    let file = file.to_str().unwrap();
    machine.ok(&["up", "-q", "-f", file]);
    assert_eq!(machine.ok(&["plan", "-q", "-f", file]).out, "forms: no changes\n");
    let again = machine.write("elsewhere/compose.yml", machine.ok(&["config", "-f", file]).out);
    let plan = machine.ok(&["plan", "-q", "-f", again.to_str().unwrap()]);
    assert_eq!(plan.out, "forms: no changes\n", "{}", plan.err);
    machine.ok(&["down", "forms"]);
}

#[test]
#[ignore = "needs docker and root"]
fn a_taken_port_is_blocked_in_plan_and_up_makes_nothing() {
    on_a_machine(|machine| {
        let _dev = machine.dev();
        machine.write("Dockerfile", "FROM storefront/httpfront:v1.0.0\nLABEL a=b\n");
        let stack = |name: &str, ports: &str| {
            let text = format!(
                "services:\n  web:\n    image: {name}:1\n    build: .\n    ports: {ports}\n"
            );
            machine.write(&format!("{name}.yml"), text).to_str().unwrap().to_owned()
        };
        let mine = stack("mine", "['5000:8080', '5053:53/udp']");
        machine.ok(&["up", "-f", &mine, "-p", "mine"]);
        let made = || {
            let all = machine.docker(&["ps", "-aq"]) + &machine.docker(&["images", "-q"]);
            all.lines().map(str::to_owned).collect::<BTreeSet<String>>()
        };
        let before = made();
        let (tcp, udp) = ("0.0.0.0:6001", "0.0.0.0:6002");
        let loopback = "127.0.0.1:6003";
        let outside = format!("{ADDRESS}:6004");
        let listeners = [tcp, loopback, &outside].map(|at| TcpListener::bind(at).unwrap());
        let socket = UdpSocket::bind(udp).unwrap();
        let v6 = TcpListener::bind("[::]:6005").unwrap();
        for (ports, says) in [
            ("['6001:80']", "6001/tcp"),
            ("['127.0.0.1:6001:80']", "6001/tcp"),
            ("['6002:80/udp']", "6002/udp"),
            ("['6003:80']", "6003/tcp"),
            ("['6004:80']", "6004/tcp"),
            ("['6005:80']", "6005/tcp"),
            ("['192.0.2.10:6004:80']", "6004/tcp"),
            ("['6000-6001:80-81']", "6001/tcp"),
            ("['5000:80']", "mine/web"),
            ("['127.0.0.1:5000:80']", "mine/web"),
            ("['5053:80/udp']", "mine/web"),
        ] {
            let file = stack("other", ports);
            for command in ["plan", "up"] {
                let ran = machine.remuda(&[command, "-f", &file, "-p", "other"]).with_code(5);
                ran.says(&["blocked other/web", says, "nothing was changed"]);
            }
        }
        let balancer = "services:\n  back: {image: 'x:1', scale: 0}\n  lb:\n    lb_config: {port_rules: \
            [{source_port: 6001, service: back, target_port: 1}]}\n";
        let balancer = machine.write("lb.yml", balancer);
        let balancer = ["up", "-f", balancer.to_str().unwrap(), "-p", "other"];
        machine.remuda(&balancer).with_code(5).says(&["blocked other/lb", "6001/tcp"]);
        assert_eq!(machine.ok(&["ls", "-o", "name"]).out, "mine\n");
        assert_eq!(made(), before, "something was made");
        // On another address, and of the other transport, a port is free.
        let file = stack("other", "['127.0.0.1:6004:8080', '6001:53/udp']");
        machine.remuda(&["plan", "-f", &file, "-p", "other"]).with_code(10);
        drop((listeners, socket, v6));
        let all = "['6001:8080', '6003:8080', '6004:8080', '6005:8080', '6002:80/udp']";
        let file = stack("other", all);
        machine.ok(&["up", "-f", &file, "-p", "other"]);
        machine.remuda(&["plan", "-f", &file, "-p", "other"]).with_code(0);
    });
}
