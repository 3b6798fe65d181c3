//! Exec mode: a child that begins with the first render, hears of changes, and is the end of it.

use crate::fake::Fake;
use crate::tool::{Place, Running, wait_for};

/// A child that notes what happens to it; the file that it was made with is its argument.
const CHILD: &str = "#!/bin/sh\necho start $(cat $1) >> $2\ntrap 'echo hup $(cat '$1') >> '$2 HUP\ntrap 'echo usr2 >> '$2 USR2\ntrap 'echo term >> '$2'; exit 9' TERM\nwhile :; do sleep 0.02; [ -e $2.end ] && exit 5; done\n";

fn start(fake: &Fake, place: &Place, more: &[&str]) -> Running {
    let child = place.file("child.sh", CHILD);
    let source = place.file("in", "{{ key \"a\" }}");
    let template = format!("{source}:{}", place.shown("out"));
    let exec = format!("exec sh {child} {} {}", place.shown("out"), place.shown("log"));
    let address = fake.address();
    let mut words =
        vec!["template", "-consul-addr", &address, "-template", &template, "-exec", &exec];
    words.extend(more);
    Running::start(&words)
}

#[test]
fn the_child_begins_with_the_first_file_is_told_by_its_signal_and_gives_its_code() {
    let (fake, place) = (Fake::start(), Place::new());
    let mut running = start(&fake, &place, &["-exec-reload-signal", "SIGHUP"]);
    running.wait_told("there is no key a");
    assert_eq!(place.text("log"), "", "there is nothing to start it with");
    fake.put("a", "1");
    place.wait_text("log", "start 1\n");
    fake.put("a", "2");
    place.wait_text("log", "start 1\nhup 2\n");
    running.signal("-USR2");
    place.wait_text("log", "start 1\nhup 2\nusr2\n");
    place.file("log.end", "");
    assert_eq!(running.ended(), 5, "{}", running.told());
}

#[test]
fn without_a_reload_signal_it_is_started_anew_and_ends_with_us() {
    let (fake, place) = (Fake::start(), Place::new());
    fake.put("a", "1");
    let mut running = start(&fake, &place, &[]);
    place.wait_text("log", "start 1\n");
    fake.put("a", "2");
    place.wait_text("log", "start 1\nterm\nstart 2\n");
    running.signal("-TERM");
    assert_eq!(running.ended(), 9, "{}", running.told());
    place.wait_text("log", "start 1\nterm\nstart 2\nterm\n");
}

#[test]
fn one_that_does_not_end_is_killed_in_time() {
    let (fake, place) = (Fake::start(), Place::new());
    fake.put("a", "1");
    let mut running =
        start(&fake, &place, &["-exec-kill-signal", "SIGUSR2", "-exec-kill-timeout", "300ms"]);
    place.wait_text("log", "start 1\n");
    running.signal("-TERM");
    assert_eq!(running.ended(), 128 + 9, "{}", running.told());
    wait_for("its note", || place.text("log").contains("usr2").then_some(()));
}
