//! Files that follow the catalog and the keys: changes, commands once a batch, quiet, reload of
//! the configuration.

use crate::fake::Fake;
use crate::tool::{Place, Running, wait_for};

fn lines(place: &Place, name: &str) -> usize {
    place.text(name).lines().count()
}

#[test]
fn equal_commands_run_once_a_batch_and_never_without_a_change() {
    let (fake, place) = (Fake::start(), Place::new());
    fake.put("shared", "1");
    fake.put("other", "a");
    let log = place.shown("log");
    let config = place.file(
        "config/a.hcl",
        &format!(
            "consul {{ address = \"{}\" }}\nwait {{ min = \"100ms\" max = \"20s\" }}\n\
             template {{ contents = \"A {{{{ key \\\"shared\\\" }}}}\" destination = \"{}\" command = \"echo run >> {log}\" }}\n\
             template {{ contents = \"B {{{{ key \\\"shared\\\" }}}}\" destination = \"{}\" command = \"echo run >> {log}\" }}\n\
             template {{ contents = \"C {{{{ key \\\"other\\\" }}}}\" destination = \"{}\" command = [\"touch\", \"{}\"] wait = \"0s\" }}\n",
            fake.address(),
            place.shown("a"),
            place.shown("b"),
            place.shown("c"),
            place.shown("c-ran"),
        ),
    );
    let folder = std::path::Path::new(&config).parent().unwrap().display().to_string();
    let mut running = Running::start(&["template", "-config", &folder]);
    place.wait_text("a", "A 1");
    place.wait_text("b", "B 1");
    wait_for("the first commands", || (lines(&place, "log") >= 1).then_some(()));
    let before = lines(&place, "log");
    fake.put("shared", "2");
    place.wait_text("a", "A 2");
    place.wait_text("b", "B 2");
    wait_for("the command", || (lines(&place, "log") == before + 1).then_some(()));
    // The same value again has a new index and changes no file.
    fake.put("shared", "2");
    fake.put("other", "b");
    place.wait_text("c", "C b");
    fake.put("shared", "3");
    wait_for("the next command", || (lines(&place, "log") >= before + 2).then_some(()));
    place.wait_text("b", "B 3");
    assert_eq!(lines(&place, "log"), before + 2, "{}", running.told());
    running.signal("-TERM");
    assert_eq!(running.ended(), 0, "{}", running.told());
}

#[test]
fn a_burst_of_changes_is_one_render_when_it_is_quiet() {
    let (fake, place) = (Fake::start(), Place::new());
    fake.put("a", "0");
    let source = place.file("in", "{{ key \"a\" }}");
    let log = place.shown("log");
    let template = format!("{source}:{}:echo run >> {log}", place.shown("out"));
    let address = fake.address();
    let _running = Running::start(&[
        "template",
        "-consul-addr",
        &address,
        "-template",
        &template,
        "-wait",
        "4s:40s",
    ]);
    place.wait_text("out", "0");
    wait_for("the first command", || (lines(&place, "log") == 1).then_some(()));
    for n in 1..=5 {
        // Each is asked for again before the next: five answers, one render.
        let asked = fake.asked().len();
        fake.put("a", &n.to_string());
        wait_for("the next question", || (fake.asked().len() > asked).then_some(()));
    }
    place.wait_text("out", "5");
    wait_for("the command", || (lines(&place, "log") >= 2).then_some(()));
    assert_eq!(lines(&place, "log"), 2);
}

#[test]
fn services_that_come_and_go_are_followed_by_nested_templates() {
    let (fake, place) = (Fake::start(), Place::new());
    fake.service("web", &[("h1", 80, &["http"], "passing")]);
    let text =
        "{{ range services }}{{ .Name }}:{{ range service .Name }}{{ .Node }}{{ end }};{{ end }}";
    let template = format!("{}:{}", place.file("in", text), place.shown("out"));
    let address = fake.address();
    let running = Running::start(&["template", "-consul-addr", &address, "-template", &template]);
    place.wait_text("out", "web:h1;");
    fake.service("api", &[("h2", 90, &[], "passing")]);
    place.wait_text("out", "api:h2;web:h1;");
    fake.service("web", &[("h1", 80, &["http"], "critical")]);
    place.wait_text("out", "api:h2;web:;");
    fake.fail(true);
    running.wait_told("no answer, asked again");
    assert_eq!(place.text("out"), "api:h2;web:;", "the last good file stays");
    fake.restore();
    fake.fail(false);
    fake.service("web", &[("h3", 80, &["http"], "passing")]);
    place.wait_text("out", "api:h2;web:h3;");
}

#[test]
fn hup_reads_configuration_and_templates_again_and_int_ends_it() {
    let (fake, place) = (Fake::start(), Place::new());
    fake.put("a", "1");
    let stanza = |name: &str| {
        format!(
            "template {{ contents = \"{{{{ key \\\"a\\\" }}}}\" destination = \"{}\" }}\n",
            place.shown(name)
        )
    };
    let head = format!("consul {{ address = \"{}\" }}\n", fake.address());
    let config = place.file("a.hcl", &(head.clone() + &stanza("one")));
    let pid = place.shown("pid");
    let mut running = Running::start(&["template", "-config", &config, "-pid-file", &pid]);
    place.wait_text("one", "1");
    assert!(!place.text("pid").is_empty());
    place.file("a.hcl", "template {");
    running.signal("-HUP");
    running.wait_told("not reloaded");
    fake.put("a", "2");
    place.wait_text("one", "2");
    place.file("a.hcl", &(head + &stanza("one") + &stanza("two")));
    running.signal("-HUP");
    place.wait_text("two", "2");
    fake.put("a", "3");
    place.wait_text("one", "3");
    place.wait_text("two", "3");
    running.signal("-INT");
    assert_eq!(running.ended(), 130, "{}", running.told());
    assert!(!place.path("pid").exists());
}
