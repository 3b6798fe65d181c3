//! Sidekicks: named by Rancher's label, or made by what only containers of one host can share.

use super::{given, service};
use crate::render;
use model::container_spec::{NetworkMode, VolumesFrom};
use model::health::HealthCheck;
use model::id::ServiceName;
use model::placement::Strategy;
use model::service::{Condition, RestartPolicy, Sidekick};

fn name(text: &str) -> ServiceName {
    ServiceName::parse(text).unwrap()
}

fn sidekick<'l>(loaded: &'l crate::Loaded, primary: &str, of: &str) -> &'l Sidekick {
    &service(loaded, primary).template.sidekicks[&name(of)]
}

const LABELLED: &str = "\
name: shop
services:
  web:
    image: web:1
    labels:
      io.rancher.sidekicks: log, data
      'io.rancher.scheduler.affinity:host_label': zone=a
    volumes_from: ['data:ro']
    depends_on: [log]
    links: [log, db]
    scale: 2
  log:
    image: log:1
    labels: {own: 'yes', 'io.rancher.scheduler.affinity:host_label_ne': old=yes}
    network_mode: container:web
    ipc: service:web
    pid: container:data
    health_check: {port: 81}
    stop_grace_period: 3s
    depends_on: [db]
    links: ['db:database']
  data: {image: data:1, command: 'true', volumes: [/data], restart: on-failure}
  db: {image: db:1, depends_on: []}
  front: {image: f:1, depends_on: {log: {condition: service_healthy}}}
";

#[test]
fn the_label_puts_containers_into_their_primary() {
    let loaded = given(LABELLED).clean();
    let names: Vec<&str> = loaded.spec.services.keys().map(ServiceName::as_str).collect();
    assert_eq!(names, ["db", "front", "web"]);
    let web = service(&loaded, "web");
    assert_eq!(web.scale, Some(2));
    let of: Vec<&str> = web.template.sidekicks.keys().map(ServiceName::as_str).collect();
    assert_eq!(of, ["data", "log"]);
    let log = sidekick(&loaded, "web", "log");
    assert_eq!(log.container.image, "log:1");
    assert_eq!(log.container.network, NetworkMode::Sibling(None));
    assert_eq!(log.container.ipc.as_deref(), Some("service:web"));
    assert_eq!(log.container.pid.as_deref(), Some("service:data"));
    assert_eq!(log.health_check, Some(HealthCheck::tcp(81)));
    assert_eq!(log.stop_grace_ms, 3_000);
    assert_eq!(
        sidekick(&loaded, "web", "data").restart,
        RestartPolicy::OnFailure { max_attempts: None }
    );
    let from = &web.template.container().unwrap().volumes_from;
    assert_eq!(*from, [VolumesFrom { sidekick: Some(name("data")), read_only: true }]);
}

#[test]
fn what_a_sidekick_says_of_the_whole_goes_to_its_primary() {
    let loaded = given(LABELLED).clean();
    let web = service(&loaded, "web");
    let shown: Vec<String> =
        web.template.placement.constraints.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["must have host label zone=a", "must not have host label old=yes"]);
    let links: Vec<String> =
        web.links.iter().map(|l| format!("{} {}", l.service, l.alias)).collect();
    assert_eq!(links, ["shop/db db", "shop/db database"]);
    assert_eq!(web.depends_on, [(name("db"), Condition::Started)].into());
    assert_eq!(service(&loaded, "front").depends_on, [(name("web"), Condition::Healthy)].into());
    // Other labels stay with their container.
    let labels = &sidekick(&loaded, "web", "log").container.labels;
    assert_eq!(labels["own"], "yes");
    assert!(!web.template.container().unwrap().labels.contains_key("own"));
    assert_eq!(given(&render(&loaded)).clean().spec, loaded.spec);
}

