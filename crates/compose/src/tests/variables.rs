//! `${…}` in every form, `.env` and `env_file`.

use super::{given, web};
use crate::dotenv::{BadLine, Pair, parse};
use crate::interpolate::Expander;

fn expand(text: &str) -> Result<String, String> {
    let lookup = |name: &str| match name {
        "A" => Some("a".to_owned()),
        "E" => Some(String::new()),
        _ => None,
    };
    Expander::new(&lookup, 1_000).expand(text).map_err(|e| e.message)
}

#[test]
fn every_form_of_a_variable_is_expanded() {
    for (text, expected) in [
        ("$A-${A}", "a-a"),
        ("$$A $$$A", "$A $a"),
        ("${E:-x}${E-x}${N:-x}${N-x}", "xxx"),
        ("${A:-x}${A-x}", "aa"),
        ("${A:+x}${A+x}${E:+x}${E+x}${N:+x}${N+x}", "xxx"),
        ("${A:?m}${A?m}${E?m}", "aa"),
        ("${N:-${M:-${A}}}", "a"),
        ("${N:-a{b}c}", "a{b}c"),
        ("${N:-}", ""),
        ("${N:-$$}", "$"),
        ("${A:-${B:?not reached}}", "a"),
        ("ü${N:-ß}", "üß"),
        ("$A_B$A", "a"),
        ("$N", ""),
    ] {
        assert_eq!(expand(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn a_form_that_is_none_is_refused() {
    for (text, message) in [
        ("$", "'$' is followed by the end"),
        ("$1", "'$' is followed by '1'"),
        ("${}", "not followed by a variable's name"),
        ("${1}", "not followed by a variable's name"),
        ("${A", "no closing"),
        ("${A:-x", "no closing"),
        ("${A:-{}", "no closing"),
        ("${A%x}", "nor an operator"),
        ("${E:?say it}", "the variable E is required and not set: say it"),
        ("${N?}", "the variable N is required and not set"),
    ] {
        let error = expand(text).unwrap_err();
        assert!(error.contains(message), "{text}: {error}");
    }
    let deep = format!("{}{}", "${N:-".repeat(40), "}".repeat(40));
    assert!(expand(&deep).unwrap_err().contains("nested too deep"));
    assert!(expand(&"$A".repeat(1_001)).unwrap_err().contains("bytes"));
}

#[test]
fn the_place_of_a_bad_variable_is_the_dollar_sign() {
    let errors = web("user: abc${X").refused();
    assert_eq!((errors.errors[0].line, errors.errors[0].column), (4, 14), "{errors}");
}

#[test]
fn an_unset_variable_is_a_warning_once() {
    let loaded = web("user: x$NO\nhostname: h$NO").warned("variable \"NO\" is not set");
    assert_eq!(loaded.warnings[0].line, 4);
}

#[test]
fn variables_come_from_the_process_then_from_dotenv() {
    let image = |given: super::Given| given.container().user.unwrap();
    let text = "user: $U";
    assert_eq!(image(web(text).with("/p/.env", "U=file")), "file");
    assert_eq!(image(web(text).with("/p/.env", "U=file").env("U", "process")), "process");
    let named =
        web(text).with("/p/.env", "U=file").with("/e", "U=named").with("/f", "V=$U-2\nU=$V");
    assert_eq!(image(named.options(|o| o.env_files = vec!["/e".into(), "/f".into()])), "named-2");
    let errors = web("").options(|o| o.env_files = vec!["/no".into()]).refused();
    assert!(errors.to_string().contains("\"/no\" cannot be used"), "{errors}");
}

fn pairs(text: &str) -> Result<Vec<String>, BadLine> {
    let shown = |p: Pair| format!("{}={}", p.key, p.value.unwrap_or("(none)".to_owned()));
    Ok(parse(text, false)?.into_iter().map(shown).collect())
}

#[test]
fn a_file_of_variables_has_quotes_comments_and_export() {
    for (text, expected) in [
        ("A=1\nB = 2 \n\n# no\nexport C=3 # yes\n", vec!["A=1", "B=2", "C=3"]),
        ("A=a#b\nB=a #b\nC=#\n", vec!["A=a#b", "B=a", "C="]),
        ("A='a # $B' # c\nB=\"x\\ny\\\"\"\n", vec!["A=a # $B", "B=x\ny\""]),
        ("A=\"two\nlines\"\nB=1", vec!["A=two\nlines", "B=1"]),
        ("A\nB=\nC: d\n", vec!["A=(none)", "B=", "C=d"]),
        ("\u{feff}A=1\r\nB='2'\r\n", vec!["A=1", "B=2"]),
        ("exported=1\n", vec!["exported=1"]),
    ] {
        assert_eq!(pairs(text).unwrap(), expected, "{text:?}");
    }
}

#[test]
fn a_bad_line_of_variables_has_its_place_and_never_shows_a_value() {
    for (text, line, column) in
        [("A=1\n=2\n", 2, 1), ("A='x\n", 1, 3), ("A B=1", 1, 3), ("A='x'y", 1, 6)]
    {
        let bad = pairs(text).unwrap_err();
        assert_eq!((bad.line, bad.column), (line, column), "{text:?} {bad:?}");
    }
    let errors = web("env_file: a.env").with("/p/a.env", "OK=1\nPASSWORD='hunter2\n").refused();
    let text = errors.to_string();
    assert!(text.contains("a.env:2:10: error: this quote is not closed"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn env_files_lie_below_environment_and_later_ones_win() {
    let c = web("env_file: [a.env, {path: b.env}, {path: no.env, required: false}]\n\
                 environment: {C: 3, FROM: , NOT: }")
    .with("/p/a.env", "A=1\nB=1\nREF=${A}${H}\n")
    .with("/p/b.env", "B=2\nC=2\nALONE\n")
    .env("FROM", "process")
    .env("H", "host")
    .container();
    assert_eq!(
        format!("{:?}", c.environment),
        r#"{"A": "1", "B": "2", "C": "3", "FROM": "process", "REF": "1host"}"#
    );
    let raw =
        web("env_file: [{path: a.env, format: raw}]").with("/p/a.env", "A='$x' # y\n").container();
    assert_eq!(raw.environment["A"], "'$x' # y");
}

#[test]
fn labels_may_come_from_a_file() {
    let c = web("label_file: l\nlabels: {b: 2}").with("/p/l", "a=1\nb=1\n").container();
    assert_eq!(format!("{:?}", c.labels), r#"{"a": "1", "b": "2"}"#);
}

#[test]
fn values_stay_text_after_expansion() {
    let c = given("services:\n  web: {image: a, environment: {A: '${N:-}', B: '${N:-null}'}}\n")
        .container();
    assert_eq!((c.environment["A"].as_str(), c.environment["B"].as_str()), ("", "null"));
    assert_eq!(web("scale: ${N:-4}").service().scale, Some(4));
}
