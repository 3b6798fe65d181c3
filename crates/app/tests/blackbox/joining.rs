//! Hosts join with tokens, renew their certificates, are removed and come back, and a copy of a
//! machine is told apart; what runs goes on through all of it.

use crate::cluster::{Cluster, on_a_cluster};
use crate::machine::{wait_for, wait_until};
use serde_json::Value;
use std::fs;
use std::process::Stdio;
use testbed::{Role, SERVER};

const STACK: &str = "
name: shop
services:
  web:
    image: storefront/httpbackend:v1.0.0
    scale: 3
    health_check: {port: 8081, interval: 500}
    on_loss: keep
";

#[test]
#[ignore = "needs docker and root"]
fn hosts_are_removed_taken_back_copied_and_renewed_and_what_runs_goes_on() {
    on_a_cluster(3, |cluster| {
        cluster.wait_all_seen(&["active", "active", "active"]);
        let file = cluster.write("shop.yaml", STACK);
        cluster.ok(&["up", "-f", &file]);
        the_tokens_that_are_no_good(cluster);
        a_copy_is_refused(cluster);
        a_host_is_removed_and_comes_back(cluster);
        certificates_are_renewed_and_expire(cluster);
    });
}

/// All that an agent has said.
fn log(cluster: &Cluster, host: &str) -> String {
    fs::read_to_string(cluster.bed.log_of(host, Role::Agent)).unwrap_or_default()
}

#[track_caller]
fn wait_log(cluster: &Cluster, host: &str, words: &[&str]) {
    wait_until(&format!("{host} to say {words:?}"), || {
        let log = log(cluster, host);
        words.iter().all(|word| log.contains(word))
    });
}

fn row(cluster: &Cluster, host: &str) -> Value {
    let rows = cluster.ok(&["host", "ls", "-o", "json"]).json();
    rows.as_array().unwrap().iter().find(|row| row["id"] == host).cloned().unwrap_or_default()
}

/// A machine of its own that would like to join; what it says.
fn try_joining(cluster: &Cluster, token: &str) -> String {
    let mut command = cluster.bed.on("h3", env!("CARGO_BIN_EXE_remuda")).unwrap();
    let at = cluster.bed.listen();
    command.args(["agent", "--data-dir", "/var/lib/other", "--host", "h9"]);
    command.args(["--join", &at, "--token", token]).stdin(Stdio::null());
    let ended = command.output().unwrap();
    assert_eq!(ended.status.code(), Some(4), "{ended:?}");
    String::from_utf8_lossy(&ended.stderr).into_owned()
}

fn token(cluster: &Cluster, arguments: &[&str]) -> String {
    let mut all = vec!["host", "token", "create", "-o", "json"];
    all.extend(arguments);
    cluster.ok(&all).json()["token"].as_str().unwrap().to_owned()
}

fn the_tokens_that_are_no_good(cluster: &Cluster) {
    let revoked = token(cluster, &[]);
    cluster.ok(&["host", "token", "revoke", &revoked]);
    let said = try_joining(cluster, &revoked);
    assert!(said.contains("not known here") && said.contains("host token create"), "{said}");
    let for_another = token(cluster, &["--host", "h8"]);
    let said = try_joining(cluster, &for_another);
    assert!(said.contains("for host h8"), "{said}");
    assert_eq!(cluster.seen().len(), 3);
}

/// A file of an agent's folder.
fn read(cluster: &Cluster, host: &str, name: &str) -> String {
    let mut command = cluster.bed.on(host, "cat").unwrap();
    let read = command.arg(format!("/var/lib/remuda/agent/{name}")).output().unwrap();
    assert!(read.status.success(), "{read:?}");
    String::from_utf8(read.stdout).unwrap()
}

fn put(cluster: &Cluster, host: &str, name: &str, content: &str) {
    let path = cluster.write(&format!("copied/{name}"), content);
    let mut command = cluster.bed.on(host, "cp").unwrap();
    let copied = command.args([&path, &format!("/var/lib/remuda/agent/{name}")]).status();
    assert!(copied.unwrap().success());
}