#[test]
fn what_is_shared_puts_containers_of_one_instance_together() {
    for (keys, primary, other) in [
        ("network_mode: service:vpn", "vpn", "app"),
        ("network_mode: 'container:vpn'", "vpn", "app"),
        ("network_mode: 'container:the-vpn'", "vpn", "app"),
        ("ipc: service:vpn", "vpn", "app"),
        ("pid: 'container:vpn'", "vpn", "app"),
        ("volumes_from: [vpn]", "vpn", "app"),
        ("volumes_from: ['container:vpn:ro']", "vpn", "app"),
    ] {
        let text = format!(
            "services:\n  app:\n    image: a\n    {keys}\n  vpn:\n    image: b\n    ipc: shareable\n    \
             container_name: the-vpn\n"
        );
        let loaded = given(&text).loaded();
        let warnings: String = loaded.warnings.iter().map(ToString::to_string).collect();
        let key = keys.split(':').next().unwrap();
        assert!(
            warnings.contains(&format!(
                "service \"app\": it becomes a sidekick of \"vpn\", because of {key}"
            )),
            "{keys}: {warnings}"
        );
        assert_eq!(loaded.spec.services.len(), 1, "{keys}");
        assert_eq!(sidekick(&loaded, primary, other).container.image, "a", "{keys}");
    }
    let legacy = given("app: {image: a, net: 'container:vpn'}\nvpn: {image: b}\n").loaded();
    assert_eq!(sidekick(&legacy, "vpn", "app").container.network, NetworkMode::Sibling(None));
}

#[test]
fn a_chain_of_shared_networks_is_one_group() {
    let text = "services:\n  a: {image: a, network_mode: 'service:b'}\n  \
                b: {image: b, network_mode: 'service:c', volumes_from: [d]}\n  c: {image: c}\n  \
                d: {image: d}\n  e: {image: e, links: ['b:bee'], depends_on: [a]}\n";
    let loaded = given(text).loaded();
    let names: Vec<&str> = loaded.spec.services.keys().map(ServiceName::as_str).collect();
    assert_eq!(names, ["c", "e"]);
    assert_eq!(service(&loaded, "c").template.sidekicks.len(), 3);
    let a = &sidekick(&loaded, "c", "a").container;
    assert_eq!(a.network, NetworkMode::Sibling(Some(name("b"))));
    // One in the network of its primary is reached there.
    let link = &service(&loaded, "e").links[0];
    assert_eq!((link.service.service.as_str(), link.alias.as_str()), ("c", "bee"));
    assert_eq!(service(&loaded, "e").depends_on, [(name("c"), Condition::Started)].into());
}

#[test]
fn a_labelled_primary_takes_in_what_its_containers_share() {
    let text = "services:\n  \
                web: {image: w, labels: {io.rancher.sidekicks: log}, volumes_from: [data]}\n  \
                log: {image: l, pid: 'service:agent'}\n  data: {image: d}\n  agent: {image: a}\n";
    let loaded = given(text).loaded();
    assert_eq!(loaded.spec.services.len(), 1);
    assert_eq!(service(&loaded, "web").template.sidekicks.len(), 3);
}

#[test]
fn a_sidekick_may_be_built() {
    let loaded = given(
        "name: shop\nservices:\n  web: {build: ./w, labels: {io.rancher.sidekicks: log}}\n  \
         log: {build: {context: ./l}}\n",
    )
    .with("/p/w/Dockerfile", "FROM a")
    .with("/p/l/Dockerfile", "FROM b")
    .clean();
    let builds: Vec<(String, &str)> =
        loaded.builds.iter().map(|(n, b)| (n.to_string(), b.image.as_str())).collect();
    assert_eq!(builds, [("web".into(), "shop_web:latest"), ("web/log".into(), "shop_log:latest")]);
    assert_eq!(sidekick(&loaded, "web", "log").container.image, "shop_log:latest");
}

