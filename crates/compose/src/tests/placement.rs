//! `deploy.placement` and Remuda's `placement`; Rancher's labels have a table of their own.

use super::{given, service, web};
use crate::render;
use model::placement::{Placement, Strategy};

fn placement(lines: &str) -> Placement {
    let loaded = given(&format!(
        "name: shop\nservices:\n  web:\n    image: a\n    {}\n  db: {{image: b}}\n",
        lines.replace('\n', "\n    ")
    ))
    .clean();
    assert_eq!(given(&render(&loaded)).clean().spec, loaded.spec, "{lines}");
    service(&loaded, "web").template.placement.clone()
}

fn constraints(lines: &str) -> Vec<String> {
    placement(lines).constraints.iter().map(ToString::to_string).collect()
}

#[test]
fn constraints_of_deploy_look_at_the_host() {
    for (text, shown) in [
        ("node.labels.zone == A", "must have host label zone=a"),
        ("node.labels.Disk!=hdd", "must not have host label disk=hdd"),
        ("engine.labels.os==linux", "must have host label os=linux"),
        ("node.hostname==Big", "must have host big"),
        ("node.id!=h7", "must not have host h7"),
    ] {
        assert_eq!(
            constraints(&format!("deploy: {{placement: {{constraints: ['{text}']}}}}")),
            [shown]
        );
        assert_eq!(constraints(&format!("placement: {{constraints: '{text}'}}")), [shown]);
    }
    for text in ["node.role==manager", "node.platform.os==linux"] {
        let lines = format!("deploy: {{placement: {{constraints: ['{text}']}}}}");
        let loaded = web(&lines).warned("has no effect");
        assert!(service(&loaded, "web").template.placement.constraints.is_empty());
    }
}

#[test]
fn spreading_and_the_most_on_a_host_are_read() {
    let placed = placement(
        "deploy:\n  placement:\n    preferences: [{spread: node.labels.Zone}, {spread: rack}]\n    \
         max_replicas_per_node: 2",
    );
    assert_eq!(placed.spread_by, ["zone", "rack"]);
    assert_eq!((placed.max_per_host, placed.strategy), (Some(2), Strategy::Spread));
    let own = placement(
        "deploy: {placement: {preferences: [{spread: a}], max_replicas_per_node: 2}}\n\
         placement: {strategy: binpack, spread_by: [node.labels.b], max_per_host: 3}",
    );
    assert_eq!((own.spread_by, own.max_per_host), (vec!["b".to_owned()], Some(3)));
    assert_eq!(own.strategy, Strategy::Binpack);
    assert_eq!(placement("deploy: {placement: {max_replicas_per_node: 0}}").max_per_host, None);
}

#[test]
fn services_are_kept_apart_or_together_by_name() {
    let key = "container with label io.rancher.stack_service.name";
    for (lines, shown) in [
        ("anti_affinity: db", format!("must not have {key}=shop/db")),
        ("anti_affinity: [other/API]", format!("must not have {key}=other/api")),
        ("anti_affinity_soft: self", format!("should not have {key}=shop/web")),
        ("affinity: [db]", format!("must have {key}=shop/db")),
        ("affinity_soft: [db]", format!("should have {key}=shop/db")),
    ] {
        assert_eq!(constraints(&format!("placement: {{{lines}}}")), [shown]);
    }
    assert_eq!(placement("placement: {anti_affinity: self}").max_per_host, Some(1));
    // The same words with the sign of an extension, which Docker Compose lets pass.
    assert_eq!(placement("x-remuda-placement: {anti_affinity: self}").max_per_host, Some(1));
    let sidekick = given(
        "name: shop\nservices:\n  web: {image: a, labels: {io.rancher.sidekicks: log}}\n  \
         log: {image: b}\n  c: {image: c, placement: {anti_affinity: log}}\n",
    )
    .clean();
    let shown = service(&sidekick, "c").template.placement.constraints[0].to_string();
    assert_eq!(shown, format!("must not have {key}=shop/web/log"));
}

#[test]
fn two_services_on_one_port_are_for_hosts_that_placement_keeps_apart() {
    let text = |label: &str| {
        format!(
            "services:\n  a: {{image: a, ports: ['80:80'], {label}}}\n  \
             b: {{image: b, ports: ['80:80']}}\n"
        )
    };
    let errors = given(&text("scale: 1")).refused().to_string();
    assert!(errors.contains("takes host port 80/tcp") && errors.contains("placement"), "{errors}");
    given(&text("deploy: {placement: {constraints: ['node.hostname==x']}}"))
        .warned("takes host port 80/tcp, which service \"a\" has");
}

#[test]
fn a_placement_that_cannot_be_read_is_refused_at_its_place() {
    let long = format!(
        "deploy: {{placement: {{constraints: ['node.labels.a=={}']}}}}",
        "x".repeat(10_000)
    );
    for (lines, message, expected) in [
        ("deploy: {placement: {constraints: [zone]}}", "constraint \"zone\"", "node.labels.x==y"),
        (
            "deploy: {placement: {constraints: ['node.labels.==y']}}",
            "constraint",
            "node.labels.x==y",
        ),
        (
            "deploy: {placement: {constraints: ['node.labels.a==']}}",
            "constraint",
            "node.labels.x==y",
        ),
        (
            "deploy: {placement: {constraints: ['node.colour==y']}}",
            "constraint",
            "node.labels.x==y",
        ),
        ("deploy: {placement: {constraints: node.id==a}}", "constraints is", "a list of texts"),
        ("deploy: {placement: {preferences: [{spread: ''}]}}", "it spreads over", "a host label"),
        (
            "deploy: {placement: {preferences: [{spread: node.id}]}}",
            "it spreads over",
            "a host label",
        ),
        ("deploy: {placement: {preferences: [zone]}}", "preferences", "a map"),
        (
            "deploy: {placement: {max_replicas_per_node: x}}",
            "max_replicas_per_node is",
            "a whole number",
        ),
        ("placement: {strategy: random}", "strategy is \"random\"", "spread or binpack"),
        ("placement: {anti_affinity: nobody}", "placement names service \"nobody\"", "this stack"),
        ("placement: {anti_affinity: a b/c}", "placement: ", "self, service, or stack/service"),
        ("placement: {affinity: self}", "leaves no host", "another service"),
        ("placement: {max_per_host: 0}", "max_per_host is \"0\"", "from 1"),
        (&long, "too long", "at most 4096 bytes"),
    ] {
        let errors = web(lines).refused();
        let first = &errors.errors[0];
        let shown: String = lines.chars().take(100).collect();
        assert!(first.message.contains(message), "{shown}: {errors}");
        assert!(first.expected.as_deref().unwrap_or("").contains(expected), "{shown}: {errors}");
        assert_eq!(first.line, 4, "{errors}");
    }
}
