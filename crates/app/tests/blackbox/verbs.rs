//! Every verb of a rollout while 64 connections are busy: not one request fails, and everybody is
//! told what waits, what was gone back to, and why.

use crate::load::{Ask, Connections, Load};
use crate::machine::{Machine, Ran, on_a_machine, wait_until};
use serde_json::Value;

const OLD: &str = "storefront/httpfront:v1.0.0";
const NEW: &str = "storefront/httpfront:v1.1.0";

/// A file with a service on the host's port 8090, rolled as the words say.
fn file(machine: &Machine, image: &str, rollout: &str, path: &str) -> String {
    let text = format!(
        "services:
  web:
    image: {image}
    ports: ['8090:8080']
    scale: 3
    environment: {{BACKEND: 'back:8081', DB_PASSWORD: 'very {image} secret'}}
    rollout: {{monitor: 300ms, {rollout}}}
    drain_timeout_ms: 2000
    health_check:
      port: 8080
      request_line: GET \"{path}\" \"HTTP/1.0\"
      interval: 200
      response_timeout: 500
      healthy_threshold: 1
      unhealthy_threshold: 2
      initializing_timeout: 5000
  back:
    image: storefront/httpbackend:v1.0.0
"
    );
    machine.write("verbs.yaml", text).to_str().unwrap().to_owned()
}

/// `up` of this version, whatever comes of it.
fn up_with(machine: &Machine, image: &str, rollout: &str, more: &[&str]) -> Ran {
    let file = file(machine, image, rollout, "/healthz");
    let mut all = vec!["up", "-f", &file, "-p", "shop"];
    all.extend(more);
    machine.remuda(&all)
}

fn up(machine: &Machine, image: &str, rollout: &str) -> Ran {
    up_with(machine, image, rollout, &[]).with_code(0)
}

fn svc(machine: &Machine, verb: &str) -> Ran {
    machine.ok(&["svc", verb, "shop/web"])
}

fn rows(machine: &Machine) -> Vec<Value> {
    let mut rows = machine.ps();
    rows.retain(|row| row["service"] == "web");
    rows
}

/// Instances of an image that serve.
fn ready(machine: &Machine, image: &str) -> usize {
    rows(machine).iter().filter(|row| row["image"] == image && row["ready"] == true).count()
}

fn row(machine: &Machine) -> Value {
    machine.ok(&["svc", "show", "shop/web", "-o", "json"]).json()["service"].clone()
}

/// The number of the newest revision.
fn newest(machine: &Machine) -> u64 {
    let history = machine.ok(&["svc", "history", "shop/web", "-o", "json"]).json();
    history["revisions"].as_array().unwrap().last().unwrap()["number"].as_u64().unwrap()
}

/// Connections that stay and connections that do not, both busy.
struct Busy([Load; 2]);

impl Busy {
    fn start() -> Self {
        let kept = Ask {
            to: "127.0.0.1:8090".parse().unwrap(),
            path: "/healthz".into(),
            ..Ask::storefront()
        };
        let new = Ask { connections: Connections::New, ..kept.clone() };
        Self([Load::start(64, &kept), Load::start(4, &new)])
    }

    #[track_caller]
    fn well(&self, after: &str) {
        self.0[0].more(200);
        assert_eq!(self.0.each_ref().map(Load::failed), [0, 0], "{after}; stopping tells");
    }

    #[track_caller]
    fn nothing_failed(self) {
        self.0.into_iter().for_each(Load::nothing_failed);
    }
}

#[test]
#[ignore = "needs docker and root"]
fn no_request_fails_whatever_is_said_to_a_rollout() {
    on_a_machine(|machine| {
        let _dev = machine.dev();
        up(machine, OLD, "batch_size: 1");
        let load = Busy::start();
        up(machine, NEW, "batch_size: 1, order: start_first");
        load.well("start-first");
        up(machine, OLD, "batch_size: 1, order: stop_first");
        load.well("stop-first");
        pause_and_resume(machine, &load);
        canaries(machine, &load);
        finish(machine, &load);
        abort_in_the_middle(machine, &load);
        second_change_in_the_middle(machine, &load);
        told_afterwards(machine);
        load.nothing_failed();
    });
}

