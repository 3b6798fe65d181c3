//! Every label of Rancher, by name, with what becomes of it: a field of the spec, a plain label of
//! the container, or a warning that says which part is not carried out.

use super::given;
use crate::keys;
use serde_json::{Value, json};

/// What becomes of a label.
enum Becomes {
    /// A value in the service, by its JSON pointer.
    Field(&'static str, fn() -> Value),
    /// A plain label, without a word: the host, the dataplane or a program of the user reads it.
    Label,
    /// A plain label, with a warning that says this.
    Warning(&'static str),
}

use Becomes::{Field, Label, Warning};

const HOST_ONLY: &str = "it is a label of hosts";
const NO_KEY: &str = "no API key is put in the container";
const NO_PART: &str = "the container gets no part of ours";
const NO_TLS: &str = "the balancer speaks no TLS";
const NETWORK_PLUGIN: &str = "it is a setting of Rancher's network plugins";

fn constraint(on: Value, negated: bool, soft: bool) -> Value {
    json!({"on": on, "negated": negated, "soft": soft})
}

fn host(negated: bool, soft: bool) -> Value {
    constraint(json!({"type": "host_label", "key": "zone", "value": "a"}), negated, soft)
}

fn with_label(negated: bool, soft: bool) -> Value {
    constraint(json!({"type": "container_label", "key": "tier", "value": "x"}), negated, soft)
}

fn container(negated: bool, soft: bool) -> Value {
    constraint(json!({"type": "container", "name": "shop-db-1"}), negated, soft)
}

fn like(stack_service: &str) -> Value {
    let key = "io.rancher.stack_service.name";
    constraint(json!({"type": "container_label", "key": key, "value": stack_service}), false, false)
}

const CONSTRAINT: &str = "/template/placement/constraints/0";

/// Label, value as YAML, what becomes of it.
#[rustfmt::skip]
const LABELS: &[(&str, &str, Becomes)] = &[
    // The scheduler.
    ("io.rancher.scheduler.affinity:host_label", "Zone=A", Field(CONSTRAINT, || host(false, false))),
    ("io.rancher.scheduler.affinity:host_label_ne", "zone=a", Field(CONSTRAINT, || host(true, false))),
    ("io.rancher.scheduler.affinity:host_label_soft", "zone=a", Field(CONSTRAINT, || host(false, true))),
    ("io.rancher.scheduler.affinity:host_label_soft_ne", "zone=a", Field(CONSTRAINT, || host(true, true))),
    ("io.rancher.scheduler.affinity:container_label", "TIER=X", Field(CONSTRAINT, || with_label(false, false))),
    ("io.rancher.scheduler.affinity:container_label_ne", "tier=x", Field(CONSTRAINT, || with_label(true, false))),
    ("io.rancher.scheduler.affinity:container_label_soft", "tier=x", Field(CONSTRAINT, || with_label(false, true))),
    ("io.rancher.scheduler.affinity:container_label_soft_ne", "tier=x", Field(CONSTRAINT, || with_label(true, true))),
    ("io.rancher.scheduler.affinity:container", "Shop-DB-1", Field(CONSTRAINT, || container(false, false))),
    ("io.rancher.scheduler.affinity:container_ne", "shop-db-1", Field(CONSTRAINT, || container(true, false))),
    ("io.rancher.scheduler.affinity:container_soft", "shop-db-1", Field(CONSTRAINT, || container(false, true))),
    ("io.rancher.scheduler.affinity:container_soft_ne", "shop-db-1", Field(CONSTRAINT, || container(true, true))),
    // A comma is "and"; a label without a value may have any.
    ("io.rancher.scheduler.affinity:host_label", "'x=y, zone=a'", Field("/template/placement/constraints/1", || host(false, false))),
    ("io.rancher.scheduler.affinity:host_label", "gpu", Field(CONSTRAINT, || constraint(json!({"type": "host_label", "key": "gpu", "value": null}), false, false))),
    ("io.rancher.scheduler.affinity:container_label", "gpu", Field(CONSTRAINT, || constraint(json!({"type": "container_label", "key": "gpu", "value": null}), false, false))),
    // Macros, and the service's name alone.
    ("io.rancher.scheduler.affinity:container_label", "io.rancher.stack_service.name=$${stack_name}/$${service_name}", Field(CONSTRAINT, || like("shop/web"))),
    ("io.rancher.scheduler.affinity:container_label", "io.rancher.stack_service.name=$${project_name}/x", Field(CONSTRAINT, || like("shop/x"))),
    ("io.rancher.scheduler.affinity:container_label", "io.rancher.stack_service.name=DB", Field(CONSTRAINT, || like("shop/db"))),
    ("io.rancher.scheduler.affinity:container_label", "io.rancher.stack_service.name=log", Field(CONSTRAINT, || like("shop/web/log"))),
    ("io.rancher.scheduler.affinity:container_label", "io.rancher.stack_service.name=other", Field(CONSTRAINT, || like("other"))),
    ("io.rancher.scheduler.affinity:container_label", "io.rancher.project_service.name=db", Field("/template/placement/constraints/0/on/value", || json!("shop/db"))),
    ("io.rancher.scheduler.affinity:container_label_soft", "io.rancher.service.deployment.unit=u-1", Field("/template/placement/constraints/0/on/value", || json!("u-1"))),
    ("io.rancher.scheduler.global", "'true'", Field("/mode/type", || json!("global"))),
    ("io.rancher.scheduler.ips", "10.0.0.1", Warning(HOST_ONLY)),
    ("io.rancher.scheduler.require_any", "a=b", Warning(HOST_ONLY)),
    ("io.rancher.service.requested.host.id", "1h7", Field("/template/placement/requested_host", || json!("1h7"))),
    // Containers and services.
    ("io.rancher.sidekicks", "log", Field("/template/sidekicks/log/container/image", || json!("log:1"))),
    ("io.rancher.container.network", "'true'", Label),
    ("io.rancher.container.dns", "'true'", Warning("containers always ask our DNS")),
    ("io.rancher.container.dns.priority", "service_last", Label),
    ("io.rancher.container.pull_image", "always", Field("/template/kind/container/pull", || json!("always"))),
    ("io.rancher.container.hostname_override", "container_name", Label),
    ("io.rancher.container.start_once", "'true'", Field("/template/restart/policy", || json!("once"))),
    ("io.rancher.container.requested_ip", "'10.42.0.9, 10.42.0.10'", Field("/requested_ips", || json!(["10.42.0.9", "10.42.0.10"]))),
    ("io.rancher.container.create_agent", "'true'", Warning(NO_KEY)),
    ("io.rancher.container.agent.role", "environment", Warning(NO_KEY)),
    ("io.rancher.container.agent_service.metadata", "'true'", Warning(NO_PART)),
    ("io.rancher.container.agent_service.ipsec", "'true'", Warning(NO_PART)),
    ("io.rancher.container.agent_service.scheduling", "'true'", Warning(NO_PART)),
    ("io.rancher.container.agent_service.drain_provider", "'true'", Warning(NO_PART)),
    ("io.rancher.container.agent_service.labels_provider", "'true'", Warning(NO_PART)),
    ("io.rancher.container.agent_service.docker_compose", "'true'", Warning(NO_PART)),
    ("io.rancher.service.selector.link", "'a=b, c!=d, e, f in (g,h), i notin (j)'", Field("/selector_link", || json!("a=b, c!=d, e, f in (g,h), i notin (j)"))),
    ("io.rancher.service.selector.container", "foo=bar", Field("/selector_container", || json!("foo=bar"))),
    ("io.rancher.service.external_dns", "always", Warning("no outside DNS is written")),
    ("io.rancher.service.external_dns_name_template", "'%{{service_name}}'", Warning("no outside DNS is written")),
    ("io.rancher.service.external_lb.endpoint", "f5", Warning("no outside balancer is set")),
    ("io.rancher.lb_service.target", "any", Warning("the balancer takes instances of every host")),
    ("io.rancher.lb_service.cert_dir", "/certs", Warning(NO_TLS)),
    ("io.rancher.lb_service.default_cert_dir", "/certs", Warning(NO_TLS)),
    ("io.rancher.lb_service.skip_target_lb_rules", "'true'", Warning("a balancer has the rules of its own file only")),
    ("io.rancher.loadbalancer.target.db", "example.com:80/x=81", Label),
    ("io.rancher.loadbalancer.ssl.ports", "'443'", Warning(NO_TLS)),
    ("io.rancher.loadbalancer.proxy-protocol.ports", "'80'", Warning("no PROXY header is sent")),
    ("io.rancher.container.volume_cleanup_strategy", "none", Warning("named volumes are always kept")),
    ("io.rancher.network.cni.binary", "rancher-bridge", Warning(NETWORK_PLUGIN)),
    ("io.rancher.network.host_ports", "'true'", Warning(NETWORK_PLUGIN)),
    ("io.rancher.network.macsync", "'true'", Warning(NETWORK_PLUGIN)),
    ("io.rancher.network.arpsync", "'true'", Warning(NETWORK_PLUGIN)),
    ("io.rancher.websocket.proxy.port", "'80'", Warning("it is a setting of Rancher's server")),
    ("io.rancher.websocket.proxy.scheme", "http", Warning("it is a setting of Rancher's server")),
    // What Rancher itself writes, and its export may have.
    ("io.rancher.stack.name", "shop", Label),
    ("io.rancher.stack_service.name", "shop/web", Label),
    ("io.rancher.project.name", "shop", Label),
    ("io.rancher.project_service.name", "shop/web", Label),
    ("io.rancher.service.deployment.unit", "u-1", Label),
    ("io.rancher.service.launch.config", "io.rancher.service.primary.launch.config", Label),
    ("io.rancher.service.primary.launch.config", "x", Label),
    ("io.rancher.service.hash", "abc", Label),
    ("io.rancher.container.uuid", "u", Label),
    ("io.rancher.container.name", "shop-web-1", Label),
    ("io.rancher.container.ip", "10.42.0.9/16", Label),
    ("io.rancher.container.mac_address", "'02:00:00:00:00:01'", Label),
    ("io.rancher.container.agent_id", "'7'", Label),
    ("io.rancher.container.system", "'true'", Label),
    ("io.rancher.cni.network", "ipsec", Label),
    ("io.rancher.environment.uuid", "e", Label),
    // Of hosts.
    ("io.rancher.host.linux_kernel_version", "'4.4'", Label),
    ("io.rancher.host.docker_version", "'17.03'", Label),
    ("io.rancher.host.provider", "aws", Label),
    ("io.rancher.host.region", "r", Label),
    ("io.rancher.host.zone", "z", Label),
    ("io.rancher.host.external_dns", "'true'", Label),
    ("io.rancher.host.external_dns_ip", "1.2.3.4", Label),
    ("io.rancher.host.healthcheck.deploy_strategy", "skip", Label),
];

#[test]
fn every_label_of_rancher_becomes_what_the_table_says() {
    for (label, value, becomes) in LABELS {
        let sidekicks =
            if *label == "io.rancher.sidekicks" { "" } else { "io.rancher.sidekicks: log" };
        let text = format!(
            "name: shop\nservices:\n  web:\n    image: web:1\n    labels:\n      '{label}': {value}\n      \
             {sidekicks}\n  log: {{image: 'log:1'}}\n  db: {{image: 'db:1'}}\n"
        );
        let given = given(&text);
        let loaded = match becomes {
            Field(..) | Label => given.clean(),
            Warning(what) => given.warned(what),
        };
        let web = super::service(&loaded, "web");
        if let Field(pointer, expected) = becomes {
            let json = serde_json::to_value(web).unwrap();
            assert_eq!(json.pointer(pointer), Some(&expected()), "{label}: {json:#}");
        }
        // It stays a label of the container, whatever else it is.
        let labels = &web.template.container().unwrap().labels;
        assert!(labels.contains_key(*label), "{label}: {labels:?}");
    }
}

#[test]
fn the_table_has_every_label_that_the_loader_knows() {
    for key in keys().filter(|key| key.scope == crate::Scope::Label) {
        let covered = LABELS.iter().any(|(label, ..)| match key.name.strip_suffix('*') {
            Some(prefix) => label.starts_with(prefix),
            None => *label == key.name,
        });
        assert!(covered, "{} has no row", key.name);
    }
}

/// Makes what a row expects.
type Expected = fn() -> Value;

/// A variable of the environment, and the constraint that it is.
#[rustfmt::skip]
const VARIABLES: &[(&str, Expected)] = &[
    ("constraint:zone==A", || host(false, false)),
    ("constraint:zone!=a", || host(true, false)),
    ("constraint:zone==~a", || host(false, true)),
    ("constraint:zone!=~a", || host(true, true)),
    ("affinity:tier==x", || with_label(false, false)),
    ("affinity:tier!=x", || with_label(true, false)),
    ("affinity:tier==~x", || with_label(false, true)),
    ("affinity:tier!=~x", || with_label(true, true)),
    ("affinity:container==shop-db-1", || container(false, false)),
    ("affinity:container!=shop-db-1", || container(true, false)),
    ("affinity:container==~shop-db-1", || container(false, true)),
    ("affinity:container!=~shop-db-1", || container(true, true)),
    ("affinity:io.rancher.stack_service.name==web", || like("shop/web")),
];

#[test]
fn every_form_of_a_scheduling_variable_is_a_constraint() {
    for (variable, expected) in VARIABLES {
        let at = variable.find(['=', '!']).unwrap();
        let (key, rest) = variable.split_at(at);
        for environment in [format!("['{variable}']"), format!("{{'{key}': '{rest}'}}")] {
            let text = format!(
                "name: shop\nservices:\n  web:\n    image: web:1\n    environment: {environment}\n"
            );
            let json = serde_json::to_value(super::service(&given(&text).clean(), "web")).unwrap();
            assert_eq!(json.pointer(CONSTRAINT), Some(&expected()), "{environment}: {json:#}");
        }
    }
    // A macro has two signs, so that it is not a variable of the shell.
    let label = "'io.rancher.scheduler.affinity:container_label': 'a=${stack_name}'";
    let loaded = super::web(&format!("labels: {{{label}}}")).loaded();
    assert!(loaded.warnings[0].to_string().contains("written $${stack_name}"));
    // Others are variables and nothing else.
    let plain = super::web("environment: ['A=affinity:x', 'constraints:x=y']").service();
    assert!(plain.template.placement.constraints.is_empty());
}

/// Label, value, what the message has.
#[rustfmt::skip]
const BAD: &[(&str, &str, &str)] = &[
    ("io.rancher.scheduler.affinity:hostlabel", "a=b", "host_label, container_label or container"),
    ("io.rancher.scheduler.affinity:host_label_nee", "a=b", "host_label, container_label or container"),
    ("io.rancher.scheduler.affinity:", "a=b", "host_label, container_label or container"),
    ("io.rancher.scheduler.affinity:host_label", "''", "label=value"),
    ("io.rancher.scheduler.affinity:host_label", "=b", "label=value"),
    ("io.rancher.scheduler.affinity:host_label", "'a b=c'", "label=value"),
    ("io.rancher.scheduler.affinity:container", "','", "names of containers"),
    ("io.rancher.scheduler.global", "maybe", "true or false"),
    ("io.rancher.container.start_once", "'1'", "true or false"),
    ("io.rancher.container.requested_ip", "10.42.0", "addresses such as 10.42.0.7"),
    ("io.rancher.container.requested_ip", "'::1'", "addresses such as 10.42.0.7"),
    ("io.rancher.service.requested.host.id", "a b", "the id of a host"),
    ("io.rancher.service.selector.link", "a in b", "k in (a,b)"),
    ("io.rancher.service.selector.link", "''", "k=v"),
    ("io.rancher.service.selector.container", "a==b", "k=v"),
    ("io.rancher.service.selector.container", "a in (b", "k=v"),
];

#[test]
fn a_label_that_cannot_be_read_is_refused_where_it_stands() {
    let long = "x".repeat(10_000);
    let mut cases: Vec<(&str, String, &str)> =
        BAD.iter().map(|(label, value, what)| (*label, (*value).to_owned(), *what)).collect();
    let long_pair = format!("a={long}");
    cases.push((
        "io.rancher.scheduler.affinity:host_label",
        long_pair.clone(),
        "at most 4096 bytes",
    ));
    cases.push(("io.rancher.service.selector.link", long_pair, "k=v"));
    cases.push(("io.rancher.service.requested.host.id", long.clone(), "the id of a host"));
    cases.push(("io.rancher.sidekicks", long, "names of other services"));
    for (label, value, expected) in cases {
        let errors = super::web(&format!("labels:\n  '{label}': {value}")).refused();
        let first = &errors.errors[0];
        assert_eq!((first.line, first.column > 1), (5, true), "{errors}");
        let said = first.expected.as_deref().unwrap_or("");
        assert!(said.contains(expected), "{label}: {value}: {errors}");
        assert!(errors.to_string().len() < 2_000, "{errors}");
    }
    let many: Vec<String> = (0..101).map(|i| format!("k{i}=v")).collect();
    let errors = super::web(&format!(
        "labels: {{'io.rancher.scheduler.affinity:host_label': '{}'}}",
        many.join(",")
    ));
    let errors = errors.refused().to_string();
    assert!(
        errors.contains("101 placement constraints") && errors.contains("at most 100"),
        "{errors}"
    );
}
