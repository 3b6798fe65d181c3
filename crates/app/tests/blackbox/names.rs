//! Names as programs ask for them inside containers, whatever else goes on on the machine.

use crate::machine::{Machine, Process, on_a_machine, wait_until};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

#[path = "../../../network/tests/resolver/build.rs"]
mod build;

use build::{Libc, resolver};

const LOCAL: &str = "169.254.169.250";

/// A resolver of each C library, to be bound into containers.
fn resolvers(machine: &Machine) -> [String; 2] {
    let folder = machine.folder().join("resolvers");
    std::fs::create_dir_all(&folder).unwrap();
    [Libc::Glibc, Libc::Musl].map(|libc| resolver(libc, &folder).to_str().unwrap().to_owned())
}

/// Containers that ask: the resolvers run in their namespaces without Docker's help.
struct Asker {
    pid: String,
}

impl Asker {
    fn of(machine: &Machine, instance: &str) -> Self {
        let row = machine.ps().into_iter().find(|row| row["name"] == instance).unwrap();
        let id = row["container_id"].as_str().unwrap();
        let pid = machine.docker(&["inspect", "-f", "{{.State.Pid}}", id]).trim().to_owned();
        Self { pid }
    }

    fn ask(&self, machine: &Machine, libc: &str, name: &str) -> (i32, Vec<String>) {
        let program = format!("/resolve-{libc}");
        let into = ["-t", &self.pid, "-m", "-n", "-u", "-i"];
        let ran = machine.run("nsenter", &[&into[..], &[&program, name]].concat());
        let mut found: Vec<String> =
            ran.out.lines().filter_map(|line| Some(line.split_once(' ')?.1.to_owned())).collect();
        found.sort();
        (ran.code, found)
    }

    /// Both libraries give these addresses, and no others.
    #[track_caller]
    fn finds(&self, machine: &Machine, name: &str, wanted: &[String]) {
        for libc in ["glibc", "musl"] {
            let (_, found) = self.ask(machine, libc, name);
            assert_eq!(found, wanted, "{libc} asks for {name}");
        }
    }
}

/// Addresses of a service, sorted as text.
fn addresses(machine: &Machine, stack: &str, service: &str) -> Vec<String> {
    let rows = machine.ps().into_iter().filter(|r| r["stack"] == stack && r["service"] == service);
    let mut all: Vec<String> = rows.map(|r| r["address"].as_str().unwrap().to_owned()).collect();
    all.sort();
    all
}

fn dig(machine: &Machine, server: &str, more: &[&str]) -> String {
    let at = format!("@{server}");
    machine.run("dig", &[&[at.as_str(), "+time=2", "+tries=1"], more].concat()).out
}

/// Somebody else's nginx on 0.0.0.0:80 and dnsmasq on 0.0.0.0:53.
fn neighbours(machine: &Machine) -> [Process; 2] {
    let folder = machine.folder().join("nginx");
    std::fs::create_dir_all(&folder).unwrap();
    let temps: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {}/{kind}; ", folder.display()))
        .concat();
    let config = format!(
        "pid {0}/pid; error_log {0}/errors; daemon off; worker_processes 1; events {{}} \
         http {{ access_log off; {temps} server {{ listen 0.0.0.0:80; return 200 theirs; }} }}",
        folder.display()
    );
    let config = machine.write("nginx.conf", config);
    let nginx = Process::start(
        Command::new("nginx").arg("-c").arg(config),
        machine.folder().join("ng.log"),
    );
    let mut dnsmasq = Command::new("dnsmasq");
    dnsmasq.args(["-d", "-p", "53", "--no-resolv", "--no-hosts", "--user=root"]);
    dnsmasq.arg("--address=/their.test/203.0.113.9");
    let both = [nginx, Process::start(&mut dnsmasq, machine.folder().join("dnsmasq.log"))];
    wait_until("the neighbours", || their_word(machine));
    both
}

/// Do they answer as ever?
fn their_word(machine: &Machine) -> bool {
    ["127.0.0.1", crate::machine::ADDRESS].iter().all(|address| {
        let url = format!("http://{address}/");
        machine.run("curl", &["-sS", "--max-time", "5", &url]).out == "theirs"
            && dig(machine, address, &["+short", "their.test"]).trim() == "203.0.113.9"
    })
}

