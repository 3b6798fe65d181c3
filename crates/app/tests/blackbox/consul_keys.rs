//! Keys, locks and blocking queries of the Consul API, asked as old clients ask: of the server's
//! machine, and of hosts whose agents pass it on.

use crate::cluster::{Cluster, on_a_cluster};
use crate::machine::{Machine, PATIENCE, Process, wait_for, wait_until, without_dockerd};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use testbed::SERVER;

const CONSUL: &str = "127.0.0.1:8500";

/// Status, index and body of an answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    index: u64,
    body: String,
}

/// Asks; none when nobody answers.
fn try_ask(method: &str, path: &str, body: &[u8]) -> Option<Answer> {
    let mut stream = TcpStream::connect(CONSUL).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // As curl does it: a type of body that means nothing.
    let head = format!(
        "{method} /v1/{path} HTTP/1.1\r\nhost: {CONSUL}\r\nconnection: close\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    // One that is refused for its length is answered before it was read.
    stream.write_all(body).ok();
    let mut text = Vec::new();
    stream.read_to_end(&mut text).ok();
    let text = String::from_utf8_lossy(&text);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let index = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("x-consul-index").then(|| value.parse().unwrap())
    });
    Some(Answer { status, index: index.unwrap_or(0), body: body.to_owned() })
}

#[track_caller]
fn ask(method: &str, path: &str, body: &str) -> Answer {
    try_ask(method, path, body.as_bytes()).expect("an answer")
}

#[track_caller]
fn says(method: &str, path: &str, body: &str, status: u16, want: &str) {
    let answer = ask(method, path, body);
    assert_eq!((answer.status, answer.body.as_str()), (status, want), "{method} {path}");
}

fn json(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|e| panic!("{e}: {answer:?}"))
}

fn server(machine: &Machine) -> Process {
    let server = machine.start("server", &["server"]);
    wait_until("the consul api", || try_ask("GET", "status/leader", b"").is_some());
    server
}

fn session(body: &str) -> String {
    json(&ask("PUT", "session/create", body))["ID"].as_str().unwrap().to_owned()
}

#[test]
#[ignore = "needs docker and root"]
fn keys_survive_the_death_of_the_server_and_a_restored_copy() {
    without_dockerd(|machine| {
        let first = server(machine);
        says("GET", "status/leader", "", 200, "\"127.0.0.1:8300\"");
        says("PUT", "kv/app/color?flags=7", "green", 200, "true");
        says("PUT", "kv/app//size", "", 200, "true");
        let held = session("{\"TTL\":\"3600s\"}");
        says("PUT", &format!("kv/lock?acquire={held}"), "me", 200, "true");
        let big = "x".repeat(512 * 1024 + 1);
        assert_eq!(ask("PUT", "kv/big", &big).status, 413);
        assert_eq!(ask("PUT", "kv/big", &big[1..]).status, 200);
        assert_eq!(ask("PUT", "kv/huge", &"x".repeat(3 * 1024 * 1024)).status, 413);
        let before = ask("GET", "kv/?recurse", "");
        first.kill();
        let second = server(machine);
        let after = ask("GET", "kv/?recurse", "");
        assert!(after.body == before.body, "keys are not what they were");
        assert_eq!(after.index, before.index);
        assert_eq!(json(&ask("GET", &format!("session/info/{held}"), ""))[0]["ID"], held);
        command_line(machine);
        let copy = machine.folder().join("copy.db");
        machine.ok(&["backup", "create", copy.to_str().unwrap()]);
        says("PUT", "kv/app/color", "red", 200, "true");
        second.stop();
        machine.ok(&["backup", "restore", copy.to_str().unwrap()]);
        let third = server(machine);
        says("GET", "kv/app/color?raw", "", 200, "green");
        assert!(ask("GET", "kv/?keys", "").index >= before.index);
        third.stop();
    });
}

/// `remuda kv` sees what clients see.
fn command_line(machine: &Machine) {
    assert_eq!(machine.ok(&["kv", "get", "app/color"]).out, "green");
    machine.ok(&["kv", "put", "cli/one", "1"]);
    says("GET", "kv/cli/one?raw", "", 200, "1");
    machine.remuda(&["kv", "get", "none"]).with_code(3).says(&["there is no key none"]);
    machine.remuda(&["kv", "put", "cli/one", "2", "--cas", "1"]).with_code(5).says(&["cli/one"]);
    assert_eq!(machine.ok(&["kv", "ls"]).out, "app/\nbig\ncli/\nlock\n");
    let exported = machine.ok(&["kv", "export", "app/"]).json();
    assert_eq!(exported[0]["key"], "app/color");
    assert_eq!((&exported[0]["value"], &exported[0]["flags"]), (&"Z3JlZW4=".into(), &7.into()));
    let file = machine.write("keys.json", exported.to_string());
    machine.ok(&["kv", "delete", "app/", "--recurse"]);
    assert_eq!(ask("GET", "kv/app/?keys", "").status, 404);
    machine.ok(&["kv", "import", file.to_str().unwrap()]);
    says("GET", "kv/app/color?raw", "", 200, "green");
    machine.remuda(&["kv", "get", "a//b"]).with_code(2).says(&["//"]);
}

