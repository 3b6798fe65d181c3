//! Deaths of our processes under load, and a disk without room.

use crate::load::{Ask, Load};
use crate::machine::{Machine, Process, on_a_machine, signal, wait_for, wait_until};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Traffic has to be back after this.
const SOON: Duration = Duration::from_secs(1);

fn dataplane(data: &str) -> u32 {
    let lock = Path::new(data).join("dataplane/dataplane.lock");
    wait_for("the dataplane to write its process id", || {
        fs::read_to_string(&lock).ok()?.trim().parse().ok()
    })
}

/// kill -9 of the dataplane under load: from the first failed request to the last one.
fn kill_dataplane(what: &str, data: &str) {
    let load = Load::start(64, &Ask::storefront());
    let (pid, killed) = (dataplane(data), Instant::now());
    signal(pid, "KILL");
    wait_until("requests to fail", || load.failed() > 0);
    load.more(1_000);
    let back = killed.elapsed();
    let outcome = load.stop();
    eprintln!(
        "measured: {what}: requests failed for {:?}, back after {back:?}",
        outcome.failing_for
    );
    assert!(outcome.failing_for < SOON, "{what}: {outcome:?}");
    assert_ne!(dataplane(data), pid);
}

#[test]
#[ignore = "needs docker and root"]
fn a_killed_dev_comes_back_to_the_same_containers_and_a_killed_dataplane_within_a_second() {
    on_a_machine(|machine| {
        let dev = machine.dev();
        machine.up_storefront();
        machine.ok(&["svc", "scale", "storefront/tcpfront", "2"]);
        let (before, rows) = (machine.containers(), machine.ps());
        let stacks = machine.ok(&["ls", "-o", "json"]).out;
        let events = machine.ok(&["events", "--tail", "10000", "-o", "json"]).json();
        let load = Load::start(64, &Ask::storefront());
        dev.kill();
        load.more(2_000);
        let dev = machine.dev();
        load.nothing_failed();
        assert_eq!(machine.containers(), before);
        assert_eq!(machine.ok(&["ls", "-o", "json"]).out, stacks);
        assert_eq!(machine.ps(), rows);
        let later = machine.ok(&["events", "--tail", "10000", "-o", "json"]).json();
        for event in events.as_array().unwrap() {
            let known = later
                .as_array()
                .unwrap()
                .iter()
                .any(|e| e["index"] == event["index"] && e["message"] == event["message"]);
            assert!(known, "forgotten: {event}");
        }
        let data = "/var/lib/remuda";
        kill_dataplane("dataplane killed", data);
        machine.dockerd().signal("STOP");
        kill_dataplane("dataplane killed, dockerd hangs", data);
        both_die_while_docker_hangs(machine, dev, data);
        machine.dockerd().signal("CONT");
        machine.ready();
        assert_eq!(machine.containers(), before);
        let plan: Vec<&str> = ["plan"].into_iter().chain(Machine::storefront()).collect();
        machine.remuda(&plan).with_code(10);
    });
}

/// Nothing of ours lives, dockerd hangs: a new dev brings traffic back from what is on disk.
fn both_die_while_docker_hangs(machine: &Machine, dev: Process, data: &str) {
    let load = Load::start(64, &Ask::storefront());
    let pid = dataplane(data);
    dev.kill();
    signal(pid, "KILL");
    wait_until("requests to fail", || load.failed() > 0);
    let started = Instant::now();
    let _dev = machine.start("dev", &["dev"]);
    load.more(500);
    eprintln!(
        "measured: dev and dataplane killed, dockerd hangs: back {:?} after the start",
        started.elapsed()
    );
    load.stop();
}

#[test]
#[ignore = "needs docker and root"]
fn a_rollout_goes_on_after_a_kill_and_a_full_disk_loses_nothing() {
    on_a_machine(|machine| {
        let data = machine.folder().join("small");
        fs::create_dir(&data).unwrap();
        let mount = ["-t", "tmpfs", "-o", "size=24m", "tmpfs"];
        crate::machine::text(Command::new("mount").args(mount).arg(&data));
        let data = data.to_str().unwrap();
        let dev = machine.start("dev", &["dev", "--data-dir", data]);
        machine.ready();
        machine.up_storefront();
        let load = Load::start(64, &Ask::storefront());
        a_full_disk(machine, data);
        assert_eq!(load.failed(), 0, "the disk was full");
        let mut up = machine.command(&["up"]);
        up.args(Machine::storefront()).env("FRONT_VERSION", "v1.1.0");
        let up = Process::start(&mut up, machine.folder().join("up.log"));
        let of_new = |machine: &Machine| {
            let image = |row: &serde_json::Value| {
                row["image"].as_str().is_some_and(|image| image.ends_with(":v1.1.0"))
            };
            machine.ps().iter().filter(|row| image(row)).count()
        };
        wait_until("the rollout to begin", || of_new(machine) > 0);
        dev.kill();
        load.more(1_000);
        let _dev = machine.start("dev", &["dev", "--data-dir", data]);
        // Who waits for a rollout waits for its server too.
        assert!(up.wait().success(), "up gave up");
        wait_until("the rollout to end", || {
            let detail = machine.ok(&["svc", "show", "storefront/httpfront", "-o", "json"]).json();
            let rows = machine.ps();
            let old = rows.iter().any(|row| row["image"] == "storefront/httpfront:v1.0.0");
            detail["service"]["status"] == "healthy" && of_new(machine) == 3 && !old
        });
        load.nothing_failed();
        machine.ok(&["dev", "down", "--data-dir", data]);
        assert_eq!(machine.containers().len(), 0);
    });
}

/// Nobody can write any more; then there is room again.
fn a_full_disk(machine: &Machine, data: &str) {
    let before = machine.containers();
    let filler = Path::new(data).join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    let zeros = vec![0u8; 64 * 1024];
    let mut size = zeros.len();
    while size > 0 {
        match std::io::Write::write(&mut file, &zeros[..size]) {
            Ok(_) => {}
            Err(_) => size /= 2,
        }
    }
    drop(file);
    // Some room is left in the log of the store; it ends after a few changes.
    let mut turn = ["4", "5"].into_iter().cycle();
    let refused = wait_for("a change to be refused", || {
        let n = turn.next()?;
        let ran = machine.remuda(&["svc", "scale", "storefront/tcpfront", n, "--no-wait"]);
        (ran.code != 0).then_some(ran)
    });
    refused.with_code(1).says(&["no space left", "free some"]);
    machine.remuda(&["status"]).with_code(1).says(&["no space left"]);
    assert!(machine.ps().len() >= before.len());
    fs::remove_file(filler).unwrap();
    wait_until("status to be well again", || machine.remuda(&["status"]).code == 0);
    machine.ok(&["svc", "scale", "storefront/tcpfront", "3"]);
    let after = machine.containers();
    for (name, id) in &before {
        assert_eq!(after.get(name), Some(id), "what ran before");
    }
}
