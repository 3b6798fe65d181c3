//! What a compose file says arrives in Docker: keys, defaults, ports, order of start.

use crate::machine::{ADDRESS, Machine, on_a_machine, wait_for};
use crate::tools;
use serde_json::{Value, json};
use std::io::Read as _;
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

/// Every key of a container that Docker shows again.
const FULL: &str = r#"
services:
  full:
    image: tools:1
    entrypoint: [/bin/sh, -c]
    command: ["trap 'exit 0' TERM; sleep 100000 & wait", two]
    environment: {PLAIN: x, QUOTED: "a b", EMPTY: ""}
    env_file: full.env
    labels: {team: a}
    volumes: ["data:/data", "./beside:/beside:ro", "/tmp:/host", {type: tmpfs, target: /cache, tmpfs: {size: 1m}}]
    tmpfs: ["/scratch:size=2m,mode=1700"]
    mem_limit: 64m
    mem_reservation: 32m
    cpus: 0.5
    cpu_shares: 512
    pids_limit: 99
    logging: {driver: json-file, options: {max-size: 1m}}
    ulimits: {nofile: {soft: 1000, hard: 2000}}
    cap_add: [NET_ADMIN]
    cap_drop: [MKNOD]
    user: "0:0"
    working_dir: /tmp
    hostname: full.example.test
    extra_hosts: ["friend:192.0.2.77"]
    dns: 192.0.2.53
    sysctls: {net.core.somaxconn: 77}
    stop_signal: SIGINT
    stop_grace_period: 3s
    init: true
    read_only: true
    shm_size: 8m
    oom_score_adj: 100
    group_add: ["7"]
    devices: ["/dev/null:/dev/nothing:r"]
    secrets: [password, {source: password, target: other, mode: "0400", uid: "7"}]
    configs: [{source: settings, target: /etc/settings.conf}]
    healthcheck: {test: [CMD, /bin/sh, -c, "exit 0"], interval: 1s, retries: 2}
  plain:
    image: tools:1
    command: [sleep, "100000"]
    stop_grace_period: 1s
  limits:
    image: tools:1
    command: [sleep, "100000"]
    stop_grace_period: 1s
    security_opt: ["no-new-privileges:false"]
    deploy: {replicas: 2, resources: {limits: {memory: 48m, cpus: "0.25", pids: 55}, reservations: {memory: 16m}}}
volumes: {data: }
secrets: {password: {file: password.txt}}
configs: {settings: {content: "a = $$b\n"}}
"#;

/// What `docker inspect` must show of `full`.
fn expected() -> Vec<(&'static str, Value)> {
    vec![
        ("/Config/Entrypoint", json!(["/bin/sh", "-c"])),
        ("/Config/Cmd/1", json!("two")),
        ("/Config/User", json!("0:0")),
        ("/Config/WorkingDir", json!("/tmp")),
        ("/Config/Hostname", json!("full.example.test")),
        ("/Config/StopSignal", json!("SIGINT")),
        ("/Config/Labels/team", json!("a")),
        ("/Config/Healthcheck/Interval", json!(1_000_000_000)),
        ("/Config/Healthcheck/Retries", json!(2)),
        ("/HostConfig/Memory", json!(64 << 20)),
        ("/HostConfig/MemoryReservation", json!(32 << 20)),
        ("/HostConfig/NanoCpus", json!(500_000_000)),
        ("/HostConfig/CpuShares", json!(512)),
        ("/HostConfig/PidsLimit", json!(99)),
        ("/HostConfig/LogConfig/Type", json!("json-file")),
        ("/HostConfig/LogConfig/Config/max-size", json!("1m")),
        ("/HostConfig/Ulimits/0", json!({"Name": "nofile", "Hard": 2000, "Soft": 1000})),
        ("/HostConfig/CapAdd", json!(["NET_ADMIN"])),
        ("/HostConfig/CapDrop", json!(["MKNOD"])),
        ("/HostConfig/Sysctls/net.core.somaxconn", json!("77")),
        ("/HostConfig/Init", json!(true)),
        ("/HostConfig/ReadonlyRootfs", json!(true)),
        ("/HostConfig/ShmSize", json!(8 << 20)),
        ("/HostConfig/OomScoreAdj", json!(100)),
        ("/HostConfig/GroupAdd", json!(["7"])),
        ("/HostConfig/Devices/0/PathInContainer", json!("/dev/nothing")),
        ("/HostConfig/RestartPolicy/Name", json!("no")),
        ("/HostConfig/SecurityOpt", json!(["no-new-privileges:true"])),
    ]
}

fn inspect(machine: &Machine, service: &str) -> Value {
    let rows = machine.ps();
    let row = rows.iter().find(|row| row["service"] == service).expect("it is there");
    let text = machine.docker(&["inspect", row["container_id"].as_str().unwrap()]);
    serde_json::from_str::<Value>(&text).unwrap()[0].take()
}

