//! The API as programs see it: over the wire, in the clear on loopback and over TLS elsewhere.

use crate::machine::{ADDRESS, Machine, PATIENCE, on_a_machine, wait_until, without_dockerd};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const LOCAL: &str = "127.0.0.1:7600";

fn token() -> String {
    let token = fs::read_to_string("/var/lib/remuda/server/admin.token").unwrap();
    token.trim().to_owned()
}

/// One request over a connection of its own; status and body.
fn ask(to: &str, method: &str, path: &str, token: Option<&str>) -> (u16, String) {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let token = token.map_or_else(String::new, |t| format!("Authorization: Bearer {t}\r\n"));
    let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    write!(stream, "{head}{token}Content-Length: 0\r\n\r\n").unwrap();
    let mut answer = vec![];
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[track_caller]
fn error(answer: (u16, String), status: u16, kind: &str) {
    assert_eq!(answer.0, status, "{}", answer.1);
    let body: Value = serde_json::from_str(&answer.1).unwrap();
    assert_eq!(body["error"]["kind"], kind, "{body}");
    assert!(!body["error"]["message"].as_str().unwrap().is_empty(), "{body}");
}

#[test]
#[ignore = "needs docker and root"]
fn the_api_wants_a_token_and_off_loopback_tls() {
    without_dockerd(|machine| {
        let local = machine.start("server", &["server"]);
        wait_until("the server to answer", || machine.remuda(&["ls"]).code == 0);
        assert_eq!(ask(LOCAL, "GET", "/api/v1/ping", None).0, 200);
        let right = token();
        for path in ["/api/v1/stacks", "/api/v1/backup", "/api/v1/openapi.json", "/api/v1/events"] {
            for wrong in [None, Some(""), Some("rmd_x_y"), Some(&right[..right.len() - 1])] {
                error(ask(LOCAL, "GET", path, wrong), 401, "unauthorized");
            }
            assert_eq!(ask(LOCAL, "GET", path, Some(&right)).0, 200, "{path}");
        }
        error(ask(LOCAL, "GET", "/nothing", Some(&right)), 404, "not_found");
        error(ask(LOCAL, "PATCH", "/api/v1/stacks", Some(&right)), 405, "method_not_allowed");
        error(ask(LOCAL, "GET", "/api/v1/events?tail=x", Some(&right)), 400, "invalid");
        let mut wrong = machine.command(&["ls"]);
        let output = wrong.env("REMUDA_TOKEN", "rmd_x").output().unwrap();
        assert_eq!(output.status.code(), Some(4), "{output:?}");
        let document = ask(LOCAL, "GET", "/api/v1/openapi.json", Some(&right)).1;
        let document: Value = serde_json::from_str(&document).unwrap();
        assert!(document["paths"]["/api/v1/stacks/{stack}"]["put"].is_object());
        local.stop();
        for listen in ["0.0.0.0:7600", &format!("{ADDRESS}:7600"), "[::]:7600"] {
            only_tls(machine, listen);
        }
    });
}

/// Off loopback nothing is said in the clear, and the CLI of the machine finds its way.
fn only_tls(machine: &Machine, listen: &str) {
    let server = machine.start("server", &["server", "--listen", listen]);
    wait_until("the server to answer", || machine.remuda(&["ls"]).code == 0);
    machine.ok(&["status", "-o", "json"].map(|a| if a == "status" { "ls" } else { a }));
    let to = if listen.contains(ADDRESS) { listen } else { LOCAL };
    let (status, body) = ask(to, "GET", "/api/v1/ping", Some(&token()));
    assert_eq!(status, 400, "{listen}: {body}");
    assert!(body.contains("https"), "{body}");
    let config = fs::read_to_string(
        std::path::Path::new(&std::env::var("HOME").unwrap()).join(".config/remuda/config.yaml"),
    );
    let config = config.unwrap();
    assert!(config.contains("https://") && config.contains("ca: "), "{config}");
    let pin = "0".repeat(64);
    let mut strange = machine.command(&["ls"]);
    let output = strange.env("REMUDA_CA", &pin).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "another CA is not trusted: {output:?}");
    // An agent joins over the same port, without any Docker.
    let token = machine.ok(&["host", "token", "create"]).out.trim().to_owned();
    let agent = ["agent", "--join", to, "--token", &token];
    let agent = (!machine.ok(&["host", "ls"]).out.contains("machine")).then(|| {
        let agent = machine.start("agent", &agent);
        wait_until("the host to be there", || machine.ok(&["host", "ls"]).out.contains("active"));
        agent
    });
    assert!(server.stop().success());
    if let Some(agent) = agent {
        assert!(agent.stop().success());
    }
}

