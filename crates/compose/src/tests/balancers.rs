//! `lb_config` and Rancher's older balancer.

use super::{balancer, given, service, web};
use model::balancer::BalancerProtocol;

const WEB: &str = "services:\n  web: {image: web:1}\n  lb:\n";

/// A stack of `web` and a balancer with these lines below `lb`.
fn lb(lines: &str) -> super::Given {
    let indented: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    given(&format!("{WEB}{indented}"))
}

#[test]
fn the_storefront_pair_is_one_stack_with_a_balancer() {
    let docker = "version: '2'\nservices:\n  api:\n    image: api:${VERSION:-1}\n  \
                  lb:\n    image: rancher/lb-service-haproxy:v0.9.14\n    ports:\n    - 8080:8080/tcp\n";
    let rancher = "version: '2'\nservices:\n  api:\n    scale: 3\n    health_check:\n      \
                   port: 8080\n      request_line: GET \"/healthz\" \"HTTP/1.0\"\n  lb:\n    \
                   lb_config:\n      port_rules:\n      - source_port: 8080\n        \
                   hostname: a.test\n        service: api\n        target_port: 80\n";
    let loaded = given(docker).over("/p/rancher-compose.yml", rancher).env("VERSION", "7").clean();
    assert_eq!(service(&loaded, "api").template.container().unwrap().image, "api:7");
    assert_eq!(service(&loaded, "api").scale, Some(3));
    let rule = &balancer(&loaded, "lb").rules[0];
    assert_eq!((rule.source_port, rule.target_port, rule.weight), (8080, 80, 1));
    assert_eq!(rule.protocol, BalancerProtocol::Http);
    assert_eq!((rule.hostname.as_str(), rule.service.to_string().as_str()), ("a.test", "p/api"));
    let ports = &service(&loaded, "lb").template.ports;
    assert_eq!((ports.len(), ports[0].host_port), (1, Some(8080)));
}

#[test]
fn a_rule_may_name_another_stack_and_every_key() {
    let loaded = lb("lb_config:\n  port_rules:\n  - source_port: 80\n    service: shop/cart\n    \
                     target_port: 81\n    protocol: http\n    hostname: '*.a.test'\n    path: /x\n    \
                     priority: 4\n    weight: 0\n    backend_name: b\n")
    .clean();
    let rule = &balancer(&loaded, "lb").rules[0];
    assert_eq!(rule.service.to_string(), "shop/cart");
    assert_eq!((rule.hostname.as_str(), rule.path.as_str()), ("*.a.test", "/x"));
    assert_eq!((rule.priority, rule.weight, rule.backend_name.as_str()), (4, 0, "b"));
}

#[test]
fn what_the_balancer_cannot_do_yet_leaves_its_rule_out_with_a_warning() {
    for protocol in ["https", "tls", "sni", "udp"] {
        let loaded = lb(&format!(
            "lb_config:\n  port_rules:\n  - {{source_port: 80, service: web, target_port: 80}}\n  \
             - {{source_port: 443, service: web, target_port: 80, protocol: {protocol}}}\n"
        ))
        .warned("the rule is left out");
        assert_eq!(balancer(&loaded, "lb").rules.len(), 1, "{protocol}");
        assert_eq!(service(&loaded, "lb").template.ports.len(), 1, "{protocol}");
    }
    let loaded =
        lb("lb_config:\n  port_rules:\n  - {source_port: 80, selector: a=b, target_port: 80}\n")
            .warned("selector is not carried out yet: the rule is left out");
    assert!(balancer(&loaded, "lb").rules.is_empty());
}

#[test]
fn rules_without_a_source_port_make_no_balancer() {
    let loaded = web("lb_config:\n  port_rules:\n  - {hostname: a.test, target_port: 80}\n")
        .warned("lb_config without source_port");
    assert!(service(&loaded, "web").template.container().is_some());
}

#[test]
fn a_source_port_speaks_one_protocol() {
    let errors =
        lb("lb_config:\n  port_rules:\n  - {source_port: 80, service: web, target_port: 1}\n  \
                     - {source_port: 80, service: web, target_port: 1, protocol: tcp}\n")
        .refused();
    assert!(errors.to_string().contains("has another protocol"), "{errors}");
}

#[test]
fn a_port_of_a_balancer_cannot_differ_from_its_source_port() {
    let rule = "lb_config: {port_rules: [{source_port: 80, service: web, target_port: 1}]}\n";
    let errors = lb(&format!("{rule}ports: ['8080:80']\n")).refused();
    assert!(errors.to_string().contains("listens on its source_port 80"), "{errors}");
    lb(&format!("{rule}ports: [81]\n")).warned("no rule of lb_config has source_port 81");
    lb(&format!("{rule}ports: [80]\n")).clean();
}

#[test]
fn the_first_balancer_of_rancher_becomes_rules() {
    let loaded = given(
        "web:\n  image: web:1\napi:\n  image: api:1\nlb:\n  \
         image: rancher/load-balancer-service\n  ports:\n  - 80:8080\n  - 9999:9999/tcp\n  \
         links:\n  - web\n  - api:backend\n  labels:\n    \
         io.rancher.loadbalancer.target.web: a.test:80/shop=81,b.test:80\n",
    )
    .clean();
    let shown: Vec<String> = balancer(&loaded, "lb")
        .rules
        .iter()
        .map(|r| {
            let p = if r.protocol == BalancerProtocol::Http { "http" } else { "tcp" };
            let (from, host, path) = (r.source_port, &r.hostname, &r.path);
            format!("{p} {from} {host}{path} -> {}:{}", r.service, r.target_port)
        })
        .collect();
    assert_eq!(
        shown,
        [
            "http 80 a.test/shop -> p/web:81",
            "http 80 b.test -> p/web:8080",
            "http 80  -> p/api:8080",
            "tcp 9999  -> p/api:9999",
        ]
    );
    assert_eq!(service(&loaded, "lb").template.ports.len(), 2);
}

#[test]
fn kinds_that_are_not_run_are_left_out_with_a_warning() {
    let loaded = given(
        "services:\n  web: {image: web:1, depends_on: [out]}\n  \
         out: {image: a, type: virtualMachine}\n",
    )
    .loaded();
    let shown = loaded.warnings.iter().map(ToString::to_string).collect::<String>();
    assert!(shown.contains("the service is left out"), "{shown}");
    assert_eq!(loaded.spec.services.len(), 1);
    assert!(service(&loaded, "web").depends_on.is_empty());
    let errors = given(
        "services:\n  out: {image: a, type: virtualMachine}\n  \
         lb: {lb_config: {port_rules: [{source_port: 1, service: out, target_port: 1}]}}\n",
    )
    .refused();
    assert!(errors.to_string().contains("which is left out"), "{errors}");
}

#[test]
fn a_key_of_a_container_on_a_balancer_is_a_warning() {
    let rule = "lb_config: {port_rules: [{source_port: 80, service: web, target_port: 1}]}\n";
    lb(&format!("{rule}environment: {{A: 1}}")).warned("environment has no effect on a balancer");
    lb(&format!("{rule}image: x\nstdin_open: true\nscale: 2")).clean();
}
