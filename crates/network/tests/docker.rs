//! With a dockerd of our own in a network namespace: containers on a user-defined bridge reach
//! 169.254.169.250 by their default gateway with their own address, whatever dockerd does. Needs
//! root.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test program: what fails here fails the test"
)]

#[path = "resolver/build.rs"]
mod build;
#[path = "bed/netns.rs"]
mod netns;
#[path = "bed/services.rs"]
mod services;

use build::{Libc, resolver};
use netns::{Process, as_root_in_own_netns, attempt, run, wait_until, whole_state};
use network::{Fabric, FabricStatus, FabricWish, LINK_LOCAL, Linux, resolv_conf, write_resolv};
use services::{WHO, Zone, serve_dns, serve_http};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A dockerd with all its files in one folder.
struct Docker {
    folder: PathBuf,
    address: String,
    daemon: Option<Process>,
}

impl Docker {
    fn start(folder: &Path) -> Self {
        fs::create_dir(folder).unwrap();
        let address = format!("unix://{}/docker.sock", folder.display());
        let mut docker = Self { folder: folder.to_owned(), address, daemon: None };
        docker.resume();
        docker
    }

    fn resume(&mut self) {
        let at = |name: &str| self.folder.join(name).display().to_string();
        let log = fs::File::create(at("dockerd.log")).unwrap();
        let arguments = [
            "--data-root",
            &at("data"),
            "--exec-root",
            &at("exec"),
            "--pidfile",
            &at("docker.pid"),
            "--host",
            &self.address,
            "--storage-driver",
            "vfs",
            "--live-restore",
        ];
        self.daemon = Some(Process::start_logged("dockerd", &arguments, log));
        let deadline = Instant::now() + Duration::from_secs(60);
        while !attempt("docker", &["-H", &self.address, "info"]).0 {
            let said = fs::read_to_string(at("dockerd.log")).unwrap();
            assert!(Instant::now() < deadline, "dockerd does not answer: {said}");
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.daemon.as_ref().unwrap().id().to_string();
        run("kill", &["-s", name, &pid]);
    }

    fn kill(&mut self) {
        // SIGKILL and wait; containers and containerd go on.
        drop(self.daemon.take());
        fs::remove_file(self.folder.join("docker.pid")).unwrap();
    }

    /// Runs a command of the docker CLI, its words split at spaces.
    fn call(&self, command: &str) -> String {
        let words: Vec<&str> =
            ["-H", &self.address].into_iter().chain(command.split(' ')).collect();
        run("docker", &words).trim().to_owned()
    }
}

/// An image with a busybox and a resolver of each C library, and nothing else.
fn import_image(docker: &Docker, folder: &Path) {
    let root = folder.join("image");
    fs::create_dir_all(root.join("etc")).unwrap();
    for libc in [Libc::Glibc, Libc::Musl] {
        resolver(libc, &root);
    }
    fs::copy("/bin/busybox", root.join("busybox")).unwrap();
    let tar = folder.join("image.tar").display().to_string();
    run("tar", &["-C", root.to_str().unwrap(), "-cf", &tar, "."]);
    docker.call(&format!("import {tar} probe:1"));
}

/// What the container's own programs see; none of it goes through dockerd.
fn reaches_us(pid: &str, address: &str) {
    let inside = |program: &[&str]| {
        run("nsenter", &[&["--target", pid, "--net", "--mount", "--"], program].concat())
    };
    for program in ["/resolve-glibc", "/resolve-musl"] {
        assert_eq!(inside(&[program, "api"]), "api 10.42.1.1\n", "{program}");
        assert_eq!(inside(&[program, "api.shop"]), "api.shop 10.42.1.1\n", "{program}");
        assert_eq!(inside(&[program, WHO]), format!("{WHO} {address}\n"), "{program}");
    }
    let page = inside(&["/busybox", "wget", "-q", "-O", "-", "http://169.254.169.250/"]);
    assert_eq!(page, format!("ours {address}"));
}

/// Serves DNS and metadata as the dataplane would.
fn serve() {
    let at = |port| SocketAddr::from((LINK_LOCAL, port));
    let api = Ipv4Addr::new(10, 42, 1, 1);
    let names = ["api.shop.rancher.internal", "api.shop"];
    let zone: Zone = names.map(|name| (name.to_owned(), api)).into();
    serve_dns(at(network::DNS_PORT), zone);
    serve_http(at(network::METADATA_PORT), "ours");
}

/// Starts a container with our resolv.conf; its pid.
fn start_container(docker: &Docker, name: &str, options: &str) -> String {
    let search = ["shop.rancher.internal".to_owned(), "rancher.internal".to_owned()];
    let resolv = write_resolv(&docker.folder, name, &resolv_conf(&[], &search, &[])).unwrap();
    let mount = format!("--volume {}:/etc/resolv.conf:ro", resolv.display());
    let process = "probe:1 /busybox sleep 3600";
    docker.call(&format!("run --detach --name {name} {mount} {options} {process}"));
    docker.call(&format!("inspect --format {{{{.State.Pid}}}} {name}"))
}

#[test]
#[ignore = "needs docker and root"]
fn as_root_containers_reach_us_whatever_dockerd_does() {
    as_root_in_own_netns("as_root_containers_reach_us_whatever_dockerd_does", || {
        // Sockets and pid files of the machine's own dockerd are out of sight, and all that ours
        // leaves is gone with the namespace.
        run("mount", &["-t", "tmpfs", "tmpfs", "/run"]);
        let folder = Path::new("/run/bed");
        let mut docker = Docker::start(folder);
        import_image(&docker, folder);
        docker.call(
            "network create --driver bridge --subnet 10.42.0.0/16 --gateway 10.42.0.1 \
             --ip-range 10.42.255.0/24 --opt com.docker.network.bridge.name=remuda0 remuda",
        );
        let before = whole_state();
        let mut wish = FabricWish::new("e1", "remuda0", "10.42.0.0/16".parse().unwrap());
        wish.bridge_addresses = ["10.42.3.200".parse().unwrap()].into();
        let fabric = Linux::new(folder.join("ours"));
        wait(fabric.ensure(&wish)).unwrap();
        serve();

        let one = start_container(&docker, "one", "--network remuda --ip 10.42.3.1");
        // This one publishes our ports on every address of the host.
        let greedy = start_container(&docker, "greedy", "--publish 80:80 --publish 53:53/udp");
        reaches_us(&one, "10.42.3.1");
        reaches_us(&greedy, "172.17.0.2");

        docker.signal("STOP");
        reaches_us(&one, "10.42.3.1");
        assert_eq!(wait(fabric.ensure(&wish)).unwrap(), FabricStatus::default());
        docker.signal("CONT");

        docker.kill();
        reaches_us(&one, "10.42.3.1");
        docker.resume();
        assert_eq!(wait(fabric.ensure(&wish)).unwrap(), FabricStatus::default());
        reaches_us(&one, "10.42.3.1");
        reaches_us(&greedy, "172.17.0.2");

        docker.call("rm --force one greedy");
        wait(fabric.remove("e1")).unwrap();
        let after = whole_state();
        let (after, before) = (settled(&after), settled(&before));
        let only = |these: &[&str], those: &[&str]| -> Vec<String> {
            these.iter().filter(|l| !those.contains(l)).map(|l| (*l).to_owned()).collect()
        };
        assert_eq!((only(&before, &after), only(&after, &before)), (vec![], vec![]));
        docker.call("network rm remuda");
        docker.signal("TERM");
        wait_until("dockerd ends", || !folder.join("docker.pid").exists());
    });
}

/// Sorted, without IPv6 (each bridge gets an address when its first member comes) and without the
/// note that a bridge has no member.
fn settled(state: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = state
        .lines()
        .filter(|l| !l.contains("fe80") && !l.contains("inet6") && !l.contains("ff00::"))
        .map(|l| l.trim_end().trim_end_matches("linkdown").trim_end())
        .collect();
    lines.sort_unstable();
    lines
}
