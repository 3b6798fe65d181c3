//! Images of builds: kept for a rollback, and removed when nothing can need them.

use crate::machine::{Machine, on_a_machine, wait_until};

const BUILT: &str = "services:
  web:
    build: .
    rollout: {order: stop-first}
";

/// Builds and runs a version; the id of its image.
fn up(machine: &Machine, version: &str) -> String {
    machine.write("Dockerfile", format!("FROM storefront/httpfront:v1.0.0\nLABEL n={version}\n"));
    let file = machine.write("built.yaml", BUILT);
    machine.ok(&["up", "-f", file.to_str().unwrap(), "-p", "built"]);
    let containers = machine.docker(&["ps", "-q", "--filter", "label=io.remuda.environment"]);
    let id = containers.split_whitespace().next().unwrap();
    machine.docker(&["inspect", "-f", "{{.Image}}", id]).trim().to_owned()
}

fn is_here(machine: &Machine, image: &str) -> bool {
    machine.run("docker", &["image", "inspect", image]).code == 0
}

#[test]
#[ignore = "needs docker and root"]
fn a_replaced_build_is_kept_for_a_rollback_and_goes_with_its_service() {
    on_a_machine(|machine| {
        let dev = machine.dev();
        let others = machine.docker(&["images", "-q", "--no-trunc"]);
        let first = up(machine, "one");
        let second = up(machine, "two");
        assert_ne!(first, second);
        let shown = machine.ok(&["host", "ls", "-o", "name"]).out;
        let host = shown.lines().next().unwrap().to_owned();
        wait_until("the room on the disk to be told", || {
            machine.ok(&["host", "show", &host]).out.contains(" free")
        });
        machine.ok(&["doctor"]).says(&["docker's disk", "free"]);
        assert!(is_here(machine, &first), "a rollback needs it");
        machine.ok(&["down", "built"]);
        wait_until("the replaced build to go", || !is_here(machine, &first));
        assert!(dev.said().contains("image removed"), "{}", dev.said());
        assert!(is_here(machine, &second), "it has its name still");
        for image in others.split_whitespace() {
            assert!(is_here(machine, image), "{image} is not ours");
        }
    });
}
