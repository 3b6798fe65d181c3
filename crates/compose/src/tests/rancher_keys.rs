//! Every key of rancher-compose, by name, with what becomes of it: a field of the service, an entry
//! of its volumes, or a warning that says which part is not carried out.

use super::{given, service, web};
use serde_json::{Value, json};

/// What becomes of a key.
enum Becomes {
    /// A value in the service `web`, by its JSON pointer.
    Field(&'static str, fn() -> Value),
    /// A warning that says this.
    Warning(&'static str),
}

use Becomes::{Field, Warning};

const CHECK: &str = "/template/health_check";

/// Keys of a service with a container: the key's path, lines of YAML, what becomes of it.
#[rustfmt::skip]
const CONTAINER: &[(&str, &str, Becomes)] = &[
    ("scale", "scale: 3", Field("/scale", || json!(3))),
    ("scale_policy.min", "scale_policy: {min: 2, max: 8, increment: 3}", Field("/scaling", || json!({"by": "fit", "min": 2, "max": 8, "increment": 3}))),
    ("scale_policy.max", "scale_policy: {max: 8}", Field("/scaling", || json!({"by": "fit", "min": 1, "max": 8, "increment": 1}))),
    ("scale_policy.increment", "scale_policy: {max: 8, increment: 2}", Field("/scaling/increment", || json!(2))),
    ("start_on_create", "start_on_create: false", Field("/create_stopped", || json!(true))),
    ("create_only", "create_only: true", Warning("the service is started")),
    ("retain_ip", "retain_ip: true", Field("/retain_ip", || json!(true))),
    ("health_check.port", "health_check: {port: 80}", Field(CHECK, || json!({
        "port": 80, "probe": {"type": "tcp"}, "interval_ms": 2000, "timeout_ms": 2000,
        "healthy_threshold": 2, "unhealthy_threshold": 3, "initializing_timeout_ms": null,
        "reinitializing_timeout_ms": null, "strategy": {"type": "recreate"},
    }))),
    ("health_check.request_line", "health_check: {port: 80, request_line: 'GET \"/healthz\" \"HTTP/1.0\"'}", Field("/template/health_check/probe", || json!({"type": "http", "method": "GET", "path": "/healthz", "version": "HTTP/1.0"}))),
    ("health_check.interval", "health_check: {port: 80, interval: 5000}", Field("/template/health_check/interval_ms", || json!(5000))),
    ("health_check.response_timeout", "health_check: {port: 80, response_timeout: 700}", Field("/template/health_check/timeout_ms", || json!(700))),
    ("health_check.healthy_threshold", "health_check: {port: 80, healthy_threshold: 4}", Field("/template/health_check/healthy_threshold", || json!(4))),
    ("health_check.unhealthy_threshold", "health_check: {port: 80, unhealthy_threshold: 5}", Field("/template/health_check/unhealthy_threshold", || json!(5))),
    ("health_check.initializing_timeout", "health_check: {port: 80, initializing_timeout: 60000}", Field("/template/health_check/initializing_timeout_ms", || json!(60000))),
    ("health_check.reinitializing_timeout", "health_check: {port: 80, reinitializing_timeout: 61000}", Field("/template/health_check/reinitializing_timeout_ms", || json!(61000))),
    ("health_check.strategy", "health_check: {port: 80, strategy: none}", Field("/template/health_check/strategy/type", || json!("none"))),
    ("health_check.strategy", "health_check: {port: 80, strategy: recreate}", Field("/template/health_check/strategy/type", || json!("recreate"))),
    ("health_check.strategy", "health_check: {port: 80, strategy: recreateOnQuorum}", Field("/template/health_check/strategy", || json!({"type": "recreate_on_quorum", "quorum": 1}))),
    ("health_check.recreate_on_quorum_strategy_config.quorum", "health_check: {port: 80, strategy: recreateOnQuorum, recreate_on_quorum_strategy_config: {quorum: 2}}", Field("/template/health_check/strategy/quorum", || json!(2))),
    ("lb_config", "lb_config: {port_rules: [{target_port: 80, hostname: a.test}]}", Warning("lb_config without source_port is not carried out yet")),
    ("load_balancer_config", "load_balancer_config: {}", Warning("no stickiness and no own HAProxy lines")),
    ("default_cert", "default_cert: a", Warning("the balancer speaks no TLS")),
    ("certs", "certs: [a]", Warning("the balancer speaks no TLS")),
    ("hostname", "hostname: h.test", Field("/template/kind/container/hostname", || json!("h.test"))),
    ("metadata", "metadata: {a: [1, 'x'], b: {c: true}}", Field("/metadata", || json!({"a": [1, "x"], "b": {"c": true}}))),
    ("upgrade_strategy.start_first", "upgrade_strategy: {start_first: true}", Field("/update/order", || json!("start_first"))),
    ("upgrade_strategy.start_first", "upgrade_strategy: {start_first: false}", Field("/update/order", || json!("stop_first"))),
    ("upgrade_strategy.batch_size", "upgrade_strategy: {batch_size: 2}", Field("/update/batch_size", || json!(2))),
    ("upgrade_strategy.interval_millis", "upgrade_strategy: {interval_millis: 1000}", Field("/update/interval_ms", || json!(1000))),
    ("drain_timeout_ms", "drain_timeout_ms: 7000", Field("/template/drain_ms", || json!(7000))),
    ("milli_cpu_reservation", "milli_cpu_reservation: 250", Field("/template/kind/container/resources/cpu_reserved_milli", || json!(250))),
    ("mem_reservation", "mem_reservation: 134217728", Field("/template/kind/container/resources/memory_reserved", || json!(134_217_728))),
    ("storage_driver", "storage_driver: {name: nfs}", Warning("no volume driver is registered")),
    ("network_driver", "network_driver: {name: x}", Warning("no network driver is registered")),
    ("service_schemas", "service_schemas: {}", Warning("it has no effect")),
    ("vcpu", "vcpu: 1", Warning("virtual machines are not run")),
    ("memory", "memory: 512m", Warning("it belongs to virtual machines")),
    ("userdata", "userdata: x", Warning("virtual machines are not run")),
    ("disks", "disks: [{size: 1g}]", Warning("virtual machines are not run")),
    ("type", "type: container", Warning("only containers and balancers are run")),
    ("volumes_from", "volumes_from: [db]\nlabels: {io.rancher.sidekicks: db}", Field("/template/kind/container/volumes_from/0/sidekick", || json!("db"))),
    ("network_mode", "network_mode: 'container:db'\nlabels: {io.rancher.sidekicks: db}", Field("/template/kind/container/network", || json!({"sibling": "db"}))),
    ("external_links", "external_links: ['other/api:backend']", Field("/links/0", || json!({"service": "other/api", "alias": "backend"}))),
    ("links", "links: ['db:database']", Field("/links/0", || json!({"service": "shop/db", "alias": "database"}))),
    ("secrets.source", "secrets: [{source: key}]", Field("/template/kind/container/files/0/name", || json!("key"))),
    ("secrets.target", "secrets: [{source: key, target: k}]", Field("/template/kind/container/files/0/target", || json!("/run/secrets/k"))),
    ("secrets.uid", "secrets: [{source: key, uid: '7'}]", Field("/template/kind/container/files/0/uid", || json!(7))),
    ("secrets.gid", "secrets: [{source: key, gid: '8'}]", Field("/template/kind/container/files/0/gid", || json!(8))),
    ("secrets.mode", "secrets: [{source: key, mode: '0400'}]", Field("/template/kind/container/files/0/mode", || json!(0o400))),
    ("volumes.driver", "volumes: ['v:/v']", Field("/template/kind/container/mounts/0/name", || json!("shop_v"))),
    ("volumes.external", "volumes: ['e:/v']", Field("/template/kind/container/mounts/0/name", || json!("e"))),
    ("volumes.per_container", "volumes: ['p:/v']", Field("/template/kind/container/mounts/0/name", || json!("shop_p_${n}"))),
];

const RULE: &str = "/template/kind/balancer/rules/0";

/// Keys of `lb_config`: the key's path, `lb_config` as YAML, what becomes of it.
#[rustfmt::skip]
const BALANCER: &[(&str, &str, Becomes)] = &[
    ("port_rules.source_port", "port_rules: [{source_port: 80, target_port: 8080, service: db}]", Field("/template/kind/balancer/rules/0/source_port", || json!(80))),
    ("port_rules.target_port", "port_rules: [{source_port: 80, target_port: 8080, service: db}]", Field("/template/kind/balancer/rules/0/target_port", || json!(8080))),
    ("port_rules.service", "port_rules: [{source_port: 80, target_port: 1, service: o/db}]", Field("/template/kind/balancer/rules/0/service", || json!("o/db"))),
    ("port_rules.protocol", "port_rules: [{source_port: 80, target_port: 1, service: db, protocol: tcp}]", Field("/template/kind/balancer/rules/0/protocol", || json!("tcp"))),
    ("port_rules.hostname", "port_rules: [{source_port: 80, target_port: 1, service: db, hostname: '*.a.test'}]", Field("/template/kind/balancer/rules/0/hostname", || json!("*.a.test"))),
    ("port_rules.path", "port_rules: [{source_port: 80, target_port: 1, service: db, path: /x}]", Field("/template/kind/balancer/rules/0/path", || json!("/x"))),
    ("port_rules.priority", "port_rules: [{source_port: 80, target_port: 1, service: db, priority: 4}]", Field("/template/kind/balancer/rules/0/priority", || json!(4))),
    ("port_rules.backend_name", "port_rules: [{source_port: 80, target_port: 1, service: db, backend_name: b}]", Field("/template/kind/balancer/rules/0/backend_name", || json!("b"))),
    ("port_rules.weight", "port_rules: [{source_port: 80, target_port: 1, service: db, weight: 9}]", Field("/template/kind/balancer/rules/0/weight", || json!(9))),
    ("port_rules.selector", "port_rules: [{source_port: 81, selector: a=b}, {source_port: 80, target_port: 1, service: db}]", Warning("selector is not carried out yet: the rule is left out")),
    ("port_rules.container", "port_rules: [{source_port: 81, container: a}, {source_port: 80, target_port: 1, service: db}]", Warning("container is not carried out yet: the rule is left out")),
    ("port_rules.region", "port_rules: [{source_port: 80, target_port: 1, service: db, region: r}]", Warning("there is one region")),
    ("port_rules.environment", "port_rules: [{source_port: 80, target_port: 1, service: db, environment: e}]", Warning("there is one environment")),
    ("certs", "port_rules: [{source_port: 80, target_port: 1, service: db}], certs: [a]", Warning("the balancer speaks no TLS")),
    ("default_cert", "port_rules: [{source_port: 80, target_port: 1, service: db}], default_cert: a", Warning("the balancer speaks no TLS")),
    ("config", "port_rules: [{source_port: 80, target_port: 1, service: db}], config: global", Warning("there is no HAProxy")),
    ("stickiness_policy", "port_rules: [{source_port: 80, target_port: 1, service: db}], stickiness_policy: {name: a}", Warning("requests go to any instance")),
];

fn check(what: &str, text: &str, becomes: &Becomes) {
    let given = given(text).with("/p/key.txt", "k");
    match becomes {
        Field(pointer, expected) => {
            let loaded = given.clean();
            let json = serde_json::to_value(service(&loaded, "web")).unwrap();
            assert_eq!(json.pointer(pointer), Some(&expected()), "{what}: {json:#}");
        }
        Warning(fragment) => {
            given.warned(fragment);
        }
    }
}

#[test]
fn every_key_of_a_container_becomes_what_the_table_says() {
    for (key, lines, becomes) in CONTAINER {
        let indented: String = lines.lines().map(|line| format!("    {line}\n")).collect();
        let text = format!(
            "name: shop\nservices:\n  web:\n    image: web:1\n{indented}  db: {{image: 'db:1'}}\n\
             secrets: {{key: {{file: ./key.txt}}}}\nvolumes:\n  v: {{driver: nfs, driver_opts: {{a: b}}}}\n  \
             e: {{external: true}}\n  p: {{per_container: true}}\n"
        );
        // Every top-level volume is checked, whether used or not.
        check(key, &text, becomes);
    }
}

#[test]
fn every_key_of_a_balancer_becomes_what_the_table_says() {
    for (key, config, becomes) in BALANCER {
        let text = format!(
            "name: shop\nservices:\n  web: {{lb_config: {{{config}}}}}\n  db: {{image: 'db:1'}}\n"
        );
        check(key, &text, becomes);
    }
    let text = "name: shop\nservices:\n  web: {image: rancher/load-balancer-service, ports: ['80:81'], \
                links: [db], certs: [a]}\n  db: {image: 'db:1'}\n";
    let loaded = given(text).warned("the balancer speaks no TLS");
    let json = serde_json::to_value(service(&loaded, "web")).unwrap();
    assert_eq!(json.pointer(RULE).unwrap()["target_port"], 81);
}

#[test]
fn volumes_carry_their_driver_and_are_one_for_each_instance_when_asked() {
    let loaded = given(
        "name: shop\nservices:\n  web: {image: w, volumes: ['v:/v', 'e:/e', 'p:/p']}\nvolumes:\n  \
         v: {driver: nfs, driver_opts: {a: b}}\n  e: {external: true}\n  p: {per_container: true}\n",
    )
    .clean();
    let json = serde_json::to_value(&loaded.spec.volumes).unwrap();
    assert_eq!(
        (&json["shop_v"]["driver"], &json["shop_v"]["driver_opts"]["a"]),
        (&json!("nfs"), &json!("b"))
    );
    assert_eq!(json["e"]["external"], json!(true));
    assert_eq!(json["shop_p_${n}"]["external"], json!(false));
}

/// Which kind of service a file means, in the order in which Rancher asks.
#[test]
fn the_kind_of_a_service_is_found_as_rancher_found_it() {
    for (lines, kind) in [
        ("image: nginx, external_ips: [10.0.0.1]", "external"),
        ("image: rancher/external-service, hostname: out.test", "external"),
        ("image: rancher/load-balancer-service, ports: ['80'], links: [db]", "balancer"),
        (
            "image: rancher/lb-service-haproxy, lb_config: {port_rules: [{source_port: 1, target_port: 1, service: db}]}",
            "balancer",
        ),
        ("lb_config: {port_rules: [{source_port: 1, target_port: 1, service: db}]}", "balancer"),
        ("image: rancher/dns-service, links: [db]", "alias"),
        ("image: nginx, hostname: h", "container"),
    ] {
        let text = format!("services:\n  web: {{{lines}}}\n  db: {{image: d}}\n");
        let json = serde_json::to_value(service(&given(&text).clean(), "web")).unwrap();
        assert!(json["template"]["kind"].get(kind).is_some(), "{lines}: {json:#}");
    }
    let loaded =
        given("services:\n  web: {image: a}\n  vm: {image: b, type: virtualMachine}\n").loaded();
    assert_eq!(loaded.spec.services.len(), 1);
}

/// Keys with a bad value, and what is expected there.
#[test]
fn a_bad_value_says_what_is_expected() {
    for (lines, message, expected) in [
        ("scale: 1000000000", "scale is \"1000000000\"", "a whole number from 0 to 10000"),
        ("scale: -1", "scale is \"-1\"", "a whole number from 0 to 10000"),
        ("scale_policy: {min: 3, max: 2}", "min 3 is above max 2", "min at most max"),
        ("scale_policy: {max: 20000}", "max is \"20000\"", "from 1 to 10000"),
        ("scale_policy: {min: 1}", "scale_policy has no max", "max: 1 to 10000"),
        ("scale_policy: 3", "scale_policy is \"3\"", "a map"),
        ("retain_ip: maybe", "retain_ip is \"maybe\"", "true or false"),
        ("start_on_create: 2", "start_on_create is \"2\"", "true or false"),
        ("health_check: {}", "health_check has no port", "1 to 65535"),
        ("health_check: {port: 70000}", "port is \"70000\"", "1 to 65535"),
        (
            "health_check: {port: 1, strategy: x}",
            "strategy is \"x\"",
            "none, recreate or recreateOnQuorum",
        ),
        ("health_check: {port: 1, request_line: x}", "request_line is \"x\"", "METHOD"),
        ("drain_timeout_ms: 1s", "drain_timeout_ms is \"1s\"", "a whole number"),
        ("mem_reservation: lots", "mem_reservation is \"lots\"", "a size"),
        ("milli_cpu_reservation: 0.5", "milli_cpu_reservation is \"0.5\"", "a whole number"),
        ("upgrade_strategy: {batch_size: 0}", "batch_size is \"0\"", "from 1 to 10000"),
    ] {
        let errors = web(lines).refused();
        let first = &errors.errors[0];
        assert!(first.message.contains(message), "{lines}: {errors}");
        assert!(first.expected.as_deref().unwrap_or("").contains(expected), "{lines}: {errors}");
        assert_eq!(first.line, 4, "{errors}");
    }
}
