//! Not one request fails while things change, die, freeze and come back.

use crate::load::{Ask, Connections, Load, ask_once};
use crate::machine::{Machine, on_a_machine, wait_for, wait_until};
use serde_json::Value;

/// `up` of the example with more arguments.
fn up(machine: &Machine, more: &[&str]) {
    let mut all = vec!["up"];
    all.extend(Machine::storefront());
    all.extend(more);
    machine.ok(&all);
}

/// `up` of the example with another version of its front.
fn up_front(machine: &Machine, version: &str) {
    let mut command = machine.command(&["up"]);
    command.args(Machine::storefront()).env("FRONT_VERSION", version);
    crate::machine::text(&mut command);
}

/// The rows of one service.
fn rows(machine: &Machine, service: &str) -> Vec<Value> {
    let (stack, service) = service.split_once('/').unwrap();
    let mut rows = machine.ps();
    rows.retain(|row| row["stack"] == stack && row["service"] == service);
    rows
}

/// Waits until so many instances, and no others, run and are healthy.
fn healthy(machine: &Machine, service: &str, count: usize) {
    wait_until(&format!("{count} healthy of {service}"), || {
        let rows = rows(machine, service);
        rows.len() == count
            && rows.iter().all(|row| row["status"] == "running" && row["health"] == "healthy")
    });
}

/// The container of an instance.
fn container(machine: &Machine, instance: &str) -> String {
    let row = machine.ps().into_iter().find(|row| row["name"] == instance).unwrap();
    row["container_id"].as_str().unwrap().to_owned()
}

/// Connections that stay and connections that do not, both busy.
struct Both([Load; 2]);

impl Both {
    fn start(ask: &Ask) -> Self {
        let new = Ask { connections: Connections::New, ..ask.clone() };
        Self([Load::start(64, ask), Load::start(8, &new)])
    }

    #[track_caller]
    fn well(&self, after: &str) {
        self.0[0].more(100);
        assert_eq!(self.0.each_ref().map(Load::failed), [0, 0], "{after}; stopping tells");
    }

    #[track_caller]
    fn nothing_failed(self) {
        self.0.into_iter().for_each(Load::nothing_failed);
    }
}

const PORTS: &str = "services:
  web:
    image: storefront/httpfront:VERSION
    ports: ['8090:8080']
    scale: 3
    health_check: {port: 8080, request_line: 'GET \"/healthz\" \"HTTP/1.0\"', interval: 500}
";

#[test]
#[ignore = "needs docker and root"]
fn no_request_fails_while_services_change() {
    on_a_machine(|machine| {
        let _dev = machine.dev();
        up(machine, &[]);
        let load = Both::start(&Ask::storefront());
        for scale in ["20", "3"] {
            machine.ok(&["svc", "scale", "storefront/httpfront", scale]);
            load.well(&format!("scaled to {scale}"));
        }
        for service in ["storefront/httpfront", "storefront/httpbackend"] {
            machine.ok(&["svc", "restart", service]);
            load.well(&format!("{service} restarted"));
        }
        up_front(machine, "v1.1.0");
        load.well("rolled");
        // The next one comes in the middle of the one before.
        let mut first = machine.command(&["up", "--no-wait"]);
        first.args(Machine::storefront()).env("FRONT_VERSION", "v1.0.0");
        crate::machine::text(&mut first);
        up_front(machine, "v1.1.0");
        load.well("rolled to and fro");
        healthy(machine, "storefront/httpfront", 3);
        load.nothing_failed();
    });
}

#[test]
#[ignore = "needs docker and root"]
fn no_request_through_a_published_port_fails_while_its_service_changes() {
    on_a_machine(|machine| {
        let _dev = machine.dev();
        let old = machine.write("old.yaml", PORTS.replace("VERSION", "v1.0.0"));
        let new = machine.write("new.yaml", PORTS.replace("VERSION", "v1.1.0"));
        let up = |file: &std::path::Path| {
            machine.ok(&["up", "-f", file.to_str().unwrap(), "-p", "shop"]);
        };
        up(&old);
        let ask = Ask {
            to: "127.0.0.1:8090".parse().unwrap(),
            path: "/healthz".into(),
            ..Ask::storefront()
        };
        let load = Both::start(&ask);
        up(&new);
        load.well("rolled");
        machine.ok(&["svc", "scale", "shop/web", "6"]);
        machine.ok(&["svc", "scale", "shop/web", "2"]);
        load.well("scaled");
        machine.docker(&["kill", &container(machine, "shop/web#1")]);
        load.well("killed");
        healthy(machine, "shop/web", 2);
        machine.ok(&["svc", "restart", "shop/web"]);
        load.nothing_failed();
    });
}

