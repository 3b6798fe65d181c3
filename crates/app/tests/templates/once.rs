//! One render and an end: what is written, what is only printed, what is refused.

use crate::fake::Fake;
use crate::tool::{Place, remuda, run_as, said};
use std::path::Path;

const NGINX: &str = "{{range services}}{{$name := .Name}}{{$service := service .Name}}{{if in .Tags \"http\"}}upstream {{$name}} { least_conn; {{range $service}}server {{.Address}}:{{.Port}} max_fails=3 fail_timeout=60 weight=1;{{else}}server 127.0.0.1:65535;{{end}} }\n{{end}}{{end}}";

fn shop() -> Fake {
    let fake = Fake::start();
    fake.service("web", &[("h2", 81, &["http"], "passing"), ("h1", 80, &["http"], "passing")]);
    fake.service("api", &[("h1", 90, &["http"], "critical")]);
    fake.service("db", &[("h1", 5432, &[], "passing")]);
    fake
}

#[test]
fn called_as_consul_template_the_usual_nginx_conf_is_rendered_once() {
    let (fake, place) = (shop(), Place::new());
    let source = place.file("nginx.ctmpl", NGINX);
    let program = place.path("consul-template");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_remuda"), &program).unwrap();
    let template =
        format!("{source}:{}:echo reloaded >> {}", place.shown("nginx.conf"), place.shown("log"));
    let words = ["-consul-addr", &fake.address(), "-template", &template, "-once"];
    let ran = run_as(&program, &words);
    assert_eq!(ran.status.code(), Some(0), "{}", said(&ran));
    assert_eq!(
        place.text("nginx.conf"),
        "upstream api { least_conn; server 127.0.0.1:65535; }\n\
         upstream web { least_conn; server 10.42.0.7:80 max_fails=3 fail_timeout=60 weight=1;\
         server 10.42.0.7:81 max_fails=3 fail_timeout=60 weight=1; }\n"
    );
    assert_eq!(place.text("log"), "reloaded\n");
    // Again: nothing changed, so the command does not run.
    let ran = run_as(&program, &words);
    assert_eq!(ran.status.code(), Some(0), "{}", said(&ran));
    assert_eq!(place.text("log"), "reloaded\n");
    assert_eq!(place.names(), ["consul-template", "log", "nginx.conf", "nginx.ctmpl"]);
}

#[test]
fn dry_prints_and_neither_writes_nor_runs() {
    let (fake, place) = (shop(), Place::new());
    let source = place.file("in", "{{ range service \"web\" }}{{ .Node }} {{ end }}\n");
    let template = format!("{source}:{}:touch {}", place.shown("out"), place.shown("ran"));
    let address = fake.address();
    let ran =
        remuda(&["template", "--consul-addr", &address, "--template", &template, "-once", "-dry"]);
    assert_eq!(ran.status.code(), Some(0), "{}", said(&ran));
    let expect = format!("> {}\nh1 h2 \n", place.shown("out"));
    assert_eq!(String::from_utf8_lossy(&ran.stdout), expect);
    assert_eq!(place.names(), ["in"]);
}

#[test]
fn settings_and_templates_that_are_wrong_are_told_with_their_place() {
    let place = Place::new();
    let config = place.file("a.hcl", "template {\n  source = \"x\"\n  destinatoin = \"y\"\n}\n");
    let wrong = place.file("wrong.ctmpl", "ok\n{{ nosuch }}\n");
    let good = place.file("good.ctmpl", "{{ key \"a\" }}");
    let out = place.shown("out");
    let (wrong, good) = (format!("{wrong}:{out}"), format!("{good}:{out}"));
    for (words, code, part) in [
        (["template", "-config", &config].as_slice(), 2, "a.hcl:3: destinatoin: is not known"),
        (
            &["template", "-template", &wrong, "-once"],
            2,
            "line 2: function \"nosuch\" is not defined",
        ),
        (&["template", "-template", &good, "-parse-only"], 0, ""),
        (&["template", "-template", "/no/such:x", "-once"], 1, "/no/such cannot be read"),
        (&["template"], 2, "nothing to render"),
        (&["template", "-help"], 0, "Usage: remuda template"),
        (&["confd", "-help"], 0, "Usage: remuda confd"),
        (&["confd"], 2, "no backend"),
        (&["template", "-consul-addr", "ftp://x", "-template", &good, "-once"], 2, "address"),
    ] {
        let ran = remuda(words);
        assert_eq!(ran.status.code(), Some(code), "{words:?}: {}", said(&ran));
        assert!(said(&ran).contains(part), "{words:?}: {}", said(&ran));
    }
    assert!(!Path::new(&out).exists());
}

#[test]
fn a_server_that_is_not_there_ends_once_and_a_failing_command_too() {
    let (fake, place) = (Fake::start(), Place::new());
    let source = place.file("in", "{{ key \"a\" }}");
    let template = format!("{source}:{}", place.shown("out"));
    let ran = remuda(&[
        "template",
        "-consul-addr",
        "127.0.0.1:1",
        "-consul-retry-attempts",
        "2",
        "-consul-retry-backoff",
        "1ms",
        "-template",
        &template,
        "-once",
    ]);
    assert_eq!(ran.status.code(), Some(1), "{}", said(&ran));
    assert!(said(&ran).contains("given up"), "{}", said(&ran));
    fake.put("a", "1");
    let template = format!("{template}:echo broken; exit 7");
    let ran =
        remuda(&["template", "-consul-addr", &fake.address(), "-template", &template, "-once"]);
    assert_eq!(ran.status.code(), Some(1), "{}", said(&ran));
    assert!(said(&ran).contains("ended with code 7"), "{}", said(&ran));
    assert!(said(&ran).contains("broken"), "{}", said(&ran));
    assert_eq!(place.text("out"), "1");
}
