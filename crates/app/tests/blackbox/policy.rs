//! Network policy over two hosts: who may connect to whom, of one host and of two, by a service's
//! own rules and by the environment's; kept by a host that boots without a server.

use crate::cluster::{Cluster, on_a_cluster};
use crate::machine::{wait_for, wait_until};
use crate::overlay::{Place, inside, place, reaches};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use testbed::{Role, SERVER};

const STACK: &str = "
name: shop
services:
  web:
    image: storefront/httpbackend:v1.0.0
    scale: 2
    health_check: {port: 8081, interval: 500}
  batch:
    image: storefront/httpbackend:v1.0.0
    scale: 2
    labels: {tier: batch}
    health_check: {port: 8081, interval: 500}
  db:
    image: storefront/httpbackend:v1.0.0
    health_check: {port: 8081, interval: 500}
";
const GUARD: &str = "    network_policy:
      default: deny
      rules:
        - {action: allow, from: {service: web}, ports: [8081]}
";
const CLOSED: &str = "
default: deny
rules:
  - {action: deny, from: {selector: tier=batch}, to: {service: shop/web}}
  - {action: allow, within: stack}
";
const LABEL: &str = "io.rancher.container.network=true";

/// The containers of each service, once all are ready.
fn places(cluster: &Cluster) -> BTreeMap<String, Vec<Place>> {
    wait_for("five ready instances with their containers", || {
        let mut found: BTreeMap<String, Vec<Place>> = BTreeMap::new();
        let rows = cluster.ps();
        let ours = rows.iter().filter(|row| row["kind"] != "standalone");
        for row in ours.filter(|row| row["ready"] == true) {
            let service = row["service"].as_str().unwrap_or_default().to_owned();
            found.entry(service).or_default().push(place(cluster, row)?);
        }
        (found.values().map(Vec::len).sum::<usize>() == 5).then_some(found)
    })
}

/// Each of the ones reaches each of the others.
#[track_caller]
fn are_let_in(cluster: &Cluster, from: &[Place], to: &[Place]) {
    for from in from {
        for to in to {
            let what = format!("{} on {} to reach {}", from.address, from.host, to.address);
            wait_until(&what, || reaches(cluster, from, &to.address));
        }
    }
}

/// None of the ones reaches any of the others, and hears so at once.
#[track_caller]
fn are_refused(cluster: &Cluster, from: &[Place], to: &[Place]) {
    for from in from {
        for to in to.iter().filter(|to| to.address != from.address) {
            let what = format!("{} on {} to be refused", from.address, from.host);
            wait_until(&what, || !reaches(cluster, from, &to.address));
            let url = format!("http://{}:8081/", to.address);
            let start = Instant::now();
            let answer = inside(cluster, from, &["curl", "-sS", "--max-time", "9", &url]);
            assert!(answer.is_none() && start.elapsed() < Duration::from_secs(5), "{what}");
        }
    }
}

#[test]
#[ignore = "needs docker and root"]
fn containers_connect_as_services_and_the_environment_say() {
    on_a_cluster(2, |cluster| {
        cluster.wait_all_seen(&["active", "active"]);
        let file = cluster.write("shop.yaml", &format!("{STACK}{GUARD}"));
        cluster.ok(&["up", "-f", &file]);
        let all = places(cluster);
        let (web, batch, db) = (&all["web"], &all["batch"], &all["db"]);
        are_let_in(cluster, web, db);
        are_refused(cluster, batch, db);
        are_let_in(cluster, batch, web);
        cluster.ok(&["net", "policy"]).says(&["everything: allow"]);
        let explained = cluster.ok(&["net", "policy", "explain", "shop/batch", "shop/db", "8081"]);
        explained.says(&["deny by the default of shop/db"]);
        those_that_are_new_are_let_in_at_once(cluster, db);
        the_environment_is_closed(cluster);
        a_wrong_file_changes_nothing(cluster);
        it_is_kept_without_a_server(cluster);
        cluster.ok(&["net", "policy", "clear"]);
        let open = cluster.write("open.yaml", STACK);
        cluster.ok(&["up", "-f", &open]);
        let all = places(cluster);
        are_let_in(cluster, &all["batch"], &all["db"]);
    });
}

