//! A platform of Registrator, Consul, consul-template and nginx, as many have built it by hand: the
//! same commands, with our binary in the place of the four; then once more with Debian's nginx and
//! its own template.

use crate::cluster::{Cluster, on_a_cluster};
use crate::expose::{address, answers, echoes, first_answer, ready, run};
use crate::load::{Ask, Connections, Load};
use crate::machine::{PATIENCE, Process, Ran, text, wait_until};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const WEB: &str = "storefront/httpbackend:v1.0.0";
const ECHO: &str = "storefront/tcpfront:v1.0.0";
const SITE: &str = "web.example.internal";
const HTTP: [&str; 2] = ["SERVICE_NAME=web", "SERVICE_TAGS=http"];
const TCP: [&str; 2] = ["SERVICE_NAME=tcpfront-9999", "SERVICE_TAGS=tcp"];
const HOSTS: [&str; 3] = ["h1", "h2", "h3"];
/// The published port of the container that is measured.
const PORT: u16 = 8098;
/// Starts that are measured each way.
const STARTS: usize = 10;

/// The template of nginx: names for tag `http`, ports for tag `tcp`. `FOLDER` is filled in.
const TEMPLATE: &str = r#"load_module /usr/lib/nginx/modules/ngx_stream_module.so;
user root;
pid FOLDER/nginx.pid;
error_log FOLDER/error.log;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path FOLDER/body;
  proxy_temp_path FOLDER/proxy;
  server { listen 80 default_server; return 404; }
{{range services}}{{$name := .Name}}{{$service := service .Name}}{{if .Tags.Contains "http"}}
  upstream {{$name}} {
    least_conn;
    {{range $service}}server {{.Address}}:{{.Port}} max_fails=3 fail_timeout=60 weight=1;
    {{else}}server 127.0.0.1:65535; # nobody{{end}}
  }
  server {
    listen 80;
    server_name {{$name}}.example.internal;
    location / {
      proxy_pass http://{{$name}};
      proxy_set_header Host $host;
      proxy_connect_timeout 1s;
    }
  }{{end}}{{end}}
}
stream {
{{range services}}{{$name := .Name}}{{$service := service .Name}}{{if in .Tags "tcp"}}
  upstream {{$name}} {
    least_conn;
    {{range $service}}server {{.Address}}:{{.Port}} max_fails=3 fail_timeout=60 weight=1;
    {{else}}server 127.0.0.1:65535; # nobody{{end}}
  }
  server { listen {{index ($name | split "-") 1}}; proxy_pass {{$name}}; }
{{end}}{{end}}
}
"#;

/// The binary under the name of one of the four.
fn called(cluster: &Cluster, name: &str) -> PathBuf {
    let path = cluster.path("bin").join(name);
    fs::create_dir_all(cluster.path("bin")).unwrap();
    if !path.exists() {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_remuda"), &path).unwrap();
    }
    path
}

/// Runs `consul` on a host.
fn consul(cluster: &Cluster, host: &str, words: &[&str]) -> Ran {
    let program = called(cluster, "consul");
    let mut command = cluster.bed.on(host, program.to_str().unwrap()).unwrap();
    Ran::of(&command.args(words).stdin(Stdio::null()).output().unwrap())
}

/// `curl` from the switch to a host, by the name of the site: status and body.
fn curl(cluster: &Cluster, host: &str) -> (String, String) {
    let url = format!("http://{}/", address(host, 80));
    let named = format!("Host: {SITE}");
    let words = ["-sS", "--max-time", "5", "-w", "\n%{http_code}", "-H", &named, &url];
    let output = cluster.bed.on_switch("curl").args(words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, code) = said.rsplit_once('\n').unwrap_or(("", ""));
    (code.to_owned(), body.to_owned())
}

fn load(host: &str, loops: u64, connections: Connections) -> Load {
    let to = address(host, 80);
    Load::start(loops, &Ask { to, host: SITE.into(), path: "/".into(), connections })
}

#[test]
#[ignore = "needs docker and root"]
fn the_commands_of_consul_registrator_template_and_nginx_work_as_they_are() {
    on_a_cluster(3, |cluster| {
        cluster.wait_all_seen(&["active", "active", "active"]);
        the_cluster_is_looked_at(cluster);
        containers_are_registered(cluster);
        cluster.ok(&["net", "expose", "set", "--domain", "example.internal"]);
        everybody_is_served(cluster);
        they_stop_and_scale(cluster);
        how_soon(cluster, "our balancer", None);
        cluster.ok(&["net", "expose", "off"]);
        wait_until("port 80 to be free", || !answers("h1", 80, SITE));
        nginx_in_its_place(cluster);
    });
}