#[test]
fn keys_of_the_whole_service_have_no_effect_on_a_sidekick() {
    let of = |lines: &str| {
        given(&format!(
            "services:\n  web:\n    image: w\n    scale: 3\n    labels: {{io.rancher.sidekicks: log, \
             io.rancher.service.selector.container: a=b}}\n  log:\n    image: l\n    {lines}\n"
        ))
    };
    for lines in [
        "scale: 2",
        "scale_policy: {min: 1, max: 2}",
        "autoscale: {max: 2, cpu: 70}",
        "schedule: '* * * * *'",
        "job: {}",
        "upgrade_strategy: {start_first: true}",
        "rollout: {canary: 1}",
        "on_loss: keep",
        "retain_ip: true",
        "start_on_create: false",
        "drain_timeout_ms: 5",
        "metadata: {a: b}",
        "deploy: {mode: global}",
        "deploy: {replicas: 2}",
        "deploy: {update_config: {order: stop-first}}",
        "labels: {io.rancher.scheduler.global: 'true'}",
        "labels: {io.rancher.container.requested_ip: 10.42.0.9}",
    ] {
        of(lines).warned("has no effect on a sidekick of \"web\"");
    }
    // What its primary says too, and what Rancher's export always writes.
    for lines in ["scale: 3", "scale: 1", "start_on_create: true", "retain_ip: false"] {
        of(lines).clean();
    }
    of("labels: {io.rancher.service.selector.container: a=b}").clean();
    of("deploy: {replicas: 1, mode: replicated}").clean();
    // Where a sidekick may go, all of the instance may.
    let loaded = of("placement: {strategy: binpack, max_per_host: 2, spread_by: [zone], \
                     constraints: ['node.id==h7']}")
    .clean();
    let placement = &service(&loaded, "web").template.placement;
    assert_eq!((placement.strategy, placement.max_per_host), (Strategy::Binpack, Some(2)));
    assert_eq!((placement.constraints.len(), placement.spread_by.len()), (1, 1));
}

/// Services, line of the error, fragment of it.
const BAD: &[(&str, u32, &str)] = &[
    (
        "web: {image: a, labels: {io.rancher.sidekicks: lg}}\n  log: {image: b}",
        2,
        "there is no service \"lg\"",
    ),
    ("web: {image: a, labels: {io.rancher.sidekicks: web}}", 2, "cannot be its own sidekick"),
    (
        "a: {image: a, labels: {io.rancher.sidekicks: c}}\n  \
         b: {image: b, labels: {io.rancher.sidekicks: c}}\n  c: {image: c}",
        3,
        "\"c\" would be a sidekick of both \"a\" and \"b\"",
    ),
    (
        "a: {image: a, labels: {io.rancher.sidekicks: b}}\n  \
         b: {image: b, labels: {io.rancher.sidekicks: c}}\n  c: {image: c}",
        3,
        "service \"b\" has sidekicks and is one of \"a\"",
    ),
    (
        "a: {image: a, labels: {io.rancher.sidekicks: b}}\n  b: {image: b, pid: 'service:c'}\n  \
         c: {image: c, labels: {io.rancher.sidekicks: d}}\n  d: {image: d}",
        3,
        "pid names \"c\", which has another primary",
    ),
    (
        "a: {image: a, network_mode: 'service:b'}\n  b: {image: b, volumes_from: [a]}",
        3,
        "containers share in a circle: a -> b -> a",
    ),
    ("a: {image: a, network_mode: 'service:a'}", 2, "containers share in a circle: a -> a"),
    (
        "a: {image: a, network_mode: 'service:bb'}\n  b: {image: b}",
        2,
        "network_mode names service \"bb\"",
    ),
    (
        "a: {image: a, network_mode: 'container:other'}",
        2,
        "names service \"other\", which is not there",
    ),
    ("a: {image: a, ipc: 'service:x'}", 2, "ipc names service \"x\""),
    ("a: {image: a, volumes_from: [x]}", 2, "volumes_from names service \"x\""),
    ("a: {image: a, volumes_from: ['b:xx']}\n  b: {image: b}", 2, "volumes_from: \"b:xx\""),
    ("a: {image: a, volumes_from: ['']}", 2, "volumes_from: \"\""),
    (
        "web: {image: a, labels: {io.rancher.sidekicks: lb}}\n  \
         lb: {lb_config: {port_rules: [{source_port: 1, service: web, target_port: 1}]}}",
        3,
        "a sidekick is a container, and this is none",
    ),
    (
        "lb:\n    labels: {io.rancher.sidekicks: web}\n    lb_config: {port_rules: \
         [{source_port: 1, service: o/web, target_port: 1}]}\n  web: {image: a}",
        5,
        "its primary \"lb\" has no container",
    ),
    (
        "web: {image: a, labels: {io.rancher.sidekicks: log}}\n  log: {image: b}\n  \
         c: {image: c, links: [log]}",
        4,
        "it links to \"log\", a sidekick of \"web\"",
    ),
    (
        "web: {image: a, labels: {io.rancher.sidekicks: log}, ports: ['80:1']}\n  \
         log: {image: b, ports: ['80:2']}",
        3,
        "takes host port 80/tcp, which service \"web\" has",
    ),
    (
        "web: {image: a, labels: {io.rancher.sidekicks: log}}\n  log: {image: b, depends_on: [db]}\n  \
         db: {image: c, depends_on: [web]}",
        4,
        "depends_on goes in a circle: web -> db -> web",
    ),
    (
        "web: {image: a, labels: {io.rancher.sidekicks: log}}\n  log: {image: b, depends_on: [log]}",
        3,
        "circle",
    ),
];