/// The recipe of the Go client's lock, between two programs.
#[test]
#[ignore = "needs docker and root"]
fn a_lock_goes_to_one_and_to_the_next_when_it_is_free() {
    without_dockerd(|machine| {
        let running = server(machine);
        let body = "{\"TTL\":\"15s\",\"LockDelay\":\"0s\"}";
        let racing: Vec<_> = (0..20)
            .map(|_| {
                thread::spawn(move || {
                    let id = session(body);
                    (ask("PUT", &format!("kv/leader?acquire={id}"), &id).body == "true", id)
                })
            })
            .collect();
        let all: Vec<(bool, String)> = racing.into_iter().map(|one| one.join().unwrap()).collect();
        let won: Vec<&String> = all.iter().filter(|(won, _)| *won).map(|(_, id)| id).collect();
        assert_eq!(won.len(), 1, "{all:?}");
        let waits = session(body);
        let held = ask("GET", "kv/leader?consistent", "");
        assert_eq!(json(&held)[0]["Session"], **won[0]);
        let contender = thread::spawn(move || {
            let freed =
                ask("GET", &format!("kv/leader?consistent&wait=30s&index={}", held.index), "");
            assert_eq!(json(&freed)[0].get("Session"), None);
            ask("PUT", &format!("kv/leader?acquire={waits}"), &waits).body
        });
        // Something else that changes does not wake it.
        says("PUT", "kv/other", "1", 200, "true");
        says("PUT", &format!("session/destroy/{}", won[0]), "", 200, "true");
        assert_eq!(contender.join().unwrap(), "true");
        assert_eq!(json(&ask("GET", "kv/leader", ""))[0]["LockIndex"], 2);
        running.stop();
    });
}

/// Asks the agent of a host; status and body.
fn on_host(cluster: &Cluster, host: &str, arguments: &[&str]) -> (u16, String) {
    let path = arguments.last().unwrap();
    let mut curl = cluster.bed.on(host, "curl").unwrap();
    curl.args(["-s", "-m", "60", "-w", "\n%{http_code}"]);
    curl.args(&arguments[..arguments.len() - 1]).arg(format!("http://{CONSUL}/v1/{path}"));
    let output = curl.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').unwrap_or(("", "0"));
    (status.parse().unwrap_or(0), body.to_owned())
}

#[test]
#[ignore = "needs docker and root"]
fn every_host_answers_through_its_agent_and_says_when_there_is_no_server() {
    on_a_cluster(2, |cluster| {
        cluster.wait_all_seen(&["active", "active"]);
        let put = ["-X", "PUT", "-d", "hello", "kv/greeting"];
        wait_until("h1 to take a key", || on_host(cluster, "h1", &put) == (200, "true".into()));
        assert_eq!(on_host(cluster, "h2", &["kv/greeting?raw"]), (200, "hello".into()));
        assert_eq!(on_host(cluster, "h2", &["kv/none"]), (404, String::new()));
        assert_eq!(on_host(cluster, "h2", &["status/leader"]).1, "\"10.99.0.200:8300\"");
        // A session is of the host whose agent was asked.
        let (status, made) = on_host(cluster, "h1", &["-X", "PUT", "session/create"]);
        assert_eq!(status, 200, "{made}");
        let (_, sessions) = on_host(cluster, "h2", &["session/node/h1"]);
        let sessions: Value = serde_json::from_str(&sessions).unwrap();
        assert_eq!(sessions[0]["Node"], "h1");
        // One waits on h2 while the other changes it on h1.
        let (_, entry) = on_host(cluster, "h2", &["kv/greeting"]);
        let entry: Value = serde_json::from_str(&entry).unwrap();
        let wait = format!("kv/greeting?raw&wait=50s&index={}", entry[0]["ModifyIndex"]);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| on_host(cluster, "h2", &[&wait]));
            let put = ["-X", "PUT", "-d", "changed", "kv/greeting"];
            assert_eq!(on_host(cluster, "h1", &put).0, 200);
            assert_eq!(waiting.join().unwrap(), (200, "changed".into()));
        });
        cluster.bed.kill(SERVER, None).unwrap();
        wait_until("h1 to have no leader", || {
            on_host(cluster, "h1", &["status/leader"]) == (200, "\"\"".into())
        });
        assert_eq!(on_host(cluster, "h1", &["kv/greeting"]), (500, "No cluster leader".into()));
        assert_eq!(on_host(cluster, "h1", &put), (500, "No cluster leader".into()));
        cluster.bed.boot(SERVER, None).unwrap();
        let back = wait_for("h1 to read it again", || {
            let answer = on_host(cluster, "h1", &["kv/greeting?raw"]);
            (answer.0 == 200).then_some(answer.1)
        });
        assert_eq!(back, "changed");
    });
}