fn stacks(machine: &Machine) {
    let [glibc, musl] = resolvers(machine);
    let long = "a".repeat(63);
    let shop = format!(
        "services:
  api: {{image: 'storefront/httpbackend:v1.0.0', scale: 2}}
  {long}: {{image: 'storefront/httpbackend:v1.0.0'}}
  who:
    image: storefront/tcpfront:v1.0.0
    volumes: ['{glibc}:/resolve-glibc', '{musl}:/resolve-musl']
"
    );
    let other = shop.replace("scale: 2", "scale: 1");
    for (stack, text) in [("shop", shop), ("other", other)] {
        let file = machine.write(&format!("{stack}.yaml"), text);
        machine.ok(&["up", "-f", file.to_str().unwrap(), "-p", stack]);
    }
}

#[test]
#[ignore = "needs docker and root"]
fn names_resolve_inside_containers_with_both_libraries() {
    on_a_machine(|machine| {
        let _dev = machine.dev();
        stacks(machine);
        let (shop, other) = (Asker::of(machine, "shop/who#1"), Asker::of(machine, "other/who#1"));
        let api = addresses(machine, "shop", "api");
        let others = addresses(machine, "other", "api");
        let long = "a".repeat(63);
        let began = Instant::now();
        for name in [
            "api",
            "API",
            "api.",
            "api.shop",
            "Api.Shop",
            "api.shop.",
            "api.shop.rancher.internal",
            "api.shop.remuda.internal.",
        ] {
            shop.finds(machine, name, &api);
        }
        shop.finds(machine, &long, &addresses(machine, "shop", &long));
        shop.finds(machine, "api.other", &others);
        other.finds(machine, "api", &others);
        other.finds(machine, "api.shop", &api);
        other.finds(machine, "shop-api-1", &[row_address(machine, "shop/api#1")]);
        shop.finds(machine, "rancher-metadata", &[LOCAL.to_owned()]);
        assert!(began.elapsed() < Duration::from_secs(20), "our names wait for nobody");
        for libc in ["glibc", "musl"] {
            let (code, found) = shop.ask(machine, libc, &"a".repeat(64));
            assert_eq!((code, found), (1, vec![]), "{libc}: too long for a label");
        }

        let zone = "api.shop.rancher.internal";
        for (more, wanted) in [
            (&[zone, "A"][..], "status: NOERROR"),
            (&[zone, "A", "+tcp"], "ANSWER: 2"),
            (&[zone, "A", "+noedns"], "ANSWER: 2"),
            (&[zone, "AAAA"], "status: NOERROR"),
            (&[zone, "AAAA"], "ANSWER: 0"),
            (&["nobody.shop.rancher.internal"], "status: NXDOMAIN"),
            (&["api.shop.remuda.internal", "+bufsize=4096"], "ANSWER: 2"),
            (&[zone, "+edns=1", "+noednsneg"], "status: BADVERS"),
        ] {
            let said = dig(machine, LOCAL, more);
            assert!(said.contains(wanted), "{more:?} is not {wanted}:\n{said}");
        }

        // Nobody asks dockerd for a name.
        machine.dockerd().signal("STOP");
        shop.finds(machine, "api", &api);
        shop.finds(machine, "api.shop", &api);
        machine.dockerd().signal("CONT");
    });
}

fn row_address(machine: &Machine, name: &str) -> String {
    let row = machine.ps().into_iter().find(|row| row["name"] == name).unwrap();
    row["address"].as_str().unwrap().to_owned()
}

#[test]
#[ignore = "needs docker and root"]
fn a_web_and_a_name_server_of_somebody_else_are_not_disturbed() {
    on_a_machine(|machine| {
        let check = |machine: &Machine| {
            let shop = Asker::of(machine, "shop/who#1");
            shop.finds(machine, "api", &addresses(machine, "shop", "api"));
            shop.finds(machine, "api.other", &addresses(machine, "other", "api"));
            assert!(their_word(machine), "the neighbours answer as before");
        };
        // They come after us.
        let dev = machine.dev();
        stacks(machine);
        let theirs = neighbours(machine);
        check(machine);
        machine.ok(&["down", "shop", "-y"]);
        machine.ok(&["down", "other", "-y"]);
        dev.stop();
        machine.ok(&["dev", "down"]);
        assert!(their_word(machine), "we went, they stay");
        // They were there before us.
        let _dev = machine.dev();
        stacks(machine);
        check(machine);
        assert!(Path::new("/proc").join(theirs[0].id().to_string()).exists());
    });
}
