//! Every command as a person types it: what it prints where, and how it ends.

use crate::machine::{Machine, Ran, on_a_machine};
use crate::tools;
use std::io::Write as _;
use std::process::{Command, Stdio};

const STACK: &str = r#"
services:
  web:
    image: tools:1
    scale: 2
    stop_grace_period: 1s
    command: [sh, -c, "printf 'caf\\351 one\\n'; echo two >&2; exec sleep 100000"]
  built:
    build: {context: ., dockerfile_inline: "FROM tools:1\nARG WHO\nCOPY . /ctx\nENV WHO=$$WHO\n", args: {WHO: me}, tags: ["built:extra"]}
    image: built:1
    stop_grace_period: 1s
    command: [sleep, "100000"]
"#;

/// Runs `remuda` with something on its standard input.
fn fed(machine: &Machine, arguments: &[&str], input: &[u8]) -> Ran {
    let mut command = machine.command(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    Ran::of(&child.wait_with_output().unwrap())
}

/// A shell command line with `remuda` in it.
fn shell(machine: &Machine, line: &str) -> Ran {
    let binary = machine.command(&[]).get_program().to_owned();
    let line = format!("remuda() {{ '{}' \"$@\"; }}; {line}", binary.to_str().unwrap());
    Ran::of(&Command::new("sh").args(["-c", &line]).stdin(Stdio::null()).output().unwrap())
}

#[test]
#[ignore = "needs docker and root"]
fn every_command_says_what_it_does_and_ends_with_its_code() {
    on_a_machine(|machine| {
        without_a_server(machine);
        tools::import(machine);
        let _dev = machine.dev();
        machine.write("shop/kept", "x");
        machine.write("shop/left/out", "x");
        machine.write("shop/.dockerignore", "left\n");
        let file = machine.write("shop/compose.yml", STACK);
        let file = file.to_str().unwrap();
        machine.ok(&["up", "-f", file]).says(&["building built", "shop is healthy: 3 of 3"]);
        machine.docker(&["image", "inspect", "built:extra"]);
        machine.remuda(&["plan", "-f", file]).with_code(0);
        machine.write("shop/kept", "y");
        machine.remuda(&["plan", "-f", file]).with_code(10).says(&["shop/built"]);
        lists(machine);
        inside(machine);
        services(machine);
        missing(machine);
        machine.ok(&["down", "shop"]).says(&["shop is gone"]);
        machine.remuda(&["down", "shop"]).with_code(3).says(&["there is no stack shop"]);
        failing_build(machine);
    });
}

/// Before there is a server: help, usage, files.
fn without_a_server(machine: &Machine) {
    machine.remuda(&["ps"]).with_code(1).says(&["no server is known here", "remuda dev"]);
    machine.remuda(&[]).with_code(2).says(&["Usage: remuda", "Examples:"]);
    machine.remuda(&["pss"]).with_code(2).says(&["a similar subcommand exists: 'ps'"]);
    let all = "dev server agent up plan down ls ps logs exec run stats config build pull backup \
        events svc host doctor status completion version";
    for command in all.split_whitespace() {
        machine.ok(&[command, "--help"]).says(&["Usage: remuda", "Examples:"]);
    }
    for name in ["bash", "zsh", "fish"] {
        let script = machine.ok(&["completion", name]).out;
        assert!(script.contains("remuda") && script.len() > 1_000, "{name}");
    }
    let nowhere = ["--addr", "http://127.0.0.1:1", "--token", "x", "ls"];
    machine.remuda(&nowhere).with_code(1).says(&["does not answer", "is `remuda dev`"]);
}

fn lists(machine: &Machine) {
    for row in machine.ps() {
        for key in
            "stack service name host status health address ports revision container_id reason"
                .split_whitespace()
        {
            assert!(row.get(key).is_some(), "{key}: {row}");
        }
    }
    assert_eq!(machine.ok(&["ps", "shop/web#2", "-o", "name"]).out, "shop/web#2\n");
    machine.ok(&["ps", "-o", "wide"]).says(&["CONTAINER", "tools:1", "shop-web-1-"]);
    machine.ok(&["ls"]).says(&["STACK", "shop", "healthy", "3/3"]);
    machine.ok(&["stats", "shop"]).says(&["MEMORY", "shop/web#1"]);
    machine.ok(&["events", "shop/web", "--tail", "50"]).says(&["shop/web#1", "instance."]);
    let piped =
        shell(machine, "remuda ps 2>&1 | head -n 1; remuda events | head -n 1").with_code(0);
    assert!(!piped.err.contains("panicked") && piped.out.starts_with("INSTANCE"), "{piped:?}");
    shell(machine, "remuda ps > /dev/full").with_code(1).says(&["cannot be written"]);
    let wrong = machine.remuda(&["--token", "rmd_0_0", "ps"]).with_code(4);
    assert!(wrong.err.contains("error:") && wrong.err.contains("hint:"), "{}", wrong.err);
    assert!(!machine.ok(&["ps"]).out.contains('\u{1b}'), "colours in a pipe");
}

fn inside(machine: &Machine) {
    machine.remuda(&["exec", "shop/web", "sh", "-c", "exit 7"]).with_code(7);
    machine.remuda(&["exec", "shop/web#2", "--", "sh", "-c", "kill -9 $$"]).with_code(137);
    let piped = fed(machine, &["exec", "-i", "shop/web", "cat"], b"\x00\xffthrough\n");
    assert_eq!(piped.with_code(0).out, "\0\u{fffd}through\n");
    let none = machine.remuda(&["exec", "shop/web", "nosuch"]);
    assert!([126, 127].contains(&none.code), "{none:?}");
    machine.remuda(&["exec", "-t", "shop/web", "sh"]).with_code(2).says(&["needs a terminal"]);
    // A terminal of script(1): its window is the one inside.
    let binary = machine.command(&[]).get_program().to_str().unwrap().to_owned();
    let looks = "i=0; while [ $i -lt 50 ] && [ \"$(stty size)\" != \"33 77\" ]; do \
        i=$((i+1)); sleep 0.1; done; stty size";
    let line =
        format!("stty cols 77 rows 33; '{binary}' exec -it shop/web sh -c '{looks}'; exit $?");
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).stdin(Stdio::null());
    let seen = Ran::of(&script.output().unwrap());
    assert!(seen.out.contains("33 77"), "{seen:?}");
    machine.ok(&["exec", "shop/built", "sh", "-c", "ls /ctx; env"]).says(&["kept", "WHO=me"]);
    let left = machine.ok(&["exec", "shop/built", "ls", "/ctx"]).out;
    assert!(!left.contains("left"), "{left}");
    let log = machine.ok(&["logs", "shop/web#1"]);
    log.says(&["shop/web#1 | caf\u{fffd} one", "two"]);
    assert_eq!(machine.ok(&["logs", "shop/web", "--tail", "1"]).out.lines().count(), 2);
    assert_eq!(machine.ok(&["logs", "shop", "--grep", "two"]).out.lines().count(), 2);
    let run = machine.remuda(&["run", "-e", "A=b", "tools:1", "sh", "-c", "echo $A; exit 3"]);
    assert_eq!(run.with_code(3).out, "b\n");
    machine.remuda(&["run", "tools:1", "nosuch"]).with_code(127).says(&["nosuch"]);
}

