//! Whatever is in a file, the loader ends with a stack or with errors: it never panics.

use super::{Given, given};
use crate::interpolate::Expander;
use crate::{dotenv, render, scalar};
use proptest::prelude::*;

/// Pieces from which files are made that get far into the loader.
const PIECES: &[&str] = &[
    "services:\n",
    "  web:\n",
    "  db:\n",
    "    image: a\n",
    "    image: ",
    "    ports:\n",
    "    - ",
    "80:80",
    "[",
    "]",
    "{",
    "}",
    "a: b",
    "\n",
    ": ",
    "- ",
    "&x ",
    "*x",
    "<<: ",
    "!reset ",
    "!!str ",
    "!override ",
    "\"",
    "'",
    "|\n",
    ">-\n",
    "# c\n",
    "${A",
    "${A:-x}",
    "$",
    "\t",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "\u{feff}",
    "\r\n",
    "? ",
    "    environment:\n",
    "      A: 1\n",
    "    volumes: [a:/b]\n",
    "    depends_on: [db]\n",
    "    extends: db\n",
    "    build: .\n",
    "    lb_config:\n",
    "      port_rules: [{source_port: 1}]\n",
    "    deploy: {replicas: 2}\n",
    "    healthcheck: {test: x}\n",
    "    health_check: {port: 1}\n",
    "volumes:\n",
    "  a: {external: true}\n",
    "version: '2'\n",
    "null",
    "    secrets: [s]\n",
    "secrets:\n  s: {content: c}\n",
    "    env_file: .env\n",
    "    scale: 1\n",
    "    ulimits: {a: 1}\n",
    "    devices: [/a]\n",
    "    command: a 'b\n",
    "é",
    "\0",
    "    labels: [a]\n",
    "    labels: {io.rancher.sidekicks: db}\n",
    "    labels: {'io.rancher.scheduler.affinity:host_label': a=b}\n",
    "    network_mode: service:db\n",
    "    volumes_from: [web]\n",
    "    links: [db]\n",
    "    schedule: '* * * * *'\n",
    "    job:\n",
    "    autoscale: {max: 2, cpu: 1}\n",
    "    on_loss: stop\n",
    "    placement: {affinity: db}\n",
    "    external_ips: [1.1.1.1]\n",
    "    image: rancher/dns-service\n",
    "    environment: ['constraint:a==b']\n",
];

/// Keys of a service that go together in any choice.
const KEYS: &[&str] = &[
    "command: [a, 'b c', $$x]",
    "entrypoint: a 'b'",
    "environment: {A: 'yes', B: , C: \"\\n\", D: '1e3', E: 0x1}",
    "labels: [a=b, 'c=d: e', f]",
    "ports: [80, '1:2', '127.0.0.1:3-4:5-6/udp', {target: 9, published: 10}]",
    "expose: [1, '2-3/udp']",
    "volumes: [/a, './b:/b:ro', 'v:/c:nocopy', {type: tmpfs, target: /d, tmpfs: {size: 1m, mode: 0700}}]",
    "tmpfs: ['/e:size=1m', /f]",
    "secrets: [s, {source: s, target: /t, mode: '0400', uid: 1}]",
    "configs: [c]",
    "healthcheck: {test: [CMD, a, ''], interval: 1m30s, retries: 0}",
    "health_check: {port: 1, request_line: 'GET \"/a%20b\" \"HTTP/1.0\"'}",
    "depends_on: [db]",
    "restart: on-failure:2",
    "deploy: {replicas: 2, labels: [x=y], update_config: {order: stop-first}, resources: {limits: {cpus: 1.5, memory: 1g}}}",
    "mem_reservation: 10m",
    "ulimits: {nofile: 3, core: {soft: 1, hard: 2}}",
    "logging: {driver: local, options: {max-size: 1m}}",
    "dns: [1.1.1.1]",
    "dns_opt: {ndots: 1}",
    "extra_hosts: {a: [1.2.3.4, '::1'], b: host-gateway}",
    "networks: [default]",
    "metadata: {a: [1, '1', {b: [[], {}]}], '01': ~}",
    "env_file: e",
    "stop_grace_period: 90",
    "sysctls: [a.b=1]",
    "devices: [/dev/a, {source: /dev/b, target: /dev/c, permissions: r}]",
    "build: {context: ctx, args: [A, B=1], labels: {a: b}}",
    "user: '007'",
    "hostname: ${H:-h}",
    "shm_size: 64m",
    "x-note: {a: b}",
    "upgrade_strategy: {batch_size: 2}",
    "privileged: on",
    "links: ['db:a.b', o/p]",
    "external_links: ['o/q:r']",
    "scale_policy: {min: 2, max: 5}",
    "rollout: {canary: 1, order: stop_first, finish: manual, on_failure: pause}",
    "on_loss: {policy: stop, after: 1m}",
    "x-remuda-placement: {strategy: binpack, anti_affinity: db, spread_by: zone}",
    "retain_ip: on",
    "start_on_create: no",
    "volumes_from: ['log:ro']",
    "ipc: service:log",
];

