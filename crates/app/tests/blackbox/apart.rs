//! Server and agent as two processes over the real link: joining, refusing, dying, coming back.

use crate::load::{Ask, Load};
use crate::machine::{Machine, Process, on_a_machine, wait_until};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

const SERVER: &str = "127.0.0.1:7600";
const DATA: &str = "/var/lib/remuda";

/// A join token that looks right, with a CA of this hash.
fn invented(pin: &str) -> String {
    format!("rmj_{}_{}_{pin}", "a".repeat(12), "b".repeat(64))
}

fn join<'a>(token: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["agent", "--join", SERVER, "--token", token];
    arguments.extend(more);
    arguments
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn server(machine: &Machine) -> Process {
    let server = machine.start("server", &["server"]);
    wait_until("the server to answer", || {
        machine.remuda(&["version"]).out.contains("server 0.") // ping needs no agent
    });
    server
}

fn says(process: &Process, what: &str) {
    wait_until(&format!("the log to say {what:?}"), || process.said().contains(what));
}

/// Files below a folder that contain `secret`, as names.
fn files_with(folder: &Path, secret: &str) -> Vec<String> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_with(&path, secret));
        } else if path.is_file()
            && String::from_utf8_lossy(&fs::read(&path).unwrap()).contains(secret)
        {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    found
}

/// Joining, as it goes wrong.
fn only_the_right_token_joins(machine: &Machine) -> (Process, String) {
    machine.remuda(&["agent"]).with_code(2).says(&["has not joined", "host token create"]);
    machine.remuda(&join("rmj_short", &[])).with_code(2).says(&["not a whole join token"]);
    machine
        .remuda(&["agent", "--token", &invented(&"c".repeat(64))])
        .with_code(2)
        .says(&["--join"]);
    // The server is not there yet: the agent waits, and finds that it is another one.
    let early = invented(&"c".repeat(64));
    let waiting = machine.start("early", &join(&early, &["--data-dir", "/run/early"]));
    says(&waiting, "does not answer");
    says(&waiting, "waiting for it");
    let server = server(machine);
    let log = waiting.log.clone();
    assert_eq!(waiting.wait().code(), Some(4));
    assert!(fs::read_to_string(log).unwrap().contains("certificate is of another CA"));
    machine.remuda(&["status"]).with_code(1).says(&["no host has joined"]);
    let token = machine.ok(&["host", "token", "create"]).out.trim().to_owned();
    let pin = token.rsplit('_').next().unwrap();
    machine.remuda(&join(&invented(pin), &[])).with_code(4).says(&["refuses", "not known here"]);
    let admin = fs::read_to_string(format!("{DATA}/server/admin.token")).unwrap();
    let half = admin.trim().replace("rmd_", "rmj_") + "_" + pin;
    machine.remuda(&join(&half, &[])).with_code(4).says(&["not known here"]);
    (server, token)
}

/// Who may work with a folder and as a host, and who may read what.
fn one_server_one_agent_and_no_secret_in_the_open(machine: &Machine, token: &str) {
    machine.remuda(&["dev"]).with_code(1).says(&["remuda server (pid", "--data-dir"]);
    machine.remuda(&["server"]).with_code(1).says(&["remuda server (pid"]);
    machine.remuda(&["agent"]).with_code(1).says(&["remuda agent (pid"]);
    let twin = join(token, &["--data-dir", "/run/twin"]);
    machine.remuda(&twin).with_code(4).says(&["has joined and is connected", "--host"]);
    let home = std::env::var("HOME").unwrap();
    let context = Path::new(&home).join(".config/remuda/config.yaml");
    for file in ["server/admin.token", "server/ca.key", "agent/membership.json"] {
        assert_eq!(mode(&Path::new(DATA).join(file)), 0o600, "{file}");
    }
    assert_eq!(mode(&context), 0o600);
    let admin = fs::read_to_string(format!("{DATA}/server/admin.token")).unwrap();
    let secret = admin.trim().rsplit('_').next().unwrap();
    assert_eq!(files_with(Path::new(DATA), secret), ["admin.token"], "it is kept as a hash");
    let join_secret = token.split('_').nth(2).unwrap();
    assert_eq!(files_with(Path::new(DATA), join_secret), Vec::<String>::new());
    for log in ["server.log", "agent.log"] {
        let log = fs::read_to_string(machine.folder().join(log)).unwrap();
        assert!(!log.contains(secret) && !log.contains(join_secret), "{log}");
    }
}