/// An event stream from an index on: its events, and the id to go on from.
struct Stream(BufReader<TcpStream>);

impl Stream {
    fn open(query: &str, last_id: Option<&str>) -> Self {
        let mut stream = TcpStream::connect(LOCAL).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let last_id = last_id.map_or_else(String::new, |id| format!("Last-Event-ID: {id}\r\n"));
        let token = token();
        write!(
            stream,
            "GET /api/v1/events?follow=true{query} HTTP/1.1\r\nHost: x\r\n{last_id}\
             Authorization: Bearer {token}\r\n\r\n"
        )
        .unwrap();
        Self(BufReader::new(stream))
    }

    /// The events up to the one with this action and stack, and the last id seen.
    fn until(&mut self, action: &str, stack: &str) -> (Vec<Value>, String) {
        let (mut events, mut id, mut done) = (vec![], String::new(), false);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut line = String::new();
            assert!(Instant::now() < deadline, "no {action} of {stack} in {events:#?}");
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream ended: {events:?}");
            if let Some(text) = line.strip_prefix("id: ") {
                text.trim().clone_into(&mut id);
            } else if let Some(text) = line.strip_prefix("data: ") {
                let event: Value = serde_json::from_str(text).unwrap();
                done |= event["action"] == action && event["stack"] == stack;
                events.push(event);
            }
            // The id stands after the data of the same event.
            if done && line.trim().is_empty() {
                return (events, id);
            }
        }
    }
}

#[test]
#[ignore = "needs docker and root"]
fn an_event_stream_goes_on_where_it_ended_also_after_a_restart() {
    on_a_machine(|machine| {
        let dev = machine.dev();
        let file = machine.write(
            "two.yaml",
            "services:\n  a: {image: 'storefront/httpbackend:v1.0.0', scale: 2}\n",
        );
        let file = file.to_str().unwrap();
        machine.ok(&["up", "-f", file, "-p", "one"]);
        let all = machine.ok(&["events", "--tail", "10000", "-o", "json"]).json();
        let all = all.as_array().unwrap();
        let whole = ask(LOCAL, "GET", "/api/v1/events?after=0", Some(&token())).1;
        let page: Value = serde_json::from_str(&whole).unwrap();
        let index = page["index"].as_u64().unwrap();
        assert!(page["events"].as_array().unwrap().len() >= all.len());
        // From the middle on: the rest, none twice and none left out.
        let middle = all[all.len() / 2]["index"].as_u64().unwrap();
        let rest: Vec<&Value> =
            all.iter().filter(|e| e["index"].as_u64().unwrap() > middle).collect();
        let last = all.last().unwrap();
        let mut stream = Stream::open(&format!("&after={middle}"), None);
        let action = last["action"].as_str().unwrap();
        let (mut seen, _) = stream.until(action, "one");
        while seen.len() < rest.len() {
            seen.extend(stream.until(action, "one").0);
        }
        assert_eq!(seen.iter().collect::<Vec<_>>(), rest);
        drop(stream);
        // What happens while nobody listens, and while the server is dead, comes with the id.
        machine.ok(&["svc", "scale", "one/a", "3"]);
        dev.kill();
        let _dev = machine.dev();
        machine.ok(&["down", "one"]);
        let mut stream = Stream::open("&stack=one", Some(&index.to_string()));
        let (seen, id) = stream.until("stack.removed", "one");
        let told = machine.ok(&["events", "one", "--tail", "10000", "-o", "json"]).json();
        let later: Vec<&Value> = told
            .as_array()
            .unwrap()
            .iter()
            .filter(|e| e["index"].as_u64().unwrap() > index)
            .collect();
        let numbers = |events: &[&Value]| -> Vec<(u64, String)> {
            let one = |e: &&Value| {
                (e["index"].as_u64().unwrap(), e["message"].as_str().unwrap().to_owned())
            };
            events.iter().map(one).collect()
        };
        assert_eq!(numbers(&seen.iter().collect::<Vec<_>>()), numbers(&later));
        assert!(id.parse::<u64>().unwrap() > index);
        machine.ok(&["dev", "down"]);
    });
}