fn with_neighbours(text: &[u8]) -> Given {
    given("").with("/p/compose.yml", text).with("/p/.env", text).env("A", "1")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_end_in_a_stack_or_in_errors(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Err(errors) = with_neighbours(&bytes).load() {
            prop_assert!(!errors.errors.is_empty());
        }
    }

    #[test]
    fn any_text_ends_in_a_stack_or_in_errors(text in "\\PC{0,200}") {
        if let Err(errors) = with_neighbours(text.as_bytes()).load() {
            prop_assert!(!errors.errors.is_empty());
        }
    }

    #[test]
    fn any_pieces_end_in_a_stack_that_renders_to_itself_or_in_errors(
        pieces in proptest::collection::vec(0..PIECES.len(), 0..30)
    ) {
        let text: String = pieces.iter().map(|i| PIECES[*i]).collect();
        match given(&text).over("/p/over.yml", &text).load() {
            Err(errors) => prop_assert!(!errors.errors.is_empty()),
            Ok(loaded) => {
                let shown = render(&loaded);
                // What stood in the file itself is hidden and cannot load again.
                if !shown.contains("!hidden") {
                    let again = given(&shown).load();
                    prop_assert!(again.is_ok(), "{}\n{}", shown, again.unwrap_err());
                    prop_assert_eq!(&again.unwrap().spec, &loaded.spec, "{}", shown);
                }
            }
        }
    }

    #[test]
    fn any_choice_of_good_keys_loads_and_renders_to_itself(
        first in any::<u64>(),
        second in any::<u64>(),
    ) {
        let text = |bits: u64, head: &str| {
            let chosen = KEYS.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1);
            let lines: String = chosen.map(|(_, key)| format!("    {key}\n")).collect();
            format!("{head}services:\n  web:\n    image: a\n{lines}  db: {{image: b}}\n  log: {{image: c}}\n")
        };
        let head = "volumes: {v: }\nsecrets: {s: {file: t}}\nconfigs: {c: {content: 'a: $$b'}}\n";
        let beside = |given: Given| {
            given.with("/p/e", "E=1\nF\n").with("/p/t", "x").with("/p/ctx/Dockerfile", "").env("A", "a$b")
        };
        let once = beside(given(&text(first, head)).over("/p/over.yml", &text(second, ""))).loaded();
        let shown = render(&once);
        let again = beside(given(&shown)).load();
        prop_assert!(again.is_ok(), "{}\n{}", shown, again.unwrap_err());
        let again = again.unwrap();
        prop_assert_eq!(&again.spec, &once.spec, "{}", shown);
        prop_assert_eq!(&again.builds, &once.builds, "{}", shown);
        prop_assert_eq!(render(&again), shown);
    }

    #[test]
    fn a_rendered_value_reads_back_as_it_was(value in "\\PC{0,40}", control in "[\\x00-\\x7f\u{85}\u{2028}]{0,10}") {
        let value = format!("{value}{control}").replace('\0', "");
        let quoted = serde_json::to_string(&value).unwrap().replace('$', "$$");
        let loaded = given(&format!("services: {{web: {{image: a, environment: {{K: {quoted}}}}}}}")).loaded();
        let read = |loaded: &crate::Loaded| {
            super::service(loaded, "web").template.container().unwrap().environment["K"].clone()
        };
        let first = read(&loaded);
        let again = given(&render(&loaded)).loaded();
        prop_assert_eq!(read(&again), first, "{}", render(&loaded));
    }

    #[test]
    fn expansion_ends_and_stays_in_its_budget(text in "[$\\{\\}:?+A-Bé-]{0,60}") {
        let lookup = |name: &str| (name == "A").then(|| "value".to_owned());
        if let Ok(out) = Expander::new(&lookup, 100).expand(&text) {
            prop_assert!(out.len() <= 100);
        }
    }

    #[test]
    fn scalars_and_variable_files_never_panic(text in "\\PC{0,40}", line in "[A-z'\"=#$\\\\\n\r \t]{0,40}") {
        for text in [&text, &line] {
            let parsed = [
                scalar::size(text).is_ok(),
                scalar::duration_ms(text).is_ok(),
                scalar::integer(text).is_ok(),
                scalar::milli(text).is_ok(),
                scalar::mode(text).is_ok(),
                scalar::shell_words(text).is_ok(),
                dotenv::parse(text, false).is_ok(),
                dotenv::parse(text, true).is_ok(),
            ];
            prop_assert_eq!(parsed.len(), 8);
        }
    }
}

#[test]
fn sizes_durations_and_numbers_have_their_units() {
    for (text, bytes) in [
        ("512m", 512 << 20),
        ("1.5g", 1_610_612_736),
        ("64kb", 65_536),
        ("1 GiB", 1 << 30),
        ("7", 7),
        ("7b", 7),
        ("0", 0),
    ] {
        assert_eq!(scalar::size(text), Ok(bytes), "{text}");
    }
    for bad in ["", "m", "1x", "-1", "1..2m", "99999999999p", "1e3"] {
        assert!(scalar::size(bad).is_err(), "{bad}");
    }
    for (text, ms) in [
        ("1m30s", 90_000),
        ("500ms", 500),
        ("1.5h", 5_400_000),
        ("2d", 172_800_000),
        ("1us", 0),
        ("0", 0),
    ] {
        assert_eq!(scalar::duration_ms(text), Ok(ms), "{text}");
    }
    for bad in ["", "10", "s", "1s2", "1x", "-1s", "999999999999999999h"] {
        assert!(scalar::duration_ms(bad).is_err(), "{bad}");
    }
    for (text, number) in [("0", 0), ("-5", -5), ("0x1F", 31), ("0o17", 15), ("+3", 3)] {
        assert_eq!(scalar::integer(text), Ok(number), "{text}");
    }
    for bad in ["", "-", "010", "1.0", "1_0", "0x", "--1", "99999999999999999999"] {
        assert!(scalar::integer(bad).is_err(), "{bad}");
    }
    for (text, mode) in [("0440", 0o440), ("440", 0o440), ("0o1777", 0o1777)] {
        assert_eq!(scalar::mode(text), Ok(mode), "{text}");
    }
    assert!(scalar::mode("0999").is_err() && scalar::mode("17777").is_err());
}
