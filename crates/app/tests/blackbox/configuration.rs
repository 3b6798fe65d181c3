//! Settings of services and the history of keys, by the CLI, over a restart, a copy and a restored
//! snapshot; and the commands of `consul` that carry keys to files.

use crate::machine::{Machine, Process, Ran, text, wait_until, without_dockerd};
use std::process::Command;

fn server(machine: &Machine) -> Process {
    let server = machine.start("server", &["server"]);
    wait_until("the server", || machine.remuda(&["kv", "ls"]).code == 0);
    server
}

/// The program called as `consul`.
fn consul(machine: &Machine, arguments: &[&str]) -> Ran {
    let link = machine.folder().join("consul");
    if !link.exists() {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_remuda"), &link).unwrap();
    }
    Ran::of(&Command::new(link).args(arguments).output().unwrap())
}

fn versions(machine: &Machine, key: &str) -> Vec<(u64, bool, String)> {
    let found = machine.ok(&["kv", "history", key, "-o", "json"]).json();
    let rows = found["versions"].as_array().unwrap();
    let row = |row: &serde_json::Value| {
        let by = row["by"].as_str().unwrap().split(' ').next().unwrap().to_owned();
        (row["version"].as_u64().unwrap(), row["deleted"].as_bool().unwrap(), by)
    };
    rows.iter().map(row).collect()
}

#[test]
#[ignore = "needs docker and root"]
fn what_a_key_was_is_shown_compared_and_put_back() {
    without_dockerd(|machine| {
        let first = server(machine);
        machine.ok(&["kv", "put", "shop/color", "green\n"]);
        consul(machine, &["kv", "put", "shop/color", "red"]).with_code(0).says(&["Success!"]);
        machine.ok(&["kv", "delete", "shop/color"]);
        machine
            .remuda(&["kv", "rollback", "shop/color", "--to", "3"])
            .with_code(2)
            .says(&["deleted"]);
        machine.remuda(&["kv", "rollback", "shop/color", "--to", "9"]).with_code(3).says(&["9"]);
        machine.ok(&["kv", "rollback", "shop/color", "--to", "1"]);
        assert_eq!(machine.ok(&["kv", "get", "shop/color"]).out, "green\n");
        let want =
            [(4, false, "token"), (3, true, "token"), (2, false, "host"), (1, false, "token")]
                .map(|(n, deleted, by)| (n, deleted, by.to_owned()));
        assert_eq!(versions(machine, "shop/color"), want);
        assert_eq!(machine.ok(&["kv", "get", "shop/color", "--version", "2"]).out, "red");
        machine
            .remuda(&["kv", "get", "shop/color", "--version", "3"])
            .with_code(3)
            .says(&["deleted"]);
        let diff = machine.ok(&["kv", "diff", "shop/color", "1", "2"]).out;
        assert_eq!(
            diff,
            "--- shop/color 1\n+++ shop/color 2\n@@ -1 +1 @@\n-green\n+red\n\\ No newline at end of file\n"
        );
        machine.remuda(&["kv", "history", "none"]).with_code(3).says(&["none"]);
        first.kill();
        let second = server(machine);
        assert_eq!(versions(machine, "shop/color"), want, "a restart keeps it");
        let copy = machine.folder().join("copy.db");
        machine.ok(&["backup", "create", copy.to_str().unwrap()]);
        let snapshot = machine.folder().join("keys.snap");
        let snapshot = snapshot.to_str().unwrap();
        consul(machine, &["snapshot", "save", snapshot]).with_code(0).says(&["Saved and verified"]);
        consul(machine, &["snapshot", "inspect", snapshot]).with_code(0).says(&["Version      1"]);
        machine.ok(&["kv", "put", "shop/color", "blue"]);
        consul(machine, &["snapshot", "restore", snapshot]).with_code(0).says(&["Restored"]);
        let numbers = |machine: &Machine| {
            versions(machine, "shop/color").iter().map(|row| row.0).collect::<Vec<_>>()
        };
        assert_eq!(numbers(machine), [6, 5, 4, 3, 2, 1], "a snapshot adds a version");
        assert_eq!(machine.ok(&["kv", "get", "shop/color", "--version", "5"]).out, "blue");
        second.stop();
        machine.ok(&["backup", "restore", copy.to_str().unwrap()]);
        let third = server(machine);
        assert_eq!(numbers(machine), [4, 3, 2, 1], "a copy brings its own");
        exported(machine);
        third.stop();
    });
}

