//! Files made to hurt: each ends fast, with a place, and with little memory.

use super::given;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// Loads a hostile text; the message must have the fragment and come soon.
fn refused(text: &str, fragment: &str) {
    let start = Instant::now();
    let errors = given(text).refused();
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let shown = errors.to_string();
    assert!(shown.contains(fragment), "{shown}");
    assert!(shown.len() < 20_000, "the message has {} bytes", shown.len());
    assert!(errors.errors[0].line > 0, "{shown}");
}

#[test]
fn a_billion_laughs_end_in_an_error() {
    let mut text = "x-0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for i in 1..20 {
        let last = format!("*a{}", i - 1);
        let many = vec![last; 10].join(", ");
        writeln!(text, "x-{i}: &a{i} [{many}]").unwrap();
    }
    refused(&format!("{text}services: {{web: {{image: a}}}}\n"), "over 200000 values");
}

#[test]
fn merge_keys_that_multiply_end_in_an_error() {
    let mut text = "x-0: &a0 {k: {l: m}}\n".to_owned();
    for i in 1..40 {
        let last = i - 1;
        writeln!(text, "x-{i}: &a{i} {{<<: *a{last}, p{i}: *a{last}, q{i}: *a{last}}}").unwrap();
    }
    refused(&format!("{text}services: {{web: {{image: a}}}}\n"), "over 200000 values");
}

#[test]
fn a_long_text_behind_many_aliases_ends_in_an_error() {
    let long = "x".repeat(1_000_000);
    let aliases = vec!["*t"; 5_000].join(", ");
    refused(&format!("x-t: &t {long}\nx-u: [{aliases}]\n"), "over 16777216 bytes");
}

#[test]
fn a_long_variable_used_often_ends_in_an_error() {
    let uses = "- $BIG\n".repeat(10_000);
    let start = Instant::now();
    let errors = given(&format!(
        "services:\n  web:\n    image: a\n    command:\n    {}",
        uses.replace('\n', "\n    ")
    ))
    .env("BIG", &"x".repeat(100_000))
    .refused();
    assert!(start.elapsed() < Duration::from_secs(10));
    assert!(errors.to_string().contains("over 16777216 bytes"), "{errors}");
}

#[test]
fn variables_that_double_each_other_stay_bounded() {
    let mut env = "A0=xxxxxxxxxx\n".to_owned();
    for i in 1..200 {
        let last = i - 1;
        writeln!(env, "A{i}=${{A{last}}}${{A{last}}}").unwrap();
    }
    let start = Instant::now();
    let loaded = given("services: {web: {image: a, env_file: e}}\n").with("/p/e", &env).load();
    assert!(start.elapsed() < Duration::from_secs(10));
    let bytes: usize = match &loaded {
        Ok(loaded) => {
            let web = super::service(loaded, "web").template.container().unwrap();
            web.environment.values().map(String::len).sum()
        }
        Err(errors) => errors.to_string().len(),
    };
    assert!(bytes < 40_000_000, "{bytes}");
}

#[test]
fn deep_nesting_ends_in_an_error() {
    for text in [
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "- ".repeat(100_000),
        (0..2_000).fold(String::new(), |mut text, i| {
            writeln!(text, "{}a:", " ".repeat(i)).unwrap();
            text
        }),
        "? ".repeat(100_000),
    ] {
        let start = Instant::now();
        let errors = given(&text).refused();
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        assert!(errors.errors[0].line > 0, "{errors}");
    }
    let nested = format!("services: {}a{}", "{a: ".repeat(70), "}".repeat(70));
    refused(&nested, "the nesting is deeper than 64 levels");
}

#[test]
fn a_line_of_ten_megabytes_is_refused_by_its_size() {
    let text = format!("services: {{web: {{image: a, user: {}}}}}", "x".repeat(10 << 20));
    let start = Instant::now();
    let errors = given(&text).refused();
    assert!(start.elapsed() < Duration::from_secs(5));
    let shown = errors.to_string();
    assert!(shown.contains("/p/compose.yml:1:1: error:"), "{shown}");
    assert!(shown.contains("larger than 4194304 bytes"), "{shown}");
}

#[test]
fn a_long_line_within_the_size_has_a_short_message() {
    let long = "x".repeat(3 << 19);
    refused(
        &format!("services: {{web: {{image: {long}, scale: {long}}}}}"),
        "longer than 512 bytes",
    );
    refused(&format!("services: {{web: {{image: a, {long}: }}}}\nx: [\n"), "not valid YAML");
    refused(&format!("services: {{web: {{image: a, scale: '{long}'}}}}"), "scale is");
}

#[test]
fn many_services_and_many_keys_are_bounded() {
    let services: String = (0..501).map(|i| format!("  s{i}: {{image: a}}\n")).collect();
    refused(&format!("services:\n{services}"), "there are 501 services");
    let keys: String = (0..60_000).map(|i| format!("    k{i}: 1\n")).collect();
    let start = Instant::now();
    let loaded = given(&format!("services:\n  web:\n    image: a\n{keys}")).loaded();
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(loaded.warnings.len(), 201);
    assert!(loaded.warnings[200].message.contains("59800 more warnings"));
    let variables: String = (0..2_001).map(|i| format!("      K{i}: 1\n")).collect();
    refused(
        &format!("services:\n  web:\n    image: a\n    environment:\n{variables}"),
        "there are 2001 environment variables",
    );
    refused("services: {web: {image: a, ports: ['1-2000:1-2000']}}", "at most 1000 ports");
}

