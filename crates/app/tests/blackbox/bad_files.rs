//! Files that cannot become a stack: each is refused before anything is made, soon, in little
//! memory, with its place, its line, and what was expected.

use crate::machine::{Machine, Ran, on_a_machine};
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A second and more on a busy machine; by itself each takes some 30 ms.
const SOON: Duration = Duration::from_secs(2);
/// Address space of the command: what a file makes it ask for must fit beside its threads.
const ADDRESS_SPACE_KIB: u32 = 1024 * 1024;

/// Lines of a service `web` that has an image, from line 4 on: what, lines, place, fragments.
const SERVICES: &[(&str, &str, &str, &[&str])] = &[
    ("image of a list", "x: 1\n", "4:5", &["key \"x\" is not known", "--strict"]),
    ("scale of a word", "scale: many", "4:12", &["whole number from 0 to 10000"]),
    ("scale below zero", "scale: -1", "4:12", &["whole number from 0 to 10000"]),
    ("a huge scale", "scale: 99999999999999999999", "4:12", &["from 0 to 10000"]),
    ("a scale of a half", "scale: 1.5", "4:12", &["from 0 to 10000"]),
    ("replicas of a list", "deploy: {replicas: [1]}", "4:24", &["replicas is a list"]),
    ("port 0", "ports: ['0:80']", "4:13", &["port number from 1 to 65535"]),
    ("port 65536", "ports:\n- 65536:80", "5:7", &["port number from 1 to 65535"]),
    ("container port 0", "ports: ['80:0']", "4:13", &["port number from 1 to 65535"]),
    ("ranges that differ", "ports: ['80-90:80-85']", "4:13", &["ranges of the same length"]),
    ("a range backwards", "ports: ['90-80:90-80']", "4:13", &["ends before it starts"]),
    ("a port of a protocol", "ports: ['80:80/icmp']", "4:13", &["tcp or udp"]),
    ("a port of an address", "ports: ['300.0.0.1:80:80']", "4:13", &["is not an address"]),
    ("ports of a map", "ports: {80: 80}", "4:12", &["ports is a map"]),
    ("too many ports", "ports: ['1-60000:1-60000']", "4:13", &["at most 1000 ports"]),
    ("a port that is empty", "ports: ['']", "4:13", &["is not a port"]),
    ("an interval of a word", "healthcheck: {interval: soon}", "4:29", &["a duration such as"]),
    ("a negative time", "stop_grace_period: -5s", "4:24", &["a duration such as"]),
    ("memory of words", "mem_limit: lots", "4:16", &["a size such as 512m"]),
    ("memory of too much", "mem_limit: 99999999999999g", "4:16", &["a size such as 512m"]),
    ("cpus of a word", "cpus: all", "4:11", &["a number"]),
    ("depends on nobody", "depends_on: [wbe]", "4:18", &["did you mean", "web"]),
    ("depends on itself", "depends_on: [web]", "4:18", &["web -> web"]),
    ("a condition", "depends_on: {web: {condition: soon}}", "4:35", &["condition"]),
    ("links to nobody", "links: [db:database]", "4:13", &["it links to service \"db\""]),
    ("no env_file", "env_file: no.env", "4:15", &["no.env", "there is no such file"]),
    ("env_file is a folder", "env_file: /proc", "4:15", &["it is a folder"]),
    ("no build context", "build: ./nowhere", "4:12", &["nowhere", "is not a folder"]),
    ("no Dockerfile", "build: {context: ., dockerfile: No}", "4:37", &["there is no file", "No"]),
    ("a volume of nobody", "volumes: ['data:/x']", "4:15", &["is not declared"]),
    ("a volume without a target", "volumes: ['/a:']", "4:15", &["is not absolute"]),
    ("a volume with a mode", "volumes: ['/a:/b:maybe']", "4:15", &["mode \"maybe\""]),
    ("a volume of too much", "volumes: ['/a:/b:ro:z:y']", "4:15", &["volumes"]),
    (
        "a mount of a type",
        "volumes: [{type: disk, target: /x}]",
        "4:15",
        &["volume, bind or tmpfs"],
    ),
    ("a secret of nobody", "secrets: [key]", "4:15", &["is not declared"]),
    ("a network of nobody", "networks: [back]", "4:16", &["is not declared"]),
    ("command of a map", "command: {a: b}", "4:14", &["a text or a list of texts"]),
    ("privileged of a word", "privileged: perhaps", "4:17", &["true or false"]),
    ("environment of a number", "environment: 5", "4:18", &["a map, or a list of KEY=value"]),
    ("environment of lists", "environment: {A: [b]}", "4:22", &["environment: A is a list"]),
    ("environment with a NUL", "environment: {A: \"a\\0b\"}", "4:22", &["NUL"]),
    ("command with a NUL", "command: [\"a\\0b\"]", "4:15", &["NUL"]),
    ("labels of a list of lists", "labels: [[a]]", "4:14", &["labels"]),
    ("restart of a word", "restart: perhaps", "4:14", &["no, always, unless-stopped"]),
    ("a capability", "cap_add: [FLY]", "4:15", &["FLY", "capability"]),
    ("a signal", "stop_signal: SIGNAL", "4:18", &["SIGNAL", "signal"]),
    ("a ulimit", "ulimits: {flies: 5}", "4:15", &["flies"]),
    ("a left open variable", "user: ${WHO", "4:11", &["no closing \"}\""]),
    ("an empty variable", "user: '${}'", "4:12", &["name"]),
    ("a required variable", "user: ${WHO:?say who}", "4:11", &["say who"]),
    ("nobody to balance to", BALANCES_TO_NOBODY, "4:40", &["it balances to service \"wbe\""]),
    ("a source port", BALANCES_AT_ZERO, "4:44", &["from 1 to 65535"]),
    ("extends nobody", "extends: wbe", "4:14", &["did you mean \"web\""]),
    ("extends a missing file", "extends: {file: no.yml, service: a}", "4:21", &["no such file"]),
    ("profiles of a text", "profiles: {a: b}", "4:15", &["a list of texts"]),
    ("working_dir of a place", "working_dir: here", "4:18", &["starts with '/'"]),
    ("a selector", "labels: {io.rancher.service.selector.link: a in b}", "4:48", &["k in (a,b)"]),
    ("a schedule of six fields", "schedule: '* * * * * *'", "4:15", &["minute hour day-of-month"]),
    ("a schedule that never fires", "schedule: '0 0 30 2 *'", "4:15", &["it never fires"]),
    (
        "an affinity of a word",
        "labels: {'io.rancher.scheduler.affinity:host': a=b}",
        "4:52",
        &["host_label, container_label"],
    ),
    (
        "a constraint of a word",
        "deploy: {placement: {constraints: [zone]}}",
        "4:40",
        &["node.labels.x==y"],
    ),
    ("links to nobody", "links: [wbe]", "4:13", &["it links to service \"wbe\""]),
    ("the network of nobody", "network_mode: service:wbe", "4:19", &["did you mean \"web\""]),
    ("its own network", "network_mode: service:web", "4:19", &["share in a circle: web -> web"]),
    (
        "a sidekick of nobody",
        "labels: {io.rancher.sidekicks: wbe}",
        "4:36",
        &["there is no service \"wbe\""],
    ),
    ("autoscale of nothing", "autoscale: {max: 3}", "4:16", &["one of cpu, memory and requests"]),
    ("a policy that is too quick", "on_loss: {policy: stop, after: 1s}", "4:36", &["at least 10s"]),
    ("an address of three parts", "external_ips: [1.2.3]", "4:20", &["is not an address"]),
    ("a typing error", "enviroment: {A: b}", "4:5", &["did you mean \"environment\""]),
    ("a key that does nothing", "blkio_weight: 5", "4:5", &["is not carried out yet"]),
];

