//! `remuda doctor` finds what is wrong with a machine, says why, and what to do.

use crate::machine::{Machine, Ran, text, wait_until, without_dockerd};
use serde_json::Value;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// The finding of a check whose name begins so.
#[track_caller]
fn finding(ran: &Ran, check: &str) -> Value {
    let all = ran.json();
    let mut found = all.as_array().unwrap().iter();
    let found = found.find(|f| f["check"].as_str().unwrap().starts_with(check));
    found.unwrap_or_else(|| panic!("no check {check}: {all:#}")).clone()
}

/// Doctor finds trouble with this check: these words are in what it says, and it says what to do.
#[track_caller]
fn trouble(ran: &Ran, check: &str, words: &[&str]) {
    let finding = finding(ran, check);
    assert_eq!(ran.code, 1, "{finding}");
    assert_eq!(finding["ok"], false, "{finding}");
    let said = finding.to_string();
    for word in words {
        assert!(said.contains(word), "{word:?} is not in {said}");
    }
    assert!(!finding["fix"].as_str().unwrap().is_empty(), "{finding}");
}

#[track_caller]
fn well(ran: &Ran, check: &str) {
    let finding = finding(ran, check);
    assert_eq!(finding["ok"], true, "{finding}");
}

fn doctor(machine: &Machine, more: &[&str]) -> Ran {
    let mut arguments = vec!["doctor", "-o", "json"];
    arguments.extend(more);
    machine.remuda(&arguments)
}

/// A Docker that answers every question with this.
fn fake_docker(path: &Path, answer: Option<&'static str>) {
    let socket = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        let mut silent = vec![];
        for connection in socket.incoming() {
            let mut connection = connection.unwrap();
            let Some(body) = answer else {
                silent.push(connection);
                continue;
            };
            let mut buffer = [0; 4096];
            if connection.read(&mut buffer).unwrap_or(0) == 0 {
                continue;
            }
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nApi-Version: 1.40\r\n";
            let length = body.len();
            write!(connection, "{head}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")
                .unwrap();
        }
    });
}

fn with_docker(machine: &Machine, socket: &Path) -> Ran {
    let mut command = machine.command(&["doctor", "-o", "json"]);
    command.env("DOCKER_HOST", format!("unix://{}", socket.display()));
    Ran::of(&command.output().unwrap())
}

#[test]
#[ignore = "needs docker and root"]
fn doctor_finds_what_is_wrong_and_explains_it() {
    without_dockerd(|machine| {
        fs::write(FORWARDING, "0").unwrap();
        let ran = doctor(machine, &[]);
        trouble(&ran, "docker", &["docker.sock", "install it", "start it"]);
        trouble(&ran, "ip_forward", &["forwarding is off", "sysctl"]);
        well(&ran, "privileges");
        well(&ran, "ports");
        well(&ran, "data folder");
        let people = machine.remuda(&["doctor"]).with_code(1);
        people.says(&["problem docker", "do: install it", "ok      privileges"]);
        docker_is_not_one_that_we_can_use(machine);
        somebody_holds_our_port(machine);
        not_root(machine);
        the_data_folder_is_broken(machine);
        machine.start_dockerd(&[]);
        fs::write(FORWARDING, "1").unwrap();
        let ran = doctor(machine, &[]);
        assert_eq!(ran.code, 0, "{}", ran.out);
        let _dev = machine.dev();
        let ran = doctor(machine, &[]);
        assert_eq!(ran.code, 0, "{}", ran.out);
        assert!(finding(&ran, "data folder").to_string().contains("remuda dev (pid"));
    });
}

fn docker_is_not_one_that_we_can_use(machine: &Machine) {
    let old = machine.folder().join("old.sock");
    fake_docker(
        &old,
        Some(
            r#"{"Version":"19.03.15","ApiVersion":"1.40","MinAPIVersion":"1.12","Os":"linux","Arch":"amd64"}"#,
        ),
    );
    let ran = with_docker(machine, &old);
    trouble(&ran, "docker", &["1.40", "1.41", "20.10", "upgrade"]);
    let silent = machine.folder().join("silent.sock");
    fake_docker(&silent, None);
    trouble(&with_docker(machine, &silent), "docker", &["no answer", "restart"]);
    let none = machine.write("no.sock", "");
    trouble(&with_docker(machine, &none), "docker", &["no.sock"]);
    let mut command = machine.command(&["doctor", "-o", "json"]);
    command.env("DOCKER_HOST", "gopher://nowhere");
    trouble(&Ran::of(&command.output().unwrap()), "docker", &["gopher"]);
}