#[test]
fn what_cannot_be_a_group_is_refused_at_its_place() {
    for (services, line, message) in BAD {
        let errors = given(&format!("services:\n  {services}\n")).refused();
        let first = &errors.errors[0];
        assert!(first.message.contains(message), "{services}:\n{errors}");
        assert_eq!(first.line, *line, "{services}:\n{errors}");
        assert!(first.expected.is_some() || first.hint.is_some(), "{errors}");
    }
    let names: Vec<String> = (0..51).map(|i| format!("s{i}")).collect();
    let mut text = format!(
        "services:\n  web: {{image: a, labels: {{io.rancher.sidekicks: '{}'}}}}\n",
        names.join(",")
    );
    for name in &names {
        text.push_str(&format!("  {name}: {{image: b}}\n"));
    }
    let errors = given(&text).refused().to_string();
    assert!(errors.contains("has 51 sidekicks") && errors.contains("at most 50"), "{errors}");
}

#[test]
fn the_owner_of_a_network_has_its_name_and_its_resolver() {
    for keys in [
        "hostname: h",
        "dns: [1.1.1.1]",
        "dns_search: [a.test]",
        "dns_opt: ['ndots:1']",
        "extra_hosts: ['a:1.2.3.4']",
        "mac_address: '02:42:ac:11:00:02'",
    ] {
        let text = format!(
            "services:\n  web: {{image: a, labels: {{io.rancher.sidekicks: log}}}}\n  \
             log: {{image: b, network_mode: 'service:web', {keys}}}\n"
        );
        let loaded = given(&text).warned("has no effect in the network of another container");
        let spec = &sidekick(&loaded, "web", "log").container;
        assert!(spec.hostname.is_none() && spec.mac_address.is_none(), "{keys}");
        assert!(spec.dns.is_empty() && spec.dns_search.is_empty(), "{keys}");
        assert!(spec.dns_opt.is_empty() && spec.extra_hosts.is_empty(), "{keys}");
    }
}

#[test]
fn the_stack_of_a_network_plugin_has_its_sidekick() {
    let loaded = given(
        "version: '2'\nservices:\n  .catalog: {name: x, questions: []}\n  metadata:\n    \
         image: meta:1\n    network_mode: bridge\n    labels:\n      io.rancher.sidekicks: dns\n      \
         io.rancher.scheduler.global: 'true'\n  dns:\n    image: dns:1\n    \
         network_mode: container:metadata\n    labels: {io.rancher.scheduler.global: 'true'}\n",
    )
    .warned(".catalog is not carried out yet");
    assert_eq!(loaded.spec.services.len(), 1);
    assert_eq!(service(&loaded, "metadata").template.sidekicks.len(), 1);
}

#[test]
fn nothing_completes_inside_an_instance() {
    let text = "services:\n  web: {image: a, labels: {io.rancher.sidekicks: init}, depends_on: \
                {init: {condition: service_completed_successfully}}}\n  init: {image: b}\n";
    let loaded = given(text).warned("that \"init\" has completed is not waited for");
    assert!(service(&loaded, "web").depends_on.is_empty());
}
