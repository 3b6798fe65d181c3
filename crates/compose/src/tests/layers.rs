//! Several files, `extends`, anchors, profiles, unknown keys, and the merged file written again.

use super::{Given, given, service, web};
use crate::render;
use model::container_spec::{ContainerSpec, Mount};

fn over(base: &str, over: &str) -> Given {
    let text = |lines: &str| {
        let indented: String = lines.lines().map(|line| format!("    {line}\n")).collect();
        format!("services:\n  web:\n{indented}")
    };
    given(&text(base)).over("/p/over.yml", &text(over))
}

fn merged(base: &str, top: &str) -> ContainerSpec {
    over(&format!("image: a\n{base}"), top).container()
}

#[test]
fn a_later_file_adds_to_maps_and_lists_and_replaces_single_values_and_commands() {
    let c = merged("environment: {A: 1, B: 2}", "environment: [B=3, C=4]\nimage: b");
    assert_eq!(format!("{:?} {}", c.environment, c.image), r#"{"A": "1", "B": "3", "C": "4"} b"#);
    assert_eq!(merged("command: [a, b]", "command: c").command.unwrap(), ["c"]);
    assert_eq!(merged("command: a", "command: [b]").command.unwrap(), ["b"]);
    assert_eq!(
        merged("cap_add: [KILL, BPF]", "cap_add: [BPF, LEASE]").cap_add,
        ["KILL", "BPF", "LEASE"]
    );
    assert_eq!(merged("dns: 1.1.1.1", "dns: [2.2.2.2]").dns, ["1.1.1.1", "2.2.2.2"]);
    assert_eq!(merged("devices: ['/dev/a:/x']", "devices: ['/dev/b:/x']").devices, ["/dev/b:/x"]);
    let c = merged("healthcheck: {test: [CMD, a], retries: 2}", "healthcheck: {test: [CMD, b]}");
    let check = c.healthcheck.unwrap();
    assert_eq!((check.test, check.retries), (vec!["CMD".to_owned(), "b".to_owned()], Some(2)));
    let c =
        merged("logging: {driver: a, options: {x: 1}}", "logging: {driver: b, options: {y: 2}}");
    assert_eq!(format!("{:?}", c.logging.unwrap().options), r#"{"y": "2"}"#);
}

#[test]
fn ports_merge_by_what_they_publish_and_mounts_by_their_target() {
    let ports = over("image: a\nports: ['80:80', '81:81']", "ports: ['80:80', '82:81/udp']");
    assert_eq!(ports.service().template.ports.len(), 3);
    let mounts = merged("volumes: ['./a:/x', './b:/y']", "volumes: ['/c:/x/']").mounts;
    let sources: Vec<&str> = mounts
        .iter()
        .map(|m| if let Mount::Bind { source, .. } = m { source.as_str() } else { "" })
        .collect();
    assert_eq!(sources, ["/c", "/p/b"]);
}

#[test]
fn nothing_changes_nothing_and_tags_reset_or_replace() {
    assert_eq!(merged("user: x", "user:").user.as_deref(), Some("x"));
    assert_eq!(merged("user: x", "user: !reset null").user, None);
    let c = merged("environment: {A: 1, B: 2}", "environment: {A: !reset null}");
    assert_eq!(format!("{:?}", c.environment), r#"{"B": "2"}"#);
    let ports = over("image: a\nports: ['80:80']", "ports: !override ['81:81']").service();
    assert_eq!(ports.template.ports.len(), 1);
    let c = merged("environment: {A: 1}", "environment: {A: }");
    assert!(c.environment.is_empty(), "a variable without a value is the environment's");
    let one = given("services:\n  web: {image: a, user: !reset x}\n").container();
    assert_eq!(one.user, None);
    let gone = given("services: {web: {image: a}, b: {image: b}}\n")
        .over("/p/over.yml", "services: {b: !reset null}\n")
        .clean();
    assert_eq!(gone.spec.services.len(), 1);
}

#[test]
fn values_of_two_kinds_do_not_merge() {
    let errors = over("image: a\ncap_add: [KILL]", "cap_add: BPF").refused();
    assert!(errors.to_string().contains("cap_add cannot be merged"), "{errors}");
    assert_eq!(errors.errors[0].file, "/p/over.yml");
}

#[test]
fn extends_takes_what_another_service_has_from_this_file_or_another() {
    let loaded = given(
        "services:\n  web:\n    extends: {file: sub/common.yml, service: web}\n    \
         environment: {B: 2}\n  two: {extends: web, command: x}\n",
    )
    .with(
        "/p/sub/common.yml",
        "services:\n  web: {extends: {service: root}, volumes: ['./d:/d'], env_file: e.env}\n  \
         root: {image: root:1, environment: {A: 1, B: 1}}\n",
    )
    .with("/p/sub/e.env", "E=5\n")
    .clean();
    let web = service(&loaded, "web").template.container().unwrap();
    assert_eq!(web.image, "root:1");
    assert_eq!(format!("{:?}", web.environment), r#"{"A": "1", "B": "2", "E": "5"}"#);
    assert!(matches!(&web.mounts[0], Mount::Bind { source, .. } if source == "/p/sub/d"));
    let two = service(&loaded, "two").template.container().unwrap();
    assert_eq!((two.image.as_str(), two.command.as_ref().unwrap().len()), ("root:1", 1));
    assert_eq!(loaded.sources.len(), 3);
}

#[test]
fn extends_of_v1_shares_no_ties() {
    let loaded = given("a: {image: a, links: [b]}\nb: {image: b}\nc: {extends: a}\n").clean();
    assert!(!render(&loaded).split("  c:").nth(1).unwrap().contains("links"));
}

#[test]
fn a_chain_of_extends_is_bounded() {
    let services: String = (0..20).map(|i| format!("  s{i}: {{extends: s{}}}\n", i + 1)).collect();
    let errors = given(&format!("services:\n{services}  s20: {{image: a}}\n")).refused();
    assert!(errors.to_string().contains("more than 16 services"), "{errors}");
}

#[test]
fn anchors_and_merge_keys_are_expanded() {
    let loaded = given(
        "x-base: &base\n  image: base:1\n  restart: 'no'\n  environment: &env {A: 1}\n\
         services:\n  web:\n    <<: *base\n    image: web:1\n  two:\n    <<: [*base, {user: u}]\n    \
         environment:\n      <<: *env\n      B: 2\n",
    )
    .clean();
    let web = service(&loaded, "web").template.container().unwrap();
    assert_eq!((web.image.as_str(), web.environment["A"].as_str()), ("web:1", "1"));
    let two = service(&loaded, "two").template.container().unwrap();
    assert_eq!((two.image.as_str(), two.user.as_deref()), ("base:1", Some("u")));
    assert_eq!(two.environment.len(), 2);
}

#[test]
fn a_service_with_profiles_runs_when_one_is_active() {
    let text = "services:\n  web: {image: a}\n  dbg: {image: b, profiles: [debug, x]}\n";
    let count = |given: Given| given.clean().spec.services.len();
    assert_eq!(count(given(text)), 1);
    assert_eq!(count(given(text).options(|o| o.profiles = vec!["x".into()])), 2);
    assert_eq!(count(given(text).options(|o| o.profiles = vec!["*".into()])), 2);
    assert_eq!(count(given(text).env("COMPOSE_PROFILES", "a, debug")), 2);
}

#[test]
fn an_unknown_key_is_a_warning_with_the_nearest_name_and_an_error_with_strict() {
    let text = "services:\n  web:\n    image: a\n    enviroment: {A: 1}\n    x-note: kept\n";
    let loaded = given(text).warned("key \"enviroment\" is not known");
    let warning = &loaded.warnings[0];
    assert_eq!((warning.line, warning.column), (4, 5));
    assert_eq!(warning.hint.as_deref(), Some("did you mean \"environment\"?"));
    let errors = given(text).options(|o| o.strict = true).refused();
    assert!(errors.to_string().contains("\"enviroment\" is not known"), "{errors}");
    web("healthcheck: {test: x, intervall: 5s}").warned("did you mean \"interval\"?");
    web("labels: {io.rancher.sidekik: a}").warned("io.rancher.sidekicks");
    given("services: {web: {image: a}}\nvolume: {}\n").warned("did you mean \"volumes\"?");
}

#[test]
fn a_documented_key_without_effect_is_a_warning_with_what_happens_instead() {
    for (lines, what) in [
        ("create_only: true", "the service is started"),
        ("uts: host", "it has no effect"),
        ("deploy: {rollback_config: {order: stop-first}}", "a rollback goes like an update"),
        ("container_name: x", "containers are named by stack, service and number"),
    ] {
        web(lines).warned(what);
    }
    let errors = web("scale_policy: {min: one}").refused();
    assert!(errors.to_string().contains("scale_policy: min is \"one\""), "{errors}");
}

#[test]
fn the_stack_is_named_by_option_environment_file_or_folder() {
    let text = "name: file\nservices: {web: {image: a}}\n";
    let name = |given: Given| given.clean().stack.to_string();
    let option = given(text).env("COMPOSE_PROJECT_NAME", "env");
    assert_eq!(name(option.options(|o| o.project_name = Some("option".into()))), "option");
    assert_eq!(name(given(text).env("COMPOSE_PROJECT_NAME", "env")), "env");
    assert_eq!(name(given(text).with("/p/.env", "COMPOSE_PROJECT_NAME=dotenv")), "dotenv");
    assert_eq!(name(given(text)), "file");
    assert_eq!(name(given("services: {web: {image: a}}")), "p");
}

#[test]
fn the_standard_input_is_a_file_beside_the_current_folder() {
    let loaded = given("")
        .with("-", "services: {web: {image: a, volumes: ['./x:/x']}}\n")
        .options(|o| {
            o.files = vec!["-".into()];
            o.project_name = Some("s".into());
        })
        .container();
    assert!(matches!(&loaded.mounts[0], Mount::Bind { source, .. } if source == "/x"));
}

#[test]
fn the_project_folder_takes_relative_paths_when_it_is_given() {
    let c = web("volumes: ['./x:/x']").options(|o| o.project_dir = Some("/q".into())).container();
    assert!(matches!(&c.mounts[0], Mount::Bind { source, .. } if source == "/q/x"));
}

#[test]
fn what_is_rendered_loads_to_the_same_stack_and_is_its_own_rendering() {
    let loaded = given(
        "name: shop\nservices:\n  web:\n    image: a:${V:-1}\n    command: [sh, -c, 'echo $$HOME: \"x\"']\n    \
         environment: {A: 'yes', B: '1.0', C: \"a\\nb\\t\\u0007\", D: ' x', E: '#', F: 'a: b', G: ''}\n    \
         env_file: e\n    ports: [80, '127.0.0.1:1:2/udp']\n    volumes: ['./d:/d:ro', 'v:/v']\n    \
         labels: [a=b]\n    depends_on: [db]\n    metadata: {n: 1, s: '1', l: [[1, 2], {a: b}], e: []}\n    \
         deploy: {replicas: 2, resources: {limits: {cpus: '0.5'}}}\n  \
         db: {image: b, health_check: {port: 1, request_line: GET / HTTP/1.0}, configs: [c]}\n  \
         lb: {lb_config: {port_rules: [{source_port: 9, service: web, target_port: 80}]}}\n\
         volumes: {v: {driver_opts: {o: x}}}\nconfigs: {c: {content: \"k: v\\n\"}}\n",
    )
    .with("/p/e", "FROM_FILE=1$$2\n")
    .clean();
    let text = render(&loaded);
    let again = given("").with("/p/compose.yml", &text).clean();
    assert_eq!(again.spec, loaded.spec, "{text}");
    assert_eq!(again.stack, loaded.stack);
    assert_eq!(render(&again), text);
}

#[test]
fn what_is_rendered_shows_no_content_of_a_secret() {
    let text = "services:\n  web: {image: a, secrets: [s, t]}\nsecrets:\n  s: {content: hunter2}\n  \
                t: {file: t.txt}\n";
    let loaded = given(text).with("/p/t.txt", "hunter3").clean();
    let container = service(&loaded, "web").template.container().unwrap();
    assert_eq!(container.files[0].content_base64, "aHVudGVyMg==");
    assert_eq!(
        (container.files[1].target.as_str(), container.files[1].mode),
        ("/run/secrets/t", 0o444)
    );
    let shown = render(&loaded);
    assert!(!shown.contains("hunter") && !format!("{loaded:?}").contains("hunter"), "{shown}");
    let errors = given(&shown).with("/p/t.txt", "x").refused();
    assert!(errors.to_string().contains("!hidden"), "{errors}");
}

#[test]
fn secrets_and_configs_have_targets_owners_and_modes() {
    let c = given(
        "services:\n  web:\n    image: a\n    secrets: [{source: s, target: k, uid: '5', gid: 6, mode: 0400}]\n    \
         configs: [c, {source: c, target: /etc/c, mode: 0o644}]\n\
         secrets: {s: {environment: S}}\nconfigs: {c: {content: 'v=${V}'}}\n",
    )
    .env("S", "x")
    .env("V", "1")
    .container();
    let shown: Vec<String> = c
        .files
        .iter()
        .map(|f| {
            format!(
                "{} {:o} {}:{} {} {}",
                f.target, f.mode, f.uid, f.gid, f.secret, f.content_base64
            )
        })
        .collect();
    assert_eq!(
        shown,
        ["/run/secrets/k 400 5:6 true eA==", "/c 444 0:0 false dj0x", "/etc/c 644 0:0 false dj0x"]
    );
}

#[test]
fn a_path_in_a_file_of_another_folder_is_taken_beside_it_with_a_warning() {
    let other = "services: {web: {image: a, volumes: ['./d:/d', '/abs:/e']}}\n";
    let loaded = given("services: {web: {image: a}}\n")
        .over("/q/prod.yml", other)
        .warned("path \"./d\" is taken beside this file, and not in /p");
    let container = service(&loaded, "web").template.container().unwrap();
    assert!(matches!(&container.mounts[0], Mount::Bind { source, .. } if source == "/q/d"));
}

#[test]
fn line_ends_of_dos_a_byte_order_mark_and_tabs_in_values_are_taken() {
    let text = "\u{feff}services:\r\n  web:\r\n    image: a\r\n    user: \"x\ty\"\t# c\r\n";
    assert_eq!(given(text).container().user.as_deref(), Some("x\ty"));
    let errors = given("\u{feff}services:\r\n  web:\r\n    scale: x\r\n").refused();
    assert_eq!((errors.errors[1].line, errors.errors[1].column), (3, 12), "{errors}");
    assert_eq!(errors.errors[1].excerpt.as_deref(), Some("    scale: x"));
}

#[test]
fn an_included_file_lies_below_and_brings_its_own_paths() {
    let loaded = given(
        "include: [sub/a.yml, {path: [b.yml]}]\nservices: {web: {image: w, depends_on: [db]}}\n",
    )
    .with("/p/sub/a.yml", "services: {db: {image: d, volumes: ['./x:/x']}}\n")
    .with("/p/b.yml", "include: sub/a.yml\nservices: {c: {image: c}}\n")
    .clean();
    assert_eq!(loaded.spec.services.len(), 3);
    let db = service(&loaded, "db").template.container().unwrap();
    assert!(matches!(&db.mounts[0], Mount::Bind { source, .. } if source == "/p/sub/x"));
    let twice = given("include: [b.yml]\nservices: {web: {image: w}}\n")
        .with("/p/b.yml", "services: {web: {image: c}}\n")
        .refused();
    assert!(twice.to_string().contains("is in an included file too"), "{twice}");
    let circle = given("include: [b.yml]\nservices: {web: {image: w}}\n")
        .with("/p/b.yml", "include: [compose.yml]\n")
        .refused();
    assert!(circle.to_string().contains("include goes in a circle"), "{circle}");
    let missing = given("include: [no.yml]\nservices: {web: {image: w}}\n").refused();
    assert_eq!(missing.errors[0].column, 11, "{missing}");
}

#[test]
fn a_catalog_entry_of_v1_is_no_service() {
    let loaded = given(".catalog: {name: x, questions: []}\nweb: {image: a}\n").warned(".catalog");
    assert_eq!(loaded.spec.services.len(), 1);
}