const BALANCES_TO_NOBODY: &str =
    "lb_config: {port_rules: [{service: wbe, source_port: 80, target_port: 1}]}";
const BALANCES_AT_ZERO: &str =
    "lb_config: {port_rules: [{source_port: 0, service: web, target_port: 1}]}";

/// Whole files: what, content, place, fragments.
const FILES: &[(&str, &[u8], &str, &[&str])] = &[
    ("an empty file", b"", "1:1", &["there is no service"]),
    ("a byte order mark alone", b"\xef\xbb\xbf", "1:1", &["there is no service"]),
    ("nothing but a comment", b"# later\n", "1:1", &["there is no service"]),
    ("a word", b"hello", "1:1", &["a compose file cannot be \"hello\""]),
    ("a list", b"- web\n", "1:1", &["cannot be a list"]),
    ("services of a list", b"services:\n- web\n", "2:3", &["services is a list"]),
    ("a service of a text", b"services:\n  web: nginx\n", "2:8", &["service \"web\" is \"nginx\""]),
    ("no image", b"services:\n  web:\n    scale: 2\n", "2:3", &["image"]),
    ("an image of a list", b"services:\n  web:\n    image: [a]\n", "3:12", &["image is a list"]),
    ("an image in capitals", b"services:\n  web:\n    image: Web\n", "3:12", &["upper-case"]),
    ("an image of spaces", b"services:\n  web:\n    image: 'a b'\n", "3:12", &["not a reference"]),
    (
        "an image of a URL",
        b"services:\n  web:\n    image: http://x/y\n",
        "3:12",
        &["not a reference"],
    ),
    ("an image without a tag", b"services:\n  web:\n    image: 'web:'\n", "3:12", &["tag"]),
    ("a bad digest", b"services:\n  web:\n    image: a@sha256:12\n", "3:12", &["digest"]),
    ("tabs", b"services:\n\tweb:\n\t\timage: a\n", "2:2", &["does not allow tabs"]),
    ("a key twice", b"services:\n  web:\n    image: a\n    image: b\n", "4:5", &["here twice"]),
    ("a name of spaces", b"services:\n  a b:\n    image: a\n", "2:3", &["letters, digits"]),
    ("an open bracket", b"services:\n  web:\n    image: [a\n", "4:1", &["not valid YAML"]),
    ("an open quote", b"services:\n  web:\n    image: \"a\n", "3:12", &["not valid YAML"]),
    ("a second document", b"services: {web: {image: a}}\n---\nb: c\n", "2:1", &["second document"]),
    ("a tag", b"services:\n  web: !vault a\n", "2:8", &["is not known"]),
    ("an alias of nobody", b"services:\n  web: *a\n", "2:8", &["not valid YAML"]),
    ("not UTF-8", b"services:\n  web:\n    image: caf\xe9\n", "3:15", &["byte 0xe9", "UTF-8"]),
    ("UTF-16", b"\xff\xfes\0e\0r\0", "1:1", &["save it as UTF-8"]),
    ("a NUL", b"services:\n  web:\n    image: a\0\n", "3:13", &["NUL byte"]),
    ("gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "1:2", &["UTF-8"]),
    (
        "two on one port",
        TWO_ON_ONE_PORT,
        "3:25",
        &["takes host port 80/tcp, which service \"a\" has"],
    ),
    ("a circle", CIRCLE, "4:30", &["a -> b -> c -> a"]),
    ("extends in a circle", EXTENDS, "2:26", &["extends goes in a circle"]),
    ("a missing include", b"include: [no.yml]\nservices: {a: {image: a}}\n", "1:11", &["no such"]),
    (
        "an include of itself",
        b"include: [compose.yml]\nservices: {a: {image: a}}\n",
        "1:11",
        &["circle"],
    ),
    (
        "an include of a number",
        b"include: {a: b}\nservices: {a: {image: a}}\n",
        "1:10",
        &["include"],
    ),
    ("a missing secret", SECRET, "4:13", &["no.txt", "there is no such file"]),
    ("a missing config", CONFIG, "4:13", &["no.txt", "there is no such file"]),
    (
        "a merge of a text",
        b"services:\n  web:\n    <<: a\n    image: a\n",
        "3:5",
        &["merges \"a\""],
    ),
    ("a template", b"services:\n{{- if a }}\n  web: {image: a}\n", "2:1", &["Go templates"]),
    ("a stack's name", b"name: a/b\nservices: {a: {image: a}}\n", "1:7", &["stack name"]),
    ("a key of JSON", b"{\"services\": {\"web\": {\"image\": }}}", "1:15", &["image"]),
];

const TWO_ON_ONE_PORT: &[u8] =
    b"services:\n  a: {image: a, ports: ['80:80']}\n  b: {image: b, ports: ['80:81']}\n";
const CIRCLE: &[u8] = b"services:\n  a: {image: a, depends_on: [b]}\n  \
    b: {image: b, depends_on: [c]}\n  c: {image: c, depends_on: [a]}\n";
const EXTENDS: &[u8] = b"services:\n  a: {image: a, extends: b}\n  b: {extends: {service: a}}\n";
const SECRET: &[u8] =
    b"services:\n  web: {image: a, secrets: [k]}\nsecrets:\n  k: {file: ./no.txt}\n";
const CONFIG: &[u8] =
    b"services:\n  web: {image: a, configs: [k]}\nconfigs:\n  k: {file: ./no.txt}\n";

/// Files made to hurt.
fn hostile() -> Vec<(&'static str, Vec<u8>, &'static str, &'static [&'static str])> {
    let mut bomb = "x-0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for i in 1..30 {
        let many = vec![format!("*a{}", i - 1); 9].join(", ");
        writeln!(bomb, "x-{i}: &a{i} [{many}]").unwrap();
    }
    let long_name = "n".repeat(10_000);
    let deep = (0..5_000).fold(String::new(), |mut text, i| {
        writeln!(text, "{}a:", " ".repeat(i % 300)).unwrap();
        text
    });
    let services: String = (0..501).map(|i| format!("  s{i}: {{image: a}}\n")).collect();
    let line = "x".repeat(10 << 20);
    vec![
        ("an alias bomb", bomb.into_bytes(), "", &["over 200000 values"]),
        ("deep lists", "[".repeat(200_000).into_bytes(), "1:", &["deeper than 64 levels"]),
        ("deep maps", "{a: ".repeat(200_000).into_bytes(), "1:", &["deeper than 64 levels"]),
        ("deep blocks", deep.into_bytes(), "", &["deeper than 64 levels"]),
        (
            "a line of 10 MB",
            format!("services: {{web: {{image: a, user: {line}}}}}\n").into_bytes(),
            "1:1",
            &["larger than 4194304 bytes"],
        ),
        ("10 MB of NUL", vec![0; 10 << 20], "1:1", &["larger than"]),
        (
            "a service's long name",
            format!("services:\n  {long_name}:\n    image: a\n").into_bytes(),
            "2:10003",
            &["at most 1024 characters"],
        ),
        (
            "a service's name of 1,000",
            format!("services:\n  {}:\n    image: a\n", &long_name[..1_000]).into_bytes(),
            "2:3",
            &["at most 63"],
        ),
        (
            "an image's long name",
            format!("services:\n  web:\n    image: {long_name}\n").into_bytes(),
            "3:12",
            &["longer than 512 bytes"],
        ),
        ("501 services", format!("services:\n{services}").into_bytes(), "1:1", &["at most 500"]),
        (
            "a key of 10,000",
            format!("{long_name}: 1\n").into_bytes(),
            "1:10001",
            &["at most 1024 characters"],
        ),
    ]
}

