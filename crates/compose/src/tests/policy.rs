//! Network policies in compose files and in files of their own.

use super::{given, service};
use crate::environment_policy;
use model::policy::{PolicyAction, ServicePolicy};

const TWO: &str = "services:
  web: {image: a}
  db:
    image: b
    network_policy:
      rules: [{action: allow, from: {service: web, selector: 'tier=x'}, ports: [5432, 53/udp]}]
";

fn policy(text: &str, of: &str) -> Option<ServicePolicy> {
    service(&given(text).clean(), of).policy.clone()
}

fn rules(policy: &ServicePolicy) -> Vec<String> {
    policy.rules.iter().map(ToString::to_string).collect()
}

#[test]
fn a_service_has_its_own_rules_and_then_those_of_its_file() {
    assert_eq!(policy(TWO, "web"), None);
    let db = policy(TWO, "db").unwrap();
    let own = "allow from service p/web and selector tier=x ports 53/udp, 5432";
    assert_eq!((db.default, rules(&db)), (None, vec![own.to_owned()]));
    for key in ["network_policy", "x-remuda-network_policy"] {
        let shared = "{default: deny, rules: [{action: allow, within: stack}]}";
        let text = format!("{TWO}{key}: {shared}\n");
        let db = policy(&text, "db").unwrap();
        assert_eq!(db.default, Some(PolicyAction::Deny));
        assert_eq!(rules(&db), [own, "allow within stack"]);
        assert_eq!(rules(&policy(&text, "web").unwrap()), ["allow within stack"]);
    }
    let own_default = TWO.replace("      rules:", "      default: allow\n      rules:");
    let db = policy(&format!("{own_default}network_policy: {{default: deny}}\n"), "db").unwrap();
    assert_eq!(db.default, Some(PolicyAction::Allow));
}

#[test]
fn two_files_do_not_say_it_both() {
    let shared = "network_policy: {default: deny}\n";
    let one = given(TWO).over("/p/more.yml", shared).clean();
    assert_eq!(service(&one, "web").policy.as_ref().unwrap().default, Some(PolicyAction::Deny));
    let both = given(&format!("{TWO}{shared}")).over("/p/more.yml", shared);
    let errors = both.refused().to_string();
    assert!(errors.contains("more.yml:1") && errors.contains("two files"), "{errors}");
}

#[test]
fn what_is_printed_loads_again_to_the_same() {
    let text = format!("{TWO}network_policy: {{default: deny, rules: []}}\n");
    let loaded = given(&text).clean();
    let again = given(&crate::render(&loaded)).clean();
    assert_eq!(again.spec, loaded.spec);
}

#[test]
fn a_rule_that_is_not_understood_is_an_error_at_its_place() {
    for (rules, expected) in [
        ("[{action: allow, form: {service: web}}]", "\"form\" is not known"),
        ("[{from: {service: web}}]", "a rule has no action"),
        ("[{action: drop}]", "allow or deny"),
        ("[{action: allow, from: {service: nobody}}]", "there is no service \"nobody\""),
        ("[{action: allow, from: {service: 'a/b/c'}}]", "service is \"a/b/c\""),
        ("[{action: allow, from: web}]", "from and to is"),
        ("[{action: allow, from: {}}]", "empty from or to"),
        ("[{action: allow, to: {service: web}}]", "\"to\" is not known"),
        ("[{action: allow, within: host}]", "stack, service or linked"),
        ("[{action: allow, within: stack, from: {stack: a}}]", "two of from/to"),
        ("[{action: allow, ports: [70000]}]", "a port is \"70000\""),
        ("[{action: allow, ports: []}]", "ports is an empty list"),
        ("[{action: allow, between: {selector: 'a b'}}]", "selector is \"a b\""),
        ("{action: allow}", "rules is a map"),
    ] {
        let text =
            format!("services:\n  web:\n    image: a\n    network_policy:\n      rules: {rules}\n");
        let errors = given(&text).refused().to_string();
        assert!(errors.contains(expected), "{rules}: {errors}");
        assert!(errors.contains("compose.yml:5:"), "{rules}: {errors}");
    }
}

#[test]
fn a_file_of_an_environment_is_read_in_our_words_and_in_rancher_s() {
    let ours = "default: deny\nrules: [{action: allow, within: linked}]\n";
    let old = "default_policy_action: deny\npolicy: [{action: allow, within: linked}]\n";
    let [ours, old] = [ours, old].map(|text| environment_policy(text, "p.yaml").unwrap());
    assert_eq!(ours, old);
    assert!(environment_policy("", "p.yaml").unwrap().is_open());
    for (text, expected) in [
        ("rules:\n  - {action: allow, from: {service: web}}\n", "p.yaml:2:"),
        ("default: no\n", "allow or deny"),
        ("- a\n", "the policy is a list"),
        ("default: [", "not valid YAML"),
    ] {
        let errors = environment_policy(text, "p.yaml").unwrap_err().to_string();
        assert!(errors.contains(expected), "{text}: {errors}");
    }
}
