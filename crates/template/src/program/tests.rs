//! Templates as people write them, what is missing, and that no text of a template panics.

use super::*;
use crate::functions::Dialect;
use crate::functions::tests::{reading, view};
use proptest::prelude::*;

fn program(text: &str) -> Program {
    Program::parse("t", text, &reading(Dialect::Consul)).unwrap()
}

/// The nginx.conf of many an installation: an upstream for each service with a tag.
const NGINX: &str = r#"{{range services}}{{$name := .Name}}{{$service := service .Name}}{{if in .Tags "http"}}upstream {{$name}} {
  least_conn;
  {{range $service}}server {{.Address}}:{{.Port}} max_fails=3 fail_timeout=60 weight=1;
  {{else}}server 127.0.0.1:65535; # force a 502{{end}}
}
{{end}}{{end}}"#;

#[test]
fn the_usual_nginx_conf_is_rendered() {
    let rendered = program(NGINX).render(view());
    assert!(rendered.missing.is_empty());
    assert_eq!(
        rendered.text.unwrap(),
        "upstream api {\n  least_conn;\n  server 10.0.0.3:8003 max_fails=3 fail_timeout=60 weight=1;\n  \n}\n\
         upstream web {\n  least_conn;\n  server 10.0.0.1:8001 max_fails=3 fail_timeout=60 weight=1;\n  \
         server 10.0.0.2:8002 max_fails=3 fail_timeout=60 weight=1;\n  \n}\n"
    );
    assert_eq!(rendered.used.len(), 4, "{:?}", rendered.used);
}

#[test]
fn what_is_not_known_yet_is_asked_for_and_what_is_absent_named() {
    let text = "{{ key \"none\" }}{{ key \"unasked\" }}{{ range service \"new\" }}{{ .ID }}{{ end }}{{ keyOrDefault \"later\" \"x\" }}{{ range safeLs \"nothing\" }}{{ end }}";
    let rendered = program(text).render(view());
    let missing: Vec<(String, Missing)> =
        rendered.missing.iter().map(|(q, m)| (q.to_string(), *m)).collect();
    for (what, why) in [
        ("key none", Missing::Absent),
        ("key unasked", Missing::NotYet),
        ("service new", Missing::NotYet),
        ("key later", Missing::NotYet),
        ("keys below nothing/", Missing::Absent),
    ] {
        assert!(missing.contains(&(what.to_owned(), why)), "{what}: {missing:?}");
    }
    assert_eq!(missing.len(), 5);
}

#[test]
fn a_missing_key_of_a_map_is_an_error_only_when_asked_for() {
    let text = "{{ with parseJSON \"{\\\"a\\\": 1}\" }}{{ .b }}{{ end }}";
    assert_eq!(program(text).render(view()).text.unwrap(), "<no value>");
    let strict = Reading { error_on_missing_key: true, ..reading(Dialect::Consul) };
    let error = Program::parse("t", text, &strict).unwrap().render(view()).text.unwrap_err();
    assert!(error.to_string().contains("no entry for key"), "{error}");
}

#[test]
fn go_syntax_is_taken() {
    for (text, expect) in [
        ("a {{- /* c */ -}} b", "ab"),
        ("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}", "2"),
        ("{{ range $i, $e := sprig_list \"a\" \"b\" }}{{ $i }}{{ $e }}{{ end }}", "0a1b"),
        (
            "{{ range loop 9 }}{{ if eq . 2 }}{{ continue }}{{ end }}{{ if gt . 3 }}{{ break }}{{ end }}{{ . }}{{ end }}",
            "013",
        ),
        ("{{ if and (gt 2 1) (not false) }}y{{ else if true }}n{{ end }}", "y"),
        ("{{ with \"\" }}a{{ else }}b{{ end }}", "b"),
        ("{{ block \"b\" 3 }}<{{ . }}>{{ end }}", "<3>"),
        ("{{ printf \"%05d|%-4s|%q\" 42 \"x\" \"y\" }}", "00042|x   |\"y\""),
        ("{{ `raw \"x\"` }}{{ len \"äb\" }}{{ slice \"abc\" 1 2 }}", "raw \"x\"3b"),
        ("{{ (index (service \"web\") 0).Tags.Contains \"v1\" }}", "true"),
        ("{{ $t := (index (service \"web\") 0).Tags }}{{ \"v9\" | $t.Contains }}", "false"),
    ] {
        assert_eq!(program(text).render(view()).text.unwrap(), expect, "{text}");
    }
    let other = Reading { delimiters: ("<<".into(), ">>".into()), ..reading(Dialect::Consul) };
    let text = Program::parse("t", "<< add 1 2 >>{{ }}", &other).unwrap().render(view()).text;
    assert_eq!(text.unwrap(), "3{{ }}");
}

#[test]
fn deep_nesting_is_an_error_and_no_crash() {
    for text in [
        format!("{{{{ {}1{} }}}}", "(".repeat(20_000), ")".repeat(20_000)),
        format!("{}{}", "{{ if true }}".repeat(20_000), "{{ end }}".repeat(20_000)),
        format!("{{{{ {} }}}}", "not ".repeat(3) + &"(not ".repeat(90) + "true" + &")".repeat(90)),
        format!("{{{{ $a := .{} }}}}", ".a".repeat(50_000)),
    ] {
        if let Ok(program) = Program::parse("t", &text, &reading(Dialect::Consul)) {
            let _rendered = program.render(view());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_template_text_panics(text in "\\PC{0,80}") {
        if let Ok(program) = Program::parse("t", &text, &reading(Dialect::Consul)) {
            let rendered = program.render(view());
            let text = format!("{:?}", rendered.text);
            prop_assert!(!text.contains("broke off"), "{}", text);
        }
    }

    #[test]
    fn no_text_of_its_own_words_panics(
        words in proptest::collection::vec(proptest::sample::select(vec![
            "{{", "}}", "{{-", "-}}", "range", "if", "else", "end", "with", "define \"a\"",
            "template \"a\"", "block \"b\" .", "service \"web\"", "key \"a/b\"", ".", "$x", ":=",
            "=", "|", "(", ")", "\"s\"", "'c'", "0x1F", "1e3", ".Tags.Contains", "services",
            "break", "continue", "/*", "*/", "`r`", "nil", "and", "index", ",", "scratch.Set",
        ]), 0..24)
    ) {
        if let Ok(program) = Program::parse("t", &words.join(" "), &reading(Dialect::Consul)) {
            let first = program.render(view());
            let second = program.render(view());
            let text = format!("{:?}", first.text);
            prop_assert!(!text.contains("broke off"), "{}", text);
            prop_assert_eq!(first.text.ok(), second.text.ok());
        }
    }
}