/// `consul members`, `consul operator raft list-peers`, a key.
fn the_cluster_is_looked_at(cluster: &Cluster) {
    for host in HOSTS {
        wait_until("every host to be a member", || {
            let members = consul(cluster, host, &["members"]);
            let alive = |name: &str| {
                let mut lines = members.out.lines();
                lines.any(|line| line.starts_with(name) && line.contains(" alive "))
            };
            HOSTS.iter().all(|name| alive(name))
        });
        let peers = consul(cluster, host, &["operator", "raft", "list-peers"]).with_code(0);
        assert_eq!(peers.out.matches(" leader ").count(), 1, "{}", peers.out);
    }
    consul(cluster, "h1", &["kv", "put", "site/name", "example"]).with_code(0);
    assert_eq!(
        consul(cluster, "h3", &["kv", "get", "site/name"]).with_code(0).out.trim(),
        "example"
    );
}

/// `docker run -l SERVICE_NAME=… -l SERVICE_TAGS=…` on three hosts.
fn containers_are_registered(cluster: &Cluster) {
    run(cluster, "h1", "web1", &HTTP, WEB);
    run(cluster, "h2", "web2", &HTTP, WEB);
    run(cluster, "h3", "tcp1", &TCP, ECHO);
    wait_until("the catalog to have them", || {
        let listed = consul(cluster, "h2", &["catalog", "services", "-tags"]).out;
        let row = |name: &str, tag: &str| {
            listed.lines().any(|l| l.split_whitespace().collect::<Vec<_>>() == [name, tag])
        };
        row("web", "http") && row("tcpfront-9999", "tcp")
    });
    let nodes = consul(cluster, "h3", &["catalog", "nodes", "-service=web"]).with_code(0).out;
    assert!(nodes.contains("h1") && nodes.contains("h2") && !nodes.contains("h3"), "{nodes}");
}

fn everybody_is_served(cluster: &Cluster) {
    for host in HOSTS {
        wait_until("the site to be served", || curl(cluster, host).0 == "200");
        let (_, body) = curl(cluster, host);
        assert!(body.contains("this is httpbackendservice, version: v1.0.0"), "{body}");
        wait_until("the port to be served", || echoes(host, 9999));
    }
}

/// `docker stop`, `docker start` and more of them, while somebody asks all the time.
fn they_stop_and_scale(cluster: &Cluster) {
    wait_until("both to be ready", || ready(cluster, "web") == 2);
    let loads = [load("h1", 4, Connections::Kept), load("h3", 4, Connections::New)];
    cluster.docker("h1", &["stop", "web1"]);
    wait_until("one to be left", || ready(cluster, "web") == 1);
    loads[0].more(200);
    cluster.docker("h1", &["start", "web1"]);
    wait_until("it to be back", || ready(cluster, "web") == 2);
    for n in 3..=6 {
        run(cluster, HOSTS[n % 3], &format!("web{n}"), &HTTP, WEB);
    }
    wait_until("six of them", || ready(cluster, "web") == 6);
    loads[1].more(200);
    for n in 3..=6 {
        cluster.docker(HOSTS[n % 3], &["rm", "-f", &format!("web{n}")]);
    }
    wait_until("two of them", || ready(cluster, "web") == 2);
    loads.into_iter().for_each(Load::nothing_failed);
}

/// Does the file name the container that is measured?
fn names_it(file: &Path) -> bool {
    fs::read_to_string(file).unwrap().contains(&format!(":{PORT} "))
}

/// When a file names it, looked at all the time from now on.
fn first_line(file: PathBuf) -> JoinHandle<Instant> {
    std::thread::spawn(move || {
        let until = Instant::now() + PATIENCE;
        while !names_it(&file) {
            assert!(Instant::now() < until, "the file never names it");
            std::thread::park_timeout(Duration::from_micros(300));
        }
        Instant::now()
    })
}

