//! Files that must be refused: each case says in which line, and a fragment of the message.

use super::given;
use std::time::{Duration, Instant};

/// Whole files: what, text, line of the first error, fragment of it.
const FILES: &[(&str, &str, u32, &str)] = &[
    ("nothing", "", 1, "there is no service"),
    ("only a comment", "# nothing here\n", 1, "there is no service"),
    ("a list", "- a\n- b\n", 1, "a compose file cannot be a list"),
    ("a word", "hello\n", 1, "a compose file cannot be \"hello\""),
    ("services without one", "services: {}\n", 1, "there is no service"),
    ("services is a list", "services:\n  - web\n", 2, "services is a list"),
    ("services misspelt", "service:\n  web:\n    image: a\n", 1, "did you mean \"services\"?"),
    ("a service is a text", "services:\n  web: nginx\n", 2, "service \"web\" is \"nginx\""),
    ("a bad service name", "services:\n  we b:\n    image: a\n", 2, "only letters, digits"),
    ("a bad stack name", "name: a b\nservices: {web: {image: a}}\n", 1, "stack name \"a b\""),
    ("a name that is a map", "name: {a: b}\nservices: {web: {image: a}}\n", 1, "name is a map"),
    ("a tab", "services:\n\tweb:\n", 2, "YAML does not allow tabs"),
    ("a missing bracket", "services:\n  web:\n    image: [a\n", 4, "not valid YAML"),
    ("a missing quote", "services:\n  web:\n    image: \"a\n", 3, "not valid YAML"),
    ("bad indentation", "services:\n  web:\n    image: a\n   ports: []\n", 4, "not valid YAML"),
    ("two colons", "services:\n  web:\n    image: a: b\n", 3, "not valid YAML"),
    ("two documents", "services: {web: {image: a}}\n---\na: b\n", 2, "a second document"),
    (
        "a key twice",
        "services:\n  web:\n    image: a\n    image: b\n",
        4,
        "\"image\" is here twice",
    ),
    (
        "a service twice",
        "services:\n  web: {image: a}\n  web: {image: b}\n",
        3,
        "\"web\" is here twice",
    ),
    ("a list as a key", "services:\n  ? [a]\n  : b\n", 2, "cannot be a key"),
    ("an unknown alias", "services:\n  web: *nobody\n", 2, "not valid YAML"),
    ("an alias in itself", "services: &s\n  web: *s\n", 2, "inside the value"),
    ("an unknown tag", "services:\n  web: !secret a\n", 2, "tag \"!secret\" is not known"),
    ("a merge of a text", "services:\n  web:\n    <<: a\n    image: a\n", 3, "'<<' merges \"a\""),
    ("a template", "services:\n{{ if .Values.x }}\n  web: {image: a}\n", 2, "Go templates"),
    ("a NUL", "services:\n  web:\n    image: \"a\0b\"\n", 3, "NUL byte at offset 30"),
    (
        "a circle",
        "services:\n  a: {image: a, depends_on: [b]}\n  b: {image: b, depends_on: [c]}\n  \
         c: {image: c, depends_on: [a]}\n",
        4,
        "depends_on goes in a circle: a -> b -> c -> a",
    ),
    ("a circle of one", "services:\n  a:\n    image: a\n    depends_on:\n    - a\n", 5, "a -> a"),
    (
        "extends in a circle",
        "services:\n  a: {image: a, extends: b}\n  b: {extends: {service: a}}\n",
        2,
        "extends goes in a circle: ",
    ),
    (
        "extends of nobody",
        "services:\n  web: {image: a, extends: weg}\n",
        2,
        "did you mean \"web\"?",
    ),
    (
        "extends of a missing file",
        "services:\n  web:\n    extends:\n      file: no.yml\n      service: web\n",
        4,
        "file \"/p/no.yml\" cannot be used: there is no such file",
    ),
    (
        "two services on one host port",
        "services:\n  a: {image: a, ports: ['80:80']}\n  b: {image: b, ports: ['80:81']}\n",
        3,
        "takes host port 80/tcp, which service \"a\" has",
    ),
    (
        "a port twice, on one address and on all",
        "services:\n  a:\n    image: a\n    ports:\n    - 127.0.0.1:80:80\n    - 80:81\n",
        6,
        "takes host port 80/tcp twice",
    ),
    (
        "a network that is not declared",
        "services:\n  web:\n    image: a\n    networks: [back]\nnetworks: {bakc: {}}\n",
        4,
        "did you mean \"bakc\"?",
    ),
    (
        "a secret that is not declared",
        "services:\n  web:\n    image: a\n    secrets: [key]\n",
        4,
        "secrets: \"key\" is not declared",
    ),
    (
        "an external secret",
        "services:\n  web: {image: a, secrets: [key]}\nsecrets:\n  key:\n    external: true\n",
        5,
        "is external",
    ),
    (
        "a secret without its file",
        "services:\n  web: {image: a, secrets: [key]}\nsecrets:\n  key:\n    file: ./no.txt\n",
        5,
        "file \"/p/no.txt\" cannot be used: there is no such file",
    ),
    (
        "a secret of a variable that is not set",
        "services:\n  web: {image: a, secrets: [key]}\nsecrets:\n  key: {environment: NO}\n",
        4,
        "the variable \"NO\" is not set",
    ),
    (
        "a dependency in no active profile",
        "services:\n  web: {image: a, depends_on: [db]}\n  db: {image: b, profiles: [full]}\n",
        2,
        "in no active profile",
    ),
    (
        "an unknown version with errors elsewhere",
        "version: '2'\nservices:\n  web:\n    image: a\n    scale: two\n",
        5,
        "scale is \"two\"",
    ),
    (
        "a v1 file with a bad key",
        "web:\n  image: a\n  privileged: maybe\n",
        3,
        "privileged is \"maybe\"",
    ),
];