fn pause_and_resume(machine: &Machine, load: &Busy) {
    up_with(machine, NEW, "batch_size: 1", &["--no-wait"]).with_code(0);
    wait_until("the first of the new version", || ready(machine, NEW) >= 1);
    svc(machine, "pause").says(&["is paused", "remuda svc resume shop/web"]);
    wait_until("the pause to be told", || row(machine)["status"] == "paused");
    assert_eq!(row(machine)["state"], "canceled-upgrade");
    machine.ok(&["ps", "shop"]).says(&["the rollout is paused: `resume` goes on"]);
    machine.ok(&["svc", "show", "shop/web"]).says(&["the rollout is paused"]);
    machine.ok(&["status"]).says(&["shop/web", "the rollout is paused"]);
    load.well("paused");
    svc(machine, "resume").says(&["shop/web is healthy: 3 of 3"]);
    assert_eq!(ready(machine, NEW), 3);
    load.well("resumed");
    let refused = machine.remuda(&["svc", "pause", "shop/web"]).with_code(5);
    refused.says(&["no rollout is under way", "svc history"]);
}

fn canaries(machine: &Machine, load: &Busy) {
    let waits = up(machine, OLD, "canary: 1");
    waits.says(&["1 of revision", "run as canaries", "remuda svc promote shop/web"]);
    assert_eq!((ready(machine, OLD), ready(machine, NEW)), (1, 2));
    machine.ok(&["ps", "shop"]).says(&["run as canaries: `promote` goes on"]);
    load.well("a canary runs");
    svc(machine, "promote").says(&["shop/web is healthy: 3 of 3"]);
    assert_eq!(ready(machine, OLD), 3);
    load.well("promoted");
    up(machine, NEW, "canary: 2").says(&["2 of revision"]);
    assert_eq!((ready(machine, OLD), ready(machine, NEW)), (1, 2));
    svc(machine, "abort").says(&["shop/web is healthy: 3 of 3"]);
    assert_eq!(ready(machine, OLD), 3);
    load.well("canaries aborted");
}