/// From `docker run` of a new container to the first answer by its name on that host, and to the file
/// that names it when there is one; beside it, how long the command itself takes.
fn how_soon(cluster: &Cluster, by: &str, file: Option<&Path>) {
    let name = "soon.example.internal";
    let (mut command, mut routed, mut written) = (vec![], vec![], vec![]);
    for _ in 0..STARTS {
        let through = first_answer("h1", 80, name);
        let on_disk = file.map(|file| first_line(file.to_owned()));
        let labels = ["-l", "SERVICE_NAME=soon", "-l", "SERVICE_TAGS=http"];
        let port = format!("{PORT}:8081");
        let start = ["run", "-d", "--name", "soon", "-p", &port];
        let typed = Instant::now();
        cluster.docker("h1", &[&start[..], &labels, &[WEB]].concat());
        let since = |at: Instant| at.saturating_duration_since(typed).as_secs_f64() * 1e3;
        command.push(since(Instant::now()));
        routed.push(since(through.join().unwrap()));
        written.extend(on_disk.map(|on_disk| since(on_disk.join().unwrap())));
        cluster.docker("h1", &["rm", "-f", "soon"]);
        wait_until("nobody to serve it", || !answers("h1", 80, name));
        wait_until("the catalog to have forgotten it", || {
            !consul(cluster, "h1", &["catalog", "services"]).out.contains("soon")
        });
        wait_until("the file too", || file.is_none_or(|file| !names_it(file)));
    }
    let say = |what: &str, mut took: Vec<f64>| {
        took.sort_by(f64::total_cmp);
        let (middle, worst) = (took[STARTS / 2], took[STARTS - 1]);
        eprintln!("measured: docker run {what}: p50 {middle:.0} ms, worst {worst:.0} ms");
    };
    say("until the command is back", command);
    if file.is_some() {
        say(&format!("to the file of {by} on disk"), written);
    }
    say(&format!("to routed by {by}"), routed);
}

/// nginx of Debian on `h1`, with the file that `consul-template` renders.
fn nginx_in_its_place(cluster: &Cluster) {
    let folder = cluster.path("nginx");
    fs::create_dir_all(&folder).unwrap();
    let shown = folder.to_str().unwrap();
    let source = cluster.write("nginx.ctmpl", &TEMPLATE.replace("FOLDER", shown));
    let file = folder.join("nginx.conf");
    let conf = file.to_str().unwrap();
    let pid = folder.join("template.pid");
    let pid = pid.to_str().unwrap();
    let program = called(cluster, "consul-template");
    let template = |command: &str, more: &[&str]| {
        let template = format!("{source}:{conf}:nginx -c {conf} {command}");
        let mut words = vec!["-consul-addr", "127.0.0.1:8500", "-template", &template];
        words.extend(more);
        let mut made = cluster.bed.on("h1", program.to_str().unwrap()).unwrap();
        made.args(words);
        made
    };
    text(&mut template("-t", &["-once"]));
    let mut nginx = cluster.bed.on("h1", "nginx").unwrap();
    nginx.args(["-c", conf, "-g", "daemon off;"]);
    let nginx = Process::start(&mut nginx, cluster.path("nginx.log"));
    wait_until("nginx to serve the site", || answers("h1", 80, SITE));
    wait_until("nginx to serve the port", || echoes("h1", 9999));
    let template = Process::start(
        &mut template("-s reload", &["-pid-file", pid]),
        cluster.path("template.log"),
    );
    they_come_and_go_behind_nginx(cluster, &file);
    how_soon(cluster, "nginx", Some(&file));
    let number = fs::read_to_string(pid).unwrap();
    text(cluster.bed.on("h1", "kill").unwrap().args(["-TERM", number.trim()]));
    assert_eq!(template.wait().code(), Some(0));
    text(cluster.bed.on("h1", "nginx").unwrap().args(["-c", conf, "-s", "quit"]));
    assert_eq!(nginx.wait().code(), Some(0));
}

/// How many servers the file has for the site.
fn servers(file: &Path) -> usize {
    let text = fs::read_to_string(file).unwrap();
    let (_, rest) = text.split_once("upstream web {").unwrap_or_default();
    rest.split('}').next().unwrap_or_default().matches("max_fails=3").count()
}

fn they_come_and_go_behind_nginx(cluster: &Cluster, file: &Path) {
    wait_until("nginx to know both", || servers(file) == 2);
    // New connections: nginx closes those that are kept when it is told to read its file again.
    let load = load("h1", 8, Connections::New);
    let mut running = vec![("h1", "web1".to_owned()), ("h2", "web2".to_owned())];
    for n in 10..16 {
        let (host, name) = (HOSTS[n % 3], format!("web{n}"));
        run(cluster, host, &name, &HTTP, WEB);
        running.push((host, name));
        wait_until("the file to name the new one", || servers(file) == 3);
        load.more(100);
        let (on, old) = running.remove(0);
        cluster.docker(on, &["stop", &old]);
        wait_until("the file to name the old one no more", || servers(file) == 2);
        cluster.docker(on, &["rm", "-f", &old]);
        load.more(50);
        assert_eq!(load.failed(), 0, "after round {n}; stopping tells");
    }
    load.nothing_failed();
}
