//! A test bed of network namespaces: a test runs itself again inside a fresh one (a "host"), and
//! may give that host "containers": more namespaces on its bridge. All ends with the test.

// Each test program uses its own part of the bed.
#![allow(dead_code, reason = "shared by several test programs")]

use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const INSIDE: &str = "REMUDA_TEST_INSIDE_NETNS";

/// Runs `body` inside new network, mount and process namespaces, in a process of its own: `test` is
/// the calling test's full name.
pub(crate) fn as_root_in_own_netns(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        run("ip", &["link", "set", "lo", "up"]);
        body();
        return;
    }
    assert!(is_root(), "{test} makes network namespaces: run it as root");
    let exe = std::env::current_exe().unwrap();
    let output = Command::new("unshare")
        // The process ids are its own as well: whatever the test starts ends with it.
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"])
        // A shell as the first process reaps the orphans of others, which a test does not.
        .args(["sh", "-c", "\"$0\" \"$@\"; exit $?"])
        .arg(exe)
        .args([test, "--exact", "--nocapture", "--include-ignored"])
        .env(INSIDE, "1")
        .output()
        .expect("util-linux's unshare runs");
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "inside the namespace:\n{out}\n{err}");
    assert!(out.contains("1 passed"), "no test called {test} ran inside the namespace:\n{out}");
}

/// Is this process root?
pub(crate) fn is_root() -> bool {
    run("id", &["-u"]).trim() == "0"
}

/// Runs a program to its end and gives what it printed; anything but success fails the test.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let (success, out, err) = attempt(program, arguments);
    assert!(success, "{program} {arguments:?} failed: {out}{err}");
    out
}

/// Runs a program to its end: (success, stdout, stderr).
pub(crate) fn attempt(program: &str, arguments: &[&str]) -> (bool, String, String) {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|e| panic!("{program} does not run (is its package installed?): {e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

/// Waits until `condition` holds; fails after ten seconds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// All that a fabric could leave behind, as text to compare. Counters are left out.
pub(crate) fn whole_state() -> String {
    let addresses: String = run("ip", &["-4", "-o", "address", "show"]);
    let routes = run("ip", &["-4", "route", "show", "table", "all"]) + &run("ip", &["rule"]);
    let rules = run("nft", &["-s", "list", "ruleset"]);
    let settings =
        run("sysctl", &["-a", "-r", "^net\\.ipv4\\.(ip_forward|conf|neigh.*proxy_delay)"]);
    format!("{addresses}\n{routes}\n{rules}\n{settings}")
}

/// A process that ends with the value.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(program: &str, arguments: &[&str]) -> Self {
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("{program} does not start (is it installed?): {e}"));
        Self(child)
    }

    /// With what it prints in `log`.
    pub(crate) fn start_logged(program: &str, arguments: &[&str], log: std::fs::File) -> Self {
        let second = log.try_clone().unwrap();
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(second)
            .spawn()
            .unwrap_or_else(|e| panic!("{program} does not start (is it installed?): {e}"));
        Self(child)
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().expect("a child of ours can be ended");
        self.0.wait().expect("a child of ours can be awaited");
    }
}

/// Makes a bridge as Docker would.
pub(crate) fn make_bridge(name: &str, address: &str) {
    run("ip", &["link", "add", name, "type", "bridge"]);
    run("ip", &["address", "add", address, "brd", "+", "dev", name]);
    run("ip", &["link", "set", name, "up"]);
}

/// A host of its own, on a switch that is this namespace.
pub(crate) struct Host {
    link: Container,
}

impl Host {
    /// With `address` on the bridge `switch`.
    pub(crate) fn on_switch(n: u8, switch: &str, address: &str) -> Self {
        let link = Container::with_link(n, address);
        run("ip", &["link", "set", &format!("veth{n}"), "master", switch, "up"]);
        Self { link }
    }

    /// Runs `body` on the host; what it starts is there as well.
    pub(crate) fn on<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        self.link.on(body)
    }
}

/// A namespace with one interface, `eth0`.
pub(crate) struct Container {
    process: Process,
}

impl Container {
    /// On a bridge of the host, with the host as its default gateway.
    pub(crate) fn on_bridge(n: u8, bridge: &str, address: &str, gateway: &str) -> Self {
        let container = Self::with_link(n, address);
        run("ip", &["link", "set", &format!("veth{n}"), "master", bridge, "up"]);
        container.exec("ip", &["route", "add", "default", "via", gateway]);
        container
    }

    /// On a cable of its own: `name` is the host's end, with `host_address`.
    pub(crate) fn on_cable(n: u8, name: &str, host_address: &str, address: &str) -> Self {
        let container = Self::with_link(n, address);
        run("ip", &["link", "set", &format!("veth{n}"), "name", name]);
        run("ip", &["address", "add", host_address, "dev", name]);
        run("ip", &["link", "set", name, "up"]);
        container
    }

    fn with_link(n: u8, address: &str) -> Self {
        let mut child = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo ready; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let container = Self { process: Process(child) };
        let pid = container.process.id().to_string();
        let outer = format!("veth{n}");
        run("ip", &["link", "add", &outer, "type", "veth", "peer", "eth0", "netns", &pid]);
        container.exec("ip", &["link", "set", "lo", "up"]);
        container.exec("ip", &["address", "add", address, "dev", "eth0"]);
        container.exec("ip", &["link", "set", "eth0", "up"]);
        container
    }

    /// Runs `body` inside, in a thread of its own.
    pub(crate) fn on<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let path = format!("/proc/{}/ns/net", self.process.id());
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                let net = std::fs::File::open(path).unwrap();
                let kind = Some(rustix::thread::LinkNameSpaceType::Network);
                rustix::thread::move_into_link_name_space(net.as_fd(), kind).unwrap();
                body()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs a program inside; (success, stdout, stderr).
    pub(crate) fn attempt(&self, program: &str, arguments: &[&str]) -> (bool, String, String) {
        let net = format!("--net=/proc/{}/ns/net", self.process.id());
        let mut all = vec![net.as_str(), "--", program];
        all.extend_from_slice(arguments);
        attempt("nsenter", &all)
    }

    /// Starts a program inside.
    pub(crate) fn start(&self, program: &str, arguments: &[&str]) -> Process {
        let net = format!("--net=/proc/{}/ns/net", self.process.id());
        let mut all = vec![net.as_str(), "--", program];
        all.extend_from_slice(arguments);
        Process::start("nsenter", &all)
    }

    /// Runs a program inside that must succeed.
    pub(crate) fn exec(&self, program: &str, arguments: &[&str]) -> String {
        let (success, out, err) = self.attempt(program, arguments);
        assert!(success, "inside the container: {program} {arguments:?} failed: {out}{err}");
        out
    }
}
