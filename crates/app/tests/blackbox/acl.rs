//! Tokens of the Consul API, as people turn them on and clients show them; and the API as containers
//! find it.

use crate::clients::{installed, script, walk};
use crate::machine::{Machine, on_a_machine, wait_until};
use std::process::Command;

const CONSUL: &str = "127.0.0.1:8500";
const INSIDE: &str = "169.254.169.250:8500";

/// Status and body, asked with a token from the network of a process, or from the host.
fn ask(
    machine: &Machine,
    pid: Option<&str>,
    at: &str,
    method: &str,
    path: &str,
    token: &str,
) -> String {
    let (url, header) = (format!("http://{at}/v1/{path}"), format!("X-Consul-Token: {token}"));
    let curl =
        ["-sS", "--max-time", "20", "-w", " %{http_code}", "-X", method, "-H", &header, &url];
    match pid {
        Some(pid) => machine.run("nsenter", &[&["-t", pid, "-n", "curl"], &curl[..]].concat()).out,
        None => machine.run("curl", &curl).out,
    }
}

#[test]
#[ignore = "needs docker and root"]
fn tokens_are_asked_for_once_it_is_said() {
    on_a_machine(|machine| {
        let dev = machine.dev();
        assert_eq!(ask(machine, None, CONSUL, "PUT", "kv/a", "anything"), "true 200");
        machine.remuda(&["acl", "status"]).with_code(0).says(&["off"]);
        machine.ok(&["acl", "enable"]);
        let refused = |path: &str| {
            ask(machine, None, CONSUL, "GET", path, "").starts_with("Permission denied")
        };
        wait_until("tokens to be asked for", || refused("kv/a"));
        // The API's own token may do everything.
        machine.ok(&["kv", "put", "shop/color", "green"]);
        let token = machine.ok(&["acl", "bootstrap", "-o", "json"]).json();
        let root = token["SecretID"].as_str().unwrap();
        assert_eq!(ask(machine, None, CONSUL, "GET", "kv/shop/color?raw", root), "green 200");
        let again = machine.remuda(&["acl", "bootstrap"]).with_code(2);
        again.says(&["ACL bootstrap no longer allowed (reset index: "]);
        let link = machine.folder().join("consul");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_remuda"), &link).unwrap();
        let consul = |words: &[&str]| {
            let words = [words, &["-token", root]].concat();
            machine.run(link.to_str().unwrap(), &words).with_code(0).out
        };
        let rules = "key_prefix \"shop/\" { policy = \"read\" }";
        let made = consul(&["acl", "policy", "create", "-name=shop", "-rules", rules]);
        assert!(made.contains("Name:         shop\n"), "{made}");
        let made = consul(&["acl", "token", "create", "-policy-name=shop", "-description=ci"]);
        let secret = made.lines().find_map(|line| line.strip_prefix("SecretID:")).unwrap().trim();
        assert_eq!(ask(machine, None, CONSUL, "GET", "kv/shop/color?raw", secret), "green 200");
        assert!(ask(machine, None, CONSUL, "PUT", "kv/shop/color", secret).ends_with(" 403"));
        assert!(!consul(&["acl", "token", "list"]).contains(secret), "it is shown once");
        // It holds over a restart of the server.
        dev.stop();
        let dev = machine.dev();
        assert!(refused("kv/a"));
        assert_eq!(ask(machine, None, CONSUL, "GET", "kv/shop/color?raw", secret), "green 200");
        assert!(!dev.said().contains(secret) && !dev.said().contains(root));
        machine.ok(&["acl", "disable"]);
        wait_until("tokens not to be asked for", || !refused("kv/a"));
        dev.stop();
    });
}

#[test]
#[ignore = "needs docker and root"]
fn containers_read_the_consul_api_and_write_when_the_environment_lets_them() {
    on_a_machine(|machine| {
        let dev = machine.dev();
        machine.docker(&["run", "-d", "--name", "web", "storefront/httpbackend:v1.0.0"]);
        let pid = machine.docker(&["inspect", "-f", "{{.State.Pid}}", "web"]);
        let pid = Some(pid.trim());
        wait_until("the api", || {
            ask(machine, pid, INSIDE, "GET", "status/leader", "").contains(":8300")
        });
        let put = || ask(machine, pid, INSIDE, "PUT", "kv/in", "");
        assert!(put().starts_with("Permission denied: containers may only read"));
        machine.ok(&["net", "consul", "--containers", "write"]);
        wait_until("writing to be allowed", || put() == "true 200");
        machine.ok(&["net", "consul", "--containers", "off"]);
        wait_until("nothing to be answered", || {
            ask(machine, pid, INSIDE, "GET", "kv/in", "").contains("nothing is answered")
        });
        machine.docker(&["rm", "-f", "web"]);
        dev.stop();
    });
}

#[test]
#[ignore = "needs docker and root"]
fn clients_of_others_use_tokens_and_config_entries() {
    on_a_machine(|machine| {
        let _dev = machine.dev();
        machine.ok(&["acl", "enable"]);
        let python = installed().join("python/bin/python");
        walk(Command::new(python).args([&script("acl.py"), CONSUL]));
        let token = machine.ok(&["acl", "status"]).out;
        assert!(token.starts_with("on"), "{token}");
    });
}