const FOLLOWS: &str = "services:
  web:
    image: storefront/httpfront:v1.0.0
    ports: ['8090:8080']
    autoscale: {min: 1, max: 3, requests: 20, up_after: 5s, down_after: 10s}
";

#[test]
#[ignore = "needs docker and root"]
fn the_scale_follows_the_requests_that_come_through_a_published_port() {
    on_a_machine(|machine| {
        let _dev = machine.dev();
        let file = machine.write("follows.yaml", FOLLOWS);
        machine.ok(&["up", "-f", file.to_str().unwrap(), "-p", "follow"]);
        let running = |machine: &Machine| rows(machine, "follow/web").len();
        assert_eq!(running(machine), 1, "nobody has asked anything");
        let ask = Ask {
            to: "127.0.0.1:8090".parse().unwrap(),
            host: "follow.example.test".into(),
            path: "/healthz".into(),
            connections: Connections::New,
        };
        wait_until("the load to bring three instances", || {
            (0..20).for_each(|_| ask_once(&ask));
            running(machine) == 3
        });
        machine.ok(&["svc", "show", "follow/web"]).says(&["requests", "above 20 for 5 s"]);
        wait_until("idleness to leave one instance", || running(machine) == 1);
        machine.ok(&["svc", "show", "follow/web"]).says(&["requests", "below 20 for 10 s"]);
    });
}

#[test]
#[ignore = "needs docker and root"]
fn no_request_fails_while_instances_die_and_freeze() {
    on_a_machine(|machine| {
        let _dev = machine.dev();
        up(machine, &[]);
        let load = Both::start(&Ask::storefront());
        for service in ["storefront/httpfront", "storefront/httpbackend"] {
            let ways = [&["kill"][..], &["rm", "-f"], &["restart", "-t", "1"], &["stop"]];
            let ways = if service.ends_with("front") { &ways[..] } else { &ways[..1] };
            for &how in ways {
                let id = container(machine, &format!("{service}#1"));
                machine.docker(&[how, &[id.as_str()][..]].concat());
                load.well(&format!("{service}: {how:?}"));
                healthy(machine, service, 3);
                load.well(&format!("{service} again after {how:?}"));
            }
            let id = container(machine, &format!("{service}#2"));
            // A cgroup that forks at that moment cannot be frozen, as runc says then.
            wait_until("the container to be frozen", || {
                machine.run("docker", &["pause", &id]).code == 0
            });
            let reason = wait_for("the pause to be told", || {
                let rows = rows(machine, service);
                let row = rows.iter().find(|row| row["container_id"] == *id)?;
                row["reason"].as_str().filter(|reason| !reason.is_empty()).map(str::to_owned)
            });
            assert!(reason.contains("docker unpause"), "{reason}");
            load.well(&format!("{service} paused"));
            // Unless its check has failed meanwhile and it was replaced.
            machine.run("docker", &["unpause", &id]);
            healthy(machine, service, 3);
            load.well(&format!("{service} goes on"));
            // It hangs: its check finds out, and it is replaced.
            let id = container(machine, &format!("{service}#3"));
            machine.docker(&["kill", "-s", "STOP", &id]);
            wait_until("the frozen one to be replaced", || {
                let rows = rows(machine, service);
                rows.iter().any(|row| row["container_id"] == *id && row["health"] == "unhealthy")
                    || rows.iter().all(|row| row["container_id"] != *id)
            });
            load.well(&format!("{service} frozen"));
            // Unless it is gone already.
            machine.run("docker", &["kill", &id]);
            healthy(machine, service, 3);
        }
        load.nothing_failed();
    });
}