/// What is let in is known on the other host before it can call.
fn those_that_are_new_are_let_in_at_once(cluster: &Cluster, db: &[Place]) {
    cluster.ok(&["svc", "restart", "shop/web"]);
    let web = places(cluster).remove("web").unwrap();
    for from in &web {
        assert!(reaches(cluster, from, &db[0].address), "{} at the first try", from.address);
    }
}

fn the_environment_is_closed(cluster: &Cluster) {
    let all = places(cluster);
    let (web, batch, db) = (&all["web"], &all["batch"], &all["db"]);
    let words = ["run", "-d", "--name", "guest", "-l", LABEL, "storefront/httpbackend:v1.0.0"];
    cluster.docker("h2", &words);
    let guest = wait_for("the plain container to be in the network", || {
        let rows = cluster.ps();
        let row = rows.iter().find(|row| row["name"] == "guest" && row["ready"] == true)?;
        let pid = cluster.docker("h2", &["inspect", "-f", "{{.State.Pid}}", "guest"]);
        let address = row["address"].as_str().filter(|text| !text.is_empty())?.to_owned();
        Some(vec![Place { host: "h2".into(), pid: pid.trim().to_owned(), address }])
    });
    are_let_in(cluster, &guest, web);
    let file = cluster.write("policy.yaml", CLOSED);
    cluster.ok(&["net", "policy", "set", &file]).says(&["2 rules, otherwise deny"]);
    cluster.ok(&["net", "policy"]).says(&["deny from selector tier=batch", "no rule says: deny"]);
    are_refused(cluster, &guest, web);
    are_refused(cluster, web, &guest);
    are_refused(cluster, batch, web);
    are_let_in(cluster, web, web);
    are_let_in(cluster, web, batch);
    // The service has a default of its own: rules of the environment are not asked.
    are_refused(cluster, batch, db);
    are_let_in(cluster, web, db);
    let explained = cluster.ok(&["net", "policy", "explain", "guest", "shop/web"]);
    explained.says(&["deny by the default of the environment"]);
    // Hosts probe on, whoever else is refused.
    assert_eq!(places(cluster).values().map(Vec::len).sum::<usize>(), 5);
    cluster.docker("h2", &["rm", "-f", "guest"]);
}

fn a_wrong_file_changes_nothing(cluster: &Cluster) {
    let file = cluster
        .write("wrong.yaml", "default: deny\nrules:\n  - {action: allow, form: {stack: a}}\n");
    let ran = cluster.remuda(&["net", "policy", "set", &file]);
    assert_eq!(ran.code, 2);
    ran.says(&["wrong.yaml:3", "\"form\" is not known"]);
    cluster.ok(&["net", "policy"]).says(&["no rule says: deny"]);
    let ran = cluster.remuda(&["net", "policy", "explain", "shop/nobody", "shop/db"]);
    assert_eq!(ran.code, 3);
}

/// A host that boots alone has its rules from its journal.
fn it_is_kept_without_a_server(cluster: &mut Cluster) {
    let db = places(cluster).remove("db").unwrap().remove(0);
    cluster.bed.kill(SERVER, Some(Role::Server)).unwrap();
    cluster.bed.kill(&db.host, None).unwrap();
    cluster.bed.boot(&db.host, None).unwrap();
    let here = |cluster: &Cluster, service: &str| -> Option<Place> {
        let filter = format!("label=io.rancher.stack_service.name=shop/{service}");
        let docker = |words: &[&str]| {
            let output = cluster.bed.on(&db.host, "docker").unwrap().args(words).output().unwrap();
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        let id = docker(&["ps", "-q", "--filter", &filter]);
        let what = "{{.State.Pid}} {{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let told = docker(&["inspect", "-f", what, id.lines().next()?]);
        let (pid, address) = told.split_once(' ')?;
        let is = pid != "0" && !address.is_empty();
        is.then(|| Place {
            host: db.host.clone(),
            pid: pid.to_owned(),
            address: address.to_owned(),
        })
    };
    let [web, batch, again] = ["web", "batch", "db"].map(|service| {
        wait_for(&format!("{service} to run without a server"), || here(cluster, service))
    });
    assert_eq!(again.address, db.address);
    let again = std::slice::from_ref(&again);
    are_let_in(cluster, &[web], again);
    are_refused(cluster, &[batch], again);
    cluster.bed.boot(SERVER, Some(Role::Server)).unwrap();
    cluster.wait_all_seen(&["active", "active"]);
}
