//! Links, aliases of services, and services outside of the stack.

use super::{given, service};
use crate::Loaded;
use model::service::{AliasSpec, ExternalSpec, Kind};

fn links(loaded: &Loaded, name: &str) -> Vec<String> {
    service(loaded, name).links.iter().map(|l| format!("{} {}", l.service, l.alias)).collect()
}

fn alias<'l>(loaded: &'l Loaded, name: &str) -> &'l AliasSpec {
    match &service(loaded, name).template.kind {
        Kind::Alias(spec) => spec,
        other => panic!("{other:?}"),
    }
}

fn external(lines: &str) -> ExternalSpec {
    let text = format!("services:\n  out:\n    {}\n", lines.replace('\n', "\n    "));
    let loaded = given(&text).clean();
    match service(&loaded, "out").template.kind.clone() {
        Kind::External(spec) => spec,
        other => panic!("{other:?}"),
    }
}

#[test]
fn links_have_their_stack_and_their_name() {
    let loaded = given(
        "name: shop\nservices:\n  web: {image: a, links: [db, 'db:main.db', 'other/api'], \
         external_links: ['mail/smtp:post', 'mail/imap', cache]}\n  db: {image: b, links: ['web:front']}\n  \
         cache: {image: c}\n",
    )
    .clean();
    assert_eq!(
        links(&loaded, "web"),
        [
            "shop/db db",
            "shop/db main.db",
            "other/api api",
            "mail/smtp post",
            "mail/imap imap",
            "shop/cache cache"
        ]
    );
    // Two that link to each other are fine.
    assert_eq!(links(&loaded, "db"), ["shop/web front"]);
}

#[test]
fn what_another_stack_may_have_is_only_warned_about() {
    let of = |links: &str| {
        given(&format!("name: shop\nservices:\n  web: {{image: a, external_links: [{links}]}}\n"))
    };
    let loaded = of("'o/db', 'p/DB', 'o/db'").warned("the name \"DB\" is that of o/db");
    assert_eq!(links(&loaded, "web"), ["o/db db"]);
    of("redis_1").warned("no stack is named");
    of("'region/env/stack/svc:x'").warned("it leads to another environment");
    let loaded = of("'shop/later:l'").warned("there is no service \"later\" in this stack");
    assert_eq!(links(&loaded, "web"), ["shop/later l"]);
}

#[test]
fn an_alias_stands_for_its_links() {
    let loaded = given(
        "name: shop\nservices:\n  web: {image: a}\n  api: {image: b}\n  all: {image: rancher/dns-service, \
         links: [web, 'api:x'], external_links: ['o/p']}\n  more: {image: 'rancher/dns-service:v1', \
         links: [all], start_on_create: true}\n  picked: {image: rancher/dns-service, \
         labels: {io.rancher.service.selector.link: tier=x}}\n",
    )
    .clean();
    let shown = |name: &str| -> Vec<String> {
        alias(&loaded, name).targets.iter().map(ToString::to_string).collect()
    };
    assert_eq!(shown("all"), ["shop/web", "shop/api", "o/p"]);
    assert_eq!(shown("more"), ["shop/all"]);
    assert!(shown("picked").is_empty());
    assert!(service(&loaded, "all").links.is_empty());
    assert_eq!(service(&loaded, "all").scale, None);
}

#[test]
fn a_service_outside_has_addresses_or_a_host_name() {
    let spec =
        external("image: rancher/external-service\nexternal_ips: [10.0.0.1, '::1', 10.0.0.1]");
    let shown: Vec<String> = spec.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["10.0.0.1", "::1"]);
    assert_eq!(external("external_ips: 10.0.0.1").addresses.len(), 1);
    let named = external("image: rancher/external-service\nhostname: db.example.com");
    assert_eq!((named.addresses.len(), named.hostname.as_str()), (0, "db.example.com"));
    let checked =
        given("services: {out: {external_ips: [10.0.0.1], health_check: {port: 80}}}").clean();
    assert_eq!(service(&checked, "out").template.health_check.as_ref().unwrap().port, 80);
    given("services: {out: {external_ips: [10.0.0.1], command: x}}")
        .warned("command has no effect on a service outside of the stack");
}

