//! `templates`: text from a file or inline, where it goes, and who is told.

use super::{given, web};
use model::template_file::{Tell, TemplateFile};

fn one(lines: &str) -> TemplateFile {
    let container = web(lines).with("/p/shop.ctmpl", "{{range services}}").container();
    assert_eq!(container.templates.len(), 1, "{lines}");
    container.templates[0].clone()
}

#[test]
fn a_template_is_a_file_beside_the_compose_file_or_inline() {
    let base = TemplateFile {
        name: "shop.ctmpl".into(),
        text: "{{range services}}".into(),
        target: "/etc/nginx/conf.d/shop.conf".into(),
        mode: 0o644,
        ..TemplateFile::default()
    };
    let command = |words: &[&str]| Some(Tell::Command(words.iter().map(|&w| w.into()).collect()));
    let long = "templates:\n- source: ./shop.ctmpl\n  target: /etc/nginx/conf.d/shop.conf\n";
    for (more, expect) in [
        ("", base.clone()),
        (
            "  signal: HUP",
            TemplateFile { tell: Some(Tell::Signal("SIGHUP".into())), ..base.clone() },
        ),
        (
            "  command: nginx -s reload\n  wait: 1s",
            TemplateFile {
                tell: command(&["nginx", "-s", "reload"]),
                wait_ms: 1_000,
                wait_max_ms: 4_000,
                ..base.clone()
            },
        ),
        (
            "  command: [sh, -c, 'a b']\n  mode: '0600'\n  delimiters: ['[[', ']]']",
            TemplateFile {
                tell: command(&["sh", "-c", "a b"]),
                mode: 0o600,
                delimiters: Some(("[[".into(), "]]".into())),
                ..base.clone()
            },
        ),
        ("  wait: 1s\n  wait_max: 2s", TemplateFile { wait_ms: 1_000, wait_max_ms: 2_000, ..base }),
    ] {
        assert_eq!(one(&format!("{long}{more}")), expect, "{more}");
        let extension = format!("x-remuda-{long}{more}");
        assert_eq!(one(&extension), expect, "{extension}");
    }
    let inline = one("templates:\n- content: '{{key \"a\"}} $$x'\n  target: /a/b");
    assert_eq!((inline.name.as_str(), inline.text.as_str()), ("template 1", "{{key \"a\"}} $x"));
}

#[test]
fn what_cannot_be_one_is_refused_with_its_line() {
    for (lines, what) in [
        ("templates:\n- content: x", "an entry has no target"),
        ("templates:\n- target: /a/b", "an entry has no text"),
        ("templates:\n- {target: /a/b, content: x, source: shop.ctmpl}", "has content beside it"),
        ("templates:\n- {target: /a/b, source: none.ctmpl}", "cannot be used"),
        ("templates:\n- {target: b, content: x}", "absolute path"),
        ("templates:\n- {target: /a/b, content: x, signal: KILL}", "SIGKILL"),
        (
            "templates:\n- {target: /a/b, content: x, signal: HUP, command: ls}",
            "a signal and a command",
        ),
        ("templates:\n- {target: /a/b, content: x, delimiters: [a]}", "not two"),
        ("templates:\n- {target: /a/b, content: x, wait: 2s, wait_max: 1s}", "wait"),
        ("templates:\n- {target: /a/b, content: x}\n- {target: /a/b, content: y}", "twice"),
        ("volumes: [/h:/a]\ntemplates:\n- {target: /a/b, content: x}", "mounted otherwise"),
        ("volumes: [/h:/a/d]\ntemplates:\n- {target: /a/b, content: x}", "mounted below it"),
        ("templates:\n- {target: /etc/haproxy.cfg, content: x}", "/etc/hosts"),
        ("templates:\n- {target: /a/b, contents: x}", "content"),
    ] {
        let errors = web(lines).refused().to_string();
        assert!(errors.contains(what) && errors.contains("compose.yml:"), "{lines}: {errors}");
    }
    let file = "services:\n  web:\n    image: a\n    secrets: [{source: s, target: /a/s}]\n    \
                templates:\n    - {target: /a/b, content: x}\nsecrets: {s: {file: s}}\n";
    let errors = given(file).with("/p/s", "x").refused().to_string();
    assert!(errors.contains("\"/a/s\" cannot be mounted below it"), "{errors}");
    let file = "services:\n  web:\n    image: a\n    templates:\n    - {target: /a/b, source: x}\n";
    let errors = given(file).with("/p/x", [0xff, 0xfe]).refused().to_string();
    assert!(errors.contains("no UTF-8") && errors.contains(":5:"), "{errors}");
}