/// `consul kv export` and `import`, and a program under a lock.
fn exported(machine: &Machine) {
    let exported = consul(machine, &["kv", "export", "shop/"]).with_code(0).out;
    assert_eq!(
        exported,
        "[\n\t{\n\t\t\"key\": \"shop/color\",\n\t\t\"flags\": 0,\n\t\t\"value\": \"Z3JlZW4K\"\n\t}\n]\n"
    );
    let file = machine.write("shop.json", exported);
    let data = format!("@{}", file.display());
    assert_eq!(
        consul(machine, &["kv", "import", &data]).with_code(0).out,
        "Imported: shop/color\n"
    );
    let ran = consul(machine, &["lock", "jobs/one", "sh", "-c", "echo held"]).with_code(0);
    assert_eq!(ran.out, "held\n");
    assert_eq!(machine.ok(&["kv", "ls", "jobs/"]).out, "", "the lock's key is gone");
    let code = ["lock", "-child-exit-code", "jobs/one", "sh", "-c", "exit 7"];
    consul(machine, &code).with_code(7);
}

#[test]
#[ignore = "needs docker and root"]
fn settings_are_imported_shown_watched_and_read_as_keys() {
    without_dockerd(|machine| {
        let running = server(machine);
        let file = machine.write("app.yaml", "db:\n  host: pg\n  port: 5432\nmode: fast\n");
        let file = file.to_str().unwrap();
        let import = ["config", "import", "shop/web", file];
        let dry = machine.ok(&[&import[..], &["--dry-run"]].concat());
        assert!(dry.out.contains("+++ db/host\n@@ -0,0 +1 @@\n+pg"), "{}", dry.out);
        assert_eq!(machine.ok(&["config", "ls", "shop/web", "-o", "name"]).out, "");
        machine.ok(&import);
        let names = machine.ok(&["config", "ls", "shop/web", "-o", "name"]).out;
        assert_eq!(names, "db/host\ndb/port\nmode\n");
        assert_eq!(machine.ok(&["kv", "get", "config/shop/web/db/port"]).out, "5432");
        machine.ok(&["config", "set", "shop/web", "db/host", "other"]);
        assert_eq!(machine.ok(&["config", "get", "shop/web", "db/host"]).out, "other");
        machine.ok(&["config", "diff", "shop/web", "db/host"]).says(&["-pg", "+other"]);
        machine.ok(&["config", "rollback", "shop/web", "db/host", "--to", "1"]);
        machine.ok(&["config", "history", "shop/web"]).says(&["config/shop/web/db/host", "token"]);
        let small = machine.write("small.env", "mode=slow\n");
        let small = small.to_str().unwrap();
        machine.ok(&["config", "import", "shop/web", small, "--prune"]);
        let exported = machine.ok(&["config", "export", "shop/web"]).json();
        assert_eq!(exported, serde_json::json!({"mode": "slow"}));
        machine.ok(&["config", "unset", "shop/web", "mode"]);
        machine.remuda(&["config", "unset", "shop/web", "mode"]).with_code(3).says(&["mode"]);
        let wrong = machine.write("wrong.json", "{\"a\": 1,\n}");
        machine
            .remuda(&["config", "import", "shop/web", wrong.to_str().unwrap()])
            .with_code(2)
            .says(&["wrong.json:2"]);
        let watching = machine.start("watch", &["config", "watch", "shop/web"]);
        let mut n = 0;
        wait_until("the change to be told", || {
            n += 1;
            machine.ok(&["config", "set", "shop/web", "seen", &n.to_string()]);
            watching.said().contains("seen  version")
        });
        watching.kill();
        assert!(text(&mut machine.command(&["config", "--help"])).contains("import"));
        running.stop();
    });
}