#[test]
fn a_name_for_something_else_is_not_waited_for_and_has_no_instances() {
    let loaded = given(
        "services:\n  web: {image: a, depends_on: [out, all, db]}\n  out: {external_ips: [10.0.0.1], \
         scale: 1}\n  all: {image: rancher/dns-service, links: [db]}\n  db: {image: b}\n",
    )
    .clean();
    let on: Vec<&str> = service(&loaded, "web").depends_on.keys().map(|n| n.as_str()).collect();
    assert_eq!(on, ["db"]);
    for (keys, what) in [
        ("scale: 2", "scale has no effect on an alias"),
        ("ports: ['80:80']", "ports has no effect on an alias"),
        ("rollout: {canary: 1}", "rollout has no effect on an alias"),
        ("autoscale: {max: 2, cpu: 70}", "autoscale has no effect on an alias"),
    ] {
        let text = format!(
            "services:\n  all: {{image: rancher/dns-service, external_links: [o/p], {keys}}}\n"
        );
        let loaded = given(&text).warned(what);
        let all = service(&loaded, "all");
        assert_eq!((all.scale, all.scaling), (None, None), "{keys}");
    }
    let job = given("services: {all: {image: rancher/dns-service, links: [], job: {}}}").refused();
    assert!(job.to_string().contains("only containers can be a job"), "{job}");
}

/// Services, line of the error, message.
#[rustfmt::skip]
const BAD: &[(&str, u32, &str)] = &[
    ("web: {image: a, links: [db]}", 2, "it links to service \"db\", which is not there"),
    ("web: {image: a, links: ['db:x']}\n  db: {image: b, profiles: [p]}", 2, "in no active profile"),
    ("web:\n    image: a\n    links:\n    - db:a b\n  db: {image: b}", 5, "the alias \"a b\" is not a name"),
    ("web: {image: a, links: ['db:']}\n  db: {image: b}", 2, "the alias \"\" is not a name"),
    ("web: {image: a, links: ['o/p q']}", 2, "links: service name \"p q\""),
    ("web: {image: a, external_links: ['/x']}", 2, "external_links: stack name"),
    ("a: {image: rancher/dns-service}", 2, "an alias stands for no service"),
    ("a: {image: rancher/dns-service, links: [b]}\n  b: {image: rancher/dns-service, links: [a]}", 3, "aliases lead in a circle: a -> b -> a"),
    ("a: {image: rancher/dns-service, links: [a]}", 2, "aliases lead in a circle: a -> a"),
    ("out: {image: rancher/external-service}", 2, "leads nowhere"),
    ("out:\n    external_ips:\n    - 10.0.0.1\n    - 10.0.0.256", 5, "external_ips: \"10.0.0.256\" is not an address"),
    ("out: {external_ips: [example.com]}", 2, "is not an address"),
    ("out: {external_ips: [10.0.0.1], hostname: a.test}", 2, "exclude each other"),
    ("out: {image: rancher/external-service, hostname: 'a_!'}", 2, "is not a host name"),
];

#[test]
fn what_leads_nowhere_is_refused_at_its_place() {
    for (services, line, message) in BAD {
        let errors = given(&format!("services:\n  {services}\n")).refused();
        let first = &errors.errors[0];
        assert!(first.message.contains(message), "{services}: {errors}");
        assert_eq!(first.line, *line, "{services}: {errors}");
        assert!(first.expected.is_some() || first.hint.is_some(), "{errors}");
    }
    let long = "x".repeat(10_000);
    for services in [
        format!("web: {{image: a, links: ['web:{long}']}}"),
        format!("web: {{image: a, external_links: ['{long}/a']}}"),
        format!("web: {{external_ips: ['{long}']}}"),
        format!("web: {{image: rancher/external-service, hostname: {long}}}"),
        format!("web: {{image: a, network_mode: 'service:{long}'}}"),
        format!("web: {{image: a, volumes_from: [{long}]}}"),
        format!("{}: {{image: a}}", &long[..900]),
    ] {
        let errors = given(&format!("services:\n  {services}\n")).refused();
        let shown = errors.to_string();
        assert!(shown.len() < 2_500 && shown.contains("expected"), "{shown}");
        assert_eq!(errors.errors[0].line, 2, "{shown}");
    }
    let many: Vec<String> = (0..501).map(|i| format!("'o/s{i}'")).collect();
    let errors =
        given(&format!("services: {{web: {{image: a, external_links: [{}]}}}}", many.join(",")));
    assert!(errors.refused().to_string().contains("there are 501 links"));
}