fn services(machine: &Machine) {
    let scale = |n: &str| machine.remuda(&["svc", "scale", "shop/web", n]);
    scale("3").with_code(0).says(&["shop/web is healthy: 3 of 3"]);
    for bad in ["-1", "x", "10001", "1.5"] {
        scale(bad).with_code(2).says(&["expected a whole number from 0 to 10000"]);
    }
    scale("0").with_code(0);
    assert!(machine.ps().iter().all(|row| row["service"] != "web"));
    scale("1").with_code(0);
    machine.ok(&["svc", "stop", "shop/web"]).says(&["shop/web is stopped"]);
    machine.ok(&["ps", "shop/web"]).says(&["stopped"]);
    machine.ok(&["logs", "shop/web#1"]).says(&["two"]);
    machine.ok(&["svc", "start", "shop/web"]).says(&["is healthy"]);
    machine.ok(&["svc", "show", "shop/web"]).says(&["scale     1 wanted", "revision *1"]);
}

fn missing(machine: &Machine) {
    for (arguments, says) in [
        (&["svc", "show", "shop/wbe"][..], "did you mean shop/web?"),
        (&["svc", "scale", "shpo/web", "1"], "did you mean shop?"),
        (&["logs", "shop/wbe"], "did you mean shop/web?"),
        (&["exec", "shop/wbe", "sh"], "did you mean shop/web?"),
        (&["ps", "nothing"], "there is no stack nothing"),
        (&["stats", "nothing"], "there is no stack nothing"),
        (&["events", "nothing"], "there is no stack nothing"),
        (&["exec", "shop/web#9", "sh"], "nothing runs of shop/web#9"),
    ] {
        machine.remuda(arguments).with_code(3).says(&[says]);
    }
}

/// A build that fails shows its step and leaves what runs.
fn failing_build(machine: &Machine) {
    machine.write(
        "bad/Dockerfile",
        "FROM tools:1\nRUN [\"sh\", \"-c\", \"echo broken here; exit 3\"]\n",
    );
    let file = machine.write("bad/compose.yml", "services: {web: {build: .}}\n");
    for command in ["up", "build"] {
        let ran = machine.remuda(&[command, "-f", file.to_str().unwrap()]).with_code(1);
        ran.says(&["broken here", "Step 2/2", "returned a non-zero code: 3"]);
    }
    assert_eq!(machine.ok(&["ls", "-o", "name"]).out.replace("run\n", ""), "");
}
