//! Units of several containers on a real Docker: one network, common volumes, names, and a rollout.

use crate::load::{Ask, Connections, Load};
use crate::machine::{Machine, on_a_machine, wait_until};

/// `web` asks `backend` beside it on 127.0.0.1; `echo` has a network of its own and the volumes.
fn stack(version: &str) -> String {
    format!(
        "version: '2'
services:
  web:
    image: storefront/httpfront:{version}
    environment: {{BACKEND: '127.0.0.1:8081'}}
    labels: {{io.rancher.sidekicks: 'backend,echo'}}
    volumes: ['/shared']
    ports: ['8088:8080']
    scale: 2
    stop_grace_period: 2s
    links: ['other:friend']
    health_check: {{port: 8080, request_line: 'GET \"/\" \"HTTP/1.0\"', interval: 500,
      response_timeout: 1000, healthy_threshold: 1, unhealthy_threshold: 2}}
  backend:
    image: storefront/httpbackend:v1.0.0
    network_mode: 'container:web'
    stop_grace_period: 2s
    health_check: {{port: 8081, interval: 500, response_timeout: 1000, healthy_threshold: 1,
      unhealthy_threshold: 2}}
  echo:
    image: storefront/tcpfront:v1.0.0
    volumes_from: ['web:ro']
    stop_grace_period: 2s
  other:
    image: storefront/tcpfront:v1.0.0
"
    )
}

/// Name, id and start of each container of a unit, by docker.
fn container(machine: &Machine, name: &str) -> Option<(String, String)> {
    let filter = format!("label=io.rancher.container.name={name}");
    let found = machine.docker(&["ps", "--no-trunc", "--filter", &filter, "--format", "{{.ID}}"]);
    let id = found.lines().next()?.to_owned();
    let start = machine.docker(&["inspect", "-f", "{{.State.StartedAt}}", &id]);
    Some((id, start.trim().to_owned()))
}

fn inspect(machine: &Machine, id: &str, what: &str) -> String {
    machine.docker(&["inspect", "-f", what, id]).trim().to_owned()
}

fn resolve(machine: &Machine, id: &str, name: &str) -> Vec<String> {
    let said = machine.docker(&["exec", id, "/httpfront", "resolve", name]);
    let mut all: Vec<String> = said.lines().map(str::to_owned).collect();
    all.sort();
    all
}

fn up(machine: &Machine, version: &str) {
    let file = machine.write("units.yaml", stack(version));
    machine.ok(&["up", "-f", file.to_str().unwrap(), "-p", "shop"]);
}

fn page(machine: &Machine) -> String {
    machine.run("curl", &["-sS", "--max-time", "5", "http://127.0.0.1:8088/"]).out
}

fn one_network_and_common_volumes(machine: &Machine) {
    let (web, _) = container(machine, "shop-web-1").unwrap();
    let (backend, _) = container(machine, "shop-web-backend-1").unwrap();
    let (echo, _) = container(machine, "shop-web-echo-1").unwrap();
    assert_eq!(
        inspect(machine, &backend, "{{.HostConfig.NetworkMode}}"),
        format!("container:{web}")
    );
    let volume =
        "{{range .Mounts}}{{if eq .Destination \"/shared\"}}{{.Name}} {{.RW}}{{end}}{{end}}";
    let own = inspect(machine, &web, volume);
    assert!(own.ends_with(" true"), "{own}");
    assert_eq!(inspect(machine, &echo, volume), own.replace(" true", " false"));
    let label = |id: &str, label: &str| {
        inspect(machine, id, &format!("{{{{index .Config.Labels \"{label}\"}}}}"))
    };
    assert_eq!(label(&backend, "io.rancher.stack_service.name"), "shop/web/backend");
    assert_eq!(label(&backend, "io.rancher.service.launch.config"), "backend");
    let unit = "io.rancher.service.deployment.unit";
    assert_eq!(label(&backend, unit), label(&web, unit));
    // Names, as the primary asks for them.
    let own = resolve(machine, &web, "shop-web-1");
    assert_eq!(own.len(), 1);
    assert_eq!(resolve(machine, &web, "shop-web-backend-1"), own, "it has its primary's address");
    assert_eq!(resolve(machine, &web, "web").len(), 2);
    assert_eq!(resolve(machine, &web, "backend"), resolve(machine, &web, "web"));
    assert_eq!(resolve(machine, &web, "backend.web.shop"), resolve(machine, &web, "web"));
    let echoes = resolve(machine, &web, "echo");
    assert_eq!(echoes.len(), 2);
    assert_ne!(echoes, resolve(machine, &web, "web"), "it has addresses of its own");
    assert_eq!(resolve(machine, &web, "echo.web.shop.rancher.internal"), echoes);
    assert_eq!(resolve(machine, &web, "friend"), resolve(machine, &web, "other.shop"));
}

/// Who shares the network of the primary is started again after it.
fn a_primary_that_dies_takes_its_network_along(machine: &Machine) {
    let (web, began) = container(machine, "shop-web-1").unwrap();
    let (backend, before) = container(machine, "shop-web-backend-1").unwrap();
    let (_, alone) = container(machine, "shop-web-echo-1").unwrap();
    machine.docker(&["kill", &web]);
    wait_until("the sidekick to be started after its primary", || {
        let web = container(machine, "shop-web-1").filter(|(_, start)| *start > began);
        let after = container(machine, "shop-web-backend-1");
        match (web, after) {
            (Some((_, web)), Some((id, after))) => id == backend && after > before && after > web,
            _ => false,
        }
    });
    wait_until("both to serve", || {
        let rows = machine.ps();
        let web = rows.iter().filter(|row| row["service"] == "web");
        web.clone().count() == 2 && web.into_iter().all(|row| row["health"] == "healthy")
    });
    assert_eq!(container(machine, "shop-web-echo-1").unwrap().1, alone, "it was not concerned");
    assert!(page(machine).contains("calling backendservice ok"), "{}", page(machine));
}

#[test]
#[ignore = "needs docker and root"]
fn a_unit_shares_network_volumes_and_fate_and_rolls_out_as_one() {
    on_a_machine(|machine| {
        let _dev = machine.dev();
        up(machine, "v1.0.0");
        assert!(page(machine).contains("calling backendservice ok"), "{}", page(machine));
        one_network_and_common_volumes(machine);
        a_primary_that_dies_takes_its_network_along(machine);
        let ask = Ask {
            to: "127.0.0.1:8088".parse().unwrap(),
            host: "shop".into(),
            path: "/".into(),
            connections: Connections::Kept,
        };
        let load = Load::start(64, &ask);
        up(machine, "v1.1.0");
        load.nothing_failed();
        assert!(page(machine).contains("v1.1.0"), "{}", page(machine));
        one_network_and_common_volumes(machine);
        machine.ok(&["down", "shop", "-y"]);
        let left = machine.docker(&["ps", "-aq", "--filter", "label=io.remuda.instance"]);
        assert_eq!(left.trim(), "", "all containers of the units are gone");
    });
}