#[test]
fn large_secrets_do_not_fit() {
    let text =
        "services: {web: {image: a, secrets: [a, b]}}\nsecrets: {a: {file: a}, b: {file: b}}\n";
    let half = vec![b'x'; 200 * 1024];
    let errors = given(text).with("/p/a", &half).with("/p/b", &half).refused();
    assert!(errors.to_string().contains("at most 307200 bytes together"), "{errors}");
    let errors = given(text).with("/p/a", vec![0; 600 * 1024]).with("/p/b", "").refused();
    assert!(errors.to_string().contains("larger than 512000 bytes"), "{errors}");
}

#[test]
fn a_large_map_below_many_services_ends_in_an_error() {
    let variables: String = (0..20_000).map(|i| format!("      K{i}: 1\n")).collect();
    let services: String =
        (0..400).map(|i| format!("  s{i}: {{extends: base, environment: {{A: 1}}}}\n")).collect();
    let text = format!("services:\n  base:\n    image: a\n    environment:\n{variables}{services}");
    refused(&text, "merging copies over 500000 entries");
    let resets: String = (0..30_000).map(|i| format!("      K{i}: !reset x\n")).collect();
    let base: String = (0..30_000).map(|i| format!("      K{i}: 1\n")).collect();
    let text = format!(
        "services:\n  base:\n    environment:\n{base}  web:\n    extends: base\n    environment:\n{resets}"
    );
    refused(&text, "merging copies over 500000 entries");
}

#[test]
fn a_large_file_of_variables_for_many_services_ends_in_an_error() {
    let services: String =
        (0..500).map(|i| format!("  s{i}: {{image: a, env_file: e}}\n")).collect();
    let text = format!("services:\n{services}");
    let start = Instant::now();
    let big = format!("A={}\n", "x".repeat(400_000));
    let errors = given(&text).with("/p/e", &big).refused();
    assert!(errors.to_string().contains("with this variable the stack has over"), "{errors}");
    let many: String = (0..3_000).map(|i| format!("K{i}=1\n")).collect();
    let errors = given(&text).with("/p/e", &many).refused();
    assert!(errors.to_string().contains("with this variable the file has over 2000"), "{errors}");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn a_long_chain_of_dependencies_and_a_wide_circle_are_fast() {
    let services: String =
        (0..499).map(|i| format!("  s{i}: {{image: a, depends_on: [s{}]}}\n", i + 1)).collect();
    let chain = format!("services:\n{services}  s499: {{image: a}}\n");
    assert_eq!(given(&chain).clean().spec.services.len(), 500);
    let circle = format!("services:\n{services}  s499: {{image: a, depends_on: [s0]}}\n");
    refused(&circle, "depends_on goes in a circle: s0 -> s1 -> s2");
    let all: Vec<String> = (0..100).map(|i| format!("s{i}")).collect();
    let every = all.join(", ");
    let full: String =
        (0..100).map(|i| format!("  s{i}: {{image: a, depends_on: [{every}]}}\n")).collect();
    refused(&format!("services:\n{full}"), "depends_on goes in a circle");
}

#[test]
fn lists_without_measure_of_what_ties_services_together_end_in_errors() {
    let of = |keys: &str| format!("services:\n  web: {{image: a, {keys}}}\n  db: {{image: b}}\n");
    let many = |one: &str, count: usize| vec![one; count].join(", ");
    let numbered = |one: &str, count: usize| -> String {
        let items: Vec<String> = (0..count).map(|i| one.replace('#', &i.to_string())).collect();
        items.join(", ")
    };
    refused(&of(&format!("volumes_from: [{}]", many("web", 90_000))), "share in a circle");
    refused(&of(&format!("links: [{}]", numbered("'db:n#'", 90_000))), "at most 500");
    refused(&of(&format!("external_links: [{}]", numbered("o/s#", 90_000))), "at most 500");
    refused(&of(&format!("placement: {{anti_affinity: [{}]}}", many("db", 90_000))), "at most 100");
    refused(&of(&format!("placement: {{spread_by: [{}]}}", numbered("z#", 90_000))), "at most 100");
    let variables = numbered("'constraint:k#': '==v'", 40_000);
    refused(&of(&format!("environment: {{{variables}}}")), "at most 100");
    let addresses: Vec<String> =
        (0..60_000).map(|i| format!("10.1.{}.{}", i / 256 % 256, i % 256)).collect();
    let label = |name: &str, value: &str| of(&format!("labels: {{{name}: '{value}'}}"));
    refused(&label("io.rancher.container.requested_ip", &addresses.join(",")), "at most 10000");
    refused(&of(&format!("external_ips: [{}]", addresses.join(", "))), "at most 2000");
    refused(&label("io.rancher.sidekicks", &numbered("s#", 90_000)), "there is no service \"s0\"");
}

#[test]
fn services_that_all_need_each_other_end_in_a_few_errors() {
    let mut text = "services:\n".to_owned();
    let names: Vec<String> = (0..300).map(|i| format!("s{i}")).collect();
    for name in &names {
        let others = names.join(", ");
        writeln!(text, "  {name}: {{image: a, depends_on: [{others}]}}").unwrap();
    }
    refused(&text, "depends_on goes in a circle");
    refused(&text.replace("depends_on", "volumes_from"), "share in a circle");
}
