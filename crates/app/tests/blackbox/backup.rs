//! The whole circle of a copy of the state, and everything that is none.

use crate::machine::{Machine, on_a_machine, wait_until};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const STATE: &str = "/var/lib/remuda/server";

/// Content of the folder of the state, by name.
fn state() -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(STATE).unwrap().flatten().filter(|e| e.path().is_file());
    files
        .filter(|entry| entry.file_name() != "state.lock")
        .map(|entry| (entry.path(), fs::read(entry.path()).unwrap()))
        .collect()
}

fn plan(machine: &Machine) -> i32 {
    let plan: Vec<&str> = ["plan"].into_iter().chain(Machine::storefront()).collect();
    machine.remuda(&plan).code
}

#[test]
#[ignore = "needs docker and root"]
fn a_copy_of_the_state_goes_back_and_nothing_else_does() {
    on_a_machine(|machine| {
        let dev = machine.dev();
        machine.up_storefront();
        let containers = machine.containers();
        let file = machine.folder().join("copy.db");
        let copy = file.to_str().unwrap();
        machine.ok(&["backup", "create", copy]);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        machine.remuda(&["backup", "create", copy]).with_code(2).says(&["is already there"]);
        let nowhere = machine.folder().join("no/such/folder/copy.db");
        machine.remuda(&["backup", "create", nowhere.to_str().unwrap()]).with_code(1);
        let before = machine.ok(&["svc", "show", "storefront/httpfront", "-o", "json"]).json();
        machine.ok(&["svc", "scale", "storefront/httpfront", "5"]);
        machine.ok(&["svc", "scale", "storefront/httpfront", "2"]);
        machine.ok(&["svc", "scale", "storefront/tcpfront", "4"]);
        assert_eq!(plan(machine), 10);
        let made_since = machine.containers();
        let running = machine.remuda(&["backup", "restore", copy]).with_code(1);
        running.says(&["remuda dev (pid", "stop"]);
        dev.stop();
        refused(machine, &file);

        machine.ok(&["backup", "restore", copy]).says(&["is back", "is kept in"]);
        let _dev = machine.dev();
        let after = machine.ok(&["svc", "show", "storefront/httpfront", "-o", "json"]).json();
        assert_eq!(after["spec"], before["spec"]);
        wait_until("the third instance to run again", || plan(machine) == 0);
        let up: Vec<&str> = ["up"].into_iter().chain(Machine::storefront()).collect();
        machine.ok(&up).says(&["no change"]);
        // Two of httpfront and all others were there all the time; so is the one that the copy does
        // not know: it is told of, and left alone.
        let now = machine.containers();
        let kept = containers.iter().filter(|(name, id)| now.get(*name) == Some(*id)).count();
        assert_eq!((kept, now.len()), (containers.len() - 1, containers.len() + 1));
        let stray = made_since.keys().find(|name| name.contains("tcpfront-4")).unwrap();
        let name = stray.trim_start_matches('/');
        wait_until("the stray to be told of", || machine.ok(&["host", "ls"]).out.contains(name));
        assert_eq!(now.get(stray), made_since.get(stray));
        // A new fourth one is another one.
        machine.ok(&["svc", "scale", "storefront/tcpfront", "4"]);
        let fourth = machine.containers();
        let fourth = fourth.iter().filter(|(name, _)| name.contains("tcpfront-4")).count();
        assert_eq!(fourth, 2);
        machine.ok(&["dev", "down"]);
    });
}

/// What is no copy of this state is refused, and nothing is touched.
fn refused(machine: &Machine, copy: &Path) {
    let whole = fs::read(copy).unwrap();
    let cut = machine.write("cut.db", &whole[..whole.len() / 2]);
    let mut bytes = whole;
    // Past the header, in the middle of the tables.
    let middle = bytes.len() / 2;
    bytes[middle..middle + 512].fill(0xa5);
    bytes[4_096 * 2..4_096 * 2 + 64].fill(0xa5);
    let damaged = machine.write("damaged.db", &bytes);
    let other = machine.write("other.db", "");
    fs::remove_file(&other).unwrap();
    let sql = "create table t (x); insert into t values (1);";
    crate::machine::text(Command::new("sqlite3").arg(&other).arg(sql));
    let elsewhere = another_environment(machine);
    let none = machine.folder().join("none.db");
    for (file, words) in [
        (cut.as_path(), &["cut.db"][..]),
        (&damaged, &["damaged.db"]),
        (&other, &["another program"]),
        (&machine.write("empty.db", ""), &["empty"]),
        (&machine.write("text.db", "services: {}"), &["not those of a database"]),
        (&elsewhere, &["environment"]),
        (&none, &["none.db"]),
        (machine.folder(), &[]),
    ] {
        let before = state();
        let ran = machine.remuda(&["backup", "restore", file.to_str().unwrap()]);
        ran.with_code(1).says(words);
        assert!(state() == before, "{} changed the state", file.display());
    }
}

/// A copy of the state of another server.
fn another_environment(machine: &Machine) -> PathBuf {
    let (data, file) = (machine.folder().join("other-data"), machine.folder().join("elsewhere.db"));
    let config = machine.folder().join("other-config.yaml");
    let arguments = ["server", "--listen", "127.0.0.1:7700", "--data-dir", data.to_str().unwrap()];
    let mut command = machine.command(&arguments);
    let log = machine.folder().join("other.log");
    let other = crate::machine::Process::start(command.env("REMUDA_CONFIG", &config), log);
    wait_until("the other server to answer", || {
        let mut command = machine.command(&["backup", "create", file.to_str().unwrap()]);
        command.env("REMUDA_CONFIG", &config).output().unwrap().status.success()
    });
    other.stop();
    file
}
