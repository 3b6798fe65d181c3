//! Names in /etc/hosts: services are found by containers that ask no DNS of ours, and the file follows
//! what is healthy; Docker's own lines stay.

use crate::machine::{Machine, on_a_machine, wait_until};
use crate::tools;

const STACK: &str = "
name: shop
services:
  web:
    image: tools:1
    command: [sleep, '100000']
    stop_grace_period: 1s
    labels: {io.rancher.container.dns: 'false'}
    links: ['db:pg']
  api:
    image: storefront/httpbackend:v1.0.0
    scale: 2
    stop_grace_period: 1s
  db:
    image: storefront/httpbackend:v1.0.0
    labels: {io.remuda.dns.hosts_file: 'false'}
";
const MARK: &str = "# Written by Remuda";

fn id(machine: &Machine, name: &str) -> String {
    let filter = format!("label=io.rancher.container.name={name}");
    machine.docker(&["ps", "-q", "--filter", &filter]).trim().to_owned()
}

/// The file as the container has it; one that does not run fails the test.
fn hosts(machine: &Machine, id: &str) -> String {
    let pid = machine.docker(&["inspect", "-f", "{{.State.Pid}}", id]);
    let path = format!("/proc/{}/root/etc/hosts", pid.trim());
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{id}: {path}: {error}"))
}

/// What a program in the container finds, in order.
fn resolve(machine: &Machine, id: &str, name: &str) -> Vec<String> {
    let said = machine.run("docker", &["exec", id, "getent", "ahostsv4", name]);
    let address = |line: &str| line.split_whitespace().next().map(str::to_owned);
    let mut all: Vec<String> = said.out.lines().filter_map(address).collect();
    all.sort();
    all.dedup();
    all
}

fn addresses(machine: &Machine, service: &str) -> Vec<String> {
    let rows = machine.ps();
    let of = rows.iter().filter(|row| row["service"] == service && row["ready"] == true);
    let mut all: Vec<String> =
        of.filter_map(|row| row["address"].as_str().map(str::to_owned)).collect();
    all.sort();
    all
}

#[test]
#[ignore = "needs docker and root"]
fn names_work_with_no_dns_and_follow_what_is_there() {
    on_a_machine(|machine| {
        tools::import(machine);
        let _dev = machine.dev();
        let file = machine.write("compose.yml", STACK);
        machine.ok(&["up", "-f", file.to_str().unwrap()]);
        let web = id(machine, "shop-web-1");
        let before = hosts(machine, &web);
        assert!(!before.contains(MARK) && resolve(machine, &web, "api").is_empty());
        let plain = ["run", "-d", "--name", "aside", "-l", "io.rancher.container.network=true"];
        machine.docker(&[&plain[..], &["storefront/httpbackend:v1.0.0"]].concat());
        machine.ok(&["net", "dns", "--hosts-file", "true"]).says(&["/etc/hosts"]);
        let both = addresses(machine, "api");
        assert_eq!(both.len(), 2);
        wait_until("both addresses by name", || resolve(machine, &web, "api") == both);
        assert_eq!(resolve(machine, &web, "api.shop"), both);
        assert_eq!(resolve(machine, &web, "api.shop.rancher.internal"), both);
        assert_eq!(resolve(machine, &web, "pg"), addresses(machine, "db"), "by its link");
        assert!(hosts(machine, &web).starts_with(&before), "Docker's lines stay first");
        wait_until("the plain container to know them", || {
            hosts(machine, "aside").contains("\tapi.shop ")
        });
        assert!(!hosts(machine, &id(machine, "shop-db-1")).contains(MARK), "its label says no");
        machine.ok(&["svc", "scale", "shop/api", "1"]);
        wait_until("one address by name", || {
            let one = addresses(machine, "api");
            one.len() == 1 && resolve(machine, &web, "api") == one
        });
        // Docker writes the file anew with each start.
        machine.docker(&["restart", "-t", "1", "aside"]);
        wait_until("the names after a start", || hosts(machine, "aside").contains("\tapi.shop "));
        machine.ok(&["net", "dns", "--hosts-file", "false"]);
        wait_until("our lines to be gone", || {
            hosts(machine, &web) == before && !hosts(machine, "aside").contains(MARK)
        });
    });
}