fn somebody_holds_our_port(machine: &Machine) {
    let held = TcpListener::bind("127.0.0.1:7600").unwrap();
    let ran = doctor(machine, &[]);
    let pid = format!("(pid {})", std::process::id());
    trouble(&ran, "ports", &["7600/tcp", "API", "blackbox", &pid]);
    let server = machine.remuda(&["server"]).with_code(1);
    server.says(&["cannot listen on 127.0.0.1:7600", "remuda doctor"]);
    drop(held);
    machine.ok(&["dev", "down"]);
}

fn not_root(machine: &Machine) {
    fs::create_dir_all("/var/lib/remuda/server").unwrap();
    let closed = ["/var/lib/remuda", "/var/lib/remuda/server"];
    closed.iter().for_each(|dir| {
        text(Command::new("chmod").args(["700", dir]));
    });
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(env!("CARGO_BIN_EXE_remuda"))
        .args(["doctor", "-o", "json"])
        .output()
        .unwrap();
    let ran = Ran::of(&output);
    trouble(&ran, "privileges", &["CAP_NET_ADMIN", "root"]);
    trouble(&ran, "data folder", &["Permission denied", "root"]);
    let mut dev = Command::new("setpriv");
    dev.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
    dev.arg(env!("CARGO_BIN_EXE_remuda")).arg("dev");
    Ran::of(&dev.output().unwrap()).with_code(1).says(&["needs root", "sudo"]);
    well(&doctor(machine, &[]), "data folder");
    assert!(!Path::new("/var/lib/remuda/server/state.db").exists(), "doctor makes nothing");
    fs::remove_dir("/var/lib/remuda/server").unwrap();
}

/// Every way in which a folder is no folder of a server, and what `server` says of it.
fn the_data_folder_is_broken(machine: &Machine) {
    let data = machine.folder().join("data");
    let folder = data.to_str().unwrap();
    let listen = ["server", "--data-dir", folder, "--listen", "127.0.0.1:7611"];
    let mut command = machine.command(&listen);
    let config = machine.folder().join("doctor-config.yaml");
    let log = machine.folder().join("doctor-server.log");
    let server = crate::machine::Process::start(command.env("REMUDA_CONFIG", config), log);
    wait_until("a state to be there", || data.join("environment").exists());
    server.stop();
    let look = || doctor(machine, &["--data-dir", folder]);
    well(&look(), "data folder");
    let database = data.join("server/state.db");
    let whole = fs::read(&database).unwrap();
    for (what, content, words) in [
        ("empty", vec![], "0 bytes"),
        ("text", b"not a database at all".to_vec(), "first bytes"),
        ("cut", whole[..whole.len() / 2].to_vec(), "state.db"),
    ] {
        for log in ["-wal", "-shm"] {
            fs::remove_file(data.join(format!("server/state.db{log}"))).ok();
        }
        fs::write(&database, content).unwrap();
        trouble(&look(), "data folder", &[words, "backup restore"]);
        let refused = machine.remuda(&listen).with_code(1);
        refused.says(&["state"]);
        assert!(!refused.err.is_empty(), "{what}");
    }
    fs::remove_file(&database).unwrap();
    trouble(&look(), "data folder", &["is missing", "backup restore"]);
    machine.remuda(&listen).with_code(1).says(&["state"]);
    fs::write(&database, whole).unwrap();
    well(&look(), "data folder");

    let file = machine.write("a-file", "x");
    trouble(
        &doctor(machine, &["--data-dir", file.to_str().unwrap()]),
        "data folder",
        &["Not a dir"],
    );
    let small = machine.folder().join("small");
    fs::create_dir(&small).unwrap();
    let mount = |options: &str| {
        text(Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&small));
    };
    mount("size=1m");
    trouble(
        &doctor(machine, &["--data-dir", small.to_str().unwrap()]),
        "data folder",
        &["no space"],
    );
    text(Command::new("umount").arg(&small));
    mount("ro");
    let small = small.to_str().unwrap();
    trouble(&doctor(machine, &["--data-dir", small]), "data folder", &["read-only"]);
    machine.remuda(&["server", "--data-dir", small]).with_code(1).says(&["Read-only"]);
}
