//! Docker hangs, dies, forgets, and things are taken away behind our back: it converges, and says
//! why it is not there yet.

use crate::load::{Ask, Load};
use crate::machine::{Machine, on_a_machine, wait_for, wait_until, without_dockerd};
use serde_json::Value;
use std::collections::BTreeSet;

fn up(machine: &Machine) {
    let mut all = vec!["up"];
    all.extend(Machine::storefront());
    machine.ok(&all);
}

/// Every instance runs, no check fails, and Docker has their containers and no others.
fn converged(machine: &Machine, count: usize) {
    let docker = || -> Option<BTreeSet<String>> {
        let ran = machine.run("docker", &["ps", "-aq", "--no-trunc"]);
        (ran.code == 0).then(|| ran.out.split_whitespace().map(str::to_owned).collect())
    };
    wait_until("all to be as wanted", || {
        let rows = machine.ps();
        let well = |row: &Value| {
            row["status"] == "running" && (row["health"] == "healthy" || row["service"] == "lb")
        };
        let ids: BTreeSet<String> = rows
            .iter()
            .filter_map(|row| row["container_id"].as_str())
            .filter(|id| !id.is_empty())
            .map(str::to_owned)
            .collect();
        rows.len() == count && rows.iter().all(well) && docker() == Some(ids)
    });
}

/// What `status` says of Docker, which is not "ok".
fn trouble(machine: &Machine) -> String {
    wait_for("the trouble to be seen", || {
        let ran = machine.run_status();
        let line = ran.lines().find(|line| line.starts_with("engine"))?.to_owned();
        (!line.contains(" ok ")).then_some(line)
    })
}

impl Machine {
    fn run_status(&self) -> String {
        self.remuda(&["status"]).out
    }
}

#[test]
#[ignore = "needs docker and root"]
fn a_docker_that_hangs_is_noticed_and_work_goes_on_after_it() {
    on_a_machine(|machine| {
        let _dev = machine.dev();
        up(machine);
        let load = Load::start(16, &Ask::storefront());
        machine.dockerd().signal("STOP");
        let said = trouble(machine);
        assert!(said.contains("did not answer within 5000 ms"), "{said}");
        machine.ok(&["svc", "scale", "storefront/tcpfront", "4", "--no-wait"]);
        let reason = wait_for("a reason", || {
            let row =
                machine.ps().into_iter().find(|row| row["name"] == "storefront/tcpfront#4")?;
            row["reason"].as_str().filter(|text| !text.is_empty()).map(str::to_owned)
        });
        assert!(reason.contains("docker did not answer"), "{reason}");
        machine.dockerd().signal("CONT");
        converged(machine, 11);
        load.nothing_failed();
    });
}

#[test]
#[ignore = "needs docker and root"]
fn a_docker_that_is_killed_under_us_leaves_no_orphan_and_no_double() {
    without_dockerd(|machine| {
        machine.start_dockerd(&["--live-restore"]);
        let _dev = machine.dev();
        up(machine);
        let before = machine.docker(&["ps", "-q", "--no-trunc"]);
        // With live restore the containers stay, and so does the traffic.
        let load = Load::start(16, &Ask::storefront());
        machine.kill_dockerd();
        let said = trouble(machine);
        assert!(said.contains("docker"), "{said}");
        machine.start_dockerd(&["--live-restore"]);
        converged(machine, 10);
        assert_eq!(machine.docker(&["ps", "-q", "--no-trunc"]), before, "adopted, not made again");
        load.nothing_failed();
        // Without it they end with a stop of dockerd and are started again.
        machine.stop_dockerd();
        machine.start_dockerd(&[]);
        converged(machine, 10);
        machine.kill_dockerd();
        machine.start_dockerd(&[]);
        converged(machine, 10);
        Load::start(16, &Ask::storefront()).nothing_failed();
    });
}

#[test]
#[ignore = "needs docker and root"]
fn what_somebody_takes_away_is_made_again() {
    on_a_machine(|machine| {
        let _dev = machine.dev();
        up(machine);
        let ids = machine.docker(&["ps", "-aq"]);
        let ids: Vec<&str> = ids.split_whitespace().collect();
        machine.docker(&[&["rm", "-f"][..], &ids].concat());
        converged(machine, 10);
        // The network, with all that is in it.
        let ids = machine.docker(&["ps", "-aq"]);
        let ids: Vec<&str> = ids.split_whitespace().collect();
        machine.docker(&[&["rm", "-f"][..], &ids].concat());
        machine.run("docker", &["network", "rm", "remuda"]);
        converged(machine, 10);
        Load::start(16, &Ask::storefront()).nothing_failed();
        // An image that has lost its name is the one that was decided on all the same.
        let name = "storefront/tcpfront:v1.0.0";
        let image = machine.docker(&["image", "inspect", "-f", "{{.Id}}", name]);
        machine.docker(&["image", "rm", "-f", name]);
        machine.ok(&["svc", "scale", "storefront/tcpfront", "4", "--no-wait"]);
        converged(machine, 11);
        // One that is gone is missed: what is to be made says so.
        machine.ok(&["svc", "scale", "storefront/tcpfront", "0", "--no-wait"]);
        converged(machine, 7);
        machine.run("docker", &["image", "rm", "-f", image.trim()]);
        machine.ok(&["svc", "scale", "storefront/tcpfront", "1", "--no-wait"]);
        wait_until("the image to be missed", || {
            machine.ps().iter().any(|row| {
                row["name"] == "storefront/tcpfront#1"
                    && row["reason"].as_str().unwrap().contains(name)
            })
        });
        machine.ok(&["svc", "scale", "storefront/tcpfront", "0", "--no-wait"]);
        converged(machine, 7);
    });
}