/// Runs it with little memory; what it gave and how long it took.
fn bounded(machine: &Machine, folder: &Path, arguments: &[&str]) -> (Ran, Duration) {
    let limit = format!("ulimit -v {ADDRESS_SPACE_KIB}; exec \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &limit, "sh"]).arg(machine.command(&[]).get_program());
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    let start = Instant::now();
    let ran = Ran::of(&command.output().unwrap());
    (ran, start.elapsed())
}

/// What is wrong with how the file was refused; nothing when all is well.
fn complaints(machine: &Machine, case: &Case<'_>) -> Vec<String> {
    let folder = machine.folder().join("files/bad").join(case.what.replace(['/', ' '], "-"));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("compose.yml"), case.content).unwrap();
    let (ran, took) = bounded(machine, &folder, &["up", "--strict", "-f", "compose.yml"]);
    let mut wrong = refusal(&ran, took, case.fragments);
    let place = format!("compose.yml:{}", case.place);
    if !ran.err.contains(&place) {
        wrong.push(format!("it does not point to {place}"));
    }
    let text = String::from_utf8_lossy(case.content);
    let quoted = ran.err.lines().find_map(|line| {
        let (number, quoted) = line.strip_prefix(' ')?.split_once(" | ")?;
        Some((number.trim().parse::<usize>().ok()?, quoted))
    });
    if let Some((number, quoted)) = quoted {
        let line = text.trim_start_matches('\u{feff}').lines().nth(number - 1).unwrap_or_default();
        let start: String =
            line.chars().take(20).take_while(|c| ' ' <= *c && *c < '\u{7f}').collect();
        if !quoted.contains(&start) && !quoted.contains('…') {
            wrong.push(format!("the line it shows is not the file's: {quoted}"));
        }
    } else if text.len() > 8 && text.len() < 4 << 20 {
        wrong.push("it shows no line of the file".into());
    }
    if !ran.err.contains("expected") && !ran.err.contains("help:") {
        wrong.push("it says neither what was expected nor what helps".into());
    }
    if !wrong.is_empty() {
        wrong.insert(0, format!("\n### {}", case.what));
        wrong.push(ran.err.chars().take(3_000).collect());
    }
    wrong
}

