//! What goes wrong: a missing key, a failing check or command, a kill in the middle of a render.

use crate::fake::Fake;
use crate::tool::{Place, Running, wait_for};

#[test]
fn a_missing_key_is_named_once_and_the_other_templates_go_on() {
    let (fake, place) = (Fake::start(), Place::new());
    fake.put("there", "1");
    let waits = place.file("waits", "{{ key \"there\" }}{{ key \"app/missing\" }}");
    let goes = place.file("goes", "{{ key \"there\" }}{{ keyOrDefault \"app/missing\" \"-\" }}");
    let (waits, goes) =
        (format!("{waits}:{}", place.shown("w")), format!("{goes}:{}", place.shown("g")));
    let address = fake.address();
    let running = Running::start(&[
        "template",
        "-consul-addr",
        &address,
        "-template",
        &waits,
        "-template",
        &goes,
    ]);
    place.wait_text("g", "1-");
    running.wait_told("there is no key app/missing");
    fake.put("there", "2");
    place.wait_text("g", "2-");
    assert_eq!(place.text("w"), "");
    fake.put("app/missing", "x");
    fake.delete("unrelated");
    place.wait_text("w", "2x");
    place.wait_text("g", "2x");
    fake.delete("app/missing");
    place.wait_text("g", "2-");
    assert_eq!(place.text("w"), "2x", "the last good file stays");
    assert_eq!(running.told().matches("there is no key app/missing").count(), 2);
}

#[test]
fn a_check_that_fails_keeps_the_last_good_file() {
    let (fake, place) = (Fake::start(), Place::new());
    fake.put("a", "good 1");
    for (name, check) in [
        // Before the file is in its place, and after it.
        ("before", "grep -q good {{.Path}}".to_owned()),
        ("after", format!("grep -q good {}", place.shown("after"))),
    ] {
        let config = place.file(
            &format!("{name}.hcl"),
            &format!(
                "consul {{ address = \"{}\" }}\ntemplate {{\n contents = \"{{{{ key \\\"a\\\" }}}}\"\n destination = \"{}\"\n check = \"{check} || {{ echo not good; exit 3; }}\"\n command = \"echo run >> {}\"\n}}\n",
                fake.address(),
                place.shown(name),
                place.shown("log"),
            ),
        );
        fake.put("a", "good 1");
        let running = Running::start(&["template", "-config", &config]);
        place.wait_text(name, "good 1");
        let runs = place.text("log");
        fake.put("a", "bad");
        running.wait_told("ended with code 3");
        running.wait_told("not good");
        place.wait_text(name, "good 1");
        fake.put("a", "good 2");
        place.wait_text(name, "good 2");
        wait_for("the command", || (place.text("log").len() > runs.len()).then_some(()));
        assert!(!place.names().iter().any(|n| n.contains(".remuda-")), "{:?}", place.names());
    }
}

#[test]
fn a_command_that_fails_or_hangs_is_told_and_the_next_change_runs_it_again() {
    let (fake, place) = (Fake::start(), Place::new());
    fake.put("a", "exit 4");
    let config = place.file(
        "a.hcl",
        &format!(
            "consul {{ address = \"{}\" }}\ntemplate {{\n contents = \"{{{{ key \\\"a\\\" }}}}\"\n destination = \"{}\"\n command = \"echo said so; . {}\"\n command_timeout = \"500ms\"\n}}\n",
            fake.address(),
            place.shown("out"),
            place.shown("out"),
        ),
    );
    let mut running = Running::start(&["template", "-config", &config]);
    running.wait_told("ended with code 4");
    running.wait_told("said so");
    fake.put("a", "sleep 1000");
    running.wait_told("took longer than 500ms");
    fake.put("a", &format!("touch {}", place.shown("ran")));
    wait_for("the command", || place.path("ran").exists().then_some(()));
    // While a command runs it can be ended.
    place.file("a.hcl", &place.text("a.hcl").replace("500ms", "10m"));
    running.signal("-HUP");
    running.wait_told("took longer");
    fake.put("a", &format!("touch {}; sleep 1000", place.shown("hangs")));
    wait_for("the command", || place.path("hangs").exists().then_some(()));
    running.signal("-TERM");
    assert!([0, 130].contains(&running.ended()), "{}", running.told());
}

#[test]
fn killed_in_the_middle_of_a_render_it_leaves_a_whole_file() {
    let (fake, place) = (Fake::start(), Place::new());
    let text = "begin {{ $k := key \"a\" }}{{ $k }}\n{{ range loop 150000 }}{{ $k }} xxxxxxxxxxxxxxxxxxxx\n{{ end }}end {{ $k }}\n";
    let template = format!("{}:{}", place.file("in", text), place.shown("out"));
    let address = fake.address();
    let mut last = String::new();
    for round in 0..12 {
        fake.put("a", &format!("r{round}"));
        let running =
            Running::start(&["template", "-consul-addr", &address, "-template", &template]);
        // Killed when the new text is on its way: some of it is on disk, beside its place.
        wait_for("the file on its way, or there", || {
            let staged = place.names().into_iter().find(|n| n.contains(".remuda-"));
            let size = staged.and_then(|n| std::fs::metadata(place.path(&n)).ok()).map(|m| m.len());
            (size.is_some_and(|size| size > 0)
                || place.text("out").contains(&format!("end r{round}")))
            .then_some(())
        });
        running.kill();
        let now = place.text("out");
        if !now.is_empty() {
            let first = now.lines().next().unwrap().strip_prefix("begin ").unwrap().to_owned();
            assert_eq!(now.lines().last().unwrap(), format!("end {first}"), "half a file");
            assert_eq!(now.lines().count(), 150_002);
        }
        assert!(last.is_empty() || !now.is_empty(), "the file is gone");
        last = now;
    }
}