#[test]
#[ignore = "needs docker and root"]
fn server_and_agent_apart_join_by_token_and_die_without_a_failed_request() {
    on_a_machine(|machine| {
        let (mut server_process, token) = only_the_right_token_joins(machine);
        let mut agent = machine.start("agent", &join(&token, &[]));
        machine.ready();
        one_server_one_agent_and_no_secret_in_the_open(machine, &token);
        machine.up_storefront();
        let before = machine.containers();
        let load = Load::start(64, &Ask::storefront());
        server_process.kill();
        load.more(2_000);
        server_process = server(machine);
        machine.ready();
        assert_eq!(load.failed(), 0, "the server was killed");
        agent.kill();
        load.more(2_000);
        // As a unit file starts it for ever: with the token of its first time.
        agent = machine.start("agent", &join(&token, &[]));
        machine.ready();
        assert_eq!(load.failed(), 0, "the agent was killed");
        assert_eq!(machine.containers(), before);
        let plan: Vec<&str> = ["plan"].into_iter().chain(Machine::storefront()).collect();
        machine.ok(&plan);
        machine.ok(&["svc", "scale", "storefront/httpfront", "4"]);
        assert_eq!(machine.containers().len(), before.len() + 1);
        let before = machine.containers();
        a_server_without_its_state_empties_nothing(machine, server_process, &agent);
        assert_eq!(machine.containers(), before);
        assert!(agent.stop().success());
        // The same folder under one roof, and apart again: the same host, the same containers.
        let dev = machine.dev();
        machine.remuda(&["server"]).with_code(1).says(&["remuda dev (pid"]);
        machine.remuda(&["agent"]).with_code(1).says(&["remuda dev (pid"]);
        let elsewhere = ["dev", "--data-dir", "/run/elsewhere", "--listen", "127.0.0.1:7700"];
        machine
            .remuda(&elsewhere)
            .with_code(1)
            .says(&["another remuda agent works on this machine"]);
        assert!(dev.stop().success());
        let server_process = server(machine);
        let agent = machine.start("agent", &["agent"]);
        machine.ready();
        assert_eq!(machine.containers(), before);
        assert_eq!(machine.ok(&["host", "ls", "-o", "name"]).out.lines().count(), 1);
        load.nothing_failed();
        drop((server_process, agent));
    });
}

/// The state is lost, in two ways; then it is put back.
fn a_server_without_its_state_empties_nothing(machine: &Machine, first: Process, agent: &Process) {
    let (folder, kept) = (format!("{DATA}/server"), format!("{DATA}/kept"));
    first.stop();
    fs::rename(&folder, &kept).unwrap();
    machine.remuda(&["server"]).with_code(1).says(&[
        "the state of environment",
        "is gone",
        "backup restore",
        "dev down",
    ]);
    fs::rename(format!("{DATA}/environment"), format!("{kept}/environment")).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    // An empty server with a CA of its own is none of the agent's business.
    let stranger = server(machine);
    says(agent, "certificate is of another CA");
    machine.remuda(&["status"]).with_code(1).says(&["no host has joined"]);
    stranger.stop();
    fs::remove_dir_all(&folder).unwrap();
    fs::remove_file(format!("{DATA}/environment")).unwrap();
    // One that has kept its CA knows nothing of this host, and gets no session with it.
    fs::create_dir(&folder).unwrap();
    for file in ["ca.pem", "ca.key"] {
        fs::copy(format!("{kept}/{file}"), format!("{folder}/{file}")).unwrap();
    }
    let empty = server(machine);
    says(agent, "was removed from this cluster; what runs there goes on");
    empty.stop();
    fs::remove_dir_all(&folder).unwrap();
    fs::rename(format!("{kept}/environment"), format!("{DATA}/environment")).unwrap();
    fs::rename(&kept, &folder).unwrap();
    let again = server(machine);
    machine.ready();
    again.stop();
}
