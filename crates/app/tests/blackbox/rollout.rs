//! A revision that is no good: the old one keeps serving, and everybody is told why.

use crate::load::{Ask, Connections, Load};
use crate::machine::{Machine, Ran, on_a_machine, wait_until};

/// A kind of bad revision: what differs from the good one, and what must be said of it.
struct Bad {
    name: &'static str,
    image: &'static str,
    more: &'static str,
    says: &'static [&'static str],
    reason: &'static str,
}

const BAD: [Bad; 6] = [
    Bad {
        name: "exits",
        image: "storefront/httpfront:broken",
        more: "",
        says: &["exited with code 1", "this build cannot start"],
        reason: "exited with code 1",
    },
    Bad {
        name: "sick",
        image: "storefront/httpfront:sick",
        more: "",
        says: &["not healthy", "/healthz", "503"],
        reason: "status 503",
    },
    Bad {
        name: "missing",
        image: "storefront/nowhere:v9",
        more: "    pull_policy: never\n",
        says: &["storefront/nowhere:v9", "missing"],
        reason: "storefront/nowhere:v9",
    },
    Bad {
        name: "no-such-program",
        image: "storefront/httpfront:v1.0.0",
        more: "    entrypoint: [/no/such/program]\n",
        says: &["/no/such/program", "no such file"],
        reason: "no such file",
    },
    Bad {
        name: "wrong-arguments",
        image: "storefront/httpfront:v1.0.0",
        more: "    command: [one, two, three]\n",
        says: &["exited with code 2", "usage: httpfront"],
        reason: "exited with code 2",
    },
    Bad {
        name: "deaf",
        image: "storefront/tcpfront:v1.0.0",
        more: "",
        says: &["not healthy", "connection refused"],
        reason: "connection refused",
    },
];

/// A file with a service that listens on the host's port 8090, like this.
fn file(machine: &Machine, name: &str, image: &str, more: &str) -> String {
    let text = format!(
        "services:
  web:
    image: {image}
    ports: ['8090:8080']
    scale: 2
    health_check:
      port: 8080
      request_line: GET \"/healthz\" \"HTTP/1.0\"
      interval: 300
      response_timeout: 500
      healthy_threshold: 1
      unhealthy_threshold: 2
      initializing_timeout: 3000
{more}"
    );
    machine.write(&format!("{name}.yaml"), text).to_str().unwrap().to_owned()
}

fn up(machine: &Machine, file: &str, stack: &str) -> Ran {
    machine.remuda(&["up", "-f", file, "-p", stack])
}

fn ask() -> Ask {
    Ask {
        to: "127.0.0.1:8090".parse().unwrap(),
        path: "/healthz".into(),
        connections: Connections::Kept,
        ..Ask::storefront()
    }
}

/// What is said of a failed rollout in `up`, in `ps`, in the events and by the API.
fn told_everywhere(machine: &Machine, bad: &Bad, up: &Ran, stack: &str) {
    up.says(bad.says);
    up.says(&["rollout of", "failed"]);
    let service = format!("{stack}/web");
    let reason = bad.reason;
    machine.ok(&["ps", stack]).says(&[reason]);
    machine.ok(&["events", &service]).says(&[reason]);
    let shown = machine.ok(&["svc", "show", &service, "-o", "json"]);
    shown.says(&[reason]);
    assert_eq!(shown.json()["service"]["rollout"]["status"], "failed", "{}", shown.out);
}

#[test]
#[ignore = "needs docker and root"]
fn a_bad_revision_leaves_the_old_one_serving_and_says_why() {
    on_a_machine(|machine| {
        let _dev = machine.dev();
        let good = file(machine, "good", "storefront/httpfront:v1.0.0", "");
        let better = file(machine, "better", "storefront/httpfront:v1.1.0", "");
        up(machine, &good, "shop").with_code(0);
        let load = Load::start(16, &ask());
        for bad in &BAD {
            let file = file(machine, bad.name, bad.image, bad.more);
            let failed = up(machine, &file, "shop").with_code(6);
            assert_eq!(load.failed(), 0, "{}", bad.name);
            told_everywhere(machine, bad, &failed, "shop");
            failed.says(&["go on serving"]);
        }
        // What served goes on as it is told to, whatever became of the rollout.
        machine.ok(&["svc", "scale", "shop/web", "4"]);
        let old = || {
            let mut rows = machine.ps();
            rows.retain(|row| row["status"] == "running" && row["health"] == "healthy");
            rows.iter().filter(|row| row["image"] == "storefront/httpfront:v1.0.0").count()
        };
        wait_until("four of the old version", || old() == 4);
        load.more(100);
        assert_eq!(load.failed(), 0, "scaled");
        // And a good one after all the bad ones just works.
        up(machine, &better, "shop").with_code(0);
        load.nothing_failed();
    });
}

#[test]
#[ignore = "needs docker and root"]
fn a_service_that_was_stopped_after_a_failed_rollout_starts_as_it_served() {
    on_a_machine(|machine| {
        let _dev = machine.dev();
        let good = file(machine, "good", "storefront/httpfront:v1.0.0", "");
        up(machine, &good, "shop").with_code(0);
        let bad = file(machine, "bad", BAD[1].image, "");
        up(machine, &bad, "shop").with_code(6);
        machine.ok(&["svc", "stop", "shop/web"]);
        assert!(machine.ps().iter().all(|row| row["status"] != "running"), "stopped");
        machine.ok(&["svc", "start", "shop/web"]);
        Load::start(4, &ask()).nothing_failed();
    });
}

#[test]
#[ignore = "needs docker and root"]
fn a_first_deployment_that_is_no_good_says_why_and_a_good_one_follows() {
    on_a_machine(|machine| {
        let _dev = machine.dev();
        for bad in &BAD {
            let file = file(machine, bad.name, bad.image, bad.more);
            let stack = format!("first-{}", bad.name);
            let failed = up(machine, &file, &stack).with_code(6);
            told_everywhere(machine, bad, &failed, &stack);
            failed.says(&["nothing serves"]);
            if bad.name == "deaf" {
                let good = self::file(machine, "good", "storefront/httpfront:v1.0.0", "");
                up(machine, &good, &stack).with_code(0);
                Load::start(4, &ask()).nothing_failed();
            }
            machine.ok(&["down", &stack, "-y"]);
        }
    });
}