/// Lines of a service `web` with an image: what, text, line of the error in it, fragment.
const SERVICES: &[(&str, &str, u32, &str)] = &[
    ("scale of a word", "scale: two", 1, "a whole number from 0 to 10000"),
    ("scale below zero", "scale: -1", 1, "scale is \"-1\""),
    ("scale too large", "scale: 10001", 1, "from 0 to 10000"),
    ("scale with a leading zero", "scale: 010", 1, "without leading zeros"),
    ("scale and replicas apart", "scale: 2\ndeploy: {replicas: 3}", 1, "deploy.replicas is 3"),
    ("image is a list", "labels: {}\nimage2: x\ncommand: {a: b}", 3, "a text or a list of texts"),
    ("environment is a number", "environment: 7", 1, "environment is \"7\""),
    ("environment has a list", "environment:\n  A: [1]", 2, "environment: A is a list"),
    ("environment without a name", "environment:\n- =x", 2, "a name before the '='"),
    ("ports is a map", "ports:\n  a: b", 2, "ports is a map"),
    ("port too large", "ports:\n- 70000:80", 2, "70000 is not a port number"),
    ("port zero", "ports:\n- 0:80", 2, "0 is not a port number"),
    ("port of letters", "ports: ['a:80']", 1, "\"a\" is not a port"),
    ("port with a bad protocol", "ports: [80/sctp]", 1, "protocol \"sctp\" is not known"),
    ("port with a bad address", "ports: ['1.2.3:80:80']", 1, "\"1.2.3\" is not an address"),
    ("ranges of two lengths", "ports: ['1-3:1-2']", 1, "differ in their number"),
    ("a range backwards", "ports: ['9-3']", 1, "ends before it starts"),
    ("a host range for one port", "ports: ['8000-8010:80']", 1, "differ in their number"),
    ("a long port without target", "ports: [{published: 80}]", 1, "has no target"),
    ("a long port too large", "ports:\n- target: 65536", 2, "from 1 to 65535"),
    ("a relative target", "volumes: ['./a:b']", 1, "is not absolute"),
    ("a single relative volume", "volumes: [data]", 1, "name the host path"),
    ("a volume not declared", "volumes:\n- data:/data", 2, "\"data\" is not declared"),
    ("a path without a dot", "volumes: ['a/b:/c']", 1, "write ./a/b"),
    ("a volume with a bad mode", "volumes: ['./a:/b:rox']", 1, "mode \"rox\" is not known"),
    ("a target twice", "volumes:\n- ./a:/x\n- ./b:/x/", 3, "mounted twice"),
    ("a Windows path", "volumes: ['C:\\\\a:/b']", 1, "path of Windows"),
    ("a relative tmpfs", "tmpfs: run", 1, "tmpfs: \"run\" is not absolute"),
    ("a size of words", "mem_limit: lots", 1, "a size such as 512m"),
    ("a negative size", "mem_limit: -5m", 1, "a size such as 512m"),
    ("swap below memory", "mem_limit: 1g\nmemswap_limit: 512m", 2, "below the memory limit"),
    (
        "reservation above limit",
        "mem_limit: 100m\nmem_reservation: 1g",
        2,
        "above the memory limit",
    ),
    ("cpus below zero", "cpus: -1", 1, "not negative"),
    ("swappiness out of range", "mem_swappiness: 101", 1, "from 0 to 100"),
    ("oom score out of range", "oom_score_adj: 1001", 1, "from -1000 to 1000"),
    ("restart of nonsense", "restart: sometimes", 1, "restart is \"sometimes\""),
    ("restart with bad attempts", "restart: on-failure:x", 1, "on-failure:3"),
    ("duration without unit", "healthcheck: {interval: 10}", 1, "a duration such as 30s"),
    ("healthcheck of a bad form", "healthcheck: {test: [curl, x]}", 1, "does not begin as it must"),
    ("health_check without a port", "health_check: {interval: 5}", 1, "has no port"),
    ("health_check of a bad port", "health_check: {port: http}", 1, "from 1 to 65535"),
    (
        "health_check of a bad line",
        "health_check: {port: 80, request_line: get it now please}",
        1,
        "request_line",
    ),
    (
        "health_check of a bad strategy",
        "health_check: {port: 80, strategy: pray}",
        1,
        "strategy is",
    ),
    ("depends on nobody", "depends_on: [db]", 1, "it depends on service \"db\""),
    ("depends with a bad condition", "depends_on: {web2: {condition: ok}}", 1, "\"web2\""),
    ("depends_on is a text", "depends_on: db", 1, "depends_on is \"db\""),
    ("links to nobody", "links: [db]", 1, "it links to service \"db\""),
    ("env_file missing", "env_file: a.env", 1, "file \"/p/a.env\" cannot be used"),
    ("env_file with a bad format", "env_file: [{path: a, format: x}]", 1, "format \"x\""),
    ("build without its folder", "build: ./nowhere", 1, "is not a folder"),
    ("build from elsewhere", "build: https://example.test/x.git", 1, "is elsewhere"),
    ("network mode of nonsense", "network_mode: wifi", 1, "network_mode is \"wifi\""),
    ("a host name of nonsense", "hostname: a_b!", 1, "is not a host name"),
    ("extra host without address", "extra_hosts: [db]", 1, "name:address"),
    ("dns of a name", "dns: resolver", 1, "is not an address"),
    ("mac of nonsense", "mac_address: '12'", 1, "six pairs"),
    ("a device of nonsense", "devices: [sda]", 1, "is not a path"),
    ("ulimit halves", "ulimits: {nofile: {soft: 5}}", 1, "needs both soft and hard"),
    ("ulimit backwards", "ulimits: {nofile: {soft: 5, hard: 3}}", 1, "is above hard"),
    ("a signal of nonsense", "stop_signal: sig term", 1, "is not a signal"),
    ("a relative working_dir", "working_dir: app", 1, "is not absolute"),
    ("a command with an open quote", "command: echo 'x", 1, "cannot be split"),
    ("pull policy of nonsense", "pull_policy: often", 1, "pull_policy is \"often\""),
    ("pull policy build without build", "pull_policy: build", 1, "there is no build"),
    ("update order of nonsense", "deploy: {update_config: {order: random}}", 1, "order is"),
    ("expose of nonsense", "expose: [http]", 1, "expose: \"http\""),
    ("a variable left open", "user: ${USER", 1, "no closing \"}\""),
    ("a dollar alone", "user: a$", 1, "write $$"),
    ("a variable with a bad operator", "user: ${A!b}", 1, "nor an operator"),
    ("a required variable", "user: ${WHO:?who is it}", 1, "required and not set: who is it"),
    ("an image in capitals", "<<: {}\nuser: x\nbuild: 7", 3, "\"/p/7\" is not a folder"),
    (
        "a rule without a service",
        "lb_config: {port_rules: [{source_port: 1, target_port: 2}]}",
        1,
        "has no service",
    ),
    (
        "a rule without a target",
        "lb_config: {port_rules: [{source_port: 1, service: web}]}",
        1,
        "has no target_port",
    ),
    (
        "a rule to nobody",
        "lb_config: {port_rules: [{source_port: 1, service: x, target_port: 1}]}",
        1,
        "it balances to service \"x\"",
    ),
    (
        "a rule of a bad protocol",
        "lb_config: {port_rules: [{source_port: 1, service: web, target_port: 1, protocol: ftp}]}",
        1,
        "protocol is \"ftp\"",
    ),
    (
        "a rule with a bad path",
        "lb_config: {port_rules: [{source_port: 1, service: web, target_port: 1, path: x}]}",
        1,
        "starts with '/'",
    ),
    (
        "a rule with a bad weight",
        "lb_config: {port_rules: [{source_port: 1, service: web, target_port: 1, weight: 257}]}",
        1,
        "from 0 to 256",
    ),
];