/// The ids of the containers of an image.
fn containers(machine: &Machine, image: &str) -> Vec<String> {
    let rows = rows(machine).into_iter().filter(|row| row["image"] == image);
    let mut ids: Vec<String> =
        rows.map(|row| row["container_id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

fn finish(machine: &Machine, load: &Busy) {
    let waits = up(machine, NEW, "finish: manual");
    waits.says(&["is kept: `finish` or `rollback`", "remuda svc finish shop/web"]);
    assert_eq!(row(machine)["state"], "upgraded");
    assert_eq!(containers(machine, OLD).len(), 3, "what was before is kept, stopped");
    machine.ok(&["svc", "finishupgrade", "shop/web"]).says(&["is healthy: 3 of 3"]);
    wait_until("what was kept to go", || containers(machine, OLD).is_empty());
    assert_eq!(row(machine)["state"], "active");
    load.well("finished");
    let before = containers(machine, NEW);
    up(machine, OLD, "finish: manual").says(&["`finish` or `rollback`"]);
    load.well("upgraded");
    svc(machine, "rollback");
    assert_eq!(containers(machine, NEW), before, "the very same containers run again");
    wait_until("the rollback to be whole", || ready(machine, NEW) == 3 && ready(machine, OLD) == 0);
    load.well("rolled back");
}

fn abort_in_the_middle(machine: &Machine, load: &Busy) {
    up(machine, NEW, "batch_size: 1");
    let (good, was) = (newest(machine), ready(machine, NEW));
    assert_eq!(was, 3);
    up_with(machine, OLD, "batch_size: 1", &["--no-wait"]).with_code(0);
    wait_until("the first of the old version", || ready(machine, OLD) >= 1);
    svc(machine, "abort").says(&["is healthy: 3 of 3"]);
    assert_eq!(ready(machine, NEW), 3);
    load.well("aborted in the middle");
    let other = newest(machine).to_string();
    machine.ok(&["svc", "rollback", "shop/web", "--to", &other]);
    assert_eq!(ready(machine, OLD), 3);
    load.well("gone to a revision by its number");
    svc(machine, "rollback");
    assert_eq!(row(machine)["revision"], good);
    load.well("and back");
    let pruned = machine.remuda(&["svc", "rollback", "shop/web", "--to", "4711"]).with_code(5);
    pruned.says(&["revision 4711 of shop/web is not kept", "kept: "]);
}

fn second_change_in_the_middle(machine: &Machine, load: &Busy) {
    up_with(machine, OLD, "batch_size: 1", &["--no-wait"]).with_code(0);
    wait_until("the first of the old version", || ready(machine, OLD) >= 1);
    up(machine, NEW, "batch_size: 2").says(&["is healthy"]);
    wait_until("the second change to win", || ready(machine, NEW) == 3);
    assert_eq!(ready(machine, OLD), 0);
    load.well("changed in the middle of a change");
}

fn told_afterwards(machine: &Machine) {
    let history = svc(machine, "history");
    history.says(&["REVISION", OLD, NEW, "runs", "superseded", "(hidden) -> (hidden)"]);
    let diff = svc(machine, "diff");
    diff.says(&["image: storefront/httpfront:v1.0.0 -> storefront/httpfront:v1.1.0"]);
    for told in [history, diff, machine.ok(&["svc", "history", "shop/web", "-o", "json"])] {
        assert!(!told.out.contains("secret"), "{}", told.out);
    }
    let events = machine.ok(&["events", "shop/web", "--tail", "2000"]);
    events.says(&["rollout.paused", "rollout.promoted", "rollout.upgraded", "rollout.done"]);
}

#[test]
#[ignore = "needs docker and root"]
fn a_bad_revision_rolls_itself_back_and_says_why_while_nothing_fails() {
    on_a_machine(|machine| {
        let _dev = machine.dev();
        up(machine, OLD, "batch_size: 1");
        let load = Busy::start();
        let bad = up_with(machine, "storefront/httpfront:sick", "batch_size: 1", &[]).with_code(6);
        bad.says(&["failed", "503", "go on serving"]);
        load.well("a sick revision");
        svc(machine, "history").says(&["failed", "503"]);
        machine.ok(&["svc", "show", "shop/web"]).says(&["failed", "503"]);
        // Good for two slots, then bad: what it needs goes away, and long before the third one moves.
        let file = file(machine, NEW, "batch_size: 1, interval: 8s", "/");
        machine.ok(&["up", "-f", &file, "-p", "shop", "--no-wait"]);
        wait_until("two slots to have moved", || ready(machine, NEW) == 2);
        machine.ok(&["svc", "stop", "shop/back"]);
        wait_until("all to be at what served", || {
            ready(machine, OLD) == 3 && ready(machine, NEW) == 0
        });
        load.well("a revision that got bad");
        machine.ok(&["svc", "show", "shop/web"]).says(&["502"]);
        assert_eq!(row(machine)["rollout"]["status"], "failed");
        assert_eq!(row(machine)["state"], "active");
        machine.ok(&["svc", "start", "shop/back"]);
        machine.ok(&["svc", "resume", "shop/web"]).says(&["is healthy: 3 of 3"]);
        assert_eq!(ready(machine, NEW), 3);
        load.nothing_failed();
    });
}

#[test]
#[ignore = "needs docker and root"]
fn a_host_is_cordoned_labelled_and_drained_and_says_what_cannot_leave() {
    on_a_machine(|machine| {
        let _dev = machine.dev();
        up(machine, OLD, "batch_size: 1");
        let host = machine.ok(&["host", "ls", "-o", "name"]).out.trim().to_owned();
        let on = |verb: &str| machine.ok(&["host", verb, &host]);
        machine.ok(&["host", "label", &host, "zone=a", "disk=ssd"]).says(&["disk, zone changed"]);
        machine.ok(&["host", "label", &host, "disk-"]);
        assert_eq!(on("label").out, "zone=a\n");
        on("cordon").says(&["takes no new instances"]);
        machine.ok(&["host", "ls"]).says(&["cordoned"]);
        machine.ok(&["svc", "scale", "shop/web", "6", "--no-wait"]);
        let blocked = || {
            let rows = rows(machine);
            rows.iter().filter(|row| row["status"] == "blocked" && row["reason"] != "").count()
        };
        wait_until("each slot without room to say so", || blocked() == 3);
        for told in [&["ps"][..], &["svc", "show", "shop/web"], &["svc", "ls"], &["status"]] {
            machine.ok(told).says(&["1 host: 1 cordoned"]);
        }
        on("uncordon");
        wait_until("all to run", || ready(machine, OLD) == 6);
        let load = Busy::start();
        let stays = machine.remuda(&["host", "drain", &host]).with_code(6);
        stays.says(&["shop/web#6", "cannot leave", "7 instances have not left", "uncordon"]);
        machine.ok(&["ps"]).says(&["cannot leave draining host"]);
        on("show").says(&["draining until", "shop/web#1", "stays"]);
        load.well("a drain that finds no room");
        let refused = machine.remuda(&["host", "rm", &host]).with_code(5);
        refused.says(&["is connected", "stop its agent"]);
        let late = machine.remuda(&["host", "drain", &host, "--deadline", "1s"]).with_code(7);
        late.says(&["the time of the drain is over"]);
        on("uncordon");
        machine.remuda(&["host", "cordon", "nowhere"]).with_code(3).says(&["there is no host"]);
        machine.ok(&["host", "rebalance", "on"]).says(&["on"]);
        assert_eq!(machine.ok(&["host", "rebalance"]).out, "on\n");
        load.nothing_failed();
    });
}