struct Case<'a> {
    what: &'a str,
    content: &'a [u8],
    place: &'a str,
    fragments: &'a [&'a str],
}

/// What every refusal must be, whatever was wrong.
fn refusal(ran: &Ran, took: Duration, fragments: &[&str]) -> Vec<String> {
    let mut wrong = vec![];
    if ran.code != 2 {
        wrong.push(format!("exit code {}", ran.code));
    }
    if !ran.out.is_empty() {
        wrong.push(format!("it says on stdout: {}", ran.out));
    }
    if took > SOON {
        wrong.push(format!("it took {took:?}"));
    }
    if ran.err.len() > 20_000 {
        wrong.push(format!("it says {} bytes", ran.err.len()));
    }
    if ran.err.contains("panicked") || ran.err.chars().any(|c| c.is_control() && c != '\n') {
        wrong.push("it panicked, or sent control characters".into());
    }
    for fragment in fragments.iter().filter(|f| **f != "--strict") {
        if !ran.err.contains(fragment) {
            wrong.push(format!("it does not say {fragment:?}"));
        }
    }
    wrong
}

/// Things that are no plain files, and files that name such things.
fn strange_sources(machine: &Machine) -> Vec<String> {
    let folder = machine.folder().join("files/strange");
    std::fs::create_dir_all(folder.join("folder")).unwrap();
    assert!(Command::new("mkfifo").arg(folder.join("fifo")).status().unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();
    for (name, line) in [
        ("env", "env_file: fifo"),
        ("zero", "env_file: /dev/zero"),
        ("base", "extends: {file: /dev/zero, service: a}"),
        ("secret", "secrets: [k]"),
        ("dockerfile", "build: {context: ., dockerfile: folder}"),
    ] {
        let top = "secrets: {k: {file: /dev/zero}}\n";
        let text = format!("services:\n  web:\n    image: web:1\n    {line}\n{top}");
        std::fs::write(folder.join(format!("{name}.yml")), text).unwrap();
    }
    std::fs::write(folder.join("good.yml"), "services: {web: {image: 'web:1'}}\n").unwrap();
    std::fs::write(folder.join("bad.env"), "A=1\n=2\n").unwrap();
    std::fs::write(folder.join("latin.env"), b"A=caf\xe9\n").unwrap();
    let mut wrong = vec![];
    for (arguments, fragments) in [
        (&["-f", "folder"][..], &["folder:1:1", "it is a folder"][..]),
        (&["-f", "no.yml"], &["no.yml:1:1", "there is no such file"]),
        (&["-f", "good.yml/x"], &["good.yml/x:1:1", "there is no such file"]),
        (&["-f", "/dev/zero"], &["/dev/zero:1:1", "larger than 4194304 bytes"]),
        (&["-f", "/dev/null"], &["/dev/null:1:1", "there is no service"]),
        (&["-f", "fifo"], &["fifo:1:1", "nobody writes to it"]),
        (&["-f", "socket"], &["socket:1:1", "cannot be used"]),
        (&["-f", "-"], &["-:1:1", "there is no service"]),
        (&["-f", "env.yml"], &["env.yml:4:15", "nobody writes to it"]),
        (&["-f", "zero.yml"], &["zero.yml:4:15", "larger than"]),
        (&["-f", "base.yml"], &["base.yml:4:21", "larger than"]),
        (&["-f", "secret.yml"], &["secret.yml:5:21", "larger than"]),
        (&["-f", "dockerfile.yml"], &["dockerfile.yml:4:37", "folder"]),
        (&["-f", "good.yml", "-f", "no.yml"], &["no.yml:1:1", "there is no such file"]),
        (&["-f", "good.yml", "--env-file", "no.env"], &["no.env:1:1", "there is no such file"]),
        (&["-f", "good.yml", "--env-file", "bad.env"], &["bad.env:2:1", "expected a name"]),
        (&["-f", "good.yml", "--env-file", "latin.env"], &["latin.env:1:6", "UTF-8"]),
        (&["-f", "good.yml", "-p", "a b"], &["good.yml:1:1", "stack name", "the command line"]),
        (&[], &["there is no compose file in", "-f"]),
    ] {
        let all = [&["up"], arguments].concat();
        let (ran, took) = bounded(machine, &folder, &all);
        let mut found = refusal(&ran, took, fragments);
        if !found.is_empty() {
            found.insert(0, format!("\n### {all:?}"));
            found.push(ran.err);
        }
        wrong.extend(found);
    }
    wrong
}

/// All that is on the machine and could have been made.
fn inventory(machine: &Machine) -> String {
    let mut all = String::new();
    for command in [&["ps", "-aq"][..], &["network", "ls", "-q"], &["volume", "ls", "-q"]] {
        writeln!(all, "{}", machine.docker(command)).unwrap();
    }
    for command in [&["ls", "-o", "json"][..], &["events", "-o", "json"]] {
        writeln!(all, "{}", machine.ok(command).out).unwrap();
    }
    all
}

#[test]
#[ignore = "needs docker and root"]
fn every_bad_file_is_refused_soon_with_its_place_and_nothing_is_made() {
    on_a_machine(|machine| {
        let _dev = machine.dev();
        let before = inventory(machine);
        let mut wrong = vec![];
        let mut tried = 0;
        let mut check = |what: &str, content: &[u8], place: &str, fragments: &[&str]| {
            tried += 1;
            wrong.extend(complaints(machine, &Case { what, content, place, fragments }));
        };
        for (what, lines, place, fragments) in SERVICES {
            let indented: String = lines.lines().map(|l| format!("    {l}\n")).collect();
            let text = format!("services:\n  web:\n    image: web:1\n{indented}");
            check(what, text.as_bytes(), place, fragments);
        }
        for (what, content, place, fragments) in FILES {
            check(what, content, place, fragments);
        }
        for (what, content, place, fragments) in hostile() {
            check(what, &content, place, fragments);
        }
        assert!(tried >= 100, "{tried} files");
        wrong.extend(strange_sources(machine));
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert_eq!(inventory(machine), before, "something was made");
    });
}