/// The data folder of h1 on h2: what a copied machine has.
fn a_copy_is_refused(cluster: &mut Cluster) {
    let before = cluster.containers("h1");
    cluster.bed.kill("h2", Some(Role::Agent)).unwrap();
    let own = ["membership.json", "host"].map(|name| (name, read(cluster, "h2", name)));
    for name in ["membership.json", "host"] {
        put(cluster, "h2", name, &read(cluster, "h1", name));
    }
    cluster.bed.boot("h2", Some(Role::Agent)).unwrap();
    wait_log(cluster, "h2", &["host h1 from 10.99.0.1", "agent reset --keep-containers"]);
    wait_until("the server to tell of the copy", || {
        let reason = row(cluster, "h1")["reason"].to_string();
        reason.contains("agent at 10.99.0.2") && reason.contains("reset --keep-containers")
    });
    assert_eq!(row(cluster, "h1")["status"], "active");
    let twin = cluster.containers("h2");
    let mut reset = cluster.bed.on("h2", env!("CARGO_BIN_EXE_remuda")).unwrap();
    let said = reset.args(["agent", "reset", "--keep-containers"]).output().unwrap();
    assert!(said.status.success(), "{said:?}");
    assert!(String::from_utf8_lossy(&said.stderr).contains("join with another id"), "{said:?}");
    assert_eq!(cluster.containers("h2"), twin, "its containers stay");
    for (name, content) in own {
        put(cluster, "h2", name, &content);
    }
    cluster.bed.boot("h2", Some(Role::Agent)).unwrap();
    cluster.wait_all_seen(&["active", "active", "active"]);
    assert_eq!(cluster.containers("h1"), before);
}

fn a_host_is_removed_and_comes_back(cluster: &mut Cluster) {
    let before = cluster.containers("h3");
    assert_eq!(cluster.remuda(&["host", "rm", "h3"]).code, 5, "instances are to run there");
    cluster.ok(&["host", "rm", "h3", "--force"]);
    wait_log(cluster, "h3", &["host h3 was removed", "agent --join"]);
    cluster.wait_all_seen(&["active", "active"]);
    wait_until("what ran there to be made anew", || {
        let ready = cluster.ready("web");
        !ready.contains_key("h3") && ready.values().sum::<usize>() == 3
    });
    assert_eq!(cluster.containers("h3"), before, "what runs there goes on");
    // As a unit file starts it: with a token that is still good it joins again.
    cluster.bed.kill("h3", Some(Role::Agent)).unwrap();
    cluster.bed.boot("h3", Some(Role::Agent)).unwrap();
    cluster.wait_all_seen(&["active", "active", "active"]);
    wait_log(cluster, "h3", &["is a member again"]);
    let reason = wait_for("what nobody knows any more to be told of", || {
        let reason = row(cluster, "h3")["reason"].to_string();
        reason.contains("no stack knows").then_some(reason)
    });
    assert!(before.keys().all(|name| reason.contains(name.trim_start_matches('/'))), "{reason}");
    assert_eq!(cluster.containers("h3"), before, "and it goes on still");
}

fn until(cluster: &Cluster, host: &str) -> i64 {
    row(cluster, host)["certificate_until"].as_i64().unwrap_or_default()
}

fn certificates_are_renewed_and_expire(cluster: &mut Cluster) {
    let before = cluster.containers("h1");
    cluster.bed.kill(SERVER, None).unwrap();
    cluster.bed.set_server_args(&["--certificate-life", "15s"]);
    cluster.bed.boot(SERVER, None).unwrap();
    cluster.wait_all_seen(&["active", "active", "active"]);
    // The one of h1 is made anew, and is one of the short ones from then on.
    cluster.bed.kill("h1", Some(Role::Agent)).unwrap();
    let mut forget = cluster.bed.on("h1", "rm").unwrap();
    assert!(forget.arg("/var/lib/remuda/agent/membership.json").status().unwrap().success());
    let made = token(cluster, &["--host", "h1"]);
    let old = cluster.bed.set_token(&made).unwrap();
    cluster.bed.boot("h1", Some(Role::Agent)).unwrap();
    cluster.wait_all_seen(&["active", "active", "active"]);
    // The server may still say of the session before that it is active.
    let long = until(cluster, "h2");
    let first = wait_for("the short certificate", || {
        Some(until(cluster, "h1")).filter(|end| *end > 0 && *end < long)
    });
    wait_until("a renewal", || until(cluster, "h1") > first);
    cluster.bed.cut("h1").unwrap();
    cluster.bed.heal("h1").unwrap();
    cluster.wait_all_seen(&["active", "active", "active"]);
    // Off for longer than its certificate lives: it says so, and a token takes it back.
    cluster.bed.kill("h1", Some(Role::Agent)).unwrap();
    wait_until("its certificate to end", || {
        row(cluster, "h1")["reason"].to_string().contains("its certificate was good until")
    });
    cluster.ok(&["host", "token", "revoke", &made]);
    cluster.bed.boot("h1", Some(Role::Agent)).unwrap();
    wait_log(cluster, "h1", &["has expired", "cannot join again"]);
    wait_until("the server to tell of it", || {
        row(cluster, "h1")["reason"].to_string().contains("certificate of host h1 has expired")
    });
    cluster.bed.kill("h1", Some(Role::Agent)).unwrap();
    cluster.bed.set_token(&old);
    cluster.bed.boot("h1", Some(Role::Agent)).unwrap();
    cluster.wait_all_seen(&["active", "active", "active"]);
    wait_log(cluster, "h1", &["host h1 is a member again"]);
    assert_eq!(
        cluster.containers("h1"),
        before,
        "its containers are the same, and ran all the time"
    );
}