#[test]
fn every_bad_file_is_refused_with_its_line_and_a_reason() {
    let failures: Vec<String> = FILES
        .iter()
        .filter_map(|(what, text, line, fragment)| check(what, text, *line, fragment))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn every_bad_key_of_a_service_is_refused_with_its_line_and_a_reason() {
    let mut failures = vec![];
    for (what, lines, line, fragment) in SERVICES {
        let indented: String = lines.lines().map(|l| format!("    {l}\n")).collect();
        let text = format!("services:\n  web:\n    image: web:1\n{indented}");
        failures.extend(check(what, &text, line + 3, fragment));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// What is wrong with how a file is refused.
fn check(what: &str, text: &str, line: u32, fragment: &str) -> Option<String> {
    let start = Instant::now();
    let Err(errors) = given(text).load() else { return Some(format!("{what}: was taken")) };
    if start.elapsed() > Duration::from_secs(5) {
        return Some(format!("{what}: took {:?}", start.elapsed()));
    }
    let found = errors.errors.iter().find(|e| e.to_string().contains(fragment));
    let Some(error) = found else { return Some(format!("{what}: no {fragment:?} in\n{errors}")) };
    let placed = error.line == line && error.column > 0 && error.file == "/p/compose.yml";
    (!placed).then(|| format!("{what}: not in line {line}: {error}"))
}

#[test]
fn an_image_reference_is_checked() {
    for (image, good) in [
        ("nginx", true),
        ("registry.example.test:5000/a/b:v1.0_x", true),
        ("localhost/a", true),
        ("a@sha256:0123456789abcdef0123456789abcdef", true),
        ("a__b/c.d-e", true),
        ("Nginx", false),
        ("nginx:", false),
        ("nginx:a b", false),
        ("-a", false),
        ("a//b", false),
        ("a@sha256:12", false),
        ("https://x/y", false),
    ] {
        let text = format!("services:\n  web:\n    image: {image:?}\n");
        match given(&text).load() {
            Ok(_) => assert!(good, "{image} was taken"),
            Err(errors) => {
                assert!(!good, "{errors}");
                assert_eq!(errors.errors[0].line, 3, "{errors}");
                assert!(errors.to_string().contains("is not a reference"), "{errors}");
            }
        }
    }
}

#[test]
fn bytes_that_are_not_utf8_are_named_with_offset_and_line() {
    let file = b"services:\n  web:\n    image: caf\xe9\n";
    let errors = given("").with("/p/compose.yml", file).refused();
    let error = &errors.errors[0];
    assert_eq!((error.line, error.column), (3, 15), "{error}");
    assert!(error.message.contains("byte 0xe9 at offset 31"), "{error}");
    let utf16 = given("").with("/p/compose.yml", b"\xff\xfea\0").refused();
    assert!(utf16.to_string().contains("save it as UTF-8"), "{utf16}");
}

#[test]
fn several_errors_come_at_once_and_not_more_than_twenty() {
    let three = given("services:\n  a: {scale: x}\n  b: {image: b, ports: [x]}\n").refused();
    assert_eq!(three.errors.len(), 3, "{three}");
    let many: String = (0..50).map(|i| format!("  s{i}: {{scale: x, image: a}}\n")).collect();
    let many = given(&format!("services:\n{many}")).refused();
    assert_eq!((many.errors.len(), many.more), (20, 30));
    assert!(many.to_string().ends_with("and 30 more errors"), "{many}");
}

#[test]
fn a_message_has_place_line_caret_expectation_and_help() {
    let errors = given("services:\n  web:\n    image: a\n    volumes: [data:/x]\n").refused();
    assert_eq!(
        errors.to_string(),
        "/p/compose.yml:4:15: error: service \"web\": volumes: \"data\" is not declared\n \
         4 |     volumes: [data:/x]\n   \
         |               ^ expected a name below the top-level volumes\n   \
         = help: add \"volumes: {data: {}}\""
    );
}

#[test]
fn a_message_never_carries_control_characters_of_the_file() {
    let errors = given("services:\n  web:\n    image: \"a\\e[31m\\u202e\" # \u{1b}[2J\n").refused();
    let text = errors.to_string();
    assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text:?}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let missing = given("").options(|o| o.files = vec!["/p/no.yml".into()]).refused();
    assert!(missing.to_string().starts_with("/p/no.yml:1:1: error:"), "{missing}");
    let folder = given("").options(|o| o.files = vec!["/p".into()]).refused();
    assert!(folder.to_string().contains("it is a folder"), "{folder}");
    let none = given("").options(|o| o.files.clear()).refused();
    assert!(none.to_string().contains("no compose file is named"), "{none}");
}