#[test]
#[ignore = "needs docker and root"]
fn every_key_of_a_container_arrives_in_docker() {
    on_a_machine(|machine| {
        tools::import(machine);
        machine.write("full.env", "FROM_FILE='as it is'\nPLAIN=lost\n");
        machine.write("beside/file", "beside\n");
        machine.write("password.txt", "sesame");
        let file = machine.write("compose.yml", FULL);
        let dev = machine.dev();
        machine.ok(&["up", "-f", file.to_str().unwrap(), "-p", "shop", "--timeout", "40s"]);
        let full = inspect(machine, "full");
        for (at, value) in expected() {
            assert_eq!(full.pointer(at), Some(&value), "{at}");
        }
        let environment = full["Config"]["Env"].as_array().unwrap();
        for variable in ["PLAIN=x", "QUOTED=a b", "EMPTY=", "FROM_FILE=as it is"] {
            assert!(environment.contains(&json!(variable)), "{variable}: {environment:?}");
        }
        let beside = file.parent().unwrap().join("beside");
        let mounts = full["Mounts"].as_array().unwrap();
        for (target, source, writable) in [
            ("/data", "shop_data", true),
            ("/beside", beside.to_str().unwrap(), false),
            ("/host", "/tmp", true),
        ] {
            let mount = mounts.iter().find(|m| m["Destination"] == target).expect(target);
            assert!(mount["Source"] == source || mount["Name"] == source, "{mount}");
            assert_eq!(mount["RW"], writable, "{mount}");
        }
        // What Docker does not show is seen from inside.
        let inside = "cat /run/secrets/password /etc/settings.conf /beside/file; \
            stat -c '%a %u' /run/secrets/other /run/secrets/password /scratch; cat /etc/hosts; \
            touch /x; cat /proc/sys/net/core/somaxconn; ls /cache; cat /etc/resolv.conf";
        let seen = machine.ok(&["exec", "shop/full", "sh", "-c", inside]);
        seen.says(&["sesamea = $b\nbeside\n", "400 7\n444 0\n1700 0\n", "192.0.2.77\tfriend"]);
        seen.says(&[
            "Read-only file system",
            "\n77\n",
            "nameserver 169.254.169.250\nnameserver 192.0.2.53\n",
        ]);
        let plain = inspect(machine, "plain");
        assert_eq!(plain["HostConfig"]["SecurityOpt"], json!(["no-new-privileges:true"]));
        assert_eq!(plain["HostConfig"]["PidsLimit"], 1024);
        assert_eq!(
            plain["HostConfig"]["LogConfig"]["Config"],
            json!({"max-file": "3", "max-size": "10m"})
        );
        let limits = inspect(machine, "limits");
        assert_eq!(limits["HostConfig"]["SecurityOpt"], json!(["no-new-privileges:false"]));
        for (at, value) in [
            ("/HostConfig/Memory", json!(48 << 20)),
            ("/HostConfig/NanoCpus", json!(250_000_000)),
            ("/HostConfig/PidsLimit", json!(55)),
            ("/HostConfig/MemoryReservation", json!(16 << 20)),
        ] {
            assert_eq!(limits.pointer(at), Some(&value), "{at}");
        }
        machine.ok(&["down", "shop"]).says(&["shop is gone", "kept: volume shop_data"]);
        ports_and_order(machine);
        drop(dev);
    });
}

const ORDER: &str = r#"
services:
  last:
    image: tools:1
    command: [sleep, "100000"]
    stop_grace_period: 1s
    depends_on: {job: {condition: service_completed_successfully}, echo: {condition: service_healthy}}
  echo:
    image: storefront/httpfront:v1.0.0
    environment: {BACKEND: "echo:8080"}
    ports: ["7001:8080", "127.0.0.1:7002:8080", "192.0.2.10:7003:8080", "7004:8080/udp"]
    health_check: {port: 8080, interval: 200, response_timeout: 1000}
  job:
    image: tools:1
    restart: "no"
    command: [sh, -c, "exit 0"]
    depends_on: [echo]
  tries:
    image: tools:1
    restart: on-failure:2
    command: [sh, -c, "exit 9"]
    depends_on: {last: {condition: service_started}}
"#;

/// Published ports answer on their addresses only, services start in their order, and what fails
/// is tried as often as its policy says.
fn ports_and_order(machine: &Machine) {
    let file = machine.write("order.yml", ORDER);
    let ran =
        machine.remuda(&["up", "-f", file.to_str().unwrap(), "-p", "order", "--timeout", "30s"]);
    ran.with_code(6).says(&["order/tries", " 9"]);
    for (at, answers) in [
        ("127.0.0.1:7001".to_owned(), true),
        (format!("{ADDRESS}:7001"), true),
        ("127.0.0.1:7002".to_owned(), true),
        (format!("{ADDRESS}:7002"), false),
        ("127.0.0.1:7003".to_owned(), false),
        (format!("{ADDRESS}:7003"), true),
    ] {
        assert_eq!(hello(&at).is_some(), answers, "{at}");
    }
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect("127.0.0.1:7004").unwrap();
    socket.send(b"x").expect("the UDP port is held");
    let rows = machine.ps();
    let row = |service: &str| rows.iter().find(|r| r["service"] == service).unwrap().clone();
    let started = |service: &str| row(service)["started_at"].as_i64().unwrap();
    assert!(started("echo") <= started("job"), "{rows:?}");
    assert!(started("job") <= started("last"), "{rows:?}");
    assert_eq!((&row("job")["status"], &row("job")["exit_code"]), (&json!("completed"), &json!(0)));
    let tries = wait_for("the attempts to be over", || {
        let row = machine.ps().into_iter().find(|r| r["service"] == "tries")?;
        (row["status"] == "failed").then_some(row)
    });
    assert!(tries["restarts"].as_u64().unwrap() <= 2, "{tries}");
    machine.ok(&["down", "order"]);
}

/// The first bytes of an answer to a request.
fn hello(at: &str) -> Option<Vec<u8>> {
    use std::io::Write as _;
    let mut stream = TcpStream::connect(at).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).ok()?;
    answer.starts_with(b"HTTP/1.").then_some(answer)
}
