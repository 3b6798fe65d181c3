//! Templates of a service in a stack: rendered before the container starts, again when what they were
//! made from changes, whole at every moment; the container is told then and not otherwise; and it goes
//! on while the server is dead.

use crate::machine::{Machine, Process, on_a_machine, wait_for, wait_until};
use crate::tools;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const API: &str = "http://127.0.0.1:8500/v1";
const UPSTREAMS: &str = "# begin {{env \"REMUDA_SERVICE\"}} of {{env \"OWNER\"}}
weight {{keyOrDefault \"shop/weight\" \"1\"}};
limit {{keyOrDefault \"shop/limit\" \"10\" | parseInt}};
{{range service \"shop-api\"}}server {{.Address}}:{{.Port}};
{{end}}# end
";
/// As nginx: it reads its file when it begins and with each SIGHUP.
const STACK: &str = "
name: shop
services:
  api:
    image: storefront/httpbackend:v1.0.0
    scale: 2
    expose: ['8081']
    stop_grace_period: 1s
  proxy:
    image: tools:1
    environment: {OWNER: team}
    stop_grace_period: 1s
    command:
      - sh
      - -c
      - |
        trap 'cat /etc/proxy/upstreams.conf > /tmp/served; echo hup >> /tmp/hups' HUP
        cat /etc/proxy/upstreams.conf > /tmp/served
        while :; do sleep 1000 & wait $$!; done
    templates:
      - source: ./upstreams.ctmpl
        target: /etc/proxy/upstreams.conf
        signal: HUP
      - content: '{{key \"shop/motto\"}}'
        target: /etc/proxy/motto
        command: [sh, -c, 'cat /etc/proxy/motto >> /tmp/ran; echo >> /tmp/ran']
";

fn put(machine: &Machine, key: &str, value: &str) {
    let url = format!("{API}/kv/shop/{key}");
    let said = machine.run("curl", &["-sS", "-X", "PUT", "-d", value, &url]).with_code(0);
    assert_eq!(said.out, "true", "{}", said.err);
}

fn row(machine: &Machine) -> Value {
    let rows = machine.ps();
    rows.into_iter().find(|row| row["service"] == "proxy").unwrap_or(Value::Null)
}

/// The root of the file system that the proxy sees, while it runs.
fn root(machine: &Machine) -> Option<PathBuf> {
    let filter = "label=io.rancher.container.name=shop-proxy-1";
    let id = machine.docker(&["ps", "-q", "--filter", filter]);
    let id = id.lines().next()?.to_owned();
    let pid = machine.docker(&["inspect", "-f", "{{.State.Pid}}", &id]);
    Some(PathBuf::from(format!("/proc/{}/root", pid.trim())))
}

fn read(root: &std::path::Path, name: &str) -> String {
    std::fs::read_to_string(root.join(name)).unwrap_or_default()
}

fn lines(root: &std::path::Path, name: &str, begin: &str) -> usize {
    read(root, name).lines().filter(|line| line.starts_with(begin)).count()
}

fn start(machine: &Machine) -> (Process, Process) {
    let server = machine.start("server", &["server"]);
    wait_until("the server to answer", || machine.remuda(&["version"]).out.contains("server 0."));
    let token = machine.ok(&["host", "token", "create"]).out.trim().to_owned();
    let agent = machine.start("agent", &["agent", "--join", "127.0.0.1:7600", "--token", &token]);
    machine.ready();
    (server, agent)
}

#[test]
#[ignore = "needs docker and root"]
fn a_service_has_its_files_rendered_and_is_told_when_they_changed() {
    on_a_machine(|machine| {
        tools::import(machine);
        machine.write("upstreams.ctmpl", UPSTREAMS);
        let file = machine.write("compose.yml", STACK);
        let (server, agent) = start(machine);
        machine.remuda(&["up", "-f", file.to_str().unwrap(), "--timeout", "1s"]);
        let root = it_waits_for_a_key(machine);
        a_scaled_backend_is_in_the_file(machine, &root);
        let agent = a_new_agent_tells_nothing(machine, &root, agent);
        what_cannot_be_rendered_is_said_and_the_last_file_stays(machine, &root);
        changes_come_soon_and_whole(machine, &root);
        it_goes_on_without_a_server(machine, server);
        agent.kill();
    });
}

fn it_waits_for_a_key(machine: &Machine) -> PathBuf {
    wait_until("ps to say what it waits for", || {
        let reason = row(machine)["reason"].as_str().unwrap_or_default().to_owned();
        reason.contains("there is no key shop/motto") && reason.contains("template 2")
    });
    assert!(root(machine).is_none(), "it has started without its file");
    put(machine, "motto", "first");
    let root = wait_for("the proxy to run", || root(machine));
    wait_until("it to have read both", || lines(&root, "tmp/served", "server ") == 2);
    assert!(read(&root, "tmp/served").starts_with("# begin proxy of team\nweight 1;\n"));
    assert_eq!(read(&root, "etc/proxy/motto"), "first");
    assert_eq!((read(&root, "tmp/hups"), read(&root, "tmp/ran")), (String::new(), String::new()));
    let write = std::fs::write(root.join("etc/proxy/motto"), "mine");
    assert!(write.is_err(), "the container's own view of it is read-only");
    root
}

fn a_scaled_backend_is_in_the_file(machine: &Machine, root: &std::path::Path) {
    machine.ok(&["svc", "scale", "shop/api", "4"]);
    wait_until("four upstreams that are served", || lines(root, "tmp/served", "server ") == 4);
    assert!(lines(root, "tmp/hups", "hup") >= 1);
    assert_eq!(read(root, "tmp/ran"), "", "its other file has not changed");
    put(machine, "motto", "second");
    wait_until("the command to run", || read(root, "tmp/ran") == "second\n");
}

fn a_new_agent_tells_nothing(machine: &Machine, root: &std::path::Path, agent: Process) -> Process {
    // What was told is written down after it was told: who dies in between tells it once more.
    wait_until("the agent to have written down what it told", || {
        let folder = machine.folder().to_str().unwrap();
        let find = [folder, "-maxdepth", "5", "-path", "*/rendered/*", "-name", "untold"];
        machine.run("find", &find).with_code(0).out.is_empty()
    });
    let told = (lines(root, "tmp/hups", "hup"), read(root, "tmp/ran"));
    agent.kill();
    let agent = machine.start("agent", &["agent"]);
    machine.ready();
    // The next change is seen, so that all before it was looked at.
    put(machine, "weight", "7");
    wait_until("the next change", || read(root, "tmp/served").contains("weight 7;"));
    assert_eq!((lines(root, "tmp/hups", "hup"), read(root, "tmp/ran")), (told.0 + 1, told.1));
    agent
}

fn what_cannot_be_rendered_is_said_and_the_last_file_stays(
    machine: &Machine,
    root: &std::path::Path,
) {
    let (before, hups) = (read(root, "etc/proxy/upstreams.conf"), lines(root, "tmp/hups", "hup"));
    put(machine, "limit", "s3cr3t");
    wait_until("ps to say the line", || {
        let row = row(machine);
        let reason = row["reason"].as_str().unwrap_or_default();
        assert!(!reason.contains("s3cr3t"), "{reason}");
        reason.contains("upstreams.ctmpl: line 3: parseInt") && row["ready"] == true
    });
    assert_eq!(read(root, "etc/proxy/upstreams.conf"), before);
    assert_eq!(lines(root, "tmp/hups", "hup"), hups);
    put(machine, "limit", "20");
    wait_until("the file to follow again", || read(root, "tmp/served").contains("limit 20;"));
    wait_until("ps to say nothing", || row(machine)["reason"] == "");
    let events = machine.ok(&["events", "--tail", "10000", "-o", "json"]).out;
    let log = std::fs::read_to_string(machine.folder().join("agent.log")).unwrap();
    assert!(!events.contains("s3cr3t") && !log.contains("s3cr3t"));
}

/// From the answer to a put to the program that has read the new file.
fn changes_come_soon_and_whole(machine: &Machine, root: &std::path::Path) {
    let over = AtomicBool::new(false);
    let mut took = vec![];
    let reads = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !over.load(Ordering::Relaxed) {
                let text = read(root, "etc/proxy/upstreams.conf");
                assert!(text.starts_with("# begin") && text.ends_with("# end\n"), "half: {text}");
                reads += 1;
            }
            reads
        });
        for n in 100..200 {
            put(machine, "weight", &n.to_string());
            let (put_at, wanted) = (Instant::now(), format!("weight {n};"));
            while !read(root, "tmp/served").contains(&wanted) {
                assert!(put_at.elapsed() < Duration::from_secs(60), "never {wanted}");
                std::thread::park_timeout(Duration::from_micros(200));
            }
            took.push(put_at.elapsed());
        }
        over.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    });
    took.sort();
    let (p50, p99) = (took[took.len() / 2], took[took.len() - 2]);
    eprintln!(
        "measured: from a key to the signalled program: p50 {p50:?}, p99 {p99:?}; {reads} reads"
    );
    assert!(p99 < Duration::from_secs(2), "{took:?}");
}

fn it_goes_on_without_a_server(machine: &Machine, server: Process) {
    server.kill();
    let filter = "label=io.rancher.container.name=shop-proxy-1";
    let old = machine.docker(&["ps", "-q", "--filter", filter]);
    machine.docker(&["rm", "-f", old.trim()]);
    let root = wait_for("another container, made without a server", || root(machine));
    wait_until("it to read the last good file", || lines(&root, "tmp/served", "server ") == 4);
    assert!(read(&root, "tmp/served").contains("weight 199;"));
    assert_eq!(read(&root, "etc/proxy/motto"), "second");
}
